"""Completion without a generative model: mean image, nearest neighbours, supervised regression.

Yardsticks for M-MSE, to be computed on the same images as a model's.  The regressor is a small
network from visible to missing pixels.  Trained with backprop for one mask alone, it is about
as good as a predictor can be, given enough images, and so the practical floor of M-MSE for
models that were trained for no mask at all.  With a few thousand images these can be better.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from gncn.base.errors import ConfigError
from gncn.evaluation.blocks import check_positive
from gncn.evaluation.completion import complete, missing_squared_error
from gncn.evaluation.neighbours import nearest_images
from gncn.evaluation.protocols import Images, Mask

NEIGHBOURS = (1, 3, 5, 10, 20, 30, 50, 100)
"""Numbers of neighbours tried unless the caller says otherwise."""


class MeanImage(NamedTuple):
    """A completer that fills in the mean image."""

    image: Float[np.ndarray, " pixels"]

    def __call__(
        self, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
    ) -> Float[Array, "images pixels"]:
        """The mean image, as often as asked for."""
        return jnp.broadcast_to(jnp.asarray(self.image), x.shape)


def mean_image(images: Images) -> MeanImage:
    """The completer that fills in the mean of training images."""
    return MeanImage(np.asarray(np.mean(images, axis=0, dtype=np.float32)))


class NearestNeighbours(NamedTuple):
    """A completer that fills in the mean of the k images nearest on the visible pixels.

    `validation` is the M-MSE on validation images of every number tried.
    """

    images: Images
    k: int
    validation: dict[int, float]

    def __call__(
        self, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
    ) -> Float[np.ndarray, "images pixels"]:
        """The mean of each image's k nearest."""
        seen = np.flatnonzero(visible)
        indices = nearest_images(self.images[:, seen], np.asarray(x)[:, seen], self.k).indices
        return np.asarray(np.mean(np.asarray(self.images)[indices], axis=1, dtype=np.float32))


def fit_nearest_neighbours(
    train: Images, validation: Images, visible: Mask, candidates: Sequence[int] = NEIGHBOURS
) -> NearestNeighbours:
    """Choose the number of neighbours among `train` by M-MSE on validation images.

    Candidates beyond the number of training images are left out.

    Raises:
        ConfigError: no candidate is left, or no pixel is visible.
    """
    usable = sorted({k for k in candidates if 1 <= k <= len(train)})
    if not usable:
        raise ConfigError(
            f"Candidates must hold a number between 1 and {len(train)}; received {candidates}."
        )
    if not visible.any():
        raise ConfigError("Nearest neighbours need at least one visible pixel; none is.")
    known, truth = np.asarray(train), np.asarray(validation, np.float32)[:, ~visible]
    indices = nearest_images(known[:, visible], np.asarray(validation)[:, visible], usable[-1])
    total, errors = np.zeros_like(truth), {}
    for rank in range(usable[-1]):
        total += known[indices.indices[:, rank]][:, ~visible]
        if rank + 1 in usable:
            errors[rank + 1] = float(np.mean(np.sum((truth - total / (rank + 1)) ** 2, axis=1)))
    return NearestNeighbours(train, min(errors, key=errors.__getitem__), errors)


_Network = tuple[eqx.nn.Linear, ...]


class Regressor(eqx.Module):
    """A completer for one mask: from visible pixels to logits of missing ones.

    `seen` and `hidden` are the indices of the visible and the missing pixels; dropout is of
    hidden units, in training.
    """

    network: _Network
    dropout: eqx.nn.Dropout
    seen: Int[Array, " seen"]
    hidden: Int[Array, " hidden"]

    def logits(
        self, seen: Float[Array, "images seen"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "images hidden"]:
        """Logits of the missing pixels; with dropout if a key is given."""
        units = seen
        for number, layer in enumerate(self.network):
            if number > 0:
                layer_key = None if key is None else jax.random.fold_in(key, number)
                units = self.dropout(jax.nn.relu(units), key=layer_key, inference=key is None)
            units = jax.vmap(layer)(units)
        return units

    @eqx.filter_jit
    def __call__(
        self, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
    ) -> Float[Array, "images pixels"]:
        """Fill in probabilities of the missing pixels."""
        filled = jax.nn.sigmoid(self.logits(x[:, self.seen]))
        return x.at[:, self.hidden].set(filled)


class RegressorFit(NamedTuple):
    """The regressor after its best epoch, and how training went.

    Attributes:
        completer: the regressor.
        validation: M-MSE on the validation images after each epoch.
        converged: whether training stopped because that no longer fell.
    """

    completer: Regressor
    validation: Float[np.ndarray, " epochs"]
    converged: bool


def fit_regressor(
    train: Images,
    validation: Images,
    visible: Mask,
    *,
    key: PRNGKeyArray,
    n_hidden: int = 512,
    n_layers: int = 2,
    dropout: float = 0.3,
    learning_rate: float = 1e-3,
    batch_size: int = 200,
    max_epochs: int = 40,
    patience: int = 3,
    on_epoch: Callable[[int, float], None] | None = None,
) -> RegressorFit:
    """Train a network to predict missing pixels from visible ones, with early stopping.

    Args:
        train: images to learn from, in [0, 1].
        validation: images to stop by.
        visible: True where a pixel is visible.
        key: of the start, the order of images and dropout.
        n_hidden: units of each hidden layer.
        n_layers: hidden layers.
        dropout: share of hidden units silenced in training.
        learning_rate: of Adam.
        batch_size: images of a mini-batch; what is left over sits out the epoch.
        max_epochs: stop then in any case.
        patience: stop after this many epochs without a new best.
        on_epoch: called after every epoch with its number and validation M-MSE.

    Raises:
        ConfigError: an option is out of range, or the mask leaves nothing to see or nothing to
            predict.
    """
    check_positive(n_hidden=n_hidden, n_layers=n_layers, learning_rate=learning_rate)
    check_positive(batch_size=batch_size, max_epochs=max_epochs, patience=patience)
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout must be at least 0 and below 1; received {dropout}.")
    if visible.all() or not visible.any():
        raise ConfigError("The mask must leave some pixels visible and some missing.")
    start_key, epoch_key = jax.random.split(key)
    sizes = [int(visible.sum()), *[n_hidden] * n_layers, int((~visible).sum())]
    layer_keys = jax.random.split(start_key, len(sizes) - 1)
    model = Regressor(
        network=tuple(map(_linear, sizes[:-1], sizes[1:], layer_keys)),
        dropout=eqx.nn.Dropout(dropout),
        seen=jnp.flatnonzero(visible),
        hidden=jnp.flatnonzero(~visible),
    )
    inputs, targets = jnp.asarray(train)[:, visible], jnp.asarray(train)[:, ~visible]
    optimiser = optax.adam(learning_rate)
    state = optimiser.init(eqx.filter(model.network, eqx.is_array))
    batch_size = min(batch_size, len(inputs))
    best, errors, since_best = model, [], 0
    while len(errors) < max_epochs and since_best < patience:
        one_key = jax.random.fold_in(epoch_key, len(errors))
        model, state = _epoch(model, state, inputs, targets, one_key, optimiser, batch_size)
        completed = complete(model, validation, visible)
        errors.append(missing_squared_error(validation, completed, visible).mean)
        if errors[-1] == min(errors):
            best = model
        if on_epoch is not None:
            on_epoch(len(errors), errors[-1])
        since_best = len(errors) - 1 - int(np.argmin(errors))
    return RegressorFit(best, np.asarray(errors), since_best >= patience)


def _linear(below: int, above: int, key: PRNGKeyArray) -> eqx.nn.Linear:
    return eqx.nn.Linear(below, above, key=key)


@eqx.filter_jit
def _epoch(
    model: Regressor,
    state: optax.OptState,
    inputs: Shaped[Array, "images seen"],
    targets: Shaped[Array, "images hidden"],
    key: PRNGKeyArray,
    optimiser: optax.GradientTransformation,
    batch_size: int,
) -> tuple[Regressor, optax.OptState]:
    """Learn once from all images, in random order."""
    n_batches = len(inputs) // batch_size
    order = jax.random.permutation(key, len(inputs))[: n_batches * batch_size]
    arrays, static = eqx.partition(model.network, eqx.is_array)

    def error(arrays: _Network, chosen: Int[Array, " batch"]) -> Float[Array, ""]:
        learner = eqx.tree_at(lambda m: m.network, model, eqx.combine(arrays, static))
        x, truth = (a[chosen].astype(jnp.float32) for a in (inputs, targets))
        logits = learner.logits(x, jax.random.fold_in(key, chosen[0]))
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, truth))

    def learn(
        carry: tuple[_Network, optax.OptState], chosen: Int[Array, " batch"]
    ) -> tuple[tuple[_Network, optax.OptState], None]:
        arrays, state = carry
        gradient = jax.grad(error)(arrays, chosen)
        updates, state = optimiser.update(gradient, state)
        return (eqx.apply_updates(arrays, updates), state), None

    (arrays, state), _ = lax.scan(learn, (arrays, state), order.reshape(n_batches, batch_size))
    return eqx.tree_at(lambda m: m.network, model, eqx.combine(arrays, static)), state

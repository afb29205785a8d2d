"""Completion without a generative model: mean image, nearest neighbours, supervised regression.

Yardsticks for M-MSE, to be computed on the same images as a model's.  The regressor is a small
network from visible to missing pixels, trained with backprop for one mask alone, or the mean of
several.  Its M-MSE bounds nothing.  But it learns this mask, and models that were trained for no
mask rarely do better.  With a few thousand images they can.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Shaped

from gncn.base.errors import ConfigError, check_counts, check_positive
from gncn.base.extras import needs
from gncn.evaluation.completion import Completer, complete, missing_squared_error
from gncn.evaluation.protocols import Images, Mask

_PATIENCE = 3


def mean_image(images: Images) -> Completer:
    """The completer that fills in the mean of training images."""
    # Asked for each batch, so the mean is computed once, outside.
    mean = np.asarray(np.mean(images, axis=0, dtype=np.float32))
    return lambda x, visible: jnp.broadcast_to(jnp.asarray(mean), x.shape)


class Neighbours(NamedTuple):
    """The nearest images of every query, nearest first: their rows and Euclidean distances."""

    indices: Int[np.ndarray, "queries k"]
    distances: Float[np.ndarray, "queries k"]


def nearest_images(images: Images, queries: Images, k: int = 1) -> Neighbours:
    """Find each query's `k` nearest images, by exhaustive search in blocks of bounded memory.

    To judge memorisation, compare the distances from samples and from held-out images to
    training images: samples of a model that copies are much nearer.

    Raises:
        ConfigError: `k` is not between 1 and the number of images.
    """
    needs("sklearn", "evaluation")
    from sklearn import neighbors

    if not 1 <= k <= len(images):
        raise ConfigError(f"k must be between 1 and {len(images)}, the images; received {k}.")
    search = neighbors.NearestNeighbors(n_neighbors=k, algorithm="brute")
    search.fit(np.asarray(images, np.float32))
    distances, indices = search.kneighbors(np.asarray(queries, np.float32))
    return Neighbours(np.asarray(indices), np.asarray(distances))


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
    train: Images,
    validation: Images,
    visible: Mask,
    candidates: Sequence[int] = (1, 3, 5, 10, 20, 30, 50, 100),
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
    # The nearest come first, so a running sum gives the mean for every k in one pass.
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
    hidden units, in training.  Of images with values beyond [0, 1] it predicts the values
    themselves, standardised by `scale`: their mean and standard deviation.
    """

    network: _Network
    dropout: eqx.nn.Dropout
    seen: Int[Array, " seen"]
    hidden: Int[Array, " hidden"]
    scale: tuple[float, float] | None = eqx.field(static=True, default=None)

    def standardised(self, x: Shaped[Array, "images _pixels"]) -> Float[Array, "images _pixels"]:
        """Pixels as the network takes and gives them."""
        x = x.astype(jnp.float32)
        return x if self.scale is None else (x - self.scale[0]) / self.scale[1]

    def logits(
        self, seen: Float[Array, "images seen"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "images hidden"]:
        """Logits of the missing pixels; with dropout if a key is given."""
        units = seen
        for number, layer in enumerate(self.network):
            if number > 0:
                # A key for each layer: equal masks in two layers would not be independent.
                layer_key = None if key is None else jax.random.fold_in(key, number)
                units = self.dropout(jax.nn.relu(units), key=layer_key, inference=key is None)
            units = jax.vmap(layer)(units)
        return units

    @eqx.filter_jit
    def __call__(
        self, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
    ) -> Float[Array, "images pixels"]:
        """Fill in probabilities, or values, of the missing pixels."""
        filled = self.logits(self.standardised(x[:, self.seen]))
        if self.scale is None:
            filled = jax.nn.sigmoid(filled)
        else:
            filled = filled * self.scale[1] + self.scale[0]
        return x.at[:, self.hidden].set(filled)


class RegressorFit(NamedTuple):
    """The regressor after its best epoch, and how training went.

    `validation` is the M-MSE on the validation images after each epoch; training `converged`
    if it stopped because that no longer fell.
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
    on_epoch: Callable[[int, float], None] | None = None,
) -> RegressorFit:
    """Train a network to predict missing pixels from visible ones, by Adam.

    It stops after three epochs without a new best M-MSE on the validation images, and after
    `max_epochs` in any case.

    The `key` is of the start, the order of images and dropout.  Images that don't fill a batch
    sit out the epoch.  `on_epoch` receives an epoch's number and validation M-MSE.

    Raises:
        ConfigError: an option is out of range, or the mask leaves nothing to see or nothing to
            predict.
    """
    check_positive(learning_rate=learning_rate)
    check_counts(n_hidden=n_hidden, n_layers=n_layers)
    check_counts(batch_size=batch_size, max_epochs=max_epochs)
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout must be at least 0 and below 1; received {dropout}.")
    if visible.all() or not visible.any():
        raise ConfigError("The mask must leave some pixels visible and some missing.")
    start_key, epoch_key = jax.random.split(key)
    sizes = [int(visible.sum()), *[n_hidden] * n_layers, int((~visible).sum())]
    layer_keys = jax.random.split(start_key, len(sizes) - 1)
    layers = zip(sizes[:-1], sizes[1:], layer_keys, strict=True)
    model = Regressor(
        network=tuple(eqx.nn.Linear(below, above, key=one) for below, above, one in layers),
        dropout=eqx.nn.Dropout(dropout),
        seen=jnp.flatnonzero(visible),
        hidden=jnp.flatnonzero(~visible),
        scale=_scale(np.asarray(train)),
    )
    inputs, targets = jnp.asarray(train)[:, visible], jnp.asarray(train)[:, ~visible]
    optimiser = optax.adam(learning_rate)
    state = optimiser.init(eqx.filter(model.network, eqx.is_array))
    # With fewer images than a batch holds, all of them are one batch.
    batch_size = min(batch_size, len(inputs))
    best, errors, since_best = model, [], 0
    while len(errors) < max_epochs and since_best < _PATIENCE:
        one_key = jax.random.fold_in(epoch_key, len(errors))
        model, state = _epoch(model, state, inputs, targets, one_key, optimiser, batch_size)
        completed = complete(model, validation, visible)
        errors.append(missing_squared_error(validation, completed, visible).mean)
        # Equal only if the newest is the best so far.
        if errors[-1] == min(errors):
            best = model
        if on_epoch is not None:
            on_epoch(len(errors), errors[-1])
        since_best = len(errors) - 1 - int(np.argmin(errors))
    return RegressorFit(best, np.asarray(errors), since_best >= _PATIENCE)


class Regressors(NamedTuple):
    """A completer that fills in the mean of several regressors.

    They have `n_hidden` units in each hidden layer and a share `dropout` of them left out in
    training.  `validation` is the M-MSE of one network on validation images, for every pair tried.
    """

    networks: tuple[Regressor, ...]
    n_hidden: int
    dropout: float
    validation: dict[tuple[int, float], float]

    def __call__(
        self, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
    ) -> Float[Array, "images pixels"]:
        """Fill in the mean of what the networks do."""
        return jnp.mean(jnp.stack([network(x, visible) for network in self.networks]), axis=0)


def choose_regressors(
    train: Images,
    validation: Images,
    visible: Mask,
    *,
    key: PRNGKeyArray,
    n_hidden: Sequence[int] = (512,),
    dropout: Sequence[float] = (0.3,),
    n_networks: int = 1,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Regressors:
    """Train a network for each pair of sizes and dropouts, and more of the best one.

    The best has the lowest M-MSE on validation images.  All pairs start from the same key.

    Raises:
        ConfigError: see `fit_regressor`; or nothing is given to choose from.
    """
    check_counts(n_networks=n_networks)
    pairs = [(units, share) for units in n_hidden for share in dropout]
    if not pairs:
        raise ConfigError(
            f"Give at least one n_hidden and one dropout; received {n_hidden} and {dropout}."
        )
    networks: list[Regressor] = []
    found: dict[str, Any] = {}
    tried: dict[tuple[int, float], float] = {}
    for units, share in pairs:
        fit = fit_regressor(
            train, validation, visible, key=key, n_hidden=units, dropout=share, on_epoch=on_epoch
        )
        tried[units, share] = float(fit.validation.min())
        if tried[units, share] == min(tried.values()):
            found = {"n_hidden": units, "dropout": share}
            networks = [fit.completer]  # the others are not kept: they may be large
    for number in range(1, n_networks):
        another = jax.random.fold_in(key, number)
        fit = fit_regressor(train, validation, visible, key=another, on_epoch=on_epoch, **found)
        networks.append(fit.completer)
    return Regressors(tuple(networks), **found, validation=tried)


def _scale(images: Shaped[np.ndarray, "images pixels"]) -> tuple[float, float] | None:
    """Mean and standard deviation of values that are no probabilities; None for those in [0, 1]."""
    if images.min() >= 0 and images.max() <= 1:
        return None
    return float(np.mean(images)), float(np.std(images)) or 1.0


@eqx.filter_jit
def _epoch(
    model: Regressor,
    state: PyTree,
    inputs: Shaped[Array, "images seen"],
    targets: Shaped[Array, "images hidden"],
    key: PRNGKeyArray,
    optimiser: optax.GradientTransformation,
    batch_size: int,
) -> tuple[Regressor, PyTree]:
    """Learn once from all images, in random order."""
    n_batches = len(inputs) // batch_size
    # Equal batches only; a permutation chooses which images are left out this time.
    order = jax.random.permutation(key, len(inputs))[: n_batches * batch_size]

    def with_network(network: _Network) -> Regressor:
        return eqx.tree_at(lambda m: m.network, model, network)

    def error(network: _Network, chosen: Int[Array, " batch"]) -> Float[Array, ""]:
        x, truth = (model.standardised(a[chosen]) for a in (inputs, targets))
        # The first index differs between batches of an epoch, and so does the dropout.
        logits = with_network(network).logits(x, jax.random.fold_in(key, chosen[0]))
        if model.scale is not None:
            return jnp.mean((logits - truth) ** 2)
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, truth))

    def learn(
        carry: tuple[_Network, PyTree], chosen: Int[Array, " batch"]
    ) -> tuple[tuple[_Network, PyTree], None]:
        network, state = carry
        updates, state = optimiser.update(jax.grad(error)(network, chosen), state)
        return (eqx.apply_updates(network, updates), state), None

    batches = order.reshape(n_batches, batch_size)
    (network, state), _ = lax.scan(learn, (model.network, state), batches)
    return with_network(network), state

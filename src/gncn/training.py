"""Training: epochs of mini-batches without replacement, several trials at once.

An epoch is one compiled scan over mini-batches; nothing is compiled again between
epochs.  The images of an epoch are drawn without replacement.  A last, short batch is
filled up with images of weight 0, which take no part in updates and statistics, so its
update is the mean over the images it really has.

Trials are networks of one circuit that differ in their seeds (or in numbers such as
β): their arrays carry a leading axis, and one program trains them all.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from gncn.discrepancy import binary_cross_entropy, discrepancy
from gncn.evaluation.sparsity import ACTIVE
from gncn.learning import (
    Learner,
    Rates,
    Rule,
    apply_updates,
    hebbian_updates,
    start_learner,
)
from gncn.network import Network
from gncn.settling import Settled, settle


class Statistics(NamedTuple):
    """Means over images, or one image's values with a leading batch axis.

    Attributes:
        error: reconstruction error: BCE in nats for Bernoulli data, squared error for
            Gaussian data, summed over pixels; of a classifier, the error in %.
        discrepancy: ψ in nats; of a baseline, the ψ that it ascends.
        layer_discrepancy: its terms, one for each predicted layer.
        sparsity: share of active neurons, z > 1e-6, of each latent layer.
        n_steps: settling steps taken; None for a model that doesn't settle.
    """

    error: Float[Array, "*images"]
    discrepancy: Float[Array, "*images"]
    layer_discrepancy: Float[Array, "*images predicted"]
    sparsity: Float[Array, "*images latent"]
    n_steps: Float[Array, "*images"] | None


class TrainingState(eqx.Module):
    """Everything that training carries from one epoch to the next.

    Attributes:
        network: the networks, or models of another kind, with a leading axis of trials.
        learner: the learners, likewise.
        key: one random key for each trial; the order of epoch t comes from
            ``fold_in(key, t)``.
        epoch: epochs done.
    """

    network: Any
    learner: Any
    key: Shaped[PRNGKeyArray, " trials"]
    epoch: Int[Array, ""]


class Plan(NamedTuple):
    """The fixed shape of a run.

    Attributes:
        rule: optimiser, schedule and bounds.
        n_epochs: length of the whole run, for the schedule.
        batch_size: images in a mini-batch.
    """

    rule: Rule
    n_epochs: int
    batch_size: int


def reconstruction_error(network: Network, settled: Settled) -> Float[Array, " batch"]:
    """BCE in nats (Bernoulli data) or squared error (Gaussian data), summed over pixels."""
    if network.circuit.layers[0].distribution == "bernoulli":
        drive = settled.responses.drives[0]
        assert drive is not None
        return binary_cross_entropy(settled.latents[0], drive)
    return jnp.sum((settled.latents[0] - settled.reconstruction) ** 2, axis=-1)


def statistics(network: Network, settled: Settled) -> Statistics:
    """What is recorded of settled images, one value for each."""
    psi = discrepancy(network, settled.latents, settled.responses)
    active = [jnp.mean(z > ACTIVE, axis=-1) for z in settled.latents[1:]]
    return Statistics(
        reconstruction_error(network, settled),
        psi.total,
        psi.layers,
        jnp.stack(active, axis=-1),
        settled.n_steps.astype(jnp.float32),
    )


def start_training(networks: list[Network], rule: Rule, seeds: list[int]) -> TrainingState:
    """Stack networks of one circuit for training.

    Args:
        networks: one for each trial.
        rule: see `Rule`.
        seeds: seed of each trial's order of images.
    """
    return stack_trials(networks, [start_learner(network, rule) for network in networks], seeds)


def stack_trials(
    models: Sequence[Any], learners: Sequence[Any], seeds: Sequence[int]
) -> TrainingState:
    """The state before the first epoch: all arrays stacked along a leading axis of trials."""
    keys = jnp.stack([jax.random.fold_in(jax.random.key(seed), 1) for seed in seeds])
    return TrainingState(_stack(models), _stack(learners), keys, jnp.zeros((), int))


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def trial(state: TrainingState, index: int) -> Any:
    """The network, or other model, of one trial, without the leading axis."""
    return unstack(state.network)[index]


def unstack(models: Any) -> list[Any]:
    """Models of all trials, without the leading axis of their arrays."""
    n_trials = len(jax.tree.leaves(models)[0])
    return [jax.tree.map(lambda leaf, k=k: leaf[k], models) for k in range(n_trials)]


def _batches(
    order: Int[Array, "trials images"], batch_size: int
) -> tuple[Int[Array, "batches trials batch"], Float[Array, "batches batch"]]:
    """Cut an order of images into batches, the last filled up with weight 0."""
    n_trials, n_images = order.shape
    n_batches = -(-n_images // batch_size)
    spare = n_batches * batch_size - n_images
    indices = jnp.pad(order, ((0, 0), (0, spare)))
    weights = jnp.pad(jnp.ones(n_images), (0, spare))
    return (
        jnp.moveaxis(indices.reshape(n_trials, n_batches, batch_size), 1, 0),
        weights.reshape(n_batches, batch_size),
    )


def learn_batch(
    network: Network,
    learner: Learner,
    x: Float[Array, "batch pixels"],
    weights: Float[Array, " batch"],
    rates: Rates,
    plan: Plan,
    n_total: int,
) -> tuple[Network, Learner, Statistics]:
    """Settle one mini-batch and learn from it (steps 1 to 6 of the paper's recipe).

    Args:
        network: one network.
        learner: its learner.
        x: images.
        weights: 1 for an image, 0 for a filler.
        rates: learning rates and λ.
        plan: the fixed shape of the run.
        n_total: mini-batches of the whole run.

    Returns:
        Network and learner after the update, and the batch's statistics before it, one
        value for each image.
    """
    settled = settle(network, x)
    seen = statistics(network, settled)
    updates = hebbian_updates(network, settled.latents, settled.responses, weights)
    network, learner = apply_updates(network, learner, updates, rates, plan.rule, n_total)
    return network, learner, seen


class EpochReport(NamedTuple):
    """What an epoch saw while it learned.

    Attributes:
        mean: statistics averaged over the epoch's images, leading axis trials.
        batch_error: mean reconstruction error of every mini-batch.
    """

    mean: Statistics
    batch_error: Float[Array, "batches trials"]


@eqx.filter_jit
def train_epoch(
    state: TrainingState,
    images: Shaped[Array, "images pixels"],
    rates: Rates,
    plan: Plan,
    on_batch: Callable[[Int[Array, ""]], None] | None = None,
) -> tuple[TrainingState, EpochReport]:
    """Learn once from every image, in an order of its own for each trial.

    Args:
        state: networks and learners.
        images: all training images; small integers are cheapest to hold.
        rates: learning rates, with a leading axis of trials.
        plan: the fixed shape of the run.
        on_batch: called with the number of each finished batch, for a progress bar.

    Returns:
        The state after the epoch, and what was seen.
    """
    n_total = -(-len(images) // plan.batch_size) * plan.n_epochs

    def learn(
        network: Network,
        learner: Learner,
        chosen: Int[Array, " batch"],
        weights: Float[Array, " batch"],
        key: PRNGKeyArray,
        rates: Rates,
    ) -> tuple[Network, Learner, Statistics]:
        x = images[chosen].astype(jnp.float32)
        return learn_batch(network, learner, x, weights, rates, plan, n_total)

    return run_epoch(state, len(images), plan.batch_size, learn, rates, on_batch)


def run_epoch(
    state: TrainingState,
    n_images: int,
    batch_size: int,
    learn: Callable[..., tuple[Any, Any, Statistics]],
    options: Any = None,
    on_batch: Callable[[Int[Array, ""]], None] | None = None,
) -> tuple[TrainingState, EpochReport]:
    """Scan over the mini-batches of one epoch, whatever learning is; to be compiled.

    Args:
        state: models and learners, with a leading axis of trials.
        n_images: images to draw from, without replacement.
        batch_size: images of a mini-batch.
        learn: what one mini-batch does to one trial: (model, learner, indices of the
            images, their weights, a key, options) to (model, learner, statistics of
            each image).
        options: handed to `learn`, each array with a leading axis of trials.
        on_batch: called with the number of each finished batch.

    Returns:
        The state after the epoch, and what was seen.
    """
    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(state.key, state.epoch)
    order = jax.vmap(lambda key: jax.random.permutation(key, n_images))(keys)
    indices, weights = _batches(order, batch_size)
    alone = order.shape[0] == 1

    def body(
        carry: tuple[Any, Any],
        batch: tuple[Int[Array, ""], Int[Array, "trials batch"], Float[Array, " batch"]],
    ) -> tuple[tuple[Any, Any], Statistics]:
        number, chosen, w = batch

        def one(
            model: Any, learner: Any, chosen: Int[Array, " batch"], key: PRNGKeyArray, options: Any
        ) -> tuple[Any, Any, Statistics]:
            key = jax.random.fold_in(key, number)
            model, learner, seen = learn(model, learner, chosen, w, key, options)
            sums = jax.tree.map(lambda value: jnp.tensordot(w, value, axes=1), seen)
            return model, learner, sums

        each = (*carry, chosen, keys, options)
        if alone:
            result = one(*jax.tree.map(lambda leaf: leaf[0], each))
            model, learner, sums = jax.tree.map(lambda leaf: leaf[None], result)
        else:
            model, learner, sums = eqx.filter_vmap(one)(*each)
        if on_batch is not None:
            jax.debug.callback(on_batch, number)
        return (model, learner), sums

    numbers = jnp.arange(len(weights))
    (model, learner), sums = lax.scan(
        body, (state.network, state.learner), (numbers, indices, weights)
    )
    mean = jax.tree.map(lambda values: jnp.sum(values, axis=0) / n_images, sums)
    batch_error = sums.error / jnp.sum(weights, axis=1)[:, None]
    state = TrainingState(model, learner, state.key, state.epoch + 1)
    return state, EpochReport(mean, batch_error)


@eqx.filter_jit
def evaluate(
    network: Network,
    images: Shaped[Array, "images pixels"],
    batch_size: int,
) -> Statistics:
    """Mean statistics over images, settled in blocks so that memory stays bounded.

    Args:
        network: networks with a leading axis of trials.
        images: the images.
        batch_size: images settled at once.

    Returns:
        Statistics with a leading axis of trials.
    """

    def see(network: Network, chosen: Int[Array, " batch"], _: PRNGKeyArray) -> Statistics:
        return statistics(network, settle(network, images[chosen].astype(jnp.float32)))

    return average(network, len(images), batch_size, see)


def average(
    models: Any, n_images: int, batch_size: int, see: Callable[..., Statistics]
) -> Statistics:
    """Average statistics over images, in blocks so that memory stays bounded; to be compiled.

    Args:
        models: with a leading axis of trials.
        n_images: how many images.
        batch_size: images of a block.
        see: statistics of each image, from (model, indices of the images, a key).

    Returns:
        Means, with a leading axis of trials.
    """
    indices, weights = _batches(jnp.arange(n_images)[None], batch_size)
    keys = jax.random.split(jax.random.key(0), len(weights))

    def block(
        model: Any, chosen: Int[Array, " batch"], w: Float[Array, " batch"], key: PRNGKeyArray
    ) -> Statistics:
        return jax.tree.map(lambda value: jnp.tensordot(w, value, axes=1), see(model, chosen, key))

    def one(model: Any) -> Statistics:
        sums = lax.map(lambda batch: block(model, *batch), (indices[:, 0], weights, keys))
        return jax.tree.map(lambda values: jnp.sum(values, axis=0) / n_images, sums)

    # One trial after another: vmap would widen every block's memory by their number.
    return lax.map(one, models)

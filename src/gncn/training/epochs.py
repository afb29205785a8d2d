"""Epochs of mini-batches, whatever a model is and however it learns.

An epoch is a few calls of one compiled program, each for a *chunk* of mini-batches, so that
between calls listeners hear of the progress and Ctrl-C is heard.  The program is given the
number of mini-batches to do and loops over them.  So the last, shorter chunk needs no program
of its own, and results don't depend on chunks at all.  State passes from call to call without a
copy.  A program has no callback to the host, so JAX can keep it in its compilation cache.

Calls return before they are done; at most `LEAD` chunks are under way at once.

Trials are models of one kind that differ in their seeds (or in numbers such as β).  Their
arrays carry a leading axis, and one program trains them all.  On a GPU they run at once,
because one trial leaves most of it idle.  On a CPU one follows the other, chunk by chunk: one
trial keeps all cores busy, and its arrays stay in their caches.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from gncn.base.interrupts import wait
from gncn.training.config import Plan
from gncn.training.examples import Chunk, Examples, Source, chunks, on_device
from gncn.training.optimiser import Rates

CHUNKS = 20
"""Calls of the program in an epoch; listeners hear of the progress after each."""
LEAD = 2
"""Chunks under way at once, so that the device never waits for the next one."""
EVALUATED_BLOCKS = 10
"""Blocks of images that one call evaluates."""
ACTIVE = 1e-6
"""A unit is active if its state exceeds this (the paper's rule)."""


class Statistics(NamedTuple):
    """Means over images, or one image's values with a leading batch axis.

    Attributes:
        error: reconstruction error: BCE in nats for Bernoulli data, squared error for
            Gaussian data, summed over pixels; for a classifier, the error in %.
        discrepancy: ψ in nats; for a baseline, the ψ that it ascends.
        layer_discrepancy: its terms, one for each predicted layer.
        sparsity: share of active neurons (z > `ACTIVE`) of each latent layer.
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
        learner: the learners, with the same leading axis.
        key: one random key for each trial; the order of epoch t comes from
            ``fold_in(key, t)``.
        epoch: epochs done.
    """

    network: Any
    learner: Any
    key: Shaped[PRNGKeyArray, " trials"]
    epoch: Int[Array, ""]


class EpochReport(NamedTuple):
    """What an epoch saw while it learned.

    Attributes:
        mean: statistics averaged over the epoch's images, leading axis trials.
        batch_error: mean reconstruction error of every mini-batch.
    """

    mean: Statistics
    batch_error: Float[Array, "batches trials"]


class Batch(NamedTuple):
    """A mini-batch, or a block of images to evaluate.

    Attributes:
        images: pixels.
        weights: 1 for an image, 0 for a filler.
        labels: classes, for a model that learns them.
        progress: share of the run's updates that came before this mini-batch.
    """

    images: Float[Array, "batch pixels"]
    weights: Float[Array, " batch"]
    labels: Int[Array, " batch"] | None = None
    progress: Float[Array, ""] | float = 1.0

    def mean(self, values: Float[Array, " batch"]) -> Float[Array, ""]:
        """Mean over the images that are no fillers."""
        return jnp.sum(self.weights * values) / jnp.sum(self.weights)


Learn = Callable[[Any, Any, Batch, PRNGKeyArray, Rates, Plan, int], tuple[Any, Any, Statistics]]
"""What one mini-batch does to one trial: (model, learner, batch, key, rates, plan, mini-batches of
the whole run) to (model, learner, statistics of each image before the update).  Programs are
compiled for it, so it must equal itself from epoch to epoch: use a module's function."""

See = Callable[[Any, Batch, PRNGKeyArray], Statistics]
"""Statistics of each image of a block, from (model, batch, key).  Must equal itself, too."""

OnBatch = Callable[[int], None]
"""Receives the number, from 0, of the last mini-batch that is done."""

Scalar = Int[Array | np.ndarray, ""]
"""An integer that a program is given, rather than compiled for."""


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


def run_epoch(
    state: TrainingState,
    source: Source,
    plan: Plan,
    learn: Learn,
    rates: Rates,
    on_batch: OnBatch | None = None,
    *,
    chunk: int | None = None,
    together: bool | None = None,
) -> tuple[TrainingState, EpochReport]:
    """Learn once from every image, without replacement, in an order drawn for each trial.

    The last, short mini-batch is filled up with images of weight 0.

    Args:
        state: models and learners; left as it is.
        source: the images; put them on the device to keep them there between epochs.
        plan: the fixed shape of the run.
        learn: what one mini-batch does to one trial.
        rates: with a leading axis of trials.
        on_batch: hears of the progress after each chunk.
        chunk: mini-batches of a chunk; by default an epoch has `CHUNKS` chunks.
        together: run trials at once, not one after the other; by default everywhere but on
            a CPU.

    Returns:
        The state after the epoch, and statistics seen while learning.

    Raises:
        DataError: the file of streamed images can't be read, or has changed.
    """
    n_images = len(source)
    n_batches = -(-n_images // plan.batch_size)
    n_total = n_batches * plan.n_epochs
    length = -(-n_batches // CHUNKS) if chunk is None else chunk
    together = jax.default_backend() != "cpu" if together is None else together
    keys, order = _draw_order(state.key, state.epoch, n_images)
    models, learners = jax.tree.map(jnp.copy, (state.network, state.learner))  # to be used up
    seen: list[Statistics] = []
    under_way: deque[tuple[int, Array]] = deque()

    def finish_one() -> None:
        number, error = under_way.popleft()
        wait(error)
        if on_batch is not None:
            on_batch(number)

    with closing(chunks(on_device(source), np.asarray(order), plan.batch_size, length)) as feed:
        for part in feed:
            given = _LearnChunk(learn, plan, n_total, n_images, together, part, keys, rates)
            (models, learners), sums = _learn_chunk(given, (models, learners))
            seen.append(sums)
            under_way.append((int(part.first + part.n_batches) - 1, sums.error))
            if len(under_way) == LEAD:
                finish_one()
    while under_way:
        finish_one()
    report = _report(seen, n_images, plan.batch_size)
    return TrainingState(models, learners, state.key, state.epoch + 1), report


@eqx.filter_jit
def _draw_order(
    key: Shaped[PRNGKeyArray, " trials"], epoch: Int[Array, ""], n_images: int
) -> tuple[Shaped[PRNGKeyArray, " trials"], Int[Array, "trials images"]]:
    """Each trial's key for the epoch, and the order in which it sees the images."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(key, epoch)
    return keys, jax.vmap(lambda key: jax.random.permutation(key, n_images))(keys)


class _LearnChunk(NamedTuple):
    """Arguments of `_learn_chunk`, except the state.  Its arrays aren't compiled in as constants.

    The whole run has `n_total` mini-batches, and the epoch has `n_images` images.
    """

    learn: Learn
    plan: Plan
    n_total: int
    n_images: int
    together: bool
    part: Chunk
    keys: Shaped[PRNGKeyArray, " trials"]
    rates: Rates


def _batch(
    examples: Examples, chosen: Int[Array, " batch"], weights: Float[Array, " batch"]
) -> Batch:
    return Batch(examples.pixels(chosen), weights, examples.classes(chosen))


def _weights(number: Scalar, batch_size: int, n_images: Scalar | int) -> Float[Array, " batch"]:
    """1 for each image of mini-batch or block `number`, 0 for each filler."""
    left = n_images - number * batch_size
    return (jnp.arange(batch_size) < left).astype(jnp.float32)


Carried = TypeVar("Carried")


def _collect(
    step: Callable[[Int[Array, ""], Carried], tuple[Carried, Statistics]],
    carry: Carried,
    count: Scalar,
    length: int,
) -> tuple[Carried, Statistics]:
    """Do `count` steps; what each gives is at its place in arrays of `length`, the rest is 0."""

    def body(
        place: Int[Array, ""], state: tuple[Carried, Statistics]
    ) -> tuple[Carried, Statistics]:
        carry, found = step(place, state[0])
        return carry, jax.tree.map(lambda a, value: a.at[place].set(value), state[1], found)

    shapes = jax.eval_shape(step, jnp.zeros((), int), carry)[1]
    empty = jax.tree.map(lambda s: jnp.zeros((length, *s.shape), s.dtype), shapes)
    return lax.fori_loop(0, count, body, (carry, empty))


@eqx.filter_jit(donate="all-except-first")
def _learn_chunk(given: _LearnChunk, carry: tuple[Any, Any]) -> tuple[tuple[Any, Any], Statistics]:
    """Learn from the mini-batches of a chunk.

    Returns:
        Models and learners, and sums of statistics over the images of each mini-batch; 0
        for mini-batches that the chunk doesn't have.
    """
    part = given.part
    length, _, batch_size = part.indices.shape

    def one(
        model: Any,
        learner: Any,
        indices: Int[Array, "chunk batch"],
        key: PRNGKeyArray,
        rates: Rates,
    ) -> tuple[tuple[Any, Any], Statistics]:
        def step(
            place: Int[Array, ""], carry: tuple[Any, Any]
        ) -> tuple[tuple[Any, Any], Statistics]:
            number = part.first + place
            weights = _weights(number, batch_size, given.n_images)
            batch = _batch(part.examples, indices[place], weights)
            batch_key = jax.random.fold_in(key, number)
            model, learner, seen = given.learn(
                *carry, batch, batch_key, rates, given.plan, given.n_total
            )
            return (model, learner), _sums(weights, seen)

        return _collect(step, (model, learner), part.n_batches, length)

    each = (*carry, jnp.moveaxis(part.indices, 1, 0), given.keys, given.rates)
    if len(given.keys) == 1:
        result = one(*jax.tree.map(lambda leaf: leaf[0], each))
        return jax.tree.map(lambda leaf: leaf[None], result)
    return jax.vmap(one)(*each) if given.together else lax.map(lambda trial: one(*trial), each)


def _sums(weights: Float[Array, " batch"], seen: Statistics) -> Statistics:
    return jax.tree.map(lambda value: jnp.tensordot(weights, value, axes=1), seen)


def _report(seen: Sequence[Statistics], n_images: int, batch_size: int) -> EpochReport:
    """Join what the chunks saw, each with axes of trials and mini-batches.

    NumPy joins them on the host: JAX would compile a program for every number of chunks.
    """
    n_batches = -(-n_images // batch_size)
    sums = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1)[:, :n_batches], *seen)
    images = np.full((n_batches, 1), batch_size, np.float32)
    images[-1] = n_images - (n_batches - 1) * batch_size
    return EpochReport(_mean(sums, n_images), jnp.asarray(sums.error.T / images))


@eqx.filter_jit
def _mean(sums: Statistics, n_images: int) -> Statistics:
    """Means over images from sums with axes of trials and mini-batches or blocks."""
    return jax.tree.map(lambda values: jnp.sum(values, axis=1) / n_images, sums)


def average(models: Any, source: Source, batch_size: int, see: See) -> Statistics:
    """Average statistics over images, in blocks so that memory stays bounded.

    One program serves splits of every size.

    Args:
        models: with a leading axis of trials.
        source: the images.
        batch_size: images of a block.
        see: statistics of each image.

    Returns:
        Means, with a leading axis of trials.
    """
    n_images = len(source)
    n_blocks = -(-n_images // batch_size)
    sums = []
    for first in range(0, n_blocks, EVALUATED_BLOCKS):
        rows = first * batch_size + np.arange(EVALUATED_BLOCKS * batch_size)
        block = _SeeBlocks(
            see,
            batch_size,
            source.gather(np.minimum(rows, n_images - 1)),
            np.asarray(n_images),
            np.asarray(first),
            np.asarray(min(EVALUATED_BLOCKS, n_blocks - first)),
        )
        sums.append(_see_blocks(block, models))
    joined = jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *sums)
    return _mean(joined, n_images)


class _SeeBlocks(NamedTuple):
    """Arguments of `_see_blocks`, except the models; see `_LearnChunk`."""

    see: See
    batch_size: int
    examples: Examples
    n_images: Scalar
    first: Scalar
    n_blocks: Scalar


@eqx.filter_jit
def _see_blocks(blocks: _SeeBlocks, models: Any) -> Statistics:
    """Sums of statistics over each block, with axes of trials and blocks."""

    def one(model: Any) -> Statistics:
        def step(place: Int[Array, ""], _: None) -> tuple[None, Statistics]:
            number = blocks.first + place
            weights = _weights(number, blocks.batch_size, blocks.n_images)
            chosen = place * blocks.batch_size + jnp.arange(blocks.batch_size)
            key = jax.random.fold_in(jax.random.key(0), number)
            batch = _batch(blocks.examples, chosen, weights)
            return None, _sums(weights, blocks.see(model, batch, key))

        return _collect(step, None, blocks.n_blocks, EVALUATED_BLOCKS)[1]

    # One trial after another: vmap would widen every block's memory by their number.
    return lax.map(one, models)

"""Epochs of mini-batches, whatever a model is and however it learns (`Method`).

An epoch is a few calls of one compiled program, each for a *chunk* of mini-batches.  Between
calls callbacks hear of the progress, and Ctrl-C is heard.  The program is given the number of
mini-batches to do, so the last, shorter chunk needs no program of its own.  Results don't depend
on chunks at all.  State passes from call to call without a copy.

Trials are models of one kind that differ in their seeds (or in numbers such as β).  Their
arrays carry a leading axis, and one program trains them all.  On a GPU they run at once,
because one trial leaves most of it idle.  On a CPU one follows the other, chunk by chunk: one
trial keeps all cores busy, and its arrays stay in their caches.
"""

import abc
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from gncn.base.interrupts import wait
from gncn.data import Dataset
from gncn.training.config import Rates, TrainingConfig
from gncn.training.examples import Chunk, Examples, Source, chunks, gather, on_device
from gncn.training.history import ErrorName, SplitRecord

CHUNKS = 20
"""Calls of the program in an epoch; callbacks hear of the progress after each."""
LEAD = 2
"""Chunks under way at once, so that the device never waits for the next one."""
EVALUATED_BLOCKS = 10
"""Blocks of images that one call evaluates."""
ACTIVE = 1e-6
"""A unit is active if its state exceeds this (the paper's rule)."""

Monitored = Literal["error", "discrepancy"]
"""A statistic that tells how good a model is: a low error, or a high ψ."""


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

    def record(self, trial: int) -> SplitRecord:
        """One trial's means, out of statistics with a leading axis of trials."""
        own = jax.tree.map(lambda values: values[trial].tolist(), self)
        return SplitRecord(**own._asdict())


class Batch(NamedTuple):
    """A mini-batch, or a block of images to evaluate.

    Attributes:
        weights: 1 for an image, 0 for a filler.
        progress: share of the run's updates that came before this mini-batch.
    """

    images: Float[Array, "batch pixels"]
    weights: Float[Array, " batch"]
    labels: Int[Array, " batch"] | None = None
    progress: Float[Array, ""] | float = 1.0

    def mean(self, values: Float[Array, " batch"]) -> Float[Array, ""]:
        """Mean over the images that are no fillers."""
        return jnp.sum(self.weights * values) / jnp.sum(self.weights)


Count = Int[Array | np.ndarray, ""]
"""A number that a program is given, rather than compiled for."""

See = Callable[[Any, Batch, PRNGKeyArray], Statistics]
"""Gives the statistics of each held-out image of a block."""


class Learner(eqx.Module):
    """The memory of learning between mini-batches.

    Attributes:
        optimizer: state of the Optax optimiser.
        n_updates: updates made so far.
        tools: what the settler prepared for the last mini-batch, such as Newton's inverses:
            the search for the next ones begins there.  Empty for other settlers.
    """

    optimizer: Any
    n_updates: Int[Array, "*trials"]
    tools: Any = ()


class TrainingState(eqx.Module):
    """Models in training, with a leading axis of trials.

    Attributes:
        network: the networks, or models of another kind.
        key: of each trial; the order of epoch t comes from ``fold_in(key, t)``.
        epoch: epochs done.
    """

    network: Any
    learner: Any
    key: Shaped[PRNGKeyArray, " trials"]
    epoch: Int[Array, ""]


@dataclass(frozen=True)
class Method(abc.ABC):
    """How models of one class learn.  Programs are compiled for it, so it compares by value.

    Attributes:
        config: `TrainingConfig.without_rates` of the run.
        n_images: of an epoch.
        advice: what to do about divergence.
        free_start: whether an untrained model may have any error without having diverged,
            because its weights start at any scale.
    """

    config: TrainingConfig
    n_images: int
    advice: ClassVar[str]
    free_start: ClassVar[bool] = False

    @staticmethod
    @abc.abstractmethod
    def check(models: Sequence[Any], data: Dataset, config: TrainingConfig) -> None:
        """Refuse models that differ in more than their arrays, and data or options that don't fit.

        Raises `ConfigError` or `DataError`.
        """

    @staticmethod
    def error_name(model: Any, /) -> ErrorName:
        """Name of the error that is recorded of a model; by default its own attribute."""
        return model.error_name

    @staticmethod
    def monitored(model: Any, /) -> Monitored:
        """Which validation statistic tells how good a model is; by default its attribute."""
        return model.monitored

    @staticmethod
    def see(model: Any, batch: Batch, key: PRNGKeyArray, /) -> Statistics:
        """Statistics of each held-out image of a block; by default what the model says."""
        return model.statistics(batch, key)

    @abc.abstractmethod
    def init(self, model: Any, /) -> Learner:
        """The learner before the first mini-batch."""

    @abc.abstractmethod
    def learn(
        self, model: Any, learner: Learner, batch: Batch, key: PRNGKeyArray, rates: Rates, /
    ) -> tuple[Any, Learner, Statistics]:
        """Model and learner after one mini-batch, and statistics of each image before."""

    def start(self, models: Sequence[Any], seeds: Sequence[int]) -> TrainingState:
        """The state before the first epoch; a seed decides a trial's order of images."""
        # `build` draws from the seed's own key, so the order of images has a stream of its own.
        keys = jnp.stack([jax.random.fold_in(jax.random.key(seed), 1) for seed in seeds])
        learners = [self.init(model) for model in models]
        return TrainingState(stack(models), stack(learners), keys, jnp.zeros((), int))

    @property
    def n_batches(self) -> int:
        """Mini-batches of an epoch."""
        return -(-self.n_images // self.config.batch_size)

    @property
    def n_updates(self) -> int:
        """Updates of the whole run."""
        return self.n_batches * self.config.n_epochs * self.config.ipc_updates


def stack(trees: Sequence[Any]) -> Any:
    """Trees of arrays as one, with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def unstack(models: Any) -> list[Any]:
    """Models of all trials, without the leading axis of their arrays."""
    n_trials = len(jax.tree.leaves(models)[0])
    return [jax.tree.map(lambda leaf, k=k: leaf[k], models) for k in range(n_trials)]


class EpochReport(NamedTuple):
    """Means seen while an epoch learned: over all its images, and over each mini-batch."""

    mean: Statistics
    batch_error: Float[Array, "batches trials"]


class Partial(NamedTuple):
    """An epoch of which some mini-batches are done.

    Attributes:
        carry: models and learners after them.
        seen: sums of statistics over each one's images, with axes of trials and mini-batches.
        n_batches: how many are done.
    """

    carry: tuple[Any, Any]
    seen: Statistics
    n_batches: int


def run_epoch(
    state: TrainingState,
    source: Source,
    method: Method,
    rates: Rates,
    on_batch: Callable[[int], None] | None = None,
    *,
    partial: Partial | None = None,
    keep: Callable[[Partial], None] = lambda _: None,
    due: Callable[[int], bool] = lambda _: False,
    chunk: int | None = None,
    together: bool | None = None,
) -> tuple[TrainingState, EpochReport]:
    """Learn once from every image, without replacement, in an order drawn for each trial.

    The last, short mini-batch is filled up with images of weight 0.

    Args:
        state: left as it is.
        source: put it on the device to keep it there between epochs.
        method: what one mini-batch does to one trial.
        rates: with a leading axis of trials.
        on_batch: receives the number, from 0, of the last mini-batch done, after each chunk.
        partial: the part of this epoch that is done already, as `keep` received it.
        keep: receives the part that is done, when that is `due`; the device waits.
        due: whether `keep` is to be called, asked after each chunk but the last with the number
            of mini-batches done.
        chunk: mini-batches of a chunk; by default an epoch has `CHUNKS` chunks.
        together: run trials at once, not one after the other; by default everywhere but on
            a CPU.

    Raises:
        DataError: the file of streamed images can't be read, or has changed.
    """
    batch_size = method.config.batch_size
    length = -(-method.n_batches // CHUNKS) if chunk is None else chunk
    together = jax.default_backend() != "cpu" if together is None else together
    keys, order = _draw_order(state.key, state.epoch, method.n_images)
    begun, n_done, seen = (state.network, state.learner), 0, []
    if partial is not None:
        begun, n_done, seen = partial.carry, partial.n_batches, [partial.seen]
    # The program overwrites what it is given, and `state` must stay as it is.
    carry = jax.tree.map(jnp.copy, begun)  # to be used up
    under_way: deque[tuple[int, Array]] = deque()

    def finish(leave: int) -> None:
        while len(under_way) > leave:
            number, error = under_way.popleft()
            wait(error)
            if on_batch is not None:
                on_batch(number)

    left = np.asarray(order)[:, n_done * batch_size :]
    with closing(chunks(on_device(source), left, batch_size, length, n_done)) as feed:
        for part in feed:
            carry, sums = _learn_chunk((method, together, part, keys, rates), carry)
            # The wait is for this sum: models and learners are given away to the next call.
            seen.append(sums)
            under_way.append((int(part.first + part.n_batches) - 1, sums.error))
            finish(leave=LEAD - 1)
            n_done = int(part.first + part.n_batches)
            if n_done < method.n_batches and due(n_done):
                finish(leave=0)
                # A copy, since the next chunk overwrites the original.
                keep(Partial(jax.tree.map(jnp.copy, carry), _joined(seen, n_done), n_done))
    finish(leave=0)
    network, learner = carry
    return TrainingState(network, learner, state.key, state.epoch + 1), _report(seen, method)


@eqx.filter_jit
def _draw_order(
    key: Shaped[PRNGKeyArray, " trials"], epoch: Int[Array, ""], n_images: int
) -> tuple[Shaped[PRNGKeyArray, " trials"], Int[Array, "trials images"]]:
    """Each trial's key for the epoch, and its order of images."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(key, epoch)
    return keys, jax.vmap(lambda key: jax.random.permutation(key, n_images))(keys)


def _batch(examples: Examples, chosen: Int[Array, " batch"], n_left: Count | int) -> Batch:
    """The examples chosen; those beyond the first `n_left` are fillers."""
    weights = (jnp.arange(len(chosen)) < n_left).astype(jnp.float32)
    labels = None if examples.labels is None else jnp.asarray(examples.labels)[chosen]
    return Batch(examples.pixels(chosen), weights, labels)


def _sums(batch: Batch, seen: Statistics) -> Statistics:
    # Fillers have weight 0, so they add nothing.
    return jax.tree.map(lambda value: jnp.tensordot(batch.weights, value, axes=1), seen)


Carried = TypeVar("Carried")


def _collect(
    step: Callable[[Int[Array, ""], Carried], tuple[Carried, Statistics]],
    carry: Carried,
    count: Count,
    length: int,
) -> tuple[Carried, Statistics]:
    """Do `count` steps; what each gives is at its place in arrays of `length`, the rest is 0."""

    def body(place: Int[Array, ""], state: tuple[Carried, Statistics]) -> Any:
        carry, found = step(place, state[0])
        return carry, jax.tree.map(lambda a, value: a.at[place].set(value), state[1], found)

    # Shapes alone, without computing a step.
    shapes = jax.eval_shape(step, jnp.zeros((), int), carry)[1]
    # Arrays of full length, of which a short chunk fills the beginning: one program serves all.
    empty = jax.tree.map(lambda s: jnp.zeros((length, *s.shape), s.dtype), shapes)
    return lax.fori_loop(0, count, body, (carry, empty))


# Models and learners are donated, so a chunk needs memory for one copy of them.
@eqx.filter_jit(donate="all-except-first")
def _learn_chunk(
    given: tuple[Method, bool, Chunk, Shaped[PRNGKeyArray, " trials"], Rates],
    carry: tuple[Any, Any],
) -> tuple[tuple[Any, Any], Statistics]:
    """Models and learners after a chunk, and sums of statistics over each mini-batch's images."""
    method, together, part, keys, rates = given
    length, _, batch_size = part.indices.shape

    def one(carry: Any, indices: Int[Array, "chunk batch"], key: PRNGKeyArray, rates: Rates) -> Any:
        def step(place: Int[Array, ""], carry: tuple[Any, Any]) -> tuple[Any, Statistics]:
            # Numbered within the epoch, so random numbers don't depend on how it was cut into
            # chunks.
            number = part.first + place
            batch = _batch(part.examples, indices[place], method.n_images - number * batch_size)
            batch_key = jax.random.fold_in(key, number)
            model, learner, seen = method.learn(*carry, batch, batch_key, rates)
            return (model, learner), _sums(batch, seen)

        return _collect(step, carry, part.n_batches, length)

    each = (carry, jnp.moveaxis(part.indices, 1, 0), keys, rates)
    # One trial needs no further axis, and its program is the plain one.
    if len(keys) == 1:
        result = one(*jax.tree.map(lambda leaf: leaf[0], each))
        return jax.tree.map(lambda leaf: leaf[None], result)
    return jax.vmap(one)(*each) if together else lax.map(lambda trial: one(*trial), each)


def _report(seen: Sequence[Statistics], method: Method) -> EpochReport:
    """Join what the chunks saw, each with axes of trials and mini-batches."""
    n_batches, size = method.n_batches, method.config.batch_size
    sums = _joined(seen, n_batches)
    images = np.full((n_batches, 1), size, np.float32)
    # The last mini-batch may be short, so its mean is over fewer images.
    images[-1] = method.n_images - (n_batches - 1) * size
    return EpochReport(_mean(sums, method.n_images), sums.error.T / images)


def _joined(seen: Sequence[Statistics], count: int) -> Statistics:
    """Sums of all mini-batches or blocks, on the host: JAX would compile for every number."""
    return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1)[:, :count], *seen)


def _mean(sums: Statistics, n_images: int) -> Statistics:
    return jax.tree.map(lambda values: values.sum(axis=1) / n_images, sums)


def average(models: Any, source: Source, batch_size: int, see: See) -> Statistics:
    """Average statistics over images, in blocks so that memory stays bounded.

    Models and means have a leading axis of trials.  One program serves splits of every size.
    """
    n_images, size = len(source), EVALUATED_BLOCKS * batch_size
    n_blocks = -(-n_images // batch_size)
    places = np.arange(size, dtype=np.int32).reshape(EVALUATED_BLOCKS, 1, batch_size)
    sums = []
    for first in range(0, n_blocks, EVALUATED_BLOCKS):
        # Repeats of the last image fill up the last block; they have weight 0.
        examples = gather(source, np.minimum(first * batch_size + np.arange(size), n_images - 1))
        count = min(EVALUATED_BLOCKS, n_blocks - first)
        part = Chunk(np.asarray(first), np.asarray(count), examples, places)
        sums.append(_see_blocks(models, part, np.asarray(n_images), see))
    # All calls are under way before the first wait.
    for part in sums:
        wait(part.error)
    return _mean(_joined(sums, n_blocks), n_images)


@eqx.filter_jit
def _see_blocks(models: Any, part: Chunk, n_images: Count, see: See) -> Statistics:
    """Sums of statistics over each block, with axes of trials and blocks."""
    length, _, batch_size = part.indices.shape

    def one(model: Any) -> Statistics:
        def step(place: Int[Array, ""], _: None) -> tuple[None, Statistics]:
            number = part.first + place
            chosen = jnp.asarray(part.indices)[place, 0]
            batch = _batch(part.examples, chosen, n_images - number * batch_size)
            # The same draws in every epoch, so that epochs differ by what was learned alone.
            key = jax.random.fold_in(jax.random.key(0), number)
            return None, _sums(batch, see(model, batch, key))

        return _collect(step, None, part.n_batches, length)[1]

    # One trial after another: vmap would widen every block's memory by their number.
    return lax.map(one, models)

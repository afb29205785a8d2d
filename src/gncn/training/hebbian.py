"""Training networks: settle a mini-batch, learn from it, and say what was seen.

The paper's recipe learns once, from the settled states.  Two ways of saving time depart
from it.  Synapses may learn several times while the states still settle (incremental
learning; each update takes the responses that move the states).  And the states of an
image may be kept, so that in the next epoch it settles from where it was.

Epochs of such mini-batches, and trials trained at once, are those of `gncn.training.epochs`.  A
last, short mini-batch is filled up with images of weight 0, which take no part in updates
and statistics, so its update is the mean over the images it really has.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from gncn.core.acceleration import prepare, start_memory
from gncn.core.discrepancy import Latents, binary_cross_entropy, discrepancy
from gncn.core.learning import (
    Learner,
    Rates,
    Rule,
    apply_updates,
    hebbian_updates,
    learn_start,
    start_learner,
    start_updates,
)
from gncn.core.network import Network, Operands
from gncn.core.settling import (
    Carry,
    Settled,
    initial_latents,
    repeat,
    settle,
    settle_from,
    settle_step,
    starts_alike,
)
from gncn.evaluation.sparsity import ACTIVE
from gncn.training.epochs import (
    Draw,
    EpochReport,
    OnBatch,
    Statistics,
    TrainingState,
    average,
    run_epoch,
    stack_trials,
)
from gncn.training.examples import Examples, Source


class Plan(NamedTuple):
    """The fixed shape of a run.

    Attributes:
        rule: optimiser, schedule and bounds.
        n_epochs: length of the whole run, for the schedule.
        batch_size: images in a mini-batch.
        updates_per_batch: how often synapses learn while a mini-batch settles.
        keep_states: settle each image from where it settled in the epoch before.
    """

    rule: Rule
    n_epochs: int
    batch_size: int
    updates_per_batch: int = 1
    keep_states: bool = False


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


def start_training(
    networks: Sequence[Network], rule: Rule, seeds: Sequence[int], n_kept: int | None = None
) -> TrainingState:
    """Stack networks of one circuit for training.

    Args:
        networks: one for each trial.
        rule: see `Rule`.
        seeds: seed of each trial's order of images.
        n_kept: training images whose states are kept between epochs; None to keep none.
    """
    learners = [start_learner(network, rule, n_kept) for network in networks]
    return stack_trials(networks, learners, seeds)


def learn_batch(
    network: Network,
    learner: Learner,
    x: Float[Array, "batch pixels"],
    draw: Draw,
    rates: Rates,
    plan: Plan,
    n_total: int,
) -> tuple[Network, Learner, Statistics]:
    """Settle one mini-batch and learn from it (steps 1 to 6 of the paper's recipe).

    Args:
        network: one network.
        learner: its learner.
        x: images.
        draw: which images they are, and weight 0 for a filler.
        rates: learning rates and λ.
        plan: the fixed shape of the run.
        n_total: mini-batches of the whole run.

    Returns:
        Network and learner after the update, and the batch's statistics before it, one
        value for each image.
    """
    n_total = n_total * plan.updates_per_batch
    n_before = learner.n_updates
    kept = learner.states
    start = initial_latents(network, x)
    if kept is not None:
        start = (x, *(states[draw.chosen] for states in kept))
    if plan.updates_per_batch == 1:
        moving, right, learner = _prepared(network, learner, len(x))
        length = network.settling.n_settle_steps, network.settling.tolerance
        alike = starts_alike(network, kept)
        settled = settle_from(moving, right, start, *length, final=right, alike=alike)
        seen = statistics(network, settled)
        updates = hebbian_updates(network, settled.latents, settled.responses, draw.weights)
        learned, learner = apply_updates(network, learner, updates, rates, plan.rule, n_total)
        latents = settled.latents
    else:
        learned, learner, seen, latents = _learn_while_settling(
            network, learner, start, draw.weights, rates, plan, n_total
        )
    if network.circuit.start == "amortised":
        updates = start_updates(network, start, latents, draw.weights)
        learned, learner = learn_start(
            learned, learner, updates, rates, plan.rule, n_total, n_before
        )
    if kept is not None:
        places = jnp.where(draw.weights > 0, draw.chosen, len(kept[0]))  # fillers: nowhere
        states = tuple(
            old.at[places].set(new, mode="drop") for old, new in zip(kept, latents[1:], strict=True)
        )
        learner = dataclasses.replace(learner, states=states)
    return learned, learner, seen


def _prepared(
    network: Network, learner: Learner, n_images: int
) -> tuple[Network, Operands, Learner]:
    """What settling needs, and the learner, which keeps inverses as the next search's start."""
    moving, right = prepare(network, learner.inverses, n_images=n_images)
    return moving, right, dataclasses.replace(learner, inverses=right.inverses or None)


def _learn_while_settling(
    network: Network,
    learner: Learner,
    start: Latents,
    weights: Float[Array, " batch"],
    rates: Rates,
    plan: Plan,
    n_total: int,
) -> tuple[Network, Learner, Statistics, Latents]:
    """Settle, and learn at every (T / updates)-th step from the responses that move it.

    Returns:
        Network and learner, what was seen at the last update, and the last states.
    """
    n_steps = network.settling.n_settle_steps
    n_plain = n_steps // plan.updates_per_batch - 1
    memory = start_memory(network, start)

    def segment(carry: tuple[Any, ...], _: None) -> tuple[tuple[Any, ...], Statistics]:
        network, learner, latents, memory = carry
        moving, right, learner = _prepared(network, learner, len(weights))

        def step(inner: Carry) -> Carry:
            return settle_step(moving, right, *inner)[0]

        latents, memory = repeat(step, (latents, memory), n_plain)
        (latents, memory), at = settle_step(moving, right, latents, memory)
        updates = hebbian_updates(network, at.point, at.responses, weights)
        steps = jnp.full(len(weights), n_steps)
        seen = statistics(network, Settled(at.point, at.responses, steps, None, None))
        network, learner = apply_updates(network, learner, updates, rates, plan.rule, n_total)
        return (network, learner, latents, memory), seen

    first = (network, learner, start, memory)
    (network, learner, latents, _), seen = lax.scan(
        segment, first, None, length=plan.updates_per_batch
    )
    return network, learner, jax.tree.map(lambda values: values[-1], seen), latents


def train_epoch(
    state: TrainingState,
    source: Source,
    rates: Rates,
    plan: Plan,
    on_batch: OnBatch | None = None,
    *,
    chunk: int | None = None,
    together: bool | None = None,
) -> tuple[TrainingState, EpochReport]:
    """Learn once from every image, in an order of its own for each trial.

    Args:
        state: networks and learners; left as it is.
        source: all training images.
        rates: learning rates, with a leading axis of trials.
        plan: the fixed shape of the run.
        on_batch: told of the progress; see `run_epoch`.
        chunk: mini-batches of a chunk, on which no result depends; see `run_epoch`.
        together: run trials at once; see `run_epoch`.

    Returns:
        The state after the epoch, and what was seen.
    """
    n_total = -(-len(source) // plan.batch_size) * plan.n_epochs
    learn = eqx.Partial(_learn_drawn, plan=plan, n_total=n_total)
    return run_epoch(
        state, source, plan.batch_size, learn, rates, on_batch, chunk=chunk, together=together
    )


def _learn_drawn(
    network: Network,
    learner: Learner,
    examples: Examples,
    draw: Draw,
    rates: Rates,
    *,
    plan: Plan,
    n_total: int,
) -> tuple[Network, Learner, Statistics]:
    x = examples.pixels(draw.chosen)
    return learn_batch(network, learner, x, draw, rates, plan, n_total)


def evaluate(network: Network, source: Source, batch_size: int) -> Statistics:
    """Mean statistics over images, settled in blocks so that memory stays bounded.

    Args:
        network: networks with a leading axis of trials.
        source: the images.
        batch_size: images settled at once.

    Returns:
        Statistics with a leading axis of trials.
    """
    return average(network, source, batch_size, _see_drawn)


def _see_drawn(network: Network, examples: Examples, draw: Draw) -> Statistics:
    return statistics(network, settle(network, examples.pixels(draw.chosen)))

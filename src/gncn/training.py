"""Training networks: settle a mini-batch, learn from it, and say what was seen.

Epochs of such mini-batches, and trials trained at once, are those of `gncn.epochs`.  A
last, short mini-batch is filled up with images of weight 0, which take no part in updates
and statistics, so its update is the mean over the images it really has.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gncn.discrepancy import binary_cross_entropy, discrepancy
from gncn.epochs import (
    Draw,
    EpochReport,
    OnBatch,
    Statistics,
    TrainingState,
    average,
    run_epoch,
    stack_trials,
)
from gncn.evaluation.sparsity import ACTIVE
from gncn.examples import Examples, Source
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
    return learn_batch(network, learner, x, draw.weights, rates, plan, n_total)


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

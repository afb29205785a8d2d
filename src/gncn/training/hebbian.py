"""How networks are trained: settle a mini-batch, learn from it, and say what was seen.

The paper's recipe learns once, from the settled states.  *Incremental predictive coding* (iPC;
Salvatori et al. 2022, 2024) learns several times while the states still settle, each time
from the responses that move the states in that step.

Epochs of mini-batches, and trials trained at once, are the work of `gncn.training.epochs`.  A
last, short mini-batch is filled up with images of weight 0.  These take no part in updates and
statistics, so its update is the mean over the images that it really has.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from gncn.base.errors import ConfigError, DataError
from gncn.core.build import Settling, build
from gncn.core.chain import Chain
from gncn.core.circuit import Circuit
from gncn.core.discrepancy import discrepancy
from gncn.core.fast import Carry, for_batch, prepare, repeat
from gncn.core.learning import Updates, hebbian_updates, learned, plastic
from gncn.core.likelihood import binary_cross_entropy
from gncn.core.network import Latents, Network
from gncn.core.settling import Settled, settle, settle_from
from gncn.core.states import initial_latents
from gncn.data import Dataset
from gncn.training.config import Plan, TrainingConfig, refuse_idle, untaken
from gncn.training.epochs import (
    ACTIVE,
    Batch,
    Statistics,
    TrainingState,
    average,
    stack_trials,
)
from gncn.training.examples import Source
from gncn.training.fit import Fit, Listener, Method, fit, method_of
from gncn.training.history import ErrorName, error_name
from gncn.training.kinds import Idle, ModelKind, Run, register_kind
from gncn.training.optimiser import Learner, Rates, Rule, direction, rate_factor

IDLE = untaken("feedback_rate", "precision_rate", "precision_bounds", "ipc_updates")
"""Options of ``[training]`` without effect on networks."""


def reconstruction_error(network: Network, settled: Settled) -> Float[Array, " batch"]:
    """BCE in nats (Bernoulli data) or squared error (Gaussian data), summed over pixels."""
    if network.circuit.binary:
        return binary_cross_entropy(settled.latents[0], settled.responses.drives[0])
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


def start_learner(network: Network, rule: Rule) -> Learner:
    """The learner before the first mini-batch.

    One optimiser state serves W and E: optimisers work entry by entry, and ΔE is the
    transpose of ΔW, so E's direction is the transpose of W's.
    """
    optimizer = direction(rule).init(plastic(network))
    return Learner(optimizer, jnp.zeros((), int), prepare(network).tools)


def start_training(networks: Sequence[Network], rule: Rule, seeds: Sequence[int]) -> TrainingState:
    """Stack networks of one circuit for training, one for each trial."""
    return stack_trials(networks, [start_learner(one, rule) for one in networks], seeds)


def learn_batch(
    network: Network,
    learner: Learner,
    batch: Batch,
    key: PRNGKeyArray,
    rates: Rates,
    plan: Plan,
    n_total: int,
) -> tuple[Network, Learner, Statistics]:
    """Settle one mini-batch and learn from it (steps 1 to 6 of the paper's recipe).

    Args:
        network: one network.
        learner: its learner.
        batch: images.
        key: unused, because settling draws nothing.
        rates: learning rates and λ.
        plan: the fixed shape of the run.
        n_total: mini-batches of the whole run.

    Returns:
        Network and learner after the update, and the batch's statistics before it, one
        value for each image.
    """
    n_total = n_total * plan.ipc_updates
    start = initial_latents(network, batch.images)
    if plan.ipc_updates > 1:
        return _learn_while_settling(network, learner, start, batch.weights, rates, plan, n_total)
    prepared = prepare(network, learner.tools or None)
    length = network.settler.n_settle_steps, network.settler.tolerance
    settled = settle_from(prepared, prepared.network, start, *length, alike=True)
    seen = statistics(network, settled)
    updates = hebbian_updates(network, settled.latents, settled.responses, batch.weights)
    learner = dataclasses.replace(learner, tools=prepared.tools)
    network, learner = apply_updates(network, learner, updates, rates, plan.rule, n_total)
    return network, learner, seen


def apply_updates(
    network: Network,
    learner: Learner,
    updates: Updates,
    rates: Rates,
    rule: Rule,
    n_total: int,
) -> tuple[Network, Learner]:
    """Take one step along `updates`.

    Args:
        network: the network.
        learner: its learner.
        updates: from `hebbian_updates`.
        rates: learning rates and λ.
        rule: optimiser, schedule and bounds.
        n_total: updates of the whole run, for the schedule.
    """
    factor = rate_factor(rule, learner.n_updates, n_total)
    steps, state = direction(rule).update(updates.connections, learner.optimizer)
    network = learned(
        network,
        cast(tuple[Any, ...], steps),
        updates,
        rate=rates.learning_rate * factor,
        feedback_rate=rates.feedback_rate,
        precision_rate=rates.precision_rate * factor,
        precision_bounds=rule.precision_bounds,
    )
    return network, dataclasses.replace(learner, optimizer=state, n_updates=learner.n_updates + 1)


def _learn_while_settling(
    network: Network,
    learner: Learner,
    start: Latents,
    weights: Float[Array, " batch"],
    rates: Rates,
    plan: Plan,
    n_total: int,
) -> tuple[Network, Learner, Statistics]:
    """Settle, and learn at every (T / updates)-th step from the responses that move it.

    Returns:
        Network and learner, and what was seen at the last update.
    """
    n_steps, n_images = network.settler.n_settle_steps, len(weights)
    n_plain = n_steps // plan.ipc_updates - 1

    def segment(carry: tuple[Any, ...], _: None) -> tuple[tuple[Any, ...], Statistics]:
        network, learner, latents, state = carry
        prepared = prepare(network, learner.tools or None)
        moving = for_batch(prepared, n_images)

        def step(inner: Carry) -> Carry:
            return network.settler.step(*moving, *inner)

        latents, state = repeat(step, (latents, state), n_plain)
        responses = moving.network.respond(latents)
        steps = jnp.full(n_images, n_steps)
        seen = statistics(network, Settled(latents, responses, steps, None))
        updates = hebbian_updates(network, latents, responses, weights)
        latents, state = network.settler.step(*moving, latents, state)
        learner = dataclasses.replace(learner, tools=prepared.tools)
        network, learner = apply_updates(network, learner, updates, rates, plan.rule, n_total)
        return (network, learner, latents, state), seen

    first = (network, learner, start, network.settler.init(network, start))
    (network, learner, *_), seen = lax.scan(segment, first, None, length=plan.ipc_updates)
    return network, learner, jax.tree.map(lambda values: values[-1], seen)


def see(network: Network, batch: Batch, key: PRNGKeyArray) -> Statistics:
    """Statistics of images after settling, which draws nothing."""
    return statistics(network, settle(network, batch.images))


def evaluate(networks: Network, source: Source, batch_size: int) -> Statistics:
    """Mean statistics over images of networks with a leading axis of trials."""
    return average(networks, source, batch_size, see)


@method_of.register
def _(
    model: Network,
    models: Sequence[Network],
    data: Dataset,
    configs: Sequence[TrainingConfig],
    seeds: Sequence[int],
) -> Method:
    """Settling and Hebbian updates."""
    if any((one.circuit, one.settler) != (model.circuit, model.settler) for one in models):
        raise ConfigError(
            "Networks trained together must share one circuit and one settler; they may "
            "differ in seeds and in β, γ, α_e and α_h."
        )
    layer = model.circuit.layers[0]
    if layer.size != data.n_pixels:
        raise DataError(
            f"The network's layer 0 has {layer.size} neurons, but images of {data.name!r} have "
            f"{data.n_pixels} pixels; build the circuit with sizes=({data.n_pixels}, ...)."
        )
    for one in configs:
        refuse_idle(one, IDLE, "for a model that learns without backprop", "training.")
        for names, why in _idle_in_learning(model.circuit):
            refuse_idle(one, names, why, "training.")
    config = configs[0]
    _refuse_ipc(model, config.ipc_updates)
    return Method(
        start_training(models, config.plan().rule, seeds),
        learn_batch,
        see,
        "error",
        "Lower settling.step_size (β) or training.learning_rate, or hold the synapses with "
        "network.norm='clipped'.",
    )


def _idle_in_learning(circuit: Circuit) -> Iterator[tuple[tuple[str, ...], str]]:
    """Options of learning without effect on a circuit: their names and why."""
    if not circuit.learns_precision:
        yield ("precision_rate", "precision_bounds"), "without network.precision"
    if not circuit.learns_feedback:
        yield ("feedback_rate",), "without network.feedback='learned'"


def _refuse_ipc(network: Network, n_updates: int) -> None:
    """Refuse updates while settling that the way of settling rules out."""
    n_steps, tolerance = network.settler.n_settle_steps, network.settler.tolerance
    if n_steps % n_updates:
        raise ConfigError(
            "training.ipc_updates must divide settling.n_settle_steps; received "
            f"{n_updates} updates in {n_steps} steps."
        )
    if n_updates > 1 and tolerance is not None:
        raise ConfigError(
            f"training.ipc_updates={n_updates} learns at fixed steps, so states can't settle "
            f"to a tolerance; received settling.tolerance={tolerance}."
        )


@error_name.register
def _(model: Network) -> ErrorName:
    return "bce" if model.circuit.binary else "squared_error"


class _Networks(ModelKind[Run]):
    """Generative neural coding networks."""

    name = "gncn"
    sections: ClassVar = {"network": Chain, "settling": Settling, "training": TrainingConfig}

    def idle(self, config: Run) -> Iterator[Idle]:
        circuit = config.network.wiring()
        yield "training", IDLE, f"with model={self.name!r}"
        if not circuit.competes:
            lateral = ("self_excitation", "lateral_inhibition")
            yield "settling", lateral, "without network.competition"
        if not circuit.learns_precision:
            yield "settling", ("initial_precision",), "without network.precision"
        for names, why in _idle_in_learning(circuit):
            yield "training", names, why

    def check(self, config: Run) -> None:
        """The first precision must lie within the bounds to which learning holds it."""
        lowest, highest = config.training.precision_bounds
        initial = config.settling.initial_precision
        precise = config.network.wiring().learns_precision
        if precise and not lowest <= initial <= highest:
            raise ConfigError(
                f"settling.initial_precision={initial} must lie within training.precision_bounds="
                f"{config.training.precision_bounds}, to which learning would move it at once."
            )

    @staticmethod
    def _circuit(config: Run, data: Dataset) -> Circuit:
        return config.network.circuit(data.n_pixels)

    def models(self, config: Run, data: Dataset) -> list[Network]:
        circuit, settling = self._circuit(config, data), config.settling
        return [build(circuit, seed=seed, **settling.given()) for seed in config.seeds]

    def n_synapses(self, config: Run, data: Dataset) -> int:
        return self._circuit(config, data).n_synapses

    def describe(self, config: Run, data: Dataset) -> str:
        circuit = self._circuit(config, data)
        return f"{'-'.join(map(str, circuit.sizes))}; {circuit.n_synapses:,} synapses"

    def train(self, config: Run, data: Dataset, listeners: Sequence[Listener] = ()) -> Fit[Network]:
        models = self.models(config, data)
        return fit(models, data, config.training, seeds=config.seeds, listeners=listeners)


register_kind(_Networks())

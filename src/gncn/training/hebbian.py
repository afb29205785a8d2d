"""How networks are trained: settle a mini-batch, learn from it, and say what was seen.

The paper's recipe learns once, from the settled states.  *Incremental predictive coding* (iPC;
Salvatori et al. 2022, 2024) learns several times while the states still settle, each time
from the responses that move the states in that step.

A last, short mini-batch is filled up with images of weight 0.  These take no part in updates and
statistics, so its update is the mean over the images that it really has.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from gncn.base.errors import ConfigError, DataError
from gncn.core.build import build
from gncn.core.circuit import Circuit
from gncn.core.discrepancy import discrepancy
from gncn.core.fast import Carry, for_batch, prepare, repeat
from gncn.core.learning import Updates, hebbian_updates, learned, plastic
from gncn.core.likelihood import binary_cross_entropy
from gncn.core.network import Network
from gncn.core.settling import Settled, settle, settle_from
from gncn.core.states import initial_latents
from gncn.data import Dataset
from gncn.training.config import Rates, TrainingConfig, refuse_idle
from gncn.training.epochs import ACTIVE, Batch, Learner, Method, Monitored, Statistics
from gncn.training.fit import method_of
from gncn.training.history import ErrorName
from gncn.training.kinds import MODEL_KINDS, Idle, ModelKind, Run

IDLE = ("clip_norm",)
"""Options of ``[training]`` without effect on networks."""


def reconstruction_error(network: Network, settled: Settled) -> Float[Array, " batch"]:
    """BCE in nats (Bernoulli data) or squared error (Gaussian data), summed over pixels."""
    if network.circuit.binary:
        return binary_cross_entropy(settled.latents[0], settled.responses.drives[0])
    return jnp.sum((settled.latents[0] - settled.reconstruction) ** 2, axis=-1)


def statistics(network: Network, settled: Settled) -> Statistics:
    """Statistics of settled images, one value for each."""
    psi = discrepancy(network, settled.latents, settled.responses)
    active = [jnp.mean(z > ACTIVE, axis=-1) for z in settled.latents[1:]]
    return Statistics(
        reconstruction_error(network, settled),
        psi.total,
        psi.layers,
        jnp.stack(active, axis=-1),
        settled.n_steps.astype(jnp.float32),
    )


class Hebbian(Method):
    """Settling and Hebbian updates."""

    advice = (
        "Lower settling.step_size (β) or training.learning_rate, or hold the synapses with "
        "network.norm='clipped'."
    )

    @staticmethod
    def error_name(network: Network) -> ErrorName:
        return "bce" if network.circuit.binary else "squared_error"

    @staticmethod
    def monitored(network: Network) -> Monitored:
        return "error"

    @staticmethod
    def see(network: Network, batch: Batch, key: PRNGKeyArray) -> Statistics:
        """Statistics after settling, which draws nothing."""
        return statistics(network, settle(network, batch.images))

    def init(self, network: Network) -> Learner:
        """One optimiser state serves W and E.

        Optimisers work entry by entry, and ΔE is the transpose of ΔW, so E's direction is the
        transpose of W's.
        """
        optimizer = self.config.direction().init(plastic(network))
        # Prepared once already, so that the learner has one structure before and after learning.
        return Learner(optimizer, jnp.zeros((), int), prepare(network).tools)

    def learn(
        self, network: Network, learner: Learner, batch: Batch, key: PRNGKeyArray, rates: Rates
    ) -> tuple[Network, Learner, Statistics]:
        """Settle one mini-batch and learn from it (steps 1 to 6 of the paper's recipe)."""
        if self.config.ipc_updates > 1:
            return self._learn_while_settling(network, learner, batch, rates)
        # Empty tools are no guess.
        prepared = prepare(network, learner.tools or None)
        length = network.settler.n_settle_steps, network.settler.tolerance
        start = initial_latents(network, batch.images)
        settled = settle_from(prepared, start, *length, alike=True)
        seen = statistics(network, settled)
        updates = hebbian_updates(network, settled.latents, settled.responses, batch.weights)
        learner = dataclasses.replace(learner, tools=prepared.tools)
        return *self.update(network, learner, updates, rates), seen

    def _learn_while_settling(
        self, network: Network, learner: Learner, batch: Batch, rates: Rates
    ) -> tuple[Network, Learner, Statistics]:
        """Settle, and learn at every (T / updates)-th step from the responses that move it.

        The statistics describe the last update.
        """
        n_steps, n_images = network.settler.n_settle_steps, len(batch.weights)
        # Each update follows so many plain steps, and its own step comes last.
        n_plain = n_steps // self.config.ipc_updates - 1

        def segment(carry: tuple[Any, ...], _: None) -> tuple[tuple[Any, ...], Statistics]:
            network, learner, latents, state = carry
            prepared = prepare(network, learner.tools or None)
            moving = for_batch(prepared, n_images)

            def step(inner: Carry) -> Carry:
                return network.settler.step(*moving, *inner)

            latents, state = repeat(step, (latents, state), n_plain)
            responses = moving.network.respond(latents)
            # Statistics come from the responses that learning uses: nothing settles again.
            steps = jnp.full(n_images, n_steps)
            seen = statistics(network, Settled(latents, responses, steps, None))
            updates = hebbian_updates(network, latents, responses, batch.weights)
            latents, state = step((latents, state))
            learner = dataclasses.replace(learner, tools=prepared.tools)
            return (*self.update(network, learner, updates, rates), latents, state), seen

        start = initial_latents(network, batch.images)
        first = (network, learner, start, network.settler.init(network, start))
        last, seen = lax.scan(segment, first, None, length=self.config.ipc_updates)
        return *last[:2], jax.tree.map(lambda values: values[-1], seen)

    def update(
        self, network: Network, learner: Learner, updates: Updates, rates: Rates
    ) -> tuple[Network, Learner]:
        """Take one step along `updates`."""
        factor = self.config.rate_factor(self.n_updates)(learner.n_updates)
        steps, state = self.config.direction().update(updates.plastic, learner.optimizer)
        network = learned(
            network,
            cast(tuple[Any, ...], steps),
            updates,
            rate=rates.learning_rate * factor,
            # Not scaled by the schedule: it multiplies the step of W, which is scaled already.
            feedback_rate=rates.feedback_rate,
            precision_rate=rates.precision_rate * factor,
            precision_bounds=self.config.precision_bounds,
        )
        after = learner.n_updates + 1
        return network, dataclasses.replace(learner, optimizer=state, n_updates=after)

    @staticmethod
    def check(models: Sequence[Network], data: Dataset, config: TrainingConfig) -> None:
        circuit, settler = models[0].circuit, models[0].settler
        # One program trains all, and the circuit and settler are compiled into it.
        if any((one.circuit, one.settler) != (circuit, settler) for one in models):
            raise ConfigError(
                "Networks trained together must share one circuit and one settler; they may "
                "differ in seeds and in β, γ, α_e and α_h."
            )
        if circuit.sizes[0] != data.n_pixels:
            raise DataError(
                f"The network's layer 0 has {circuit.sizes[0]} neurons, but images of "
                f"{data.name!r} have {data.n_pixels} pixels; build the circuit with "
                f"sizes=({data.n_pixels}, ...)."
            )
        _refuse_range(circuit, data)
        refuse_idle(config, IDLE, "for a model that learns without backprop", "training.")
        for names, why in _idle_in_learning(circuit):
            refuse_idle(config, names, why, "training.")
        if settler.n_settle_steps % config.ipc_updates:
            raise ConfigError(
                "training.ipc_updates must divide settling.n_settle_steps; received "
                f"{config.ipc_updates} updates in {settler.n_settle_steps} steps."
            )
        if config.ipc_updates > 1 and settler.tolerance is not None:
            raise ConfigError(
                f"training.ipc_updates={config.ipc_updates} learns at fixed steps, so states can't "
                f"settle to a tolerance; received settling.tolerance={settler.tolerance}."
            )


method_of.register(Network, lambda _: Hebbian)


def _refuse_range(circuit: Circuit, data: Dataset) -> None:
    """Refuse values outside of [0, 1] for a Bernoulli output, by a `DataError`."""
    low, high = data.limits if circuit.binary else (0.0, 1.0)
    if not 0 <= low <= high <= 1:
        raise DataError(
            f"A Bernoulli output takes pixels in [0, 1]; images of {data.name!r} have values from "
            f"{low:g} to {high:g}. Rescale them, or choose likelihood='gaussian', to which any "
            "finite value is data."
        )


def _idle_in_learning(circuit: Circuit) -> Iterator[tuple[tuple[str, ...], str]]:
    """Options of learning without effect on a circuit: their names and why."""
    if not circuit.learns_precision:
        yield ("precision_rate", "precision_bounds"), "without network.precision"
    if not circuit.learns_feedback:
        yield ("feedback_rate",), "without network.feedback='learned'"


class _Networks(ModelKind[Run]):
    """Generative neural coding networks."""

    name = "gncn"
    sections = ("network", "settling", "training")

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
        within = lowest <= initial <= highest
        if not within and config.network.wiring().learns_precision:
            raise ConfigError(
                f"settling.initial_precision={initial} must lie within training.precision_bounds="
                f"{config.training.precision_bounds}, to which learning would move it at once."
            )

    def models(self, config: Run, data: Dataset) -> list[Network]:
        circuit, settling = config.network.circuit(data.n_pixels), config.settling
        return [build(circuit, seed=seed, **dict(settling)) for seed in config.seeds]

    def n_synapses(self, config: Run, data: Dataset) -> int:
        return config.network.circuit(data.n_pixels).n_synapses

    def n_codes(self, config: Run) -> int:
        """The neurons of the top layer."""
        return config.network.sizes[-1]

    def describe(self, config: Run, data: Dataset) -> str:
        circuit = config.network.circuit(data.n_pixels)
        _refuse_range(circuit, data)
        return f"{'-'.join(map(str, circuit.sizes))}; {circuit.n_synapses:,} synapses"


MODEL_KINDS["gncn"] = _Networks()

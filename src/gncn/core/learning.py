"""Learning: local Hebbian updates of the synapses after settling (Eqs 7, 17, 18, 19).

Each synapse changes by the product of what its two neurons do, averaged over the
mini-batch:

    ΔW^l = e^l φ(z^{l+1})^T        (Eqs 17, 18)
    ΔE^l = λ φ(z^{l+1}) (e^l)^T    (Eq 19; the transpose of ΔW^l, times λ)
    ΔΣ⁻¹ = ½ Σ − ½ E[d d^T]        (Eq 7)

All three ascend ψ.  An Optax optimiser turns ΔW into steps.  Optimisers work entry by
entry, so E's direction is the transpose of W's, as ΔE is of ΔW, and one optimiser state
serves both.  λ multiplies E's step *after* the optimiser, for Adam would cancel a factor
that came before it.  The precision takes plain gradient steps of its own rate, since Adam
moves all J² entries equally far whatever their evidence.  Last, W and E are held to their
norms and the eigenvalues of Σ⁻¹ to their bounds.

If settling has an amortised start, z_0^l = c + A^l φ(z_0^{l-1}) (with the data themselves
at the bottom), A learns by the delta rule from where settling ends:

    ΔA^l = (z^l − z_0^l) φ(z_0^{l-1})^T

With transposed feedback ΔW^l is (g' ⊙ e^l) φ^T, the exact gradient.
"""

import dataclasses
from typing import Any, Literal, NamedTuple, cast

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int
from pydantic import Field, model_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError
from gncn.core.acceleration import prepare
from gncn.core.discrepancy import Latents, Responses, activities
from gncn.core.network import Network, constrain, product
from gncn.core.precision import hold_eigenvalues, precision_update
from gncn.core.settling import through_prediction


class Synapses(NamedTuple):
    """The part of a network that learns, or an update of the same shape.

    Attributes:
        forward: W, or ΔW, of each connection.
        feedback: E, or ΔE; empty unless feedback is learned.
        precision: Σ⁻¹, or its update, of each layer; None where it is off.
    """

    forward: tuple[Float[Array, "_target _source"], ...]
    feedback: tuple[Float[Array, "_source _target"], ...]
    precision: tuple[Float[Array, "_units _units"] | Float[Array, " _units"] | None, ...]


class Rule(Description):
    """How updates become steps; everything here is fixed when the program is compiled.

    Attributes:
        optimizer: ``adam`` or ``sgd``.
        momentum: of ``sgd``.
        schedule: of all rates over the run: ``constant``, ``cosine`` or
            ``exponential`` decay to `final_fraction` of their value.
        final_fraction: what is left of the rates at the end of the run.
        warmup_fraction: share of the run over which the rates first rise from 0.
        precision_bounds: least and greatest eigenvalue of every Σ⁻¹.
        clip_norm: greatest Euclidean norm of a whole gradient, to which longer ones are
            rescaled; for models trained by backprop only.
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = Field(default=0.0, ge=0, lt=1)
    schedule: Literal["constant", "cosine", "exponential"] = "constant"
    final_fraction: float = Field(default=0.0, ge=0, le=1)
    warmup_fraction: float = Field(default=0.0, ge=0, lt=1)
    precision_bounds: tuple[float, float] = (0.1, 10.0)
    clip_norm: float = Field(default=5.0, gt=0)

    @model_validator(mode="after")
    def _check(self) -> "Rule":
        lowest, highest = self.precision_bounds
        if not 0 < lowest <= highest:
            raise ValueError(
                f"precision_bounds must be two numbers, 0 < lowest <= highest; received "
                f"{self.precision_bounds}."
            )
        if self.schedule == "exponential" and self.final_fraction == 0:
            raise ValueError("an exponential schedule never reaches 0: set final_fraction > 0.")
        if self.schedule == "constant" and self.final_fraction:
            raise ValueError(
                "a constant schedule has no final_fraction; use schedule='cosine' or "
                f"'exponential'; received {self.final_fraction}."
            )
        if self.optimizer == "adam" and self.momentum:
            raise ValueError("momentum belongs to optimizer='sgd'; Adam has its own.")
        return self


class Rates(eqx.Module):
    """Numbers that may differ between networks trained by one program.

    Attributes:
        learning_rate: of W and E.
        feedback_rate: λ, the step of E relative to that of W (Eq 19).
        start_rate: the step of A relative to that of W.
        precision_rate: step of Eq 7.
    """

    learning_rate: Float[Array, "*trials"]
    feedback_rate: Float[Array, "*trials"]
    start_rate: Float[Array, "*trials"]
    precision_rate: Float[Array, "*trials"]


class Learner(eqx.Module):
    """What learning remembers between mini-batches.

    Attributes:
        optimizer: state of the Optax optimiser, of W alone.
        n_updates: updates made so far.
        start_optimizer: that of A; None unless the circuit's start is ``amortised``.
        states: settled states of every training image, if they are kept: one array of
            shape (images, J_l) for each latent layer.
        inverses: those that Newton's steps took last, where the search for the next
            begins; None for other steps.
    """

    optimizer: Any
    n_updates: Int[Array, "*trials"]
    start_optimizer: Any = None
    states: tuple[Float[Array, "*trials images _units"], ...] | None = None
    inverses: tuple[Float[Array, "*trials _units _units"], ...] | None = None


def rates(
    learning_rate: float = 1e-3,
    feedback_rate: float = 1.0,
    precision_rate: float = 1e-3,
    start_rate: float = 1.0,
) -> Rates:
    """Check and pack the rates.

    Raises:
        ConfigError: a rate is negative or not finite, or λ exceeds 1.
    """
    given = {
        "learning_rate": learning_rate,
        "feedback_rate": feedback_rate,
        "precision_rate": precision_rate,
        "start_rate": start_rate,
    }
    for name, value in given.items():
        if not 0 <= value < float("inf"):
            raise ConfigError(f"{name} must be finite and at least 0; received {value}.")
    if feedback_rate > 1:
        raise ConfigError(
            f"feedback_rate (λ in Eq 19) must be in [0, 1]; received {feedback_rate}."
        )
    return Rates(**{name: jnp.asarray(value, jnp.float32) for name, value in given.items()})


def direction(rule: Rule) -> optax.GradientTransformation:
    """The optimiser that turns updates into directions; rates multiply those."""
    if rule.optimizer == "adam":
        return optax.scale_by_adam()
    return optax.trace(rule.momentum) if rule.momentum else optax.identity()


def rate_factor(rule: Rule, n_updates: Int[Array, ""], n_total: int) -> Float[Array, ""]:
    """What the schedule multiplies all rates with, for update `n_updates` of `n_total`."""
    n_warmup = round(rule.warmup_fraction * n_total)
    n_decay = max(n_total - n_warmup, 1)
    if rule.schedule == "cosine":
        decay = optax.cosine_decay_schedule(1.0, n_decay, alpha=rule.final_fraction)
    elif rule.schedule == "exponential":
        decay = optax.exponential_decay(1.0, n_decay, rule.final_fraction)
    else:
        decay = optax.constant_schedule(1.0)
    if n_warmup:
        decay = optax.join_schedules([optax.linear_schedule(0, 1, n_warmup), decay], [n_warmup])
    return jnp.asarray(decay(n_updates), jnp.float32)


def plastic(network: Network) -> Synapses:
    """The synapses of a network that learning changes."""
    learned = network.circuit.feedback == "learned"
    feedback = network.feedback_weights if learned else ()
    return Synapses(network.forward_weights, feedback, network.precision)


def start_learner(network: Network, rule: Rule, n_kept: int | None = None) -> Learner:
    """The learner's state before the first mini-batch.

    Args:
        network: the network.
        rule: names the optimiser.
        n_kept: training images whose states are kept; None to keep none.
    """
    circuit = network.circuit
    amortised = circuit.start == "amortised"
    return Learner(
        direction(rule).init(network.forward_weights),
        jnp.zeros((), int),
        direction(rule).init(network.start_weights) if amortised else None,
        None
        if n_kept is None
        else tuple(jnp.full((n_kept, j), circuit.initial_state) for j in circuit.sizes[1:]),
        prepare(network)[1].inverses if network.settling.step_rule == "newton" else None,
    )


def hebbian_updates(
    network: Network,
    latents: Latents,
    responses: Responses,
    weights: Float[Array, " batch"] | None = None,
) -> Synapses:
    """ΔW, ΔE (with λ = 1) and ΔΣ⁻¹: directions that ascend ψ, averaged over the batch.

    Args:
        network: the network.
        latents: settled states of layers 0..L.
        responses: `respond` of these states.
        weights: weight of each image in the average, not negative; by default all
            equal.  An image of weight 0 leaves no trace.

    Returns:
        Updates of the shapes of `plastic(network)`.
    """
    share = _shares(weights, latents[0].shape[0])
    forward, feedback = [], []
    for connection in network.circuit.connections:
        activity, error = (
            responses.activities[connection.source],
            responses.errors[connection.target],
        )
        assert activity is not None
        assert error is not None
        if network.circuit.feedback == "transposed":
            error = through_prediction(network, responses, connection.target)
        error = error * share[:, None]
        forward.append(product(error.T, activity.astype(network.settling.products)))
        if network.circuit.feedback == "learned":
            feedback.append(forward[-1].T)
    precision = []
    for current, deviation in zip(network.precision, responses.deviations, strict=True):
        if current is None:
            precision.append(None)
            continue
        assert deviation is not None
        precision.append(precision_update(current, deviation, share))
    return Synapses(tuple(forward), tuple(feedback), tuple(precision))


def apply_updates(
    network: Network,
    learner: Learner,
    updates: Synapses,
    rates: Rates,
    rule: Rule,
    n_total: int,
) -> tuple[Network, Learner]:
    """Take one step along `updates` and hold norms and eigenvalues.

    Args:
        network: the network.
        learner: the learner's state.
        updates: from `hebbian_updates`; those of E are the transposes of those of W, and
            are not looked at.
        rates: learning rates and λ.
        rule: optimiser, schedule and bounds.
        n_total: number of mini-batches of the whole run, for the schedule.

    Returns:
        The network and learner after the step.
    """
    factor = rate_factor(rule, learner.n_updates, n_total)
    steps, state = direction(rule).update(updates.forward, learner.optimizer)
    directions = cast(tuple[Array, ...], steps)
    rate = rates.learning_rate * factor
    forward = tuple(w + rate * d for w, d in zip(network.forward_weights, directions, strict=True))
    feedback = network.feedback_weights
    if network.circuit.feedback == "learned":
        feedback = tuple(
            e + rates.feedback_rate * rate * d.T for e, d in zip(feedback, directions, strict=True)
        )
    lowest, highest = rule.precision_bounds
    precision = tuple(
        None
        if p is None or d is None
        else hold_eigenvalues(p + rates.precision_rate * factor * d, lowest, highest)
        for p, d in zip(network.precision, updates.precision, strict=True)
    )
    network = eqx.tree_at(
        lambda n: (n.forward_weights, n.feedback_weights, n.precision),
        network,
        (forward, feedback, precision),
        is_leaf=lambda leaf: leaf is None,
    )
    learner = dataclasses.replace(learner, optimizer=state, n_updates=learner.n_updates + 1)
    return constrain(network), learner


def _shares(weights: Float[Array, " batch"] | None, batch: int) -> Float[Array, " batch"]:
    """Each image's share in an average; equal ones if there are no weights."""
    share = jnp.ones(batch) if weights is None else weights
    return share / jnp.sum(share)


def start_updates(
    network: Network,
    start: Latents,
    settled: Latents,
    weights: Float[Array, " batch"] | None = None,
) -> tuple[Float[Array, "_source _target"], ...]:
    """ΔA: moves the states from which settling starts towards those where it ended.

    Args:
        network: the network.
        start: states of layers 0..L before settling, from `initial_latents`.
        settled: after it.
        weights: see `hebbian_updates`.

    Returns:
        One array for each connection.
    """
    share = _shares(weights, start[0].shape[0])[:, None]
    sent = activities(network, start)
    updates = []
    for c in network.circuit.connections:
        below = start[0] if c.target == 0 else sent[c.target]
        assert below is not None
        updates.append(((settled[c.source] - start[c.source]) * share).T @ below)
    return tuple(updates)


def learn_start(
    network: Network,
    learner: Learner,
    updates: tuple[Float[Array, "_source _target"], ...],
    rates: Rates,
    rule: Rule,
    n_total: int,
    n_updates: Int[Array, ""],
) -> tuple[Network, Learner]:
    """Take one step of A along `updates`.

    Args:
        network: the network.
        learner: the learner's state.
        updates: from `start_updates`.
        rates: learning rates.
        rule: optimiser and schedule.
        n_total: number of updates of the whole run, for the schedule.
        n_updates: those made before this mini-batch: A's rate is that of its first.

    Returns:
        The network and learner after the step.
    """
    steps, state = direction(rule).update(updates, learner.start_optimizer)
    rate = rates.start_rate * rates.learning_rate * rate_factor(rule, n_updates, n_total)
    weights = tuple(
        a + rate * d
        for a, d in zip(network.start_weights, cast(tuple[Array, ...], steps), strict=True)
    )
    network = eqx.tree_at(lambda n: n.start_weights, network, weights)
    return network, dataclasses.replace(learner, start_optimizer=state)

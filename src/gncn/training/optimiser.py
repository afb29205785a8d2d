"""From updates to steps: optimiser, schedule, and the numbers that scale a step.

An update says which way synapses should go.  The optimiser turns it into a direction, and a
rate times the schedule's factor s(t) makes that a step:

    θ ← θ + η s(t) · direction

Networks ascend ψ by Hebbian updates (`gncn.training.hebbian`); baselines descend a loss by its
gradients (`gncn.baselines.descent`).
"""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int
from pydantic import Field, model_validator

from gncn.base.description import Description


class Rule(Description):
    """How updates become steps; everything here is fixed when the program is compiled.

    Attributes:
        optimizer: ``adam`` or ``sgd``.
        momentum: of ``sgd``.
        schedule: of all rates over the run: ``constant``, or ``cosine`` or ``exponential``
            decay to `final_fraction` of their value.
        final_fraction: share of the rates that is left at the end of the run.
        warmup_fraction: share of the run over which the rates first rise from 0.
        precision_bounds: least and greatest eigenvalue of every Σ⁻¹; for networks only.
        clip_norm: greatest Euclidean norm of a whole gradient; longer ones are rescaled to
            it.  For models trained by backprop only.
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
    """Numbers that may differ between models trained by one program.

    Attributes:
        learning_rate: step of W, or of a baseline's weights.
        feedback_rate: λ, the step of E relative to that of W (Eq 19).
        precision_rate: step of Σ⁻¹ (Eq 7).
    """

    learning_rate: Float[Array, "*trials"]
    feedback_rate: Float[Array, "*trials"]
    precision_rate: Float[Array, "*trials"]


def rates(
    learning_rate: float = 1e-3, feedback_rate: float = 1.0, precision_rate: float = 1e-3
) -> Rates:
    """Pack rates as arrays; `gncn.TrainingConfig` checks their values."""
    return Rates(*(jnp.float32(rate) for rate in (learning_rate, feedback_rate, precision_rate)))


class Learner(eqx.Module):
    """What learning remembers between mini-batches.

    Attributes:
        optimizer: state of the Optax optimiser.
        n_updates: updates made so far.
        tools: what the settler prepared for the last mini-batch, such as Newton's inverses:
            the search for the next ones begins there.  Empty for other settlers.
    """

    optimizer: Any
    n_updates: Int[Array, "*trials"]
    tools: Any = ()


def direction(rule: Rule) -> optax.GradientTransformation:
    """The optimiser that turns updates into directions; rates multiply those."""
    if rule.optimizer == "adam":
        return optax.scale_by_adam()
    return optax.trace(rule.momentum) if rule.momentum else optax.identity()


def rate_factor(rule: Rule, n_updates: Int[Array, ""], n_total: int) -> Float[Array, ""]:
    """The schedule's factor s(t) for all rates.

    Args:
        rule: names the schedule.
        n_updates: updates made so far.
        n_total: updates of the whole run.
    """
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

"""`TrainingConfig`: how any model is trained, and how updates become steps.

An update says which way synapses should go.  The optimiser turns it into a direction, and a
rate times the schedule's factor s(t) makes that a step:

    θ ← θ + η s(t) · direction

Networks ascend ψ by Hebbian updates (`gncn.training.hebbian`); baselines descend a loss by its
gradients (`gncn.baselines.descent`).
"""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from pydantic import Field, model_validator

from gncn.base.description import Description
from gncn.base.errors import MOST_COUNT, MOST_STEPS, ConfigError


class Rates(NamedTuple):
    """Numbers that may differ between models trained by one program; see `TrainingConfig`."""

    learning_rate: Float[Array, "*trials"]
    feedback_rate: Float[Array, "*trials"]
    precision_rate: Float[Array, "*trials"]


class TrainingConfig(Description):
    """How a model is trained.  The defaults suit a few thousand images.

    Attributes:
        optimizer: ``adam`` or ``sgd``.
        momentum: share of the last step that ``sgd`` repeats.
        schedule: of all rates over the run: ``constant``, or ``cosine`` or ``exponential``
            decay to `final_fraction` of their value.
        final_fraction: share of the rates that is left at the end of the run.
        warmup_fraction: share of the run over which the rates first rise from 0.
        precision_bounds: least and greatest eigenvalue of every Σ⁻¹; for networks only.
        clip_norm: greatest Euclidean norm of a whole gradient; longer ones are rescaled to
            it.  For models trained by backprop only.
        n_epochs: passes over the training images.
        batch_size: images in a mini-batch.
        learning_rate: step of W, E and b, or of a baseline's weights.
        feedback_rate: λ of Eq 19: E takes λ times the steps of W.
        precision_rate: step of Σ⁻¹ (Eq 7).
        evaluation_batch_size: images evaluated at once.
        patience: stop after so many epochs in which no trial improved on the validation
            images, and keep each trial's best epoch.  None, or ``none`` in TOML: train to the
            end and keep the last epoch.
        train_on: ``train``, the training images; or ``both``, validation images, too, once
            settings have been chosen without them.  Nothing is then measured on validation images,
            so the number of epochs is fixed and `patience` is refused.
        ipc_updates: how often synapses learn while a mini-batch settles.  1: once, after it
            has settled (the paper's recipe).  More is *incremental predictive coding* (iPC;
            Salvatori et al. 2022, 2024): synapses learn at evenly spaced settling steps,
            whose number it must divide.
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = Field(default=0.0, ge=0, lt=1)
    schedule: Literal["constant", "cosine", "exponential"] = "constant"
    final_fraction: float = Field(default=0.0, ge=0, le=1)
    warmup_fraction: float = Field(default=0.0, ge=0, lt=1)
    precision_bounds: tuple[float, float] = (0.1, 10.0)
    clip_norm: float = Field(default=5.0, gt=0)
    n_epochs: int = Field(default=10, ge=1, le=1_000_000)
    batch_size: int = Field(default=50, ge=1, le=MOST_COUNT)
    learning_rate: float = Field(default=3e-3, ge=0)
    feedback_rate: float = Field(default=1.0, ge=0, le=1)
    precision_rate: float = Field(default=1e-3, ge=0)
    evaluation_batch_size: int = Field(default=200, ge=1, le=MOST_COUNT)
    patience: int | None = Field(default=None, ge=1, le=MOST_COUNT)
    train_on: Literal["train", "both"] = "train"
    ipc_updates: int = Field(default=1, ge=1, le=MOST_STEPS)

    @model_validator(mode="before")
    @classmethod
    def _none_in_words(cls, options: Any) -> Any:
        """TOML has no null, by which a preset's patience could be taken back."""
        if isinstance(options, dict) and options.get("patience") == "none":
            return options | {"patience": None}
        return options

    @model_validator(mode="after")
    def _check(self) -> "TrainingConfig":
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
        if self.train_on == "both" and self.patience is not None:
            raise ValueError(
                f"train_on='both' learns from validation images, which can't say when to stop: "
                f"give patience='none' and a number of epochs; received patience={self.patience}."
            )
        if self.optimizer == "adam" and self.momentum:
            raise ValueError("momentum belongs to optimizer='sgd'; Adam has its own.")
        return self

    def rates(self) -> Rates:
        """The rates as arrays."""
        # Arrays, since programs are given rates: trials with other rates need no program of their
        # own.
        return Rates(*(jnp.float32(getattr(self, name)) for name in Rates._fields))

    def without_rates(self) -> "TrainingConfig":
        """The same with default rates: all that a program is compiled for."""
        fields = type(self).model_fields
        return self.model_copy(update={name: fields[name].default for name in Rates._fields})

    def direction(self) -> optax.GradientTransformation:
        """The optimiser that turns updates into directions; rates multiply those."""
        if self.optimizer == "adam":
            return optax.scale_by_adam()
        return optax.trace(self.momentum) if self.momentum else optax.identity()

    def rate_factor(self, n_total: int) -> optax.Schedule:
        """The schedule's factor s(t) for all rates, by the updates made of `n_total`."""
        n_warmup = round(self.warmup_fraction * n_total)
        # Optax refuses a decay over no steps, which a long warm-up could leave.
        n_decay = max(n_total - n_warmup, 1)
        if self.schedule == "cosine":
            decay = optax.cosine_decay_schedule(1.0, n_decay, alpha=self.final_fraction)
        elif self.schedule == "exponential":
            decay = optax.exponential_decay(1.0, n_decay, self.final_fraction)
        else:
            decay = optax.constant_schedule(1.0)
        if not n_warmup:
            return decay
        # The decay counts from the end of the warm-up.
        return optax.join_schedules([optax.linear_schedule(0, 1, n_warmup), decay], [n_warmup])


def refuse_idle(config: Description, names: Iterable[str], why: str, prefix: str = "") -> None:
    """Refuse values that differ from their defaults but would have no effect.

    Raises:
        ConfigError: "`prefix` and option=value has no effect `why`."
    """
    for name in names:
        field = type(config).model_fields.get(name)
        value = getattr(config, name)
        default = None if field is None else field.get_default(call_default_factory=True)
        if value != default:
            raise ConfigError(f"{prefix}{name}={value!r} has no effect {why}.")

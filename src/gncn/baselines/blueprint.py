"""`Blueprint`: the parts and sizes of a baseline trained by backprop; the synapse budget.

Encoder, decoder, discriminator and classifier have four layers of neurons each: the input, two
hidden layers and the output ("one output and one input layer with two hidden layers in between").
All hidden layers of a model are equally wide, as wide as the budget allows.  Everything learned
counts as a synapse, biases too, so no model has more than the network it is compared with.
"""

from bisect import bisect_right
from itertools import pairwise
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError, check_whole, unknown_choice
from gncn.core.circuit import MOST_NEURONS

Kind = Literal["rae", "gvae", "gvae-cv", "gan-ae", "dsrn"]
KINDS: tuple[Kind, ...] = get_args(Kind)

BUDGET = 1_400_000
"""Synapses that every model compared in the paper may have."""

LEAST_VARIANCE = 0.025
"""The least variance of the Gaussian around a code of ``gvae-cv``; the greatest is 1."""

MOST_VARIANCES = 100
"""The most variances to choose from."""

SPECIAL: dict[str, tuple[Kind, ...]] = {
    "n_latent": KINDS[:-1],
    "n_classes": ("dsrn",),
    "variance": ("gvae-cv",),
    "encoder_penalty": KINDS[:-1],
    "adversary_rate": ("gan-ae",),
    "kl_warmup": ("gvae", "gvae-cv"),
}
"""Options of a blueprint that some baselines take and others don't, and who takes them."""

_ABSENT = {"encoder_penalty": "encoder", "adversary_rate": "adversary", "kl_warmup": "D_KL"}
"""The part that a baseline lacks if it doesn't take the option."""


class Blueprint(Description):
    """Everything about a baseline but its weights; not all take all options (`SPECIAL`).

    Attributes:
        hidden: units of each hidden layer.
        n_latent: units of a code.
        variance: of the Gaussian around a code.
        penalty: λ in Ω = −λ Σ ‖W‖² over the decoder's weights, or before the L1 norm of
            the classifier's hidden activities.
        encoder_penalty: λ of the encoder's weights, which the paper leaves free.
        adversary_rate: learning rate of generator and discriminator, relative to the
            autoencoder's.
        kl_warmup: share of the run over which the weight of D_KL in the loss rises from 0 to
            1.  Fewer units of the code are then given up early.
    """

    kind: Kind
    n_pixels: int = Field(gt=0, le=MOST_NEURONS)
    hidden: int = Field(gt=0, le=MOST_NEURONS)
    n_latent: int | None = Field(default=None, gt=0, le=MOST_NEURONS)
    n_classes: int | None = Field(default=None, gt=1, le=MOST_NEURONS)
    variance: float | None = Field(default=None, ge=LEAST_VARIANCE, le=1)
    penalty: float = Field(default=0.0, ge=0)
    encoder_penalty: float = Field(default=0.0, ge=0)
    adversary_rate: float = Field(default=1.0, gt=0)
    kl_warmup: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> "Blueprint":
        for option, takers in SPECIAL.items():
            value, takes = getattr(self, option), self.kind in takers
            field = type(self).model_fields[option]
            # No default means that whoever takes the option needs it.
            if field.default is None and takes != (value is not None):
                verb = "needs" if takes else "takes no"
                raise ValueError(f"{self.kind!r} {verb} {option}; received {value!r}.")
            if not takes and value != field.default:
                raise ValueError(
                    f"{self.kind!r} has no {_ABSENT[option]}: {option} must be "
                    f"{field.default:g}; received {value!r}."
                )
        return self

    @property
    def parts(self) -> dict[str, tuple[int, ...]]:
        """Layer sizes of each part, its input first."""
        if self.n_classes is not None:
            return {"network": (self.n_pixels, self.hidden, self.hidden, self.n_classes)}
        assert self.n_latent is not None
        # Mean and log variance of each unit; with a constant variance the mean alone.
        top = self.n_latent * (2 if self.kind in ("gvae", "gan-ae") else 1)
        parts = {
            "encoder": (self.n_pixels, self.hidden, self.hidden, top),
            "decoder": (self.n_latent, self.hidden, self.hidden, self.n_pixels),
        }
        if self.kind == "gan-ae":
            parts["discriminator"] = (self.n_latent, self.hidden, self.hidden, 1)
        return parts

    @property
    def n_synapses(self) -> int:
        """All that is learned: weights and biases of every part."""
        return sum(
            below * above + above
            for sizes in self.parts.values()
            for below, above in pairwise(sizes)
        )


def plan_blueprint(
    kind: Kind | str, n_pixels: int, *, budget: int = BUDGET, **options: Any
) -> Blueprint:
    """The blueprint whose hidden layers are as wide as a budget of synapses allows.

    Args:
        kind: one of `KINDS`.
        n_pixels: units of the input.
        budget: synapses at most.
        options: all else that a `Blueprint` of this kind takes.

    Raises:
        ConfigError: the kind is unknown, an option is missing or doesn't apply, or the
            budget is too small even for hidden layers of one unit.
    """
    if kind not in KINDS:
        raise unknown_choice("baseline", kind, KINDS)
    budget = check_whole("budget", budget, least=1)

    def of_width(hidden: int) -> Blueprint:
        return Blueprint(kind=kind, n_pixels=n_pixels, hidden=hidden, **options)

    # Synapses rise with the width, so bisection finds the widest without a formula.
    widths = range(1, min(budget, MOST_NEURONS) + 1)
    widest = bisect_right(widths, budget, key=lambda width: of_width(width).n_synapses)
    if widest == 0:
        raise ConfigError(
            f"A budget of {budget} synapses is too small: {kind!r} for images of {n_pixels} pixels "
            f"has {of_width(1).n_synapses} with a single unit in each hidden layer. Allow at least "
            "that many."
        )
    return of_width(widest)


class BackpropConfig(Description):
    """Options of the section ``[backprop]``: of `plan_blueprint` and `start_baseline`.

    `penalty`, `encoder_penalty`, `adversary_rate` and `kl_warmup` are as in `Blueprint`.  ψ of
    validation images may fall while D_KL warms up, so `training.patience` should be longer.

    Attributes:
        budget: the most synapses that a model may have; decides the hidden layers' width.
        n_latent: units of an autoencoder's code.
        variance: σ² of ``gvae-cv``, within [0.025, 1]; of several, validation images
            choose (`gncn.baselines.kinds.choose_variance`).
        weight_scale: standard deviation of the first weights, relative to
            √(2 / units below).
    """

    budget: int = Field(default=BUDGET, ge=1)
    n_latent: int = Field(default=20, ge=1, le=MOST_NEURONS)
    variance: float | tuple[float, ...] = 0.1
    penalty: float = Field(default=0.0, ge=0)
    encoder_penalty: float = Field(default=0.0, ge=0)
    adversary_rate: float = Field(default=1.0, gt=0)
    kl_warmup: float = Field(default=0.0, ge=0, le=1)
    weight_scale: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _check(self) -> "BackpropConfig":
        values = self.variances
        wrong = [value for value in values if not LEAST_VARIANCE <= value <= 1]
        if len(values) > MOST_VARIANCES:
            raise ValueError(
                f"variance may have up to {MOST_VARIANCES} values, because each needs a "
                f"training of its own; received {len(values):,}."
            )
        if wrong or not values or len(set(values)) < len(values):
            raise ValueError(
                f"variance must be a number from {LEAST_VARIANCE} to 1, or several different ones "
                f"to choose from; received {self.variance!r}."
            )
        return self

    @property
    def variances(self) -> tuple[float, ...]:
        """The variances among which validation images choose; mostly one."""
        return self.variance if isinstance(self.variance, tuple) else (self.variance,)

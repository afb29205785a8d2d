"""Options of the baselines, the sections ``[backprop]`` and ``[mixture]``."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from pydantic import Field, model_validator

from gncn.base.description import Description
from gncn.baselines.blueprint import BUDGET, LEAST_VARIANCE
from gncn.baselines.pixel_mixture import Emission
from gncn.evaluation.mixture import Covariance
from gncn.training.kinds import Run


class BackpropConfig(Description):
    """Baselines trained by backprop: options of `plan_blueprint` and `start_baseline`.

    Attributes:
        budget: the most synapses that a model may have; decides the hidden layers' width.
        n_latent: units of an autoencoder's code.
        variance: σ² of ``gvae-cv``, within [0.025, 1]; of several, validation images
            choose (`gncn.baselines.variance.choose_variance`).
        penalty: λ; see `Blueprint`.
        encoder_penalty: of autoencoders; see `Blueprint`.
        adversary_rate: of ``gan-ae``; see `Blueprint`.
        kl_warmup: of ``gvae`` and ``gvae-cv``; see `Blueprint`.  ψ of validation images may
            fall while it lasts, so `training.patience` should be longer.
        weight_scale: standard deviation of the first weights, relative to
            √(2 / units below).
    """

    budget: int = Field(default=BUDGET, ge=1)
    n_latent: int = Field(default=20, ge=1)
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


class PixelMixtureConfig(Description):
    """The Gaussian mixture on pixels; see `gncn.baselines.pixel_mixture`.

    Attributes:
        n_components: K.
        covariance: which covariances components have.
        regularisation: added to every variance.
        max_iterations: the most EM steps.
        emission: what is clipped: ``samples`` or ``means``.
        floor: ε; pixels' probabilities are clipped to [ε, 1 − ε].
        n_samples: S for log p(x), if samples are clipped.
    """

    n_components: int = Field(default=65, ge=1)
    covariance: Covariance = "full"
    regularisation: float = Field(default=1e-3, gt=0)
    max_iterations: int = Field(default=50, ge=1)
    emission: Emission = "samples"
    floor: float = Field(default=0.01, gt=0, lt=0.5)
    n_samples: int = Field(default=5000, ge=1)


@runtime_checkable
class BaselineRun(Run, Protocol):
    """What baselines read of a configuration."""

    @property
    def backprop(self) -> BackpropConfig:
        """The section ``[backprop]``."""
        ...

    @property
    def mixture(self) -> PixelMixtureConfig:
        """The section ``[mixture]``."""
        ...

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Any:
        """The same with some values replaced."""
        ...

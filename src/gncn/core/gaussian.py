"""The Gaussian likelihood of latent layers and of real-valued data (Eqs 1, 6, 7 and 14).

    e = Σ⁻¹ d,    log_prob = ½ log|Σ⁻¹| − ½ d^T Σ⁻¹ d,    d = z − z̄

`gncn.core.precision` holds Σ⁻¹ and how it is learned.
"""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gncn.core.activations import ACTIVATIONS, Activation
from gncn.core.likelihood import LIKELIHOODS, ErrorNeurons, Likelihood
from gncn.core.precision import Bounds, Diagonal, Full, Precision, Rate, Shares, Unit, Units


class Gaussian(Likelihood):
    """Real numbers, normal about the prediction z̄ = g(h) with precision Σ⁻¹.

    Attributes:
        precision: learn none (``off``, Σ = I), a ``diagonal`` or a ``full`` one (Eq 7).
    """

    precision: Literal["off", "diagonal", "full"] = "off"

    @property
    def learns(self) -> bool:
        return self.precision != "off"

    def n_synapses(self, size: int) -> int:
        """Entries of Σ⁻¹."""
        return {"off": 0, "diagonal": size, "full": size * size}[self.precision]

    def build(
        self, size: int, prediction_activation: str | Activation, initial_precision: float
    ) -> "GaussianErrors":
        precision: Precision = Unit()
        if self.precision == "diagonal":
            precision = Diagonal(jnp.full((size,), initial_precision, jnp.float32))
        elif self.precision == "full":
            precision = Full(initial_precision * jnp.eye(size, dtype=jnp.float32))
        return GaussianErrors(prediction_activation, precision)


class GaussianErrors(ErrorNeurons):
    """Error neurons of real-valued data and of latent layers.

    Attributes:
        prediction_activation: g.
        precision: Σ⁻¹.
    """

    prediction_activation: str | Activation = eqx.field(static=True)
    precision: Precision

    def mean(self, drive: Units) -> Units:
        """g(h)."""
        return ACTIVATIONS.resolve(self.prediction_activation)(drive)

    def error(self, actual: Units, drive: Units) -> Units:
        """Σ⁻¹ d (Eq 1)."""
        return self.precision.weigh(actual - self.mean(drive))

    def log_prob(self, actual: Units, drive: Units) -> Float[Array, " batch"]:
        """½ log|Σ⁻¹| − ½ d^T Σ⁻¹ d (Eq 6)."""
        deviations = actual - self.mean(drive)
        squares = jnp.sum(deviations * self.precision.weigh(deviations), axis=-1)
        return 0.5 * self.precision.log_determinant() - 0.5 * squares

    def gradient(self, actual: Units, drive: Units) -> Units:
        """The derivative g' times e."""
        return jax.vjp(self.mean, drive)[1](self.error(actual, drive))[0]

    def sample(self, key: PRNGKeyArray, drive: Units) -> Units:
        """z̄ + N(0, Σ)."""
        return self.mean(drive) + self.precision.noise(key, drive.shape)

    def sharpness(self, pixel_variance: float) -> Float[Array, "*units"]:
        """Σ⁻¹."""
        return self.precision.sharpness()

    def update(self, actual: Units, drive: Units, shares: Shares) -> Any:
        """ΔΣ⁻¹ (Eq 7)."""
        return self.precision.update(actual - self.mean(drive), shares)

    def learned(self, update: Any, rate: Rate, bounds: Bounds) -> "GaussianErrors":
        stepped = self.precision.learned(update, rate, bounds)
        return GaussianErrors(self.prediction_activation, stepped)

    def for_batch(self, n_images: int) -> "GaussianErrors":
        return GaussianErrors(self.prediction_activation, self.precision.for_batch(n_images))


LIKELIHOODS.register("gaussian", Gaussian)

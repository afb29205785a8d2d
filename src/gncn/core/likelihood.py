"""Likelihoods of a layer given its prediction, and the error neurons that compute them.

The drive h^l = Σ W φ(z) from above decides a layer's mean z̄^l = g^l(h^l) (Eqs 1 and 5).
Error neurons compare it with what the layer is (Eqs 1, 13, 14), and log_prob is the
layer's term of ψ (Eq 6):

==============  ==========================  =========================================
likelihood      error e                     log_prob
==============  ==========================  =========================================
`Bernoulli`     x − z̄ (Eq 13 times the      Σ_d [x log z̄ + (1 − x) log(1 − z̄)]
                logistic's derivative)
`Gaussian`      Σ⁻¹ d,  d = z − z̄           ½ log|Σ⁻¹| − ½ d^T Σ⁻¹ d
flat (the top)  0                           0
==============  ==========================  =========================================

(Eq 6 prints −½ log|Σ⁻¹|; its derivative, Eq 7, shows that + is meant.  Like Eq 6 the
Gaussian leaves out the constant −½ J log 2π.)

`Likelihood` is the description that users write; `build` makes its `ErrorNeurons`.
"""

import abc
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from gncn.base.description import Part
from gncn.base.errors import ConfigError
from gncn.base.registry import Registry
from gncn.core.activations import ACTIVATIONS, Activation
from gncn.core.precision import (
    Bounds,
    Diagonal,
    Full,
    Nats,
    Precision,
    Rate,
    Shares,
    Sharpness,
    Unit,
    Units,
)

G = str | Activation


class ErrorNeurons(eqx.Module):
    """The error neurons of one layer: ``actual`` is z or φ(z), and ``drive`` is h."""

    @abc.abstractmethod
    def mean(self, drive: Units) -> Units:
        """The prediction z̄ = g(h)."""

    @abc.abstractmethod
    def error(self, actual: Units, drive: Units) -> Units:
        """The errors e that error neurons send."""

    @abc.abstractmethod
    def log_prob(self, actual: Units, drive: Units) -> Nats:
        """The layer's term of ψ for each image, in nats."""

    @abc.abstractmethod
    def gradient(self, actual: Units, drive: Units) -> Units:
        """∂ log_prob / ∂h, which exact feedback sends up: g' ⊙ e."""

    @abc.abstractmethod
    def sample(self, key: PRNGKeyArray, drive: Units) -> Units:
        """Draws of the layer, given its drive."""

    @abc.abstractmethod
    def sharpness(self, pixel_variance: float) -> Sharpness:
        """How fast e changes with z̄, if binary pixels have the variance `pixel_variance`."""

    def update(self, actual: Units, drive: Units, shares: Shares) -> Any:
        """Ascent direction of what the error neurons learn (Eq 7); by default nothing."""
        return ()

    def learned(self, update: Any, rate: Rate, bounds: Bounds) -> "ErrorNeurons":
        """The error neurons after a step along `update`; by default the same."""
        return self

    def for_batch(self, n_images: int) -> "ErrorNeurons":
        """The same, laid out for so many images."""
        return self


class Likelihood(Part, abc.ABC):
    """The distribution of a layer given its prediction."""

    binary: ClassVar[bool] = False  # whether values are 0 and 1

    def check(self, prediction_activation: G) -> None:
        """Refuse a g that doesn't suit, by a `ConfigError`."""

    @property
    def learns(self) -> bool:
        """Whether its error neurons learn a precision."""
        return False

    def n_synapses(self, size: int) -> int:
        """Synapses among the error neurons of a layer of `size` neurons."""
        return 0

    @abc.abstractmethod
    def build(self, size: int, prediction_activation: G, initial_precision: float) -> ErrorNeurons:
        """The error neurons of a layer, given g and the diagonal of Σ⁻¹ before learning."""


LIKELIHOODS: Registry[type[Likelihood]] = Registry("likelihood", Likelihood, scope="circuit")


class Bernoulli(Likelihood):
    """Pixels that are 0 or 1, with probability z̄ = logistic(h) of being 1."""

    binary: ClassVar[bool] = True

    def check(self, prediction_activation: G) -> None:
        if prediction_activation != "sigmoid":
            raise ConfigError(
                "a Bernoulli layer needs prediction_activation='sigmoid', for its prediction "
                f"is a probability (Eq 13); received {prediction_activation!r}."
            )

    def build(self, size: int, prediction_activation: G, initial_precision: float) -> ErrorNeurons:
        return BernoulliErrors()


class BernoulliErrors(ErrorNeurons):
    """Error neurons of binary data."""

    def mean(self, drive: Units) -> Units:
        return ACTIVATIONS.resolve("sigmoid")(drive)

    def error(self, actual: Units, drive: Units) -> Units:
        """The difference x − z̄, the derivative of log_prob by the drive (Eqs 13 and 15)."""
        return actual - self.mean(drive)

    gradient = error

    def log_prob(self, actual: Units, drive: Units) -> Nats:
        return -binary_cross_entropy(actual, drive)

    def sample(self, key: PRNGKeyArray, drive: Units) -> Units:
        return jax.random.bernoulli(key, self.mean(drive)).astype(drive.dtype)

    def sharpness(self, pixel_variance: float) -> Sharpness:
        return jnp.asarray(pixel_variance)


def binary_cross_entropy(x: Units, logits: Units) -> Nats:
    """−Σ_d [x log x̂ + (1−x) log(1−x̂)] of each image in nats, x̂ = logistic(logits).

    Computed from the logits, so it stays finite however sure the network is.
    """
    # −log σ(h) is softplus(h) − h, and −log(1 − σ(h)) is softplus(h): both terms share it.
    return jnp.sum(jax.nn.softplus(logits) - x * logits, axis=-1)


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

    def build(self, size: int, prediction_activation: G, initial_precision: float) -> ErrorNeurons:
        precision: Precision = Unit()
        if self.precision == "diagonal":
            precision = Diagonal(jnp.full((size,), initial_precision, jnp.float32))
        elif self.precision == "full":
            precision = Full(initial_precision * jnp.eye(size, dtype=jnp.float32))
        return GaussianErrors(prediction_activation, precision)


class GaussianErrors(ErrorNeurons):
    """Error neurons of real-valued data and of latent layers, with g and Σ⁻¹."""

    prediction_activation: G = eqx.field(static=True)
    precision: Precision

    def mean(self, drive: Units) -> Units:
        return ACTIVATIONS.resolve(self.prediction_activation)(drive)

    def error(self, actual: Units, drive: Units) -> Units:
        """Σ⁻¹ d (Eq 1)."""
        return self.precision.weigh(actual - self.mean(drive))

    def log_prob(self, actual: Units, drive: Units) -> Nats:
        """½ log|Σ⁻¹| − ½ d^T Σ⁻¹ d (Eq 6)."""
        deviations = actual - self.mean(drive)
        squares = jnp.sum(deviations * self.precision.weigh(deviations), axis=-1)
        return 0.5 * self.precision.log_determinant() - 0.5 * squares

    def gradient(self, actual: Units, drive: Units) -> Units:
        """The derivative g' times e."""
        return jax.vjp(self.mean, drive)[1](self.error(actual, drive))[0]

    def sample(self, key: PRNGKeyArray, drive: Units) -> Units:
        return self.mean(drive) + self.precision.noise(key, drive.shape)

    def sharpness(self, pixel_variance: float) -> Sharpness:
        return self.precision.sharpness()

    def update(self, actual: Units, drive: Units, shares: Shares) -> Any:
        return self.precision.update(actual - self.mean(drive), shares)

    def learned(self, update: Any, rate: Rate, bounds: Bounds) -> "GaussianErrors":
        stepped = self.precision.learned(update, rate, bounds)
        return GaussianErrors(self.prediction_activation, stepped)

    def for_batch(self, n_images: int) -> "GaussianErrors":
        return GaussianErrors(self.prediction_activation, self.precision.for_batch(n_images))


class FlatErrors(ErrorNeurons):
    """A layer that nothing predicts: every value is equally likely, and no error arises."""

    def mean(self, drive: Units) -> Units:
        return jnp.zeros_like(drive)

    def error(self, actual: Units, drive: Units) -> Units:
        return jnp.zeros_like(actual)

    gradient = error

    def log_prob(self, actual: Units, drive: Units) -> Nats:
        return jnp.zeros(len(actual))

    def sample(self, key: PRNGKeyArray, drive: Units) -> Units:
        raise ConfigError("A layer that nothing predicts has no density to draw from.")

    def sharpness(self, pixel_variance: float) -> Sharpness:
        return jnp.zeros(())


LIKELIHOODS.register("bernoulli", Bernoulli)
LIKELIHOODS.register("gaussian", Gaussian)

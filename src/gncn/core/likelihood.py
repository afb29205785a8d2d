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

`Likelihood` is the description that users write; `build` makes its `ErrorNeurons`.  The
Gaussian has a file of its own, `gncn.core.gaussian`.
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gncn.base.description import Part
from gncn.base.errors import ConfigError
from gncn.base.registry import Registry
from gncn.core.activations import ACTIVATIONS, Activation
from gncn.core.precision import Bounds, Rate, Shares, Units


class ErrorNeurons(eqx.Module):
    """The error neurons of one layer, with its precision."""

    @abc.abstractmethod
    def mean(self, drive: Units) -> Units:
        """The prediction z̄ = g(h)."""

    @abc.abstractmethod
    def error(self, actual: Units, drive: Units) -> Units:
        """What error neurons send: e.

        Args:
            actual: what is compared with the prediction: z, or φ(z).
            drive: h, the input to g.
        """

    @abc.abstractmethod
    def log_prob(self, actual: Units, drive: Units) -> Float[Array, " batch"]:
        """The layer's term of ψ for each image, in nats."""

    @abc.abstractmethod
    def gradient(self, actual: Units, drive: Units) -> Units:
        """∂ log_prob / ∂h, which exact feedback sends up: g' ⊙ e."""

    @abc.abstractmethod
    def sample(self, key: PRNGKeyArray, drive: Units) -> Units:
        """Draws of the layer, given its drive."""

    @abc.abstractmethod
    def sharpness(self, pixel_variance: float) -> Float[Array, "*units"]:
        """How fast the error changes with the prediction: a number, a diagonal or a matrix.

        Args:
            pixel_variance: z̄ (1 − z̄) that binary pixels are taken to have.
        """

    def update(self, actual: Units, drive: Units, shares: Shares) -> Any:
        """Ascent direction of what the error neurons learn (Eq 7); by default nothing."""
        return ()

    def learned(self, update: Any, rate: Rate, bounds: Bounds) -> "ErrorNeurons":
        """The error neurons after a step along `update`; by default the same."""
        return self

    def for_batch(self, n_images: int) -> "ErrorNeurons":
        """The same laid out for so many images; by default as they are."""
        return self


class Likelihood(Part, abc.ABC):
    """The distribution of a layer given its prediction.

    Attributes:
        binary: whether its values are 0 and 1.
    """

    binary: ClassVar[bool] = False

    def check(self, prediction_activation: str | Activation) -> None:
        """Refuse a g that doesn't suit.

        Raises:
            ConfigError: it doesn't.
        """

    @property
    def learns(self) -> bool:
        """Whether its error neurons learn a precision."""
        return False

    def n_synapses(self, size: int) -> int:
        """Synapses among the error neurons of a layer of `size` neurons."""
        return 0

    @abc.abstractmethod
    def build(
        self, size: int, prediction_activation: str | Activation, initial_precision: float
    ) -> ErrorNeurons:
        """The error neurons of a layer.

        Args:
            size: neurons of the layer.
            prediction_activation: g.
            initial_precision: diagonal of Σ⁻¹ before learning.
        """


LIKELIHOODS: Registry[type[Likelihood]] = Registry("likelihood", Likelihood, scope="circuit")


class Bernoulli(Likelihood):
    """Pixels that are 0 or 1, with probability z̄ = logistic(h) of being 1."""

    binary: ClassVar[bool] = True

    def check(self, prediction_activation: str | Activation) -> None:
        if prediction_activation != "sigmoid":
            raise ConfigError(
                "a Bernoulli layer needs prediction_activation='sigmoid', for its prediction "
                f"is a probability (Eq 13); received {prediction_activation!r}."
            )

    def build(
        self, size: int, prediction_activation: str | Activation, initial_precision: float
    ) -> "BernoulliErrors":
        return BernoulliErrors()


class BernoulliErrors(ErrorNeurons):
    """Error neurons of binary data."""

    def mean(self, drive: Units) -> Units:
        """Each pixel's probability of being 1."""
        return ACTIVATIONS.resolve("sigmoid")(drive)

    def error(self, actual: Units, drive: Units) -> Units:
        """The difference x − z̄, the derivative of log_prob by the drive."""
        return actual - self.mean(drive)

    def log_prob(self, actual: Units, drive: Units) -> Float[Array, " batch"]:
        """−BCE."""
        return -binary_cross_entropy(actual, drive)

    def gradient(self, actual: Units, drive: Units) -> Units:
        """The error, which holds the logistic's derivative already (Eq 15)."""
        return self.error(actual, drive)

    def sample(self, key: PRNGKeyArray, drive: Units) -> Units:
        return jax.random.bernoulli(key, self.mean(drive)).astype(drive.dtype)

    def sharpness(self, pixel_variance: float) -> Float[Array, "*units"]:
        return jnp.asarray(pixel_variance)


class FlatErrors(ErrorNeurons):
    """A layer that nothing predicts: every value is equally likely, and no error arises."""

    def mean(self, drive: Units) -> Units:
        return jnp.zeros_like(drive)

    def error(self, actual: Units, drive: Units) -> Units:
        return jnp.zeros_like(actual)

    def log_prob(self, actual: Units, drive: Units) -> Float[Array, " batch"]:
        return jnp.zeros(len(actual))

    def gradient(self, actual: Units, drive: Units) -> Units:
        return jnp.zeros_like(actual)

    def sample(self, key: PRNGKeyArray, drive: Units) -> Units:
        """Not defined: a flat density can't be drawn from."""
        raise ConfigError("A layer that nothing predicts has no density to draw from.")

    def sharpness(self, pixel_variance: float) -> Float[Array, "*units"]:
        return jnp.zeros(())


def binary_cross_entropy(
    x: Float[Array, "batch pixels"], logits: Float[Array, "batch pixels"]
) -> Float[Array, " batch"]:
    """−Σ_d [x log x̂ + (1−x) log(1−x̂)] of each image in nats, x̂ = logistic(logits).

    Computed from the logits, so it stays finite however sure the network is.
    """
    return jnp.sum(jax.nn.softplus(logits) - x * logits, axis=-1)


LIKELIHOODS.register("bernoulli", Bernoulli)

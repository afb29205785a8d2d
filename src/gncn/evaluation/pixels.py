"""How pixels are distributed, given what a decoder says: `BernoulliPixels`, `GaussianPixels`.

=================  =====================================================================
Bernoulli          log p(x|z) = Σ_d [x_d a_d − softplus(a_d)],  logits a
Gaussian           log p(x|z) = ½ log|Σ⁻¹| − ½ d^T Σ⁻¹ d − ½ D log 2π,  d = x − g(h)
=================  =====================================================================

a and h, the *drive*, are what `Decoder.decode` returns.  Log densities of real values are not to be
compared with log probabilities of binary ones.
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from gncn.base.arrays import as_images
from gncn.base.errors import ConfigError
from gncn.core.likelihood import BernoulliErrors, ErrorNeurons, GaussianErrors
from gncn.core.precision import Diagonal, Full, Precision
from gncn.evaluation.images import (
    binary_images,
    log_likelihood,
    log_likelihood_table,
    sample_pixels,
)


class PixelLikelihood(eqx.Module):
    """p(x|z) of pixels, given a drive."""

    binary: ClassVar[bool]

    @abc.abstractmethod
    def check(self, x: Any, n_pixels: int | None = None) -> Shaped[np.ndarray, "images pixels"]:
        """Images of any kind as they are held; refuses others by a `DataError`."""

    @abc.abstractmethod
    def mean(self, drive: Float[Array, "*n pixels"]) -> Float[Array, "*n pixels"]:
        """E[x|z]."""

    @abc.abstractmethod
    def log_prob(
        self, x: Float[Array, "*n pixels"], drive: Float[Array, "*n pixels"]
    ) -> Float[Array, "*n"]:
        """Log p(x|z) of each image under its own drive, in nats."""

    @abc.abstractmethod
    def table(
        self, x: Float[Array, "images pixels"], drive: Float[Array, "codes pixels"]
    ) -> Float[Array, "images codes"]:
        """Log p(x|z) of every image under every code's drive; one matrix product."""

    @abc.abstractmethod
    def information(
        self, drive: Float[Array, " pixels"], jacobian: Float[Array, "pixels dim"]
    ) -> Float[Array, "dim dim"]:
        """J^T F J: what an image tells of codes on average, F being the information on drives."""

    @abc.abstractmethod
    def sample(
        self, key: PRNGKeyArray, drive: Float[Array, "codes pixels"]
    ) -> Shaped[Array, "codes pixels"]:
        """Draw images."""

    def of(self, pixels: Int[Array, " chosen"]) -> "PixelLikelihood":
        """The likelihood of some of the pixels, the others being as predicted."""
        return self


class BernoulliPixels(PixelLikelihood):
    """Pixels that are 0 or 1; drives are logits."""

    binary: ClassVar[bool] = True

    def check(self, x: Any, n_pixels: int | None = None) -> Shaped[np.ndarray, "images pixels"]:
        return binary_images(x, n_pixels)

    def mean(self, drive: Float[Array, "*n pixels"]) -> Float[Array, "*n pixels"]:
        return jax.nn.sigmoid(drive)

    def log_prob(
        self, x: Float[Array, "*n pixels"], drive: Float[Array, "*n pixels"]
    ) -> Float[Array, "*n"]:
        return log_likelihood(x, drive)

    def table(
        self, x: Float[Array, "images pixels"], drive: Float[Array, "codes pixels"]
    ) -> Float[Array, "images codes"]:
        return log_likelihood_table(x, drive)

    def information(
        self, drive: Float[Array, " pixels"], jacobian: Float[Array, "pixels dim"]
    ) -> Float[Array, "dim dim"]:
        mean = jax.nn.sigmoid(drive)
        return jacobian.T @ (jacobian * (mean * (1 - mean))[:, None])

    def sample(
        self, key: PRNGKeyArray, drive: Float[Array, "codes pixels"]
    ) -> Shaped[Array, "codes pixels"]:
        return sample_pixels(key, drive)


class GaussianPixels(PixelLikelihood):
    """Real values, normal about g(h) with a network's precision Σ⁻¹ of the data."""

    errors: GaussianErrors

    binary: ClassVar[bool] = False

    def check(self, x: Any, n_pixels: int | None = None) -> Shaped[np.ndarray, "images pixels"]:
        return np.asarray(as_images(x, n_pixels))

    def mean(self, drive: Float[Array, "*n pixels"]) -> Float[Array, "*n pixels"]:
        rows = drive.reshape(-1, drive.shape[-1])
        return self.errors.mean(rows).reshape(drive.shape)

    def log_prob(
        self, x: Float[Array, "*n pixels"], drive: Float[Array, "*n pixels"]
    ) -> Float[Array, "*n"]:
        rows, drives = (one.reshape(-1, one.shape[-1]) for one in (x, drive))
        # Networks leave the constant out, as Eq 6 does; a density must have it.
        found = self.errors.log_prob(rows, drives) - self._constant(x.shape[-1])
        return found.reshape(x.shape[:-1])

    def table(
        self, x: Float[Array, "images pixels"], drive: Float[Array, "codes pixels"]
    ) -> Float[Array, "images codes"]:
        # ‖x − μ‖² = ‖x‖² + ‖μ‖² − 2 x·μ under Σ⁻¹, so all pairs take one product.
        means, precision = self.mean(drive), self.errors.precision
        centre = jnp.mean(x, axis=0, keepdims=True)  # squares of small numbers keep their digits
        x, means = x - centre, means - centre
        weighted = precision.weigh(means)
        products = jnp.matmul(x, weighted.T, precision=lax.Precision.HIGHEST)
        squares = jnp.sum(x * precision.weigh(x), axis=-1)[:, None]
        squares = squares + jnp.sum(means * weighted, axis=-1)[None, :] - 2 * products
        normaliser = 0.5 * precision.log_determinant() - self._constant(x.shape[-1])
        return normaliser - 0.5 * squares

    def information(
        self, drive: Float[Array, " pixels"], jacobian: Float[Array, "pixels dim"]
    ) -> Float[Array, "dim dim"]:
        # g works on each pixel alone, so the derivative along ones is its slope at every pixel.
        slope = jax.jvp(self.mean, (drive,), (jnp.ones_like(drive),))[1]
        moved = (slope[:, None] * jacobian).T
        return self.errors.precision.weigh(moved) @ moved.T

    def sample(
        self, key: PRNGKeyArray, drive: Float[Array, "codes pixels"]
    ) -> Shaped[Array, "codes pixels"]:
        return self.errors.sample(key, drive)

    def of(self, pixels: Int[Array, " chosen"]) -> "GaussianPixels":
        precision: Precision = self.errors.precision
        if isinstance(precision, Diagonal):
            precision = Diagonal(precision.values[pixels])
        elif isinstance(precision, Full):
            # A part of Σ⁻¹, not of Σ: given the others, these pixels have just this precision.
            precision = Full(precision.matrix[pixels][:, pixels])
        return GaussianPixels(GaussianErrors(self.errors.prediction_activation, precision))

    @staticmethod
    def _constant(n_pixels: int) -> float:
        return 0.5 * n_pixels * float(np.log(2 * np.pi))


BERNOULLI = BernoulliPixels()


def pixels_of(errors: ErrorNeurons) -> PixelLikelihood:
    """The likelihood of pixels that a network's error neurons of the data stand for.

    Raises:
        ConfigError: they are neither Bernoulli nor Gaussian, so that no density is known.
    """
    if isinstance(errors, BernoulliErrors):
        return BERNOULLI
    if isinstance(errors, GaussianErrors):
        return GaussianPixels(errors)
    raise ConfigError(
        "log p(x) and completion by codes are known for Bernoulli and Gaussian outputs; received "
        f"{type(errors).__name__}."
    )


def output_of(decoder: Any) -> PixelLikelihood:
    """The likelihood of a decoder's pixels: its ``output``, or Bernoulli if it has none."""
    return getattr(decoder, "output", BERNOULLI)

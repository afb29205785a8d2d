"""The interfaces that evaluation needs: a decoder and a prior, joined by `WithPrior`.

Methods must be traceable by JAX (no NumPy inside).  Make decoders and priors an
`equinox.Module`, so that their arrays are arguments of the compiled programs, not constants.
"""

from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from gncn.evaluation.pixels import PixelLikelihood, output_of

Images = Shaped[Array | np.ndarray, "_ pixels"]
"""Images as rows; binary ones hold zeros and ones, of any numeric type."""

Codes = Float[Array | np.ndarray, "_ dim"]
"""Latent codes as rows."""

Mask = Bool[np.ndarray, " pixels"]
"""True where a pixel is visible."""


@runtime_checkable
class Decoder(Protocol):
    """Maps codes to images.

    Pixels are Bernoulli, unless it has an attribute ``output``, a
    `gncn.evaluation.pixels.PixelLikelihood`.
    """

    def decode(self, codes: Float[Array, "codes dim"]) -> Float[Array, "codes pixels"]:
        """The drive of the pixels that codes predict: logits (not probabilities) if Bernoulli."""
        ...


@runtime_checkable
class CodeSampler(Protocol):
    """A distribution over codes that need not have a density."""

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n dim"]:
        """Draw `n` codes."""
        ...


@runtime_checkable
class Prior(CodeSampler, Protocol):
    """A distribution over codes, with its density."""

    def log_prob(self, codes: Float[Array, "codes dim"]) -> Float[Array, " codes"]:
        """Log density of each code in nats, differentiable."""
        ...


class WithPrior(eqx.Module):
    """A generative model: a decoder p(x|z) and a prior p(z), for instance a fitted mixture."""

    decoder: Decoder
    prior: CodeSampler

    @property
    def output(self) -> PixelLikelihood:
        """The likelihood of pixels, given the drive."""
        return output_of(self.decoder)

    def decode(self, codes: Float[Array, "codes dim"]) -> Float[Array, "codes pixels"]:
        """The drive that codes predict."""
        return self.decoder.decode(codes)

    def log_prior(self, codes: Float[Array, "codes dim"]) -> Float[Array, " codes"]:
        """Log p(z) of each code in nats; the prior must have a density."""
        assert isinstance(self.prior, Prior), "this prior has no density"
        return self.prior.log_prob(codes)

    def log_joint(
        self, x: Float[Array, "codes pixels"], codes: Float[Array, "codes dim"]
    ) -> Float[Array, " codes"]:
        """Log p(x, z) of images and a code for each, in nats; the prior must have a density."""
        return self.log_prior(codes) + self.output.log_prob(x, self.decode(codes))


class StandardNormal(eqx.Module):
    """The prior N(0, I) of codes of size `dim`, a variational autoencoder's own."""

    dim: int = eqx.field(static=True)

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n dim"]:
        return jax.random.normal(key, (n, self.dim), jnp.float32)

    def log_prob(self, codes: Float[Array, "codes dim"]) -> Float[Array, " codes"]:
        return -0.5 * jnp.sum(codes**2, axis=-1) - 0.5 * self.dim * jnp.log(2 * jnp.pi)

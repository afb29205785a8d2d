"""What evaluation asks of a model: a few small protocols, and the pieces to meet them.

Methods must be traceable by JAX (no NumPy inside).  Make a model an `equinox.Module`,
so that its arrays are arguments of the compiled programs and not constants in them.
"""

from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

Images = Shaped[Array | np.ndarray, "_ pixels"]
"""Images as rows; binary ones hold zeros and ones, of any numeric type."""

Codes = Float[Array | np.ndarray, "_ dim"]
"""Latent codes as rows."""

Mask = Bool[np.ndarray, " pixels"]
"""True where a pixel is visible."""


@runtime_checkable
class Decoder(Protocol):
    """Maps codes to images."""

    def decode(self, codes: Float[Array, "codes dim"]) -> Float[Array, "codes pixels"]:
        """Logits (not probabilities) of the Bernoulli pixels that codes predict."""
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


@runtime_checkable
class Sampler(Decoder, Protocol):
    """A generative model that can be sampled: p(z) and p(x|z)."""

    def sample_prior(self, key: PRNGKeyArray, n: int) -> Float[Array, "n dim"]:
        """Draw `n` codes from the prior."""
        ...


@runtime_checkable
class LatentModel(Sampler, Protocol):
    """A generative model whose joint density p(z) p(x|z) can be computed."""

    def log_prior(self, codes: Float[Array, "codes dim"]) -> Float[Array, " codes"]:
        """Log prior density of each code in nats, differentiable."""
        ...


class WithPrior(eqx.Module):
    """A `LatentModel` made of a decoder p(x|z) and a prior p(z), for instance a fitted mixture.

    With a prior that has no density it is a `Sampler` alone.
    """

    decoder: Decoder
    prior: CodeSampler

    def decode(self, codes: Float[Array, "codes dim"]) -> Float[Array, "codes pixels"]:
        """Logits that codes predict."""
        return self.decoder.decode(codes)

    def sample_prior(self, key: PRNGKeyArray, n: int) -> Float[Array, "n dim"]:
        """Draw `n` codes from the prior."""
        return self.prior.sample(key, n)

    def log_prior(self, codes: Float[Array, "codes dim"]) -> Float[Array, " codes"]:
        """Log prior density of each code in nats."""
        assert isinstance(self.prior, Prior), "this prior has no density"
        return self.prior.log_prob(codes)


class StandardNormal(eqx.Module):
    """The prior N(0, I) of codes of size `dim`, a variational autoencoder's own."""

    dim: int = eqx.field(static=True)

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n dim"]:
        """Draw `n` codes."""
        return jax.random.normal(key, (n, self.dim))

    def log_prob(self, codes: Float[Array, "codes dim"]) -> Float[Array, " codes"]:
        """Log density of each code in nats."""
        return -0.5 * jnp.sum(codes**2, axis=-1) - 0.5 * self.dim * jnp.log(2 * jnp.pi)

"""A Gaussian mixture on the pixels themselves (GMM), fitted by EM.

    y ~ Σ_k π_k N(μ_k, Σ_k),    p(x) = E_y [Π_d Bernoulli(x_d; clip(y_d, ε, 1 − ε))]

Binary images have no density under a Gaussian mixture, so p(x) needs a convention.  The
paper's is the one of its other models, estimated with S = 5000 draws: y takes the place
of the code, and "the images sampled from the mixture model" are "clipped to lie in the
range [0, 1]".  Clipped to exactly 0 or 1, one wrong pixel would make p(x) = 0; hence ε,
about which the paper is silent.

With ``emission="means"`` the means μ_k are clipped instead and y is the mean of a
component drawn by π: then p(x) = Σ_k π_k Π_d Bernoulli(x_d; clip(μ_kd)) exactly, a sum
without sampling error, and a far better model of binary images.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import Field

from gncn.base.description import Description
from gncn.evaluation.bernoulli import log_likelihood_table
from gncn.evaluation.mixture import Covariance, Mixture

Emission = Literal["samples", "means"]


class PixelMixtureShape(Description):
    """Everything about a `PixelMixture` but its arrays."""

    n_components: int = Field(gt=0)
    n_pixels: int = Field(gt=0)
    covariance: Covariance
    floor: float = Field(gt=0, lt=0.5)
    emission: Emission


class PixelMixture(eqx.Module):
    """The mixture as a generative model of binary images: `Prior` of y and `Decoder` at once.

    Attributes:
        mixture: over pixel vectors y.
        floor: ε.
        emission: what is clipped to [ε, 1 − ε]: ``samples`` of the mixture, or its ``means``.
    """

    mixture: Mixture
    floor: float = eqx.field(static=True)
    emission: Emission = eqx.field(static=True, default="samples")

    @property
    def shape(self) -> PixelMixtureShape:
        """All but the arrays."""
        mixture = self.mixture
        return PixelMixtureShape(
            n_components=mixture.n_components,
            n_pixels=mixture.dim,
            covariance=mixture.covariance,
            floor=self.floor,
            emission=self.emission,
        )

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n pixels"]:
        """Draw pixel vectors y."""
        if self.emission == "samples":
            return self.mixture.sample(key, n)
        return self.mixture.means[jax.random.categorical(key, self.mixture.logits, shape=(n,))]

    def log_prob(self, codes: Float[Array, "codes pixels"]) -> Float[Array, " codes"]:
        """Log density of the mixture at pixel vectors y, in nats."""
        return self.mixture.log_prob(codes)

    def decode(self, codes: Float[Array, "codes pixels"]) -> Float[Array, "codes pixels"]:
        """Logits of y clipped to [ε, 1 − ε]."""
        return jax.scipy.special.logit(jnp.clip(codes, self.floor, 1 - self.floor))

    def exact_log_likelihood(self, x: Float[Array, "images pixels"]) -> Float[Array, " images"]:
        """Log p(x) in nats, without sampling; for ``emission="means"`` only."""
        assert self.emission == "means", "p(x) is an integral if samples are clipped"
        table = log_likelihood_table(x, self.decode(self.mixture.means))
        return jax.nn.logsumexp(table + jax.nn.log_softmax(self.mixture.logits)[None, :], axis=1)

"""Variational autoencoders, with learned or constant variance (Eq 21).

    ψ = Σ_j [x_j log z⁰_j + (1 − x_j) log(1 − z⁰_j)] − D_KL(q(z|x) ‖ N(0, I)),
    D_KL = ½ Σ_i [μ_i² + σ_i² − 1 − log σ_i²]

at z = μ + σ ε, ε ~ N(0, I): one draw for each image and update.  ψ is a lower bound on
log p(x) under the prior N(0, I), on average over ε.
"""

from typing import ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gncn.baselines.autoencoder import Autoencoder, Code
from gncn.baselines.blueprint import Blueprint
from gncn.baselines.dense import Dense
from gncn.evaluation.proposals import GaussianProposal


def kl_to_standard_normal(mean: Code, std: Code) -> Float[Array, " batch"]:
    """D_KL(N(μ, σ²) ‖ N(0, I)) in nats, in closed form, for each image."""
    return 0.5 * jnp.sum(mean**2 + std**2 - 1 - 2 * jnp.log(std), axis=-1)


def split_gaussian(top: Float[Array, "batch outputs"]) -> tuple[Code, Code]:
    """μ and σ from the encoder's two output blocks, μ and log σ² (σ² = exp(E_σ z^{L-1}))."""
    mean, log_variance = jnp.split(top, 2, axis=-1)
    return mean, jnp.exp(0.5 * log_variance)


def encoder_proposal(model: Autoencoder, x: Float[Array, "images pixels"]) -> GaussianProposal:
    """q(z|x) of each image, as a proposal for importance sampling.

    Args:
        model: a model whose encoder gives a Gaussian, not the RAE.
        x: images.
    """
    mean, std = model.posterior(model.encoder(x))
    assert std is not None, "the RAE's encoder gives points"
    return GaussianProposal(mean, std)


class GVAE(Autoencoder):
    """Gaussian variational autoencoder: the encoder gives μ and σ² of each code.

        ψ = Σ_j [x_j log z⁰_j + (1 − x_j) log(1 − z⁰_j)] − D_KL(q(z|x) ‖ p(z))    (Eq 21)

    with q = N(μ, σ²), p = N(0, I) and the divergence in closed form.  As printed.

    The encoder's output is μ and log σ².
    """

    blueprint: Blueprint = eqx.field(static=True)
    encoder: Dense
    decoder: Dense
    monitored: ClassVar[Literal["error", "discrepancy"]] = "discrepancy"

    def posterior(self, top: Float[Array, "batch outputs"]) -> tuple[Code, Code | None]:
        return split_gaussian(top)

    def own_term(
        self, mean: Code, std: Code | None, z: Code, key: PRNGKeyArray
    ) -> Float[Array, " batch"] | None:
        assert std is not None
        return -kl_to_standard_normal(mean, std)


class ConstantVarianceGVAE(GVAE):
    """GVAE-CV: a `GVAE` whose σ² is one constant for all units and images (Eq 21).

        ψ = Σ_j [x_j log z⁰_j + (1 − x_j) log(1 − z⁰_j)] − D_KL(N(μ, σ² I) ‖ N(0, I))

    The constant, within [0.025, 1], is chosen on validation images
    (`gncn.baselines.variance.choose_variance`).  The encoder's output is μ.
    The divergence keeps its constant ½ J (σ² − 1 − log σ²), so that ψ stays a bound on
    log p(x), which can be compared between variances.
    """

    def posterior(self, top: Float[Array, "batch outputs"]) -> tuple[Code, Code | None]:
        assert self.blueprint.variance is not None
        return top, jnp.full_like(top, self.blueprint.variance**0.5)

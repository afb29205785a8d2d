"""What the four autoencoders share, and the plainest of them (Eq 20).

An encoder maps an image to a code or to a Gaussian over codes; a decoder maps codes to
logits of Bernoulli pixels.  Each model maximises

    ψ = Σ_j [x_j log z⁰_j + (1 − x_j) log(1 − z⁰_j)] + (a term of its own) + Ω,
    Ω = −λ Σ ‖W‖²_F  over the decoder's weight matrices,

averaged over images, with z⁰ = logistic(decoder(z)) (Eqs 20 to 22 and the appendix).
"""

import abc
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gncn.baselines.baseline import Baseline, Objective
from gncn.baselines.blueprint import Blueprint
from gncn.baselines.dense import Dense
from gncn.core.likelihood import binary_cross_entropy
from gncn.training.epochs import ACTIVE, Batch, Statistics
from gncn.training.history import ErrorName, error_name

Code = Float[Array, "batch latent"]


def objective_loss(
    model: "Autoencoder", batch: Batch, key: PRNGKeyArray
) -> tuple[Float[Array, ""], Statistics]:
    """−(mean ψ + Ω), which gradient descent lowers; in a warm-up D_KL has a smaller weight."""
    seen = model.see(batch, key)
    psi, warmup = seen.discrepancy, model.blueprint.kl_warmup
    if warmup:
        data_term, divergence = jnp.moveaxis(seen.layer_discrepancy, -1, 0)
        psi = data_term + jnp.minimum(batch.progress / warmup, 1) * divergence
    return -(batch.mean(psi) + model.omega()), seen


class Autoencoder(Baseline):
    """Base class of the autoencoders.

    Attributes:
        encoder: image to code, or to mean and log variance.
        decoder: code to logits.
    """

    blueprint: eqx.AbstractVar[Blueprint]
    encoder: eqx.AbstractVar[Dense]
    decoder: eqx.AbstractVar[Dense]
    monitored: ClassVar[Literal["error", "discrepancy"]] = "error"
    objectives: ClassVar[tuple[Objective, ...]] = (
        Objective(objective_loss, ("encoder", "decoder")),
    )

    @abc.abstractmethod
    def posterior(self, top: Float[Array, "batch outputs"]) -> tuple[Code, Code | None]:
        """Mean and standard deviation of q(z|x) from the encoder's output; None: a point."""

    def own_term(
        self, mean: Code, std: Code | None, z: Code, key: PRNGKeyArray
    ) -> Float[Array, " batch"] | None:
        """The second term of ψ, if there is one.

        Args:
            mean: of q(z|x).
            std: of q(z|x).
            z: a draw from q(z|x).
            key: of anything else that is random.
        """
        return None

    def encode_layers(self, x: Float[Array, "batch pixels"]) -> list[Float[Array, "batch _units"]]:
        """Activities of the encoder's hidden layers, then the code (the mean of q(z|x))."""
        *hidden, top = self.encoder.layers(x)
        return [*hidden, self.posterior(top)[0]]

    def encode(self, x: Float[Array, "batch pixels"]) -> Code:
        """The code of each image, the mean of q(z|x)."""
        return self.encode_layers(x)[-1]

    def decode(self, codes: Float[Array, "codes latent"]) -> Float[Array, "codes pixels"]:
        """Logits of the pixels that codes predict."""
        return self.decoder(codes)

    def reconstruct(self, x: Float[Array, "batch pixels"]) -> Float[Array, "batch pixels"]:
        """Each pixel's probability of being 1, decoded from the code of each image."""
        return jax.nn.sigmoid(self.decode(self.encode(x)))

    def see(self, batch: Batch, key: PRNGKeyArray) -> Statistics:
        """ψ and its terms at a draw z ~ q(z|x); the error is the BCE at that draw."""
        draw_key, own_key = jax.random.split(key)
        *hidden, top = self.encoder.layers(batch.images)
        mean, std = self.posterior(top)
        z = mean if std is None else mean + std * jax.random.normal(draw_key, mean.shape)
        error = binary_cross_entropy(batch.images, self.decode(z))
        own = self.own_term(mean, std, z, own_key)
        terms = jnp.stack([-error] if own is None else [-error, own], axis=-1)
        active = [jnp.mean(units > ACTIVE, axis=-1) for units in (*hidden, mean)]
        return Statistics(error, jnp.sum(terms, axis=-1), terms, jnp.stack(active, axis=-1), None)

    def statistics(self, batch: Batch, key: PRNGKeyArray) -> Statistics:
        """As `see`, but the error is the BCE at the code, the mean of q(z|x)."""
        logits = self.decode(self.encode(batch.images))
        return self.see(batch, key)._replace(error=binary_cross_entropy(batch.images, logits))

    def omega(self) -> Float[Array, ""]:
        """Ω, the L2 penalty on the decoder, as it stands in ψ, and on the encoder if asked for."""
        on_encoder = self.blueprint.encoder_penalty * self.encoder.squared_norm()
        return -self.blueprint.penalty * self.decoder.squared_norm() - on_encoder


@error_name.register
def _(model: Autoencoder) -> ErrorName:
    return "bce"


class RAE(Autoencoder):
    """Regularised autoencoder: a point for a code, and no term of its own.

        ψ = Σ_j [x_j log z⁰_j + (1 − x_j) log(1 − z⁰_j)]        (Eq 20)

    The paper's encoder has ReLU on every layer; its text is silent on the topmost one, the
    code.  Here the code is linear, as in the other three: with ReLU, units of the code die.
    """

    blueprint: Blueprint = eqx.field(static=True)
    encoder: Dense
    decoder: Dense

    def posterior(self, top: Float[Array, "batch outputs"]) -> tuple[Code, Code | None]:
        return top, None

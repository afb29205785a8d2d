"""The four autoencoders (Eqs 20 to 25).

An encoder maps an image to a code or to a Gaussian over codes; a decoder maps codes to
logits of Bernoulli pixels.  Each model maximises

    ψ = Σ_j [x_j log z⁰_j + (1 − x_j) log(1 − z⁰_j)] + (a term of its own) + Ω,
    Ω = −λ Σ ‖W‖²_F  over the decoder's weight matrices,

averaged over images, with z⁰ = logistic(decoder(z)) (Eqs 20 to 22 and the appendix), at one
draw z = μ + σ ε, ε ~ N(0, I), for each image and update.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gncn.baselines.baseline import Baseline, Dense, Loss, Objective
from gncn.core.likelihood import binary_cross_entropy
from gncn.training.epochs import ACTIVE, Batch, Monitored, Statistics
from gncn.training.history import ErrorName

Code = Float[Array, "batch latent"]
Terms = tuple[Float[Array, " batch"], ...]


def objective_loss(model: "Autoencoder", batch: Batch, key: PRNGKeyArray) -> Loss:
    """−(mean ψ + Ω), which gradient descent lowers; in a warm-up D_KL has a smaller weight."""
    seen = model.see(batch, key)
    psi, warmup = seen.discrepancy, model.blueprint.kl_warmup
    if warmup:
        # ψ's two terms; the reported ψ keeps its full weight throughout.
        data_term, divergence = jnp.moveaxis(seen.layer_discrepancy, -1, 0)
        psi = data_term + jnp.minimum(batch.progress / warmup, 1) * divergence
    # ψ is a mean over images, but Ω counts once for each update.
    return -(batch.mean(psi) + model.omega()), seen


class Autoencoder(Baseline):
    """Base class of the autoencoders: image to code or Gaussian, code to logits."""

    encoder: Dense
    decoder: Dense
    error_name: ClassVar[ErrorName] = "bce"
    has_prior: ClassVar[bool] = True
    """Whether it is trained with the prior N(0, I) of codes."""
    objectives: ClassVar[tuple[Objective, ...]] = (
        Objective(objective_loss, ("encoder", "decoder")),
    )

    def posterior(self, top: Float[Array, "batch outputs"]) -> tuple[Code, Code]:
        """μ and σ of q(z|x) from the encoder's outputs, μ and log σ² (σ² = exp(E_σ z^{L-1}))."""
        mean, log_variance = jnp.split(top, 2, axis=-1)
        # σ = exp(½ log σ²).
        return mean, jnp.exp(0.5 * log_variance)

    def own_terms(self, mean: Code, std: Code, z: Code, key: PRNGKeyArray) -> Terms:
        """The second term of ψ, if there is one, at a draw z from q(z|x) = N(mean, std²)."""
        return ()

    def encode_layers(self, x: Float[Array, "batch pixels"]) -> list[Float[Array, "batch _units"]]:
        """Activities of the encoder's hidden layers, then the code."""
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
        # Draws of z and draws of the discriminator's prior codes are independent.
        draw_key, own_key = jax.random.split(key)
        *hidden, top = self.encoder.layers(batch.images)
        mean, std = self.posterior(top)
        z = mean + std * jax.random.normal(draw_key, mean.shape, jnp.float32)
        # From logits, so it stays finite for a sure decoder.
        error = binary_cross_entropy(batch.images, self.decode(z))
        terms = jnp.stack([-error, *self.own_terms(mean, std, z, own_key)], axis=-1)
        # Of the mean μ, since a draw is above 0 or below it by chance.
        active = [jnp.mean(units > ACTIVE, axis=-1) for units in (*hidden, mean)]
        return Statistics(error, jnp.sum(terms, axis=-1), terms, jnp.stack(active, axis=-1), None)

    def statistics(self, batch: Batch, key: PRNGKeyArray) -> Statistics:
        """As `see`, but the error is the BCE at the code, the mean of q(z|x)."""
        logits = self.decode(self.encode(batch.images))
        # The BCE is at the code, as elsewhere; ψ stays at the draw, where it is a bound.
        return self.see(batch, key)._replace(error=binary_cross_entropy(batch.images, logits))

    def omega(self) -> Float[Array, ""]:
        """Ω, the L2 penalty on the decoder, and on the encoder if asked for."""
        on_encoder = self.blueprint.encoder_penalty * self.encoder.squared_norm()
        return -self.blueprint.penalty * self.decoder.squared_norm() - on_encoder


class RAE(Autoencoder):
    """Regularised autoencoder: a point for a code, and no term of its own.

        ψ = Σ_j [x_j log z⁰_j + (1 − x_j) log(1 − z⁰_j)]        (Eq 20)

    The paper's encoder has ReLU on every layer; its text is silent on the topmost one, the
    code.  Here the code is linear, as in the other three: with ReLU, units of the code die.
    """

    has_prior: ClassVar[bool] = False

    def posterior(self, top: Float[Array, "batch outputs"]) -> tuple[Code, Code]:
        # σ = 0 makes the draw z the code itself.
        return top, jnp.zeros_like(top)


def kl_to_standard_normal(mean: Code, std: Code) -> Float[Array, " batch"]:
    """D_KL(N(μ, σ²) ‖ N(0, I)) = ½ Σ_i [μ_i² + σ_i² − 1 − log σ_i²] in nats, for each image."""
    return 0.5 * jnp.sum(mean**2 + std**2 - 1 - 2 * jnp.log(std), axis=-1)


class GVAE(Autoencoder):
    """Gaussian variational autoencoder: the encoder gives μ and σ² of each code.

        ψ = Σ_j [x_j log z⁰_j + (1 − x_j) log(1 − z⁰_j)] − D_KL(q(z|x) ‖ p(z))    (Eq 21)

    with q = N(μ, σ²), p = N(0, I) and the divergence in closed form.  As printed.  On average
    over ε, ψ is a lower bound on log p(x).
    """

    monitored: ClassVar[Monitored] = "discrepancy"

    def own_terms(self, mean: Code, std: Code, z: Code, key: PRNGKeyArray) -> Terms:
        return (-kl_to_standard_normal(mean, std),)


class ConstantVarianceGVAE(GVAE):
    """GVAE-CV: a `GVAE` whose σ² is one constant for all units and images (Eq 21).

        ψ = Σ_j [x_j log z⁰_j + (1 − x_j) log(1 − z⁰_j)] − D_KL(N(μ, σ² I) ‖ N(0, I))

    The constant, within [0.025, 1], is chosen on validation images
    (`gncn.baselines.kinds.choose_variance`).  The encoder's output is μ.
    The divergence keeps its constant ½ J (σ² − 1 − log σ²).  So ψ stays a bound on log p(x), and
    can be compared between variances.
    """

    def posterior(self, top: Float[Array, "batch outputs"]) -> tuple[Code, Code]:
        assert self.blueprint.variance is not None
        return top, jnp.full_like(top, self.blueprint.variance**0.5)


def autoencoder_loss(model: "GANAE", batch: Batch, key: PRNGKeyArray) -> Loss:
    """Eq 23, negated: mean BCE at z ~ q(z|x), and the penalty on the decoder."""
    seen = model.see(batch, key)
    # Minus Ω: Ω is itself negative.
    return batch.mean(seen.error) - model.omega(), seen


def generator_loss(model: "GANAE", batch: Batch, key: PRNGKeyArray) -> Loss:
    """Eq 24 as meant, negated: mean −log D(z_f)."""
    fake = model.draw_code(batch.images, key)
    # log σ(a) is −softplus(−a), so it never takes the log of 0.
    return batch.mean(-jax.nn.log_sigmoid(model.judge(fake))), None


def discriminator_loss(model: "GANAE", batch: Batch, key: PRNGKeyArray) -> Loss:
    """Eq 25 as meant, negated: mean −log D(z_r) − log(1 − D(z_f))."""
    fake_key, real_key = jax.random.split(key)
    # The encoder is not among what this objective changes, so its draw is a constant.
    fake = model.draw_code(batch.images, fake_key)
    return -batch.mean(model.verdict(fake, real_key)), None


class GANAE(Autoencoder):
    """Adversarial autoencoder, GAN-AE, after Makhzani et al. (Eqs 22 to 25).

        ψ = Σ_j [x_j log z⁰_j + (1 − x_j) log(1 − z⁰_j)] + log D(z_r) + log(1 − D(z_f))

    A discriminator D pulls q(z) towards N(0, I): z_r ~ N(0, I) is real (label 1) and
    z_f ~ q(z|x) = N(μ, σ²) fake (label 0).  On each mini-batch three updates take turns, each
    with its own optimiser state:

        autoencoder    ascends the first term     encoder and decoder    (Eq 23)
        generator      ascends log D(z_f)         encoder                (Eq 24)
        discriminator  ascends the other two      discriminator          (Eq 25)

    Misprints: Eqs 22, 24 and 25 have 1 − log D(z_f) in place of log(1 − D(z_f)).  As printed, Eq
    24's ascent would make fakes look *more* fake.  Its derivative is taken by the decoder's
    weights, on which z_f doesn't depend.  The text names what is meant: log D(z_f) and the
    encoder's weights.  The text lets Eq 25 change the encoder too, against its own equation and
    purpose; only the discriminator is meant.

    The last two updates have their own learning rate, as in Makhzani et al.
    (`Blueprint.adversary_rate`).

    Attributes:
        discriminator: code to the logit of its being a draw from the prior.
    """

    discriminator: Dense
    objectives: ClassVar[tuple[Objective, ...]] = (
        Objective(autoencoder_loss, ("encoder", "decoder")),
        Objective(generator_loss, ("encoder",), adversarial=True),
        Objective(discriminator_loss, ("discriminator",), adversarial=True),
    )

    def own_terms(self, mean: Code, std: Code, z: Code, key: PRNGKeyArray) -> Terms:
        """The terms that Eq 25 ascends: log D(z_r) + log(1 − D(z_f))."""
        return (self.verdict(z, key),)

    def draw_code(self, x: Float[Array, "batch pixels"], key: PRNGKeyArray) -> Code:
        """z_f ~ q(z|x)."""
        mean, std = self.posterior(self.encoder(x))
        return mean + std * jax.random.normal(key, mean.shape, jnp.float32)

    def judge(self, codes: Code) -> Float[Array, " batch"]:
        """The logit of D(z), the probability that each code comes from the prior."""
        return self.discriminator(codes)[:, 0]

    def verdict(self, fake: Code, key: PRNGKeyArray) -> Float[Array, " batch"]:
        """The sum log D(z_r) + log(1 − D(z_f)), with one z_r drawn for each z_f."""
        real = jax.random.normal(key, fake.shape, jnp.float32)
        # 1 − D(z) is σ of the negative logit.
        return jax.nn.log_sigmoid(self.judge(real)) + jax.nn.log_sigmoid(-self.judge(fake))

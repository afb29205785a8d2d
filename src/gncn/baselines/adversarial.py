"""The adversarial autoencoder, GAN-AE (Eqs 22 to 25), after Makhzani et al.

    ψ = Σ_j [x_j log z⁰_j + (1 − x_j) log(1 − z⁰_j)] + log D(z_r) + log(1 − D(z_f))

with z_r ~ N(0, I) real (label 1) and z_f ~ q(z|x) = N(μ, σ²) fake (label 0).  On each
mini-batch three updates take turns, each with its own optimiser state:

    autoencoder    ascends the first term     encoder and decoder    (Eq 23)
    generator      ascends log D(z_f)         encoder                (Eq 24)
    discriminator  ascends the other two      discriminator          (Eq 25)

Misprints: Eqs 22, 24 and 25 have 1 − log D(z_f) in place of log(1 − D(z_f)).  As printed, Eq
24's ascent would make fakes look *more* fake.  Its derivative is taken by the decoder's weights,
on which z_f doesn't depend.  The text names what is meant: log D(z_f) and the encoder's weights.
The text lets Eq 25 change the encoder too, against its own equation and purpose; only the
discriminator is meant.

The last two updates have their own learning rate, as in Makhzani et al.
(`Blueprint.adversary_rate`).
"""

from typing import ClassVar

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from gncn.baselines.autoencoder import Autoencoder, Code
from gncn.baselines.baseline import Objective
from gncn.baselines.blueprint import Blueprint
from gncn.baselines.dense import Dense
from gncn.baselines.variational import split_gaussian
from gncn.training.epochs import Batch, Statistics


def autoencoder_loss(
    model: "GANAE", batch: Batch, key: PRNGKeyArray
) -> tuple[Float[Array, ""], Statistics]:
    """Eq 23, negated: mean BCE at z ~ q(z|x), and the penalty on the decoder."""
    seen = model.see(batch, key)
    return batch.mean(seen.error) - model.omega(), seen


def generator_loss(
    model: "GANAE", batch: Batch, key: PRNGKeyArray
) -> tuple[Float[Array, ""], None]:
    """Eq 24 as meant, negated: mean −log D(z_f)."""
    fake = model.draw_code(batch.images, key)
    return batch.mean(-jax.nn.log_sigmoid(model.judge(fake))), None


def discriminator_loss(
    model: "GANAE", batch: Batch, key: PRNGKeyArray
) -> tuple[Float[Array, ""], None]:
    """Eq 25 as meant, negated: mean −log D(z_r) − log(1 − D(z_f))."""
    fake_key, real_key = jax.random.split(key)
    fake = model.draw_code(batch.images, fake_key)
    return -batch.mean(model.verdict(fake, real_key)), None


class GANAE(Autoencoder):
    """Adversarial autoencoder: a discriminator D pulls q(z) towards N(0, I).

        ψ = Σ_j [x_j log z⁰_j + (1 − x_j) log(1 − z⁰_j)]
            + log D(z_r) + log(1 − D(z_f))                (Eq 22, as meant; see the module)

    Attributes:
        discriminator: code to the logit of its being a draw from the prior.
    """

    blueprint: Blueprint = eqx.field(static=True)
    encoder: Dense
    decoder: Dense
    discriminator: Dense
    objectives: ClassVar[tuple[Objective, ...]] = (
        Objective(autoencoder_loss, ("encoder", "decoder")),
        Objective(generator_loss, ("encoder",), adversarial=True),
        Objective(discriminator_loss, ("discriminator",), adversarial=True),
    )

    def posterior(self, top: Float[Array, "batch outputs"]) -> tuple[Code, Code | None]:
        return split_gaussian(top)

    def own_term(
        self, mean: Code, std: Code | None, z: Code, key: PRNGKeyArray
    ) -> Float[Array, " batch"] | None:
        """What Eq 25 ascends: log D(z_r) + log(1 − D(z_f))."""
        return self.verdict(z, key)

    def draw_code(self, x: Float[Array, "batch pixels"], key: PRNGKeyArray) -> Code:
        """z_f ~ q(z|x)."""
        mean, std = split_gaussian(self.encoder(x))
        return mean + std * jax.random.normal(key, mean.shape)

    def judge(self, codes: Code) -> Float[Array, " batch"]:
        """The logit of D(z), the probability that each code comes from the prior."""
        return self.discriminator(codes)[:, 0]

    def verdict(self, fake: Code, key: PRNGKeyArray) -> Float[Array, " batch"]:
        """The sum log D(z_r) + log(1 − D(z_f)), with one z_r drawn for each z_f."""
        real = jax.random.normal(key, fake.shape)
        return jax.nn.log_sigmoid(self.judge(real)) + jax.nn.log_sigmoid(-self.judge(fake))

"""Completion by recalled codes that the model improves, each by itself.

Recall (`gncn.evaluation.recall`) averages over codes of training images as they are.  None
of them is the code of the image to complete.  So the model improves the S codes that make
the visible pixels likeliest, and the average is over what they then predict:

    E[x_missing | x_visible] ≈ Σ_s w_s logistic(κ a_s),    w_s ∝ p(x_visible|z_s)^(1/τ)

with z_s the improved codes and a_s the logits predicted with them.  A network improves a
code by settling from it, an autoencoder by encoding the image that it completes.  τ above 1
spreads the weights.  κ below 1 makes predictions less certain: they were learned from whole
images.
"""

import itertools
from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from gncn.evaluation.bernoulli import log_likelihood
from gncn.evaluation.blocks import check_positive
from gncn.evaluation.protocols import Decoder
from gncn.evaluation.recall import TEMPERATURES, likeliest

SHARPNESS = tuple(round(0.4 + 0.05 * i, 2) for i in range(23))
"""Values of κ that are tried: 0.4, 0.45, ... 1.5."""
N_CODES = 32


@runtime_checkable
class Improve(Protocol):
    """Improves codes by the visible pixels of images."""

    def __call__(
        self,
        x: Float[Array, "images pixels"],
        visible: Bool[Array, " pixels"],
        codes: Float[Array, "images dim"],
    ) -> tuple[Float[Array, "images pixels"], Float[Array, "images dim"]]:
        """Logits of all pixels, and the improved codes; missing pixels of `x` are 0."""
        ...


class Candidates(NamedTuple):
    """What each of several codes comes to.

    Attributes:
        logits: a_s.
        fits: log p(x_visible|z_s) in nats, but for a constant.
    """

    logits: Float[Array, "codes images pixels"]
    fits: Float[Array, "codes images"]


class Refined(eqx.Module):
    """Completes images by improved codes; callable as evaluation wants it.

    Attributes:
        decoder: gives the logits by which codes are chosen and weighted.
        improve: improves codes.
        codes: of training images, or drawn from a prior.
        n_codes: S; all, if there are fewer.
        temperature: τ.
        sharpness: κ.

    Raises:
        ConfigError: `n_codes` is not positive.
    """

    decoder: Decoder
    improve: Improve
    codes: Float[Array, "codes dim"]
    n_codes: int = eqx.field(static=True, default=N_CODES)
    temperature: float | Float[Array, ""] = 1.0
    sharpness: float | Float[Array, ""] = 1.0

    def __check_init__(self) -> None:
        check_positive(n_codes=self.n_codes)

    def __call__(
        self, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
    ) -> Float[Array, "images pixels"]:
        """Fill in the pixels that are not `visible`; the values of `x` there are ignored."""
        found = candidates(self, x, visible)
        return jnp.where(visible[None, :], x, expected(found, self.temperature, self.sharpness))


@eqx.filter_jit
def candidates(
    refined: Refined, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
) -> Candidates:
    """The likeliest codes of each image, improved; neither τ nor κ matters.

    Args:
        refined: decoder, codes, and what improves them.
        x: images; the values of missing pixels are ignored.
        visible: True where a pixel is visible.
    """
    seen, codes = visible[None, :], refined.codes
    x = jnp.where(seen, x, 0.0)

    def seen_logits(codes: Float[Array, "codes dim"]) -> Float[Array, "codes pixels"]:
        # A missing pixel's logit of 0 costs every code the same log 2.
        return jnp.where(seen, refined.decoder.decode(codes), 0.0)

    def improve(
        numbers: Int[Array, " images"],
    ) -> tuple[Float[Array, "images pixels"], Float[Array, " images"]]:
        logits, improved = refined.improve(x, visible, codes[numbers])
        return logits, log_likelihood(x, seen_logits(improved))

    chosen = likeliest(seen_logits, codes, x, min(refined.n_codes, len(codes)))
    return Candidates(*lax.map(improve, chosen.T))


@eqx.filter_jit
def expected(
    found: Candidates,
    temperature: float | Float[Array, ""],
    sharpness: float | Float[Array, ""],
) -> Float[Array, "images pixels"]:
    """Σ_s w_s logistic(κ a_s)."""
    weights = jax.nn.softmax(found.fits / temperature, axis=0)
    return jnp.einsum("si,sip->ip", weights, jax.nn.sigmoid(sharpness * found.logits))


def fit_refined(
    decoder: Decoder,
    improve: Improve,
    codes: Float[Array, "codes dim"],
    images: Shaped[np.ndarray, "images pixels"],
    visible: Bool[np.ndarray, " pixels"],
) -> Refined:
    """Choose τ and κ on images that may be learned from.

    Args:
        decoder: see `Refined`.
        improve: see `Refined`.
        codes: of other images than `images`.
        images: whole images.
        visible: which pixels will be seen.

    Returns:
        With the values from `TEMPERATURES` and `SHARPNESS` of least squared error on missing
        pixels.
    """
    plain = Refined(decoder, improve, codes)
    x = jnp.asarray(images, jnp.float32)
    found = candidates(plain, x, jnp.asarray(visible))
    missing, wanted = found._replace(logits=found.logits[..., ~visible]), x[:, ~visible]
    # As arrays, so that all values share one program.
    several = list(itertools.product(jnp.asarray(TEMPERATURES), jnp.asarray(SHARPNESS)))
    errors = [float(jnp.sum((wanted - expected(missing, *one)) ** 2)) for one in several]
    temperature, sharpness = several[int(np.argmin(errors))]
    return Refined(decoder, improve, codes, temperature=temperature, sharpness=sharpness)

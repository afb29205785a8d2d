"""Codes of training images as a prior: likelihood and completion by what is remembered.

A mixture fitted to codes says something of codes that were never seen, and pays for it
where it fits badly.  The codes themselves, equally likely, are the other extreme:

    p̂(z) = (1/N) Σ_n δ(z − z_n),                        p(x) = (1/N) Σ_n p(x|z_n)
    E[x_missing | x_visible] = Σ_n w_n logistic(a(z_n)),   w_n ∝ p(x_visible|z_n)^(1/τ)

with a(z) the decoder's logits.  p(x) is a density like any other, also of images that were
not learned from, but its samples are reconstructions of training images.  τ above 1 spreads
the weight over more codes: pixels are less independent than p(x|z) assumes.

None of these codes is the code of the image to complete.  So the model improves the S codes
that make the visible pixels likeliest, and the average is over what they then predict:

    E[x_missing | x_visible] ≈ Σ_s w_s logistic(κ a_s),    w_s ∝ p(x_visible|z_s)^(1/τ)

with z_s the improved codes and a_s the logits predicted with them (`Refined`).  A network
improves a code by settling from it, an autoencoder by encoding the image that it completes.
κ below 1 makes predictions less certain: they were learned from whole images.
"""

import itertools
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from gncn.base.errors import check_counts
from gncn.evaluation.completion import complete, missing_squared_error
from gncn.evaluation.pixels import PixelLikelihood, output_of
from gncn.evaluation.protocols import Codes, Decoder, Images, Mask

TEMPERATURES = (1.0, 2.0, 3.0, 5.0)
"""Values of τ that are tried."""
SHARPNESS = tuple(round(0.4 + 0.05 * i, 2) for i in range(23))
"""Values of κ that are tried: 0.4, 0.45, ... 1.5."""
_CODES_AT_ONCE = 5000

_Block = tuple[Float[Array, "block dim"], Int[Array, " block"]]
"""Codes and their numbers; -1 for what fills up the last block."""


class EmpiricalPrior(eqx.Module):
    """Every code of a list, equally likely."""

    codes: Float[Array, "codes dim"]

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n dim"]:
        """Draw `n` codes, with replacement."""
        return self.codes[jax.random.randint(key, (n,), 0, len(self.codes), jnp.int32)]


class Recall(eqx.Module):
    """A completer: fills in the mean of what codes (of training images) predict, with τ."""

    decoder: Decoder
    codes: Float[Array, "codes dim"]
    temperature: float | Float[Array, ""] = 1.0

    def __call__(
        self, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
    ) -> Float[Array, "images pixels"]:
        """Fill in the pixels that are not `visible`; the values of `x` there are ignored."""
        seen, missing = jnp.flatnonzero(visible), jnp.flatnonzero(~visible)
        return x.at[:, missing].set(_expected_pixels(self, x, seen, missing))


@eqx.filter_jit
def _expected_pixels(
    recall: Recall,
    x: Float[Array, "images pixels"],
    seen: Int[Array, " seen"],
    missing: Int[Array, " missing"],
) -> Float[Array, "images missing"]:
    """Σ_n w_n logistic(a(z_n)) of the missing pixels."""
    x, output = x[:, seen], output_of(recall.decoder)
    visible, hidden = output.of(seen), output.of(missing)

    def of_block(block: _Block) -> tuple[Float[Array, " images"], Float[Array, "images missing"]]:
        """The log of the weights' sum, and the mean by them."""
        codes, numbers = block
        drive = recall.decoder.decode(codes)
        # Dividing by τ flattens the weights, as if pixels were fewer than they are.
        fit = visible.table(x, drive[:, seen]) / recall.temperature
        # What fills up the last block has weight 0.
        fit = jnp.where(numbers[None, :] < 0, -jnp.inf, fit)
        mean = jax.nn.softmax(fit, axis=1) @ hidden.mean(drive[:, missing])
        return jax.nn.logsumexp(fit, axis=1), mean

    # Each block's mean counts by its share of the weight, so the blocks together are one softmax.
    totals, means = lax.map(of_block, _in_blocks(recall.codes))
    return jnp.einsum("bi,bim->im", jax.nn.softmax(totals, axis=0), means)


def likeliest(
    fit_of: Callable[[Float[Array, "block dim"]], Float[Array, "images block"]],
    codes: Float[Array, "codes dim"],
    n: int,
) -> Int[Array, "images n"]:
    """Numbers of the `n` codes with the highest p(x|z_n) for each image, best first.

    `fit_of` gives log p(x|z_n), but for a constant, of every image under a block of codes.
    """

    def of_block(block: _Block) -> tuple[Float[Array, "images best"], Int[Array, "images best"]]:
        codes, numbers = block
        fit = fit_of(codes)
        fit = jnp.where(numbers[None, :] < 0, -jnp.inf, fit)
        # The best of all blocks are among the best of each.
        fit, chosen = lax.top_k(fit, min(n, len(numbers)))
        return fit, numbers[chosen]

    # Not vmap: all blocks at once would need memory for all pairs of image and code.
    found = lax.map(of_block, _in_blocks(codes))
    fits, numbers = (jnp.concatenate(of_blocks, axis=1) for of_blocks in found)
    return jnp.take_along_axis(numbers, lax.top_k(fits, n)[1], axis=1)


def _in_blocks(
    codes: Float[Array, "codes dim"],
) -> tuple[Float[Array, "blocks size dim"], Int[Array, "blocks size"]]:
    """Codes in blocks of equal length, each a `_Block`."""
    size = min(_CODES_AT_ONCE, len(codes))
    spare = -len(codes) % size
    blocks = jnp.pad(codes, ((0, spare), (0, 0))).reshape(-1, size, codes.shape[1])
    number = jnp.pad(jnp.arange(len(codes)), (0, spare), constant_values=-1)
    return blocks, number.reshape(-1, size)


def held_out(n: int) -> Int[np.ndarray, " chosen"]:
    """Rows of the training images, of `n`, by which ways of completing are chosen.

    They are a tenth, 500 at most: more would leave fewer codes to recall.
    """
    # Evenly spread, in case the images are sorted.
    return np.linspace(0, n - 1, max(1, min(500, n // 10))).astype(int)


def fit_recall(
    decoder: Decoder, codes: Codes, images: Images, visible: Mask
) -> tuple[Recall, Shaped[np.ndarray, "held_out pixels"]]:
    """Choose τ on the training images that are `held_out`, whose codes are left out.

    Returns:
        Recall by the codes of the other images, with the τ in `TEMPERATURES` of least squared
        error on the images left out; and these images.
    """
    chosen = held_out(len(images))
    few = np.asarray(images)[chosen]
    rest = jnp.asarray(np.delete(codes, chosen, axis=0))
    # As an array, so that all temperatures share one program.
    several = [Recall(decoder, rest, jnp.asarray(one)) for one in TEMPERATURES]
    errors = [
        missing_squared_error(few, complete(one, few, visible), visible).mean for one in several
    ]
    return several[int(np.argmin(errors))], few


@runtime_checkable
class Improve(Protocol):
    """Improves codes by the visible pixels of images."""

    def __call__(
        self,
        x: Float[Array, "images pixels"],
        visible: Bool[Array, " pixels"],
        codes: Float[Array, "images dim"],
    ) -> tuple[Float[Array, "images pixels"], Float[Array, "images dim"]]:
        """Drives (logits) of all pixels, and the improved codes; missing pixels of `x` are 0."""
        ...


Candidates = tuple[Float[Array, "codes images pixels"], Float[Array, "codes images"]]
"""For each of several codes a_s, and log p(x_visible|z_s) up to a constant."""


class Refined(eqx.Module):
    """A completer by the `n_codes` likeliest codes of training images, improved.

    The decoder's logits choose and weight codes, with τ; `improve`'s are averaged, with κ.

    Raises:
        ConfigError: `n_codes` is not positive.
    """

    decoder: Decoder
    improve: Improve
    codes: Float[Array, "codes dim"]
    n_codes: int = eqx.field(static=True, default=32)
    temperature: float | Float[Array, ""] = 1.0
    sharpness: float | Float[Array, ""] = 1.0

    def __check_init__(self) -> None:
        check_counts(n_codes=self.n_codes)

    def __call__(
        self, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
    ) -> Float[Array, "images pixels"]:
        """Fill in the pixels that are not `visible`; the values of `x` there are ignored."""
        found = candidates(self, x, visible)
        filled = expected(output_of(self.decoder), found, self.temperature, self.sharpness)
        return jnp.where(visible[None, :], x, filled)


@eqx.filter_jit
def candidates(
    refined: Refined, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
) -> Candidates:
    """The likeliest codes of each image, improved; neither τ nor κ matters."""
    seen, codes, output = visible[None, :], refined.codes, output_of(refined.decoder)
    x = jnp.where(seen, x, 0.0)
    # A missing pixel costs every code the same: its drive is 0, and its value what that predicts.
    known = jnp.where(seen, x, output.mean(jnp.zeros_like(x)))

    def seen_drive(codes: Float[Array, "codes dim"]) -> Float[Array, "codes pixels"]:
        return jnp.where(seen, refined.decoder.decode(codes), 0.0)

    def improve(
        numbers: Int[Array, " images"],
    ) -> tuple[Float[Array, "images pixels"], Float[Array, " images"]]:
        drive, improved = refined.improve(x, visible, codes[numbers])
        return drive, output.log_prob(known, seen_drive(improved))

    def fit_of(codes: Float[Array, "block dim"]) -> Float[Array, "images block"]:
        return output.table(known, seen_drive(codes))

    chosen = likeliest(fit_of, codes, min(refined.n_codes, len(codes)))
    return lax.map(improve, chosen.T)


@eqx.filter_jit
def expected(
    output: PixelLikelihood,
    found: Candidates,
    temperature: float | Float[Array, ""],
    sharpness: float | Float[Array, ""],
) -> Float[Array, "images pixels"]:
    """Σ_s w_s logistic(κ a_s), or with the g of a Gaussian output in the logistic's place."""
    # Candidates are computed once; τ and κ then cost next to nothing to try.
    drive, fits = found
    weights = jax.nn.softmax(fits / temperature, axis=0)
    return jnp.einsum("si,sip->ip", weights, output.mean(sharpness * drive))


def fit_refined(
    decoder: Decoder,
    improve: Improve,
    codes: Float[Array, "codes dim"],
    images: Shaped[np.ndarray, "images pixels"],
    visible: Mask,
) -> Refined:
    """Choose τ and κ of least squared error on whole images, whose codes aren't among `codes`."""
    x = jnp.asarray(images, jnp.float32)
    # The default τ and κ do not enter the candidates.
    logits, fits = candidates(Refined(decoder, improve, codes), x, jnp.asarray(visible))
    # Only missing pixels are compared, so only their logits are kept.
    missing, wanted = (logits[..., ~visible], fits), x[:, ~visible]
    # As arrays, so that all values share one program.
    several = list(itertools.product(jnp.asarray(TEMPERATURES), jnp.asarray(SHARPNESS)))
    output = output_of(decoder)
    errors = [float(jnp.sum((wanted - expected(output, missing, *one)) ** 2)) for one in several]
    temperature, sharpness = several[int(np.argmin(errors))]
    return Refined(decoder, improve, codes, temperature=temperature, sharpness=sharpness)

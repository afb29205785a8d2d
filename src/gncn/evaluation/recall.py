"""Codes of training images as a prior: likelihood and completion by what is remembered.

A mixture fitted to codes says something of codes that were never seen, and pays for it
where it fits badly.  The codes themselves, equally likely, are the other extreme:

    p̂(z) = (1/N) Σ_n δ(z − z_n),                        p(x) = (1/N) Σ_n p(x|z_n)
    E[x_missing | x_visible] = Σ_n w_n logistic(a(z_n)),   w_n ∝ p(x_visible|z_n)^(1/τ)

with a(z) the decoder's logits.  p(x) is a density like any other, also of images that were
not learned from, but its samples are reconstructions of training images.  τ above 1 spreads
the weight over more codes: pixels are less independent than p(x|z) assumes.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from gncn.evaluation.bernoulli import log_likelihood_table
from gncn.evaluation.completion import complete, missing_squared_error
from gncn.evaluation.protocols import Decoder

TEMPERATURES = (1.0, 2.0, 3.0, 5.0)
"""Values of τ that are tried."""
N_HELD_OUT = 500

_CODES_AT_ONCE = 5000

_Sums = tuple[Float[Array, " images"], Float[Array, " images"], Float[Array, "images missing"]]
"""The highest log weight, weights relative to it, and values so weighted, summed up."""
_Best = tuple[Float[Array, "images n"], Int[Array, "images n"]]
"""Log-likelihoods of the likeliest codes so far, and their numbers."""


class EmpiricalPrior(eqx.Module):
    """Every code of a list, equally likely.

    Attributes:
        codes: the list.
    """

    codes: Float[Array, "codes dim"]

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n dim"]:
        """Draw `n` codes, with replacement."""
        return self.codes[jax.random.randint(key, (n,), 0, len(self.codes))]


class Recall(eqx.Module):
    """Completes images by the mean of what codes predict; callable as evaluation wants it.

    Attributes:
        decoder: gives a(z).
        codes: of training images, or drawn from a prior.
        temperature: τ.
    """

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
    """Σ_n w_n logistic(a(z_n)) of the missing pixels, in blocks of codes."""
    blocks, number = _in_blocks(recall.codes)
    x = x[:, seen]

    def add(
        sums: _Sums, block: tuple[Float[Array, "block dim"], Int[Array, " block"]]
    ) -> tuple[_Sums, None]:
        highest, total, mean = sums
        logits = recall.decoder.decode(block[0])
        values = jax.nn.sigmoid(logits[:, missing])
        fit = log_likelihood_table(x, logits[:, seen]) / recall.temperature
        fit = jnp.where(block[1][None, :] >= 0, fit, -jnp.inf)
        higher = jnp.maximum(highest, jnp.max(fit, axis=1))
        weights = jnp.exp(fit - higher[:, None])
        shrink = jnp.exp(highest - higher)
        total = shrink * total + jnp.sum(weights, axis=1)
        return (higher, total, shrink[:, None] * mean + weights @ values), None

    nothing = (
        jnp.full(len(x), -jnp.inf),
        jnp.zeros(len(x)),
        jnp.zeros((len(x), len(missing))),
    )
    (_, total, mean), _ = lax.scan(add, nothing, (blocks, number))
    return mean / total[:, None]


def likeliest(
    predict: Callable[[Float[Array, "block dim"]], Float[Array, "block seen"]],
    codes: Float[Array, "codes dim"],
    x: Float[Array, "images seen"],
    n: int,
) -> Int[Array, "images n"]:
    """Numbers of the `n` codes with the highest p(x|z_n) for each image, best first.

    Args:
        predict: gives a block of codes' logits of the pixels in `x`.
        codes: z_n.
        x: the visible pixels of images.
        n: how many; no more than there are codes.
    """

    def merge(
        best: _Best, block: tuple[Float[Array, "block dim"], Int[Array, " block"]]
    ) -> tuple[_Best, None]:
        fit = jnp.where(
            block[1][None, :] >= 0, log_likelihood_table(x, predict(block[0])), -jnp.inf
        )
        fits = jnp.concatenate([best[0], fit], axis=1)
        numbers = jnp.concatenate([best[1], jnp.broadcast_to(block[1][None, :], fit.shape)], axis=1)
        fit, chosen = lax.top_k(fits, n)
        return (fit, jnp.take_along_axis(numbers, chosen, axis=1)), None

    nothing = jnp.full((len(x), n), -jnp.inf), jnp.full((len(x), n), -1)
    (_, numbers), _ = lax.scan(merge, nothing, _in_blocks(codes))
    return numbers


def _in_blocks(
    codes: Float[Array, "codes dim"],
) -> tuple[Float[Array, "blocks size dim"], Int[Array, "blocks size"]]:
    """Codes in blocks of equal length, and their numbers; -1 for what fills up the last."""
    size = min(_CODES_AT_ONCE, len(codes))
    spare = -len(codes) % size
    blocks = jnp.pad(codes, ((0, spare), (0, 0))).reshape(-1, size, codes.shape[1])
    number = jnp.pad(jnp.arange(len(codes)), (0, spare), constant_values=-1)
    return blocks, number.reshape(-1, size)


def fit_recall(
    decoder: Decoder,
    codes: Float[np.ndarray, "images dim"],
    images: Shaped[np.ndarray, "images pixels"],
    visible: Bool[np.ndarray, " pixels"],
) -> tuple[Recall, Shaped[np.ndarray, "held_out pixels"]]:
    """Choose τ on a tenth of the training images (500 at most), whose codes are left out.

    Args:
        decoder: gives a(z).
        codes: of `images`.
        images: training images, at least two.
        visible: which pixels will be seen.

    Returns:
        Recall by the codes of the other images, with the τ in `TEMPERATURES` of least squared
        error on the images left out; and these images.
    """
    n = max(1, min(N_HELD_OUT, len(images) // 10))
    chosen = np.linspace(0, len(images) - 1, n).astype(int)
    held_out = images[chosen]
    rest = jnp.asarray(np.delete(codes, chosen, axis=0))
    # As an array, so that all temperatures share one program.
    several = [Recall(decoder, rest, jnp.asarray(one)) for one in TEMPERATURES]
    errors = [
        missing_squared_error(held_out, complete(one, held_out, visible), visible).mean
        for one in several
    ]
    return several[int(np.argmin(errors))], held_out

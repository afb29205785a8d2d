"""Binary images as rows of an array: likelihood, scores, blocks and sheets.

Pixels are Bernoulli: log p(x|z) = Σ_d [x_d a_d − softplus(a_d)] with logits a.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped, UInt8

from gncn.base.arrays import as_rows, plain
from gncn.base.errors import DataError
from gncn.base.interrupts import check
from gncn.base.progress import advance


def binary_images(x: Any, n_pixels: int | None = None) -> UInt8[np.ndarray, "images pixels"]:
    """Check that images, of any kind, are binary and hold them in one byte a pixel.

    A Bernoulli likelihood of grey pixels is no likelihood: it isn't normalised.

    Raises:
        DataError: there is no image, they have another shape, or a value is neither 0 nor 1.
    """
    values = np.asarray(as_rows(plain(x), n_pixels, "Images"))
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        raise DataError(
            f"A Bernoulli likelihood needs pixels of 0 or 1; received {values[wrong][0]!r}. "
            "Binarise the images first (`gncn.data.binarise`)."
        )
    return values.astype(np.uint8)


def log_likelihood(
    x: Float[Array, "*n pixels"], logits: Float[Array, "*n pixels"]
) -> Float[Array, "*n"]:
    """Log-likelihood log p(x|z) of each image under its own logits, in nats."""
    return jnp.sum(x * logits - jax.nn.softplus(logits), axis=-1)


def log_likelihood_table(
    x: Float[Array, "images pixels"],
    logits: Float[Array, "codes pixels"],
) -> Float[Array, "images codes"]:
    """Log-likelihood of every image under every code's logits, in nats; one matrix product."""
    # Σ_d softplus(a_d) does not depend on the image, so one sum for each code is enough.
    normaliser = jnp.sum(jax.nn.softplus(logits), axis=-1)
    # By default an accelerator may round the factors to fewer digits.
    return jnp.matmul(x, logits.T, precision=lax.Precision.HIGHEST) - normaliser[None, :]


def sample_pixels(
    key: PRNGKeyArray, logits: Float[Array, "codes pixels"]
) -> UInt8[Array, "codes pixels"]:
    """Draw binary images from logits."""
    return jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(jnp.uint8)


@dataclass(frozen=True)
class PerImage:
    """A score of every image, with its mean and standard error."""

    values: Float[np.ndarray, " images"]

    @property
    def mean(self) -> float:
        """Mean over images."""
        return float(np.mean(self.values, dtype=np.float64))

    @property
    def standard_error(self) -> float:
        """Standard error of that mean, for images drawn at random; nan for one image."""
        n = len(self.values)
        if n == 1:
            return np.nan
        return float(np.std(self.values, ddof=1, dtype=np.float64) / np.sqrt(n))


def blocks(n: int, size: int) -> Iterator[tuple[Int[np.ndarray, " rows"], int]]:
    """Indices 0..n-1 in blocks of equal length, so that one program serves all of them.

    Yields:
        A block's indices, the last block filled up with index n-1, and how many of them are not
        filling.
    """
    size = min(size, n)
    for start in range(0, n, size):
        # Ctrl-C is heard between blocks, since a compiled program can't be stopped.
        check()
        yield np.minimum(np.arange(start, start + size), n - 1), min(size, n - start)
        advance(min(start + size, n), n)


def image_shape(n_pixels: int, known: tuple[int, int] | None) -> tuple[int, int]:
    """The shape to show an image in: the known one, a square, or one row of pixels."""
    if known is not None:
        return known
    side = round(n_pixels**0.5)
    return (side, side) if side * side == n_pixels else (1, n_pixels)


def tile(
    images: Shaped[np.ndarray, "n pixels"],
    shape: tuple[int, int],
    columns: int,
    *,
    background: float,
) -> Float[np.ndarray, "height width"]:
    """Lay images out in a grid of some columns; `background` fills gaps of one pixel."""
    height, width = (side + 1 for side in shape)
    # Each image gets a line below and on its right; the last ones are cut off at the end.
    framed = np.pad(
        images.reshape(-1, *shape).astype(np.float32),
        ((0, -len(images) % columns), (0, 1), (0, 1)),
        constant_values=background,
    )
    grid = framed.reshape(-1, columns, height, width).swapaxes(1, 2)
    return grid.reshape(-1, columns * width)[:-1, :-1]

"""Images as training and evaluation hold them: binary ones as bits, eight pixels to a byte.

`Examples` is a pytree, so it goes into compiled programs as it is, and a program unpacks
the few images that it works on.  `StreamedExamples` stay in their file until some are
gathered from it.
"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32, Shaped, UInt8

from gncn.data import Split, StoredImages


class Examples(eqx.Module):
    """Images to learn from or to evaluate on.

    Attributes:
        stored: binary images packed into bits, the first pixel the highest bit, or
            real-valued images as they are.
        labels: classes, for a model that learns them.
        n_pixels: pixels of an image.
    """

    stored: UInt8[Array | np.ndarray, "images bytes"] | Float32[Array | np.ndarray, "images pixels"]
    labels: Int32[Array | np.ndarray, " images"] | None
    n_pixels: int = eqx.field(static=True)

    def __len__(self) -> int:
        return len(self.stored)

    def pixels(self, chosen: Int[Array, " batch"]) -> Float[Array, "batch pixels"]:
        """The images of these indices, as a model takes them."""
        rows = jnp.asarray(self.stored)[chosen]
        if rows.dtype == jnp.uint8:
            bits = jnp.unpackbits(rows, axis=-1, count=self.n_pixels)
            # A root changes neither 0 nor 1, and is too dear to XLA to be taken twice: else it
            # unpacks the image anew, slowly, wherever one of the first steps looks at it.
            return jnp.sqrt(bits.astype(jnp.float32))
        return rows.astype(jnp.float32)

    def classes(self, chosen: Int[Array, " batch"]) -> Int[Array, " batch"] | None:
        """The labels of these indices."""
        return None if self.labels is None else jnp.asarray(self.labels)[chosen]

    def gather(self, rows: Int[np.ndarray, " rows"]) -> "Examples":
        """The examples of these rows, on the host."""
        labels = None if self.labels is None else np.asarray(self.labels)[rows]
        return Examples(np.asarray(self.stored)[rows], labels, self.n_pixels)


def hold(
    images: Shaped[np.ndarray, "images pixels"], labels: Int32[np.ndarray, " images"] | None = None
) -> Examples:
    """Hold images on the host: binary ones (uint8 zeros and ones) packed into bits."""
    stored: Any = np.packbits(images, axis=-1) if images.dtype == np.uint8 else images
    return Examples(stored, labels, images.shape[1])


@dataclass(frozen=True)
class StreamedExamples:
    """Images that stay in a file, with labels if the model learns them.

    Attributes:
        images: the images.
        labels: classes.
    """

    images: StoredImages
    labels: Int32[np.ndarray, " images"] | None

    def __len__(self) -> int:
        return len(self.images)

    def gather(self, rows: Int[np.ndarray, " rows"]) -> Examples:
        """Read the examples of these rows.

        Raises:
            DataError: the file can't be read, or has changed.
        """
        return hold(self.images[rows], None if self.labels is None else self.labels[rows])


Source = Examples | StreamedExamples
"""What epochs and evaluations take their images from."""


def examples_of(split: Split, *, labelled: bool = False) -> Source:
    """The examples of a split, with labels only if the model learns them."""
    labels = split.labels if labelled else None
    if isinstance(split.images, StoredImages):
        return StreamedExamples(split.images, labels)
    return hold(split.images, labels)


def on_device(source: Source) -> Source:
    """The same examples on the device, unless they stay in a file."""
    return jax.device_put(source) if isinstance(source, Examples) else source

"""Images as training and evaluation hold them, and the chunks of an epoch that are cut from them.

Binary images are held as bits, eight pixels to a byte.  `Examples` is a pytree, so it goes into
compiled programs as it is, and a program unpacks the few images that it works on.
`StreamedExamples` stay in their file until some are gathered from it.

Images in memory are put on the device once, and a chunk is given their indices.  A thread in the
background reads streamed images while the chunk before is learned from, and a chunk is given its
own images.
"""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32, Shaped, UInt8

from gncn.data import Split, StoredImages

STREAMED_BYTES = 2**24
"""Bytes of a file that one chunk may take, unless a mini-batch takes more."""


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
            # sqrt is the identity on {0, 1}.  XLA considers it too expensive to recompute, so it
            # does not unpack the images again, slowly, in each of the first steps of settling.
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


def examples_of(split: Split) -> Source:
    """The examples of a split."""
    if isinstance(split.images, StoredImages):
        return StreamedExamples(split.images, split.labels)
    return hold(split.images, split.labels)


def on_device(source: Source) -> Source:
    """The same examples on the device, unless they stay in a file."""
    return jax.device_put(source) if isinstance(source, Examples) else source


class Chunk(NamedTuple):
    """Mini-batches that one call learns from.

    Attributes:
        first: number of the first mini-batch.
        n_batches: how many there are.
        examples: what `indices` are indices of.
        indices: which examples make up each mini-batch.
    """

    first: Int[np.ndarray, ""]
    n_batches: Int[np.ndarray, ""]
    examples: Examples
    indices: Int[np.ndarray, "chunk trials batch"]


def chunks(
    source: Source, order: Int[np.ndarray, "trials images"], batch_size: int, length: int
) -> Generator[Chunk, None, None]:
    """Cut an epoch into chunks of equal length, so that one program serves all of them.

    Args:
        source: all images.
        order: the order in which each trial sees them.
        batch_size: images of a mini-batch; the last is filled up with the first image.
        length: mini-batches of a chunk; the last may have fewer, and chunks of streamed
            images have no more than `STREAMED_BYTES` allow.

    Raises:
        DataError: the file of streamed images can't be read, or has changed.
    """
    n_trials, n_images = order.shape
    n_batches = -(-n_images // batch_size)
    if isinstance(source, StreamedExamples):
        most = STREAMED_BYTES // (n_trials * batch_size * source.images.image_bytes)
        length = max(1, min(length, most))
    starts = range(0, n_batches, length)

    def drawn(first: int) -> Int[np.ndarray, "chunk trials batch"]:
        chosen = order[:, first * batch_size : (first + length) * batch_size]
        filled = np.zeros((n_trials, length * batch_size), np.int32)
        filled[:, : chosen.shape[1]] = chosen
        cut = np.moveaxis(filled.reshape(n_trials, length, batch_size), 1, 0)
        return np.ascontiguousarray(cut)

    def at(first: int, examples: Examples, indices: Int[np.ndarray, "chunk trials batch"]) -> Chunk:
        count = min(length, n_batches - first)
        return Chunk(np.asarray(first), np.asarray(count), examples, indices)

    if isinstance(source, Examples):
        for first in starts:
            yield at(first, source, drawn(first))
        return
    places = np.arange(length * n_trials * batch_size, dtype=np.int32)
    places = places.reshape(length, n_trials, batch_size)
    with ThreadPoolExecutor(1, "gncn-reader") as reader:
        ahead = reader.submit(source.gather, drawn(0).ravel())
        for first in starts:
            examples = ahead.result()
            if first + length < n_batches:
                ahead = reader.submit(source.gather, drawn(first + length).ravel())
            yield at(first, examples, places)

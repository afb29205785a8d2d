"""Images as training and evaluation hold them, and the chunks of an epoch that are cut from them.

Images in memory are put on the device once, and a chunk is given their indices.  A thread in the
background reads streamed images while the chunk before is learned from, and a chunk is given its
own images.
"""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
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
    """Images to learn from or to evaluate on; a program unpacks the few that it works on.

    Attributes:
        stored: binary images packed into bits, the first pixel the highest bit, or
            real-valued images as they are.
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


def hold(
    images: Shaped[np.ndarray, "images pixels"], labels: Int32[np.ndarray, " images"] | None = None
) -> Examples:
    """Hold images on the host: binary ones (uint8 zeros and ones) packed into bits."""
    # Eight pixels a byte; `pixels` unpacks those that a mini-batch needs.
    stored: Any = np.packbits(images, axis=-1) if images.dtype == np.uint8 else images
    return Examples(stored, labels, images.shape[1])


Source = Examples | Split
"""The source of images for epochs and evaluations; a split, if the images stay in their file."""


def examples_of(split: Split) -> Source:
    """The examples of a split."""
    return split if isinstance(split.images, StoredImages) else hold(split.images, split.labels)


def gather(source: Source, rows: Int[np.ndarray, " rows"]) -> Examples:
    """The examples of these rows, on the host.

    Raises:
        DataError: the file of streamed images can't be read, or has changed.
    """
    labels = None if source.labels is None else np.asarray(source.labels)[rows]
    if isinstance(source, Split):
        return hold(source.images[rows], labels)
    return Examples(np.asarray(source.stored)[rows], labels, source.n_pixels)


def on_device(source: Source) -> Source:
    """The same examples on the device, unless they stay in a file."""
    return jax.device_put(source) if isinstance(source, Examples) else source


class Chunk(NamedTuple):
    """Mini-batches that one call learns from.

    Attributes:
        first: number of the first mini-batch.
        n_batches: how many there are.
        indices: which of the examples make up each mini-batch.
    """

    first: Int[np.ndarray, ""]
    n_batches: Int[np.ndarray, ""]
    examples: Examples
    indices: Int[np.ndarray, "chunk trials batch"]


def chunks(
    source: Source,
    order: Int[np.ndarray, "trials images"],
    batch_size: int,
    length: int,
    n_done: int = 0,
) -> Generator[Chunk, None, None]:
    """Cut an epoch into chunks of equal length, so that one program serves all of them.

    Args:
        source: all images.
        order: in which each trial sees them.
        batch_size: images of a mini-batch; the last is filled up with the first image.
        length: mini-batches of a chunk; the last may have fewer, and chunks of streamed
            images have no more than `STREAMED_BYTES` allow.
        n_done: mini-batches of the epoch that are done, whose images `order` leaves out.

    Raises:
        DataError: the file of streamed images can't be read, or has changed.
    """
    n_trials, n_images = order.shape
    n_batches = -(-n_images // batch_size)
    # A chunk of streamed images is held in memory, and the next one too.
    if isinstance(source, Split) and isinstance(source.images, StoredImages):
        most = STREAMED_BYTES // (n_trials * batch_size * source.images.image_bytes)
        length = max(1, min(length, most))
    n_chunks = -(-n_batches // length)
    # What is left over stays 0: the first image fills up the last mini-batch, with weight 0.
    filled = np.zeros((n_trials, n_chunks * length * batch_size), np.int32)
    filled[:, :n_images] = order
    cut = np.moveaxis(filled.reshape(n_trials, n_chunks, length, batch_size), 0, 2)

    def chunk(number: int, examples: Examples, indices: Int[np.ndarray, "..."]) -> Chunk:
        first = number * length
        count = min(length, n_batches - first)
        number_of_first = np.asarray(n_done + first)
        return Chunk(number_of_first, np.asarray(count), examples, np.ascontiguousarray(indices))

    if isinstance(source, Examples):
        for number in range(n_chunks):
            yield chunk(number, source, cut[number])
        return
    # A streamed chunk brings its own images, in the order in which they are wanted.
    places = np.arange(cut[0].size, dtype=np.int32).reshape(cut[0].shape)
    with ThreadPoolExecutor(1, "gncn-reader") as reader:
        ahead = reader.submit(gather, source, cut[0].ravel())
        for number in range(n_chunks):
            examples = ahead.result()
            # The next chunk is asked for before this one is handed out, so reading and learning
            # overlap.
            if number + 1 < n_chunks:
                ahead = reader.submit(gather, source, cut[number + 1].ravel())
            yield chunk(number, examples, places)

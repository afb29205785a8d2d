"""What each chunk of an epoch is given: which images, and where they are.

Images in memory are put on the device once, and a chunk is given their indices.  Streamed
ones are read from their file by a thread in the background, while the chunk before is
learned from, and a chunk is given its own images.
"""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Int

from gncn.training.examples import Examples, Source, StreamedExamples

STREAMED_BYTES = 2**24
"""Bytes of a file that one chunk may take, unless a mini-batch takes more."""

Chunk = tuple[
    Int[np.ndarray, ""], Int[np.ndarray, ""], Examples, Int[np.ndarray, "chunk trials batch"]
]
"""First mini-batch, how many, examples, and the indices among them of each mini-batch."""


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
        return np.asarray(first), np.asarray(count), examples, indices

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

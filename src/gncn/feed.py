"""What each chunk of an epoch is given: which images, and where they are."""

from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Int

from gncn.examples import Examples

Chunk = tuple[
    Int[np.ndarray, ""], Int[np.ndarray, ""], Examples, Int[np.ndarray, "chunk trials batch"]
]
"""First mini-batch, how many, examples, and the indices among them of each mini-batch."""


def chunks(
    examples: Examples, order: Int[np.ndarray, "trials images"], batch_size: int, length: int
) -> Iterator[Chunk]:
    """Cut an epoch into chunks of equal length, so that one program serves all of them.

    Args:
        examples: all images; put on the device, all at once.
        order: the order in which each trial sees them.
        batch_size: images of a mini-batch; the last is filled up with the first image.
        length: mini-batches of a chunk; the last may have fewer.
    """
    n_trials, n_images = order.shape
    n_batches = -(-n_images // batch_size)
    held = jax.device_put(examples)
    for first in range(0, n_batches, length):
        count = min(length, n_batches - first)
        chosen = order[:, first * batch_size : (first + count) * batch_size]
        filled = np.zeros((n_trials, length * batch_size), np.int32)
        filled[:, : chosen.shape[1]] = chosen
        indices = np.moveaxis(filled.reshape(n_trials, length, batch_size), 1, 0)
        yield np.asarray(first), np.asarray(count), held, np.ascontiguousarray(indices)

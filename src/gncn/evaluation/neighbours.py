"""Nearest training images, to see whether a model's samples are memorised ones."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gncn.base.errors import ConfigError
from gncn.base.extras import needs
from gncn.evaluation.protocols import Images


class Neighbours(NamedTuple):
    """The nearest images of every query, nearest first: their rows and Euclidean distances."""

    indices: Int[np.ndarray, "queries k"]
    distances: Float[np.ndarray, "queries k"]


def nearest_images(images: Images, queries: Images, k: int = 1) -> Neighbours:
    """Find each query's `k` nearest images, by exhaustive search in blocks of bounded memory.

    To judge memorisation, compare the distances from samples and from held-out images to
    training images: samples of a model that copies are much nearer.

    Raises:
        ConfigError: `k` is not between 1 and the number of images.
    """
    needs("sklearn", "evaluation")
    from sklearn.neighbors import NearestNeighbors

    if not 1 <= k <= len(images):
        raise ConfigError(f"k must be between 1 and {len(images)}, the images; received {k}.")
    search = NearestNeighbors(n_neighbors=k, algorithm="brute")
    search.fit(np.asarray(images, np.float32))
    distances, indices = search.kneighbors(np.asarray(queries, np.float32))
    return Neighbours(np.asarray(indices), np.asarray(distances))

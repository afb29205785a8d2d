"""Completion without a model: the mean image, and the nearest neighbours' mean.

Yardsticks for M-MSE, to be computed on the same images as a model's.  The third, a
supervised regressor, is in `gncn.evaluation.regressor`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from gncn.base.errors import ConfigError
from gncn.evaluation.neighbours import nearest_images
from gncn.evaluation.protocols import Images

NEIGHBOURS = (1, 3, 5, 10, 20, 30, 50, 100)
"""Numbers of neighbours tried unless the caller says otherwise."""


class MeanImage(NamedTuple):
    """A completer that fills in the mean image.

    Attributes:
        image: the mean.
    """

    image: Float[np.ndarray, " pixels"]

    def __call__(
        self, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
    ) -> Float[Array, "images pixels"]:
        """The mean image, as often as asked for."""
        return jnp.broadcast_to(jnp.asarray(self.image), x.shape)


def mean_image(images: Images) -> MeanImage:
    """The completer that fills in the mean of training images."""
    return MeanImage(np.asarray(np.mean(images, axis=0, dtype=np.float32)))


class NearestNeighbours(NamedTuple):
    """A completer that fills in the mean of the k images nearest on the visible pixels.

    Attributes:
        images: where neighbours are looked for.
        k: how many.
        validation: M-MSE on validation images of every number tried.
    """

    images: Images
    k: int
    validation: dict[int, float]

    def __call__(
        self, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
    ) -> Float[np.ndarray, "images pixels"]:
        """The mean of each image's k nearest."""
        seen = np.flatnonzero(visible)
        indices = nearest_images(self.images[:, seen], np.asarray(x)[:, seen], self.k).indices
        return np.asarray(np.mean(np.asarray(self.images)[indices], axis=1, dtype=np.float32))


def fit_nearest_neighbours(
    train: Images,
    validation: Images,
    visible: Bool[np.ndarray, " pixels"],
    candidates: Sequence[int] = NEIGHBOURS,
) -> NearestNeighbours:
    """Choose the number of neighbours by M-MSE on validation images.

    Args:
        train: where neighbours are looked for.
        validation: to choose on.
        visible: True where a pixel is visible.
        candidates: numbers of neighbours to try; those beyond the training images are
            left out.

    Raises:
        ConfigError: no candidate is left, or no pixel is visible.
    """
    usable = sorted({k for k in candidates if 1 <= k <= len(train)})
    if not usable:
        raise ConfigError(
            f"Candidates must hold a number between 1 and {len(train)}; received {candidates}."
        )
    if not visible.any():
        raise ConfigError("Nearest neighbours need at least one visible pixel; none is.")
    known, truth = np.asarray(train), np.asarray(validation, np.float32)[:, ~visible]
    indices = nearest_images(known[:, visible], np.asarray(validation)[:, visible], usable[-1])
    total, errors = np.zeros_like(truth), {}
    for rank in range(usable[-1]):
        total += known[indices.indices[:, rank]][:, ~visible]
        if rank + 1 in usable:
            errors[rank + 1] = float(np.mean(np.sum((truth - total / (rank + 1)) ** 2, axis=1)))
    return NearestNeighbours(train, min(errors, key=errors.__getitem__), errors)

"""`Objective`: one of the successive updates that a mini-batch brings about.

A model trained by backprop names its objectives: a loss and the parts of the model that
descend it.  Most have one; the adversarial autoencoder has three (Eqs 23, 24 and 25).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gncn.training.epochs import Statistics


class Batch(NamedTuple):
    """A mini-batch.

    Attributes:
        images: binary pixels.
        weights: 1 for an image, 0 for a filler.
        labels: classes, for a model that learns them.
        progress: share of the run's updates that came before this mini-batch.
    """

    images: Float[Array, "batch pixels"]
    weights: Float[Array, " batch"]
    labels: Int[Array, " batch"] | None = None
    progress: Float[Array, ""] | float = 1.0

    def mean(self, values: Float[Array, " batch"]) -> Float[Array, ""]:
        """Mean over the images that are no fillers."""
        return jnp.sum(self.weights * values) / jnp.sum(self.weights)


class Objective(NamedTuple):
    """A loss, and who descends it.

    Attributes:
        loss: of (model, batch, key): a number, and statistics of each image before the
            update, or None.
        learns: names of the model's fields that this update changes.
        adversarial: whether its learning rate is that of adversaries, `adversary_rate`
            of the blueprint times the model's.
    """

    loss: Callable[[Any, Batch, PRNGKeyArray], tuple[Float[Array, ""], Statistics | None]]
    learns: tuple[str, ...]
    adversarial: bool = False

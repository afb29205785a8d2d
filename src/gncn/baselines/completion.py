"""Completion by an autoencoder: clamped iteration to a fixed point.

    x_{t+1} = x on visible pixels, and logistic(decode(encode(x_t))) on missing ones

from missing pixels of 0.  Each image stops by itself, when no missing pixel has moved by
as much as the tolerance; so a batch gives what its images give alone.  Some images take
many times the steps of others: each that stops makes room for the next one.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gncn.baselines.autoencoder import Autoencoder

PLACES = 200
"""Images that are iterated at a time."""


class Completed(NamedTuple):
    """Completed images, and how the iteration went for each.

    Attributes:
        images: visible pixels as given, missing ones filled in.
        n_steps: reconstructions fed back.
        converged: whether the last one moved no pixel by the tolerance or more; if not,
            raise `max_steps`, or accept that the map has no fixed point nearby.
    """

    images: Float[Array, "images pixels"]
    n_steps: Int[Array, " images"]
    converged: Bool[Array, " images"]


class ClampedCompleter(eqx.Module):
    """Completes images with an autoencoder; callable as evaluation wants it.

    Attributes:
        model: the autoencoder.
        max_steps: stop then in any case.
        tolerance: greatest move of a missing pixel (a probability) that counts as rest.
    """

    model: Autoencoder
    max_steps: int = eqx.field(static=True, default=200)
    tolerance: float = 1e-3

    def __call__(
        self, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
    ) -> Float[Array, "images pixels"]:
        """Fill in the pixels that are not `visible`; those of `x` there are not looked at."""
        return complete_clamped(self, x, visible).images


class _Queue(NamedTuple):
    """Images on their way to rest.

    Attributes:
        images: as far as they have come.
        n_steps: steps that each has taken.
        converged: whether each has come to rest.
        places: numbers of the images being iterated.
        following: number of the image to begin with next.
    """

    images: Float[Array, "rows pixels"]
    n_steps: Int[Array, " rows"]
    converged: Bool[Array, " rows"]
    places: Int[Array, " places"]
    following: Int[Array, ""]


@eqx.filter_jit
def complete_clamped(
    completer: ClampedCompleter, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
) -> Completed:
    """Feed the reconstruction of missing pixels back in until it stays.

    Args:
        completer: the model, and when to stop.
        x: images; pixels that are not visible are not looked at.
        visible: True where a pixel is visible.

    Returns:
        The images, with the steps taken and whether each came to rest.
    """
    seen, n_images = visible[None, :], len(x)
    n_places = min(PLACES, n_images)

    def step(queue: _Queue) -> _Queue:
        at = queue.places
        before = queue.images[at]
        after = jnp.where(seen, before, completer.model.reconstruct(before))
        rests = jnp.max(jnp.abs(after - before), axis=-1) < completer.tolerance
        n_steps = queue.n_steps[at] + 1
        stops = rests | (n_steps >= completer.max_steps)
        following = queue.following + jnp.cumsum(stops) - 1
        return _Queue(
            images=queue.images.at[at].set(after),
            n_steps=queue.n_steps.at[at].set(n_steps),
            converged=queue.converged.at[at].set(rests),
            places=jnp.where(stops, jnp.minimum(following, n_images), at),
            following=queue.following + jnp.sum(stops),
        )

    # The last row is no image: places are left to it when there is none to follow.
    start = _Queue(
        images=jnp.pad(jnp.where(seen, x, 0.0), ((0, 1), (0, 0))),
        n_steps=jnp.zeros(n_images + 1, int),
        converged=jnp.zeros(n_images + 1, bool),
        places=jnp.arange(n_places),
        following=jnp.asarray(n_places),
    )
    end = lax.while_loop(lambda queue: jnp.any(queue.places < n_images), step, start)
    return Completed(end.images[:-1], end.n_steps[:-1], end.converged[:-1])

"""Completion by an autoencoder: clamped iteration to a fixed point.

    x_{t+1} = x on visible pixels, and logistic(decode(encode(x_t))) on missing ones

from missing pixels of 0.  Each image stops by itself, when no missing pixel has moved by
as much as the tolerance; so a batch gives what its images give alone.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gncn.baselines.autoencoder import Autoencoder


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
    seen = visible[None, :]

    def step(state: tuple[Int[Array, ""], Completed]) -> tuple[Int[Array, ""], Completed]:
        number, (images, n_steps, resting) = state
        after = jnp.where(seen, images, completer.model.reconstruct(images))
        moved = jnp.max(jnp.abs(after - images), axis=-1)
        images = jnp.where(resting[:, None], images, after)
        n_steps = jnp.where(resting, n_steps, number + 1)
        return number + 1, Completed(images, n_steps, resting | (moved < completer.tolerance))

    def unfinished(state: tuple[Int[Array, ""], Completed]) -> Bool[Array, ""]:
        return (state[0] < completer.max_steps) & ~jnp.all(state[1].converged)

    start = Completed(jnp.where(seen, x, 0.0), jnp.zeros(len(x), int), jnp.zeros(len(x), bool))
    return lax.while_loop(unfinished, step, (jnp.zeros((), int), start))[1]

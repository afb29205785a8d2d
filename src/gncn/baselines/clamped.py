"""Completion by an autoencoder: clamped iteration to a fixed point, or codes improved once.

    x_{t+1} = x on visible pixels, and logistic(decode(encode(x_t))) on missing ones

Missing pixels start at 0.  Each image stops by itself, once no missing pixel moves by the
tolerance or more, so a batch gives the same as its images alone.  Some images take many times
the steps of others: when one stops, the next takes its place.

`EncodeAgain` is one such step, from the missing pixels that a code predicts; it serves
`gncn.evaluation.recall`.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gncn.baselines.autoencoder import Autoencoder
from gncn.core.completion import Visible

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
        self, x: Float[Array, "images pixels"], visible: Visible
    ) -> Float[Array, "images pixels"]:
        """Fill in the pixels that are not `visible`; the values of `x` there have no effect."""
        return self.complete(x, visible).images

    @eqx.filter_jit
    def complete(self, x: Float[Array, "images pixels"], visible: Visible) -> Completed:
        """As `__call__`, with the steps taken and whether each image came to rest."""
        n_images = len(x)
        seen = jnp.broadcast_to(jnp.atleast_2d(visible), x.shape)
        n_places = min(PLACES, n_images)

        def step(queue: tuple[Completed, Array, Array]) -> tuple[Completed, Array, Array]:
            """One reconstruction of the images `at` the places; `following` is in line."""
            reached, at, following = queue
            before = reached.images[at]
            after = jnp.where(seen[at], before, self.model.reconstruct(before))
            rests = jnp.max(jnp.abs(after - before), axis=-1) < self.tolerance
            n_steps = reached.n_steps[at] + 1
            stops = rests | (n_steps >= self.max_steps)
            reached = Completed(
                reached.images.at[at].set(after),
                reached.n_steps.at[at].set(n_steps),
                reached.converged.at[at].set(rests),
            )
            # A place whose image stops takes the next one in line; the last row stands for none.
            next_ones = jnp.minimum(following + jnp.cumsum(stops) - 1, n_images)
            return reached, jnp.where(stops, next_ones, at), following + jnp.sum(stops)

        # One more row, which stands for no image.
        seen = jnp.pad(seen, ((0, 1), (0, 0)))
        # The last row is no image: it takes the places once no image is left.
        start = Completed(
            jnp.where(seen, jnp.pad(x, ((0, 1), (0, 0))), 0.0),
            jnp.zeros(n_images + 1, int),
            jnp.zeros(n_images + 1, bool),
        )
        queue = (start, jnp.arange(n_places), jnp.asarray(n_places))
        # Until all places hold the last row.
        reached, *_ = lax.while_loop(lambda queue: jnp.any(queue[1] < n_images), step, queue)
        return Completed(*(rows[:-1] for rows in reached))


class EncodeAgain(eqx.Module):
    """Improves codes by encoding the images that they complete."""

    model: Autoencoder

    def __call__(
        self,
        x: Float[Array, "images pixels"],
        visible: Bool[Array, " pixels"],
        codes: Float[Array, "images latent"],
    ) -> tuple[Float[Array, "images pixels"], Float[Array, "images latent"]]:
        """Logits of all pixels, and the codes of the completed images."""
        guess = jax.nn.sigmoid(self.model.decode(codes))
        # Visible pixels are true pixels; only the missing ones come from the code.
        codes = self.model.encode(jnp.where(visible[None, :], x, guess))
        return self.model.decode(codes), codes

"""Completion by an autoencoder whose code is fitted to the visible pixels.

    z = argmax Σ_{j visible} log p(x_j|z) + log p(z),    missing pixels: logistic(κ a(z))

with a(z) the decoder's logits.  Missing pixels send no errors, as in a network that settles
silently (`gncn.core.completion`), so the two can be compared.  p(z) is the prior that the model was
trained with; the RAE has none.  The search starts from the code of the image whose missing pixels
are 0, and goes up by Adam.  `fit_fitted` chooses its rate, its length and κ on whole images.
"""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Shaped

from gncn.baselines.autoencoder import Autoencoder
from gncn.core.completion import Visible
from gncn.core.likelihood import binary_cross_entropy
from gncn.evaluation.protocols import Mask

RATES = (0.03, 0.1, 0.3, 1.0)
"""Rates that are tried, in units of the code."""
STEPS = (10, 30, 100)
"""Numbers of steps that are tried."""
SHARPNESS = tuple(round(0.05 * i, 2) for i in range(1, 31))
"""Values of κ that are tried."""

Codes = Float[Array, "images latent"]


class FittedCompleter(eqx.Module):
    """Completes images by the code that fits what is visible; callable as evaluation wants it.

    Attributes:
        model: the autoencoder.
        n_steps: steps of Adam.
        rate: its learning rate, in units of the code.
        sharpness: κ.
    """

    model: Autoencoder
    n_steps: int = eqx.field(static=True, default=STEPS[-1])
    rate: float | Float[Array, ""] = RATES[1]
    sharpness: float | Float[Array, ""] = 1.0

    def __call__(
        self, x: Float[Array, "images pixels"], visible: Visible
    ) -> Float[Array, "images pixels"]:
        """Fill in the pixels that are not `visible`; the values of `x` there have no effect."""
        (drive,) = self.drives(x, visible, (self.n_steps,))
        return jnp.where(visible, x, jax.nn.sigmoid(self.sharpness * drive))

    @eqx.filter_jit
    def drives(
        self, x: Float[Array, "images pixels"], visible: Visible, counts: tuple[int, ...]
    ) -> Float[Array, "counts images pixels"]:
        """Logits of all pixels after each of these numbers of steps, which increase."""
        x = jnp.where(visible, x, 0.0)
        adam = optax.adam(self.rate)

        def loss(codes: Codes) -> Float[Array, ""]:
            # A missing pixel has the logit 0 under every code, so it has no gradient.
            drive = jnp.where(visible, self.model.decode(codes), 0.0)
            prior = 0.5 * jnp.sum(codes**2) if self.model.has_prior else 0.0
            # A sum over images, so each has the gradient that it has alone.
            return jnp.sum(binary_cross_entropy(x, drive)) + prior

        def step(state: tuple[Codes, Any], _: None) -> tuple[tuple[Codes, Any], None]:
            codes, moments = state
            updates, moments = adam.update(jax.grad(loss)(codes), moments)
            return (jnp.asarray(optax.apply_updates(codes, updates)), moments), None

        codes = self.model.encode(x)
        state, found = (codes, adam.init(codes)), []
        for done, n in itertools.pairwise((0, *counts)):
            state, _ = lax.scan(step, state, None, length=n - done)
            found.append(self.model.decode(state[0]))
        return jnp.stack(found)


def fit_fitted(
    model: Autoencoder, images: Shaped[np.ndarray, "images pixels"], visible: Mask
) -> FittedCompleter:
    """Choose rate, number of steps and κ of least squared error on whole images."""
    x = jnp.asarray(images, jnp.float32)
    wanted, seen = x[:, ~visible], jnp.asarray(visible)
    errors = {}
    for rate in RATES:
        # As an array, so that all rates share one program.
        drives = FittedCompleter(model, rate=jnp.asarray(rate)).drives(x, seen, STEPS)
        drives = drives[..., ~visible]
        for n_steps, drive in zip(STEPS, drives, strict=True):
            for factor in SHARPNESS:
                error = jnp.sum((wanted - jax.nn.sigmoid(factor * drive)) ** 2)
                errors[n_steps, rate, factor] = float(error)
    return FittedCompleter(model, *min(errors, key=errors.__getitem__))

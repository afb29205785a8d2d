"""A linear decoder, codes and images at random, for completion by what is recalled."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

VISIBLE = np.array([1, 1, 0, 1, 0, 0], bool)


class Linear(eqx.Module):
    weights: Float[Array, "dim pixels"]

    def decode(self, codes: Float[Array, "codes dim"]) -> Float[Array, "codes pixels"]:
        return codes @ self.weights


def made(n=40, n_images=5):
    rng = np.random.default_rng(0)
    decoder = Linear(jnp.asarray(rng.normal(size=(3, 6)), jnp.float32))
    codes = rng.normal(size=(n, 3)).astype(np.float32)
    images = (rng.uniform(size=(n_images, 6)) < 0.5).astype(np.uint8)
    return decoder, codes, images

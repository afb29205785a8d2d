"""Bernoulli images: log p(x|z) from logits, log p(x|z) = Σ_d [x_d a_d − softplus(a_d)]."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from gncn.base.errors import DataError
from gncn.evaluation.protocols import Images


def binary_images(x: Images) -> UInt8[np.ndarray, "images pixels"]:
    """Check that images are binary and hold them in one byte a pixel.

    A Bernoulli likelihood of grey pixels is no likelihood: it isn't normalised.

    Raises:
        DataError: there is no image, or a value is neither 0 nor 1.
    """
    values = np.asarray(x)
    if not len(values):
        raise DataError(f"Give at least one image; received an array of shape {values.shape}.")
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        raise DataError(
            f"A Bernoulli likelihood needs pixels of 0 or 1; received {values[wrong][0]!r}. "
            "Binarise the images first (`gncn.data.binarise`)."
        )
    return values.astype(np.uint8)


def log_likelihood(
    x: Float[Array, "*n pixels"], logits: Float[Array, "*n pixels"]
) -> Float[Array, "*n"]:
    """Log-likelihood log p(x|z) of each image under its own logits, in nats."""
    return jnp.sum(x * logits - jax.nn.softplus(logits), axis=-1)


def log_likelihood_table(
    x: Float[Array, "images pixels"], logits: Float[Array, "codes pixels"]
) -> Float[Array, "images codes"]:
    """Log-likelihood of every image under every code's logits, in nats; one matrix product."""
    normaliser = jnp.sum(jax.nn.softplus(logits), axis=-1)
    return jnp.matmul(x, logits.T, precision=lax.Precision.HIGHEST) - normaliser[None, :]


def sample_pixels(
    key: PRNGKeyArray, logits: Float[Array, "codes pixels"]
) -> UInt8[Array, "codes pixels"]:
    """Draw binary images from logits."""
    return jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(jnp.uint8)

"""What settling starts from, checked: data, latent states, and how long it may take."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Shaped

from gncn.base.errors import MOST_STEPS, DataError, check_positive, check_whole
from gncn.core.network import Latents, Network


def initial_latents(network: Network, x: Float[Array, "batch pixels"]) -> Latents:
    """The states before settling: z^0 = x, and `Circuit.initial_state` above it (step 1)."""
    circuit = network.circuit
    above = (jnp.full((x.shape[0], j), circuit.initial_state, x.dtype) for j in circuit.sizes[1:])
    return (x, *above)


def as_data(
    network: Network, images: Shaped[np.ndarray | Array, "..."]
) -> Float[Array, "batch pixels"]:
    """Turn images into float32 data of the network's layer 0.

    Raises:
        DataError: the shape is wrong, or NumPy values are not finite or outside [0, 1].
            (Values of JAX arrays can't be looked at while a program is compiled.)
    """
    n_pixels = network.circuit.sizes[0]
    if not isinstance(images, np.ndarray | jax.Array):
        images = np.asarray(images)
    if images.dtype.kind not in "biuf":
        raise DataError(f"Images must be real numbers; received the type {images.dtype}.")
    if images.ndim != 2 or images.shape[1] != n_pixels or images.shape[0] == 0:
        raise DataError(
            f"Images must have shape (n, {n_pixels}) with n at least 1, one image a row; received "
            f"{images.shape}. A single image is `image[None]`."
        )
    if isinstance(images, np.ndarray):
        low, high = images.min(), images.max()
        if not (low >= 0 and high <= 1):  # also refuses NaN
            raise DataError(
                f"Pixels must be finite and lie in [0, 1]; received values from {low} to {high}. "
                "Scale the images first (8-bit greys: divide by 255)."
            )
    return jnp.asarray(images, jnp.float32)


def start_latents(
    network: Network, x: Shaped[np.ndarray | Array, "..."], start: Latents | None
) -> Latents:
    """The states to start from: those that a user gave, or `initial_latents`.

    Raises:
        DataError: `x` or `start` has the wrong number of arrays, shapes or values.
    """
    x = as_data(network, x)
    if start is None:
        return initial_latents(network, x)
    sizes, n_images = network.circuit.sizes, len(x)
    shapes = [tuple(np.shape(states)) for states in start]
    allowed = [((n_images, size), (1, size)) for size in sizes]
    pairs = zip(shapes[1:], allowed[1:], strict=False)
    if len(start) != len(sizes) or any(shape not in fitting for shape, fitting in pairs):
        raise DataError(
            f"start must hold the states of layers 0..{len(sizes) - 1}, of shapes "
            f"{[fitting[0] for fitting in allowed]} (or one row for all images); received {shapes}."
        )
    for index, states in enumerate(start[1:], start=1):
        if not isinstance(states, Tracer) and not np.isfinite(states).all():
            raise DataError(f"start holds values in layer {index} that are not finite.")
    above = (jnp.asarray(states, jnp.float32) for states in start[1:])
    return (x, *(jnp.broadcast_to(z, (n_images, z.shape[1])) for z in above))


def length_of(
    network: Network, n_settle_steps: int | None, tolerance: float | None
) -> tuple[int, float | None]:
    """T and the tolerance, the settler's own by default.

    Raises:
        ConfigError: T is not from 1 to `MOST_STEPS`, or the tolerance not above 0 and finite.
    """
    n_steps = network.settler.n_settle_steps if n_settle_steps is None else n_settle_steps
    tolerance = network.settler.tolerance if tolerance is None else tolerance
    # JAX would trace NumPy's integers.
    n_steps = check_whole("n_settle_steps", n_steps, least=1, most=MOST_STEPS)
    if tolerance is None:
        return n_steps, None
    check_positive(tolerance=tolerance)
    return n_steps, float(tolerance)

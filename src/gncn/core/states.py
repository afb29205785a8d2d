"""The checked start of settling: data, latent states, and the number of steps."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from gncn.base.arrays import as_images, plain
from gncn.base.errors import (
    MOST_STEPS,
    ConfigError,
    DataError,
    check_positive,
    check_whole,
    quoted,
)
from gncn.core.network import Latents, Network


def initial_latents(network: Network, x: Float[Array, "batch pixels"]) -> Latents:
    """The states before settling: z^0 = x, and `Circuit.initial_state` above it (step 1)."""
    circuit = network.circuit
    above = (jnp.full((x.shape[0], j), circuit.initial_state, x.dtype) for j in circuit.sizes[1:])
    return (x, *above)


def check_network(network: Any) -> Network:
    """The network that a value is, or a `ConfigError`."""
    if not isinstance(network, Network):
        raise ConfigError(
            "This needs a network, such as `gncn.build` makes of a circuit; received "
            f"{quoted(network)}."
        )
    return network


def as_data(network: Any, images: Any) -> Float[Array, "batch pixels"]:
    """Turn images of any kind into data of the network's layer 0; see `gncn.base.arrays`.

    A Bernoulli output takes values in [0, 1], and any other output all finite values.

    Raises:
        ConfigError: `network` is no network.
        DataError: the images can't be such data.
    """
    circuit = check_network(network).circuit
    return jnp.asarray(as_images(images, circuit.sizes[0], unit=circuit.binary))


def start_latents(network: Network, x: Any, start: Latents | None) -> Latents:
    """The states to start from: those that a user gave, or `initial_latents`.

    Raises:
        DataError: `x` or `start` has the wrong number of arrays, shapes or values.
    """
    x = as_data(network, x)
    if start is None:
        return initial_latents(network, x)
    sizes, n_images = network.circuit.sizes, len(x)
    given = [plain(states, f"start[{index}]") for index, states in enumerate(start)]
    shapes = [tuple(states.shape) for states in given]
    allowed = [((n_images, size), (1, size)) for size in sizes]
    # Layer 0 is ignored, so its shape is not compared.
    pairs = zip(shapes[1:], allowed[1:], strict=False)
    if len(given) != len(sizes) or any(shape not in fitting for shape, fitting in pairs):
        raise DataError(
            f"start must hold the states of layers 0..{len(sizes) - 1}, of shapes "
            f"{[fitting[0] for fitting in allowed]} (or one row for all images); received {shapes}."
        )
    for index, states in enumerate(given[1:], start=1):
        # Inside a compiled program there are no values to look at.
        if not isinstance(states, Tracer) and not np.isfinite(states).all():
            raise DataError(f"start holds values in layer {index} that are not finite.")
    above = (jnp.asarray(states, jnp.float32) for states in given[1:])
    return (x, *(jnp.broadcast_to(z, (n_images, z.shape[1])) for z in above))


def grows(psi: Float[np.ndarray, " steps"], change: Float[np.ndarray, " steps"]) -> bool:
    """Whether states run away: in the second half of settling ψ falls, and they move ever faster.

    Args:
        psi: ψ of an image before the first and after every step.
        change: its greatest speed then; see `gncn.Trajectory`.
    """
    half = len(psi) // 2
    return bool(not psi[-1] >= psi[half] and not change[-1] <= change[half])  # NaN has run away


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

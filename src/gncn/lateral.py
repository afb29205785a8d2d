"""Competition within a layer: the lateral drive V z (Eq 3 and the appendix's recipe).

V = α_h M ⊙ (1 − I) − α_e I, with M a 0/1 mask of who inhibits whom.  A neuron's
state falls by V z: it inhibits its rivals with strength α_h (`lateral_inhibition`)
and excites itself with α_e (`self_excitation`).  For columns M z is a sum over each
column, for a band a sum over a window, so the J × J matrix is never formed; only a
user's own mask is multiplied as it stands.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32

from gncn.circuit import Layer


def column_indicator(size: int, group_size: int) -> Float32[np.ndarray, "units columns"]:
    """Which neuron sits in which column: ones at ``[i, i // group_size]``.

    Sums over columns are products with this thin matrix: on a CPU they run faster
    than reshaping and reducing.
    """
    columns = np.arange(size) // group_size
    return (columns[:, None] == np.arange(size // group_size)[None, :]).astype(np.float32)


def rival_sum(
    layer: Layer,
    mask: Float[Array, "units units"] | None,
    signal: Float[Array, "batch units"],
) -> Float[Array, "batch units"]:
    """Sum, for every neuron, what its rivals send: (M ⊙ (1 − I)) applied to `signal`.

    Args:
        layer: says who the rivals are.
        mask: M, for ``competition="matrix"``; entry [i, j] is 1 if j inhibits i.
        signal: z or φ(z).
    """
    match layer.competition:
        case "columns":
            assert layer.group_size is not None
            indicator = jnp.asarray(column_indicator(layer.size, layer.group_size), signal.dtype)
            return (signal @ indicator) @ indicator.T - signal
        case "band":
            assert layer.band_width is not None
            width = 2 * layer.band_width + 1
            window = lax.reduce_window(
                signal,
                np.zeros((), signal.dtype),
                lax.add,
                window_dimensions=(1, width),
                window_strides=(1, 1),
                padding=((0, 0), (layer.band_width, layer.band_width)),
            )
            return window - signal
        case "matrix":
            assert mask is not None
            return signal @ mask.T - signal * jnp.diag(mask)[None, :]
        case "none":
            return jnp.zeros_like(signal)


def lateral_drive(
    layer: Layer,
    mask: Float[Array, "units units"] | None,
    signal: Float[Array, "batch units"],
    self_excitation: Float[Array, ""],
    lateral_inhibition: Float[Array, ""],
) -> Float[Array, "batch units"]:
    """V applied to `signal` (z or φ(z)); zero where the layer has no competition.

    Args:
        layer: says who the rivals are.
        mask: see `rival_sum`.
        signal: z or φ(z), as `Circuit.competing` says.
        self_excitation: α_e.
        lateral_inhibition: α_h.

    Returns:
        V z, to be subtracted from the state's change.
    """
    if layer.competition == "none":
        return jnp.zeros_like(signal)
    return lateral_inhibition * rival_sum(layer, mask, signal) - self_excitation * signal


def greatest_rivalry(layer: Layer, mask: Float[Array, "units units"] | None) -> Array:
    """Greatest summed influence that a neuron's rivals have on it, in units of α_h.

    Args:
        layer: a layer with competition.
        mask: its M; None unless competition is ``matrix``.
    """
    match layer.competition:
        case "columns":
            assert layer.group_size is not None
            return jnp.asarray(layer.group_size - 1.0)
        case "band":
            assert layer.band_width is not None
            return jnp.asarray(2.0 * layer.band_width)
        case _:
            assert mask is not None
            return jnp.max(jnp.sum(mask, axis=1))

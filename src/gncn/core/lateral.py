"""Competition within a layer: the lateral drive V z (Eq 3 and the appendix's recipe).

V = α_h M ⊙ (1 − I) − α_e I, with M a 0/1 mask of who inhibits whom.  A neuron's
state falls by V z: it inhibits its rivals with strength α_h (`lateral_inhibition`)
and excites itself with α_e (`self_excitation`).  For columns M z is a sum over each
column, for a band a sum over a window, so the J × J matrix is never formed; only a
user's own mask is multiplied as it stands.

A product with a thin matrix adds a column up, in the type that settling's products take:
on a CPU it runs faster than reshaping and reducing.  Sums go back to their neurons by way of
an axis for a column's neurons, which a CPU's loops read faster than sums looked up for each.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32

from gncn.core.circuit import Layer
from gncn.core.network import product

_TILE = 16
"""Columns that a CPU's products work on at once.  Of a tile that isn't full they work on parts one
after the other, which takes longer than a full one where more than half of it is needed."""


def column_indicator(size: int, group_size: int) -> Float32[np.ndarray, "units columns"]:
    """Which neuron sits in which column: ones at ``[i, i // group_size]``.

    Empty columns fill the last tile of a product up if more than half of it is needed.
    """
    n_columns = size // group_size
    missing = -n_columns % _TILE
    if missing < _TILE // 2:
        n_columns += missing
    columns = np.arange(size) // group_size
    return (columns[:, None] == np.arange(n_columns)[None, :]).astype(np.float32)


def rival_sum(
    layer: Layer,
    mask: Float[Array, "units units"] | None,
    signal: Float[Array, "batch units"],
    products: Any = jnp.float32,
) -> Float[Array, "batch units"]:
    """Sum, for every neuron, what its rivals send: (M ⊙ (1 − I)) applied to `signal`.

    Args:
        layer: says who the rivals are.
        mask: M, for ``competition="matrix"``; entry [i, j] is 1 if j inhibits i.
        signal: z or φ(z).
        products: type of the factors of a column's sum.
    """
    match layer.competition:
        case "columns":
            assert layer.group_size is not None
            indicator = jnp.asarray(column_indicator(layer.size, layer.group_size), products)
            columns = signal.reshape(len(signal), -1, layer.group_size)
            sums = product(signal, indicator)[:, : columns.shape[1], None]
            return (sums - columns).reshape(signal.shape)
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
    products: Any = jnp.float32,
) -> Float[Array, "batch units"]:
    """V applied to `signal` (z or φ(z)); zero where the layer has no competition.

    Args:
        layer: says who the rivals are.
        mask: see `rival_sum`.
        signal: z or φ(z), as `Circuit.competing` says.
        self_excitation: α_e.
        lateral_inhibition: α_h.
        products: see `rival_sum`.

    Returns:
        V z, to be subtracted from the state's change.
    """
    if layer.competition == "none":
        return jnp.zeros_like(signal)
    return lateral_inhibition * rival_sum(layer, mask, signal, products) - self_excitation * signal


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
            return jnp.max(jnp.sum(mask, axis=1) - jnp.diag(mask))  # nobody is his own rival

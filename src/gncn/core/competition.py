"""Competition within a layer: the lateral drive V z (Eq 3 and the appendix's recipe).

    V = α_h M ⊙ (1 − I) − α_e I

M says who inhibits whom, and each pattern M is one class here.  A neuron's state falls by
V z: rivals inhibit it with strength α_h, and it excites itself with α_e.

For columns M z is a sum over each column, for a band a sum over a window, so the J × J
matrix is never formed.  A mask of a user's own is in `gncn.core.mask`.
"""

import abc
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32
from pydantic import Field

from gncn.base.description import Part
from gncn.base.errors import ConfigError
from gncn.base.registry import Registry
from gncn.core.products import product

_TILE = 16
"""Columns that a CPU's products work on at once.  A tile that is more than half full costs a
CPU more than a full one, since it works on its parts one after the other."""


class Competition(Part, abc.ABC):
    """Who inhibits whom within a layer.  Subclasses say what M ⊙ (1 − I) does to a signal."""

    def check(self, size: int) -> None:
        """Refuse a layer that the pattern doesn't fit.

        Args:
            size: neurons of the layer.

        Raises:
            ConfigError: it doesn't fit.
        """

    @abc.abstractmethod
    def rival_sum(
        self, signal: Float[Array, "batch units"], products: Any = jnp.float32
    ) -> Float[Array, "batch units"]:
        """What each neuron's rivals send in all: M ⊙ (1 − I) applied to `signal`.

        Args:
            signal: z or φ(z).
            products: type of the factors, if products do the sum.
        """

    def drive(
        self,
        signal: Float[Array, "batch units"],
        self_excitation: Float[Array, ""],
        lateral_inhibition: Float[Array, ""],
        products: Any = jnp.float32,
    ) -> Float[Array, "batch units"]:
        """V applied to `signal`, to be subtracted from the change of the states.

        Args:
            signal: z or φ(z).
            self_excitation: α_e.
            lateral_inhibition: α_h.
            products: see `rival_sum`.
        """
        rivals = self.rival_sum(signal, products)
        return lateral_inhibition * rivals - self_excitation * signal

    def bound(self, size: int) -> Float[Array, "units units"]:
        """A bound of M ⊙ (1 − I) for Newton's steps; where M is symmetric, no less than it.

        By default the greatest sum over a neuron's rivals, times I.
        """
        greatest = jnp.max(self.rival_sum(jnp.ones((1, size))))
        return greatest * jnp.eye(size)


COMPETITIONS: Registry[type[Competition]] = Registry("competition", Competition, scope="circuit")


class NoCompetition(Competition):
    """Neurons leave each other and themselves alone: V = 0."""

    def rival_sum(
        self, signal: Float[Array, "batch units"], products: Any = jnp.float32
    ) -> Float[Array, "batch units"]:
        return jnp.zeros_like(signal)

    def drive(
        self,
        signal: Float[Array, "batch units"],
        self_excitation: Float[Array, ""],
        lateral_inhibition: Float[Array, ""],
        products: Any = jnp.float32,
    ) -> Float[Array, "batch units"]:
        """Zero, self-excitation included."""
        return jnp.zeros_like(signal)


class Columns(Competition):
    """Neighbours in groups of `group_size` are rivals: M has blocks of ones.

    Attributes:
        group_size: neurons in a column, K; must divide the layer's size.
    """

    group_size: int = Field(gt=0)

    def check(self, size: int) -> None:
        if size % self.group_size:
            raise ConfigError(
                f"a layer of {size} neurons can't be divided into columns of {self.group_size}; "
                f"choose a group_size that divides it: {_divisors(size)}."
            )

    def rival_sum(
        self, signal: Float[Array, "batch units"], products: Any = jnp.float32
    ) -> Float[Array, "batch units"]:
        """Each column's sum less the neuron's own signal.

        A product with a thin matrix adds up each column; on a CPU that is faster than to
        reshape and reduce.  The sums return to their neurons by an axis of the array, which a
        CPU's loops read faster than sums looked up for each neuron.
        """
        size = signal.shape[-1]
        indicator = jnp.asarray(column_indicator(size, self.group_size), products)
        columns = signal.reshape(len(signal), -1, self.group_size)
        sums = product(signal, indicator)[:, : columns.shape[1], None]
        return (sums - columns).reshape(signal.shape)

    def bound(self, size: int) -> Float[Array, "units units"]:
        """Ones within each column."""
        column = jnp.arange(size) // self.group_size
        return (column[:, None] == column[None, :]).astype(jnp.float32)


class Band(Competition):
    """Neurons at most `band_width` apart are rivals.

    Attributes:
        band_width: how far inhibition reaches on either side, in neurons.
    """

    band_width: int = Field(gt=0)

    def check(self, size: int) -> None:
        if self.band_width >= size:
            raise ConfigError(
                f"band_width={self.band_width} must be less than the layer's {size} neurons."
            )

    def rival_sum(
        self, signal: Float[Array, "batch units"], products: Any = jnp.float32
    ) -> Float[Array, "batch units"]:
        """The window's sum less the neuron's own signal."""
        window = lax.reduce_window(
            signal,
            np.zeros((), signal.dtype),
            lax.add,
            window_dimensions=(1, 2 * self.band_width + 1),
            window_strides=(1, 1),
            padding=((0, 0), (self.band_width, self.band_width)),
        )
        return window - signal

    def bound(self, size: int) -> Float[Array, "units units"]:
        """The rivals of a neuron away from the edges, times I."""
        return 2.0 * self.band_width * jnp.eye(size)


def column_indicator(size: int, group_size: int) -> Float32[np.ndarray, "units columns"]:
    """Which neuron sits in which column: ones at ``[i, i // group_size]``.

    Empty columns fill the last tile of a product if more than half of it is needed.
    """
    n_columns = size // group_size
    missing = -n_columns % _TILE
    if missing < _TILE // 2:
        n_columns += missing
    columns = np.arange(size) // group_size
    return (columns[:, None] == np.arange(n_columns)[None, :]).astype(np.float32)


def _divisors(n: int) -> str:
    small = [k for k in range(1, math.isqrt(n) + 1) if n % k == 0]
    return ", ".join(str(k) for k in sorted({*small, *(n // k for k in small)}))


for _name, _class in {
    "none": NoCompetition,
    "columns": Columns,
    "band": Band,
}.items():
    COMPETITIONS.register(_name, _class)

"""Competition within a layer: the lateral drive V z (Eq 3 and the appendix's recipe).

    V = α_h M ⊙ (1 − I) − α_e I

M says who inhibits whom, and each pattern M is one class here.  A neuron's state falls by
V z: rivals inhibit it with strength α_h, and it excites itself with α_e.

M z is a sum over each column, or over a window of a band, so the J × J matrix is never formed.
"""

import abc
import base64
import math
import zlib
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32
from pydantic import BeforeValidator, Field, PlainSerializer

from gncn.base.description import Part
from gncn.base.errors import ConfigError
from gncn.base.registry import Registry
from gncn.core.activations import Signal
from gncn.core.products import product

Strength = Float[Array, ""]

_TILE = 16
"""Columns that a CPU's products work on at once.  A tile that is more than half full costs
more than a full one, since a CPU works on its parts one after the other."""
_LARGEST_MASK = 1 << 28
"""Bytes that a packed mask may unpack to."""


class Competition(Part, abc.ABC):
    """Who inhibits whom within a layer.  Subclasses say what M ⊙ (1 − I) does to a signal."""

    def check(self, size: int) -> None:
        """Refuse a layer of `size` neurons that the pattern doesn't fit, by a `ConfigError`."""

    @abc.abstractmethod
    def rival_sum(self, signal: Signal, products: Any = jnp.float32) -> Signal:
        """The sum of what each neuron's rivals send: M ⊙ (1 − I) applied to z or φ(z).

        If products do the sum, their factors have the type `products`.
        """

    def drive(
        self,
        signal: Signal,
        self_excitation: Strength,
        lateral_inhibition: Strength,
        products: Any = jnp.float32,
    ) -> Signal:
        """V applied to `signal`, with α_e and α_h; the change of the states falls by it."""
        rivals = self.rival_sum(signal, products)
        return lateral_inhibition * rivals - self_excitation * signal

    def bound(self, size: int) -> Float[Array, "units units"]:
        """A bound of M ⊙ (1 − I) for Newton's steps; where M is symmetric, no less than it.

        By default the greatest sum over a neuron's rivals, times I.
        """
        # No eigenvalue exceeds the greatest sum over a row (Gershgorin), and M has no negative
        # entry.
        return jnp.max(self.rival_sum(jnp.ones((1, size)))) * jnp.eye(size)


COMPETITIONS: Registry[type[Competition]] = Registry("competition", Competition, scope="circuit")


class NoCompetition(Competition):
    """Neurons leave each other and themselves alone: V = 0."""

    def rival_sum(self, signal: Signal, products: Any = jnp.float32) -> Signal:
        return jnp.zeros_like(signal)

    def drive(
        self,
        signal: Signal,
        self_excitation: Strength,
        lateral_inhibition: Strength,
        products: Any = jnp.float32,
    ) -> Signal:
        """Zero, self-excitation included."""
        return jnp.zeros_like(signal)


class Columns(Competition):
    """Neighbours in groups of `group_size`, K, are rivals: M has blocks of ones."""

    group_size: int = Field(gt=0, description="Neurons K of a column; must divide the layer.")

    def check(self, size: int) -> None:
        if size % self.group_size:
            divisors = (str(k) for k in range(1, size + 1) if size % k == 0)
            raise ConfigError(
                f"a layer of {size} neurons can't be divided into columns of {self.group_size}; "
                f"choose a group_size that divides it: {', '.join(divisors)}."
            )

    def rival_sum(self, signal: Signal, products: Any = jnp.float32) -> Signal:
        """Each column's sum less the neuron's own signal.

        A product with a thin matrix adds up each column; on a CPU that is faster than to
        reshape and reduce.  The sums return to their neurons by an axis of the array, which a
        CPU's loops read faster than sums looked up for each neuron.
        """
        size = signal.shape[-1]
        # Made by NumPy, so it is a constant of the compiled program.
        indicator = jnp.asarray(column_indicator(size, self.group_size), products)
        columns = signal.reshape(len(signal), -1, self.group_size)
        # Columns that only fill up a tile are cut off.
        sums = product(signal, indicator)[:, : columns.shape[1], None]
        return (sums - columns).reshape(signal.shape)

    def bound(self, size: int) -> Float[Array, "units units"]:
        """Ones within each column."""
        column = jnp.arange(size) // self.group_size
        return (column[:, None] == column[None, :]).astype(jnp.float32)


class Band(Competition):
    """Neurons at most `band_width` apart, on either side, are rivals."""

    band_width: int = Field(gt=0, description="How far apart rivals are at most.")

    def check(self, size: int) -> None:
        if self.band_width >= size:
            raise ConfigError(
                f"band_width={self.band_width} must be less than the layer's {size} neurons."
            )

    def rival_sum(self, signal: Signal, products: Any = jnp.float32) -> Signal:
        """The window's sum less the neuron's own signal."""
        zero, reach = np.zeros((), signal.dtype), self.band_width
        # Zeros stand beyond both edges, so the band doesn't wrap around.
        around = ((0, 0), (reach, reach))
        window = lax.reduce_window(signal, zero, lax.add, (1, 2 * reach + 1), (1, 1), around)
        return window - signal

    def bound(self, size: int) -> Float[Array, "units units"]:
        """The rivals of a neuron away from the edges, times I."""
        # At the edges neurons have fewer rivals, so this bounds them, too.
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


class Mask:
    """An unchangeable square matrix with values in [0, 1], which can be compared and hashed."""

    def __init__(self, values: Any) -> None:
        try:
            if np.iscomplexobj(values):  # NumPy would drop the imaginary parts, with a warning
                raise TypeError("they are complex")
            # Numbers too large for single precision become infinite, and are refused below.
            with np.errstate(over="ignore"):
                array = np.array(values, dtype=np.float32)
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"A mask must be a square matrix of numbers: {error}.") from None
        if array.ndim != 2 or array.shape[0] != array.shape[1]:
            raise ConfigError(f"A mask must be a square matrix; received shape {array.shape}.")
        if not ((array >= 0) & (array <= 1)).all():
            raise ConfigError("A mask must hold values in [0, 1].")
        # A circuit is hashed to find its compiled programs, so a mask must never change.
        array.setflags(write=False)
        self.values = array
        self._hash = hash((array.shape, array.tobytes()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Mask of {len(self.values)} neurons"


def _mask(value: Any) -> Mask:
    """A mask from an array, nested lists, or the text that `_packed` made."""
    if not isinstance(value, str):
        return value if isinstance(value, Mask) else Mask(value)
    try:
        unpacker = zlib.decompressobj()
        # At most so many bytes: a short text could unpack to all of the memory.
        content = unpacker.decompress(base64.b64decode(value, validate=True), _LARGEST_MASK)
    except (ValueError, zlib.error) as error:
        raise ConfigError(f"A mask's text can't be unpacked: {error}.") from error
    size = math.isqrt(len(content) // 4)
    if size * size * 4 != len(content) or not unpacker.eof:
        raise ConfigError("A mask's text must hold a square matrix of float32.")
    return Mask(np.frombuffer(content, np.float32).reshape(size, size))


def _packed(mask: Mask) -> str:
    return base64.b64encode(zlib.compress(mask.values.tobytes(), 9)).decode()


class Matrix(Competition):
    """A pattern of your own, which is multiplied as it stands.

    Attributes:
        mask: M, an array of shape (J, J) with values in [0, 1]; entry [i, j] is how much
            neuron j inhibits neuron i.  The diagonal has no effect.
    """

    mask: Annotated[Any, BeforeValidator(_mask), PlainSerializer(_packed)]

    def check(self, size: int) -> None:
        shape = self.mask.values.shape
        if shape != (size, size):
            raise ConfigError(f"the mask must have shape {(size, size)}; received {shape}.")

    def rival_sum(self, signal: Signal, products: Any = jnp.float32) -> Signal:
        """The product with M, less the neuron's own share."""
        mask = jnp.asarray(self.mask.values)
        # Rows of `signal` are images, so M stands transposed on the right.
        return signal @ mask.T - signal * jnp.diag(mask)[None, :]


COMPETITIONS.register("none", NoCompetition)
COMPETITIONS.register("columns", Columns)
COMPETITIONS.register("band", Band)
COMPETITIONS.register("matrix", Matrix)

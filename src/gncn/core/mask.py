"""`Matrix`: competition by a mask of a user's own, which is multiplied as it stands."""

import base64
import math
import zlib
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from pydantic import BeforeValidator, PlainSerializer

from gncn.base.errors import ConfigError
from gncn.core.competition import COMPETITIONS, Competition


class Mask:
    """An unchangeable square matrix with values in [0, 1], which can be compared and hashed.

    Attributes:
        values: entry [i, j] is how much neuron j inhibits neuron i.
    """

    def __init__(self, values: Any) -> None:
        try:
            array = np.array(values, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"A mask must be a square matrix of numbers: {error}.") from None
        if array.ndim != 2 or array.shape[0] != array.shape[1]:
            raise ConfigError(f"A mask must be a square matrix; received shape {array.shape}.")
        if not ((array >= 0) & (array <= 1)).all():
            raise ConfigError("A mask must hold values in [0, 1].")
        array.setflags(write=False)
        self.values = array
        self._hash = hash((array.shape, array.tobytes()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Mask of {len(self.values)} neurons"


_LARGEST_MASK = 1 << 28
"""Bytes that a packed mask may unpack to."""


def _mask(value: Any) -> Mask:
    """A mask from an array, nested lists, or the text that `_packed` made."""
    if isinstance(value, Mask):
        return value
    if not isinstance(value, str):
        return Mask(value)
    try:
        unpacker = zlib.decompressobj()
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
    """A pattern of your own.

    Attributes:
        mask: M, an array of shape (J, J) with values in [0, 1]; entry [i, j] is how much
            neuron j inhibits neuron i.  The diagonal has no effect.
    """

    mask: Annotated[Any, BeforeValidator(_mask), PlainSerializer(_packed)]

    def check(self, size: int) -> None:
        shape = self.mask.values.shape
        if shape != (size, size):
            raise ConfigError(f"the mask must have shape {(size, size)}; received {shape}.")

    def rival_sum(
        self, signal: Float[Array, "batch units"], products: Any = jnp.float32
    ) -> Float[Array, "batch units"]:
        """The product with M, less the neuron's own share."""
        mask = jnp.asarray(self.mask.values)
        return signal @ mask.T - signal * jnp.diag(mask)[None, :]


COMPETITIONS.register("matrix", Matrix)

"""A competition from outside the package: neurons on a ring inhibit their nearest neighbours."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import Field

import gncn


class Ring(gncn.Competition):
    """Each neuron's rivals are its nearest neighbours on a closed ring.

    Attributes:
        reach: rivals on either side.
    """

    reach: int = Field(gt=0)

    def check(self, size: int) -> None:
        """Refuse a ring on which a neuron would meet itself."""
        if 2 * self.reach >= size:
            raise gncn.ConfigError(
                f"reach={self.reach} must be less than half of the layer's {size} neurons."
            )

    def rival_sum(
        self, signal: Float[Array, "batch units"], products: Any = jnp.float32
    ) -> Float[Array, "batch units"]:
        """The sum of the signals on either side."""
        total = jnp.zeros_like(signal)
        for distance in range(1, self.reach + 1):
            total += jnp.roll(signal, distance, axis=-1) + jnp.roll(signal, -distance, axis=-1)
        return total


gncn.register("competition", "ring", Ring)

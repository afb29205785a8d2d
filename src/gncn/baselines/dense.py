"""`Dense`: layers of neurons, each a linear map of the one below, with ReLU between.

    ẑ^l = max(0, E^l ẑ^{l-1} + b^l),    the last layer linear

The paper's encoders and decoders (above Eq 20), with biases, which it doesn't mention.
"""

from collections.abc import Sequence
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class Dense(eqx.Module):
    """Layers of neurons.

    Attributes:
        weights: of each layer, from the units below (rows) to its own (columns).
        biases: of each layer.
    """

    weights: tuple[Float[Array, "_below _above"], ...]
    biases: tuple[Float[Array, " _above"], ...]

    def layers(self, x: Float[Array, "batch below"]) -> list[Float[Array, "batch _units"]]:
        """Activities of every layer, from the first above `x` to the linear last."""
        found = []
        for number, (weights, bias) in enumerate(zip(self.weights, self.biases, strict=True), 1):
            drive = x @ weights + bias[None, :]
            x = drive if number == len(self.weights) else jax.nn.relu(drive)
            found.append(x)
        return found

    def __call__(self, x: Float[Array, "batch below"]) -> Float[Array, "batch above"]:
        """The linear last layer."""
        return self.layers(x)[-1]

    def squared_norm(self) -> Float[Array, ""]:
        """Σ ‖W‖²_F over the weight matrices; biases are free."""
        return sum((jnp.sum(weights**2) for weights in self.weights), start=jnp.zeros(()))


def start_dense(sizes: Sequence[int], key: PRNGKeyArray, weight_scale: float) -> Dense:
    """Draw layers at random.

    Args:
        sizes: units of each layer, the input first.
        key: of the weights.
        weight_scale: standard deviation in units of √(2 / units below), with which ReLU
            layers keep the scale of what they pass on.

    Returns:
        Layers with Gaussian weights and biases of 0.
    """
    keys = jax.random.split(key, len(sizes) - 1)
    return Dense(
        weights=tuple(
            weight_scale * (2 / below) ** 0.5 * jax.random.normal(layer_key, (below, above))
            for layer_key, (below, above) in zip(keys, pairwise(sizes), strict=True)
        ),
        biases=tuple(jnp.zeros(above) for above in sizes[1:]),
    )

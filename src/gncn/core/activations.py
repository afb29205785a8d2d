"""Activation functions φ and g, by name or as any callable (Eqs 1 and 5).

A layer's `activation` is the φ^l that its neurons send upward and downward; its
`prediction_activation` is the g^l through which the prediction of that layer
passes.  With learned or random feedback no derivative is ever taken, so step
functions (`sign`, `heaviside`) are as good as any; with transposed feedback
(the exact gradient) the derivative is the one that JAX gives.

A function takes and returns an array of shape ``(batch, units)`` and must treat
the images of a batch independently.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gncn.base.errors import ConfigError, unknown_choice

Activation = Callable[[Float[Array, "batch units"]], Float[Array, "batch units"]]


def heaviside(x: Float[Array, "batch units"]) -> Float[Array, "batch units"]:
    """Step function: 1 where ``x > 0``, else 0."""
    return (x > 0).astype(x.dtype)


def sigmoid(x: Float[Array, "batch units"]) -> Float[Array, "batch units"]:
    """Logistic function 1 / (1 + e^−x), as ½ tanh(x/2) + ½.

    On a CPU that is faster than e^−x and a division, and as near to the truth: within 2e-7.
    Below x = −16 it may be 0; what needs log σ(x) computes it from x.
    """
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def k_winners(x: Float[Array, "batch units"], winners: int) -> Float[Array, "batch units"]:
    """Keep each image's `winners` largest positive values; the others become 0.

    Ties with the smallest winner all survive, so that the result doesn't depend
    on the order of the neurons.
    """
    smallest_winner = jax.lax.top_k(x, winners)[0][:, -1:]
    return jnp.where(x >= smallest_winner, jax.nn.relu(x), jnp.zeros_like(x))


_REGISTRY: dict[str, Activation] = {
    "identity": lambda x: x,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "leaky_relu": jax.nn.leaky_relu,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
    "sigmoid": sigmoid,
    "sign": jnp.sign,
    "heaviside": heaviside,
}

K_WINNERS = "k_winners"


def activation_names() -> tuple[str, ...]:
    """Names that may stand for an activation, `k_winners` included."""
    return (*_REGISTRY, K_WINNERS)


def register_activation(name: str, function: Activation) -> None:
    """Give a function a name, so that circuits which use it can be saved and loaded.

    Args:
        name: the name; must be new.
        function: maps ``(batch, units)`` to ``(batch, units)``.

    Raises:
        ConfigError: the name is taken by another function, or `function` can't be called.
    """
    if not callable(function):
        raise ConfigError(f"An activation must be callable; received {function!r}.")
    taken = name == K_WINNERS or (name in _REGISTRY and _REGISTRY[name] is not function)
    if taken:
        raise ConfigError(f"The activation name {name!r} is taken; choose another name.")
    _REGISTRY[name] = function


def resolve_activation(activation: str | Activation, winners: int | None = None) -> Activation:
    """Turn a name (or a callable, returned as it is) into a function.

    Args:
        activation: a registered name, ``"k_winners"``, or any callable.
        winners: how many neurons win; needed by ``"k_winners"`` and by it alone.

    Raises:
        ConfigError: the name is unknown, or `winners` is missing.
    """
    if activation == K_WINNERS:
        if winners is None:
            raise ConfigError("The activation 'k_winners' needs `winners`, the number kept.")
        return lambda x: k_winners(x, winners)
    if not isinstance(activation, str):
        return activation
    if activation not in _REGISTRY:
        raise unknown_choice("activation", activation, activation_names())
    return _REGISTRY[activation]

"""Activation functions φ and g, by name or as any callable (Eqs 1 and 5).

A layer's `activation` is the φ^l that its neurons send upward and downward.  Its
`prediction_activation` is the g^l that turns the input from above into a prediction.
With learned, tied or random feedback no derivative is ever taken, so step functions
(`sign`, `heaviside`) are as good as any.  With exact feedback JAX gives the derivative.

A function takes and returns an array of shape ``(batch, units)`` and must treat the
images of a batch independently.  One with options is a `Part` with a ``__call__``, such
as `KWinners`.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import Field

from gncn.base.description import Part
from gncn.base.errors import ConfigError, quoted
from gncn.base.registry import Registry
from gncn.core.returned import BATCHES, array_of, check_returned

Signal = Float[Array, "batch units"]
Activation = Callable[[Signal], Signal]


class ActivationRegistry(Registry[Any]):
    """Activations by name: functions, or subclasses of `Part` with a ``__call__``."""

    def check(self, entry: Any) -> None:
        """Refuse what can't be called."""
        is_class = inspect.isclass(entry)
        if is_class and not (issubclass(entry, Part) and "__call__" in dir(entry)):
            raise ConfigError(
                f"An activation with options must be a subclass of `gncn.Part` with a `__call__`; "
                f"received {entry!r}."
            )
        if not callable(entry):
            raise ConfigError(f"An activation must be callable; received {entry!r}.")

    def make(self, value: Any) -> Any:
        """The form that a layer keeps: a function's name, a part with options, or any callable."""
        table = value if isinstance(value, Mapping) else {"kind": value}
        name = table.get("kind")
        # A name stays a name, so that a circuit is written as it was given.
        if isinstance(name, str) and not inspect.isclass(self.get(name)):
            if len(table) > 1:
                raise ConfigError(f"The activation {name!r} has no options; received {value!r}.")
            return name
        return value if callable(value) and not inspect.isclass(value) else super().make(value)

    def describe(self, part: Any) -> Any:
        """A name, or a part with its options as a table."""
        if isinstance(part, str):
            return part
        return super().describe(part) if isinstance(part, Part) else self.name_of(part)

    def resolve(self, activation: str | Activation) -> Activation:
        """The function behind a name; a callable as it is."""
        return self.get(activation) if isinstance(activation, str) else activation


ACTIVATIONS = ActivationRegistry("activation", Part, scope="circuit")


def check_activation(activation: str | Activation, size: int) -> None:
    """Refuse a function that JAX can't trace, such as NumPy's, or that changes shapes or types.

    Raises:
        ConfigError: names the function.
    """
    # The library's own need no look, which takes about a millisecond for each function.
    own = activation in _OWN if isinstance(activation, str) else isinstance(activation, KWinners)
    for n_images in () if own else BATCHES:
        signal = array_of(n_images, size)
        check_returned(
            f"The activation {quoted(activation)}",
            signal,
            ACTIVATIONS.resolve(activation),
            signal,
            advice="Write it with `jax.numpy`, such as `jnp.tanh` in place of `np.tanh`.",
        )


def heaviside(x: Signal) -> Signal:
    """Step function: 1 where ``x > 0``, else 0."""
    return (x > 0).astype(x.dtype)


def sigmoid(x: Signal) -> Signal:
    """Logistic function 1 / (1 + e^−x), as ½ tanh(x/2) + ½.

    On a CPU that is faster than e^−x and a division, and as exact: within 2e-7.  Below
    x = −16 it may be 0; functions that need log σ(x) compute it from x.
    """
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


class KWinners(Part):
    """Keep each image's `winners` largest positive values; the others become 0.

    Ties with the smallest winner all survive, so the result doesn't depend on the order of
    the neurons.
    """

    winners: int = Field(gt=0, description="How many neurons of a layer stay active.")

    def __call__(self, x: Signal) -> Signal:
        """The values after the competition."""
        # `top_k` sorts in descending order: the last column is the weakest value that survives.
        smallest_winner = jax.lax.top_k(x, self.winners)[0][:, -1:]
        # `>=` lets ties survive; relu drops winners that are not positive.
        return jnp.where(x >= smallest_winner, jax.nn.relu(x), jnp.zeros_like(x))


for _name, _function in {
    "identity": lambda x: x,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "leaky_relu": jax.nn.leaky_relu,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
    "sigmoid": sigmoid,
    "sign": jnp.sign,
    "heaviside": heaviside,
    "k_winners": KWinners,
}.items():
    ACTIVATIONS.register(_name, _function)

# Taken before users can register theirs, which are therefore always checked.
_OWN = frozenset(ACTIVATIONS.names())

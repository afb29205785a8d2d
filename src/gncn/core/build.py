"""`build`: a network with random synapses from a circuit."""

from typing import Annotated, Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from pydantic import ConfigDict, Field, model_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError, check_seed, quoted
from gncn.base.hardware import refuse_too_large
from gncn.base.registry import reserve
from gncn.base.tensors import is_key
from gncn.core.bias import Bias, LearnedBias, NoBias
from gncn.core.chain import per_layer
from gncn.core.circuit import Circuit, named
from gncn.core.connections.base import Connection, Synapses
from gncn.core.flat import defaults_of, gather
from gncn.core.likelihood import ErrorNeurons, FlatErrors, Likelihood
from gncn.core.network import Network, Population
from gncn.core.probe import probe
from gncn.core.settler import SETTLERS, Settler

NUMBERS = ("step_size", "leak", "self_excitation", "lateral_inhibition")
"""β, γ, α_e and α_h, of which each layer has its own."""

T = TypeVar("T")
Each = float | tuple[float, ...]


class Settling(Description):
    """How states settle, and the numbers that a network starts from: options of `build`.

    Numbers of layers are given once for all latent layers, or one each, bottom first.

    Attributes:
        settler: how states come to agree: ``euler`` (the paper's), ``sequential``,
            ``momentum``, ``newton``, or a `Settler`.
        step_size: β, the length of a settling step.
        leak: γ, the rate at which states decay.  Above α_e, states come to rest.
        self_excitation: α_e, with which a competing neuron excites itself.
        lateral_inhibition: α_h, with which rivals inhibit each other.
        weight_scale: standard deviation of the normal distribution that W and E are
            drawn from.
        initial_precision: diagonal of every Σ⁻¹ before learning.

    Other options are the settler's own, such as `n_settle_steps`, `tolerance` and `products`.
    """

    model_config = ConfigDict(allow_inf_nan=True)  # `_check` has better words

    # A factory, since the settlers register only when `gncn.settlers` is imported after this
    # module.
    settler: Annotated[Settler, *named(SETTLERS)] = Field(
        default_factory=lambda: SETTLERS.make("euler")
    )
    step_size: Each = 0.1
    leak: Each = 0.001
    self_excitation: Each = 0.13
    lateral_inhibition: Each = 0.125
    weight_scale: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    initial_precision: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, options: Any) -> Any:
        defaults = defaults_of(cls) | {"settler": "euler"}
        # Anything but a table is left to Pydantic, whose message names the types allowed.
        if not isinstance(options, dict):
            return options
        return gather(options, {"settler": "settler"}, defaults, "settling")

    @model_validator(mode="after")
    def _check(self) -> "Settling":
        for name in NUMBERS:
            with np.errstate(over="ignore"):  # infinite in single precision is refused below
                values = np.asarray(getattr(self, name), dtype=np.float32)
            above = values > 0 if name == "step_size" else values >= 0
            if not (np.isfinite(values) & above).all():
                bound = "above 0" if name == "step_size" else "at least 0"
                raise ConfigError(
                    f"{name} must be finite and {bound}; received {getattr(self, name)!r}."
                )
        return self

    def resolved(self) -> dict[str, Any]:
        """All options in JSON's types, the settler's next to its name."""
        values = super().resolved()
        settler = values.pop("settler")
        return values | {"settler": settler.pop("kind"), **settler}


def build(
    circuit: Circuit, *, key: PRNGKeyArray | None = None, seed: int | None = None, **options: Any
) -> Network:
    """Make a network with random synapses, held to the circuit's norms.

    Args:
        circuit: the wiring.
        key: random key for the synapses.
        seed: instead of a key.
        options: see `Settling`: the settler with its options, such as
            ``n_settle_steps=50``, and β, γ, α_e, α_h and the first weights.

    Raises:
        ConfigError: a number is out of range or would have no effect, or the start is one
            that exact gradients never leave.
    """
    if (key is None) == (seed is None):
        raise ConfigError("Give `build` a key or a seed, and not both.")
    if not isinstance(circuit, Circuit):
        raise ConfigError(
            f"`build` takes a circuit, such as `gncn.chain((784, 360, 360))`; received {circuit!r}."
        )
    if key is None:
        key = jax.random.key(check_seed(seed))
    elif not is_key(key):
        raise ConfigError(f"`key` must be one of `jax.random.key`; received {quoted(key)}.")
    settling = Settling(**options)
    _refuse_idle(circuit, settling)
    _refuse_dead_start(circuit)
    return assemble(circuit, settling, key)


def assemble(circuit: Circuit, settling: Settling, key: PRNGKeyArray) -> Network:
    """Make a network of what was checked; see `build`."""
    # Four bytes a synapse, asked before any array is made.
    refuse_too_large(
        f"A network of {circuit.n_synapses:,} synapses", 4 * circuit.n_synapses, "Make it smaller."
    )
    # Each connection has a key for W and one for E, used or not. So W is the same for every kind of
    # feedback.
    keys = jax.random.split(key, 2 * len(circuit.connections))
    pairs = zip(keys[: len(keys) // 2], keys[len(keys) // 2 :], strict=True)
    scale = settling.weight_scale
    connections = tuple(
        _built(Synapses, one, circuit.sizes[one.source], circuit.sizes[one.target], scale, pair)
        for one, pair in zip(circuit.connections, pairs, strict=True)
    )
    layers = tuple(_population(circuit, settling, index) for index in range(len(circuit.layers)))
    network = Network(circuit, settling.settler, layers, connections)
    # Parts from outside fail here, where a message can name them, and not in a compiled loop.
    probe(network)
    return network


def _population(circuit: Circuit, settling: Settling, index: int) -> Population:
    layer = circuit.layers[index]
    errors: ErrorNeurons = FlatErrors()
    if index in circuit.predicted:
        g, first = layer.prediction_activation, settling.initial_precision
        errors = _built(ErrorNeurons, layer.likelihood, layer.size, g, first)
    bias: Bias = LearnedBias(jnp.zeros(layer.size, jnp.float32)) if layer.bias else NoBias()
    # Pixels, where they are states (Eq 4), move as layer 1 does.
    latent = max(index, 1) - 1
    # Arrays and not Python floats: networks with other numbers share one compiled program.
    each = {name: per_layer(name, getattr(settling, name), circuit.n_latent) for name in NUMBERS}
    numbers = {name: jnp.asarray(values[latent], jnp.float32) for name, values in each.items()}
    # The data have no φ, so layer 0 always compares its state.
    compared = circuit.compared if index > 0 else "state"
    return Population(
        layer, errors, bias, **numbers, compared=compared, competing=circuit.competing
    )


def _built(kind: type[T], part: Connection | Likelihood, *options: Any) -> T:
    """The object that a part builds, if it is of the right kind."""
    made = type(part).__name__
    # A subclass that lacks a method is noticed here, when Python refuses to make an instance of it.
    try:
        built = part.build(*options)
    except TypeError as error:
        if "abstract" not in str(error):
            raise
        raise ConfigError(
            f"{made}.build: {error}; `gncn.{kind.__name__}` needs them all."
        ) from None
    if not isinstance(built, kind):
        raise ConfigError(f"{made}.build must return `gncn.{kind.__name__}`; it gave {built!r}.")
    return built


def _refuse_idle(circuit: Circuit, settling: Settling) -> None:
    """Refuse numbers that would have no effect."""
    for name, applies, without in (
        ("self_excitation", circuit.competes, "competition"),
        ("lateral_inhibition", circuit.competes, "competition"),
        ("initial_precision", circuit.learns_precision, "precision"),
    ):
        value = getattr(settling, name)
        if not applies and value != Settling.model_fields[name].default:
            raise ConfigError(f"{name}={value!r} has no effect on a circuit without {without}.")


def _refuse_dead_start(circuit: Circuit) -> None:
    """Refuse a start at which φ' is zero everywhere, if φ' gates what the states receive."""
    # Other feedback takes no derivative, so a slope of 0 does no harm there.
    if not circuit.exact:
        return
    for index, layer in enumerate(circuit.layers[1:], start=1):
        start = jnp.full((1, layer.size), circuit.initial_state)
        _, derivative = jax.jvp(layer.phi, (start,), (jnp.ones_like(start),))
        if not jnp.any(derivative != 0):
            raise ConfigError(
                f"With feedback='exact', layer {index} never leaves initial_state="
                f"{circuit.initial_state}: the derivative of {layer.activation!r} is 0 there. "
                "Choose initial_state=0.1, another activation, or feedback='learned'."
            )


reserve("settling", {*Settling.model_fields, "circuit", "key", "seed"})

"""The network: a circuit with its synapses and the numbers that govern settling.

A `Network` is a pytree.  Its leaves are the synapses W, E, A and Σ⁻¹ and the numbers
of its `Dynamics` (β, γ, α_e, α_h), so several networks of one circuit, with other
seeds or other numbers, can be stacked and run by one compiled program.

==================  =====================================================
symbol              field
==================  =====================================================
W^l (Eq 1)          ``forward_weights[l]``, shape (target, source)
E^l (Eqs 2, 19)     ``feedback_weights[l]``, shape (source, target)
A^l                 ``start_weights[l]``, shape (source, target)
(Σ^l)⁻¹ (Eqs 1, 7)  ``precision[l]``, shape (J,) or (J, J); None if off
M^l (appendix)      ``lateral_masks[l]``, shape (J, J); None if not "matrix"
β, γ, α_e, α_h      ``dynamics``
==================  =====================================================
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import Field, model_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError
from gncn.base.hardware import multiplies_bfloat16
from gncn.core.activations import resolve_activation
from gncn.core.circuit import Circuit, Connection, per_layer

Products = Literal["float32", "bfloat16"]
Order = Literal["simultaneous", "sequential"]
Acceleration = Literal["none", "heavy-ball", "nesterov", "anderson"]
_INERTIAL = ("heavy-ball", "nesterov")
StepRule = Literal["fixed", "curvature", "newton"]


class Settling(Description):
    """How states settle; everything here is fixed when the program is compiled.

    Attributes:
        n_settle_steps: T, the default number of settling steps.
        tolerance: settle to rest within this (see `gncn.settle`); None for T steps.
        products: type of the factors in the products of settling and learning, whose sums
            are in single precision; ``bfloat16`` rounds factors to 8 bits, and is faster
            where the hardware has units for it (elsewhere as fast as ``float32``).
            `settle` gives responses to the final states in single precision all the same.
        order: ``simultaneous``: all layers move at once (the paper's recipe);
            ``sequential``: one after the other from the bottom up, each seeing where those
            below have gone, so that one step carries news to the top.
        acceleration: see `gncn.core.acceleration`.
        momentum: μ, for ``heavy-ball`` and ``nesterov``.
        memory: steps that ``anderson`` mixes.
        step_rule: ``fixed``: `step_size` is β; ``curvature``: it is a multiple of the
            longest step that a bound on the curvature calls safe, in each layer;
            ``newton``: Δz is multiplied by the inverse of a layer's curvature, too (see
            `gncn.core.newton`).
        damping: δ, for ``newton``.
        pixel_variance: z̄ (1 − z̄) that ``newton`` takes Bernoulli pixels to have; ¼ is the
            most they can have.
    """

    n_settle_steps: int = Field(default=50, ge=1)
    tolerance: float | None = Field(default=None, gt=0)
    products: Products = "float32"
    order: Order = "simultaneous"
    acceleration: Acceleration = "none"
    momentum: float | None = Field(default=None, ge=0, lt=1)
    memory: int | None = Field(default=None, ge=1)
    step_rule: StepRule = "fixed"
    damping: float | None = Field(default=None, gt=0)
    pixel_variance: float | None = Field(default=None, gt=0, le=0.25)

    @model_validator(mode="after")
    def _check(self) -> "Settling":
        for choice, chosen, kinds, option, value in (
            ("acceleration", self.acceleration, _INERTIAL, "momentum", self.momentum),
            ("acceleration", self.acceleration, ("anderson",), "memory", self.memory),
            ("step_rule", self.step_rule, ("newton",), "damping", self.damping),
            ("step_rule", self.step_rule, ("newton",), "pixel_variance", self.pixel_variance),
        ):
            if (chosen in kinds) != (value is not None):
                named = " or ".join(map(repr, kinds))
                raise ValueError(
                    f"{choice}={named} needs `{option}`, and no other takes it; received "
                    f"{choice}={chosen!r}, {option}={value!r}."
                )
        return self


class Dynamics(eqx.Module):
    """Numbers that govern settling, one for each latent layer, bottom first.

    Attributes:
        step_size: β.
        leak: γ.
        self_excitation: α_e.
        lateral_inhibition: α_h.
    """

    step_size: Float[Array, "*trials latent"]
    leak: Float[Array, "*trials latent"]
    self_excitation: Float[Array, "*trials latent"]
    lateral_inhibition: Float[Array, "*trials latent"]


class Network(eqx.Module):
    """A generative neural coding network (GNCN); the module's docstring maps the symbols.

    Attributes:
        circuit: the wiring.
        settling: how states settle.
        forward_weights: W of each connection, in the circuit's order.
        feedback_weights: E of each connection; empty if W^T stands in for them.
        start_weights: A of each connection; empty unless the circuit's start is
            ``amortised``.
        precision: Σ⁻¹ of each layer.
        lateral_masks: M of each layer.
        dynamics: β, γ, α_e, α_h.
    """

    circuit: Circuit = eqx.field(static=True)
    settling: Settling = eqx.field(static=True)
    forward_weights: tuple[Float[Array, "*trials _target _source"], ...]
    feedback_weights: tuple[Float[Array, "*trials _source _target"], ...]
    start_weights: tuple[Float[Array, "*trials _source _target"], ...]
    precision: tuple[
        Float[Array, "*trials _units _units"] | Float[Array, "*trials _units"] | None, ...
    ]
    lateral_masks: tuple[Float[Array, "*trials _units _units"] | None, ...]
    dynamics: Dynamics


class Factor(eqx.Module):
    """The right-hand factor of a product, as it stands in memory.

    Attributes:
        stored: the matrix, or its transpose.
        transposed: whether it is the transpose.
    """

    stored: Float[Array, "_rows _columns"]
    transposed: bool = eqx.field(static=True)

    @property
    def matrix(self) -> Float[Array, "sending receiving"]:
        """The factor.  A product of single precision takes a transpose as it stands."""
        return self.stored.T if self.transposed else self.stored

    @property
    def dtype(self) -> Any:
        """Type of its numbers."""
        return self.stored.dtype


class Operands(NamedTuple):
    """The right-hand factors of settling's products, as the products take them.

    Attributes:
        forward: W^T of each connection.
        feedback: what errors are multiplied by for each connection: E^T, or W in its place.
        inverses: what Δz of each latent layer is multiplied by; empty unless steps are
            Newton's.
        precision: diagonal precisions, repeated for every image; None for other layers,
            empty if not repeated.
    """

    forward: tuple[Factor, ...]
    feedback: tuple[Factor, ...]
    inverses: tuple[Float[Array, "_units _units"], ...] = ()
    precision: tuple[Float[Array, "batch _units"] | None, ...] = ()


def operands(network: Network, products: Products | str = "float32") -> Operands:
    """Have the synapses ready for settling, once for all of its steps.

    W and E are used as they stand where products are of single precision: to lay them out takes
    longer than it saves.  In bfloat16 it saves half the time.  Without E, W^T is laid out and
    serves both ways, so that a processor's caches hold it once; in bfloat16, W beside it.
    """
    dtype = jnp.dtype(products)
    single = dtype == jnp.float32
    if network.circuit.has_error_synapses:

        def transpose(weights: Float[Array, "receiving sending"]) -> Factor:
            return Factor(weights if single else weights.T.astype(dtype), transposed=single)

        return Operands(
            tuple(map(transpose, network.forward_weights)),
            tuple(map(transpose, network.feedback_weights)),
        )
    laid_out = [w.T.astype(dtype) for w in network.forward_weights]
    back = laid_out if single else [w.astype(dtype) for w in network.forward_weights]
    return Operands(
        tuple(Factor(w, transposed=False) for w in laid_out),
        tuple(Factor(w, transposed=single) for w in back),
    )


def product(
    left: Float[Array, "batch sending"], right: Float[Array, "sending receiving"]
) -> Float[Array, "batch receiving"]:
    """Multiply, with both factors of the right one's type, and sum in single precision.

    A product of two numbers in bfloat16 has a place in single precision.  So hardware without
    units for bfloat16 multiplies the rounded factors in single precision: the same numbers.
    """
    if right.dtype == jnp.bfloat16 and not multiplies_bfloat16():
        # Rounded this way, since XLA drops a conversion there and back.
        left = lax.reduce_precision(left.astype(jnp.float32), exponent_bits=8, mantissa_bits=7)
        return jnp.matmul(left, right.astype(jnp.float32))
    return jnp.matmul(left.astype(right.dtype), right, preferred_element_type=jnp.float32)


SELF_EXCITATION, LATERAL_INHIBITION = 0.13, 0.125
"""α_e and α_h of the paper."""
INITIAL_PRECISION = 1.0


def build(
    circuit: Circuit,
    *,
    key: PRNGKeyArray | None = None,
    seed: int | None = None,
    step_size: float | Sequence[float] = 0.1,
    leak: float | Sequence[float] = 0.001,
    self_excitation: float | Sequence[float] = SELF_EXCITATION,
    lateral_inhibition: float | Sequence[float] = LATERAL_INHIBITION,
    weight_scale: float = 0.05,
    initial_precision: float = INITIAL_PRECISION,
    lateral_masks: Mapping[int, np.ndarray] | None = None,
    **settling: Any,
) -> Network:
    """Make a network with random synapses, held to the circuit's norms.

    Args:
        circuit: the wiring.
        key: random key for the synapses.
        seed: instead of a key.
        step_size: β, for all latent layers or one each, bottom first.
        leak: γ, likewise.
        self_excitation: α_e, likewise.
        lateral_inhibition: α_h, likewise.
        weight_scale: standard deviation of the normal distribution that W and E are
            drawn from.
        initial_precision: diagonal of every Σ⁻¹ before learning.
        lateral_masks: for each layer with ``competition="matrix"``, its mask of shape
            (J, J) with values in [0, 1]: entry [i, j] is how much j inhibits i.
        settling: the options of `Settling`, such as ``n_settle_steps=50``.

    Raises:
        ConfigError: a number is out of range or would have no effect, a mask is missing or has
            another shape, or the start is one from which exact gradients never leave.
    """
    if (key is None) == (seed is None):
        raise ConfigError("Give `build` a key or a seed, and not both.")
    if key is None:
        assert seed is not None
        key = jax.random.key(seed)
    manner = Settling(**settling)
    positive = {"step_size": step_size}
    any_sign = {
        "leak": leak,
        "self_excitation": self_excitation,
        "lateral_inhibition": lateral_inhibition,
    }
    numbers = {
        name: _numbers(name, value, circuit.n_latent, positive=name in positive)
        for name, value in (positive | any_sign).items()
    }
    if not weight_scale > 0:
        raise ConfigError(f"weight_scale must be above 0; received {weight_scale}.")
    if not initial_precision > 0:
        raise ConfigError(f"initial_precision must be above 0; received {initial_precision}.")
    if all(layer.competition == "none" for layer in circuit.layers):
        _refuse_idle("self_excitation", self_excitation, SELF_EXCITATION, "competition")
        _refuse_idle("lateral_inhibition", lateral_inhibition, LATERAL_INHIBITION, "competition")
    if not circuit.has_precision:
        _refuse_idle("initial_precision", initial_precision, INITIAL_PRECISION, "precision")
    _refuse_dead_start(circuit)

    sizes = circuit.sizes
    keys = iter(jax.random.split(key, 2 * len(circuit.connections)))
    forward = tuple(
        weight_scale * jax.random.normal(next(keys), (sizes[c.target], sizes[c.source]))
        for c in circuit.connections
    )
    feedback = tuple(
        weight_scale * jax.random.normal(next(keys), (sizes[c.source], sizes[c.target]))
        for c in circuit.connections
        if circuit.has_error_synapses
    )
    start = {
        "off": lambda _: None,
        "diagonal": lambda j: jnp.full((j,), initial_precision, jnp.float32),
        "full": lambda j: initial_precision * jnp.eye(j, dtype=jnp.float32),
    }
    network = Network(
        circuit=circuit,
        settling=manner,
        forward_weights=forward,
        feedback_weights=feedback,
        start_weights=tuple(
            jnp.zeros((sizes[c.source], sizes[c.target]))
            for c in circuit.connections
            if circuit.start == "amortised"
        ),
        precision=tuple(start[layer.precision](layer.size) for layer in circuit.layers),
        lateral_masks=_masks(circuit, lateral_masks or {}),
        dynamics=Dynamics(**numbers),
    )
    return constrain(network)


def _refuse_idle(name: str, value: object, default: float, without: str) -> None:
    if value != default:
        raise ConfigError(f"{name}={value!r} has no effect on a circuit without {without}.")


def constrain(network: Network) -> Network:
    """Hold the synapse vectors of W and learned E to the circuit's norms (Methods)."""
    connections = network.circuit.connections
    forward = tuple(
        _hold(w, c, c.max_norm) for w, c in zip(network.forward_weights, connections, strict=True)
    )
    feedback = network.feedback_weights
    if network.circuit.feedback == "learned":
        feedback = tuple(
            _hold(e, c, c.max_norm if c.max_feedback_norm is None else c.max_feedback_norm)
            for e, c in zip(feedback, connections, strict=True)
        )
    return eqx.tree_at(
        lambda n: (n.forward_weights, n.feedback_weights), network, (forward, feedback)
    )


def _hold(
    weights: Float[Array, "receiving sending"], connection: Connection, limit: float | None
) -> Float[Array, "receiving sending"]:
    if connection.norm == "off":
        return weights
    axis = {"sending": 0, "receiving": 1}[connection.norm_axis]
    length = jnp.sqrt(jnp.sum(weights**2, axis=axis, keepdims=True))
    scale = (1.0 if limit is None else limit) / jnp.maximum(length, jnp.finfo(weights.dtype).tiny)
    return weights * (jnp.minimum(scale, 1.0) if connection.norm == "clipped" else scale)


def _numbers(
    name: str, value: float | Sequence[float], n: int, *, positive: bool
) -> Float[Array, " latent"]:
    values = np.asarray(per_layer(name, value, n), dtype=np.float32)
    wrong = ~np.isfinite(values) | ((values <= 0) if positive else (values < 0))
    if wrong.any():
        bound = "above 0" if positive else "at least 0"
        raise ConfigError(f"{name} must be finite and {bound}; received {value!r}.")
    return jnp.asarray(values)


def _masks(
    circuit: Circuit, masks: Mapping[int, np.ndarray]
) -> tuple[Float[Array, "units units"] | None, ...]:
    wanted = {i for i, layer in enumerate(circuit.layers) if layer.competition == "matrix"}
    if set(masks) != wanted:
        raise ConfigError(
            f"lateral_masks must hold one mask for each layer with competition='matrix', that is "
            f"for layers {sorted(wanted)}; received masks for {sorted(masks)}."
        )
    checked: list[Float[Array, "units units"] | None] = [None] * len(circuit.layers)
    for index, mask in masks.items():
        size = circuit.sizes[index]
        values = np.asarray(mask, dtype=np.float32)
        if values.shape != (size, size):
            raise ConfigError(
                f"The mask of layer {index} must have shape {(size, size)}; received "
                f"{values.shape}."
            )
        if not ((values >= 0) & (values <= 1)).all():
            raise ConfigError(f"The mask of layer {index} must hold values in [0, 1].")
        checked[index] = jnp.asarray(values)
    return tuple(checked)


def _refuse_dead_start(circuit: Circuit) -> None:
    """Refuse a start at which φ' is zero everywhere, if φ' gates what the states receive."""
    if circuit.feedback != "transposed":
        return
    for index, layer in enumerate(circuit.layers[1:], start=1):
        start = jnp.full((1, layer.size), circuit.initial_state)
        phi = resolve_activation(layer.activation, layer.winners)
        _, derivative = jax.jvp(phi, (start,), (jnp.ones_like(start),))
        if not jnp.any(derivative != 0):
            raise ConfigError(
                f"With feedback='transposed', layer {index} never leaves initial_state="
                f"{circuit.initial_state}: the derivative of {layer.activation!r} is 0 there. "
                "Choose initial_state=0.1, another activation, or feedback='learned'."
            )

"""Settling: the search for states that agree with one another (Eqs 2, 3, 15 and 16).

All latent states move at once, by their step size β, along

    Δz^l = E^l e^{l-1} − e^l − V^l z^l − γ z^l

(no e^L at the top).  With learned, tied or random feedback no derivative of φ or g is
taken; tied feedback is E^l = W^T.  With transposed feedback E^l e^{l-1} becomes
φ' ⊙ W^T(g' ⊙ e), and Δz, less the lateral and leak terms, is exactly ∂ψ/∂z.

In sequential order the layers move one after the other instead, from the bottom up, each
seeing where those below have gone; what they rest at is the same.

Settling stops after T steps, or earlier for each image whose states have come to
rest: the root mean square of their change in a step, divided by β, is below a
tolerance in every layer.  (Divided by β, so that a smaller step doesn't pass for rest;
for states held at or above zero, the change is the one after that.)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from gncn.base.errors import ConfigError, DataError
from gncn.core.acceleration import advance, look_at, prepare, start_memory
from gncn.core.activations import resolve_activation
from gncn.core.discrepancy import (
    Discrepancy,
    Latents,
    Responses,
    compare,
    discrepancy,
    hear,
    respond,
)
from gncn.core.lateral import lateral_drive
from gncn.core.network import Network, Operands, operands, product

_UNROLLED = 10
"""The most steps in the body of a loop: between bodies a CPU copies what the loop carries, and a
GPU waits for the host."""

_BLOCK = 512
"""The most images that settle together on a CPU: more don't fit in its caches."""

Carry = tuple[Latents, Any]
"""States, and what acceleration remembers."""


class Trajectory(eqx.Module):
    """What settling went through: entry t is the situation after t steps, t = 0..T.

    Attributes:
        discrepancy: ψ, total of shape (T+1, batch) and by layer (T+1, batch, predicted).
        change: root mean square of the next step's change over β, by layer, shape
            (T+1, batch, latent).
        latents: states, each (T+1, batch, J_l); None unless asked for.
    """

    discrepancy: Discrepancy
    change: Float[Array, "steps batch latent"]
    latents: tuple[Float[Array, "steps batch _units"], ...] | None


class _Loop(eqx.Module):
    """What a settling loop carries.

    Attributes:
        latents: states.
        memory: what acceleration remembers.
        moving: which images still move.
        n_steps: steps taken.
    """

    latents: Latents
    memory: Any
    moving: Bool[Array, " batch"]
    n_steps: Int[Array, " batch"]


class Settled(eqx.Module):
    """The result of settling.

    Attributes:
        latents: states z^0..z^L, each (batch, J_l).
        responses: activities, predictions and errors at these states.
        n_steps: steps taken, shape (batch,).
        converged: whether the states came to rest within the tolerance, shape (batch,);
            None if no tolerance was given.
        trajectory: None unless asked for.
    """

    latents: Latents
    responses: Responses
    n_steps: Int[Array, " batch"]
    converged: Bool[Array, " batch"] | None
    trajectory: Trajectory | None

    @property
    def reconstruction(self) -> Float[Array, "batch pixels"]:
        """z̄^0, the prediction of the data: for binary data, each pixel's probability."""
        prediction = self.responses.predictions[0]
        assert prediction is not None
        return prediction


def initial_latents(network: Network, x: Float[Array, "batch pixels"]) -> Latents:
    """The states before settling: z^0 = x, and above it `Circuit.initial_state` (step 1).

    With an amortised start, Σ A φ(z_0) of the layers that a layer predicts is added to it.
    """
    circuit = network.circuit
    start = [jnp.full((x.shape[0], j), circuit.initial_state, x.dtype) for j in circuit.sizes[1:]]
    if circuit.start == "constant":
        return (x, *start)
    right = tuple(a.T.astype(network.settling.products) for a in network.start_weights)
    states, sent = [x], [x]
    for index, layer in enumerate(circuit.layers[1:], start=1):
        messages = [
            product(sent[c.target], weights)
            for c, weights in zip(circuit.connections, right, strict=True)
            if c.source == index
        ]
        states.append(sum(messages, start=start[index - 1]))
        if layer.non_negative:
            states[-1] = jax.nn.relu(states[-1])
        sent.append(resolve_activation(layer.activation, layer.winners)(states[-1]))
    return tuple(states)


def starts_alike(network: Network, given: Latents | None) -> bool:
    """Whether all images start from the same states: none were given, nor do any depend on x."""
    return given is None and network.circuit.start == "constant"


def state_changes(
    network: Network, latents: Latents, responses: Responses, right: Operands | None = None
) -> Latents:
    """Δz^1..Δz^L, the direction in which each latent state moves (Eqs 3, 15, 16).

    Args:
        network: the network.
        latents: states of layers 0..L.
        responses: `respond` of the same states.
        right: the synapses as products take them; by default in single precision.

    Returns:
        One array of shape (batch, J_l) for each latent layer; not yet times β.
    """
    right = operands(network) if right is None else right
    return tuple(
        _state_change(network, latents, responses, right, index) for index in range(1, len(latents))
    )


def _state_change(
    network: Network, latents: Latents, responses: Responses, right: Operands, index: int
) -> Float[Array, "#batch units"]:
    """Δz of one layer."""
    circuit, dynamics = network.circuit, network.dynamics
    layer, states = circuit.layers[index], latents[index]
    activity, error = responses.activities[index], responses.errors[index]
    assert activity is not None
    change = _bottom_up(network, responses, right, index)
    if circuit.feedback == "transposed":
        through = change if error is None or circuit.compared == "state" else change - error
        phi = resolve_activation(layer.activation, layer.winners)
        change = jax.vjp(phi, states)[1](through)[0]
        if error is not None and circuit.compared == "state":
            change = change - error
    elif error is not None:
        change = change - error
    if layer.competition != "none":
        change = change - lateral_drive(
            layer,
            network.lateral_masks[index],
            states if circuit.competing == "state" else activity,
            dynamics.self_excitation[index - 1],
            dynamics.lateral_inhibition[index - 1],
            right.forward[0].dtype,
        )
    return change - dynamics.leak[index - 1] * states


def _bottom_up(
    network: Network, responses: Responses, right: Operands, index: int
) -> Float[Array, "#batch units"]:
    """Messages to layer `index` from the errors of all layers that it predicts: Σ E e."""
    circuit = network.circuit
    messages = []
    for number, connection in enumerate(circuit.connections):
        if connection.source != index:
            continue
        error = responses.errors[connection.target]
        assert error is not None
        if circuit.feedback == "transposed":
            error = through_prediction(network, responses, connection.target)
        messages.append(product(error, right.feedback[number].matrix))
    return sum(messages[1:], start=messages[0])


def through_prediction(
    network: Network, responses: Responses, index: int
) -> Float[Array, "batch units"]:
    """The error of a layer times g' at its drive: ∂ψ/∂h, for exact gradients.

    Bernoulli errors x − z̄^0 hold the logistic's derivative already (Eq 15).
    """
    error, drive = responses.errors[index], responses.drives[index]
    assert error is not None
    assert drive is not None
    layer = network.circuit.layers[index]
    if layer.distribution == "bernoulli":
        return error
    return jax.vjp(resolve_activation(layer.prediction_activation, layer.winners), drive)[1](error)[
        0
    ]


def moved(network: Network, latents: Latents, changes: Latents) -> Latents:
    """States after one step: z^l + β Δz^l, held at or above zero where the layer asks for it.

    Args:
        network: the network.
        latents: states of layers 0..L; layer 0 stays as it is.
        changes: Δz of layers 1..L, from `state_changes`.
    """
    after = [
        _moved(network, latents, change, index) for index, change in enumerate(changes, start=1)
    ]
    return (latents[0], *after)


def _moved(
    network: Network, latents: Latents, change: Float[Array, "#batch units"], index: int
) -> Float[Array, "#batch units"]:
    states = latents[index] + network.dynamics.step_size[index - 1] * change
    return jax.nn.relu(states) if network.circuit.layers[index].non_negative else states


def stepped(
    network: Network,
    latents: Latents,
    responses: Responses,
    right: Operands,
    heard: Bool[Array, "*batch pixels"] | None = None,
) -> Latents:
    """States after one plain step, in the network's order.

    Args:
        network: the network.
        latents: states of layers 0..L.
        responses: `respond` of the same states.
        right: the synapses as products take them.
        heard: pixels that send their errors up; all of them if None.
    """
    if network.settling.order == "simultaneous":
        changes = state_changes(network, latents, responses, right)
        steered = tuple(_steered(right, change, i) for i, change in enumerate(changes, start=1))
        return moved(network, latents, steered)
    for index in range(1, len(latents)):
        change = _steered(right, _state_change(network, latents, responses, right, index), index)
        after = _moved(network, latents, change, index)
        latents = (*latents[:index], after, *latents[index + 1 :])
        responses = compare(network, latents, responses, right, index, heard)
    return latents


def _steered(
    right: Operands, change: Float[Array, "#batch units"], index: int
) -> Float[Array, "#batch units"]:
    """Δz of a layer; times the inverse of its curvature if steps are Newton's."""
    return product(change, right.inverses[index - 1]) if right.inverses else change


def as_data(
    network: Network, images: Shaped[np.ndarray | Array, "..."]
) -> Float[Array, "batch pixels"]:
    """Turn images into float32 data of the network's layer 0.

    Raises:
        DataError: the shape is wrong, or NumPy values are not finite or outside [0, 1].
            (Values of JAX arrays can't be looked at while a program is compiled.)
    """
    n_pixels = network.circuit.sizes[0]
    if images.ndim != 2 or images.shape[1] != n_pixels or images.shape[0] == 0:
        raise DataError(
            f"Images must have shape (n, {n_pixels}) with n at least 1, one image a row; received "
            f"{images.shape}. A single image is `image[None]`."
        )
    if isinstance(images, np.ndarray):
        low, high = images.min(), images.max()
        if not (low >= 0 and high <= 1):  # also refuses NaN
            raise DataError(
                f"Pixels must be finite and lie in [0, 1]; received values from {low} to {high}. "
                "Scale the images first (8-bit greys: divide by 255)."
            )
    return jnp.asarray(images, jnp.float32)


def settle(
    network: Network,
    x: Shaped[np.ndarray | Array, "..."],
    *,
    n_settle_steps: int | None = None,
    tolerance: float | None = None,
    keep_discrepancy: bool = False,
    keep_latents: bool = False,
    start: Latents | None = None,
) -> Settled:
    """Settle the states of a network that sees `x` (steps 1 to 5 of the paper's recipe).

    Args:
        network: the network.
        x: images, shape (batch, pixels), values in [0, 1].
        n_settle_steps: T; by default the network's own.
        tolerance: stop an image when the root mean square of its states' change, per
            unit of settling time, is below this in every layer.  By default the
            network's own; without any, every image takes T steps.
        keep_discrepancy: return ψ and the size of the change before and after every step.
        keep_latents: return the states before and after every step, too.
        start: states of layers 0..L to start from, each of shape (batch, J_l), or (1, J_l) for
            all images alike; layer 0 is not looked at.  By default `initial_latents`.

    Returns:
        States, responses, step counts and, on request, the trajectory.

    Raises:
        ConfigError: `n_settle_steps` is below 1 or `tolerance` not above 0.
        DataError: `x` has the wrong shape or values, see `as_data`; or `start` has.
    """
    n_steps = network.settling.n_settle_steps if n_settle_steps is None else n_settle_steps
    tolerance = network.settling.tolerance if tolerance is None else tolerance
    if n_steps < 1:
        raise ConfigError(f"n_settle_steps must be at least 1; received {n_steps}.")
    if tolerance is not None and not tolerance > 0:
        raise ConfigError(f"tolerance must be above 0; received {tolerance}.")
    x = as_data(network, x)
    latents = initial_latents(network, x) if start is None else _given(network, x, start)
    ready = prepare(network, n_images=len(x))
    if keep_discrepancy or keep_latents:
        return _settle_recording(*ready, latents, n_steps, tolerance, keep_latents)
    alike = starts_alike(network, start)
    return settle_from(*ready, latents, n_steps, tolerance, alike=alike)


def _given(network: Network, x: Float[Array, "batch pixels"], start: Latents) -> Latents:
    """States to start from that a user gave, one row for each image."""
    sizes, n_images = network.circuit.sizes, len(x)
    shapes = [tuple(np.shape(states)) for states in start]
    allowed = [((n_images, size), (1, size)) for size in sizes]
    pairs = zip(shapes[1:], allowed[1:], strict=False)
    if len(start) != len(sizes) or any(shape not in fitting for shape, fitting in pairs):
        raise DataError(
            f"start must hold the states of layers 0..{len(sizes) - 1}, of shapes "
            f"{[fitting[0] for fitting in allowed]} (or one row for all images); received {shapes}."
        )
    above = (jnp.asarray(states, jnp.float32) for states in start[1:])
    return (x, *(jnp.broadcast_to(z, (n_images, z.shape[1])) for z in above))


def settle_from(
    network: Network,
    right: Operands,
    latents: Latents,
    n_steps: int,
    tolerance: float | None,
    final: Operands | None = None,
    *,
    alike: bool = False,
) -> Settled:
    """Settle from given states, with what settling works out beforehand at hand.

    A CPU settles many images block after block, so that what a step works on stays in its
    caches.  Blocks are of one size, the last filled up with blank images: no image's states
    depend on another's.

    Args:
        network: from `prepare`.
        right: likewise.
        latents: states of layers 0..L to start from.
        n_steps: T.
        tolerance: see `settle`.
        final: the synapses that respond to the final states, where these take T steps; by
            default in single precision.
        alike: all images start from the same states.
    """

    def together(latents: Latents, right: Operands, final: Operands | None) -> Settled:
        return _settle_block(network, right, latents, n_steps, tolerance, final, alike=alike)

    n_images = len(latents[0])
    n_blocks = -(-n_images // _BLOCK)
    if n_blocks == 1 or jax.default_backend() != "cpu":
        return together(latents, right, final)
    size = -(-n_images // n_blocks)

    def split(states: Float[Array, "batch _units"]) -> Float[Array, "blocks size _units"]:
        filled = jnp.pad(states, ((0, -n_images % size), (0, 0)))
        return filled.reshape(n_blocks, size, -1)

    factors = _cut(right, size), None if final is None else _cut(final, size)
    settled = lax.map(lambda block: together(block, *factors), tuple(map(split, latents)))
    return jax.tree.map(lambda of: of.reshape(-1, *of.shape[2:])[:n_images], settled)


def _cut(right: Operands, n_images: int) -> Operands:
    """The same operands for fewer images: all rows of a repeated precision are alike."""
    precision = tuple(None if p is None else p[:n_images] for p in right.precision)
    return right._replace(precision=precision)


def _settle_block(
    network: Network,
    right: Operands,
    latents: Latents,
    n_steps: int,
    tolerance: float | None,
    final: Operands | None,
    *,
    alike: bool,
) -> Settled:
    """Settle images all at once; see `settle_from`."""
    if tolerance is not None:
        return _settle_to_rest(network, right, latents, n_steps, tolerance)
    n_taken = 0
    if alike and _wakes(network):
        latents, n_taken = _wake(network, right, latents, n_steps)

    def step(carry: Carry) -> Carry:
        return settle_step(network, right, *carry)[0]

    latents, _ = repeat(step, (latents, start_memory(network, latents)), n_steps - n_taken)
    steps = jnp.full(latents[0].shape[0], n_steps)
    return Settled(latents, respond(network, latents, final), steps, None, None)


def _wakes(network: Network) -> bool:
    """Whether the first steps are simple enough, and cheap enough outside of a loop: `repeat`."""
    manner = network.settling
    plain = manner.acceleration == "none" and network.circuit.feedback != "transposed"
    return plain and manner.products == "float32"


def _wake(network: Network, right: Operands, latents: Latents, n_steps: int) -> tuple[Latents, int]:
    """The first steps of images that all start from the same states.

    Until news of the data reaches a layer, its states are the same for all images, and one
    row stands for them: no product is computed that is the same for every image.  That saves
    9 of the 6 T products of three latent layers, 3 of them in sequential order.

    Returns:
        The states once all layers have heard of the data, and the steps taken.
    """
    x, *above = latents
    latents = (x, *(states[:1] for states in above))
    right = right._replace(precision=())  # there, diagonal ones are repeated for every image
    n_taken = 0
    while n_taken < n_steps and any(len(states) < len(x) for states in latents):
        latents = settle_step(network, right, latents, None)[0][0]
        n_taken += 1
    return tuple(jnp.broadcast_to(z, (len(x), z.shape[1])) for z in latents), n_taken


def repeat(step: Callable[[Carry], Carry], carry: Carry, n_steps: int) -> Carry:
    """States and memory after `n_steps` steps of settling.

    At least two bodies, and no single step left over: outside of a loop XLA lays the synapses
    out anew for each product, which takes three times as long in bfloat16.
    """
    bodies = range(2, min(_UNROLLED, n_steps // 2) + 1)
    body = max((size for size in bodies if n_steps % size != 1), default=1)
    for length, unroll in ((n_steps - n_steps % body, body), (n_steps % body, 1)):
        if length:
            carry, _ = lax.scan(lambda c, _: (step(c), None), carry, None, length, unroll=unroll)
    return carry


class Seen(NamedTuple):
    """What a settling step saw on its way.

    Attributes:
        point: the states at which it looked: the present ones, or with Nesterov's
            acceleration those ahead of them.
        responses: to these states.
        target: where a plain step from there leads.
    """

    point: Latents
    responses: Responses
    target: Latents


def settle_step(
    network: Network,
    right: Operands,
    latents: Latents,
    memory: Any,
    heard: Bool[Array, "*batch pixels"] | None = None,
) -> tuple[tuple[Latents, Any], Seen]:
    """One step of settling, with acceleration if the network asks for it.

    Args:
        network: from `prepare`.
        right: likewise.
        latents: states of layers 0..L.
        memory: from `start_memory` or the step before.
        heard: pixels that send their errors up; all of them if None.

    Returns:
        The next states and memory, and what was seen.
    """
    point = look_at(network, latents, memory)
    responses = respond(network, point, right)
    target = stepped(network, point, hear(responses, heard), right, heard)
    return advance(network, latents, target, memory), Seen(point, responses, target)


def _speed(network: Network, seen: Seen) -> Float[Array, "batch latent"]:
    """How fast a plain step changes the states: root mean square over β, by layer."""
    pairs = zip(seen.target[1:], seen.point[1:], network.dynamics.step_size, strict=True)
    speed = [jnp.sqrt(jnp.mean(((new - old) / beta) ** 2, axis=-1)) for new, old, beta in pairs]
    return jnp.stack(speed, axis=-1)


def _at_rest(
    network: Network, right: Operands, latents: Latents
) -> tuple[Responses, Float[Array, "batch latent"]]:
    """Responses to final states, in single precision, and how fast these would still change."""
    right = operands(network)._replace(inverses=right.inverses)
    responses = respond(network, latents, right)
    return responses, _speed(
        network, Seen(latents, responses, stepped(network, latents, responses, right))
    )


def _start_loop(network: Network, latents: Latents) -> _Loop:
    batch = latents[0].shape[0]
    memory = start_memory(network, latents)
    return _Loop(latents, memory, jnp.ones(batch, bool), jnp.zeros(batch, int))


def _loop_step(
    network: Network, right: Operands, loop: _Loop, tolerance: float | None
) -> tuple[_Loop, Seen, Float[Array, "batch latent"]]:
    (after, memory), seen = settle_step(network, right, loop.latents, loop.memory)
    speed = _speed(network, seen)
    moving = loop.moving
    if tolerance is not None:
        moving = moving & jnp.any(speed >= tolerance, axis=-1)

    def chosen(
        new: Float[Array, "batch _units"],
        point: Float[Array, "batch _units"],
        old: Float[Array, "batch _units"],
    ) -> Float[Array, "batch _units"]:
        """What moves goes on, what was just found at rest is there, the rest stays."""
        return jnp.where(moving[:, None], new, jnp.where(loop.moving[:, None], point, old))

    latents = tuple(map(chosen, after, seen.point, loop.latents))
    return _Loop(latents, memory, moving, loop.n_steps + moving), seen, speed


def _settle_to_rest(
    network: Network, right: Operands, latents: Latents, n_steps: int, tolerance: float
) -> Settled:
    def unfinished(carry: tuple[Int[Array, ""], _Loop]) -> Bool[Array, ""]:
        step, loop = carry
        return (step < n_steps) & jnp.any(loop.moving)

    def step(carry: tuple[Int[Array, ""], _Loop]) -> tuple[Int[Array, ""], _Loop]:
        number, loop = carry
        return number + 1, _loop_step(network, right, loop, tolerance)[0]

    start = (jnp.zeros((), int), _start_loop(network, latents))
    _, loop = lax.while_loop(unfinished, step, start)
    responses, speed = _at_rest(network, right, loop.latents)
    converged = jnp.all(speed < tolerance, axis=-1)
    return Settled(loop.latents, responses, loop.n_steps, converged, None)


def _settle_recording(
    network: Network,
    right: Operands,
    latents: Latents,
    n_steps: int,
    tolerance: float | None,
    keep_latents: bool,
) -> Settled:
    def step(loop: _Loop, _: None) -> tuple[_Loop, tuple]:
        latents = loop.latents
        loop, seen, speed = _loop_step(network, right, loop, tolerance)
        responses = seen.responses if seen.point is latents else respond(network, latents, right)
        psi = discrepancy(network, latents, responses)
        return loop, (psi, speed, latents if keep_latents else None)

    loop, seen = lax.scan(step, _start_loop(network, latents), None, length=n_steps)
    responses, speed = _at_rest(network, right, loop.latents)
    psi = discrepancy(network, loop.latents, responses)
    last = psi, speed, loop.latents if keep_latents else None
    whole = jax.tree.map(lambda most, end: jnp.concatenate([most, end[None]]), seen, last)
    converged = None if tolerance is None else jnp.all(speed < tolerance, axis=-1)
    return Settled(loop.latents, responses, loop.n_steps, converged, Trajectory(*whole))

"""Settling: the search for states that agree with one another (Eqs 2, 3, 15 and 16).

All latent states move at once, by their step size β, along

    Δz^l = E^l e^{l-1} − e^l − V^l z^l − γ z^l

(no e^L at the top).  With learned, tied or random feedback no derivative of φ or g is
taken; tied feedback is E^l = W^T.  With transposed feedback E^l e^{l-1} becomes
φ' ⊙ W^T(g' ⊙ e), and Δz, less the lateral and leak terms, is exactly ∂ψ/∂z.

Settling stops after T steps, or earlier for each image whose states have come to
rest: the root mean square of their change in a step, divided by β, is below a
tolerance in every layer.  (Divided by β, so that a smaller step doesn't pass for rest;
for states held at or above zero, the change is the one after that.)
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from gncn.activations import resolve_activation
from gncn.discrepancy import Discrepancy, Latents, Responses, discrepancy, respond
from gncn.errors import ConfigError, DataError
from gncn.lateral import lateral_drive
from gncn.network import Network, Operands, operands, product


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


_Moving = tuple[Latents, Bool[Array, " batch"], Int[Array, " batch"]]
"""What a settling loop carries: states, which images still move, and steps taken."""


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
    """The states before settling: z^0 = x, and `Circuit.initial_state` above (step 1)."""
    start = network.circuit.initial_state
    return (
        x,
        *(jnp.full((x.shape[0], size), start, x.dtype) for size in network.circuit.sizes[1:]),
    )


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
    circuit, dynamics = network.circuit, network.dynamics
    right = operands(network) if right is None else right
    changes = []
    for index in range(1, len(circuit.layers)):
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
            )
        changes.append(change - dynamics.leak[index - 1] * states)
    return tuple(changes)


def _bottom_up(
    network: Network, responses: Responses, right: Operands, index: int
) -> Float[Array, "batch units"]:
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
        messages.append(product(error, right.feedback[number]))
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
    after = [latents[0]]
    for index, change in enumerate(changes, start=1):
        states = latents[index] + network.dynamics.step_size[index - 1] * change
        if network.circuit.layers[index].non_negative:
            states = jax.nn.relu(states)
        after.append(states)
    return tuple(after)


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
        start: states to start from; by default `initial_latents`.

    Returns:
        States, responses, step counts and, on request, the trajectory.

    Raises:
        ConfigError: `n_settle_steps` is below 1 or `tolerance` not above 0.
        DataError: `x` has the wrong shape or values; see `as_data`.
    """
    n_steps = network.n_settle_steps if n_settle_steps is None else n_settle_steps
    tolerance = network.tolerance if tolerance is None else tolerance
    if n_steps < 1:
        raise ConfigError(f"n_settle_steps must be at least 1; received {n_steps}.")
    if tolerance is not None and not tolerance > 0:
        raise ConfigError(f"tolerance must be above 0; received {tolerance}.")
    x = as_data(network, x)
    latents = initial_latents(network, x) if start is None else (x, *start[1:])
    if keep_discrepancy or keep_latents:
        return _settle_recording(network, latents, n_steps, tolerance, keep_latents)
    if tolerance is not None:
        return _settle_to_rest(network, latents, n_steps, tolerance)

    right = operands(network, network.products)

    def step(latents: Latents, _: None) -> tuple[Latents, None]:
        responses = respond(network, latents, right)
        return moved(network, latents, state_changes(network, latents, responses, right)), None

    latents, _ = lax.scan(step, latents, None, length=n_steps)
    steps = jnp.full(x.shape[0], n_steps)
    return Settled(latents, respond(network, latents), steps, None, None)


def _look_ahead(
    network: Network, latents: Latents, right: Operands
) -> tuple[Latents, Responses, Float[Array, "batch latent"]]:
    """The next states, the responses to the present ones, and how fast the states change."""
    responses = respond(network, latents, right)
    after = moved(network, latents, state_changes(network, latents, responses, right))
    pairs = zip(after[1:], latents[1:], network.dynamics.step_size, strict=True)
    speed = [jnp.sqrt(jnp.mean(((new - old) / beta) ** 2, axis=-1)) for new, old, beta in pairs]
    return after, responses, jnp.stack(speed, axis=-1)


def _moving_only(moving: Bool[Array, " batch"], after: Latents, latents: Latents) -> Latents:
    """The moved states of the images that still move, the old ones of the others."""
    return tuple(
        jnp.where(moving[:, None], new, old) for new, old in zip(after, latents, strict=True)
    )


def _settle_to_rest(network: Network, latents: Latents, n_steps: int, tolerance: float) -> Settled:
    batch, right = latents[0].shape[0], operands(network, network.products)

    def unfinished(carry: tuple[Int[Array, ""], _Moving]) -> Bool[Array, ""]:
        step, (_, moving, _) = carry
        return (step < n_steps) & jnp.any(moving)

    def step(carry: tuple[Int[Array, ""], _Moving]) -> tuple[Int[Array, ""], _Moving]:
        number, (latents, moving, taken) = carry
        after, _, speed = _look_ahead(network, latents, right)
        moving = moving & jnp.any(speed >= tolerance, axis=-1)
        return number + 1, (_moving_only(moving, after, latents), moving, taken + moving)

    first = (latents, jnp.ones(batch, bool), jnp.zeros(batch, int))
    _, (latents, _, taken) = lax.while_loop(unfinished, step, (jnp.zeros((), int), first))
    _, responses, speed = _look_ahead(network, latents, operands(network))
    return Settled(latents, responses, taken, jnp.all(speed < tolerance, axis=-1), None)


def _settle_recording(
    network: Network, latents: Latents, n_steps: int, tolerance: float | None, keep_latents: bool
) -> Settled:
    batch, right = latents[0].shape[0], operands(network, network.products)

    def step(carry: _Moving, _: None) -> tuple[_Moving, tuple]:
        latents, moving, taken = carry
        after, responses, speed = _look_ahead(network, latents, right)
        if tolerance is not None:
            moving = moving & jnp.any(speed >= tolerance, axis=-1)
        seen = discrepancy(network, latents, responses), speed, latents if keep_latents else None
        return (_moving_only(moving, after, latents), moving, taken + moving), seen

    start = (latents, jnp.ones(batch, bool), jnp.zeros(batch, int))
    (latents, _, taken), seen = lax.scan(step, start, None, length=n_steps)
    _, responses, speed = _look_ahead(network, latents, operands(network))
    last = discrepancy(network, latents, responses), speed, latents if keep_latents else None
    whole = jax.tree.map(lambda most, end: jnp.concatenate([most, end[None]]), seen, last)
    converged = None if tolerance is None else jnp.all(speed < tolerance, axis=-1)
    return Settled(latents, responses, taken, converged, Trajectory(*whole))

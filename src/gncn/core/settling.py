"""Settling: the search for states that agree with one another (Eqs 2, 3, 15 and 16).

All latent states move by their step size β along their velocity (`Network.velocity`),

    z^l ← z^l + β Δz^l,    Δz^l = E^l e^{l-1} − e^l − V^l z^l − γ z^l

(no e^L at the top).  With exact feedback Δz, less the lateral and leak terms, is ∂ψ/∂z.
How a step is taken is up to the settler: `gncn.settlers.Euler` is the paper's.

Settling stops after T steps, or earlier for each image whose states have come to rest: the
root mean square of their change in a plain step, divided by β, is below a tolerance in
every layer.  (Divided by β, so that a smaller step doesn't pass for rest.)
"""

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gncn.base.hardware import refuse_too_large
from gncn.core.discrepancy import Discrepancy, discrepancy
from gncn.core.fast import Prepared, first_steps, for_batch, in_blocks, prepare, repeat
from gncn.core.network import Latents, Network, Responses
from gncn.core.states import length_of, start_latents

Record = Literal["nothing", "discrepancy", "latents"]


class Trajectory(eqx.Module):
    """A record of settling: entry t is the situation after t steps, t = 0..T.

    Attributes:
        discrepancy: ψ, total of shape (T+1, batch) and by layer (T+1, batch, predicted).
        change: root mean square of the next step's change over β, by layer, shape
            (T+1, batch, latent).
        latents: states, each (T+1, batch, J_l); empty unless asked for.
    """

    discrepancy: Discrepancy
    change: Float[Array, "*steps batch latent"]
    latents: tuple[Float[Array, "*steps batch _units"], ...]


class Settled(eqx.Module):
    """The result of settling.

    Attributes:
        latents: states z^0..z^L, each (batch, J_l).
        responses: activities, predictions and errors at these states.
        n_steps: steps taken, shape (batch,).
        converged: whether the states came to rest within the tolerance, shape (batch,);
            None if no tolerance was given.
    """

    latents: Latents
    responses: Responses
    n_steps: Int[Array, " batch"]
    converged: Bool[Array, " batch"] | None

    @property
    def reconstruction(self) -> Float[Array, "batch pixels"]:
        """z̄^0, the prediction of the data: for binary data, each pixel's probability."""
        return self.responses.predictions[0]


class _Loop(NamedTuple):
    """State of the loop of settling, for images that may come to rest at different times."""

    latents: Latents
    state: Any
    moving: Bool[Array, " batch"]
    n_steps: Int[Array, " batch"]


def settle(
    network: Network,
    x: Any,
    *,
    n_settle_steps: int | None = None,
    tolerance: float | None = None,
    start: Latents | None = None,
) -> Settled:
    """Settle the states of a network that sees `x` (steps 1 to 5 of the paper's recipe).

    T is a part of the model: with self-excitation α_e above the leak γ, as in most presets, states
    grow without bound beyond it.  To settle to rest, train with γ above α_e (`mnist-rest`).

    Args:
        network: as `gncn.build` makes it, trained or not.
        x: images in whatever form (`gncn.base.arrays`), shape (batch, pixels); values in
            [0, 1] for a Bernoulli output, any finite ones for a Gaussian.
        n_settle_steps: T; by default the settler's own.
        tolerance: stop an image when the root mean square of its states' change, per
            unit of settling time, is below this in every layer.  By default the settler's
            own; without any, every image takes T steps.
        start: states of layers 0..L to start from, each of shape (batch, J_l), or (1, J_l)
            for all images; layer 0 is ignored.  By default `initial_latents`.

    Returns:
        States, responses and step counts.

    Raises:
        ConfigError: `n_settle_steps` is below 1 or `tolerance` not above 0.
        DataError: `x` has the wrong shape or values, see `as_data`; or `start` has.
    """
    latents = start_latents(network, x, start)
    n_steps, tolerance = length_of(network, n_settle_steps, tolerance)
    prepared = _prepared(network)
    return _settled(prepared, latents, n_steps, tolerance, alike=start is None, final=network)


def watch(
    network: Network,
    x: Any,
    *,
    n_settle_steps: int | None = None,
    tolerance: float | None = None,
    start: Latents | None = None,
    keep_latents: bool = False,
) -> tuple[Settled, Trajectory]:
    """Settle, and record ψ and the size of the change before and after every step.

    Arguments are as for `settle`; with `keep_latents` the states are recorded, too.
    """
    latents = start_latents(network, x, start)
    n_steps, tolerance = length_of(network, n_settle_steps, tolerance)
    record: Record = "latents" if keep_latents else "discrepancy"
    sizes = network.circuit.sizes
    kept = sum(sizes) if keep_latents else 2 * len(sizes)
    refuse_too_large(
        f"A trajectory of {n_steps:,} steps of {len(latents[0]):,} images",
        4 * n_steps * len(latents[0]) * kept,
        "Watch fewer steps or images, or without keep_latents.",
    )
    return _watched(_prepared(network), network, latents, n_steps, tolerance, record)


def settle_from(
    prepared: Prepared,
    latents: Latents,
    n_steps: int,
    tolerance: float | None = None,
    *,
    alike: bool = False,
    final: Network | None = None,
) -> Settled:
    """Settle a network that `prepare` has prepared.

    If `alike`, all images start from the same states.  The network `final` responds to the
    states at the end; by default the prepared one, in the type of its products.
    """
    at_end = prepared.network if final is None else final

    def together(latents: Latents) -> Settled:
        n_taken = 0
        if alike and tolerance is None:
            latents, n_taken = first_steps(prepared, latents, n_steps)
        return _iterate(prepared, at_end, latents, n_steps, tolerance, "nothing", n_taken)[0]

    return in_blocks(together, latents)


def _iterate(
    prepared: Prepared,
    final: Network,
    latents: Latents,
    n_steps: int,
    until_rest: float | None,
    record: Record,
    n_taken: int = 0,
) -> tuple[Settled, Any]:
    """The loop of settling: T steps, or until rest, or with a record of every step."""
    network, n_images = prepared.network, len(latents[0])
    ready = for_batch(prepared, n_images)
    state = network.settler.init(ready.network, latents)
    if until_rest is None and record == "nothing":
        step = network.settler.step
        latents, _ = repeat(lambda c: step(*ready, *c), (latents, state), n_steps - n_taken)
        return Settled(latents, final.respond(latents), jnp.full(n_images, n_steps), None), None

    # From here on an image may stop before others, or every step is recorded.
    loop = _Loop(latents, state, jnp.ones(n_images, bool), jnp.zeros(n_images, int))

    def unfinished(carry: tuple[Int[Array, ""], _Loop]) -> Bool[Array, ""]:
        return (carry[0] < n_steps) & jnp.any(carry[1].moving)

    def go_on(carry: tuple[Int[Array, ""], _Loop]) -> tuple[Int[Array, ""], _Loop]:
        return carry[0] + 1, _advance(ready, carry[1], until_rest)[0]

    def see(loop: _Loop, _: None) -> tuple[_Loop, Trajectory]:
        after, speed = _advance(ready, loop, until_rest)
        return after, _seen(ready.network, loop.latents, speed, record)

    if record == "nothing":
        (_, loop), seen = lax.while_loop(unfinished, go_on, (jnp.zeros((), int), loop)), None
    else:
        loop, seen = lax.scan(see, loop, None, length=n_steps)

    latents = loop.latents
    speed = _speed(prepared, latents)
    converged = None if until_rest is None else jnp.all(speed < until_rest, axis=-1)
    settled = Settled(latents, final.respond(latents), loop.n_steps, converged)
    if seen is None:
        return settled, None
    last = _seen(final, latents, speed, record)
    return settled, jax.tree.map(lambda most, end: jnp.concatenate([most, end[None]]), seen, last)


def _advance(
    ready: Prepared, loop: _Loop, until_rest: float | None
) -> tuple[_Loop, Float[Array, "batch latent"]]:
    """One step of the images that still move, and how fast they did before it."""
    speed = _speed(ready, loop.latents)
    moving = loop.moving
    if until_rest is not None:
        moving = moving & jnp.any(speed >= until_rest, axis=-1)
    after, state = ready.network.settler.step(*ready, loop.latents, loop.state)
    pairs = zip(after, loop.latents, strict=True)
    latents = tuple(jnp.where(moving[:, None], new, old) for new, old in pairs)
    return _Loop(latents, state, moving, loop.n_steps + moving), speed


def _speed(prepared: Prepared, latents: Latents) -> Float[Array, "batch latent"]:
    """How fast a plain step changes the states: root mean square over β, by layer."""
    layers = prepared.network.layers[1:]
    after = prepared.network.settler.plain_step(*prepared, latents)
    speed = [
        jnp.sqrt(jnp.mean(((new - old) / layer.step_size) ** 2, axis=-1))
        for new, old, layer in zip(after[1:], latents[1:], layers, strict=True)
    ]
    return jnp.stack(speed, axis=-1)


def _seen(
    network: Network, latents: Latents, speed: Float[Array, "batch latent"], record: Record
) -> Trajectory:
    """One entry of a trajectory."""
    psi = discrepancy(network, latents, network.respond(latents))
    return Trajectory(psi, speed, latents if record == "latents" else ())


# Compiled once for each circuit, T and shape, so that the next call takes milliseconds.  Training
# compiles whole chunks of mini-batches, and uses the plain functions.
_prepared = eqx.filter_jit(prepare)
_settled = eqx.filter_jit(settle_from)
_watched = eqx.filter_jit(_iterate)

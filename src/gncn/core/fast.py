"""Functions that make settling fast without changing its results.

Each function says what it saves.  `docs/performance.md` has the measurements.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from gncn.core.network import Latents, Network

_UNROLLED = 10
"""The most steps in the body of a loop: between bodies a CPU copies what the loop carries, and a
GPU waits for the host."""

_MOST_COMPILED = 60
"""The most layers, each counted as often as it steps, in the body of a loop or before it, unless
a single step has more: the time to compile grows with them."""

_BLOCK = 512
"""The most images that settle together on a CPU: more don't fit in its caches."""

Carry = tuple[Latents, Any]
"""States, and what the settler remembers."""


class Prepared(NamedTuple):
    """A network ready to settle.

    Its connections are laid out for products; `tools` is what the settler worked out.
    """

    network: Network
    tools: Any


def prepare(network: Network, last: Any = None) -> Prepared:
    """All that settling works out once, before its first step.

    Near `last`, the `tools` of the mini-batch before, a settler may search for its own.
    """
    settler = network.settler
    laid = (connection.laid_out(settler.products) for connection in network.connections)
    network = network.replaced(connections=laid)
    # Without the barrier XLA may work the tools out again in every step.
    tools = lax.optimization_barrier(settler.prepare(network, last))
    return Prepared(network, tools)


def for_batch(prepared: Prepared, n_images: int) -> Prepared:
    """Diagonal precisions repeated for every image: a CPU multiplies equal shapes faster."""
    errors = tuple(layer.errors.for_batch(n_images) for layer in prepared.network.layers)
    # Without the barrier XLA may fold the repetition back into every product.
    errors = lax.optimization_barrier(errors)
    return prepared._replace(network=prepared.network.replaced(errors=errors))


def in_blocks(settle: Callable[[Latents], Any], latents: Latents) -> Any:
    """Settle many images block after block, so that a step's arrays stay in a CPU's caches.

    Blocks are of one size, the last filled with blank images: no image's states depend on
    another's.  Only a CPU needs blocks.
    """
    n_images = len(latents[0])
    n_blocks = -(-n_images // _BLOCK) if jax.default_backend() == "cpu" else 1
    if n_blocks == 1:
        return settle(latents)
    size = -(-n_images // n_blocks)

    def split(states: Float[Array, "batch _units"]) -> Float[Array, "blocks size _units"]:
        # Blank images at the end; their states are cut off below.
        filled = jnp.pad(states, ((0, -n_images % size), (0, 0)))
        return filled.reshape(n_blocks, size, -1)

    settled = lax.map(settle, tuple(map(split, latents)))
    return jax.tree.map(lambda of: of.reshape(-1, *of.shape[2:])[:n_images], settled)


def first_steps(prepared: Prepared, latents: Latents, n_steps: int) -> tuple[Latents, int]:
    """The first steps of images that all start from the same states.

    Until news of the data reaches a layer, its states are the same for all images, and one
    row stands for them.  That saves 9 of the 6 T products of three latent layers (3 in
    sequential order).  Outside a loop, a step in bfloat16 takes three times as long, and so
    it isn't worth it there; nor may the settler remember, nor exact feedback take part, nor may
    there be so many layers that compiling takes longer than it saves.
    Returns the states once all layers have heard of the data, and the steps taken.
    """
    network = prepared.network
    settler = network.settler
    # Up to L steps of L layers each are compiled here one after the other.
    deep = len(latents) ** 2 > _MOST_COMPILED
    if deep or not settler.forgets or settler.products != "float32" or network.circuit.exact:
        return latents, 0
    x, *above = latents
    latents = (x, *(states[:1] for states in above))
    n_taken = 0
    # A layer keeps one row until the errors of single images reach it.
    while n_taken < n_steps and any(len(states) < len(x) for states in latents):
        latents = settler.plain_step(network, prepared.tools, latents)
        n_taken += 1
    return tuple(jnp.broadcast_to(z, (len(x), z.shape[1])) for z in latents), n_taken


def repeat(step: Callable[[Carry], Carry], carry: Carry, n_steps: int) -> Carry:
    """States and memory after `n_steps` steps of settling.

    The loop has at least two bodies of several steps each, and no single step is left over:
    outside a loop XLA lays the synapses out again for each product, which takes three times
    as long in bfloat16.
    """
    most = min(_UNROLLED, n_steps // 2, _MOST_COMPILED // len(carry[0]))
    bodies = range(2, most + 1)
    body = max((size for size in bodies if n_steps % size != 1), default=1)
    # The steps that fill no whole body come last, in a loop of single steps.
    for length, unroll in ((n_steps - n_steps % body, body), (n_steps % body, 1)):
        if length:
            carry, _ = lax.scan(lambda c, _: (step(c), None), carry, None, length, unroll=unroll)
    return carry

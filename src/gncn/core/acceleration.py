"""Acceleration: reaching the states at which settling would rest in fewer steps.

A plain step is z ← G(z) = P(z + β Δz(z)), with P the hold at zero of layers that are
non-negative.  With z' the states before the last step,

==============  ==========================================================
heavy ball      z ← P(G(z) + μ (z − z'))                         (Polyak)
Nesterov        y = P(z + μ (z − z')),   z ← G(y)
Anderson, m     z ← P(G(z) − Σ_j c_j (G_j − G_{j−1})), over the last m steps,
                c the least-squares solution of f ≈ Σ_j c_j (f_j − f_{j−1}),
                where f = G(z) − z
==============  ==========================================================

Each image has its own c.  All rest where plain settling rests, for there Δz = 0.
Anderson's least squares go by Gram-Schmidt, newest difference first; a difference that
adds nothing new is left out, and an image whose f has more than doubled starts afresh.

Steps from a curvature bound: β^l is `step_size` over

    κ^l = max|Σ⁻¹| terms of the layer itself + the norms of its blocks of the Jacobian
        = Σ_c s_c ‖E_c‖ Σ_c' ‖W_c'‖ + p^l + ‖V^l‖ + γ^l + couplings to the layers above and below

(‖·‖ the spectral norm; c are the layer's connections, c' all that predict the same target
as c, and s_c is the greatest slope of that target's error).
For tied synapses and step_size ≤ 1 the Jacobian of a step then has no eigenvalue beyond
the unit circle (block Gershgorin), except for what self-excitation pushes outward.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from gncn.core.lateral import greatest_rivalry
from gncn.core.network import Network, Operands, operands
from gncn.core.newton import Inverses, inverse_curvatures

States = tuple[Float[Array, "#batch _units"], ...]
"""States of layers 0..L, as `gncn.core.discrepancy.Latents`."""

_NEGLIGIBLE = 1e-3
"""A difference is left out if less than this share of it is new."""
_GROWTH = 2.0
"""An image's Anderson memory is emptied when its residual grew by more than this."""
_POWER_STEPS = 8


class Mixing(NamedTuple):
    """What Anderson acceleration remembers; newest first.

    Attributes:
        d_residuals: differences f_j − f_{j−1}, shape (m, batch, all latent units).
        d_targets: differences G_j − G_{j−1}, likewise.
        residual: the last f, shape (batch, all latent units).
        target: the last G, likewise.
    """

    d_residuals: Float[Array, "memory batch units"]
    d_targets: Float[Array, "memory batch units"]
    residual: Float[Array, "batch units"]
    target: Float[Array, "batch units"]


def start_memory(network: Network, latents: States) -> Any:
    """What an accelerated loop carries beside the states, before the first step."""
    match network.settling.acceleration:
        case "none":
            return None
        case "anderson":
            flat = jnp.concatenate(latents[1:], axis=-1)
            memory = network.settling.memory
            assert memory is not None
            many = jnp.zeros((memory, *flat.shape))
            nothing = jnp.zeros(flat.shape)
            return Mixing(many, many, nothing, nothing)
        case _:
            return latents


def look_at(network: Network, latents: States, memory: Any) -> States:
    """The states at which Δz is taken: ahead of the present ones with Nesterov's."""
    if network.settling.acceleration != "nesterov":
        return latents
    return _held(network, _ahead(network, latents, latents, memory))


def advance(network: Network, latents: States, target: States, memory: Any) -> tuple[States, Any]:
    """The states after an accelerated step, and what is remembered of it.

    Args:
        network: says how.
        latents: present states of layers 0..L.
        target: the plain step from `look_at`.
        memory: from `start_memory` or the step before.
    """
    match network.settling.acceleration:
        case "none":
            return target, memory
        case "nesterov":
            return target, latents
        case "heavy-ball":
            return _held(network, _ahead(network, target, latents, memory)), latents
        case _:
            flat, memory = _mix(latents, target, memory)
            splits = np.cumsum(network.circuit.sizes[1:-1])
            return _held(network, (latents[0], *jnp.split(flat, splits, axis=-1))), memory


def _ahead(network: Network, states: States, latents: States, before: States) -> States:
    mu = network.settling.momentum
    assert mu is not None
    moves = zip(states[1:], latents[1:], before[1:], strict=True)
    return (states[0], *(at + mu * (now - old) for at, now, old in moves))


def _held(network: Network, states: States) -> States:
    layers = network.circuit.layers
    return tuple(
        jax.nn.relu(z) if layer.non_negative else z for layer, z in zip(layers, states, strict=True)
    )


def _mix(
    latents: States, target: States, memory: Mixing
) -> tuple[Float[Array, "batch units"], Mixing]:
    old, new = (jnp.concatenate(states[1:], axis=-1) for states in (latents, target))
    residual = new - old
    grown = _norm(residual) > _GROWTH * _norm(memory.residual)  # from 0 at the first step
    d_residuals, d_targets = (
        jnp.where(
            grown[None, :, None],
            0.0,
            jnp.concatenate([(now - before)[None], kept[:-1]]),
        )
        for now, before, kept in (
            (residual, memory.residual, memory.d_residuals),
            (new, memory.target, memory.d_targets),
        )
    )
    weights = least_squares(d_residuals, residual)
    mixed = new - jnp.einsum("mb,mbu->bu", weights, d_targets)
    return mixed, Mixing(d_residuals, d_targets, residual, new)


def least_squares(
    columns: Float[Array, "memory batch units"], goal: Float[Array, "batch units"]
) -> Float[Array, "memory batch"]:
    """Weights c of the columns that bring Σ_j c_j column_j nearest to the goal, by image.

    By modified Gram-Schmidt; a column (nearly) dependent on those before it gets weight 0.

    Args:
        columns: m vectors for each image.
        goal: one vector for each image.

    Returns:
        The weights.
    """
    n = len(columns)
    basis: list[Float[Array, "batch units"]] = []
    upper: list[list[Float[Array, " batch"]]] = []  # upper[j][i] = <basis_i, column_j>
    lengths, usable = [], []
    for column in columns:
        rest, shares = column, []
        for q in basis:
            share = jnp.sum(q * rest, axis=-1)
            rest = rest - share[:, None] * q
            shares.append(share)
        length = _norm(rest)
        new = length > _NEGLIGIBLE * _norm(column)
        safe = jnp.where(new, length, 1.0)
        basis.append(jnp.where(new[:, None], rest / safe[:, None], 0.0))
        upper.append(shares)
        lengths.append(safe)
        usable.append(new)
    weights: list[Float[Array, " batch"]] = [jnp.zeros(goal.shape[0])] * n
    for i in reversed(range(n)):
        known = sum((weights[j] * upper[j][i] for j in range(i + 1, n)), jnp.zeros(goal.shape[0]))
        weights[i] = jnp.where(
            usable[i], (jnp.sum(basis[i] * goal, axis=-1) - known) / lengths[i], 0.0
        )
    return jnp.stack(weights)


def _norm(vectors: Float[Array, "batch units"]) -> Float[Array, " batch"]:
    return jnp.sqrt(jnp.sum(vectors**2, axis=-1))


def spectral_norm(matrix: Float[Array, "rows columns"]) -> Float[Array, ""]:
    """The greatest singular value, by power iteration from the rows' sum."""
    vector = jnp.sum(matrix, axis=0) + 1e-3
    for _ in range(_POWER_STEPS):
        vector = (vector / jnp.maximum(jnp.linalg.norm(vector), 1e-30)) @ matrix.T @ matrix
    return jnp.sqrt(jnp.linalg.norm(vector))


def curvature(network: Network) -> Float[Array, " latent"]:
    """κ^1..κ^L: how fast Δz of each layer can change with the states; see the module.

    Slopes of activations are taken to be at most 1; a Bernoulli layer's error has a
    slope of at most ¼.
    """
    circuit, dynamics = network.circuit, network.dynamics
    sharpness = [
        0.25 if layer.distribution == "bernoulli" else _greatest(network.precision[index])
        for index, layer in enumerate(circuit.layers)
    ]
    forward = [spectral_norm(w) for w in network.forward_weights]
    feedback = (
        [spectral_norm(e) for e in network.feedback_weights]
        if circuit.has_error_synapses
        else forward
    )
    total = [jnp.zeros(())] * len(circuit.layers)
    reach = [jnp.zeros(())] * len(circuit.layers)
    for down, connection in zip(forward, circuit.connections, strict=True):
        reach[connection.target] += down
    for up, down, connection in zip(feedback, forward, circuit.connections, strict=True):
        slope = sharpness[connection.target]
        total[connection.source] += slope * up * reach[connection.target]
        if connection.target > 0:
            total[connection.source] += slope * up
            total[connection.target] += slope * down
    for index, layer in enumerate(circuit.layers[1:], start=1):
        if index in circuit.predicted:
            total[index] += sharpness[index]
        total[index] += dynamics.leak[index - 1]
        if layer.competition != "none":
            rivals = greatest_rivalry(layer, network.lateral_masks[index])
            total[index] += jnp.maximum(
                dynamics.self_excitation[index - 1], dynamics.lateral_inhibition[index - 1] * rivals
            )
    return jnp.stack(total[1:])


def _greatest(
    precision: Float[Array, "units units"] | Float[Array, " units"] | None,
) -> Float[Array, ""]:
    if precision is None:
        return jnp.ones(())
    if precision.ndim == 1:
        return jnp.max(precision)
    return spectral_norm(precision)


def with_steps(network: Network) -> Network:
    """The network with the step sizes that its settling really takes."""
    if network.settling.step_rule != "curvature":
        return network
    steps = network.dynamics.step_size / curvature(network)
    return eqx.tree_at(lambda n: n.dynamics.step_size, network, steps)


def prepare(
    network: Network, last: Inverses | None = None, *, n_images: int | None = None
) -> tuple[Network, Operands]:
    """All that settling works out once, before its first step.

    Args:
        network: the network.
        last: the inverses that Newton's steps took before the synapses learned, near which
            those of now are looked for.
        n_images: how many images settle at once.  Diagonal precisions are then repeated for
            each of them: a CPU multiplies array by array, not row by row, at full speed.

    Returns:
        The network, with the step sizes that its settling really takes, and its synapses
        as products take them.
    """
    right = operands(network, network.settling.products)
    if network.settling.step_rule == "newton":
        right = right._replace(inverses=inverse_curvatures(network, right, last))
    if n_images is not None:
        right = right._replace(
            precision=tuple(
                None if p is None or p.ndim == 2 else jnp.broadcast_to(p, (n_images, len(p)))
                for p in network.precision
            )
        )
    # Else the compiler may lay them out anew in every step.
    return with_steps(network), lax.optimization_barrier(right)

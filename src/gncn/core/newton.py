"""Newton's steps for settling: Δz of a layer times the inverse of its own curvature.

    z^l ← z^l + β (H^l)⁻¹ Δz^l

    H^l = Σ_c ½ (E_c S E_c^T + W_c^T S W_c) + S^l + α_h B^l + γ^l I + δ I

c are the connections in which layer l predicts another, S is the precision of what is
predicted (for Bernoulli pixels their variance z̄ (1 − z̄), taken to be `pixel_variance`),
S^l the layer's own if it is predicted, B^l ones within its columns, and δ is `damping`.
It stands still where Δz = 0, and nowhere else.

The slopes of φ and g are taken to be 1 and ½ (E S E^T + W^T S W) is no less than the
symmetric part of E S W, so H^l bounds how fast Δz^l falls with z^l: where Δz is the
gradient of ψ (no leak, no competition; tied synapses between linear neurons, say),
pixel_variance = ¼, β ≤ 1 and layers move one after the other, ψ never falls.  Smaller
variances, as pixels of learned images have them, dare more.

H⁻¹ is found by Newton and Schulz's iteration, X ← X + X (I − H X), which takes
products alone, to where I − H X is small, or no longer shrinks: factors in bfloat16 can't
invert a badly conditioned H, and the X with the smallest I − H X is then taken.  While a
network learns, the search begins at the inverse of the update before, and one or two
iterations are enough.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gncn.core.lateral import greatest_rivalry
from gncn.core.network import Network, Operands, product

Inverses = tuple[Float[Array, "_units _units"], ...]
"""(H^l)⁻¹ of every latent layer, bottom first."""

TOLERANCE = 0.9
"""Frobenius norm of I − H X at which an inverse is good enough to steer by."""
MOST_ITERATIONS = 60
PATIENCE = 4
"""Iterations without a smaller I − H X after which rounding has stopped the search."""


class Search(NamedTuple):
    """What Newton and Schulz's iteration carries.

    Attributes:
        inverse: X.
        residual: I − H X.
        best: the X with the smallest I − H X since the search began, or left the guess.
        size: the Frobenius norm of I − H X of the best.
        idle: iterations since then.
        afresh: whether the search has left the guess.
        n: iterations done.
    """

    inverse: Float[Array, "units units"]
    residual: Float[Array, "units units"]
    best: Float[Array, "units units"]
    size: Float[Array, ""]
    idle: Int[Array, ""]
    afresh: Bool[Array, ""]
    n: Int[Array, ""]


def own_curvatures(network: Network, right: Operands) -> Inverses:
    """H^1..H^L.

    Args:
        network: the network.
        right: its synapses as products take them.
    """
    circuit, dynamics = network.circuit, network.dynamics
    damping = network.settling.damping
    assert damping is not None
    found = []
    for index, layer in enumerate(circuit.layers[1:], start=1):
        diagonal = damping + dynamics.leak[index - 1]
        whole = jnp.zeros((layer.size, layer.size))
        for number, connection in enumerate(circuit.connections):
            if connection.source == index:
                whole += _through(network, right, number)
        own = _sharpness(network, index) if index in circuit.predicted else jnp.zeros(())
        if layer.competition == "columns":
            assert layer.group_size is not None
            column = jnp.arange(layer.size) // layer.group_size
            inhibition = dynamics.lateral_inhibition[index - 1]
            whole += inhibition * (column[:, None] == column[None, :])
        elif layer.competition != "none":
            rivals = greatest_rivalry(layer, network.lateral_masks[index])
            diagonal += dynamics.lateral_inhibition[index - 1] * rivals
        found.append(whole + diagonal * jnp.eye(layer.size) + _matrix(own, layer.size))
    return tuple(found)


def inverse_curvatures(
    network: Network, right: Operands, guess: Inverses | None = None
) -> Inverses:
    """(H^1)⁻¹..(H^L)⁻¹, near enough to steer by.

    Args:
        network: the network.
        right: its synapses as products take them; products here are of the same type.
        guess: where the search begins if that is near enough; else it begins afresh.
    """
    curvatures = own_curvatures(network, right)
    dtype = right.forward[0].dtype
    guesses = (
        (None,) * len(curvatures) if guess is None else tuple(x.astype(jnp.float32) for x in guess)
    )
    return tuple(
        invert(h, x, dtype).best.astype(dtype) for h, x in zip(curvatures, guesses, strict=True)
    )


def invert(
    matrix: Float[Array, "units units"],
    guess: Float[Array, "units units"] | None = None,
    dtype: jnp.dtype | type = jnp.float32,
) -> Search:
    """Search the inverse of a symmetric, positive definite matrix, by products alone.

    Args:
        matrix: H.
        guess: where to begin, if I − H X is small there.
        dtype: of the factors of products, whose sums are in single precision.

    Returns:
        The search at its end; `Search.best` is the inverse, as near as it got.
    """
    identity = jnp.eye(len(matrix))
    # From here the iteration always gets there: I − H X has its eigenvalues in [0, 1).
    safe = identity / jnp.max(jnp.sum(jnp.abs(matrix), axis=1))

    def residual_of(inverse: Float[Array, "units units"]) -> Float[Array, "units units"]:
        return identity - product(matrix, inverse.astype(dtype))

    def unfinished(search: Search) -> Array:
        good = search.size <= TOLERANCE  # not if it is no number
        return ~good & (search.idle < PATIENCE) & (search.n < MOST_ITERATIONS)

    def go_on(search: Search) -> Search:
        # A guess that gets no better, and never was near, is left at once.
        leave = ~search.afresh & (search.idle > 0) & ~(search.size < 1)
        step = product(search.inverse, search.residual.astype(dtype))
        inverse = jnp.where(leave, safe, search.inverse + step)
        residual = residual_of(inverse)
        size = jnp.linalg.norm(residual)
        better = leave | (size < search.size)
        return Search(
            inverse,
            residual,
            jnp.where(better, inverse, search.best),
            jnp.where(better, size, search.size),
            jnp.where(better, 0, search.idle + 1),
            search.afresh | leave,
            search.n + 1,
        )

    start = safe if guess is None else guess
    residual = residual_of(start)
    size = jnp.linalg.norm(residual)
    zero = jnp.zeros((), int)
    begun = Search(start, residual, start, size, zero, jnp.asarray(guess is None), zero)
    return lax.while_loop(unfinished, go_on, begun)


def _through(network: Network, right: Operands, number: int) -> Float[Array, "units units"]:
    """What a connection adds to its source's curvature: ½ (E S E^T + W^T S W)."""
    sharpness = _sharpness(network, network.circuit.connections[number].target)
    down, up = right.forward[number].matrix, right.feedback[number].matrix
    if not network.circuit.has_error_synapses:
        return _weighted(down, sharpness, up)
    return 0.5 * (_weighted(up.T, sharpness, up) + _weighted(down, sharpness, down.T))


def _sharpness(network: Network, index: int) -> Float[Array, "*units"]:
    """How fast the error of a layer changes with its prediction: S, as number, diagonal or matrix.

    A Bernoulli layer's is `pixel_variance`.
    """
    precision = network.precision[index]
    if network.circuit.layers[index].distribution == "bernoulli":
        return jnp.asarray(network.settling.pixel_variance)
    return jnp.ones(()) if precision is None else precision


def _weighted(
    left: Float[Array, "source target"],
    sharpness: Float[Array, "*units"],
    right: Float[Array, "target source"],
) -> Float[Array, "source source"]:
    """The product left S right."""
    if sharpness.ndim == 0:
        return sharpness * product(left, right)
    return product(left @ sharpness if sharpness.ndim == 2 else left * sharpness[None, :], right)


def _matrix(sharpness: Float[Array, "*units"], size: int) -> Float[Array, "units units"]:
    return sharpness if sharpness.ndim == 2 else jnp.diag(jnp.broadcast_to(sharpness, (size,)))

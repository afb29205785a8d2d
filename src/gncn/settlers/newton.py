"""Newton's steps: the velocity of a layer times the inverse of its own curvature.

    z^l ← z^l + β (H^l)⁻¹ Δz^l

    H^l = Σ_c ½ (E_c S E_c^T + W_c^T S W_c) + S^l + α_h B^l + γ^l I + δ I

c are the connections in which layer l predicts another.  S is the precision of the layer
predicted; for binary pixels it is their variance z̄ (1 − z̄), taken to be `pixel_variance`.  S^l
is the layer's own precision if it is predicted, B^l bounds its competition (ones within
columns), and δ is `damping`.  States rest where Δz = 0, and nowhere else.

The slopes of φ and g are taken to be 1.  ½ (E S E^T + W^T S W) is no less than the symmetric
part of E S W.  So H^l bounds how fast Δz^l falls with z^l.  Where Δz is the
gradient of ψ (no leak, no competition; tied synapses between linear neurons, say),
pixel_variance = ¼, β ≤ 1 and layers move one after the other, ψ never falls.  The pixels of
images that the network has learned vary less, and smaller variances dare longer steps.

`invert` finds H⁻¹ by products alone.  While a network learns, the search begins at the
inverse of the update before, and one or two iterations are enough.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int
from pydantic import Field

from gncn.core.network import Latents, Network, Units
from gncn.core.precision import Sharpness, Square
from gncn.core.products import product
from gncn.core.settler import SETTLERS, Settler
from gncn.settlers.sequential import sweep

Inverses = tuple[Float[Array, "_units _units"], ...]
"""(H^l)⁻¹ of every latent layer, bottom first."""

TOLERANCE = 0.9
"""Frobenius norm of I − H X at which an inverse is good enough to steer by."""
MOST_ITERATIONS = 60
PATIENCE = 4
"""Iterations without a smaller I − H X after which rounding has stopped the search."""


class Newton(Settler):
    """Steps that a layer's curvature steers.

    Attributes:
        damping: δ, added to every curvature: more makes steps shorter and safer.
        pixel_variance: z̄ (1 − z̄) that binary pixels are taken to have; at most ¼.
        sequential: move one layer after the other, from the bottom up.
    """

    damping: float = Field(gt=0)
    pixel_variance: float = Field(gt=0, le=0.25)
    sequential: bool = False

    def prepare(self, network: Network, last: Inverses | None) -> Inverses:
        """(H^1)⁻¹..(H^L)⁻¹, near enough to steer by; the search begins at `last`."""
        dtype = jnp.dtype(self.products)
        curvatures = own_curvatures(network, self)
        # A guess may be in bfloat16, but X itself is kept in single precision.
        guesses = (None,) * len(curvatures) if last is None else jax.tree.map(jnp.float32, last)
        pairs = zip(curvatures, guesses, strict=True)
        return tuple(invert(h, guess, dtype).best.astype(dtype) for h, guess in pairs)

    def plain_step(self, network: Network, prepared: Inverses, latents: Latents) -> Latents:
        """One step of every layer, steered."""

        def steer(index: int, dz: Units) -> Units:
            return product(dz, prepared[index - 1])

        if self.sequential:
            return sweep(network, latents, steer)
        velocity = enumerate(network.velocity(latents), start=1)
        return network.moved(latents, tuple(steer(i, v) for i, v in velocity))


class Search(NamedTuple):
    """The state of Newton and Schulz's iteration.

    Attributes:
        inverse: X.
        residual: I − H X.
        best: the X with the smallest I − H X since the search began, or left the guess.
        size: the Frobenius norm of I − H X of the best.
        idle: iterations since then.
        afresh: whether the search has left the guess.
        n: iterations done.
    """

    inverse: Square
    residual: Square
    best: Square
    size: Float[Array, ""]
    idle: Int[Array, ""]
    afresh: Bool[Array, ""]
    n: Int[Array, ""]


def own_curvatures(network: Network, settler: Newton) -> Inverses:
    """H^1..H^L of a network whose connections are laid out for products."""
    found = []
    sizes = network.circuit.sizes
    sharpness = [layer.errors.sharpness(settler.pixel_variance) for layer in network.layers]
    for index, layer in enumerate(network.layers[1:], start=1):
        whole = jnp.zeros((layer.size, layer.size))
        for connection in network.connections:
            if connection.source == index:
                s = sharpness[connection.target]
                down, up = connection.matrices(sizes[index], sizes[connection.target])
                whole += 0.5 * (_weighted(up.T, s) + _weighted(down, s))
        whole += layer.lateral_inhibition * layer.layer.competition.bound(layer.size)
        own = sharpness[index]
        # H is inverted whole, so a number or a diagonal becomes a matrix.
        if own.ndim < 2:
            own = jnp.diag(jnp.broadcast_to(own, (layer.size,)))
        diagonal = settler.damping + layer.leak
        found.append(whole + diagonal * jnp.eye(layer.size) + own)
    return tuple(found)


def _weighted(left: Float[Array, "source target"], sharpness: Sharpness) -> Square:
    """The product left S left^T."""
    if sharpness.ndim == 0:
        return sharpness * product(left, left.T)
    return product(left @ sharpness if sharpness.ndim == 2 else left * sharpness[None, :], left.T)


def invert(
    matrix: Square, guess: Square | None = None, dtype: jnp.dtype | type = jnp.float32
) -> Search:
    """Search the inverse of a symmetric, positive definite matrix, by products alone.

    Newton and Schulz's iteration, X ← X + X (I − H X), goes on to where I − H X is small, or
    no longer shrinks: factors in bfloat16 can't invert a badly conditioned H, and then the X
    with the smallest I − H X is taken.

    It begins at `guess` if I − H X is small there.  Factors of products have the type `dtype`,
    and their sums are in single precision.
    """
    identity = jnp.eye(len(matrix))
    # From here the iteration always converges: I − H X has its eigenvalues in [0, 1).
    safe = identity / jnp.max(jnp.sum(jnp.abs(matrix), axis=1))

    def residual_of(inverse: Square) -> Square:
        return identity - product(matrix, inverse.astype(dtype))

    def unfinished(search: Search) -> Array:
        good = search.size <= TOLERANCE  # false for NaN
        return ~good & (search.idle < PATIENCE) & (search.n < MOST_ITERATIONS)

    def go_on(search: Search) -> Search:
        # A guess that gets no better, and never was near, is left at once.
        leave = ~search.afresh & (search.idle > 0) & ~(search.size < 1)
        step = product(search.inverse, search.residual.astype(dtype))
        inverse = jnp.where(leave, safe, search.inverse + step)
        residual = residual_of(inverse)
        size = jnp.linalg.norm(residual)
        # False for NaN, so a search that blows up keeps its best X.
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


SETTLERS.register("newton", Newton)

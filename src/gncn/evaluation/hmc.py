"""Hamiltonian Monte Carlo on p_β(z) ∝ b(z) t(z)^β, many chains at once.

Annealing begins at b and adds t on the way: b is a proposal q(z|x) and t is p(x, z) / q(z|x).
One transition draws a momentum, follows the leapfrog integrator and accepts the end with
probability min(1, exp(−ΔH)), so it leaves p_β exactly as it is, whatever the step size.
Positions are measured in units of a factor C of a covariance C C^T, which is the same as a
mass matrix (C C^T)^{-1}: steps are short along directions that hardly vary.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


@runtime_checkable
class Path(Protocol):
    """The densities that annealing leads through, for chains that know their images."""

    def log_base(self, codes: Float[Array, "chains dim"]) -> Float[Array, " chains"]:
        """Log b(z) in nats, differentiable."""
        ...

    def log_tilt(self, codes: Float[Array, "chains dim"]) -> Float[Array, " chains"]:
        """Log t(z) in nats, differentiable."""
        ...


class Points(NamedTuple):
    """Where chains are: z, log b and log t in nats, and their gradients."""

    codes: Float[Array, "chains dim"]
    log_base: Float[Array, " chains"]
    log_tilt: Float[Array, " chains"]
    base_gradient: Float[Array, "chains dim"]
    tilt_gradient: Float[Array, "chains dim"]


_Moving = tuple[Points, Float[Array, "chains dim"]]
"""Where chains are, and their momentum."""


class Draws(NamedTuple):
    """The random numbers of one transition.

    Attributes:
        momentum: standard normal.
        shortening: factor on each chain's step, so that no orbit closes exactly.
        acceptance: uniform in [0, 1).
    """

    momentum: Float[Array, "chains dim"]
    shortening: Float[Array, " chains"]
    acceptance: Float[Array, " chains"]


def visit(path: Path, codes: Float[Array, "chains dim"]) -> Points:
    """Evaluate log densities and gradients at codes."""
    log_base, base_back = jax.vjp(path.log_base, codes)
    log_tilt, tilt_back = jax.vjp(path.log_tilt, codes)
    ones = jnp.ones_like(log_base)
    return Points(codes, log_base, log_tilt, base_back(ones)[0], tilt_back(ones)[0])


def transition(
    path: Path,
    points: Points,
    draws: Draws,
    inverse_temperature: Float[Array, ""],
    step_size: Float[Array, " chains"],
    factor: Float[Array, "groups dim dim"],
    n_leapfrog: int,
) -> tuple[Points, Float[Array, " chains"]]:
    """Move chains by one transition that leaves p_β invariant.

    There is one factor C for each of several equal groups of successive chains.

    Returns:
        Where the chains are then, and the probability with which each was to accept.
    """
    step = (step_size * draws.shortening)[:, None]

    def force(at: Points) -> Float[Array, "chains dim"]:
        slope = at.base_gradient + inverse_temperature * at.tilt_gradient
        return _by_group(slope, factor)

    def energy(at: Points, momentum: Float[Array, "chains dim"]) -> Float[Array, " chains"]:
        potential = -at.log_base - inverse_temperature * at.log_tilt
        return potential + 0.5 * jnp.sum(momentum**2, axis=-1)

    def leapfrog(carry: _Moving, _: None) -> tuple[_Moving, None]:
        at, momentum = carry
        half = momentum + 0.5 * step * force(at)
        reached = visit(path, at.codes + _by_group(step * half, jnp.swapaxes(factor, 1, 2)))
        return (reached, half + 0.5 * step * force(reached)), None

    (end, momentum), _ = lax.scan(leapfrog, (points, draws.momentum), None, length=n_leapfrog)
    gain = energy(points, draws.momentum) - energy(end, momentum)
    chance = jnp.where(jnp.isfinite(gain), jnp.exp(jnp.minimum(gain, 0)), 0)
    accepted = draws.acceptance < chance

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(accepted.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    return jax.tree.map(choose, end, points), chance


def _by_group(
    values: Float[Array, "chains dim"], matrices: Float[Array, "groups dim dim"]
) -> Float[Array, "chains dim"]:
    """Multiply each group of rows by its matrix."""
    grouped = values.reshape(len(matrices), -1, values.shape[-1])
    return (grouped @ matrices).reshape(values.shape)

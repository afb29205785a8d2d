"""Hamiltonian Monte Carlo on p_β(z) ∝ p(z) p(x|z)^β, many chains at once.

One transition draws a momentum, follows the leapfrog integrator and accepts the end with
probability min(1, exp(−ΔH)), so it leaves p_β exactly as it is, whatever the step size.
Positions are measured in units of a factor C of the prior's covariance (C C^T), which is
the same as a mass matrix (C C^T)^{-1}: units that hardly vary hardly move.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from gncn.evaluation.bernoulli import log_likelihood
from gncn.evaluation.protocols import LatentModel


class Points(NamedTuple):
    """Where chains are, and all that a transition at any β needs to know there.

    Attributes:
        codes: z.
        log_prior: log p(z) in nats.
        log_likelihood: log p(x|z) in nats.
        prior_gradient: ∂ log p(z) / ∂z.
        likelihood_gradient: ∂ log p(x|z) / ∂z.
    """

    codes: Float[Array, "chains dim"]
    log_prior: Float[Array, " chains"]
    log_likelihood: Float[Array, " chains"]
    prior_gradient: Float[Array, "chains dim"]
    likelihood_gradient: Float[Array, "chains dim"]


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


def visit(
    model: LatentModel, x: Float[Array, "chains pixels"], codes: Float[Array, "chains dim"]
) -> Points:
    """Evaluate log densities and gradients at codes."""
    log_prior, prior_back = jax.vjp(model.log_prior, codes)
    log_p, likelihood_back = jax.vjp(lambda z: log_likelihood(x, model.decode(z)), codes)
    ones = jnp.ones_like(log_prior)
    return Points(codes, log_prior, log_p, prior_back(ones)[0], likelihood_back(ones)[0])


def transition(
    model: LatentModel,
    x: Float[Array, "chains pixels"],
    points: Points,
    draws: Draws,
    inverse_temperature: Float[Array, ""],
    step_size: Float[Array, " chains"],
    factor: Float[Array, "dim dim"],
    n_leapfrog: int,
) -> tuple[Points, Float[Array, " chains"]]:
    """Move chains by one transition that leaves p_β invariant.

    Args:
        model: gives p(z) and p(x|z).
        x: the image of each chain.
        points: where the chains are.
        draws: random numbers.
        inverse_temperature: β.
        step_size: of the leapfrog, for each chain.
        factor: C.
        n_leapfrog: leapfrog steps.

    Returns:
        Where the chains are then, and the probability with which each was to accept.
    """
    step = (step_size * draws.shortening)[:, None]

    def force(at: Points) -> Float[Array, "chains dim"]:
        slope = at.prior_gradient + inverse_temperature * at.likelihood_gradient
        return slope @ factor

    def energy(at: Points, momentum: Float[Array, "chains dim"]) -> Float[Array, " chains"]:
        potential = -at.log_prior - inverse_temperature * at.log_likelihood
        return potential + 0.5 * jnp.sum(momentum**2, axis=-1)

    def leapfrog(
        carry: tuple[Points, Float[Array, "chains dim"]], _: None
    ) -> tuple[tuple[Points, Float[Array, "chains dim"]], None]:
        at, momentum = carry
        half = momentum + 0.5 * step * force(at)
        reached = visit(model, x, at.codes + (step * half) @ factor.T)
        return (reached, half + 0.5 * step * force(reached)), None

    (end, momentum), _ = lax.scan(leapfrog, (points, draws.momentum), None, length=n_leapfrog)
    gain = energy(points, draws.momentum) - energy(end, momentum)
    chance = jnp.where(jnp.isfinite(gain), jnp.exp(jnp.minimum(gain, 0)), 0)
    accepted = draws.acceptance < chance

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(accepted.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    return jax.tree.map(choose, end, points), chance

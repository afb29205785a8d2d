"""log p(x) by annealed importance sampling (AIS), and its bound from above (BDMC).

Chains start at samples of a proposal, a sum of terms q(z|x) = Σ_m q_m(z) that hold their shares.
Each chain keeps the term m that its first code comes from, and passes through

    p_β(z) ∝ q_m(z) w(z)^β,    w(z) = p(x, z) / q(z|x),    β from 0 to 1

with a Hamiltonian transition at each β.  At β = 1 all terms together are the posterior, since
Σ_m q_m w = p(x, z): annealing goes on in the space of pairs (m, z), where it starts at q_m(z) and
ends at q_m(z) w(z).  So a chain stays near its own peak, and no peak that a term knows is missed.
A proposal near the posterior needs far fewer temperatures than the prior would.  With z_t the
point reached at β_t, each chain has the weight

    log W = Σ_t (β_{t+1} − β_t) log w(z_t),    E[W] = p(x)

so log mean W is a lower bound of log p(x) on average (Neal 2001).

Chains can also run backwards from an *exact* posterior sample, with m drawn by the shares
q_m(z) / q(z|x).  The same sum then obeys E[1/W] = 1/p(x), so −log mean 1/W is an upper bound on
average (bidirectional Monte Carlo, Grosse, Ghahramani & Adams 2015).  The code that an image was
simulated from is such a sample.  The two bounds may meet on simulated images.  Then the lower bound
can be trusted on real ones as far as they are alike (Wu, Burda, Salakhutdinov & Grosse 2017).

A pilot run with random numbers of its own learns step sizes for each image and β.  They are
then held, so that weights are exactly unbiased.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from gncn.base.errors import ConfigError, DataError, check_counts, check_positive
from gncn.evaluation.likelihood import (
    Weighing,
    WeightedEstimate,
    by_blocks,
    image_keys,
    log_sums,
)
from gncn.evaluation.proposals import Proposal
from gncn.evaluation.protocols import Images, WithPrior

MOST_ANNEALED = 1_000_000
"""The most temperatures, chains or leapfrog steps: they multiply, and take days."""
# How far one transition moves the log of a step size towards the target acceptance, in the pilot
# run.
_ADAPTATION = 0.1
# Of the sigmoid of the schedule: near 0 the β would be evenly spaced.
_STEEPNESS = 4.0


@dataclass(frozen=True)
class Annealing:
    """How to anneal: intervals between β = 0 and β = 1, chains for each image, leapfrog steps.

    `step_size` is in standard deviations of the proposal.  The pilot run adapts it to
    `target_acceptance`.

    Raises:
        ConfigError: a value is not allowed.
    """

    n_temperatures: int = 200
    n_chains: int = 8
    n_leapfrog: int = 10
    step_size: float = 0.1
    target_acceptance: float = 0.7

    def __post_init__(self) -> None:
        check_counts(
            MOST_ANNEALED,
            n_temperatures=self.n_temperatures,
            n_chains=self.n_chains,
            n_leapfrog=self.n_leapfrog,
        )
        check_positive(step_size=self.step_size, target_acceptance=self.target_acceptance)
        if self.target_acceptance >= 1:
            raise ConfigError(
                f"target_acceptance must be between 0 and 1; received {self.target_acceptance}."
            )

    @property
    def inverse_temperatures(self) -> Float[np.ndarray, " temperatures"]:
        """β_0 = 0 to β_T = 1, ascending; T + 1 values."""
        # A sigmoid, cut at both ends: small steps of β near 0 and 1, large ones between.
        even = np.linspace(0, 1, self.n_temperatures + 1)
        rise = 1 / (1 + np.exp(-_STEEPNESS * (2 * even - 1)))
        return (rise - rise[0]) / (rise[-1] - rise[0])


@dataclass(frozen=True)
class AnnealedEstimate(WeightedEstimate):
    """Bounds of log p(x) in nats, on average; `acceptance` is the share of transitions accepted.

    With one temperature there are no transitions, and the share is NaN.  Chains that go back from
    one code are not independent, so `sampling_error` of an upper bound is only a part of its error.
    """

    acceptance: Float[np.ndarray, " images"]


@dataclass(frozen=True)
class Bracket:
    """Bounds of log p(x) from both sides, on average, on images that the model simulated."""

    lower: AnnealedEstimate
    upper: AnnealedEstimate

    @property
    def gaps(self) -> Float[np.ndarray, " images"]:
        """Upper less lower of each image, in nats: on average no estimate is further off."""
        return self.upper.values - self.lower.values


def annealed_log_likelihood(
    model: WithPrior,
    x: Images,
    *,
    key: PRNGKeyArray,
    proposal: Proposal,
    annealing: Annealing = Annealing(),
    codes: Float[Array | np.ndarray, "images dim"] | None = None,
    on_block: Callable[[int, int], None] | None = None,
) -> AnnealedEstimate:
    """Bound log p(x) from below by annealing to the posterior, or from above by going back.

    Each chain takes (leapfrog steps + 1) gradients of log p(x|z) for a temperature.  The pilot run
    has a quarter of the chains, but at least one.

    Args:
        model: p(z) and p(x|z).
        x: images as the model has them.
        key: of all random numbers.
        proposal: q(z|x) of each image, to begin with or to end with.
        annealing: how.
        codes: exact posterior samples to go back from: the codes that `x` was simulated from,
            unknown to `proposal`.
        on_block: called with the number of images done and of all.

    Raises:
        DataError: `x` can't be data of the model, or there isn't one proposal, or one code, for
            each image.
        DivergenceError: a weight is not finite.
    """
    if codes is not None and len(codes) != len(x):
        raise DataError(f"Give one code an image; received {len(codes)} for {len(x)} images.")
    # One stream each: the pilot's numbers must tell nothing about the weights that follow, and
    # where chains start nothing about how they move.
    term_key, *streams = jax.random.split(key, 5)

    def weigh(images: Weighing, rows: Int[np.ndarray, " rows"]) -> Float[Array, "3 rows"]:
        pilot_start, pilot_keys, start_keys, keys = (image_keys(one, rows) for one in streams)
        # A quarter of the chains is enough to learn step sizes.
        pilot = images.sample(pilot_start, max(1, annealing.n_chains // 4))
        step_sizes = _anneal(images, pilot, pilot_keys, annealing)[0]
        if codes is None:
            start = images.sample(start_keys, annealing.n_chains)
        else:
            # Chains of an image all go back from its one code, and differ by their random numbers.
            ends = jnp.repeat(jnp.asarray(codes)[rows], annealing.n_chains, axis=0)
            start = ends, _draw_terms(images, ends, image_keys(term_key, rows))
        _, log_weight, acceptance = _anneal(
            images, start, keys, annealing, step_sizes, backwards=codes is not None
        )
        # Backwards E[1/W] = 1/p(x), so it is 1/W that is averaged.
        sums = log_sums(log_weight if codes is None else -log_weight)
        return jnp.concatenate([sums, acceptance[None]])

    found, (acceptance,) = by_blocks(weigh, model, x, proposal, annealing.n_chains, on_block)
    # log mean 1/W estimates −log p(x), and is too low on average; so its negative is too high.
    values = found.values if codes is None else -found.values
    return AnnealedEstimate(values, found.effective_sample_size, found.n_samples, acceptance)


def simulate(
    model: WithPrior, key: PRNGKeyArray, n: int
) -> tuple[Shaped[np.ndarray, "n pixels"], Float[Array, "n dim"]]:
    """Draw `n` codes from the prior and an image from each."""
    code_key, pixel_key = jax.random.split(key)
    codes = model.prior.sample(code_key, n)
    return np.asarray(model.output.sample(pixel_key, model.decode(codes))), codes


def bracket(
    model: WithPrior,
    x: Images,
    codes: Float[Array | np.ndarray, "images dim"],
    *,
    key: PRNGKeyArray,
    proposal: Proposal,
    annealing: Annealing = Annealing(),
) -> Bracket:
    """Bound log p(x) of simulated images from both sides (bidirectional Monte Carlo).

    `x` and `codes` are from `simulate`.  The proposals must not know these codes.

    Raises:
        DataError: there isn't one proposal, or one code, for each image.
        DivergenceError: a weight is not finite.
    """
    anneal = partial(annealed_log_likelihood, model, x, proposal=proposal, annealing=annealing)
    # Keys differ, so the two bounds are independent.
    forward, backward = jax.random.split(key)
    return Bracket(anneal(key=forward), anneal(key=backward, codes=codes))


class Points(NamedTuple):
    """Where chains are: z, each chain's term m, and log q_m and log w in nats."""

    codes: Float[Array, "chains dim"]
    term: Int[Array, " chains"]
    log_proposal: Float[Array, " chains"]
    log_weight: Float[Array, " chains"]


_Moving = tuple[Float[Array, "images n dim"], ...]
"""Places in units of the terms' Gaussians, the momentum half a step ahead, and the force."""
_Chains = tuple[Points, Float[Array, " chains"], Float[Array, " chains"]]
"""Points, log W so far, and the log of the step size."""
_Stage = tuple[tuple[Array, Array, Array | None], Array]
"""A transition's number, its β, and each image's step size if held; then β_{t+1} − β_t."""
_Start = tuple[Float[Array, "chains dim"], Int[Array, " chains"]]
"""Codes, and the term that each belongs to."""


def visit(
    images: Weighing, codes: Float[Array, "chains dim"], term: Int[Array, " chains"]
) -> Points:
    """Evaluate log densities at codes."""
    seen = images.see(codes)
    log_own = jnp.take_along_axis(seen.terms, term[:, None], axis=1)[:, 0]
    return Points(codes, term, log_own, seen.log_weight)


@eqx.filter_jit
def _draw_terms(
    images: Weighing, codes: Float[Array, "chains dim"], keys: Shaped[PRNGKeyArray, " images"]
) -> Int[Array, " chains"]:
    """A term for each code, by the shares that they have in q there."""
    # Normalising is left to `categorical`: only the terms' ratios count.
    terms = images.grouped(images.see(codes).terms)
    return jax.vmap(jax.random.categorical)(keys, terms).reshape(-1)


def transition(
    images: Weighing,
    points: Points,
    keys: Shaped[PRNGKeyArray, " images"],
    number: Int[Array, ""],
    beta: Float[Array, ""],
    step_size: Float[Array, " chains"],
    n_leapfrog: int,
) -> tuple[Points, Float[Array, " chains"]]:
    """Move chains by a Hamiltonian transition that leaves p_β exactly as it is.

    It draws a momentum, follows the leapfrog integrator and accepts the end with probability
    min(1, exp(−ΔH)).  Places u are in units of the term's Gaussian, z = μ + C u, which is the
    same as a mass matrix (C C^T)^{-1}: steps are short along directions that hardly vary.  Each
    chain's step is shortened at random, so that no orbit closes exactly.  Random numbers depend
    on the image's key and the transition's number alone.

    The densities of a mixture of many components cost most, and are evaluated at the ends alone.
    In between, an orbit follows the gradient of (1 − β) log q_m + β log p(x, z).  Its log p(z) is
    replaced by what it is near the term's peak (`Proposal.prior_force`).  Whatever force orbits
    follow, they are reversible and keep volumes, so ΔH by the exact densities makes the transition
    exact.

    Returns:
        Where the chains are then, and the probability with which each was to accept.
    """
    proposal, term = images.proposal, images.grouped(points.term)
    n_chains, dim = len(points.codes) // len(keys), points.codes.shape[-1]

    def draw(key: PRNGKeyArray) -> tuple[Float[Array, "n dim"], Float[Array, "2 n"]]:
        normal, uniform = jax.random.split(jax.random.fold_in(key, number))
        momentum = jax.random.normal(normal, (n_chains, dim), jnp.float32)
        return momentum, jax.random.uniform(uniform, (2, n_chains), jnp.float32)

    momentum, uniform = jax.vmap(draw)(keys)
    shortening, threshold = jnp.moveaxis(uniform, 1, 0).reshape(2, -1)
    # Between half a step and a whole one.
    step = images.grouped(step_size * (0.5 + 0.5 * shortening))[:, :, None]
    of_prior = (term == proposal.means.shape[1])[:, :, None]

    def force(place: Float[Array, "images n dim"]) -> Float[Array, "images n dim"]:
        codes = proposal.codes_at(place, term).reshape(-1, dim)
        slope = jax.grad(lambda z: jnp.sum(images.log_likelihood(z)))(codes)
        prior = proposal.prior_force(place, term)
        joint = prior + proposal.scaled(images.grouped(slope), term, transposed=True)
        return (1 - beta) * jnp.where(of_prior, prior, -place) + beta * joint

    def energy(at: Points, momentum: Float[Array, "images n dim"]) -> Float[Array, " chains"]:
        potential = -at.log_proposal - beta * at.log_weight
        return potential + 0.5 * jnp.sum(momentum**2, axis=-1).reshape(-1)

    def leapfrog(carry: _Moving, _: None) -> tuple[_Moving, None]:
        place, momentum, _force = carry
        place = place + step * momentum
        reached = force(place)
        return (place, momentum + step * reached, reached), None

    start = proposal.places_of(images.grouped(points.codes), term)
    pushed = force(start)
    # Half a step of the momentum at either end keeps the integrator reversible.
    carry = start, momentum + 0.5 * step * pushed, pushed
    (place, half, pulled), _ = lax.scan(leapfrog, carry, None, length=n_leapfrog)
    left = half - 0.5 * step * pulled
    end = visit(images, proposal.codes_at(place, term).reshape(-1, dim), points.term)
    gain = energy(points, momentum) - energy(end, left)
    # An orbit that leaves the range of single precision is refused, and its chain stays.
    chance = jnp.where(jnp.isfinite(gain), jnp.exp(jnp.minimum(gain, 0)), 0)
    accepted = threshold < chance

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(accepted.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    return jax.tree.map(choose, end, points), chance


@eqx.filter_jit
def _anneal(
    images: Weighing,
    start: _Start,
    keys: Shaped[PRNGKeyArray, " images"],
    annealing: Annealing,
    held: Float[Array, "transitions images"] | None = None,
    *,
    backwards: bool = False,
) -> tuple[Shaped[Array, "transitions images"], Float[Array, "images n"], Float[Array, " images"]]:
    """Lead chains through all β with held step sizes, or adapt these.

    Returns:
        The step sizes learned at β_1..β_{T−1}, log W of each chain, and the acceptance.
    """
    betas = jnp.asarray(annealing.inverse_temperatures, jnp.float32)
    # A chain need not move at β = 0, where it starts, nor at β = 1, where it ends.
    increments, stages = jnp.diff(betas), (jnp.arange(len(betas) - 2), betas[1:-1], held)

    def by_image(of_chains: Float[Array, " chains"]) -> Float[Array, "images n"]:
        return of_chains.reshape(len(keys), -1)

    def step(carry: _Chains, stage: _Stage) -> tuple[_Chains, tuple[Array, Array]]:
        points, log_weight, log_step = carry
        (number, beta, size), increment = stage
        size = jnp.exp(log_step) if size is None else jnp.repeat(size, len(start[0]) // len(keys))
        points, chance = transition(images, points, keys, number, beta, size, annealing.n_leapfrog)
        log_step = log_step + _ADAPTATION * (chance - annealing.target_acceptance)
        # Chains of an image share what is learned: its geometric mean step, and its mean
        # acceptance.
        learned = jnp.exp(jnp.mean(by_image(log_step), axis=1)), jnp.mean(by_image(chance), axis=1)
        return (points, log_weight + increment * points.log_weight, log_step), learned

    if backwards:
        # Numbers are reversed too, so a transition draws and steps as it does forwards.
        increments, stages = jax.tree.map(lambda ascending: ascending[::-1], (increments, stages))
    points = visit(images, *start)
    log_step = jnp.full(len(start[0]), jnp.log(annealing.step_size))
    # The first increment needs no transition: the start is a sample at β_0.
    carry = points, increments[0] * points.log_weight, log_step
    (_, log_weight, _), (sizes, chances) = lax.scan(step, carry, (stages, increments[1:]))
    return sizes, by_image(log_weight), jnp.mean(chances, axis=0)

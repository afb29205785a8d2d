"""log p(x) by annealed importance sampling (AIS), and its bound from above (BDMC).

Chains start at samples of a proposal q(z|x) and pass through p_β(z) ∝ q(z|x) [p(x, z) / q(z|x)]^β,
β from 0 to 1, with a Hamiltonian transition (`gncn.evaluation.hmc`) at each.  A proposal near
the posterior needs far fewer temperatures than the prior would.  With z_t the point reached at
β_t, each chain has the weight

    log w = Σ_t (β_{t+1} − β_t) [log p(x, z_t) − log q(z_t|x)],    E[w] = p(x)

so log mean w is a lower bound of log p(x) on average (Neal 2001).  Run backwards from an
*exact* posterior sample, the same sum obeys E[1/w] = 1/p(x), so −log mean 1/w is an upper
bound on average (bidirectional Monte Carlo, Grosse, Ghahramani & Adams 2015).  The code
that an image was simulated from is such a sample.  If the two bounds meet on simulated
images, the lower bound can be trusted on real ones as far as they are alike (Wu, Burda,
Salakhutdinov & Grosse 2017).

A pilot run with random numbers of its own learns step sizes for each image and β.  They are
then held, so that weights are exactly unbiased.
"""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped, UInt8

from gncn.base.errors import ConfigError, DataError
from gncn.evaluation.bernoulli import binary_images, log_likelihood, sample_pixels
from gncn.evaluation.blocks import by_blocks, check_positive
from gncn.evaluation.hmc import Draws, Points, transition, visit
from gncn.evaluation.importance import WeightedEstimate, image_keys, weighted_estimate
from gncn.evaluation.proposals import GaussianProposal, of_images
from gncn.evaluation.protocols import Images, LatentModel, Sampler

_ADAPTATION = 0.1
_STEEPNESS = 4.0

_Chains = tuple[Points, Float[Array, " chains"]]
"""Where chains are, and a number of each."""


@dataclass(frozen=True)
class Annealing:
    """How to anneal.

    Attributes:
        n_temperatures: intervals between β = 0 and β = 1, shorter near both ends.
        n_chains: for each image.
        n_leapfrog: leapfrog steps of a transition.
        step_size: of the leapfrog before it adapts, in standard deviations of the proposal.
        target_acceptance: what the pilot run adapts step sizes to.
        image_block: images whose chains run at once.

    Raises:
        ConfigError: a value is not allowed.
    """

    n_temperatures: int = 200
    n_chains: int = 8
    n_leapfrog: int = 5
    step_size: float = 0.1
    target_acceptance: float = 0.7
    image_block: int = 50

    def __post_init__(self) -> None:
        check_positive(
            n_temperatures=self.n_temperatures,
            n_chains=self.n_chains,
            n_leapfrog=self.n_leapfrog,
            step_size=self.step_size,
            image_block=self.image_block,
        )
        if not 0 < self.target_acceptance < 1:
            raise ConfigError(
                f"target_acceptance must be between 0 and 1; received {self.target_acceptance}."
            )

    @property
    def inverse_temperatures(self) -> Float[np.ndarray, " temperatures"]:
        """β_0 = 0 to β_T = 1, ascending; T + 1 values."""
        even = np.linspace(0, 1, self.n_temperatures + 1)
        rise = 1 / (1 + np.exp(-_STEEPNESS * (2 * even - 1)))
        return (rise - rise[0]) / (rise[-1] - rise[0])


@dataclass(frozen=True)
class AnnealedEstimate(WeightedEstimate):
    """Bounds of log p(x) in nats, on average; `acceptance` is the share of transitions accepted."""

    acceptance: Float[np.ndarray, " images"]


@dataclass(frozen=True)
class Bracket:
    """Bounds of log p(x) from both sides, on images that the model simulated.

    Attributes:
        x: the images.
        lower: forward annealing, a lower bound on average.
        upper: reverse annealing, an upper bound on average.
    """

    x: UInt8[np.ndarray, "images pixels"]
    lower: AnnealedEstimate
    upper: AnnealedEstimate

    @property
    def gap(self) -> float:
        """Mean of upper less lower, in nats; no estimate is further off than this."""
        return self.upper.mean - self.lower.mean


def annealed_log_likelihood(
    model: LatentModel,
    x: Images,
    *,
    key: PRNGKeyArray,
    proposal: GaussianProposal,
    annealing: Annealing = Annealing(),
    codes: Float[Array | np.ndarray, "images dim"] | None = None,
    on_block: Callable[[int, int], None] | None = None,
) -> AnnealedEstimate:
    """Bound log p(x) from below by annealing to the posterior, or from above by going back.

    Costs images x chains x temperatures x leapfrog steps gradients of log p(x, z), and a
    quarter as many again for the pilot run.

    Args:
        model: p(z) and p(x|z).
        x: binary images.
        key: of all random numbers.
        proposal: q(z|x) of each image, to begin with or to end with.
        annealing: see `Annealing`.
        codes: exact posterior samples to go back from: the codes that `x` was simulated from,
            unknown to `proposal`.
        on_block: called with the number of images done and of all.

    Raises:
        DataError: `x` is not binary, or there isn't one proposal, or one code, for each image.
        DivergenceError: a weight is not finite.
    """
    images = binary_images(x)
    if codes is not None and len(codes) != len(x):
        raise DataError(f"Give one code an image; received {len(codes)} for {len(x)} images.")
    _, pilot_key, run_key = jax.random.split(key, 3)

    def sums(rows: Int[np.ndarray, " images"]) -> Float[Array, "3 images"]:
        block = jnp.asarray(images[rows], jnp.float32)
        path = _Path(model, block, of_images(proposal, rows, len(images)))
        step_sizes = _pilot(path, image_keys(pilot_key, rows), annealing)
        start = None if codes is None else jnp.asarray(codes)[rows]
        return _run(path, start, image_keys(run_key, rows), step_sizes, annealing)

    found = by_blocks(sums, len(images), annealing.image_block, on_block)
    result = weighted_estimate(found[0], found[1], annealing.n_chains)
    values = result.values if codes is None else -result.values
    return AnnealedEstimate(values, result.effective_sample_size, annealing.n_chains, found[2])


def simulate(
    model: Sampler, key: PRNGKeyArray, n: int
) -> tuple[UInt8[np.ndarray, "n pixels"], Float[Array, "n dim"]]:
    """Draw `n` codes from the prior and a binary image from each."""
    code_key, pixel_key = jax.random.split(key)
    codes = model.sample_prior(code_key, n)
    return np.asarray(sample_pixels(pixel_key, model.decode(codes))), codes


def bracket(
    model: LatentModel,
    n_images: int,
    *,
    key: PRNGKeyArray,
    propose: Callable[[UInt8[np.ndarray, "images pixels"]], GaussianProposal],
    annealing: Annealing = Annealing(),
) -> Bracket:
    """Simulate images and bound their log p(x) from both sides (bidirectional Monte Carlo).

    Args:
        model: p(z) and p(x|z).
        n_images: images to simulate.
        key: of all random numbers.
        propose: makes the proposals for simulated images.
        annealing: see `Annealing`.

    Raises:
        DivergenceError: a weight is not finite.
    """
    data_key, *keys = jax.random.split(key, 3)
    x, codes = simulate(model, data_key, n_images)
    proposal = propose(x)
    lower, upper = (
        annealed_log_likelihood(
            model, x, key=one, proposal=proposal, annealing=annealing, codes=start
        )
        for one, start in zip(keys, (None, codes), strict=True)
    )
    return Bracket(x, lower, upper)


class _Path(eqx.Module):
    """From the proposals q(z|x) to p(x, z), for images with as many chains each."""

    model: LatentModel
    x: Float[Array, "images pixels"]
    proposal: GaussianProposal

    @property
    def factor(self) -> Float[Array, "images dim dim"]:
        """A factor of each proposal's covariance."""
        factor = self.proposal.factor
        return factor if factor.ndim == 3 else jax.vmap(jnp.diag)(factor)

    def start(
        self, keys: Shaped[PRNGKeyArray, " images"], n_chains: int
    ) -> Float[Array, "chains dim"]:
        """Samples of the proposals, `n_chains` for each image."""
        codes = eqx.filter_vmap(lambda q, key: q.sample(key, n_chains))(self.proposal, keys)
        return codes.reshape(len(keys) * n_chains, -1)

    def log_base(self, codes: Float[Array, "chains dim"]) -> Float[Array, " chains"]:
        """Log q(z|x) in nats."""
        grouped = codes.reshape(len(self.x), -1, codes.shape[-1])
        return eqx.filter_vmap(lambda q, z: q.log_prob(z))(self.proposal, grouped).reshape(-1)

    def log_tilt(self, codes: Float[Array, "chains dim"]) -> Float[Array, " chains"]:
        """Log p(x, z) − log q(z|x) in nats; an image's chains are neighbours."""
        log_prior = self.model.log_prior(codes)
        repeated = jnp.repeat(self.x, len(codes) // len(self.x), axis=0)
        log_joint = log_prior + log_likelihood(repeated, self.model.decode(codes))
        return log_joint - self.log_base(codes)


@eqx.filter_jit
def _pilot(
    path: _Path, keys: Shaped[PRNGKeyArray, " images"], annealing: Annealing
) -> Float[Array, "transitions images"]:
    """Anneal forward, adapting step sizes; the step size of each image at β_1..β_{T−1}."""
    n_chains = max(1, annealing.n_chains // 4)
    points = visit(path, path.start(keys, n_chains))
    n_images, dim = len(path.x), points.codes.shape[-1]

    def step(
        carry: _Chains, stage: tuple[Int[Array, ""], Float[Array, ""]]
    ) -> tuple[_Chains, Float[Array, " images"]]:
        points, log_step = carry
        number, beta = stage
        draws = _draws(keys, number, n_chains, dim)
        points, chance = transition(
            path, points, draws, beta, jnp.exp(log_step), path.factor, annealing.n_leapfrog
        )
        log_step = log_step + _ADAPTATION * (chance - annealing.target_acceptance)
        return (points, log_step), jnp.exp(jnp.mean(log_step.reshape(n_images, -1), axis=1))

    betas = jnp.asarray(annealing.inverse_temperatures[1:-1], jnp.float32)
    log_step = jnp.full(n_images * n_chains, jnp.log(annealing.step_size))
    _, steps = lax.scan(step, (points, log_step), (jnp.arange(len(betas)), betas))
    return steps


@eqx.filter_jit
def _run(
    path: _Path,
    codes: Float[Array, "images dim"] | None,
    keys: Shaped[PRNGKeyArray, " images"],
    step_sizes: Float[Array, "transitions images"],
    annealing: Annealing,
) -> Float[Array, "3 images"]:
    """Sums log Σ w, log Σ w² (of 1/w if backwards, from `codes`), and acceptance, of each image."""
    n_images, n_chains = len(path.x), annealing.n_chains
    betas = jnp.asarray(annealing.inverse_temperatures, jnp.float32)
    increments, stages = jnp.diff(betas), jnp.arange(annealing.n_temperatures - 1)
    if codes is None:
        start = path.start(keys, n_chains)
        first, added = increments[0], increments[1:]
    else:
        start = jnp.repeat(codes, n_chains, axis=0)
        first, added = increments[-1], increments[:-1][::-1]
        stages, step_sizes = stages[::-1], step_sizes[::-1]

    def step(
        carry: _Chains, stage: tuple[Int[Array, ""], Float[Array, " images"], Float[Array, ""]]
    ) -> tuple[_Chains, Float[Array, " images"]]:
        points, log_weight = carry
        number, sizes, increment = stage
        draws = _draws(keys, number, n_chains, start.shape[-1])
        size = jnp.repeat(sizes, n_chains)
        points, chance = transition(
            path, points, draws, betas[number + 1], size, path.factor, annealing.n_leapfrog
        )
        log_weight = log_weight + increment * points.log_tilt
        return (points, log_weight), jnp.mean(chance.reshape(n_images, -1), axis=1)

    points = visit(path, start)
    carry = points, first * points.log_tilt
    (_, log_weight), chances = lax.scan(step, carry, (stages, step_sizes, added))
    log_weight = (log_weight if codes is None else -log_weight).reshape(n_images, n_chains)
    sums = jax.nn.logsumexp(jnp.stack([log_weight, 2 * log_weight]), axis=-1)
    return jnp.concatenate([sums, jnp.mean(chances, axis=0)[None]])


def _draws(
    keys: Shaped[PRNGKeyArray, " images"], number: Int[Array, ""], n_chains: int, dim: int
) -> Draws:
    """The random numbers of transition `number`, which depend on each image's key alone."""

    def one(key: PRNGKeyArray) -> tuple[Float[Array, "chains dim"], Float[Array, "2 chains"]]:
        normal, uniform = jax.random.split(jax.random.fold_in(key, number))
        return (
            jax.random.normal(normal, (n_chains, dim)),
            jax.random.uniform(uniform, (2, n_chains)),
        )

    normal, uniform = jax.vmap(one)(keys)
    uniform = jnp.moveaxis(uniform, 1, 0).reshape(2, -1)
    return Draws(normal.reshape(-1, dim), 0.5 + 0.5 * uniform[0], uniform[1])

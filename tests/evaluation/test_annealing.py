"""Annealed importance sampling, forward and backward, against quadrature."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weighted import sampling_error

from gncn.base.errors import ConfigError, DataError, DivergenceError
from gncn.evaluation.annealing import (
    Annealing,
    annealed_log_likelihood,
    bracket,
    simulate,
)
from gncn.evaluation.bernoulli import log_likelihood
from gncn.evaluation.hmc import Draws, transition, visit
from gncn.evaluation.mixture import mixture_from_moments
from gncn.evaluation.proposals import GaussianProposal, laplace_proposal

FEW = Annealing(n_temperatures=8, n_chains=1, n_leapfrog=3, step_size=0.6, image_block=4000)
SMALL = Annealing(n_temperatures=3, n_chains=2, n_leapfrog=2, image_block=4)
MANY = Annealing(
    n_temperatures=150, n_chains=20, n_leapfrog=3, step_size=0.5, target_acceptance=0.5
)
TIMES = 1000


class FromPrior(eqx.Module):
    model: eqx.Module
    x: jax.Array

    def log_base(self, codes):
        return self.model.log_prior(codes)

    def log_tilt(self, codes):
        return log_likelihood(self.x, self.model.decode(codes))


def off_proposal(n: int, diagonal: bool) -> GaussianProposal:
    """Proposals that are well off the posteriors, another for every image."""
    mean = jnp.stack([jnp.sin(jnp.arange(n)), jnp.cos(jnp.arange(n))], axis=1)
    factor = jnp.asarray([1.6, 1.3]) if diagonal else jnp.asarray([[1.4, 0.0], [0.5, 1.5]])
    return GaussianProposal(mean, jnp.broadcast_to(factor, (n, *factor.shape)))


def prior_like(n: int, width: float = 1.8) -> GaussianProposal:
    """Proposals that know nothing of the images, as wide as the prior."""
    return GaussianProposal(jnp.zeros((n, 2)), jnp.full((n, 2), width))


def within_4_errors_of_1(ratio: np.ndarray) -> bool:
    error = ratio.std(axis=-1, ddof=1) / np.sqrt(ratio.shape[-1])
    return bool((np.abs(ratio.mean(axis=-1) - 1) < 4 * error).all())


@pytest.fixture(scope="module")
def exact(continuous, some_images) -> np.ndarray:
    return continuous.posterior(some_images)[0]


@pytest.mark.parametrize("base", ["full", "diagonal"])
@pytest.mark.parametrize("n_temperatures", [1, 8])
def test_forward_weights_are_unbiased(continuous, some_images, exact, n_temperatures, base):
    annealing = Annealing(
        n_temperatures=n_temperatures,
        n_chains=1,
        n_leapfrog=3,
        step_size=0.6,
        image_block=10_000,
    )
    x = np.repeat(some_images, TIMES, axis=0)
    proposal = off_proposal(len(x), base == "diagonal")
    estimate = annealed_log_likelihood(
        continuous, x, key=jax.random.key(0), proposal=proposal, annealing=annealing
    )
    ratio = np.exp(estimate.values.reshape(10, TIMES) - exact[:, None])
    assert within_4_errors_of_1(ratio)
    assert within_4_errors_of_1(ratio.reshape(-1))
    assert estimate.mean < exact.mean()


def test_reverse_weights_are_unbiased(continuous):
    """E[1/w] = 1/p(x), averaged over simulated images and their exact posterior samples."""
    x, codes = simulate(continuous, jax.random.key(1), 4000)
    upper = annealed_log_likelihood(
        continuous,
        x,
        codes=codes,
        key=jax.random.key(2),
        proposal=off_proposal(len(x), False),
        annealing=FEW,
    )
    distinct, inverse = np.unique(x, axis=0, return_inverse=True)
    exact = continuous.posterior(distinct)[0][inverse.reshape(-1)]
    assert within_4_errors_of_1(np.exp(exact - upper.values))
    assert upper.mean > exact.mean()


def test_many_temperatures_agree_with_quadrature(continuous, some_images, exact):
    estimate = annealed_log_likelihood(
        continuous,
        some_images,
        key=jax.random.key(3),
        proposal=prior_like(len(some_images)),
        annealing=MANY,
    )
    assert (np.abs(estimate.values - exact) < 4 * sampling_error(estimate) + 0.02).all()
    assert (estimate.effective_sample_size > 5).all()
    assert (estimate.effective_sample_size <= 20).all()
    assert estimate.n_samples == 20
    assert np.mean(estimate.acceptance) == pytest.approx(MANY.target_acceptance, abs=0.1)


def test_bounds_enclose_the_truth_and_close_in(continuous):
    both = bracket(
        continuous,
        10,
        key=jax.random.key(4),
        propose=lambda x: prior_like(len(x)),
        annealing=MANY,
    )
    exact = continuous.posterior(both.x)[0].mean()
    assert both.lower.mean - 0.05 < exact < both.upper.mean + 0.05
    assert both.gap == pytest.approx(both.upper.mean - both.lower.mean)
    assert both.gap < 0.6


def test_a_good_proposal_needs_few_temperatures(continuous):
    """Bounds that start from Gaussians fitted to narrow posteriors meet; from wide ones don't."""
    wide = mixture_from_moments(np.ones(1), np.zeros((1, 2)), 6 * np.eye(2)[None])
    narrow = eqx.tree_at(
        lambda m: (m.prior, m.inner, m.outer),
        continuous,
        (wide, 0.05 * continuous.inner, 40 * continuous.outer),
    )

    def propose(x):
        start = jnp.zeros((len(x), 2))
        return laplace_proposal(narrow, x, start, key=jax.random.key(8), inflation=1.2)

    few = replace(MANY, n_temperatures=4)
    near = bracket(narrow, 10, key=jax.random.key(4), propose=propose, annealing=few)
    wide_ones = lambda x: prior_like(len(x), 3.0)  # noqa: E731
    far = bracket(narrow, 10, key=jax.random.key(4), propose=wide_ones, annealing=few)
    exact = narrow.posterior(near.x)[0].mean()
    assert near.lower.mean - 0.05 < exact < near.upper.mean + 0.05
    assert near.gap < 0.3
    assert far.gap > 2


def test_transition_leaves_the_tempered_posterior_as_it_is(continuous, some_images):
    """Exact samples of p(z) p(x|z)^β, from a grid, have the same moments after moving."""
    beta, n = 0.4, 20_000
    _, grid, share = continuous.posterior(some_images[:1])
    prior = np.exp(np.asarray(continuous.log_prior(jnp.asarray(grid)), np.float64))
    likelihood = share[0] / np.maximum(prior, 1e-300)
    tempered = np.where(share[0] > 0, prior * likelihood**beta, 0)
    tempered /= tempered.sum()
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(grid), n, p=tempered)
    codes = grid[chosen] + rng.uniform(-0.05, 0.05, (n, 2))
    x = jnp.broadcast_to(jnp.asarray(some_images[:1], jnp.float32), (n, 8))
    path = FromPrior(continuous, x)
    points = visit(path, jnp.asarray(codes, jnp.float32))
    move = jax.jit(
        lambda points, draws: transition(
            path,
            points,
            draws,
            jnp.float32(beta),
            jnp.full(n, 0.7),
            jnp.asarray([[[1.2, 0.0], [0.3, 0.6]], [[0.5, 0.2], [0.0, 0.9]]]),
            3,
        )
    )
    chance = jnp.full(n, jnp.nan)
    for step in range(5):
        a, b, c = jax.random.split(jax.random.key(step), 3)
        draws = Draws(
            jax.random.normal(a, (n, 2)),
            0.5 + 0.5 * jax.random.uniform(b, (n,)),
            jax.random.uniform(c, (n,)),
        )
        points, chance = move(points, draws)
    assert 0.2 < chance.mean() < 0.98
    after = np.asarray(points.codes, np.float64)
    for statistic in (lambda z: z, lambda z: z**2, lambda z: z[:, :1] * z[:, 1:], np.sin):
        values, truth = statistic(after), tempered @ statistic(grid.astype(np.float64))
        error = values.std(axis=0) / np.sqrt(n)
        assert (np.abs(values.mean(axis=0) - truth) < 4.5 * error).all()
    fresh = visit(path, points.codes)
    np.testing.assert_allclose(points.log_tilt, fresh.log_tilt, atol=1e-4)
    np.testing.assert_allclose(points.base_gradient, fresh.base_gradient, atol=1e-3)


def test_small_steps_conserve_energy(continuous, some_images):
    x = jnp.asarray(some_images, jnp.float32)
    path = FromPrior(continuous, x)
    points = visit(path, continuous.sample_prior(jax.random.key(0), 10))
    momentum = jax.random.normal(jax.random.key(1), (10, 2))
    factor = jnp.asarray([[[1.2, 0.0], [0.9, 0.6]]])
    _, chance = transition(
        path,
        points,
        Draws(momentum, jnp.ones(10), jnp.zeros(10)),
        jnp.float32(0.5),
        jnp.full(10, 0.02),
        factor,
        60,
    )
    assert chance.min() > 0.98


def test_temperatures():
    beta = Annealing(n_temperatures=10).inverse_temperatures
    assert (beta[0], beta[-1], len(beta)) == (0, 1, 11)
    assert (np.diff(beta) > 0).all()
    np.testing.assert_allclose(beta + beta[::-1], 1)


def test_simulated_images_follow_their_logits(continuous):
    x, codes = simulate(continuous, jax.random.key(6), 5000)
    expected = np.asarray(jax.nn.sigmoid(continuous.decode(codes))).mean(0)
    np.testing.assert_allclose(x.mean(0), expected, atol=0.03)


def test_same_key_same_bits_whatever_the_blocks(continuous, some_images):
    seen = []
    a, b = (
        annealed_log_likelihood(
            continuous,
            some_images,
            key=jax.random.key(7),
            proposal=off_proposal(10, False),
            annealing=SMALL,
            on_block=lambda done, total: seen.append((done, total)),
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(a.values, b.values)
    assert seen == [(4, 10), (8, 10), (10, 10)] * 2
    whole = annealed_log_likelihood(
        continuous,
        some_images,
        key=jax.random.key(7),
        proposal=off_proposal(10, False),
        annealing=replace(SMALL, image_block=10),
    )
    np.testing.assert_allclose(whole.values, a.values, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_temperatures": 0}, "n_temperatures must be above 0; received 0"),
        ({"n_chains": 0}, "n_chains"),
        ({"target_acceptance": 1.0}, r"between 0 and 1; received 1\.0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        Annealing(**options)


def test_bad_input(continuous, some_images):
    with pytest.raises(DataError, match="one code an image; received 3 for 10"):
        annealed_log_likelihood(
            continuous,
            some_images,
            codes=jnp.zeros((3, 2)),
            key=jax.random.key(0),
            proposal=off_proposal(10, True),
        )
    with pytest.raises(DataError, match="leading axis of 10 images; received"):
        annealed_log_likelihood(
            continuous, some_images, key=jax.random.key(0), proposal=off_proposal(3, True)
        )
    broken = eqx.tree_at(lambda m: m.outer, continuous, continuous.outer * jnp.nan)
    with pytest.raises(DivergenceError, match="not finite"):
        annealed_log_likelihood(
            broken,
            some_images,
            key=jax.random.key(0),
            proposal=off_proposal(10, True),
            annealing=SMALL,
        )

"""Annealed importance sampling, forward and backward, against quadrature."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from budget import later
from gncn.base.errors import ConfigError, DataError, DivergenceError
from gncn.evaluation.annealing import (
    Annealing,
    Bracket,
    annealed_log_likelihood,
    bracket,
    simulate,
    transition,
    visit,
)
from gncn.evaluation.likelihood import Weighing, image_keys
from gncn.evaluation.mixture import mixture_from_moments
from gncn.evaluation.proposals import Proposal, Proposer
from weighted import gaussians

FEW = Annealing(n_temperatures=8, n_chains=1, n_leapfrog=3, step_size=0.6)
SMALL = Annealing(n_temperatures=3, n_chains=2, n_leapfrog=2)
MANY = Annealing(
    n_temperatures=150, n_chains=20, n_leapfrog=3, step_size=0.5, target_acceptance=0.5
)
TIMES = 1000


def off_proposal(n: int, several: bool) -> Proposal:
    """Proposals that are well off the posteriors, another for every image.

    One Gaussian, or two and a share of the prior.
    """
    means = np.stack([np.sin(np.arange(n)), np.cos(np.arange(n))], axis=1)
    factor = np.array([[1.4, 0.0], [0.5, 1.5]])
    if not several:
        return gaussians(means, np.broadcast_to(factor, (n, 2, 2)))
    means = np.stack([means, -means], axis=1)
    factors = np.broadcast_to(np.stack([factor, 0.9 * factor.T]), (n, 2, 2, 2))
    return gaussians(means, factors, [0.3, 0.7], 0.2)


def prior_like(n: int) -> Proposal:
    """Proposals that know nothing of the images, as wide as the prior."""
    return gaussians(np.zeros((n, 2)), np.tile(1.8 * np.eye(2), (n, 1, 1)))


def within_4_errors_of_1(ratio: np.ndarray) -> bool:
    error = ratio.std(axis=-1, ddof=1) / np.sqrt(ratio.shape[-1])
    return bool((np.abs(ratio.mean(axis=-1) - 1) < 4 * error).all())


def enclosed(exact: np.ndarray, both: Bracket) -> bool:
    """Whether means lie on their sides of the truth, within 4 standard errors.

    Image by image the truth is subtracted, so the error is of the chains alone.
    """
    gaps = np.stack([exact - both.lower.values, both.upper.values - exact])
    error = gaps.std(axis=1, ddof=1) / np.sqrt(gaps.shape[1])
    return bool((gaps.mean(axis=1) > -4 * error).all())


@pytest.fixture(scope="module")
def exact(continuous, some_images) -> np.ndarray:
    return continuous.posterior(some_images)[0]


@pytest.mark.parametrize(
    ("n_temperatures", "several"),
    [later(1, False), (8, True), later(1, True), later(8, False)],
)
def test_forward_weights_are_unbiased(
    continuous, some_images, exact, n_temperatures, several, images_at_once
):
    images_at_once(10_000)
    annealing = Annealing(
        n_temperatures=n_temperatures,
        n_chains=1,
        n_leapfrog=3,
        step_size=0.6,
    )
    x = np.repeat(some_images, TIMES, axis=0)
    proposal = off_proposal(len(x), several)
    estimate = annealed_log_likelihood(
        continuous, x, key=jax.random.key(0), proposal=proposal, annealing=annealing
    )
    ratio = np.exp(estimate.values.reshape(10, TIMES) - exact[:, None])
    assert within_4_errors_of_1(ratio)
    assert within_4_errors_of_1(ratio.reshape(-1))
    assert estimate.mean < exact.mean()


@pytest.mark.slow
def test_reverse_weights_are_unbiased(continuous, images_at_once):
    """E[1/w] = 1/p(x), averaged over simulated images and their exact posterior samples."""
    images_at_once(10_000)
    x, codes = simulate(continuous, jax.random.key(1), 10_000)
    upper = annealed_log_likelihood(
        continuous,
        x,
        codes=codes,
        key=jax.random.key(2),
        proposal=off_proposal(len(x), True),
        annealing=FEW,
    )
    distinct, inverse = np.unique(x, axis=0, return_inverse=True)
    exact = continuous.posterior(distinct)[0][inverse.reshape(-1)]
    assert within_4_errors_of_1(np.exp(exact - upper.values))
    assert upper.mean > exact.mean()


@pytest.mark.slow
def test_many_temperatures_agree_with_quadrature(continuous, some_images, exact):
    estimate = annealed_log_likelihood(
        continuous,
        some_images,
        key=jax.random.key(3),
        proposal=prior_like(len(some_images)),
        annealing=MANY,
    )
    assert (np.abs(estimate.values - exact) < 4 * estimate.sampling_error + 0.02).all()
    assert (estimate.effective_sample_size > 5).all()
    assert (estimate.effective_sample_size <= 20).all()
    assert estimate.n_samples == 20
    assert np.mean(estimate.acceptance) == pytest.approx(MANY.target_acceptance, abs=0.1)


@pytest.mark.slow
def test_bounds_enclose_the_truth_and_close_in(continuous, images_at_once):
    images_at_once(10)
    x, codes = simulate(continuous, jax.random.key(9), 40)
    both = bracket(
        continuous, x, codes, key=jax.random.key(4), proposal=prior_like(40), annealing=MANY
    )
    assert enclosed(continuous.posterior(x)[0], both)
    np.testing.assert_allclose(both.gaps, both.upper.values - both.lower.values)
    assert both.gaps.mean() < 0.6


@pytest.mark.slow
def test_a_good_proposal_needs_few_temperatures(continuous):
    """Bounds that start from Gaussians fitted to narrow posteriors meet; from wide ones don't."""
    wide = mixture_from_moments(np.ones(1), np.zeros((1, 2)), 6 * np.eye(2)[None])
    narrow = eqx.tree_at(
        lambda m: (m.prior, m.decoder.inner, m.decoder.outer),
        continuous,
        (wide, 0.05 * continuous.decoder.inner, 40 * continuous.decoder.outer),
    )

    x, codes = simulate(narrow, jax.random.key(9), 10)
    few = replace(MANY, n_temperatures=4)
    propose = Proposer(narrow, jax.random.key(8), n_modes=2, inflation=1.2)
    wide_ones = gaussians(np.zeros((10, 2)), np.tile(3.0 * np.eye(2), (10, 1, 1)))
    near, far = (
        bracket(narrow, x, codes, key=jax.random.key(4), proposal=one, annealing=few)
        for one in (propose(x, np.zeros((10, 2))), wide_ones)
    )
    assert enclosed(narrow.posterior(x)[0], near)
    assert near.gaps.mean() < 0.3
    assert far.gaps.mean() > 1.5


def test_transition_leaves_the_tempered_posterior_as_it_is(continuous, some_images):
    """Exact samples of q_m(z) w(z)^β, from a grid, have the same moments after moving."""
    beta, n = 0.4, 10_000
    x = some_images[:2]
    _, grid, share = continuous.posterior(x)
    proposal = off_proposal(2, True)
    images = Weighing(continuous, jnp.asarray(x, jnp.float32), proposal)
    whole = jnp.tile(jnp.asarray(grid), (2, 1))
    terms = np.asarray(images.grouped(images.see(whole).terms), np.float64)
    log_q = np.logaddexp.reduce(terms, axis=2)
    log_weight = np.log(np.maximum(share, 1e-300)) - log_q
    term = [1, 2]  # the first image's chains belong to a Gaussian, the second's to the prior
    own = np.stack([terms[image, :, m] for image, m in enumerate(term)])
    tempered = np.exp(own + beta * log_weight)
    tempered /= tempered.sum(axis=1, keepdims=True)
    rng = np.random.default_rng(0)
    chosen = np.concatenate([rng.choice(len(grid), n, p=row) for row in tempered])
    codes = grid[chosen] + rng.uniform(-0.05, 0.05, (2 * n, 2))
    of_chains = jnp.repeat(jnp.asarray(term), n)
    points = visit(images, jnp.asarray(codes, jnp.float32), of_chains)
    move = eqx.filter_jit(transition)
    chance = jnp.full(2 * n, jnp.nan)
    for step in range(5):
        keys = image_keys(jax.random.key(step), np.arange(2))
        number = jnp.asarray(step)
        points, chance = move(
            images, points, keys, number, jnp.float32(beta), jnp.full(2 * n, 0.7), 3
        )
    assert 0.2 < chance.mean() < 0.98
    moved = np.asarray(points.codes, np.float64).reshape(2, n, 2)
    for after, truth in zip(moved, tempered, strict=True):
        for statistic in (lambda z: z, lambda z: z**2, lambda z: z[:, :1] * z[:, 1:], np.sin):
            values, expected = statistic(after), truth @ statistic(grid.astype(np.float64))
            error = values.std(axis=0) / np.sqrt(n)
            assert (np.abs(values.mean(axis=0) - expected) < 4.5 * error).all()
    fresh = visit(images, points.codes, of_chains)
    np.testing.assert_array_equal(points.term, of_chains)
    np.testing.assert_allclose(points.log_weight, fresh.log_weight, atol=1e-4)


def test_densities_of_points_are_those_of_the_terms(continuous, some_images):
    proposal = off_proposal(3, True)
    images = Weighing(continuous, jnp.asarray(some_images[:3], jnp.float32), proposal)
    codes = continuous.prior.sample(jax.random.key(0), 9)
    term = jnp.asarray([0, 1, 2] * 3)
    points = visit(images, codes, term)
    seen = images.see(codes)
    np.testing.assert_array_equal(points.log_proposal, seen.terms[np.arange(9), term])
    np.testing.assert_allclose(points.log_weight, seen.log_weight, rtol=1e-5)


def test_near_a_peak_the_priors_force_is_its_gradient(one_component, some_images):
    """Everywhere, if it has one component; at the peak with any number, see below."""
    proposal = Proposer(one_component, jax.random.key(0), n_modes=2)(some_images, np.zeros((10, 2)))
    places = jax.random.normal(jax.random.key(1), (10, 6, 2))
    term = jnp.tile(jnp.asarray([0, 1, 2]), (10, 2))  # the prior's borrows the likeliest Gaussian
    codes = proposal.codes_at(places, term)
    np.testing.assert_allclose(proposal.places_of(codes, term), places, atol=1e-4)

    def log_prior(places):
        return jnp.sum(one_component.log_prior(proposal.codes_at(places, term).reshape(-1, 2)))

    force = proposal.prior_force(places, term)
    np.testing.assert_allclose(force, jax.grad(log_prior)(places), rtol=1e-3, atol=1e-4)


def test_at_a_peak_the_priors_force_is_its_gradient(continuous, some_images):
    proposal = Proposer(continuous, jax.random.key(0), n_modes=3)(some_images, np.zeros((10, 2)))
    places, term = jnp.zeros((10, 3, 2)), jnp.tile(jnp.arange(3), (10, 1))

    def log_prior(places):
        return jnp.sum(continuous.log_prior(proposal.codes_at(places, term).reshape(-1, 2)))

    force = proposal.prior_force(places, term)
    assert np.abs(force).max() > 0.1
    np.testing.assert_allclose(force, jax.grad(log_prior)(places), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("beta", "of_prior"), [(0.0, False), (0.5, False), (1.0, False), (0.0, True)]
)
def test_small_steps_conserve_energy(one_component, some_images, beta, of_prior):
    """If orbits follow the gradient of p_β, which they do with a prior of one component.

    Chains of the prior's term leave it above β = 0, since that term's share of q varies.
    """
    propose = Proposer(one_component, jax.random.key(0), n_modes=1)
    images = Weighing(
        one_component,
        jnp.asarray(some_images, jnp.float32),
        propose(some_images, np.zeros((10, 2))),
    )
    codes, _ = images.sample(jax.random.split(jax.random.key(3), 10), 1)
    points = visit(images, codes, jnp.full(10, int(of_prior)))
    keys = image_keys(jax.random.key(1), np.arange(10))
    number, steps = jnp.asarray(0), jnp.full(10, 0.02)
    chance = transition(images, points, keys, number, jnp.float32(beta), steps, 60)[1]
    assert np.median(chance) > 0.98


def test_temperatures():
    beta = Annealing(n_temperatures=10).inverse_temperatures
    assert (beta[0], beta[-1], len(beta)) == (0, 1, 11)
    assert (np.diff(beta) > 0).all()
    np.testing.assert_allclose(beta + beta[::-1], 1)


def test_simulated_images_follow_their_logits(continuous):
    x, codes = simulate(continuous, jax.random.key(6), 5000)
    expected = np.asarray(jax.nn.sigmoid(continuous.decode(codes))).mean(0)
    np.testing.assert_allclose(x.mean(0), expected, atol=0.03)


@pytest.mark.slow
def test_same_key_same_bits_whatever_the_blocks(continuous, some_images, images_at_once):
    images_at_once(4)
    seen = []
    a, b = (
        annealed_log_likelihood(
            continuous,
            some_images,
            key=jax.random.key(7),
            proposal=off_proposal(10, True),
            annealing=SMALL,
            on_block=lambda done, total: seen.append((done, total)),
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(a.values, b.values)
    assert seen == [(4, 10), (8, 10), (10, 10)] * 2
    images_at_once(10)
    whole = annealed_log_likelihood(
        continuous,
        some_images,
        key=jax.random.key(7),
        proposal=off_proposal(10, True),
        annealing=SMALL,
    )
    np.testing.assert_allclose(whole.values, a.values, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_temperatures": 0}, "n_temperatures must be at least 1; received 0"),
        ({"n_chains": 0}, "n_chains"),
        ({"target_acceptance": 1.0}, r"between 0 and 1; received 1\.0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        Annealing(**options)


def test_each_image_that_was_simulated_has_one_code(continuous, some_images):
    with pytest.raises(DataError, match="one code an image; received 3 for 10"):
        annealed_log_likelihood(
            continuous,
            some_images,
            codes=jnp.zeros((3, 2)),
            key=jax.random.key(0),
            proposal=off_proposal(10, True),
        )


@pytest.mark.slow
def test_bad_input(continuous, some_images):
    with pytest.raises(DataError, match="leading axis of 10 images; received"):
        annealed_log_likelihood(
            continuous,
            some_images,
            key=jax.random.key(0),
            proposal=off_proposal(3, True),
        )
    broken = eqx.tree_at(lambda m: m.decoder.outer, continuous, continuous.decoder.outer * jnp.nan)
    with pytest.raises(DivergenceError, match="not finite"):
        annealed_log_likelihood(
            broken,
            some_images,
            key=jax.random.key(0),
            proposal=off_proposal(10, True),
            annealing=SMALL,
        )

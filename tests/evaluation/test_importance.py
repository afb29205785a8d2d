"""Importance sampling against quadrature."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float
from scipy.stats import multivariate_normal

import gncn
from budget import later
from gncn.base.errors import ConfigError, DataError, DivergenceError
from gncn.evaluation.images import log_likelihood
from gncn.evaluation.likelihood import (
    WeightedEstimate,
    importance_log_likelihood,
    prior_log_likelihood,
)
from gncn.evaluation.mixture import mixture_from_moments
from gncn.evaluation.peaks import Peaks, climb, find_peaks
from gncn.evaluation.pixels import GaussianPixels, output_of
from gncn.evaluation.proposals import Proposal, Proposer
from gncn.evaluation.protocols import Decoder, Prior, StandardNormal, WithPrior
from gncn.evaluation.recall import EmpiricalPrior
from gncn.measures.models import Generator
from weighted import gaussians, repeated


@pytest.fixture(scope="module")
def exact(continuous, some_images) -> np.ndarray:
    return continuous.posterior(some_images)[0]


@pytest.fixture(scope="module")
def matched(continuous, some_images) -> Proposal:
    """Gaussians at the posteriors' means, wider than any component of the prior."""
    _, grid, share = continuous.posterior(some_images)
    covariances = np.stack([np.cov(grid.T, aweights=row) + 1.7 * np.eye(2) for row in share])
    return gaussians(share @ grid, np.linalg.cholesky(covariances))


def unbiased(values: np.ndarray, exact: np.ndarray) -> bool:
    """Whether exp(values) averages to exp(exact), within 4 standard errors."""
    ratio = np.exp(values.astype(np.float64).reshape(len(exact), -1) - exact[:, None])
    error = ratio.std(axis=1, ddof=1) / np.sqrt(ratio.shape[1])
    return bool((np.abs(ratio.mean(axis=1) - 1) < 4 * error).all())


def test_model_is_what_the_tests_think(continuous, exact, some_images):
    assert isinstance(continuous.decoder, Decoder)
    assert isinstance(continuous.prior, Prior)
    side = np.array(np.meshgrid(*[[0, 1]] * 8)).reshape(8, -1).T
    np.testing.assert_allclose(np.exp(continuous.posterior(side)[0]).sum(), 1, rtol=1e-4)
    monte_carlo = prior_log_likelihood(
        continuous, some_images, key=jax.random.key(0), n_samples=20_000
    )
    np.testing.assert_allclose(monte_carlo.values[0, 0], exact, atol=0.1)


@pytest.mark.parametrize("n_samples", [1, 7, 120])
def test_weights_are_unbiased_for_every_s(
    continuous, matched, some_images, exact, n_samples, images_at_once
):
    images_at_once(1000)
    times = 400
    estimate = importance_log_likelihood(
        continuous,
        repeated(matched, times),
        np.repeat(some_images, times, axis=0),
        key=jax.random.key(1),
        n_samples=n_samples,
    )
    assert unbiased(estimate.values, exact)
    assert estimate.mean < exact.mean()


def test_agrees_with_quadrature(continuous, matched, some_images, exact):
    estimate = importance_log_likelihood(
        continuous, matched, some_images, key=jax.random.key(2), n_samples=5000
    )
    assert (np.abs(estimate.values - exact) < 4 * estimate.sampling_error).all()
    assert (estimate.effective_sample_size > 1000).all()
    assert (estimate.effective_sample_size <= 5000).all()


def test_a_poor_proposal_shows_in_the_effective_sample_size(continuous, matched, some_images):
    off = gaussians(matched.means[:, 0] + 4, 0.3 * matched.factors[:, 0])
    estimate = importance_log_likelihood(
        continuous, off, some_images, key=jax.random.key(4), n_samples=500
    )
    assert np.median(estimate.effective_sample_size) < 20


def test_one_sample_has_effective_size_one(continuous, matched, some_images):
    estimate = importance_log_likelihood(
        continuous, matched, some_images, key=jax.random.key(5), n_samples=1
    )
    np.testing.assert_array_equal(estimate.effective_sample_size, 1)


@pytest.mark.parametrize("image_block", [later(1), 3, later(10), later(99)])
def test_blocks_change_nothing(continuous, matched, some_images, image_block, images_at_once):
    seen = []
    found = []
    for block in (10, image_block):
        images_at_once(block)
        found.append(
            importance_log_likelihood(
                continuous,
                matched,
                some_images,
                key=jax.random.key(6),
                n_samples=70,
                on_block=lambda done, total: seen.append((done, total)),
            )
        )
    whole, cut = found
    np.testing.assert_allclose(cut.values, whole.values, atol=1e-5)
    assert seen[-1] == (10, 10)


@pytest.fixture(scope="module")
def several() -> Proposal:
    """Two images' proposals: two Gaussians each, and a share of the prior."""
    means = np.array([[[1.0, -2.0], [0.0, 3.0]], [[-1.0, 0.5], [2.0, 2.0]]])
    factors = np.array([[[1.0, 0.0], [0.8, 0.5]], [[0.4, 0.0], [-0.1, 0.7]]])
    weights = [[0.3, 0.7], [0.6, 0.4]]
    return gaussians(means, np.stack([factors, factors[::-1]]), weights, 0.25)


def test_densities_of_a_proposal_are_scipys(several):
    z = np.random.default_rng(0).normal(size=(2, 9, 2)).astype(np.float32)
    found = several.log_gaussians(jnp.asarray(z))
    for image, mode in np.ndindex(2, 2):
        factor = np.asarray(several.factors[image, mode], np.float64)
        mean = np.asarray(several.means[image, mode])
        exact = multivariate_normal(mean, factor @ factor.T).logpdf(z[image])
        np.testing.assert_allclose(found[image, :, mode], exact, rtol=1e-4, atol=1e-4)
    shares = [[0.75 * 0.3, 0.75 * 0.7, 0.25], [0.75 * 0.6, 0.75 * 0.4, 0.25]]
    np.testing.assert_allclose(np.exp(several.log_shares), shares, rtol=1e-5)


def test_samples_of_a_proposal_have_its_shares_and_moments(continuous, several):
    n = 20_000
    keys = jax.random.split(jax.random.key(0), 2)
    codes, term = map(np.asarray, several.sample(continuous.prior, keys, n))
    for image in range(2):
        shares = np.exp(np.asarray(several.log_shares[image]))
        counts = np.bincount(term[image], minlength=3) / n
        assert (np.abs(counts - shares) < 4.5 * np.sqrt(shares * (1 - shares) / n)).all()
        for mode in range(2):
            z = codes[image][term[image] == mode].astype(np.float64)
            mean = np.asarray(several.means[image, mode])
            factor = np.asarray(several.factors[image, mode], np.float64)
            products = (z - mean)[:, :, None] * (z - mean)[:, None, :]
            error = products.std(0) / np.sqrt(len(z))
            assert (np.abs(products.mean(0) - factor @ factor.T) < 4.5 * error).all()
        drawn = codes[image][term[image] == 2]
        assert len(np.unique(drawn, axis=0)) == len(drawn)  # no sample is used twice
        fresh = np.asarray(continuous.prior.sample(jax.random.key(3), 100_000))
        for statistic in (lambda z: z, lambda z: z**2, lambda z: z[:, :1] * z[:, 1:]):
            ours, theirs = statistic(drawn.astype(float)), statistic(fresh.astype(float))
            error = np.hypot(ours.std(0) / len(ours) ** 0.5, theirs.std(0) / len(theirs) ** 0.5)
            assert (np.abs(ours.mean(0) - theirs.mean(0)) < 4.5 * error).all()
    assert not np.array_equal(codes[0], codes[1])


@pytest.mark.slow
@pytest.mark.slow
def test_the_weights_of_all_terms_are_unbiased(continuous, several, some_images, exact):
    """One sample each: a term left out, or a share that is wrong, would show."""
    times = 4000
    x = np.repeat(some_images[:2], times, axis=0)
    proposal = repeated(several, times)
    estimate = importance_log_likelihood(
        continuous, proposal, x, key=jax.random.key(5), n_samples=4
    )
    assert unbiased(estimate.values, exact[:2])


def test_a_peak_has_the_share_of_its_height_times_its_volume(continuous, some_images, patched):
    """Laplace's approximation, of peaks that are given; a fifth of the weight is even."""
    precisions = np.stack([np.diag([4.0, 1.0]), np.diag([1.0, 0.25])])
    heights, peaks = np.array([0.0, -1.0]), np.zeros((2, 2))
    parts = peaks, heights, 0.3 * precisions, 0.7 * precisions
    found = Peaks(*(jnp.asarray(one, jnp.float32)[None] for one in parts))
    patched("gncn.evaluation.proposals.find_peaks", lambda *_: found)
    proposal = Proposer(continuous, jax.random.key(0), n_modes=2, inflation=1.0)(
        some_images[:1], np.zeros((1, 2), np.float32)
    )
    mass = np.exp(heights) / np.sqrt(np.linalg.det(precisions))
    shares = 0.8 * mass / mass.sum() + 0.2 / 2
    np.testing.assert_allclose(np.exp(proposal.log_weights[0]), shares, rtol=1e-5)
    assert shares[1] > shares[0]  # the lower peak is wide enough to make up for it


def test_a_standard_error_is_that_of_the_mean_weight():
    """Relative to it, by the formula of the sample variance; one sample says nothing."""
    for n in (2, 4, 100):
        weights = np.random.default_rng(n).lognormal(size=(3, n))
        size = weights.sum(1) ** 2 / (weights**2).sum(1)
        found = WeightedEstimate(np.log(weights.mean(1)), size, n).sampling_error
        expected = weights.std(1, ddof=1) / np.sqrt(n) / weights.mean(1)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.isnan(WeightedEstimate(np.zeros(3), np.ones(3), 1).sampling_error).all()


def test_standard_errors_are_the_spread_of_repeated_runs(continuous, matched, some_images):
    """Of an image, against what 200 runs of it show."""
    times = 200
    estimate = importance_log_likelihood(
        continuous,
        repeated(matched, times),
        np.repeat(some_images, times, axis=0),
        key=jax.random.key(6),
        n_samples=300,
    )
    values, errors = (
        one.reshape(len(some_images), times) for one in (estimate.values, estimate.sampling_error)
    )
    ratio = values.std(axis=1, ddof=1) / np.sqrt(np.mean(errors**2, axis=1))
    assert (np.abs(ratio - 1) < 0.25).all()  # of 200 runs the deviation is known to 5 %


@pytest.mark.slow
def test_a_proposer_finds_peak_and_width(one_component, some_images):
    exact, grid, share = one_component.posterior(some_images)
    start = share @ grid + 0.5
    propose = Proposer(one_component, jax.random.key(7), n_modes=1, prior_share=0.0)
    proposal = propose(some_images, start)
    assert proposal.factors.shape == (10, 1, 2, 2)

    def log_joint(z):
        return jnp.sum(one_component.log_joint(jnp.asarray(some_images, jnp.float32), z))

    assert np.abs(jax.grad(log_joint)(proposal.means[:, 0])).max() < 0.1
    estimate = importance_log_likelihood(
        one_component, proposal, some_images, key=jax.random.key(8), n_samples=5000
    )
    assert (np.abs(estimate.values - exact) < 4 * estimate.sampling_error + 0.02).all()
    assert np.median(estimate.effective_sample_size) > 2500


def test_a_proposal_for_a_linear_gaussian_model_is_the_posterior():
    """x = W z + noise, of which the posterior is known: mean, covariance and inflation."""
    rng = np.random.default_rng(0)
    circuit = gncn.chain((4, 2), likelihood="gaussian", activation="identity")
    network = gncn.build(circuit, seed=0, n_settle_steps=2, weight_scale=0.6)
    weights = np.asarray(network.drive(0, {1: jnp.eye(2)}), float).T
    x = rng.normal(size=(3, 4)).astype(np.float32)
    model = WithPrior(Generator(network), StandardNormal(2))
    propose = Proposer(model, jax.random.key(0), n_modes=3, inflation=1.5)
    proposal = propose(x, rng.normal(size=(3, 2)))
    covariance = np.linalg.inv(np.eye(2) + weights.T @ weights)
    wide = 1.5**2 * covariance
    for image, mode in np.ndindex(3, 3):
        mean = covariance @ weights.T @ x[image]
        np.testing.assert_allclose(proposal.means[image, mode], mean, atol=0.02)
        factor = np.asarray(proposal.factors[image, mode], np.float64)
        np.testing.assert_allclose(factor @ factor.T, wide, rtol=1e-4)
        inverse = np.asarray(proposal.whitening[image, mode], np.float64)
        np.testing.assert_allclose(inverse @ factor, np.eye(2), atol=1e-5)
    np.testing.assert_allclose(np.exp(proposal.log_weights), 1 / 3, atol=1e-3)


class Two(eqx.Module):
    """A pixel whose logit is large at two places of the first axis, a sum of two bumps."""

    def decode(self, codes):
        return 8 * jnp.exp(-0.5 * (jnp.abs(codes[:, :1]) - 3) ** 2) - 4


def two_peaks(prior, mean=0.0):
    """The model, its white pixel, log p(x) if z_0 has the density N(mean, 9), and z_0's peaks."""
    grid = np.linspace(-20, 20, 4001)
    logits = 8 * np.exp(-0.5 * (np.abs(grid) - 3) ** 2) - 4
    density = np.exp(-0.5 * (grid - mean) ** 2 / 9) / np.sqrt(18 * np.pi)
    joint = density / (1 + np.exp(-logits))
    peaks = [grid[side][np.argmax(joint[side])] for side in (grid < 0, grid > 0)]
    exact = np.log(np.sum(joint) * 0.01)
    return WithPrior(Two(), prior), np.ones((1, 1), np.uint8), exact, np.array(peaks)


def test_vectors_are_scaled_by_their_terms_factors(several):
    """By C and by C^T; the prior's term borrows the likeliest Gaussian's."""
    vectors = np.random.default_rng(1).normal(size=(2, 3, 2)).astype(np.float32)
    term = np.array([[0, 1, 2], [1, 2, 0]])
    factors = np.asarray(several.factors)
    scaled = several.scaled(jnp.asarray(vectors), jnp.asarray(term))
    turned = several.scaled(jnp.asarray(vectors), jnp.asarray(term), transposed=True)
    for image, n in np.ndindex(2, 3):
        best = np.argmax(several.log_weights[image])
        factor = factors[image, best if term[image, n] == 2 else term[image, n]]
        np.testing.assert_allclose(scaled[image, n], factor @ vectors[image, n], rtol=1e-5)
        np.testing.assert_allclose(turned[image, n], factor.T @ vectors[image, n], rtol=1e-5)


def test_without_the_prior_the_gaussians_share_all_weight(several):
    alone = several.without_prior()
    shares = np.exp(alone.log_shares)
    np.testing.assert_allclose(shares[:, :-1], np.exp(several.log_weights), rtol=1e-6)
    assert (shares[:, -1] == 0).all()
    assert (np.exp(several.log_shares)[:, -1] > 0).all()


@pytest.mark.parametrize(("n_modes", "share"), [(6, 0.0), later(6, 0.05), later(1, 0.3)])
def test_no_peak_is_missed(n_modes, share):
    """One code starts at one of two peaks; all of p(x) is found, and not half of it."""
    wide = mixture_from_moments(np.ones(1), np.zeros((1, 1)), 9 * np.eye(1)[None])
    model, x, exact, _ = two_peaks(wide)
    start = np.full((1, 1), 2.8)
    propose = Proposer(model, jax.random.key(0), n_modes=n_modes, prior_share=share)
    estimate = importance_log_likelihood(
        model, propose(x, start), x, key=jax.random.key(1), n_samples=1500
    )
    assert estimate.values[0] == pytest.approx(exact, abs=4 * estimate.sampling_error[0])
    assert estimate.sampling_error[0] < 0.05
    if n_modes > 1:
        assert np.ptp(np.sign(propose(x, start).means)) == 2
    blind = Proposer(model, jax.random.key(0), n_modes=1, prior_share=0.0)(x, start)
    missed = importance_log_likelihood(model, blind, x, key=jax.random.key(1), n_samples=2000)
    assert missed.values[0] < exact - 0.4


@pytest.mark.parametrize(
    ("dim", "n_components", "mean"),
    [(60, 1, 0.0), (1, 8, 0.3), later(1, 1, 0.3), later(30, 8, 0.0), later(2, 65, 0.5)],
)
def test_no_peak_is_missed_in_many_dimensions_or_by_many_climbs(dim, n_components, mean):
    """Two peaks that differ along one axis of many, or in height; components on one another."""
    covariance = np.diag([9.0, *np.ones(dim - 1)])
    means = np.zeros((n_components, dim))
    means[:, 0] = mean + np.linspace(-0.01, 0.01, n_components) * (n_components > 1)
    prior = mixture_from_moments(
        np.ones(n_components), means, np.tile(covariance, (n_components, 1, 1))
    )
    model, x, exact, peaks = two_peaks(prior, mean)
    propose = Proposer(model, jax.random.key(0), n_modes=2, prior_share=0.0)
    proposal = propose(x, np.full((1, dim), 2.8))
    np.testing.assert_allclose(np.sort(proposal.means[0, :, 0]), peaks, atol=0.05)
    np.testing.assert_allclose(proposal.means[0, :, 1:], 0, atol=0.05)
    estimate = importance_log_likelihood(model, proposal, x, key=jax.random.key(1), n_samples=4000)
    error = 4 * estimate.sampling_error[0] + 0.01
    assert estimate.values[0] == pytest.approx(exact, abs=error)


class Exact(eqx.Module):
    """Pixels that are codes, but for a factor, and Gaussian noise of deviation 1."""

    sharpness: float
    output: GaussianPixels

    def decode(self, codes):
        return self.sharpness * codes


def exactly(sharpness: float, dim: int) -> Exact:
    network = gncn.build(gncn.chain((dim, 2), likelihood="gaussian"), seed=0, n_settle_steps=2)
    return Exact(sharpness, output_of(Generator(network)))


@pytest.mark.parametrize("sharpness", [0.3, 3.0, 30.0])
@pytest.mark.parametrize("away", [0.2, 1.0, 3.0])
def test_the_peak_of_largest_mass_is_found(sharpness, away):
    """One narrow component and two wide ones, whose masses are known."""
    dim, means = 4, np.zeros((3, 4))
    means[1, 0], means[2, 0] = away, 2 * away
    sd = np.array([0.1, 3.0, 1.0])
    covariances = sd[:, None, None] ** 2 * np.eye(dim)
    model = WithPrior(exactly(sharpness, dim), mixture_from_moments(np.ones(3), means, covariances))
    x = np.zeros((1, dim), np.float32)
    x[0, 0] = sharpness * away
    noise = np.eye(dim) + sharpness**2 * covariances
    masses = [
        multivariate_normal(sharpness * m, c).logpdf(x[0])
        for m, c in zip(means, noise, strict=True)
    ]
    best = int(np.argmax(masses))
    posterior = np.linalg.inv(np.linalg.inv(covariances[best]) + sharpness**2 * np.eye(dim))
    mean = posterior @ (means[best] / sd[best] ** 2 + sharpness * x[0])
    proposal = Proposer(model, jax.random.key(0), n_modes=1, inflation=1.0)(x, mean[None] + 0.1)
    width = np.sqrt(posterior[0, 0])
    np.testing.assert_allclose(proposal.means[0, 0], mean, atol=0.6 * width)  # others bend it
    factor = np.asarray(proposal.factors[0, 0], float)
    np.testing.assert_allclose(factor @ factor.T, posterior, rtol=0.05)


@pytest.mark.parametrize("n_modes", [1, 4])
def test_nested_components_hide_no_peak(n_modes):
    """A wide, a usual and a narrow component, whose climbs end on the slopes of one another."""
    sd, means = np.array([100.0, 1.0, 0.01]), np.zeros((3, 10))
    means[1, 0], means[2, 0] = np.sqrt(40), -np.sqrt(60)
    covariances = sd[:, None, None] ** 2 * np.eye(10)
    model = WithPrior(exactly(1.0, 10), mixture_from_moments(np.ones(3), means, covariances))
    x = np.zeros((1, 10), np.float32)
    propose = Proposer(model, jax.random.key(0), n_modes=n_modes)
    proposal = propose(x, np.zeros((1, 10)))
    # The second component has all of the mass but e^-16.
    nearest = np.abs(np.asarray(proposal.means[0]) - means[1] / 2).max(1).min()
    assert nearest < 0.1


class Turned(eqx.Module):
    """As `Exact`, with a matrix instead of the factor."""

    weights: Float[Array, "pixels dim"]
    output: GaussianPixels

    def decode(self, codes):
        return codes @ self.weights.T


@pytest.mark.parametrize(("dim", "largest"), [(60, 30.0), later(200, 10.0)])
def test_a_peak_that_is_hard_to_climb_is_found_once(dim, largest):
    """A linear Gaussian model whose axes are turned, and much narrower one way than another."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(dim, dim)))[0] for _ in range(2))
    weights = (left * np.geomspace(0.1, largest, dim)) @ right
    model = WithPrior(
        Turned(jnp.asarray(weights, jnp.float32), exactly(1.0, dim).output), StandardNormal(dim)
    )
    x = (weights @ rng.normal(size=dim) + rng.normal(size=dim))[None].astype(np.float32)
    precision = np.eye(dim) + weights.T @ weights
    peak = np.linalg.solve(precision, weights.T @ x[0])
    search = Proposer(model, jax.random.key(0)).search
    found = find_peaks(
        search, jnp.asarray(x), climb(search, jnp.asarray(x), jnp.zeros((1, dim))), 4
    )
    away = np.asarray(found.codes[0], float) - peak
    assert np.einsum("nd,de,ne->n", away, precision, away).max() < 0.1


def test_inflation_costs_little_whatever_the_number_of_dimensions():
    """KL of N(0, I) from N(0, s² I), in nats, where s is the usual one."""
    for dim in (1, 20, 360):
        model = WithPrior(exactly(1.0, dim), StandardNormal(dim))
        s = Proposer(model, jax.random.key(0)).inflation
        assert 0.1 < dim * (np.log(s) + 0.5 / s**2 - 0.5) < 0.2


def test_proposals_of_an_image_depend_on_it_alone(continuous, some_images):
    propose = Proposer(continuous, jax.random.key(0))
    whole = propose(some_images, np.zeros((10, 2)))
    rest = propose(some_images[6:], np.zeros((4, 2)))
    for all_, some in zip(jax.tree.leaves(whole), jax.tree.leaves(rest), strict=True):
        np.testing.assert_allclose(all_[6:], some, rtol=1e-3, atol=5e-3)


def test_with_prior_joins_a_decoder_and_a_prior(continuous, some_images):
    z = continuous.prior.sample(jax.random.key(10), 10)
    x = jnp.asarray(some_images, jnp.float32)
    logits = continuous.decode(z)
    np.testing.assert_array_equal(logits, continuous.decoder.decode(z))
    joint = continuous.prior.log_prob(z) + log_likelihood(x, logits)
    np.testing.assert_allclose(continuous.log_joint(x, z), joint, rtol=1e-6)
    without_density = WithPrior(continuous.decoder, EmpiricalPrior(z))
    with pytest.raises(AssertionError, match="no density"):
        without_density.log_joint(x, z)


def test_bad_input(continuous, matched, some_images):
    key = jax.random.key(0)
    with pytest.raises(ConfigError, match="n_samples must be at least 1; received 0"):
        importance_log_likelihood(continuous, matched, some_images, key=key, n_samples=0)
    with pytest.raises(DataError, match=r"leading axis of 4 images; received .* \[10\]"):
        importance_log_likelihood(continuous, matched, some_images[:4], key=key)
    for n, received in ((3, "3, 10"), (20, "10, 20")):  # JAX would repeat the last row in silence
        cut = eqx.tree_at(lambda q: q.factors, matched, jnp.resize(matched.factors, (n, 1, 2, 2)))
        with pytest.raises(DataError, match=rf"received leading axes of \[{received}\]"):
            importance_log_likelihood(continuous, cut, some_images, key=key)
    for shape in ((3, 2), (10, 1)):
        with pytest.raises(DataError, match=re.escape(f"codes of shape {shape}")):
            Proposer(continuous, key)(some_images, np.zeros(shape))
    with pytest.raises(ConfigError, match="n_modes must be at most 64; received 65"):
        Proposer(continuous, key, n_modes=65)
    for wrong in ({"n_modes": 0}, {"inflation": 0.0}, {"prior_share": 1.0}, {"prior_share": -0.1}):
        with pytest.raises(ConfigError, match=rf"{next(iter(wrong))} must be"):
            Proposer(continuous, key, **wrong)
    broken = eqx.tree_at(lambda m: m.decoder.outer, continuous, continuous.decoder.outer * jnp.nan)
    with pytest.raises(DivergenceError, match="not finite"):
        importance_log_likelihood(broken, matched, some_images, key=key)
    with pytest.raises(DivergenceError, match="not finite"):
        Proposer(broken, key)(some_images, np.zeros((10, 2)))

"""Importance sampling against quadrature."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from weighted import covariances, sampling_error

import gncn.evaluation.proposals
from budget import later
from gncn.base.errors import ConfigError, DataError, DivergenceError
from gncn.evaluation.images import log_likelihood
from gncn.evaluation.likelihood import importance_log_likelihood, prior_log_likelihood
from gncn.evaluation.mixture import mixture_from_moments
from gncn.evaluation.proposals import GaussianProposal, laplace_proposal
from gncn.evaluation.protocols import Decoder, Prior, WithPrior
from gncn.evaluation.recall import EmpiricalPrior


@pytest.fixture(scope="module")
def exact(continuous, some_images) -> np.ndarray:
    return continuous.posterior(some_images)[0]


@pytest.fixture(scope="module")
def matched(continuous, some_images) -> GaussianProposal:
    """Gaussians at the posteriors' means, wider than any component of the prior."""
    _, grid, share = continuous.posterior(some_images)
    covariances = np.stack([np.cov(grid.T, aweights=row) + 1.7 * np.eye(2) for row in share])
    return GaussianProposal(
        jnp.asarray(share @ grid, jnp.float32),
        jnp.asarray(np.linalg.cholesky(covariances), jnp.float32),
    )


@pytest.fixture(scope="module")
def one_component(continuous):
    """The same model with the first component of its prior alone, hence one peak."""
    prior = continuous.prior
    return eqx.tree_at(
        lambda m: (m.prior.logits, m.prior.means, m.prior.whitening),
        continuous,
        tuple(leaf[:1] for leaf in (prior.logits, prior.means, prior.whitening)),
    )


def repeated(proposal: GaussianProposal, times: int) -> GaussianProposal:
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, times, axis=0), proposal)


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
    assert (np.abs(estimate.values - exact) < 4 * sampling_error(estimate)).all()
    assert (estimate.effective_sample_size > 1000).all()
    assert (estimate.effective_sample_size <= 5000).all()


def test_standard_deviations_alone_will_do(continuous, matched, some_images, exact):
    wide = GaussianProposal(matched.mean, jnp.full(matched.mean.shape, 1.5))
    estimate = importance_log_likelihood(
        continuous, wide, some_images, key=jax.random.key(3), n_samples=5000
    )
    assert (np.abs(estimate.values - exact) < 4 * sampling_error(estimate) + 0.01).all()


def test_a_poor_proposal_shows_in_the_effective_sample_size(continuous, matched, some_images):
    off = GaussianProposal(matched.mean + 4, 0.3 * matched.factor)
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


def test_gaussian_proposal_is_scipys_gaussian():
    factor = np.array([[1.0, 0.0], [0.8, 0.5]], np.float32)
    mean = np.array([1.0, -2.0], np.float32)
    proposal = GaussianProposal(jnp.asarray(mean), jnp.asarray(factor))
    z = np.asarray(proposal.sample(jax.random.key(0), 20_000), np.float64)
    products = (z - mean)[:, :, None] * (z - mean)[:, None, :]
    error = products.std(0) / np.sqrt(len(z))
    assert (np.abs(products.mean(0) - factor @ factor.T) < 4.5 * error).all()
    exact = multivariate_normal(mean, factor @ factor.T).logpdf(z[:9])
    np.testing.assert_allclose(proposal.log_prob(jnp.asarray(z[:9])), exact, rtol=1e-4, atol=1e-4)
    diagonal = GaussianProposal(jnp.asarray(mean), jnp.asarray([0.5, 2.0]))
    exact = multivariate_normal(mean, np.diag([0.25, 4])).logpdf(z[:9])
    np.testing.assert_allclose(diagonal.log_prob(jnp.asarray(z[:9])), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_laplace_finds_peak_and_width(one_component, some_images, monkeypatch):
    monkeypatch.setattr(gncn.evaluation.proposals, "_AT_ONCE", 4)
    exact, grid, share = one_component.posterior(some_images)
    start = jnp.asarray(share @ grid + 0.5, jnp.float32)
    proposal = laplace_proposal(one_component, some_images, start, key=jax.random.key(7))
    assert proposal.factor.shape == (10, 2, 2)

    def log_joint(z):
        logits = one_component.decode(z)
        given = jnp.sum(some_images * logits - jax.nn.softplus(logits), axis=1)
        return jnp.sum(one_component.prior.log_prob(z) + given)

    assert np.abs(jax.grad(log_joint)(proposal.mean)).max() < 0.1
    estimate = importance_log_likelihood(
        one_component, proposal, some_images, key=jax.random.key(8), n_samples=5000
    )
    assert (np.abs(estimate.values - exact) < 4 * sampling_error(estimate) + 0.02).all()
    assert np.median(estimate.effective_sample_size) > 2500


def test_laplace_is_exact_for_a_gaussian_prior_and_dull_decoder(one_component, some_images):
    """With logits that ignore the code the posterior is the prior."""
    dull = eqx.tree_at(lambda m: m.decoder.outer, one_component, 0 * one_component.decoder.outer)
    proposal = laplace_proposal(
        dull, some_images[:2], jnp.zeros((2, 2)), key=jax.random.key(9), inflation=1.0
    )
    np.testing.assert_allclose(proposal.mean[0], dull.prior.means[0], atol=0.05)
    covariance = proposal.factor[0] @ proposal.factor[0].T
    expected = covariances(dull.prior)[0]
    # Never wider than prior samples look, whose covariance is known to a few percent.
    np.testing.assert_allclose(covariance, expected, rtol=0.15, atol=0.05)


def test_laplace_looks_at_the_likeliest_components(one_component, some_images):
    """A mixture of many, all but one far from the data, is as good as that one alone."""
    own = one_component.prior
    far = 100.0 * np.random.default_rng(0).choice([-1, 1], size=(12, 2))
    means = np.concatenate([far, np.asarray(own.means)])
    moments = np.concatenate([np.tile(np.eye(2), (12, 1, 1)), covariances(own)])
    # Weights that leave the width of all samples equal to the one component's.
    many = mixture_from_moments(np.array([1e-9] * 12 + [1.0]), means, moments)
    start = jnp.zeros((2, 2))
    one, other = (
        laplace_proposal(
            WithPrior(one_component.decoder, prior), some_images[:2], start, key=jax.random.key(7)
        )
        for prior in (own, many)
    )
    np.testing.assert_allclose(one.mean, other.mean, atol=0.01)
    np.testing.assert_allclose(one.factor, other.factor, rtol=0.05, atol=0.01)


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
        cut = eqx.tree_at(lambda q: q.factor, matched, jnp.resize(matched.factor, (n, 2, 2)))
        with pytest.raises(DataError, match=rf"received leading axes of \[{received}\]"):
            importance_log_likelihood(continuous, cut, some_images, key=key)
    with pytest.raises(DataError, match="one code an image"):
        laplace_proposal(continuous, some_images, jnp.zeros((3, 2)), key=key)
    broken = eqx.tree_at(lambda m: m.decoder.outer, continuous, continuous.decoder.outer * jnp.nan)
    with pytest.raises(DivergenceError, match="not finite"):
        importance_log_likelihood(broken, matched, some_images, key=key)

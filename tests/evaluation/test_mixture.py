"""The mixture's density and samples against SciPy and the moments they were built from."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

import weighted
from budget import examples, later
from gncn.base.errors import DataError
from gncn.evaluation.mixture import COVARIANCES, Mixture, Moments, mixture_from_moments
from gncn.evaluation.protocols import Prior, StandardNormal

DIM, N = 3, 4


def moments(kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(N, DIM, DIM))
    full = roots @ np.swapaxes(roots, 1, 2) + 0.1 * np.eye(DIM)
    kinds = {"full": full, "diagonal": np.diagonal(full, axis1=1, axis2=2)}
    weights = rng.dirichlet(np.full(N, 3.0))
    return weights, 4 * rng.normal(size=(N, DIM)), kinds[kind]


def as_full(kind: str, covariances: np.ndarray) -> list[np.ndarray]:
    return list(covariances) if kind == "full" else [np.diag(row) for row in covariances]


@pytest.fixture(params=COVARIANCES)
def known(request) -> tuple[Mixture, np.ndarray, np.ndarray, list[np.ndarray]]:
    weights, means, covariances = moments(request.param)
    mixture = mixture_from_moments(weights, means, covariances)
    return mixture, weights, means, as_full(request.param, covariances)


@pytest.mark.parametrize("at_once", [True, False])
def test_density_is_scipys(known, at_once, patched):
    """By one product for few codes, and component by component for many."""
    if not at_once:
        patched("gncn.evaluation.mixture._AT_ONCE", 0)
    mixture, weights, means, covariances = known
    z = np.random.default_rng(1).normal(size=(50, DIM)) * 4
    each = [multivariate_normal(m, c).logpdf(z) for m, c in zip(means, covariances, strict=True)]
    exact = np.log(np.exp(np.stack(each, 1)) @ weights)
    np.testing.assert_allclose(mixture.log_prob(jnp.asarray(z)), exact, rtol=2e-4, atol=2e-4)


def test_moments_come_back(known):
    mixture, weights, _, covariances = known
    assert mixture.covariance == ("full" if mixture.whitening.ndim == 3 else "diagonal")
    np.testing.assert_allclose(jax.nn.softmax(mixture.logits), weights, rtol=1e-5)
    np.testing.assert_allclose(
        weighted.covariances(mixture), np.stack(covariances), rtol=1e-3, atol=1e-4
    )


def test_samples_have_the_mixtures_moments(known):
    mixture, weights, means, covariances = known
    n = 20_000
    z = np.asarray(mixture.sample(jax.random.key(0), n), np.float64)
    mean = weights @ means
    spread = sum(
        w * (c + np.outer(m - mean, m - mean))
        for w, m, c in zip(weights, means, covariances, strict=True)
    )
    assert (np.abs(z.mean(0) - mean) < 4.5 * np.sqrt(np.diag(spread) / n)).all()
    products = (z - mean)[:, :, None] * (z - mean)[:, None, :]
    assert (np.abs(products.mean(0) - spread) < 4.5 * products.std(0) / np.sqrt(n)).all()


@pytest.mark.parametrize("n", [later(1), later(4), 11, later(400)])
def test_full_samples_are_whitened_back_to_the_noise_they_came_from(n):
    """A (z − μ) is the standard normal noise, row by row, in blocks of any size."""
    weights, means, covariances = moments("full")
    mixture = mixture_from_moments(weights, means, covariances)
    key = jax.random.key(3)
    component_key, noise_key = jax.random.split(key)
    chosen = np.asarray(jax.random.categorical(component_key, mixture.logits, shape=(n,)))
    noise = jax.random.normal(noise_key, (n, DIM))
    z = np.asarray(mixture.sample(key, n))
    white = np.einsum(
        "nij,nj->ni", mixture.whitening[chosen], z - np.asarray(mixture.means)[chosen]
    )
    np.testing.assert_allclose(white, noise, atol=1e-4)


def test_samples_of_each_component():
    """Far-apart components: weights, means and covariances are seen one by one."""
    weights, means, covariances = moments("full")
    means = means + 100 * np.arange(N)[:, None]
    mixture = mixture_from_moments(weights, means, covariances)
    n = 20_000
    z = np.asarray(mixture.sample(jax.random.key(1), n), np.float64)
    label = np.argmin(((z[:, None] - means[None]) ** 2).sum(-1), axis=1)
    for k in range(N):
        mine = z[label == k]
        error = np.sqrt(weights[k] * (1 - weights[k]) / n)
        assert abs(len(mine) / n - weights[k]) < 4.5 * error
        standard = np.sqrt(np.diag(covariances[k]) / len(mine))
        assert (np.abs(mine.mean(0) - means[k]) < 4.5 * standard).all()
        products = (mine - means[k])[:, :, None] * (mine - means[k])[:, None, :]
        error = products.std(0) / np.sqrt(len(mine))
        assert (np.abs(products.mean(0) - covariances[k]) < 4.5 * error).all()


@settings(max_examples=examples(10), deadline=None)
@given(order=st.permutations(range(N)), shift=st.floats(-5, 5))
@pytest.mark.parametrize("kind", COVARIANCES)
def test_order_and_scale_of_weights_change_no_density(kind, order, shift):
    mixture = mixture_from_moments(*moments(kind))
    z = jnp.asarray(np.random.default_rng(2).normal(size=(10, DIM)))
    order = np.asarray(order)
    shuffled = Mixture(
        mixture.logits[order] + shift,
        mixture.means[order],
        mixture.whitening[order],
        kind,
    )
    np.testing.assert_allclose(shuffled.log_prob(z), mixture.log_prob(z), rtol=1e-5, atol=1e-5)


def test_gradient_pulls_to_the_means(known):
    mixture, _, means, covariances = known
    z = jnp.asarray(np.random.default_rng(3).normal(size=(7, DIM)))
    gradient = jax.grad(lambda codes: jnp.sum(mixture.log_prob(codes)))(z)
    posterior = np.asarray(jax.nn.softmax(mixture.component_log_prob(z) + mixture.logits[None]))
    pulls = np.stack(
        [
            np.linalg.solve(c, (m - np.asarray(z)).T).T
            for m, c in zip(means, covariances, strict=True)
        ]
    )
    np.testing.assert_allclose(
        gradient, np.einsum("nk,knd->nd", posterior, pulls), rtol=1e-3, atol=1e-3
    )


def test_a_far_code_has_a_finite_density_and_gradient(known):
    mixture = known[0]
    far = jnp.full((1, DIM), 1e4)
    assert np.isfinite(mixture.log_prob(far)).all()
    assert np.isfinite(jax.grad(lambda z: mixture.log_prob(z)[0])(far)).all()


def test_same_key_same_bits(known):
    mixture = known[0]
    a, b, c = (mixture.sample(jax.random.key(seed), 9) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert (np.asarray(a) != np.asarray(c)).any()


def test_mixture_is_a_pytree_of_three_arrays(known):
    mixture = known[0]
    assert len(jax.tree.leaves(eqx.filter(mixture, eqx.is_array))) == 3
    assert isinstance(mixture, Prior)
    assert (mixture.n_components, mixture.dim) == (N, DIM)


@pytest.mark.parametrize("covariance", ["full", later("diagonal")])
def test_near_a_code_the_components_that_count_are_known(covariance):
    """A loop over all components: the density, the likeliest four and what they leave out."""
    rng = np.random.default_rng(5)
    means, factors = 8 * rng.normal(size=(20, 3)), rng.normal(size=(20, 3, 3))
    spreads = factors @ np.swapaxes(factors, 1, 2) + 0.2 * np.eye(3)
    if covariance == "diagonal":
        spreads = np.diagonal(spreads, axis1=1, axis2=2).copy()
    weights = rng.dirichlet(np.ones(20))
    mixture = mixture_from_moments(weights, means, spreads)
    full = spreads if covariance == "full" else np.stack([np.diag(row) for row in spreads])
    for code in means[:5] + 0.3 * rng.normal(size=(5, 3)):
        joint = np.log(weights) + [
            multivariate_normal(mean, spread).logpdf(code)
            for mean, spread in zip(means, full, strict=True)
        ]
        shares = np.exp(joint - np.logaddexp.reduce(joint))
        wanted = sum(r * np.linalg.inv(spread) for r, spread in zip(shares, full, strict=True))
        place = jnp.asarray(code, jnp.float32)
        (density,), (chosen,) = mixture.near(place[None])
        assert density == pytest.approx(np.logaddexp.reduce(joint), rel=1e-4)
        assert chosen.tolist() == np.argsort(-joint)[:4].tolist()
        found = np.tensordot(shares[chosen], mixture.precisions[chosen], 1)
        found = np.diag(found) if covariance == "diagonal" else found
        assert np.sort(shares)[:-4].sum() < 0.01
        part = mixture.part(chosen)
        np.testing.assert_allclose(
            part.component_log_prob(place[None])[0] + part.logits, joint[chosen], rtol=1e-4
        )
        np.testing.assert_allclose(found, wanted, rtol=0.02, atol=0.02 * np.abs(wanted).max())


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("by", [0.7, -0.05])
def test_a_wider_mixture_has_more_variance_everywhere(covariance, by):
    weights, means, covariances = moments(covariance)
    wider = Moments.of(mixture_from_moments(weights, means, covariances)).widened(by)
    codes = means[:3] + 0.5
    joint = [
        np.log(weight) + multivariate_normal(mean, spread + by * np.eye(DIM)).logpdf(codes)
        for weight, mean, spread in zip(
            weights, means, as_full(covariance, covariances), strict=True
        )
    ]
    wanted = np.logaddexp.reduce(joint, axis=0)
    found = wider.log_prob(jnp.asarray(codes, jnp.float32))
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
    with pytest.raises(DataError, match="not positive definite"):
        Moments.of(wider).widened(-1e3)


def test_standard_normal():
    prior = StandardNormal(3)
    z = np.asarray(prior.sample(jax.random.key(0), 10_000))
    np.testing.assert_allclose(np.cov(z.T), np.eye(3), atol=0.06)
    exact = multivariate_normal(np.zeros(3), np.eye(3)).logpdf(z[:5])
    np.testing.assert_allclose(prior.log_prob(jnp.asarray(z[:5])), exact, rtol=1e-5)


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_weights_must_be_above_zero(weight):
    weights, means, covariances = moments("full")
    with pytest.raises(DataError, match=f"must be above 0; received {weight}"):
        mixture_from_moments(np.array([*weights[1:], weight]), means, covariances)


def test_bad_moments():
    weights, means, covariances = moments("full")
    with pytest.raises(DataError, match="not positive definite"):
        mixture_from_moments(weights, means, -covariances)
    with pytest.raises(DataError, match="not positive definite"):
        mixture_from_moments(weights, means, np.zeros((N, DIM)))

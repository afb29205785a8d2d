"""Likelihoods and precisions against closed forms: densities, gradients, samples, Eq 7."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gncn
from gncn.base.errors import ConfigError
from gncn.core.likelihood import BernoulliErrors, FlatErrors, GaussianErrors
from gncn.core.precision import Diagonal, Full, Unit

RNG = np.random.default_rng(0)
ROOT = RNG.normal(size=(4, 4)) / 2
MATRIX = (0.5 * np.eye(4) + ROOT @ ROOT.T).astype(np.float32)
VALUES = np.array([0.4, 0.9, 1.6, 2.5], np.float32)
PRECISIONS = [
    (Unit(), np.eye(4)),
    (Diagonal(jnp.asarray(VALUES)), np.diag(VALUES)),
    (Full(jnp.asarray(MATRIX)), MATRIX),
]
NAMES = ("off", "diagonal", "full")
H, Z = RNG.normal(size=(2, 3, 4)).astype(np.float32).astype(float)
X = RNG.integers(0, 2, (3, 4)).astype(float)
DRIVE, ACTUAL, BITS = (jnp.asarray(values, jnp.float32) for values in (H, Z, X))
P = 1 / (1 + np.exp(-H))
N = 20_000


def draws(neurons, n=N):
    """Samples at one drive."""
    drive = jnp.broadcast_to(DRIVE[:1], (n, 4))
    return np.asarray(neurons.sample(jax.random.key(3), drive), float)


def within(found, wanted, samples):
    """Whether means of samples lie within six standard errors of what is expected."""
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    np.testing.assert_array_less(np.abs(found - wanted), 6 * error + 1e-6)


@pytest.mark.parametrize(("precision", "matrix"), PRECISIONS, ids=NAMES)
@pytest.mark.parametrize("g", ["identity", "tanh"])
def test_gaussian_errors_equal_their_closed_forms(precision, matrix, g):
    neurons = GaussianErrors(g, precision)
    mean = H if g == "identity" else np.tanh(H)
    d = Z - mean
    np.testing.assert_allclose(neurons.mean(DRIVE), mean, rtol=1e-5)
    np.testing.assert_allclose(neurons.error(ACTUAL, DRIVE), d @ matrix, rtol=1e-4, atol=1e-5)
    log_prob = 0.5 * np.linalg.slogdet(matrix)[1] - 0.5 * np.einsum("ni,ij,nj->n", d, matrix, d)
    np.testing.assert_allclose(neurons.log_prob(ACTUAL, DRIVE), log_prob, rtol=1e-4)
    laid = neurons.for_batch(3)
    np.testing.assert_array_equal(laid.error(ACTUAL, DRIVE), neurons.error(ACTUAL, DRIVE))
    np.testing.assert_allclose(laid.log_prob(ACTUAL, DRIVE), log_prob, rtol=1e-4)
    sharpness = np.asarray(neurons.sharpness(0.1))
    found = np.diag(np.broadcast_to(sharpness, 4)) if sharpness.ndim < 2 else sharpness
    np.testing.assert_array_equal(found, matrix)


def test_the_gaussian_density_is_normalised_but_for_its_constant():
    """log_prob less ½ J log 2π is the log-density of one dimension, which integrates to 1."""
    neurons = GaussianErrors("identity", Diagonal(jnp.asarray([1.7])))
    grid = jnp.linspace(-8, 8, 2001)[:, None]
    log_prob = neurons.log_prob(grid, jnp.full_like(grid, 0.3)) - 0.5 * np.log(2 * np.pi)
    density = np.exp(np.asarray(log_prob, float))
    assert density.sum() * 16 / 2000 == pytest.approx(1, abs=1e-4)


def test_bernoulli_errors_equal_their_closed_forms():
    neurons = BernoulliErrors()
    np.testing.assert_allclose(neurons.mean(DRIVE), P, rtol=1e-5)
    np.testing.assert_allclose(neurons.error(BITS, DRIVE), X - P, rtol=1e-4, atol=1e-6)
    log_prob = np.sum(X * np.log(P) + (1 - X) * np.log(1 - P), axis=1)
    np.testing.assert_allclose(neurons.log_prob(BITS, DRIVE), log_prob, rtol=1e-5)
    assert float(neurons.sharpness(0.2)) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("neurons", "actual"),
    [
        (BernoulliErrors(), BITS),
        *((GaussianErrors(g, p), ACTUAL) for p, _ in PRECISIONS for g in ("tanh", "softplus")),
        (FlatErrors(), ACTUAL),
    ],
)
def test_the_gradient_is_that_of_log_prob(neurons, actual):
    wanted = jax.grad(lambda h: jnp.sum(neurons.log_prob(actual, h)))(DRIVE)
    np.testing.assert_allclose(neurons.gradient(actual, DRIVE), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("precision", "matrix"), PRECISIONS, ids=NAMES)
def test_gaussian_samples_have_their_mean_and_covariance(precision, matrix):
    drawn = draws(GaussianErrors("tanh", precision))
    mean = np.tanh(H[0])
    within(drawn.mean(axis=0), mean, drawn)
    d = drawn - mean
    products = d[:, :, None] * d[:, None, :]
    within(products.mean(axis=0), np.linalg.inv(matrix.astype(float)), products)
    # The samples' mean log-density is the density's own: ½ log|Σ⁻¹| − ½ J.
    neurons = GaussianErrors("identity", precision)
    log_prob = np.asarray(neurons.log_prob(jnp.asarray(d, jnp.float32), jnp.zeros((N, 4))), float)
    within(log_prob.mean(), 0.5 * np.linalg.slogdet(matrix)[1] - 2, log_prob)


@pytest.mark.parametrize(("precision", "matrix"), PRECISIONS, ids=NAMES)
def test_noise_has_the_inverse_of_the_precision_as_covariance(precision, matrix):
    noise = np.asarray(precision.noise(jax.random.key(7), (N, 4)), float)
    within(noise.mean(axis=0), np.zeros(4), noise)
    products = noise[:, :, None] * noise[:, None, :]
    within(products.mean(axis=0), np.linalg.inv(matrix.astype(float)), products)


def test_bernoulli_samples_are_bits_with_their_mean():
    drawn = draws(BernoulliErrors())
    assert set(np.unique(drawn)) == {0.0, 1.0}
    within(drawn.mean(axis=0), P[0], drawn)
    products = drawn[:, :1] * drawn[:, 1:]  # pixels are independent given the drive
    within(products.mean(axis=0), P[0, 0] * P[0, 1:], products)


@pytest.mark.parametrize(("precision", "matrix"), PRECISIONS, ids=NAMES)
def test_a_precision_equals_its_matrix(precision, matrix):
    np.testing.assert_allclose(precision.weigh(ACTUAL), Z @ matrix, rtol=1e-5, atol=1e-6)
    assert float(precision.log_determinant()) == pytest.approx(
        np.linalg.slogdet(matrix)[1], rel=1e-5, abs=1e-6
    )
    shares = np.array([0.5, 0.2, 0.3], np.float32)
    wanted = 0.5 * np.linalg.inv(matrix) - 0.5 * np.einsum("n,ni,nj->ij", shares, Z, Z)
    update = precision.update(ACTUAL, jnp.asarray(shares))
    stepped = precision.learned(update, jnp.float32(0.01), (1e-3, 1e3)).sharpness()
    if isinstance(precision, Unit):
        assert update == ()
        assert float(stepped) == 1
        return
    wanted = np.diag(wanted) if isinstance(precision, Diagonal) else wanted
    np.testing.assert_allclose(update, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(stepped, precision.sharpness() + 0.01 * update, rtol=1e-5, atol=1e-6)


def test_a_layer_that_nothing_predicts_has_no_error_and_no_samples():
    flat = gncn.build(gncn.chain((6, 4)), seed=0).layers[1].errors
    assert isinstance(flat, FlatErrors)
    for found in (flat.mean(DRIVE), flat.error(ACTUAL, DRIVE), flat.gradient(ACTUAL, DRIVE)):
        np.testing.assert_array_equal(found, np.zeros((3, 4)))
    np.testing.assert_array_equal(flat.log_prob(ACTUAL, DRIVE), np.zeros(3))
    assert float(flat.sharpness(0.2)) == 0
    with pytest.raises(ConfigError, match="no density to draw from"):
        flat.sample(jax.random.key(0), DRIVE)


def test_built_precisions_begin_at_the_number_asked_for():
    for name, wanted in (("diagonal", 0.7 * np.ones(4)), ("full", 0.7 * np.eye(4))):
        errors = gncn.Gaussian(precision=name).build(4, "identity", 0.7)
        np.testing.assert_allclose(errors.precision.sharpness(), wanted)
    assert isinstance(gncn.Gaussian().build(4, "identity", 0.7).precision, Unit)

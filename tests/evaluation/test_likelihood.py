"""Simple Monte Carlo against enumeration."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gncn.evaluation.likelihood
from gncn.base.errors import ConfigError, DataError, DivergenceError
from gncn.evaluation.images import log_likelihood, log_likelihood_table
from gncn.evaluation.likelihood import LikelihoodCurve, prior_log_likelihood

SIZES = (10, 100, 1500)


@pytest.fixture(scope="module")
def curve(discrete, all_images) -> LikelihoodCurve:
    return prior_log_likelihood(
        discrete, all_images, key=jax.random.key(0), n_samples=SIZES, n_repeats=200
    )


def test_exact_probabilities_add_up(discrete, all_images):
    np.testing.assert_allclose(np.exp(discrete.exact(all_images)).sum(), 1, rtol=1e-6)


@pytest.mark.parametrize("size", range(len(SIZES)))
def test_probability_is_unbiased_for_every_s(curve, discrete, all_images, size):
    estimate = np.exp(curve.values[:, size].astype(np.float64))
    error = estimate.std(axis=0, ddof=1) / np.sqrt(len(estimate))
    np.testing.assert_array_less(
        np.abs(estimate.mean(axis=0) - np.exp(discrete.exact(all_images))), 4 * error
    )


def test_logarithm_is_a_lower_bound_that_grows_with_s(curve, discrete, all_images):
    exact = discrete.exact(all_images).mean()
    per_repeat = curve.values.mean(axis=2)
    error = per_repeat.std(axis=0, ddof=1) / np.sqrt(len(per_repeat))
    assert (np.diff(curve.mean) > 0).all()
    assert (curve.mean < exact + 4 * error).all()
    assert curve.mean[0] < exact - 4 * error[0]
    np.testing.assert_allclose(curve.mean[-1], exact, atol=0.005)


def test_spread_over_repeats_shrinks_as_the_root_of_s(curve):
    spread = curve.repeat_spread
    assert spread is not None
    np.testing.assert_allclose(spread[1] / spread[2], np.sqrt(SIZES[2] / SIZES[1]), rtol=0.2)


def test_paper_convention_is_two_log_s_higher(curve):
    np.testing.assert_allclose(curve.paper_mean - curve.mean, 2 * np.log(SIZES), rtol=1e-5)


def test_standard_error_is_over_images():
    values = np.array([[[1.0, 2.0, 3.0, 6.0]], [[1.0, 2.0, 3.0, 6.0]]])
    curve = LikelihoodCurve((5,), values)
    np.testing.assert_allclose(curve.standard_error, [np.std([1, 2, 3, 6], ddof=1) / 2])
    np.testing.assert_allclose(curve.repeat_spread, [0])
    assert LikelihoodCurve((5,), values[:1]).repeat_spread is None
    assert np.isnan(LikelihoodCurve((5,), values[:, :, :1]).standard_error).all()


def test_smaller_sizes_are_prefixes_of_larger_ones(discrete, all_images):
    key = jax.random.key(3)
    together = prior_log_likelihood(discrete, all_images, key=key, n_samples=(2500, 400, 1300))
    assert together.n_samples == (400, 1300, 2500)
    for index, size in enumerate(together.n_samples):
        alone = prior_log_likelihood(discrete, all_images, key=key, n_samples=size)
        np.testing.assert_allclose(alone.values[:, 0], together.values[:, index], atol=1e-5)


@pytest.mark.parametrize("at_once", [1, 5, 16, 20])
def test_blocks_change_nothing(discrete, all_images, at_once, monkeypatch):
    key = jax.random.key(4)
    whole = prior_log_likelihood(discrete, all_images, key=key, n_samples=50)
    monkeypatch.setattr(gncn.evaluation.likelihood, "_AT_ONCE", at_once)
    cut = prior_log_likelihood(discrete, all_images, key=key, n_samples=50)
    np.testing.assert_allclose(cut.values, whole.values, atol=1e-5)


def test_repeats_differ_and_progress_is_reported(discrete, all_images):
    seen = []
    curve = prior_log_likelihood(
        discrete,
        all_images,
        key=jax.random.key(5),
        n_samples=1500,
        n_repeats=2,
        on_draw=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (curve.values[0] != curve.values[1]).all()


@pytest.mark.parametrize("kind", [bool, np.int32, np.float64])
def test_any_numeric_type_of_image(discrete, all_images, kind):
    key = jax.random.key(6)
    a, b = (
        prior_log_likelihood(discrete, x, key=key, n_samples=20)
        for x in (all_images, all_images.astype(kind))
    )
    np.testing.assert_array_equal(a.values, b.values)


def test_table_agrees_with_rows(discrete, all_images):
    x, logits = jnp.asarray(all_images, jnp.float32), discrete.decode(discrete.prior.codes)
    table = log_likelihood_table(x, logits)
    for column, code in enumerate(logits):
        row = log_likelihood(x, jnp.broadcast_to(code, x.shape))
        np.testing.assert_allclose(table[:, column], row, atol=1e-5)


def test_sure_logits_stay_finite(discrete, all_images):
    sure = eqx.tree_at(lambda m: m.decoder.weights, discrete, 1e4 * discrete.decoder.weights)
    curve = prior_log_likelihood(sure, all_images, key=jax.random.key(7), n_samples=100)
    assert np.isfinite(curve.values).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "n_samples must be at least 1; received 0"),
        ({"n_samples": ()}, "at least one n_samples"),
        ({"n_repeats": 0}, "n_repeats must be at least 1; received 0"),
    ],
)
def test_bad_options(discrete, all_images, options, message):
    with pytest.raises(ConfigError, match=message):
        prior_log_likelihood(discrete, all_images, key=jax.random.key(0), **options)


def test_grey_images_are_refused(discrete, all_images):
    with pytest.raises(DataError, match=r"pixels of 0 or 1; received .*0\.5"):
        prior_log_likelihood(discrete, all_images * 0.5, key=jax.random.key(0))
    with pytest.raises(DataError, match="n at least 1"):
        prior_log_likelihood(discrete, all_images[:0], key=jax.random.key(0))


def test_broken_model_is_reported(discrete, all_images):
    broken = eqx.tree_at(lambda m: m.decoder.bias, discrete, discrete.decoder.bias * jnp.nan)
    with pytest.raises(DivergenceError, match="not finite"):
        prior_log_likelihood(broken, all_images, key=jax.random.key(0), n_samples=10)

"""`gncn.sample`, `complete`, `log_likelihood` and the prior they need, against plain sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gncn
from gncn.base.errors import ConfigError, DataError
from gncn.baselines.blueprint import plan_blueprint
from gncn.baselines.kinds import start_baseline
from gncn.baselines.pixel_mixture import PixelMixture
from gncn.evaluation.mixture import mixture_from_moments
from gncn.evaluation.protocols import StandardNormal
from gncn.measures import Subject, as_measurable
from gncn.measures.generative import n_pixels_of

IMAGES = np.random.default_rng(0).integers(0, 2, (30, 12)).astype(np.uint8)


@pytest.fixture(scope="module")
def network():
    return gncn.build(gncn.chain((12, 6, 4)), seed=0, n_settle_steps=4, weight_scale=0.5)


@pytest.fixture(scope="module")
def gvae():
    return start_baseline(plan_blueprint("gvae", 12, budget=600, n_latent=2), seed=0)


@pytest.fixture(scope="module")
def rae():
    return start_baseline(plan_blueprint("rae", 12, budget=600, n_latent=2), seed=0)


def by_quadrature(model, images):
    """Log p(x) with z ~ N(0, I) in two dimensions, by a sum over a fine grid."""
    axis = np.linspace(-5, 5, 81)
    codes = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    weight = np.exp(-0.5 * np.sum(codes**2, axis=1)) / (2 * np.pi) * (axis[1] - axis[0]) ** 2
    logits = np.asarray(model.decode(jnp.asarray(codes, jnp.float32)), np.float64)
    p = 1 / (1 + np.exp(-logits))
    each = np.prod(np.where(images[:, None], p[None], 1 - p[None]), axis=2)
    return np.log(each @ weight)


def test_log_likelihood_is_the_integral_over_codes(gvae):
    found = gncn.log_likelihood(gvae, IMAGES, n_samples=20_000)
    np.testing.assert_allclose(found, by_quadrature(gvae, IMAGES), atol=0.02)
    given = gncn.log_likelihood(gvae, IMAGES, prior=StandardNormal(2), n_samples=20_000)
    np.testing.assert_array_equal(found, given)


def test_samples_have_the_means_of_the_model(gvae):
    draws = gncn.sample(gvae, 20_000, seed=3)
    assert set(np.unique(draws)) == {0.0, 1.0}
    means = gncn.sample(gvae, 20_000, seed=4, means=True)
    assert ((means > 0) & (means < 1)).all()
    np.testing.assert_allclose(draws.mean(axis=0), means.mean(axis=0), atol=0.02)
    np.testing.assert_array_equal(gncn.sample(gvae, 5, seed=3), gncn.sample(gvae, 5, seed=3))


def test_a_network_samples_by_its_prior(network):
    prior = gncn.fit_prior(network, IMAGES, n_components=2)
    key = jax.random.fold_in(jax.random.key(5), 0)
    logits = gncn.decode(network, prior.sample(key, 7))
    found = gncn.sample(network, 7, prior=prior, seed=5, means=True)
    np.testing.assert_allclose(found, jax.nn.sigmoid(logits), rtol=1e-5)
    with pytest.raises(ConfigError, match="have no prior of their own. Give prior="):
        gncn.sample(network, 7)
    with pytest.raises(ConfigError, match="have no prior of their own"):
        gncn.log_likelihood(network, IMAGES)


def test_a_prior_is_the_one_that_measures_fit(network):
    data = gncn.from_arrays(IMAGES)
    ours = gncn.fit_prior(
        network, data, n_components=(1, 2), covariance="diagonal", regularisation=0.7, seed=3
    )
    subject = Subject(as_measurable(network), data, "validation", 3)
    theirs = subject.prior((1, 2), "diagonal", (0.7,)).prior
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(one, other)


def test_codes_without_a_prior_get_one_of_images_that_are_given(rae):
    assert gncn.sample(rae, 3, prior=np.tile(IMAGES, (3, 1))).shape == (3, 12)


def test_completion_by_nan_by_masks_and_by_halves(network, gvae):
    seen = np.arange(12) % 4 < 2  # the right half of 3 x 4 pixels is missing
    for model in (network, gvae):
        direct = next(iter(as_measurable(model).direct_completers.values()))
        x = jnp.asarray(np.where(seen, IMAGES, 0), jnp.float32)
        expected = np.where(seen, IMAGES, np.asarray(direct(x, jnp.asarray(seen))))
        for images, options in (
            (np.where(seen, IMAGES, np.nan), {}),
            (IMAGES, {"mask": seen}),
            (IMAGES, {"mask": np.tile(seen, (30, 1))}),
            (IMAGES, {"mask": "right", "shape": (3, 4)}),
            (np.ma.masked_array(IMAGES, np.tile(~seen, (30, 1))), {}),
        ):
            found = gncn.complete(model, images, **options)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        assert np.array_equal(gncn.complete(model, IMAGES), IMAGES)


@pytest.mark.slow
def test_learned_ways_take_a_mask_for_each_image(network):
    masks = np.tile(np.arange(12) < 6, (4, 1))
    masks[2:] = ~masks[2:]
    found = gncn.complete(network, IMAGES[:4], masks, way="recall", data=IMAGES)
    for rows in (slice(0, 2), slice(2, 4)):
        alone = gncn.complete(network, IMAGES[rows], masks[rows], way="recall", data=IMAGES)
        np.testing.assert_allclose(found[rows], alone, rtol=1e-4)
    with pytest.raises(ConfigError, match="learns from training images: give them as data="):
        gncn.complete(network, IMAGES[:4], masks, way="recall")


def test_a_learned_way_needs_images_to_learn_from(network, gvae):
    half = np.arange(12) < 6
    with pytest.raises(ConfigError, match="'recall' learns from training images.*'silent' or 'dri"):
        gncn.complete(network, IMAGES[:2], half, way="recall")
    with pytest.raises(ConfigError, match="or choose 'clamped' or 'fitted', which need none"):
        gncn.complete(gvae, IMAGES[:2], half, way="recall")


def test_a_mixture_of_means_has_an_exact_likelihood_unless_a_prior_is_given():
    means = np.array([[0.2] * 12, [0.7] * 12])
    found = mixture_from_moments(np.array([0.4, 0.6]), means, np.tile(np.eye(12), (2, 1, 1)))
    mixture = PixelMixture(found, 0.01, "means")
    each = np.prod(np.where(IMAGES[:, None], means[None], 1 - means[None]), axis=2)
    expected = np.log(each @ [0.4, 0.6])
    np.testing.assert_allclose(gncn.log_likelihood(mixture, IMAGES), expected, rtol=1e-5)
    assert (n_pixels_of(mixture), n_pixels_of(object())) == (12, None)
    with pytest.raises(DataError, match="12"):
        gncn.log_likelihood(mixture, IMAGES[:, :5])


def test_what_cannot_be_asked_is_refused(network, gvae):
    gaussian = gncn.build(gncn.chain((12, 4), likelihood="gaussian"), seed=0)
    dsrn = start_baseline(plan_blueprint("dsrn", 12, budget=600, n_classes=2), seed=0)
    assert gncn.sample(gaussian, 2, prior=StandardNormal(4)).shape == (2, 12)
    assert gncn.log_likelihood(gaussian, 3.0 * IMAGES, prior=StandardNormal(4)).shape == (30,)
    with pytest.raises(ConfigError, match="classifies and generates nothing"):
        gncn.sample(dsrn)
    with pytest.raises(ConfigError, match="n must be at least 1; received 0"):
        gncn.sample(gvae, 0)
    with pytest.raises(DataError, match="pixels of 0 or 1"):
        gncn.log_likelihood(gvae, IMAGES * 0.5)
    with pytest.raises(ConfigError, match="Give one mask, or 30"):
        gncn.complete(gvae, IMAGES, np.ones((2, 12), bool))
    with pytest.raises(ConfigError, match="Unknown missing 'rihgt'"):
        gncn.complete(gvae, IMAGES, "rihgt")
    mixture = gncn.PixelMixture(n_components=1, max_iterations=1).fit(IMAGES).model_
    with pytest.raises(ConfigError, match="can't complete images"):
        gncn.complete(mixture, np.where(IMAGES, np.nan, 0.0))
    assert gncn.complete(network, np.full((1, 12), np.nan)).shape == (1, 12)

"""The peaks of posteriors, against optimisation of each component alone and plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from gncn.evaluation.peaks import Search, distinct, find_peaks
from weighted import covariances


@pytest.fixture(scope="module")
def search(continuous):
    return Search(continuous, jax.random.key(0))


def pieces_joint(model, x, k, z):
    """log π_k + log N(z; μ_k, Σ_k) + log p(x|z), and the component's density at its mean."""
    prior = model.prior
    share = np.asarray(jax.nn.log_softmax(prior.logits))[k]
    normal = multivariate_normal(np.asarray(prior.means[k]), covariances(prior)[k])
    logits = np.asarray(model.decode(jnp.asarray(z, jnp.float32)[None]))[0].astype(float)
    fit = np.sum(x * logits - np.logaddexp(0, logits))
    return share + normal.logpdf(z) + fit, normal.logpdf(normal.mean)


def test_heights_are_of_components_as_if_equally_wide(continuous, search, some_images):
    x = jnp.asarray(some_images[:2], jnp.float32)
    n_pieces = len(search.means)
    places = jax.random.normal(jax.random.key(1), (2, 3, n_pieces, 2))
    codes, height = np.asarray(search.codes(places)), search.height(x, places)
    for image, attempt, k in np.ndindex(2, 3, n_pieces):
        z = codes[image, attempt, k].astype(float)
        joint, at_mean = pieces_joint(continuous, some_images[image], k, z)
        assert height[image, attempt, k] == pytest.approx(joint - at_mean, abs=1e-3)


def test_starts_are_the_best_samples_of_each_share_of_each_piece(continuous, search, some_images):
    x = jnp.asarray(some_images[:3], jnp.float32)
    codes = continuous.prior.sample(jax.random.key(2), 3)
    start = np.asarray(search.codes(search.starts(x, codes)))
    n_pieces = len(search.means)
    n_tries = start.shape[1]
    assert n_tries * n_pieces >= 64 > (n_tries - 1) * n_pieces
    draws, logits = np.asarray(search.draws), np.asarray(search.drives, float)
    normals = [
        multivariate_normal(np.asarray(mean), covariance)
        for mean, covariance in zip(
            continuous.prior.means, covariances(continuous.prior), strict=True
        )
    ]
    logs = np.asarray(continuous.prior.logits)

    def piece_of(z):
        return np.argmax([normal.logpdf(z) for normal in normals] + logs[:, None], axis=0)

    piece, own = piece_of(draws), piece_of(np.asarray(codes))
    for image, k, attempt in np.ndindex(3, n_pieces, n_tries):
        if (k, attempt) == (own[image], 0):
            expected = np.asarray(codes[image])
        else:
            rows = [r for r in np.flatnonzero(piece == k) if r % n_tries == attempt]
            fit = logits @ some_images[image] - np.logaddexp(0, logits).sum(1)
            expected = draws[rows[np.argmax(fit[rows])]]
        np.testing.assert_allclose(start[image, attempt, k], expected, atol=1e-3)


def test_every_component_has_its_peak(continuous, search, some_images):
    n_pieces = len(search.means)
    x = jnp.asarray(some_images[:2], jnp.float32)
    peaks, heights, *_ = find_peaks(search, x, jnp.zeros((2, 2)), 4 * n_pieces)
    joint = continuous.log_joint(jnp.repeat(x, 4 * n_pieces, axis=0), peaks.reshape(-1, 2))
    np.testing.assert_allclose(heights.reshape(-1), joint, rtol=1e-5)
    for image, k in np.ndindex(2, n_pieces):
        found = minimize(
            lambda z, image=image, k=k: -pieces_joint(continuous, some_images[image], k, z)[0],
            np.asarray(continuous.prior.means[k], float),
            method="Nelder-Mead",
            options={"xatol": 1e-5, "fatol": 1e-7},
        )
        nearest = np.abs(np.asarray(peaks[image]) - found.x).max(1).min()
        assert nearest < 0.05, (image, k)


def test_the_highest_of_each_peak_is_taken_once():
    rng = np.random.default_rng(0)
    centres = np.array([0.0, 2.0, 5.0])
    cluster = rng.integers(0, 3, (4, 6, 2))  # images, tries, pieces
    places = centres[cluster][..., None] + rng.uniform(-0.2, 0.2, (4, 6, 2, 3))
    height = rng.normal(size=(4, 6, 2))
    codes = rng.normal(size=(4, 6, 2, 3))
    found = distinct(*(jnp.asarray(one, jnp.float32) for one in (codes, places, height)), 3)
    for image in range(4):
        order = sorted(np.ndindex(6, 2), key=lambda at, image=image: -height[image][at])
        taken, seen = [], set()
        for attempt, piece in order:
            peak = cluster[image, attempt, piece], piece
            if peak not in seen:
                seen.add(peak)
                taken.append(codes[image, attempt, piece])
        np.testing.assert_allclose(found[image], taken[:3], rtol=1e-5)

"""The peaks of posteriors, against optimisation of each component alone and plain loops."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from gncn.evaluation.mixture import mixture_from_moments
from gncn.evaluation.peaks import Climbs, Search, candidate, climb, curvatures, find_peaks, heaviest
from gncn.evaluation.protocols import StandardNormal, WithPrior
from weighted import covariances


@pytest.fixture(scope="module")
def search(continuous):
    return Search(continuous, jax.random.key(0))


def found_from(search, x, n):
    """The peaks of some images, whose model has no code better than 0."""
    return find_peaks(search, x, climb(search, x, jnp.zeros((len(x), 2))), n)


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


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_every_component_has_its_peak(continuous, some_images, covariance):
    """Peaks of log p(x, z) that are reached from the highest place of each component alone."""
    model = continuous
    if covariance == "diagonal":
        own = model.prior
        diagonals = np.array([[0.7, 0.8], [0.3, 0.9], [0.5, 0.2]])
        prior = mixture_from_moments(np.exp(own.logits), np.asarray(own.means), diagonals)
        model = eqx.tree_at(lambda m: m.prior, model, prior)
    search = Search(model, jax.random.key(0))
    n_pieces = len(search.means)
    x = jnp.asarray(some_images[:2], jnp.float32)
    found = found_from(search, x, 4 * n_pieces)
    joint = model.log_joint(jnp.repeat(x, 4 * n_pieces, axis=0), found.codes.reshape(-1, 2))
    np.testing.assert_allclose(found.heights.reshape(-1), joint, rtol=1e-5)
    for image, k in np.ndindex(2, n_pieces):

        def joint_of(z, image=image):
            return float(
                model.log_joint(x[image : image + 1], jnp.asarray(z, jnp.float32)[None])[0]
            )

        options = {"method": "Nelder-Mead", "options": {"xatol": 1e-4, "fatol": 1e-6}}
        alone = minimize(
            lambda z, image=image, k=k: -pieces_joint(model, some_images[image], k, z)[0],
            np.asarray(model.prior.means[k], float),
            **options,
        )
        # From there up log p(x, z), which other components may bend.
        highest = minimize(lambda z, joint_of=joint_of: -joint_of(z), alone.x, **options)
        away = highest.x - np.asarray(found.codes[image], float)
        precisions = np.asarray(found.of_pixels[image] + found.of_prior[image], float)
        assert np.einsum("nd,nde,ne->n", away, precisions, away).min() < 1, (image, k)


def test_of_each_peak_one_place_is_taken_by_mass(continuous, search, some_images):
    """Less than a width from where the gradient is 0, each once, by the order of their masses."""
    x = jnp.asarray(some_images[:4], jnp.float32)
    found = found_from(search, x, 6)
    lone = jax.vmap(jax.grad(lambda z, x: continuous.log_joint(x[None], z[None])[0]))
    for image in range(4):
        codes = np.asarray(found.codes[image], float)
        precisions = np.asarray(found.of_pixels[image] + found.of_prior[image], float)
        slopes = lone(found.codes[image], jnp.tile(x[image], (6, 1)))
        steps = np.linalg.solve(precisions, np.asarray(slopes, float)[:, :, None])[:, :, 0]
        assert np.einsum("nd,nde,ne->n", steps, precisions, steps).max() < 1
        mass = found.heights[image] - 0.5 * np.linalg.slogdet(precisions)[1]
        away = codes[:, None] - codes[None]
        apart = np.einsum("mnd,nde,mne->mn", away, precisions, away) >= 1
        n = 1 + int(np.argmin([apart[k, :k].all() for k in range(1, 6)] + [False]))
        assert n >= 1 + (image == 0)  # the first image has two peaks
        assert (np.diff(mass[:n]) < 1e-3).all()
        assert not apart[n:, :n].all(1).any()  # those after them are copies


def blind(decoder, means, covariances, weights):
    """A model whose pixels know nothing of codes: its posterior is the prior, a mixture."""
    decoder = eqx.tree_at(lambda one: one.outer, decoder, jnp.zeros((8, 5)))
    return WithPrior(decoder, mixture_from_moments(*map(np.array, (weights, means, covariances))))


def test_a_wide_peak_has_more_mass_than_a_higher_one(continuous, some_images):
    """The masses are the components' weights, 0.6 and 0.4; the lighter is ten times as high."""
    model = blind(
        continuous.decoder, [[-3.0, 0.0], [3.0, 0.0]], [np.eye(2), 0.01 * np.eye(2)], [0.6, 0.4]
    )
    search, x = Search(model, jax.random.key(0)), jnp.asarray(some_images[:1], jnp.float32)
    found = found_from(search, x, 2)
    np.testing.assert_allclose(found.codes[0], model.prior.means, atol=1e-3)
    assert found.heights[0, 0] < found.heights[0, 1] - 2
    np.testing.assert_allclose(found_from(search, x, 1).codes[0], model.prior.means[:1], atol=1e-3)


def test_climbs_that_still_had_far_to_go_belong_to_the_peak_before_them(continuous, some_images):
    """Twenty on the way to one peak, all higher than the other peak, hide the other from nobody."""
    model = blind(continuous.decoder, [[0.0, 0.0], [50.0, 0.0]], [np.eye(2), np.eye(2)], [0.9, 0.1])
    angles = 2 * np.pi * np.arange(20) / 20
    codes = jnp.asarray([*np.c_[1.8 * np.cos(angles), 1.8 * np.sin(angles)], [50, 0]], jnp.float32)
    x = jnp.asarray(some_images[0], jnp.float32)
    joint = model.log_joint(jnp.tile(x, (21, 1)), codes)
    assert joint[:20].min() > joint[20]
    slopes = jax.grad(lambda z: jnp.sum(model.log_prior(z)))(codes)
    near = jnp.tile(jnp.arange(2), (21, 1))
    ends = Climbs(codes, joint, joint, slopes, near)
    found = heaviest(Search(model, jax.random.key(0)), x, ends, 2)
    np.testing.assert_allclose(found.codes, model.prior.means, atol=1e-3)


def test_the_curvature_of_a_mixture_is_the_mean_of_its_components(continuous, search):
    """By their responsibilities, which SciPy's densities give."""
    prior, code = continuous.prior, np.array([-0.5, 1.5])
    own = covariances(prior)
    logs = np.asarray(prior.logits) + [
        multivariate_normal(np.asarray(mean), one).logpdf(code)
        for mean, one in zip(prior.means, own, strict=True)
    ]
    shares = np.exp(logs - np.logaddexp.reduce(logs))
    assert shares.max() < 0.8
    found = curvatures(search.around(jnp.arange(3)), jnp.asarray(code, jnp.float32))[1]
    np.testing.assert_allclose(found, np.tensordot(shares, np.linalg.inv(own), 1), rtol=1e-4)


def test_masses_of_candidates_are_laplaces(continuous, search, some_images):
    x = jnp.asarray(some_images[0], jnp.float32)
    found = candidate(search.around(jnp.arange(3)), x, jnp.asarray([0.3, -0.2]))
    precision = np.asarray(found.of_pixels + found.of_prior, float)
    np.testing.assert_allclose(found.lower @ found.lower.T, precision, rtol=1e-4)
    assert found.height == continuous.log_joint(x[None], found.code[None])[0]


def test_climbs_know_the_components_near_their_ends(continuous, some_images):
    """The four likeliest of six, by SciPy's densities, and log p(x, z) of these alone."""
    rng = np.random.default_rng(0)
    means, weights = 3 * rng.normal(size=(6, 2)), np.arange(1, 7) / 21
    prior = mixture_from_moments(weights, means, np.tile(0.3 * np.eye(2), (6, 1, 1)))
    model = eqx.tree_at(lambda m: m.prior, continuous, prior)
    search = Search(model, jax.random.key(0))
    x = jnp.asarray(some_images[:2], jnp.float32)
    ends = climb(search, x, jnp.zeros((2, 2)))
    lone = jax.grad(lambda z, x: model.log_joint(x[None], z[None])[0])
    for image, row in np.ndindex(2, 12):
        code = ends.codes[image, row]
        logs = [
            np.log(weight) + multivariate_normal(mean, 0.3 * np.eye(2)).logpdf(code)
            for weight, mean in zip(weights, means, strict=True)
        ]
        near = ends.near[image, row]
        assert near.tolist() == np.argsort(logs)[::-1][:4].tolist()
        joint = model.log_joint(x[image][None], code[None])[0]
        assert ends.joint[image, row] == pytest.approx(float(joint), abs=1e-3)
        np.testing.assert_allclose(ends.slopes[image, row], lone(code, x[image]), atol=1e-2)
        left_out = np.logaddexp.reduce(np.sort(logs)[2:]) - np.logaddexp.reduce(logs)
        found = candidate(search.around(near), x[image], code)
        assert found.height == pytest.approx(float(joint) + left_out, abs=1e-3)


def test_climbs_that_leave_the_finite_numbers_hide_no_others(search, some_images, patched):
    x = jnp.asarray(some_images[:2], jnp.float32)
    whole = found_from(search, x, 2)
    starts = Search.starts

    def spoiled(self, x, codes):
        return starts(self, x, codes).at[:, 5].set(jnp.nan)

    patched("gncn.evaluation.peaks.Search.starts", spoiled)
    found = found_from(search, x, 2)
    assert np.isfinite(found.codes).all()
    np.testing.assert_allclose(found.heights[:, 0], whole.heights[:, 0], atol=0.05)


class Valley(StandardNormal):
    """A prior that is not concave: log p(z) = z_0² / 8 − |z_1|² / 2, as far as here matters."""

    def log_prob(self, codes):
        return codes[:, 0] ** 2 / 8 - codes[:, 1] ** 2 / 2


def test_a_prior_that_is_not_concave_has_a_gaussian(continuous):
    search = Search(WithPrior(continuous.decoder, Valley(2)), jax.random.key(0))
    found = curvatures(search.around(None), jnp.asarray([0.3, 0.2]))[1]
    np.testing.assert_allclose(found, np.diag([1e-3, 1.0]), atol=1e-6)


def test_a_component_without_samples_begins_at_its_mean(continuous, some_images):
    """One of weight e^-40, of which nothing is ever drawn."""
    logits = jnp.asarray([0.0, 0.0, -40.0])
    search = Search(eqx.tree_at(lambda m: m.prior.logits, continuous, logits), jax.random.key(0))
    start = search.starts(jnp.asarray(some_images[:3], jnp.float32), jnp.zeros((3, 2)))
    assert (np.asarray(start[:, :, 2]) == 0).all()
    assert (np.asarray(start[:, 1:, :2]) != 0).all()

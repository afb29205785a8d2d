"""The mixture on pixels: both conventions for p(x) are distributions, and EM finds them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gncn
from gncn.base.errors import DataError
from gncn.baselines import pixel_mixture
from gncn.baselines.pixel_mixture import (
    PixelMixture,
    PixelMixtureConfig,
    fit_pixel_mixture,
    log_likelihood_of,
)
from gncn.data import Dataset, Split
from gncn.evaluation.likelihood import prior_log_likelihood
from gncn.evaluation.mixture import mixture_from_moments
from gncn.evaluation.mixture_fit import fit_mixture
from gncn.evaluation.protocols import Decoder, Prior, WithPrior
from gncn.training.progress import Interrupted

ALL = np.array(list(itertools.product([0, 1], repeat=4)), np.uint8)
MEANS = np.array([[0.1, 0.9, 0.5, -0.3], [0.7, 0.2, 1.4, 0.6]])


def model(emission: str, floor: float = 0.05, scale: float = 0.04) -> PixelMixture:
    covariances = np.stack([scale * np.eye(4), scale * (np.eye(4) + 0.5)])
    mixture = mixture_from_moments(np.array([0.3, 0.7]), MEANS, covariances)
    return PixelMixture(mixture, floor, emission)


def test_clipped_means_make_a_mixture_of_bernoullis():
    p = np.clip(MEANS, 0.05, 0.95)
    each = np.where(ALL[:, None] == 1, p[None], 1 - p[None]).prod(-1)
    exact = model("means").exact_log_likelihood(jnp.asarray(ALL, jnp.float32))
    np.testing.assert_allclose(exact, np.log(each @ [0.3, 0.7]), rtol=1e-5)
    np.testing.assert_allclose(np.exp(exact).sum(), 1, rtol=1e-5)
    both = WithPrior(model("means"), model("means"))
    sampled = prior_log_likelihood(both, ALL, key=jax.random.key(0), n_samples=100_000)
    np.testing.assert_allclose(sampled.per_image[0], exact, atol=0.03)


@pytest.mark.slow
def test_clipped_samples_are_a_distribution_with_bounded_probabilities():
    one = model("samples")
    assert isinstance(one, Prior)
    assert isinstance(one, Decoder)
    drawn = one.sample(jax.random.key(1), 5000)
    np.testing.assert_allclose(np.mean(drawn, axis=0), np.array([0.3, 0.7]) @ MEANS, atol=0.03)
    p = jax.nn.sigmoid(one.decode(drawn))
    np.testing.assert_allclose(p, np.clip(drawn, 0.05, 0.95), atol=1e-6)
    estimate = log_likelihood_of(one, ALL, 2000, 0)
    np.testing.assert_allclose(np.exp(estimate).sum(), 1, rtol=1e-4)
    narrow = log_likelihood_of(model("samples", scale=1e-8), ALL, 50_000, 0)
    exact = model("means").exact_log_likelihood(jnp.asarray(ALL, jnp.float32))
    np.testing.assert_allclose(narrow, exact, atol=0.05)  # no noise, no difference


def test_fitting_makes_one_record_for_each_trial(digits):
    heard = []

    class Hears:
        def on_start(self, start):
            heard.append((start.n_epochs, start.n_batches))

        def on_batch(self, number):
            heard.append(number)

        def on_epoch(self, records, networks):
            heard.append((len(records), len(networks)))

    config = PixelMixtureConfig(
        n_components=5, covariance="diagonal", max_iterations=6, emission="means"
    )
    fit = fit_pixel_mixture(digits, config, seeds=[0, 1], callbacks=[Hears()])
    assert heard[0] == (1, 14)
    assert heard[-1] == (2, 2)
    assert heard[1:-1] == sorted(heard[1:-1])
    for record, mixture in zip(fit.history, fit.networks, strict=True):
        exact = mixture.exact_log_likelihood(jnp.asarray(digits.test.images, jnp.float32))
        assert record.test.error == pytest.approx(-float(exact.mean()), rel=1e-5)
        assert record.test.error < 0.75 * 64 * np.log(2)
        assert record.error_name == "negative_log_likelihood"
    sampled = fit_pixel_mixture(
        digits, config.model_copy(update={"emission": "samples", "n_samples": 300})
    )
    assert sampled.history[0].test.error > fit.history[0].test.error


def test_grey_images_are_refused():
    grey = Split(np.full((4, 4), 0.3, np.float32))
    data = Dataset("grey", grey, grey, grey, None, None, "", "")
    with pytest.raises(DataError, match="'gmm' models binary images; images of 'grey'"):
        fit_pixel_mixture(data, PixelMixtureConfig())
    with pytest.raises(DataError, match="'gmm' models binary images"):
        gncn.Config(model="gmm").describe(data)


@pytest.mark.parametrize("n_done", [0, 1])
def test_ctrl_c_keeps_the_mixtures_of_the_seeds_before(digits, monkeypatch, n_done):
    heard, fits = [], iter([fit_mixture] * n_done)

    class Hears:
        def on_epoch(self, records, networks):
            heard.append(len(networks))

        def on_end(self, fit):
            heard.append(fit.status)

    def stopped(*arguments, **options):
        if (fit := next(fits, None)) is None:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    monkeypatch.setattr(pixel_mixture, "fit_mixture", stopped)
    config = PixelMixtureConfig(
        n_components=2, covariance="diagonal", max_iterations=1, emission="means"
    )
    with pytest.raises(Interrupted) as caught:
        fit_pixel_mixture(digits, config, seeds=[0, 1], callbacks=[Hears()])
    fit = caught.value.fit
    assert (len(fit.networks), len(fit.history), fit.status) == (n_done, n_done, "interrupted")
    assert heard == [1] * n_done + ["interrupted"]

"""Recall: the training images' codes as a prior, against loops over codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear import VISIBLE, Linear, made

import gncn.evaluation.recall
from budget import later
from gncn.evaluation.completion import complete
from gncn.evaluation.likelihood import prior_log_likelihood
from gncn.evaluation.pixels import BERNOULLI
from gncn.evaluation.protocols import WithPrior
from gncn.evaluation.recall import TEMPERATURES, EmpiricalPrior, Recall, fit_recall, likeliest


def probabilities(decoder, codes):
    return 1 / (1 + np.exp(-(codes.astype(float) @ np.asarray(decoder.weights, float))))


@pytest.mark.parametrize("codes_at_once", [later(5000), 40, later(7)])
@pytest.mark.parametrize("temperature", [later(1.0), 3.0])
def test_missing_pixels_are_means_over_codes_weighted_by_the_visible_ones(
    monkeypatch, codes_at_once, temperature
):
    monkeypatch.setattr(gncn.evaluation.recall, "_CODES_AT_ONCE", codes_at_once)
    jax.clear_caches()  # programs were compiled for another block
    decoder, codes, images = made()
    one = Recall(decoder, jnp.asarray(codes), jnp.asarray(temperature))
    found = complete(one, images, VISIBLE)
    p = probabilities(decoder, codes)
    for x, filled in zip(images, found, strict=True):
        weights = []
        for row in p:
            likelihood = 1.0
            for d in np.flatnonzero(VISIBLE):
                likelihood *= row[d] if x[d] else 1 - row[d]
            weights.append(likelihood ** (1 / temperature))
        expected = np.average(p, axis=0, weights=weights)
        np.testing.assert_allclose(filled[~VISIBLE], expected[~VISIBLE], rtol=1e-4)
        np.testing.assert_array_equal(filled[VISIBLE], x[VISIBLE])


@pytest.mark.parametrize("codes_at_once", [5000, 7])
@pytest.mark.parametrize("n", [1, 9, 40])
def test_the_likeliest_codes_come_best_first(monkeypatch, codes_at_once, n):
    monkeypatch.setattr(gncn.evaluation.recall, "_CODES_AT_ONCE", codes_at_once)
    decoder, codes, images = made()
    x = jnp.asarray(images, jnp.float32)

    def fit_of(codes):
        return BERNOULLI.table(x, decoder.decode(codes))

    found = likeliest(fit_of, jnp.asarray(codes), n)
    p = probabilities(decoder, codes)
    terms = np.where(images[:, None] > 0, p[None], 1 - p[None]).prod(axis=2)
    np.testing.assert_array_equal(found, np.argsort(-terms, axis=1)[:, :n])


def test_the_log_likelihood_is_that_of_the_mixture_of_all_codes():
    decoder, codes, images = made()
    model = WithPrior(decoder, EmpiricalPrior(jnp.asarray(codes)))
    found = prior_log_likelihood(model, images, key=jax.random.key(0), n_samples=200_000)
    p = probabilities(decoder, codes)
    terms = np.where(images[:, None] > 0, p[None], 1 - p[None]).prod(axis=2)
    np.testing.assert_allclose(found.per_image[0], np.log(terms.mean(axis=1)), atol=0.02)


def test_every_code_is_drawn_equally_often():
    prior = EmpiricalPrior(jnp.arange(8.0)[:, None])
    drawn = np.asarray(prior.sample(jax.random.key(3), 80_000))
    counts = np.bincount(drawn[:, 0].astype(int), minlength=8)
    assert np.abs(counts - 10_000).max() < 5 * (80_000 * 7 / 64) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [1.0, 3.0])
def test_the_temperature_is_chosen_on_images_whose_codes_are_left_out(wanted):
    decoder, codes, _ = made(6000)
    p = probabilities(decoder, codes)
    rng = np.random.default_rng(1)
    images = (rng.uniform(size=p.shape) < p).astype(np.uint8)
    if wanted == 3.0:  # three copies of each visible pixel: the decoder takes them for independent
        decoder = Linear(jnp.tile(decoder.weights, 3))
        images, visible = np.tile(images, 3), np.tile(VISIBLE, 3)
    else:
        visible = VISIBLE
    # A code that gave its own image would win at the lowest temperature.
    recall, held_out = fit_recall(decoder, codes, images, visible)
    chosen = np.linspace(0, 5999, 500).astype(int)
    np.testing.assert_array_equal(held_out, images[chosen])
    assert len(recall.codes) == 5500
    kept = {tuple(code) for code in np.asarray(recall.codes).tolist()}
    assert not kept & {tuple(code) for code in codes[chosen].tolist()}
    errors = {}
    for one in TEMPERATURES:
        completed = complete(Recall(decoder, recall.codes, one), held_out, visible)
        errors[one] = ((completed - held_out) ** 2)[:, ~visible].sum(1).mean()
    assert float(recall.temperature) == min(errors, key=errors.__getitem__)
    assert (float(recall.temperature) > 1.5) == (wanted == 3.0)


def test_with_nothing_visible_every_code_counts_the_same():
    decoder, codes, images = made()
    found = complete(Recall(decoder, jnp.asarray(codes)), images, np.zeros(6, bool))
    expected = probabilities(decoder, codes).mean(axis=0)
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=1e-5)

"""Completion by recalled codes that are improved, against loops over images and codes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Bool, Float
from linear import VISIBLE, Linear, made

import gncn.evaluation.recall
from budget import later
from gncn.base.errors import ConfigError
from gncn.evaluation.completion import complete
from gncn.evaluation.pixels import BERNOULLI
from gncn.evaluation.recall import Refined, candidates, expected, fit_refined


class Nudge(eqx.Module):
    """Moves codes by the visible pixels; its logits are not the decoder's."""

    decoder: Linear
    rate: float = 0.5
    gain: float = 1.0

    def __call__(
        self,
        x: Float[Array, "images pixels"],
        visible: Bool[Array, " pixels"],
        codes: Float[Array, "images dim"],
    ) -> tuple[Float[Array, "images pixels"], Float[Array, "images dim"]]:
        codes = codes + self.rate * (x * visible[None, :]) @ self.decoder.weights.T
        return self.gain * jnp.tanh(self.decoder.decode(codes)), codes


def fit(x, logits):
    p = 1 / (1 + np.exp(-logits[..., VISIBLE]))
    return np.log(np.where(x[VISIBLE] > 0, p, 1 - p)).sum(-1)


@pytest.mark.parametrize("codes_at_once", [5000, 7])
@pytest.mark.parametrize("n_codes", [later(1), later(3), 50])
@pytest.mark.parametrize(("temperature", "sharpness"), [(1.0, 1.0), (2.0, 0.7)])
def test_missing_pixels_are_means_over_the_likeliest_codes_improved(
    monkeypatch, codes_at_once, n_codes, temperature, sharpness
):
    monkeypatch.setattr(gncn.evaluation.recall, "_CODES_AT_ONCE", codes_at_once)
    jax.clear_caches()  # programs were compiled for another block
    decoder, codes, images = made()
    one = Refined(
        decoder, Nudge(decoder), jnp.asarray(codes), n_codes, temperature, jnp.asarray(sharpness)
    )
    found = complete(one, images, VISIBLE)
    weights = np.asarray(decoder.weights, float)
    for x, filled in zip(images.astype(float), found, strict=True):
        predicted, fits = [], []
        for number in np.argsort(-fit(x, codes @ weights))[:n_codes]:
            improved = codes[number] + 0.5 * np.where(VISIBLE, x, 0) @ weights.T
            logits = np.tanh(improved @ weights)
            predicted.append(1 / (1 + np.exp(-sharpness * logits)))
            fits.append(fit(x, improved @ weights) / temperature)
        mean = np.average(predicted, axis=0, weights=np.exp(fits))
        np.testing.assert_allclose(filled[~VISIBLE], mean[~VISIBLE], rtol=1e-4)
        np.testing.assert_array_equal(filled[VISIBLE], x[VISIBLE])


def test_missing_pixels_have_no_influence():
    decoder, codes, images = made()
    one = Refined(decoder, Nudge(decoder), jnp.asarray(codes), 4)
    other = np.where(VISIBLE[None, :], images, 1 - images)
    np.testing.assert_array_equal(
        complete(one, other, VISIBLE)[:, ~VISIBLE], complete(one, images, VISIBLE)[:, ~VISIBLE]
    )


@pytest.mark.slow
@pytest.mark.parametrize(("temperature", "sharpness"), [(1.0, 1.4), (5.0, 0.5)])
def test_temperature_and_sharpness_are_those_that_images_ask_for(temperature, sharpness):
    decoder, codes, images = made(n_images=20_000)
    improve = Nudge(decoder, gain=3.0)
    one = Refined(decoder, improve, jnp.asarray(codes))
    found = candidates(one, jnp.asarray(images, jnp.float32), jnp.asarray(VISIBLE))
    p = np.asarray(expected(BERNOULLI, found, temperature, sharpness))
    drawn = np.random.default_rng(1).uniform(size=p.shape) < p
    whole = np.where(VISIBLE[None, :], images, drawn).astype(np.uint8)
    fitted = fit_refined(decoder, improve, jnp.asarray(codes), whole, VISIBLE)
    assert float(fitted.temperature) == temperature
    assert float(fitted.sharpness) == pytest.approx(sharpness, abs=0.051)


def test_some_code_is_needed():
    decoder, codes, _ = made()
    with pytest.raises(ConfigError, match="n_codes must be at least 1; received 0"):
        Refined(decoder, Nudge(decoder), jnp.asarray(codes), 0)

"""Completion by a code that is fitted to the visible pixels: its steps, prior and settings."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from gncn.baselines.fitted import RATES, SHARPNESS, STEPS, FittedCompleter, fit_fitted
from gncn.evaluation.completion import Completer, complete, missing_squared_error, visible_pixels

VISIBLE = visible_pixels("right", (8, 8))


def plain_decode(model, code):
    """The decoder in NumPy, in double precision."""
    for number, (weights, bias) in enumerate(
        zip(model.decoder.weights, model.decoder.biases, strict=True), 1
    ):
        code = code @ np.asarray(weights, np.float64) + np.asarray(bias, np.float64)
        if number < len(model.decoder.weights):
            code = np.maximum(code, 0)
    return code


def plain_objective(model, code, image, visible, prior):
    """−Σ_visible log p(x_j|z) − log p(z), but for a constant, pixel by pixel."""
    total = 0.5 * np.sum(code**2) if prior else 0.0
    for logit, pixel, seen in zip(plain_decode(model, code), image, visible, strict=True):
        if seen:
            total += np.logaddexp(0, -logit) if pixel else np.logaddexp(0, logit)
    return total


@pytest.mark.parametrize(
    ("name", "prior"),
    [("gvae", True), pytest.param("gan-ae", True, marks=pytest.mark.slow), ("rae", False)],
)
def test_steps_are_adams(trained, digits, name, prior):
    """A plain loop of Adam, with gradients by differences."""
    model = trained(name).network
    image = digits.test.images[:1].astype(np.float64)
    code = np.asarray(
        model.encode(jnp.asarray(np.where(VISIBLE, image, 0), jnp.float32)), np.float64
    )[0]
    first, second = np.zeros_like(code), np.zeros_like(code)
    drives = []
    for step in range(1, 31):
        slope = np.empty_like(code)
        for k in range(len(code)):
            nudge = np.zeros_like(code)
            nudge[k] = 1e-5
            up, down = (
                plain_objective(model, code + sign * nudge, image[0], VISIBLE, prior)
                for sign in (1, -1)
            )
            slope[k] = (up - down) / 2e-5
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        code = code - 0.03 * (first / (1 - 0.9**step)) / (
            np.sqrt(second / (1 - 0.999**step)) + 1e-8
        )
        if step in (10, 30):
            drives.append(plain_decode(model, code))
    completer = FittedCompleter(model, n_steps=30, rate=0.03)
    x, visible = jnp.asarray(image, jnp.float32), jnp.asarray(VISIBLE)
    ours = np.asarray(completer.drives(x, visible, (10, 30))[:, 0])
    np.testing.assert_allclose(ours, drives, atol=2e-3)
    filled = np.asarray(completer(x, visible))[0, ~VISIBLE]
    np.testing.assert_allclose(filled, 1 / (1 + np.exp(-ours[1][~VISIBLE])), atol=1e-6)


def test_it_peeks_at_nothing_and_images_do_not_mix(trained, digits):
    completer = FittedCompleter(trained("rae").network, n_steps=20)
    assert isinstance(completer, Completer)
    x = jnp.asarray(digits.test.images[:5], jnp.float32)
    found = np.asarray(completer(x, jnp.asarray(VISIBLE)))
    np.testing.assert_array_equal(found[:, VISIBLE], x[:, VISIBLE])
    spoiled = jnp.where(jnp.asarray(VISIBLE), x, 0.7)
    np.testing.assert_array_equal(completer(spoiled, jnp.asarray(VISIBLE)), found)
    alone = np.asarray(completer(x[2:3], jnp.asarray(VISIBLE)))
    np.testing.assert_allclose(alone[0], found[2], atol=1e-5)
    masks = np.stack([VISIBLE, ~VISIBLE, VISIBLE, VISIBLE, VISIBLE])
    each = np.asarray(completer(x, jnp.asarray(masks)))
    np.testing.assert_allclose(each[[0, 2, 3, 4]], found[[0, 2, 3, 4]], atol=1e-5)
    np.testing.assert_array_equal(each[1][~VISIBLE], x[1][~VISIBLE])


def test_settings_are_those_of_least_error(trained, digits):
    """Every rate, number of steps and sharpness, one by one."""
    model, few = trained("gvae").network, digits.train.images[:40]
    chosen = fit_fitted(model, few, VISIBLE)
    errors = {}
    for n_steps, rate in itertools.product(STEPS, RATES):
        one = FittedCompleter(model, n_steps, jnp.asarray(rate))
        logits = one.drives(jnp.asarray(few, jnp.float32), jnp.asarray(VISIBLE), (n_steps,))[0]
        for sharpness in SHARPNESS:
            guess = 1 / (1 + np.exp(-sharpness * np.asarray(logits, np.float64)))
            errors[n_steps, rate, sharpness] = ((few - guess) ** 2)[:, ~VISIBLE].sum(1).mean()
    best = min(errors, key=errors.__getitem__)
    found = missing_squared_error(few, complete(chosen, few, VISIBLE), VISIBLE).mean
    assert found == pytest.approx(errors[best], rel=1e-5)
    assert (chosen.n_steps, chosen.rate, chosen.sharpness) == best

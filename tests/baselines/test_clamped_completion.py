"""Completion by clamped iteration: it comes to rest, alone or in a batch, and peeks at nothing."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from gncn.baselines.clamped import PLACES, ClampedCompleter, EncodeAgain
from gncn.evaluation.completion import (
    Completer,
    complete,
    missing_squared_error,
    visible_pixels,
)


@pytest.fixture(scope="module")
def completer(trained):
    return ClampedCompleter(trained("gvae").network, max_steps=300, tolerance=1e-4)


@pytest.fixture(scope="module")
def visible():
    return visible_pixels("right", (8, 8))


def test_a_completion_is_a_fixed_point(completer, visible, digits):
    x = jnp.asarray(digits.test.images[:40], jnp.float32)
    found = completer.complete(x, jnp.asarray(visible))
    assert bool(found.converged.mean() > 0.9)
    again = completer.model.reconstruct(found.images)
    moved = np.abs(np.asarray(again - found.images))[:, ~visible].max(axis=1)
    assert (moved[np.asarray(found.converged)] < 2e-4).all()
    np.testing.assert_array_equal(np.asarray(found.images)[:, visible], x[:, visible])
    assert int(found.n_steps.max()) <= 300
    assert int(found.n_steps.min()) > 1


def test_images_stop_by_themselves(completer, visible, digits):
    x = jnp.asarray(digits.test.images[:6], jnp.float32)
    together = completer.complete(x, jnp.asarray(visible))
    assert len(set(np.asarray(together.n_steps).tolist())) > 1
    for index in (0, 3):
        alone = completer.complete(x[index : index + 1], jnp.asarray(visible))
        assert int(alone.n_steps[0]) == int(together.n_steps[index])
        np.testing.assert_allclose(alone.images[0], together.images[index], atol=1e-5)


def test_a_queue_of_images_gives_what_a_plain_loop_does(completer, visible, digits):
    """Also where most images wait for others to stop."""
    images = np.where(visible, digits.train.images[: 2 * PLACES + 50], 0).astype(np.float32)
    found = completer.complete(jnp.asarray(images), jnp.asarray(visible))
    n_steps = np.zeros(len(images), int)
    moving = np.ones(len(images), bool)
    for _ in range(completer.max_steps):
        after = np.where(visible, images, completer.model.reconstruct(jnp.asarray(images)))
        n_steps += moving
        rests = np.abs(after - images).max(axis=1) < completer.tolerance
        images = np.where(moving[:, None], after, images)
        moving &= ~rests
    np.testing.assert_array_equal(found.n_steps, n_steps)
    np.testing.assert_array_equal(found.converged, ~moving)
    np.testing.assert_allclose(found.images, images, atol=1e-5)


def test_too_few_steps_are_told(completer, visible, digits):
    x = jnp.asarray(digits.test.images[:6], jnp.float32)
    short = eqx.tree_at(lambda c: c.tolerance, completer, 0.0)
    short = ClampedCompleter(short.model, max_steps=3, tolerance=0.0)
    found = short.complete(x, jnp.asarray(visible))
    assert not found.converged.any()
    assert (found.n_steps == 3).all()


def test_it_completes_better_than_blanks_and_never_looks(completer, visible, digits):
    assert isinstance(completer, Completer)
    images = digits.test.images
    filled = complete(completer, images, visible)
    blank = np.where(visible[None, :], images, 0).astype(np.float32)
    score = missing_squared_error(images, filled, visible).mean
    assert score < 0.8 * missing_squared_error(images, blank, visible).mean
    x = jnp.asarray(images[:5], jnp.float32)
    peeking = completer(x, jnp.asarray(visible))
    np.testing.assert_array_equal(peeking, completer(jnp.asarray(blank[:5]), jnp.asarray(visible)))


def test_encoding_again_begins_with_what_a_code_makes_of_missing_pixels(completer, visible, digits):
    model = completer.model
    x = jnp.asarray(np.where(visible, digits.test.images[:4], 0), jnp.float32)
    codes = model.encode(jnp.asarray(digits.train.images[:4], jnp.float32))
    logits, improved = EncodeAgain(model)(x, jnp.asarray(visible), codes)
    decoded = 1 / (1 + np.exp(-np.asarray(model.decode(codes))))
    guess = np.asarray(x).copy()
    guess[:, ~visible] = decoded[:, ~visible]
    expected = model.encode(jnp.asarray(guess))
    np.testing.assert_allclose(improved, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, model.decode(expected), rtol=1e-4, atol=1e-4)
    assert np.abs(improved - codes).max() > 0.1

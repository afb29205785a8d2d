"""Masks, completion and its score."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gncn.evaluation.completion
from budget import examples
from gncn.base.errors import ConfigError, DataError, DivergenceError
from gncn.evaluation.completion import (
    HALVES,
    Combined,
    combine,
    complete,
    complete_in_ways,
    missing_squared_error,
    visible_pixels,
)

SHAPE = (4, 6)


@pytest.mark.parametrize(
    ("half", "missing"),
    [
        ("right", np.s_[:, 3:]),
        ("left", np.s_[:, :3]),
        ("top", np.s_[:2]),
        ("bottom", np.s_[2:]),
    ],
)
def test_halves(half, missing):
    expected = np.ones(SHAPE, bool)
    expected[missing] = False
    np.testing.assert_array_equal(visible_pixels(half, SHAPE), expected.reshape(-1))


def test_the_right_half_of_mnist_is_columns_14_to_27():
    visible = visible_pixels("right", (28, 28)).reshape(28, 28)
    assert visible[:, :14].all()
    assert not visible[:, 14:].any()


def test_the_middle_of_an_odd_number_stays_visible():
    for half in HALVES:
        assert visible_pixels(half, (5, 5)).reshape(5, 5)[2, 2]
        assert visible_pixels(half, (5, 5)).sum() == 15


def test_random_pixels():
    masks = [visible_pixels("random", (10, 10), seed=s) for s in (0, 0, 1)]
    assert [(~mask).sum() for mask in masks] == [50, 50, 50]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).any()


def test_a_mask_of_your_own():
    own = np.random.default_rng(0).random(SHAPE) < 0.5
    np.testing.assert_array_equal(visible_pixels(own, SHAPE), own.reshape(-1))
    np.testing.assert_array_equal(visible_pixels(own.reshape(-1), SHAPE), own.reshape(-1))


@settings(max_examples=examples(25), deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 1), block=st.integers(1, 12))
def test_visible_pixels_come_back_to_the_bit_and_missing_ones_stay_unseen(seed, share, block):
    rng = np.random.default_rng(seed)
    x = rng.random((9, 24)).astype(np.float32)
    visible = rng.random(24) >= share

    def completer(blank, mask):
        np.testing.assert_array_equal(np.asarray(blank)[:, ~np.asarray(mask)], 0)
        return 2 * blank + 0.25

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gncn.evaluation.completion, "_AT_ONCE", block)
        completed = complete(completer, x, visible)
    np.testing.assert_array_equal(completed[:, visible], x[:, visible])
    np.testing.assert_array_equal(completed[:, ~visible], 0.25)


def test_score_sums_over_missing_pixels_and_averages_over_images():
    x = np.zeros((2, 24), np.uint8)
    visible = visible_pixels("right", SHAPE)
    guess = np.full((2, 24), 0.5, np.float32)
    guess[1] = 1
    score = missing_squared_error(x, guess, visible)
    np.testing.assert_allclose(score.values, [12 * 0.25, 12])
    assert score.mean == pytest.approx(7.5)
    assert score.standard_error == pytest.approx(4.5)
    nothing = missing_squared_error(x, guess, np.ones(24, bool))
    assert nothing.mean == 0
    assert np.isnan(missing_squared_error(x[:1], guess[:1], visible).standard_error)


def test_bad_masks():
    with pytest.raises(ConfigError, match=r"Unknown missing 'middle'.*'right'.*'random'"):
        visible_pixels("middle", SHAPE)
    with pytest.raises(ConfigError, match=r"must have that shape or \(24,\); received \(7,\)"):
        visible_pixels(np.ones(7, bool), SHAPE)


def test_every_way_completes_once_and_a_sum_is_of_those_it_names():
    x, visible = np.zeros((2, 4), np.uint8), np.array([True, False, True, False])
    calls = []

    def way(value):
        def completer(x, visible):
            calls.append(value)
            return jnp.full_like(x, value)

        return completer

    ways = {
        "a": way(0.1),
        "b": way(0.2),
        "c": way(0.9),
        "sum": Combined({"a": 0.5, "c": 0.25}),
        "more": Combined({"b": 2.0, "c": 1.0}),
    }
    told = []
    found = complete_in_ways(ways, x, visible, on_way=told.append)
    assert calls == [0.1, 0.2, 0.9]
    assert told == list(found) == ["a", "b", "c", "sum", "more"]
    np.testing.assert_allclose(found["sum"][:, ~visible], 0.275, rtol=1e-6)
    np.testing.assert_allclose(found["b"][:, ~visible], 0.2, rtol=1e-6)
    assert (found["more"][:, ~visible] == 1).all()
    assert (found["sum"][:, visible] == 0).all()
    with pytest.raises(ConfigError, match=r"way to combine in 'sum' 'z'.*one of: 'a'"):
        complete_in_ways({"a": way(0.1), "sum": Combined({"z": 1.0})}, x, visible)


def test_weights_of_a_combination_are_least_squares_without_negative_ones():
    rng = np.random.default_rng(0)
    x = (rng.uniform(size=(200, 24)) < 0.4).astype(np.uint8)
    visible = visible_pixels("right", SHAPE)
    noise = rng.normal(size=(3, 200, 24))
    told = {
        "near": x + 0.3 * noise[0],
        "far": x + 0.6 * noise[1],
        "wrong": 1 - x + 0.1 * noise[2],
    }

    def way(name):
        return lambda blank, mask: jnp.asarray(told[name], jnp.float32)

    ways = {name: way(name) for name in told}
    weights = combine(ways, x, visible).weights
    assert list(weights) == list(told)
    assert weights["wrong"] == 0
    a = np.stack([told[n][:, ~visible].ravel() for n in ("near", "far")], axis=1)
    exact = np.linalg.lstsq(a, x[:, ~visible].ravel().astype(float), rcond=None)[0]
    np.testing.assert_allclose([weights["near"], weights["far"]], exact, rtol=1e-4)
    assert weights["near"] > 2 * weights["far"] > 0
    with pytest.raises(ConfigError, match="must be missing; none are"):
        combine(ways, x, np.ones(24, bool))


def test_bad_completers():
    x, visible = np.ones((3, 24), np.uint8), visible_pixels("right", SHAPE)
    with pytest.raises(DivergenceError, match="not finite"):
        complete(lambda blank, mask: blank * jnp.nan, x, visible)
    with pytest.raises(DataError, match=r"returned shape \(3, 12\)"):
        complete(lambda blank, mask: blank[:, :12], x, visible)
    with pytest.raises(DataError, match="24 pixels, but the mask has 6"):
        complete(lambda blank, mask: blank, x, np.ones(6, bool))


def test_nothing_missing_returns_the_images():
    x = jax.random.uniform(jax.random.key(0), (3, 24))
    np.testing.assert_array_equal(complete(lambda b, m: b * jnp.nan, x, np.ones(24, bool)), x)

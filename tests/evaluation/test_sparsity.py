"""Sparsity measures against their definitions, and the t-SNE layout."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gncn.evaluation.codes
from budget import examples, later
from gncn.base.errors import ConfigError
from gncn.evaluation.codes import embed, gini, hoyer, sparsity


def test_extremes():
    one, equal = np.zeros((1, 10)), np.full((1, 10), 3.0)
    one[0, 4] = 2
    np.testing.assert_allclose(hoyer(jnp.asarray(one)), 1, rtol=1e-6)
    np.testing.assert_allclose(hoyer(jnp.asarray(equal)), 0, atol=1e-6)
    np.testing.assert_allclose(gini(jnp.asarray(one)), 0.9, rtol=1e-6)
    np.testing.assert_allclose(gini(jnp.asarray(equal)), 0, atol=1e-6)
    np.testing.assert_allclose(hoyer(jnp.zeros((1, 10))), 1)
    np.testing.assert_allclose(gini(jnp.zeros((1, 10))), 0.9, rtol=1e-6)


@settings(max_examples=examples(12), deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 30), scale=st.floats(0.1, 100))
def test_scale_sign_and_order_do_not_matter_and_gini_is_the_mean_difference(seed, n, scale):
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(3, n)).astype(np.float32)
    changed = scale * states[:, rng.permutation(n)] * rng.choice([-1, 1], n)
    for measure in (hoyer, gini):
        before, after = measure(jnp.asarray(states)), measure(jnp.asarray(changed))
        np.testing.assert_allclose(before, after, atol=1e-4)
        assert (np.asarray(before) > -1e-5).all()
        assert (np.asarray(before) < 1 + 1e-5).all()
    a = np.abs(states)
    difference = np.abs(a[:, :, None] - a[:, None, :]).mean((1, 2)) / (2 * a.mean(1))
    np.testing.assert_allclose(gini(jnp.asarray(states)), difference, atol=1e-4)


def test_share_of_active_and_silent_units_by_layer():
    first = np.array([[1.0, 0.0, -1.0, 1e-7], [2e-6, 0.0, 0.0, 0.0]], np.float32)
    second = np.ones((2, 3), np.float32)
    measured = [sparsity(first), sparsity(second)]
    assert measured[0].active == pytest.approx(2 / 8)
    assert measured[0].silent == pytest.approx(3 / 4)
    assert measured[1].active == 1
    assert measured[1].silent == 0
    assert measured[1].hoyer == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_layout_keeps_clusters_apart(monkeypatch):
    monkeypatch.setattr(gncn.evaluation.codes, "_N_POINTS", 40)
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 30)
    codes = (20.0 * label[:, None] + rng.normal(size=(60, 5))).astype(np.float32)
    layout = embed(codes, perplexity=10.0)
    assert len(np.unique(layout.indices)) == 40
    shown = label[layout.indices]
    means = np.stack([layout.positions[shown == k].mean(0) for k in (0, 1)])
    distance = ((layout.positions[:, None] - means[None]) ** 2).sum(-1)
    np.testing.assert_array_equal(np.argmin(distance, axis=1), shown)


def test_bad_layout_options():
    codes = np.zeros((20, 3), np.float32)
    with pytest.raises(ConfigError, match=r"below the 20 points drawn; received 30\.0"):
        embed(codes)
    with pytest.raises(ConfigError, match="perplexity must be above 0"):
        embed(codes, perplexity=0.0)


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_codes_of_a_collapsed_encoder_lie_at_the_origin(noise):
    """t-SNE crashed on them."""
    codes = np.array([[0.7, -0.2, 0.0]]) * (1 + noise * np.random.default_rng(0).random((40, 3)))
    layout = embed(codes.astype(np.float32), perplexity=10.0)
    np.testing.assert_array_equal(layout.positions, np.zeros((40, 2)))


@pytest.mark.parametrize("scale", [later(1e-25), later(1e-3), 1e15])
def test_codes_are_laid_out_whatever_their_units(scale):
    clusters = np.repeat([[0.0, 0.0], [1.0, 1.0]], 20, axis=0)
    codes = scale * (clusters + 0.05 * np.random.default_rng(0).random((40, 2)))
    positions = embed(codes.astype(np.float32), perplexity=5.0).positions
    centres = positions[:20].mean(axis=0), positions[20:].mean(axis=0)
    apart = np.linalg.norm(centres[0] - centres[1])
    for cluster, centre in zip((positions[:20], positions[20:]), centres, strict=True):
        assert np.linalg.norm(cluster - centre, axis=1).max() < apart


def test_a_single_unit_is_as_sparse_as_can_be():
    states = jnp.asarray([[0.0], [3.0], [-2.0]])
    assert hoyer(states).tolist() == [1, 1, 1]
    assert hoyer(jnp.asarray([[2.0, 2.0], [0.0, 5.0]])).tolist() == pytest.approx([0, 1])

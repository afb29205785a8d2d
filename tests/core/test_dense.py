"""Dense connections: Eqs 1, 3, 17 to 19 by NumPy, and the form that settling multiplies by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gncn import Dense
from gncn.base.errors import ConfigError
from gncn.core.connections import Exact, Learned, Random, Tied

FEEDBACKS = {"learned": Learned, "random": Random, "tied": Tied, "exact": Exact}
RNG = np.random.default_rng(0)
SENT, ERROR, STEP = (
    jnp.asarray(RNG.normal(size=shape), jnp.float32) for shape in ((3, 4), (3, 6), (6, 4))
)
Z, D = np.asarray(SENT, float), np.asarray(ERROR, float)


def synapses(feedback, **options):
    """From 4 neurons to 6."""
    keys = tuple(jax.random.split(jax.random.key(0)))
    return Dense(source=1, target=0, feedback=feedback, **options).build(4, 6, 0.5, keys)


def matrices(dense):
    """W and what errors travel up by, in double precision."""
    w = np.asarray(dense.forward, float)
    return w, np.asarray(getattr(dense.feedback, "weights", w.T), float)


def rounded(values):
    return np.asarray(jnp.asarray(values).astype("bfloat16").astype("float32"), float)


@pytest.mark.parametrize("feedback", FEEDBACKS)
def test_products_and_updates_equal_the_equations(feedback):
    dense = synapses(feedback)
    assert type(dense.feedback) is FEEDBACKS[feedback]
    assert (dense.source, dense.target) == (1, 0)
    w, e = matrices(dense)
    np.testing.assert_allclose(dense.predict(SENT), Z @ w.T, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(dense.send_up(ERROR), D @ e.T, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(dense.update(ERROR, SENT), D.T @ Z, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(dense.plastic, dense.forward)
    down, up = dense.matrices(4, 6)
    np.testing.assert_allclose(down, w.T, rtol=1e-6)
    np.testing.assert_allclose(up, e.T, rtol=1e-6)


@pytest.mark.parametrize("feedback", FEEDBACKS)
def test_a_step_moves_w_and_what_learns_of_e(feedback):
    before = synapses(feedback)
    after = before.learned(STEP, jnp.float32(0.1), jnp.float32(0.3))
    assert type(after.feedback) is type(before.feedback)
    np.testing.assert_allclose(after.forward, before.forward + 0.1 * STEP, rtol=1e-5)
    if feedback == "learned":  # Eq 19: the transpose, times λ
        wanted = before.feedback.weights + 0.3 * 0.1 * STEP.T
        np.testing.assert_allclose(after.feedback.weights, wanted, rtol=1e-5)
    if feedback == "random":
        np.testing.assert_array_equal(after.feedback.weights, before.feedback.weights)


@pytest.mark.parametrize("axis", ["sending", "receiving"])
def test_a_step_holds_vectors_to_their_lengths(axis):
    options = {"norm": "unit", "max_norm": 2.0, "max_feedback_norm": 0.5, "norm_axis": axis}
    dense = synapses("learned", **options)
    dense = dense.learned(STEP, jnp.float32(0.1), jnp.float32(0.3))
    across = 0 if axis == "sending" else 1
    np.testing.assert_allclose(np.linalg.norm(dense.forward, axis=across), 2.0, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(dense.feedback.weights, axis=across), 0.5, rtol=1e-5)


@pytest.mark.parametrize("feedback", FEEDBACKS)
@pytest.mark.parametrize("products", ["float32", "bfloat16"])
def test_laid_out_for_settling_it_is_the_same_connection(feedback, products):
    plain = synapses(feedback)
    laid = plain.laid_out(products)
    w, e = matrices(plain)
    assert (laid.source, laid.target) == (plain.source, plain.target)
    if products == "float32":
        for found, wanted in zip(
            (laid.predict(SENT), laid.send_up(ERROR), *laid.matrices(4, 6)),
            (plain.predict(SENT), plain.send_up(ERROR), *plain.matrices(4, 6)),
            strict=True,
        ):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    else:  # rounded factors, sums in single precision
        assert laid.predict(SENT).dtype == laid.send_up(ERROR).dtype == jnp.float32
        down, up = rounded(w.T), rounded(e.T)
        np.testing.assert_allclose(laid.predict(SENT), rounded(SENT) @ down, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(laid.send_up(ERROR), rounded(ERROR) @ up, rtol=1e-4, atol=1e-5)
        for found, wanted in zip(laid.matrices(4, 6), (down, up), strict=True):
            np.testing.assert_array_equal(np.asarray(found.astype(jnp.float32)), wanted)
        assert np.abs(np.asarray(laid.predict(SENT)) - Z @ w.T).max() > 1e-4
    # What is learned stays in single precision.
    np.testing.assert_array_equal(laid.plastic, plain.forward)
    np.testing.assert_array_equal(laid.update(ERROR, SENT), plain.update(ERROR, SENT))
    numbers = (STEP, jnp.float32(0.1), jnp.float32(0.3))
    for found, wanted in zip(
        jax.tree.leaves(laid.learned(*numbers)),
        jax.tree.leaves(plain.learned(*numbers)),
        strict=True,
    ):
        np.testing.assert_array_equal(found, wanted)


def test_counts_follow_what_there_is():
    counts = {name: Dense(source=1, target=0, feedback=name).n_synapses(4, 6) for name in FEEDBACKS}
    assert counts == {"learned": 48, "random": 48, "tied": 24, "exact": 24}


def test_errors_travel_up_in_ways_that_are_known():
    with pytest.raises(ConfigError, match="Unknown feedback 'transposed'.*'tied', 'exact'"):
        Dense(source=1, target=0, feedback="transposed")

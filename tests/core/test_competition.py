"""Competition: sums over groups and windows equal the dense V of the appendix."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gncn
from gncn import Band, Columns, Matrix, NoCompetition


def dense_v(mask, excitation, inhibition):
    identity = np.eye(len(mask))
    return inhibition * mask * (1 - identity) - excitation * identity


def drive(competition, signal, excitation, inhibition):
    competition.check(signal.shape[1])
    numbers = (jnp.asarray(value, jnp.float32) for value in (signal, excitation, inhibition))
    return np.asarray(competition.drive(*numbers))


@given(
    columns=st.integers(1, 5) | st.integers(9, 18),  # from 9 the last tile is filled up
    group=st.integers(1, 6),
    seed=st.integers(0, 1000),
    excitation=st.floats(0, 1),
    inhibition=st.floats(0, 1),
)
def test_columns_equal_the_appendix_recipe(columns, group, seed, excitation, inhibition):
    size = columns * group
    parts = []  # S_1, S_2, ...: the paper's three steps
    for k in range(columns):
        part = np.zeros((size, group))
        part[k * group : (k + 1) * group, :] = 1
        parts.append(part)
    v = dense_v(np.concatenate(parts, axis=1), excitation, inhibition)
    signal = np.random.default_rng(seed).normal(size=(3, size)).astype(np.float32)
    found = drive(Columns(group_size=group), signal, excitation, inhibition)
    np.testing.assert_allclose(found, signal @ v.T, rtol=1e-4, atol=1e-5)


@given(size=st.integers(2, 12), data=st.data(), seed=st.integers(0, 1000))
def test_a_band_equals_its_dense_matrix(size, data, seed):
    width = data.draw(st.integers(1, size - 1))
    distance = np.abs(np.arange(size)[:, None] - np.arange(size)[None])
    v = dense_v((distance <= width).astype(float), 0.13, 0.125)
    signal = np.random.default_rng(seed).normal(size=(2, size)).astype(np.float32)
    found = drive(Band(band_width=width), signal, 0.13, 0.125)
    np.testing.assert_allclose(found, signal @ v.T, atol=1e-5)


def test_a_users_matrix_acts_from_column_to_row_and_its_diagonal_is_ignored():
    mask = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 1.0]], np.float32)
    signal = np.array([[1.0, 2.0, 4.0]], np.float32)
    found = drive(Matrix(mask=mask), signal, 0.1, 0.3)
    np.testing.assert_allclose(found, signal @ dense_v(mask, 0.1, 0.3).T, rtol=1e-6)
    assert found[0, 0] == pytest.approx(0.3 * 2.0 - 0.1 * 1.0)


def test_without_competition_nothing_is_driven_not_even_by_itself():
    signal = np.array([[1.0, -2.0, 4.0]], np.float32)
    np.testing.assert_array_equal(drive(NoCompetition(), signal, 0.3, 0.2), 0 * signal)


@pytest.mark.parametrize(
    "competition",
    [
        NoCompetition(),
        Columns(group_size=3),
        Band(band_width=2),
        Matrix(mask=np.random.default_rng(0).uniform(size=(6, 6))),
    ],
)
def test_a_bound_is_symmetric_and_no_less_than_the_rivalry(competition):
    """For all z: z^T B z >= z^T (M - diag M) z."""
    bound = np.asarray(competition.bound(6), float)
    np.testing.assert_array_equal(bound, bound.T)
    rivalry = np.asarray(competition.rival_sum(jnp.eye(6)), float)
    symmetric = 0.5 * (rivalry + rivalry.T)
    assert np.linalg.eigvalsh(bound - symmetric).min() > -1e-6


def test_competition_silences_the_weaker_column_mate():
    circuit = gncn.chain((2, 4), competition="columns", group_size=2)
    rivals = gncn.build(circuit, seed=0, self_excitation=0.3, lateral_inhibition=0.8)
    free = gncn.build(gncn.chain((2, 4)), seed=0)
    x = jnp.asarray([[1.0, 0.0]])
    n_active = [
        int((np.asarray(gncn.settle(n, x, n_settle_steps=200).latents[1]) > 1e-6).sum())
        for n in (rivals, free)
    ]
    assert n_active[0] == 2  # one a column
    assert n_active[0] <= n_active[1]


def test_sums_over_columns_have_factors_of_the_type_that_products_take():
    signal = np.array([[1.0, 1.0 + 2**-9, 3.0]], np.float32)  # the second is 1 in 16 bits
    columns = Columns(group_size=3)
    found = {
        products: np.asarray(columns.rival_sum(jnp.asarray(signal), products))
        for products in ("float32", "bfloat16")
    }
    np.testing.assert_array_equal(found["float32"][0], [4 + 2**-9, 4, 2 + 2**-9])
    np.testing.assert_array_equal(found["bfloat16"][0], [4, 4 - 2**-9, 2])

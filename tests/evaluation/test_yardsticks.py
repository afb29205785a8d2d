"""Mean image, nearest neighbours, supervised regressor; and nearest training images."""

import jax
import numpy as np
import pytest

from gncn.base.errors import ConfigError
from gncn.evaluation.completion import complete, missing_squared_error, visible_pixels
from gncn.evaluation.yardsticks import (
    choose_regressors,
    fit_nearest_neighbours,
    fit_regressor,
    mean_image,
    nearest_images,
)

VISIBLE = visible_pixels("right", (4, 8))


def mirrored(n, seed, noise=0.0):
    """Images whose right half mirrors the left, but for flipped pixels."""
    rng = np.random.default_rng(seed)
    left = rng.integers(0, 2, (n, 4, 4))
    right = left[:, :, ::-1] ^ (rng.random((n, 4, 4)) < noise)
    return np.concatenate([left, right], axis=2).reshape(n, 32).astype(np.uint8)


def m_mse(completer, x):
    return missing_squared_error(x, complete(completer, x, VISIBLE), VISIBLE).mean


def test_mean_image_scores_the_variance():
    train, test = mirrored(500, 0), mirrored(300, 1)
    expected = np.sum((test - train.mean(0)) ** 2, axis=1, where=~VISIBLE).mean()
    assert m_mse(mean_image(train), test) == pytest.approx(expected, rel=1e-5)


def test_neighbours_agree_with_brute_force():
    train, queries = mirrored(200, 0), mirrored(20, 1)
    found = nearest_images(train, queries, 3)
    distance = (train[None].astype(int) != queries[:, None]).sum(-1)
    np.testing.assert_allclose(found.distances, np.sqrt(np.sort(distance, axis=1)[:, :3]))
    np.testing.assert_allclose(
        np.take_along_axis(distance, found.indices, 1), found.distances**2, atol=1e-4
    )


def test_a_copy_is_at_distance_zero():
    train = mirrored(50, 0)
    found = nearest_images(train, train[[7]])
    assert found.distances[0, 0] == 0
    np.testing.assert_array_equal(train[found.indices[0, 0]], train[7])


def test_neighbours_see_only_visible_pixels_and_average():
    train = np.zeros((3, 32), np.float32)
    train[:, ~VISIBLE] = np.array([0.2, 0.4, 0.9])[:, None]
    train[2, VISIBLE] = 1
    fit = fit_nearest_neighbours(train, train[:2], VISIBLE, (2,))
    completed = complete(fit, np.zeros((1, 32)), VISIBLE)
    np.testing.assert_allclose(completed[0, ~VISIBLE], 0.3, rtol=1e-6)


def test_number_of_neighbours_is_chosen_on_validation():
    train, validation = mirrored(3000, 0, noise=0.2), mirrored(200, 1, noise=0.2)
    fit = fit_nearest_neighbours(train, validation, VISIBLE, (1, 5, 15, 10**6))
    assert set(fit.validation) == {1, 5, 15}
    assert fit.k == min(fit.validation, key=fit.validation.__getitem__)
    assert m_mse(fit, validation) == pytest.approx(fit.validation[fit.k], rel=1e-4)
    assert fit.validation[5] < fit.validation[1]


@pytest.mark.slow
def test_regressor_learns_the_rule_and_stops():
    train, validation, test = mirrored(4000, 0, 0.1), mirrored(300, 1, 0.1), mirrored(300, 2, 0.1)
    seen = []
    fit = fit_regressor(
        train,
        validation,
        VISIBLE,
        key=jax.random.key(0),
        n_hidden=64,
        n_layers=1,
        dropout=0.0,
        learning_rate=1e-2,
        batch_size=100,
        on_epoch=lambda epoch, error: seen.append((epoch, error)),
    )
    floor = 16 * 0.1 * 0.9
    assert m_mse(fit.completer, test) < 1.2 * floor
    assert m_mse(fit.completer, validation) == pytest.approx(fit.validation.min(), rel=1e-5)
    assert fit.converged
    assert seen == list(enumerate(fit.validation, start=1))
    assert len(fit.validation) == int(np.argmin(fit.validation)) + 1 + 3
    completed = complete(fit.completer, test, VISIBLE)
    assert (completed[:, ~VISIBLE] > 0).all()
    assert (completed[:, ~VISIBLE] < 1).all()


@pytest.mark.slow
def test_regressor_of_few_epochs():
    train = mirrored(50, 0)
    a, b = (
        fit_regressor(train, train, VISIBLE, key=jax.random.key(1), n_hidden=8, max_epochs=2)
        for _ in range(2)
    )
    assert not a.converged
    assert len(a.validation) == 2
    np.testing.assert_array_equal(a.validation, b.validation)


def test_size_and_dropout_are_chosen_on_validation_and_several_networks_averaged():
    train, validation = mirrored(300, 0, 0.1), mirrored(80, 1, 0.1)
    images, key, epochs = mirrored(9, 2), jax.random.key(3), []
    options = {"n_hidden": (2, 24), "dropout": (0.0, 0.6), "n_networks": 3}
    found = choose_regressors(
        train, validation, VISIBLE, key=key, on_epoch=lambda *news: epochs.append(news), **options
    )
    alone = {
        (units, share): fit_regressor(
            train, validation, VISIBLE, key=key, n_hidden=units, dropout=share
        )
        for units in (2, 24)
        for share in (0.0, 0.6)
    }
    assert found.validation == {pair: fit.validation.min() for pair, fit in alone.items()}
    best = min(alone, key=lambda pair: alone[pair].validation.min())
    assert (found.n_hidden, found.dropout) == best == (24, 0.0)
    more = [
        fit_regressor(
            train,
            validation,
            VISIBLE,
            key=jax.random.fold_in(key, number),
            n_hidden=24,
            dropout=0.0,
        )
        for number in (1, 2)
    ]
    each = [complete(fit.completer, images, VISIBLE) for fit in (alone[best], *more)]
    assert np.abs(each[0] - each[1]).max() > 1e-3
    np.testing.assert_allclose(
        complete(found, images, VISIBLE), np.mean(each, axis=0), rtol=1e-5, atol=1e-7
    )
    n_epochs = sum(len(fit.validation) for fit in (*alone.values(), *more))
    assert len(epochs) == n_epochs


def test_one_regressor_is_what_is_fitted_alone():
    train = mirrored(40, 0)
    (network,) = choose_regressors(train, train, VISIBLE, key=jax.random.key(0)).networks
    alone = fit_regressor(train, train, VISIBLE, key=jax.random.key(0)).completer
    np.testing.assert_array_equal(
        complete(network, train, VISIBLE), complete(alone, train, VISIBLE)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_hidden": ()}, r"at least one n_hidden and one dropout; received \(\) and \(0.3,\)"),
        ({"dropout": ()}, r"at least one n_hidden and one dropout; received \(512,\) and \(\)"),
        ({"n_networks": 0}, "n_networks must be at least 1; received 0"),
    ],
)
def test_nothing_to_choose_from(options, message):
    train = mirrored(10, 0)
    with pytest.raises(ConfigError, match=message):
        choose_regressors(train, train, VISIBLE, key=jax.random.key(0), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, r"dropout must be at least 0 and below 1; received 1\.0"),
        ({"max_epochs": 0}, "max_epochs must be at least 1"),
        ({"visible": np.ones(32, bool)}, "some pixels visible and some missing"),
        ({"visible": np.zeros(32, bool)}, "some pixels visible and some missing"),
    ],
)
def test_bad_regressor_options(options, message):
    train = mirrored(10, 0)
    with pytest.raises(ConfigError, match=message):
        fit_regressor(
            train, train, options.pop("visible", VISIBLE), key=jax.random.key(0), **options
        )


def test_bad_neighbour_options():
    train = mirrored(10, 0)
    with pytest.raises(ConfigError, match="k must be between 1 and 10, the images; received 11"):
        nearest_images(train, train, 11)
    with pytest.raises(ConfigError, match="a number between 1 and 10"):
        fit_nearest_neighbours(train, train, VISIBLE, (0, 11))
    with pytest.raises(ConfigError, match="at least one visible pixel"):
        fit_nearest_neighbours(train, train, np.zeros(32, bool))


@pytest.mark.slow
def test_yardsticks_on_the_right_half_of_mnist():
    """Zeros 58.4, mean image 36.1, supervised about 19.4 or better, measured elsewhere."""
    from gncn.data import load_dataset

    data = load_dataset("mnist")
    visible = visible_pixels("right", (28, 28))
    train, validation, test = (split.images for split in (data.train, data.validation, data.test))

    def score(completer):
        return missing_squared_error(test, complete(completer, test, visible), visible).mean

    assert score(lambda x, mask: x) == pytest.approx(58.4, abs=0.1)
    assert score(mean_image(train)) == pytest.approx(36.1, abs=0.1)
    neighbours = score(fit_nearest_neighbours(train, validation, visible))
    fit = fit_regressor(train, validation, visible, key=jax.random.key(0))
    supervised = score(fit.completer)
    assert 18.6 < supervised < 19.6
    assert supervised < neighbours < 36.1


@pytest.mark.slow
def test_values_that_are_no_probabilities_are_standardised():
    """A linear regressor of one epoch, whose answers are moved and stretched with the values."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 32)).astype(np.float32)
    heard, options = [], {"key": jax.random.key(1), "n_hidden": 4, "max_epochs": 1}
    listening = {"on_epoch": lambda *news: heard.append(news), **options}
    plain = fit_regressor(values, values, VISIBLE, **listening)
    moved = fit_regressor(3 * values + 5, 3 * values + 5, VISIBLE, **options)
    filled = complete(plain.completer, values, VISIBLE)
    np.testing.assert_array_equal(filled[:, VISIBLE], values[:, VISIBLE])
    scaled = complete(moved.completer, 3 * values + 5, VISIBLE)
    np.testing.assert_allclose(scaled, 3 * filled + 5, atol=1e-2)
    assert heard == [(1, plain.validation[0])]
    assert moved.validation[0] == pytest.approx(9 * plain.validation[0], rel=1e-2)

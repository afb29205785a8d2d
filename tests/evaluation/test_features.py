"""Features that need no model, against plain loops and scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.neural_network import BernoulliRBM
from test_yardsticks import mirrored

from gncn.base.errors import ConfigError
from gncn.evaluation.completion import complete, missing_squared_error, visible_pixels
from gncn.evaluation.features import (
    fit_prototype_regressor,
    k_means_centres,
    random_features,
    rbm_features,
    some_images,
    triangle_features,
)

SHAPE = (4, 8)
TRAIN, OTHERS = mirrored(300, 0), mirrored(40, 1)
NOISY, NOISY_OTHERS = mirrored(300, 0, 0.1), mirrored(100, 1, 0.1)


def test_random_features_are_rectified_projections_of_centred_images():
    features = random_features(TRAIN, 50, seed=3)
    zero, found = features(TRAIN.mean(0)[None]), features(OTHERS)
    np.testing.assert_allclose(zero, 0, atol=1e-5)
    # Linear where the units are active: the middle of two images has the mean of their features.
    both = (found[0] > 0) & (found[1] > 0)
    middle = features((OTHERS[:1] + OTHERS[1:2]) / 2)[0]
    np.testing.assert_allclose(middle[both], found[:2, both].mean(0), rtol=1e-4)
    assert 0.4 < (found > 0).mean() < 0.6
    np.testing.assert_array_equal(found, random_features(TRAIN, 50, seed=3)(OTHERS))
    assert not np.array_equal(found, random_features(TRAIN, 50, seed=4)(OTHERS))


def test_a_unit_of_a_patch_sees_that_patch_alone():
    features = random_features(TRAIN, 200, seed=1, image_shape=SHAPE, patch=3)
    pixels = 1e5 * np.eye(32)  # each far up, then each far down, so that no unit is cut off
    moved = features(OTHERS[:1] + np.concatenate([pixels, -pixels, 0 * pixels[:1]]))
    differ = np.abs(moved[:-1] - moved[-1]) > 0.1  # rows of a product may be rounded differently
    matters = (differ[:32] | differ[32:]).T.reshape(-1, *SHAPE)
    spans = set()
    for unit in matters:
        rows, columns = np.nonzero(unit)
        assert unit.sum() == 9
        assert np.ptp(rows) == np.ptp(columns) == 2
        spans.add((rows.min(), columns.min()))
    assert spans == {(row, column) for row in range(2) for column in range(6)}


def test_triangle_features_equal_the_loops():
    prototypes = some_images(TRAIN, 7, seed=2)
    found = triangle_features(prototypes)(OTHERS)
    for image, row in zip(OTHERS.astype(float), found, strict=True):
        distances = [np.sqrt(sum((image - one) ** 2)) for one in prototypes.astype(float)]
        expected = [max(0.0, np.mean(distances) - one) for one in distances]
        np.testing.assert_allclose(row, expected, atol=2e-5)


@pytest.mark.parametrize(
    "features_of",
    [
        lambda images: triangle_features(some_images(images, 7, seed=2)),
        lambda images: random_features(images, 7, seed=2),
    ],
)
def test_values_far_from_zero_have_the_same_features(features_of):
    # Not whole numbers, whose squares single precision may hold.
    far = np.float32(1000) + np.random.default_rng(0).normal(size=(50, 32)).astype(np.float32)
    near = far - np.float32(1000)
    found, expected = (features_of(images[:30])(images[30:]) for images in (far, near))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_mean_of_many_values_far_from_zero_keeps_its_digits():
    many = np.full((50_000, 3), 1000.1, np.float32)
    np.testing.assert_allclose(random_features(many, 4)(many[:1]), 0, atol=1e-3)


def test_prototypes_are_different_training_images():
    rows = np.arange(300 * 2, dtype=np.float32).reshape(300, 2)
    drawn = some_images(rows, 299, seed=0)
    assert len(np.unique(drawn, axis=0)) == 299
    assert {*map(tuple, drawn)} <= {*map(tuple, rows)}
    with pytest.raises(ConfigError, match="301 prototypes need as many images; received 300"):
        some_images(rows, 301)


def test_k_means_finds_the_groups_that_it_starts_from():
    centres = 10 * np.eye(4)
    noise = 0.1 * np.random.default_rng(0).normal(size=(50, 4, 4))
    images = (centres + noise).reshape(200, 4)
    groups = lambda seed: np.argmax(some_images(images, 4, seed), axis=1)  # noqa: E731
    seed = next(seed for seed in range(100) if len({*groups(seed)}) == 4)
    found = k_means_centres(images, 4, seed)
    means = np.stack([images[group::4].mean(0) for group in groups(seed)])
    np.testing.assert_allclose(found, means, atol=0.05)
    far = k_means_centres(images + 1e5, 4, seed)
    np.testing.assert_allclose(far - 1e5, means, atol=0.07)


def test_an_rbm_gives_the_probabilities_of_its_hidden_units():
    features = rbm_features(TRAIN, 6, 1, learning_rate=0.03)
    machine = BernoulliRBM(6, learning_rate=0.03, n_iter=5, random_state=1)
    machine.fit(TRAIN.astype(np.float32))
    drive = OTHERS @ machine.components_.T + machine.intercept_hidden_
    np.testing.assert_allclose(features(OTHERS), 1 / (1 + np.exp(-drive)), rtol=1e-5)
    with pytest.raises(ConfigError, match=r"values in \[0, 1\]"):
        rbm_features(TRAIN - 0.5, 6, 1, 0.1)


def test_the_regressor_is_ridge_regression_with_the_best_penalty():
    visible = visible_pixels("right", SHAPE)
    fit = fit_prototype_regressor(NOISY, NOISY_OTHERS, visible, 100, seed=4)
    features = triangle_features(some_images(NOISY, 100, seed=4)[:, visible])
    inputs = features(NOISY[:, visible]).astype(float)
    completed = complete(fit, NOISY_OTHERS, visible)
    np.testing.assert_array_equal(completed[:, visible], NOISY_OTHERS[:, visible])
    varies, tried, beyond = np.mean(np.sum((inputs - inputs.mean(0)) ** 2, axis=0)), {}, 0
    for share in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        ridge = Ridge(alpha=share * varies).fit(inputs, NOISY[:, ~visible].astype(float))
        filled = ridge.predict(features(NOISY_OTHERS[:, visible]).astype(float))
        beyond += np.sum((filled < 0) | (filled > 1))
        expected = NOISY_OTHERS.astype(float)
        expected[:, ~visible] = np.clip(filled, 0, 1)
        tried[share] = missing_squared_error(NOISY_OTHERS, expected, visible).mean, expected
    assert fit.validation == pytest.approx({p: one for p, (one, _) in tried.items()}, rel=1e-3)
    best = min(tried, key=lambda share: tried[share][0])
    assert fit.penalty == best
    assert 1e-6 < best < 1
    np.testing.assert_allclose(completed, tried[best][1], atol=1e-3)
    assert beyond > 0


@pytest.mark.parametrize(("scale", "shift"), [(255, 0), (1 / 255, 0), (1, 1000), (20, -10)])
def test_neither_the_unit_nor_the_origin_of_pixels_matters_to_the_regressor(scale, shift):
    visible = visible_pixels("right", SHAPE)
    plain = fit_prototype_regressor(NOISY, NOISY_OTHERS, visible, 100)
    train, others = (np.float32(scale) * x + np.float32(shift) for x in (NOISY, NOISY_OTHERS))
    moved = fit_prototype_regressor(train, others, visible, 100)
    assert moved.penalty == plain.penalty
    expected = {share: scale**2 * error for share, error in plain.validation.items()}
    assert moved.validation == pytest.approx(expected, rel=1e-3)
    found = (complete(moved, others, visible) - shift) / scale
    np.testing.assert_allclose(found, complete(plain, NOISY_OTHERS, visible), atol=2e-3)
    assert 1e-6 < plain.penalty < 1  # so another unit of λ would choose another


def test_of_penalties_that_are_equally_good_the_strongest_is_taken():
    visible = visible_pixels("right", SHAPE)
    fit = fit_prototype_regressor(TRAIN, OTHERS, visible, 1, penalties=(0.1, 1.0, 0.01))
    assert len({*fit.validation.values()}) == 1  # a single distance is never below the mean of all
    assert fit.penalty == 1.0
    filled = complete(fit, OTHERS, visible)[:, ~visible]
    np.testing.assert_allclose(filled, np.tile(TRAIN[:, ~visible].mean(0), (40, 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 5, "image_shape": SHAPE}, "patch=5"),
        ({"patch": 2}, "image_shape=None"),
        ({"width": 0}, "width"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ConfigError, match=message):
        random_features(TRAIN, **({"width": 4} | options))


def test_a_mask_must_hide_something():
    with pytest.raises(ConfigError, match="some pixels visible and some missing"):
        fit_prototype_regressor(TRAIN, OTHERS, np.ones(32, bool), 5)

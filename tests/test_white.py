"""What uint8 images are divided by: a model treats later ones as those that it learned from."""

import functools
import io
import pickle
import warnings

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

import gncn
from budget import examples
from gncn.base import notices as saying
from gncn.base.arrays import as_images, white_of
from gncn.base.errors import DataError
from gncn.data.given import as_split
from gncn.runs.config import Config
from gncn.runs.folder import RunFolder
from gncn.runs.train import train_run

PIXELS = 9
RNG = np.random.default_rng(0)
BITS = RNG.integers(0, 2, (20, PIXELS)).astype(np.uint8)
GREYS = RNG.integers(0, 256, (20, PIXELS)).astype(np.uint8)
DARK = BITS[:5]
"""Images of zeros and ones, which after greys are nearly black."""
FITTED_ON = {"greys": GREYS, "black and white": 255 * BITS, "zeros and ones": BITS}
SEEN = {
    "greys": np.concatenate([DARK, GREYS, 0 * DARK]),
    "black and white": np.concatenate([255 * BITS, DARK, GREYS]),
    "zeros and ones": BITS,
}
"""What each is shown: dark images, and greys if it knows them."""
SCALE = {"greys": 255, "black and white": 255, "zeros and ones": 1}
SMALL = {"sizes": (4,), "group_size": 2, "n_settle_steps": 3, "n_epochs": 1, "batch_size": 10}
PRIOR = {"n_components": 1, "n_samples": 5}


@pytest.fixture(autouse=True)
def _nothing_said():
    saying._said.clear()


@functools.cache
def fitted(name, likelihood="gaussian"):
    return gncn.GNCN(**SMALL, **PRIOR, likelihood=likelihood, threshold=0.003).fit(FITTED_ON[name])


@functools.cache
def codes(name, likelihood):
    return fitted(name, likelihood).transform(SEEN[name])


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("name", FITTED_ON)
@settings(max_examples=examples(50))
@given(data=st.data())
def test_codes_of_a_part_are_a_part_of_the_codes(name, likelihood, data):
    seen = SEEN[name]
    rows = data.draw(st.lists(st.integers(0, len(seen) - 1), min_size=1, max_size=6))
    expected = codes(name, likelihood)[rows]
    np.testing.assert_array_equal(fitted(name, likelihood).transform(seen[rows]), expected)


@pytest.mark.parametrize("name", FITTED_ON)
def test_an_estimator_divides_by_what_it_divided_its_own_images(name):
    estimator, floats = fitted(name), SEEN[name] / np.float32(SCALE[name])
    assert estimator.white_ == SCALE[name]
    whole, dark = estimator.transform(floats), DARK / np.float32(SCALE[name])
    np.testing.assert_array_equal(estimator.transform(SEEN[name]), whole)
    for method in ("transform", "reconstruct", "score_samples"):
        function = getattr(estimator, method)
        np.testing.assert_array_equal(function(DARK), function(dark))
    right = np.arange(PIXELS) < 4
    hidden = np.broadcast_to(~right, DARK.shape)
    filled = estimator.complete(np.where(right, dark, np.nan))
    for given_ in (np.ma.masked_array(DARK, hidden), list(np.ma.masked_array(DARK, hidden))):
        np.testing.assert_array_equal(estimator.complete(given_), filled)
    np.testing.assert_array_equal(estimator.complete(DARK, right), filled)


def test_what_was_decided_is_kept_with_the_estimator():
    estimator, file = fitted("greys"), io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    expected = estimator.transform(DARK / np.float32(255))
    for again in (pickle.loads(pickle.dumps(estimator)), joblib.load(file)):
        np.testing.assert_array_equal(again.transform(DARK), expected)
    fresh = clone(estimator)
    assert not hasattr(fresh, "white_")
    assert fresh.fit(BITS).white_ == 1


def test_the_first_images_decide_for_those_that_follow():
    first, later = gncn.GNCN(**SMALL, likelihood="gaussian"), GREYS[:10]
    by_floats = (
        clone(first).partial_fit(later / np.float32(255)).partial_fit(DARK / np.float32(255))
    )
    expected = by_floats.transform(later / np.float32(255))
    found = clone(first).partial_fit(later).partial_fit(DARK)
    np.testing.assert_array_equal(found.transform(later), expected)
    dark_first = clone(first).partial_fit(DARK)
    with pytest.raises(DataError, match="X are 8-bit .* that the model learned from were not"):
        dark_first.partial_fit(later)
    # All is decided again by `fit`.
    assert dark_first.fit(later).white_ == 255


def test_after_other_types_uint8_is_taken_as_it_is_or_refused():
    estimator = gncn.GNCN(**SMALL, likelihood="gaussian").fit(GREYS / np.float32(255))
    assert estimator.white_ == 1
    expected = estimator.transform(DARK.astype(float))
    np.testing.assert_array_equal(estimator.transform(DARK), expected)
    for greys in (GREYS, list(GREYS), np.ma.masked_array(GREYS, GREYS < 9)):
        with pytest.raises(DataError, match="divided by 255, or as plain numbers"):
            estimator.complete(greys, "random")


def test_classifiers_and_mixtures_do_so_too():
    both = np.concatenate([GREYS, DARK])
    mixture = gncn.PixelMixture(n_components=1, max_iterations=1, n_samples=5, threshold=0.003)
    scores = mixture.fit(GREYS).score_samples(both)
    np.testing.assert_array_equal(mixture.score_samples(DARK), scores[-len(DARK) :])
    classifier = gncn.DSRN(budget=300, n_epochs=1, batch_size=10, threshold=0.003)
    shares = classifier.fit(GREYS, np.arange(20) % 2).predict_proba(both)
    np.testing.assert_array_equal(classifier.predict_proba(DARK), shares[-len(DARK) :])


def test_evaluation_and_export_know_the_estimators_scale(tmp_path):
    estimator, few = fitted("greys"), {"only": ["sparsity"]}
    dark = DARK / np.float32(255)
    found, expected = (gncn.evaluate(estimator, x, **few).numbers for x in (DARK, dark))
    assert found["squared_error"] == expected["squared_error"]
    assert found["sparsity"] == expected["sparsity"]
    for name, images in (("found", DARK), ("expected", dark)):
        gncn.export(estimator, tmp_path / f"{name}.npz", images)
    states = [np.load(tmp_path / f"{name}.npz")["z1"] for name in ("found", "expected")]
    np.testing.assert_array_equal(*states)


@pytest.mark.parametrize("kind", ["an array", "a data set"])
def test_functions_treat_images_as_the_training_images_that_they_get(kind):
    network = gncn.build(gncn.chain((PIXELS, 4), likelihood="gaussian"), seed=0, n_settle_steps=2)
    training, dark = GREYS, DARK / np.float32(255)
    if kind == "a data set":
        training = gncn.from_arrays(GREYS, binarisation="none")
        assert training.white == 255
    options = {"mask": np.arange(PIXELS) < 4, "data": training}
    found, expected = (gncn.complete(network, x, **options) for x in (DARK, dark))
    np.testing.assert_array_equal(found, expected)
    assert np.abs(gncn.complete(network, DARK, options["mask"]) - found).max() > 0.5


def test_log_likelihood_treats_images_as_those_of_the_prior():
    network = gncn.build(gncn.chain((PIXELS, 2), likelihood="gaussian"), seed=0, n_settle_steps=2)
    training = np.tile(GREYS, (4, 1))
    found, expected = (
        gncn.log_likelihood(network, x, prior=training, n_samples=5)
        for x in (DARK, DARK / np.float32(255))
    )
    np.testing.assert_array_equal(found, expected)


def test_a_run_keeps_what_its_images_were_divided_by(tmp_path):
    np.save(tmp_path / "greys.npy", GREYS)
    np.save(tmp_path / "bits.npy", BITS)
    settings_ = {
        "network": {"sizes": [4], "likelihood": "gaussian"},
        "settling": {"n_settle_steps": 2},
        "training": {"n_epochs": 1, "batch_size": 10},
    }
    for name, images, white in (("greys", DARK, 255), ("bits", DARK, 1)):
        data = {"name": str(tmp_path / f"{name}.npy"), "binarisation": "none"}
        config = Config(**settings_, data=data)
        run, loaded = tmp_path / name, config.data.load()
        train_run(RunFolder.create(run, config, loaded, overwrite=False), config, loaded)
        assert RunFolder.open(run).about["data"]["white"] == white
        gncn.export(run, tmp_path / "found.npz", images)
        gncn.export(run, tmp_path / "expected.npz", images / np.float32(white))
        found, expected = (np.load(tmp_path / f"{f}.npz")["z1"] for f in ("found", "expected"))
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(DataError, match="8-bit"):
        gncn.export(tmp_path / "bits", tmp_path / "codes.npz", GREYS)


def test_where_nothing_is_known_all_values_decide():
    both = np.concatenate([DARK, GREYS])
    assert (white_of(both, "X"), white_of(DARK, "X")) == (255, 1)
    np.testing.assert_array_equal(as_images(both), both / np.float32(255))
    np.testing.assert_array_equal(as_images(DARK), DARK.astype(np.float32))
    # A list of masked images is one array, too.
    masked = [[np.ma.masked_array(one, one < 0)] for one in both]
    masked[0][0][0] = np.ma.masked
    expected = both / np.float32(255)
    expected[0, 0] = np.nan
    np.testing.assert_array_equal(as_images(masked, PIXELS, missing=True), expected)


def test_what_lies_under_a_mask_decides_nothing():
    hidden = np.eye(len(DARK), PIXELS, dtype=bool)
    masked = np.ma.masked_array(np.where(hidden, np.uint8(200), DARK), hidden)
    expected = np.where(hidden, np.nan, DARK).astype(np.float32)
    np.testing.assert_array_equal(as_images(masked, missing=True), expected)
    # It isn't refused after binary images, either.
    assert np.isfinite(fitted("zeros and ones").complete(masked)).all()


def notices(function, *values, **options):
    saying._said.clear()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        function(*values, **options)
    return [str(one.message) for one in told]


def test_a_run_whose_training_spoke_of_its_data_does_not_repeat_it(tmp_path):
    np.save(tmp_path / "greys.npy", np.random.default_rng(0).integers(0, 255, (40, 9), np.uint8))
    wanted = {"data": {"name": str(tmp_path / "greys.npy")}, "training": {"n_epochs": 1}}
    config = Config(network={"sizes": (4,)}, **wanted)
    assert notices(config.data.load)
    folder = RunFolder.create(tmp_path / "run", config, config.data.load(), overwrite=False)
    assert notices(folder.data) == []
    assert notices(config.data.load)  # of other data it is said as ever


def test_what_may_be_meant_otherwise_is_said():
    real, binary = (
        gncn.build(gncn.chain((PIXELS, 4), likelihood=kind), seed=0, n_settle_steps=2)
        for kind in ("gaussian", "bernoulli")
    )
    (said,) = notices(gncn.encode, real, DARK[0])
    assert "one image of uint8 zeros and ones, which is taken as binary" in said
    quiet = [(real, DARK), (real, DARK[0] * 0), (real, DARK[0] > 0), (binary, DARK[0])]
    assert all(notices(gncn.encode, *given_) == [] for given_ in quiet)
    (said,) = notices(fitted("greys").transform, DARK)
    assert "uint8 for a model of 8-bit images: they are divided by 255" in said
    assert notices(fitted("greys").transform, DARK * 0) == []
    for floats in (GREYS.astype(float), np.where(GREYS < 9, np.nan, GREYS)):
        (said,) = notices(fitted("greys").complete, floats, "random")
        assert "float64, with values above 1, and stay as they are" in said
    assert notices(fitted("greys").transform, GREYS / 255) == []
    assert notices(fitted("zeros and ones").transform, GREYS.astype(float)) == []


@pytest.mark.parametrize("binary", [True, False])
def test_splits_of_ones_own_are_divided_by_what_is_known(binary):
    options = {"binary": binary} | ({"threshold": 0.5} if binary else {})
    split, _ = as_split(DARK, white=255.0, **options)
    expected = 0 * DARK if binary else DARK / np.float32(255)
    np.testing.assert_array_equal(split.images, expected)
    np.testing.assert_array_equal(as_split(DARK, **options)[0].images, DARK)

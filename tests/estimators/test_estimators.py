"""The estimators against the library's own functions, and under scikit-learn's tools."""

import io
import json
import pickle

import jax
import jax.numpy as jnp
import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils import check_random_state

import gncn
from budget import later
from gncn.base.errors import ConfigError, DataError, RunError
from gncn.estimators import estimator as module
from gncn.evaluation.likelihood import prior_log_likelihood
from gncn.evaluation.protocols import WithPrior
from gncn.measures.models import as_measurable
from gncn.training.epochs import Batch
from gncn.training.history import EpochRecord, SplitRecord
from nets import Listens
from test_cli import run

IMAGES = np.random.default_rng(0).integers(0, 2, (40, 16)).astype(np.uint8)
SMALL = {"sizes": (8, 6), "group_size": 2, "n_settle_steps": 4, "n_epochs": 2, "batch_size": 16}
PRIOR = {"n_components": 2, "n_samples": 50}
CODER = {"budget": 900, "n_latent": 3, "n_epochs": 2, "batch_size": 16, "n_samples": 50}


def small(**options):
    return gncn.GNCN(**(SMALL | PRIOR | options))


@pytest.fixture(scope="module")
def fitted():
    return small().fit(IMAGES)


def same(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_the_same_seed_gives_the_same_numbers_here_and_from_python_and_the_command_line(tmp_path):
    np.save(tmp_path / "own.npy", IMAGES)
    data = gncn.load_file(tmp_path / "own.npy", n_validation=1, n_test=1)
    options = {"n_epochs": 2, "batch_size": 16, "learning_rate": 1e-3}
    estimator = gncn.GNCN(
        preset="digits", sizes=(8, 6), group_size=2, max_norm=1.0, random_state=7, **options
    ).fit(data.train.images)
    sections = {"network.sizes": "[8,6]", "network.group_size": 2, "network.max_norm": 1.0}
    sections |= {f"training.{name}": value for name, value in options.items()}
    sections |= {"data.n_validation": 1, "data.n_test": 1}
    settings = [part for n, v in sections.items() for part in ("--set", f"{n}={v}")]
    out = tmp_path / "run"
    data_file = ["--data", tmp_path / "own.npy"]
    done = run("train", "--preset", "digits", *data_file, "--seed", 7, *settings, "--out", out)
    assert done.returncode == 0, done.stderr
    config = gncn.load_config(file=out / "config.toml")
    (network,) = config.models(data)
    by_fit = gncn.fit(network, data, config.training, seeds=7).network
    assert same(estimator.model_, by_fit)
    assert same(estimator.model_, gncn.load(out))


@pytest.mark.parametrize("name", [later(name) for name in ("GVAE", "RAE", "GVAECV", "GANAE")])
def test_baselines_are_those_of_the_library(name):
    estimator = getattr(gncn, name)(**CODER).fit(IMAGES)
    config, model = estimator.config_, estimator.model_
    data = module.training_only(gncn.Split(IMAGES))
    assert same(model, config.kind.train(config, data).network)
    codes = np.asarray(model.encode(jnp.asarray(IMAGES, jnp.float32)))
    np.testing.assert_allclose(estimator.transform(IMAGES), codes, rtol=1e-4, atol=1e-5)
    pixels = jax.nn.sigmoid(model.decode(jnp.asarray(codes)))
    np.testing.assert_allclose(estimator.inverse_transform(codes), pixels, rtol=1e-4)
    np.testing.assert_allclose(estimator.reconstruct(IMAGES), pixels, rtol=1e-3, atol=1e-5)
    assert (estimator.prior_ is None) == (name != "RAE")
    damaged = np.where(np.arange(16) < 8, IMAGES.astype(float), np.nan)
    found = estimator.complete(damaged)
    assert np.array_equal(found[:, :8], IMAGES[:, :8])
    guess = np.asarray(model.reconstruct(jnp.asarray(found, jnp.float32)))
    assert np.abs(guess - found)[:, 8:].max() < 0.01  # a fixed point of the clamped iteration
    assert estimator.sample(3).shape == (3, 16)


def test_codes_of_one_layer_or_all(fitted):
    layers = [gncn.encode(fitted.model_, IMAGES, layer=layer) for layer in (1, 2)]
    np.testing.assert_allclose(fitted.transform(IMAGES), layers[1], rtol=1e-4, atol=1e-6)
    for layer, expected in ((1, layers[0]), ("all", np.hstack(layers)), (2, layers[1])):
        one = pickle.loads(pickle.dumps(fitted)).set_params(layer=layer)
        found = one.transform(IMAGES)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        names = one.get_feature_names_out()
        assert len(names) == found.shape[1]
        assert names[0] == f"gncn_z{1 if layer == 'all' else layer}_0"
        if layer == 1:
            with pytest.raises(ConfigError, match="decoded from the top layer, 2; received"):
                one.inverse_transform(found)
        else:
            drive = gncn.decode(fitted.model_, layers[1])
            np.testing.assert_allclose(
                one.inverse_transform(found), jax.nn.sigmoid(drive), rtol=1e-4, atol=1e-6
            )
    for wrong in (3, 0, "top"):
        with pytest.raises(ConfigError, match="layer must be"):
            pickle.loads(pickle.dumps(fitted)).set_params(layer=wrong).transform(IMAGES)
    np.testing.assert_allclose(
        fitted.reconstruct(IMAGES), gncn.reconstruct(fitted.model_, IMAGES), rtol=1e-4, atol=1e-6
    )


def test_scores_are_the_librarys_log_likelihood(fitted):
    key, decoder = jax.random.key(0), as_measurable(fitted.model_).decoder
    whole = WithPrior(decoder, fitted.prior_)
    direct = prior_log_likelihood(whole, IMAGES, key=key, n_samples=50).per_image[0]
    found = fitted.score_samples(IMAGES)
    np.testing.assert_allclose(found, direct, rtol=1e-5)
    options = {"prior": fitted.prior_, "n_samples": 50}
    np.testing.assert_array_equal(found, _in_64(gncn.log_likelihood, fitted.model_, **options))
    assert fitted.score(IMAGES) == pytest.approx(found.mean(), rel=1e-6)
    assert fitted.prior_.n_components == 2


def _in_64(function, model, **options):
    """What a function says of the images, given in the number in which estimators give them."""
    rows = np.minimum(np.arange(64), len(IMAGES) - 1)
    return function(model, IMAGES[rows], **options)[: len(IMAGES)]


@pytest.mark.slow
def test_a_mixture_of_means_scores_what_its_formula_says():
    mixture = gncn.PixelMixture(n_components=2, emission="means", max_iterations=5).fit(IMAGES)
    model = mixture.model_.mixture
    means = np.clip(np.asarray(model.means, np.float64), 0.01, 0.99)
    weights = np.exp(np.asarray(jax.nn.log_softmax(model.logits), np.float64))
    each = np.prod(np.where(IMAGES[:, None], means[None], 1 - means[None]), axis=2)
    np.testing.assert_allclose(mixture.score_samples(IMAGES), np.log(each @ weights), rtol=1e-5)
    assert not hasattr(mixture, "partial_fit")
    assert not hasattr(mixture, "transform")
    draws = mixture.sample(4000, random_state=1)
    assert abs(draws.mean(0) - weights @ means).max() < 0.04


def test_completions_are_the_librarys(fitted):
    right = np.arange(16) < 8
    completer = gncn.Completer(fitted.model_, "silent", 8)
    expected = np.asarray(completer(IMAGES, right))
    damaged = np.where(right, IMAGES.astype(float), np.nan)
    close = {"rtol": 1e-4, "atol": 1e-6}
    np.testing.assert_allclose(fitted.complete(damaged), expected, **close)
    np.testing.assert_allclose(fitted.complete(IMAGES, right), expected, **close)
    np.testing.assert_allclose(fitted.complete(IMAGES, right.reshape(4, 4)), expected, **close)
    each = np.broadcast_to(right, IMAGES.shape)
    np.testing.assert_allclose(fitted.complete(IMAGES, each), expected, **close)
    masked = np.ma.masked_array(IMAGES, ~each)
    np.testing.assert_allclose(fitted.complete(masked), expected, **close)
    named = np.tile(np.repeat([True, False], 2), 4)  # the right half of 4 x 4 pixels
    np.testing.assert_array_equal(fitted.complete(IMAGES, "right"), fitted.complete(IMAGES, named))


def test_a_mask_for_each_image_is_as_good_as_the_image_alone(fitted):
    masks = np.random.default_rng(1).random(IMAGES.shape) < 0.6
    together = fitted.complete(IMAGES, masks)
    completer = gncn.Completer(fitted.model_, "silent", 8)
    for image, mask, found in zip(IMAGES[:4], masks, together, strict=False):
        alone = np.asarray(completer(image[None], mask))[0]
        np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-6)


def test_visible_greys_stay_as_they_are_and_hidden_ones_have_no_effect(fitted):
    greys, right = IMAGES * 0.8 + 0.1, np.arange(16) < 8
    found = fitted.complete(greys, right)
    np.testing.assert_allclose(found[:, right], greys[:, right], rtol=1e-6)
    other = np.where(right, greys, 0.3)
    np.testing.assert_array_equal(fitted.complete(other, right), found)
    np.testing.assert_array_equal(fitted.complete(greys), greys.astype(np.float32))


@pytest.mark.slow
def test_learned_ways_of_completing_are_those_that_measures_compare(fitted):
    right = np.arange(16) < 8
    codes = gncn.encode(fitted.model_, IMAGES)
    ways = as_measurable(fitted.model_).completers(codes, IMAGES, right)
    expected = module.np.asarray(
        gncn.evaluation.completion.complete_in_ways(ways, IMAGES, right)["combined"]
    )
    found = fitted.complete(IMAGES, right, way="combined")
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(ConfigError, match="Unknown way 'by magic'"):
        fitted.complete(IMAGES, right, way="by magic")


def test_partial_fit_goes_on_as_fit_does_even_after_pickling():
    whole = small(schedule="constant").fit(IMAGES)
    once = small().partial_fit(IMAGES)
    again = pickle.loads(pickle.dumps(once)).partial_fit(IMAGES)
    assert same(again.model_, whole.model_)
    assert same(once.partial_fit(IMAGES).model_, whole.model_)
    assert [record.train.error for record in again.history_] == [
        record.train.error for record in whole.history_
    ]


def test_options_are_those_of_the_configuration(fitted):
    config = fitted.config_
    assert (config.network.sizes, config.settling.settler.n_settle_steps) == ((8, 6), 4)
    assert (config.training.n_epochs, config.training.schedule) == (2, "cosine")
    parameters = fitted.get_params()
    assert {"sizes", "competition", "group_size", "leak", "n_settle_steps"} <= set(parameters)
    assert "clip_norm" not in parameters  # of backprop alone
    assert "variance" in gncn.GVAECV().get_params()
    assert "variance" not in gncn.GVAE().get_params()
    assert gncn.GNCN(preset="mnist")._begin().settling.step_size == 0.2
    assert gncn.GNCN(preset="mnist", step_size=0.3)._begin().settling.step_size == 0.3
    assert "group_size" not in gncn.GNCN(competition="none")._begin().network.part_options
    own = gncn.GNCN(competition=gncn.Band(band_width=2), settler=gncn.Sequential(n_settle_steps=3))
    assert clone(own)._begin().network.competition == gncn.Band(band_width=2)


def test_wrong_options_are_refused_in_a_sentence():
    for estimator, message in (
        (gncn.GNCN(preset="gvae"), "preset 'gvae' is of the model 'gvae', and this is a 'gncn'"),
        (gncn.GNCN(preset="nmist"), "Unknown preset 'nmist'"),
        (gncn.GNCN(n_epochs=0), "n_epochs"),
        (gncn.GNCN(sizes=(7,)), "can't be divided into columns"),
        (gncn.GVAECV(variance=3.0), "variance must be"),
        (gncn.PixelMixture(covariance="round"), "covariance"),
    ):
        with pytest.raises(ConfigError, match=message):
            estimator.fit(IMAGES)
    with pytest.raises(TypeError, match=r"GNCN has no option 'epochs'\. Did you mean 'n_epochs'"):
        gncn.GNCN(epochs=3)
    with pytest.raises(TypeError, match="positional"):
        gncn.GNCN((8, 6))
    with pytest.raises(NotFittedError):
        gncn.GNCN().score_samples(IMAGES)
    with pytest.raises(ValueError, match="features"):
        small().fit(IMAGES).transform(IMAGES[:, :5])


@pytest.mark.slow
def test_validation_images_are_split_off_only_where_something_is_chosen_by_them(fitted):
    assert len(fitted._images) == 40
    assert len(small(patience=1).fit(IMAGES)._images) == 36
    chosen = gncn.GVAECV(**CODER, variance=(0.05, 0.9), validation_fraction=0.25).fit(IMAGES)
    assert len(chosen._images) == 30
    assert chosen.model_.blueprint.variance in (0.05, 0.9)


@pytest.mark.slow
def test_real_values_are_learned_by_gaussian_outputs():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(40, 16))
    network = small(likelihood="gaussian", learning_rate=1e-2).fit(values)
    assert network.transform(values).shape == (40, 6)
    assert network.complete(np.where(np.arange(16) < 8, values, np.nan)).shape == (40, 16)
    scores = network.score_samples(values)
    key, decoder = jax.random.key(0), as_measurable(network.model_).decoder
    whole = WithPrior(decoder, network.prior_)
    direct = prior_log_likelihood(whole, values, key=key, n_samples=50).per_image[0]
    np.testing.assert_allclose(scores, direct, rtol=1e-5)
    assert len(np.unique(network.sample(3))) > 2


@pytest.mark.parametrize("way", ["pickle", "joblib"])
def test_estimators_are_kept_as_plain_arrays(fitted, way):
    fitted.score(IMAGES)  # so that there is a prior
    kept = jax.tree.leaves(vars(fitted) | fitted.__getstate__())
    assert not any(isinstance(leaf, jax.Array) for leaf in kept)
    if way == "pickle":
        again = pickle.loads(pickle.dumps(fitted))
    else:
        file = io.BytesIO()
        joblib.dump(fitted, file)
        file.seek(0)
        again = joblib.load(file)
    assert same(again.model_, fitted.model_)
    for method in ("transform", "score_samples", "reconstruct"):
        ours, theirs = (getattr(one, method)(IMAGES) for one in (fitted, again))
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(again.sample(5), fitted.sample(5))


def test_an_estimator_that_is_saved_as_a_model_is_told_how(fitted, tmp_path):
    with pytest.raises(RunError, match=r"GNCN is an estimator: save its model, gncn\.save\(estim"):
        gncn.save(fitted, tmp_path)


def test_a_fitted_model_is_saved_as_ever(fitted, tmp_path):
    gncn.save(fitted.model_, tmp_path)
    assert same(gncn.load(tmp_path), fitted.model_)
    assert json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))["model"] == "gncn"


@pytest.mark.slow
def test_classes_of_any_kind():
    names = np.array(["off", "on"])[IMAGES[:, 0]]
    classifier = gncn.DSRN(budget=900, n_epochs=20, batch_size=16, learning_rate=1e-2)
    classifier.fit(IMAGES, names)
    assert classifier.classes_.tolist() == ["off", "on"]
    assert classifier.score(IMAGES, names) == 1
    shares = classifier.predict_proba(IMAGES)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    network = classifier.model_.network(jnp.asarray(IMAGES, jnp.float32))
    np.testing.assert_allclose(shares, jax.nn.softmax(network), rtol=1e-4, atol=1e-6)
    labels = jnp.asarray((names == "on").astype(np.int32))
    batch = Batch(jnp.asarray(IMAGES, jnp.float32), jnp.ones(len(IMAGES)), labels)
    assert float(classifier.model_.statistics(batch, jax.random.key(0)).error.max()) == 0
    with pytest.raises(ValueError, match="two classes; y holds one class, 'on'"):
        gncn.DSRN().fit(IMAGES, np.full(40, "on"))
    part = gncn.DSRN(budget=900).partial_fit(IMAGES[:20], names[:20], classes=["off", "on"])
    assert part.partial_fit(IMAGES[20:], names[20:]).predict(IMAGES).shape == (40,)
    with pytest.raises(ValueError, match="classes that `classes` lacks"):
        part.partial_fit(IMAGES, np.full(40, "maybe"))


def test_ctrl_c_ends_a_search_and_what_was_trained_can_be_had(monkeypatch):
    begun = []

    class Impatient(Listens):
        def on_epoch(self, records, networks):
            raise KeyboardInterrupt

    def train(config, data, callbacks):
        begun.append(config.training.learning_rate)
        return config.kind.train(config, data, [Impatient()])

    monkeypatch.setattr(module, "train", train)
    search = GridSearchCV(small(), {"learning_rate": [1e-3, 1e-2]}, cv=2)
    with pytest.raises(KeyboardInterrupt) as stopped:
        search.fit(IMAGES)
    assert begun == [1e-3]
    assert isinstance(stopped.value, gncn.Interrupted)
    assert stopped.value.fit.status == "interrupted"
    assert [record.epoch for record in stopped.value.fit.history] == [1]


def test_pipelines_and_cross_validation():
    greys = np.random.default_rng(3).normal(size=(40, 16))
    pipeline = make_pipeline(MinMaxScaler(), small())
    scores = cross_val_score(pipeline, greys, cv=2)
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()
    assert scores.max() < 0
    codes = clone(pipeline).fit(greys).transform(greys)
    assert codes.shape == (40, 6)


@pytest.mark.slow
def test_a_search_in_two_processes_finds_what_one_finds():
    grid = {"learning_rate": [1e-4, 1e-2], "layer": [None, "all"]}
    found = [
        GridSearchCV(small(), grid, cv=2, n_jobs=jobs).fit(IMAGES).cv_results_["mean_test_score"]
        for jobs in (1, 2)
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3)


@pytest.mark.slow
def test_defaults_learn_digits():
    data = gncn.load_dataset("digits")
    train, test = data.train.images, data.test.images.astype(np.float64)

    def nats(means):
        p = np.clip(means, 1e-6, 1 - 1e-6)
        return -np.mean(np.sum(test * np.log(p) + (1 - test) * np.log(1 - p), axis=1))

    mean_image = nats(np.broadcast_to(train.mean(axis=0), test.shape))
    for name in ("GNCN", "RAE", "GVAE", "GVAECV", "GANAE"):
        estimator = getattr(gncn, name)().fit(train)
        assert nats(estimator.reconstruct(test)) < 0.7 * mean_image, name
        assert estimator.score(test) > -mean_image, name
    assert gncn.PixelMixture().fit(train).score(test) > -mean_image
    classifier = gncn.DSRN().fit(train, data.train.labels)
    assert classifier.score(data.test.images, data.test.labels) > 0.85


class Seen(Exception):  # noqa: N818 (no error)
    """Instead of training."""


def learned_from(estimator, images, monkeypatch):
    """The data that a training would get."""

    def train(config, data, *, callbacks):
        raise Seen(data)

    monkeypatch.setattr(module, "train", train)
    with pytest.raises(Seen) as seen:
        estimator.fit(images)
    return seen.value.args[0]


def test_a_choice_is_made_by_images_that_are_not_learned_from(monkeypatch):
    whole = learned_from(small(), IMAGES, monkeypatch)
    np.testing.assert_array_equal(whole.train.images, IMAGES)
    for estimator, n in (
        (small(patience=1), 36),
        (gncn.GVAECV(**CODER, variance=(0.05, 0.9), validation_fraction=0.25), 30),
    ):
        found = learned_from(estimator, IMAGES, monkeypatch)
        assert (len(found.train), len(found.validation)) == (n, 40 - n)
        both = np.concatenate([found.train.images, found.validation.images])
        np.testing.assert_array_equal(np.unique(both, axis=0), np.unique(IMAGES, axis=0))
    one = gncn.GVAECV(**CODER, variance=0.05, validation_fraction=0.25)
    assert len(learned_from(one, IMAGES, monkeypatch).train) == 40
    with pytest.raises(ConfigError, match="between 0 and 1; received 1.5"):
        small(patience=1, validation_fraction=1.5).fit(IMAGES)


def test_only_binary_models_see_images_through_a_threshold(monkeypatch):
    values = np.random.default_rng(1).random((10, 16)).astype(np.float32)
    seen = learned_from(small(), values, monkeypatch)
    np.testing.assert_array_equal(seen.train.images, values >= 0.5)
    seen = learned_from(small(likelihood="gaussian"), values, monkeypatch)
    np.testing.assert_array_equal(seen.train.images, values)


def test_a_model_that_is_not_fitted_is_kept_as_its_options():
    again = pickle.loads(pickle.dumps(small(layer=1)))
    assert again.get_params() == small(layer=1).get_params()
    with pytest.raises(NotFittedError):
        again.transform(IMAGES)


def test_samples_may_have_a_seed_of_their_own(fitted):
    own = gncn.sample(fitted.model_, 3, prior=fitted.prior_, seed=4)
    np.testing.assert_array_equal(fitted.sample(3, random_state=4), own)
    assert not np.array_equal(fitted.sample(3), own)


def test_a_random_state_is_a_seed_or_a_generator():
    first, again = (small(random_state=np.random.default_rng(3))._begin().seed for _ in range(2))
    assert first == again == np.random.default_rng(3).integers(2**31 - 1)
    old = np.random.RandomState(3)
    assert small(random_state=old)._begin().seed == check_random_state(3).randint(2**31 - 1)
    seeds = {small(random_state=None)._begin().seed for _ in range(3)}
    assert len(seeds) == 3  # NumPy's own generator, which nobody seeded
    assert small(random_state=np.int64(7))._begin().seed == 7


def test_classes_are_numbered_and_stay_those_of_the_first_call(monkeypatch):
    names, learned = np.array(["off", "on"])[IMAGES[:, 0]], []
    one = SplitRecord(error=1.0, discrepancy=-1.0, layer_discrepancy=(), sparsity=())
    record = EpochRecord(
        trial=0, epoch=1, error_name="bce", seconds=1.0, train=one, validation=one, test=one
    )

    def learn(model, data, *_):
        learned.append(data)
        return model, None, record

    monkeypatch.setattr(module, "learn_once", learn)
    part = gncn.DSRN(budget=900)
    with pytest.raises(DataError, match="must be passed on the first call to partial_fit"):
        part.partial_fit(IMAGES, names)
    with pytest.raises(DataError, match=r"lacks: \['on'\]"):
        part.partial_fit(IMAGES, names, classes=["off", "other"])
    part = gncn.DSRN(budget=900).partial_fit(IMAGES, names, classes=["on", "off"])
    part.partial_fit(IMAGES[:5], np.full(5, "on"))
    part.partial_fit(IMAGES, names, classes=["off", "on"])
    assert part.classes_.tolist() == ["off", "on"]
    assert [data.n_classes for data in learned] == [2, 2, 2]
    np.testing.assert_array_equal(learned[0].train.labels, IMAGES[:, 0])
    np.testing.assert_array_equal(learned[1].train.labels, np.ones(5))
    with pytest.raises(DataError, match="is not the same as on last call to partial_fit"):
        part.partial_fit(IMAGES, names, classes=["off", "other"])
    assert len(learned) == 3


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "DSRN requires y to be passed, but the target y is None"),
        (np.full(40, "on"), "needs at least two classes; y holds one class, 'on'"),
        (np.arange(39) % 2, "X has 40 images, and y 39 classes"),
        (np.linspace(0, 1, 40), "y must be text or whole numbers, one an image"),
        (np.where(np.arange(40) < 9, np.nan, 1.0), "a class for each image; 9 of 40 are missing"),
    ],
)
def test_classes_that_are_none_are_refused(y, message):
    with pytest.raises(DataError, match=message):
        gncn.DSRN(budget=900).fit(IMAGES, y)


def test_a_part_that_replaces_the_presets_takes_its_own_options_alone():
    one = gncn.GNCN(preset="mnist", settler=gncn.Momentum(momentum=0.5))._begin()
    assert one.settling.settler == gncn.Momentum(momentum=0.5)
    before = gncn.load_config(preset="mnist").network
    assert (before.competition, before.group_size) == ("columns", (12, 14))
    other = gncn.GNCN(preset="mnist", competition="band", band_width=3)._begin().network
    assert (other.competition, other.band_width) == ("band", 3)
    assert not hasattr(other, "group_size")
    assert other.max_norm == before.max_norm


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": "a"}, r"threshold must lie within \(0, 1\]; received 'a'"),
        ({"random_state": "a"}, "random_state must be a whole number, .*Generator.*received 'a'"),
        ({"random_state": -1}, "random_state must be at least 0; received -1"),
        ({"random_state": 1.5}, r"random_state must be .*received 1\.5"),
        (
            {"random_state": 2**31},
            "random_state must be at most 2,147,483,647; received",
        ),
        ({"patience": 1, "validation_fraction": "a"}, "validation_fraction must .*received 'a'"),
        ({"patience": 1, "validation_fraction": None}, "validation_fraction must .*received None"),
    ],
)
def test_options_of_the_wrong_kind_are_refused_by_name(options, message):
    with pytest.raises(ConfigError, match=message):
        gncn.RAE(budget=900, n_epochs=1, **options).fit(IMAGES)


def test_one_image_is_not_enough_to_choose_by():
    for options in ({"patience": 1}, {"kind": gncn.GVAECV, "variance": (0.05, 0.9)}):
        kind = options.pop("kind", gncn.RAE)
        with pytest.raises(DataError, match="need 2 images at least.*received 1"):
            kind(budget=900, n_epochs=1, **options).fit(IMAGES[:1])

"""``training.train_on = "both"``: learning from training and validation images together."""

import io
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import gncn
from command import call
from gncn.base.errors import ConfigError
from gncn.data import load_file
from gncn.evaluation.codes import fit_probe
from gncn.evaluation.likelihood import prior_log_likelihood
from gncn.evaluation.mixture_fit import choose_mixture, fit_mixture
from gncn.evaluation.protocols import WithPrior
from gncn.measures import Subject, as_measurable
from gncn.measures.code_yardsticks import CodeYardsticks
from gncn.measures.codes import probe_layer
from gncn.runs.config import load_config
from gncn.runs.folder import RunFolder
from gncn.runs.train import train_run
from gncn.study.compare import compare_runs
from gncn.study.plan import Study
from gncn.study.record import History
from gncn.study.run import run_one
from gncn.study.search import load_search
from gncn.study.specs import RunSpec

BOTH = {"n_epochs": 2, "batch_size": 20, "train_on": "both"}


@pytest.fixture(scope="module")
def data():
    digits = gncn.load_dataset("digits")
    some = {"train": 90, "validation": 45, "test": 50}
    parts = {name: getattr(digits, name).subset(np.arange(n)) for name, n in some.items()}
    return replace(digits, **parts)


def joined(data):
    """A data set whose training images are both parts, put together by hand."""
    images = np.concatenate([data.train.images, data.validation.images])
    labels = np.concatenate([data.train.labels, data.validation.labels])
    return replace(data, train=gncn.Split(images, labels))


def network(**options):
    circuit = gncn.chain((64, 12), competition="columns", group_size=4, **options)
    return gncn.build(circuit, seed=0, n_settle_steps=5)


def same(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("model", ["gncn", "rae", "dsrn"])
def test_it_is_the_training_on_both_parts_put_together(data, model):
    """To the last bit; and other than on one part."""
    if model == "gncn":
        start = network()
    else:
        small = {"budget": 4000} if model == "dsrn" else {"budget": 4000, "n_latent": 4}
        (start,) = gncn.Config(model=model, backprop=small).models(data)
    both = gncn.fit(start, data, gncn.TrainingConfig(**BOTH))
    by_hand = gncn.fit(start, joined(data), gncn.TrainingConfig(**BOTH | {"train_on": "train"}))
    alone = gncn.fit(start, data, gncn.TrainingConfig(**BOTH | {"train_on": "train"}))
    assert same(both.network, by_hand.network)
    assert not same(both.network, alone.network)
    for ours, theirs in zip(both.history, by_hand.history, strict=True):
        assert (ours.train, ours.test) == (theirs.train, theirs.test)
        assert ours.validation is None
        assert ours.held_out == ours.train
        assert theirs.held_out == theirs.validation
    assert both.epochs_kept == (2,)


def test_streamed_images_are_put_together_in_their_file(tmp_path):
    images = (np.random.default_rng(0).random((60, 16)) > 0.5).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    kept, streamed = (load_file(tmp_path / "images.npy", stream=flag) for flag in (False, True))
    whole = streamed.learned_from("both")
    np.testing.assert_array_equal(whole.array, kept.learned_from("both").array)
    assert len(whole) == len(streamed.train) + len(streamed.validation)
    assert not isinstance(whole.images, np.ndarray)
    start = gncn.build(gncn.chain((16, 6)), seed=0, n_settle_steps=3)
    one, other = (gncn.fit(start, d, gncn.TrainingConfig(**BOTH)) for d in (kept, streamed))
    assert same(one.network, other.network)


def test_labels_stay_with_their_images(data):
    whole = data.learned_from("both")
    np.testing.assert_array_equal(whole.labels[90:], data.validation.labels)
    np.testing.assert_array_equal(whole.images[90:], data.validation.images)
    assert data.learned_from("train") is data.train


def test_a_training_goes_on_from_its_checkpoint(tmp_path, data):
    plan = gncn.TrainingConfig(**BOTH)
    whole = gncn.fit(network(), data, plan)
    gncn.fit(network(), data, plan.model_copy(update={"n_epochs": 1}), checkpoints=tmp_path)
    resumed = gncn.fit(network(), data, plan, resume_from=tmp_path)
    assert same(whole.network, resumed.network)
    assert [one.validation for one in resumed.history] == [None, None]
    other = plan.model_copy(update={"train_on": "train", "n_epochs": 3})
    with pytest.raises(ConfigError, match="train_on"):
        gncn.fit(network(), data, other, resume_from=tmp_path)


def test_validation_images_that_were_learned_from_stop_nothing():
    with pytest.raises(ConfigError, match=r"can't say when to stop.*received patience=3"):
        gncn.TrainingConfig(train_on="both", patience=3)
    overrides = ["training.train_on=both"]
    with pytest.raises(ConfigError, match=r"patience=10.* The preset 'rae' gives"):
        load_config(preset="rae", overrides=overrides)
    free = load_config(preset="rae", overrides=[*overrides, "training.patience=none"])
    assert free.training.patience is None
    variances = [*overrides, "training.patience=none", "backprop.variance=[0.1, 0.2]"]
    with pytest.raises(ConfigError, match="choose among several variances, and training.train_on"):
        load_config(preset="gvae-cv", overrides=variances)
    with pytest.raises(ConfigError, match=r"training.train_on='both' has no effect with model"):
        load_config(preset="gmm", overrides=overrides)
    with pytest.raises(ConfigError, match="'train' or 'both'; received 'all'"):
        gncn.TrainingConfig(train_on="all")
    assert "train_on" not in gncn.GNCN().get_params()  # it is given the images to learn from


def error_of_both(data, train, validation, test, strength):
    """Error in % of scikit-learn's classifier, fitted to training and validation codes."""
    codes = np.concatenate([train, validation])
    labels = np.concatenate([data.train.labels, data.validation.labels])
    scaler = StandardScaler().fit(codes.astype(np.float64))
    theirs = LogisticRegression(C=strength, max_iter=100)
    theirs.fit(scaler.transform(codes).astype(np.float32), labels)
    right = theirs.predict(scaler.transform(test).astype(np.float32)) == data.test.labels
    return 100 * (1 - right.mean())


def test_the_probe_learns_from_both_parts(data):
    subject = Subject(as_measurable(network()), data, "test", both=True)
    found = probe_layer(subject, 1)["z"]
    train, validation, test = (subject.codes(name) for name in ("train", "validation", "test"))
    chosen = fit_probe(train, data.train.labels, validation, data.validation.labels)
    assert found["regularisation"] == chosen.regularisation
    assert found["validation_error_percent"] == chosen.validation_error
    expected = error_of_both(data, train, validation, test, chosen.regularisation)
    assert found["error_percent"] == pytest.approx(expected)
    alone = probe_layer(Subject(as_measurable(network()), data, "test"), 1)["z"]
    assert alone["confusion"] != found["confusion"]


def test_features_that_need_no_model_are_probed_like_its_codes(data):
    subject = Subject(as_measurable(network()), data, "test", both=True)
    found = CodeYardsticks(code_width=3).measure(subject).numbers["codes"]["probe"]["pixels"]
    pixels = [getattr(data, name).array for name in ("train", "validation", "test")]
    expected = error_of_both(data, *pixels, found["regularisation"])
    assert found["error_percent"] == pytest.approx(expected)


def test_the_prior_and_stored_codes_are_of_both_parts(data):
    subject = Subject(as_measurable(network()), data, "test", both=True)
    codes = np.concatenate([subject.codes("train"), subject.codes("validation")])
    np.testing.assert_array_equal(subject.learned_codes, codes)
    variance = np.mean(np.var(codes, axis=0, dtype=np.float64))
    options = {"covariance": "diagonal", "seed": 0, "regularisation": 0.2 * float(variance)}
    wanted = fit_mixture(codes, 2, **options).mixture
    found = subject.prior((2,), "diagonal").prior
    np.testing.assert_allclose(found.means, wanted.means, rtol=1e-5, atol=1e-6)
    best, scores = choose_mixture(
        subject.codes("train"), subject.codes("validation"), (1, 4), **options
    )
    several = subject.prior((1, 4), "diagonal")
    assert several.numbers["prior"]["n_components"] == best.mixture.n_components
    assert several.numbers["prior"]["validation_log_density"] == pytest.approx(scores)
    assert len(subject.learned.images) == len(codes)
    # How wide it is, too, is chosen by a mixture of training codes alone.
    alone = fit_mixture(subject.codes("train"), 2, **options).mixture
    wide = subject.prior((2,), "diagonal", (0.2, 0.9))
    model = WithPrior(subject.model.decoder, alone)
    told = wide.numbers["prior"]["validation_log_likelihood"]
    direct = prior_log_likelihood(model, data.validation.array, key=subject.key(10), n_samples=5000)
    assert told[0.2] == pytest.approx(float(direct.mean[-1]), rel=1e-4)


def test_validation_images_that_were_learned_from_measure_nothing(tmp_path, data):
    with pytest.raises(ConfigError, match="learned from validation images .*split='test'"):
        Subject(as_measurable(network()), data, "validation", both=True)
    chosen = load_config(
        preset="digits",
        overrides=[
            "training.n_epochs=1",
            "training.train_on=both",
            "network.sizes=[12]",
            "network.group_size=4",
            "network.max_norm=[2.0]",
        ],
    )
    digits = chosen.data.load()
    folder = RunFolder.create(tmp_path / "run", chosen, digits, overwrite=False)
    train_run(folder, chosen, digits)
    assert folder.about["train_on"] == "both"
    assert 'train_on = "both"' in (tmp_path / "run" / "config.toml").read_text(encoding="utf-8")

    def said(*arguments):
        out, err = io.StringIO(), io.StringIO()
        status = call(arguments, out, err)
        return status, " ".join((out.getvalue() + err.getvalue()).split())

    for command in (["evaluate"], ["reconstruct", "--split", "validation"]):
        status, text = said(command[0], tmp_path / "run", *command[1:])
        assert status == 2
        assert "learned from its validation images" in text
        assert "--split test" in text
    with pytest.raises(ConfigError, match="learned from its validation images"):
        compare_runs([tmp_path / "run"], split="validation")
    status, text = said("compare", tmp_path / "run")
    assert "learned from validation images, too" in text
    status, text = said("train", "--resume", tmp_path / "run", "--train-on", "train")
    assert (status, "Only evaluation_batch_size and n_epochs may change" in text) == (2, True)


def test_the_command_line_says_what_is_learned_from(tmp_path):
    out, err = io.StringIO(), io.StringIO()
    small = ["network.sizes=[12]", "network.group_size=4", "network.max_norm=[2.0]"]
    arguments = [
        "train",
        "--preset",
        "digits",
        "--epochs",
        "1",
        "--train-on",
        "both",
        "--log",
        "csv",
    ]
    arguments += [part for one in small for part in ("--set", one)]
    assert call([*arguments, "--out", tmp_path / "run"], out, err) == 0, err.getvalue()
    assert "1,500 images to learn from, validation images included, 297 for testing" in (
        " ".join(err.getvalue().split())
    )
    assert "training BCE" in err.getvalue()
    assert "validation" not in out.getvalue()
    line = (tmp_path / "run" / "history.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert json.loads(line)["validation"] is None
    head, *_ = (tmp_path / "run" / "log.csv").read_text(encoding="utf-8").splitlines()
    assert "train_error" in head
    assert "validation_error" not in head
    assert (tmp_path / "run" / "figures" / "learning-curve.png").exists()
    assert "gncn reconstruct" in err.getvalue() + out.getvalue()


def study(split):
    gncn_model = {
        "preset": "digits",
        "settings": {
            "training": {"n_epochs": 1, "train_on": "both"},
            "network": {"sizes": [12], "group_size": 4, "max_norm": [2.0]},
        },
    }
    return Study(
        name="made",
        split=split,
        evaluation={"measures": ["sparsity"]},
        data={"digits": {}},
        models={"gncn": gncn_model},
    )


def test_studies_and_searches():
    with pytest.raises(ConfigError, match=r"learns from validation images, so they measure"):
        study("validation").runs()
    (spec,) = study("test").runs()
    assert isinstance(spec, RunSpec)
    record = run_one(spec)
    assert record.train_on == record.spec["config"]["training"]["train_on"] == "both"
    assert record.history.validation == ()
    assert len(record.history.test) == len(record.history.train) == 1
    assert History().validation == ()
    with pytest.raises(ConfigError, match="A search chooses by validation images"):
        load_search("tiny").config("gncn", "digits", {"training.train_on": "both"})


def test_codes_of_both_parts_are_in_the_order_of_their_images(data):
    subject = Subject(as_measurable(network()), data, "test", both=True)
    again = as_measurable(network()).encode_layers(subject.learned.array)[-1]
    np.testing.assert_allclose(subject.learned_codes, again, rtol=1e-5, atol=1e-6)
    assert jnp.isfinite(jnp.asarray(again)).all()

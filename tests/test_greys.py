"""Greys of the data sets by name, and what learns from them and is measured of them."""

import os

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

import gncn
from gncn.base.errors import ConfigError, DataError
from gncn.data import DataSource, from_arrays
from gncn.data.loaders import SOURCES
from gncn.runs.assess import assess
from gncn.runs.config import load_config
from gncn.runs.folder import RunFolder
from gncn.runs.train import train, train_run
from gncn.study.paper import is_published, published
from gncn.study.plan import Study

SMALL = {
    "gncn": ["network.sizes=[12]", "network.group_size=4", "network.max_norm=[2.0]"],
    **{
        name: ["training.batch_size=50", "backprop.budget=8000"]
        for name in ("rae", "gvae", "gvae-cv", "gan-ae", "dsrn")
    },
}


def config(model, *overrides):
    preset = "digits" if model == "gncn" else model
    small = [*SMALL.get(model, []), "training.n_epochs=1", "data.name=digits"]
    return load_config(preset=preset, overrides=[*small, "data.binarisation=none", *overrides])


def test_greys_are_the_originals_and_binarised_the_same_images():
    grey, plain = gncn.load_dataset("digits", binarisation="none"), gncn.load_dataset("digits")
    originals = load_digits().data / 16
    np.testing.assert_array_equal(grey.test.images, originals[1500:].astype(np.float32))
    for ours, theirs in zip(grey.splits, plain.splits, strict=True):
        np.testing.assert_array_equal(ours.images >= 0.5, theirs.images)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
    assert (grey.name, grey.binary, grey.limits) == ("digits (grey)", False, (0.0, 1.0))
    assert "pixel/16, not binarised" in grey.source
    said = gncn.load_dataset("digits", binarisation="threshold")
    assert (said.name, said.fingerprint) == (plain.name, plain.fingerprint)


def test_a_configuration_says_so():
    assert config("gncn").data.load().name == "digits (grey)"
    plain = load_config(preset="digits", overrides=["data.binarisation=threshold"])
    assert plain.data.load().fingerprint == gncn.load_dataset("digits").fingerprint


HERE = os.environ.get("GNCN_DATA")


@pytest.mark.skipif(not HERE, reason="the original files are needed: GNCN_DATA")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist"])
def test_greys_of_original_files(name):
    part = {"allow_missing_train": True} if name == "kmnist" else {}
    grey = gncn.load_dataset(name, binarisation="none", **part)
    plain = gncn.load_dataset(name, **part)
    for ours, theirs in zip(grey.splits, plain.splits, strict=True):
        np.testing.assert_array_equal(ours.images >= np.float32(0.5), theirs.images)
    values = np.unique(grey.test.images)
    np.testing.assert_array_equal(values, np.arange(256, dtype=np.float32) / np.float32(255))
    assert " (grey)" in grey.name
    assert grey.name.endswith("(test part only)") == plain.name.endswith("(test part only)")


def test_the_embedded_mnist_has_no_greys(tmp_path, monkeypatch):
    monkeypatch.setenv("GNCN_CACHE", str(tmp_path))
    monkeypatch.delenv("GNCN_DATA", raising=False)
    with pytest.raises(DataError, match=r"(?s)not found.*The copy in gncn is binary: greys are"):
        gncn.load_dataset("mnist", binarisation="none", download=False)


class Own(DataSource):
    def load(self, **_):
        return from_arrays(np.eye(20))


def test_what_has_no_greys_says_so():
    for name in ("caltech-16", "caltech-28"):
        with pytest.raises(ConfigError, match=f"'{name}' has binary images, silhouettes without"):
            gncn.load_dataset(name, binarisation="none")
    with pytest.raises(ConfigError, match="'none' keeps its greys; received 'stochastic'"):
        gncn.load_dataset("digits", binarisation="stochastic")
    with pytest.raises(ConfigError, match="threshold: only for your own file or folder"):
        load_config(preset="digits", overrides=["data.threshold=0.3"]).data.load()
    SOURCES.register("own-greys", Own)
    with pytest.raises(ConfigError, match="registered as 'own-greys' has its own rule"):
        gncn.load_dataset("own-greys", binarisation="none")
    assert len(gncn.load_dataset("own-greys").train) == 16


@pytest.mark.parametrize("model", SMALL)
def test_every_bernoulli_output_and_the_classifier_learn_from_greys(model):
    """The error is the cross-entropy of greys, not of images that were binarised on the way."""
    chosen = config(model)
    data = chosen.data.load()
    chosen.describe(data)
    fit = train(chosen, data)
    (record,) = fit.history
    if model == "dsrn":
        logits = np.asarray(fit.network.network(jnp.asarray(data.test.images)))
        right = logits.argmax(axis=1) == data.test.labels
        assert record.test.error == pytest.approx(100 * (1 - right.mean()), abs=1e-3)
        return
    x = np.asarray(data.test.images, np.float64)
    if model == "gncn":
        shown = gncn.reconstruct(fit.network, data.test.images)
    else:
        shown = fit.network.reconstruct(jnp.asarray(data.test.images))
    p = np.clip(np.asarray(shown, np.float64), 1e-12, 1 - 1e-7)
    wanted = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1).mean()
    assert record.test.error == pytest.approx(wanted, rel=1e-3)


def test_the_mixture_of_binary_images_refuses_greys():
    chosen = load_config(preset="gmm", overrides=["data.name=digits", "data.binarisation=none"])
    with pytest.raises(DataError, match=r"'gmm' models binary images; images of 'digits \(grey\)'"):
        chosen.describe(chosen.data.load())


def test_greys_have_a_probe_and_no_density(tmp_path):
    chosen = config("gncn")
    data = chosen.data.load()
    folder = RunFolder.create(tmp_path / "run", chosen, data, overwrite=False)
    train_run(folder, chosen, data)
    found, _ = assess(folder, data, split="test", only=["probe", "sparsity"])
    assert 0 < found["probe"][0]["z"]["error_percent"] < 80
    for measure in ("likelihood", "tight"):
        with pytest.raises(ConfigError, match=f"{measure}' needs a density, and a Bernoulli"):
            assess(folder, data, split="test", only=[measure])
    assert RunFolder.open(tmp_path / "run").data().fingerprint == data.fingerprint


def test_samples_are_compared_with_greys_by_their_means():
    network = gncn.build(gncn.chain((64, 12)), seed=0, n_settle_steps=2)
    data = gncn.load_dataset("digits", binarisation="none")
    found = gncn.evaluate(network, data, only=["samples"], n_components=(2,))["samples"]
    assert "of means" in found["note"]
    plain = gncn.load_dataset("digits")
    assert (
        "of draws"
        in gncn.evaluate(network, plain, only=["samples"], n_components=(2,))["samples"]["note"]
    )


def test_a_study_measures_of_greys_what_they_have():
    made = Study(
        name="made",
        data={"digits": {}, "greys": {"settings": {"name": "digits", "binarisation": "none"}}},
        models={
            "gncn": {"preset": "digits"},
            "gaussian": {"preset": "digits", "settings": {"network": {"likelihood": "gaussian"}}},
            "gvae": {"preset": "gvae"},
        },
    )
    density = {"likelihood", "tight"}
    for spec in made.runs():
        has = spec.data == "digits" or spec.model == "gaussian"
        assert (density & {*spec.evaluation.measures} == density) == has
        assert (density & {*spec.evaluation.measures} == set()) == (not has)
        assert "probe" in spec.evaluation.measures


def test_of_the_papers_numbers_greys_have_the_errors_alone():
    grey, plain = published("mnist (grey)", "gncn"), published("mnist", "gncn")
    assert grey.error_percent == plain.error_percent == 1.32
    assert {grey.bce, grey.log_likelihood, grey.honest_log_likelihood, grey.m_mse} == {None}
    assert plain.bce is not None
    assert is_published("mnist (grey)")
    assert not is_published("kmnist (grey) (test part only)")

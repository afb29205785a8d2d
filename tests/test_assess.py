"""Measuring a run: what is refused beforehand, what is kept, and of which model."""

import dataclasses
import json

import pytest

import gncn
from gncn.base.errors import ConfigError, DataError, RunError
from gncn.measures import MEASURES, Result
from gncn.runs import assess as assessing
from gncn.runs.assess import assess
from gncn.runs.folder import RunFolder

CONFIG = gncn.Config(
    data={"name": "digits"},
    network={"sizes": (12, 8), "competition": "none"},
    settling={"n_settle_steps": 3},
)


@pytest.fixture(scope="module")
def data():
    return CONFIG.data.load()


@pytest.fixture
def folder(data, tmp_path):
    made = RunFolder.create(tmp_path / "run", CONFIG, data, overwrite=False)
    made.on_epoch([], CONFIG.models(data))
    return made


def measured(folder):
    return json.loads((folder.path / "metrics-validation.json").read_text(encoding="utf-8"))


def without_labels(data):
    bare = {
        name: dataclasses.replace(getattr(data, name), labels=None)
        for name in ("train", "validation", "test")
    }
    return dataclasses.replace(data, **bare, n_classes=None)


def pretend(monkeypatch, done, fail=()):
    """Measures that only say that they were called, or fail."""
    for name in MEASURES.names():

        def measure(self, subject, name=name):
            if name in fail:
                raise DataError(f"{name} failed")
            done.append(name)
            return Result({name: 1})

        monkeypatch.setattr(MEASURES.get(name), "measure", measure)
        monkeypatch.setattr(MEASURES.get(name), "figure", lambda *arguments: None)


def test_images_without_labels_are_measured_but_for_the_probe(folder, data, monkeypatch):
    done = []
    pretend(monkeypatch, done)
    assess(folder, without_labels(data), split="validation")
    assert done == [name for name in MEASURES.names() if name != "probe"]
    done.clear()
    with pytest.raises(ConfigError, match="'probe' needs labels, and the data 'digits' have none"):
        assess(folder, without_labels(data), split="validation", only=("sparsity", "probe"))
    assert done == []


def test_a_layer_to_probe_is_looked_for_before_anything_is_measured(folder, data, monkeypatch):
    done = []
    pretend(monkeypatch, done)
    with pytest.raises(ConfigError, match="layer must be from 1 to 2; received 3"):
        assess(folder, data, split="validation", settings={"probe_layer": (2, 3)})
    assert done == []
    assess(folder, data, split="validation", settings={"probe_layer": (1, 2)})
    assert done == list(MEASURES.names())


def test_what_was_measured_before_a_failure_is_kept(folder, data, monkeypatch):
    pretend(monkeypatch, [], fail=("completion",))
    with pytest.raises(DataError, match="completion failed"):
        assess(folder, data, split="validation")
    before = measured(folder)
    assert before["samples"] == before["likelihood"] == 1
    assert "completion" not in before
    assert "probe" not in before


def test_numbers_of_another_model_are_not_added_to(folder, data, monkeypatch):
    pretend(monkeypatch, [])
    assess(folder, data, split="validation", only=("sparsity",))
    assess(folder, data, split="validation", only=("probe",))
    assert {"sparsity", "probe"} <= measured(folder).keys()
    other = CONFIG.model_copy(update={"seed": 1}).models(data)
    folder.on_epoch([], other)  # training goes on
    assess(folder, data, split="validation", only=("embedding",))
    assert "embedding" in measured(folder)
    assert not {"sparsity", "probe"} & measured(folder).keys()


def test_settings_of_what_stays_must_be_the_same(folder, data, monkeypatch):
    pretend(monkeypatch, [])

    def again(*only, **settings):
        return assess(folder, data, split="validation", only=only, settings=settings)[0]

    again("likelihood", "completion", n_components=2)
    with pytest.raises(RunError, match=r"other settings \(n_components: \[2\] → \[65\]\)"):
        again("samples")
    assert "samples" not in measured(folder)
    with pytest.raises(RunError, match=r"other settings \(missing: right → left\)"):
        again("yardsticks", missing="left")
    # What is measured again may have other settings; what doesn't have them doesn't matter.
    again("completion", missing="left")
    again("sparsity", "probe")
    found = again("likelihood", n_samples=7)
    assert found["settings"]["n_samples"] == 7
    assert found["settings"]["n_components"] == [65]
    assert {"completion", "sparsity", "probe", "likelihood"} <= set(measured(folder))
    with pytest.raises(RunError, match="other settings \\(seed: 0 → 1\\)"):
        assess(folder, data, split="validation", only=("sparsity",), seed=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_sample": 3}, "Unknown setting of measures 'n_sample'.*'n_samples'"),
        ({"n_samples": 0}, r"n_samples: .*greater than or equal to 1; received 0"),
        ({"n_components": ()}, "n_components: .*at least 1 item"),
        ({"missing": "middle"}, "Unknown missing 'middle'"),
        ({"covariance": "round"}, "covariance: .*'full'.*received 'round'"),
    ],
)
def test_settings_are_checked_before_anything_is_measured(folder, data, settings, message):
    with pytest.raises(ConfigError, match=message):
        assess(folder, data, split="validation", settings=settings)


def test_a_prior_that_measures_share_is_saved_once(folder, data, monkeypatch):
    """It may take hundreds of megabytes, and other files are written after each measure."""
    saved = []
    monkeypatch.setattr(assessing, "save_mixture", lambda *prior: saved.append(prior))
    few = {"n_components": (2,), "n_samples": 10, "n_repeats": 1, "curve": (10,)}
    names = ("likelihood", "samples", "sparsity")
    numbers, _ = assess(folder, data, split="validation", only=names, settings=few)
    assert set(names) <= set(numbers["seconds"])
    assert [path for _, path in saved] == [folder.trial(0) / "prior.safetensors"]

"""Measuring a run: what is refused beforehand, what is kept, and of which model."""

import dataclasses
import json

import pytest

import gncn
from gncn.base.errors import ConfigError, DataError
from gncn.runs import assess as assessing
from gncn.runs.assess import Choices, assess
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
    made.on_epoch([], CONFIG.networks(data.n_pixels))
    return made


def measured(folder):
    return json.loads((folder.path / "metrics-validation.json").read_text())


def without_labels(data):
    bare = {
        name: dataclasses.replace(getattr(data, name), labels=None)
        for name in ("train", "validation", "test")
    }
    return dataclasses.replace(data, **bare, n_classes=None)


def pretend(monkeypatch, done, fail=()):
    """Measurements that only say that they were called, or fail."""
    for name in assessing.MEASURES:

        def method(self, name=name):
            if name in fail:
                raise DataError(f"{name} failed")
            done.append(name)
            self.metrics[name] = 1
            return []

        monkeypatch.setattr(assessing._Assessment, name, method)


def test_images_without_labels_are_measured_but_for_the_probe(folder, data, monkeypatch):
    done = []
    pretend(monkeypatch, done)
    assess(folder, without_labels(data), split="validation")
    assert done == [name for name in assessing.MEASURES if name != "probe"]
    done.clear()
    chosen = Choices(only=("sparsity", "probe"))
    with pytest.raises(ConfigError, match="A probe needs labels, and the data 'digits' have none"):
        assess(folder, without_labels(data), split="validation", choices=chosen)
    assert done == []


def test_a_layer_to_probe_is_looked_for_before_anything_is_measured(folder, data, monkeypatch):
    done = []
    pretend(monkeypatch, done)
    with pytest.raises(ConfigError, match="layer must be from 1 to 2; received 3"):
        assess(folder, data, split="validation", choices=Choices(probe_layers=(2, 3)))
    assert done == []
    assess(folder, data, split="validation", choices=Choices(probe_layers=(1, 2)))
    assert done == list(assessing.MEASURES)


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
    assess(folder, data, split="validation", choices=Choices(only=("sparsity",)))
    assess(folder, data, split="validation", choices=Choices(only=("probe",)))
    assert {"sparsity", "probe"} <= measured(folder).keys()
    other = CONFIG.model_copy(update={"seed": 1}).networks(data.n_pixels)
    folder.on_epoch([], other)  # training goes on
    assess(folder, data, split="validation", choices=Choices(only=("embedding",)))
    assert "embedding" in measured(folder)
    assert not {"sparsity", "probe"} & measured(folder).keys()

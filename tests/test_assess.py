"""Measuring a run: what is refused beforehand, what is kept, and of which model."""

import dataclasses
import json
from contextlib import contextmanager, suppress

import numpy as np
import pytest

import gncn
from budget import later
from folders import content
from gncn.base.errors import ConfigError, DataError, RunError
from gncn.measures import MEASURES, Result
from gncn.runs import assess as assessing
from gncn.runs.assess import assess
from gncn.runs.folder import SPLITS, RunFolder
from gncn.runs.parts import parts_kept
from gncn.runs.priors import load_mixture

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


def usual():
    """Names of the measures that are taken unless some are named."""
    return [name for name in MEASURES.names() if not MEASURES.get(name).on_request]


def test_images_without_labels_are_measured_but_for_the_probe(folder, data, monkeypatch):
    done = []
    pretend(monkeypatch, done)
    assess(folder, without_labels(data), split="validation")
    assert done == [name for name in usual() if name != "probe"]
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
    assert done == usual()


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


@pytest.mark.parametrize(
    ("only", "settings", "message"),
    [
        (
            ("sparsity",),
            {"n_samples": 9},
            "n_samples=9 has no effect: only 'likelihood'.*, and what is measured is 'sparsity'",
        ),
        (None, {"code_width": 9}, "code_width=9 has no effect: only 'codes' reads it"),
        # The default is refused, too: who gives it expects that it matters.
        (("sparsity",), {"missing": "right"}, "missing='right' has no effect"),
    ],
)
def test_a_setting_that_no_measure_reads_is_refused(
    folder, data, monkeypatch, only, settings, message
):
    pretend(monkeypatch, done := [])
    with pytest.raises(ConfigError, match=message):
        assess(folder, data, split="validation", only=only, settings=settings)
    with pytest.raises(ConfigError, match=message):
        gncn.evaluate(folder.path, data, only=only, **settings)
    assert done == []


@pytest.mark.slow
def test_a_prior_that_measures_share_is_saved_once(folder, data, monkeypatch):
    """It may take hundreds of megabytes, and other files are written after each measure."""
    saved = []
    monkeypatch.setattr(assessing, "save_mixture", lambda *prior: saved.append(prior))
    few = {"n_components": (2,), "n_samples": 10, "n_repeats": 1, "curve": (10,)}
    names = ("likelihood", "samples", "sparsity")
    numbers, _ = assess(folder, data, split="validation", only=names, settings=few)
    assert set(names) <= set(numbers["seconds"])
    assert [path for _, path in saved] == [folder.trial(0) / "prior.safetensors"]


class KilledError(BaseException):
    """Stands for SIGKILL: nothing in the library catches it."""


def killed_at(monkeypatch, number):
    """Count the parts that are computed from now on, and kill at this one; their names."""
    begun, original = [], assessing.parts_kept

    @contextmanager
    def counting(*arguments, **options):
        with original(*arguments, **options) as keep:

            def counted(name, compute):
                def begin():
                    begun.append(name)
                    if len(begun) == number:
                        raise KilledError
                    return compute()

                return keep(name, begin)

            yield counted

    monkeypatch.setattr(assessing, "parts_kept", counting)
    return begun


LITTLE = {
    "n_samples": 150,
    "n_components": (2, 3),
    "curve": (100,),
    "tight_images": 2,
    "importance_samples": 20,
    "n_temperatures": 2,
    "n_chains": 1,
}


def little(*measures):
    """Those of these settings that the measures read."""
    read = {name for one in measures for name in MEASURES.get(one).model_fields}
    return {name: value for name, value in LITTLE.items() if name in read}


def all_files(folder, measures):
    """The files of an evaluation without the seconds, which each measure must have."""
    files = content(folder.path, locks=False)
    numbers = json.loads(files["metrics-test.json"])
    assert set(numbers.pop("seconds")) == set(measures)
    return files | {"metrics-test.json": list(json.dumps(numbers))}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("measures", "n_parts"),
    [
        (("likelihood",), 4),
        later(("tight", "completion"), 7),
    ],
)
def test_an_evaluation_that_was_killed_repeats_only_the_part_that_was_under_way(
    folder, data, monkeypatch, measures, n_parts
):
    few = {
        name: dataclasses.replace(part, images=part.images[:300], labels=None)
        for name, part in zip(SPLITS, data.splits, strict=True)
    }
    few = dataclasses.replace(data, **few, n_classes=None)
    options = {"split": "test", "only": measures, "settings": little(*measures)}

    with monkeypatch.context() as patch:
        parts = killed_at(patch, None)
        assess(folder, few, **options)
    goal = all_files(folder, measures)
    assert parts[:2] == [f"measure {measures[0]}", "prior ((2, 3), 'full')"]
    assert len(parts) == len(set(parts)) == n_parts
    for number in range(1, len(parts) + 1):
        with monkeypatch.context() as patch:
            killed_at(patch, number)
            with pytest.raises(KilledError):
                assess(folder, few, **options, replace=True)
        with monkeypatch.context() as patch:
            again = killed_at(patch, None)
            assess(folder, few, **options)
        whole = parts[number - 1 :]
        if not parts[number - 1].startswith("measure"):  # a part of a measure
            whole = [next(p for p in reversed(parts[:number]) if p.startswith("measure")), *whole]
        assert again == whole
        assert all_files(folder, measures) == goal


@pytest.mark.slow
def test_a_prior_is_saved_whenever_the_evaluation_is_killed(folder, data, monkeypatch):
    def killed(*_):
        raise KilledError

    options = {"split": "test", "only": ("likelihood",), "settings": little("likelihood")}
    with monkeypatch.context() as patch:
        patch.setattr(assessing, "save_mixture", killed)
        with pytest.raises(KilledError):
            assess(folder, data, **options)
    numbers, _ = assess(folder, data, **options)
    prior = load_mixture(folder.trial(0) / "prior.safetensors")
    assert prior.n_components == numbers["prior"]["n_components"]


@pytest.mark.slow
def test_parts_of_other_settings_or_that_are_damaged_are_measured_again(folder, data, monkeypatch):
    pretend(monkeypatch, done := [])
    options = {"split": "validation", "only": ("completion", "sparsity")}
    kept = (folder.path / "checkpoints").rglob

    def ended_by(error, **changed):
        """What is measured, before the second measure ends the evaluation."""

        def end(self, subject):
            raise error("sparsity failed")

        done.clear()
        with monkeypatch.context() as patch:
            patch.setattr(MEASURES.get("sparsity"), "measure", end)
            with pytest.raises(error, match="sparsity failed"):
                assess(folder, data, **options | changed)
        return done

    assert ended_by(KilledError) == ["completion"]
    assert ended_by(KeyboardInterrupt) == []
    assert ended_by(KilledError, replace=True) == ["completion"]
    assert ended_by(KilledError, seed=1) == ["completion"]
    (part,) = kept("*.part")
    sound = part.read_bytes()
    assert b'"completion": 1' in sound
    for damaged in (b"", sound[:-1], sound.replace(b'"completion": 1', b'"completion": 2')):
        part.write_bytes(damaged)
        assert ended_by(KilledError, seed=1) == ["completion"]
    with monkeypatch.context() as patch:
        patch.setattr("gncn.runs.parts.source_digest", lambda: "another")
        assert ended_by(KilledError, seed=1) == ["completion"]
        assert ended_by(KilledError, seed=1) == []
    assert ended_by(KilledError, seed=1) == ["completion"]
    assert len(list(kept("*.part"))) == 1
    done.clear()
    assess(folder, data, **options, seed=1)
    assert done == ["sparsity"]
    assert not list(kept("*.part"))
    done.clear()
    assess(folder, data, **options, seed=1)
    assert done == ["completion", "sparsity"]  # it had ended: all is measured
    assert ended_by(DataError, seed=1) == ["completion"]
    assert ended_by(DataError, seed=1) == []
    with monkeypatch.context() as patch:  # a measure is mended
        patch.setattr("gncn.runs.assess._code", lambda kind: f"another {kind.__name__}")
        assert ended_by(DataError, seed=1) == ["completion"]


def test_a_mask_that_holds_something_else_is_another(folder, data, tmp_path, monkeypatch):
    pretend(monkeypatch, done := [], fail=("sparsity",))
    options = {"only": ("completion", "sparsity"), "settings": {"missing": f"{tmp_path}/m.npy"}}
    for n_visible, measured in ((32, 1), (32, 1), (40, 2)):
        np.save(tmp_path / "m.npy", np.arange(64).reshape(8, 8) < n_visible)
        with pytest.raises(DataError, match="sparsity failed"):
            assess(folder, data, split="validation", **options)
        assert len(done) == measured


def test_parts_are_the_same_when_new_and_when_kept(tmp_path):
    def compute():
        square = np.arange(6.0).reshape(2, 3).T
        return {"list": [{"a": square}, square[::2]], "tuple": (1, 2), "number": np.float32(0.5)}

    path = tmp_path / "evaluation"
    with suppress(KilledError), parts_kept(path, {}, fresh=False) as keep:
        keep("part", compute)
        raise KilledError
    with parts_kept(path, {}, fresh=False) as keep:
        found = [keep("part", lambda: 1 / 0), keep("other", compute)]
    for part in found:
        np.testing.assert_array_equal(part["list"][0]["a"], compute()["list"][0]["a"])
        np.testing.assert_array_equal(part["list"][1], compute()["list"][1])
        assert part["tuple"] == [1, 2]
        assert (part["number"].dtype, part["number"]) == (np.float32, 0.5)
    assert list(tmp_path.iterdir()) == []


def test_what_a_folder_keeps_is_told(folder):
    assert assessing.kept(folder, "validation", 0) == "nothing had been measured yet."
    numbers = folder.path / "metrics-test-1.json"
    numbers.write_text('{"seconds": {"probe": 1.0, "sparsity": 2.0}}', encoding="utf-8")
    known = f"{numbers} holds what was measured: probe, sparsity."
    assert assessing.kept(folder, "test", 1) == known
    numbers.write_text('{"seconds": {}}', encoding="utf-8")
    assert assessing.kept(folder, "test", 1) == "nothing had been measured yet."


@pytest.mark.parametrize("key", ["seconds", "settings"])
def test_numbers_that_are_no_table_are_damaged(folder, data, monkeypatch, key):
    pretend(monkeypatch, [])
    assess(folder, data, split="validation", only=["sparsity"])
    path = folder.path / "metrics-validation.json"
    path.write_text(json.dumps(measured(folder) | {key: [1]}), encoding="utf-8")
    with pytest.raises(RunError, match=rf"'{key}' must be an object; received \[1\]"):
        assess(folder, data, split="validation", only=["sparsity"])

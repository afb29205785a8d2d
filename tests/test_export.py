"""Codes in a file: from a run, a model and an estimator, as arrays and as tables."""

import contextlib
import csv
import json

import numpy as np
import pyarrow.parquet
import pytest

import gncn
import gncn.base.notices
from gncn.base.errors import ConfigError, DataError, RunError
from gncn.base.files import UNFINISHED
from gncn.runs.export import _layers
from test_cli import FAST, run

IMAGES = (np.random.default_rng(0).random((60, 9)) < 0.4).astype(np.uint8)
LABELS = ["cat" if number % 3 else "dog" for number in range(60)]
DATA = gncn.from_arrays(IMAGES, LABELS, n_validation=10, n_test=20)
NETWORK = gncn.build(gncn.chain((9, 4, 3)), seed=0, n_settle_steps=3)


def codes(layer, images):
    return gncn.encode(NETWORK, images, layer=layer)


def test_npz_holds_codes_labels_and_numbers(tmp_path):
    found = gncn.export(NETWORK, tmp_path / "new" / "codes.npz", DATA, layer="all")
    assert found == {
        "path": tmp_path / "new" / "codes.npz",
        "n_images": 20,
        "layers": {"z1": 4, "z2": 3},
    }
    arrays = np.load(found["path"])
    assert set(arrays) == {"z1", "z2", "numbers", "labels", "class_names"}
    np.testing.assert_array_equal(arrays["z1"], codes(1, DATA.test.images))
    np.testing.assert_array_equal(arrays["z2"], codes(2, DATA.test.images))
    np.testing.assert_array_equal(arrays["labels"], DATA.test.labels)
    np.testing.assert_array_equal(arrays["numbers"], np.arange(20))
    assert arrays["class_names"].tolist() == ["cat", "dog"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_hold_the_same_numbers(tmp_path, suffix):
    path = tmp_path / f"codes{suffix}"
    gncn.export(NETWORK, path, DATA, split="validation")
    if suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    assert list(rows[0]) == ["number", "label", "z2_0", "z2_1", "z2_2"]
    found = np.array([[row[f"z2_{unit}"] for unit in range(3)] for row in rows], np.float32)
    np.testing.assert_array_equal(found, codes(2, DATA.validation.images))
    assert [int(row["number"]) for row in rows] == list(range(10))
    assert [row["label"] for row in rows] == [("cat", "dog")[k] for k in DATA.validation.labels]


@pytest.mark.parametrize("form", ["array", "list", "file", "greys", "split"])
def test_images_of_ones_own_keep_their_order(tmp_path, form):
    np.save(tmp_path / "mine.npy", IMAGES)
    given = {
        "array": IMAGES.reshape(60, 3, 3),
        "list": IMAGES.tolist(),
        "file": tmp_path / "mine.npy",
        "greys": IMAGES * np.float32(0.7),
        "split": gncn.Split(IMAGES),
    }[form]
    with pytest.warns(gncn.base.notices.Notice) if form == "greys" else contextlib.nullcontext():
        gncn.base.notices._said.clear()
        gncn.export(NETWORK, tmp_path / "codes.npz", given)
    arrays = np.load(tmp_path / "codes.npz")
    np.testing.assert_array_equal(arrays["z2"], codes(2, IMAGES))
    assert "labels" not in arrays


def test_labels_of_ones_own_and_real_values(tmp_path):
    values = np.random.default_rng(1).normal(size=(7, 9))
    real = gncn.build(gncn.chain((9, 4), likelihood="gaussian"), seed=0, n_settle_steps=2)
    gncn.export(real, tmp_path / "codes.npz", values, labels=[3, 0, 1, -1, 0, 0, 2])
    arrays = np.load(tmp_path / "codes.npz")
    np.testing.assert_array_equal(arrays["z1"], gncn.encode(real, values))
    assert arrays["labels"].tolist() == [3, 0, 1, -1, 0, 0, 2]


@pytest.mark.slow
def test_estimators_are_exported_as_they_transform(tmp_path):
    fitted = gncn.GNCN(sizes=(6, 4), group_size=2, n_epochs=1).fit(IMAGES)
    gncn.export(fitted, tmp_path / "codes.npz", IMAGES)
    expected = fitted.transform(IMAGES)
    np.testing.assert_allclose(np.load(tmp_path / "codes.npz")["z2"], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"path": "codes.txt"},
            ConfigError,
            r"'codes.txt' must end in \.npz, \.csv or \.parquet",
        ),
        ({"layer": 3}, ConfigError, "layer must be from 1 to 2, 'all', or None .* received 3"),
        ({"layer": "top"}, ConfigError, "layer must be .*; received 'top'"),
        ({"layer": 0}, ConfigError, "layer must be"),
        ({"split": "tests"}, ConfigError, "Unknown split 'tests'"),
        ({"trial": 1}, ConfigError, "Only a run has trials"),
        ({"data": None}, ConfigError, "Give data="),
        ({"labels": LABELS}, ConfigError, "has its own labels"),
        ({"data": IMAGES[:, :5]}, DataError, "9"),
        ({"data": IMAGES, "labels": [1, 2]}, DataError, "60"),
        ({"data": "none.npy"}, DataError, "There is no file|No such file"),
        ({"model": "none"}, RunError, "is not a run folder"),
    ],
)
def test_what_cannot_be_exported_is_said(tmp_path, monkeypatch, options, error, message):
    monkeypatch.chdir(tmp_path)
    given = {"model": NETWORK, "path": "codes.npz", "data": DATA, **options}
    with pytest.raises(error, match=message):
        gncn.export(given.pop("model"), given.pop("path"), given.pop("data"), **given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_models_without_codes_are_refused(tmp_path):
    mixture = gncn.PixelMixture(n_components=2, max_iterations=2).fit(IMAGES).model_
    with pytest.raises(ConfigError, match="PixelMixture has no codes"):
        gncn.export(mixture, tmp_path / "codes.npz", DATA)


def test_several_splits_in_one_file_are_refused(tmp_path):
    np.savez(tmp_path / "mine.npz", train_images=IMAGES, test_images=IMAGES)
    with pytest.raises(DataError, match="one array of images; it holds test_images, too"):
        gncn.export(NETWORK, tmp_path / "codes.npz", tmp_path / "mine.npz")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "codes.npz"
    gncn.export(NETWORK, path, DATA)
    before = path.read_bytes()

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match="No space left"):
        gncn.export(NETWORK, path, DATA, layer="all")
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(f"{UNFINISHED}*"))


def test_a_layer_is_counted_from_1():
    assert [_layers(layer, 3) for layer in (None, 1, 3, "all")] == [[3], [1], [3], [1, 2, 3]]
    for wrong in (0, 4, "top"):
        with pytest.raises(ConfigError, match=f"from 1 to 3, 'all', or None.*received {wrong!r}"):
            _layers(wrong, 3)


@pytest.mark.slow
def test_the_command(tmp_path):
    folder = tmp_path / "run"
    assert run("train", *FAST, "--epochs", 1, "--out", folder).returncode == 0
    done = run("export", folder, "--layer", "all", "--out", tmp_path / "codes.npz", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["layers"] == {"z1": 12, "z2": 12, "z3": 12}
    assert (found["n_images"], found["split"]) == (297, "test")
    arrays = np.load(tmp_path / "codes.npz")
    network, data = gncn.load(folder), gncn.load_dataset("digits")
    np.testing.assert_array_equal(arrays["z3"], gncn.encode(network, data.test.images))
    np.testing.assert_array_equal(arrays["labels"], data.test.labels)
    np.save(tmp_path / "mine.npy", data.test.images[:5])
    done = run("export", folder, "--data", tmp_path / "mine.npy", "--out", tmp_path / "c.csv")
    assert "codes of 5 images, z3 (12 neurons)" in done.stderr
    assert len((tmp_path / "c.csv").read_text("utf-8").splitlines()) == 6
    before = (tmp_path / "c.csv").read_bytes()
    done = run("export", folder, "--out", tmp_path / "c.csv")
    assert "exists. Give --overwrite" in " ".join(done.stderr.split())
    assert (tmp_path / "c.csv").read_bytes() == before
    done = run("export", folder, "--out", tmp_path / "c.csv", "--overwrite")
    assert "codes of 297 images" in done.stderr
    for wrong in (["--layer", "x"], ["--split", "all"], ["--out", "x.doc"]):
        done = run("export", folder, *wrong)
        assert done.returncode == 2
        assert done.stderr.startswith("Error:")

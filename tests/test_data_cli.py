"""The commands `gncn data list`, `fetch` and `verify`."""

import gzip
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from gncn.base.errors import ConfigError, DataError
from gncn.cli.data import app
from gncn.data import content, dataset_info, dataset_names, registry
from gncn.data.content import to_idx


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """A folder with a small, complete Fashion-MNIST, and no other data anywhere."""
    monkeypatch.delenv("GNCN_DATA", raising=False)
    monkeypatch.setenv("GNCN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setenv("COLUMNS", "200")
    info = dataset_info("fashion-mnist")
    files = []
    (tmp_path / "data" / "fashion-mnist").mkdir(parents=True)
    for file in info.files:
        content = to_idx(np.zeros((2, *file.shape[1:]), np.uint8) + len(files))
        path = tmp_path / "data" / "fashion-mnist" / file.file_names[0]
        path.write_bytes(gzip.compress(content))
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        shape = (2, *file.shape[1:])
        url = f"http://localhost:1/{path.name}"
        files.append(replace(file, digest=digest, shape=shape, urls=(url,)))
    monkeypatch.setitem(registry._DATASETS, "fashion-mnist", replace(info, files=tuple(files)))
    return tmp_path / "data"


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


class TestList:
    def test_table_names_every_data_set(self, folder):
        output = run("list", "--data-dir", folder)
        for name in dataset_names():
            assert name in output

    def test_json(self, folder):
        rows = {row["name"]: row for row in json.loads(run("list", "--json"))}
        assert set(rows) == set(dataset_names())
        mnist = rows["mnist"]
        assert (mnist["train"], mnist["validation"], mnist["test"]) == (58_000, 2_000, 10_000)
        assert mnist["available"] == "with this package"
        assert rows["fashion-mnist"]["available"] == "to download"
        assert rows["caltech-28"]["train"] == 4_100
        rows = {row["name"]: row for row in json.loads(run("list", "--data-dir", folder, "--json"))}
        assert rows["fashion-mnist"]["available"] == "in the folder"
        assert rows["fashion-mnist"]["folder"] == str(folder / "fashion-mnist")
        assert rows["kmnist"]["available"] == "no"

    def test_a_part_is_called_a_part(self, folder):
        (folder / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
        rows = {row["name"]: row for row in json.loads(run("list", "--data-dir", folder, "--json"))}
        assert rows["fashion-mnist"]["available"].endswith("(3 of 4 files)")


class TestVerify:
    def test_good(self, folder):
        assert run("verify", "fashion-mnist", "--data-dir", folder).count("sound") == 4
        rows = json.loads(run("verify", "--data-dir", folder, "--json"))
        states = {row["name"]: row["state"] for row in rows}
        assert states["fashion-mnist"] == "sound"
        assert (states["kmnist"], states["digits"]) == ("missing", "unchecked")

    def test_altered(self, folder):
        path = folder / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz"
        path.write_bytes(gzip.compress(b"rotten"))
        output = run("verify", "--data-dir", folder, code=1)
        assert "altered" in output
        assert f"{path} is not the fashion-mnist file it should be" in output

    def test_missing_matters_where_it_is_named(self, folder):
        (folder / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
        run("verify", "--data-dir", folder)
        output = run("verify", "fashion-mnist", "--data-dir", folder, code=1)
        assert "gncn data fetch fashion-mnist" in output

    def test_embedded(self, folder, monkeypatch):
        run("verify", "mnist")
        monkeypatch.setattr("gncn.data.content.MNIST_DIGEST", "sha256:0")
        assert "was altered" in run("verify", "mnist", code=1)

    def test_damaged(self, folder, monkeypatch, tmp_path):
        whole = content.files("gncn.data").joinpath("assets", "mnist.npz").read_bytes()
        for place in (30_000, 500_000, len(whole) - 1000):
            harmed = bytearray(whole)
            harmed[place] ^= 0x55
            (tmp_path / "assets").mkdir(exist_ok=True)
            (tmp_path / "assets" / "mnist.npz").write_bytes(harmed)
            monkeypatch.setattr(content, "files", lambda _: tmp_path)
            assert "embedded MNIST" in run("verify", "mnist", code=1)


class TestFetch:
    def test_what_is_there_is_kept(self, folder):
        saved = json.loads(run("fetch", "fashion-mnist", "--data-dir", folder, "--json"))
        assert len(saved["fashion-mnist"]) == 4
        output = run("fetch", "fashion-mnist", "--data-dir", folder)
        assert str(folder / "fashion-mnist" / "train-images-idx3-ubyte.gz") in output

    def test_installed_data_need_none(self, folder):
        output = run("fetch", "mnist", "digits")
        assert "mnist: comes with this package, nothing to download" in output
        assert "digits: comes with scikit-learn, nothing to download" in output

    def test_no_network(self, folder):
        with pytest.raises(DataError, match="Mirrors tried"):
            run("fetch", "fashion-mnist")

    def test_unknown_name_is_refused_before_anything_is_fetched(self, folder):
        with pytest.raises(ConfigError, match="Unknown data set 'minst'"):
            run("fetch", "fashion-mnist", "minst")


@pytest.mark.parametrize("command", ["list", "fetch", "verify"])
def test_help_has_an_example(command):
    assert f"gncn data {command}" in run(command, "--help")

"""``gncn train --log``: logs in the run folder, with which a run goes on."""

import csv
import json
import sys

import pytest

from test_cli import FAST, run

SMALL = [*FAST, "--set", "training.batch_size=200"]


def epochs(path):
    return [int(row["epoch"]) for row in csv.DictReader(path.read_text("utf-8").splitlines())]


@pytest.mark.slow
def test_a_run_is_logged_and_goes_on_with_its_logs(tmp_path):
    folder = tmp_path / "run"
    done = run("train", *SMALL, "--log", "csv", "--log", "jsonl", "--out", folder)
    assert done.returncode == 0, done.stderr
    assert epochs(folder / "log.csv") == [1, 2]
    assert json.loads((folder / "run.json").read_text("utf-8"))["log"] == ["csv", "jsonl"]
    assert run("train", "--resume", folder, "--epochs", 3).returncode == 0
    assert epochs(folder / "log.csv") == [1, 2, 3]
    lines = (folder / "log.jsonl").read_text("utf-8").splitlines()
    last = json.loads((folder / "history.jsonl").read_text("utf-8").splitlines()[-1])
    assert json.loads(lines[-1])["test_error"] == last["test"]["error"]
    again = run("train", *SMALL, "--epochs", 1, "--log", "csv", "--out", folder, "--overwrite")
    assert again.returncode == 0, again.stderr
    assert epochs(folder / "log.csv") == [1]
    assert not (folder / "log.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--log", "cvs"],
            "Unknown log 'cvs'. Did you mean 'csv'? Choose one of: 'csv', 'jsonl', ",
        ),
        (["--log", "wandb"], "This needs Weights & Biases, which isn't installed"),
    ],
)
def test_unknown_logs_are_refused_before_a_folder_is_made(tmp_path, monkeypatch, options, message):
    monkeypatch.setitem(sys.modules, "wandb", None)
    done = run("train", *SMALL, *options, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "run").exists()


def test_a_log_is_not_chosen_twice(tmp_path):
    done = run("train", "--resume", tmp_path, "--log", "csv")
    assert "--log has no effect with --resume" in done.stderr

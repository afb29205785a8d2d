"""Baselines on the command line: train, look, compare; in one process, for speed."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from gncn.base.errors import ConfigError, DataError, RunError
from gncn.cli.app import app
from gncn.runs.folder import RunFolder

SMALL = ["--data", "digits", "--epochs", "2", "--batch-size", "100"]
BUDGET = ["--set", "backprop.budget=6000"]


def run(*arguments):
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("baselines")
    done = run("train", "--model", "rae", *SMALL, *BUDGET, "--trials", 2, "--out", path / "rae")
    assert done.exit_code == 0
    assert "6,0" in done.stderr or "5,9" in done.stderr  # synapses, near the budget
    assert "encoder 64-" in done.stderr
    mixture = ["--set", "mixture.n_components=3", "--set", "mixture.emission=means"]
    run("train", "--model", "gmm", "--data", "digits", *mixture, "--out", path / "gmm")
    return path


def test_a_baseline_leaves_a_complete_run_folder(folder):
    opened = RunFolder.open(folder / "rae")
    assert opened.about["status"] == "finished"
    assert opened.about["model"] == opened.config.model == "rae"
    assert opened.about["epochs_kept"] == [2, 2]
    assert opened.about["n_synapses"] == opened.model().blueprint.n_synapses
    assert opened.config.training.patience == 10  # the preset's
    assert [(r.epoch, r.trial) for r in opened.history] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    for name in ("reconstructions", "learning-curve", "weights"):
        png = folder / "rae" / "figures" / f"{name}.png"
        assert png.read_bytes().startswith(b"\x89PNG")
    assert not np.array_equal(*(opened.model(trial).encoder.weights[0] for trial in (0, 1)))


@pytest.mark.slow
def test_reconstruct_reports_what_the_history_says(folder):
    found = json.loads(run("reconstruct", folder / "rae", "--trial", 1, "--json").stdout)
    last = RunFolder.open(folder / "rae").history[-1]
    assert found["error"] == pytest.approx(last.test.error, rel=1e-5)


@pytest.mark.slow
def test_baselines_are_evaluated(folder):
    only = [part for name in ("likelihood", "probe") for part in ("--only", name)]
    options = ["--components", 3, "--samples", 200, "--split", "test", "--json"]
    done = run("evaluate", folder / "rae", *only, *options, "--trial", 1)
    found = json.loads(done.stdout)
    assert found == json.loads((folder / "rae" / "metrics-test-1.json").read_text(encoding="utf-8"))
    assert found["bce"] == pytest.approx(RunFolder.open(folder / "rae").history[-1].test.error)
    assert found["likelihood"]["mean"] == pytest.approx(-found["bce"], abs=1)  # hardly trained
    assert "likelihood_own_prior" not in found  # the RAE has none
    mixture = json.loads(run("evaluate", folder / "gmm", *options, "--only", "likelihood").stdout)
    assert "bce" not in mixture
    assert "prior" not in mixture  # none is fitted on top
    exact = RunFolder.open(folder / "gmm").history[0].test.error
    assert mixture["likelihood"]["mean"] == pytest.approx(-exact, abs=0.3)
    with pytest.raises(ConfigError, match="'probe' can't be measured of the model 'gmm'"):
        run("evaluate", folder / "gmm", "--only", "probe")


def test_runs_are_compared(folder, tmp_path):
    runs = [folder / "rae", folder / "gmm"]
    figure = tmp_path / "figure.png"
    found = json.loads(run("compare", *runs, "--json", "--figure", figure).stdout)
    assert [row["model"] for row in found["rows"]] == ["rae", "gmm"]
    errors = [r.test.error for r in RunFolder.open(runs[0]).history if r.epoch == 2]
    assert found["rows"][0]["measures"]["bce"]["mean"] == pytest.approx(np.mean(errors))
    assert figure.read_bytes().startswith(b"\x89PNG")
    table = run("compare", *runs).stdout
    assert "rae" in table
    assert "±" in table
    assert run("compare", *runs, "--format", "markdown").stdout.startswith("| run | model |")


@pytest.mark.slow
def test_a_run_that_chooses_its_variance_says_what_each_reached(tmp_path):
    variances = ["--set", "backprop.variance=[1.0, 0.1]"]
    out = tmp_path / "cv"
    done = run("train", "--model", "gvae-cv", *SMALL, *BUDGET, *variances, "--out", out, "--json")
    opened = RunFolder.open(out)
    tried = opened.about["validation_psi_of_variances"]
    best = max(tried, key=lambda variance: tried[variance])
    assert set(tried) == {"1.0", "0.1"}
    assert opened.config.backprop.variance == float(best)
    assert opened.model().blueprint.variance == float(best)
    assert [record.epoch for record in opened.history] == [1, 2]
    assert opened.history[-1].validation.discrepancy == pytest.approx(tried[best])
    assert opened.about["epochs_kept"] == [2]
    assert opened.about["status"] == "finished"
    assert f"variance {best}; ψ" in done.stderr
    with pytest.raises(ConfigError, match=r"variance=.* has no effect with model='gvae'"):
        run("train", "--model", "gvae", *variances, "--out", tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (
            ["train", "--model", "vae"],
            ConfigError,
            "Unknown model 'vae'. Did you mean 'gvae'[?] Choose one of: 'gncn'",
        ),
        (["train", "--model", "rae", "--preset", "mnist"], ConfigError, "no effect with model="),
        (
            ["train", "--model", "rae", "--data", "digits", "--set", "backprop.budget=9"],
            ConfigError,
            "budget of 9 synapses is too small",
        ),
        (["train", "--model", "gmm", "--data", "grey.npy"], DataError, "models binary images"),
        (
            ["train", "--model", "gvae", "--data", "wide.npy"],
            DataError,
            "'gvae' takes pixels in",
        ),
    ],
)
def test_bad_input_makes_no_folder(tmp_path, monkeypatch, arguments, kind, message):
    monkeypatch.chdir(tmp_path)
    grey = np.random.default_rng(0).uniform(size=(40, 30))
    np.save("grey.npy", grey)
    np.save("wide.npy", 2 * grey - 0.5)
    if arguments[-1].endswith(".npy"):
        arguments = [*arguments, "--set", "data.binarisation=none"]
    with pytest.raises(kind, match=message):
        run(*arguments, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_a_baseline_cannot_do_is_refused(folder):
    with pytest.raises(RunError, match="holds the baseline 'rae', and this needs a network"):
        run("settle", folder / "rae")
    with pytest.raises(RunError, match="'gmm', which reconstructs nothing"):
        run("reconstruct", folder / "gmm")
    with pytest.raises(ConfigError, match="Unknown format 'html'"):
        run("compare", folder / "rae", "--format", "html")

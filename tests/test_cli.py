"""The command line as a person uses it, on real small data."""

import inspect
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from types import SimpleNamespace
from typing import NamedTuple, get_args
from unittest import mock

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.golden.stored import FORMATS

import gncn
from command import call
from gncn import cli
from gncn.base import interrupts
from gncn.base.notices import Notice
from gncn.base.screen import console
from gncn.cli.app import app
from gncn.cli.options import print_json
from gncn.runs.folder import RunFolder
from gncn.runs.priors import load_mixture
from gncn.training.history import EpochRecord, SplitRecord
from gncn.training.progress import Fit, Interrupted

FAST = ["--preset", "digits", "--epochs", "2", "--set", "network.sizes=[12,12,12]"]
FAST += ["--set", "network.group_size=4"]


class Done(NamedTuple):
    """How a command ended, as `subprocess.run` says it."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments):
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.object(console, "_width", 120):
        code = call(arguments, out, err, COLUMNS="120", NO_COLOR="1")
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    done = run("train", *FAST, "--trials", 2, "--seed", 3, "--out", folder, "--json")
    assert done.returncode == 0, done.stderr
    return folder, done


def unmeasured(folder, copy):
    """A copy of a run, as training left it."""
    measured = shutil.ignore_patterns("metrics-*", "per-image-*", "prior*", "figures")
    return shutil.copytree(folder, copy, ignore=measured)


def test_the_command_is_installed():
    command = [sys.executable, "-c", "from gncn.cli import main; main()", "--help"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert "reconstruct" in done.stdout


def test_training_leaves_a_complete_run_folder(trained):
    folder, done = trained
    result = json.loads(done.stdout)
    assert result["status"] == "finished"
    assert [record["trial"] for record in result["last_epoch"]] == [0, 1]
    assert "digits" in done.stderr
    assert "epoch 2/2" in done.stderr
    opened = RunFolder.open(folder)
    about = opened.about
    assert about["status"] == "finished"
    assert about["seeds"] == [3, 4]
    assert about["versions"]["gncn"] == gncn.__version__
    assert opened.config.network.sizes == (12, 12, 12)
    assert len(opened.history) == 4
    for name in ("reconstructions", "learning-curve", "weights", "columns"):
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    weights = [np.asarray(opened.network(trial).connections[0].forward) for trial in (0, 1)]
    assert not np.array_equal(*weights)
    assert result["last_epoch"][1]["test"] == opened.history[-1].test.model_dump(mode="json")


@pytest.mark.slow
def test_the_written_config_repeats_the_run_bit_for_bit(trained, tmp_path):
    folder, _ = trained
    done = run("train", "--config", folder / "config.toml", "--out", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    for trial in ("0", "1"):
        a, b = (
            next((root / "trials" / trial).glob("*.safetensors")).read_bytes()
            for root in (folder, tmp_path / "again")
        )
        assert a == b


@pytest.mark.slow
def test_reconstruct_reports_what_the_history_says(trained):
    folder, _ = trained
    done = run("reconstruct", folder, "--trial", 1, "--n", 5, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["n_images"] == 297
    last = RunFolder.open(folder).history[-1]
    assert last.trial == 1
    assert found["error"] == pytest.approx(last.test.error, rel=1e-5)
    assert (folder / "figures" / "reconstructions-test.png").exists()
    human = run("reconstruct", folder, "--split", "validation")
    assert "200 validation images: BCE" in human.stderr


@pytest.mark.slow
def test_settle_shows_psi_rising_and_stops_at_rest(trained, tmp_path):
    folder, _ = trained
    out = tmp_path / "settling.png"
    done = run("settle", folder, "--index", 4, "--steps", 30, "--json", "--out", out)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["n_steps"] == 30
    assert len(found["discrepancy"]) == 31
    assert found["discrepancy"][-1] > found["discrepancy"][0]
    np.testing.assert_allclose(
        np.sum(found["layer_discrepancy"], axis=1), found["discrepancy"], rtol=1e-4
    )
    assert out.read_bytes().startswith(b"\x89PNG")
    short = run("settle", folder, "--tolerance", "1000", "--json", "--out", out)
    assert json.loads(short.stdout)["converged"] is True
    assert json.loads(short.stdout)["n_steps"] == 0
    never = run("settle", folder, "--tolerance", "1e-9", "--out", out)
    assert "did not come to rest" in never.stderr


@pytest.mark.slow
def test_evaluate_measures_what_is_asked_for(trained):
    folder, _ = trained
    measures = ("likelihood", "samples", "completion", "probe", "sparsity")
    only = [part for name in measures for part in ("--only", name)]
    layers = [part for layer in (1, 3) for part in ("--probe-layer", layer)]
    options = (*only, *layers, "--components", 5, "--samples", 500, "--missing", "left")
    done = run("evaluate", folder, *options, "--json")
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)
    assert metrics == json.loads((folder / "metrics-validation.json").read_text(encoding="utf-8"))
    assert metrics["n_images"] == 200
    history = RunFolder.open(folder).history
    assert metrics["bce"] == pytest.approx(history[-2].validation.error, rel=1e-5)
    assert [layer["active"] for layer in metrics["sparsity"]] == pytest.approx(
        list(history[-2].validation.sparsity), rel=1e-4
    )
    found = metrics["likelihood"]
    assert found["paper_convention"] == pytest.approx(found["mean"] + 2 * np.log(500), abs=1e-3)
    assert found["mean"] < -metrics["bce"]
    remembered = metrics["likelihood_training_codes"]
    assert remembered["mean"] < -metrics["bce"]
    assert remembered["mean"] != found["mean"]
    assert 0 < metrics["probe"][0]["z"]["error_percent"] < 60
    assert [one["layer"] for one in metrics["probe"]] == [1, 3]
    assert metrics["probe"][0]["z"] != metrics["probe"][1]["z"]
    completion = metrics["completion"]
    ways = {way: score["m_mse"] for way, score in completion["ways"].items()}
    assert set(ways) == {"drift", "silent", "recall", "refined", "combined"}
    assert completion["missing"] == "left"
    assert ways[completion["best_way"]] == min(ways.values())
    for name in ("likelihood", "samples", "completions", "confusion", "activity"):
        assert (folder / "figures" / f"{name}.png").exists()
    per_image = load_file(folder / "per-image-validation.safetensors")["log_likelihood"]
    assert per_image.shape == (200,)
    assert per_image.mean() == pytest.approx(found["mean"], abs=1e-3)
    again = run("evaluate", folder, "--only", "sparsity")
    assert again.returncode == 0, again.stderr
    remeasured = json.loads((folder / "metrics-validation.json").read_text(encoding="utf-8"))
    seconds = metrics.pop("seconds")
    assert set(seconds) == set(measures)
    assert all(value > 0 for value in seconds.values())
    renewed = remeasured.pop("seconds")
    assert {name for name in measures if renewed[name] != seconds[name]} == {"sparsity"}
    assert remeasured == metrics
    prior = load_mixture(folder / "trials" / "0" / "prior.safetensors")
    assert (prior.n_components, prior.dim) == (5, 12)


@pytest.mark.slow
def test_evaluate_brackets_the_likelihood_and_measures_yardsticks(tmp_path):
    folder = tmp_path / "run"
    assert run("train", *FAST, "--out", folder).returncode == 0
    options = ("--only", "tight", "--only", "yardsticks", "--components", 5)
    done = run("evaluate", folder, *options, "--json")
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)
    tight = metrics["tight"]
    assert tight["mean"] > tight["from_prior_samples"]["mean"][-1] - 0.5
    assert abs(tight["mean"] - tight["importance_sampling"]["mean"]) < 0.5
    assert metrics["yardsticks"]["m_mse"]["mean_image"]["m_mse"] > 0


@pytest.mark.slow
def test_evaluate_drops_earlier_numbers_only_when_told(trained, tmp_path):
    folder = unmeasured(trained[0], tmp_path / "run")
    options = ["--only", "samples", "--components", 2]
    assert run("evaluate", folder, *options).returncode == 0
    before = (folder / "metrics-validation.json").read_bytes()
    done = run("evaluate", folder, "--only", "likelihood")
    assert done.returncode == 2
    text = re.sub(r"\s+", " ", done.stderr)
    assert "measured with other settings (n_components: [2] → [65])" in text
    assert "--replace" in text
    assert (folder / "metrics-validation.json").read_bytes() == before
    assert run("evaluate", folder, "--only", "sparsity").returncode == 0
    replaced = run("evaluate", folder, "--only", "samples", "--components", 3, "--replace")
    assert replaced.returncode == 0, replaced.stderr
    found = json.loads((folder / "metrics-validation.json").read_text(encoding="utf-8"))
    assert found["settings"]["n_components"] == [3]
    assert "sparsity" not in found
    (folder / "metrics-validation.json").write_text("{", encoding="utf-8")
    damaged = run("evaluate", folder, "--only", "sparsity")
    assert damaged.returncode == 2
    assert "can't be read" in re.sub(r"\s+", " ", damaged.stderr)


def number_options():
    """Command and flag of every option that takes a number."""
    for command in app.registered_commands:
        for name, parameter in inspect.signature(command.callback).parameters.items():
            kind, option = get_args(parameter.annotation)
            kinds = {kind, *get_args(kind)}
            if {int, float} & kinds.union(*map(get_args, kinds)):
                named = (option.default, *(option.param_decls or ()))  # Typer sorts them out later
                flags = [one for one in named if str(one).startswith("--")]
                yield command.callback.__name__, (*flags, f"--{name.replace('_', '-')}")[0]


def test_every_option_that_takes_a_number_says_what_it_received():
    options = list(number_options())
    assert {("train", "--epochs"), ("evaluate", "--components")} <= set(options)
    for command, flag in options:
        wrong = run(command, flag, "\x1b[31m")
        assert wrong.returncode == 2
        text = re.sub(r"\s+", " ", wrong.stderr)
        why = r"Input should be a (whole|valid) number; received '\\x1b\[31m'\. "
        assert re.search(f"'{flag}.*': {why}$", text)
        assert "env var" not in text
    for command, flag, value in (("settle", "--index", -1), ("reconstruct", "--n", 2000)):
        text = re.sub(r"\s+", " ", run(command, flag, value).stderr)
        allowed = "(greater than or equal to|less than or equal to|in the range) .*[0-9]"
        assert re.search(rf"should be {allowed}; received '?{value}'?\. $", text)
    assert "a whole number; received '1.5'." in run("train", "--epochs", 1.5).stderr


def test_evaluate_refuses_what_it_cannot_do(tmp_path):
    folder = shutil.copytree(FORMATS / "run", tmp_path / "run")
    wrong = run("evaluate", folder, "--only", "sparsity", "--covariance", "round")
    assert "covariance: input should be 'full' or 'diagonal'" in re.sub(r"\s+", " ", wrong.stderr)
    wrong = run("evaluate", folder, "--only", "sparsity", "--components", -5)
    assert "greater than or equal to 1; received '-5'" in re.sub(r"\s+", " ", wrong.stderr)
    (folder.parent / "empty.npy").write_bytes(b"")
    wrong = run("evaluate", folder, "--missing", folder.parent / "empty.npy")
    assert "damaged, cut short" in re.sub(r"\s+", " ", wrong.stderr)
    assert "Unknown measure 'fid'" in run("evaluate", folder, "--only", "fid").stderr
    assert "Unknown missing 'middle'" in run("evaluate", folder, "--missing", "middle").stderr
    assert "received 'train'" in run("evaluate", folder, "--split", "train").stderr
    wrong = run("evaluate", folder, "--only", "probe", "--probe-layer", 7)
    assert "from 1 to 2; received 7" in wrong.stderr


@pytest.mark.slow
def test_own_images_from_a_file(tmp_path):
    images = np.random.default_rng(0).uniform(size=(60, 30))
    np.save(tmp_path / "mine.npy", images)
    done = run(
        "train",
        *FAST,
        "--data",
        tmp_path / "mine.npy",
        "--out",
        tmp_path / "run",
        "--set",
        "data.binarisation=none",
        "--set",
        "network.likelihood=gaussian",
    )
    assert done.returncode == 0, done.stderr
    assert "squared error" in done.stderr
    assert run("settle", tmp_path / "run").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--preset", "mnits"],
            "Unknown preset 'mnits'. Did you mean 'mnist'? Choose one of: 'caltech'",
        ),
        (["--set", "training.n_epoch=2"], "Unknown option 'n_epoch'"),
        (["--data", "minst"], "minst"),
        (["--data", "none.npy"], "none.npy"),
        (["--config", "none.toml"], "Can't read none.toml"),
        (["--set", "network.group_size=7"], "can't be divided into columns of 7"),
        (["--epochs", "0"], "Invalid value for '--epochs'"),
        (["--data-dir", "/nowhere"], "/nowhere"),
        (["--seed", "99999999999999999999999"], "seed"),
        (["--set", "training.learning_rate=0.1\nbatch_size=9"], "received several lines"),
        (["--set", "training.batch_size=true"], "batch_size must be a number; received True"),
        (["--set", "training.batch_size='3'"], "batch_size must be a number; received '3'"),
        (["--set", "training.learning_rate=inf"], "learning_rate"),
        (["--set", "network.initial_state=nan"], "finite number"),
        (["--set", "training.ipc_updates=7"], "ipc_updates must divide"),
    ],
)
def test_bad_input_gets_one_clear_message_and_status_2(tmp_path, arguments, message):
    done = run("train", *FAST, *arguments, "--out", tmp_path / "run")
    assert done.returncode == 2
    text = re.sub(r"\s+", " ", done.stderr)
    assert message in text
    assert "Error" in text
    assert "Traceback" not in text
    assert not (tmp_path / "run").exists()


def test_a_path_in_an_error_can_be_copied(tmp_path):
    folder = tmp_path / ("a" * 150)
    assert f" {folder} is not a run folder" in " ".join(run("reconstruct", folder).stderr.split())


def test_nobody_waits_for_what_will_be_refused(tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text("", encoding="utf-8")  # of a run
    monkeypatch.setattr("gncn.base.locks.alone", None)
    out, err = io.StringIO(), io.StringIO()
    assert call(("train", "--preset", "digits", "--out", tmp_path, "--wait"), out, err) == 2
    assert "already holds a run" in " ".join(err.getvalue().split())


def test_a_run_is_not_overwritten_unless_asked(trained, tmp_path):
    folder, _ = trained
    before = (folder / "history.jsonl").read_bytes()
    done = run("train", *FAST, "--out", folder)
    assert done.returncode == 2
    assert "already holds a run" in done.stderr
    assert (folder / "history.jsonl").read_bytes() == before
    (tmp_path / "letters.txt").write_text("precious", encoding="utf-8")
    done = run("train", *FAST, "--out", tmp_path, "--overwrite")
    assert done.returncode == 2
    assert "holds files that are no run" in re.sub(r"\s+", " ", done.stderr)


@pytest.mark.slow
def test_what_was_measured_of_a_run_does_not_outlive_it(trained, tmp_path):
    old = unmeasured(trained[0], tmp_path / "run")
    (old / "metrics-test.json").write_text("{}", encoding="utf-8")
    assert run("train", *FAST, "--out", old, "--overwrite").returncode == 0
    assert not list(old.glob("metrics-*"))


def test_folders_without_a_run_are_refused(tmp_path):
    folder = FORMATS / "run"
    for command in ("reconstruct", "settle"):
        done = run(command, tmp_path)
        assert done.returncode == 2
        assert "is not a run folder" in done.stderr
    assert "it has trials [0, 1]" in run("settle", folder, "--trial", 5).stderr
    assert "from 0 to 296" in run("settle", folder, "--index", 297).stderr
    assert "Unknown split 'tset'" in run("reconstruct", folder, "--split", "tset").stderr


def test_divergence_ends_with_status_1_and_advice(tmp_path):
    done = run(
        "train",
        *FAST,
        "--out",
        tmp_path / "run",
        "--set",
        "settling.step_size=80.0",
        "--set",
        "network.norm=off",
        "--set",
        "network.max_norm=[]",
    )
    assert done.returncode == 2  # max_norm takes three values
    options = [
        "--data",
        "digits",
        "--epochs",
        "2",
        "--set",
        "network.sizes=[12]",
        "--set",
        "settling.step_size=90.0",
    ]
    done = run("train", "--config", os.devnull, *options, "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "diverged at mini-batch" in re.sub(r"\s+", " ", done.stderr)
    assert RunFolder.open(tmp_path / "run").about["status"] == "diverged"


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_trained(tmp_path):
    arguments = ["train", *FAST, "--epochs", "100000", "--out", str(tmp_path / "run")]
    # A shell that starts the tests in the background lets them ignore Ctrl-C.
    hear = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{hear}; from gncn.cli import main; main()", *arguments],
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    history = tmp_path / "run" / "history.jsonl"
    for _ in range(1200):
        if history.exists():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors
    folder = RunFolder.open(tmp_path / "run")
    assert folder.about["status"] == "interrupted"
    last = folder.history[-1].epoch
    assert last >= 1
    assert f"after epoch {last}" in re.sub(r"\s+", " ", errors)
    assert run("reconstruct", tmp_path / "run").returncode == 0


@pytest.mark.slow
def test_ctrl_c_is_told_wherever_it_comes(trained):
    folder, _ = trained
    hear = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    strike = "import os, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
    for place in ("gncn.runs.assess.assess", "gncn.base.hardware.keep_compiled_programs"):
        module, _, name = place.rpartition(".")
        patch = f"import {module} as m; m.{name} = lambda *a, **k: exec({strike!r})"
        code = f"{hear}; from gncn.cli import main; {patch}; main()"
        command = [sys.executable, "-c", code, "evaluate", str(folder)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 130
        assert re.search(r"^Interrupted[.;]", done.stderr, re.MULTILINE)
        assert "Traceback" not in done.stderr


def test_json_has_no_number_that_json_does_not_know(capsys):
    print_json({"a": np.array([1.0, np.nan]), "b": (float("inf"), 2), "c": np.float32(3)})
    assert json.loads(capsys.readouterr().out) == {"a": [1.0, None], "b": [None, 2], "c": 3.0}


@pytest.mark.parametrize(
    "command", ["train", "reconstruct", "settle", "evaluate", "compare", "data list"]
)
def test_help_teaches_with_an_example(command):
    done = run(*command.split(), "--help")
    assert done.returncode == 0
    assert f"gncn {command}" in done.stdout


HUGE = "1" + 30 * "0"


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "nan", "1e12", HUGE, str(2**64), "x"])
@pytest.mark.parametrize("option", ["--epochs", "--batch-size", "--trials", "--checkpoint-batches"])
def test_numbers_out_of_range_are_refused_before_training(option, value, tmp_path):
    done = run("train", *FAST[:2], option, value, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "x"])
def test_seconds_out_of_range_are_refused_before_training(value, tmp_path):
    done = run("train", *FAST[:2], "--checkpoint-seconds", value, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["--index", "--steps", "--tolerance", "--trial"])
@pytest.mark.parametrize("value", ["-1", "nan", "x", HUGE])
def test_numbers_out_of_range_are_refused_before_settling(option, value, tmp_path):
    done = run("settle", FORMATS / "run", option, value, "--out", tmp_path / "settling.png")
    if (option, value) != ("--tolerance", HUGE):
        assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_stream_that_a_shell_has_closed_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gncn", "--version"])
    with monkeypatch.context() as closed:
        closed.setattr(sys, "stdout", None)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        assert sys.stdout.name == os.devnull
        sys.stdout.close()


def test_a_defect_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("gncn.cli.app.app", mock.Mock(side_effect=KeyError("a defect")))
    with pytest.raises(KeyError, match="a defect"):
        run("--version")


def test_notices_are_sentences_and_other_warnings_as_ever(capsys):
    old = ("it is old", DeprecationWarning, "mine.py", 3)
    cli._show_warning(*old)
    assert capsys.readouterr().err == warnings.formatwarning(*old)
    cli._show_warning(Notice("They are 8-bit."), Notice, "mine.py", 3)
    assert capsys.readouterr().err == "They are 8-bit.\n"


def test_misuse_is_told_with_its_usage_where_there_is_one(capsys):
    class MisuseError(Exception):
        ctx = None

        def format_message(self):
            return str(self)

    cli._print_misuse(MisuseError(""))  # help has been printed
    assert capsys.readouterr().err == ""
    cli._print_misuse(MisuseError("too much"))
    assert capsys.readouterr().err == "Error: too much\n"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "Invalid value for '--epochs' (env var: 'None'): '1.5' is not a valid integer.",
            "Invalid value for '--epochs': Input should be a whole number; received '1.5'.",
        ),
        (
            "Invalid value for '--n': 'x' is not a valid integer range.",
            "Invalid value for '--n': Input should be a whole number; received 'x'.",
        ),
        (
            "Invalid value for '--fps': 'x' is not a valid float range.",
            "Invalid value for '--fps': Input should be a valid number; received 'x'.",
        ),
        (
            "Invalid value for '--n': 2000 is not in the range 1<=x<=1000.",
            "Invalid value for '--n': Input should be in the range 1<=x<=1000; received 2000.",
        ),
        ("No such command 'trian'.", "No such command 'trian'. Did you mean 'train'?"),
        ("No such command 'xyz'.", "No such command 'xyz'."),
    ],
)
def test_messages_of_an_older_typer_say_as_much(message, shown, capsys):
    class Context:
        command_path = "gncn"
        command = SimpleNamespace(list_commands=lambda context: ["train", "tune"])

        def get_usage(self):
            return "Usage: gncn"

    class MisuseError(Exception):
        ctx = Context()

        def format_message(self):
            return str(self)

    cli._print_misuse(MisuseError(message))
    printed = " ".join(capsys.readouterr().err.split())
    assert printed == f"Usage: gncn Try `gncn --help`. Error: {shown}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train"],
            "Give --out RUN to begin a run, or --resume RUN to go on with one; received ",
        ),
        (["train", "--out", "a", "--resume", "b"], "to go on with one; received both."),
        (
            ["export", "nowhere", "--out", "a.npz", "--data", "b.npy", "--data-dir", "."],
            "Give --data or --data-dir, not both: the images are from one of them.",
        ),
    ],
)
def test_options_that_exclude_each_other(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_training_that_ends_before_its_first_epoch_draws_nothing(tmp_path, monkeypatch):
    began = []
    one = SplitRecord(error=1.0, discrepancy=-1.0, layer_discrepancy=(), sparsity=())
    record = EpochRecord(
        trial=0, epoch=1, error_name="bce", seconds=1.0, train=one, validation=one, test=one
    )

    def stopped(folder, config, data, **options):
        if not began:
            folder.on_epoch([record], config.models(data))  # there is a folder to go on with
        began.append((folder.path, config.training.n_epochs))
        raise Interrupted(Fit((), (), "interrupted", ()))

    monkeypatch.setattr("gncn.runs.train.train_run", stopped)
    ended = SystemExit(128 + signal.SIGINT)  # instead of ending the process
    monkeypatch.setattr(interrupts._Guard, "end", mock.Mock(side_effect=ended))
    drawn = mock.Mock()
    monkeypatch.setattr("gncn.runs.drawing.draw_run", drawn)
    folder = tmp_path / "run"
    done = run("train", *FAST, "--out", folder, "--json")
    assert done.returncode == 128 + signal.SIGINT
    found = {"run": str(folder), "status": "interrupted", "last_epoch": []}
    found |= {"epochs_kept": [], "kept": []}
    assert json.loads(done.stdout) == found
    assert "goes on after" not in done.stderr
    done = run("train", "--resume", folder, "--epochs", 3)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stdout == ""
    assert "goes on after epoch 1 of 3" in done.stderr
    assert began == [(folder, 2), (folder, 3)]
    assert not drawn.called


@pytest.mark.slow
def test_early_stopping_says_which_epoch_is_shown(tmp_path):
    settings = ["--set", "training.patience=1", "--set", "training.learning_rate=0.05"]
    done = run("train", *FAST, "--epochs", 40, *settings, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    history = RunFolder.open(tmp_path / "run").history
    best, last = min(history, key=lambda r: r.validation.error).epoch, history[-1].epoch
    assert best + 1 == last < 40
    assert f"after epoch {best}, the best of {last}" in done.stdout
    assert f"after epoch {last} of 40: no trial improved on the validation images in" in " ".join(
        done.stderr.split()
    )


def test_what_takes_hours_is_started_by_name_only():
    for command, choice in (("reproduce", "`tiny`"), ("tune", "`tiny`"), ("evaluate", "RUN")):
        done = run(command)
        assert done.returncode == 2
        assert "Missing argument" in done.stderr
        assert choice in done.stderr

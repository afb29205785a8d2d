"""What somebody meets who has just installed it: help, messages, tables, figures."""

import csv
import dataclasses
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest
import typer
from PIL import Image
from rich.text import Text
from tests.golden.stored import FORMATS

import _gncn
import _gncn_names
import gncn
from _gncn import COMMANDS
from command import call
from gncn.base import screen
from gncn.base.errors import ConfigError, RunError, did_you_mean, unknown_choice
from gncn.base.files import place, read_json
from gncn.base.locks import alone
from gncn.cli import options
from gncn.cli.app import app
from gncn.cli.config import _shown
from gncn.cli.train import train as train_command
from gncn.cli.view import _warn_of_growth
from gncn.core.states import grows
from gncn.data import dataset_names
from gncn.figures.network import steps_of_change
from gncn.measures import MEASURES
from gncn.runs.config import load_config
from gncn.runs.folder import SPLITS, RunFolder
from gncn.runs.options import all_options
from gncn.runs.toml import packaged, packaged_names
from gncn.runs.train import LOGGERS
from gncn.study.compare import FORMATS as TABLES
from gncn.study.compare import Comparison, Row, hints, render
from gncn.study.paper import Summary
from gncn.training.bar import ProgressBar
from gncn.training.callbacks import Start
from gncn.training.kinds import MODEL_KINDS
from test_cli import run


def test_the_closest_name_is_suggested_and_no_other():
    assert did_you_mean("mnits", ["digits", "mnist"]) == " Did you mean 'mnist'?"
    assert did_you_mean("training.n_epoch", ["n_epochs"]) == " Did you mean 'n_epochs'?"
    assert did_you_mean("x", ["mnist"]) == did_you_mean(3, ["mnist"]) == ""
    assert " Did you mean 'relu'? Choose one of: 'a', 'relu'." in str(
        unknown_choice("activation", "rleu", ["a", "relu"])
    )


@pytest.mark.parametrize(
    ("arguments", "closest"),
    [
        (["train", "--preset", "mnits"], "mnist"),
        (["train", "--model", "gvea"], "gvae"),
        (["train", "--set", "training.n_epoch=2"], "n_epochs"),
        (["train", "--set", "network.groupsize=2"], "group_size"),
        (["train", "--set", "settling.setler='euler'"], "settler"),
        (["train", "--epoch", "2"], "--epochs"),
        (["train", "--set", "epochs=2"], "training.n_epochs"),
        (["trian"], "train"),
        (["reproduce", "tinny"], "tiny"),
        (["config", "trainnig"], "training"),
    ],
)
def test_commands_suggest_what_was_meant(arguments, closest, tmp_path):
    out = ["--out", str(tmp_path / "run")] if arguments[0] == "train" else []
    done = run(*arguments, *out)
    assert done.returncode == 2
    assert f"Did you mean '{closest}'?" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model=gvae"], "Start from --preset gvae, and choose the data by --data digits."),
        (["network.sizes=[10, 10]"], "The preset 'digits' gives network.max_norm=[4.0, 1.0, 1.0]."),
        (["network.sizes=[10, 10, 10]"], "The preset 'digits' gives network.group_size=6."),
        (["network.norm=off"], "The preset 'digits' gives network.max_norm=[4.0, 1.0, 1.0]."),
    ],
)
def test_what_a_preset_gave_is_not_blamed_on_the_user(overrides, said):
    with pytest.raises(ConfigError) as caught:
        load_config(preset="digits", overrides=overrides)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "overrides", [["training.n_epoch=2"], ["network=3"], ["network.max_norm=[1, 2]"]]
)
def test_a_preset_is_not_blamed_for_what_the_user_gave(overrides):
    with pytest.raises(ConfigError) as caught:
        load_config(preset="digits", overrides=overrides)
    assert "The preset" not in str(caught.value)


def test_every_option_is_explained():
    found = {option.name: option for option in all_options()}
    assert not [name for name, option in found.items() if len(option.meaning) < 10]
    assert found["training.n_epochs"].default == 10
    assert found["training.n_epochs"].section == "training"
    assert found["seed"].section == ""
    assert found["network.group_size"].needed
    assert found["network.group_size"].taken_by == ("columns",)
    assert found["network.output_precision"].default == "off"
    for section in ("data", "network", "settling", "training", "backprop", "mixture"):
        values = packaged("runs/presets", "mnist").get(section, {})
        assert {f"{section}.{name}" for name in values} <= {*found}


def test_config_lists_options():
    done = run("config", "training", "--json")
    listed = json.loads(done.stdout)
    assert {one["section"] for one in listed} == {"training"}
    epochs = next(one for one in listed if one["name"] == "training.n_epochs")
    assert (epochs["default"], epochs["meaning"]) == (10, "passes over the training images.")
    human = run("config", "group_size")
    assert "Neurons K of a column" in human.stdout
    assert human.stderr == ""
    parts = {one["name"]: one["default"] for one in json.loads(run("config", "--json").stdout)}
    assert parts["settling.settler"] == "euler"


def test_config_has_a_table_for_each_section():
    tables = re.split(r"^(above all sections|\[\w+\]) *$", run("config").stdout, flags=re.MULTILINE)
    found = dict(zip(tables[1::2], tables[2::2], strict=True))
    listed = {}
    for one in all_options():
        title = f"[{one.section}]" if one.section else "above all sections"
        listed.setdefault(title, []).append(one.name.split(".")[-1])
    assert {*found} == {*listed}
    for title, names in listed.items():
        rows = [row.split("│")[1].strip() for row in found[title].splitlines() if "│" in row]
        assert [name for name in rows if name] == names


def test_what_an_option_without_a_default_shows():
    option = all_options()[0]._replace(default=None, needed=False)
    assert _shown(option) == "–"
    assert _shown(option._replace(needed=True)) == "required"
    assert _shown(option._replace(default=(1, 2))) == "[1, 2]"


def start(code, *arguments):
    command = [sys.executable, *code, *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


def test_help_is_the_same_with_and_without_the_package():
    out, err = io.StringIO(), io.StringIO()
    assert call(["--help"], out, err, COLUMNS="100") == 0
    quick = subprocess.run(
        [sys.executable, "-c", "import sys; from _gncn import main; main()", "--help"],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"COLUMNS": "100"},
        check=False,
    )
    assert quick.stdout == out.getvalue()
    names = [one.name or one.callback.__name__ for one in app.registered_commands]
    assert [*COMMANDS] == [*names, "data"]


def test_help_and_version_do_not_import_the_package():
    code = "import sys, _gncn; print(_gncn._answered(sys.argv[1:]), 'gncn' in sys.modules)"
    for asked in ("--help", "-h", "--version"):
        done = start(["-c", code], asked)
        assert done.stdout.endswith("0 False\n"), done.stderr
    assert f"gncn {gncn.__version__}" in done.stdout


def test_help_is_answered_with_the_status_of_the_whole_command(monkeypatch, capsys):
    for arguments in ([], ["--help"]):
        monkeypatch.setattr(sys, "argv", ["gncn", *arguments])
        assert _gncn._answered(arguments) == run(*arguments).returncode
        out = capsys.readouterr().out
        assert all(f" {name} " in out for name in COMMANDS)
    assert run().returncode == 2
    assert _gncn._answered(["train", "--help"]) is None  # is for the package to say
    broken = SimpleNamespace(version=mock.Mock(side_effect=OSError("no metadata")))
    monkeypatch.setattr(_gncn, "metadata", broken)
    monkeypatch.setattr(sys, "argv", ["gncn", "--version"])
    assert _gncn._answered(["--version"]) is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("ends", "status", "said"),
    [
        (None, 0, ""),
        (SystemExit(3), 3, ""),
        (
            RuntimeError("Unable to initialize backend 'abacus':\nmore of it"),
            2,
            "Error: JAX_PLATFORMS='abacus' in the environment: Unable to initialize backend "
            "'abacus':\n",
        ),
    ],
)
def test_what_the_environment_got_wrong_is_one_sentence(monkeypatch, capsys, ends, status, said):
    monkeypatch.setenv("JAX_PLATFORMS", "abacus")
    monkeypatch.setattr("gncn.cli.main", mock.Mock(side_effect=ends))
    assert _gncn._done() == status
    assert capsys.readouterr().err == said
    defect = RuntimeError("a defect, and not of JAX_PLATFORMS")
    monkeypatch.setattr("gncn.cli.main", mock.Mock(side_effect=defect))
    with pytest.raises(RuntimeError, match="a defect"):
        _gncn._done()


def test_the_process_ends_with_the_status_and_leaves_ignored_signals_alone(monkeypatch, capsys):
    heard, ended, ignored = {}, [], getattr(signal, "SIGHUP", None)
    answers = {signal.SIGINT: signal.SIG_DFL, ignored: signal.SIG_IGN}
    monkeypatch.setattr(signal, "getsignal", lambda number: answers.get(number))
    monkeypatch.setattr(signal, "signal", heard.__setitem__)
    tidied = SimpleNamespace(_run_exitfuncs=lambda: ended.append("tidied"))
    monkeypatch.setattr(_gncn, "atexit", tidied)
    monkeypatch.setattr(_gncn.os, "_exit", ended.append)
    monkeypatch.setattr(_gncn, "_done", lambda: 7)
    monkeypatch.setattr(_gncn, "_answered", lambda _: None)
    _gncn.main()
    monkeypatch.setattr(_gncn, "_answered", lambda _: 0)
    with monkeypatch.context() as closed:
        closed.setattr(sys, "stdout", None)  # as by `>&-`
        _gncn.main()
    assert ended == ["tidied", 7, "tidied", 0]
    assert heard == {signal.SIGINT: _gncn._leave, signal.SIGTERM: _gncn._leave}
    monkeypatch.setattr(_gncn, "_answered", mock.Mock(side_effect=KeyError("COMP_WORDS")))
    with pytest.raises(KeyError):
        _gncn.main()
    monkeypatch.setenv("_GNCN_COMPLETE", "complete_zsh")
    _gncn.main()
    assert ended[-1] == 2
    assert "Error: _GNCN_COMPLETE='complete_zsh' asks for the comp" in capsys.readouterr().err


def completed(line):
    """What a shell is offered for a command line, without importing the package."""
    code = (
        "import sys, _gncn\nstatus = _gncn._answered([])\n"
        "sys.stderr.write(f'{status} {\"gncn\" in sys.modules}')"
    )
    asked = {"_GNCN_COMPLETE": "complete_bash", "COMP_WORDS": line}
    asked["COMP_CWORD"] = str(line.count(" "))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | asked,
        check=False,
    )
    assert done.stderr == "0 False"
    return done.stdout.split()


def test_a_shell_completes_names_without_the_package():
    for line, names in {
        "gncn ": [*COMMANDS],
        "gncn train --out runs/x --preset mn": ["mnist", "mnist-rest"],
        "gncn evaluate runs/x --only probe --only s": ["samples", "sparsity"],
        "gncn reproduce ": [*packaged_names("study/studies")],
        "gncn data fetch mnist f": ["fashion-mnist"],
        "gncn reconstruct ": [],  # the shell offers files
    }.items():
        assert completed(line) == names
    with mock.patch.dict(os.environ, _GNCN_COMPLETE="complete_bash", COMP_WORDS="gncn train --pre"):
        assert not _gncn_names.wants_names()  # options are for the package to name


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"COMP_WORDS": "gncn train ", "COMP_CWORD": "two"},
        # An option's name, for which the package is imported.
        pytest.param({"COMP_WORDS": "gncn train --pre"}, marks=pytest.mark.slow),
    ],
)
def test_completion_without_a_shells_words_is_an_error_in_words(asked):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("COMP_", "_TYPER"))}
    done = subprocess.run(
        [sys.executable, "-c", "import _gncn; _gncn.main()"],
        capture_output=True,
        encoding="utf-8",
        env=kept | {"_GNCN_COMPLETE": "complete_bash"} | asked,
        check=False,
    )
    assert done.returncode == 2
    said = done.stderr[done.stderr.index("Error:") :]  # JAX may warn of an encoding before it
    assert said.startswith("Error: _GNCN_COMPLETE='complete_bash' asks for the completion")
    assert said.count("\n") == 1


def test_names_that_a_shell_completes_are_those_of_the_package():
    named = _gncn_names.NAMED
    assert [*named] == [*COMMANDS]
    assert set(_gncn_names.MODELS) == {*MODEL_KINDS}
    assert MEASURES.names() == _gncn_names.MEASURES
    assert _gncn_names.SPLITS == SPLITS
    assert _gncn_names.FORMATS == TABLES
    assert set(_gncn_names.LOGS) == set(LOGGERS)
    assert set(_gncn_names.SECTIONS) == {one.section for one in all_options()} - {""}
    assert _gncn_names.data_sets() == dataset_names()
    for folder in ("runs/presets", "study/studies", "study/searches"):
        assert _gncn_names.files(folder) == packaged_names(folder)
    group = typer.main.get_command(app)
    assert [*named["data"]] == [*group.commands["data"].commands]
    for name, taken in named.items():
        known = {flag for one in group.commands[name].params for flag in one.opts}
        assert name == "data" or {*taken} - {""} <= known


def test_short_options_and_the_module_work():
    assert "Usage: gncn settle" in run("settle", "-h").stdout
    assert run("--version").stdout == f"gncn {gncn.__version__}\n"
    done = start(["-m", "gncn"], "--version")
    assert done.stdout == f"gncn {gncn.__version__}\n"


def test_states_that_run_away_are_noticed():
    psi = np.array([-40.0, -10.0, -8.0, -20.0, -90.0])
    assert grows(psi, np.array([5.0, 1.0, 1.0, 2.0, 4.0]))
    assert grows(np.array([-40.0, -8.0, np.nan]), np.array([1.0, 2.0, np.nan]))
    assert not grows(psi, np.array([5.0, 1.0, 1.0, 0.5, 0.1]))
    assert not grows(-np.array([40.0, 10.0, 8.0, 7.0, 6.0]), np.arange(5.0))


def small(leak):
    circuit = gncn.chain(
        (16, 12, 12),
        competition="columns",
        group_size=4,
        feedback="tied",
        compared="activity",
        competing="activity",
    )
    return gncn.build(circuit, seed=0, leak=leak, self_excitation=0.15, step_size=0.2)


@pytest.mark.parametrize(("leak", "expected"), [(0.001, True), (0.2, False)])
def test_a_leak_above_self_excitation_lets_states_rest(leak, expected):
    image = (np.arange(16) % 3 == 0).astype(np.float32)[None]
    settled, seen = gncn.watch(small(leak), image, n_settle_steps=600, tolerance=1e-3)
    psi, change = np.asarray(seen.discrepancy.total)[:, 0], np.asarray(seen.change)[:, 0].max(1)
    assert grows(psi, change) is expected
    assert bool(settled.converged[0]) is not expected


def test_one_preset_comes_to_rest():
    usual, rests = (packaged("runs/presets", name) for name in ("mnist", "mnist-rest"))
    assert rests["settling"]["leak"] > rests["settling"]["self_excitation"]
    rests["settling"]["leak"] = usual["settling"]["leak"]
    assert rests == usual


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return shutil.copytree(FORMATS / "run", tmp_path_factory.mktemp("runs") / "run")


def test_growth_that_no_excitation_explains_has_other_advice():
    calm = gncn.build(gncn.chain((4, 3, 2)), seed=0)
    said = _warn_of_growth(calm, np.array([1.0, 7.0, -3.0]))
    assert "ψ rose to 7.0 at step 1 and fell to -3 at step 2" in said
    assert said.endswith("Smaller steps may help: train with a smaller settling.step_size.")
    rivals = gncn.chain((4, 4), competition="columns", group_size=2)
    excited = gncn.build(rivals, seed=0, self_excitation=0.5, leak=0.1)
    said = _warn_of_growth(excited, np.array([1.0, 7.0, -3.0]))
    assert "In layer 1 excitation (" in said
    assert "Smaller steps" not in said


def test_a_training_that_was_interrupted_is_pointed_out_before_it_is_measured(
    tmp_path, monkeypatch
):
    folder = shutil.copytree(FORMATS / "run", tmp_path / "run")
    about = read_json(folder / "run.json") | {"status": "interrupted"}
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
    stop = mock.Mock(side_effect=RunError("enough"))
    monkeypatch.setattr("gncn.runs.assess.assess", stop)
    done = run("evaluate", folder)
    assert done.returncode == 2
    unfinished, *_, last = done.stderr.splitlines()
    assert "was interrupted after epoch" in unfinished
    assert last == "Error: enough"


@pytest.mark.parametrize(
    ("options", "hints"),
    [
        ({}, 1),
        ({"preset": "digits"}, 0),
        ({"model": "gmm"}, 0),
        ({"config": "c.toml"}, 0),
        ({"data": "mnist"}, 0),
        ({"overrides": ["network.sizes=[8, 9]", "network.group_size=1"]}, 0),
    ],
)
def test_small_images_are_pointed_to_a_small_network(options, hints, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("gncn.cli.train._train", lambda *_: None)
    if "config" in options:
        options = {"config": tmp_path / "c.toml"}
        options["config"].write_text("", encoding="utf-8")
    train_command(**{"data": "digits", "out": tmp_path / "run"} | options)
    assert capsys.readouterr().err.count("--preset digits is for small images") == hints


def test_settle_says_that_states_grow_and_what_to_do(stored, monkeypatch):
    network = RunFolder.open(stored).network()
    excited = [
        dataclasses.replace(layer, self_excitation=jnp.float32(0.3)) for layer in network.layers
    ]
    strong = dataclasses.replace(network, layers=tuple(excited))
    monkeypatch.setattr(RunFolder, "network", lambda *_: strong)
    done = run("settle", stored, "--steps", 400, "--out", stored / "x.png")
    assert "The states grow without bound" in done.stderr
    assert "outweighs the leak" in done.stderr
    assert "mnist-rest" in done.stderr
    assert "┃ step" in done.stdout  # the table is a result, the rest are messages
    assert "figure" not in done.stdout


def test_an_animation_is_of_two_kinds():
    network = gncn.build(gncn.chain((4, 3)), seed=0, n_settle_steps=2)
    with pytest.raises(ConfigError, match=r"is a \.gif or \.html file; received 'a.mp4'"):
        gncn.animate(network, np.zeros(4), "a.mp4")


@pytest.mark.slow
def test_an_animation_shows_every_step(tmp_path):
    network, image = small(0.2), (np.arange(16) % 3 == 0).astype(np.float32)
    path = gncn.animate(network, image, tmp_path / "a.gif", n_settle_steps=5)
    with Image.open(path) as gif:
        assert gif.n_frames == 6
    page = gncn.animate(network, image.reshape(4, 4), tmp_path / "a.html", n_settle_steps=2)
    assert "<!doctype html>" in page.read_text(encoding="utf-8")[:20]


@pytest.mark.slow
def test_settle_animates(stored):
    done = run("settle", stored, "--animate", "--json", "--steps", 3)
    assert done.returncode == 0, done.stderr
    moving = json.loads(done.stdout)["moving"]
    assert [path.rpartition(".")[2] for path in moving] == ["gif", "html"]
    assert (stored / "figures" / "settling-test-0.gif").read_bytes().startswith(b"GIF8")


def test_pictures_of_settling_stand_where_things_change():
    still = np.zeros((100, 4), np.float32)
    still[40:] = 1.0
    still[41:] += 0.1
    shown = steps_of_change(still, 4)
    assert shown[0] == 0
    assert shown[-1] == 99
    assert {40, 41} <= {*shown}
    assert steps_of_change(np.zeros((2, 4), np.float32), 9) == [0, 1]


def test_no_line_is_wrapped_where_there_is_no_terminal(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    out = io.StringIO()
    screen.Screen(file=out).print("word " * 100)
    assert out.getvalue().count("\n") == 1
    with mock.patch("sys.stdout", out):
        table = options.new_table("a title that is longer than its table", ("x",), ())
        table.add_row("word " * 100)
        options.print_table(table)
    assert out.getvalue().count("\n") == 1 + 6
    monkeypatch.setenv("COLUMNS", "40")
    narrow = io.StringIO()
    screen.Screen(file=narrow).print("word " * 100)
    assert max(map(len, narrow.getvalue().splitlines())) <= 40


def test_the_data_sets_fit_into_80_columns():
    out, err = io.StringIO(), io.StringIO()
    assert call(["data", "list"], out, err, COLUMNS="80") == 0
    assert max(map(len, out.getvalue().splitlines())) <= 80
    for whole in ("available", "scikit-learn", "58000+2000+10000", "┃ classes ┃"):
        assert whole in out.getvalue()


def test_off_a_terminal_the_bar_speaks_after_a_minute(monkeypatch):
    said, now = [], SimpleNamespace(at=0.0)
    monkeypatch.setattr("gncn.training.bar.say", said.append)
    bar = ProgressBar(screen.Screen(file=io.StringIO()))
    monkeypatch.setattr("gncn.training.bar.time", SimpleNamespace(monotonic=lambda: now.at))
    record = RunFolder.open(FORMATS / "run").history[0]

    def batch(at, number):
        now.at = at
        bar.on_batch(number)

    def epoch(at, number):
        now.at = at
        bar.on_epoch([record.model_copy(update={"epoch": number})], [])
        return said.pop()

    bar.on_start(Start(3, 4))
    batch(59.0, 0)
    assert said == []  # the first mini-batch took so long since it was compiled
    batch(61.0, 1)
    assert said.pop() == "50% of epoch 1, about 20 s left"  # ten mini-batches of 2 s
    batch(65.0, 3)
    # Two seconds each, though the epoch ended 35 s later: programs that measure were compiled.
    assert epoch(100.0, 1).endswith(", about 16 s left")
    batch(130.0, 1)
    batch(180.0, 2)  # more than a minute after the last line
    assert said.pop() == "75% of epoch 2, about 2 min 13 s left"  # 80 s for three, five are left
    batch(190.0, 3)
    assert epoch(200.0, 2).endswith(", about 1 min 40 s left")  # 100 s an epoch, measuring included
    batch(300.0, 3)
    assert "left" not in epoch(301.0, 3)
    # Another run, which goes on after an epoch, is timed by itself.
    bar.on_start(Start(3, 4, epoch=1))
    batch(400.0, 0)
    batch(403.0, 3)
    assert epoch(404.0, 2).endswith(", about 4 s left")


@pytest.fixture
def terminal(monkeypatch):
    """What a terminal of 80 columns would show."""
    shown = screen.Screen(file=io.StringIO(), width=80, force_terminal=True)
    monkeypatch.setattr(screen, "console", shown)
    return shown.file


def test_the_bar_shows_its_times_at_80_columns():
    wide = screen.Screen(file=io.StringIO(), width=80, force_terminal=True)
    bar = ProgressBar(wide)
    bar.on_start(Start(20, 100))
    bar.on_epoch(RunFolder.open(FORMATS / "run").history[:1], [])
    with wide.capture() as caught:
        wide.print(bar.get_renderable())
    lines = [Text.from_ansi(line).plain.rstrip() for line in caught.get().splitlines()]
    assert len(lines) == 1
    assert "0:00:" in lines[0]
    assert "left" in lines[0]


def test_a_terminal_gets_messages_that_break_between_words(terminal):
    path, error = "figure: " + "long/" * 30, screen.styled(("Error:", "bold"), " one" * 30)
    screen.say("word " * 30, path, error)
    lines = Text.from_ansi(terminal.getvalue()).plain.splitlines()
    assert lines[:2] == [("word " * 16).rstrip(), ("word " * 14).rstrip()]
    assert lines[2:4] == ["figure:", "long/" * 30]  # stays whole, to be copied
    assert lines[4:] == ["Error:" + " one" * 18, "one" + " one" * 11]
    with mock.patch.object(screen, "console", screen.Screen(file=io.StringIO())) as piped:
        screen.say("word " * 30)
    assert piped.file.getvalue().count("\n") == 1


def test_what_a_study_has_left_is_told(tmp_path):
    out, err = io.StringIO(), io.StringIO()
    assert call(["reproduce", "tiny", "--list", "--out", tmp_path / "new"], out, err) == 0
    assert "4 of 4 runs are left; none like them has been timed." in err.getvalue()


def test_an_empty_path_is_no_folder():
    with pytest.raises(RunError, match="Can't use the path '': it is empty"):
        place("")


def test_a_curve_that_ends_early_is_not_called_tighter():
    found = {"n_samples": 200, "mean": -9.0, "standard_error": 0.1, "spread_over_prior_draws": None}
    found["paper_convention"] = 1.6
    for n_samples, remark in ((100, "from other samples"), (500, "a tighter bound")):
        curve = {"n_samples": [10, n_samples], "mean": [-10.0, -9.1]}
        rows = MEASURES.get("likelihood")().rows({"likelihood": found | {"curve": curve}})
        assert rows[1] == ("log p(x), most S", "-9.10 nats", f"S = {n_samples}; {remark}")


def test_times_left_are_told():
    assert screen.time_left("annealing: 5 of 24 images", 50.0) == ", about 3 min 10 s left"
    assert screen.time_left("trial 3 of 5", 60.0, 1) == ", about 2 min 00 s left"
    assert screen.time_left("encoding", 5.0) == screen.time_left("24 of 24 images", 5.0) == ""
    assert screen.duration(3700.0) == "1 h 01 min"
    assert screen.duration(59.6) == "1 min 00 s"


def test_a_long_stage_says_how_far_it_is(monkeypatch):
    said, clock = [], iter([0.0, 30.0, 100.0, 130.0])
    monkeypatch.setattr(screen, "say", said.append)
    monkeypatch.setattr(screen.time, "monotonic", lambda: next(clock))
    tell = screen.Stages()
    for what in ("a: 0 of 4 x", "a: 1 of 4 x", "a: 2 of 4 x", "a: 3 of 4 x"):
        tell(what)
    assert said == ["a", "a: 2 of 4 x, about 1 min 40 s left"]


def test_a_training_that_is_not_finished_is_pointed_out(stored):
    folder = RunFolder.open(stored)
    assert folder.unfinished == ""
    about = read_json(stored / "run.json")
    (stored / "run.json").write_text(
        json.dumps(about | {"status": "interrupted"}), encoding="utf-8"
    )
    try:
        assert "was interrupted after epoch" in folder.unfinished
        assert f"`gncn train --resume {stored}`" in folder.unfinished
        with alone(stored, "evaluating"):  # which changes nothing about the training
            assert "was interrupted after epoch" in folder.unfinished
        running = json.dumps(about | {"status": "running"})
        (stored / "run.json").write_text(running, encoding="utf-8")
        folder = RunFolder.open(stored)
        assert "is not finished after epoch" in folder.unfinished
        with alone(stored, "training"):  # by another process, it may be
            assert f"{stored} is in use (training by process" in folder.unfinished
            assert "--resume" not in folder.unfinished
    finally:
        (stored / "run.json").write_text(json.dumps(about), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("settle", "RUN"),
        ("reconstruct", "RUN"),
        ("compare", "RUN"),
        ("export", "RUN", "--out", "x.npz"),
    ],
)
def test_every_command_that_shows_a_model_says_that_it_is_not_finished(arguments, tmp_path):
    folder = shutil.copytree(FORMATS / "run", tmp_path / "run")
    about = read_json(folder / "run.json") | {"status": "interrupted"}
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
    named = {"RUN": folder, "x.npz": tmp_path / "x.npz"}
    done = run(*(named.get(one, one) for one in arguments))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("was interrupted after epoch") == 1


def comparison(folder, n=2):
    numbers = {"bce": Summary(5.0, 0.5, 3)}
    rows = [Row(folder / f"run{k}", "gncn", 10, numbers, {"bce": 4.0}, ()) for k in range(n)]
    return Comparison("digits", "0", "test", tuple(rows))


def test_compared_runs_have_names_in_every_form(tmp_path):
    found = comparison(tmp_path)
    assert found.best("bce") == set()  # both of two are no distinction
    assert "| run0 | gncn | 10 | 5.00 ± 0.50 | 4.00 |" in render(found, "markdown")
    assert r"run1 & gncn & 10 & 5.00 $\pm$ 0.50 & 4.00 \\" in render(found, "latex")
    head, first, _ = csv.reader(io.StringIO(render(found, "csv")))
    assert head == ["run", "model", "synapses", "bce", "bce_sd", "bce_paper"]
    assert first == [str(tmp_path / "run0"), "gncn", "10", "5.0", "0.5", "4.0"]
    assert len(comparison(tmp_path, 3).best("bce")) == 2


def test_numbers_of_other_images_are_hinted_at(tmp_path):
    found = comparison(tmp_path)
    assert hints(found) == []
    (tmp_path / "run1").mkdir()
    (tmp_path / "run1" / "metrics-validation.json").touch()
    (hint,) = hints(found)
    assert hint.startswith("Of run1 `gncn evaluate` measured validation images only")
    assert "--split validation" in hint


def test_runs_without_curves_are_compared_without_a_figure(tmp_path, monkeypatch):
    found = comparison(tmp_path)
    (tmp_path / "run1").mkdir()
    (tmp_path / "run1" / "metrics-validation.json").touch()
    monkeypatch.setattr("gncn.study.compare.compare", lambda *_, **__: found)
    done = run("compare", tmp_path / "run0", tmp_path / "run1", "--format", "markdown")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{render(found, 'markdown')}\n"
    (hint,) = hints(found)
    assert done.stderr.splitlines() == [hint]
    assert not (tmp_path / "run0").exists()

"""SIGINT, SIGTERM and SIGHUP at random moments of commands: nothing is lost, nothing crashes."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import gncn
from budget import later
from folders import content
from gncn.runs.folder import RunFolder
from gncn.runs.train import train_run
from gncn.study.plan import load_study
from gncn.study.reproduce import survey
from gncn.study.search import load_search
from gncn.study.tune import tune as search_on

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What starts the tests may ignore signals, and its children inherit that.
HEAR = "import signal\nfor s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): {}\n"
COMMAND = HEAR.format("signal.signal(s, signal.SIG_DFL)") + "from _gncn import main; main()"
A_HANG = 120
"""Seconds after which a process that was asked to end is taken to hang."""
CONFIG = gncn.Config(
    data={"name": "digits"},
    network={"sizes": (12, 8)},
    settling={"n_settle_steps": 4},
    training={"n_epochs": 150, "batch_size": 200},
)
SECONDS = {"train": 8, "evaluate": 8, "reproduce": 16, "tune": 8, "settle": 4}
"""Signals come at any moment of so many seconds after a command has begun, or said something."""


def wait_until_it_hears(process):
    """Linux tells when a process has a handler; nothing heavy is imported before."""
    status, bit = Path(f"/proc/{process.pid}/status"), 1 << (signal.SIGTERM - 1)
    if not status.exists():
        time.sleep(1)
    while process.poll() is None and status.exists():
        caught = re.search(r"SigCgt:\s*(\w+)", status.read_text(encoding="utf-8"))
        if caught and int(caught[1], 16) & bit:
            break
        time.sleep(0.002)


def strike(draw, command, *arguments):
    """Send a signal to a command at a random moment; returns what it says, and whether it heard.

    It may have ended before.
    """
    number, speaks = draw.choice(SIGNALS), draw.random() < 0.6
    seconds, struck = draw.uniform(0, SECONDS[command]), float("inf")
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, command, *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=said,
            env={k: v for k, v in os.environ.items() if k != "PYTHONWARNDEFAULTENCODING"},
        )
        wait_until_it_hears(process)
        while speaks and process.poll() is None and os.fstat(said.fileno()).st_size == 0:
            time.sleep(0.01)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            struck = time.monotonic()
            process.send_signal(number)
            process.wait(A_HANG)
        took = time.monotonic() - struck
        said.seek(0)
        errors = said.read().decode()
    print(f"\n{command} {number.name} {took:.2f} s", process.returncode, errors.splitlines()[-1:])
    assert "Traceback" not in errors, errors
    heard = "Interrupted" in errors
    assert process.returncode == (128 + number if heard else 0), errors
    assert heard or took < 1, "the signal was lost"
    return " ".join(errors.split()), heard


def broken_off(path):
    """Files that a write leaves behind if it is broken off."""
    known = (".lock", ".lock.json", ".gitignore")
    return [f for f in path.rglob(".*") if f.name not in known and ".running" not in f.parts]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run to measure and to replace; tests work with copies."""
    path = tmp_path_factory.mktemp("signals") / "run"
    few = CONFIG.training.model_copy(update={"n_epochs": 1})
    config = CONFIG.model_copy(update={"training": few})
    data = config.data.load()
    train_run(RunFolder.create(path, config, data, overwrite=False), config, data)
    return path


def train(run, place, draw):
    """Into a new folder, or over the run that a folder holds."""
    path, before = place / "run", {}
    if draw.random() < 0.5:
        shutil.copytree(run, path)
        before = content(path, locks=False)
    (place / "config.toml").write_text(CONFIG.to_toml(), encoding="utf-8")
    options = ["--config", place / "config.toml", "--out", path, "--overwrite"]
    said, heard = strike(draw, "train", *options)
    assert broken_off(place) == []
    if not path.exists() or content(path, locks=False) == before:
        assert "nothing to keep" in said or said.startswith("Interrupted")
        assert content(path, locks=False) == before
        # An empty folder may stay, in which a run can begin.
        RunFolder.create(place / "run", CONFIG, CONFIG.data.load(), overwrite=bool(before))
        return
    folder, n_epochs = RunFolder.open(path), CONFIG.training.n_epochs
    folder.model()
    last = folder.history[-1].epoch
    assert folder.about["status"] == ("finished" if last == n_epochs else "interrupted")
    assert folder.about["epochs_kept"] == [last]
    assert not heard or last == n_epochs or f"as they were after epoch {last}." in said


def evaluate(run, place, draw):
    """A run of which a number is known already."""
    path = place / "run"
    shutil.copytree(run, path)
    before = content(path)
    options = ["--only", "sparsity", "--only", "probe", "--only", "likelihood", "--samples", "200"]
    said, heard = strike(draw, "evaluate", path, *options, "--components", "5")
    assert broken_off(place) == []
    after = content(path)
    assert {name: after[name] for name in before} == before
    metrics = path / "metrics-validation.json"
    measured = (
        list(json.loads(metrics.read_text(encoding="utf-8"))["seconds"]) if metrics.exists() else []
    )
    assert heard or len(measured) == 3
    assert not heard or f": {', '.join(measured)}." in said or "holds" not in said


def settle(run, place, draw):
    shutil.copytree(run, place / "run")
    before = content(place)
    strike(draw, "settle", place / "run")
    assert broken_off(place) == []
    after = content(place)
    assert {name: after[name] for name in before} == before


def reproduce(run, place, draw):
    """Goes on where earlier signals left it."""
    specs, study = load_study("tiny").runs(), place.parent / "study"
    said, heard = strike(draw, "reproduce", "tiny", "--jobs", "2", "--out", study)
    assert broken_off(study) == []
    states = [one.state for one in survey(specs, study)]
    assert set(states) <= {"finished", "missing"}
    done = states.count("finished")
    assert not heard or f"{done} of 4 runs are recorded" in said or "recorded" not in said
    for _ in range(100):  # processes of runs end with it
        if all(str(study) not in command for command in commands()):
            break
        time.sleep(0.1)
    else:
        pytest.fail("a process of a run goes on")
    if done == 4:
        shutil.rmtree(study)


def commands():
    """Command lines of this machine's processes."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            yield (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue


def tune(run, place, draw):
    """Goes on where earlier signals left it."""
    search = place.parent / "search"
    said, heard = strike(draw, "tune", "tiny", "--out", search)
    assert broken_off(search) == []
    assert not heard or f"{search} keeps" in said or "keeps" not in said
    summary = search / "digits-gncn.json"
    if not heard:
        assert json.loads(summary.read_text(encoding="utf-8"))["trials_spent"] == 4
        shutil.rmtree(search)
    elif draw.random() < 0.1:  # what is left can always be gone on with
        assert search_on(load_search("tiny"), "gncn", "digits", search)["trials_spent"] == 4


COMMANDS = [train, evaluate, reproduce, tune, settle]


@pytest.mark.parametrize(("command", "seed"), [(train, 45), later(evaluate, 179)])
def test_a_signal_ends_a_command_in_good_order(run, tmp_path, command, seed):
    command(run, tmp_path, random.Random(seed))  # moments of the first seconds


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("seed", range(100))
def test_signals_at_random_moments(run, tmp_path_factory, command, seed):
    place = tmp_path_factory.getbasetemp() / f"signals-{command.__name__}" / str(seed)
    place.mkdir(parents=True)
    command(run, place, random.Random(seed))
    shutil.rmtree(place)

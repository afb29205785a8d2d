"""SIGKILL at random moments of commands: what goes on ends with the same bytes as what did not.

A process that has imported the library, but computed nothing, forks a child for each command: so
most moments lie in the command's work, and each costs a second or two.
"""

import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import gncn
from budget import later
from folders import content, strays
from gncn.base.tensors import parse_tensors
from gncn.runs.folder import RunFolder
from gncn.runs.train import train_run
from gncn.study.record import read_records
from gncn.training.history import read_history

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks a process that knows JAX")

SERVER = """
import json, os, signal, sys
import jax, optuna
import gncn.cli.app, gncn.runs.train, gncn.runs.assess, gncn.study.reproduce, gncn.study.tune
from gncn.cli import main

def save(folder):
    models = [gncn.build(gncn.chain((400, 90, 60)), seed=seed) for seed in (0, 1)]
    for number in range(10**9):
        gncn.save(models[number % 2], folder)

print("ready", flush=True)
for line in sys.stdin:
    command, log = json.loads(line)
    if child := os.fork():
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    os.setsid()
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, flags in ((0, os.O_RDONLY), (1, None), (2, None)):
        os.dup2(target if flags is None else os.open(os.devnull, flags), number)
    sys.argv = ["gncn", *command]
    try:
        save(command[1]) if command[0] == "save" else main()
        os._exit(0)
    except SystemExit as ended:
        os._exit(ended.code or 0)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(99)
"""


class Server:
    """The process that forks."""

    def __init__(self, log):
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            bufsize=1,
            env={k: v for k, v in os.environ.items() if k != "PYTHONWARNDEFAULTENCODING"},
        )
        assert self.process.stdout.readline() == "ready\n"

    def run(self, *command, kill_after=None, once=None):
        """A command's exit status; negative if it was killed.

        Args:
            command: and its options.
            kill_after: seconds after which it is killed.
            once: a file; the seconds count from when it is there.
        """
        print(json.dumps([[str(one) for one in command], str(self.log)]), file=self.process.stdin)
        pid = int(self.process.stdout.readline())
        while once is not None and not once.exists():
            time.sleep(0.01)
        if kill_after is not None:
            ended, *_ = select.select([self.process.stdout], [], [], kill_after)
            if not ended:
                os.kill(pid, signal.SIGKILL)
        status = int(self.process.stdout.readline())
        assert status in (0, -signal.SIGKILL), self.log.read_text(
            encoding="utf-8", errors="replace"
        )
        return status


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("server") / "log")
    with made.process:
        yield made


CONFIG = gncn.Config(
    data={"name": "digits"},
    network={"sizes": (12, 8)},
    settling={"n_settle_steps": 4},
    training={"n_epochs": 5, "batch_size": 300},
)
STUDY = """
name = "small"
split = "validation"
trials = 1
[evaluation]
measures = ["sparsity"]
[data.digits]
[models.gncn]
preset = "digits"
settings.training = { n_epochs = 4, batch_size = 300 }
settings.network = { sizes = [12, 8], group_size = 4, max_norm = [4.0, 1.0] }
"""
SEARCH = """
name = "small"
[budget]
trials = 4
random_trials = 2
max_synapses = 100000
[objective]
columns = ["bce"]
[data.digits.yardsticks]
bce = 10.0
[models.gncn]
preset = "digits"
settings.training.n_epochs = 2
settings.network = { sizes = [12, 8], group_size = 4, max_norm = [4.0, 1.0] }
[models.gncn.space]
"training.learning_rate" = { low = 1e-4, high = 1e-1, log = true }
"""


class Train:
    """`train`, then `train --resume`, whatever was left."""

    seconds = 3.0

    def __init__(self, place):
        (place / "config.toml").write_text(CONFIG.to_toml(), encoding="utf-8")
        self.config, self.place = place / "config.toml", place

    def command(self, name):
        path = self.place / name
        if any((path / "checkpoints").glob("0*")):
            return ("train", "--resume", path, "--checkpoint-batches", "2")
        return (
            *("train", "--config", self.config, "--out", path, "--overwrite"),
            *("--checkpoint-batches", "2"),
        )

    def result(self, name):
        folder = RunFolder.open(self.place / name)
        told = [record.model_copy(update={"seconds": 0.0}) for record in folder.history]
        return content(folder.path / "trials"), told, folder.about["status"]


class Evaluate:
    """`evaluate` of one run, again and again."""

    seconds = 3.0

    def __init__(self, place):
        self.place, data, few = place, CONFIG.data.load(), {"n_epochs": 1}
        training = CONFIG.training.model_copy(update=few)
        config = CONFIG.model_copy(update={"training": training})
        train_run(RunFolder.create(place / "run", config, data, overwrite=False), config, data)

    def command(self, name):
        if not (self.place / name).exists():
            shutil.copytree(self.place / "run", self.place / name)
        which = ("--only", "sparsity", "--only", "likelihood", "--only", "samples")
        return ("evaluate", self.place / name, *which, "--samples", "200", "--components", "2")

    def result(self, name):
        found = content(self.place / name)
        assert not [one for one in found if "/evaluation-" in one]
        numbers = json.loads(found.pop("metrics-validation.json"))
        assert set(numbers.pop("seconds")) == {"sparsity", "likelihood", "samples"}
        arrays = {}
        for part in ("per-image", "pictures"):
            tensors = parse_tensors(part, found.pop(f"{part}-validation.safetensors"))
            arrays |= {f"{part}/{key}": values.tobytes() for key, values in tensors.items()}
        pictures = {key: value for key, value in found.items() if key.endswith(".png")}
        return numbers, arrays, pictures, found["trials/0/prior.safetensors"]


class Reproduce:
    """`reproduce` of a study, again and again."""

    seconds = 14.0

    def __init__(self, place):
        (place / "study.toml").write_text(STUDY, encoding="utf-8")
        self.place, self.done = place, {}

    def command(self, name):
        for file in self.place.glob(f"{name}/.running/digits/*/run-*/checkpoints/0*/history.jsonl"):
            run, epochs = file.relative_to(self.place / name).parts[2], read_history(file)
            self.done[run] = max(self.done.get(run, []), [one.seconds for one in epochs], key=len)
        return ("reproduce", self.place / "study.toml", "--out", self.place / name, "--wait")

    def result(self, name):
        kept = []
        for record in read_records(self.place / name):
            # Epochs that a checkpoint had seen are the ones that are recorded: none was repeated.
            done = self.done.pop(f"{record.model}-{record.trial}", [])
            assert record.history.seconds[: len(done)] == pytest.approx(done, rel=1e-6)
            kept.append(
                record.model_dump(exclude={"seconds", "started", "finished", "history", "metrics"})
            )
            kept.append(record.history.model_dump(exclude={"seconds"}))
            kept[-2]["kept"]["seconds"] = 0.0
            kept.append(record.metrics | {"seconds": 0.0})
        assert not any((self.place / name).rglob("checkpoints"))
        return kept


class Tune:
    """`tune` of a search, again and again."""

    seconds = 5.0

    def __init__(self, place):
        (place / "search.toml").write_text(SEARCH, encoding="utf-8")
        self.place = place

    def command(self, name):
        return ("tune", self.place / "search.toml", "--out", self.place / name)

    def result(self, name):
        best = (self.place / name / "digits-gncn-best.toml").read_text(encoding="utf-8")
        whole = json.loads((self.place / name / "digits-gncn.json").read_text(encoding="utf-8"))
        drop = {"number", "seconds"}
        ended = [one for one in whole["trials"] if one["state"] != "killed"]
        return best, [{k: v for k, v in one.items() if k not in drop} for one in ended]


@pytest.mark.parametrize(
    ("kind", "kills"),
    [(Train, 1), *(later(kind, 100) for kind in (Train, Evaluate, Reproduce, Tune))],
)
def test_what_was_killed_ends_with_the_same_bytes(server, tmp_path, kind, kills):
    act, draw, left = kind(tmp_path), random.Random(kills), kills
    began = time.monotonic()
    assert server.run(*act.command("goal")) == 0
    seconds = min(act.seconds, time.monotonic() - began)
    goal, at_work = act.result("goal"), False
    while left or at_work:
        moment = draw.uniform(0, seconds) if left else None
        at_work = server.run(*act.command("killed"), kill_after=moment) != 0
        left -= at_work
        if not at_work:
            assert act.result("killed") == goal
            assert strays(tmp_path / "killed") == []
            shutil.rmtree(tmp_path / "killed")


@pytest.mark.parametrize("kills", [4, later(100)])
def test_a_model_is_always_one_of_those_that_were_saved(server, tmp_path, kills):
    models = [gncn.build(gncn.chain((400, 90, 60)), seed=seed) for seed in (0, 1)]
    weights = [np.asarray(model.connections[0].forward) for model in models]
    draw, seen = random.Random(kills), set()
    for _ in range(kills):
        (tmp_path / "model.json").unlink(missing_ok=True)
        server.run("save", tmp_path, kill_after=draw.uniform(0, 0.3), once=tmp_path / "model.json")
        found = np.asarray(gncn.load(tmp_path).connections[0].forward)
        seen.add([np.array_equal(found, one) for one in weights].index(True))
    assert seen <= {0, 1}
    gncn.save(models[0], tmp_path)
    assert strays(tmp_path) == []

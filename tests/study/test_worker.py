"""The processes of studies and searches have the parts that were registered here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import jax.numpy as jnp
import pytest

import gncn
from gncn.base.errors import ConfigError, RunError
from gncn.core.activations import ACTIVATIONS
from gncn.study import together
from gncn.study import worker as workers
from gncn.study.plan import Study
from gncn.study.record import read_records
from gncn.study.reproduce import reproduce
from gncn.study.search import Search, load_search
from gncn.study.together import tune_together
from gncn.study.worker import Worker, parts_for_worker

MODULE = """
import jax.numpy as jnp
import gncn

gncn.register("activation", "bent", lambda x: jnp.clip(x, 0, 1) ** 2)
"""

SCRIPT = """
import sys
from pathlib import Path
import gncn, modest
from gncn.measures import Column, Measure, Result, within
from gncn.study.plan import Study
from gncn.study.reproduce import reproduce
from gncn.study.search import Search
from gncn.study.together import tune_together

class Largest(Measure):
    least: float = 0.5
    columns = (Column("largest", "largest state", within("largest", "value")),)

    def measure(self, subject):
        top = subject.states[subject.split][-1] if hasattr(subject, "states") else [[1.0]]
        return Result({"largest": {"value": float(max(map(max, top)))}})

gncn.register("measure", "largest", Largest)

def go():
    out = Path(sys.argv[1])
    settings = {
        "network": {"sizes": [8], "activation": "bent", "competition": "none"},
        "training": {"n_epochs": 1},
        "settling": {"n_settle_steps": 2},
    }
    if sys.argv[2] == "study":
        study = Study(
            name="made",
            split="validation",
            evaluation={"measures": ["largest"], "least": 0.25},
            data={"digits": {}},
            models={"mine": {"settings": settings}},
        )
        (record,) = reproduce(study, study.runs(), out)
        print(record.status, record.error, record.metrics)
    else:
        search = Search(
            name="made",
            budget={"trials": 2, "random_trials": 1},
            objective={"columns": ["largest"]},
            data={"digits": {"yardsticks": {"largest": 1.0}}},
            models={
                "mine": {
                    "settings": settings,
                    "space": {"training.learning_rate": {"low": 1e-3, "high": 1e-2}},
                }
            },
        )
        tune_together(search, "mine", "digits", out, jobs=2, on_trial=print)

GUARD
"""


def study(activation):
    settings = {"network": {"sizes": [8], "activation": activation}}
    models = {"mine": {"settings": settings}}
    return Study(name="made", split="validation", data={"digits": {}}, models=models)


def search(activation):
    settings = {"network": {"sizes": [8], "activation": activation}}
    space = {"training.learning_rate": {"low": 1e-3, "high": 1e-2}}
    model = {"settings": settings, "space": space}
    data = {"digits": {"yardsticks": {"bce": 10.0}}}
    objective = {"columns": ["bce"]}
    return Search(name="made", objective=objective, data=data, models={"mine": model})


@pytest.fixture
def bent(tmp_path, monkeypatch):
    """A module in a folder that only this process looks into."""
    (tmp_path / "modest.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("modest")
    yield tmp_path / "modest.py"
    del sys.modules["modest"]
    del ACTIVATIONS._entries["bent"]


def said(worker):
    worker.process.wait(60)
    lines = worker.news()
    worker.stop()
    return worker.process.returncode, lines, worker.errors


def test_a_worker_imports_what_its_task_names(bent, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONWARNDEFAULTENCODING", raising=False)  # of which JAX makes a warning
    task = study("bent").runs()[0].model_dump(mode="json")
    parts = parts_for_worker(task)
    # Other tests of this process may have registered more, which a task could name, too.
    *rest, found = json.loads(parts)
    ((kind, name, modules),) = own = [one for one in found if one[1] == "bent"]
    parts = json.dumps([*rest, own])
    assert (kind, name, modules[-1]) == ("activation", "bent", "modest")
    assert '"bent"' not in parts_for_worker(study("relu").runs()[0].model_dump(mode="json"))
    look = "import gncn; from gncn.study import worker as w; w.begin(); "
    look += "print(gncn.registered('activation')[-1], w._PARTS in __import__('os').environ)"
    command = [sys.executable, "-c", look]
    assert said(Worker(command, tmp_path, 1, parts)) == (0, ["bent False"], "")
    bent.write_text("raise ValueError('no such thing')", encoding="utf-8")
    code, _, errors = said(Worker(command, tmp_path, 1, parts))
    assert code == 1
    assert errors.strip() == (
        "modest can't be imported for the activation 'bent': ValueError('no such thing')"
    )


def test_a_part_of_an_interactive_session_is_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", session := ModuleType("__main__"))
    vars(session).update(gncn=gncn, jnp=jnp)
    exec("gncn.register('activation', 'typed', lambda x: jnp.clip(x, 0, 1))", vars(session))
    try:
        made, message = study("typed"), "'typed' was registered in an interactive session"
        with pytest.raises(ConfigError, match=message):
            reproduce(made, made.runs(), tmp_path)
        with pytest.raises(ConfigError, match=message):
            tune_together(search("typed"), "mine", "digits", tmp_path, jobs=2)
    finally:
        del ACTIVATIONS._entries["typed"]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("what", ["study", "search", "unguarded"])
def test_parts_of_a_script_and_of_its_modules_reach_workers(tmp_path, what):
    guard = "go()" if what == "unguarded" else 'if __name__ == "__main__":\n    go()'
    (tmp_path / "modest.py").write_text(MODULE, encoding="utf-8")
    script = tmp_path / "my script.py"
    script.write_text(SCRIPT.replace("GUARD", guard), encoding="utf-8")
    out = tmp_path / "out"
    out.mkdir()
    task = "search" if what == "search" else "study"
    done = subprocess.run(
        [sys.executable, script, out, task], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    if what == "search":
        assert "largest" in done.stdout
        assert (
            len(json.loads((out / "digits-mine.json").read_text(encoding="utf-8"))["trials"]) == 2
        )
        return
    (record,) = read_records(out)
    if what == "study":
        assert record.status == "finished", record.error
        assert record.metrics["largest"]["value"] > 0
    else:
        assert "only under `if __name__ == '__main__':`" in record.error["message"]


def test_a_worker_that_lacks_its_part_says_so(monkeypatch):
    monkeypatch.setattr(workers, "_end_with_parent", lambda: None)
    path = list(sys.path)
    monkeypatch.delenv(workers._PARTS, raising=False)
    workers.begin()
    told = [path, "", [["competition", "nobody", ["json", "csv"]]]]
    monkeypatch.setenv(workers._PARTS, json.dumps(told))
    with pytest.raises(SystemExit) as ended:
        workers.begin()
    assert ended.value.code.startswith(
        "The competition 'nobody' isn't registered when json and csv are imported. Register it"
    )
    told[2] = [["competition", "columns", ["json"]]]
    monkeypatch.setenv(workers._PARTS, json.dumps(told))
    workers.begin()
    assert workers._PARTS not in os.environ
    assert sys.path == path


def test_a_script_is_imported_once_and_begins_nothing(tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nsys.modules['json'].counted.append(__name__)\n"
        "if __name__ == '__main__':\n    raise SystemExit\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(json, "counted", [], raising=False)
    monkeypatch.delitem(sys.modules, workers._SCRIPT, raising=False)
    try:
        for _ in range(2):
            workers._import("__main__", str(script))
        assert json.counted == [workers._SCRIPT]
    finally:
        del sys.modules[workers._SCRIPT]


@pytest.mark.parametrize(("status", "errors"), [(0, ""), (3, ""), (3, "no such data")])
def test_processes_of_a_search_are_heard_until_they_end(monkeypatch, tmp_path, status, errors):
    begun, told, asked = [], [], []

    class Pretended:
        """A process that says a line each time that it is asked, and then ends."""

        how_it_ended = f"ended with status {status}"

        def __init__(self, command, folder, threads, parts):
            begun.append((json.loads(Path(command[-1]).read_text("utf-8")), folder.name, threads))
            self.errors, self.process, self._left = errors, self, len(begun)

        def poll(self):
            self._left -= 1
            return None if self._left else status

        def news(self):
            return [f"{self._left} left"]

        def stop(self):
            asked.append("stop")

    monkeypatch.setattr(together, "Worker", Pretended)
    monkeypatch.setattr(together, "pause", lambda _: None)
    monkeypatch.setattr(together, "usable_cores", lambda: 5)
    task = (load_search("tiny"), "gncn", "digits", tmp_path)
    if status == 0:
        together.tune_together(*task, jobs=2, on_trial=told.append)
        assert told == ["0 left", "1 left", "0 left"]
    else:
        said = errors or "it said nothing"
        with pytest.raises(RunError, match=f"search ended with status 3: {said}"):
            together.tune_together(*task, jobs=2, on_trial=told.append)
        assert told == ["0 left"]
    assert [(name, threads) for _, name, threads in begun] == [("0", 2), ("1", 2)]
    assert begun[0][0]["out"] == str(tmp_path)
    assert asked == ["stop", "stop"]


def test_a_process_ends_when_its_parent_is_gone(monkeypatch):
    threads, ended, given = [], [], iter([b"x", b""])  # what a parent wrote counts for nothing

    class Thread:
        def __init__(self, *, target, daemon):
            assert daemon
            self.start = lambda: threads.append(target)

    monkeypatch.setattr(workers.threading, "Thread", Thread)
    monkeypatch.setattr(workers.os, "read", lambda *_: next(given))
    monkeypatch.setattr(workers.os, "_exit", ended.append)
    workers._end_with_parent()
    assert ended == []
    threads[0]()
    assert (ended, list(given)) == ([1], [])

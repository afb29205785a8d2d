"""A fault at every k-th system call: the folder then holds the old state or the new one.

Linux alone tells which file a number stands for, so these tests run there.
"""

import errno
import gc
import json
import shutil
import sys
import warnings
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

import folders
import gncn
from budget import later
from faults import ERRORS, Killed, faults, n_calls
from folders import strays
from gncn.base.errors import GncnError
from gncn.base.files import write_atomic
from gncn.base.locks import alone
from gncn.base.tensors import parse_tensors
from gncn.runs.assess import assess
from gncn.runs.folder import RunFolder
from gncn.runs.replacing import recover
from gncn.runs.train import train_run
from gncn.study.plan import load_study
from gncn.study.record import read_records
from gncn.study.reproduce import reproduce

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for names of files")

ALL = [later(errno.EIO), later(errno.EACCES), errno.ENOSPC, Killed]
"""Every kind of fault; a full disk and a kill are tried every time."""


def name(fault):
    return "kill" if fault is Killed else errno.errorcode[fault]


@pytest.fixture(autouse=True)
def _objects_of_before():
    """Leave what there is to later, so that looking for dead files takes no time."""
    gc.freeze()
    yield
    gc.unfreeze()


content = partial(folders.content, locks=False)


def fails(act, folder, at, fault):
    """Whether an act ends with one of the library's errors, or is killed, by a fault."""
    with faults(folder, at, fault) as now:
        try:
            act()
            return False
        except (GncnError, Killed):
            assert now.struck
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # the system closes a dead process's files, and drops its locks
    return True


@cache
def model(seed):
    return gncn.build(gncn.chain((5, 4, 3)), seed=seed, n_settle_steps=3)


@pytest.mark.parametrize("fault", ALL, ids=name)
def test_a_file_is_old_or_new(tmp_path, fault):
    path = tmp_path / "file"

    def act():
        write_atomic(path, "new")

    path.write_text("old", encoding="utf-8")
    failed = True
    for at in range(n_calls(tmp_path, act)):
        path.write_text("old", encoding="utf-8")
        failed = fails(act, tmp_path, at, fault)
        assert path.read_text(encoding="utf-8") in (("old", "new") if failed else ("new",))
        if fault is not Killed:
            assert list(tmp_path.iterdir()) == [path]
    assert failed or fault is not Killed


@pytest.mark.parametrize("step", [later(1), 7])
@pytest.mark.parametrize("fault", ALL, ids=name)
@pytest.mark.parametrize("before", [0, later(None)], ids=["over another", "into a new folder"])
def test_a_saved_model_is_old_or_new(tmp_path, before, fault, step):
    start, after = tmp_path / "start", tmp_path / "after"
    start.mkdir()
    if before is not None:
        gncn.save(model(before), start)
    gncn.save(model(1), after)
    shutil.copytree(start, tmp_path / "count")
    n = n_calls(tmp_path / "count", lambda: gncn.save(model(1), tmp_path / "count"))
    for at in range(0, n, step):
        place = tmp_path / f"{at}"
        shutil.copytree(start, place)
        failed = fails(partial(gncn.save, model(1), place), place, at, fault)
        described = place / "model.json"
        states = {(after / "model.json").read_bytes()}
        if failed and before is not None:
            states.add((start / "model.json").read_bytes())
        if described.exists() or not failed or before is not None:
            assert described.read_bytes() in states
            gncn.load(place)
        gncn.save(model(1), place)
        assert content(place) == content(after)


CONFIG = gncn.Config(
    data={"name": "digits"},
    network={"sizes": (6, 4)},
    settling={"n_settle_steps": 2},
    training={"n_epochs": 2, "batch_size": 80},
    n_trials=2,
)


@pytest.fixture(scope="module")
def data():
    whole = gncn.load_dataset("digits")
    few = {name: getattr(whole, name).subset(np.arange(160)) for name in ("train",)}
    return gncn.from_arrays(few["train"].images, few["train"].labels, n_validation=40, n_test=40)


def begin(path, config, data):
    with alone(path, "training"):
        folder = RunFolder.create(path, config, data, overwrite=True)
        train_run(folder, config, data, every_batches=1)


def go_on(path, data):
    with alone(path, "training"):
        folder, config = RunFolder.resume(path)
        train_run(folder, config, data, every_batches=1)


def result(path):
    """What a run must give: models, and the history but for its seconds.

    Arrays that no model names any more may be left: their removal may be what failed.
    """
    folder = RunFolder(path)
    told = [record.model_copy(update={"seconds": 0.0}) for record in folder.history]
    files = content(path / "trials")
    described = b"".join(v for k, v in files.items() if k.endswith("model.json"))
    models = {
        name: held
        for name, held in files.items()
        if name.endswith("model.json") or Path(name).name.encode() in described
    }
    assert len(models) == 2 * len(CONFIG.seeds)
    return models, told, folder.about["status"], folder.about["epochs_kept"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data):
    """An old run, and a new one that replaced such a run undisturbed."""
    path = tmp_path_factory.mktemp("faults")
    begin(path / "old", CONFIG.model_copy(update={"seed": 7}), data)
    shutil.copytree(path / "old", path / "new")
    begin(path / "new", CONFIG, data)
    (path / "old" / "notes.txt").write_text("mine", encoding="utf-8")
    return path


@pytest.mark.parametrize("fault", [later(ERRORS[0]), later(ERRORS[1]), Killed], ids=name)
def test_a_run_that_never_began_is_in_nobodys_way(tmp_path, data, fault):
    place = tmp_path / "run"

    def act():
        with alone(place, "training"):
            RunFolder.create(place, CONFIG, data, overwrite=True)

    for at in range(n_calls(tmp_path, act)):
        shutil.rmtree(place, ignore_errors=True)
        fails(act, tmp_path, at, fault)
        if place.exists():
            recover(place)
        act()
        assert (place / "run.json").exists()
        assert not [*place.glob(".gncn-*")]


@pytest.mark.parametrize("step", [later(1), 67])
@pytest.mark.parametrize("fault", [later(ERRORS[0]), later(ERRORS[1]), Killed], ids=name)
@pytest.mark.parametrize(
    "replaced", [True, later(False)], ids=["over another", "into a new folder"]
)
def test_a_run_is_old_or_goes_on_as_the_new_one(tmp_path, runs, data, replaced, fault, step):
    place, goal = tmp_path / "run", result(runs / "new")

    def prepare():
        shutil.rmtree(place, ignore_errors=True)
        if replaced:
            shutil.copytree(runs / "old", place)

    prepare()
    for at in range(0, n_calls(place, lambda: begin(place, CONFIG, data)), step):
        prepare()
        failed = fails(lambda: begin(place, CONFIG, data), place, at, fault)
        if not failed:
            assert result(place) == goal
            continue
        if place.exists():
            recover(place)
        now = content(place) if place.exists() else {}
        if replaced:
            assert now["notes.txt"] == b"mine"
        old = content(runs / "old") if replaced else {}
        if any((place / "checkpoints").glob("0*")) and not (
            replaced and now.items() >= old.items()
        ):
            go_on(place, data)
            assert result(place) == goal
        elif replaced:
            assert now.items() >= old.items()
        begin(place, CONFIG, data)
        assert result(place) == goal
        assert strays(place) == []


FEW = ("sparsity", "likelihood")
CHEAP = {"n_components": (1,), "n_samples": 40, "curve": (), "n_repeats": 1}


def measure(path, data, replace=False, **settings):
    assess(
        RunFolder.open(path),
        data,
        split="validation",
        only=FEW,
        settings=CHEAP | settings,
        replace=replace,
    )


def measured(path):
    """What `gncn evaluate` leaves, but for the seconds that it took."""
    files = content(path)
    numbers = json.loads(files.pop("metrics-validation.json", b"{}"))
    took = set(numbers.pop("seconds", {}))
    arrays = {
        f"{kind}/{key}": values.tobytes()
        for kind in ("per-image", "pictures")
        if f"{kind}-validation.safetensors" in files
        for key, values in parse_tensors(kind, files.pop(f"{kind}-validation.safetensors")).items()
    }
    return (
        {key: value for key, value in files.items() if ".gncn-" not in key},
        numbers,
        took,
        arrays,
    )


@pytest.mark.slow
@pytest.mark.parametrize("step", [later(1), 19])
@pytest.mark.parametrize("fault", [later(errno.ENOSPC), later(errno.EACCES), Killed], ids=name)
@pytest.mark.parametrize(
    "again",
    [later({}), later({"replace": True}), {"n_samples": 30}],
    ids=["first", "all anew", "other settings"],
)
def test_what_was_measured_belongs_together(tmp_path, runs, data, again, fault, step):
    """Every number is of the old settings or the new, and so are the values of its images."""
    before, after = tmp_path / "before", tmp_path / "after"
    shutil.copytree(runs / "old", before)
    if again:
        measure(before, data)
    shutil.copytree(before, after)
    measure(after, data, **again)
    states = [measured(before), measured(after)]
    shutil.copytree(before, tmp_path / "count")
    n = n_calls(tmp_path / "count", lambda: measure(tmp_path / "count", data, **again))
    for at in range(0, n, step):
        place = tmp_path / f"{at}"
        shutil.copytree(before, place)
        failed = fails(partial(measure, place, data, **again), place, at, fault)
        _, numbers, took, arrays = measured(place)
        assert failed or took == set(FEW)
        if "likelihood" in took:
            values = np.frombuffer(arrays["per-image/log_likelihood"], np.float32)
            assert values.mean() == pytest.approx(numbers["likelihood"]["mean"], rel=1e-6)
            assert numbers["likelihood"] in [one["likelihood"] for _, one, *_ in states if one]
        measure(place, data, **again)
        assert measured(place)[1:] == states[1][1:]
        assert strays(place) == []


STUDY = """
name = "made"
split = "validation"
[evaluation]
measures = ["sparsity"]
[data.digits]
[models.gncn]
preset = "digits"
[models.gvae]
preset = "gvae"
"""

WORKER = """
import json, pathlib, sys
spec = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
kept = {key: spec[key] for key in ("model", "data", "trial")}
times = {"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:00:10+00:00"}
seconds = {"total": 10.0, "training": 8.0, "evaluation": 2.0}
record = {"status": "finished", "spec": spec, "seconds": seconds, **kept, **times}
pathlib.Path(sys.argv[2]).write_text(json.dumps(record), encoding="utf-8")
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", [later(1), 23])
@pytest.mark.parametrize("fault", [later(errno.ENOSPC), later(errno.EACCES), Killed], ids=name)
def test_records_of_a_study_are_whole_or_absent(tmp_path, fault, step):
    for file, text in (("study.toml", STUDY), ("worker.py", WORKER)):
        (tmp_path / file).write_text(text, encoding="utf-8")
    study = load_study(tmp_path / "study.toml")
    worker = (sys.executable, str(tmp_path / "worker.py"))

    def run(out):
        reproduce(study, study.runs(), out, worker=worker)

    run(tmp_path / "whole")
    goal = content(tmp_path / "whole")
    for at in range(0, n_calls(tmp_path / "count", lambda: run(tmp_path / "count")), step):
        out = tmp_path / f"{at}"
        fails(partial(run, out), out, at, fault)
        if out.exists():
            found = content(out)
            for key in goal.keys() & found.keys():
                # A result that can't be read is a run that failed, and is done again.
                assert goal[key] == found[key] or json.loads(found[key])["status"] == "failed"
            if any(out.glob("*/*.json")):
                assert read_records(out)
        run(out)
        assert content(out) == goal

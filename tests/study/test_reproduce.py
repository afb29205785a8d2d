"""Studies: what runs they ask for; going on after a kill; failures, crashes, staleness."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from handmade import record

import gncn
from budget import later
from command import call
from gncn.base import screen
from gncn.base.errors import ConfigError, DataError, RunError
from gncn.base.locks import alone
from gncn.cli import reproduce as command
from gncn.data import DataConfig, Split, load_dataset
from gncn.data.loaders import PART_SUFFIX
from gncn.measures import MEASURES, as_measurable
from gncn.measures.models import PixelMixtureModel
from gncn.runs.config import Config, load_config
from gncn.runs.folder import RunFolder
from gncn.study.plan import load_study
from gncn.study.record import read_record, read_records, record_path, write_record
from gncn.study.reproduce import Event, estimate, recorded_study, reproduce, run_all, survey
from gncn.study.run import NOTE, _without_places, failed, run_one
from gncn.study.specs import Evaluation, RunSpec, possible_measures

ROOT = Path(__file__).parents[2]
STUDY = """
name = "made"
split = "validation"
trials = 2

[evaluation]
measures = ["samples", "sparsity", "embedding"]
n_components = [5]

[data.digits]

[models.gncn]
preset = "digits"
minutes = 2
settings.training.n_epochs = 2
settings.network = { sizes = [12, 12], group_size = 4, max_norm = [4.0, 1.0] }

[models.gvae]
preset = "gvae"
trials = 1
settings.training = { n_epochs = 2, batch_size = 50 }
settings.backprop = { budget = 8000, n_latent = 5 }
"""

BAD = """
[models.bad]
preset = "digits"
settings.training.learning_rate = 1e9
settings.network = { sizes = [12, 12], group_size = 4, max_norm = [1e9, 1e9] }
"""

WORKER = """
import json, os, pathlib, sys, time
spec = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
name = "{model}/{data}/{trial}".format(**spec)
with open(os.environ["LOG"], "a", encoding="utf-8") as log:
    log.write(f"{name} {os.environ['NPROC']} {os.getpid()}\\n")
plan = json.loads(os.environ.get("PLAN", "{}")).get(name, "")
if plan == "crash":
    print("a deep trouble", file=sys.stderr)
    os.abort()
if plan == "sleep":
    time.sleep(120)
for piece in (b"\\xcf", b"\\x88 wor", b"king\\n"):  # a character and a line, in pieces
    os.write(1, piece)
    time.sleep(0.08)
kept = {key: spec[key] for key in ("model", "data", "trial")}
times = {"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:00:10+00:00"}
seconds = {"total": 10.0, "training": 8.0, "evaluation": 2.0}
record = {"status": "finished", "spec": spec, "seconds": seconds, **kept, **times}
pathlib.Path(sys.argv[2]).write_text(json.dumps(record), encoding="utf-8")
"""

DRIVER = """
import sys
from pathlib import Path
from gncn.study.plan import load_study
from gncn.study.reproduce import reproduce
study = load_study(sys.argv[1])
made = reproduce(study, study.runs(), Path(sys.argv[2]), worker=(sys.executable, sys.argv[3]))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A study's file and a worker that pretends."""
    (tmp_path / "study.toml").write_text(STUDY, encoding="utf-8")
    (tmp_path / "worker.py").write_text(WORKER, encoding="utf-8")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    return tmp_path


def worker(place):
    return (sys.executable, str(place / "worker.py"))


def begun(place):
    log = place / "log"
    return (
        [line.split() for line in log.read_text(encoding="utf-8").splitlines()]
        if log.exists()
        else []
    )


def start_driver(place):
    (place / "driver.py").write_text(DRIVER, encoding="utf-8")
    files = (str(place / name) for name in ("driver.py", "study.toml", "out", "worker.py"))
    return subprocess.Popen([sys.executable, *files])


def load(place, *changes):
    text = STUDY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (place / "study.toml").write_text(text, encoding="utf-8")
    return load_study(place / "study.toml")


def test_a_study_asks_for_runs_with_seeds_first_trials_first(place):
    specs = load(place).runs()
    assert [spec.name for spec in specs] == ["gncn/digits/0", "gvae/digits/0", "gncn/digits/1"]
    assert [spec.config.seed for spec in specs] == [0, 0, 1]
    assert specs[0].config.network.sizes == (12, 12)
    assert specs[0].config.settling.step_size == 0.2  # the preset's
    assert specs[1].config.backprop.n_latent == 5
    assert "embedding" in specs[0].evaluation.measures
    assert "embedding" not in specs[2].evaluation.measures  # of the first trial alone
    assert load(place).n_runs == 3


@pytest.mark.slow
def test_one_run_on_each_data_set_measures_the_yardsticks():
    study = load_study("paper")
    measuring = [spec.name for spec in study.runs() if "yardsticks" in spec.evaluation.measures]
    assert measuring == [f"rae/{data}/0" for data in study.data]
    completing = {spec.model for spec in study.runs() if "completion" in spec.evaluation.measures}
    assert completing == set(study.models) - {"gmm", "dsrn"}


@pytest.mark.parametrize(("n_latent", "models"), [(12, ["gncn"]), (5, ["gncn", "gvae"])])
def test_codes_of_the_same_width_are_measured_once_for_the_model_of_the_targets(
    n_latent, models, place
):
    study = load(place, ("n_latent = 5", f"n_latent = {n_latent}"))
    names = (*study.evaluation.measures, "codes")
    asked = study.model_copy(
        update={"evaluation": study.evaluation.model_copy(update={"measures": names}), "trials": 2}
    )
    measuring = [spec.name for spec in asked.runs() if "codes" in spec.evaluation.measures]
    assert measuring == [f"{model}/{data}/0" for data in study.data for model in models]
    assert models[0] == study.targets_for
    assert not any("codes" in spec.evaluation.measures for spec in study.runs())


def test_patterns_choose_runs(place):
    study = load(place)
    assert [s.name for s in study.runs(only=["gncn"])] == ["gncn/digits/0", "gncn/digits/1"]
    assert [s.name for s in study.runs(only=["*/digits/1"])] == ["gncn/digits/1"]
    with pytest.raises(ConfigError, match=r"No run of the study 'made' fits gncn/mnist.*digits"):
        study.runs(only=["gncn/mnist"])


def test_variants_replace_presets_and_overlay_settings(place):
    text = '\n[models.gncn.on.digits]\npreset = "mnist"\nsettings.network.max_norm = [1.0, 1.0]\n'
    spec = load(place, ("\n[models.gvae]", text + "\n[models.gvae]")).runs()[0]
    other = load_config(preset="mnist").settling
    assert spec.config.settling.initial_precision == other.initial_precision != 1
    assert spec.config.network.max_norm == (1.0, 1.0)
    assert spec.config.network.sizes == (12, 12)
    assert spec.config.data.name == "digits"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"sparsity"', '"spasity"'), "Unknown measure 'spasity'"),
        (("n_epochs = 2\n", "n_epohs = 2\n"), "gncn/digits of the study 'made'.*n_epohs"),
        (("[models.gvae]", "[models.gncn.on.mnist]\n[models.gvae]"), "names mnist, but"),
        (('split = "validation"', 'split = "train"'), "split"),
        (('name = "made"', 'name = "../made"'), "name"),
        (
            ("[models.gvae]", '[models."../gvae"]'),
            r"models: a name must fit \^\[A-Za-z0-9\]\[A-Za-z0-9_-\]\*\$; received '\.\./gvae'",
        ),
        (("[evaluation]", '[evaluation]\nmissing = "middle"'), "'middle'"),
        (("[evaluation]", '[evaluation]\ncovariance = "round"'), "covariance.*received 'round'"),
        (("n_components = [5]", "n_components = []"), "n_components"),
        (("n_components = [5]", "n_components = [0]"), "n_components"),
        (
            ("[data.digits]", '[data.digits.targets]\ntried = {bec = "x"}\n[data.digits]'),
            "Unknown target 'bec'",
        ),
    ],
)
def test_mistakes_are_named(place, change, message):
    with pytest.raises(ConfigError, match=message):
        load(place, change).runs()


def test_targets_are_for_a_model_of_the_study(place):
    targets = ("[data.digits]", "[data.digits.targets]\nbce = 1\n[data.digits]")
    assert load(place, targets).targets_for == "gncn"
    with pytest.raises(ConfigError, match="targets_for='gncnn' is no model of the study 'made'"):
        load(place, targets, ('name = "made"', 'name = "made"\ntargets_for = "gncnn"'))


@pytest.mark.slow
def test_every_packaged_study_resolves():
    for name in ("paper", "tiny"):
        specs = load_study(name).runs()
        assert len(specs) == load_study(name).n_runs
    paper = load_study("paper")
    assert {spec.split for spec in paper.runs()} == {"test"}
    assert sum(s.data == "caltech-16" and s.model == "gncn" for s in paper.runs()) == 10
    assert min(paper.n_trials(m, d) for m in paper.models for d in paper.data) >= 5
    with pytest.raises(ConfigError, match="Unknown study 'papre'"):
        load_study("papre")


def test_finished_runs_are_never_repeated_and_failed_ones_are(place, monkeypatch):
    study, out = load(place), place / "out"
    monkeypatch.setenv("PLAN", json.dumps({"gvae/digits/0": "crash"}))
    events = []
    made = reproduce(study, study.runs(), out, jobs=2, worker=worker(place), on_event=events.append)
    assert len(made) == 3
    status = {one.name: one.status for one in made}
    assert status == {
        "gncn/digits/0": "finished",
        "gvae/digits/0": "failed",
        "gncn/digits/1": "finished",
    }
    crashed = read_record(record_path(out, "gvae", "digits", 0))
    assert "signal 6" in crashed.error["message"]
    assert "a deep trouble" in crashed.error["details"]
    assert any(event.text == "ψ working" for event in events)
    assert {threads for _, threads, _ in begun(place)} == {str(max(len_cores() // 2, 1))}
    left = estimate(study, survey(study.runs(), out), jobs=1)
    assert left == (0.0, 1)  # nobody has said how long a gvae takes
    monkeypatch.setenv("PLAN", "{}")
    again = reproduce(study, study.runs(), out, worker=worker(place))
    assert [one.name for one in again] == ["gvae/digits/0"]
    assert reproduce(study, study.runs(), out, worker=worker(place)) == []
    assert len(begun(place)) == 4
    assert recorded_study(out) == study
    assert_nothing_unfinished(out)


def test_version_control_overlooks_what_is_half_done(place):
    study, out, seen = load(place), place / "out", []

    def look(event):
        seen.append((out / ".running" / ".gitignore").read_text(encoding="utf-8"))

    reproduce(study, study.runs()[:1], out, worker=worker(place), on_event=look)
    assert set(seen) == {"*\n"}


def len_cores():
    from gncn.base.hardware import usable_cores

    return usable_cores()


def test_estimates_are_of_runs_done_or_what_the_study_says(place):
    study, out = load(place), place / "out"
    assert estimate(study, survey(study.runs(), out), jobs=2) == (120.0, 1)
    reproduce(study, study.runs(only=["gncn/*/0"]), out, worker=worker(place))
    assert estimate(study, survey(study.runs(), out), jobs=1) == (10.0, 1)


def test_changed_settings_are_refused_and_the_old_record_is_kept(place):
    study, out = load(place), place / "out"
    reproduce(study, study.runs(), out, worker=worker(place))
    changed = load(place, ("n_epochs = 2\n", "n_epochs = 3\n"))
    standings = survey(changed.runs(), out)
    assert [one.state for one in standings] == ["stale", "finished", "stale"]
    assert standings[0].changes == ("training.n_epochs: 2 → 3",)
    with pytest.raises(
        RunError, match=r"(?s)2 of the runs.*training.n_epochs: 2 → 3.*--redo-stale"
    ):
        reproduce(changed, changed.runs(), out, worker=worker(place))
    assert len(begun(place)) == 3
    redone = reproduce(changed, changed.runs(), out, redo_stale=True, worker=worker(place))
    assert [one.name for one in redone] == ["gncn/digits/0", "gncn/digits/1"]
    assert len(list((out / "superseded").glob("*.json"))) == 2
    assert len(read_records(out)) == 3
    assert {one.state for one in survey(changed.runs(), out)} == {"finished"}


@pytest.mark.slow
def test_stale_records_are_set_aside_whichever_runs_are_wanted(place):
    study, out = load(place), place / "out"
    reproduce(study, study.runs(), out, worker=worker(place))
    changed = load(place, ("n_epochs = 2\n", "n_epochs = 3\n"))
    first = {"gncn/digits/0"}
    with pytest.raises(RunError, match="2 of the runs"):
        reproduce(changed, changed.runs(), out, wanted=first, worker=worker(place))
    options = {"wanted": first, "redo_stale": True, "worker": worker(place)}
    redone = reproduce(changed, changed.runs(), out, **options)
    assert [one.name for one in redone] == ["gncn/digits/0"]
    assert len(list((out / "superseded").glob("*.json"))) == 2
    states = [one.state for one in survey(changed.runs(), out)]
    assert states == ["finished", "finished", "missing"]


def test_a_new_option_at_its_default_makes_nothing_stale(place):
    spec = load(place).runs()[0]
    recorded = spec.model_dump(mode="json")
    assert spec.differences(recorded) == []
    recorded["config"]["settling"].pop("leak")  # an older version did not know it
    assert spec.differences(recorded) == []
    moved = spec.config.data.model_copy(update={"data_dir": "/elsewhere"})
    config = spec.config.model_copy(update={"data": moved})
    assert spec.model_copy(update={"config": config}).differences(recorded) == []
    recorded["config"]["settling"].pop("step_size")  # which has not its default
    assert spec.differences(recorded) == ["settling.step_size: 0.1 → 0.2"]


@pytest.mark.slow
def test_a_kill_loses_the_run_at_work_and_nothing_else(place, monkeypatch):
    study, out = load(place), place / "out"
    monkeypatch.setenv("PLAN", json.dumps({"gvae/digits/0": "sleep"}))
    driver = start_driver(place)
    until(lambda: len(begun(place)) == 2)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    os.kill(int(begun(place)[1][2]), signal.SIGKILL)  # a worker that pretends outlives it
    first = record_path(out, "gncn", "digits", 0)
    content, changed = first.read_bytes(), first.stat().st_mtime_ns
    assert [one.name for one in read_records(out)] == ["gncn/digits/0"]
    monkeypatch.setenv("PLAN", "{}")
    made = reproduce(study, study.runs(), out, worker=worker(place))
    assert [one.name for one in made] == ["gvae/digits/0", "gncn/digits/1"]
    assert (first.read_bytes(), first.stat().st_mtime_ns) == (content, changed)
    assert {one.state for one in survey(study.runs(), out)} == {"finished"}


@pytest.mark.slow
def test_a_worker_ends_with_its_parent(place):
    spec = place / "spec.json"
    spec.write_text(load(place).runs()[0].model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-m", "gncn.study.run", str(spec), str(place / "result")]
    child = subprocess.Popen(command, stdin=subprocess.PIPE)
    child.stdin.close()
    assert child.wait(60) == 1
    assert not (place / "result").exists()


def test_ctrl_c_ends_the_processes_at_work(place, monkeypatch):
    study, out = load(place), place / "out"
    monkeypatch.setenv("PLAN", json.dumps({"gvae/digits/0": "sleep"}))

    def interrupt(event):
        if event.spec.model == "gvae":
            until(lambda: any(name == "gvae/digits/0" for name, *_ in begun(place)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce(study, study.runs(), out, worker=worker(place), on_event=interrupt)
    pid = next(int(pid) for name, _, pid in begun(place) if name == "gvae/digits/0")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert [one.name for one in read_records(out)] == ["gncn/digits/0"]
    assert_nothing_unfinished(out)


def test_two_at_once_share_the_runs(place):
    study, out, told = load(place), place / "out", []

    def second(event):
        if event.record is None and not event.text and not told:
            told.append(event)
            made = reproduce(
                study, study.runs(), out, worker=worker(place), on_event=told.append, jobs=3
            )
            assert [one.name for one in made] == ["gvae/digits/0", "gncn/digits/1"]

    mine = []
    made = reproduce(
        study,
        study.runs(),
        out,
        worker=worker(place),
        on_event=lambda e: (mine.append(e), second(e)),
    )
    assert [one.name for one in made] == ["gncn/digits/0"]
    elsewhere = [e for e in told if e.elsewhere]
    assert [(e.spec.name, e.record) for e in elsewhere] == [("gncn/digits/0", None)]
    assert f"the run by process {os.getpid()} on" in elsewhere[0].text
    theirs = [e for e in mine if e.elsewhere]
    assert {e.spec.name for e in theirs} == {"gvae/digits/0", "gncn/digits/1"}
    assert all(e.record is not None and not e.text for e in theirs)
    assert sorted(name for name, *_ in begun(place)) == sorted(s.name for s in study.runs())
    assert_nothing_unfinished(out)


def test_the_failure_of_another_process_is_not_tried_again(place, monkeypatch):
    study, out = load(place), place / "out"
    monkeypatch.setenv("PLAN", json.dumps({"gncn/digits/1": "crash"}))
    reproduced = []

    def second(event):
        if not reproduced:
            reproduced.append(event)
            reproduce(study, study.runs(only=["gncn/digits/1"]), out, worker=worker(place))

    reproduce(study, study.runs(), out, worker=worker(place), on_event=second)
    assert [name for name, *_ in begun(place)].count("gncn/digits/1") == 1


@pytest.mark.slow
def test_a_run_of_a_process_that_was_killed_is_waited_for_and_done(place, monkeypatch):
    study, out = load(place), place / "out"
    monkeypatch.setenv("PLAN", json.dumps({"gncn/digits/0": "sleep"}))
    driver = start_driver(place)
    until(lambda: (out / "study.json").exists() and begun(place))
    (child,) = (int(pid) for _, _, pid in begun(place))
    monkeypatch.setenv("PLAN", "{}")
    events = []

    def kill(event):
        events.append(event)
        if event.elsewhere:
            driver.kill()
            driver.wait()

    specs = study.runs(only=["gncn/digits/0"])
    assert reproduce(study, specs, out, worker=worker(place)) == []
    made = reproduce(study, specs, out, worker=worker(place), wait=True, on_event=kill)
    assert [one.name for one in made] == ["gncn/digits/0"]
    assert [e.spec.name for e in events if e.elsewhere] == ["gncn/digits/0"]
    assert f"process {driver.pid} on" in next(e.text for e in events if e.elsewhere)
    os.kill(child, signal.SIGKILL)  # this worker, unlike the library's, doesn't watch its parent
    assert_nothing_unfinished(out)


def test_records_of_other_settings_that_appear_meanwhile_are_not_overwritten(place):
    study, out = load(place), place / "out"
    other = load(place, ("n_epochs = 2\nsettings.network", "n_epochs = 3\nsettings.network"))

    def interfere(event):
        if event.spec.name == "gncn/digits/0" and event.record is None and not event.text:
            reproduce(other, other.runs(only=["gncn/digits/1"]), out, worker=worker(place))

    with pytest.raises(RunError, match="(?s)1 of the runs recorded in .*gncn/digits/1: .*n_epochs"):
        reproduce(study, study.runs(only=["gncn"]), out, worker=worker(place), on_event=interfere)
    assert read_record(record_path(out, "gncn", "digits", 1)).spec != study.runs()[-1].for_record()


def assert_nothing_unfinished(out):
    left = {path.name for path in (out / ".running").rglob("*") if not path.is_dir()}
    assert left == {".gitignore", ".lock"}


def test_a_damaged_record_is_named(place):
    study, out = load(place), place / "out"
    reproduce(study, study.runs(only=["gvae"]), out, worker=worker(place))
    record_path(out, "gvae", "digits", 0).write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"gvae-0.json is no record of a run.*Delete it"):
        survey(study.runs(), out)


def test_a_record_says_nothing_of_folders(place):
    spec = load(place).runs(data_dir="/somewhere/here")[0]
    assert spec.config.data.data_dir == "/somewhere/here"
    assert "somewhere" not in json.dumps(spec.for_record())
    try:
        raise ValueError("because")
    except ValueError:
        made = failed(spec, "ValueError", "because", traceback.format_exc())
    assert "because" in made.error["details"]
    assert str(Path(__file__).parent) not in made.to_json()


class KilledError(BaseException):
    """Stands for SIGKILL: nothing in the library catches it."""


def told(spec, home, kill_at=None, nth=1):
    """The messages of a run, and its record: None if it is killed at the nth `kill_at`."""
    news = []

    def report(what):
        news.append(what)
        if kill_at is not None and sum(one.startswith(kill_at) for one in news) == nth:
            raise KilledError

    try:
        return news, run_one(spec, report=report, home=home)
    except KilledError:
        return news, None


def timeless(record):
    kept = record.kept.model_copy(update={"seconds": 0.0})
    drop = {"seconds", "started", "finished", "kept", "history", "metrics"}
    history = record.history.model_dump(exclude={"seconds"})
    return record.model_dump(exclude=drop), kept, history, record.metrics | {"seconds": 0}


def spec_of(model="gncn", preset="digits", measures=("sparsity",), **settings):
    config = load_config(preset=preset).model_dump(mode="json")
    config["data"] = {"name": "digits"} | settings.pop("data", {})
    for section, values in settings.items():
        config[section] |= values
    evaluation = Evaluation(measures=measures)
    config = Config(**config)
    return RunSpec(
        model=model, data="digits", trial=0, config=config, split="test", evaluation=evaluation
    )


SMALL = {"sizes": (12, 8), "group_size": 4, "max_norm": (4.0, 1.0)}
FEW = {"n_epochs": 3, "batch_size": 300}


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_from_its_checkpoint(tmp_path):
    spec = spec_of(network=SMALL, training=FEW)
    _, goal = told(spec, None)
    news, nothing = told(spec, tmp_path, kill_at="epoch 3 of 3")
    assert nothing is None
    (folder,) = tmp_path.glob("run-*")
    before = [one.seconds for one in RunFolder.open(folder).history]
    news, nothing = told(spec, tmp_path, kill_at="encoding all images")
    assert nothing is None
    assert [one for one in news if "epoch" in one] == [
        "training; epochs in all: 3",
        *(one for one in news if one.startswith("epoch 3 of 3")),
    ]
    news, record = told(spec, tmp_path)
    assert "the run goes on from its last checkpoint" in news
    assert not any(one.startswith("epoch") for one in news)
    assert timeless(record) == timeless(goal)
    assert record.history.seconds[:2] == pytest.approx(before[:2], rel=1e-6)
    assert record.seconds["training"] > sum(record.history.seconds)


@pytest.mark.slow
def test_of_several_variances_none_is_trained_twice(tmp_path):
    backprop = {"budget": 8000, "n_latent": 5, "variance": (0.1, 1.0)}
    spec = spec_of("gvae-cv", "gvae-cv", training=FEW, backprop=backprop)
    _, goal = told(spec, None)
    first, _ = told(spec, tmp_path, kill_at="epoch 2", nth=2)  # of the second training
    second, record = told(spec, tmp_path)
    epochs = [[one[:7] for one in news if one.startswith("epoch")] for news in (first, second)]
    assert epochs[0] == ["epoch 1", "epoch 2", "epoch 3", "epoch 1", "epoch 2"]
    assert epochs[1] == ["epoch 2", "epoch 3"]
    assert timeless(record) == timeless(goal)


@pytest.mark.slow
def test_a_mixture_begins_again(tmp_path):
    mixture = {"n_components": 2, "max_iterations": 2}
    spec = spec_of("gmm", "gmm", measures=("samples",), mixture=mixture)
    _, goal = told(spec, None)
    assert told(spec, tmp_path, kill_at="sampling")[1] is None
    news, record = told(spec, tmp_path)
    assert any(one.startswith("epoch 1 of 1") for one in news)
    assert timeless(record) == timeless(goal)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["settings", *map(later, ("data", "code", "versions", "damage"))])
def test_a_run_that_is_another_now_begins_again_and_says_so(tmp_path, monkeypatch, what):
    file, home = tmp_path / "own.npy", tmp_path / "home"
    images = np.random.default_rng(0).integers(0, 2, (600, 64), np.uint8)
    np.save(file, images)

    def now(**training):
        data, training = {"name": str(file)}, FEW | training
        return spec_of(measures=(), data=data, network=SMALL, training=training)

    assert told(now(), home, kill_at="epoch 3 of")[1] is None
    spec, why = now(), "its settings or the library's code have changed"
    if what == "settings":
        spec = now(learning_rate=0.01)
    elif what == "code":
        monkeypatch.setattr("gncn.study.run.source_digest", lambda: "another")
    elif what == "versions":
        monkeypatch.setattr("gncn.training.checkpoints.PACKAGES", ("gncn",))
        why = r".*is of another training \(versions\.jax: "
    elif what == "data":
        np.save(file, 1 - images)
        why = r".*is of another training \(data: "
    else:
        for state in home.rglob("state.json"):
            state.write_text("{", encoding="utf-8")
        why = ".*holds no checkpoint to go on from"
    news, record = told(spec, home)
    (said,) = [one for one in news if one.startswith("the run begins again: ")]
    assert re.match(f"the run begins again: {why}", said)
    assert sum(one.startswith("epoch") for one in news) == 3
    assert timeless(record) == timeless(told(spec, None)[1])
    assert len(list(home.glob("run-*"))) == 1


def test_what_a_run_goes_on_from_is_removed_once_it_is_recorded(place, monkeypatch):
    study, out = load(place), place / "out"
    specs = study.runs(only=["gncn"])
    left = [out / ".running" / "digits" / f"gncn-{trial}" / "run-0" for trial in (0, 1)]

    def leave():
        for one in left:
            one.mkdir(parents=True)

    leave()
    monkeypatch.setenv("PLAN", json.dumps({"gncn/digits/1": "crash"}))
    reproduce(study, specs, out, worker=worker(place))
    assert [one.exists() for one in left] == [False, True]  # the second is tried again
    monkeypatch.setenv("PLAN", "{}")
    reproduce(study, specs, out, worker=worker(place))
    leave()  # the process was killed after it had written the record
    reproduce(study, specs, out, worker=worker(place))
    assert not any(one.exists() for one in left)


class Poison(Split):
    """Test images that can be counted, and nothing else."""

    def __init__(self, n):
        object.__setattr__(self, "n", n)

    def __len__(self):
        return self.n

    def __getattribute__(self, name):
        if name in ("images", "labels", "array"):
            raise AssertionError("test images were touched")
        return super().__getattribute__(name)


@pytest.mark.parametrize(
    ("model", "measures", "settings"),
    [
        ("gncn", ("sparsity",), {"training": FEW, "network": SMALL}),
        pytest.param(
            "gncn",
            ("likelihood", "completion", "yardsticks", "probe", "codes"),
            {"training": FEW, "network": SMALL},
            marks=pytest.mark.slow,
        ),
        ("dsrn", (), {"training": FEW, "backprop": {"budget": 6000}}),
        ("gmm", ("samples",), {"mixture": {"n_components": 2, "n_samples": 20}}),
    ],
)
def test_runs_that_report_on_validation_images_never_touch_test_images(
    model, measures, settings, monkeypatch
):
    spec = spec_of(model, "digits" if model == "gncn" else model, measures, **settings)
    data = spec.config.data.load()
    known = {name: getattr(data, name) for name in ("name", "source", "licence", "white")}
    known["fingerprint"] = data.fingerprint  # it covers test images
    known["images"] = {"train": 1300, "validation": 200, "test": 297}
    object.__setattr__(data, "test", Poison(len(data.test)))
    monkeypatch.setattr(DataConfig, "load", lambda _: data)
    record = run_one(spec.model_copy(update={"split": "validation"}))
    assert record.dataset == known
    assert record.history.test == ()
    assert record.kept.test is None
    assert record.kept.validation.error == pytest.approx(record.history.validation[-1], rel=1e-5)
    if measures:
        assert record.metrics["data"]["fingerprint"] == known["fingerprint"]
    assert json.loads(record.to_json())["kept"]["test"] is None
    if model != "gncn":  # which takes longer
        with pytest.raises(AssertionError, match="test images were touched"):
            run_one(spec)


def test_committed_records_of_validation_studies_hold_no_test_errors():
    paths = [*ROOT.glob("results/*/*/*-*.json")]
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    chosen = [one for one in records if one.get("spec", {}).get("split") == "validation"]
    assert chosen
    for one in chosen:
        assert one["history"]["test"] == []
        assert one["kept"]["test"] is None


@pytest.mark.slow
def test_of_several_variances_the_best_is_measured_and_recorded():
    config = gncn.Config(
        model="gvae-cv",
        data={"name": "digits"},
        training={"n_epochs": 3, "batch_size": 50, "learning_rate": 3e-3},
        backprop={"budget": 8000, "n_latent": 5, "variance": (0.1, 1.0)},
    )
    evaluation = Evaluation(measures=("sparsity",))
    spec = RunSpec(
        model="a", data="digits", trial=0, config=config, split="validation", evaluation=evaluation
    )
    record = run_one(spec)
    psi = record.validation_psi_of_variances
    assert max(psi, key=psi.get) == "0.1"  # the last one trained is the other
    assert len(record.history.validation) == len(record.history.seconds) == 3
    assert record.kept.validation.discrepancy == pytest.approx(psi["0.1"])
    assert record.metrics["bce"] == pytest.approx(record.kept.validation.error, rel=1e-4)


def test_what_can_be_measured_of_each_kind_is_what_it_offers():
    assert not PixelMixtureModel.has_codes
    assert possible_measures("gmm") == ("likelihood", "samples")
    assert possible_measures("dsrn") == ()
    assert possible_measures("gncn") == possible_measures("rae") == MEASURES.names()
    with pytest.raises(ConfigError, match="generates nothing"):
        as_measurable(Config(model="dsrn").models(load_dataset("digits"))[0])


def test_tracebacks_name_no_folder_that_packages_lie_in(monkeypatch):
    root, inside = Path("/").absolute(), Path("/opt/lib").absolute()
    monkeypatch.setattr(sys, "path", ["", str(root), "near", str(inside)])
    text = f"{inside / 'gncn' / 'x.py'} and {root / 'home' / 'me'} and {Path('near/y.py')}"
    kept = f"{Path('gncn/x.py')} and {root / 'home' / 'me'} and {Path('near/y.py')}"
    assert _without_places(text) == kept


def test_jobs_must_be_positive(place):
    with pytest.raises(ConfigError, match="received 0"):
        next(run_all([], place, jobs=0))


def commanded(place, *options, status=0):
    """What ``gncn reproduce`` writes as results, and what it says."""
    out, err = io.StringIO(), io.StringIO()
    arguments = ["reproduce", place / "study.toml", "--out", place / "out", *options]
    assert call(arguments, out, err, COLUMNS="300", NO_COLOR="1") == status, err.getvalue()
    return out.getvalue(), err.getvalue()


@pytest.mark.slow
def test_the_command_says_what_is_done_what_failed_and_what_others_do(place, monkeypatch):
    monkeypatch.setattr(
        f"{reproduce.__module__}.reproduce", partial(reproduce, worker=worker(place))
    )
    monkeypatch.setenv("PLAN", json.dumps({"gvae/digits/0": "crash"}))
    quick = WORKER.replace("time.sleep(0.08)", "pass")
    (place / "worker.py").write_text(quick, encoding="utf-8")
    specs = load(place).runs()
    with alone(place / "out/.running/digits/gncn-1", "the run"):
        _, said = commanded(place, "--jobs", 2, status=1)
    assert "gncn/digits/0: started" in said
    assert "gvae/digits/0: started" in said
    assert re.search(
        r"gvae/digits/0: failed after \d+ s: Crash: The process was ended by sig", said
    )
    assert re.search(r"gncn/digits/0: done in \d+ s", said)
    assert "1 of 3 runs done, about 5 s left" in said  # 10 s like trial 0, of two runs at a time
    assert "gncn/digits/1: passed over, as another has it: the run by process" in said
    assert "1 runs done, 1 failed, 0 were done before, 1 left to other processes." in said
    _, said = commanded(place, "--list")
    assert "failed: gvae/digits/0: The process was ended by signal 6" in said
    left = "2 of 3 runs are left: about 10 s with 1 at a time, and 1 runs of unknown length."
    assert left in said
    result, _ = commanded(place, "--list", "--json")
    states = {one["run"]: one["state"] for one in json.loads(result)["runs"]}
    assert states == dict(
        zip([s.name for s in specs], ("finished", "failed", "missing"), strict=True)
    )
    monkeypatch.setenv("PLAN", "{}")
    result, said = commanded(place, "--json", "--only", "gvae")
    assert json.loads(result) == {
        "records": str(place / "out"),
        "runs": [{"run": "gvae/digits/0", "status": "finished", "seconds": 10.0, "error": None}],
    }
    assert "were done before" not in said
    _, said = commanded(place)
    assert "1 runs done, 0 failed, 2 were done before. Records:" in said
    assert "Next: gncn report" in said
    assert "All 3 runs are done." in commanded(place, "--list")[1]
    load(place, ("n_epochs = 2\n", "n_epochs = 3\n"))
    _, said = commanded(place, "--list")
    assert "stale: gncn/digits/1: training.n_epochs: 2 → 3" in said
    assert "stale: gvae" not in said


def test_a_terminal_has_a_row_for_each_run_at_work(place, monkeypatch):
    shown = screen.Screen(file=io.StringIO(), width=100, force_terminal=True)
    for module in (screen, command):
        monkeypatch.setattr(module, "console", shown)
    study, out = load(place), place / "out"
    first, second, third = study.runs()
    display = command._Display(study, survey(study.runs(), out), jobs=1)

    def rows():
        return {task.description: task.fields["doing"] for task in display.tasks}

    with display:
        assert rows() == {"all runs": "0 of 3 runs done, about 4 min 00 s left"}
        display.on_event(Event(first))
        assert rows()["gncn/digits/0"] == "starting"
        display.on_event(Event(first, f"{NOTE}goes on"))
        display.on_event(Event(first, "epoch 1"))
        assert rows()["gncn/digits/0"] == "epoch 1"
        display.on_event(Event(first, record=record("gncn", "digits")))  # of 90 s
        assert rows() == {"all runs": "1 of 3 runs done, about 1 min 30 s left"}
        display.on_event(Event(third, "the run by process 7", elsewhere=True))
        assert display.elsewhere == {"gncn/digits/1"}
        display.on_event(Event(third, record=record("gncn", "digits", 1), elsewhere=True))
        display.on_event(Event(second))
        display.on_event(Event(second, record=failed(second, "Crash", "why", "")))
        assert display.elsewhere == set()
        assert rows() == {"all runs": "2 of 3 runs done"}
        assert display.kept() == "2 of 3 runs are recorded; start it again to go on."
    said = shown.file.getvalue()
    assert "gncn/digits/0: the run goes on" in said
    assert "gncn/digits/1: passed over, as another has it: the run by process 7" in said
    assert "gncn/digits/1: another process has done it" in said
    assert "gvae/digits/0: failed after 0 s: Crash: why" in said
    assert "started" not in said  # which the row shows


def test_a_record_of_the_test_part_is_stale_once_there_is_all(place, monkeypatch):
    spec = load(place, ("[data.digits]", "[data.mnist]")).runs()[0]
    part = {"name": f"mnist{PART_SUFFIX}"}
    one = record("gncn", "mnist", spec=spec.model_dump(mode="json"), dataset=part)
    write_record(place / "out", one)
    monkeypatch.setattr(f"{reproduce.__module__}.present", lambda *_: False)
    assert survey([spec], place / "out")[0].state == "finished"
    monkeypatch.setattr(f"{reproduce.__module__}.present", lambda *_: True)
    [found] = survey([spec], place / "out")
    assert (found.state, len(found.changes)) == ("stale", 1)
    assert "only the test part was available, and now all of it is" in found.changes[0]


def test_a_folder_of_data_that_is_gone_is_named_before_any_run(place):
    study = load(place)
    gone, there = (study.runs(only=["gvae"], data_dir=place / name) for name in ("gone", "."))
    with pytest.raises(DataError, match="There is no .*gone, which the study names. No run was"):
        reproduce(study, gone, place / "out", worker=worker(place))
    assert begun(place) == []
    [made] = reproduce(study, there, place / "out", worker=worker(place))
    assert made.status == "finished"


def until(true, seconds=60):
    for _ in range(20 * seconds):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


WANTED = ("--only", "gncn", "--only", "bad/digits", "--json")


@pytest.mark.slow
def test_a_tiny_study_from_its_file_to_its_page(place):
    """Real runs in real processes: one of them diverges, and the others go on."""
    load(place, ("\n[models.gvae]", f"{BAD}\n[models.gvae]"), ("\ntrials = 2", "\ntrials = 1"))
    out = place / "out"
    done = cli("reproduce", place / "study.toml", "--out", out, *WANTED, "--jobs", 2)
    assert done.returncode == 1, done.stderr  # one failed
    result = json.loads(done.stdout)
    status = {run["run"]: run["status"] for run in result["runs"]}
    assert status == {
        "gncn/digits/0": "finished",
        "bad/digits/0": "failed",
    }
    records = {one.model: one for one in read_records(out)}
    assert records["bad"].error["type"] == "FitDivergenceError"
    good = records["gncn"]
    assert record_path(out, "gncn", "digits", 0).stat().st_size < 50_000
    assert {"samples", "data", "embedding"} <= set(good.pictures)
    assert good.kept.epoch == 2
    assert good.kept.validation.error == pytest.approx(good.metrics["bce"], rel=1e-4)
    assert good.versions["gncn"]
    assert good.threads >= 1
    assert good.dataset["fingerprint"]
    listed = cli("reproduce", place / "study.toml", "--out", out, *WANTED, "--list")
    assert {run["state"] for run in json.loads(listed.stdout)["runs"]} == {"finished", "failed"}
    page, markdown = place / "page.html", place / "docs" / "page.md"
    reported = cli("report", out, "--html", page, "--markdown", markdown, "--json")
    assert reported.returncode == 0, reported.stderr
    assert json.loads(reported.stdout)["failed"] == ["bad/digits/0"]
    assert "validation images, for choosing settings" in page.read_text(encoding="utf-8")
    assert "FitDivergenceError" in markdown.read_text(encoding="utf-8")


def cli(*arguments):
    return subprocess.run(
        [sys.executable, "-c", "from gncn.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1"},
    )

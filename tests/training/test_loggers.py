"""Loggers: rows that are right, files that a kill doesn't harm, and trackers that hear the same."""

import csv
import json
import shutil
import struct
import sys
from types import ModuleType

import pytest
from test_checkpoints import EPOCHS, Killed, Killer, data, train
from tests.golden.stored import FORMATS

import gncn
from gncn.base.errors import ConfigError, RunError
from gncn.runs.folder import RunFolder
from gncn.runs.train import loggers, train_run
from gncn.training.callbacks import Start
from gncn.training.history import EpochRecord, SplitRecord
from gncn.training.loggers import FileLogger, TensorBoardLogger, TrackerLogger, flat
from gncn.training.progress import Fit


def rows(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return list(csv.DictReader(text.splitlines()))
    return [json.loads(line) for line in text.splitlines()]


def without_seconds(path):
    return [{name: one for name, one in row.items() if name != "seconds"} for row in rows(path)]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_files_hold_the_history(tmp_path, suffix):
    path = tmp_path / "logs" / f"log.{suffix}"
    found = train(callbacks=FileLogger(path), seeds=(0, 1), n_epochs=2)
    assert len(rows(path)) == len(found.history) == 4
    for row, record in zip(rows(path), found.history, strict=True):
        assert row.keys() == {"training": 1, **flat(record)}.keys()
        for name, value in flat(record).items():
            assert row[name] == value if suffix == "jsonl" else row[name] == str(value)
    assert flat(found.history[0])["validation_error"] == found.history[0].validation.error
    assert flat(found.history[0])["train_sparsity_2"] == found.history[0].train.sparsity[1]


class KillsAfter(Killer):
    """Kills when the loggers before it have written an epoch, and before its checkpoint is."""


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("kill", [{"epoch": 1}, {"epoch": 3}, {"chunk": 23}])
def test_no_row_is_doubled_or_lost_by_a_kill(tmp_path, suffix, kill):
    whole, path = tmp_path / f"whole.{suffix}", tmp_path / f"log.{suffix}"
    train(callbacks=FileLogger(whole))
    every = {"every_batches": 2}
    where = gncn.training.checkpoints.Checkpoints(tmp_path / "kept", **every)
    with pytest.raises(Killed):
        train(where, callbacks=[FileLogger(path), KillsAfter(**kill)])
    train(where, resume=True, callbacks=FileLogger(path))
    assert without_seconds(path) == without_seconds(whole)
    assert len(rows(path)) == EPOCHS


def test_the_file_of_another_training_is_refused(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("mine\n", encoding="utf-8")
    with pytest.raises(RunError, match="is there already.*overwrite=True"):
        train(callbacks=FileLogger(path), n_epochs=1)
    assert path.read_text(encoding="utf-8") == "mine\n"
    train(callbacks=FileLogger(path, overwrite=True), n_epochs=1)
    assert len(rows(path)) == 1
    with pytest.raises(ConfigError, match=r"ending in \.csv or \.jsonl; received 'log.txt'"):
        FileLogger("log.txt")


def test_a_log_that_has_changed_is_not_gone_on_with(tmp_path):
    path = tmp_path / "log.jsonl"
    with pytest.raises(Killed):
        train(tmp_path / "kept", callbacks=[FileLogger(path), Killer(3)])
    kept = path.read_bytes()
    for content in (kept.replace(b"1", b"2"), kept[:50]):
        path.write_bytes(content)
        with pytest.raises(RunError, match="isn't the log that this training wrote"):
            train(tmp_path / "kept", resume=True, callbacks=FileLogger(path))
    path.unlink()
    with pytest.raises(RunError, match="No such file"):
        train(tmp_path / "kept", resume=True, callbacks=FileLogger(path))
    path.write_bytes(kept)
    for wrong in ({}, {"bytes": "x", "sha256": 3, "training": 1}, 3):
        with pytest.raises(RunError, match="checkpoint's state of .* is damaged"):
            FileLogger(path).restore(wrong)


def test_two_trainings_at_once_do_not_write_over_each_other(tmp_path):
    class Writes:
        def on_epoch(self, records, networks):
            (tmp_path / "log.csv").write_text("others", encoding="utf-8")

    with pytest.raises(RunError, match="was changed by something else"):
        train(callbacks=[FileLogger(tmp_path / "log.csv"), Writes()])


@pytest.mark.slow
def test_one_logger_of_several_trainings_counts_them(tmp_path):
    logger = FileLogger(tmp_path / "log.csv")
    train(callbacks=logger, n_epochs=1)
    train(callbacks=logger, n_epochs=2)
    counted = [(row["training"], row["epoch"]) for row in rows(logger.path)]
    assert counted == [("1", "1"), ("2", "1"), ("2", "2")]
    images = gncn.from_arrays(data().train.images[:, :9], n_validation=10)
    other = gncn.build(gncn.chain((9, 4)), seed=0, n_settle_steps=2)
    with pytest.raises(RunError, match="other columns"):
        gncn.fit(other, images, gncn.TrainingConfig(n_epochs=1), callbacks=logger)


@pytest.mark.slow
def test_the_trainings_of_a_choice_are_all_in_one_log_after_a_kill(tmp_path):
    config = gncn.Config(
        model="gvae-cv",
        training={"n_epochs": 2, "batch_size": 20},
        backprop={"budget": 500, "n_latent": 3, "variance": (0.1, 0.5)},
    )

    def run(folder, config, *more, killed=False):
        try:
            train_run(folder, config, data(), callbacks=[*loggers(folder), *more])
        except Killed:
            assert killed

    one = RunFolder.create(tmp_path / "one", config, data(), overwrite=False, log=["csv"])
    run(one, config)
    two = RunFolder.create(tmp_path / "two", config, data(), overwrite=False, log=["csv"])

    class KillsLate(Killer):
        count = 0

        def on_epoch(self, records, networks):
            self.count += 1
            if self.count == 4:
                raise Killed

    run(two, config, KillsLate(), killed=True)
    assert len(rows(two.path / "log.csv")) == 4
    again, same_config = RunFolder.resume(two.path)
    run(again, same_config)
    assert without_seconds(two.path / "log.csv") == without_seconds(one.path / "log.csv")
    assert [row["training"] for row in rows(two.path / "log.csv")] == ["1", "1", "2", "2"]


def events(folder):
    """Tags, steps and values in a folder of events, and the steps from which on some are void."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    found, purged = [], []
    for path in sorted(folder.rglob("*tfevents*"), key=lambda one: one.stat().st_mtime_ns):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (size,) = struct.unpack("<Q", content[at : at + 8])
            event = event_pb2.Event.FromString(content[at + 12 : at + 12 + size])
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
            if event.session_log.status == 1:
                purged.append(event.step)
            at += 16 + size
    return found, purged


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_every_epoch_once(tmp_path):
    pytest.importorskip("tensorboardX")
    folder = tmp_path / "events"
    with pytest.raises(Killed):
        train(tmp_path / "kept", callbacks=[TensorBoardLogger(folder), Killer(3)])
    fit = train(tmp_path / "kept", resume=True, callbacks=TensorBoardLogger(folder))
    found, purged = events(folder)
    assert purged == [3]
    errors = [(step, value) for tag, step, value in found if tag == "validation/error"]
    assert [step for step, _ in errors] == [1, 2, 3, 3, 4]
    assert errors[-1][1] == pytest.approx(fit.history[-1].validation.error)
    with pytest.raises(RunError, match="events of another training"):
        train(callbacks=TensorBoardLogger(folder), n_epochs=1)
    train(callbacks=TensorBoardLogger(folder, overwrite=True), n_epochs=1, seeds=(0, 1))
    tags = {tag for tag, *_ in events(folder)[0]}
    assert {"trial-0/test/sparsity_1", "trial-1/seconds"} <= tags


@pytest.fixture
def tracker(monkeypatch):
    """A stand-in of either tracker that notes its calls."""
    module, calls = ModuleType("tracker"), []
    module.__spec__ = object()
    module.init = lambda **options: calls.append(("init", options))
    module.log = lambda numbers, step: calls.append(("log", step, numbers))
    module.finish = lambda: calls.append(("finish",))
    for name in ("trackio", "wandb"):
        monkeypatch.setitem(sys.modules, name, module)
    return calls


@pytest.mark.parametrize(("package", "named"), [("trackio", "name"), ("wandb", "id")])
def test_trackers_hear_of_every_epoch_and_go_on_with_a_run(tmp_path, tracker, package, named):
    with pytest.raises(Killed):
        train(tmp_path, callbacks=[TrackerLogger(package, "digits", group="a"), Killer(2)])
    train(tmp_path, resume=True, callbacks=TrackerLogger(package, "digits", group="a"))
    (_, first), (_, second) = (call for call in tracker if call[0] == "init")
    assert first["project"] == second["project"] == "digits"
    assert (first["group"], first["resume"], second["resume"]) == ("a", "never", "allow")
    assert first[named] == second[named] != ""
    assert first["config"]["training"][0]["n_epochs"] == EPOCHS
    assert [call[1] for call in tracker if call[0] == "log"] == [1, 2, 2, 3, 4]
    assert tracker[-1] == ("finish",)
    assert {"validation/error", "train/discrepancy", "seconds"} <= tracker[1][2].keys()


@pytest.mark.parametrize(
    ("make", "module", "extra"),
    [
        (lambda: TensorBoardLogger("x"), "tensorboardX", "tensorboard"),
        (lambda: TrackerLogger("wandb"), "wandb", "wandb"),
        (lambda: TrackerLogger("trackio"), "trackio", "trackio"),
    ],
)
def test_an_absent_tracker_is_said_in_one_sentence(monkeypatch, make, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"isn't installed: pip install 'gncn\[{extra}\]'"):
        make()


def test_an_unknown_tracker_is_refused():
    with pytest.raises(
        ConfigError, match="Unknown tracker 'wandbb'. Did you mean 'wandb'[?] Choose one of"
    ):
        TrackerLogger("wandbb")


def small_record(epoch=1, sparsity=(0.5,)):
    one = SplitRecord(error=1.0, discrepancy=-1.0, layer_discrepancy=(), sparsity=sparsity)
    return EpochRecord(
        trial=0, epoch=epoch, error_name="bce", seconds=1.0, train=one, validation=one, test=one
    )


def test_one_log_counts_trainings_and_refuses_other_columns(tmp_path):
    log = FileLogger(tmp_path / "log.csv")
    for epoch in (1, 2):
        log.on_start(Start(1, 1))
        log.on_epoch([small_record(epoch)], [])
    assert [(row["training"], row["epoch"]) for row in rows(log.path)] == [("1", "1"), ("2", "2")]
    with pytest.raises(RunError, match="has other columns than this training gives"):
        log.on_epoch([small_record(3, sparsity=(0.5, 0.5))], [])
    log.path.write_text("others", encoding="utf-8")
    with pytest.raises(RunError, match="was changed by something else"):
        log.on_start(Start(1, 1))
    log.on_start(Start(1, 1, resumed=True))  # `restore` looks at it then


def test_a_tensorboard_that_never_began_ends_without_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr("gncn.training.loggers.needs", lambda *_: None)
    TensorBoardLogger(tmp_path / "events").on_end(Fit((), (), "interrupted", ()))
    assert [*tmp_path.iterdir()] == []


def test_a_run_has_each_of_its_loggers_once(tmp_path, monkeypatch):
    folder = shutil.copytree(FORMATS / "run", tmp_path / "run")
    about = json.loads((folder / "run.json").read_text(encoding="utf-8"))

    def logged(names):
        (folder / "run.json").write_text(json.dumps(about | {"log": names}), encoding="utf-8")
        return loggers(RunFolder.open(folder))

    for place in ("gncn.runs.train.needs", "gncn.training.loggers.needs"):
        monkeypatch.setattr(place, lambda *_: None)
    found = logged(["jsonl", "wandb", "tensorboard", "jsonl", "csv"])
    kinds = [FileLogger, TrackerLogger, TensorBoardLogger, FileLogger]
    assert [type(one) for one in found] == kinds
    assert [found[0].path, found[3].path] == [folder / "log.jsonl", folder / "log.csv"]
    assert found[1].package == "wandb"
    assert found[2].folder == folder / "tensorboard"
    assert logged([]) == []
    with pytest.raises(RunError, match="doesn't say how it is logged: run.json is damaged"):
        logged("csv")

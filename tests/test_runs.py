"""Run folders: what replaces what and when, what strangers may have written, what is kept."""

import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import gncn
from folders import content
from gncn.base.errors import ConfigError, RunError
from gncn.runs import drawing
from gncn.runs import folder as runs
from gncn.runs.folder import RunFolder
from gncn.runs.replacing import (
    ASIDE,
    RESTORING,
    has_checkpoint,
    own_files,
    recover,
    remove_run,
)
from gncn.runs.train import train_run
from gncn.study.compare import compare
from gncn.training.fit import FitDivergenceError
from gncn.training.history import EpochRecord, SplitRecord

CONFIG = gncn.Config(
    data={"name": "digits"},
    network={"sizes": (12, 8)},
    settling={"n_settle_steps": 4},
    training={"n_epochs": 2, "batch_size": 650},
)


@pytest.fixture(scope="module")
def data():
    return CONFIG.data.load()


def changed(**sections):
    values = CONFIG.model_dump()
    return gncn.Config(
        **{k: {**v, **sections.get(k, {})} if k in sections else v for k, v in values.items()}
    )


def train(path, data, config=CONFIG, *, overwrite=False, callbacks=()):
    folder = RunFolder.create(path, config, data, overwrite=overwrite)
    train_run(folder, config, data, callbacks=callbacks)
    return folder


REFUSED = {"training": {"ipc_updates": 3}}
DIVERGING = {"settling": {"step_size": 1e4}}


class Impatient:
    """Presses Ctrl-C, or kills, when training begins."""

    def __init__(self, error):
        self.error = error

    def on_start(self, start):
        raise self.error

    def on_batch(self, number):
        pass

    def on_epoch(self, records, networks):
        pass


@pytest.mark.parametrize("end", ["refused", "diverged", "interrupted"])
def test_a_run_is_replaced_when_the_new_one_has_an_epoch_and_not_before(tmp_path, data, end):
    path = tmp_path / "run"
    train(path, data)
    (path / "metrics-test.json").write_text("{}", encoding="utf-8")
    (path / "notes.txt").write_text("mine", encoding="utf-8")
    before = content(path)
    match end:
        case "refused":
            with pytest.raises(ConfigError, match="ipc_updates must divide"):
                train(path, data, changed(**REFUSED), overwrite=True)
        case "diverged":
            with pytest.raises(FitDivergenceError):
                train(path, data, changed(**DIVERGING), overwrite=True)
        case _:
            begun = RunFolder.create(path, CONFIG, data, overwrite=True)
            assert begun.waits
            assert not begun.has_epochs
            begun.give_up()
    assert content(path) == before
    train(path, data, changed(training={"n_epochs": 1}), overwrite=True)
    assert len(RunFolder.open(path).history) == 1
    assert not (path / "metrics-test.json").exists()
    assert (path / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert not (path / ".replaced").exists()


@pytest.mark.parametrize("linked", ["checkpoints", "trials", "trials/0", "figures"])
def test_a_run_with_linked_folders_is_not_replaced(tmp_path, data, linked):
    path, scratch = tmp_path / "run", tmp_path / "scratch"
    train(path, data)
    (path / linked).rename(scratch)
    (path / linked).symlink_to(scratch)
    before = content(path), content(scratch)
    with pytest.raises(RunError, match=f"{linked} is a link to another folder"):
        train(path, data, changed(training={"n_epochs": 1}), overwrite=True)
    assert (content(path), content(scratch)) == before


@pytest.mark.parametrize("refused", [True, False])
def test_a_kill_in_the_first_epoch_leaves_the_run_that_was_to_be_replaced(tmp_path, data, refused):
    path = tmp_path / "run"
    train(path, data)
    before = content(path)
    RunFolder.create(path, changed(training={"n_epochs": 9}), data, overwrite=True)  # and killed
    with pytest.raises(RunError, match="no trained model of trial 0.*it was to replace lies in"):
        RunFolder.open(path).model()
    if refused:
        with pytest.raises(RunError, match="already holds a run"):
            RunFolder.create(path, CONFIG, data, overwrite=False)
    again = RunFolder.create(path, CONFIG, data, overwrite=True)  # once more, and given up
    again.give_up()
    assert content(path) == before


@pytest.mark.parametrize("n_moved", range(5))
def test_a_kill_while_a_run_is_set_aside_loses_nothing(tmp_path, data, n_moved, monkeypatch):
    path = tmp_path / "run"
    train(path, data)
    before = content(path)
    left = iter([True] * n_moved + [False])
    rename = runs.Path.rename

    def killed(self, target):
        if not next(left):
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(runs.Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            RunFolder.create(path, CONFIG, data, overwrite=True)
    recover(path)
    assert content(path) == before


def test_an_epoch_without_a_checkpoint_does_not_replace_a_run(tmp_path, data):
    """A kill between the two: the new run couldn't go on."""
    path = tmp_path / "run"
    old, before = train(path, data), content(path)
    history, model = old.history, old.model()
    RunFolder.create(path, CONFIG, data, overwrite=True).on_epoch(history, [model])  # and killed
    recover(path)
    assert content(path) == before


def test_a_refused_run_leaves_no_folder(tmp_path, data):
    path = tmp_path / "run"
    with pytest.raises(ConfigError, match="ipc_updates must divide"):
        train(path, data, changed(**REFUSED))
    assert not path.exists()
    with pytest.raises(FitDivergenceError):  # what diverged is worth a look
        train(path, data, changed(**DIVERGING))
    assert RunFolder.open(path).about["status"] == "diverged"


def test_paths_mean_the_same_from_everywhere(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 2, (80, 64)).astype(np.uint8)
    np.save(tmp_path / "own.npy", images)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    config = changed(data={"name": "own.npy"}, training={"n_epochs": 1})
    train(tmp_path / "run", config.data.load(), config)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(RunFolder.open(tmp_path / "run").data().train) == 64
    relative = changed(data={"data_dir": "files"}).with_whole_paths()
    assert relative.data.data_dir == str(tmp_path / "elsewhere" / "files")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "must hold a JSON object"),
        ("{}", "doesn't say which data"),
        ('{"data": {"name": "digits"}}', "doesn't say which data"),
        ("[" * 200_000, "is not JSON"),
        ("{", "is not JSON"),
    ],
)
def test_a_damaged_account_of_a_run_is_refused(tmp_path, data, text, message):
    folder = RunFolder.create(tmp_path / "run", CONFIG, data, overwrite=False)
    (tmp_path / "run" / "run.json").write_text(text, encoding="utf-8")
    for look in (lambda: folder.about, folder.data, lambda: compare([folder.path])):
        with pytest.raises(RunError, match=message):
            look()


@pytest.mark.parametrize(
    ("line", "message"),
    [("", "a line: invalid json"), ("{}", "trial: field required"), ("[" * 200_000, ""), ("7", "")],
)
def test_a_damaged_history_is_refused_in_plain_words(tmp_path, data, line, message):
    folder = train(tmp_path / "run", data, changed(training={"n_epochs": 1}))
    (tmp_path / "run" / "history.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(RunError, match=f"history.jsonl is not a history.*{message}") as error:
        folder.history  # noqa: B018
    assert "pydantic" not in str(error.value)


@pytest.mark.parametrize(
    "metrics",
    [{"probe": [{}]}, {"completion": 5}, {"likelihood": {"mean": "hi"}}, {"trial": []}],
)
def test_damaged_numbers_are_refused(tmp_path, data, metrics):
    folder = train(tmp_path / "run", data, changed(training={"n_epochs": 1}))
    (tmp_path / "run" / "metrics-test.json").write_text(
        json.dumps({"trial": 0} | metrics), encoding="utf-8"
    )
    with pytest.raises(RunError, match=r"can't be (used|read).*gncn evaluate .* --replace"):
        compare([folder.path])


def test_folders_that_are_no_trials_are_overlooked(tmp_path, data):
    folder = train(tmp_path / "run", data, changed(training={"n_epochs": 1}))
    (tmp_path / "run" / "trials" / "0.bak").mkdir()
    with pytest.raises(RunError, match=r"it has trials \[0\]"):
        folder.model(3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_can_only_be_read_is_named(tmp_path, data):
    folder = train(tmp_path / "run", data, changed(training={"n_epochs": 1}))
    folder.path.chmod(0o555)
    with pytest.raises(RunError, match="Can't make the folder"):
        folder.figure("x")
    with pytest.raises(RunError, match="Can't make the folder"):
        RunFolder.create(folder.path, CONFIG, data, overwrite=True)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, data, monkeypatch):
    folder = train(tmp_path / "run", data, changed(training={"n_epochs": 1}))

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(runs.Path, "mkdir", refused)
    with pytest.raises(RunError, match="Can't make the folder .*figures: Permission denied"):
        folder.figure("x")
    with pytest.raises(RunError, match="Can't make the folder .*: Permission denied"):
        RunFolder.create(folder.path, CONFIG, data, overwrite=True)


@pytest.mark.slow
def test_a_killed_run_is_compared_by_the_epoch_that_it_holds(tmp_path, data):
    """With patience the model kept is the best one, which need not be the last."""

    class KilledError(Exception):
        pass

    class Killer(Impatient):
        def on_start(self, start):
            self.kept = []

        def on_epoch(self, records, networks):
            self.kept.append(records[0].kept)
            if len(self.kept) > 2 and not self.kept[-1]:
                raise KilledError

    config = changed(
        training={"n_epochs": 60, "patience": 20, "learning_rate": 0.02, "batch_size": 100}
    )
    folder = RunFolder.create(tmp_path / "run", config, data, overwrite=False)
    models = config.models(data)
    callbacks = [folder, Killer(None)]
    with pytest.raises(KilledError):
        gncn.fit(models, data, config.training, seeds=config.seeds, callbacks=callbacks)
    history = folder.history
    best = min(history, key=lambda record: record.validation.error)
    assert best.epoch < history[-1].epoch
    assert [r.epoch for r in history if r.kept][-1] == best.epoch
    assert "epochs_kept" not in folder.about
    (row,) = compare([folder.path], split="validation").rows
    assert row.values["bce"].mean == best.validation.error


def test_what_a_killed_process_left_of_a_model_is_cleared_away(tmp_path, data):
    folder = train(tmp_path / "run", data, changed(training={"n_epochs": 1}))
    left = folder.path / "trials" / "0" / ".gncn-0123456789abcdef"
    left.write_text("half a file", encoding="utf-8")
    mine = left.parent / "model-00001-of-00002.safetensors"
    named = left.parent / f"model-{'0' * 12}.safetensors"  # as if the library had written it
    for path in (mine, named):
        path.write_text("precious", encoding="utf-8")
    gncn.save(folder.model(), left.parent)
    assert not left.exists()
    assert mine.read_text(encoding="utf-8") == named.read_text(encoding="utf-8") == "precious"


def test_a_checkpoint_that_is_being_written_is_none(tmp_path):
    half = tmp_path / "checkpoints" / ".gncn-0123456789abcdef"
    half.mkdir(parents=True)
    (half / "state.json").touch()
    assert not has_checkpoint(tmp_path)
    half.rename(tmp_path / "checkpoints" / "000001")
    assert has_checkpoint(tmp_path)


def test_a_file_is_no_folder_for_a_run(tmp_path, data):
    (tmp_path / "run").write_bytes(b"mine")
    with pytest.raises(RunError, match="run is a file; choose a folder for the run"):
        RunFolder.create(tmp_path / "run", CONFIG, data, overwrite=True)
    assert (tmp_path / "run").read_bytes() == b"mine"


@pytest.mark.parametrize("replaces", [False, True])
def test_a_run_that_cannot_begin_leaves_what_was_there(tmp_path, data, monkeypatch, replaces):
    path = tmp_path / "run"
    before = content(train(path, data).path) if replaces else None

    def full(file, _):
        raise RunError(f"Can't write {file}: No space left on device.")

    monkeypatch.setattr(runs, "write_atomic", full)
    with pytest.raises(RunError, match="No space left"):
        RunFolder.create(path, CONFIG, data, overwrite=replaces)
    assert (content(path) if replaces else path.exists()) == (before if replaces else False)


def test_a_run_goes_on_with_what_may_change_from_what_it_holds(tmp_path, data):
    path = tmp_path / "run"
    RunFolder.create(path, CONFIG, data, overwrite=False)  # and killed
    folder, config = RunFolder.resume(path, ["training.n_epochs=3"])
    assert (folder.epoch, config.training.n_epochs) == (0, 3)
    assert RunFolder.open(path).config.training.n_epochs == 3
    with pytest.raises(ConfigError, match=r"may change .*; received training\.batch_size=9"):
        RunFolder.resume(path, ["training.batch_size=9"])
    assert RunFolder.open(path).config.training.batch_size == 650


def test_a_run_without_checkpoints_is_not_begun_again_over_its_networks(tmp_path, data):
    folder = RunFolder.create(tmp_path / "run", CONFIG, data, overwrite=False)
    fit = gncn.fit(CONFIG.models(data)[0], data, CONFIG.training, callbacks=[folder])
    before = content(folder.path)
    assert [record.epoch for record in fit.history] == [1, 2]
    with pytest.raises(RunError, match="holds no checkpoint to go on from"):
        RunFolder.resume(folder.path)
    assert content(folder.path) == before


def test_a_history_without_epochs_is_damaged(tmp_path, data):
    folder = RunFolder.create(tmp_path / "run", CONFIG, data, overwrite=False)
    (folder.path / "history.jsonl").write_bytes(b"")
    with pytest.raises(RunError, match="history.jsonl holds no epoch: it is damaged"):
        folder.history  # noqa: B018


def test_data_that_have_changed_since_the_run_are_refused(tmp_path):
    images = np.random.default_rng(0).integers(0, 2, (80, 64)).astype(np.uint8)
    np.save(tmp_path / "own.npy", images)
    config = changed(data={"name": str(tmp_path / "own.npy")})
    folder = RunFolder.create(tmp_path / "run", config, config.data.load(), overwrite=False)
    assert folder.data().fingerprint == config.data.load().fingerprint
    np.save(tmp_path / "own.npy", 1 - images)
    with pytest.raises(RunError, match="have changed since the run: fingerprint"):
        folder.data()


def test_what_is_interrupted_after_its_end_has_ended(tmp_path, data):
    folder = train(tmp_path / "run", data)
    before = content(folder.path)
    assert folder.interrupt() == (
        f"{folder.path} holds the networks as they were after epoch 2. Go on with "
        f"`gncn train --resume {folder.path}`."
    )
    assert content(folder.path) == before


def test_a_training_that_was_chosen_replaces_the_one_that_the_folder_holds(tmp_path, data):
    folder = train(tmp_path / "run", data)
    config = changed(training={"n_epochs": 1, "batch_size": 325})
    fit = gncn.fit(config.models(data)[0], data, config.training)
    folder.keep(config, fit, tried={"0.5": 1.0})
    again = RunFolder.open(folder.path)
    assert again.config == config
    assert again.history == list(fit.history)
    assert again.about["epochs_kept"] == list(fit.epochs_kept)
    assert again.about["tried"] == {"0.5": 1.0}
    for mine, theirs in zip(
        jax.tree.leaves(again.model()), jax.tree.leaves(fit.networks[0]), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("n_moved", [0, 1, 4])
def test_a_kill_while_a_run_is_put_back_loses_nothing(tmp_path, data, n_moved):
    path = tmp_path / "run"
    before = content(train(path, data).path)
    RunFolder.create(path, CONFIG, data, overwrite=True)
    remove_run(path)
    (path / ASIDE).rename(path / RESTORING)
    for relative in list(own_files(path / RESTORING))[:n_moved]:
        (path / relative).parent.mkdir(parents=True, exist_ok=True)
        (path / RESTORING / relative).rename(path / relative)
    recover(path)
    assert content(path) == before


@pytest.mark.parametrize("folder", ["trials/0", "figures", "."])
def test_a_kill_while_a_file_is_written_leaves_nothing_among_the_run_put_back(
    tmp_path, data, folder
):
    path = tmp_path / "run"
    before = content(train(path, data).path)
    RunFolder.create(path, CONFIG, data, overwrite=True)
    (path / folder).mkdir(parents=True, exist_ok=True)
    (path / folder / f".gncn-{'0' * 16}").write_bytes(b"half a mod")
    (path / folder / ".gncn-of-a-user").write_bytes(b"kept")
    recover(path)
    kept = (Path(folder) / ".gncn-of-a-user").as_posix()
    assert content(path) == before | {kept: b"kept"}


def test_a_run_that_is_interrupted_in_its_first_epoch_leaves_what_was_there(tmp_path, data):
    path = tmp_path / "run"
    said = RunFolder.create(path, CONFIG, data, overwrite=False).interrupt()
    assert said == "the first epoch had not ended, so there is nothing to keep."
    assert not path.exists()
    before = content(train(path, data).path)
    said = RunFolder.create(path, CONFIG, data, overwrite=True).interrupt()
    assert said.endswith(f"nothing to keep. The run that {path} held is back.")
    assert content(path) == before
    within = tmp_path / "within"
    made = RunFolder.create(within, CONFIG, data, overwrite=False)
    (within / "checkpoints" / "000001").mkdir(parents=True)
    (within / "checkpoints" / "000001" / "state.json").touch()
    said = made.interrupt()
    assert "a checkpoint within the first epoch" in said
    assert f"`gncn train --resume {within}`" in said


@pytest.mark.parametrize("link", ["tensorboard/a/b", "figures"])
def test_what_a_link_leads_to_is_left_alone(tmp_path, data, link):
    path, foreign = tmp_path / "run", tmp_path / "foreign"
    train(path, data)
    (foreign / "deeper").mkdir(parents=True)
    for folder in (foreign, foreign / "deeper"):
        (folder / f".gncn-{'0' * 16}").write_bytes(b"somebody else's")
    shutil.rmtree(path / "figures", ignore_errors=True)
    (path / link).parent.mkdir(parents=True, exist_ok=True)
    (path / link).symlink_to(foreign)
    before = content(foreign)
    remove_run(path)
    assert content(foreign) == before
    assert (path / link).is_symlink()


def test_a_classifiers_weights_are_what_its_units_look_for(tmp_path, data, monkeypatch):
    config = gncn.Config(model="dsrn", data={"name": "digits"}, backprop={"budget": 3000})
    made = RunFolder.create(tmp_path / "run", config, data, overwrite=False)
    one = SplitRecord(error=1.0, discrepancy=-1.0, layer_discrepancy=(), sparsity=())
    record = EpochRecord(
        trial=0,
        epoch=1,
        error_name="error_percent",
        seconds=1.0,
        train=one,
        validation=one,
        test=one,
    )
    made.on_epoch([record], config.models(data))
    drawn = {}

    def keep(path, *given):
        drawn[path.stem] = given
        return path

    for name in ("draw_weights", "draw_learning_curve"):
        monkeypatch.setattr(drawing, name, keep)
    paths = drawing.draw_run(made, data)
    assert paths == [made.figure("learning-curve"), made.figure("weights")]
    weights, shape, _, what = drawn["weights"]
    np.testing.assert_array_equal(weights, made.model().network.weights[0])
    assert (shape, what) == ((8, 8), "hidden units of the first layer looks for")

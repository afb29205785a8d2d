"""Any file of a run, study or search, harmed in any way: a sentence, and nothing sound is lost."""

import random
import shutil

import numpy as np
import pytest
from tests.golden.stored import FORMATS

from folders import content
from gncn.runs.folder import RunFolder
from gncn.training.history import read_history
from test_cli import run

TINY = ["--preset=digits", "--set=network.sizes=[6,4]", "--set=network.group_size=2"]
TINY += ["--set=network.max_norm=[4.0,1.0]", "--epochs=2"]


def _folder(path):
    path.unlink()
    path.mkdir()
    (path / "mine").write_text("mine", encoding="utf-8")


def _loop(path):
    path.unlink()
    path.symlink_to(path.name)


HARMS = {
    "emptied": lambda path: path.write_bytes(b""),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a line less": lambda path: path.write_bytes(b"".join(path.read_bytes().splitlines(True)[:-1])),
    "random": lambda path: path.write_bytes(random.Random(0).randbytes(300)),
    "folder": _folder,
    "loop": _loop,
    "gone": lambda path: path.unlink(),
}

MADE_AGAIN = {"run.json", "config.toml", "history.jsonl", "study.json", "metrics-test.json"}
MADE_AGAIN |= {"per-image-test.safetensors", "pictures-test.safetensors"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert run("train", *TINY, "--out", folder).returncode == 0
    done = run("evaluate", folder, "--split", "test", "--only", "sparsity")
    assert done.returncode == 0
    return folder


def names(folder):
    return [name for name in content(folder) if not name.endswith(("numbers.json", "lock.json"))]


def use(folder, harmed, *command):
    """Use a command; whether it worked. If not, it says a sentence and nothing sound is changed."""
    before = content(folder, locks=False)
    done = run(*command)
    assert done.returncode in (0, 2), done
    if done.returncode == 2:
        assert done.stderr.partition("Error: ")[2], done
        after = content(folder, locks=False)
        changed = {n for n, c in after.items() if not c.startswith(before.get(n, b""))}
        changed |= before.keys() - after.keys()
        assert changed <= {harmed, *MADE_AGAIN}, done
    return done.returncode == 0


def weights(folder):
    return [np.asarray(c.forward) for c in RunFolder.open(folder).model(0).connections]


def check_run(trained, folder, name, harm, monkeypatch):
    if not name.startswith("figures/"):  # drawing takes most of the time
        monkeypatch.setattr("gncn.runs.drawing.draw_run", lambda *_: [])
    shutil.copytree(trained, folder, symlinks=True)
    HARMS[harm](folder / name)
    use(folder, name, "compare", folder)
    use(folder, name, "evaluate", folder, "--split", "test", "--only", "sparsity")
    if use(folder, name, "train", "--resume", folder):
        for old, new in zip(weights(trained), weights(folder), strict=True):
            np.testing.assert_array_equal(old, new)
        found = read_history(folder / "history.jsonl")
        assert [one.epoch for one in found] == [1, 2]
        assert found[0] == read_history(trained / "history.jsonl")[0]
    elif harm not in ("folder", "loop"):  # which are a person's to remove
        assert name in ("config.toml", "run.json"), (name, harm)
    if harm == "folder":
        assert (folder / name / "mine").read_text(encoding="utf-8") == "mine"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("history.jsonl", "a line less"),
        ("checkpoints/000002/state.json", "random"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*Training goes on from")
def test_a_training_goes_on_from_what_is_sound(trained, tmp_path, name, harm, monkeypatch):
    check_run(trained, tmp_path / "run", name, harm, monkeypatch)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Training goes on from")
@pytest.mark.parametrize("harm", HARMS)
def test_every_file_of_a_run(trained, tmp_path, harm, monkeypatch):
    for number, name in enumerate(names(trained)):
        check_run(trained, tmp_path / f"run-{number}", name, harm, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [False, True])
def test_a_training_without_checkpoints_is_not_begun_again(trained, tmp_path, damaged):
    folder = shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(folder / "checkpoints")
    if damaged:
        (folder / "history.jsonl").write_bytes(b"")
    before = content(folder, locks=False)
    done = run("train", "--resume", folder, "--epochs", 3)
    assert done.returncode == 2
    wanted = "holds no epoch" if damaged else "holds no checkpoint to go on from"
    assert wanted in " ".join(done.stderr.split())
    assert content(folder, locks=False) == before


@pytest.mark.parametrize("harm", ["emptied", "halved", "gone"])
def test_a_journal_that_holds_less_than_its_summary_is_refused(tmp_path, harm):
    folder = shutil.copytree(FORMATS / "search", tmp_path / "search")
    HARMS[harm](folder / "digits-gncn.journal")
    before = (folder / "digits-gncn.json").read_bytes()
    done = run("tune", folder / "search.toml", "--out", folder)
    assert done.returncode == 2
    assert "of the 3 trials" in " ".join(done.stderr.split())
    assert (folder / "digits-gncn.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARMS)
def test_every_file_of_a_study_and_of_a_search(tmp_path, harm):
    study, search = (shutil.copytree(FORMATS / n, tmp_path / n) for n in ("record-2", "search"))
    records = "digits/gncn-0.json"
    do = {
        study: [["reproduce", "study.toml", "--out", "."], ["report", "."]],
        search: [["tune", "search.toml", "--out", "."]],
    }
    for folder, commands in do.items():
        for command in commands:
            assert use(folder, "", *_in(folder, command))
        for number, name in enumerate(names(folder)):
            copy = shutil.copytree(folder, tmp_path / f"{folder.name}-{number}", symlinks=True)
            HARMS[harm](copy / name)
            use(copy, name, *_in(copy, ["reproduce", "study.toml", "--out", ".", "--list"]))
            for command in commands:
                if (name, harm, command[0]) != (records, "gone", "reproduce"):  # it's done again
                    worked = use(copy, name, *_in(copy, command))
                    assert name != records or not worked or harm == "gone", harm
            if harm == "folder":
                assert (copy / name / "mine").exists()


def _in(folder, command):
    return [
        folder / part if part in (".", "study.toml", "search.toml") else part for part in command
    ]

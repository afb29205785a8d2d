"""Places that can't be read or written: one sentence and exit status 2, never a traceback."""

import contextlib
import ctypes
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import gncn
from budget import later
from gncn.base.errors import GncnError
from gncn.figures.network import draw_weights
from test_cli import run

_BOTH = 0b110
"""The bits of CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, by which root ignores permissions."""


class _Head(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Part(ctypes.Structure):
    _fields_ = tuple((n, ctypes.c_uint32) for n in ("effective", "permitted", "inheritable"))


@pytest.fixture
def permissions():
    """Permissions count in this thread, for root, too."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs Linux")
    system, head, parts = ctypes.CDLL(None), _Head(0x20080522, 0), (_Part * 2)()
    assert system.capget(ctypes.byref(head), parts) == 0
    before = parts[0].effective
    parts[0].effective = before & ~_BOTH
    assert system.capset(ctypes.byref(head), parts) == 0
    yield
    parts[0].effective = before
    assert system.capset(ctypes.byref(head), parts) == 0


PLACES = ["long", "through a file", "loop", "read-only", "of nobody"]
PLACES += map(later, ["long within", "deep", "within a loop", "closed"])


@pytest.fixture(params=PLACES)
def bad(request, tmp_path, permissions):
    """A path at which nothing can be made or read."""
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, mode in (("read-only", 0o555), ("closed", 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    yield {
        "long": tmp_path / ("x" * 300),
        "long within": tmp_path / ("x" * 300) / "y",
        "deep": Path(f"{tmp_path}{'/y' * 2500}"),
        "through a file": tmp_path / "file" / "x",
        "loop": tmp_path / "loop",
        "within a loop": tmp_path / "loop" / "x",
        "read-only": tmp_path / "read-only" / "x",
        "closed": tmp_path / "closed" / "x",
        "of nobody": Path("~there-is-no-such-user/x"),
    }[request.param]
    with contextlib.suppress(OSError):
        (tmp_path / "closed").chmod(0o755)


COMMANDS = [
    ["train", "--preset", "digits", "--out", "{}"],
    ["train", "--resume", "{}"],
    ["train", "--config", "{}", "--out", "unused"],
    ["train", "--data", "{}.npy", "--out", "unused"],
    ["train", "--preset", "mnist", "--data-dir", "{}", "--out", "unused"],
    ["reconstruct", "{}"],
    ["settle", "{}"],
    ["evaluate", "{}"],
    ["compare", "{}"],
    ["report", "{}"],
    ["reproduce", "{}.toml"],
    ["reproduce", "tiny", "--out", "{}"],
    ["tune", "{}.toml"],
    ["tune", "tiny", "--out", "{}"],
    ["data", "list", "--data-dir", "{}"],
    ["data", "verify", "fashion-mnist", "--data-dir", "{}"],
]


def test_commands_refuse_places_that_cannot_be_used(bad, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        done = run(*(part.format(bad) for part in command))
        assert (done.returncode, done.stdout) == (2, ""), (command, done)
        assert done.stderr.startswith("Error: "), (command, done)
    assert not (tmp_path / "unused").exists()


def test_python_refuses_places_that_cannot_be_used(bad):
    network = gncn.build(gncn.chain((64, 8)), seed=0, n_settle_steps=2)
    data, plan = gncn.load_dataset("digits"), gncn.TrainingConfig(n_epochs=1)
    weights = np.ones((64, 4), np.float32)
    for use in (
        lambda: gncn.save(network, bad),
        lambda: gncn.load(bad),
        lambda: gncn.data.load_file(f"{bad}.npy"),
        lambda: gncn.data.load_file(f"{bad}.npy", stream=True),
        lambda: gncn.load_dataset("fashion-mnist", data_dir=bad),
        lambda: gncn.fit(network, data, plan, seeds=0, resume_from=bad),
        lambda: draw_weights(bad / "x.png", weights, (8, 8), 4),
    ):
        with pytest.raises(GncnError):
            use()


def test_a_home_folder_is_found_in_one_place(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    network = gncn.build(gncn.chain((64, 8)), seed=0, n_settle_steps=2)
    assert gncn.save(network, "~/x") == tmp_path / "x" / "model.json"
    gncn.load("~/x")


def test_a_working_folder_that_is_gone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    os.chdir("gone")
    (tmp_path / "gone").rmdir()
    assert run("data", "list").returncode == 0
    done = run("reconstruct", "runs/x")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")

"""Files: what is flushed and renamed in which order, and what is left where that fails."""

import errno
import os
import sys

import pytest

from faults import Killed, faults
from gncn.base import files
from gncn.base.errors import RunError
from gncn.base.files import UNFINISHED, read_bytes, read_json, sweep, write_atomic


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for names of files")
def test_content_is_on_disk_before_it_has_its_name_and_the_name_before_it_is_done(tmp_path):
    with faults(tmp_path) as now:
        write_atomic(tmp_path / "file", "new")
    done = [(what, "temporary" if UNFINISHED in name else name) for what, name in now.calls]
    assert done == [
        ("open", "temporary"),
        ("write", "temporary"),
        ("fsync", "temporary"),
        ("os.rename", "temporary"),
        ("open", tmp_path.name),
        ("fsync", tmp_path.name),
    ]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), Killed()])
def test_a_write_that_fails_leaves_the_old_content_alone(tmp_path, monkeypatch, error):
    def fails(_):
        raise error

    path = tmp_path / "file"
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises((RunError, Killed)):
        write_atomic(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_can_not_be_removed_hides_no_error(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.Path, "replace", fails)
    monkeypatch.setattr(files.Path, "unlink", fails)
    with pytest.raises(RunError, match="Can't write .*Input/output error"):
        write_atomic(tmp_path / "file", "new")


def test_only_what_this_library_left_unfinished_is_removed(tmp_path):
    left = tmp_path / f"{UNFINISHED}0123456789abcdef"
    left.mkdir()
    (left / "file").touch()
    (tmp_path / f"{UNFINISHED}fedcba9876543210").touch()
    mine = tmp_path / f"{UNFINISHED}notes"
    mine.touch()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [mine]


def test_windows_flushes_no_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "os", type("Windows", (), {"name": "nt"}))
    files.sync(tmp_path / "absent")


def test_sizes_and_growth_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    with pytest.raises(RunError, match="larger than 4 bytes"):
        read_bytes(path, 4)
    stat = os.fstat

    def smaller(number):  # it grows after its size was asked for
        return os.stat_result((*stat(number)[:6], 3, *stat(number)[7:10]))

    monkeypatch.setattr(os, "fstat", smaller)
    with pytest.raises(RunError, match="grows while it is read"):
        read_bytes(path, 9)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "must hold a JSON object"),
        ("[" * 100_000, "nested deeper"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "nested deeper"),
        ('{"a": 36893488147419103232}', "more than 64 bits"),
        ('{"a": [1, 2, 3, 4]}', "more than 5 values"),
    ],
)
def test_json_that_is_too_much_is_refused(tmp_path, content, message):
    path = tmp_path / "file.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match=message):
        read_json(path, max_values=5 if "values" in message else 200_000)


def test_a_name_that_names_can_not_have_is_told(tmp_path):
    with pytest.raises(RunError, match="Can't read .*null"):
        read_bytes(tmp_path / "a\0b", 9)


def test_json_says_everything_once(tmp_path):
    (tmp_path / "model.json").write_text('{"layers": [{"size": 13, "size": 12}]}', encoding="utf-8")
    with pytest.raises(RunError, match="says 'size' twice"):
        read_json(tmp_path / "model.json")


def test_what_is_no_path_is_named(unchecked):
    with pytest.raises(RunError, match="Can't use the path 7: a path is text"):
        files.place(7)

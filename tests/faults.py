"""Faults at the k-th system call that concerns a folder: an error, or the death of the process.

`Faults` counts what is asked of the system for files in a folder: to open them, to write to them or
flush them, to make, rename and remove them.  Python's audit events tell of most; writes and flushes
have none, so `write` and `os.fsync` are replaced.  A write that fails has written half.

A dead process does nothing more, so after `Killed` every later call fails in the same way, and no
`finally` or `except OSError` can tidy up.
"""

import builtins
import errno
import io
import os
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "open"}
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


class Killed(BaseException):
    """Stands for the death of the process."""


class Faults:
    """The calls that concern a folder, and which of them is to fail.

    Attributes:
        folder: calls on it and what is in it count.
        at: number of the call that fails, from 0; none if None.
        fault: an error number, or `Killed`.
        calls: the calls so far: what was asked for, and the file's name.
    """

    def __init__(self, folder, at=None, fault=Killed):
        self.folder, self.at, self.fault = str(Path(folder).resolve()), at, fault
        self.calls, self.thread = [], threading.get_ident()

    @property
    def dead(self):
        return self.fault is Killed and self.at is not None and len(self.calls) > self.at

    @property
    def struck(self):
        """Whether there was such a call."""
        return self.at is not None and len(self.calls) > self.at

    def concerns(self, path):
        return isinstance(path, str | bytes | os.PathLike) and os.path.realpath(
            os.fsdecode(path)
        ).startswith(self.folder)

    def asked(self, what, path, before=lambda: None):
        """Count a call, or let it fail; `before` is what it does all the same."""
        # Threads of earlier tests live on, such as one that writes events for TensorBoard.
        if threading.get_ident() != self.thread:
            return
        if self.dead:
            raise Killed
        if not self.concerns(path):
            return
        self.calls.append((what, Path(os.fsdecode(path)).name))
        if len(self.calls) - 1 == self.at:
            before()
            if self.fault is Killed:
                raise Killed
            raise OSError(self.fault, os.strerror(self.fault), os.fsdecode(path))


class _Writing:
    """A file open for writing whose writes and flushes count."""

    def __init__(self, file, faults, path):
        self._file, self._faults, self._path = file, faults, path

    def write(self, content):
        half = content[: len(content) // 2]
        self._faults.asked(
            "write", self._path, lambda: (self._file.write(half), self._file.flush())
        )
        return self._file.write(content)

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __iter__(self):
        return iter(self._file)


_now = None
"""The faults in force."""


def _heard(event, arguments):
    if _now is None or event not in CHANGES or not arguments or isinstance(arguments[0], int):
        return
    _now.asked(event, arguments[0])


@contextmanager
def faults(folder, at=None, fault=Killed):
    """Let a call in the block fail; yields a `Faults`, whose `calls` tell of what was asked."""
    global _now
    if not _hooked:
        sys.addaudithook(_heard)  # which can't be taken away
        _hooked.append(True)
    now, opened, flushed = Faults(folder, at, fault), io.open, os.fsync

    def open_(path, mode="r", *arguments, **options):
        file = opened(path, mode, *arguments, **options)
        if set(mode) & set("wxa+") and now.concerns(path):
            return _Writing(file, now, path)
        return file

    def fsync(number):
        now.asked("fsync", os.path.realpath(f"/proc/self/fd/{number}"))
        flushed(number)

    _now = now
    io.open = builtins.open = open_
    os.fsync = fsync
    try:
        yield now
    finally:
        io.open = builtins.open = opened
        os.fsync = flushed
        _now = None


_hooked = []


def n_calls(folder, act):
    """The calls of an act that succeeds."""
    with faults(folder) as counted:
        act()
    return len(counted.calls)


def kinds(calls):
    """How often each kind of call occurs."""
    return Counter(what for what, _ in calls)

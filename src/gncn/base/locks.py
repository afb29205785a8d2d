"""Locks: one process at a time writes to a folder."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from gncn.base.errors import InUseError, RunError
from gncn.base.files import explained, make_folder, read_json, sweep, write_atomic

LOCK, OWNER = ".lock", ".lock.json"
"""The file that is locked, which stays, and the one that says who holds it."""

_A_MOMENT = 0.2
"""Seconds for which a lock is tried: `in_use` may hold it for as long as a look takes."""


@contextmanager
def alone(folder: Path, doing: str, *, wait: bool = False) -> Iterator[None]:
    """Do the block while no other process, thread or host does one on the folder.

    The system drops the lock when this process ends, however it does.  The folder is made if
    need be, and what killed processes left half written in it is removed.

    Args:
        folder: what is written to.
        doing: what the block does, such as "training", for the message of a refusal.
        wait: wait for the other one to end, in place of refusing.

    Raises:
        InUseError: another holds the lock; says which process on which host.
        RunError: the folder can't be written.
    """
    make_folder(folder)
    # The system's lock and not a file that exists: it is gone with the process, however that ends.
    lock = FileLock(folder / LOCK, timeout=-1 if wait else _A_MOMENT)
    with explained(f"Can't lock the folder {folder}"):
        try:
            lock.acquire()
        except Timeout:
            raise InUseError(
                f"{folder} is in use: {holder(folder)}. Wait for it to end, or choose another "
                "folder."
            ) from None
    try:
        owner = {"doing": doing, "pid": os.getpid(), "host": socket.gethostname()}
        write_atomic(folder / OWNER, json.dumps(owner) + "\n")
        # Safe only under the lock: nobody else's file can be in the making.
        sweep(folder)
        yield
    finally:
        # Before the lock is released, or it could be the next owner's file.
        with suppress(OSError):
            (folder / OWNER).unlink(missing_ok=True)
        lock.release()


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but its lock."""
    return all(path.name in (LOCK, OWNER) for path in folder.iterdir())


def in_use(folder: Path) -> bool:
    """Whether a process holds the lock of a folder now."""
    if not (folder / LOCK).exists():
        return False
    try:
        # The owner's file may be a killed process's, but the system's lock is gone with it.
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # nothing can be locked there, as in another user's folder
        return (folder / OWNER).exists()


def holder(folder: Path) -> str:
    """Who holds the lock of a folder, in words."""
    try:
        owner = read_json(folder / OWNER)
    except RunError:  # it has just taken the lock, or is about to release it
        return "another process has just begun or ended something there"
    return f"{owner.get('doing')} by process {owner.get('pid')} on {owner.get('host')}"

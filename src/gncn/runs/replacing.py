"""How one run replaces another in its folder, such that a kill at any moment loses neither.

The old run waits in ``.replaced/`` until the new one has finished an epoch.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

CONFIG, RUN, HISTORY = "config.toml", "run.json", "history.jsonl"
REPLACED, MOVING = ".replaced", ".replaced.moving"
"""Where the old run waits, and where its files are collected before."""


def set_aside(path: Path) -> None:
    """Move the run that a folder holds aside.  If it is killed midway, the next call finishes."""
    aside, moving = path / REPLACED, path / MOVING
    if aside.is_dir():  # the run that was to replace it was killed in its first epoch
        _remove(_entries(path))
        return
    moving.mkdir(exist_ok=True)
    for entry in _entries(path):
        entry.rename(moving / entry.name)
    moving.rename(aside)


def put_back(path: Path) -> None:
    """Remove the new run and put the old one back; an empty folder is removed, too."""
    aside = path / REPLACED
    _remove(_entries(path))
    if aside.is_dir():
        for entry in aside.iterdir():
            entry.rename(path / entry.name)
        aside.rmdir()
    if not any(path.iterdir()):
        path.rmdir()


def _entries(path: Path) -> list[Path]:
    """The files of a run in its folder.

    The configuration, by which a run folder is recognised, is the last.
    """
    names = [RUN, HISTORY, "trials", "figures", CONFIG]
    kinds = ("metrics-*.json", "per-image-*.safetensors", "pictures-*.safetensors")
    measured = [found for kind in kinds for found in path.glob(kind)]
    return [*measured, *(path / name for name in names if (path / name).exists())]


def _remove(entries: Sequence[Path]) -> None:
    for entry in entries:
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()

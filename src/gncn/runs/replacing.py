"""One run replaces another in its folder, such that a kill at any moment loses neither.

The old run's files move to ``.replaced``.  They are removed when the new run can go on from a
checkpoint, or has ended; until then they can be put back.  Only files that a run writes are ever
moved or removed.

=======================  ===========================================================
folder                   what a kill left there
=======================  ===========================================================
``.replaced.moving``     a part of the old run; the new one had not begun
``.replaced``            the old run; `is_whole` tells whether the new one can take its place
``.replaced.restoring``  a part of the old run; the new one's files are gone
=======================  ===========================================================
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from gncn.base.errors import RunError
from gncn.base.files import explained, place, read_json, sweep, sync
from gncn.training.history import HISTORY

ASIDE, MOVING, RESTORING = ".replaced", ".replaced.moving", ".replaced.restoring"
CHECKPOINTS, RUN = "checkpoints", "run.json"
FOLDERS = ("figures", CHECKPOINTS, "trials", "tensorboard")
_MEASURED = r"(metrics|per-image|pictures)-(train|validation|test)(-\d+)?\.(json|safetensors)"
_MODEL = r"trials/\d+/(model\.json|model-[0-9a-f]{12}\.safetensors|prior\.safetensors|\.lock)"
_OWN = re.compile(
    rf"config\.toml|run\.json|history\.jsonl|{_MEASURED}|{_MODEL}|figures/[^/]+\.png"
    rf"|{CHECKPOINTS}/.+|log\.(csv|jsonl)|tensorboard/.+"
)


def own_files(path: Path) -> Iterator[Path]:
    """The files in a folder that a run wrote, relative to it."""
    for found in sorted(path.rglob("*")):
        relative = found.relative_to(path)
        # A link to a folder counts as a folder, and is left alone.
        if _OWN.fullmatch(relative.as_posix()) and not found.is_dir():
            yield relative


def holds_run(path: Path) -> bool:
    """Whether a folder holds a run, or one that was interrupted while it was replaced."""
    return any((path / name).exists() for name in ("config.toml", ASIDE, MOVING, RESTORING))


def taken(path: Path) -> RunError:
    """The error for a new run in a folder that holds one."""
    return RunError(
        f"{path} already holds a run. Choose another folder with --out, or replace the run with "
        "--overwrite."
    )


def refuse_taken(path: str | Path) -> None:
    """Refuse a folder that holds a run, by a `RunError`, even while another process uses it."""
    with explained(f"Can't read the folder {path}"):
        if holds_run(path := place(path)):
            raise taken(path)


def has_checkpoint(path: Path) -> bool:
    """Whether the training of a folder can go on."""
    return any((path / CHECKPOINTS).rglob("[0-9]*/state.json"))  # not in one under way


def is_whole(path: Path) -> bool:
    """Whether a folder holds a run that has ended, or can go on."""
    # Without an ended epoch there is nothing to take the old run's place.
    if not (path / HISTORY).exists():
        return False
    return has_checkpoint(path) or read_json(path / RUN).get("status") != "running"


def set_aside(path: Path) -> None:
    """Move the run of a folder aside.

    Raises:
        RunError: a part of it is a link to another folder.
    """
    # What an earlier kill left is settled first.
    recover(path)
    links = [one for folder in FOLDERS for one in (path / folder, *(path / folder).glob("*"))]
    if linked := next((one for one in links if one.is_symlink() and one.is_dir()), None):
        raise RunError(
            f"{linked} is a link to another folder, and a run replaces only what a run wrote. "
            "Remove the link, or choose another folder."
        )
    _move(path, path / MOVING)
    # The name `.replaced` appears only when all files have moved.
    (path / MOVING).rename(path / ASIDE)
    sync(path)


def put_back(path: Path) -> None:
    """Remove the new run, and put the old one back if there is one."""
    # With `.restoring` there, the new run's files are gone already: a kill came after the rename.
    if not (path / RESTORING).is_dir():
        remove_run(path)
        if not (path / ASIDE).is_dir():
            return
        (path / ASIDE).rename(path / RESTORING)
    _move(path / RESTORING, path)
    shutil.rmtree(path / RESTORING)
    sync(path)


def recover(path: Path) -> None:
    """Finish, or undo, what a killed process had begun."""
    if (path / MOVING).is_dir():
        # Moving had not ended, so the old run is still the only one.
        _move(path / MOVING, path)
        shutil.rmtree(path / MOVING)
    if (path / RESTORING).is_dir() or ((path / ASIDE).is_dir() and not is_whole(path)):
        put_back(path)
    elif (path / ASIDE).is_dir():
        shutil.rmtree(path / ASIDE)


def remove_run(path: Path) -> None:
    """Remove a run's files, and folders that are then empty."""
    for relative in own_files(path):
        (path / relative).unlink()
    _remove_empty(path)


def _move(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for relative in own_files(source):
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        (source / relative).rename(target / relative)
    _remove_empty(source)


def _remove_empty(path: Path) -> None:
    sweep(path)  # unfinished files of killed processes belong to no run
    tops = [path / name for name in FOLDERS if not (path / name).is_symlink()]
    below = (found for top in tops for found in (top, *top.rglob("*")))
    # Folders behind links are somebody else's.
    folders = [found for found in below if found.is_dir() and not found.is_symlink()]
    # Deepest first, so that folders are empty when their parents are looked at.
    for folder in sorted(folders, reverse=True):
        sweep(folder)
        if not any(folder.iterdir()):
            folder.rmdir()

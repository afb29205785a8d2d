"""The journal of a search: Optuna's `JournalStorage`, read without trusting it.

A journal is a file of JSON objects, one a line, to which several processes may add.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import optuna
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from gncn.base.errors import RunError, quoted, shortened
from gncn.base.files import explained, make_folder, parse_json, read_bytes
from gncn.study.finals import Final
from gncn.study.record import RUNNING

SECONDS = "seconds"
"""Attribute of all trials that ended by themselves; a killed one has none."""

FINALS = "finals"
"""Attribute of a search: what came of the trials that learned from all images, by number."""

MAX_BYTES, MAX_LINES = 1 << 26, 200_000
"""Of a journal: some 7,000 trials, each with 30 lines; Optuna takes 20 seconds for a million."""
_MAX_VALUES = 10_000
"""Values in a line."""
_BEGINNING = b'{"op_code":'
"""Of every line that Optuna writes."""


class _Outcome(BaseModel):
    """The journal's entry for a trial or final that ended; see `gncn.study.tune`."""

    model_config = ConfigDict(strict=True)
    seconds: float
    why: str = ""
    objective: float | None = None
    values: dict[str, float] = {}
    shortfalls: dict[str, float] = {}


class _Attributes(BaseModel):
    """The journal's entry for a search."""

    model_config = ConfigDict(strict=True)
    search: dict[str, Any] | None = None
    finals: dict[Annotated[str, Field(pattern="^[0-9]{1,9}(-[1-9][0-9]{0,8})?$")], _Outcome] = {}


class _Lock(JournalFileOpenLock):
    """A lock that the system drops when its process ends, unlike Optuna's own."""

    def __init__(self, path: Path) -> None:
        self.file = FileLock(path)

    def acquire(self) -> bool:
        self.file.acquire()
        return True

    def release(self) -> None:
        self.file.release()


def locks_of(path: Path) -> Path:
    """The folder of locks of a journal and of its trials."""
    return path.parent / RUNNING / path.stem


def read_journal(path: Path) -> optuna.Study:
    """The study in a journal, which is begun if it isn't there.

    A line without an end, by a process that was killed, is removed.

    Raises:
        RunError: the journal can't be read or written, or is damaged.
    """
    # Optuna would print a line for every trial.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        locks = locks_of(path)
        make_folder(locks)
        with explained(f"Can't write {path}"):
            lock = _Lock(locks / "journal.lock")
            # No other process may write while the end of the file is looked at.
            with lock.file:
                content = read_bytes(path, MAX_BYTES) if path.exists() else b""
                # A line that ends counts; what follows the last end was being written when its
                # process was killed.
                *lines, begun = content.split(b"\n")
                if len(lines) > MAX_LINES:
                    raise ValueError(f"it has more than {MAX_LINES:,} lines")
                for line in lines:
                    parse_json(line, _MAX_VALUES)
                if begun:
                    # Only the beginning of one of Optuna's lines may be cut off: anything else
                    # isn't ours to remove.
                    if not begun.startswith(_BEGINNING) and not _BEGINNING.startswith(begun):
                        raise ValueError("its last line has no end")
                    os.truncate(path, len(content) - len(begun))
            study = optuna.create_study(
                study_name=path.stem,
                storage=JournalStorage(JournalFileBackend(str(path), lock)),
                load_if_exists=True,
            )
            _check(study)
    except RunError:
        raise
    except Exception as error:  # Optuna checks little, so anything may be raised
        why = shortened(str(error), 300) or type(error).__name__
        raise RunError(
            f"{path} is damaged: {why}. Restore it, or begin a new search with another --out."
        ) from error
    return study


def _check(study: optuna.Study) -> None:
    """Refuse what a search wouldn't write.

    Raises:
        Exception: of several kinds; says what.
    """
    number = TypeAdapter(float, config=ConfigDict(strict=True)).validate_python
    trials, about = study.get_trials(deepcopy=False), _Attributes(**study.user_attrs)
    space = (about.search or {}).get("space", {})
    for trial in trials:
        for name, value in trial.params.items():
            if name not in space:
                raise ValueError(f"trial {trial.number} has the unknown setting {quoted(name)}")
            # An unknown choice raises here, and so does what is no number.
            number(trial.distributions[name].to_internal_repr(value))
        for value in trial.intermediate_values.values():
            number(value)
        if trial.state == TrialState.COMPLETE:
            number(trial.value)
        if SECONDS in trial.user_attrs:
            _Outcome(**trial.user_attrs)
        # Optuna keeps settings that are to be tried next there.
        dict(trial.system_attrs.get("fixed_params", {}))
    if unknown := [n for n in (Final.of(key).number for key in about.finals) if n >= len(trials)]:
        raise ValueError(f"it has no trial {unknown[0]}, and a final of it")

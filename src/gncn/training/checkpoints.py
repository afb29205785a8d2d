"""Checkpoints: all that a training needs to go on after its process was killed.

A checkpoint is a folder whose name is a number, ``000007``.  It holds three files:

``state.safetensors``   the arrays: models, optimisers, random keys, the best models so far, and
                        what an epoch that is under way has seen
``history.jsonl``       the history
``state.json``          the rest: callbacks' states, and what the training must share with the one
                        that goes on

The folder is written under another name, flushed to disk and then renamed, so it is whole or
absent.  The last two are kept.

The order of images needs no place in it: epoch t draws it from the trial's key and t.
"""

import json
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from gncn.base.errors import ConfigError, RunError, check_counts, check_positive
from gncn.base.files import (
    explained,
    jsonable,
    make_folder,
    place,
    read_bytes,
    read_json,
    sha256,
    sweep,
    sync,
    unfinished,
    write_atomic,
)
from gncn.base.interrupts import interrupts_held
from gncn.base.shown import shown
from gncn.base.tensors import named_arrays, pack, parse_tensors, with_arrays
from gncn.data import Dataset
from gncn.training.callbacks import Callbacks
from gncn.training.config import TrainingConfig
from gncn.training.epochs import Partial, Statistics
from gncn.training.history import HISTORY, MAX_BYTES, history_lines, parse_history
from gncn.training.progress import Progress

FORMAT = "gncn-checkpoint-3"
STATE, ABOUT = "state.safetensors", "state.json"
MAX_STATE_BYTES = 1 << 26
"""Bytes of a file of arrays in addition to four times the size of models and optimiser."""
KEPT = 2
"""Checkpoints that are kept: the last, and one more in case the disk harms the last."""
MAY_CHANGE = frozenset({"n_epochs", "evaluation_batch_size"})
"""Options of training that may differ when a training goes on."""
PACKAGES = ("gncn", "jax", "jaxlib", "equinox", "optax", "numpy")
"""Packages that numbers may depend on."""


@dataclass(frozen=True)
class Checkpoints:
    """Where checkpoints are kept, and how often: after every epoch, and within it if asked to.

    Attributes:
        folder: holds nothing else; made if need be.
        every_batches: mini-batches after which a further checkpoint is written.
        every_seconds: the same in seconds; it waits for the chunk of mini-batches under way.
    """

    folder: str | Path
    every_batches: int | None = None
    every_seconds: float | int | None = None

    def __post_init__(self) -> None:
        if self.every_batches is not None:
            check_counts(every_batches=self.every_batches)
        if self.every_seconds is not None:
            check_positive(every_seconds=self.every_seconds)

    def of(self, name: str) -> "Checkpoints":
        """The checkpoints of one of several trainings, in a folder of this name."""
        return replace(self, folder=place(self.folder) / name)

    @property
    def found(self) -> list[Path]:
        """The folders of whole checkpoints, the newest first."""
        # Names have the same number of digits, so their order is the order of time.
        return sorted(_numbered(place(self.folder)), reverse=True)


class Keeper:
    """Writes the checkpoints of one training, and reads the one that it goes on from.

    Attributes:
        identity: what must be the same when training goes on, by name.
    """

    def __init__(
        self, where: Checkpoints, identity: Mapping[str, Any], callbacks: Callbacks
    ) -> None:
        self.where, self.folder = where, place(where.folder)
        self.identity = jsonable(identity)
        self._callbacks = callbacks
        # Numbers only ever rise, also over a training that begins again.
        self._next = 1 + max((int(path.name) for path in where.found), default=0)
        self._written, self._batches = time.monotonic(), 0

    def due(self, n_batches: int) -> bool:
        """Whether to write one now that so many mini-batches of the epoch are done."""
        every, seconds = self.where.every_batches, self.where.every_seconds
        if every is not None and n_batches - self._batches >= every:
            return True
        return seconds is not None and time.monotonic() - self._written >= seconds

    @interrupts_held()
    def save(self, progress: Progress, partial: Partial | None = None) -> None:
        """Write a checkpoint, and remove those older than the last two.

        Args:
            progress: after the last whole epoch.
            partial: what the epoch under way has done.

        Raises:
            RunError: it can't be written; older ones are unchanged.
        """
        # All content is made first: what can't be written down raises before anything is on the
        # disk.
        files = {
            STATE: pack(named_arrays(_Kept.of(progress, partial))),
            HISTORY: history_lines(progress.history),
        }
        about = {
            "format": FORMAT,
            "sha256": {name: sha256(content) for name, content in files.items()},
            "identity": self.identity,
            "n_batches": 0 if partial is None else partial.n_batches,
            "stopped": progress.stopped,
            "callbacks": self._callbacks.states(),
        }
        make_folder(self.folder)
        whole, hidden = self.folder / f"{self._next:06}", unfinished(self.folder)
        # Written whole under a hidden name, each file flushed; the rename comes last and makes it
        # count.
        with explained(f"Can't write the checkpoint {whole}", " Older ones are unchanged."):
            try:
                hidden.mkdir()
                for name, content in files.items():
                    write_atomic(hidden / name, content)
                write_atomic(hidden / ABOUT, json.dumps(about) + "\n")
                hidden.rename(whole)
                # The rename itself is safe only when the folder is flushed.
                sync(self.folder)
            finally:
                shutil.rmtree(hidden, ignore_errors=True)
        self._next += 1
        self._written, self._batches = time.monotonic(), about["n_batches"]
        # Older ones go only now, when the new one is on the disk.
        self.remove(keep=KEPT)

    def remove(self, keep: int) -> None:
        """Remove all checkpoints but the newest, and what killed processes left behind."""
        for path in self.where.found[keep:]:
            shutil.rmtree(path, ignore_errors=True)
        sweep(self.folder)

    def begin(self) -> None:
        """Refuse a folder with checkpoints of another training; the same one may begin again.

        Raises:
            ConfigError: it holds some; says how that training differs.
            RunError: it holds some that are damaged.
        """
        for path in self.where.found:
            self._refuse_other(path, _about(path)["identity"])

    def restore(self, start: Progress) -> tuple[Progress, Partial | None, list[Any]]:
        """Progress, the part of an epoch and the callbacks' states in the newest whole checkpoint.

        Args:
            start: progress before the first epoch, of the same models and seeds.

        Raises:
            RunError: there is no checkpoint, or none is whole.
            ConfigError: it is of a training of other models, data, options or versions.
        """
        problems = []
        # A file of arrays much larger than these models is refused before memory is taken for it.
        n_bytes = sum(leaf.nbytes for leaf in named_arrays(_Kept.of(start, None)).values())
        most = 4 * n_bytes + MAX_STATE_BYTES
        # The newest first; a damaged one is passed over if an older one is whole.
        for path in self.where.found:
            try:
                about = _about(path)
                content = {
                    name: _file(path / name, limit, about)
                    for name, limit in ((STATE, most), (HISTORY, MAX_BYTES))
                }
                break
            except RunError as error:
                problems.append(str(error))
        else:
            told = f" {problems[0]}" if problems else ""
            raise RunError(f"{self.folder} holds no checkpoint to go on from.{told}")
        for problem in problems:
            warnings.warn(shown(f"{problem} Training goes on from {path} instead."), stacklevel=2)
        # Only a whole checkpoint can say which training it is of.
        self._refuse_other(path, about["identity"])
        self._callbacks.check_states(about["callbacks"], path)
        arrays = parse_tensors(str(path / STATE), content[STATE])
        progress, partial = _Kept.restored(path, about, arrays, start)
        history = tuple(parse_history(path / HISTORY, content[HISTORY]))
        progress = replace(progress, history=history, stopped=about["stopped"])
        return progress, partial, about["callbacks"]

    def _refuse_other(self, path: Path, then: Any) -> None:
        if then == self.identity:
            return
        changes = list(_differences(then, self.identity))
        if len(changes) > 4:
            changes[4:] = [f"and {len(changes) - 4} more"]
        raise ConfigError(
            f"{path} is of another training ({'; '.join(changes)}). Train with the same data, "
            f"options and versions (only {' and '.join(sorted(MAY_CHANGE))} may change), or begin "
            "again in another folder."
        )


def identify(
    models: Sequence[Any], seeds: Sequence[int], configs: Sequence[TrainingConfig], data: Dataset
) -> dict[str, Any]:
    """Everything, by name, that must be the same when a training goes on.

    Models count by their arrays before training and by the text of all else in them.
    """
    return {
        "data": data.fingerprint,
        "seeds": list(seeds),
        "training": [config.model_dump(exclude=set(MAY_CHANGE)) for config in configs],
        "models": [_digest(model) for model in models],
        **environment(),
    }


def environment() -> dict[str, Any]:
    """Versions and hardware, on which numbers depend apart from data and options."""
    return {
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "device": jax.devices()[0].device_kind,
        "float64": bool(jax.config.read("jax_enable_x64")),
    }


def _digest(model: Any) -> str:
    arrays, rest = eqx.partition(model, eqx.is_array)
    # Functions are shown with their addresses, which differ between processes.
    words = re.sub(r" at 0x[0-9a-f]+", "", repr(rest))
    return sha256(words.encode() + pack(named_arrays(arrays)))


class _Kept(eqx.Module):
    """The arrays of a checkpoint."""

    state: Any
    best: Any
    scores: Any
    worst: Any
    epochs_kept: Any
    seen: Statistics | None

    @staticmethod
    def of(progress: Progress, partial: Partial | None) -> "_Kept":
        state, seen = progress.state, None
        if partial is not None:
            network, learner = partial.carry
            state = replace(state, network=network, learner=learner)
            seen = partial.seen
        # Without early stopping the models to keep are those that learn, unless an epoch is
        # under way.
        best = None if progress.best is state.network else progress.best
        kept = np.asarray(progress.epochs_kept, np.int64)
        return _Kept(state, best, progress.scores, progress.worst, kept, seen)

    @staticmethod
    def restored(
        path: Path, about: dict[str, Any], arrays: dict[str, np.ndarray], start: Progress
    ) -> tuple[Progress, Partial | None]:
        """The inverse of `of`; arrays must have the names and shapes of `start`."""
        n_batches, seen = about["n_batches"], None
        if n_batches:
            found = {name: arrays.get(f"seen.{name}") for name in Statistics._fields}
            if any(found[name] is None for name in found if name != "n_steps"):
                raise RunError(f"{path} lacks what the epoch under way had seen: it is damaged.")
            seen = Statistics(**found)  # pyright: ignore[reportArgumentType] (checked above)
        like = _Kept.of(start, None)
        # `of` leaves the best models out where they are the ones that learn.
        best = start.best if any(name.startswith("best.") for name in arrays) else None
        like = replace(like, best=best, seen=seen)
        kept: _Kept = with_arrays(str(path / STATE), arrays, like)
        progress = replace(
            start,
            state=kept.state,
            best=kept.state.network if kept.best is None else kept.best,
            scores=np.asarray(kept.scores),
            worst=np.asarray(kept.worst),
            epochs_kept=tuple(np.asarray(kept.epochs_kept).tolist()),
        )
        if seen is None:
            return progress, None
        return progress, Partial((kept.state.network, kept.state.learner), seen, n_batches)


def _numbered(folder: Path) -> Iterator[Path]:
    with explained(f"Can't look for checkpoints in {folder}"):
        found = list(folder.iterdir()) if folder.is_dir() else []
    # Other names are folders that a killed process left unfinished.
    yield from (path for path in found if re.fullmatch(r"\d{6,}", path.name))


def _about(path: Path) -> dict[str, Any]:
    """A checkpoint's description; a `RunError` if it is damaged."""
    about = read_json(path / ABOUT)
    if about.get("format") != FORMAT:
        raise RunError(f"{path / ABOUT} must say format {FORMAT!r}; it says something else.")
    kinds = {"sha256": dict, "identity": dict, "n_batches": int}
    kinds |= {"stopped": bool, "callbacks": list}
    for key, kind in kinds.items():
        if not isinstance(about.get(key), kind):
            raise RunError(f"{path / ABOUT} needs {key!r} of type {kind.__name__}: it is damaged.")
    return about


def _file(path: Path, most: int, about: dict[str, Any]) -> bytes:
    """The content of a checkpoint's file; a `RunError` if it is not the one described."""
    content = read_bytes(path, most)
    if sha256(content) != about["sha256"].get(path.name):
        raise RunError(f"{path} is damaged: its SHA-256 isn't the one in {ABOUT}.")
    return content


def _differences(then: Any, now: Any, name: str = "") -> Iterator[str]:
    """The differences of two descriptions, in words."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in [*then, *(key for key in now if key not in then)]:
            yield from _differences(then.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for a, b in zip(then, now, strict=True):
            yield from _differences(a, b, name)
    elif then != now:
        shown = (str(value)[:60] for value in (then, now))
        yield f"{name}: {' → '.join(shown)}"

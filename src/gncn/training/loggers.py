"""Loggers: callbacks that write the numbers of every epoch to a file or to a tracker.

A row is one trial after one epoch.  Its names are the history's, with the split before them:
``validation_error``, ``train_sparsity_1``.  ``training`` counts the trainings that one logger has
heard of, such as trainings of a GVAE-CV that chooses among several variances.
"""

import csv
import io
import json
import secrets
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from gncn.base.errors import ConfigError, RunError, quoted, unknown_choice
from gncn.base.extras import needs
from gncn.base.files import (
    DAMAGED,
    explained,
    jsonable,
    make_folder,
    place,
    read_bytes,
    sha256,
    write_atomic,
)
from gncn.training.callbacks import Callback, Start
from gncn.training.history import MAX_BYTES, EpochRecord
from gncn.training.progress import Fit

SUFFIXES = (".csv", ".jsonl")
TRACKERS = {"trackio": "name", "wandb": "id"}
"""Packages that track trainings, and what each calls the name by which a run is gone on with."""
SPLITS = ("train", "validation", "test")


def flat(record: EpochRecord) -> dict[str, Any]:
    """A record as one row: a number for each name."""
    row: dict[str, Any] = {
        name: value for name, value in record.model_dump().items() if name not in SPLITS
    }
    for split in SPLITS:
        if (seen := getattr(record, split)) is None:
            continue
        for name, value in seen.model_dump().items():
            if isinstance(value, tuple):
                row |= {f"{split}_{name}_{at}": one for at, one in enumerate(value, start=1)}
            else:
                row[f"{split}_{name}"] = value
    return row


def _tagged(records: Sequence[EpochRecord]) -> dict[str, float]:
    """All numbers of an epoch by tags such as ``validation/error``, for trackers."""
    found = {}
    for record in records:
        trial = f"trial-{record.trial}/" if len(records) > 1 else ""
        found[f"{trial}seconds"] = record.seconds
        for name, value in flat(record).items():
            split, _, rest = name.partition("_")
            if split in SPLITS and value is not None:
                found[f"{trial}{split}/{rest}"] = value
    return found


class FileLogger(Callback):
    """Writes a row for each trial after each epoch: a ``.csv`` file, or JSON lines (``.jsonl``).

    The file is replaced in one step, so it is whole at any moment.  A training that goes on from a
    checkpoint goes on with the rows that it had then.

    Args:
        path: the file; its folder is made if need be.
        overwrite: replace a file that is there when a training begins.

    Raises:
        ConfigError: the path has another suffix.
        RunError: when training begins: the file is another training's.  In training: something
            else has written to it.

    >>> import gncn, tempfile
    >>> path = Path(tempfile.mkdtemp()) / "log.csv"
    >>> network = gncn.build(gncn.chain((64, 12)), seed=0, n_settle_steps=5)
    >>> plan = gncn.TrainingConfig(n_epochs=1)
    >>> _ = gncn.fit(network, gncn.load_dataset("digits"), plan, callbacks=gncn.FileLogger(path))
    >>> path.read_text(encoding="utf-8")[:20]
    'training,trial,epoch'
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False) -> None:
        self.path, self.overwrite = place(path), overwrite
        if self.path.suffix not in SUFFIXES:
            raise ConfigError(
                f"A log is a file ending in {' or '.join(SUFFIXES)}; received {quoted(str(path))}."
            )
        self._content, self._training, self._stamp = b"", 0, None

    def on_start(self, start: Start) -> None:
        """Refuse the file of another training."""
        self._training += 1
        if start.resumed:
            return
        if self._training > 1:
            self._refuse_changed()
        elif not self.overwrite and self._seen() is not None:
            raise RunError(
                f"{self.path} is there already: it may be the log of another training. Choose "
                "another file, or give overwrite=True to replace it."
            )
        self._stamp = self._seen()

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Any]) -> None:
        """Add the rows of an epoch."""
        # Looked at before every write, so that two trainings never mix their rows.
        self._refuse_changed()
        rows = [{"training": self._training, **flat(record)} for record in records]
        text = io.StringIO()
        if self.path.suffix == ".csv":
            header = self._content.partition(b"\n")[0].decode()
            writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
            if not header:
                writer.writeheader()
            elif header != ",".join(rows[0]):
                raise RunError(
                    f"{self.path} has other columns than this training gives: give it a logger of "
                    "its own."
                )
            writer.writerows(rows)
        else:
            text.writelines(json.dumps(jsonable(row), allow_nan=False) + "\n" for row in rows)
        # The whole file is written again, since only a replaced file is whole at any moment.
        content = self._content + text.getvalue().encode()
        make_folder(self.path.parent)
        write_atomic(self.path, content)
        self._content, self._stamp = content, self._seen()

    def state(self) -> dict[str, Any]:
        """How far the file goes."""
        digest = sha256(self._content)
        return {"bytes": len(self._content), "sha256": digest, "training": self._training}

    def restore(self, state: Any) -> None:
        """Go on where the file ended then; rows of epochs that are done again are dropped.

        Raises:
            RunError: the file isn't the one that this training wrote.
        """
        try:
            n_bytes, digest, training = state["bytes"], state["sha256"], int(state["training"])
            # A training that was killed before its first epoch ended has written no file.
            there = self._seen() is not None or n_bytes
            # What was written after the checkpoint is cut off: those epochs are done again.
            content = read_bytes(self.path, 4 * MAX_BYTES)[:n_bytes] if there else b""
        except DAMAGED as error:
            raise RunError(f"The checkpoint's state of {self.path} is damaged.") from error
        if sha256(content) != digest:
            raise RunError(
                f"{self.path} isn't the log that this training wrote before: it has changed. "
                "Restore it, or begin the training again."
            )
        self._content, self._training, self._stamp = content, training, self._seen()

    def _seen(self) -> tuple[int, ...] | None:
        """The inode, size and time of the file, which another writer changes; None without one."""
        with explained(f"Can't look at {self.path}"):
            if not self.path.exists():
                return None
            found = self.path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _refuse_changed(self) -> None:
        if self._seen() != self._stamp:
            raise RunError(
                f"{self.path} was changed by something else than this training. Give each "
                "training a log of its own."
            )


class TensorBoardLogger(Callback):
    """Writes the numbers of every epoch as TensorBoard's event files.  It needs tensorboardX.

    A training that goes on marks what is logged again, so that TensorBoard shows it once.

    Args:
        folder: where; each further training of the same logger has a folder in it.
        overwrite: remove events that are there when a training begins.

    Raises:
        ConfigError: tensorboardX isn't installed.
        RunError: when training begins: the folder holds events of another training.

    >>> import gncn
    >>> logger = gncn.TensorBoardLogger("runs/tensorboard")  # doctest: +SKIP
    """

    def __init__(self, folder: str | Path, *, overwrite: bool = False) -> None:
        needs("tensorboardX", "tensorboard")
        self.folder, self.overwrite = place(folder), overwrite
        self._training, self._writer = 0, None

    def on_start(self, start: Start) -> None:
        """Open a file of events."""
        self._training += 1
        further = f"training-{self._training}" if self._training > 1 else ""
        folder = self.folder / further
        make_folder(folder)
        found = [] if start.resumed else list(folder.glob("*tfevents*"))
        if found and not self.overwrite:
            raise RunError(
                f"{folder} holds the events of another training. Choose another folder, or give "
                "overwrite=True to remove them."
            )
        with explained(f"Can't remove old events from {folder}"):
            for old in found:
                old.unlink()
        writer = import_module("tensorboardX").SummaryWriter
        # TensorBoard hides what an earlier file says of this epoch and later ones.
        again = start.epoch + 1 if start.resumed else None
        own = f".{secrets.token_hex(4)}"  # else files that are begun in one second have one name
        self._writer = writer(str(folder), purge_step=again, filename_suffix=own)

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Any]) -> None:
        """Write the numbers of an epoch."""
        assert self._writer is not None
        with explained(f"Can't write events to {self.folder}"):
            for tag, value in _tagged(records).items():
                self._writer.add_scalar(tag, value, records[0].epoch)
            self._writer.flush()

    def on_end(self, fit: Fit[Any]) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class TrackerLogger(Callback):
    """Sends the numbers of every epoch to Trackio or Weights & Biases, one run for a training.

    A training that goes on goes on with its run.  The last epoch before a kill may be logged twice,
    as the same step.

    Args:
        package: ``trackio`` or ``wandb``; it must be installed.
        project: the tracker's project.
        options: further arguments of the tracker's ``init``.

    Raises:
        ConfigError: the package is unknown or isn't installed.

    >>> import gncn
    >>> gncn.TrackerLogger("mlflow")
    Traceback (most recent call last):
    ...
    gncn.base.errors.ConfigError: Unknown tracker 'mlflow'. Choose one of: 'trackio', 'wandb'.
    """

    def __init__(self, package: str, project: str = "gncn", **options: Any) -> None:
        if package not in TRACKERS:
            raise unknown_choice("tracker", package, TRACKERS)
        needs(package, package)
        self.package, self.project, self.options = package, project, options
        self._run, self._settings = "", dict[str, Any]()

    def on_start(self, start: Start) -> None:
        """Begin a run, unless an earlier one goes on."""
        self._settings = start.settings
        if not start.resumed:
            # A name that the user gave stays.
            self._run = str(
                self.options.get(TRACKERS[self.package], f"gncn-{secrets.token_hex(4)}")
            )
            self._begin(resume="never")

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Any]) -> None:
        """Send the numbers of an epoch."""
        import_module(self.package).log(_tagged(records), step=records[0].epoch)

    def on_end(self, fit: Fit[Any]) -> None:
        """End the run."""
        import_module(self.package).finish()

    def state(self) -> dict[str, Any]:
        """Which run it is."""
        return {"run": self._run}

    def restore(self, state: Any) -> None:
        """Go on with the run."""
        self._run = str(state["run"])
        self._begin(resume="allow")

    def _begin(self, resume: str) -> None:
        named = {TRACKERS[self.package]: self._run, "resume": resume, "config": self._settings}
        # Ours come last, so that options can't change which run this is.
        import_module(self.package).init(project=self.project, **{**self.options, **named})

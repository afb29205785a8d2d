"""The record of training: one `EpochRecord` for each trial and epoch.

A history is a list of records.  On disk it is ``history.jsonl``, one JSON object a line.  The
file is replaced in one step after every epoch.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from gncn.base.errors import ConfigError, RunError, shortened
from gncn.base.files import read_bytes, write_atomic

MAX_BYTES = 1 << 26
"""The largest history: some 80,000 epochs of a network of three layers."""
MAX_LINE_BYTES = 1 << 20
"""The largest record: a thousand layers take 120 kB."""

HISTORY = "history.jsonl"

ErrorName = Literal["bce", "squared_error", "error_percent", "negative_log_likelihood"]


class SplitRecord(BaseModel):
    """Means over the images of one split; see `gncn.training.epochs.Statistics`.

    `EpochRecord.error_name` says what the error is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    error: float
    discrepancy: float
    layer_discrepancy: tuple[float, ...]
    sparsity: tuple[float, ...]
    n_steps: float | None = None


class EpochRecord(BaseModel):
    """One trial (from 0) after one epoch (from 1).

    Attributes:
        error_name: what `SplitRecord.error` is: ``bce`` or ``squared_error``, a
            classifier's ``error_percent``, or ``negative_log_likelihood``.
        seconds: time spent learning, all trials together; in the first epoch with
            compilation.
        kept: whether the model to keep was from this epoch when it ended.
        train: seen while learning, each batch before its update.
        validation: None if the model learned from these images, too.
        test: None in records of studies that report on validation images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    trial: int
    epoch: int
    error_name: ErrorName
    seconds: float
    kept: bool = True
    train: SplitRecord
    validation: SplitRecord | None
    test: SplitRecord | None

    @property
    def held_out(self) -> SplitRecord:
        """Of images that the model has not learned from and choices may use; else `train`."""
        return self.train if self.validation is None else self.validation


def refuse_long_history(n_epochs: int, n_trials: int, n_layers: int) -> None:
    """Refuse a training whose history surely could not be read again.

    Args:
        n_epochs: passes over the images.
        n_trials: models that are trained at once.
        n_layers: layers of a model, the pixels included.

    Raises:
        ConfigError: says how many epochs are possible.
    """
    value = 0.123456789  # shorter than nearly all numbers of a training are
    split = SplitRecord(
        error=value,
        discrepancy=value,
        layer_discrepancy=(value,) * (n_layers - 1),
        sparsity=(value,) * (n_layers - 1),
    )
    short = EpochRecord(
        trial=0, epoch=1, error_name="bce", seconds=value, train=split, validation=None, test=split
    )
    most = MAX_BYTES // len(history_lines([short])) // n_trials
    if n_epochs > most:
        raise ConfigError(
            f"A training that is kept in files has less than {most + 1:,} epochs, with these "
            f"layers and {n_trials:,} trial{'s' * (n_trials > 1)}; received "
            f"training.n_epochs={n_epochs:,}. Lower it"
            f"{', or train fewer trials at once' * (n_trials > 1)}."
        )


def history_lines(history: Sequence[EpochRecord]) -> bytes:
    """The content of a history's file.

    Raises:
        RunError: it is longer than what `read_history` reads.
    """
    content = "".join(record.model_dump_json() + "\n" for record in history).encode()
    if len(content) > MAX_BYTES:
        raise RunError(
            f"The history has {len(history):,} records, which is more than a file of history may "
            f"hold. What was kept one epoch earlier is whole; train for fewer epochs than "
            f"{history[-1].epoch:,}."
        )
    return content


def write_history(path: Path, history: Sequence[EpochRecord]) -> None:
    """Write a history, replacing the file."""
    write_atomic(path, history_lines(history))


def read_history(path: Path) -> list[EpochRecord]:
    """Read a history.

    Raises:
        RunError: the file is missing or malformed.
    """
    return parse_history(path, read_bytes(path, MAX_BYTES))


def parse_history(path: Path, content: bytes) -> list[EpochRecord]:
    """The history in a file's content; a `RunError` that names the path, if it is malformed."""
    try:
        # Lines are taken one by one, so a damaged file is refused at the first bad one.
        return [_record(line) for line in io.BytesIO(content)]
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = shortened(".".join(map(str, problem["loc"])) or "a line", 80)
        raise RunError(
            f"{path} is not a history of training: {place}: {problem['msg'].lower()}."
        ) from error


def _record(line: bytes) -> EpochRecord:
    if len(line) > MAX_LINE_BYTES:
        raise RunError(f"A history has a line of {len(line):,} bytes: it is damaged.")
    return EpochRecord.model_validate_json(line)

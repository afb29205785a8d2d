"""`Record`: what remains of a run, one small JSON file, written whole or not at all.

A record is enough for the report: configuration, versions, hardware, times, the history
of training, every metric, and a few small pictures (PNG, base64).
"""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from gncn.base.description import Description
from gncn.base.errors import ConfigError, RunError
from gncn.base.files import write_atomic
from gncn.training.history import EpochRecord

SUPERSEDED = "superseded"


class Record(Description):
    """A run, finished or failed.

    Attributes:
        format: version of this format.
        status: ``finished`` or ``failed``.
        model: what the study calls the model.
        data: what the study calls the data set.
        trial: number of the trial.
        spec: the `gncn.study.plan.RunSpec`, as JSON.
        started: when, UTC.
        finished: when, UTC.
        seconds: spent on training, evaluation and in total.
        threads: that the run was given; None if not held.
        versions: of packages.
        source: hash of the library's code.
        hardware: what the run ran on.
        dataset: name, fingerprint, source and number of images.
        n_synapses: all that the model learns.
        validation_psi_of_variances: of a GVAE-CV, where several were tried: the model
            measured has the one with the highest.
        epoch_kept: the epoch that the model measured is from.
        history: of training.
        metrics: as ``gncn evaluate`` writes them.
        pictures: see `gncn.study.pictures`.
        error: of a failed run: type, message and traceback.
    """

    format: Literal[1] = 1
    status: Literal["finished", "failed"]
    model: str
    data: str
    trial: int
    spec: dict[str, Any]
    started: str
    finished: str
    seconds: dict[str, float] = Field(default_factory=dict)
    threads: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    source: str = ""
    hardware: dict[str, Any] = Field(default_factory=dict)
    dataset: dict[str, Any] = Field(default_factory=dict)
    n_synapses: int | None = None
    validation_psi_of_variances: dict[str, float] = Field(default_factory=dict)
    epoch_kept: int | None = None
    history: tuple[EpochRecord, ...] = ()
    metrics: dict[str, Any] = Field(default_factory=dict)
    pictures: dict[str, Any] = Field(default_factory=dict)
    error: dict[str, str] | None = None

    @property
    def name(self) -> str:
        """``model/data/trial``."""
        return f"{self.model}/{self.data}/{self.trial}"

    @property
    def kept(self) -> EpochRecord | None:
        """The history's record of the epoch that was kept."""
        return next((r for r in self.history if r.epoch == self.epoch_kept), None)

    def to_json(self) -> str:
        """JSON with a line for each field."""
        fields = self.model_dump(mode="json")
        lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in fields.items())
        return "{\n" + ",\n".join(lines) + "\n}\n"


def record_path(folder: Path, model: str, data: str, trial: int) -> Path:
    """Where the record of a run is."""
    return folder / data / f"{model}-{trial}.json"


def write_record(folder: Path, record: Record) -> Path:
    """Write a record, atomically."""
    path = record_path(folder, record.model, record.data, record.trial)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, record.to_json())
    return path


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        RunError: the file is no record.
    """
    try:
        return Record(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, ConfigError) as error:
        raise RunError(
            f"{path} is no record of a run: {error} Delete it, and `gncn reproduce` makes it again."
        ) from error


def read_records(folder: Path) -> list[Record]:
    """All records of a folder, but those that were superseded.

    Raises:
        RunError: the folder isn't there, or a file in it is no record.
    """
    if not folder.is_dir():
        raise RunError(f"{folder} is no folder of records; `gncn reproduce` makes one.")
    paths = sorted(folder.glob("*/*-*.json"))
    return [read_record(path) for path in paths if path.parent.name != SUPERSEDED]


def supersede(folder: Path, record: Record) -> Path:
    """Move a record aside, into ``superseded/``: what it measured isn't forgotten."""
    path = record_path(folder, record.model, record.data, record.trial)
    aside = folder / SUPERSEDED
    aside.mkdir(exist_ok=True)
    when = record.finished.replace(":", "").replace("+0000", "Z")
    return path.rename(aside / f"{record.data}-{record.model}-{record.trial}-{when}.json")

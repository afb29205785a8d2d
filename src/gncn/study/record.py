"""`Record`: what remains of a run, one small JSON file, enough for the report."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field

from gncn.base.description import Description
from gncn.base.errors import ConfigError, GncnError, RunError, quoted
from gncn.base.files import DAMAGED, make_folder, read_json, write_atomic
from gncn.training.history import EpochRecord

SUPERSEDED = "superseded"
RUNNING = ".running"
"""The folder of locks and temporary files of what is being done."""
FORMAT = 2
MAX_BYTES = 1 << 24
"""The largest record has 40 kB; 100,000 epochs have 5 MB."""

# Seven digits are what single precision has.
Rounded = Annotated[float, AfterValidator(lambda value: float(f"{value:.7g}"))]


class History(Description):
    """Errors of a model and seconds spent learning, a number for each epoch.

    Errors of training images are from while they were learned, the others from after the epoch.
    `error_name` is as in `EpochRecord`; empty if no epoch ended.
    """

    error_name: str = ""
    seconds: tuple[Rounded, ...] = ()
    train: tuple[Rounded, ...] = ()
    validation: tuple[Rounded, ...] = ()
    test: tuple[Rounded, ...] = ()

    @classmethod
    def of(cls, records: Sequence[EpochRecord]) -> "History":
        """Shorten the history of one model, a record for each epoch, in order."""
        told: dict[str, Any] = {"seconds": [one.seconds for one in records]}
        for split in ("train", "validation", "test"):
            seen = [getattr(one, split) for one in records]
            told[split] = [one.error for one in seen if one is not None]
        return cls(error_name=records[0].error_name if records else "", **told)


class LockedClaim(Description):
    """A claim as a study's lock holds it; see `gncn.study.texts.Claim`.

    Attributes:
        model: that it is about; never empty.
        date: when it was locked, in UTC.
        tested: whether records showed then that test images had been measured.
    """

    claim: str
    model: str
    column: str
    against: tuple[str, ...]
    margin: float = 0.0
    date: str
    tested: bool

    @property
    def words(self) -> tuple[str, str, str, tuple[str, ...], float]:
        """What is claimed."""
        return self.claim, self.model, self.column, self.against, self.margin


class Earlier(Description):
    """Settings that a study's lock held before, when they were locked, and what came of them.

    Attributes:
        settings: their hash; empty if the lock never held them.
        tested: whether test images were measured with them.
        changed: what differed in the settings that replaced them: what the model learns from or
            by; or else how it is measured; or else the number of trials alone.
    """

    settings: str
    date: str
    tested: bool
    changed: Literal["learning", "measures", "trials"] = "learning"


class Fixed(Description):
    """How the settings of a test run were fixed before it, by the lock of its study.

    Attributes:
        settings: their hash.
        date: when they were locked, in UTC.
        kept: where the lock is kept.
        version: which lock: the last commit that changed it, the version of gncn that it came
            with, or the hash of the file if it is not in git.
        history: what the lock held before.
        claims: what the study had claimed by then; None in old records and later trials.
    """

    settings: str
    date: str
    kept: Literal["git", "package", "not in git"]
    version: str
    history: tuple[Earlier, ...] = ()
    claims: tuple[LockedClaim, ...] | None = None

    @property
    def mark(self) -> str:
        """The name in `MARKS` of what is wrong with it, if anything."""
        outside = NOT_IN_GIT if self.kept == "not in git" else ""
        return _gravest([mark_of_history(self.history), outside])


class Record(Description):
    """A run, finished or failed.

    Attributes:
        spec: the `gncn.study.specs.RunSpec`, as JSON; `model`, `data` and `trial` are the spec's.
        started: time in UTC; `finished`, too.
        seconds: spent on training, evaluation and in total; after a kill, of what came before only
            whole epochs.
        threads: that the run was given; None if not limited.
        source: hash of the library's code.
        dataset: name, fingerprint, source and number of images.
        train_on: ``train``, or ``both`` if the model learned from validation images, too.
        validation_psi_of_variances: of a GVAE-CV, where several were tried: the model
            measured has the variance with the highest ψ.
        kept: all that is known of the epoch that the measured model is from.
        history: errors after every epoch; of test images only if `spec` reports on them.
        metrics: as ``gncn evaluate`` writes them, without confusion matrices.
        pictures: see `gncn.study.pictures`; of first trials only.
        error: type, message and traceback, if the run failed.
        lock: how its settings were fixed before test images were measured; None if they weren't,
            and for validation images.
    """

    format: Literal[2] = FORMAT
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
    train_on: Literal["train", "both"] = "train"
    n_synapses: int | None = None
    validation_psi_of_variances: dict[str, float] = Field(default_factory=dict)
    kept: EpochRecord | None = None
    history: History = History()
    metrics: dict[str, Any] = Field(default_factory=dict)
    pictures: dict[str, Any] = Field(default_factory=dict)
    error: dict[str, str] | None = None
    lock: Fixed | None = None

    @property
    def name(self) -> str:
        """``model/data/trial``."""
        return f"{self.model}/{self.data}/{self.trial}"

    def to_json(self) -> str:
        """JSON with a line for each field."""
        fields = self.model_dump(mode="json")
        lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in fields.items())
        return "{\n" + ",\n".join(lines) + "\n}\n"


def without_confusion(metrics: Any) -> Any:
    """Metrics without confusion matrices, which make up most of a record and no report shows."""
    if isinstance(metrics, dict):
        kept = {name: value for name, value in metrics.items() if name != "confusion"}
        # Confusion matrices may stand at any depth.
        return {name: without_confusion(value) for name, value in kept.items()}
    return [without_confusion(one) for one in metrics] if isinstance(metrics, list) else metrics


def record_path(folder: Path, model: str, data: str, trial: int) -> Path:
    """Where the record of a run is."""
    return folder / data / f"{model}-{trial}.json"


def make_running(folder: Path) -> None:
    """Make the folder `RUNNING`, which version control overlooks: it keeps records only."""
    make_folder(folder / RUNNING)
    # Version control overlooks everything in a folder with this line.
    write_atomic(folder / RUNNING / ".gitignore", "*\n")


def write_record(folder: Path, record: Record) -> None:
    """Write a record, atomically."""
    path = record_path(folder, record.model, record.data, record.trial)
    make_folder(path.parent)
    write_atomic(path, record.to_json())


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        RunError: the file is not a record, or has another version of the format.
    """
    try:
        fields = read_json(path, MAX_BYTES)
        version = fields.get("format", FORMAT)
        if version == FORMAT:
            return Record(**fields)
    except (RunError, TypeError, ConfigError) as error:
        raise RunError(
            f"{path} is no record of a run: {error} Delete it, and `gncn reproduce` makes it again."
        ) from error
    raise RunError(
        f"{path} has version {quoted(version)} of the format of records; this version of gncn "
        f"reads version {FORMAT}. Version 1 is read by gncn at commit 1ac8ea5. To do the run "
        "again, move the file away and start `gncn reproduce`."
    )


def read_records(folder: Path) -> list[Record]:
    """Read all records of a folder, except superseded ones.

    Raises:
        RunError: the folder does not exist, or a file in it is not a record.
    """
    if not folder.is_dir():
        raise RunError(f"{folder} is no folder of records; `gncn reproduce` makes one.")
    paths = sorted(folder.glob("*/*-*.json"))
    # Superseded records stand in a folder like a data set's.
    return [read_record(path) for path in paths if path.parent.name != SUPERSEDED]


class Seen(NamedTuple):
    """A measurement of test images: of which row, with which settings.

    `locked` is the hash of these and the date when they were locked; None if they weren't.
    """

    row: str
    spec: dict[str, Any]
    finished: str
    locked: tuple[str, str] | None


def seen_tests(folder: Path) -> list[Seen]:
    """The measurements of test images that a folder holds records of, superseded ones included.

    Records of every version of the format count.

    Raises:
        RunError: a file in it is not a record.
    """
    found = []
    for path in sorted(folder.glob("*/*-*.json")):
        fields = read_json(path, MAX_BYTES)
        try:
            spec, lock = fields["spec"], fields.get("lock")
            if fields["status"] == "finished" and spec["split"] == "test":
                row = f"{fields['model']}/{fields['data']}"
                locked = None if lock is None else (lock["settings"], lock["date"])
                found.append(Seen(row, spec, fields["finished"], locked))
        except DAMAGED as error:
            raise RunError(
                f"{path} is no record of a run ({type(error).__name__}: {error}). Delete it if "
                "another program wrote it."
            ) from error
    return found


NOT_LOCKED, EXPLORATORY, RELOCKED = "not locked", "exploratory", "relocked"
REMEASURED, NOT_IN_GIT = "remeasured", "not in git"
MARKS = {
    NOT_LOCKED: "nothing shows that their settings were chosen before test images had been "
    "measured.",
    EXPLORATORY: "their settings changed after test images had been measured with earlier ones.",
    RELOCKED: "their settings changed after they had been locked; no record shows whether test "
    "images had been measured with earlier ones.",
    REMEASURED: "test images may have been measured before, with the same settings of the model "
    "and other settings of measures.",
    NOT_IN_GIT: "their lock is in no version control, so it could have been changed after test "
    "images had been measured.",
}
"""What may be wrong with how the settings of test runs were chosen, the gravest first."""


def mark(records: Sequence[Record]) -> str:
    """The name in `MARKS` of what is wrong with test runs of one model on one data set, if any."""
    tests = [one for one in records if one.spec["split"] == "test"]
    return _gravest(NOT_LOCKED if one.lock is None else one.lock.mark for one in tests)


def mark_of_history(history: Sequence[Earlier]) -> str:
    """The name in `MARKS` of what is wrong with settings that have this history, if anything."""
    marks, tested = [], False
    for one in history:
        tested = tested or one.tested
        if one.changed == "learning":
            marks.append(EXPLORATORY if tested else RELOCKED)
        elif one.changed == "measures":
            # The model is the same, tested or not.
            marks.append(REMEASURED)
    return _gravest(marks)


def _gravest(marks: Iterable[str]) -> str:
    found = {*marks}
    return next((name for name in MARKS if name in found), "")


@contextmanager
def trusted(*others: type[Exception]) -> Iterator[None]:
    """Blame records for what fails because of their content, which isn't checked in every detail.

    Args:
        others: further kinds of errors that such content leads to.

    Raises:
        RunError: in place of such an error.
    """
    try:
        yield
    except GncnError:
        raise
    except (*DAMAGED, *others) as error:
        raise RunError(
            "A record holds something else than `gncn reproduce` writes "
            f"({type(error).__name__}: {error}). Delete it, and `gncn reproduce` makes it again."
        ) from error


def supersede(folder: Path, record: Record) -> None:
    """Move a record into ``superseded/``, so that what was measured is not forgotten."""
    path = record_path(folder, record.model, record.data, record.trial)
    aside = folder / SUPERSEDED
    make_folder(aside)
    # No colons, which Windows doesn't allow in names.
    when = record.finished.replace(":", "").replace("+0000", "Z")
    path.rename(aside / f"{record.data}-{record.model}-{record.trial}-{when}.json")

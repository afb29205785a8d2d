"""`reproduce`: do what a study asks for and its records don't hold yet.

A folder of records holds ``DATA/MODEL-TRIAL.json`` for each run, the study itself
(``study.json``), and under ``superseded/`` the records that others replaced.  A run whose
record is finished and says what the study says is never done again.
"""

import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from gncn.base.errors import ConfigError, RunError
from gncn.base.files import read_json, write_atomic
from gncn.data import dataset_info, present
from gncn.data.loaders import PART_SUFFIX
from gncn.study.plan import Study
from gncn.study.pool import WORKER, Event, run_all
from gncn.study.record import Record, read_record, record_path, supersede, write_record
from gncn.study.spec import RunSpec

STUDY = "study.json"
State = Literal["finished", "failed", "stale", "missing"]


class Standing(NamedTuple):
    """How a run of a study stands.

    Attributes:
        spec: the run.
        state: a ``failed`` run is to be tried again; a ``stale`` one is recorded of other
            settings than the study's.
        record: what there is of it.
        changes: what the study says otherwise than a stale record.
    """

    spec: RunSpec
    state: State
    record: Record | None = None
    changes: tuple[str, ...] = ()


def survey(specs: Sequence[RunSpec], folder: Path) -> list[Standing]:
    """How the runs stand.

    Raises:
        RunError: a record can't be read.
    """
    return [_standing(spec, folder) for spec in specs]


def _standing(spec: RunSpec, folder: Path) -> Standing:
    path = record_path(folder, spec.model, spec.data, spec.trial)
    if not path.exists():
        return Standing(spec, "missing")
    record = read_record(path)
    if record.status == "failed":
        return Standing(spec, "failed", record)
    changes = spec.differences(record.spec)
    if record.dataset.get("name", "").endswith(PART_SUFFIX):
        data = spec.config.data
        info = dataset_info(data.name)
        if all(present(info, file, data.data_dir) for file in info.files):
            changes.append("data: only the test part was available, and now all of it is")
    return Standing(spec, "stale" if changes else "finished", record, tuple(changes))


class Estimate(NamedTuple):
    """What is left to do.

    Attributes:
        seconds: of the runs whose length can be estimated.
        n_unknown: number of the others.
    """

    seconds: float
    n_unknown: int


def estimate(study: Study, standings: Sequence[Standing], jobs: int) -> Estimate:
    """How long the runs left will take, `jobs` at a time.

    A run is expected to take as long as earlier runs of the same model and data, or else as long as
    the study says.
    """
    taken: dict[tuple[str, str], list[float]] = {}
    for one in standings:
        if one.state == "finished" and one.record is not None:
            key = (one.spec.model, one.spec.data)
            taken.setdefault(key, []).append(one.record.seconds["total"])
    seconds, unknown = 0.0, 0
    for one in standings:
        if one.state == "finished":
            continue
        known = taken.get((one.spec.model, one.spec.data))
        minutes = study.minutes(one.spec.model, one.spec.data)
        if known:
            seconds += sum(known) / len(known)
        elif minutes is not None:
            seconds += 60 * minutes
        else:
            unknown += 1
    return Estimate(seconds / jobs, unknown)


def reproduce(
    study: Study,
    specs: Sequence[RunSpec],
    folder: Path,
    *,
    wanted: Collection[str] | None = None,
    jobs: int = 1,
    redo_stale: bool = False,
    worker: Sequence[str] = WORKER,
    on_event: Callable[[Event], None] = lambda _: None,
) -> list[Record]:
    """Do the runs that are missing or failed, and record each as it ends.

    Args:
        study: it is written to the folder of records, for the report.
        specs: all its runs.
        folder: folder of the records; it is made if it does not exist.
        wanted: names of the runs to do; all if None.
        jobs: runs at a time.
        redo_stale: records of other settings than the study's, of whichever run, go to
            ``superseded/``, and the wanted runs are done again.
        worker: see `run_all`.
        on_event: receives the news.

    Returns:
        The records made, failures included.

    Raises:
        RunError: records are stale and `redo_stale` is false, or the folder is in use or
            can't be written.
        ConfigError: `jobs` is not positive.
        KeyboardInterrupt: Ctrl-C; runs that had not ended leave nothing.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"Can't make the folder {folder}: {error.strerror or error}.") from error
    with _alone(folder):
        standings = survey(specs, folder)
        stale = [one for one in standings if one.state == "stale"]
        if stale and not redo_stale:
            raise RunError(_explain_stale(stale, folder))
        write_atomic(folder / STUDY, study.model_dump_json(indent=1) + "\n")
        for one in stale:
            assert one.record is not None
            supersede(folder, one.record)
        left = [
            one.spec
            for one in standings
            if one.state != "finished" and (wanted is None or one.spec.name in wanted)
        ]
        made = []
        with (
            _scratch(folder / ".scratch") as scratch,
            closing(run_all(left, jobs=jobs, scratch=scratch, worker=worker)) as events,
        ):
            for event in events:
                if event.record is not None:
                    write_record(folder, event.record)
                    made.append(event.record)
                on_event(event)
    return made


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty folder for a time, which version control overlooks, unlike records."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir()
        (folder / ".gitignore").write_text("*\n")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def recorded_study(folder: Path) -> Study:
    """The study that a folder of records belongs to.

    Raises:
        RunError: the folder holds none.
    """
    try:
        return Study(**read_json(folder / STUDY))
    except (RunError, TypeError, ConfigError) as error:
        raise RunError(
            f"{folder} is no folder of records: {STUDY} can't be read ({error}). "
            "`gncn reproduce` makes one."
        ) from error


def _explain_stale(stale: Sequence[Standing], folder: Path) -> str:
    shown = "\n".join(f"  {one.spec.name}: {'; '.join(one.changes[:4])}" for one in stale[:5])
    more = f"\n  and {len(stale) - 5} more" if len(stale) > 5 else ""
    return (
        f"{len(stale)} of the runs recorded in {folder} had other settings than the study has "
        f"now:\n{shown}{more}\nRestore the settings, record elsewhere (--out), or let "
        "--redo-stale put these records under superseded/ and do again the runs that "
        "are wanted."
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a lock that the system drops when this process ends, however it does."""
    lock = sqlite3.connect(folder / ".lock", timeout=0, isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        raise RunError(
            f"Another `gncn reproduce` is at work on {folder}, or it can't be written: {error}."
        ) from error
    try:
        yield
    finally:
        lock.close()
        (folder / ".lock").unlink(missing_ok=True)

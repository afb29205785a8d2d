"""`reproduce`: do what a study asks for and its records don't hold yet.

A folder of records holds ``DATA/MODEL-TRIAL.json`` for each run, the study itself
(``study.json``), and under ``superseded/`` the records that others replaced.  A run whose
record is finished and says what the study says is never done again.

Each run has its own process, so that one that fails or crashes costs only itself, with its share of
the cores.  Processes end if this one ends.

A run is locked while it is done, so that several processes and hosts can share a folder of records:
each does runs that no other is doing.  One that was killed goes on from its last checkpoint.

Test images are measured with settings that were locked before (`gncn.study.lock`).
"""

import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from gncn.base.errors import ConfigError, DataError, InUseError, RunError
from gncn.base.files import (
    UNFINISHED,
    explained,
    make_folder,
    place,
    read_json,
    sweep,
    unfinished,
    write_atomic,
)
from gncn.base.hardware import usable_cores
from gncn.base.interrupts import pause
from gncn.base.locks import alone, holder
from gncn.data import dataset_info, present
from gncn.data.loaders import PART_SUFFIX
from gncn.study.lock import StudyLock
from gncn.study.plan import Study
from gncn.study.record import (
    RUNNING,
    Fixed,
    Record,
    make_running,
    read_record,
    record_path,
    supersede,
    write_record,
)
from gncn.study.run import RUN, failed
from gncn.study.specs import RunSpec
from gncn.study.worker import Worker, parts_for_worker

STUDY = "study.json"
State = Literal["finished", "failed", "stale", "missing"]

WORKER = (sys.executable, "-m", "gncn.study.run")


class Standing(NamedTuple):
    """How a run of a study stands: its record, if any, and what the study says otherwise.

    ``failed`` runs are tried again; the record of a ``stale`` one is of other settings.
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
    standings = []
    for spec in specs:
        path = record_path(folder, spec.model, spec.data, spec.trial)
        if not os.path.lexists(path):  # a link that leads nowhere isn't replaced
            standings.append(Standing(spec, "missing"))
        elif (record := read_record(path)).status == "failed":
            standings.append(Standing(spec, "failed", record))
        else:
            # Both kinds of change make a record stale: settings, and data that were only a part.
            changes = (*spec.differences(record.spec), *_newly_whole(spec, record))
            standings.append(Standing(spec, "stale" if changes else "finished", record, changes))
    return standings


def _newly_whole(spec: RunSpec, record: Record) -> tuple[str, ...]:
    """Says so if a part of the data was all that there was, and is no more."""
    if record.dataset.get("name", "").endswith(PART_SUFFIX):
        data = spec.config.data
        info = dataset_info(data.name)
        if all(present(info, file, data.data_dir) for file in info.files):
            return ("data: only the test part was available, and now all of it is",)
    return ()


class Estimate(NamedTuple):
    """The work that is left: seconds of runs whose length can be estimated; how many can't."""

    seconds: float
    n_unknown: int


def estimate(study: Study, standings: Sequence[Standing], jobs: int) -> Estimate:
    """How long the runs left will take, `jobs` at a time.

    A run is expected to take as long as earlier runs of the same model and data, or else as long as
    the study says.
    """
    taken: dict[tuple[str, str], list[float]] = {}
    for spec, state, record, _ in standings:
        # Of finished runs alone: a failed one may have ended early.
        if state == "finished" and record is not None:
            taken.setdefault((spec.model, spec.data), []).append(record.seconds["total"])
    seconds, unknown = 0.0, 0
    for spec, state, *_ in standings:
        minutes = study.recipe(spec.model, spec.data).minutes
        if state == "finished":
            continue
        if known := taken.get((spec.model, spec.data)):
            seconds += sum(known) / len(known)
        elif minutes is not None:
            seconds += 60 * minutes
        else:
            unknown += 1
    return Estimate(seconds / jobs, unknown)


class Event(NamedTuple):
    """News of a run: what it is doing (empty as it begins), or its record when it has ended.

    With `elsewhere`, it is another process that does it (says which), or has done it.
    """

    spec: RunSpec
    text: str = ""
    record: Record | None = None
    elsewhere: bool = False


def _home(spec: RunSpec, folder: Path) -> Path:
    """The folder for the lock, the checkpoints and temporary files of a run."""
    return record_path(folder / RUNNING, spec.model, spec.data, spec.trial).with_suffix("")


def _forget(spec: RunSpec, folder: Path) -> None:
    """Remove what a run goes on from; it is recorded."""
    for path in _home(spec, folder).glob(f"{RUN}*"):
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _claimed(spec: RunSpec, folder: Path) -> Iterator[Path]:
    """An empty folder for temporary files of a run, which no other process does meanwhile.

    Raises:
        InUseError: another process is at it.
    """
    home = _home(spec, folder)
    # The lock is held by this process, and gone with it.
    with alone(home, "the run"):  # which also removes what a killed process left
        scratch = unfinished(home)
        try:
            make_folder(scratch)
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


class _Child(Worker):
    """The process of one run, in whose folder, which `claim` holds, it leaves the record."""

    def __init__(self, spec: RunSpec, folder: Path, worker: Sequence[str], threads: int) -> None:
        self.claim = ExitStack()
        self.spec, self._result = spec, folder / "result.json"
        description = folder / "spec.json"
        with explained(f"Can't write {description}"):
            description.write_text(spec.model_dump_json(), encoding="utf-8")
        command, parts = [*worker, str(description), str(self._result)], _parts(spec)
        super().__init__(command, folder, threads, parts)

    def record(self) -> Record:
        """The record that it left behind, or one of how it ended."""
        try:
            return read_record(self._result)
        except RunError:
            # The last line of what it wrote says most about a crash.
            said = self.errors.strip().rpartition("\n")[2][-300:]
            message = f"The process {self.how_it_ended} and left no record. {said}".rstrip()
            return failed(self.spec, "Crash", message, self.errors)


def _parts(spec: RunSpec) -> str:
    return parts_for_worker(spec.model_dump(mode="json"))


def run_all(
    standings: Sequence[Standing],
    folder: Path,
    *,
    jobs: int,
    wait: bool = False,
    worker: Sequence[str] = WORKER,
) -> Generator[Event, None, None]:
    """Do runs, `jobs` at a time, and yield news of them.

    Each stays locked until the news of its record has been dealt with.  Runs that others do are
    passed over, or with `wait` tried again until they are recorded.  Closing the iterator, or an
    exception such as Ctrl-C while it waits, ends the processes, whose command is `worker`
    (`gncn.study.run`).

    Raises:
        ConfigError: `jobs` is not positive.
        RunError: another process recorded a run of other settings meanwhile.
    """
    if jobs < 1:
        raise ConfigError(f"jobs must be at least 1; received {jobs}.")
    waiting, busy, running = deque(standings), list[Standing](), list[_Child]()
    told: set[str] = set()
    # Never more processes than runs, so few runs get more cores each.
    threads = max(usable_cores() // min(jobs, max(len(standings), 1)), 1)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                before = waiting.popleft()
                spec = before.spec
                # The claim is given up here unless it is handed on to a child.
                with ExitStack() as claim:
                    try:
                        scratch = claim.enter_context(_claimed(spec, folder))
                    except InUseError:
                        busy.append(before)
                        if spec.name not in told:
                            yield Event(spec, holder(_home(spec, folder)), elsewhere=True)
                        told.add(spec.name)
                        continue
                    # Another process may have recorded it between the survey and the lock.
                    (now,) = survey([spec], folder)
                    if now.record is not None and now.record != before.record:
                        _refuse_stale([now], folder)
                        yield Event(spec, record=now.record, elsewhere=True)
                        continue
                    running.append(_Child(spec, scratch, worker, threads))
                    # Hands the lock on: it is held as long as the child.
                    running[-1].claim = claim.pop_all()
                    yield Event(spec)
            for child in list(running):
                ended = child.process.poll() is not None
                # Asked before its news is read: what it said until it ended is then complete.
                for line in child.news():
                    yield Event(child.spec, line)
                if ended:
                    child.stop()
                    running.remove(child)
                    # Still locked while whoever hears the news writes the record.
                    with child.claim:
                        yield Event(child.spec, record=child.record())
            if wait and not waiting:
                waiting.extend(busy)
                busy.clear()
            # Other processes' runs are looked at once a second, our own more often.
            pause(1.0 if told else 0.05)
    finally:
        # All are asked to end first, and then waited for: one after the other would take long.
        for child in running:
            child.process.terminate()
        for child in running:
            with child.claim:
                child.stop()


def reproduce(
    study: Study,
    specs: Sequence[RunSpec],
    folder: Path,
    *,
    wanted: Collection[str] | None = None,
    jobs: int = 1,
    redo_stale: bool = False,
    wait: bool = False,
    lock: StudyLock | None = None,
    worker: Sequence[str] = WORKER,
    on_event: Callable[[Event], None] = lambda _: None,
) -> list[Record]:
    """Do the runs that are missing or failed, and record each as it ends.

    Several processes, on one host or many, may do so in one folder at a time.

    Args:
        study: it is written to the folder of records, for the report.
        specs: all its runs.
        folder: folder of the records; made if need be.
        wanted: names of the runs to do; all if None.
        jobs: runs at a time.
        redo_stale: records of other settings than the study's, of whichever run, go to
            ``superseded/``, and the wanted runs are done again.
        wait: wait for the runs that other processes do, and do those that they leave behind.
        lock: of the study's settings; a study of test images needs it.
        worker: see `run_all`.
        on_event: receives the news.

    Returns:
        The records made here, failures included.

    Raises:
        DataError: data of a wanted run are not where the study says.
        RunError: records are stale and `redo_stale` is false, the folder can't be written, or
            settings of test runs are not locked.
        ConfigError: `jobs` is not positive, other processes can't have a part that a run names, or
            a study of test images comes without its lock.
        KeyboardInterrupt: Ctrl-C; runs that had not ended leave what they go on from.
    """
    wanted = {one.name for one in specs} if wanted is None else wanted
    doing = [spec for spec in specs if spec.name in wanted]
    # Called for its errors: parts that other processes can't import are refused before any run.
    list(map(_parts, doing))
    sets = [spec.config.data for spec in doing]
    paths = {data.name for data in sets if data.is_file} | {data.data_dir for data in sets}
    for path in sorted(filter(None, paths)):
        if not place(path).exists():
            raise DataError(f"There is no {path}, which the study names. No run was started.")
    tested = survey(doing, folder) if study.split == "test" else ()
    fixed = lock_of_runs(study, tested, folder, lock)
    # Short looks under a lock, since several processes share the folder.
    records = partial(alone, folder, "a look at the records", wait=True)
    with records():
        _tidy(folder)
        standings = survey(specs, folder)
        if not redo_stale:
            _refuse_stale(standings, folder)
        write_atomic(folder / STUDY, study.model_dump_json(indent=1) + "\n")
        make_running(folder)
        for one in standings:
            # Superseded before anything is done: a record must not be overwritten by another
            # setting's.
            if one.state == "stale" and one.record is not None:
                supersede(folder, one.record)
            if one.state == "finished":  # and was perhaps killed since
                _forget(one.spec, folder)
    left = [o for o in standings if o.state != "finished" and o.spec.name in wanted]
    made = []
    with closing(run_all(left, folder, jobs=jobs, wait=wait, worker=worker)) as events:
        for event in events:
            if event.record is not None and not event.elsewhere:
                how = fixed.get(f"{event.spec.model}/{event.spec.data}")
                # Claims are the same for all trials.
                if how is not None and event.spec.trial > 0:
                    how = how.model_copy(update={"claims": None})
                record = event.record.model_copy(update={"lock": how})
                event = event._replace(record=record)
                with records():
                    # Recorded first; only then what the run could go on from is removed.
                    write_record(folder, record)
                if record.status == "finished":
                    _forget(event.spec, folder)
                made.append(record)
            on_event(event)
    return made


def lock_of_runs(
    study: Study, standings: Sequence[Standing], folder: Path, lock: StudyLock | None
) -> dict[str, Fixed]:
    """How the settings of the runs that aren't finished were fixed, by ``model/data``.

    Raises:
        ConfigError: test images are to be measured and there is no lock.
        RunError: see `gncn.study.lock.StudyLock.check`.
    """
    left = [one.spec for one in standings if one.state != "finished"]
    if lock is None:
        if left and study.split == "test":
            raise ConfigError(
                f"The study {study.name!r} measures test images, so its settings must be locked "
                "before: give `reproduce` the study's lock, gncn.study.lock.StudyLock.of(STUDY)."
            )
        return {}
    return lock.check(study, left, folder)


def _tidy(folder: Path) -> None:
    """Remove what killed processes left behind; the folder of records is locked."""
    for entry in filter(Path.is_dir, folder.iterdir()):
        sweep(entry)
    # Only folders with something left, as taking a lock in each would take long.
    for home in {left.parent for left in (folder / RUNNING).glob(f"*/*/{UNFINISHED}*")}:
        with suppress(InUseError), alone(home, "tidying"):
            pass  # taking the lock removed what was left


def _refuse_stale(standings: Sequence[Standing], folder: Path) -> None:
    """Refuse to go on where there are records of other settings.

    Raises:
        RunError: there are some; says which.
    """
    stale = [one for one in standings if one.state == "stale"]
    if stale:
        shown = "\n".join(f"  {o.spec.name}: {'; '.join(o.changes[:4])}" for o in stale[:5])
        more = f"\n  and {len(stale) - 5} more" if len(stale) > 5 else ""
        raise RunError(
            f"{len(stale)} of the runs recorded in {folder} had other settings than the study has "
            f"now:\n{shown}{more}\nRestore the settings, record elsewhere (--out), or let "
            "--redo-stale put these records under superseded/ and do again the runs that are "
            "wanted."
        )


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

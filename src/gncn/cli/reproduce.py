"""``gncn reproduce``: run a study; continue where it was left."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.progress import Progress, TaskID, TextColumn, TimeElapsedColumn
from typer import Argument, Option

from gncn.base.errors import RunError
from gncn.base.screen import console, duration, say, styled
from gncn.base.shown import shown
from gncn.cli import options
from gncn.cli.options import DataDirOption, JsonOption, new_table, print_json, print_table
from gncn.runs.toml import packaged_names

if TYPE_CHECKING:
    from gncn.study.lock import StudyLock
    from gncn.study.plan import Study
    from gncn.study.record import Record
    from gncn.study.reproduce import Event, Standing
    from gncn.study.specs import RunSpec


def reproduce(
    study: Annotated[
        str,
        Argument(
            help="A study's TOML file, or one of the library's: "
            f"{', '.join(f'`{name}`' for name in packaged_names('study/studies'))}.",
            metavar="STUDY",
        ),
    ],
    out: Annotated[
        Path | None, Option(help="Folder of the records. Default: `results/NAME`.", **options.PATH)
    ] = None,
    jobs: Annotated[
        int, Option(help="How many runs at a time; they share the cores.", min=1, max=1024)
    ] = 1,
    only: Annotated[
        list[str] | None,
        Option(
            help="Only these runs: MODEL, MODEL/DATA or MODEL/DATA/TRIAL, with * for any; may be "
            "repeated."
        ),
    ] = None,
    show: Annotated[
        bool, Option("--list", "--dry-run", help="Say what is done and left; run nothing.")
    ] = False,
    redo_stale: Annotated[
        bool,
        Option(
            "--redo-stale",
            help="Repeat runs that were recorded with other settings. Their old records are kept "
            "in `superseded/`.",
        ),
    ] = False,
    wait: Annotated[
        bool,
        Option(
            "--wait",
            help="Wait for runs that other processes are doing, and do those that they leave "
            "behind. Otherwise they are passed over.",
        ),
    ] = False,
    lock: Annotated[
        bool,
        Option(
            "--lock",
            help="Freeze the settings in STUDY.lock.json, which a study of test images needs "
            "before its first run; train nothing.",
        ),
    ] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a study, models × data sets × trials, and record every run.

    It can be killed at any moment and started again: finished runs are never repeated, and failed
    runs are tried again. Several processes and hosts can work on one folder at a time, as in the
    array jobs of a cluster: each does runs that no other is doing. `gncn report` makes a page of
    the records.

    A study of test images (`split = "test"`) is refused unless `--lock` froze its settings and the
    lock file is committed, where there is git.

    **Examples**

    `gncn reproduce paper --list`

    `gncn reproduce paper --jobs 2 --only gncn/mnist`

    `gncn reproduce tiny --out runs/tiny && gncn report runs/tiny`
    """
    from gncn.base.interrupts import last_words
    from gncn.cli import FAILED
    from gncn.study.lock import StudyLock
    from gncn.study.plan import load_study
    from gncn.study.reproduce import lock_of_runs, survey
    from gncn.study.reproduce import reproduce as do

    found = load_study(study)
    folder = out or Path("results") / found.name
    # All runs of the study: stale records count even if only some runs are wanted.
    every = found.runs(data_dir=data_dir)
    specs = found.runs(only=only or (), data_dir=data_dir)
    its_lock = StudyLock.of(study)
    if lock:
        given = {"--list": show, "--jobs": jobs > 1, "--redo-stale": redo_stale, "--wait": wait}
        given["--data-dir"] = data_dir is not None
        if idle := [name for name, is_given in given.items() if is_given]:
            raise options.no_effect(idle, "with --lock, which trains nothing")
        _freeze(its_lock, found, specs, folder, as_json)
        return
    standings = survey(specs, folder)
    if show:
        try:
            lock_of_runs(found, standings, folder, its_lock)
            refusal = ""
        except RunError as error:
            refusal = str(error)
        _tell(found, standings, jobs, as_json, refusal)
        return
    # Ctrl-C and a kill end with a sentence on what is recorded.
    with _Display(found, standings, jobs) as display, last_words(display.kept):
        made = do(
            found,
            every,
            folder,
            wanted={spec.name for spec in specs},
            jobs=jobs,
            redo_stale=redo_stale,
            wait=wait,
            lock=its_lock,
            on_event=display.on_event,
        )
    bad = [record for record in made if record.status == "failed"]
    if as_json:
        print_json({"records": folder, "runs": [_plain(record) for record in made]})
    else:
        others = len(display.elsewhere)
        rest = f", {others} left to other processes" if others else ""
        say(
            f"{len(made) - len(bad)} runs done, {len(bad)} failed, "
            f"{len(specs) - len(made) - others} were done before{rest}. Records: {folder}.",
            styled("Next: ", (f"gncn report {folder}", "bold")),
        )
    if bad:
        sys.exit(FAILED)


def _plain(record: "Record") -> dict[str, Any]:
    return {
        "run": record.name,
        "status": record.status,
        "seconds": record.seconds.get("total"),
        "error": record.error and record.error["message"],
    }


def _freeze(
    lock: "StudyLock", study: "Study", specs: "Sequence[RunSpec]", folder: Path, as_json: bool
) -> None:
    """Lock the settings of runs and the claims, and say which are new or have changed."""
    from gncn.study.claims import LATE
    from gncn.study.record import MARKS, mark_of_history

    changed = lock.update(study, specs, folder)
    if as_json:
        print_json({"lock": str(lock.path), "changed": changed})
        return
    content, _ = lock.read()
    assert content is not None
    marks = {row: mark_of_history(entry.history) for row, entry in content.rows.items()}
    for name in changed:
        # Claims that are new are the last.
        mark = marks[name] if name in marks else LATE * content.claims[-1].tested
        say(f"locked: {name}{mark and f', {mark}'}")
    for mark in (one for one in MARKS if one in map(marks.get, changed)):
        say(f"{mark}: {MARKS[mark]}")
    if changed:
        then = f"Commit it, then start `gncn reproduce {lock.study}`."
        say(f"Settings are locked in {lock.path}. {then}")
    else:
        say(f"{lock.path} has these settings already.")


def _tell(
    study: "Study", standings: "Sequence[Standing]", jobs: int, as_json: bool, refusal: str
) -> None:
    """Print what is done and what is left, and why it would be refused, if so."""
    from gncn.study.reproduce import estimate

    left = estimate(study, standings, jobs)
    states = [one.state for one in standings]
    counts = {state: states.count(state) for state in ("finished", "failed", "stale", "missing")}
    if as_json:
        runs = [
            {"run": one.spec.name, "state": one.state, "changes": one.changes}
            | ({"error": one.record.error} if one.record and one.record.error else {})
            for one in standings
        ]
        told = {"study": study.name, **counts, "left": left._asdict(), "refusal": refusal or None}
        print_json(told | {"runs": runs})
        return
    table = new_table(study.title or study.name, ("model", "data"), tuple(counts))
    for model, data in dict.fromkeys((one.spec.model, one.spec.data) for one in standings):
        here = [o.state for o in standings if (o.spec.model, o.spec.data) == (model, data)]
        table.add_row(model, data, *(str(here.count(state) or "") for state in counts))
    print_table(table)
    for one in standings:
        if one.state == "stale":
            say(f"stale: {one.spec.name}: {'; '.join(one.changes)}")
        elif one.record is not None and one.record.error is not None:
            say(f"failed: {one.spec.name}: {one.record.error['message']}")
    n_left = len(states) - counts["finished"]
    if n_left == 0:
        say(f"All {len(states)} runs are done.")
        return
    known = f": about {duration(left.seconds)} with {jobs} at a time"
    unknown = f", and {left.n_unknown} runs of unknown length"
    parts = known * (n_left > left.n_unknown) + unknown * (0 < left.n_unknown < n_left)
    say(f"{n_left} of {len(states)} runs are left{parts or '; none like them has been timed'}.")
    if refusal:
        say(refusal)


class _Display(Progress):
    """A row for each run at work, on a terminal; and a line whenever a run starts or ends."""

    def __init__(self, study: "Study", standings: "Sequence[Standing]", jobs: int) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[doing]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._study, self._jobs = study, jobs
        self._standings = {one.spec.name: one for one in standings}
        self._rows: dict[str, TaskID] = {}
        self.elsewhere = set[str]()
        """Names of runs that other processes are doing."""
        self._whole = self.add_task("all runs", doing="")
        self._estimate()

    def on_event(self, event: "Event") -> None:
        """Show the event."""
        from gncn.study.run import NOTE

        name = event.spec.name
        if event.elsewhere:
            # Another process's run has no row of its own here.
            self._end_elsewhere(name, event)
        elif event.record is not None:
            self._end(name, event.record)
        elif event.text.startswith(NOTE):
            say(f"{name}: {event.text}")
        elif event.text:
            self.update(self._rows[name], doing=shown(event.text))
        else:
            self._rows[name] = self.add_task(name, doing="starting")
            # On a terminal the row itself shows it.
            if not console.is_terminal:
                say(f"{name}: started")

    def _end(self, name: str, record: "Record") -> None:
        row = self._rows.pop(name)
        taken = duration(next(task.elapsed or 0.0 for task in self.tasks if task.id == row))
        self.remove_task(row)
        if record.error is None:
            say(f"{name}: done in {taken}")
        else:
            why = f"{record.error['type']}: {record.error['message']}"
            console.print(f"{name}: failed after {taken}: {why}", style="red")
        self._now(name, record)

    def _end_elsewhere(self, name: str, event: "Event") -> None:
        if event.record is None:
            self.elsewhere.add(name)
            console.print(f"{name}: passed over, as another has it: {event.text}")
        else:
            self.elsewhere.discard(name)
            console.print(f"{name}: another process has done it")
            self._now(name, event.record)

    def _now(self, name: str, record: "Record") -> None:
        state = "finished" if record.error is None else "failed"
        self._standings[name] = self._standings[name]._replace(state=state, record=record)
        self._estimate()

    def kept(self) -> str:
        """What is recorded, in a sentence."""
        done = sum(one.state == "finished" for one in self._standings.values())
        return f"{done} of {len(self._standings)} runs are recorded; start it again to go on."

    def _estimate(self) -> None:
        from gncn.study.reproduce import estimate

        standings = list(self._standings.values())
        done = sum(one.state == "finished" for one in standings)
        left = estimate(self._study, standings, self._jobs).seconds
        about = f", about {duration(left)} left" if left else ""
        doing = f"{done} of {len(standings)} runs done{about}"
        self.update(self._whole, doing=doing)
        if not console.is_terminal and done:
            say(doing)

"""``gncn reproduce``: run a study; continue where it was left."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from gncn.cli.options import DataDirOption, JsonOption, console, print_json

if TYPE_CHECKING:
    from gncn.study.plan import Study
    from gncn.study.pool import Event
    from gncn.study.record import Record
    from gncn.study.reproduce import Standing


def reproduce(
    study: Annotated[
        str,
        typer.Argument(
            help="A study's TOML file, or one of the library's: `paper` or `tiny`.",
            metavar="STUDY",
        ),
    ] = "paper",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the records. Default: `results/NAME`.", show_default=False),
    ] = None,
    jobs: Annotated[
        int, typer.Option(help="How many runs at a time; they share the cores.", min=1)
    ] = 1,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Only these runs: MODEL, MODEL/DATA or MODEL/DATA/TRIAL, with * for any; may be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    show: Annotated[
        bool, typer.Option("--list", "--dry-run", help="Say what is done and left; run nothing.")
    ] = False,
    redo_stale: Annotated[
        bool,
        typer.Option(
            "--redo-stale",
            help="Repeat runs that were recorded with other settings. Their old records are kept "
            "in `superseded/`.",
        ),
    ] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a study, models × data sets × trials, and record every run.

    It can be killed at any moment and started again: finished runs are never repeated, and failed
    runs are tried again. `gncn report` makes a page of the records.

    **Examples**

    `gncn reproduce --list`

    `gncn reproduce --jobs 2 --only gncn/mnist`

    `gncn reproduce tiny --out runs/tiny && gncn report runs/tiny`
    """
    from gncn.cli import FAILED
    from gncn.study.plan import load_study
    from gncn.study.reproduce import reproduce as do
    from gncn.study.reproduce import survey

    found = load_study(study)
    folder = out or Path("results") / found.name
    beside = Path(study).parent if Path(study).suffix == ".toml" else None
    every = found.runs(folder=beside, data_dir=data_dir)
    specs = found.runs(folder=beside, only=only or (), data_dir=data_dir)
    wanted = {spec.name for spec in specs}
    standings = survey(specs, folder)
    if show:
        _tell(found, standings, jobs, as_json)
        return
    with _Display(found, standings, jobs) as display:
        made = do(
            found,
            every,
            folder,
            wanted=wanted,
            jobs=jobs,
            redo_stale=redo_stale,
            on_event=display.on_event,
        )
    bad = [record for record in made if record.status == "failed"]
    if as_json:
        print_json({"records": str(folder), "runs": [_plain(record) for record in made]})
    else:
        done = len(made) - len(bad)
        console.print(
            f"{done} runs done, {len(bad)} failed, {len(specs) - len(made)} were done before. "
            f"Records: {folder}. Next: [bold]gncn report {folder}[/]",
            highlight=False,
            soft_wrap=True,
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


def _tell(study: "Study", standings: Sequence["Standing"], jobs: int, as_json: bool) -> None:
    from gncn.study.reproduce import estimate

    left = estimate(study, standings, jobs)
    counts = {
        state: sum(one.state == state for one in standings)
        for state in ("finished", "failed", "stale", "missing")
    }
    if as_json:
        runs = [
            {"run": one.spec.name, "state": one.state, "changes": list(one.changes)}
            | ({"error": one.record.error} if one.record and one.record.error else {})
            for one in standings
        ]
        print_json({"study": study.name, **counts, "left": left._asdict(), "runs": runs})
        return
    table = Table(title=study.title or study.name, title_justify="left")
    for name in ("model", "data", *counts):
        table.add_column(name, justify="left" if name in ("model", "data") else "right")
    for model, data in dict.fromkeys((one.spec.model, one.spec.data) for one in standings):
        here = [o.state for o in standings if (o.spec.model, o.spec.data) == (model, data)]
        table.add_row(model, data, *(str(here.count(state) or "") for state in counts))
    console.print(table)
    for one in standings:
        if one.state == "stale":
            console.print(f"stale: {one.spec.name}: {'; '.join(one.changes)}", soft_wrap=True)
        elif one.record is not None and one.record.error is not None:
            console.print(f"failed: {one.spec.name}: {one.record.error['message']}", soft_wrap=True)
    unknown = f", and {left.n_unknown} runs of unknown length" if left.n_unknown else ""
    n_left = len(standings) - counts["finished"]
    console.print(
        f"{n_left} of {len(standings)} runs are left: about {_duration(left.seconds)} with "
        f"{jobs} at a time{unknown}.",
        highlight=False,
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


class _Display:
    """Progress: a live table on a terminal, and a line whenever a run starts or ends."""

    def __init__(self, study: "Study", standings: Sequence["Standing"], jobs: int) -> None:
        self._study, self._jobs = study, jobs
        self._standings = {one.spec.name: one for one in standings}
        self._began: dict[str, float] = {}
        self._doing: dict[str, str] = {}
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=2)

    def __enter__(self) -> "_Display":
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if console.is_terminal:
            self._live.stop()

    def on_event(self, event: "Event") -> None:
        """Show the event."""
        name = event.spec.name
        if event.record is not None:
            self._end(name, event.record)
        elif event.text:
            self._doing[name] = event.text
        else:
            self._began[name] = time.monotonic()
            self._doing[name] = "starting"
            if not console.is_terminal:
                console.print(f"{name}: started", highlight=False)

    def _end(self, name: str, record: "Record") -> None:
        self._doing.pop(name, None)
        taken = _duration(time.monotonic() - self._began[name])
        if record.error is None:
            console.print(f"{name}: done in {taken}", highlight=False)
        else:
            why = f"{record.error['type']}: {record.error['message']}"
            console.print(f"{name}: failed after {taken}: {why}", style="red", markup=False)
        before = self._standings[name]
        state = "finished" if record.error is None else "failed"
        self._standings[name] = before._replace(state=state, record=record)

    def _table(self) -> Table:
        from gncn.study.reproduce import estimate

        standings = list(self._standings.values())
        done = sum(one.state == "finished" for one in standings)
        left = estimate(self._study, standings, self._jobs)
        about = f", about {_duration(left.seconds)} left" if left.seconds else ""
        table = Table(title=f"{done} of {len(standings)} runs done{about}", title_justify="left")
        for column in ("run", "for", "doing"):
            table.add_column(column)
        for name, doing in self._doing.items():
            table.add_row(name, _duration(time.monotonic() - self._began[name]), doing)
        return table

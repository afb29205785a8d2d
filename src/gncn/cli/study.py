"""``gncn compare``, ``gncn report`` and ``gncn tune``: tables and pages of many runs; searches."""

import time
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from gncn.base.errors import ConfigError, RunError, unknown_choice
from gncn.base.extras import needs
from gncn.base.interrupts import last_words
from gncn.base.screen import Screen, console, say, styled
from gncn.cli import options
from gncn.cli.options import DataDirOption, JsonOption, new_table, print_json, print_table


def compare(
    runs: Annotated[
        list[Path],
        Argument(help="Run folders on the same data.", metavar="RUN...", parser=options.place),
    ],
    split: Annotated[str, Option(help="Images to report on: `validation` or `test`.")] = "test",
    form: Annotated[
        str, Option("--format", help="Of the table: `text`, `markdown`, `latex`, `csv` or `json`.")
    ] = "text",
    figure: Annotated[
        Path | None,
        Option(
            help="PNG to write: BCE against epochs. Default: `comparison.png` in the first run's "
            "figures.",
            **options.suffixed(".png"),
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare runs in one table, with the best two in bold and the paper's numbers.

    BCE comes from training, the other numbers from `gncn evaluate --split test`; what was not
    measured is left out. Numbers are means and standard deviations over trials.

    **Examples**

    `gncn compare runs/mnist runs/rae runs/gvae`

    `gncn compare runs/* --split validation --format markdown`
    """
    from gncn.figures.network import draw_comparison
    from gncn.runs.folder import RunFolder
    from gncn.study import compare as comparing

    # Refused before runs are read.
    if form not in comparing.FORMATS:
        raise unknown_choice("format", form, comparing.FORMATS)
    found = comparing.compare(runs, split=split)
    if as_json or form == "json":
        print_json(comparing.as_json(found))
    elif form == "text":
        screen = Screen()
        for table in comparing.rich_tables(found, screen):
            print_table(table)
        say(comparing.NOTE, style="dim")
    else:
        options.print_text(comparing.render(found, form))
    for line in comparing.hints(found):
        say(line)
    # Only curves of one kind of error share an axis.
    rows = [row for row in found.rows if row.curves]
    error_name = "bce" if any(row.error_name == "bce" for row in rows) else "squared_error"
    curves = {str(row.run): row.curves for row in rows if row.error_name == error_name}
    if curves:
        models = {str(row.run): row.model for row in found.rows}
        path = figure or RunFolder.open(runs[0]).figure("comparison")
        draw_comparison(path, curves, models, f"{split} images of {found.data}", error_name)
        say(f"figure: {path}")


def report(
    records: Annotated[
        Path, Argument(help="Folder of records, as made by `gncn reproduce`.", **options.PATH)
    ] = Path("results/paper"),
    html: Annotated[
        Path | None,
        Option(
            help="Page to write. Default: `report.html` with the records.",
            **options.suffixed(".html", ".htm"),
        ),
    ] = None,
    markdown: Annotated[
        Path | None,
        Option(
            help="Markdown to write; its figures go to a folder of the same name. Default: "
            "`report.md` with the records.",
            **options.suffixed(".md"),
        ),
    ] = None,
    study: Annotated[
        str | None,
        Option(help="Take titles, targets and notes from this study. Default: as recorded."),
    ] = None,
    table: Annotated[
        Path | None,
        Option(
            help="A table of all runs to write, too: settings and numbers, a row for each. A .csv "
            "or .parquet file.",
            **options.PATH,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a report of a study: an HTML page that needs no network, and Markdown.

    Each number stands next to the paper's with a verdict: beaten, reproduced, not reached,
    or not attainable. Runs that aren't finished are left out, and the page says so.

    **Examples**

    `gncn report results/paper`

    `gncn report results/paper --markdown docs/reproduction.md`

    `gncn report results/mine --table results.csv`
    """
    needs("jinja2", "study")
    from gncn.base.tables import check_table, write_table
    from gncn.study.page import write_report
    from gncn.study.plan import load_study
    from gncn.study.record import SUPERSEDED, read_records
    from gncn.study.reproduce import recorded_study
    from gncn.study.summary import as_json as plain
    from gncn.study.summary import summarise
    from gncn.study.table import table as rows_of

    if table is not None:
        # Refused before the report is made.
        check_table(table)
    found = read_records(records)
    if not found:
        raise RunError(f"{records} holds no records yet; `gncn reproduce` makes them.")
    # Titles and notes may come from another study's file than the one recorded.
    chosen = load_study(study) if study is not None else recorded_study(records)
    n_superseded = len(list((records / SUPERSEDED).glob("*.json")))
    findings = summarise(chosen, found, n_superseded=n_superseded)
    page, text = html or records / "report.html", markdown or records / "report.md"
    written = write_report(findings, page, text)
    if table is not None:
        rows = rows_of(chosen, found)
        write_table(table, {name: [row[name] for row in rows] for name in rows[0]})
        written.append(table)
    if as_json:
        print_json({"written": [str(path) for path in written], **plain(findings)})
    else:
        say(*(f"report: {path}" for path in written[:2]))
        if table is not None:
            say(f"table: {table}")


def tune(
    search: Annotated[
        str,
        Argument(
            help="A search's TOML file, or one of the library's: `paper`, `curves` or `tiny`.",
            metavar="SEARCH",
        ),
    ],
    out: Annotated[
        Path | None,
        Option(help="Folder of its records. Default: `results/tuning/NAME`.", **options.PATH),
    ] = None,
    only: Annotated[
        list[str] | None,
        Option(help="Only these: MODEL or MODEL/DATA, with * for any; may be repeated."),
    ] = None,
    jobs: Annotated[
        int,
        Option(
            help="How many trials at a time; they share the cores. With more than one, which "
            "settings are tried depends on which trials end first.",
            min=1,
            max=1024,
        ),
    ] = 1,
    wait: Annotated[
        bool,
        Option(
            "--wait",
            help="Wait for trials that other processes are at, and do what they leave behind.",
        ),
    ] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search for settings by validation images, with one budget for every model.

    If it is killed, start it again: it continues. Several processes and hosts can share a folder.
    Every trial is recorded, also those that were pruned or diverged. The best settings are written
    as a file for `gncn train --config`.
    Test images are not used. Needs Optuna: `pip install 'gncn[study]'`.

    **Examples**

    `gncn tune tiny --out runs/tiny-search`

    `gncn tune paper --only gncn/fashion-mnist --jobs 2`
    """
    needs("optuna", "study")
    from gncn.base.screen import time_left
    from gncn.study.plan import fits
    from gncn.study.search import load_search
    from gncn.study.together import tune_together
    from gncn.study.tune import tune as search_on

    found = load_search(search)
    tasks = [
        (model, data)
        for data in found.data
        for model in found.models
        if any(fits(f"{model}/{data}", pattern) for pattern in only or ("*",))
    ]
    if not tasks:
        raise ConfigError(
            f"Nothing in the search {found.name!r} fits {', '.join(map(repr, only or ()))}. "
            f"Models: {', '.join(found.models)}. Data sets: {', '.join(found.data)}. Write "
            "MODEL or MODEL/DATA; * stands for any."
        )
    folder = out or Path("results") / "tuning" / found.name
    kept = f"{folder} keeps every trial that ended; start it again to go on."
    summaries: list[dict[str, Any]] = []
    began, n_here = 0.0, 0

    def on_trial(line: str) -> None:
        nonlocal n_here
        n_here += 1
        say(f"{line}{time_left(line, time.monotonic() - began, n_here)}")

    with console.status("tuning") as status, last_words(lambda: kept):
        heard: dict[str, Any] = {
            "data_dir": data_dir,
            "report": lambda what: status.update(styled(what)),
            "on_trial": on_trial,
        }
        for model, data in tasks:
            task = (found, model, data, folder)
            # Counted from here: other trials, of earlier commands too, took none of this time.
            began, n_here = time.monotonic(), 0
            if jobs > 1:
                tune_together(*task, jobs=jobs, **heard)
            # Also with several jobs: it writes the summary, and finds nothing left to do.
            summary = search_on(*task, wait=wait, **heard)
            summaries.append(summary)
            say(f"{model} on {data}: {summary['trials_spent']} trials, {_in_words(_best(summary))}")
    if as_json:
        print_json(summaries)
        return
    columns = tuple(
        dict.fromkeys(c for s in summaries for c in s["searched"]["wanted"]["yardsticks"])
    )
    title = "Best trials, validation images"
    table = new_table(title, ("model", "data"), ("trials", *columns))
    for summary in summaries:
        values = _best(summary).get("values", {})
        cells = (f"{values[c]:.3f}" if c in values else "–" for c in columns)
        table.add_row(summary["model"], summary["data"], str(summary["trials_spent"]), *cells)
    print_table(table)
    say(f"records: {folder}")


def _best(summary: dict[str, Any]) -> dict[str, Any]:
    """The best trial of a search, as it learned from all images if it did; empty if none ended."""
    best = next((one for one in summary["trials"] if one["number"] == summary["best"]), {})
    return best | summary["finals"].get(summary["best_final"], {})


def _in_words(best: dict[str, Any]) -> str:
    if not best:
        return "none ended"
    side = "short" if best["objective"] > 0 else "ahead"
    return f"the best is {abs(best['objective']):.2f} tenths of the yardsticks {side}"

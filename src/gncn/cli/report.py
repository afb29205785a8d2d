"""``gncn report``: turn the records of a study into a page and into Markdown."""

from pathlib import Path
from typing import Annotated

import typer

from gncn.cli.options import JsonOption, print_json, say


def report(
    records: Annotated[
        Path, typer.Argument(help="Folder of records, as made by `gncn reproduce`.")
    ] = Path("results/paper"),
    html: Annotated[
        Path | None, typer.Option(help="Page to write. Default: `report.html` with the records.")
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(
            help="Markdown to write; its figures go to a folder of the same name. Default: "
            "`report.md` with the records."
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(help="Take titles, targets and notes from this study. Default: as recorded."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a report of a study: an HTML page that needs no network, and Markdown.

    Each number stands beside the paper's with a verdict: beaten, reproduced, not reached,
    or not attainable. Runs that aren't finished are left out, and the page says so.

    **Examples**

    `gncn report results/paper`

    `gncn report results/paper --markdown docs/reproduction.md`
    """
    from gncn.base.errors import RunError
    from gncn.base.extras import needs

    needs("jinja2", "study")
    from gncn.study.page import write_report
    from gncn.study.plan import load_study
    from gncn.study.record import SUPERSEDED, read_records
    from gncn.study.reproduce import recorded_study
    from gncn.study.summary import as_json as plain
    from gncn.study.summary import summarise

    found = read_records(records)
    if not found:
        raise RunError(f"{records} holds no records yet; `gncn reproduce` makes them.")
    chosen = load_study(study) if study is not None else recorded_study(records)
    superseded = list((records / SUPERSEDED).glob("*.json"))
    findings = summarise(chosen, found, n_superseded=len(superseded))
    page, text = html or records / "report.html", markdown or records / "report.md"
    written = write_report(findings, page, text)
    if as_json:
        print_json({"written": [str(path) for path in written], **plain(findings)})
        return
    say(*(f"report: {path}" for path in written[:2]))

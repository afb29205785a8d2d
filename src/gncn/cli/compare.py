"""``gncn compare``: a table of several runs, and a figure."""

from pathlib import Path
from typing import Annotated

import typer

from gncn.cli.options import JsonOption, print_json, say


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders on the same data.", metavar="RUN...")
    ],
    split: Annotated[
        str, typer.Option(help="Images to report on: `validation` or `test`.")
    ] = "test",
    form: Annotated[
        str, typer.Option("--format", help="Of the table: `text`, `markdown`, `latex` or `json`.")
    ] = "text",
    figure: Annotated[
        Path | None,
        typer.Option(
            help="PNG to write: BCE against epochs. Default: `comparison.png` in the first run's "
            "figures."
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
    from rich.console import Console

    from gncn.base.errors import unknown_choice
    from gncn.figures.network import draw_comparison
    from gncn.runs.folder import RunFolder
    from gncn.study.compare import FORMATS, NOTE, render, rich_tables
    from gncn.study.compare import as_json as plain
    from gncn.study.compare import compare as compare_runs

    if form not in FORMATS:
        raise unknown_choice("format", form, FORMATS)
    found = compare_runs(runs, split=split)
    if as_json or form == "json":
        print_json(plain(found))
    elif form == "text":
        screen = Console()
        for table in rich_tables(found, screen):
            screen.print(table)
        say(NOTE, style="dim")
    else:
        typer.echo(render(found, form))
    curves = {str(row.run): row.curves for row in found.rows if row.curves}
    if curves:
        models = {str(row.run): row.model for row in found.rows}
        path = figure or RunFolder.open(runs[0]).figure("comparison")
        draw_comparison(path, curves, models, f"{split} images of {found.data}")
        say(f"figure: {path}")

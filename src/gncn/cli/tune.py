"""``gncn tune``: choose settings by validation images."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import typer

from gncn.cli.options import DataDirOption, JsonOption, console, new_table, print_json, say


def tune(
    search: Annotated[
        str,
        typer.Argument(
            help="A search's TOML file, or one of the library's: `paper` or `tiny`.",
            metavar="SEARCH",
        ),
    ] = "paper",
    out: Annotated[
        Path | None, typer.Option(help="Folder of its records. Default: `results/tuning/NAME`.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only these: MODEL or MODEL/DATA, with * for any; may be repeated."),
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search for settings by validation images, with one budget for every model.

    If it is killed, start it again: it continues. Every trial is recorded, also those that were
    pruned or diverged. The best settings are written as a file for `gncn train --config`.
    Test images are not used. Needs Optuna: `pip install 'gncn[study]'`.

    **Examples**

    `gncn tune tiny --out runs/tiny-search`

    `gncn tune paper --only gncn/fashion-mnist`
    """
    from gncn.base.errors import ConfigError
    from gncn.base.extras import needs

    needs("optuna", "study")
    from gncn.study.search import load_search
    from gncn.study.tune import tune as search_on

    found = load_search(search)
    tasks = [
        (model, data)
        for data in found.data
        for model in found.models
        if not only or any(_fits(model, data, pattern) for pattern in only)
    ]
    if not tasks:
        raise ConfigError(
            f"Nothing in the search {found.name!r} fits {', '.join(only or ())}. Models: "
            f"{', '.join(found.models)}. Data sets: {', '.join(found.data)}."
        )
    folder = out or Path("results") / "tuning" / found.name
    summaries = []
    with console.status("tuning") as status:
        for model, data in tasks:
            options = {"data_dir": data_dir, "report": status.update, "on_trial": say}
            summaries.append(search_on(found, model, data, folder, **options))
            say(_told(summaries[-1]))
    if as_json:
        print_json(summaries)
        return
    _show(summaries)
    say(f"records: {folder}")


def _fits(model: str, data: str, pattern: str) -> bool:
    whole = pattern if "/" in pattern else f"{pattern}/*"
    return fnmatchcase(f"{model}/{data}", whole)


def _best(summary: dict[str, Any]) -> dict[str, Any] | None:
    return next((one for one in summary["trials"] if one["number"] == summary["best"]), None)


def _told(summary: dict[str, Any]) -> str:
    best = _best(summary)
    reached = "none ended" if best is None else f"the best falls short by {best['objective']:.2f}"
    return f"{summary['model']} on {summary['data']}: {summary['trials_spent']} trials, {reached}"


def _show(summaries: list[dict[str, Any]]) -> None:
    columns = tuple(dict.fromkeys(c for s in summaries for c in s["searched"]["wanted"]))
    title = "Best trials, validation images"
    table = new_table(title, ("model", "data"), ("trials", *columns))
    for summary in summaries:
        values = (_best(summary) or {}).get("values", {})
        cells = (f"{values[c]:.3f}" if c in values else "–" for c in columns)
        table.add_row(summary["model"], summary["data"], str(summary["trials_spent"]), *cells)
    console.print(table)

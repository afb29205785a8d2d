"""What the search of settings found and what each model gave up for it: docs/settings.md.

Run with ``python -m benchmarks.searched``; seconds.  Its tables are made from the records of
``gncn tune paper`` in results/search/paper.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.document import put
from gncn.study.columns import all_columns
from gncn.study.rows import number
from gncn.study.search import load_search

RECORDS = Path("results/search/paper")
DOCUMENT = Path("docs/settings.md")
DECIMALS = {"error_percent": 1}
TITLES = {
    "gncn": "GNCN, ours",
    "gncn-paper": "GNCN, the paper's",
    "gvae": "GVAE",
    "gvae-cv": "GVAE-CV",
    "gan-ae": "GAN-AE",
    "rae": "RAE",
    "dsrn": "DSRN",
    "gmm": "GMM",
}


def searched() -> Iterator[str]:
    """Data sets of the search of which there are records, in its order."""
    return (data for data in load_search("paper").data if [*RECORDS.glob(f"{data}-*.json")])


def summaries(data: str) -> dict[str, dict[str, Any]]:
    """The records of a data set, by model."""
    found = {}
    for model in TITLES:
        path = RECORDS / f"{data}-{model}.json"
        if path.exists():
            found[model] = json.loads(path.read_text(encoding="utf-8"))
    return found


def rows(data: str) -> dict[str, dict[str, tuple[float, float]]]:
    """By model and column: the chosen trial's value, and the best of all its trials."""
    known, found = all_columns(), {}
    for model, summary in summaries(data).items():
        complete = [one["values"] for one in summary["trials"] if one["state"] == "complete"]
        (chosen,) = (one for one in summary["trials"] if one["number"] == summary["best"])
        found[model] = {
            column: (
                value,
                (min if known[column].low_is_good else max)(one[column] for one in complete),
            )
            for column, value in chosen["values"].items()
        }
    return found


def markdown(data: str) -> str:
    """The table: in a cell the chosen trial's value, then the best of the model's trials."""
    columns, known = load_search("paper").objective.columns, all_columns()
    titles = [known[column].title for column in columns]
    lines = [f"| trials | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    ours, told = rows(data), summaries(data)
    for model, values in ours.items():
        summary = told[model]
        # The first trial has the settings that the search began with.
        which = "the recipe" if summary["best"] == 0 else f"number {summary['best']}"
        cells = [f"{TITLES[model]}: {summary['trials_spent']}, chosen {which}"]
        for column in columns:
            pair = values.get(column, ())
            cells.append(" / ".join(number(one, DECIMALS.get(column, 2)) for one in pair) or "–")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the tables of docs/settings.md."""
    for data in searched():
        put(DOCUMENT, f"searched-{data}", markdown(data))


if __name__ == "__main__":
    main()

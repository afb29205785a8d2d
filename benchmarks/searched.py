"""What the search of settings found and what each model gave up for it: docs/settings.md.

Run with ``python -m benchmarks.searched``; seconds.  Its tables are made from the records of
``gncn tune paper`` in results/search/paper, and of ``gncn tune curves`` in results/search/curves.
"""

import json
import math
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.document import put
from gncn.study.finals import Final
from gncn.study.paper import all_columns
from gncn.study.rows import number
from gncn.study.search import load_search

RECORDS = Path("results/search/paper")
SHORT = Path("results/search/curves")
DOCUMENT = Path("docs/settings.md")
NEAR = 0.05
"""A share of a range that is near its end."""
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
        complete = {
            one["number"]: one["values"] for one in summary["trials"] if one["state"] == "complete"
        }
        if summary["best"] is None:
            continue
        found[model] = {}
        for column, value in complete[summary["best"]].items():
            best = min if known[column].low_is_good else max
            found[model][column] = value, best(one[column] for one in complete.values())
    return found


def markdown(data: str) -> str:
    """The table: in a cell the chosen trial's value, then the best of the model's trials."""
    columns, known = load_search("paper").objective.columns, all_columns()
    titles = [known[column].title for column in columns]
    lines = [f"| trials | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    ours, records = rows(data), summaries(data)
    for model, values in ours.items():
        summary = records[model]
        which = f"chosen {_which(summary, summary['best'])}"
        cells = [f"{TITLES[model]}: {summary['trials_spent']}, {which}"]
        cells += [_cell(column, values.get(column, ())) for column in columns]
        lines.append(f"| {' | '.join(cells)} |")
        for key, found in summary["finals"].items():
            final, measured = Final.of(key), found["values"]
            which = _which(summary, final.number)
            what = f"{TITLES[model]}: {which}, all images{final.length}"
            cells = [f"**{what}**" if key == summary["best_final"] else what]
            cells += [_cell(c, [measured[c]] if c in measured else ()) for c in columns]
            lines.append(f"| {' | '.join(cells)} |")
    known_ends = {model: ends(records[model]) for model in ours}
    if near := [f"{TITLES[m]}: {'; '.join(found)}" for m, found in known_ends.items() if found]:
        told = "Chosen near an end of the range that was searched. " + ". ".join(near) + "."
        lines += ["", *textwrap.wrap(told, 120, break_long_words=False, break_on_hyphens=False)]
    return "\n".join(lines) + "\n"


def ends(summary: dict[str, Any]) -> list[str]:
    """Settings of the chosen trial that lie within a twentieth of their range from an end of it.

    The range is of logarithms where the search drew from these.  Settings that are ends of the
    range, or outside it, by the recipe's word count, too.
    """
    settings = {one["number"]: one["settings"] for one in summary["trials"]}
    chosen, found = settings[summary["best"]], []
    for name, space in summary["searched"]["space"].items():
        if space.get("choices") is not None or name not in chosen:
            continue
        low, high, value = space["low"], space["high"], chosen[name]
        scale = math.log if space["log"] else float
        share = (scale(value) - scale(low)) / (scale(high) - scale(low))
        if not NEAR < share < 1 - NEAR:
            found.append(f"`{name}` {value:.4g} of {low:g} to {high:g}")
    return found


def _which(summary: dict[str, Any], trial: int) -> str:
    """A trial in words; the first one has the settings that the search began with."""
    settings = {one["number"]: one["settings"] for one in summary["trials"]}
    return "the recipe" if settings[trial] == settings[min(settings)] else f"number {trial}"


def _cell(column: str, values: Iterable[float]) -> str:
    return " / ".join(number(one, DECIMALS.get(column, 2)) for one in values) or "–"


def soonest(data: str, records: Path = SHORT) -> dict[str, dict[int, float]]:
    """BCE of validation images after so many epochs, by model: the best trial of each search."""
    found: dict[str, dict[int, float]] = {}
    for model in TITLES:
        by_epochs = {}
        for path in records.glob(f"{data}-{model}-[0-9]*.json"):
            trials = json.loads(path.read_text(encoding="utf-8"))["trials"]
            values = [one["values"]["bce"] for one in trials if one["state"] == "complete"]
            by_epochs[int(path.stem.rpartition("-")[2])] = min(values)
        if by_epochs:
            found[model] = dict(sorted(by_epochs.items()))
    return found


def soonest_markdown(data: str, records: Path = SHORT) -> str:
    """`soonest` as a table; the best of each column is bold."""
    found = soonest(data, records)
    every = sorted({epochs for one in found.values() for epochs in one})
    titles = ["after one epoch" if n == 1 else f"after {n}" for n in every]
    lines = [f"| BCE | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for model, values in found.items():
        cells = []
        for epochs in every:
            text = _cell("bce", [values[epochs]] if epochs in values else ())
            least = min(one[epochs] for one in found.values() if epochs in one)
            cells.append(f"**{text}**" if values.get(epochs) == least else text)
        lines.append(f"| {TITLES[model]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the tables of docs/settings.md."""
    for data in searched():
        put(DOCUMENT, f"searched-{data}", markdown(data))
        if soonest(data):
            put(DOCUMENT, f"soonest-{data}", soonest_markdown(data))


if __name__ == "__main__":
    main()

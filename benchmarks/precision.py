"""What learning Σ⁻¹ needs to help: docs/precision.md.

Run with ``python -m benchmarks.precision``; seconds.  Its table is made from the records of
``gncn reproduce precision``.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.document import put
from gncn.study.paper import Summary, all_columns, over_trials
from gncn.study.rows import number

RECORDS = Path("results/precision/caltech-16")
DOCUMENT = Path("docs/precision.md")
COLUMNS = {
    "bce": "BCE",
    "log_likelihood": "log p(x)",
    "m_mse_paper": "M-MSE by Eq 4",
    "error_percent": "Err, %",
}
HEADINGS = ("Σ⁻¹", "starts at", "rate", "within", "epochs", "trials")
Row = tuple[tuple[str, ...], dict[str, Summary]]
"""How Σ⁻¹ was learned, without the trials, and the numbers of all trials by column."""


def rows() -> list[Row]:
    """A row for each way to learn Σ⁻¹, those that hold it first, then by rate."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    known = all_columns()
    for path in sorted(RECORDS.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        config, metrics = record["spec"]["config"], record["metrics"]
        training = config["training"]
        how = (
            training["n_epochs"],
            config["network"]["precision"],
            config["settling"]["initial_precision"],
            training["precision_rate"],
            tuple(training["precision_bounds"]),
        )
        values = {key: known[key].find(metrics) for key in COLUMNS if key != "bce"}
        found.setdefault(how, []).append({"bce": metrics["bce"]} | values)
    whole = []
    for how in sorted(found, key=lambda one: (-one[0], *one[1:])):
        n_epochs, kind, start, rate, (low, high) = how
        told = "held" if rate == 0 else {"diagonal": "a number a unit"}.get(kind, "a full matrix")
        within = "–" if rate == 0 else f"{low:g} to {high:g}"
        words = (told, f"{start:g}", "–" if rate == 0 else f"{rate:.2g}", within, str(n_epochs))
        trials = {key: [one[key] for one in found[how]] for key in COLUMNS}
        summaries = {key: over_trials(one) for key, one in trials.items()}
        whole.append((words, {key: one for key, one in summaries.items() if one is not None}))
    return whole


def markdown() -> str:
    """The table; the best of each column is bold."""
    every, known = rows(), all_columns()
    best = {
        key: (min if known[key].low_is_good else max)(one[key].mean for _, one in every)
        for key in COLUMNS
    }
    lines = [f"| {' | '.join((*HEADINGS, *COLUMNS.values()))} |"]
    lines += ["|---" * (len(HEADINGS) + len(COLUMNS)) + "|"]
    for words, values in every:
        cells = []
        for key, one in values.items():
            text = f"**{number(one.mean)}**" if one.mean == best[key] else number(one.mean)
            cells.append(text if one.deviation is None else f"{text} ± {one.deviation:.2f}")
        n_trials = str(values["bce"].n_trials)
        lines.append(f"| {' | '.join((*words, n_trials, *cells))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table of docs/precision.md."""
    put(DOCUMENT, "precision", markdown())


if __name__ == "__main__":
    main()

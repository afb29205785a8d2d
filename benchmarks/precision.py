"""What learning Σ⁻¹ needs to help: docs/precision.md.

Run with ``python -m benchmarks.precision``; seconds.  Its table is made from the records of
``gncn reproduce precision``.
"""

from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.document import put
from gncn.study.paper import Summary, best_of, columns, our_numbers
from gncn.study.record import Record, read_records
from gncn.study.rows import number

RECORDS = Path("results/precision")
DOCUMENT = Path("docs/precision.md")
COLUMNS = {
    "bce": "BCE",
    "log_likelihood": "log p(x)",
    "m_mse_paper": "M-MSE by Eq 4",
    "error_percent": "Err, %",
}
HEADINGS = ("Σ⁻¹", "starts at", "rate", "within", "epochs", "trials")
KINDS = {"diagonal": "a number a unit", "full": "a full matrix"}
Row = tuple[tuple[str, ...], dict[str, Summary]]
"""How Σ⁻¹ was learned, without the trials, and the numbers of all trials by column."""


def way(record: Record) -> tuple[Any, ...]:
    """How a run learned Σ⁻¹, in the order of the table: long trainings come first."""
    config = record.spec["config"]
    training, start = config["training"], config["settling"]["initial_precision"]
    bounds = tuple(training["precision_bounds"])
    kind = config["network"]["precision"]
    return -training["n_epochs"], kind, start, training["precision_rate"], bounds


def rows() -> list[Row]:
    """A row for each way to learn Σ⁻¹."""
    found = []
    for how, records in groupby(sorted(read_records(RECORDS), key=way), key=way):
        n_epochs, kind, start, rate, (low, high) = how
        learned = (KINDS[kind], f"{start:g}", f"{rate:.2g}", f"{low:g} to {high:g}")
        words = learned if rate else ("held", f"{start:g}", "–", "–")
        numbers = our_numbers(((one.kept, one.metrics) for one in records), "validation")
        found.append(((*words, str(-n_epochs)), {key: numbers[key] for key in COLUMNS}))
    return found


def markdown() -> str:
    """The table; the best of each column is bold."""
    every, known = dict(rows()), columns()
    lines = [f"| {' | '.join((*HEADINGS, *COLUMNS.values()))} |"]
    lines += ["|---" * (len(HEADINGS) + len(COLUMNS)) + "|"]
    best = {
        key: best_of(known[key], {words: one[key].mean for words, one in every.items()}, 1)
        for key in COLUMNS
    }
    for words, values in every.items():
        cells = []
        for key, one in values.items():
            text = f"**{number(one.mean)}**" if words in best[key] else number(one.mean)
            cells.append(text if one.deviation is None else f"{text} ± {one.deviation:.2f}")
        lines.append(f"| {' | '.join((*words, str(values['bce'].n_trials), *cells))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table of docs/precision.md."""
    put(DOCUMENT, "precision", markdown())


if __name__ == "__main__":
    main()

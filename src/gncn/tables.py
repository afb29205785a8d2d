"""A `Comparison` as text, Markdown, LaTeX or JSON.

Each measure has a column of ours, mean ± standard deviation over trials, and beside it
the paper's.  The best two of ours are in bold; on paper and screens without bold type,
text has a star instead.
"""

from typing import Any

from rich.table import Table

from gncn.compare import COLUMNS, Comparison, Row, Summary
from gncn.errors import unknown_choice

FORMATS = ("text", "markdown", "latex", "json")
NOTE = (
    "log p(x) is a lower bound on average, from S prior samples; the paper's numbers beside it "
    "are its printed ones less 2 log S, and stand as printed beside log p(x) + 2 log S."
)


def render(comparison: Comparison, form: str) -> str:
    """The comparison as Markdown or LaTeX.

    Raises:
        ConfigError: the form is unknown.
    """
    match form:
        case "markdown":
            return _markdown(comparison)
        case "latex":
            return _latex(comparison)
        case _:
            raise unknown_choice("format", form, FORMATS)


def rich_table(comparison: Comparison) -> Table:
    """The comparison as a table for a terminal."""
    title = f"{comparison.data}, {comparison.split} images (* is among the best two)"
    table = Table(title=title, title_justify="left")
    head, *rest = _head(comparison)
    table.add_column(head)
    for name in rest:
        table.add_column(name, justify="right")
    for row in comparison.rows:
        table.add_row(*_cells(comparison, row, "[bold]{}[/]*"))
    return table


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain values, at full precision."""
    best = {key: comparison.best(key) for key in comparison.columns}
    return {
        "data": {"name": comparison.data, "fingerprint": comparison.fingerprint},
        "split": comparison.split,
        "note": NOTE,
        "rows": [
            {
                "run": str(row.run),
                "model": row.model,
                "n_synapses": row.n_synapses,
                "measures": {
                    key: {
                        **row.values[key]._asdict(),
                        "among_best_two": row.run in best[key],
                    }
                    for key in comparison.columns
                    if key in row.values
                },
                "published": row.published,
                "bce_by_epoch": list(row.curves),
            }
            for row in comparison.rows
        ],
    }


def _head(comparison: Comparison) -> list[str]:
    names = ["model", "synapses"]
    for key in comparison.columns:
        names.append(COLUMNS[key].title)
        if _has_paper(comparison, key):
            names.append("paper")
    return names


def _has_paper(comparison: Comparison, key: str) -> bool:
    return any(key in row.published for row in comparison.rows)


def _cells(comparison: Comparison, row: Row, bold: str, missing: str = "–") -> list[str]:
    cells = [row.model, missing if row.n_synapses is None else f"{row.n_synapses:,}"]
    for key in comparison.columns:
        ours = missing
        if key in row.values:
            ours = _number(row.values[key])
            ours = bold.format(ours) if row.run in comparison.best(key) else ours
        cells.append(ours)
        if _has_paper(comparison, key):
            published = row.published.get(key)
            cells.append(missing if published is None else f"{published:.2f}")
    return cells


def _number(summary: Summary) -> str:
    spread = "" if summary.deviation is None else f" ± {summary.deviation:.2f}"
    return f"{summary.mean:.2f}{spread}"


def _markdown(comparison: Comparison) -> str:
    head = _head(comparison)
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    lines += [_cells(comparison, row, "**{}**") for row in comparison.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _latex(comparison: Comparison) -> str:
    head = _head(comparison)
    lines = [r"\begin{tabular}{l" + "r" * (len(head) - 1) + "}", r"\hline"]
    lines += [" & ".join(_escape(name) for name in head) + r" \\", r"\hline"]
    for row in comparison.rows:
        cells = _cells(comparison, row, r"\textbf{{{}}}", "--")
        lines.append(" & ".join(_escape(cell) for cell in cells) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}"])


def _escape(text: str) -> str:
    for plain, written in (
        ("%", r"\%"),
        ("±", r"$\pm$"),
        ("log p(x)", r"$\log p(x)$"),
        ("N(0, I)", r"$\mathcal{N}(0, I)$"),
        ("2 log S", r"$2 \log S$"),
        ("_", r"\_"),
    ):
        text = text.replace(plain, written)
    return text

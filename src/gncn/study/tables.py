"""A `Comparison` as text, Markdown, LaTeX or JSON.

Each measure has ours, mean ± standard deviation over trials, and next to it the paper's:
columns on paper, rows on a screen, where runs stand side by side.  The best two of ours
are in bold; on paper and screens without bold type, text has a star instead.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gncn.base.errors import unknown_choice
from gncn.study.columns import columns
from gncn.study.compare import Comparison, Row

FORMATS = ("text", "markdown", "latex", "json")
NOTE = (
    "log p(x) is a lower bound on average, from S prior samples. It is compared with the paper's "
    "printed numbers less 2 log S; log p(x) + 2 log S is compared with them as printed."
)
_ESCAPED = {
    "%": r"\%",
    "±": r"$\pm$",
    "log p(x)": r"$\log p(x)$",
    "N(0, I)": r"$\mathcal{N}(0, I)$",
    "2 log S": r"$2 \log S$",
    "_": r"\_",
}
"""How LaTeX writes what may stand in a table."""


def render(comparison: Comparison, form: str) -> str:
    """The comparison as Markdown or LaTeX.

    Raises:
        ConfigError: the form is unknown.
    """
    head = _head(comparison)
    if form == "markdown":
        lines = [head, ["---", *["---:"] * (len(head) - 1)]]
        lines += [_cells(comparison, row, "**{}**") for row in comparison.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    if form == "latex":
        rows = [_cells(comparison, row, r"\textbf{{{}}}", "--") for row in comparison.rows]
        first, *others = (" & ".join(map(_escape, row)) + r" \\" for row in (head, *rows))
        begin = rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}"
        return "\n".join([begin, r"\hline", first, r"\hline", *others, r"\hline", r"\end{tabular}"])
    raise unknown_choice("format", form, FORMATS)


def rich_tables(comparison: Comparison, console: Console) -> list[Table]:
    """The comparison for a terminal: a column for each run, as many tables as its width needs."""
    boundless = console.options.update(width=10_000)

    def fits(rows: Sequence[Row]) -> bool:
        needed = console.measure(_rich_table(comparison, rows), options=boundless).maximum
        return needed <= console.width

    left, tables = list(comparison.rows), []
    while left:
        n = next((n for n in range(len(left), 1, -1) if fits(left[:n])), 1)
        tables.append(_rich_table(comparison, left[:n]))
        left = left[n:]
    return tables


def _rich_table(comparison: Comparison, rows: Sequence[Row]) -> Table:
    title = f"{comparison.data}, {comparison.split} images (* is among the best two)"
    table = Table(title=title, title_justify="left")
    table.add_column("run\nmodel")
    for row in rows:
        table.add_column(Text(f"{row.run.name}\n{row.model}"), justify="right")
    cells = [_cells(comparison, row, "[bold]{}[/]*")[1:] for row in rows]
    for name, *values in zip(_head(comparison)[1:], *cells, strict=True):
        paper = name == "paper"
        table.add_row("  the paper's" if paper else name, *values, style="dim" if paper else None)
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
                    key: asdict(value) | {"among_best_two": row.run in best[key]}
                    for key, value in row.values.items()
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
        names += [columns()[key].title, *(["paper"] if _has_paper(comparison, key) else [])]
    return names


def _has_paper(comparison: Comparison, key: str) -> bool:
    return any(key in row.published for row in comparison.rows)


def _cells(comparison: Comparison, row: Row, bold: str, missing: str = "–") -> list[str]:
    cells = [row.model, missing if row.n_synapses is None else f"{row.n_synapses:,}"]
    for key in comparison.columns:
        ours = missing
        if (value := row.values.get(key)) is not None:
            spread = "" if value.deviation is None else f" ± {value.deviation:.2f}"
            ours = f"{value.mean:.2f}{spread}"
            ours = bold.format(ours) if row.run in comparison.best(key) else ours
        cells.append(ours)
        if _has_paper(comparison, key):
            published = row.published.get(key)
            cells.append(missing if published is None else f"{published:.2f}")
    return cells


def _escape(text: str) -> str:
    for plain, written in _ESCAPED.items():
        text = text.replace(plain, written)
    return text

"""Tables in documents: each stands between two lines of Markdown that name it."""

from pathlib import Path

import typer

from benchmarks.machine import write


def around(document: Path, name: str) -> tuple[str, str]:
    """The text before and after the place that two lines of a document name.

    Raises:
        BadParameter: the document has no such place.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, found, rest = document.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise typer.BadParameter(
            f"{document} has no lines {begin.strip()!r} and {end.strip()!r}, between which the "
            "table is to stand.",
            param_hint="document",
        )
    return before + begin, end + after


def put(document: Path, name: str, table: str) -> None:
    """Replace the table in a place of a document.

    Raises:
        BadParameter: the document has no such place.
    """
    before, after = around(document, name)
    write(document, before + table + after)

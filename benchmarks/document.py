"""Tables in documents: each between two lines of Markdown that name it."""

from pathlib import Path

import typer

from gncn.base.files import write_atomic


def around(document: Path, name: str) -> tuple[str, str]:
    """What stands before and after the place that two lines of a document name.

    Raises:
        BadParameter: the document has no such place.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, found, rest = document.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise typer.BadParameter(
            f"{document} has no lines {begin.strip()!r} and {end.strip()!r}, between which the "
            "table is to stand.",
            param_hint="document",
        )
    return before + begin, end + after


def put(document: Path, name: str, table: str) -> None:
    """Put a table into its place, instead of what stands there.

    Raises:
        BadParameter: the document has no such place.
    """
    before, after = around(document, name)
    write_atomic(document, before + table + after)

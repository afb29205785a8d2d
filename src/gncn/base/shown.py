"""Names are data: what a terminal, Markdown or LaTeX would obey is written so that it is only read.

Folders, models, data sets and labels may be called anything.  Whatever shows one to people calls
one of these functions; `gncn.base.errors.GncnError` does so for messages.
"""

import codecs
import re
import unicodedata
from collections.abc import Sequence
from html import escape

_WRITTEN = 'psi rho Sigma +- x / - - ... -> <= * " " \''
_STAND_INS = dict(zip("ψρΣ±×÷–−…→≤•“”’", _WRITTEN.split(" "), strict=True))
"""For signs of the library's own texts that a stream can't show."""
ERRORS = "gncn"
"""Name of the error handler of streams that writes them, and escapes for all other signs."""
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: rf"\{sign}" for sign in "{}$&#_%"},
}


def shown(text: str, keep: str = "\n") -> str:
    """A text with escapes, as in Python's strings, for signs that act or can't be seen.

    Such signs begin a terminal's commands, turn the direction of what follows, or stand for bytes
    of a file name that are no text.  Signs in `keep` stay as they are.
    """
    # Nearly all texts are harmless, and found so in one call.
    if text.isprintable():
        return text
    return "".join(one if one in keep or _is_seen(one) else _escape(one) for one in text)


def in_markdown(text: str) -> str:
    """A text as Markdown shows it as it is, in a paragraph or in a cell of a table."""
    return re.sub(r"[\\`*\[\]<>|&$#~]|\b_|_\b", r"\\\g<0>", shown(text.replace("\n", " "), keep=""))


def in_latex(text: str) -> str:
    """A text as LaTeX shows it as it is."""
    return "".join(_LATEX.get(one, one) for one in shown(text, keep=""))


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text in aligned columns, all but the first to the right.

    >>> print(text_table([["model", "BCE"], ["gncn", "47.93"]]))
    model    BCE
    gncn   47.93
    """
    rows = [[shown(cell, keep="") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(f"{cell:{'>' if at else '<'}{widths[at]}}" for at, cell in enumerate(row))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def markdown_table(rows: Sequence[Sequence[str]], n_left: int) -> str:
    """Rows of cells, which are Markdown already; columns after the first `n_left` to the right.

    >>> print(markdown_table([["model", "BCE"], ["gncn", "47.93"]], 1))
    | model | BCE |
    | --- | ---: |
    | gncn | 47.93 |
    """
    head, *rest = rows
    rule = ["---" if at < n_left else "---:" for at in range(len(head))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rest))


def html_table(caption: str, rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as a table in HTML, the first row its head."""
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        cells = "".join(f"<{tag}>{escape(shown(cell, keep=''))}</{tag}>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table><caption>{escape(shown(caption))}</caption>{''.join(lines)}</table>"


def _is_seen(sign: str) -> bool:
    # Spaces of all kinds are seen, though Python calls most of them unprintable.
    return sign.isprintable() or unicodedata.category(sign) == "Zs"


def _escape(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    return "".join(_STAND_INS.get(one) or _escape(one) for one in unknown), error.end


codecs.register_error(ERRORS, _stand_in)

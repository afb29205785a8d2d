"""The report: one HTML page that needs nothing else, and Markdown with a folder of figures."""

import base64
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateError
from markupsafe import Markup, escape

from gncn.base.files import make_folder, write_atomic
from gncn.base.shown import in_markdown, shown
from gncn.figures.plots import PALETTE, Curve, draw_curves, draw_points, draw_sparsity
from gncn.study.claims import mark_claims
from gncn.study.judged import ERROR_RATES
from gncn.study.paper import EXCESS, KINDS, YARDSTICKS, Summary, columns
from gncn.study.pictures import unpack_points
from gncn.study.record import MARKS, trusted
from gncn.study.rows import ModelRow, number
from gncn.study.summary import DataSection, Findings
from gncn.study.texts import Place, filled

Colours = Callable[[DataSection], dict[str, str]]
"""The colour of each model in the figures of a section."""


class Figure(NamedTuple):
    """A drawing, as SVG, or a sheet of images: PNG in base64, with its size in pixels.

    `name` is its file's; `alt` says what it shows to readers who don't see it.
    """

    name: str
    alt: str
    title: str
    svg: str = ""
    png: Mapping[str, Any] = {}

    @property
    def file(self) -> str:
        """Name of the file, with its suffix."""
        return f"{self.name}.{'svg' if self.svg else 'png'}"

    @trusted()
    def content(self) -> bytes:
        """Content of the file."""
        if not self.svg:
            return base64.b64decode(self.png["png"])
        # A file of its own has no page around it, so it carries its colours for light and dark.
        dark = "@media (prefers-color-scheme: dark) { svg { color: #e6eaf0 } }"
        own = f"<style>svg {{ color: #1f2933 }} {dark}</style>"
        head, rest = self.svg.split(">", 1)
        return f'{head} width="480">{own}{rest}'.encode()


def make_page(findings: Findings) -> str:
    """The report as one HTML page without outside references."""
    return _render("html", _context(findings))


def write_report(findings: Findings, html: Path, markdown: Path) -> list[Path]:
    """Write the page and the Markdown, whose figures go to the folder of its name without suffix.

    Returns:
        The files written: page, Markdown, figures.
    """
    figures = markdown.with_suffix("")
    context = _context(findings) | {"figures_at": quote(os.fsencode(figures.name))}
    files = {html: _render("html", context).encode(), markdown: _render("md", context).encode()}
    # Figures are files next to the Markdown, and part of the page in HTML.
    kinds = ("curves", "samples", "codes", "sparsity", "completions")
    groups: Any = (group for kind in kinds for _, group in context[kind])
    files |= {figures / one.file: one.content() for group in groups for one in group}
    # Folders first, then all files; each file is replaced whole.
    for folder in (html.parent, markdown.parent, figures):
        make_folder(folder)
    for path, content in files.items():
        write_atomic(path, content)
    return list(files)


def with_spread(summary: Summary, decimals: int = 2) -> str:
    """Mean ± standard deviation over trials."""
    mean, spread = number(summary.mean, decimals), summary.deviation
    return mean if spread is None else f"{mean} ± {number(spread, decimals)}"


@trusted(TemplateError)
def _render(form: str, context: dict[str, Any]) -> str:
    return _environment(form).get_template(f"report.{form}.jinja").render(context)


@cache  # it keeps the templates that it has compiled
def _environment(form: str) -> Environment:
    def escaped(value: Any) -> Any:
        # What templates mark as safe was escaped by themselves.
        if not isinstance(value, str) or isinstance(value, Markup):
            return value
        # Markdown has signs of its own to escape.
        return shown(value) if form == "html" else Markup(in_markdown(value))

    environment = Environment(
        loader=PackageLoader("gncn.study"),
        autoescape=True,
        finalize=escaped,
        # A name that is missing in a template is an error, not an empty cell.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = lambda text: escape(shown(text.replace("\n", " ")))  # noqa: E731
    environment.filters |= {"number": number, "with_spread": with_spread, "html": html}
    environment.filters["whole"] = "{:,}".format
    return environment


@trusted()
def _context(findings: Findings) -> dict[str, Any]:
    study, finished = findings.study, findings.finished
    numbers = _numbers(findings)
    few = [_few_rows(section) for section in findings.sections]

    def colours(section: DataSection) -> dict[str, str]:
        models = study.models
        # With more models than colours only a few are drawn, and these share the colours out.
        if len(models) > len(PALETTE):
            models = [row.key for row in section.rows]
        return dict(zip(models, PALETTE, strict=False))

    def drawn(draw: Callable[..., Iterable[Figure]], *options: Any) -> list[Any]:
        groups = ((section, list(draw(section, *options))) for section in few)
        return [(section, figures) for section, figures in groups if figures]

    return {
        "findings": findings,
        "study": study,
        "said": {
            name: [filled(text.strip(), numbers) for text in getattr(study, name)]
            for name in ("holds", "fails", "depends", "notes")
        },
        "about": filled(study.about.strip(), numbers),
        "reasons": [filled(claim.reason, numbers) for claim in study.claims],
        "claimed": mark_claims(study, (*findings.finished, *findings.failed)),
        "sections": findings.sections,
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
        "column_of": columns(),
        "kinds": KINDS,
        "excess": EXCESS,
        "error_rates": ERROR_RATES,
        "many": len(PALETTE),
        "n_drawn": len(PALETTE) if few != list(findings.sections) else 0,
        "yardsticks": YARDSTICKS,
        "marks": _marks(findings),
        "locks": _locks(findings),
        "curves": drawn(_curves, colours, study.split),
        "samples": drawn(_samples, study.split),
        "codes": drawn(_codes),
        "sparsity": drawn(_sparsity, colours),
        "completions": drawn(_completions),
        "first_epochs": [
            (section, row)
            for section in findings.sections
            for row in section.rows
            if row.first_epoch.verdict is not None
        ],
        "versions": _distinct(record.versions for record in finished),
        "sources": sorted({one.source for one in (*finished, *findings.failed) if one.source}),
        "hardware": _distinct(record.hardware for record in finished),
        "times": _times(findings),
    }


def _numbers(findings: Findings) -> dict[Place, str]:
    """What the places for numbers in a study's texts stand for."""
    found = {}
    # Whole data go before a part of them, and models before yardsticks of the same name.
    for section in sorted(findings.sections, key=lambda section: not section.partial):
        for one in (one for one in section.yardsticks if one.meant):
            found |= {(section.key, one.name, key): n.mean for key, n in one.numbers.items()}
        for row in section.rows:
            means = {key: cell.ours for key, cell in row.cells.items() if cell.ours}
            found |= {(section.key, row.key, key): one.mean for key, one in means.items()}
    return {place: number(mean) for place, mean in found.items()}


def _few_rows(section: DataSection) -> DataSection:
    """The section with as many models as there are colours: those with the best BCE."""

    def bce(row: ModelRow) -> float:
        ours = row.cells["bce"].ours
        # Models without a BCE come last.
        return math.inf if ours is None else ours.mean

    if len(section.rows) <= len(PALETTE):
        return section
    return replace(section, rows=tuple(sorted(section.rows, key=bce)[: len(PALETTE)]))


def _curves(section: DataSection, colours: Colours, what: str) -> Iterator[Figure]:
    curves, ends = [], []
    for row in section.rows:
        if row.curve:
            mean, deviation = zip(*row.curve, strict=True)
            paper = row.cells["bce"].paper if section.published else None
            bold = row.kind == "gncn"
            curves.append(Curve(row.title, colours(section)[row.key], mean, deviation, bold, paper))
            ends.append(f"{row.title} {number(mean[0], 1)} to {number(mean[-1], 1)}")
    if curves:
        told = f"BCE of {what} images of {section.title} from the first epoch to the last"
        name = f"curves-{_slug(section)}"
        svg = draw_curves(curves, what, name)
        yield Figure(name, f"{told}: {'; '.join(ends)}", section.title, svg=svg)


def _samples(section: DataSection, what: str) -> Iterator[Figure]:
    """Data, GVAE, GNCN as in the paper, then the others."""
    rows = _with(section, "samples")
    for row in rows[:1]:
        alt = f"20 {what} images of {section.title}"
        yield _sheet(section, "data", row.pictures["data"], alt, f"{what} images")
    for row in sorted(rows, key=lambda row: {"gvae": 0, "gncn": 1}.get(row.kind, 2)):
        alt = f"20 samples of the {row.title} trained on {section.title}"
        yield _sheet(section, f"samples-{row.key}", row.pictures["samples"], alt, row.title)


def _completions(section: DataSection) -> Iterator[Figure]:
    rows = _with(section, "completed")
    for row in rows[:1]:
        yield _sheet(section, "seen", row.pictures["seen"], f"{section.title}: halves seen", "Seen")
    for row in rows:
        alt = f"{section.title}: the same, completed by the {row.title}"
        title = f"{row.title} ({row.way})" if row.way else row.title
        yield _sheet(section, f"completed-{row.key}", row.pictures["completed"], alt, title)
    for row in rows[:1]:
        alt = f"{section.title}: the whole images"
        yield _sheet(section, "whole", row.pictures["whole"], alt, "Whole images")


def _codes(section: DataSection) -> Iterator[Figure]:
    for row in _with(section, "embedding"):
        if row.kind in ("gvae", "gncn"):
            name = f"codes-{row.key}-{_slug(section)}"
            alt = f"t-SNE of the {row.title}'s codes of {section.title}, coloured by class"
            svg = draw_points(*unpack_points(row.pictures["embedding"]), name)
            yield Figure(name, alt, f"{section.title}: {row.title}", svg=svg)


def _sparsity(section: DataSection, colours: Colours) -> Iterator[Figure]:
    paper = section.paper_sparsity
    for row in section.rows:
        if row.kind == "gncn" and row.sparsity:
            means = [one.mean for one in row.sparsity]
            papers = f"; the paper's {', '.join(map(number, paper))}" if paper else ""
            alt = f"Active neurons of layers 1 and up: {', '.join(map(number, means))}{papers}"
            name = f"sparsity-{row.key}-{_slug(section)}"
            spread = [one.deviation or 0.0 for one in row.sparsity]
            svg = draw_sparsity(means, spread, paper, colours(section)[row.key], name)
            yield Figure(name, alt, f"{section.title}: {row.title}", svg=svg)


def _sheet(section: DataSection, name: str, png: Mapping[str, Any], alt: str, title: str) -> Figure:
    return Figure(f"{name}-{_slug(section)}", alt, title, png=png)


def _slug(section: DataSection) -> str:
    return f"{section.key}-part" if section.partial else section.key


def _with(section: DataSection, picture: str) -> list[ModelRow]:
    return [row for row in section.rows if picture in row.pictures]


def _distinct(found: Iterable[dict[str, Any]]) -> list[str]:
    """Different dictionaries, each as text."""
    return sorted({", ".join(f"{k} {value}" for k, value in one.items()) for one in found if one})


def _marks(findings: Findings) -> dict[str, str]:
    """The marks that rows have, and what they mean."""
    found = {row.mark for section in findings.sections for row in section.rows}
    return {name: meaning for name, meaning in MARKS.items() if name in found}


def _locks(findings: Findings) -> list[str]:
    """Where the settings of test runs were fixed, in words."""
    locks = [record.lock for record in findings.finished if record.lock is not None]
    where = {"git": "commit", "package": "gncn", "not in git": "not in git, lock file"}
    dates: dict[str, set[str]] = {}
    for lock in locks:
        dates.setdefault(f"{where[lock.kept]} {lock.version}", set()).add(lock.date[:10])
    return [f"{place} (locked {', '.join(sorted(days))})" for place, days in sorted(dates.items())]


def _times(findings: Findings) -> list[dict[str, Any]]:
    """Mean minutes of a run, by model and data."""
    study, by_run = findings.study, lambda record: (record.model, record.data)
    times = []
    # `groupby` joins neighbours only, so records are sorted by the same key.
    for (model, data), group in groupby(sorted(findings.finished, key=by_run), by_run):
        records = list(group)
        minutes = {
            name: sum(record.seconds[name] for record in records) / len(records) / 60
            for name in ("training", "evaluation")
        }
        titles = {"model": study.title_of(model), "data": study.title_of(data)}
        times.append(titles | minutes | {"n": len(records)})
    return times

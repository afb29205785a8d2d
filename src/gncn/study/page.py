"""The report: one HTML page that needs nothing else, and Markdown with a folder of figures."""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from gncn.base.files import write_atomic
from gncn.figures.plots import PALETTE, Curve, draw_curves, draw_points, draw_sparsity
from gncn.study.columns import columns
from gncn.study.findings import DataSection, Findings, ModelRow, number, with_spread
from gncn.study.paper import EXCESS
from gncn.study.pictures import unpack_points
from gncn.study.verdict import KINDS

SIGNS = {"beaten": "▲", "reproduced": "●", "not reached": "▼", "not attainable": "⊘"}
YARDSTICKS = {
    "supervised": "a network trained by backprop for this half alone",
    "nearest_neighbours": "nearest neighbours",
    "mean_image": "the mean image",
}
LOOSE = 1.0
"""Nats between two bounds from which on an estimate isn't tight."""

FIGURES = ("curves", "samples", "codes", "sparsity", "completions")


class Figure(NamedTuple):
    """A figure of the report.

    Attributes:
        name: name of its file.
        alt: what it shows, for readers who don't see it.
        title: above it.
        svg: a drawing; empty for a sheet of images.
        png: the sheet, base64, with its size in pixels; empty for a drawing.
    """

    name: str
    alt: str
    title: str
    svg: str = ""
    png: Mapping[str, Any] = {}

    @property
    def file(self) -> str:
        """Name of the file."""
        return f"{self.name}.{'svg' if self.svg else 'png'}"

    def content(self) -> bytes:
        """Content of the file."""
        if not self.svg:
            return base64.b64decode(self.png["png"])
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
    context = _context(findings) | {"figures_at": figures.name}
    files = {html: _render("html", context).encode(), markdown: _render("md", context).encode()}
    groups: Any = (group for kind in FIGURES for _, group in context[kind])
    files |= {figures / one.file: one.content() for group in groups for one in group}
    for folder in (html.parent, markdown.parent, figures):
        folder.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        write_atomic(path, content)
    return list(files)


def _render(form: str, context: dict[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("gncn.study"),
        autoescape=form == "html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "with_spread": with_spread}
    return environment.get_template(f"report.{form}.jinja").render(context)


def _context(findings: Findings) -> dict[str, Any]:
    study, sections = findings.study, findings.sections
    colours = {model: PALETTE[i % len(PALETTE)] for i, model in enumerate(study.models)}
    records = [*findings.finished, *findings.failed]

    def drawn(draw: Callable[..., Iterable[Figure]], *options: Any) -> list[Any]:
        groups = ((section, list(draw(section, *options))) for section in sections)
        return [(section, figures) for section, figures in groups if figures]

    return {
        "findings": findings,
        "study": study,
        "sections": sections,
        "compared": [section for section in sections if section.published],
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
        "column_of": columns(),
        "signs": SIGNS,
        "kinds": KINDS,
        "excess": EXCESS,
        "yardsticks": YARDSTICKS,
        "loose": LOOSE,
        "curves": drawn(_curves, colours, study.split),
        "samples": drawn(_samples, study.split),
        "codes": drawn(_codes),
        "sparsity": drawn(_sparsity, colours),
        "completions": drawn(_completions),
        "first_epochs": [
            (section, row)
            for section in sections
            for row in section.rows
            if row.first_epoch.verdict is not None
        ],
        "versions": _distinct(record.versions for record in findings.finished),
        "sources": sorted({record.source for record in records if record.source}),
        "hardware": _distinct(record.hardware for record in findings.finished),
        "hours": sum(record.seconds["total"] for record in findings.finished) / 3600,
        "times": _times(findings),
    }


def _curves(section: DataSection, colours: dict[str, str], what: str) -> Iterator[Figure]:
    rows = [row for row in section.rows if row.curve]
    if not rows:
        return
    curves = []
    for row in rows:
        mean, deviation = zip(*row.curve, strict=True)
        paper = row.cells["bce"].paper if section.published else None
        bold = row.kind == "gncn"
        curves.append(Curve(row.title, colours[row.key], mean, deviation, bold, paper))
    ends = "; ".join(
        f"{row.title} {number(row.curve[0][0], 1)} to {number(row.curve[-1][0], 1)}" for row in rows
    )
    alt = f"BCE of {what} images of {section.title} from the first epoch to the last: {ends}"
    name = f"curves-{section.slug}"
    yield Figure(name, alt, section.title, svg=draw_curves(curves, what, name))


def _samples(section: DataSection, what: str) -> Iterator[Figure]:
    """Data, GVAE, GNCN as in the paper, then the others."""
    rows = _with(section, "samples")
    for row in rows[:1]:
        alt, data = f"20 {what} images of {section.title}", row.pictures["data"]
        yield Figure(f"data-{section.slug}", alt, f"{what} images", png=data)
    for row in sorted(rows, key=lambda row: {"gvae": 0, "gncn": 1}.get(row.kind, 2)):
        alt = f"20 samples of the {row.title} trained on {section.title}"
        name = f"samples-{row.key}-{section.slug}"
        yield Figure(name, alt, row.title, png=row.pictures["samples"])


def _codes(section: DataSection) -> Iterator[Figure]:
    for row in _with(section, "embedding"):
        if row.kind in ("gvae", "gncn"):
            name = f"codes-{row.key}-{section.slug}"
            alt = f"t-SNE of the {row.title}'s codes of {section.title}, coloured by class"
            svg = draw_points(*unpack_points(row.pictures["embedding"]), name)
            yield Figure(name, alt, f"{section.title}: {row.title}", svg=svg)


def _sparsity(section: DataSection, colours: dict[str, str]) -> Iterator[Figure]:
    paper = section.paper_sparsity
    for row in section.rows:
        if row.kind == "gncn" and row.sparsity:
            means = [one.mean for one in row.sparsity]
            papers = f"; the paper's {', '.join(map(number, paper))}" if paper else ""
            alt = f"Active neurons of layers 1 and up: {', '.join(map(number, means))}{papers}"
            name = f"sparsity-{row.key}-{section.slug}"
            spread = [one.deviation or 0.0 for one in row.sparsity]
            svg = draw_sparsity(means, spread, paper, colours[row.key], name)
            yield Figure(name, alt, f"{section.title}: {row.title}", svg=svg)


def _completions(section: DataSection) -> Iterator[Figure]:
    rows = _with(section, "completed")
    for row in rows[:1]:
        alt, seen = f"{section.title}: halves seen", row.pictures["seen"]
        yield Figure(f"seen-{section.slug}", alt, "Seen", png=seen)
    for row in rows:
        alt = f"{section.title}: the same, completed by the {row.title}"
        name = f"completed-{row.key}-{section.slug}"
        title = f"{row.title} ({row.way})" if row.way else row.title
        yield Figure(name, alt, title, png=row.pictures["completed"])
    for row in rows[:1]:
        alt, whole = f"{section.title}: the whole images", row.pictures["whole"]
        yield Figure(f"whole-{section.slug}", alt, "Whole images", png=whole)


def _with(section: DataSection, picture: str) -> list[ModelRow]:
    return [row for row in section.rows if picture in row.pictures]


def _distinct(found: Iterable[dict[str, Any]]) -> list[str]:
    """Different dictionaries, each as text."""
    return sorted({", ".join(f"{k} {value}" for k, value in one.items()) for one in found if one})


def _times(findings: Findings) -> list[dict[str, Any]]:
    """Mean minutes of a run, by model and data."""
    taken: dict[tuple[str, str], list[dict[str, float]]] = {}
    for record in findings.finished:
        taken.setdefault((record.model, record.data), []).append(record.seconds)
    return [
        {
            "model": findings.study.title_of(model),
            "data": findings.study.title_of(data),
            "n": len(seconds),
            "training": sum(s["training"] for s in seconds) / len(seconds) / 60,
            "evaluation": sum(s["evaluation"] for s in seconds) / len(seconds) / 60,
        }
        for (model, data), seconds in sorted(taken.items())
    ]

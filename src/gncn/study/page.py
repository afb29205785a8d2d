"""The report: one HTML page that needs nothing else, and Markdown with a folder of figures."""

import base64
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gncn.base.files import write_atomic
from gncn.figures.plots import PALETTE, Curve, draw_curves, draw_points, draw_sparsity
from gncn.study.columns import columns
from gncn.study.findings import (
    LOOSE,
    YARDSTICKS,
    Cell,
    DataSection,
    Findings,
    ModelRow,
    number,
    with_spread,
)
from gncn.study.pictures import unpack_points
from gncn.study.verdict import EXCESS, KINDS

SIGNS = {"beaten": "▲", "reproduced": "●", "not reached": "▼", "not attainable": "⊘"}


class Figure(NamedTuple):
    """A figure of the report.

    Attributes:
        name: name of its file.
        alt: what it shows, for readers who don't see it.
        title: above it.
        svg: a drawing, or
        png: a sheet of images, with its size in pixels.
    """

    name: str
    alt: str
    title: str
    svg: str | None = None
    png: dict[str, Any] | None = None

    @property
    def file(self) -> str:
        """Name of the file."""
        return f"{self.name}.{'svg' if self.svg else 'png'}"

    @property
    def inline(self) -> Markup:
        """For HTML."""
        if self.svg is not None:
            label = Markup('<svg role="img" aria-label="{}" ').format(self.alt)
            return label + Markup(self.svg.removeprefix("<svg "))
        assert self.png is not None
        return Markup(
            '<img class="sheet" src="data:image/png;base64,{}" width="{}" height="{}" alt="{}">'
        ).format(self.png["png"], self.png["width"], self.png["height"], self.alt)

    def content(self) -> bytes:
        """Of the file."""
        if self.svg is None:
            assert self.png is not None
            return base64.b64decode(self.png["png"])
        dark = "@media (prefers-color-scheme: dark) { svg { color: #e6eaf0 } }"
        own = f"<style>svg {{ color: #1f2933 }} {dark}</style>"
        head, rest = self.svg.split(">", 1)
        return f'{head} width="480">{own}{rest}'.encode()


class FigureGroup(NamedTuple):
    """Figures of one data set side by side."""

    section: DataSection
    figures: tuple[Figure, ...]


def make_page(findings: Findings) -> str:
    """The report as one HTML page without outside references."""
    return _environment(html=True).get_template("report.html.jinja").render(_context(findings))


def write_report(findings: Findings, html: Path, markdown: Path) -> list[Path]:
    """Write the page and the Markdown, whose figures go to a folder of the same name.

    Args:
        findings: what to report.
        html: the page.
        markdown: the Markdown; its figures go to the folder of its name without suffix.

    Returns:
        The files written.
    """
    context = _context(findings)
    figures = markdown.with_suffix("")
    context["figures_at"] = figures.name
    for path in (html.parent, markdown.parent, figures):
        path.mkdir(parents=True, exist_ok=True)
    pages = {
        html: _environment(html=True).get_template("report.html.jinja").render(context),
        markdown: _environment(html=False).get_template("report.md.jinja").render(context),
    }
    for path, text in pages.items():
        write_atomic(path, text)
    drawn = [
        figure
        for kind in ("curves", "samples", "codes", "sparsity", "completions")
        for group in context[kind]
        for figure in group.figures
    ]
    for figure in drawn:
        write_atomic(figures / figure.file, figure.content())
    return [*pages, *(figures / figure.file for figure in drawn)]


def _environment(*, html: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("gncn.study"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "with_spread": with_spread}
    return environment


def _context(findings: Findings) -> dict[str, Any]:
    study, sections = findings.study, findings.sections
    models = list(study.models)
    colours = {model: PALETTE[i % len(PALETTE)] for i, model in enumerate(models)}
    what = {"test": "test", "validation": "validation"}[study.split]
    records = [*findings.finished, *findings.failed]
    return {
        "findings": findings,
        "study": study,
        "sections": sections,
        "compared": [section for section in sections if section.published],
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
        "titles": {key: column.title for key, column in columns().items()},
        "signs": SIGNS,
        "kinds": KINDS,
        "excess": EXCESS,
        "yardsticks": YARDSTICKS,
        "counts": {section.key + section.name: _counts(section) for section in sections},
        "generative": {s.key + s.name: _columns(s, "generative") for s in sections},
        "diagnostic": {s.key + s.name: _columns(s, "diagnostic") for s in sections},
        "rows_with": _rows_with,
        "loose": LOOSE,
        "dash": lambda cell: cell.ours is None and cell.paper is None,
        "lower": {key: column.low_is_good for key, column in columns().items()},
        "curves": _groups(sections, lambda s: _curve_figures(s, colours, what)),
        "samples": _groups(sections, lambda s: _sample_figures(s, what)),
        "codes": _groups(sections, _code_figures),
        "sparsity": _groups(sections, lambda s: _sparsity_figures(s, colours)),
        "completions": _groups(sections, _completion_figures),
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
        "figures_at": "",
    }


def _counts(section: DataSection) -> Counter[str]:
    return Counter(verdict.kind for verdict in section.verdicts())


def _columns(section: DataSection, table: str) -> list[str]:
    """Columns of a table in which this data set has a number, ours or the paper's."""
    keys = [key for key, column in columns().items() if column.table == table]
    cells = [row.cells for row in section.rows]
    return [key for key in keys if any(one[key].ours or one[key].paper for one in cells)]


def _rows_with(section: DataSection, keys: Sequence[str]) -> list[ModelRow]:
    """Models with a number in one of these columns."""

    def has(cell: Cell) -> bool:
        return cell.ours is not None or cell.paper is not None

    return [row for row in section.rows if any(has(row.cells[key]) for key in keys)]


def _groups(sections: Sequence[DataSection], draw: Any) -> list[FigureGroup]:
    drawn = ((section, tuple(draw(section))) for section in sections)
    return [FigureGroup(section, figures) for section, figures in drawn if figures]


def _curve_figures(section: DataSection, colours: dict[str, str], what: str) -> list[Figure]:
    name = f"curves-{_slug(section)}"
    curves = [_curve(section, row, colours) for row in section.rows if row.curve]
    if not curves:
        return []
    svg = draw_curves(curves, what, name)
    ends = "; ".join(
        f"{row.title} {number(row.curve[0][0], 1)} to {number(row.curve[-1][0], 1)}"
        for row in section.rows
        if row.curve
    )
    alt = f"BCE of {what} images of {section.title} from the first epoch to the last: {ends}"
    return [Figure(name, alt, section.title, svg=svg)]


def _curve(section: DataSection, row: ModelRow, colours: dict[str, str]) -> Curve:
    mean, deviation = zip(*row.curve, strict=True)
    paper = row.cells["bce"].paper if section.published else None
    return Curve(row.title, colours[row.key], mean, deviation, row.kind == "gncn", paper)


def _sample_figures(section: DataSection, what: str) -> list[Figure]:
    """Data, GVAE, GNCN as in the paper, then the others."""
    having = [row for row in section.rows if "samples" in row.pictures]
    if not having:
        return []
    order = sorted(having, key=lambda row: {"gvae": 0, "gncn": 1}.get(row.kind, 2))
    data, alt = having[0].pictures["data"], f"20 {what} images of {section.title}"
    figures = [Figure(f"data-{_slug(section)}", alt, f"{what} images", png=data)]
    for row in order:
        alt = f"20 samples of the {row.title} trained on {section.title}"
        name = f"samples-{row.key}-{_slug(section)}"
        figures.append(Figure(name, alt, row.title, png=row.pictures["samples"]))
    return figures


def _code_figures(section: DataSection) -> list[Figure]:
    figures = []
    for row in section.rows:
        if row.kind in ("gvae", "gncn") and "embedding" in row.pictures:
            name = f"codes-{row.key}-{_slug(section)}"
            title = f"{section.title}: {row.title}"
            alt = f"t-SNE of the {row.title}'s codes of {section.title}, coloured by class"
            svg = draw_points(*unpack_points(row.pictures["embedding"]), name)
            figures.append(Figure(name, alt, title, svg=svg))
    return figures


def _sparsity_figures(section: DataSection, colours: dict[str, str]) -> list[Figure]:
    figures = []
    for row in section.rows:
        if row.kind == "gncn" and row.sparsity:
            shares = ", ".join(number(one.mean) for one in row.sparsity)
            paper = ", ".join(number(one) for one in section.paper_sparsity or ())
            paper_too = f"; the paper's {paper}" if paper else ""
            alt = f"Active neurons of layers 1 and up: {shares}{paper_too}"
            name = f"sparsity-{row.key}-{_slug(section)}"
            svg = draw_sparsity(
                [one.mean for one in row.sparsity],
                [one.deviation or 0.0 for one in row.sparsity],
                section.paper_sparsity,
                colours[row.key],
                name,
            )
            figures.append(Figure(name, alt, f"{section.title}: {row.title}", svg=svg))
    return figures


def _completion_figures(section: DataSection) -> list[Figure]:
    having = [row for row in section.rows if "completed" in row.pictures]
    if not having:
        return []
    slug = _slug(section)
    seen, whole = (having[0].pictures[name] for name in ("seen", "whole"))
    figures = [Figure(f"seen-{slug}", f"{section.title}: halves seen", "Seen", png=seen)]
    for row in having:
        alt = f"{section.title}: the same, completed by the {row.title}"
        name = f"completed-{row.key}-{slug}"
        title = f"{row.title} ({row.way})" if row.way else row.title
        figures.append(Figure(name, alt, title, png=row.pictures["completed"]))
    alt = f"{section.title}: the whole images"
    return [*figures, Figure(f"whole-{slug}", alt, "Whole images", png=whole)]


def _slug(section: DataSection) -> str:
    return f"{section.key}-part" if section.partial else section.key


def _distinct(found: Any) -> list[str]:
    """Different dictionaries, each as text."""
    texts = [", ".join(f"{key} {value}" for key, value in one.items()) for one in found if one]
    return sorted(set(texts))


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

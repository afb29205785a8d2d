"""The report's drawings, as SVG that takes its ink from the page, so that dark pages work."""

import io
import re
from collections.abc import Mapping

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gncn.figures.drawing import FAINT, INK, new_figure, scatter_classes, style
from gncn.study.pictures import unpack_points
from gncn.study.summary import DataSection, ModelRow

PALETTE = ("#8a94a0", "#c9822b", "#2fa58a", "#7f6fd6", "#cf4f7d", "#3b82d0", "#8f8a3c")
"""Readable on white and on black; the study's models in turn."""

_WIDTH = 4.4


def draw_curves(
    section: DataSection, colours: Mapping[str, str], what: str, name: str
) -> str | None:
    """BCE against epochs, a line for each model; None if no model has one.

    Args:
        section: the data set's results.
        colours: by model.
        what: which images.
        name: unique on the page.

    Returns:
        SVG.  A ring at the right marks the paper's final value in each model's colour.
    """
    rows = [row for row in section.rows if row.curve]
    if not rows:
        return None
    figure = new_figure(_WIDTH, 3.1)
    axes = figure.subplots()
    longest = max(len(row.curve) for row in rows)
    for row in rows:
        epochs = np.arange(1, len(row.curve) + 1)
        mean, spread = np.array(row.curve).T
        colour = colours[row.key]
        wide = 2.4 if row.kind == "gncn" else 1.5
        marker = "o" if len(epochs) < 4 else ""
        axes.plot(epochs, mean, color=colour, linewidth=wide, marker=marker, label=row.title)
        axes.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.2, lw=0)
        if (paper := row.cells["bce"].paper) is not None and section.published:
            axes.plot([longest * 1.03], [paper], "o", mfc="none", mec=colour, clip_on=False)
    _axes(axes, x="epoch", y=f"BCE of {what} images, nats")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8.5, frameon=False, ncols=2, labelcolor=INK)
    return to_svg(figure, name)


def draw_points(packed: Mapping[str, str], name: str) -> str:
    """Codes in the plane, coloured by class; SVG."""
    positions, labels = unpack_points(packed)
    figure = new_figure(3.0, 3.0)
    axes = figure.subplots()
    scatter_classes(axes, positions, labels)
    return to_svg(figure, name)


def draw_sparsity(section: DataSection, row: ModelRow, colour: str, name: str) -> str:
    """Share of active neurons by layer, with the paper's as rings; SVG."""
    figure = new_figure(_WIDTH, 2.4)
    axes = figure.subplots()
    layers = np.arange(1, len(row.sparsity) + 1)
    means = [one.mean for one in row.sparsity]
    spread = [one.deviation or 0.0 for one in row.sparsity]
    axes.bar(layers, means, yerr=spread, width=0.5, color=colour, ecolor=INK, capsize=3)
    if section.paper_sparsity is not None:
        at = np.arange(1, len(section.paper_sparsity) + 1)
        axes.plot(at, section.paper_sparsity, "o", mfc="none", mec=INK, ms=8, label="the paper")
        axes.legend(fontsize=8.5, frameon=False, labelcolor=INK)
    axes.set_xticks(layers)
    axes.set_ylim(0, None)
    _axes(axes, x="layer", y="share of active neurons")
    return to_svg(figure, name)


def _axes(axes: Axes, *, x: str, y: str) -> None:
    style(axes, x=x, y=y)
    axes.tick_params(labelsize=9)


def to_svg(figure: Figure, name: str) -> str:
    """A figure as an ``<svg>`` element without background, its ink `currentColor`.

    Args:
        figure: the figure.
        name: unique on the page; begins the element's ids.
    """
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "savefig.dpi": 150}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", text))
    text = re.sub(
        r' id="([^"]+)"',
        lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "",
        text,
    )
    text = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", text)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text)
    text = re.sub(r"font: ([^;\"]*?)([\d.]+px) [^;\"]*", r"font: \1\2 inherit", text)
    text = text.replace("font: ", "font:").replace(" inherit", " system-ui, sans-serif")
    return text.replace(INK, "currentColor").replace(FAINT, "currentColor")

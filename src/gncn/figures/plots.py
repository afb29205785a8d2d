"""Drawings of a study's report, as SVG that takes its ink from the page: dark pages work, too."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gncn.figures.style import FAINT, INK, draw, new_figure, scatter_classes, style

PALETTE = ("#8a94a0", "#c9822b", "#2fa58a", "#7f6fd6", "#cf4f7d", "#3b82d0", "#8f8a3c")
"""Colours of models in turn, readable on white and on black."""

_WIDTH = 4.4


class Curve(NamedTuple):
    """A model's learning curve: BCE after each epoch, over trials.

    The paper's final value is marked by a ring at the right.
    """

    title: str
    colour: str
    mean: Sequence[float]
    deviation: Sequence[float]
    bold: bool = False
    paper: float | None = None


def draw_curves(curves: Sequence[Curve], what: str, name: str) -> str:
    """Draw BCE of some images against epochs, a line for each model, as SVG; see `to_svg`."""
    figure = new_figure(_WIDTH, 3.1)
    axes = figure.subplots()
    longest = max(len(curve.mean) for curve in curves)
    for curve in curves:
        epochs = np.arange(1, len(curve.mean) + 1)
        mean, spread = np.array(curve.mean), np.array(curve.deviation)
        wide = 2.4 if curve.bold else 1.5
        # A line through one or two points needs its points.
        marker = "o" if len(epochs) < 4 else ""
        axes.plot(epochs, mean, color=curve.colour, lw=wide, marker=marker, label=curve.title)
        axes.fill_between(epochs, mean - spread, mean + spread, color=curve.colour, alpha=0.2, lw=0)
        if curve.paper is not None:
            ring = {"mfc": "none", "mec": curve.colour, "clip_on": False}
            axes.plot([longest * 1.03], [curve.paper], "o", **ring)
    style(axes, x="epoch", y=f"BCE of {what} images, nats", ticks=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    columns = 1 if any(len(curve.title) > 16 for curve in curves) else 2
    axes.legend(fontsize=8.5, frameon=False, ncols=columns, labelcolor=INK)
    return to_svg(figure, name)


def draw_points(
    positions: Float[np.ndarray, "points 2"], labels: Int[np.ndarray, " points"] | None, name: str
) -> str:
    """Draw codes in the plane, coloured by class, as SVG; see `to_svg`."""
    figure = new_figure(3.0, 3.0)
    axes = figure.subplots()
    scatter_classes(axes, positions, labels)
    return to_svg(figure, name)


def draw_sparsity(
    means: Sequence[float],
    deviations: Sequence[float],
    paper: Sequence[float] | None,
    colour: str,
    name: str,
) -> str:
    """Draw the share of active neurons by layer, bottom first, as SVG; see `to_svg`.

    Bars are means over trials; the paper's shares are rings.
    """
    figure = new_figure(_WIDTH, 2.4)
    axes = figure.subplots()
    layers = np.arange(1, len(means) + 1)
    axes.bar(layers, means, yerr=deviations, width=0.5, color=colour, ecolor=INK, capsize=3)
    if paper is not None:
        at = np.arange(1, len(paper) + 1)
        axes.plot(at, paper, "o", mfc="none", mec=INK, ms=8, label="the paper")
        axes.legend(fontsize=8.5, frameon=False, labelcolor=INK)
    axes.set_xticks(layers)
    axes.set_ylim(0, None)
    style(axes, x="layer", y="share of active neurons", ticks=9)
    return to_svg(figure, name)


def to_svg(figure: Figure, name: str) -> str:
    """A figure as an ``<svg>`` element without background, its ink `currentColor`.

    `name` is unique on the page and begins the element's ids.
    """
    # Text stays text, and ids are the same each time.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "savefig.dpi": 150}):
        text = draw(figure, "svg", transparent=True, metadata={"Date": None}).decode()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Only ids that are referred to, so that files are small.
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", text))
    text = re.sub(
        r' id="([^"]+)"',
        # Ids are unique on a page with several drawings.
        lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "",
        text,
    )
    text = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", text)
    # Without width and height the page decides the size, by the view box.
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text)
    text = re.sub(r"font: ([^;\"]*?)([\d.]+px) [^;\"]*", r"font: \1\2 inherit", text)
    text = text.replace("font: ", "font:").replace(" inherit", " system-ui, sans-serif")
    # Ink takes the colour of the page's text, on light and on dark pages.
    return text.replace(INK, "currentColor").replace(FAINT, "currentColor")

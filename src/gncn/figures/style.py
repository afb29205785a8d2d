"""The style that all pictures share: ink, colours, axes, and how a figure becomes a file.

Figures are drawn without a display.
"""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from gncn.base.arrays import NO_CLASS
from gncn.base.errors import shortened
from gncn.base.files import write_atomic
from gncn.base.shown import shown

INK, FAINT = "#1f2933", "#9aa5b1"
MAX_LINE, MAX_LINES = 120, 4
"""Signs in a line, and lines, of a text; the longest of the library's own has 90."""
RESOLUTION = 150
"""Dots per inch."""
COLOURS = ("#2563a8", "#c2571a", "#2f855a", "#7b4ea3", "#a32b4f", "#4a5568")


def new_figure(width: float | int, height: float | int) -> Figure:
    """An empty figure of the given size in inches, laid out automatically."""
    # Not by pyplot, which keeps figures and may want a display.
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as a PNG, atomically."""
    write_atomic(path, draw(figure, "png", dpi=RESOLUTION))
    return path


def draw(figure: Figure, form: str, **options: Any) -> bytes:
    """A figure as a file's content; what is written in it is shown as it is, not as formulae."""
    tame(figure)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # it draws an empty box
        figure.savefig(buffer, format=form, **options)
    return buffer.getvalue()


def tame(figure: Figure) -> None:
    """Have names in a figure shown as they are, in lines of bounded length."""
    ticks = {label for tick in figure.findobj(Tick) for label in (tick.label1, tick.label2)}
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text not in ticks:  # Matplotlib writes powers of ten there
            text.set_parse_math(False)
            lines = shown(text.get_text()).split("\n")
            text.set_text("\n".join(shortened(line, MAX_LINE) for line in lines[:MAX_LINES]))
    for legend in figure.findobj(Legend):
        # Long names in a drawing's legend would take all its room; a figure's stands outside.
        legend.set_in_layout(legend in figure.legends)


def style(axes: Axes, *, title: str = "", x: str = "", y: str = "", ticks: int = 8) -> None:
    """Labels, a light grid and no box."""
    entitle(axes, title)
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.tick_params(labelsize=ticks, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.grid(color=FAINT, alpha=0.25, linewidth=0.6)


def entitle(axes: Axes, title: str) -> None:
    """A title at the left."""
    axes.set_title(title, fontsize=10, color=INK, loc="left")


def write(axes: Axes, x: float | int, y: float | int, text: str, **look: Any) -> None:
    """Text in ink, centred at a point."""
    usual: dict[str, Any] = {"color": INK, "ha": "center", "va": "center"}
    axes.text(x, y, text, **(usual | look))


GREYS: dict[str, Any] = {"cmap": "gray_r", "vmin": 0.0, "vmax": 1.0}
"""How pixels in [0, 1] are drawn: dark on light."""


def shades(*images: Shaped[np.ndarray, "..."]) -> dict[str, Any]:
    """How images are drawn that are to be compared.

    Those in [0, 1] are dark on light.  Others have the colours that their largest value asks for:
    red above 0 and blue below it if some are negative.
    """
    known = [image[np.isfinite(image)] for image in images if image.size]
    low = min((float(one.min()) for one in known if one.size), default=0.0)
    high = max((float(one.max()) for one in known if one.size), default=1.0)
    if low >= 0:
        # Values just above 1 stretch the scale and don't change its colours.
        return GREYS | {"vmax": max(high, 1.0)}
    # The same distance in both directions, so that 0 is white.
    bound = max(-low, high)
    return {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}


def show(
    axes: Axes, image: Shaped[np.ndarray, "..."], look: Mapping[str, Any] = MappingProxyType(GREYS)
) -> None:
    """An image without axes, as `shades` says."""
    axes.imshow(image, interpolation="nearest", **look)
    axes.set_axis_off()


def scatter_classes(
    axes: Axes, positions: Float[np.ndarray, "points 2"], labels: Int[np.ndarray, " points"] | None
) -> None:
    """Draw points coloured by class; of ten classes or fewer, each has its name amid its points."""
    if labels is not None and (labels == NO_CLASS).any():
        axes.scatter(*positions[labels == NO_CLASS].T, s=6, color=FAINT, linewidths=0)
        positions, labels = positions[labels != NO_CLASS], labels[labels != NO_CLASS]
    classes = [0] if labels is None else np.unique(labels).tolist()
    # Ten colours can be told apart; beyond that, hues.
    few = len(classes) <= 10
    shades = colormaps["tab10" if few else "hsv"]
    for index, label in enumerate(classes):
        chosen = positions if labels is None else positions[labels == label]
        colour = shades(index if few else index / len(classes))
        # Thousands of points as shapes would make an SVG large.
        axes.scatter(*chosen.T, s=6, color=colour, linewidths=0, alpha=0.8, rasterized=True)
        if few and labels is not None:
            # The median, since a few points may lie in other clusters.
            across, up = np.median(chosen, axis=0)
            write(axes, across, up, str(label), fontsize=13, weight="bold")
    axes.set_axis_off()

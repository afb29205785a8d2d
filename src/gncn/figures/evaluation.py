"""Pictures of what was measured: samples, completions, likelihoods, classes, codes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from gncn.evaluation.sheets import tile
from gncn.figures.style import (
    COLOURS,
    FAINT,
    INK,
    entitle,
    new_figure,
    save_figure,
    scatter_classes,
    show,
    style,
    write,
)


def draw_samples(
    path: Path, pictures: dict[str, Shaped[np.ndarray, "n pixels"]], shape: tuple[int, int]
) -> Path:
    """Squares of images side by side, such as samples and the images nearest to them."""
    figure = new_figure(4.6 * len(pictures), 5)
    grid = figure.subplots(1, len(pictures), squeeze=False)[0]
    for axes, (title, images) in zip(grid, pictures.items(), strict=True):
        columns = round(len(images) ** 0.5)
        show(axes, tile(images, shape, columns, background=0.5))
        entitle(axes, title)
    return save_figure(figure, path)


def draw_activity(
    path: Path, shares: Sequence[Float[np.ndarray, " _units"]], group_sizes: Sequence[int | None]
) -> Path:
    """The share of images that activate each neuron of layers 1..L.

    Bars of a column of `group_sizes` neurons stand side by side, busiest first.
    """
    figure = new_figure(10, 1.9 * len(shares) + 0.6)
    rows = figure.subplots(len(shares), 1, squeeze=False)[:, 0]
    layers = enumerate(zip(shares, group_sizes, strict=True), start=1)
    for axes, (layer, (share, group)) in zip(rows[::-1], layers, strict=True):
        width = group or len(share)
        spare = -len(share) % width
        columns = np.pad(share, (0, spare), constant_values=np.nan).reshape(-1, width)
        ordered = -np.sort(-columns, axis=1).reshape(-1)
        centres = np.arange(len(ordered)) + 2 * (np.arange(len(ordered)) // width)
        axes.bar(centres, ordered, width=1.0, color=COLOURS[0], linewidth=0)
        axes.set_xlim(-2, centres[-1] + 2)
        axes.set_ylim(0, 1)
        axes.set_xticks([])
        kind = f"{len(columns)} columns of {group}" if group else f"{len(share)} neurons"
        title = f"layer {layer}: {kind}; {np.nanmean(share):.1%} active on average"
        style(axes, title=title, y="share of images")
    return save_figure(figure, path)


def draw_completions(
    path: Path,
    originals: Shaped[np.ndarray, "n pixels"],
    visible: Bool[np.ndarray, " pixels"],
    completed: dict[str, Float[np.ndarray, "n pixels"]],
    shape: tuple[int, int],
) -> Path:
    """Draw a row for what was seen, for each way's completion, and for the whole images."""
    n = len(originals)
    seen = np.where(visible[None, :], originals, 0.5)
    rows = {"seen": seen, **completed, "whole image": originals}
    figure = new_figure(0.8 * n + 1.4, 0.86 * len(rows) + 0.3)
    grid = figure.subplots(len(rows), n, squeeze=False)
    for row, (name, pictures) in zip(grid, rows.items(), strict=True):
        for axes, picture in zip(row, pictures, strict=True):
            axes.imshow(picture.reshape(shape), cmap="gray_r", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9, color=INK)
    return save_figure(figure, path)


def draw_likelihood_curve(
    path: Path,
    n_samples: Sequence[int],
    means: Sequence[float],
    errors: Sequence[float],
    tight: float | None,
    at_s: float | None,
) -> Path:
    """The bound on log p(x) against S, with the tight estimate if there is one."""
    figure = new_figure(6, 3.6)
    axes = figure.subplots()
    look: dict[str, Any] = {"color": COLOURS[0], "marker": "o", "markersize": 4}
    axes.errorbar(n_samples, means, yerr=errors, label="S prior samples, all images", **look)
    if tight is not None:
        axes.axhline(tight, color=COLOURS[1], label="annealed importance sampling, a few images")
    if at_s is not None:
        axes.plot([5000], [at_s], "s", color=COLOURS[1], label="S = 5000, the same few images")
    axes.set_xscale("log")
    style(axes, title="log p(x): the bound rises with S", x="prior samples S", y="nats per image")
    axes.legend(fontsize=8, frameon=False)
    return save_figure(figure, path)


def draw_confusion(path: Path, confusion: Int[np.ndarray, "classes classes"], error: float) -> Path:
    """Confusion matrix of the probe, mistakes coloured, hits left blank."""
    n = len(confusion)
    mistakes = confusion - np.diag(np.diag(confusion))
    side = max(4.0, 0.42 * n) if n <= 20 else 7.0
    figure = new_figure(side + 0.6, side)
    axes = figure.subplots()
    axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(int(mistakes.max()), 1))
    if n <= 20:
        axes.set_xticks(range(n))
        axes.set_yticks(range(n))
        for (row, column), count in np.ndenumerate(confusion):
            if count:
                colour = FAINT if row == column else INK
                write(axes, column, row, str(count), fontsize=7, color=colour)
    style(axes, title=f"Linear probe: {error:.2f} % wrong", x="predicted class", y="true class")
    axes.grid(visible=False)
    return save_figure(figure, path)


def draw_embedding(
    path: Path, positions: Float[np.ndarray, "points 2"], labels: Int[np.ndarray, " points"] | None
) -> Path:
    """t-SNE of the top states, coloured by class."""
    figure = new_figure(6.4, 5.6)
    axes = figure.subplots()
    scatter_classes(axes, positions, labels)
    entitle(axes, "Top states of held-out images, t-SNE")
    return save_figure(figure, path)

"""Pictures of a network: reconstructions, weights, activity, settling, learning curves.

Each function takes arrays or records and a path and writes one PNG.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gncn.evaluation.images import tile
from gncn.figures.style import (
    COLOURS,
    FAINT,
    INK,
    entitle,
    new_figure,
    save_figure,
    shades,
    show,
    style,
    write,
)
from gncn.training.history import EpochRecord

ERROR_LABELS = {
    "bce": "BCE (nats per image)",
    "squared_error": "squared error per image",
    "error_percent": "classification error (%)",
    "negative_log_likelihood": "−log p(x) (nats per image)",
}


def draw_reconstructions(
    path: Path,
    originals: Shaped[np.ndarray, "n pixels"],
    reconstructions: Float[np.ndarray, "n pixels"],
    errors: Float[np.ndarray, " n"],
    shape: tuple[int, int],
    error_label: str,
) -> Path:
    """Originals above their reconstructions, with each image's error beneath."""
    per_row = min(len(originals), 10)
    bands = -(-len(originals) // per_row)
    figure = new_figure(0.85 * per_row + 0.6, 2.0 * bands + 0.5)
    grid = figure.subplots(2 * bands, per_row, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    look = shades(originals, reconstructions)
    for index, error in enumerate(errors):
        band, column = divmod(index, per_row)
        below = grid[2 * band + 1, column]
        show(grid[2 * band, column], originals[index].reshape(shape), look)
        show(below, reconstructions[index].reshape(shape), look)
        number = f"{error:.0f}" if error >= 10 else f"{error:.2g}"
        write(below, 0.5, -0.06, number, transform=below.transAxes, va="top", fontsize=8)
    title = f"Originals above, reconstructions below, with the {error_label}"
    figure.suptitle(title, fontsize=10, color=INK)
    return save_figure(figure, path)


def draw_learning_curve(path: Path, history: Sequence[EpochRecord]) -> Path:
    """Reconstruction error, ψ and sparsity against epochs; one faint line for each trial."""
    figure = new_figure(11.0, 3.4)
    error_axes, psi_axes, sparsity_axes = figure.subplots(1, 3)
    trials = sorted({record.trial for record in history})
    epochs = sorted({record.epoch for record in history})

    def plot(axes: Axes, index: int, label: str, value: Callable[[EpochRecord], float]) -> None:
        lines = np.array([[value(r) for r in history if r.trial == trial] for trial in trials])
        colour, marker = COLOURS[index % len(COLOURS)], "o" if len(epochs) < 30 else ""
        axes.plot(epochs, lines.mean(0), color=colour, label=label, marker=marker, markersize=3)
        if len(lines) > 1:
            axes.plot(epochs, lines.T, color=colour, alpha=0.25, linewidth=0.7)

    for index, split in enumerate(("train", "validation", "test")):
        if getattr(history[0], split) is None:
            continue
        plot(error_axes, index, split, lambda r, split=split: getattr(r, split).error)
        plot(psi_axes, index, split, lambda r, split=split: getattr(r, split).discrepancy)
    depth = len(history[0].held_out.sparsity)
    for layer in range(depth):
        share = lambda r, layer=layer: r.held_out.sparsity[layer]  # noqa: E731
        plot(sparsity_axes, layer, f"layer {layer + 1}", share)
    label = ERROR_LABELS[history[0].error_name]
    style(error_axes, title="Error (lower is better)", x="epoch", y=label)
    style(psi_axes, title="Objective ψ (higher is better)", x="epoch", y="nats per image")
    which = "validation" if history[0].validation else "training"
    style(sparsity_axes, title=f"Active neurons, {which}", x="epoch", y="share with z > 1e-6")
    sparsity_axes.set_ylim(0, None)
    for axes in (error_axes, psi_axes, *([sparsity_axes] if depth else [])):
        axes.legend(fontsize=8, frameon=False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return save_figure(figure, path)


def draw_comparison(
    path: Path,
    curves: Mapping[str, Sequence[float]],
    models: Mapping[str, str],
    what: str,
    error_name: str = "bce",
) -> Path:
    """Errors of some images against epochs, one line for each run (the paper's Figure 4).

    A line is labelled by its run's model, and by the run, too, if the model has several.
    """
    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    shown = [models[run] for run in curves]
    for number, (run, curve) in enumerate(curves.items()):
        alone = shown.count(models[run]) == 1
        axes.plot(
            range(1, len(curve) + 1),
            curve,
            color=COLOURS[number % len(COLOURS)],
            linestyle=("-", "--", ":")[number // len(COLOURS) % 3],
            marker="o" if len(curve) < 30 else "",
            markersize=3,
            label=models[run] if alone else f"{models[run]} ({run})",
        )
    style(axes, title=f"Reconstruction of {what}", x="epoch", y=ERROR_LABELS[error_name])
    axes.legend(fontsize=8, frameon=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return save_figure(figure, path)


def draw_weights(
    path: Path,
    weights: Float[np.ndarray, "pixels units"],
    shape: tuple[int, int],
    n_shown: int,
    what: str = "neurons of layer 1 adds to the image's logits",
) -> Path:
    """The pictures that single neurons of layer 1 paint: columns of W^0 as images."""
    shown = weights[:, : min(n_shown, weights.shape[1])].T
    columns = min(20, len(shown))
    # Not the largest weight: a single one would make all others pale.
    bound = float(np.quantile(np.abs(shown), 0.995)) or 1.0
    sheet = tile(shown, shape, columns, background=np.nan)
    figure = new_figure(10.0, 9.3 * sheet.shape[0] / sheet.shape[1] + 0.4)
    axes = figure.subplots()
    axes.set_facecolor("white")
    picture = axes.imshow(sheet, cmap="RdBu_r", vmin=-bound, vmax=bound)
    axes.set_axis_off()
    entitle(axes, f"What each of {len(shown)} {what}")
    bar = figure.colorbar(picture, ax=axes, fraction=0.02, pad=0.01)
    bar.ax.tick_params(labelsize=8, colors=INK)
    return save_figure(figure, path)


def draw_columns(
    path: Path,
    images: Shaped[np.ndarray, "n pixels"],
    latents: Sequence[Float[np.ndarray, "n _units"]],
    group_sizes: Sequence[int | None],
    labels: Sequence[str],
    shape: tuple[int, int],
) -> Path:
    """Who is active: for a few images, the positive states of layers 1..L, by column.

    `group_sizes` are the neurons of a column in each layer, None without columns; `labels`
    are what to call the images.
    """
    strips = [_strips(states, group) for states, group in zip(latents, group_sizes, strict=True)]
    widths = [max(6, one.shape[1]) for one in strips]
    figure = new_figure(11.0, 1.0 * len(labels) + 1.6)
    # An image with all layers next to it; each layer has its own scale.
    grid = figure.subplots(
        len(labels), 1 + len(latents), squeeze=False, width_ratios=[0.09 * sum(widths), *widths]
    )
    look = shades(images)
    for axes, image, label in zip(grid[:, 0], images, labels, strict=True):
        show(axes, image.reshape(shape), look)
        axes.set_title(label, fontsize=8, color=INK)
    layers = zip(grid[:, 1:].T, strips, latents, group_sizes, strict=True)
    for layer, (panels, pictures, states, group) in enumerate(layers, start=1):
        top = float(pictures.max()) or 1.0
        shares = np.mean(states > 1e-6, axis=1)
        for axes, picture, share in zip(panels, pictures, shares, strict=True):
            axes.imshow(
                picture.T, cmap="Blues", vmin=0, vmax=top, aspect="auto", interpolation="nearest"
            )
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color(FAINT)
            axes.set_xlabel(f"{share:.0%} active", fontsize=7, color=INK, labelpad=1)
        n_units = states.shape[1]
        kind = f"{n_units // group} columns of {group}" if group else f"{n_units} neurons"
        panels[0].set_title(f"layer {layer}: {kind}", fontsize=9, color=INK)
        bar = figure.colorbar(
            panels[0].images[0], ax=list(panels), location="bottom", aspect=40, pad=0.02
        )
        bar.set_label("state z", fontsize=8, color=INK)
        bar.ax.tick_params(labelsize=7, colors=INK)
    title = "Settled states; each vertical strip of a panel is one column of competing neurons"
    figure.suptitle(title, fontsize=10, color=INK)
    return save_figure(figure, path)


def _strips(states: Float[np.ndarray, "n units"], group: int | None) -> np.ndarray:
    """Positive states of shape (n, columns, neurons of a column); a square without columns."""
    width = group or round(states.shape[1] ** 0.5)
    # A last, shorter column is filled up with zeros.
    active = np.pad(np.maximum(states, 0), ((0, 0), (0, -states.shape[1] % width)))
    return active.reshape(len(states), -1, width)


def draw_settling(
    path: Path,
    original: Shaped[np.ndarray, " pixels"],
    predictions: Float[np.ndarray, "steps pixels"],
    discrepancy: Float[np.ndarray, "steps predicted"],
    latents: Sequence[Float[np.ndarray, "steps _units"]],
    shape: tuple[int, int],
    title: str = "",
) -> Path:
    """One image settling: z̄^0, the terms of ψ, and the states of layers 1..L, step by step.

    `title` says which image it is.
    """
    n_steps, shown = len(predictions) - 1, steps_of_change(predictions, 9)
    figure = new_figure(11.0, 6.8)
    figure.suptitle(title, fontsize=11, color=INK)
    strip, plots = figure.subfigures(2, 1, height_ratios=[1, 2.6], squeeze=False)[:, 0]
    look = shades(original, predictions)
    pictures = [(original, "seen"), *((predictions[t], f"step {t}") for t in shown)]
    for axes, (picture, name) in zip(
        strip.subplots(1, len(pictures), squeeze=False)[0], pictures, strict=True
    ):
        show(axes, picture.reshape(shape), look)
        axes.set_title(name, fontsize=8, color=INK)
    psi_axes, *state_axes = plots.subplots(1, 1 + len(latents))
    steps = np.arange(n_steps + 1)
    psi_axes.plot(steps, discrepancy.sum(1), color=INK, linewidth=2, label="ψ")
    for index, term in enumerate(discrepancy.T):
        colour = COLOURS[index % len(COLOURS)]
        psi_axes.plot(steps, term, color=colour, linewidth=1, label=f"layer {index}")
    style(psi_axes, title="Total discrepancy ψ and its parts", x="step", y="nats")
    psi_axes.legend(fontsize=8, frameon=False)
    for layer, (axes, states) in enumerate(zip(state_axes, latents, strict=True), start=1):
        strongest = np.argsort(-states[-1])[:20]
        axes.plot(steps, states, color=FAINT, linewidth=0.4, alpha=0.25)
        axes.plot(steps, states[:, strongest], linewidth=1)
        style(axes, title=f"Layer {layer}: the 20 most active", x="step", y="z")
    for axes in (psi_axes, *state_axes):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return save_figure(figure, path)


def steps_of_change(predictions: Float[np.ndarray, "steps pixels"], n: int) -> list[int]:
    """Up to `n` steps before which the picture changed most; the first and the last among them."""
    changed = np.linalg.norm(np.diff(np.nan_to_num(predictions), axis=0), axis=1)
    last = len(changed)
    # By the change alone the first steps would take all places; by its root later ones have some.
    way = np.concatenate([[0.0], np.cumsum(np.sqrt(changed))])
    even = np.searchsorted(way, np.linspace(0, way[-1], n)).tolist()
    most = (np.argsort(-changed, kind="stable") + 1).tolist()
    wanted = dict.fromkeys((0, last, *even, *most))
    return sorted([*wanted][:n])

"""`animate`: a network settling on an image, as a moving picture."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from gncn.base.errors import ConfigError, quoted
from gncn.base.extras import needs
from gncn.base.files import place, write_atomic
from gncn.core.network import Network
from gncn.core.settling import watch
from gncn.evaluation.images import image_shape

FORMS = (".gif", ".html")
_MOST_FRAMES, _HELD, _PER_SECOND = 60, 12, 10
"""Frames at most, repeats of the last one, and frames in a second."""


def animate(
    network: Network,
    image: Shaped[np.ndarray, "..."],
    path: str | Path,
    *,
    n_settle_steps: int | None = None,
    title: str = "",
) -> Path:
    """Draw a network settling on one image: what it predicts of the image, and ψ, step by step.

    Args:
        network: as `gncn.build` makes it, trained or not.
        image: shape (pixels,) or (rows, columns), values in [0, 1].
        path: a ``.gif`` file, or an ``.html`` page with buttons to step through it.
        n_settle_steps: T; by default the network's own.
        title: stands above it.

    Returns:
        The path.

    Raises:
        ConfigError: the path ends in something else, or T is out of range.
        DataError: the image doesn't suit the network.
    """
    needs("matplotlib", "figures")
    if place(path).suffix not in FORMS:
        raise ConfigError(
            f"An animation is a .gif or .html file; received {quoted(str(path))}. Choose such a "
            "name."
        )
    pixels = np.asarray(image).reshape(1, -1)
    shape = np.shape(image) if np.ndim(image) == 2 else image_shape(pixels.shape[1], None)
    _, seen = watch(network, pixels, n_settle_steps=n_settle_steps, keep_latents=True)
    states = tuple(layer[:, 0] for layer in seen.latents)
    predictions = np.asarray(network.respond(states).predictions[0])
    psi = np.asarray(seen.discrepancy.layers)[:, 0].sum(axis=1)
    return draw_animation(place(path), pixels[0], predictions, psi, shape, title)


def draw_animation(
    path: Path,
    original: Shaped[np.ndarray, " pixels"],
    predictions: Float[np.ndarray, "steps pixels"],
    discrepancy: Float[np.ndarray, " steps"],
    shape: tuple[int, ...],
    title: str = "",
) -> Path:
    """Draw what was seen, z̄^0 and ψ after each step; see `animate`."""
    from matplotlib import rc_context
    from matplotlib.animation import FuncAnimation, PillowWriter
    from matplotlib.ticker import MaxNLocator

    from gncn.figures import style
    from gncn.figures.style import COLOURS, FAINT, INK, new_figure, shades, show

    n_steps = len(predictions) - 1
    steps = np.unique(np.round(np.linspace(0, n_steps, _MOST_FRAMES)).astype(int))
    figure = new_figure(7.2, 2.8)
    figure.suptitle(title, fontsize=10, color=INK)
    seen_axes, picture_axes, psi_axes = figure.subplots(1, 3, width_ratios=[1, 1, 1.5])
    look = shades(original, predictions)
    show(seen_axes, original.reshape(shape), look)
    seen_axes.set_title("seen", fontsize=9, color=INK)
    show(picture_axes, predictions[0].reshape(shape), look)
    psi_axes.plot(discrepancy, color=FAINT, linewidth=1)
    (line,) = psi_axes.plot([0], discrepancy[:1], color=COLOURS[0], linewidth=2)
    (dot,) = psi_axes.plot([0], discrepancy[:1], "o", color=COLOURS[0])
    style.style(psi_axes, title="Total discrepancy ψ", x="step", y="nats")
    psi_axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    name = picture_axes.set_title("", fontsize=9, color=INK)

    def turn(frame: int) -> tuple[Any, ...]:
        # Frames beyond the last step hold it for a moment.
        step = int(steps[min(frame, len(steps) - 1)])
        picture_axes.images[0].set_data(predictions[step].reshape(shape))
        name.set_text(f"predicted, step {step}")
        line.set_data(range(step + 1), discrepancy[: step + 1])
        dot.set_data([step], discrepancy[step : step + 1])
        return ()

    # Names could be read as formulae.
    style.tame(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once: nothing moves, and a frame is drawn sooner
    with rc_context({"savefig.dpi": 0.7 * style.RESOLUTION, "animation.embed_limit": 100}):
        moving = FuncAnimation(figure, turn, frames=len(steps) + _HELD)
        if path.suffix == ".html":
            page = moving.to_jshtml(fps=_PER_SECOND, default_mode="loop")
            write_atomic(path, f'<!doctype html><meta charset="utf-8">\n{page}')
        else:
            # Pillow needs a file's name; the finished file then replaces the old one at once.
            with tempfile.TemporaryDirectory() as folder:
                drawn = Path(folder) / "drawn.gif"
                moving.save(drawn, writer=PillowWriter(fps=_PER_SECOND))
                write_atomic(path, drawn.read_bytes())
    return path

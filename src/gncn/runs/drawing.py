"""From a run folder to the figures that a person looks at after training."""

from functools import singledispatch
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from gncn.baselines.autoencoder import Autoencoder
from gncn.baselines.classifier import DSRN
from gncn.baselines.pixel_mixture import PixelMixture
from gncn.core.competition import Columns
from gncn.core.likelihood import binary_cross_entropy
from gncn.core.network import Network
from gncn.core.settling import Settled, Trajectory, settle
from gncn.core.settling import watch as watch_settling
from gncn.data import Dataset, Split
from gncn.evaluation.sheets import image_shape
from gncn.figures.network import (
    ERROR_LABELS,
    draw_columns,
    draw_learning_curve,
    draw_reconstructions,
    draw_settling,
    draw_weights,
)
from gncn.runs.folder import RunFolder
from gncn.training.hebbian import reconstruction_error
from gncn.training.history import error_name

N_IMAGES, N_WEIGHTS = 20, 200
"""Reconstructions and weights shown."""


def draw_run(folder: RunFolder, data: Dataset) -> list[Path]:
    """Draw all figures of a trained run, from validation images and the first trial."""
    return _draw(folder.model(), folder, data)


@singledispatch
def _draw(model: Any, folder: RunFolder, data: Dataset) -> list[Path]:
    """Draw all figures of one class of models."""
    raise TypeError(f"There are no figures of a {type(model).__name__}.")


@_draw.register
def _(model: Network, folder: RunFolder, data: Dataset) -> list[Path]:
    weights = np.asarray(model.connections[0].plastic)
    return [
        _draw_reconstructions(model, folder, data),
        draw_learning_curve(folder.figure("learning-curve"), folder.history),
        draw_weights(folder.figure("weights"), weights, _shape(data), N_WEIGHTS),
        _draw_columns(folder.figure("columns"), model, data),
    ]


@_draw.register
def _(model: Autoencoder, folder: RunFolder, data: Dataset) -> list[Path]:
    what = "hidden units adds to the image's logits"
    last = np.asarray(model.decoder.weights[-1]).T
    return [
        _draw_reconstructions(model, folder, data),
        draw_learning_curve(folder.figure("learning-curve"), folder.history),
        draw_weights(folder.figure("weights"), last, _shape(data), N_WEIGHTS, what),
    ]


@_draw.register
def _(model: DSRN, folder: RunFolder, data: Dataset) -> list[Path]:
    what = "hidden units of the first layer looks for"
    first = np.asarray(model.network.weights[0])
    return [
        draw_learning_curve(folder.figure("learning-curve"), folder.history),
        draw_weights(folder.figure("weights"), first, _shape(data), N_WEIGHTS, what),
    ]


@_draw.register
def _(model: PixelMixture, folder: RunFolder, data: Dataset) -> list[Path]:
    means, path = np.asarray(model.mixture.means).T, folder.figure("components")
    return [draw_weights(path, means, _shape(data), N_WEIGHTS, "components has for a mean")]


def _shape(data: Dataset) -> tuple[int, int]:
    return image_shape(data.n_pixels, data.image_shape)


def _draw_reconstructions(model: Network | Autoencoder, folder: RunFolder, data: Dataset) -> Path:
    images = data.validation.images[: min(N_IMAGES, len(data.validation))]
    return draw_reconstruction_figure(folder.figure("reconstructions"), model, images, data)


def _draw_columns(path: Path, network: Network, data: Dataset) -> Path:
    n_shown = min(6, len(data.validation))
    settled = settle(network, data.validation.images[:n_shown])
    competitions = [layer.competition for layer in network.circuit.layers[1:]]
    return draw_columns(
        path,
        [np.asarray(states) for states in settled.latents[1:]],
        [rivals.group_size if isinstance(rivals, Columns) else None for rivals in competitions],
        _labels(data, data.validation, n_shown),
    )


def _labels(data: Dataset, split: Split, n: int) -> list[str]:
    if split.labels is None:
        return [f"image {index}" for index in range(n)]
    return [f"class {label}" for label in split.labels[:n]]


def draw_reconstruction_figure(
    path: Path, model: Network | Autoencoder, images: np.ndarray, data: Dataset
) -> Path:
    """Draw images above their reconstructions: settled on, or decoded from their codes."""
    if isinstance(model, Network):
        settled = settle(model, images)
        reconstruction, errors = settled.reconstruction, reconstruction_error(model, settled)
    else:
        x = jnp.asarray(images, jnp.float32)
        reconstruction = model.reconstruct(x)
        errors = binary_cross_entropy(x, model.decode(model.encode(x)))
    return draw_reconstructions(
        path,
        images,
        np.asarray(reconstruction),
        np.asarray(errors),
        _shape(data),
        ERROR_LABELS[error_name(model)],
    )


def watch(
    network: Network,
    image: np.ndarray,
    *,
    n_settle_steps: int | None = None,
    tolerance: float | None = None,
) -> tuple[Settled, Trajectory, np.ndarray]:
    """Settle on one image and keep all that happens.

    Args:
        network: the network.
        image: shape (pixels,).
        n_settle_steps: see `settle`.
        tolerance: see `settle`.

    Returns:
        The settled states, their trajectory, and the prediction z̄^0 of the image before and
        after every step, shape (T+1, pixels).
    """
    settled, trajectory = watch_settling(
        network,
        image[None],
        n_settle_steps=n_settle_steps,
        tolerance=tolerance,
        keep_latents=True,
    )
    states = tuple(layer[:, 0] for layer in trajectory.latents)
    return settled, trajectory, np.asarray(network.respond(states).predictions[0])


def draw_watched(
    path: Path, image: np.ndarray, trajectory: Trajectory, predictions: np.ndarray, data: Dataset
) -> Path:
    """Draw what `watch` saw."""
    return draw_settling(
        path,
        image,
        predictions,
        np.asarray(trajectory.discrepancy.layers[:, 0]),
        [np.asarray(states[:, 0]) for states in trajectory.latents[1:]],
        _shape(data),
    )

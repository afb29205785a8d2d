"""From a run folder to its figures: what a person looks at after training."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gncn.config import Config
from gncn.data import Dataset, Split
from gncn.discrepancy import respond
from gncn.errors import ConfigError, unknown_choice
from gncn.figures import (
    ERROR_LABELS,
    draw_columns,
    draw_learning_curve,
    draw_reconstructions,
    draw_settling,
    draw_weights,
    image_shape,
)
from gncn.history import SplitRecord, error_name, split_record
from gncn.network import Network
from gncn.runs import RunFolder
from gncn.settling import Settled, settle
from gncn.training import evaluate, reconstruction_error

SPLITS = ("train", "validation", "test")


def choose_split(data: Dataset, name: str) -> Split:
    """The split of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in SPLITS:
        raise unknown_choice("split", name, SPLITS)
    return getattr(data, name)


def draw_run(folder: RunFolder, data: Dataset) -> list[Path]:
    """Draw all figures of a trained run, from validation images and the first trial."""
    network = folder.network()
    n_shown = min(20, len(data.validation))
    images = data.validation.images[:n_shown]
    settled = settle(network, images)
    shape = image_shape(data.n_pixels, data.image_shape)
    return [
        draw_reconstruction_figure(folder.figure("reconstructions"), network, images, data),
        draw_learning_curve(folder.figure("learning-curve"), folder.history),
        draw_weights(
            folder.figure("weights"), np.asarray(network.forward_weights[0]), shape, n_shown=200
        ),
        draw_columns(
            folder.figure("columns"),
            [np.asarray(states[:6]) for states in settled.latents[1:]],
            [layer.group_size for layer in network.circuit.layers[1:]],
            _labels(data, data.validation, min(6, n_shown)),
        ),
    ]


def _labels(data: Dataset, split: Split, n: int) -> list[str]:
    if split.labels is None:
        return [f"image {index}" for index in range(n)]
    return [f"class {label}" for label in split.labels[:n]]


def draw_reconstruction_figure(
    path: Path, network: Network, images: np.ndarray, data: Dataset
) -> Path:
    """Settle on images and draw them above their reconstructions."""
    settled = settle(network, images)
    return draw_reconstructions(
        path,
        images,
        np.asarray(settled.reconstruction),
        np.asarray(reconstruction_error(network, settled)),
        image_shape(data.n_pixels, data.image_shape),
        ERROR_LABELS[error_name(network)],
    )


def mean_statistics(network: Network, split: Split, config: Config) -> SplitRecord:
    """Error, ψ and sparsity averaged over a split, settled as in the run's training."""
    stacked = jax.tree.map(lambda leaf: leaf[None], network)
    size = config.training.evaluation_batch_size
    found = evaluate(stacked, jnp.asarray(split.images), size)
    return split_record(found, 0)


def watch(
    network: Network,
    image: np.ndarray,
    *,
    n_settle_steps: int | None = None,
    tolerance: float | None = None,
) -> tuple[Settled, np.ndarray]:
    """Settle on one image and keep all that happens.

    Args:
        network: the network.
        image: shape (pixels,).
        n_settle_steps: see `settle`.
        tolerance: see `settle`.

    Returns:
        The settled states with their trajectory, and the prediction z̄^0 of the image
        before and after every step, shape (T+1, pixels).
    """
    settled = settle(
        network,
        image[None],
        n_settle_steps=n_settle_steps,
        tolerance=tolerance,
        keep_latents=True,
    )
    assert settled.trajectory is not None
    assert settled.trajectory.latents is not None
    states = tuple(layer[:, 0] for layer in settled.trajectory.latents)
    predictions = respond(network, states).predictions[0]
    return settled, np.asarray(predictions)


def draw_watched(
    path: Path, image: np.ndarray, settled: Settled, predictions: np.ndarray, data: Dataset
) -> Path:
    """Draw what `watch` saw."""
    if settled.trajectory is None or settled.trajectory.latents is None:
        raise ConfigError("draw_watched needs a trajectory with states; settle with `watch`.")
    return draw_settling(
        path,
        image,
        predictions,
        np.asarray(settled.trajectory.discrepancy.layers[:, 0]),
        [np.asarray(states[:, 0]) for states in settled.trajectory.latents[1:]],
        image_shape(data.n_pixels, data.image_shape),
    )

"""From a run folder to its figures: what a person looks at after training."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gncn.base.errors import unknown_choice
from gncn.baselines.autoencoder import Autoencoder
from gncn.baselines.baseline import Baseline
from gncn.baselines.descent import evaluate_baseline
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
from gncn.runs.config import Config
from gncn.runs.folder import RunFolder
from gncn.training.examples import examples_of
from gncn.training.hebbian import evaluate, reconstruction_error
from gncn.training.history import SplitRecord, error_name, split_record

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
    model = folder.model()
    images = data.validation.images[: min(20, len(data.validation))]
    shape = image_shape(data.n_pixels, data.image_shape)
    figures = []
    if isinstance(model, Network | Autoencoder):
        path = folder.figure("reconstructions")
        figures.append(draw_reconstruction_figure(path, model, images, data))
    if not isinstance(model, PixelMixture):
        figures.append(draw_learning_curve(folder.figure("learning-curve"), folder.history))
    weights = folder.figure("weights")
    match model:
        case Network():
            figures += [
                draw_weights(weights, np.asarray(model.connections[0].plastic), shape, n_shown=200),
                _draw_columns(folder.figure("columns"), model, data),
            ]
        case Autoencoder():
            last, what = np.asarray(model.decoder.weights[-1]).T, "units adds to the image's logits"
            figures.append(draw_weights(weights, last, shape, 200, f"hidden {what}"))
        case PixelMixture():
            means = np.asarray(model.mixture.means).T
            path = folder.figure("components")
            figures.append(draw_weights(path, means, shape, 200, "components has for a mean"))
        case _:
            first = np.asarray(model.network.weights[0])
            what = "hidden units of the first layer looks for"
            figures.append(draw_weights(weights, first, shape, 200, what))
    return figures


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
        image_shape(data.n_pixels, data.image_shape),
        ERROR_LABELS[error_name(model)],
    )


def mean_statistics(model: Network | Baseline, split: Split, config: Config) -> SplitRecord:
    """Error, ψ and sparsity averaged over a split, as in the run's training."""
    stacked = jax.tree.map(lambda leaf: leaf[None], model)
    size = config.training.evaluation_batch_size
    if isinstance(model, Network):
        return split_record(evaluate(stacked, examples_of(split), size), 0)
    examples = examples_of(split, labelled=bool(model.blueprint.n_classes))
    return split_record(evaluate_baseline(stacked, examples, size), 0)


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
        image_shape(data.n_pixels, data.image_shape),
    )

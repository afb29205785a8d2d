"""From a run folder to the figures that a person looks at after training."""

from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from gncn.base.arrays import NO_CLASS
from gncn.baselines.autoencoder import Autoencoder
from gncn.baselines.classifier import DSRN
from gncn.baselines.pixel_mixture import PixelMixture
from gncn.core.competition import Columns
from gncn.core.likelihood import binary_cross_entropy
from gncn.core.network import Network
from gncn.core.settling import Trajectory, settle
from gncn.data import Dataset, Split
from gncn.evaluation.images import image_shape
from gncn.figures.animation import draw_animation
from gncn.figures.network import (
    ERROR_LABELS,
    draw_columns,
    draw_learning_curve,
    draw_reconstructions,
    draw_settling,
    draw_weights,
)
from gncn.runs.folder import RunFolder
from gncn.training.fit import method_of
from gncn.training.hebbian import reconstruction_error

N_IMAGES, N_WEIGHTS, N_ACTIVE = 20, 200, 6
"""Reconstructions, weights, and images whose active neurons are shown."""


def draw_run(folder: RunFolder, data: Dataset) -> list[Path]:
    """Draw all figures of a trained run, from held-out images and the first trial.

    These are validation images, or test images where validation images were learned from.
    """
    both = folder.config.training.train_on == "both"
    held_out = data.test if both else data.validation
    model, images, paths = folder.model(), held_out.images, []
    if isinstance(model, Network | Autoencoder):
        path = folder.figure("reconstructions")
        paths.append(draw_reconstruction_figure(path, model, images[:N_IMAGES], data))
    if not isinstance(model, PixelMixture):
        paths.append(draw_learning_curve(folder.figure("learning-curve"), folder.history))
    name = "weights"
    match model:
        case Network():
            weights = model.connections[0].plastic
            what = "neurons of layer 1 adds to the image"
            what += "'s logits" if model.circuit.binary else ""
        case Autoencoder():
            weights = model.decoder.weights[-1].T
            what = "hidden units adds to the image's logits"
        case DSRN():
            weights = model.network.weights[0]
            what = "hidden units of the first layer looks for"
        case _:
            weights, name, what = model.mixture.means.T, "components", "components has for a mean"
    shape = image_shape(data.n_pixels, data.image_shape)
    drawn = draw_weights(folder.figure(name), np.asarray(weights), shape, N_WEIGHTS, what)
    paths.append(drawn)
    if isinstance(model, Network):
        paths.append(_draw_columns(folder.figure("columns"), model, data, held_out))
    return paths


def _draw_columns(path: Path, network: Network, data: Dataset, held_out: Split) -> Path:
    shown = held_out.subset(np.arange(min(N_ACTIVE, len(held_out))))
    # As many images as are reconstructed: one compiled program settles both.
    settled = settle(network, held_out.images[:N_IMAGES])
    competitions = [layer.competition for layer in network.circuit.layers[1:]]
    what, numbers = (
        ("image", range(len(shown))) if shown.labels is None else ("class", shown.labels)
    )
    return draw_columns(
        path,
        np.asarray(shown.images),
        [np.asarray(states)[:N_ACTIVE] for states in settled.latents[1:]],
        [rivals.group_size if isinstance(rivals, Columns) else None for rivals in competitions],
        [f"{what} {number}" if number != NO_CLASS else "no class" for number in numbers],
        image_shape(data.n_pixels, data.image_shape),
    )


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
        ERROR_LABELS[method_of(model).error_name(model)],
    )


def draw_watched(
    path: Path,
    network: Network,
    image: np.ndarray,
    trajectory: Trajectory,
    data: Dataset,
    title: str = "",
    moving: Sequence[Path] = (),
) -> Path:
    """Draw a network settling on one image, as `gncn.watch` recorded it with its states.

    It is drawn as moving pictures, too, into the files `moving`.
    """
    # The first, and only, image.
    states = tuple(layer[:, 0] for layer in trajectory.latents)
    predictions = np.asarray(network.respond(states).predictions[0])
    psi = np.asarray(trajectory.discrepancy.layers[:, 0])
    shape = image_shape(data.n_pixels, data.image_shape)
    for one in moving:
        draw_animation(one, image, predictions, psi.sum(axis=1), shape, title)
    latents = [np.asarray(layer) for layer in states[1:]]
    return draw_settling(path, image, predictions, psi, latents, shape, title)

"""Features of images that need no generative model: yardsticks for a model's codes.

Each has the width of the codes that it is compared with, and is probed as they are:

- random: max(0, W(x − mean)), with W drawn from N(0, 1) and never trained;
- local: the same, where every unit sees one patch at a place of its own;
- prototypes and k-means: the triangle activation of Coates, Lee & Ng (2011), with training images
  drawn at random, or centres of k-means.  With d_k the distance to prototype k, feature k is
  max(0, mean of all d − d_k), so that about half of them are zero;
- RBM: the hidden units of a restricted Boltzmann machine with as many of them (scikit-learn's).

`PrototypeRegressor` completes images by ridge regression from such prototypes.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from gncn.base.errors import ConfigError, check_counts
from gncn.base.extras import needs
from gncn.evaluation.protocols import Images, Mask

Features = Callable[[Images], Float[np.ndarray, "_ width"]]
"""Maps images to features as rows."""

PENALTIES = tuple(10.0**power for power in range(-6, 1))
"""Shares that are tried as the penalty of ridge regression: from 1e-6 to 1."""

RBM_LEARNING_RATES = (0.1, 0.01)
"""Tried by `gncn.CodeYardsticks`: many images like the first best, few images the second."""

_AT_ONCE = 2000


def random_features(
    train: Images,
    width: int,
    *,
    seed: int = 0,
    image_shape: tuple[int, int] | None = None,
    patch: int | None = None,
) -> Features:
    """Rectified random projections of centred images; with a `patch`, of one patch each.

    Args:
        train: images (images, pixels), whose mean is taken off.
        width: how many features.
        seed: of the weights and the places of patches.
        image_shape: rows and columns; needed for patches.
        patch: side of the square that each unit sees; None: the whole image.

    Raises:
        ConfigError: the patch is larger than the image, or there is no shape.
    """
    check_counts(width=width)
    rng = np.random.default_rng(seed)
    mean = _mean(train)
    weights = rng.standard_normal((len(mean), width)).astype(np.float32)
    if patch is not None:
        if image_shape is None or not 1 <= patch <= min(image_shape):
            raise ConfigError(
                f"A patch must be from 1 to the shorter side of the image_shape; received "
                f"patch={patch}, image_shape={image_shape}."
            )
        rows, columns = image_shape
        top = rng.integers(rows - patch + 1, size=width)
        left = rng.integers(columns - patch + 1, size=width)
        row, column = np.divmod(np.arange(rows * columns)[:, None], columns)
        down, across = row - top, column - left
        weights *= (down >= 0) & (down < patch) & (across >= 0) & (across < patch)

    return lambda x: np.maximum((np.asarray(x, np.float32) - mean) @ weights, 0)


def _mean(images: Images) -> Float[np.ndarray, " pixels"]:
    # Summed in double precision: 50,000 values of 1000 are beyond the digits of single precision.
    return np.asarray(np.mean(images, axis=0, dtype=np.float64), np.float32)


def triangle_features(prototypes: Shaped[np.ndarray, "width pixels"]) -> Features:
    """How much nearer than on average each prototype is, and 0 for those that are farther."""
    # Distances stay the same, and squares of values far from 0 would leave no digits to them.
    origin = _mean(prototypes)
    centres = np.asarray(prototypes, np.float32) - origin
    squares = np.sum(centres**2, axis=1)

    def features(x: Images) -> Float[np.ndarray, "_ width"]:
        found = np.empty((len(x), len(centres)), np.float32)
        for first in range(0, len(x), _AT_ONCE):
            some = np.asarray(x[first : first + _AT_ONCE], np.float32) - origin
            # |x − c|² without the differences, which need images × width × pixels numbers.
            squared = np.sum(some**2, axis=1)[:, None] - 2 * some @ centres.T + squares
            distance = np.sqrt(np.maximum(squared, 0))
            found[first : first + _AT_ONCE] = distance.mean(1, keepdims=True) - distance
        return np.maximum(found, 0)

    return features


def some_images(train: Images, width: int, seed: int = 0) -> Shaped[np.ndarray, "width pixels"]:
    """Training images drawn without replacement, to be prototypes.

    Raises:
        ConfigError: there are fewer images than `width`.
    """
    check_counts(width=width)
    if width > len(train):
        raise ConfigError(f"{width} prototypes need as many images; received {len(train)}.")
    return np.asarray(train)[np.random.default_rng(seed).permutation(len(train))[:width]]


def k_means_centres(train: Images, width: int, seed: int = 0) -> Float[np.ndarray, "width pixels"]:
    """Centres of k-means on mini-batches.

    Raises:
        ConfigError: there are fewer images than `width`.
    """
    needs("sklearn", "evaluation")
    from sklearn.cluster import MiniBatchKMeans

    # scikit-learn multiplies out squared distances, too, so the images are centred.
    origin = _mean(train)
    # A start from images drawn at random: k-means++ takes hours for a thousand centres.
    start: Any = some_images(train, width, seed).astype(np.float32) - origin
    fit = MiniBatchKMeans(width, init=start, batch_size=2048, random_state=seed)
    found = fit.fit(np.asarray(train, np.float32) - origin).cluster_centers_
    return np.asarray(found, np.float32) + origin


def rbm_features(train: Images, width: int, seed: int, learning_rate: float) -> Features:
    """Probabilities of an RBM's hidden units, after 5 epochs of persistent contrastive divergence.

    Raises:
        ConfigError: images have values beyond [0, 1].
    """
    needs("sklearn", "evaluation")
    from sklearn.neural_network import BernoulliRBM

    inputs = np.asarray(train, np.float32)
    if inputs.min() < 0 or inputs.max() > 1:
        raise ConfigError("An RBM with binary units needs images with values in [0, 1].")
    rbm = BernoulliRBM(width, learning_rate=learning_rate, n_iter=5, random_state=seed).fit(inputs)

    return lambda x: np.asarray(rbm.transform(np.asarray(x, np.float32)), np.float32)


class PrototypeRegressor(NamedTuple):
    """A completer for one mask: linear in the triangle features of visible pixels.

    Predictions are clipped to `limits`, the least and greatest pixel of the training images.
    `penalty` is the share of `fit_prototype_regressor` that was chosen; `validation` is the M-MSE
    on validation images of every share tried.
    """

    features: Features
    weights: Float[np.ndarray, "width hidden"]
    mean: Float[np.ndarray, " hidden"]
    limits: tuple[float, float]
    penalty: float
    validation: dict[float, float]

    def __call__(
        self, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
    ) -> Float[Array, "images pixels"]:
        """Fill in predictions of the missing pixels."""
        seen = np.asarray(visible)
        filled = self.features(np.asarray(x)[:, seen]) @ self.weights + self.mean
        filled = np.clip(filled, *self.limits)
        return x.at[:, np.flatnonzero(~seen)].set(jnp.asarray(filled))


def fit_prototype_regressor(
    train: Images,
    validation: Images,
    visible: Mask,
    width: int,
    *,
    seed: int = 0,
    penalties: Sequence[float] = PENALTIES,
) -> PrototypeRegressor:
    """Ridge regression from training images as prototypes to the missing pixels.

    It minimises |features · weights − pixels|² + λ |weights|² over the training images, with
    features and pixels centred.  `penalties` are shares: λ is the share times the mean over
    features of their sum of squares, so that the unit of pixels doesn't matter.  Validation images
    choose among them; of equally good ones the strongest is taken.

    Raises:
        ConfigError: there are fewer training images than `width`, or the mask leaves nothing to see
            or nothing to predict.
    """
    needs("scipy", "evaluation")
    from scipy import linalg

    if visible.all() or not visible.any():
        raise ConfigError("The mask must leave some pixels visible and some missing.")
    features = triangle_features(some_images(train, width, seed)[:, visible])
    inputs = features(np.asarray(train)[:, visible]).astype(np.float64)
    targets = np.asarray(train, np.float64)[:, ~visible]
    offset, centre = inputs.mean(0), targets.mean(0)
    # Centred features give the intercept, so that it is not penalised.  They sum to 0, so targets
    # need not be centred.
    inputs -= offset
    gram, products = inputs.T @ inputs, inputs.T @ targets
    # Features that never vary, such as a single prototype's, need some λ all the same.
    unit = float(np.trace(gram)) / width or 1.0
    limits = float(np.min(train)), float(np.max(train))
    held_out = features(np.asarray(validation)[:, visible])
    truth = np.asarray(validation, np.float32)[:, ~visible]
    errors, fits = {}, {}
    for penalty in penalties:
        weights = linalg.solve(gram + penalty * unit * np.eye(width), products, assume_a="pos")
        fits[penalty] = weights.astype(np.float32), (centre - offset @ weights).astype(np.float32)
        filled = np.clip(held_out @ fits[penalty][0] + fits[penalty][1], *limits)
        errors[penalty] = float(np.mean(np.sum((truth - filled) ** 2, axis=1)))
    chosen = min(errors, key=lambda penalty: (errors[penalty], -penalty))
    weights, mean = fits[chosen]
    return PrototypeRegressor(features, weights, mean, limits, chosen, errors)

"""The uses of a generative model: samples, completions, log p(x), and the prior that they need.

Any model of the library answers, by its `Measurable`.  Nothing is measured or written here.
"""

from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from gncn.base.arrays import as_images, plain, white_of
from gncn.base.errors import ConfigError, check_counts, check_seed, unknown_choice
from gncn.base.progress import shown_progress, tell
from gncn.baselines.baseline import Baseline
from gncn.baselines.pixel_mixture import PixelMixture, log_likelihood_of
from gncn.core.completion import as_mask
from gncn.core.network import Network
from gncn.data import Dataset, Split
from gncn.data.types import training_only
from gncn.evaluation.completion import Combined, complete_in_ways, visible_pixels
from gncn.evaluation.completion import complete as fill
from gncn.evaluation.images import binary_images, image_shape
from gncn.evaluation.likelihood import prior_log_likelihood
from gncn.evaluation.pixels import output_of
from gncn.evaluation.protocols import Prior, WithPrior
from gncn.measures.likelihood import Likelihood
from gncn.measures.models import as_measurable
from gncn.measures.subject import REGULARISATION, Measurable, Subject

Masks = Bool[np.ndarray, "images pixels"]
"""True where a pixel of an image is visible."""


def fit_prior(
    model: Any,
    data: Any,
    *,
    n_components: int | tuple[int, ...] = 65,
    covariance: str = "full",
    regularisation: float | tuple[float, ...] = REGULARISATION,
    seed: int = 0,
    progress: bool = False,
) -> Prior:
    """Fit a Gaussian mixture to a model's codes of training images: its prior p(z).

    Args:
        model: a network or autoencoder.
        data: a `gncn.Dataset`, or training images alone, one a row.
        n_components: K; among several, validation images choose.
        covariance: ``full`` or ``diagonal``.
        regularisation: added to every variance, as a share of the codes' variance; among several,
            log p(x) of validation images chooses.
        seed: of the k-means clusters to start from.
        progress: draw a bar, in a terminal or a notebook.

    Raises:
        ConfigError: an option is out of range, or the model classifies only.
        DataError: there are fewer images than components.

    >>> import gncn
    >>> data = gncn.load_dataset("digits")
    >>> circuit = gncn.chain((data.n_pixels, 20), competition="columns", group_size=5)
    >>> network = gncn.build(circuit, seed=0, n_settle_steps=5)
    >>> prior = gncn.fit_prior(network, data.train.images, n_components=2)
    >>> prior.sample(jax.random.key(0), 3).shape
    (3, 20)
    """
    fields: dict[str, Any] = {"n_components": n_components, "covariance": covariance}
    fields["regularisation"] = regularisation
    fitting = Likelihood(**fields).fitting
    subject = Subject(as_measurable(model), _data_of(model, data), "validation", seed)
    with shown_progress(progress, "fitting the prior"):
        return subject.prior(*fitting).prior


def sample(
    model: Any, n: int = 1, *, prior: Any = None, seed: int = 0, means: bool = False
) -> Float[np.ndarray, "n pixels"]:
    """Draw images from a generative model: z ~ p(z), then x ~ p(x|z).

    Args:
        model: a network or baseline.
        n: how many.
        prior: p(z), as `fit_prior` gives it, or training images to fit it to.  Needed for
            networks and the RAE, which have none of their own.
        seed: of the draws.
        means: give the mean of each p(x|z), the probability of every pixel, not a draw.

    Raises:
        ConfigError: there is no prior, or the model classifies only.

    >>> import gncn
    >>> from gncn.baselines.blueprint import plan_blueprint
    >>> from gncn.baselines.kinds import start_baseline
    >>> blueprint = plan_blueprint("gvae", 64, budget=2000, n_latent=4)
    >>> gncn.sample(start_baseline(blueprint, seed=0), 5).shape
    (5, 64)
    """
    check_counts(n=n)
    key, own = jax.random.key(check_seed(seed)), as_measurable(model)
    # Codes and pixels have keys of their own.
    codes = _prior_of(model, own, prior, seed).sample(jax.random.fold_in(key, 0), n)
    drive, output = own.decoder.decode(codes), output_of(own.decoder)
    drawn = output.mean(drive) if means else output.sample(jax.random.fold_in(key, 1), drive)
    return np.asarray(drawn, np.float32)


def log_likelihood(
    model: Any,
    images: Any,
    *,
    prior: Any = None,
    n_samples: int = 5000,
    seed: int = 0,
    progress: bool = False,
) -> Float[np.ndarray, " images"]:
    """Log p(x) of images in nats, from S prior samples; on average a lower bound.

    `gncn.evaluation.likelihood` says how far below the true value it may lie.  Of a mixture on
    pixels whose means are clipped it is exact.

    Args:
        model: a network or baseline.
        images: one a row: zeros and ones, unless the model's data are real numbers.
        prior: p(z); see `sample`.
        n_samples: S.
        seed: of the prior samples.
        progress: draw a bar, in a terminal or a notebook.

    Raises:
        ConfigError: there is no prior, or the model classifies only.
        DataError: an image can't be data of the model.

    >>> import gncn
    >>> from gncn.baselines.blueprint import plan_blueprint
    >>> from gncn.baselines.kinds import start_baseline
    >>> model = start_baseline(plan_blueprint("gvae", 64, budget=2000, n_latent=4), seed=0)
    >>> images = gncn.load_dataset("digits").test.images
    >>> bool(abs(gncn.log_likelihood(model, images, n_samples=50).mean() + 64 * np.log(2)) < 9)
    True
    """
    own = as_measurable(model)
    if isinstance(model, PixelMixture) and prior is None:
        binary = binary_images(images, model.mixture.dim)
        # Clipped means are a mixture of Bernoullis, so their p(x) needs no sampling.
        return log_likelihood_of(model, binary, n_samples, check_seed(seed))
    key, white = jax.random.key(check_seed(seed)), _white_of(prior)
    if white is not None and not output_of(own.decoder).binary:
        images = as_images(images, n_pixels_of(model), white=white)
    with shown_progress(progress, "drawing from the prior"):
        whole = WithPrior(own.decoder, _prior_of(model, own, prior, seed))
        tell("drawing from the prior")
        return prior_log_likelihood(whole, images, key=key, n_samples=n_samples).per_image[0]


def complete(
    model: Any,
    images: Any,
    mask: Any = None,
    *,
    way: str | None = None,
    data: Any = None,
    shape: tuple[int, int] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Float[np.ndarray, "images pixels"]:
    """Fill in missing pixels; visible ones are returned as they are.

    Args:
        model: a network or autoencoder.
        images: one a row; NaN where a pixel is missing.
        mask: true where a pixel is *visible*: for all images or for each, shape (pixels,) or
            (images, pixels); or ``right``, ``left``, ``top``, ``bottom`` or ``random`` for the half
            that is missing.  None: only NaN says what is missing.
        way: how; see `gncn.core.completion` and `gncn.evaluation.recall`.  By default settling on
            what is visible (``silent``), or an autoencoder's ``clamped`` iteration.  ``recall``,
            ``refined`` and ``combined`` are better and slower: they learn from training images,
            once for every mask.
        data: the training images for these, or a `gncn.Dataset`.
        shape: rows and columns of an image, for halves; by default a square.
        seed: of the ``random`` half.
        progress: draw a bar, in a terminal or a notebook.

    Raises:
        ConfigError: the way is unknown, needs training images, or the model has none.
        DataError: images and model differ in width.

    >>> import gncn
    >>> network = gncn.build(gncn.chain((4, 3)), seed=0, n_settle_steps=5)
    >>> filled = gncn.complete(network, np.array([[1, 0, 1, np.nan]]))
    >>> filled[0, :3].tolist(), bool(0 < filled[0, 3] < 1)
    ([1.0, 0.0, 1.0], True)
    """
    own = as_measurable(model)
    unit = output_of(own.decoder).binary
    white, n_pixels = _white_of(data), n_pixels_of(model)
    rows = np.asarray(as_images(images, n_pixels, unit=unit, missing=True, white=white))
    # NaN becomes 0; what only the mask hides is blanked where images are completed.
    x, visible = seen_pixels(rows, mask, shape, seed)
    if visible.all():
        return x
    direct = own.direct_completers
    if not (own.has_codes and direct):
        raise ConfigError(f"A {type(model).__name__} can't complete images: it has no codes.")
    # The first direct way is the model's own.
    chosen = next(iter(direct)) if way is None else way
    if chosen in direct:
        # One mask serves all images, where it is one.
        same = bool((visible == visible[:1]).all())
        with shown_progress(progress, "completing"):
            return fill(direct[chosen], x, visible[0] if same else visible)
    if data is None:
        raise ConfigError(
            f"way={way!r} learns from training images: give them as data=..., or choose "
            f"{' or '.join(map(repr, direct))}, which need none."
        )
    with shown_progress(progress, "encoding the training images"):
        return _by_learned_way(own, x, visible, chosen, _data_of(model, data))


def seen_pixels(
    images: Float[np.ndarray, "images pixels"],
    mask: Any,
    shape: tuple[int, int] | None = None,
    seed: int = 0,
) -> tuple[Float[np.ndarray, "images pixels"], Masks]:
    """Images with 0 for NaN, and which of their pixels are visible; see `complete`.

    Raises:
        ConfigError: the name of a half is unknown, or the mask has another shape or type.
    """
    missing = np.isnan(images)
    if isinstance(mask, str):
        mask = visible_pixels(mask, image_shape(images.shape[1], shape), seed=seed)
    visible = ~missing
    if mask is not None:
        each = as_mask(mask, images.shape[1])
        if each.ndim == 2 and len(each) not in (1, len(images)):
            raise ConfigError(
                f"Give one mask, or {len(images)}, one an image; received {len(each)}."
            )
        # Visible is what both the mask and NaN leave visible.
        visible = visible & np.broadcast_to(each, images.shape)
    return np.where(missing, np.float32(0), images), visible


def _by_learned_way(
    own: Measurable, x: Float[np.ndarray, "images pixels"], visible: Masks, way: str, data: Dataset
) -> Float[np.ndarray, "images pixels"]:
    """Completions by a way that is learned from training images for one mask, mask by mask."""
    train, filled = data.train.array, x.copy()
    codes = own.encode_layers(train)[-1]
    # Learning is for one mask, so images that share a mask share what is learned.
    masks, which = np.unique(visible, axis=0, return_inverse=True)
    for number, mask in enumerate(masks):
        rows = which.reshape(-1) == number
        # Nothing is missing, so nothing could be learned.
        if mask.all():
            continue
        tell(f"completing: {number + 1} of {len(masks)} masks")
        ways = own.completers(codes, train, mask)
        if way not in ways:
            raise unknown_choice("way", way, ways)
        chosen = ways[way]
        # Of a sum only the ways that it adds up are computed.
        needed = {*chosen.weights, way} if isinstance(chosen, Combined) else {way}
        some = {name: one for name, one in ways.items() if name in needed}
        filled[rows] = complete_in_ways(some, x[rows], mask)[way]
    return filled


def _prior_of(model: Any, own: Measurable, prior: Any, seed: int) -> Prior:
    """The prior that was given, or fitted to training images; or else the model's own."""
    # A mixture that was fitted before is used as it is; anything else is taken for images.
    if isinstance(prior, Prior):
        return prior
    if prior is not None:
        return fit_prior(model, prior, seed=seed)
    # A density that training fitted to codes goes before the prior that it was trained with.
    found = own.own_prior if own.fitted_prior is None else own.fitted_prior
    if found is None:
        raise ConfigError(
            f"The codes of a {type(model).__name__} have no prior of their own. Give prior=..., "
            "from `gncn.fit_prior(model, data)`, or the training images to fit one to."
        )
    return found


def n_pixels_of(model: Any) -> int | None:
    """The pixels of an image that a model of this library takes; None for other models."""
    match model:
        case Network():
            return model.circuit.sizes[0]
        case Baseline():
            return model.blueprint.n_pixels
        case PixelMixture():
            return model.mixture.dim
    return None


def _white_of(data: Any) -> float | None:
    """What training images, a data set or an array, were divided by; None if nothing says so."""
    if data is None or isinstance(data, Prior):
        return None
    if isinstance(data, Dataset):
        return data.white
    return white_of(np.asarray(plain(data)), "Images")


def _data_of(model: Any, data: Any) -> Dataset:
    """A data set, or one of training images alone."""
    if isinstance(data, Dataset):
        return data
    binary = output_of(as_measurable(model).decoder).binary
    images = binary_images(data) if binary else np.asarray(as_images(data))
    return training_only(Split(images))

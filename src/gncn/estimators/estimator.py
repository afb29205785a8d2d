"""`Estimator`: what all estimators share, from the options to the trained model."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from gncn.base.arrays import as_images, as_rows, plain, white_of
from gncn.base.errors import ConfigError, DataError, check_counts, quoted
from gncn.base.notices import say_once
from gncn.base.progress import shown_progress
from gncn.data import Dataset, Split, binarise
from gncn.data.types import Images, split_off, training_only
from gncn.estimators.options import config_of, sections_of, seed_of, signed
from gncn.evaluation.mixture import Mixture
from gncn.measures.generative import fit_prior, log_likelihood, sample
from gncn.runs.config import Config
from gncn.runs.model_files import from_plain, to_plain
from gncn.runs.train import train
from gncn.training.callbacks import Callbacks
from gncn.training.fit import bar_drawn, learn_once
from gncn.training.history import EpochRecord

_FEW, _MANY = 64, 512
"""Images that a model sees at once: few programs are compiled, and no result depends on them."""
_NUMBER = (int, float, np.floating)
_OPTIONS = {"preset": None, "threshold": 0.5, "validation_fraction": 0.1, "random_state": 0}
_OPTIONS |= {"callbacks": None, "progress": False}
_TO_THE_END = {"schedule": "constant", "final_fraction": 0.0, "warmup_fraction": 0.0}
"""What `partial_fit` makes of a schedule: how much is to come isn't known."""


class Estimator(BaseEstimator):
    """Base class of the estimators.

    An option that is None has the preset's value, or without a preset one that suits a few
    thousand small images.  ``config_`` holds the values of a fitted estimator.

    Attributes:
        preset: name of settings to start from, as of ``gncn train --preset``; the data that it
            names play no part.
        threshold: a pixel is on where its value reaches this: models are of binary images.  Real
            values stay as they are for a network with ``likelihood="gaussian"``.
        validation_fraction: share of the images by which `patience`, or a choice among several
            variances, decides; without either all images are learned from.
        random_state: of the weights, the order of images and all that is drawn: a seed, None, or
            a generator of NumPy, which is asked for a seed.
        callbacks: hear of the training, and may end it: see `gncn.Callback`.  Copies of the
            estimator, such as a search makes, have copies of them.
        progress: draw a bar of all that takes long, in a terminal or a notebook.
        white_: what images of type uint8 are divided by: 255 after learning from 8-bit ones, and
            otherwise 1.  The first images decide it for all that follow.
    """

    _kind: ClassVar[str]
    preset: Any
    threshold: Any
    validation_fraction: Any
    random_state: Any
    callbacks: Any
    progress: Any
    model_: Any
    config_: Config
    white_: float
    history_: tuple[EpochRecord, ...]

    def __init__(self, *unnamed: Any, **options: Any) -> None:
        raise TypeError(f"{type(self).__name__} is no estimator by itself.")

    def __init_subclass__(
        cls, kind: str = "", extra: dict[str, Any] | None = None, **rest: Any
    ) -> None:
        if kind:
            cls._kind = kind
            # scikit-learn reads options from the signature, so each class gets an `__init__` of its
            # own.
            own = dict.fromkeys(sections_of(kind))
            cls.__init__ = signed({**_OPTIONS, **(extra or {}), **own})  # type: ignore[method-assign]
        super().__init_subclass__(**rest)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        # Sparse matrices are accepted, and made dense.
        tags.input_tags.sparse = True
        return tags

    def fit(self, X: Any, y: Any = None) -> Any:
        """Train a new model, as ``gncn train`` does.

        Args:
            X: images, one a row: numbers of shape (n, pixels), or (n, rows, columns).
            y: ignored.

        Raises:
            ConfigError: an option is out of range or without effect.
            FitDivergenceError: training diverged; holds the last good state.
            Interrupted: Ctrl-C; a `KeyboardInterrupt` that holds what was trained.
        """
        config = self._begin()
        images = self._see(X, config, reset=True)
        return self._fit(config, Split(images), None)

    def _fit(self, config: Config, images: Split, n_classes: int | None) -> Any:
        # Without a choice to make, all images are learned from; a `Dataset` needs the other splits
        # all the same.
        data = dataclasses.replace(training_only(images), n_classes=n_classes)
        choosing = len(config.backprop.variances) > 1
        if config.training.patience is not None or choosing:
            share = self.validation_fraction
            if not (isinstance(share, _NUMBER) and 0 < share < 1):
                raise ConfigError(
                    f"validation_fraction must lie between 0 and 1; received {quoted(share)}."
                )
            if len(images) < 2:
                raise DataError(
                    "patience, and a choice among several variances, need 2 images at least: "
                    "some to learn from and some to decide by; received 1. Give more images."
                )
            size = min(max(1, round(share * len(images))), len(images) - 1)
            rest, validation = split_off(images, [size], seed=config.seed)
            data = dataclasses.replace(data, train=rest, validation=validation)
        with bar_drawn(self.progress) as bars:
            found = train(config, data, callbacks=Callbacks(self.callbacks, *bars))
        self._keep(config, found.network, data.train, found.history)
        return self

    def _partial_fit(self, config: Config, images: Split, n_classes: int | None) -> Any:
        data = dataclasses.replace(training_only(images), n_classes=n_classes)
        begun = hasattr(self, "model_")
        model = self.model_ if begun else config.models(data)[0]
        # One epoch, and no end is known: a schedule would have nothing to run down.
        training = config.training.model_copy(update={**_TO_THE_END, "n_epochs": 1})
        before = getattr(self, "_learner", None)
        with bar_drawn(self.progress) as bars:
            told = Callbacks(self.callbacks, *bars)
            model, learner, record = learn_once(model, data, training, config.seed, before, told)
        self._keep(config, model, data.train, (*getattr(self, "history_", ()), record))
        self._learner = learner
        return self

    def _begin(self) -> Config:
        """The configuration that the options make now."""
        threshold = self.threshold
        if threshold is not None and not (isinstance(threshold, _NUMBER) and 0 < threshold <= 1):
            raise ConfigError(f"threshold must lie within (0, 1]; received {quoted(threshold)}.")
        # A generator of random numbers is asked for a seed once, which then decides everything.
        seed = seed_of(self.random_state)
        values = {name: getattr(self, name) for name in sections_of(self._kind)}
        # None means the preset's value, so it is no option.
        given = {name: value for name, value in values.items() if value is not None}
        return config_of(self._kind, self.preset, seed, given)

    def _keep(
        self, config: Config, model: Any, images: Split, history: Sequence[EpochRecord]
    ) -> None:
        """Keep what was trained, and the images: a prior and completions learn from them."""
        self.config_ = config
        self.model_, self.history_, self._images = model, tuple(history), images.array
        # What was learned from before no longer belongs to this model.
        self._learner = self._prior = None

    def _padded(self, function: Any, images: Any) -> Any:
        """The answers of a function for images, which it gets in few different numbers."""
        n = len(images)
        # A program is compiled for each number of images, so there are few: 64 or multiples of 512.
        size = _FEW if n <= _FEW else -(-n // _MANY) * _MANY
        rows = np.minimum(np.arange(size), n - 1)
        with shown_progress(self.progress, "working on images"):
            found = function(images[rows])
        return [one[:n] for one in found] if isinstance(found, list) else found[:n]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def _see(self, X: Any, config: Config | None = None, *, reset: bool = False) -> Images:
        """Images as the model of a configuration, by default the trained one, sees them."""
        values, config = self._checked(X, reset=reset), config or self.config_
        if reset and self._binary(config):
            self._tell(values)
        return self._pixels(values, config)

    def _pixels(self, values: Any, config: Config) -> Images:
        """Images as a model sees them: binary, unless its data are real numbers."""
        if not self._binary(config):
            return values
        return binarise(values, threshold=self.threshold)

    def _binary(self, config: Config) -> bool:
        """Whether a configuration's model is of binary images."""
        return self._kind != "gncn" or config.network.wiring().binary

    def _tell(self, values: Any) -> None:
        """Say once that values which are no pixels from 0 to 1 are binarised all the same."""
        least, most = float(np.nanmin(values)), float(np.nanmax(values))
        if least < 0 or most > 1:
            real = ", or choose likelihood='gaussian', which keeps them" * (self._kind == "gncn")
            # Once for data of one width and about one range, such as the folds of a search.
            say_once(
                f"beyond {self.threshold} {values.shape[1]} {np.log10(max(-least, most)):.0f}",
                f"Values from {least:g} to {most:g} are binarised at threshold={self.threshold}. "
                f"Scale them to 0..1, as scikit-learn's MinMaxScaler does{real}.",
            )

    def _checked(self, X: Any, *, reset: bool = False, missing: bool = False) -> Any:
        """Images of any kind, as the whole library takes them, one a row.

        The number of columns and their names are remembered, or compared with those known.
        """
        found = np.asarray(plain(X, "X", None if reset else self.white_))
        if found.ndim == 2 and not all(found.shape):
            n, width = found.shape
            raise DataError(
                f"X must hold an image; received {n} sample(s), {width} feature(s) "
                f"(shape={found.shape}) while a minimum of 1 is required."
            )
        if reset:
            self.white_ = white_of(found, "X")
        rows = as_images(as_rows(found, None, "X"), what="X", missing=missing, white=self.white_)
        names = list(getattr(X, "column_names", getattr(X, "columns", ())))
        # Names that columns share are none.
        named = cast(Any, X if len(set(names)) == len(names) else rows)
        checks: dict[str, Any] = {"reset": reset, "skip_check_array": True, "ensure_2d": False}
        validate_data(self, named, **checks)
        if reset:
            self.n_features_in_ = rows.shape[1]
        elif rows.shape[1] != self.n_features_in_:
            raise DataError(
                f"X has {rows.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )
        return rows

    def to_evaluate(self, data: Any) -> tuple[Any, Dataset]:
        """The model and data for `gncn.evaluate`, which may be images alone."""
        check_is_fitted(self)
        if not isinstance(data, Dataset):
            images = Split(self._see(data))
            whole = training_only(Split(self._images))
            # Both splits that can be reported on hold the images given.
            data = dataclasses.replace(whole, validation=images, test=images)
        return self.model_, data

    def __getstate__(self) -> dict[str, Any]:
        """Options, configuration and NumPy arrays: no array of JAX's."""
        # JAX's arrays would be tied to the device that they lie on.
        state: dict[str, Any] = dict(cast(Any, super().__getstate__()))
        if "model_" in state:
            state["model_"] = to_plain(self.model_)
        if isinstance(prior := state.get("_prior"), Mixture):
            arrays = {name: np.asarray(getattr(prior, name)) for name in Mixture.__annotations__}
            state["_prior"] = arrays | {"covariance": prior.covariance}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "model_" in state:
            state = state | {"model_": from_plain(state["model_"])}
        if isinstance(prior := state.get("_prior"), dict):
            arrays = {name: jnp.asarray(prior[name]) for name in prior if name != "covariance"}
            state = state | {"_prior": Mixture(**arrays, covariance=prior["covariance"])}
        super().__setstate__(state)


class Density(DensityMixin, Estimator):
    """Base class of the estimators that have a density."""

    def score_samples(self, X: Any) -> Any:
        """Log p(x) of images in nats, from S = `n_samples` prior samples; shape (n,).

        On average a lower bound: see `gncn.evaluation.likelihood`.
        """
        check_is_fitted(self)
        return self._padded(self._log_likelihood, self._see(X))

    def _log_likelihood(self, images: Images) -> Any:
        n_samples, seed = self._n_samples, self.config_.seed
        return log_likelihood(
            self.model_, images, prior=self.prior_, n_samples=n_samples, seed=seed
        )

    def score(self, X: Any, y: Any = None) -> Any:
        """Mean log p(x) of images in nats."""
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw images from the model, shape (n, pixels).

        Args:
            n_samples: how many.
            random_state: of the draws; by default the seed of training, so that they stay the same.
        """
        check_is_fitted(self)
        check_counts(n_samples=n_samples)
        seed = self.config_.seed if random_state is None else seed_of(random_state)
        return sample(self.model_, n_samples, prior=self.prior_, seed=seed)

    @property
    def prior_(self) -> Any:
        """The prior p(z), fitted to codes of training images when it is first needed.

        None where the model's own is meant.
        """
        return None

    @property
    def _n_samples(self) -> int:
        return self.config_.mixture.n_samples


class WithCodes(Density):
    """Base class of the estimators that have a density of images and codes of them."""

    n_components: Any
    covariance: Any
    n_samples: Any

    @property
    def prior_(self) -> Any:
        check_is_fitted(self)
        # Fitted when it is first asked for, since much use needs none.
        if self._prior is None and self._n_components is not None:
            self._prior = fit_prior(
                self.model_,
                training_only(Split(self._images)),
                n_components=self._n_components,
                covariance=self.covariance,
                seed=self.config_.seed,
            )
        return self._prior

    @property
    def _n_components(self) -> int | None:
        return self.n_components

    @property
    def _n_samples(self) -> int:
        return self.n_samples

"""The estimators: `GNCN`, the baselines, the mixture on pixels, and the classifier."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import ClassifierMixin, TransformerMixin
from sklearn.utils import Tags, assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from gncn.base.arrays import as_codes
from gncn.base.errors import ConfigError, DataError, check_whole, shortened
from gncn.base.labels import check_all_labelled
from gncn.core.inference import decode, reconstruct
from gncn.data import Split
from gncn.estimators.estimator import Density, Estimator, WithCodes
from gncn.measures.generative import complete, seen_pixels
from gncn.measures.models import as_measurable
from gncn.runs.config import Config

_LEAST_IMAGES = 20
"""Images for each component of a prior, unless a number of components is asked for."""
_PAPER_COMPONENTS = 65
_CODES = {"layer": None, "n_components": None, "covariance": "full", "n_samples": 5000}


class Coder(TransformerMixin, WithCodes):
    """Base class of the models that map images to codes, and codes to images.

    Attributes:
        layer: the latent layer, from 1, whose states `transform` returns; ``all`` for all of them
            side by side, the lowest first; None for the top.
        n_components: of the mixture prior that is fitted to codes of training images for log p(x)
            and samples.  None: one for 20 images, 65 at most; for models that were trained with a
            prior of their own, that one.
        covariance: of the mixture: ``full`` or ``diagonal``.
        n_samples: S, the prior samples of log p(x).
    """

    layer: Any

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        # Codes are in single precision, whatever type images have.
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def partial_fit(self, X: Any, y: Any = None) -> Any:
        """Learn once from images, going on from the last call of this or of `fit`.

        The learning rate stays as it is, whatever `schedule` says.  A prior is fitted, and
        completions learn, from the images of the last call.
        """
        config = self._begin()
        images = self._see(X, config, reset=not hasattr(self, "model_"))
        return self._partial_fit(config, Split(images), None)

    def transform(self, X: Any) -> Any:
        """States of the top layer, or as `layer` says; shape (n, units), single precision."""
        check_is_fitted(self)
        # `_padded` takes the answers apart again: a list holds one array for each layer.
        layers = self._padded(self._encode, self._see(X))
        return np.concatenate([layers[index - 1] for index in self._layers], axis=1)

    def _encode(self, images: Any) -> list[Any]:
        return as_measurable(self.model_).encode_layers(images)

    def inverse_transform(self, X: Any) -> Any:
        """The images that codes predict: for binary ones the probability of each pixel.

        Args:
            X: states as `transform` returns them; only the states of the top layer matter.

        Raises:
            ConfigError: `layer` is not the top one.
        """
        check_is_fitted(self)
        # Only the top layer's states decide an image.
        if self._layers[-1] != len(self._sizes):
            raise ConfigError(
                f"Images are decoded from the top layer, {len(self._sizes)}; received "
                f"layer={self.layer!r}."
            )
        codes = np.asarray(as_codes(X, self._n_features_out, what="X"))
        # The top layer's states stand last.
        return self._padded(self._decode, codes[:, -self._sizes[-1] :])

    def reconstruct(self, X: Any) -> Any:
        """The model's predictions of images that it sees; shape (n, pixels)."""
        check_is_fitted(self)
        return self._padded(self._reconstruct, self._see(X))

    def complete(self, X: Any, mask: Any = None, *, way: str | None = None) -> Any:
        """Fill in missing pixels; visible ones are returned as they are.  See `gncn.complete`.

        Args:
            X: images, NaN where a pixel is missing.
            mask: true where a pixel is visible: for all images or for each; or the name of the
                half that is missing, such as ``right``.
            way: how; ``recall``, ``refined`` and ``combined`` learn from the training images, once
                for every mask.
        """
        check_is_fitted(self)
        values = self._checked(X, missing=True)
        x, visible = seen_pixels(values, mask, None, self.config_.seed)
        # Visible pixels are prepared as in training; values under the mask are ignored.
        x = np.asarray(self._pixels(x, self.config_), np.float32)

        def fill(images: Any) -> Any:
            return complete(self.model_, images, way=way, data=self._images)

        filled = self._padded(fill, np.where(visible, x, np.float32(np.nan)))
        # Visible pixels come back as they were given, before any threshold.
        return np.where(visible, values, filled)

    @property
    def _layers(self) -> list[int]:
        """Numbers of the layers that `transform` returns."""
        n_layers = len(self._sizes)
        if self.layer is None:
            return [n_layers]
        if self.layer == "all":
            return [*range(1, n_layers + 1)]
        number = check_whole("layer", self.layer)
        if not 1 <= number <= n_layers:
            raise ConfigError(
                f"layer must be from 1 to {n_layers}, 'all', or None for the top; received "
                f"{self.layer!r}."
            )
        return [number]

    @property
    def _n_features_out(self) -> int:
        return sum(self._sizes[layer - 1] for layer in self._layers)

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """Names of the columns of `transform`: class, layer and neuron, as in ``gncn_z2_17``."""
        check_is_fitted(self)
        name = type(self).__name__.lower()
        names = [f"{name}_z{k}_{unit}" for k in self._layers for unit in range(self._sizes[k - 1])]
        return np.asarray(names, dtype=object)

    @property
    def _sizes(self) -> tuple[int, ...]:
        """Units of every latent layer, the lowest first."""
        raise NotImplementedError

    def _decode(self, codes: Any) -> Any:
        raise NotImplementedError

    def _reconstruct(self, images: Any) -> Any:
        raise NotImplementedError

    def _for_each(self, n_components: int | None) -> int:
        # At least so many images for each component, or their covariances mean little.
        most = max(1, len(self._images) // _LEAST_IMAGES)
        return min(_PAPER_COMPONENTS, most) if n_components is None else n_components


class GNCN(Coder, kind="gncn", extra=_CODES):
    """A generative neural coding network, as an estimator of scikit-learn.

    >>> import gncn
    >>> images = gncn.load_dataset("digits").train.images[:200]
    >>> network = gncn.GNCN(sizes=(20, 20), group_size=5, n_epochs=3).fit(images)
    >>> network.transform(images).shape, network.sample(4).shape
    ((200, 20), (4, 64))
    >>> damaged = np.where(np.arange(64) < 32, images[:5], np.nan)
    >>> bool(np.isfinite(network.complete(damaged)).all())
    True
    """

    @property
    def _sizes(self) -> tuple[int, ...]:
        return self.model_.circuit.sizes[1:]

    @property
    def _n_components(self) -> int:
        return self._for_each(self.n_components)

    def _decode(self, codes: Any) -> Any:
        mean = self.model_.layers[0].errors.mean
        return np.asarray(mean(decode(self.model_, codes)))

    def _reconstruct(self, images: Any) -> Any:
        return reconstruct(self.model_, images)


class _Autoencoder(Coder):
    """Base class of the autoencoders; their codes are the encoder's output, or its mean."""

    @property
    def _sizes(self) -> tuple[int, ...]:
        blueprint = self.model_.blueprint
        return (*blueprint.parts["encoder"][1:-1], blueprint.n_latent)

    def _decode(self, codes: Any) -> Any:
        return np.asarray(jax.nn.sigmoid(self.model_.decode(jnp.asarray(codes))))

    def _reconstruct(self, images: Any) -> Any:
        return np.asarray(self.model_.reconstruct(jnp.asarray(images, jnp.float32)))


class RAE(_Autoencoder, kind="rae", extra=_CODES):
    """A regularised autoencoder, as an estimator of scikit-learn.

    >>> import gncn
    >>> gncn.RAE(budget=5000, n_latent=8, n_epochs=3)
    RAE(budget=5000, n_epochs=3, n_latent=8)
    """

    @property
    def _n_components(self) -> int:
        return self._for_each(self.n_components)


class GVAE(_Autoencoder, kind="gvae", extra=_CODES):
    """A Gaussian variational autoencoder, as an estimator of scikit-learn.

    >>> import gncn
    >>> images = gncn.load_dataset("digits").train.images[:200]
    >>> model = gncn.GVAE(budget=5000, n_latent=8, n_epochs=3).fit(images)
    >>> model.score_samples(images[:10]).shape
    (10,)
    """


class GVAECV(_Autoencoder, kind="gvae-cv", extra=_CODES):
    """A GVAE of constant variance, perhaps chosen among several, as an estimator of scikit-learn.

    >>> import gncn
    >>> gncn.GVAECV(variance=(0.05, 0.5))
    GVAECV(variance=(0.05, 0.5))
    """


class GANAE(_Autoencoder, kind="gan-ae", extra=_CODES):
    """An adversarial autoencoder, as an estimator of scikit-learn.

    >>> import gncn
    >>> gncn.GANAE(adversary_rate=0.1)
    GANAE(adversary_rate=0.1)
    """


class PixelMixture(Density, kind="gmm"):
    """A Gaussian mixture on the pixels, as a density estimator of scikit-learn.

    EM sees all images at once, so there is no `partial_fit`.

    >>> import gncn
    >>> images = gncn.load_dataset("digits").train.images[:200]
    >>> gncn.PixelMixture(n_components=5, max_iterations=5).fit(images).sample(3).shape
    (3, 64)
    """


class DSRN(ClassifierMixin, Estimator, kind="dsrn"):
    """A deep sparse rectifier network, as a classifier of scikit-learn.

    >>> import gncn
    >>> train = gncn.load_dataset("digits").train
    >>> classifier = gncn.DSRN(budget=5000, n_epochs=10).fit(train.images, train.labels)
    >>> bool(classifier.score(train.images, train.labels) > 0.8)
    True
    """

    classes_: Any

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True  # on features that are not binary
        return tags

    def fit(self, X: Any, y: Any = None) -> Any:
        """Train a new classifier.

        Args:
            X: images, one a row.
            y: the class of each: numbers or strings.

        Raises:
            DataError: there are fewer than two classes.
            GncnError: see `Estimator.fit`.
        """
        config = self._begin()
        images, classes = self._checked_pair(X, y, config, reset=True)
        # scikit-learn allows any labels; the model counts classes from 0.
        self.classes_, labels = np.unique(classes, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(
                f"{type(self).__name__} needs at least two classes; y holds one class, "
                f"{self.classes_.tolist()[0]!r}."
            )
        return self._fit(config, Split(images, labels.astype(np.int32)), len(self.classes_))

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Any:
        """Learn once from images, going on from the last call of this or of `fit`.

        Args:
            X: images, one a row.
            y: the class of each.
            classes: all that there are; needed in the first call.
        """
        config, begun = self._begin(), hasattr(self, "model_")
        if not begun and classes is None:
            # Later calls may lack some classes, so the first one must name them all.
            raise DataError("classes must be passed on the first call to partial_fit.")
        images, own = self._checked_pair(X, y, config, reset=not begun)
        if not begun:
            self.classes_ = np.unique(classes)
        elif classes is not None and not np.array_equal(self.classes_, np.unique(classes)):
            raise DataError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                f"{self.classes_!r}"
            )
        if unknown := set(np.unique(own).tolist()) - set(self.classes_.tolist()):
            raise DataError(f"y holds classes that `classes` lacks: {sorted(unknown)}.")
        # `classes_` is sorted, so a label's place is its number.
        labels = np.searchsorted(self.classes_, own)
        split = Split(images, labels.astype(np.int32))
        return self._partial_fit(config, split, len(self.classes_))

    def _checked_pair(self, X: Any, y: Any, config: Config, *, reset: bool) -> tuple[Any, Any]:
        if y is None:
            raise DataError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        images = self._see(X, config, reset=reset)
        check_all_labelled(y, "y")
        try:
            classes = column_or_1d(y, warn=True)
            assert_all_finite(classes, input_name="y")
            check_classification_targets(classes)
        except (ValueError, TypeError) as error:
            reason = shortened(str(error).partition("\n")[0], 200)
            raise DataError(f"y must be text or whole numbers, one an image: {reason}") from error
        if len(classes) != len(images):
            raise DataError(f"X has {len(images)} images, and y {len(classes)} classes.")
        return images, classes

    def predict_proba(self, X: Any) -> Any:
        """The probability of each class, shape (n, classes)."""
        check_is_fitted(self)

        def shares(images: Any) -> Any:
            return np.asarray(jax.nn.softmax(self.model_.network(jnp.asarray(images, jnp.float32))))

        return self._padded(shares, self._see(X))

    def predict(self, X: Any) -> Any:
        """The likeliest class of each image."""
        chosen = np.argmax(self.predict_proba(X), axis=1)
        return self.classes_[chosen]

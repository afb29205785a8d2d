"""A Gaussian mixture on the pixels themselves (GMM), fitted by EM.

    y ~ Σ_k π_k N(μ_k, Σ_k),    p(x) = E_y [Π_d Bernoulli(x_d; clip(y_d, ε, 1 − ε))]

Binary images have no density under a Gaussian mixture, so p(x) needs a convention.  The
paper's is the one of its other models, estimated with S = 5000 draws: y takes the place
of the code, and "the images sampled from the mixture model" are "clipped to lie in the
range [0, 1]".  Clipped to exactly 0 or 1, one wrong pixel would make p(x) = 0.  So
there is an ε, about which the paper is silent.

With ``emission="means"`` the means μ_k are clipped instead and y is the mean of a
component drawn by π: then p(x) = Σ_k π_k Π_d Bernoulli(x_d; clip(μ_kd)) exactly, a sum
without sampling error, and a far better model of binary images.

EM has no mini-batches, and its steps are too expensive to evaluate each one.  So a trial has one
record, made when EM has ended.  For training we score only the first N images, where N is the
size of the larger held-out split.
"""

import time
from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped
from pydantic import Field

from gncn.base.description import Description
from gncn.base.errors import MOST_COUNT
from gncn.base.interrupts import interrupts_held
from gncn.baselines.baseline import refuse_real_valued
from gncn.data import Dataset
from gncn.evaluation.images import log_likelihood_table
from gncn.evaluation.likelihood import MOST_SAMPLES, prior_log_likelihood
from gncn.evaluation.mixture import Covariance, Mixture
from gncn.evaluation.mixture_fit import fit_mixture
from gncn.evaluation.protocols import WithPrior
from gncn.training.callbacks import Callbacks, Start
from gncn.training.history import EpochRecord, SplitRecord
from gncn.training.progress import Fit, Interrupted

Emission = Literal["samples", "means"]


class PixelMixtureConfig(Description):
    """Options of the section ``[mixture]``; see the module.

    Attributes:
        n_components: number K of Gaussians.
        covariance: which covariances components have.
        regularisation: added to every variance.
        max_iterations: the most EM steps.
        emission: what is clipped: ``samples`` or ``means``.
        floor: ε; pixels' probabilities are clipped to [ε, 1 − ε].
        n_samples: S for log p(x), if samples are clipped.
    """

    n_components: int = Field(default=65, ge=1, le=MOST_COUNT)
    covariance: Covariance = "full"
    regularisation: float = Field(default=1e-3, gt=0)
    max_iterations: int = Field(default=50, ge=1, le=MOST_COUNT)
    emission: Emission = "samples"
    floor: float = Field(default=0.01, gt=0, lt=0.5)
    n_samples: int = Field(default=5000, ge=1, le=MOST_SAMPLES)


class PixelMixtureShape(Description):
    """Everything about a `PixelMixture` but its arrays."""

    n_components: int = Field(gt=0)
    n_pixels: int = Field(gt=0)
    covariance: Covariance
    floor: float = Field(gt=0, lt=0.5)
    emission: Emission


class PixelMixture(eqx.Module):
    """The mixture as a generative model of binary images: `Prior` of y and `Decoder` at once.

    Attributes:
        mixture: over pixel vectors y.
        floor: ε.
        emission: what is clipped to [ε, 1 − ε]: ``samples`` of the mixture, or its ``means``.
    """

    mixture: Mixture
    floor: float = eqx.field(static=True)
    emission: Emission = eqx.field(static=True, default="samples")

    @property
    def shape(self) -> PixelMixtureShape:
        """All but the arrays."""
        return PixelMixtureShape(
            n_components=self.mixture.n_components,
            n_pixels=self.mixture.dim,
            covariance=self.mixture.covariance,
            floor=self.floor,
            emission=self.emission,
        )

    def __str__(self) -> str:
        return (
            f"PixelMixture of {self.mixture.n_components} Gaussians\n"
            f"  on {self.mixture.dim:,} pixels, covariance {self.mixture.covariance}\n"
            f"  pixels: {self.emission}, clipped to {self.floor:g} from 0 and 1"
        )

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n pixels"]:
        """Draw pixel vectors y."""
        if self.emission == "samples":
            return self.mixture.sample(key, n)
        # Means of components drawn by their weights: then p(x) is a finite sum.
        return self.mixture.means[jax.random.categorical(key, self.mixture.logits, shape=(n,))]

    def log_prob(self, codes: Float[Array, "codes pixels"]) -> Float[Array, " codes"]:
        """Log density of the mixture at pixel vectors y, in nats."""
        return self.mixture.log_prob(codes)

    def decode(self, codes: Float[Array, "codes pixels"]) -> Float[Array, "codes pixels"]:
        """Logits of y clipped to [ε, 1 − ε]."""
        # The decoder gives logits, like any other.
        return jax.scipy.special.logit(jnp.clip(codes, self.floor, 1 - self.floor))

    def exact_log_likelihood(self, x: Float[Array, "images pixels"]) -> Float[Array, " images"]:
        """Log p(x) in nats, without sampling; for ``emission="means"`` only."""
        assert self.emission == "means", "p(x) is an integral if samples are clipped"
        table = log_likelihood_table(x, self.decode(self.mixture.means))
        # log Σ_k π_k p(x|k), stable where all terms are tiny.
        return jax.nn.logsumexp(table + jax.nn.log_softmax(self.mixture.logits)[None, :], axis=1)


def log_likelihood_of(
    model: PixelMixture, images: Shaped[np.ndarray, "images pixels"], n_samples: int, seed: int
) -> Float[np.ndarray, " images"]:
    """Log p(x) of images in nats: exact for clipped means, Monte Carlo (S draws) for samples."""
    if model.emission == "means":
        return np.asarray(model.exact_log_likelihood(jnp.asarray(images, jnp.float32)))
    both, key = WithPrior(model, model), jax.random.key(seed)
    return prior_log_likelihood(both, images, key=key, n_samples=n_samples).per_image[0]


def fit_pixel_mixture(
    data: Dataset,
    config: PixelMixtureConfig,
    *,
    seeds: Sequence[int] = (0,),
    callbacks: Any = (),
) -> Fit[PixelMixture]:
    """Fit a mixture to training images by EM, once for each seed.

    The history's error is −log p(x) in nats.  To callbacks, an EM step is a mini-batch and the end
    of EM an epoch.

    Raises:
        DataError: the images are real-valued, or fewer than components.
        Interrupted: Ctrl-C; holds the mixtures of the seeds before.
    """
    refuse_real_valued("gmm", data)
    n_steps, told = config.max_iterations + 1, Callbacks(callbacks)
    settings = {"model": "PixelMixture", "seeds": list(seeds), "mixture": config.model_dump()}
    told.tell("on_start", Start(1, len(seeds) * n_steps, settings=settings))
    pixels = data.train.array.astype(np.float32)
    trained: list[tuple[PixelMixture, EpochRecord]] = []

    def on_iteration(number: int, _: float) -> None:
        # Steps of earlier seeds count as done.
        told.tell("on_batch", len(trained) * n_steps + number - 1)

    stopped = False
    try:
        for trial, seed in enumerate(seeds):
            began = time.perf_counter()
            fit = fit_mixture(
                pixels,
                config.n_components,
                config.covariance,
                seed=seed,
                regularisation=config.regularisation,
                max_iterations=config.max_iterations,
                on_iteration=on_iteration,
            )
            seconds = time.perf_counter() - began
            model = PixelMixture(fit.mixture, config.floor, config.emission)
            n_train = max(len(data.validation), len(data.test))
            train, validation, test = (
                _record(model, split.array[:n_train], config.n_samples, seed)
                for split in data.splits
            )
            record = EpochRecord(
                trial=trial,
                epoch=1,
                error_name="negative_log_likelihood",
                seconds=seconds,
                train=train,
                validation=validation,
                test=test,
            )
            trained.append((model, record))
    except KeyboardInterrupt:
        stopped = True
    models, history = zip(*trained, strict=True) if trained else ((), ())
    if history:
        # Mixtures, history and callbacks' files belong together.
        with interrupts_held():
            told.tell("on_epoch", history, models)
    fit = Fit(models, history, "interrupted" if stopped else "finished", (1,) * len(models))
    told.tell("on_end", fit)
    if stopped:
        raise Interrupted(fit)
    return fit


def _record(
    model: PixelMixture, images: Shaped[np.ndarray, "images pixels"], n_samples: int, seed: int
) -> SplitRecord:
    mean = float(np.mean(log_likelihood_of(model, images, n_samples, seed)))
    return SplitRecord(error=-mean, discrepancy=mean, layer_discrepancy=(mean,), sparsity=())

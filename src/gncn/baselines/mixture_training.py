"""Training the Gaussian mixture on pixels: EM, then log p(x) of every split.

For training we score only the first N images, where N is the size of the larger held-out split.

EM has no mini-batches, and its steps are too expensive to evaluate each one.  So a trial has one
record, made when EM has ended.
"""

import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from gncn.base.interrupts import interrupts_held
from gncn.baselines.baseline import refuse_real_valued
from gncn.baselines.config import PixelMixtureConfig
from gncn.baselines.pixel_mixture import PixelMixture
from gncn.data import Dataset
from gncn.evaluation.likelihood import prior_log_likelihood
from gncn.evaluation.mixture_fit import fit_mixture
from gncn.evaluation.protocols import WithPrior
from gncn.training.fit import Fit, Listener, Status
from gncn.training.history import EpochRecord, ErrorName, SplitRecord, error_name


@error_name.register
def _(model: PixelMixture) -> ErrorName:
    return "negative_log_likelihood"


def log_likelihood_of(
    model: PixelMixture, images: Shaped[np.ndarray, "images pixels"], n_samples: int, seed: int
) -> Float[np.ndarray, " images"]:
    """Log p(x) of images in nats: exact for clipped means, Monte Carlo (S draws) for samples."""
    if model.emission == "means":
        return np.asarray(model.exact_log_likelihood(jnp.asarray(images, jnp.float32)))
    key = jax.random.key(seed)
    both = WithPrior(model, model)
    return prior_log_likelihood(both, images, key=key, n_samples=n_samples).per_image[0]


def fit_pixel_mixture(
    data: Dataset,
    config: PixelMixtureConfig | None = None,
    *,
    seeds: int | Sequence[int] = 0,
    listeners: Sequence[Listener] = (),
) -> Fit[PixelMixture]:
    """Fit a mixture to training images by EM, once for each seed.

    Args:
        data: binary images.
        config: components, covariance, and the convention for p(x).
        seeds: decide the start of EM, and samples; one for each trial.
        listeners: an EM step is a mini-batch to them, and the end of EM an epoch.

    Returns:
        The mixtures; the history's error is −log p(x) in nats.

    Raises:
        DataError: the images are real-valued, or fewer than components.
    """
    config = config or PixelMixtureConfig()
    seeds = [seeds] if isinstance(seeds, int) else list(seeds)
    refuse_real_valued("gmm", data)
    for listener in listeners:
        listener.on_start(1, len(seeds) * (config.max_iterations + 1))
    models: list[PixelMixture] = []
    history: list[EpochRecord] = []
    status: Status = "finished"
    try:
        for trial, seed in enumerate(seeds):

            def on_iteration(number: int, _: float, trial: int = trial) -> None:
                for listener in listeners:
                    listener.on_batch(trial * (config.max_iterations + 1) + number - 1)

            began = time.perf_counter()
            fit = fit_mixture(
                data.train.array.astype(np.float32),
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
                _record(model, images, config.n_samples, seed)
                for images in (
                    data.train.array[:n_train],
                    data.validation.array,
                    data.test.array,
                )
            )
            models.append(model)
            history.append(
                EpochRecord(
                    trial=trial,
                    epoch=1,
                    error_name=error_name(model),
                    seconds=seconds,
                    train=train,
                    validation=validation,
                    test=test,
                )
            )
    except KeyboardInterrupt:
        status = "interrupted"
    if history:
        with interrupts_held():
            for listener in listeners:
                listener.on_epoch(history, models)
    return Fit(tuple(models), tuple(history), status, (1,) * len(models))


def _record(
    model: PixelMixture, images: Shaped[np.ndarray, "images pixels"], n_samples: int, seed: int
) -> SplitRecord:
    mean = float(np.mean(log_likelihood_of(model, images, n_samples, seed)))
    return SplitRecord(error=-mean, discrepancy=mean, layer_discrepancy=(mean,), sparsity=())

"""`fit`: train models on a data set, epoch by epoch, and record what happens.

This is the edge between pure epochs and the world.  `fit` measures time, evaluates, tells a
`Listener` (a progress bar, a run folder), and stops a run that diverges or no longer improves.
`Progress` holds all that goes from one epoch to the next; on Ctrl-C the last one is returned.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gncn.base.errors import ConfigError, DivergenceError
from gncn.base.interrupts import interrupts_held
from gncn.data import Dataset
from gncn.training.config import Rates, TrainingConfig
from gncn.training.epochs import (
    Method,
    Monitored,
    TrainingState,
    average,
    run_epoch,
    stack,
    unstack,
)
from gncn.training.examples import examples_of, on_device
from gncn.training.history import EpochRecord, ErrorName

Status = Literal["finished", "interrupted", "diverged"]
M = TypeVar("M")

WORST_NATS_PER_PIXEL = 10 * np.log(2)
"""A mean reconstruction error above this is divergence: ten times the error of tossing coins.

An autoencoder's error may lie above it before anything is learned; then twice the error of the
first mini-batch is the limit."""


@singledispatch
def method_of(model: Any) -> type[Method]:
    """How models of this class learn; each class registers its own.

    Raises:
        ConfigError: no such models are known.
    """
    raise _unfit([model])


def _unfit(models: Sequence[Any]) -> ConfigError:
    return ConfigError(
        "fit trains networks, or baselines of one kind; received "
        f"{sorted({type(model).__name__ for model in models})}."
    )


@runtime_checkable
class Listener(Protocol):
    """Hears of a run's progress."""

    def on_start(self, n_epochs: int, n_batches: int) -> None:
        """Training begins: so many epochs of so many mini-batches."""

    def on_batch(self, number: int) -> None:
        """All mini-batches up to `number` (from 0) of the present epoch are done.

        `fit` calls this some twenty times in an epoch, not for every mini-batch.
        """

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Any]) -> None:
        """An epoch is done; one record and one model for each trial.

        With early stopping these are the models to keep, perhaps from earlier epochs.
        """


@dataclass(frozen=True)
class Fit(Generic[M]):
    """The result of training.

    Attributes:
        networks: one for each trial, from the last whole epoch, or with early stopping
            from the best one.
        history: one record for each trial and epoch.
        status: ``finished``, ``interrupted`` by Ctrl-C, or ``diverged``.
        epochs_kept: the epoch that each of `networks` is from; 0 is the start.
    """

    networks: tuple[M, ...]
    history: tuple[EpochRecord, ...]
    status: Status
    epochs_kept: tuple[int, ...]

    @property
    def network(self) -> M:
        """The network of the first trial."""
        return self.networks[0]

    @property
    def kept(self) -> tuple[EpochRecord, ...]:
        """Records of the epochs kept, in the order of `history`; a start has none."""
        return tuple(r for r in self.history if r.epoch == self.epochs_kept[r.trial])


class FitDivergenceError(DivergenceError):
    """Training diverged.

    Attributes:
        last_good: networks and history up to the last epoch that ended well.
    """

    def __init__(self, message: str, last_good: Fit[Any]) -> None:
        super().__init__(message)
        self.last_good = last_good


@dataclass(frozen=True)
class Progress:
    """All that training carries from one epoch to the next.

    Attributes:
        state: models and learners.
        best: the models to keep, with a leading axis of trials: from the best epoch, or
            from the last without early stopping.
        scores: how good each of `best` is on the validation images.
        epochs_kept: the epoch that each of `best` is from.
        worst: the error of a mini-batch above which each trial has diverged.
        history: records of all epochs.
    """

    state: TrainingState
    best: Any
    scores: Float[np.ndarray, " trials"]
    epochs_kept: tuple[int, ...]
    worst: Float[np.ndarray, " trials"]
    history: tuple[EpochRecord, ...] = ()

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self.history[-1].epoch if self.history else 0

    def result(self, status: Status) -> Fit[Any]:
        """What `fit` returns if training ends here."""
        return Fit(tuple(unstack(self.best)), self.history, status, self.epochs_kept)


def fit(
    network: M | Sequence[M],
    data: Dataset,
    config: TrainingConfig | Sequence[TrainingConfig] | None = None,
    *,
    seeds: int | Sequence[int] = 0,
    listeners: Sequence[Listener] = (),
) -> Fit[M]:
    """Train one model, or several of one kind and size at once.

    Args:
        network: the network or baseline, or one for each trial.
        data: the models learn from `data.train`.  `data.validation` and `data.test` are
            evaluated after every epoch and have no influence, unless `config.patience`
            lets validation decide when to stop.
        config: length, batch size, optimiser and rates.  With one for each trial, they may
            differ in their rates.  Trials may also differ in β, γ, α_e and α_h.
        seeds: decide the order of images, one seed for each trial.
        listeners: hear of the progress.

    Returns:
        The trained models and the history of training.

    Raises:
        ConfigError: the models differ in kind or size, or from seeds or configurations
            in number, the configurations differ in more than rates, or an option doesn't
            apply.
        DataError: the data do not fit the models.
        FitDivergenceError: training diverged; holds the last good state.
    """
    models = [network] if not isinstance(network, Sequence) else list(network)
    seeds = [seeds] if isinstance(seeds, int) else list(seeds)
    if isinstance(config, Sequence):
        configs = list(config)
    else:
        configs = [config or TrainingConfig()] * len(models)
    _refuse_unequal(models, seeds, configs)
    epochs = _Epochs(models, data, configs, listeners)
    plan, progress = configs[0], epochs.start(models, seeds)
    for listener in listeners:
        listener.on_start(plan.n_epochs, epochs.method.n_batches)
    status: Status = "finished"
    try:
        while progress.epoch < plan.n_epochs:
            after = epochs.next(progress)
            with interrupts_held():  # networks, history and what listeners write agree
                progress = after
                records, best = after.history[-len(models) :], unstack(after.best)
                for listener in listeners:
                    listener.on_epoch(records, best)
            idle = progress.epoch - max(progress.epochs_kept)
            if plan.patience is not None and idle >= plan.patience:
                break
    except KeyboardInterrupt:
        status = "interrupted"
    return progress.result(status)


class _Epochs:
    """What stays as it is from epoch to epoch, and how one follows another."""

    def __init__(
        self,
        models: Sequence[Any],
        data: Dataset,
        configs: Sequence[TrainingConfig],
        listeners: Sequence[Listener],
    ) -> None:
        kinds, self.config = {method_of(model) for model in models}, configs[0]
        if len(kinds) > 1:
            raise _unfit(models)
        (kind,) = kinds
        for config in configs:
            kind.check(models, data, config)
        self.method = kind(self.config.without_rates(), len(data.train))
        self.rates: Rates = stack([config.rates() for config in configs])
        train, *self.held_out = map(examples_of, data.splits)
        self.train = on_device(train)
        self.n_pixels, self.listeners = data.n_pixels, listeners
        self.monitored: Monitored = kind.monitored(models[0])
        self.error_name: ErrorName = kind.error_name(models[0])

    def start(self, models: Sequence[Any], seeds: Sequence[int]) -> Progress:
        """Before the first epoch."""
        state, n_trials = self.method.start(models, seeds), len(models)
        worst = np.full(n_trials, WORST_NATS_PER_PIXEL * self.n_pixels)
        return Progress(state, state.network, np.full(n_trials, -np.inf), (0,) * n_trials, worst)

    def next(self, progress: Progress) -> Progress:
        """After one more epoch; raises `FitDivergenceError`."""
        epoch, worst = progress.epoch + 1, progress.worst
        began = time.perf_counter()
        state, report = run_epoch(progress.state, self.train, self.method, self.rates, self._tell)
        seconds = time.perf_counter() - began
        errors = report.batch_error
        if epoch == 1 and self.method.free_start:
            worst = np.maximum(worst, 2 * np.nan_to_num(errors[0], nan=0.0, posinf=0.0))
        bad = ~(errors <= worst)
        bad[-1] |= ~np.isfinite(report.mean.discrepancy)
        if bad.any():
            batch, trial = np.argwhere(bad)[0]
            what = f"the reconstruction error is {errors[batch, trial]:.4g} per image"
            raise self._divergence(progress, f"mini-batch {batch + 1}", trial, what)
        on_validation, on_test = (
            average(state.network, source, self.config.evaluation_batch_size, self.method.see)
            for source in self.held_out
        )
        for seen in (on_validation, on_test):
            bad = ~(np.isfinite(seen.error) & np.isfinite(seen.discrepancy))
            if bad.any():
                what = "held-out images then have errors that are not finite"
                raise self._divergence(progress, "the last mini-batch", np.argmax(bad), what)
        sign = -1 if self.monitored == "error" else 1
        score = sign * getattr(on_validation, self.monitored)
        better = (score > progress.scores) | (self.config.patience is None)

        def choose(old: Array, new: Array) -> Array:
            return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        best = state.network
        if not better.all():
            best = jax.tree.map(choose, progress.best, best)
        records = [
            EpochRecord(
                trial=trial,
                epoch=epoch,
                error_name=self.error_name,
                seconds=seconds,
                kept=bool(better[trial]),
                train=report.mean.record(trial),
                validation=on_validation.record(trial),
                test=on_test.record(trial),
            )
            for trial in range(len(better))
        ]
        scores = np.where(better, score, progress.scores)
        kept = tuple(np.where(better, epoch, progress.epochs_kept).tolist())
        return Progress(state, best, scores, kept, worst, (*progress.history, *records))

    def _tell(self, number: int) -> None:
        for listener in self.listeners:
            listener.on_batch(number)

    def _divergence(
        self, progress: Progress, where: str, trial: Any, what: str
    ) -> FitDivergenceError:
        epoch = progress.epoch + 1
        message = (
            f"Training diverged at {where} of epoch {epoch} (trial {trial}): {what}. The networks "
            f"are kept as they were after epoch {epoch - 1}. {self.method.advice}"
        )
        return FitDivergenceError(message, progress.result("diverged"))


def _refuse_unequal(models: list[Any], seeds: list[int], configs: list[TrainingConfig]) -> None:
    """Refuse trials that one program can't train."""
    if not models or not len(models) == len(seeds) == len(configs):
        raise ConfigError(
            "fit needs one seed for each network, and one configuration for all or for each; "
            f"received {len(models)} networks and {len(seeds)} seeds and {len(configs)} "
            "configurations."
        )
    for name in TrainingConfig.model_fields:
        values = [getattr(config, name) for config in configs]
        if name not in Rates._fields and any(value != values[0] for value in values):
            raise ConfigError(
                f"Models trained at once may differ in {', '.join(Rates._fields)} and share all "
                f"else; received training.{name}={values}. Train them one by one."
            )

"""`fit`: train models on a data set, epoch by epoch, and record what happens.

This is the edge between pure epochs and the world.  `fit` measures time, evaluates, tells a
`Listener` (a progress bar, a run folder), and stops a run that diverges or no longer improves.
On Ctrl-C it returns what was trained up to the last whole epoch.

How models of one class learn is a `Method`.  `method_of` finds it by the class:
`gncn.training.hebbian` registers networks, `gncn.baselines.descent` the baselines.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gncn.base.errors import ConfigError, DivergenceError
from gncn.base.interrupts import interrupts_held, wait
from gncn.data import Dataset
from gncn.training.config import TrainingConfig, refuse_unequal
from gncn.training.epochs import (
    EpochReport,
    Learn,
    See,
    Statistics,
    TrainingState,
    average,
    run_epoch,
    unstack,
)
from gncn.training.examples import examples_of, on_device
from gncn.training.history import EpochRecord, error_name, split_record

Status = Literal["finished", "interrupted", "diverged"]
M = TypeVar("M")

WORST_NATS_PER_PIXEL = 10 * np.log(2)
"""A mean reconstruction error above this is divergence: ten times the error of tossing coins.

An autoencoder's error may lie above it before anything is learned; then twice the error of the
first mini-batch is the limit."""


@dataclass(frozen=True)
class Method:
    """How models of one class learn.

    Attributes:
        start: the state before the first epoch.
        learn: what one mini-batch does to one trial.
        see: statistics of held-out images.
        monitored: which statistic of the validation images tells how good a model is:
            ``error`` (low is good) or ``discrepancy`` (high is good).
        advice: what to do about divergence.
        labelled: whether models learn labels.
        free_start: whether an untrained model may have any error without having diverged,
            because its weights start at any scale.
    """

    start: TrainingState
    learn: Learn
    see: See
    monitored: Literal["error", "discrepancy"]
    advice: str
    labelled: bool = False
    free_start: bool = False


@singledispatch
def method_of(
    model: Any,
    models: Sequence[Any],
    data: Dataset,
    configs: Sequence[TrainingConfig],
    seeds: Sequence[int],
) -> Method:
    """How models learn; dispatches on the class of the first.

    Args:
        model: the first model.
        models: all models, of one class.
        data: the images.
        configs: one for each model; they differ in rates alone.
        seeds: of each model's order of images.

    Raises:
        ConfigError: the class is unknown, the models differ in more than their arrays, or an
            option doesn't apply to them.
        DataError: the data do not fit the models.
    """
    raise _unfit(models)


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
    method = _method(models, data, configs, seeds)
    config, plan = configs[0], configs[0].plan()
    rates = jax.tree.map(lambda *each: jnp.stack(each), *(one.rates() for one in configs))
    train, *held_out = (examples_of(split, labelled=method.labelled) for split in data.splits)
    train = on_device(train)
    n_batches = -(-len(data.train) // config.batch_size)
    for listener in listeners:
        listener.on_start(config.n_epochs, n_batches)

    def tell(number: int) -> None:
        for listener in listeners:
            listener.on_batch(number)

    state, name = method.start, error_name(models[0])
    best = _Best(state.network, (0,) * len(models), np.full(len(models), -np.inf))
    history: list[EpochRecord] = []
    status: Status = "finished"
    worst = np.zeros(len(models))
    try:
        for epoch in range(1, config.n_epochs + 1):
            began = time.perf_counter()
            after, report = run_epoch(state, train, plan, method.learn, rates, tell)
            wait(report.batch_error)
            seconds = time.perf_counter() - began
            if epoch == 1:
                worst = _worst_error(report, data.n_pixels, method.free_start)
            diverged = _divergence(report, worst, epoch, method.advice)
            if diverged:
                raise _divergence_of(best, history, diverged)
            on_validation, on_test = (
                average(after.network, source, config.evaluation_batch_size, method.see)
                for source in held_out
            )
            wait(on_test.error)
            if diverged := _broken((on_validation, on_test), epoch, method.advice):
                raise _divergence_of(best, history, diverged)
            score = np.asarray(getattr(on_validation, method.monitored))
            score = -score if method.monitored == "error" else score
            better = best.updated(after, epoch, score, always=config.patience is None)
            records = [
                EpochRecord(
                    trial=index,
                    epoch=epoch,
                    error_name=name,
                    seconds=seconds,
                    kept=better.epochs[index] == epoch,
                    train=split_record(report.mean, index),
                    validation=split_record(on_validation, index),
                    test=split_record(on_test, index),
                )
                for index in range(len(models))
            ]
            with interrupts_held():  # networks, history and what listeners write agree
                state, best = after, better
                history.extend(records)
                for listener in listeners:
                    listener.on_epoch(records, unstack(best.stacked))
            if config.patience is not None and epoch - max(best.epochs) >= config.patience:
                break
    except KeyboardInterrupt:
        status = "interrupted"
    return Fit(tuple(unstack(best.stacked)), tuple(history), status, best.epochs)


@dataclass(frozen=True)
class _Best:
    """The models to keep: from the best epoch, or from the last without early stopping."""

    stacked: Any
    epochs: tuple[int, ...]
    scores: np.ndarray

    def updated(
        self, state: TrainingState, epoch: int, scores: np.ndarray, *, always: bool
    ) -> "_Best":
        """After an epoch, with each trial's score on the validation images."""
        better = scores > self.scores if not always else np.ones_like(scores, bool)

        def choose(old: Any, new: Any) -> Any:
            shape = (len(better),) + (1,) * (new.ndim - 1)
            return jnp.where(better.reshape(shape), new, old)

        return _Best(
            state.network if better.all() else jax.tree.map(choose, self.stacked, state.network),
            tuple(epoch if new else old for new, old in zip(better, self.epochs, strict=True)),
            np.where(better, scores, self.scores),
        )


def _method(
    models: list[Any], data: Dataset, configs: list[TrainingConfig], seeds: list[int]
) -> Method:
    if not models or not len(models) == len(seeds) == len(configs):
        raise ConfigError(
            "fit needs one seed for each network, and one configuration for all or for each; "
            f"received {len(models)} networks and {len(seeds)} seeds and {len(configs)} "
            "configurations."
        )
    refuse_unequal(configs)
    if len({method_of.dispatch(type(model)) for model in models}) > 1:
        raise _unfit(models)
    return method_of(models[0], models, data, configs, seeds)


def _unfit(models: Sequence[Any]) -> ConfigError:
    return ConfigError(
        "fit trains networks, or baselines of one kind; received "
        f"{sorted({type(model).__name__ for model in models})}."
    )


def _worst_error(
    first: EpochReport, n_pixels: int, free_start: bool
) -> Float[np.ndarray, " trials"]:
    """The error of a mini-batch above which each trial has diverged."""
    at_start = np.asarray(first.batch_error)[0]
    worst = np.full(len(at_start), WORST_NATS_PER_PIXEL * n_pixels)
    if not free_start:
        return worst
    return np.maximum(worst, 2 * np.nan_to_num(at_start, nan=0.0, posinf=0.0))


def _broken(evaluated: Sequence[Statistics], epoch: int, advice: str) -> str | None:
    """A message if the last update of an epoch broke the models; None if it didn't."""
    for statistics in evaluated:
        bad = ~(np.isfinite(statistics.error) & np.isfinite(statistics.discrepancy))
        if bad.any():
            return (
                f"Training diverged at the last mini-batch of epoch {epoch} (trial "
                f"{np.flatnonzero(bad)[0]}): held-out images then have errors that are not finite. "
                f"The networks are kept as they were after epoch {epoch - 1}. {advice}"
            )
    return None


def _divergence_of(best: _Best, history: Sequence[EpochRecord], message: str) -> FitDivergenceError:
    kept = Fit(tuple(unstack(best.stacked)), tuple(history), "diverged", best.epochs)
    return FitDivergenceError(message, kept)


def _divergence(
    report: EpochReport, worst: Float[np.ndarray, " trials"], epoch: int, advice: str
) -> str | None:
    """A message if the epoch diverged; None if it didn't."""
    errors = np.asarray(report.batch_error)
    bad = ~(errors <= worst[None, :])
    bad[-1] |= ~np.isfinite(report.mean.discrepancy)
    if not bad.any():
        return None
    batch, index = np.argwhere(bad)[0]
    return (
        f"Training diverged at mini-batch {batch + 1} of epoch {epoch} (trial {index}): the "
        f"reconstruction error is {errors[batch, index]:.4g} per image. The networks are kept as "
        f"they were after epoch {epoch - 1}. {advice}"
    )

"""`fit`: train models on a data set, epoch by epoch, and record what happens.

This is the edge between pure epochs and the world.  `fit` measures time, evaluates, tells
`Callbacks` (a progress bar, a run folder), and stops a run that diverges or no longer improves.
`Progress` holds all that goes from one epoch to the next; on Ctrl-C `Interrupted` carries the last
one, and `Checkpoints` keep it on disk.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial as partial_of
from functools import singledispatch
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gncn.base.errors import (
    MOST_COUNT,
    ConfigError,
    DivergenceError,
    check_seed,
    quoted,
)
from gncn.base.hardware import refuse_too_large
from gncn.base.interrupts import interrupts_held
from gncn.base.progress import check_progress
from gncn.base.tensors import named_arrays, with_arrays
from gncn.data import Dataset
from gncn.data.given import as_dataset
from gncn.training.callbacks import Callbacks, Start
from gncn.training.checkpoints import Checkpoints, Keeper, identify
from gncn.training.config import Rates, TrainingConfig
from gncn.training.epochs import (
    CHUNKS,
    EVALUATED_BLOCKS,
    Method,
    Monitored,
    Partial,
    average,
    run_epoch,
    stack,
    unstack,
)
from gncn.training.examples import examples_of, on_device
from gncn.training.history import EpochRecord, ErrorName, refuse_long_history
from gncn.training.progress import Fit, Interrupted, M, Progress

COPIES = 4
"""How often a mini-batch of images is in memory at least."""
WORST_NATS_PER_PIXEL = 10 * np.log(2)
"""A mean reconstruction error above this is divergence: ten times the error of tossing coins.

An autoencoder's error may lie above it before anything is learned; then twice the error of the
first mini-batch is the limit.  Squared errors depend on the unit of the data; their
limit is ten times the error of the first mini-batch, if that is more."""


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
    data: Any,
    config: TrainingConfig | Sequence[TrainingConfig] | None = None,
    *,
    seeds: int | Sequence[int] = 0,
    callbacks: Any = (),
    checkpoints: Checkpoints | str | Path | None = None,
    resume_from: Checkpoints | str | Path | None = None,
    progress: bool = False,
) -> Fit[M]:
    """Train one model, or several of one kind and size at once.

    Args:
        network: the network or baseline, or one for each trial.
        data: a `gncn.Dataset`, or images in whatever form, or their path, of which a data set is
            made by `gncn.from_arrays` or `gncn.load_file`: binary for a Bernoulli output, else
            with the values as they are.  The models learn from `data.train`.  `data.validation`
            and `data.test` are evaluated after every epoch and have no influence, unless
            `config.patience` lets validation decide when to stop.  With `config.train_on` at
            ``both`` they learn from `data.validation`, too, and it is not evaluated.
        config: length, batch size, optimiser and rates.  With one for each trial, they may
            differ in their rates.  Trials may also differ in β, γ, α_e and α_h.
        seeds: decide the order of images, one seed for each trial.
        callbacks: hear of the progress, and may end the training; see `gncn.Callback`.
        checkpoints: where to keep what a killed training goes on from, after every epoch, or
            more often as a `Checkpoints` says.  No other training's may be there.
        resume_from: go on from the newest checkpoint there, and keep further ones in the same
            place.  All other arguments must be as they were; of `config`, `n_epochs` and
            `evaluation_batch_size` may change.  The result is the one of a training that was
            never stopped, to the last bit.
        progress: draw a bar of all epochs, in a terminal or a notebook.

    Returns:
        The trained models and the history of training.

    Raises:
        ConfigError: the models differ in kind or size; there are more or fewer seeds or
            configurations than models; configurations differ in more than rates; an option
            doesn't apply; something is no callback; or the checkpoints are another training's.
        DataError: the data do not fit the models.
        FitDivergenceError: training diverged; holds the last good state.
        Interrupted: Ctrl-C; a `KeyboardInterrupt` that holds the last whole epoch.
        RunError: a checkpoint can't be written, or there is none to go on from.
    """
    models = [network] if not isinstance(network, Sequence) else list(network)
    # One seed, of Python or NumPy, or several.
    alone = [seeds] if isinstance(seeds, str) or np.ndim(seeds) == 0 else seeds
    seeds = [check_seed(seed, "seeds") for seed in cast(Any, alone)]
    if isinstance(config, Sequence):
        configs = list(config)
    else:
        configs = [TrainingConfig() if config is None else config] * len(models)
    for one in configs:
        if not isinstance(one, TrainingConfig):
            raise ConfigError(f"config must be a `gncn.TrainingConfig`; received {quoted(one)}.")
    for model in models:
        method_of(model)  # refuses what can't be trained
    _refuse_unequal(models, seeds, configs)
    circuit = getattr(models[0], "circuit", None)
    data = as_dataset(data, binary=circuit is None or circuit.binary)
    if checkpoints is not None and resume_from is not None:
        raise ConfigError("Give checkpoints or resume_from, not both: it goes on in one place.")
    with bar_drawn(progress) as bars:
        told = Callbacks(callbacks, *bars)
        return _fit(models, data, configs, seeds, told, checkpoints, resume_from)


@contextmanager
def bar_drawn(progress: bool) -> Iterator[list[Any]]:
    """Draw a bar, if `progress` is true, of trainings that get the callbacks yielded.

    Raises:
        ConfigError: see `gncn.base.progress.check_progress`.
    """
    if not check_progress(progress):
        yield []
        return
    # Imported here, since the bar needs Rich.
    from gncn.base.screen import console
    from gncn.training.bar import ProgressBar

    with ProgressBar(console) as bar:
        yield [bar]


def _fit(
    models: Sequence[Any],
    data: Dataset,
    configs: Sequence[TrainingConfig],
    seeds: Sequence[int],
    told: Callbacks,
    checkpoints: Checkpoints | str | Path | None,
    resume_from: Checkpoints | str | Path | None,
) -> Fit[Any]:
    """The training of `fit`, whose arguments are checked."""
    epochs = _Epochs(models, data, configs, told)
    plan, progress = configs[0], epochs.start(models, seeds)
    where, partial, keeper = checkpoints if resume_from is None else resume_from, None, None
    states: list[Any] | None = None
    if where is not None:
        if plan.patience is None:  # with patience, the number of epochs is only the most
            refuse_long_history(plan.n_epochs, len(models), epochs.n_layers)
        where = where if isinstance(where, Checkpoints) else Checkpoints(where)
        keeper = Keeper(where, identify(models, seeds, configs, data), told)
        if resume_from is not None:
            progress, partial, states = keeper.restore(progress)
        else:
            keeper.begin()
    # Callbacks hear of the start first: a logger opens its file before it takes its state back.
    told.tell("on_start", epochs.begins(plan.n_epochs, seeds, progress.epoch, states is not None))
    if states is not None:
        told.restore(states)
    try:
        while not progress.stopped and progress.epoch < plan.n_epochs:
            # Without patience the training never stops early.
            if progress.idle >= (plan.patience or np.inf):
                break
            after, partial = epochs.next(progress, partial, keeper), None
            with interrupts_held():  # networks, history and what callbacks write agree
                progress = after
                records, best = after.history[-len(models) :], unstack(after.best)
                if told.tell("on_epoch", records, best):
                    progress = replace(progress, stopped=True)
                if keeper is not None:
                    keeper.save(progress)
    except FitDivergenceError as error:
        told.tell("on_end", error.last_good)
        raise
    except KeyboardInterrupt:
        stop = Interrupted(progress.result("interrupted"))
        told.tell("on_end", stop.fit)
        raise stop from None
    result = progress.result("finished")
    told.tell("on_end", result)
    return result


class _Epochs:
    """The parts of a training that all epochs share, and the step from one epoch to the next."""

    def __init__(
        self,
        models: Sequence[Any],
        data: Dataset,
        configs: Sequence[TrainingConfig],
        callbacks: Callbacks,
    ) -> None:
        kinds, self.config = {method_of(model) for model in models}, configs[0]
        self.configs, self.model_name = configs, type(models[0]).__name__
        if len(kinds) > 1:
            raise _unfit(models)
        (kind,) = kinds
        for config in configs:
            kind.check(models, data, config)
        learned = data.learned_from(self.config.train_on)
        self.method = kind(self.config.without_rates(), len(learned))
        self._refuse_too_much(len(models), data)
        self.rates: Rates = stack([config.rates() for config in configs])
        self.train = on_device(examples_of(learned))
        validated = self.config.train_on == "train"
        self.validation = examples_of(data.validation) if validated else None
        self.test = examples_of(data.test)
        self.n_pixels, self.callbacks = data.n_pixels, callbacks
        # A baseline has two hidden layers between the pixels and the code or the classes.
        self.n_layers = len(models[0].circuit.sizes) if hasattr(models[0], "circuit") else 4
        self.monitored: Monitored = kind.monitored(models[0])
        self.error_name: ErrorName = kind.error_name(models[0])

    def _refuse_too_much(self, n_trials: int, data: Dataset) -> None:
        """Refuse mini-batches that don't fit into memory, and more updates than are counted."""
        learning = n_trials * self.config.batch_size
        evaluated = EVALUATED_BLOCKS * self.config.evaluation_batch_size
        for name, n_images in (("batch_size", learning), ("evaluation_batch_size", evaluated)):
            value = f"training.{name}={getattr(self.config, name):,}"
            n_bytes = COPIES * 4 * n_images * data.n_pixels
            refuse_too_large(value, n_bytes, "Lower it; more images than there are have no use.")
        if self.method.n_updates > MOST_COUNT:
            raise ConfigError(
                f"A training has at most {MOST_COUNT:,} updates; received "
                f"training.n_epochs={self.config.n_epochs:,}: {self.method.n_updates:,} updates."
            )

    def start(self, models: Sequence[Any], seeds: Sequence[int]) -> Progress:
        """Before the first epoch."""
        state, n_trials = self.method.start(models, seeds), len(models)
        worst = np.full(n_trials, WORST_NATS_PER_PIXEL * self.n_pixels)
        return Progress(state, state.network, np.full(n_trials, -np.inf), (0,) * n_trials, worst)

    def begins(
        self, n_epochs: int, seeds: Sequence[int], epoch: int = 0, resumed: bool = False
    ) -> Start:
        """The news for callbacks before the first epoch."""
        training = [one.model_dump(mode="json") for one in self.configs]
        settings = {"model": self.model_name, "seeds": list(seeds), "training": training}
        return Start(n_epochs, self.method.n_batches, epoch, resumed, settings)

    def next(
        self, progress: Progress, partial: Partial | None = None, keeper: Keeper | None = None
    ) -> Progress:
        """After one more epoch, of which a part may be done; raises `FitDivergenceError`."""
        epoch, worst = progress.epoch + 1, progress.worst
        keeping: dict[str, Any] = {}
        if keeper is not None:
            keeping = {"keep": partial_of(keeper.save, progress), "due": keeper.due}
            if (every := keeper.where.every_batches) is not None:
                # Chunks no longer than that, so that a checkpoint is not late.
                keeping["chunk"] = min(every, -(-self.method.n_batches // CHUNKS))
        began = time.perf_counter()
        state, report = run_epoch(
            progress.state,
            self.train,
            self.method,
            self.rates,
            self._tell,
            partial=partial,
            **keeping,
        )
        seconds = time.perf_counter() - began
        errors = report.batch_error
        squared = self.error_name == "squared_error"
        # Such errors have no scale that is known beforehand: the first mini-batch sets it.
        if epoch == 1 and (squared or self.method.free_start):
            times = 10 if squared else 2
            worst = np.maximum(worst, times * np.nan_to_num(errors[0], nan=0.0, posinf=0.0))
        # Written so that NaN is bad.
        bad = ~(errors <= worst)
        bad[-1] |= ~np.isfinite(report.mean.discrepancy)
        if bad.any():
            batch, trial = np.argwhere(bad)[0]
            what = f"the reconstruction error is {errors[batch, trial]:.4g} per image"
            raise self._divergence(progress, f"mini-batch {batch + 1}", trial, what)
        look = partial_of(
            average,
            state.network,
            batch_size=self.config.evaluation_batch_size,
            see=self.method.see,
        )
        on_validation = None if self.validation is None else look(self.validation)
        on_test = look(self.test)
        for seen in filter(None, (on_validation, on_test)):
            bad = ~(np.isfinite(seen.error) & np.isfinite(seen.discrepancy))
            if bad.any():
                what = "held-out images then have errors that are not finite"
                raise self._divergence(progress, "the last mini-batch", np.argmax(bad), what)
        sign = -1 if self.monitored == "error" else 1
        score = sign * getattr(on_validation or report.mean, self.monitored)
        # Without patience every epoch counts as better, and the last is kept: images that were
        # learned from choose none.
        better = (score > progress.scores) | (self.config.patience is None)

        def choose(old: Array, new: Array) -> Array:
            return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        # No copy: `run_epoch` copies a state before it overwrites it.
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
                validation=None if on_validation is None else on_validation.record(trial),
                test=on_test.record(trial),
            )
            for trial in range(len(better))
        ]
        scores = np.where(better, score, progress.scores)
        kept = tuple(np.where(better, epoch, progress.epochs_kept).tolist())
        return Progress(state, best, scores, kept, worst, (*progress.history, *records))

    def _tell(self, number: int) -> None:
        self.callbacks.tell("on_batch", number)

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


def learn_once(
    model: M,
    data: Dataset,
    config: TrainingConfig,
    seed: int,
    before: Mapping[str, np.ndarray] | None = None,
    callbacks: Any = (),
) -> tuple[M, dict[str, np.ndarray], EpochRecord]:
    """Learn once from all training images, and say what the next call goes on from.

    Args:
        model: as the last call returned it.
        data: may be other data in each call.
        config: its schedule must be constant, for nobody knows how many calls are to come.
        seed: decides the order of images.
        before: the arrays that the last call returned; None for the first one.
        callbacks: hear of the epoch, the only one of a training to them.

    Returns:
        The model, the arrays of all that learning remembers, and the epoch's record.

    Raises:
        ConfigError, DataError, FitDivergenceError: see `fit`.
    """
    told = Callbacks(callbacks)
    epochs = _Epochs([model], data, [config], told)
    progress = epochs.start([model], [seed])
    told.tell("on_start", epochs.begins(1, [seed]))
    if before is not None:
        state = with_arrays("What learning remembers", dict(before), progress.state)
        progress = replace(progress, state=state, best=state.network)
    after = epochs.next(progress)
    told.tell("on_epoch", after.history, unstack(after.best))
    told.tell("on_end", after.result("finished"))
    return unstack(after.best)[0], named_arrays(after.state), after.history[-1]

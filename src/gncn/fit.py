"""`fit`: train models on a data set, epoch by epoch, and record what happens.

This is the edge between the pure epochs of a `gncn.methods.Method` and the world: it
measures time, evaluates, tells a `Listener` (a progress bar, a run folder), stops a run
that diverges or no longer improves, and on Ctrl-C returns what was trained up to the
last whole epoch.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gncn.config import TrainingConfig
from gncn.data import Dataset
from gncn.errors import ConfigError, DataError, DivergenceError
from gncn.history import EpochRecord, error_name, split_record
from gncn.interrupts import interrupts_held
from gncn.network import Network
from gncn.training import TrainingState, evaluate, start_training, train_epoch, trial

Status = Literal["finished", "interrupted", "diverged"]

WORST_NATS_PER_PIXEL = 10 * np.log(2)
"""A mean reconstruction error above this (ten times that of tossing coins) is divergence."""


@runtime_checkable
class Listener(Protocol):
    """Is told of a run's progress."""

    def on_start(self, n_epochs: int, n_batches: int) -> None:
        """Training begins: so many epochs of so many mini-batches."""

    def on_batch(self, number: int) -> None:
        """Mini-batch `number` (from 0) of the present epoch is done."""

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Network]) -> None:
        """An epoch is done; one record and one network for each trial."""


@dataclass(frozen=True)
class Fit:
    """The result of training.

    Attributes:
        networks: one for each trial, as they were after the last whole epoch.
        history: one record for each trial and epoch.
        status: ``finished``, ``interrupted`` by Ctrl-C, or ``diverged``.
    """

    networks: tuple[Network, ...]
    history: tuple[EpochRecord, ...]
    status: Status

    @property
    def network(self) -> Network:
        """The network of the first trial."""
        return self.networks[0]


class FitDivergenceError(DivergenceError):
    """Training diverged.

    Attributes:
        last_good: networks and history up to the last epoch that ended well.
    """

    def __init__(self, message: str, last_good: Fit) -> None:
        super().__init__(message)
        self.last_good = last_good


def fit(
    network: Network | Sequence[Network],
    data: Dataset,
    config: TrainingConfig | None = None,
    *,
    seeds: int | Sequence[int] = 0,
    listeners: Sequence[Listener] = (),
) -> Fit:
    """Train one network, or several of one circuit at once.

    Args:
        network: the network, or one for each trial.
        data: learned from is `data.train`; `data.validation` and `data.test` are
            evaluated after every epoch and have no influence.
        config: length, batch size, optimiser and rates.
        seeds: decides the order of images, one seed for each trial.
        listeners: told of the progress.

    Returns:
        The trained networks and the history of training.

    Raises:
        ConfigError: the networks differ in their circuits, or seeds in number.
        DataError: the data do not fit the circuit.
        FitDivergenceError: training diverged; holds the last good state.
    """
    config = config or TrainingConfig()
    networks = [network] if isinstance(network, Network) else list(network)
    seeds = [seeds] if isinstance(seeds, int) else list(seeds)
    _check(networks, seeds, data)
    plan = config.plan()
    rates = jax.tree.map(lambda rate: jnp.full(len(networks), rate), config.rates())
    state = start_training(networks, plan.rule, seeds)
    train, validation, test = (
        jnp.asarray(split.images) for split in (data.train, data.validation, data.test)
    )
    report_batch = _BatchReporter(listeners)
    n_batches = -(-len(train) // config.batch_size)
    for listener in listeners:
        listener.on_start(config.n_epochs, n_batches)
    history: list[EpochRecord] = []
    status: Status = "finished"
    try:
        for epoch in range(1, config.n_epochs + 1):
            began = time.perf_counter()
            after, report = train_epoch(
                state, train, rates, plan, report_batch if listeners else None
            )
            _wait(report.batch_error)
            seconds = time.perf_counter() - began
            _refuse_divergence(report.batch_error, data.n_pixels, epoch, state, history)
            size = config.evaluation_batch_size
            on_validation, on_test = (
                evaluate(after.network, images, size) for images in (validation, test)
            )
            _wait(on_test.error)
            records = [
                EpochRecord(
                    trial=index,
                    epoch=epoch,
                    error_name=error_name(networks[0].circuit),
                    seconds=seconds,
                    train=split_record(report.mean, index),
                    validation=split_record(on_validation, index),
                    test=split_record(on_test, index),
                )
                for index in range(len(networks))
            ]
            with interrupts_held():  # networks, history and what listeners write agree
                state = after
                history.extend(records)
                for listener in listeners:
                    listener.on_epoch(records, _networks(state))
    except KeyboardInterrupt:
        status = "interrupted"
    return Fit(tuple(_networks(state)), tuple(history), status)


class _BatchReporter:
    """Passes batch numbers from the compiled program on to the listeners."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners

    def __call__(self, number: Int[Any, ""]) -> None:
        for listener in self._listeners:
            listener.on_batch(int(number))


def _networks(state: TrainingState) -> list[Network]:
    return [trial(state, index) for index in range(len(state.key))]


def _wait(array: Any) -> None:
    """Wait for a JAX array such that Ctrl-C is heard at once, not when the epoch ends."""
    while not array.is_ready():
        time.sleep(0.01)


def _check(networks: list[Network], seeds: list[int], data: Dataset) -> None:
    if not networks or len(networks) != len(seeds):
        raise ConfigError(
            f"fit needs one seed for each network; received {len(networks)} networks and "
            f"{len(seeds)} seeds."
        )
    fixed = {(one.circuit, one.n_settle_steps, one.tolerance, one.products) for one in networks}
    if len(fixed) > 1:
        raise ConfigError(
            "Networks trained together must share one circuit, n_settle_steps, tolerance and "
            "products."
        )
    layer = networks[0].circuit.layers[0]
    if layer.size != data.n_pixels:
        raise DataError(
            f"The network's layer 0 has {layer.size} neurons, but images of {data.name!r} have "
            f"{data.n_pixels} pixels; build the circuit with sizes=({data.n_pixels}, ...)."
        )


def _refuse_divergence(
    batch_error: Float[Array, "batches trials"],
    n_pixels: int,
    epoch: int,
    state: TrainingState,
    history: list[EpochRecord],
) -> None:
    errors = np.asarray(batch_error)
    bad = ~(errors <= WORST_NATS_PER_PIXEL * n_pixels)
    if not bad.any():
        return
    batch, index = np.argwhere(bad)[0]
    raise FitDivergenceError(
        f"Training diverged at mini-batch {batch + 1} of epoch {epoch} (trial {index}): the "
        f"reconstruction error is {errors[batch, index]:.4g} per image. The networks are kept as "
        f"they were after epoch {epoch - 1}. Lower settling.step_size (β) or "
        "training.learning_rate, or hold the synapses with network.norm='clipped'.",
        Fit(tuple(_networks(state)), tuple(history), "diverged"),
    )

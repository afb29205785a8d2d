"""Epochs to be timed: models that train on few images and are hardly evaluated."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

import gncn

N_HELD_OUT = 100
"""Images of the validation and test splits, which `gncn.fit` evaluates after every epoch."""


def few(data: gncn.Dataset, n_images: int | None = None) -> gncn.Dataset:
    """A data set with few held-out images, and only the first training images.

    Args:
        data: the data.
        n_images: training images to keep; all if None.
    """
    train = data.train if n_images is None else data.train.subset(np.arange(n_images))
    held_out = data.test.subset(np.arange(min(N_HELD_OUT, len(data.test))))
    return dataclasses.replace(data, train=train, validation=held_out, test=held_out)


def epoch_timer(config: gncn.Config, data: gncn.Dataset) -> Callable[[], float]:
    """A call that trains new models for one epoch and returns the seconds of learning.

    All trials of the configuration train at once.  The first call compiles; later ones do not.
    """
    one = config.training.model_copy(update={"n_epochs": 1})
    models = config.models(data)
    return lambda: gncn.fit(models, data, one, seeds=config.seeds).history[0].seconds


def in_turn(
    timers: dict[str, Sequence[Callable[[], float]]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each side in each round, in which all sides take turns.

    A change in the machine's speed then hits all sides.  One round that is not counted comes
    first, so that programs are compiled and caches filled.

    Args:
        timers: of each side, calls that are done one after another and return seconds.
        rounds: how many count.
    """
    found: dict[str, list[float]] = {name: [] for name in timers}
    for number in range(rounds + 1):
        for name, calls in timers.items():
            seconds = sum(call() for call in calls)
            if number > 0:
                found[name].append(seconds)
    return found

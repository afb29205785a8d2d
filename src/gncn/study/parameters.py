"""What a search lets vary, as Optuna's distributions, and what Optuna draws, as settings."""

import json
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from gncn.study.search import Range


def distribution(bounds: Range) -> BaseDistribution:
    """A range as Optuna takes it."""
    if bounds.choices is not None:
        return CategoricalDistribution([key(choice) for choice in bounds.choices])
    assert bounds.low is not None
    assert bounds.high is not None
    if bounds.whole:
        step = 1 if bounds.step is None else int(bounds.step)
        return IntDistribution(int(bounds.low), int(bounds.high), log=bounds.log, step=step)
    return FloatDistribution(bounds.low, bounds.high, log=bounds.log, step=bounds.step)


def key(choice: Any) -> Any:
    """A choice as Optuna takes it: lists as JSON."""
    return json.dumps(choice) if isinstance(choice, tuple) else choice


def value(bounds: Range, drawn: Any) -> Any:
    """What a drawn value stands for."""
    if bounds.choices is None:
        return drawn
    chosen = next(choice for choice in bounds.choices if key(choice) == drawn)
    return list(chosen) if isinstance(chosen, tuple) else chosen


def first(bounds: Range) -> Any:
    """Some allowed value."""
    return value(bounds, key(bounds.choices[0])) if bounds.choices else bounds.low

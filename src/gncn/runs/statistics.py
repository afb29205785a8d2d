"""Errors of a run's models over a split, as training computes them."""

from functools import singledispatch
from typing import Any

import jax

from gncn.base.errors import unknown_choice
from gncn.baselines.baseline import Baseline
from gncn.baselines.descent import evaluate_baseline
from gncn.core.network import Network
from gncn.data import Dataset, Split
from gncn.runs.config import Config
from gncn.training.epochs import Statistics
from gncn.training.examples import examples_of
from gncn.training.hebbian import evaluate
from gncn.training.history import SplitRecord, split_record

SPLITS = ("train", "validation", "test")


def choose_split(data: Dataset, name: str) -> Split:
    """The split of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in SPLITS:
        raise unknown_choice("split", name, SPLITS)
    return getattr(data, name)


def mean_statistics(model: Network | Baseline, split: Split, config: Config) -> SplitRecord:
    """Error, ψ and sparsity averaged over a split, as in the run's training."""
    # Training's programs run several models at once: on a leading axis, here of one.
    stacked = jax.tree.map(lambda leaf: leaf[None], model)
    return split_record(
        _statistics(model, stacked, split, config.training.evaluation_batch_size), 0
    )


@singledispatch
def _statistics(model: Any, stacked: Any, split: Split, batch_size: int) -> Statistics:
    raise TypeError(f"Training computes no statistics of a {type(model).__name__}.")


@_statistics.register
def _(model: Network, stacked: Network, split: Split, batch_size: int) -> Statistics:
    return evaluate(stacked, examples_of(split), batch_size)


def _of_baseline(model: Baseline, stacked: Baseline, split: Split, batch_size: int) -> Statistics:
    examples = examples_of(split, labelled=bool(model.blueprint.n_classes))
    return evaluate_baseline(stacked, examples, batch_size)


_statistics.register(Baseline, _of_baseline)

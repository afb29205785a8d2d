"""Errors of a run's models over a split, as training computes them."""

import jax

from gncn.base.errors import unknown_choice
from gncn.baselines.baseline import Baseline
from gncn.core.network import Network
from gncn.data import Dataset, Split
from gncn.runs.config import Config
from gncn.training.epochs import average
from gncn.training.examples import examples_of
from gncn.training.fit import method_of
from gncn.training.history import SplitRecord

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
    see, batch_size = method_of(model).see, config.training.evaluation_batch_size
    return average(stacked, examples_of(split), batch_size, see).record(0)

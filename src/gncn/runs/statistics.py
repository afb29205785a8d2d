"""Errors of a run's models over a split, as training computes them."""

import jax

from gncn.base.errors import unknown_choice
from gncn.baselines.baseline import Baseline
from gncn.baselines.descent import evaluate_baseline
from gncn.core.network import Network
from gncn.data import Dataset, Split
from gncn.runs.config import Config
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
    batch_size = config.training.evaluation_batch_size
    if isinstance(model, Network):
        found = evaluate(stacked, examples_of(split), batch_size)
    else:
        examples = examples_of(split, labelled=bool(model.blueprint.n_classes))
        found = evaluate_baseline(stacked, examples, batch_size)
    return split_record(found, 0)

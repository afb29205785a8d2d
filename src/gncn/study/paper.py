"""The paper's numbers, the columns of ours that they are compared with, and verdicts.

``paper.toml`` says how to read the published numbers.  Two numbers are the same if they differ by
no more than 1 % of the paper's.  Two standard errors of their difference count, if that is more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import AfterValidator

from gncn.base.errors import RunError, quoted, unknown_choice
from gncn.data.loaders import GREY_SUFFIX
from gncn.measures import Column, measure_columns
from gncn.measures.code_yardsticks import FEATURE_TITLES
from gncn.runs.toml import packaged
from gncn.training.history import EpochRecord

PAPER_SAMPLES = 5000
PAPER_TRIALS = 10
EXCESS = 2 * float(np.log(PAPER_SAMPLES))
"""Nats that printed log p(x) have too many: 2 log S."""

Kind = Literal["beaten", "reproduced", "not reached", "not attainable"]
KINDS: tuple[Kind, ...] = ("beaten", "reproduced", "not reached", "not attainable")

COMPLETION_YARDSTICKS = {
    "supervised": "a network trained by backprop for this half alone",
    "ridge": "ridge regression from distances to training images",
    "nearest_neighbours": "nearest neighbours",
    "mean_image": "the mean image",
}
"""What completes images without a model, in words."""
YARDSTICKS = COMPLETION_YARDSTICKS | FEATURE_TITLES
"""What needs no model, in words."""


class Published(NamedTuple):
    """Numbers, or their deviations over trials, of one model on one data set; None if unknown.

    Attributes:
        bce: reconstruction BCE in nats.
        log_likelihood: log p(x) in nats, as printed.
        honest_log_likelihood: the same without the 2 log S that the printed value has too much.
        error_percent: of a linear classifier on the codes (of the DSRN, its own).
        m_mse: squared error of completing the right half.
    """

    bce: float | None = None
    log_likelihood: float | None = None
    honest_log_likelihood: float | None = None
    error_percent: float | None = None
    m_mse: float | None = None

    def of(self, column: Column) -> float | None:
        """The number that a column of ours is compared with."""
        return getattr(self, column.published) if column.published else None


def _table(which: int) -> dict[str, dict[str, Published]]:
    table: dict[str, dict[str, Published]] = {}
    for data, models in packaged("study", "paper").items():
        for model, pairs in models.items():
            # Both as printed and without the 2 log S that the authors' script has too much.
            if "log_likelihood" in pairs:
                mean, deviation = pairs["log_likelihood"]
                # The deviation doesn't change: the excess is a constant.
                pairs["honest_log_likelihood"] = mean - EXCESS, deviation
            numbers = {name: pair[which] for name, pair in pairs.items()}
            table.setdefault(data, {})[model] = Published(**numbers)
    return table


PUBLISHED = _table(0)
"""Means, by the name of the data set and of the model (`gncn.runs.config.Config.model`)."""

DEVIATIONS = _table(1)
"""Their standard deviations over the paper's trials."""

SPARSITY: dict[str, tuple[float, float, float]] = {
    "mnist": (0.21, 0.18, 0.16),
    "kmnist": (0.24, 0.21, 0.18),
    "fashion-mnist": (0.21, 0.20, 0.18),
    "caltech-16": (0.21, 0.19, 0.17),
}
"""Share of active neurons in the GNCN's layers 1, 2, 3 (journal version, Figure 6)."""

FIRST_EPOCH_BCE = {"mnist": {"gncn": 57.0, "gvae": 194.0, "rae": 168.0}}
"""BCE after the first epoch, by data set and model (Results)."""


def is_published(data: str) -> bool:
    """Whether the paper has numbers of a data set, which may have its greys."""
    return data.removesuffix(GREY_SUFFIX) in PUBLISHED


def published(
    data: str, model: str, n_samples: int | None = None, missing: str | None = None
) -> Published:
    """The paper's numbers that ours may be compared with: those measured as ours are.

    `n_samples` is S of our log p(x), and `missing` the pixels that we complete, if we do.
    """
    found = PUBLISHED.get(data.removesuffix(GREY_SUFFIX), {}).get(model, Published())
    if data.endswith(GREY_SUFFIX):  # its errors of a probe fit greys, its BCE binary images
        found = Published(error_percent=found.error_percent)
    # The paper's S is 5000, and log p(x) at another S is another number.
    if n_samples not in (None, PAPER_SAMPLES):
        found = found._replace(log_likelihood=None, honest_log_likelihood=None)
    return found if missing in (None, "right") else found._replace(m_mse=None)


# Found by training, so its measure finds nothing.
BCE = Column("bce", "BCE", lambda _: None, published="bce", table="generative")
"""Reconstruction error, which training records and no measure finds."""
SQUARED_ERROR = Column("squared_error", "squared error", lambda _: None, table="generative")
"""The same of models with Gaussian outputs."""

_FROM_TRAINING = {
    "bce": ("bce", 1),
    "squared_error": ("squared_error", 1),
    "error_percent": ("error_percent", 1),
    "negative_log_likelihood": ("log_likelihood", -1),
}
"""By the name of a training error: the column that it belongs to, and its sign there."""


def all_columns() -> dict[str, Column]:
    """All columns by key: what searches may improve."""
    return {one.key: one for one in (BCE, SQUARED_ERROR)} | {
        column.key: column for _, column in measure_columns()
    }


def columns() -> dict[str, Column]:
    """The columns that tables have, by key and in their order."""
    return {key: column for key, column in all_columns().items() if column.tabulated}


def _known(key: str) -> str:
    if key not in all_columns():
        raise unknown_choice("column", key, all_columns())
    return key


ColumnKey = Annotated[str, AfterValidator(_known)]
"""The key of a column."""


def from_training(column: Column, record: EpochRecord | None, split: str) -> float | None:
    """A column's number as training recorded it; None if it didn't."""
    if record is None:
        return None
    if (found := getattr(record, split)) is None:
        return None
    key, sign = _FROM_TRAINING.get(record.error_name, ("", 1))
    # −log p(x) of training is log p(x) in the tables.
    if key == column.key:
        return sign * found.error
    return found.sparsity[-1] if column.key == "top_sparsity" and found.sparsity else None


def best_of(column: Column, means: Mapping[Any, float], n: int = 2) -> set[Any]:
    """The keys of the `n` best numbers of a column; none if it ranks nobody or all are."""
    ranked = sorted(means, key=means.__getitem__, reverse=not column.low_is_good)
    # The best of two means little, so nobody is ranked unless there are more.
    return set(ranked[:n]) if column.ranked and n < len(ranked) else set()


@dataclass(frozen=True)
class Summary:
    """A number over the trials that have it: mean, standard deviation (None for one), how many."""

    mean: float
    deviation: float | None
    n_trials: int

    def scaled(self, factor: float) -> "Summary":
        """The number times a positive factor."""
        deviation = None if self.deviation is None else factor * self.deviation
        return Summary(factor * self.mean, deviation, self.n_trials)


def over_trials(values: Iterable[Any]) -> Summary | None:
    """A number over the trials that have it; None if none has.

    Raises:
        RunError: a value is no number.
    """
    known = [value for value in values if value is not None]
    for value in known:
        if not isinstance(value, int | float):
            raise RunError(f"{str(value)[:80]!r} is no number")
    if not known:
        return None
    # With n − 1, as an estimate from few trials.
    deviation = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return Summary(float(np.mean(known)), deviation, len(known))


def number_of(
    column: Column, record: EpochRecord | None, metrics: Mapping[str, Any], split: str
) -> float | None:
    """A column's number as measured, or else as training recorded it; None if neither did.

    Raises:
        TypeError: what was measured is no number.
    """
    found = column.find(metrics)
    if found is None:
        return from_training(column, record, split)
    # A boolean is an int to Python.
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise TypeError(f"{column.key} must be a number; found {quoted(found)}")
    return found


def our_numbers(
    trials: Iterable[tuple[EpochRecord | None, Mapping[str, Any]]], split: str
) -> dict[str, Summary]:
    """Our numbers of one model by column: as measured, or else as training recorded them.

    Args:
        trials: of each the record of the epoch that was kept, and what was measured.
        split: the images that numbers are of.
    """
    trials, numbers = list(trials), {}
    for key, column in columns().items():
        values = [number_of(column, record, metrics, split) for record, metrics in trials]
        if (summary := over_trials(values)) is not None:
            numbers[key] = summary
    return numbers


@dataclass(frozen=True)
class Verdict:
    """A verdict; for ``not attainable`` its reason, which is no proof that no model could."""

    kind: Kind
    reason: str = ""


def tolerance(ours: Summary, paper: float, paper_deviation: float | None) -> float:
    """Difference up to which two numbers, both means over trials, count as the same."""
    # Standard errors of both means; of a single trial of ours the paper's alone.
    variance = (ours.deviation or 0.0) ** 2 / ours.n_trials
    variance += (paper_deviation or 0.0) ** 2 / PAPER_TRIALS
    # Two standard errors, or 1 %, whichever is more: a tiny deviation must not make a rounding a
    # difference.
    return max(0.01 * abs(paper), 2 * variance**0.5)


def judge(
    ours: Summary,
    paper: float,
    paper_deviation: float | None = None,
    *,
    low_is_good: bool,
    out_of_reach: str = "",
) -> Verdict:
    """Whether the paper's number was beaten, reproduced or not reached.

    `out_of_reach` says why a number that is not reached counts as not attainable, if it does.
    """
    better_by = paper - ours.mean if low_is_good else ours.mean - paper
    same = tolerance(ours, paper, paper_deviation)
    if better_by > same:
        return Verdict("beaten")
    if better_by >= -same:
        return Verdict("reproduced")
    return Verdict("not attainable" if out_of_reach else "not reached", out_of_reach)


def judge_completion(
    ours: Summary, paper: float, paper_deviation: float | None, floor: float | None
) -> Verdict:
    """As `judge`, for M-MSE: what is not reached and lies below the floor is ``not attainable``.

    The floor is a yardstick: the M-MSE of a network trained for this mask alone, on the same
    images.  A better network may be lower.  It is None if there is none, or if a model is below it.
    """
    why = ""
    # NaN is not below any floor.
    if not (floor is None or paper >= floor):
        why = (
            f"{paper:.2f} lies below the M-MSE of every model here, and below a yardstick's "
            f"{floor:.2f}. The yardstick is a network trained by backprop for this half alone"
        )
    return judge(ours, paper, paper_deviation, low_is_good=True, out_of_reach=why)


def judge_as_printed(honest: Summary, printed: float, deviation: float | None) -> Verdict:
    """An honest log p(x), from which log S is subtracted, against the printed one."""
    why = f"the printed {printed:.2f} holds 2 log S = {EXCESS:.2f} nats too many and is no log p(x)"
    return judge(honest, printed, deviation, low_is_good=False, out_of_reach=why)

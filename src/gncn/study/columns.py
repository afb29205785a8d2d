"""The columns of tables and searches: of training's errors and of all measures."""

from typing import Annotated, Any

from pydantic import AfterValidator

from gncn.base.errors import unknown_choice
from gncn.measures import Column, measure_columns
from gncn.study.paper import Published
from gncn.training.history import EpochRecord

BCE = Column("bce", "BCE", lambda _: None, published="bce", table="generative")
"""Reconstruction error, which training records and no measure finds."""

_FROM_TRAINING = {
    "bce": ("bce", 1),
    "error_percent": ("error_percent", 1),
    "negative_log_likelihood": ("log_likelihood", -1),
}
"""By the name of a training error: the column that it belongs to, and its sign there."""


def all_columns() -> dict[str, Column]:
    """All columns by key: what searches may improve."""
    return {"bce": BCE} | {column.key: column for _, column in measure_columns()}


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
    found = getattr(record, split)
    key, sign = _FROM_TRAINING.get(record.error_name, ("", 1))
    if key == column.key:
        return sign * found.error
    if column.key == "top_sparsity" and found.sparsity:
        return found.sparsity[-1]
    return None


def column_value(
    column: Column, record: EpochRecord | None, metrics: dict[str, Any], split: str
) -> Any:
    """A column's number, unchecked: as measured, or else as recorded of the epoch kept."""
    found = column.find(metrics)
    return from_training(column, record, split) if found is None else found


def published_number(column: Column, paper: Published) -> float | None:
    """The paper's number that a column is compared with."""
    return getattr(paper, column.published) if column.published else None


def best_of(column: Column, means: dict[Any, float], n: int = 2) -> set[Any]:
    """The keys of the `n` best numbers of a column; none if it ranks nobody."""
    ranked = sorted(means, key=means.__getitem__, reverse=not column.low_is_good)
    return set(ranked[:n]) if column.ranked else set()

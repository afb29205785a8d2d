"""All results of a study as one table, a row for each run: CSV or Parquet."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from gncn.study.paper import all_columns, number_of
from gncn.study.plan import Study
from gncn.study.record import Record, mark, trusted


@trusted()
def table(study: Study, records: Sequence[Record]) -> list[dict[str, Any]]:
    """A row for each record: the run, the settings of its model's point, and its numbers.

    Every row has the same names; what a run lacks is None.
    """
    # Every setting of any model is a column, so rows have the same names.
    points = [model.point for model in study.models.values()]
    settings = list(dict.fromkeys(name for point in points for name in point))
    # A column of mixed kinds is text, since Parquet has one type for each column.
    simple = {name for name in settings if _of_one_kind(point.get(name) for point in points)}
    rows = []
    for record in records:
        model = study.models.get(record.model)
        point = model.point if model else {}
        row: dict[str, Any] = {name: getattr(record, name) for name in ("model", "data", "trial")}
        for name in settings:
            value = point.get(name)
            row[name] = value if name in simple or value is None else json.dumps(value)
        row |= {"seed": record.spec["config"]["seed"], "status": record.status}
        row["mark"] = mark([record]) or None
        row["epoch"] = None if record.kept is None else record.kept.epoch
        for key, column in all_columns().items():
            row[key] = number_of(column, record.kept, record.metrics, record.spec["split"])
        rows.append(row | {"seconds": record.seconds.get("total")})
    return rows


def _of_one_kind(values: Iterable[Any]) -> bool:
    """Whether a column can hold the values as they are: all numbers, all texts or all booleans."""
    kinds = {type(value) for value in values if value is not None}
    return kinds <= {int, float} or kinds <= {str} or kinds <= {bool}

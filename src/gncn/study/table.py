"""All results of a study as one table, a row for each run: CSV or Parquet."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gncn.base.errors import ConfigError, quoted
from gncn.base.extras import needs
from gncn.base.files import write_atomic
from gncn.study.paper import all_columns, number_of
from gncn.study.plan import Study
from gncn.study.record import Record, trusted

FORMATS = (".csv", ".parquet")


@trusted()
def table(study: Study, records: Sequence[Record]) -> list[dict[str, Any]]:
    """A row for each record: the run, the settings of its model's point, and its numbers.

    Every row has the same names; what a run lacks is None.
    """
    points = [model.point for model in study.models.values()]
    settings = list(dict.fromkeys(name for point in points for name in point))
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
        row["epoch"] = None if record.kept is None else record.kept.epoch
        for key, column in all_columns().items():
            row[key] = number_of(column, record.kept, record.metrics, record.spec["split"])
        rows.append(row | {"seconds": record.seconds.get("total")})
    return rows


def check_table(path: Path) -> None:
    """Refuse a file that `write_table` can't write.

    Raises:
        ConfigError: its kind is unknown, or needs a package that isn't installed.
    """
    if path.suffix not in FORMATS:
        raise ConfigError(
            f"A table is written as {' or '.join(FORMATS)}; received {quoted(path.name)}."
        )
    if path.suffix == ".parquet":
        needs("pyarrow", "tables")


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with the same names to a ``.csv`` or ``.parquet`` file.

    Raises:
        ConfigError: see `check_table`.
        RunError: the file can't be written.
    """
    check_table(path)
    if path.suffix == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(path, text.getvalue())
        return
    import pyarrow
    import pyarrow.parquet

    content = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), content)
    write_atomic(path, content.getvalue())


def _of_one_kind(values: Iterable[Any]) -> bool:
    """Whether a column can hold the values as they are: all numbers, all texts or all booleans."""
    kinds = {type(value) for value in values if value is not None}
    return kinds <= {int, float} or kinds <= {str} or kinds <= {bool}

"""Tables on disk, written whole: CSV or Parquet."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gncn.base.errors import ConfigError, quoted
from gncn.base.extras import needs
from gncn.base.files import write_atomic

TABLES = (".csv", ".parquet")


def check_table(path: Path, others: Sequence[str] = ()) -> None:
    """Refuse a file that `write_table` can't write, and that has none of the other suffixes.

    Raises:
        ConfigError: its kind is unknown, or needs a package that isn't installed.
    """
    kinds = (*others, *TABLES)
    if path.suffix not in kinds:
        raise ConfigError(
            f"The file {quoted(path.name)} must end in {', '.join(kinds[:-1])} or {kinds[-1]}: its "
            "suffix says what to write."
        )
    if path.suffix == ".parquet":
        needs("pyarrow", "tables")


def write_table(path: Path, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
    """Write columns of one length to a ``.csv`` or ``.parquet`` file; None is an empty cell.

    Raises:
        ConfigError: see `check_table`.
        RunError: the file can't be written.
    """
    check_table(path)
    if path.suffix == ".csv":
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(columns)
        cells = (
            one.astype(str) if isinstance(one, np.ndarray) else one for one in columns.values()
        )
        writer.writerows(zip(*cells, strict=True))
        write_atomic(path, text.getvalue())
        return
    import pyarrow
    import pyarrow.parquet

    # In memory first, so that the file is replaced whole.
    content = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(dict(columns)), content)
    write_atomic(path, content.getvalue())

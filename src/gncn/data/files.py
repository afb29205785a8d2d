"""Files and folders of users' own images: what is in them, as `from_arrays` takes it.

===========================  ============================================================
``.npy``                     the images
``.npz``                     ``train_images`` and, if there are, the other members
``.csv``, ``.parquet``       a row for each image; a column ``label`` (or ``class``,
                             ``target``, ``y``) has the classes, the others the pixels
a folder                     PNG and JPEG files, sorted by name; folders in it are classes,
                             or splits, if they are called train, validation and test
===========================  ============================================================
"""

import csv
import io
import os
import re
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from gncn.base.arrays import raw_array
from gncn.base.errors import ConfigError, DataError, GncnError, quoted, shortened
from gncn.base.extras import needs
from gncn.base.files import explained, opened
from gncn.base.hardware import refuse_too_large
from gncn.data.stored import read_npy, read_npz

PARTS = ("train", "validation", "test")
MEMBERS = tuple(f"{part}_{what}" for part in PARTS for what in ("images", "labels"))
TABLES = (".csv", ".parquet")
SUFFIXES = (".npy", ".npz", *TABLES)
PICTURES = (".png", ".jpg", ".jpeg")
LABELS = ("label", "labels", "class", "target", "y")
"""Names, in small letters, of a table's column of classes."""
_INDEX = re.compile(r"__index_level_\d+__")
"""A column in which pandas keeps the index of a frame."""
MAX_LINE = 1 << 24
"""Of a CSV file, in signs."""


def is_path(name: str) -> bool:
    """Whether the name of data is a file's or a folder's path."""
    path_like = name.lower().endswith(SUFFIXES) or "/" in name or os.sep in name
    return path_like or os.path.isdir(name)  # noqa: PTH112 (a name that is too long is none)


def read_members(path: Path) -> dict[str, Any]:
    """The arguments of `from_arrays` that a file or folder holds.

    Raises:
        ConfigError: what reads such files isn't installed.
        DataError: it can't be read, or holds something else.
    """
    with explained(f"Can't read {path}", error=DataError):
        folder = path.is_dir()
    if folder:
        return _read_folder(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return read_npz(path, lambda members: _check_members(path, members))
    if suffix == ".npy":
        return {"train_images": read_npy(path)}
    if suffix in TABLES:
        return _read_table(path)
    if not path.exists():
        raise DataError(f"There is no file or folder {path}. Correct the path.")
    raise DataError(
        f"Expected a .npy or .npz file, a .csv or .parquet file, or a folder of PNG or JPEG files; "
        f"received {path}. Save it with NumPy."
    )


def _check_members(path: Path, members: list[str]) -> None:
    if set(members) - set(MEMBERS) or "train_images" not in members:
        raise DataError(
            f"{path} must hold train_images and may hold {', '.join(MEMBERS[1:])}; received "
            f"{shortened(', '.join(sorted(members)), 200) or 'no array'}. Rename the arrays."
        )


def _read_table(path: Path) -> dict[str, Any]:
    """The pixels and, if there is such a column, the labels in a table."""
    if not path.is_file():
        raise DataError(f"There is no file {path}. Correct the path.")
    csv_file = path.suffix.lower() == ".csv"
    # pandas reads Parquet through another library, so it comes last there.
    libraries = ("polars", "pandas", "pyarrow") if csv_file else ("polars", "pyarrow", "pandas")
    library = next((one for one in libraries if find_spec(one) is not None), None)
    if library is None:
        raise ConfigError(
            f"To read {path} takes polars, pandas or pyarrow, and none is installed: "
            "pip install polars."
        )
    read = _READERS[library]
    try:
        frame = read(path, csv_file and _has_header(path), csv_file)
    except GncnError:
        raise
    except Exception as error:  # each library has its own kinds
        # Only the first line, since parsers' errors run over many.
        reason = shortened(str(error).strip().partition("\n")[0], 200)
        raise DataError(f"{path} is no table that {library} can read: {reason}.") from error
    names = list(frame.column_names if library == "pyarrow" else frame.columns)
    names = [name for name in names if not _INDEX.fullmatch(str(name))]
    known = [name for name in names if str(name).lower() in LABELS]
    pixels = [name for name in names if name not in known]
    if len(known) > 1 or not pixels:
        raise DataError(
            f"{path} must have columns of pixels and at most one of classes ({', '.join(LABELS)}); "
            f"received the columns {shortened(', '.join(map(str, names)), 200)}."
        )
    members: dict[str, Any] = {"train_labels": _items(frame[known[0]])} if known else {}
    if len(pixels) == 1:  # a column of whole images
        images = _items(frame[pixels[0]])
        if csv_file and images and isinstance(images[0], str):
            raise DataError(
                f"{path} must have numbers with commas between them; received the line "
                f"{quoted(images[0])}."
            )
        return {"train_images": images} | members
    chosen = frame.select(pixels) if library == "pyarrow" else frame[pixels]
    return {"train_images": chosen} | members


def _items(column: Any) -> list[Any]:
    """A column's values in a list."""
    # Libraries name the same method differently.
    name = next(one for one in ("to_list", "tolist", "to_pylist") if hasattr(column, one))
    return list(getattr(column, name)())


def _read_polars(path: Path, header: bool, csv_file: bool) -> Any:
    polars = import_module("polars")
    if csv_file:
        # All rows are looked at, since a fraction may come after many whole numbers.
        return polars.read_csv(path, has_header=header, infer_schema_length=None)
    return polars.read_parquet(path)


def _read_pandas(path: Path, header: bool, csv_file: bool) -> Any:
    pandas = import_module("pandas")
    return (
        pandas.read_csv(path, header=0 if header else None)
        if csv_file
        else (pandas.read_parquet(path))
    )


def _read_pyarrow(path: Path, header: bool, csv_file: bool) -> Any:
    if not csv_file:
        return import_module("pyarrow.parquet").read_table(path)
    reader = import_module("pyarrow.csv")
    options = reader.ReadOptions(autogenerate_column_names=not header)
    return reader.read_csv(path, read_options=options)


_READERS: dict[str, Callable[[Path, bool, bool], Any]] = {
    "polars": _read_polars,
    "pandas": _read_pandas,
    "pyarrow": _read_pyarrow,
}


def _has_header(path: Path) -> bool:
    """Whether the first line of a CSV file has names: anything that is no number."""
    with explained(f"Can't read {path}", error=DataError), opened(path) as file:
        # What isn't UTF-8 is no number either, so it counts as a name.
        text = io.TextIOWrapper(file, encoding="utf-8", errors="replace")
        cells = next(csv.reader([text.readline(MAX_LINE)]), [])
        # The wrapper would close the file, which `opened` closes itself.
        text.detach()
    return not all(map(_is_number, cells))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return not cell.strip()
    return True


def _read_folder(path: Path) -> dict[str, Any]:
    """The pictures in a folder, with classes or splits if they lie in folders of their own."""
    with explained(f"Can't read {path}", error=DataError):
        # Sorted, since systems list folders in any order; hidden files are the system's own.
        found = sorted(one for one in path.iterdir() if not one.name.startswith("."))
        folders = [one for one in found if one.is_dir()]
    pictures = [one for one in found if one.suffix.lower() in PICTURES]
    if pictures and folders:
        raise DataError(
            f"{path} holds pictures and also folders, such as {folders[0].name!r}. Keep pictures "
            "either in it, or in a folder for each class."
        )
    names = [one.name for one in folders]
    # Folders with these names are splits; if others are among them, all are classes.
    if "train" in names and set(names) <= set(PARTS):
        members = {one.name: _read_folder(one) for one in folders}
        return {
            f"{part}_{what.removeprefix('train_')}": value
            for part, its in members.items()
            for what, value in its.items()
        }
    labels = [""] * len(pictures)
    for folder in folders:
        with explained(f"Can't read {folder}", error=DataError):
            inside = sorted(one for one in folder.iterdir() if one.suffix.lower() in PICTURES)
        pictures += inside
        labels += [folder.name] * len(inside)
    if not pictures:
        raise DataError(
            f"{path} holds no picture ({', '.join(PICTURES)}), nor do folders in it. Correct the "
            "path."
        )
    first = _read_picture(pictures[0])
    size = len(pictures) * first.nbytes
    # Decided by the first picture, before memory is taken for all.
    refuse_too_large(f"The {len(pictures):,} pictures in {path}", size, "Take fewer.")
    images = np.empty((len(pictures), *first.shape), first.dtype)
    for number, one in enumerate(pictures):
        image = _read_picture(one)
        if image.shape != first.shape or image.dtype != first.dtype:
            raise DataError(
                f"Pictures must be of one size and kind; {pictures[0]} is {first.dtype} of shape "
                f"{first.shape}, and {one} {image.dtype} of shape {image.shape}. Convert them."
            )
        images[number] = image
    return {"train_images": images} | ({"train_labels": labels} if folders else {})


def _read_picture(path: Path) -> np.ndarray:
    """The pixels of a PNG or JPEG file."""
    needs("PIL", "figures")
    from PIL import Image

    try:
        with opened(path) as file, Image.open(file, formats=("PNG", "JPEG")) as image:
            return raw_array(image, str(path))
    except Exception as error:  # Pillow raises a dozen kinds for files that were harmed
        reason = shortened(str(error).strip().partition("\n")[0], 200)
        raise DataError(f"{path} is no PNG or JPEG file that can be read: {reason}.") from error

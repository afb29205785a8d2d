"""Where files of data sets are looked for: a given folder, the cache, the network.

A folder given explicitly is the only place looked in. Otherwise the search goes through the folder
named by the environment variable ``GNCN_DATA``, then the cache, then the mirrors. The cache is the
operating system's, or the folder named by ``GNCN_CACHE``.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from gncn.base.errors import DataError, RunError
from gncn.base.extras import needs
from gncn.base.files import explained, make_folder, place, write_atomic
from gncn.data.content import (
    AlteredFileError,
    ForeignFileError,
    MissingFileError,
    largest_file,
    read_verified,
    verified_content,
)
from gncn.data.registry import DataFile, DatasetInfo

if TYPE_CHECKING:
    from rich.progress import Progress

_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class FileStatus:
    """One file of a data set on this machine: where it is, and whether it is sound.

    ``altered`` is a file with other content than expected.  `detail` says what is wrong and what
    to do; it is empty for a sound file.
    """

    file: DataFile
    state: Literal["sound", "altered", "missing"]
    path: Path | None
    detail: str = ""


def cache_dir() -> Path:
    """The folder that downloads are kept in: ``GNCN_CACHE``, or the system's cache."""
    named = os.environ.get("GNCN_CACHE")
    if named:
        return place(named)
    needs("pooch", "data")
    from pooch import os_cache

    return Path(os_cache("gncn"))


def obtain(
    info: DatasetInfo, file: DataFile, *, data_dir: str | Path | None, allow_download: bool
) -> bytes:
    """The verified content of a file, downloaded if need be and allowed and `data_dir` is None.

    Raises:
        MissingFileError: the file is nowhere; names the places tried.
        AlteredFileError: the file found has other content than it should.
        DataError: a folder named doesn't exist or can't be written.
    """
    # Made first: if nothing is found, it says all the places.
    missing: DataError = _missing(info, file, data_dir)
    for path in _found(info, file, data_dir):
        try:
            return read_verified(path, info, file)
        except ForeignFileError as error:
            # In a folder that was named, a foreign file explains more than a missing one.
            missing = error if data_dir is not None else missing
        except AlteredFileError:  # in the cache, a download replaces it
            if not (allow_download and data_dir is None and path.is_relative_to(cache_dir())):
                raise
    if data_dir is not None or not allow_download:
        raise missing
    return read_verified(download(info, file, cache_dir() / info.folders[0]), info, file)


def check(info: DatasetInfo, file: DataFile, data_dir: str | Path | None = None) -> FileStatus:
    """Look for a file and compare its content with the hash on record.

    Mirrors are not asked.  Raises a `DataError` where a folder named doesn't exist.
    """
    for path in _found(info, file, data_dir):
        try:
            read_verified(path, info, file)
        except ForeignFileError:
            continue
        except AlteredFileError as error:
            return FileStatus(file, "altered", path, str(error))
        return FileStatus(file, "sound", path)
    return FileStatus(file, "missing", None, str(_missing(info, file, data_dir)))


def present(info: DatasetInfo, file: DataFile, data_dir: str | Path | None = None) -> Path | None:
    """Where a file seems to be, by its name alone; None if nowhere.  See `check`."""
    return next(_found(info, file, data_dir), None)


def fetch(info: DatasetInfo, folder: Path | None = None) -> list[Path]:
    """Make all files of a data set available in a folder, or in the cache.

    Files that are there and sound are kept; altered ones are replaced. Nothing is
    fetched for data that come with an installed package, unless a folder is named
    and they also exist as files (MNIST).

    Returns:
        Path of each file, in ``folder/<data set>/``; empty if nothing needs fetching.

    Raises:
        MissingFileError: a file could not be downloaded; says why and what to do.
        DataError: the folder can't be written.
    """
    if not info.files or (info.origin != "files" and folder is None):
        return []
    target = (cache_dir() if folder is None else place(folder)) / info.folders[0]
    # Sound files are not asked for again.
    return [_sound_in(target, info, file) or download(info, file, target) for file in info.files]


def download(info: DatasetInfo, file: DataFile, folder: Path) -> Path:
    """Download a file into a folder, made if need be, from the first mirror that has it sound.

    The file appears under its final name only once its content has been checked.

    Raises:
        MissingFileError: no mirror had it; says why for each, and what to do.
        DataError: the folder can't be written.
    """
    reasons = []
    try:
        make_folder(folder)
        with tempfile.TemporaryDirectory(prefix="gncn-") as temporary:  # not there: kills leave it
            for url in file.urls:
                name = PurePosixPath(url).name
                arrived = Path(temporary) / name
                try:
                    _get(url, arrived, f"{info.name} {name}", largest_file(file))
                    content = arrived.read_bytes()
                    verified_content(content, info, file)
                except AlteredFileError as error:
                    reasons.append(f"{url}: the file there is {error}")
                except OSError as error:  # the errors of requests are OSErrors
                    reasons.append(f"{url}: {_root_cause(error)}")
                else:
                    # Only now, after the check, does the file get its name.
                    write_atomic(folder / name, content)
                    return folder / name
    except (OSError, RunError) as error:
        raise DataError(
            f"Can't save data in {folder}: {error}. Choose another folder with `--data-dir`, or "
            "set the environment variable GNCN_CACHE."
        ) from error
    raise MissingFileError(
        f"Can't download the {info.name} file {file.file_names[0]}. Mirrors tried:\n  "
        + "\n  ".join(reasons)
        + f"\nWhere there is a network, run `gncn data fetch {info.name} --data-dir FOLDER`; copy "
        "that folder here and pass it as `--data-dir FOLDER` (data_dir in Python), or name it in "
        "the environment variable GNCN_DATA."
    )


class _Bar:
    """The progress bar interface that pooch asks for, drawn by rich; it ends what has no end."""

    total = 0

    def __init__(self, progress: "Progress", description: str, most: int) -> None:
        self._progress, self._task = progress, progress.add_task(description, total=None)
        self._most = self._left = most + _CHUNK_BYTES  # pooch counts whole chunks

    def update(self, n_bytes: int) -> None:
        self._left -= n_bytes
        if self._left < 0:
            raise OSError("it sends more than the file can have")
        self._progress.update(self._task, advance=n_bytes, total=self.total or None)

    def reset(self) -> None:
        self._left = self._most
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        self._progress.stop_task(self._task)


def _get(url: str, path: Path, description: str, most: int) -> None:
    """Download at most so many bytes to a file, with a progress bar on a terminal."""
    needs("pooch", "data")
    needs("rich", "cli")
    from pooch import HTTPDownloader
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    console = Console(stderr=True)
    columns = *Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn()
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        get = HTTPDownloader(
            progressbar=_Bar(progress, description, most),  # pyright: ignore[reportArgumentType] (untyped)
            chunk_size=_CHUNK_BYTES,
            timeout=_TIMEOUT_S,
        )
        get(url, str(path), None)


def _root_cause(error: BaseException) -> str:
    """The innermost of the errors that wrap a network error."""
    # Libraries wrap network errors several times, and only the innermost says what happened.
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {error}"


def _sound_in(target: Path, info: DatasetInfo, file: DataFile) -> Path | None:
    for path in (target / name for name in file.file_names):
        with suppress(AlteredFileError):
            if path.is_file() and read_verified(path, info, file):
                return path
    return None


def _places(info: DatasetInfo, file: DataFile, data_dir: str | Path | None) -> Iterator[Path]:
    """All paths that a file is looked for at."""
    given, named = data_dir, os.environ.get("GNCN_DATA")
    what = "The data folder"
    if given is None and named:
        given, what = named, "The folder in the environment variable GNCN_DATA"
    folders = [] if given is None else [place(given)]
    for folder in folders:
        with explained(f"{what}, {folder}, can't be read", error=DataError):
            if not folder.is_dir():
                raise DataError(
                    f"{what}, {folder}, doesn't exist or is no folder. Correct the path."
                )
    # A folder named by the environment comes before the cache; one given explicitly is the only
    # place.
    if data_dir is None:
        folders.append(cache_dir())
    for folder in folders:
        # With or without a folder of the data set's own.
        for parent in (*(folder / name for name in info.folders), folder):
            yield from (parent / name for name in file.file_names)


def _found(info: DatasetInfo, file: DataFile, data_dir: str | Path | None) -> Iterator[Path]:
    for path in _places(info, file, data_dir):
        with explained(f"Can't look for {path}", error=DataError):
            found = path.is_file()
        if found:
            yield path


def _missing(info: DatasetInfo, file: DataFile, data_dir: str | Path | None) -> MissingFileError:
    tried = "\n  ".join(str(path) for path in _places(info, file, data_dir))
    hint = f"\n{info.hint}" if info.hint else ""
    return MissingFileError(
        f"The {info.name} file {file.file_names[0]} was not found. Paths tried:\n  {tried}"
        f"\nWhere there is a network, run `gncn data fetch {info.name}`, or get it from "
        f"{file.urls[0]} and put it at one of these paths.{hint}"
    )

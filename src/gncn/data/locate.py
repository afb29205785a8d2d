"""Where files of data sets are looked for: a given folder, the cache, the network.

A folder given explicitly is the only place looked in. Otherwise the folder named
by the environment variable ``GNCN_DATA`` is looked in, then the cache (the
operating system's, or the folder named by ``GNCN_CACHE``), then the mirrors.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gncn.base.errors import DataError
from gncn.base.extras import needs
from gncn.data.content import AlteredFileError, ForeignFileError, MissingFileError, read_verified
from gncn.data.download import download
from gncn.data.registry import DataFile, DatasetInfo


@dataclass(frozen=True)
class FileStatus:
    """What is known of one file of a data set on this machine.

    Attributes:
        file: the file.
        state: whether it is there with the content expected, there with other
            content, or not there.
        path: where it is, or None if it is missing.
        detail: what is wrong with it, and what to do; empty if it is sound.
    """

    file: DataFile
    state: Literal["sound", "altered", "missing"]
    path: Path | None
    detail: str = ""


def cache_dir() -> Path:
    """Return the folder downloads are kept in: ``GNCN_CACHE``, or the system's cache."""
    named = os.environ.get("GNCN_CACHE")
    if named:
        return Path(named).expanduser()
    needs("pooch", "data")
    from pooch import os_cache

    return Path(os_cache("gncn"))


def obtain(
    info: DatasetInfo, file: DataFile, *, data_dir: str | Path | None, allow_download: bool
) -> bytes:
    """Return the verified content of a file, downloading it if need be and allowed.

    Looks in `data_dir` alone if it is given; mirrors are asked only if it isn't.

    Raises:
        MissingFileError: the file is nowhere; names the places tried.
        AlteredFileError: the file found has other content than it should.
        DataError: a folder named doesn't exist or can't be written.
    """
    content = _find(info, file, data_dir, replace_cached=allow_download)
    if content is not None:
        return content
    if data_dir is not None or not allow_download:
        raise _missing(info, file, data_dir)
    path = download(info, file, cache_dir() / info.folders[0])
    return read_verified(path, info, file)


def check(info: DatasetInfo, file: DataFile, data_dir: str | Path | None = None) -> FileStatus:
    """Look for a file and compare its content with the hash on record.

    Looks in `data_dir` alone if it is given, and never in the network.

    Raises:
        DataError: a folder named doesn't exist.
    """
    for path in _candidates(info, file, data_dir):
        try:
            read_verified(path, info, file)
        except ForeignFileError:
            continue
        except AlteredFileError as error:
            return FileStatus(file, "altered", path, str(error))
        return FileStatus(file, "sound", path)
    return FileStatus(file, "missing", None, str(_missing(info, file, data_dir)))


def present(info: DatasetInfo, file: DataFile, data_dir: str | Path | None = None) -> Path | None:
    """Return where a file seems to be, by its name alone; None if nowhere.

    Looks in `data_dir` alone if it is given, and never in the network.

    Raises:
        DataError: a folder named doesn't exist.
    """
    return next(_candidates(info, file, data_dir), None)


def fetch(info: DatasetInfo, folder: Path | None = None) -> list[Path]:
    """Make all files of a data set available in a folder, or in the cache.

    Files that are there and sound are kept; altered ones are replaced. Nothing is
    fetched for data that come with an installed package, unless a folder is named
    and they also exist as files (MNIST).

    Args:
        info: the data set.
        folder: save in ``folder/<data set>/``; None for the cache.

    Returns:
        Path of each file; empty if nothing needs fetching.

    Raises:
        MissingFileError: a file could not be downloaded; says why and what to do.
        DataError: the folder can't be written.
    """
    if not info.files or (info.origin != "files" and folder is None):
        return []
    target = (cache_dir() if folder is None else folder.expanduser()) / info.folders[0]
    return [_sound_in(target, info, file) or download(info, file, target) for file in info.files]


def _sound_in(target: Path, info: DatasetInfo, file: DataFile) -> Path | None:
    for path in (target / name for name in file.file_names):
        with suppress(AlteredFileError):
            if path.is_file() and read_verified(path, info, file):
                return path
    return None


def _find(
    info: DatasetInfo, file: DataFile, data_dir: str | Path | None, *, replace_cached: bool
) -> bytes | None:
    foreign = None
    for path in _candidates(info, file, data_dir):
        try:
            return read_verified(path, info, file)
        except ForeignFileError as error:
            foreign = error
        except AlteredFileError:
            if not (replace_cached and data_dir is None and path.is_relative_to(cache_dir())):
                raise
    if foreign is not None and data_dir is not None:
        raise foreign
    return None


def _folders(data_dir: str | Path | None) -> tuple[Path, ...]:
    if data_dir is not None:
        return (_existing(Path(data_dir).expanduser(), "The data folder"),)
    named = os.environ.get("GNCN_DATA")
    if not named:
        return (cache_dir(),)
    folder = _existing(Path(named).expanduser(), "The folder in the environment variable GNCN_DATA")
    return folder, cache_dir()


def _existing(folder: Path, what: str) -> Path:
    if not folder.is_dir():
        raise DataError(f"{what}, {folder}, doesn't exist or is no folder. Correct the path.")
    return folder


def _places(info: DatasetInfo, file: DataFile, folder: Path) -> Iterator[Path]:
    for parent in (*(folder / name for name in info.folders), folder):
        for name in file.file_names:
            yield parent / name


def _candidates(info: DatasetInfo, file: DataFile, data_dir: str | Path | None) -> Iterator[Path]:
    for folder in _folders(data_dir):
        yield from (path for path in _places(info, file, folder) if path.is_file())


def _missing(info: DatasetInfo, file: DataFile, data_dir: str | Path | None) -> MissingFileError:
    tried = [str(path) for folder in _folders(data_dir) for path in _places(info, file, folder)]
    hint = f"\n{info.hint}" if info.hint else ""
    return MissingFileError(
        f"The {info.name} file {file.file_names[0]} was not found. Paths tried:\n  "
        + "\n  ".join(tried)
        + f"\nWhere there is a network, run `gncn data fetch {info.name}`, or get it from "
        f"{file.urls[0]} and put it at one of these paths.{hint}"
    )

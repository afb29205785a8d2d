"""Downloading a file of a data set from its mirrors, with a progress bar on a terminal."""

import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from gncn.base.errors import DataError
from gncn.base.extras import needs
from gncn.data.content import AlteredFileError, MissingFileError, verified_content
from gncn.data.registry import DataFile, DatasetInfo

if TYPE_CHECKING:
    from rich.progress import Progress

_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 16


def download(info: DatasetInfo, file: DataFile, folder: Path) -> Path:
    """Download a file into a folder, made if need be, from the first mirror that has it sound.

    The file appears under its final name only once its content has been checked.

    Raises:
        MissingFileError: no mirror had it; says why for each, and what to do.
        DataError: the folder can't be written.
    """
    needs("pooch", "data")
    needs("rich", "cli")
    from pooch import HTTPDownloader

    reasons = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
            for url in file.urls:
                name = PurePosixPath(url).name
                arrived = Path(temporary) / name
                try:
                    with _progress() as progress:
                        bar = _Bar(progress, f"{info.name} {name}")
                        get = HTTPDownloader(
                            progressbar=bar,  # pyright: ignore[reportArgumentType] (pooch has no types)
                            chunk_size=_CHUNK_BYTES,
                            timeout=_TIMEOUT_S,
                        )
                        get(url, str(arrived), None)
                    verified_content(arrived.read_bytes(), info, file)
                except AlteredFileError as error:
                    reasons.append(f"{url}: the file there is {error}")
                except OSError as error:  # the errors of requests are OSErrors
                    reasons.append(f"{url}: {_root_cause(error)}")
                else:
                    return arrived.replace(folder / name)
    except OSError as error:
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
    """The progress bar interface that pooch asks for, drawn by rich."""

    def __init__(self, progress: "Progress", description: str) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=None)

    @property
    def total(self) -> int:
        return int(self._progress.tasks[self._task].total or 0)

    @total.setter
    def total(self, total: int) -> None:
        self._progress.update(self._task, total=total or None)

    def update(self, n_bytes: int) -> None:
        self._progress.advance(self._task, n_bytes)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        self._progress.stop_task(self._task)


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    console = Console(stderr=True)
    return Progress(
        *Progress.get_default_columns(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _root_cause(error: BaseException) -> str:
    """Say what lies below the layers that wrap a network error."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {error}"

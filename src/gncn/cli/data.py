"""``gncn data``: list the data sets, download their files, verify the files found."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table
from rich.text import Text
from typer import Argument, Option

from gncn.base.errors import DataError
from gncn.base.screen import Screen
from gncn.cli.options import PATH, JsonOption, print_json, print_table
from gncn.data import DatasetInfo, cache_dir, check, dataset_info, dataset_names, fetch, present
from gncn.data.content import read_packed_mnist

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="List, fetch and verify the data sets.\n\n"
    "MNIST comes with this package and 'digits' with scikit-learn, so they need no download. "
    "With `--data-dir` files are looked for in that folder only; without it, in the folder named "
    "by the environment variable GNCN_DATA, then in the cache (GNCN_CACHE).",
)

DataDir = Annotated[
    Path | None,
    Option(
        "--data-dir",
        help="Folder of the original files, as FOLDER/fashion-mnist/train-images-idx3-ubyte.gz "
        "and so on.",
        show_default="GNCN_DATA, then the cache",
        **PATH,
    ),
]
COLOURS = {"sound": "green", "altered": "bold red", "missing": "yellow", "unchecked": "dim"}


@app.command("list")
def list_datasets(data_dir: DataDir = None, as_json: JsonOption = False) -> None:
    """List the data sets: images, size, classes, licence, and where each was found.

    Files are found by name here; `gncn data verify` also checks their content.

    Example: `gncn data list --data-dir ~/data`
    """
    rows = [_describe(dataset_info(name), data_dir) for name in dataset_names()]
    if as_json:
        print_json(rows)
        return
    table = Table(
        Column("name", style="bold", no_wrap=True),
        Column("images", justify="right", no_wrap=True),
        Column("size", no_wrap=True),
        Column("classes", justify="right"),
        "licence",
        Column("available", min_width=len("scikit-learn")),
        show_edge=False,  # so that it fits into 80 columns
        title="Data sets",
        caption="images: train + validation + test",
    )
    for row in rows:
        images = f"{row['train']}+{row['validation']}+{row['test']}"
        size = "x".join(map(str, row["image_shape"]))
        classes = str(row["classes"])
        table.add_row(row["name"], images, size, classes, row["licence"], row["available"])
    print_table(table)


@app.command("fetch")
def fetch_datasets(
    names: Annotated[
        list[str], Argument(metavar="NAME...", help="Data sets, as in `gncn data list`.")
    ],
    data_dir: Annotated[
        Path | None,
        Option(
            "--data-dir",
            help="Folder to save in, each data set in a folder of its own; take it to a machine "
            "without a network and pass it there as --data-dir.",
            show_default="the cache",
            **PATH,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Download data sets and check each file.  Files that are there and sound are kept.

    Example: `gncn data fetch fashion-mnist kmnist --data-dir ~/data`
    """
    infos = [dataset_info(name) for name in names]  # refuse a wrong name before fetching any
    saved = {info.name: fetch(info, data_dir) for info in infos}
    if as_json:
        print_json(saved)
        return
    screen = Screen()
    for info in infos:
        if not saved[info.name]:
            screen.print(f"{info.name}: comes with {_bearer(info)}, nothing to download")
        for path in saved[info.name]:
            screen.print(f"{info.name}: {path}", soft_wrap=True)


@app.command("verify")
def verify_datasets(
    names: Annotated[
        list[str] | None, Argument(metavar="[NAME]...", help="Data sets; all of them unless named.")
    ] = None,
    data_dir: DataDir = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the content of the files found with the hashes on record.

    Exits with code 1 if a file is altered, or if a data set that you name lacks a file.

    Example: `gncn data verify fashion-mnist --data-dir ~/data`
    """
    infos = [dataset_info(name) for name in names or dataset_names()]
    rows = [row for info in infos for row in _verify(info, data_dir)]
    if as_json:
        print_json(rows)
    else:
        _print_verified(rows)
    failing = {"altered", "missing"} if names else {"altered"}
    if any(row["state"] in failing for row in rows):
        raise typer.Exit(1)


def _describe(info: DatasetInfo, data_dir: Path | None) -> dict[str, Any]:
    available, folder = _availability(info, data_dir)
    return {
        "name": info.name,
        "title": info.title,
        # An official validation split isn't a part of the training images.
        "train": info.n_train - (0 if info.official_validation else info.n_validation),
        "validation": info.n_validation,
        "test": info.n_test,
        "image_shape": info.image_shape,
        "classes": info.n_classes,
        "licence": info.licence,
        "creators": info.creators,
        "homepage": info.homepage,
        "available": available,
        "folder": folder,
    }


def _bearer(info: DatasetInfo) -> str:
    return "this package" if info.origin == "embedded" else info.origin


def _availability(info: DatasetInfo, data_dir: Path | None) -> tuple[str, Path | None]:
    """In words where a data set was found, and its folder or None."""
    if info.origin != "files":
        return f"with {_bearer(info)}", None
    places = [present(info, file, data_dir) for file in info.files]
    found = [place for place in places if place is not None]
    if not found:
        return "no" if data_dir is not None else "to download", None
    # Files of one data set lie together, so the first says where.
    words = "in the cache" if found[0].is_relative_to(cache_dir()) else "in the folder"
    if len(found) < len(places):
        words += f" ({len(found)} of {len(places)} files)"
    return words, found[0].parent


def _verify(info: DatasetInfo, data_dir: Path | None) -> list[dict[str, Any]]:
    def row(part: str, state: str, place: object, detail: str = "") -> dict[str, Any]:
        return {"name": info.name, "part": part, "state": state, "place": place, "detail": detail}

    if info.origin == "scikit-learn":
        return [row("all", "unchecked", "with scikit-learn")]
    if info.origin == "embedded" and data_dir is None:
        try:
            read_packed_mnist()
        except DataError as error:
            return [row("all", "altered", "with this package", str(error))]
        return [row("all", "sound", "with this package")]
    found = [check(info, file, data_dir) for file in info.files]
    return [row(one.file.part, one.state, one.path, one.detail) for one in found]


def _print_verified(rows: list[dict[str, Any]]) -> None:
    screen = Screen()
    whole = [Column(name, no_wrap=True) for name in ("part", "state")]
    name, where = Column("name", style="bold", no_wrap=True), Column("where", overflow="fold")
    table = Table(name, *whole, where, title="Files")
    for row in rows:
        state = Text(row["state"], COLOURS[row["state"]])
        table.add_row(row["name"], row["part"], state, str(row["place"] or ""))
    print_table(table)
    for row in rows:
        if row["state"] == "altered":
            screen.print(row["detail"], soft_wrap=True)
    lacking = sorted({row["name"] for row in rows if row["state"] == "missing"})
    if lacking:
        screen.print(f"To get what is missing: gncn data fetch {' '.join(lacking)}")

"""``gncn export``: the codes of images as arrays or as a table."""

import os
from pathlib import Path
from typing import Annotated

from typer import Option

from gncn.base.screen import say
from gncn.cli import options


def export(
    run: options.RunArgument,
    out: Annotated[
        Path, Option(help="File to write: .npz, .csv or .parquet.", **options.PATH)
    ] = Path("codes.npz"),
    split: options.SplitOption = "test",
    data: Annotated[
        str | None,
        Option(help="Images of your own in place of a split: a file or folder, as for training."),
    ] = None,
    layer: Annotated[
        str | None,
        Option(help="Latent layer, from 1, or `all`. Default: the top layer."),
    ] = None,
    trial: options.TrialOption = 0,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Replace the file if there is one.")
    ] = False,
    data_dir: options.DataDirOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Write the codes of images to a file: states of the top layer, with labels and numbers.

    A .npz file holds an array for each layer (`z2`), `numbers` and `labels`. A .csv or .parquet
    file has a row for each image: `number`, `label`, and a column for each neuron (`z2_17`).

    **Examples**

    `gncn export runs/mnist --out codes.npz`

    `gncn export runs/mnist --split train --layer all --out codes.parquet`

    `gncn export runs/mnist --data mine.npy --out codes.csv`
    """
    from gncn.base.errors import ConfigError, quoted
    from gncn.base.tables import check_table
    from gncn.runs.export import export as write
    from gncn.runs.folder import RunFolder

    if data is not None and data_dir is not None:
        raise ConfigError("Give --data or --data-dir, not both: the images are from one of them.")
    check_table(out, (".npz",))
    if out.is_dir():
        raise ConfigError(f"{quoted(str(out))} is a folder; --out names the file to write.")
    if os.path.lexists(out) and not overwrite:
        raise ConfigError(
            f"{quoted(str(out))} exists. Give --overwrite to replace it, or another --out."
        )
    number = int(layer) if layer is not None and layer.isdecimal() else layer
    folder = RunFolder.open(run)
    images = folder.data(data_dir) if data is None else data
    options.say_if_unfinished(folder)
    found = write(run, out, images, split=split, layer=number, trial=trial, progress=True)
    if as_json:
        options.print_json({"run": run, "split": split if data is None else None, **found})
        return
    widths = ", ".join(f"{name} ({width} neurons)" for name, width in found["layers"].items())
    say(f"codes of {found['n_images']:,} images, {widths}: {found['path']}")

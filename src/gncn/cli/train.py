"""``gncn train``: train networks and write a run folder with figures."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from gncn.cli.options import DataDirOption, JsonOption, console, print_json


def train(
    out: Annotated[Path, typer.Option(help="Run folder to make.", metavar="RUN")],
    preset: Annotated[
        str | None,
        typer.Option(
            help="Settings to begin with: `mnist`, `digits` or `paper`. Default: `mnist`, unless "
            "--config is given.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings.", show_default=False)
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="One setting, as `section.name=value`; may be repeated.",
            metavar="SETTING",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set, or a .npy or .npz file (`data.name`); see `gncn data list`.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDirOption = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs (`training.n_epochs`).", show_default=False)
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Images in a mini-batch (`training.batch_size`).", show_default=False),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the first trial.", show_default=False)
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(help="Networks trained at once, with seeds one apart.", show_default=False),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run that the folder holds.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a generative neural coding network (GNCN) and write a run folder.

    The configuration is a preset, a TOML file laid over it, and single values laid over
    that. What results is written to the run folder as `config.toml`, which can be given
    back with `--config`.

    **Examples**

    `gncn train --preset mnist --out runs/mnist`

    `gncn train --preset digits --out runs/digits --trials 5`

    `gncn train --preset mnist --set training.n_epochs=3 --set settling.step_size=0.1 --out runs/x`

    Ctrl-C ends the run and keeps what was trained up to the last whole epoch.
    """
    from gncn.cli import INTERRUPTED
    from gncn.cli.progress import ProgressBar
    from gncn.config import load_config
    from gncn.fit import FitDivergenceError, fit
    from gncn.report import draw_run
    from gncn.runs import RunFolder

    if preset is None and config is None:
        preset = "mnist"
    named = {
        "data.name": data,
        "data.data_dir": data_dir,
        "training.n_epochs": epochs,
        "training.batch_size": batch_size,
        "seed": seed,
        "n_trials": trials,
    }
    settings = [f"{name}={_toml(value)}" for name, value in named.items() if value is not None]
    resolved = load_config(preset=preset, file=config, overrides=[*(overrides or ()), *settings])
    dataset = resolved.data.load()
    networks = resolved.networks(dataset.n_pixels)
    folder = RunFolder.create(out, resolved, dataset, overwrite=overwrite)
    _introduce(folder.about, networks[0].circuit.sizes)
    with ProgressBar(console) as bar:
        try:
            result = fit(
                networks,
                dataset,
                resolved.training,
                seeds=resolved.seeds,
                listeners=[bar, folder],
            )
        except FitDivergenceError:
            folder.finish("diverged")
            raise
    folder.finish(result.status)
    if result.history:
        figures = draw_run(folder, dataset)
        _conclude(folder, result.history[-1], [str(path) for path in figures])
    if as_json:
        last = [record.model_dump() for record in result.history[-len(networks) :]]
        print_json({"run": str(out), "status": result.status, "last_epoch": last})
    if result.status == "interrupted":
        if result.history:
            kept = f"{out} holds the networks as they were after epoch {result.history[-1].epoch}."
        else:
            kept = "the first epoch had not ended, so there is nothing to keep."
        console.print(f"Interrupted; {kept}", soft_wrap=True)
        sys.exit(INTERRUPTED)


def _toml(value: Any) -> str:
    if isinstance(value, str | Path):
        escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)


def _introduce(about: dict[str, Any], sizes: tuple[int, ...]) -> None:
    images = about["data"]["images"]
    console.print(
        f"[bold]{about['data']['name']}[/]: {images['train']:,} images to learn from, "
        f"{images['validation']:,} for validation, {images['test']:,} for testing"
    )
    trials = "" if len(about["seeds"]) == 1 else f", {len(about['seeds'])} trials"
    console.print(
        f"[bold]network[/]: {'-'.join(map(str, sizes))}, {about['n_synapses']:,} synapses{trials}",
        highlight=False,
    )


def _conclude(folder: Any, last: Any, figures: list[str]) -> None:
    name = {"bce": "BCE (nats)", "squared_error": "squared error"}[last.error_name]
    table = Table(title=f"after epoch {last.epoch}", title_justify="left")
    columns = ("", name, "ψ (nats)", *(f"ρ{i}" for i in range(1, len(last.test.sparsity) + 1)))
    for column in columns:
        table.add_column(column, justify="left" if column == "" else "right")
    for split in ("train", "validation", "test"):
        record = getattr(last, split)
        table.add_row(
            split,
            f"{record.error:.2f}",
            f"{record.discrepancy:.1f}",
            *(f"{share:.3f}" for share in record.sparsity),
        )
    console.print(table)
    console.print("ρ is the share of active neurons in a layer. Figures:")
    for figure in figures:
        console.print(f"  {figure}", highlight=False, soft_wrap=True)
    console.print(
        f"Next: [bold]gncn reconstruct {folder.path}[/] or [bold]gncn settle {folder.path}[/]",
        highlight=False,
        soft_wrap=True,
    )

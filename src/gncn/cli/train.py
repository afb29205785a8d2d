"""``gncn train``: train networks and write a run folder with figures."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from gncn.cli.options import DataDirOption, JsonOption, console, new_table, print_json, say


def train(
    out: Annotated[Path, Option(help="Run folder to make.", metavar="RUN")],
    model: Annotated[
        str | None,
        Option(
            help="What to train: `gncn`, or a baseline: `rae`, `gvae`, `gvae-cv`, `gan-ae`, `gmm` "
            "or `dsrn`. Default: `gncn`, or what preset or file say."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        Option(
            help="Settings to start from: `mnist`, `fashion-mnist`, `kmnist`, `caltech`, `digits` "
            "or `paper`, or a baseline's name. "
            "Default: the baseline's, or `mnist`, unless --config is given."
        ),
    ] = None,
    config: Annotated[Path | None, Option(help="TOML file of settings.")] = None,
    overrides: Annotated[
        list[str] | None,
        Option(
            "--set",
            help="One setting, as `section.name=value`; may be repeated.",
            metavar="SETTING",
        ),
    ] = None,
    data: Annotated[
        str | None,
        Option(help="Data set, or a .npy or .npz file (`data.name`); see `gncn data list`."),
    ] = None,
    data_dir: DataDirOption = None,
    epochs: Annotated[int | None, Option(help="Epochs (`training.n_epochs`).")] = None,
    batch_size: Annotated[
        int | None, Option(help="Images in a mini-batch (`training.batch_size`).")
    ] = None,
    seed: Annotated[int | None, Option(help="Seed of the first trial.")] = None,
    trials: Annotated[
        int | None, Option(help="Networks trained at once, with seeds one apart.")
    ] = None,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Replace the run that the folder holds.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a generative neural coding network (GNCN), or a baseline, and write a run folder.

    The baselines are the six systems that the paper compares the GNCN with.

    The configuration is a preset, with a TOML file laid over it and single values laid over
    that. The whole configuration is written to the run folder as `config.toml`, from which
    `--config` repeats the run.

    **Examples**

    `gncn train --preset mnist --out runs/mnist`

    `gncn train --preset digits --out runs/digits --trials 5`

    `gncn train --preset mnist --set training.n_epochs=3 --set settling.step_size=0.1 --out runs/x`

    `gncn train --model gvae --out runs/gvae`

    `gncn train --model gvae-cv --set "backprop.variance=[0.025, 0.05, 0.1]" --out runs/gvae-cv`

    The last command trains with each variance in turn and keeps the model with the highest ψ
    on validation images. `run.json` holds the ψ of each, `config.toml` the chosen variance.

    Ctrl-C, SIGTERM and SIGHUP end the run; the last whole epoch is kept.
    """
    from gncn.base.errors import unknown_choice
    from gncn.base.interrupts import interrupts_held, last_words
    from gncn.cli.progress import ProgressBar
    from gncn.runs.config import load_config
    from gncn.runs.drawing import draw_run
    from gncn.runs.folder import RunFolder
    from gncn.runs.train import train_run
    from gncn.training.kinds import MODEL_KINDS

    if model is not None and model not in MODEL_KINDS:
        raise unknown_choice("model", model, MODEL_KINDS)
    if preset is None and config is None:
        preset = "mnist" if model in (None, "gncn") else model
    named = {
        "model": model,
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
    description = resolved.describe(dataset)
    with ExitStack() as stack:
        with interrupts_held():
            folder = RunFolder.create(out, resolved, dataset, overwrite=overwrite)
            stack.enter_context(last_words(folder.interrupt))
        _introduce(folder.about, description)
        with ProgressBar(console) as bar:
            result = train_run(folder, resolved, dataset, listeners=[bar])
        if result.history:
            if tried := folder.about.get("validation_psi_of_variances"):
                each = ", ".join(f"{psi:.2f} with {variance}" for variance, psi in tried.items())
                chosen = folder.config.backprop.variance
                say(f"variance {chosen}; ψ on validation images: {each}")
            _conclude(folder, result, draw_run(folder, dataset))
        if as_json:
            last = [record.model_dump() for record in result.history[-len(result.networks) :]]
            print_json({"run": str(out), "status": result.status, "last_epoch": last})
        if result.status == "interrupted":
            raise KeyboardInterrupt


def _toml(value: Any) -> str:
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)
    return str(value)


def _introduce(about: dict[str, Any], description: str) -> None:
    name, images = about["data"]["name"], about["data"]["images"]
    trials = "" if len(about["seeds"]) == 1 else f", {len(about['seeds'])} trials"
    say(
        f"[bold]{name}[/]: {images['train']:,} images to learn from, "
        f"{images['validation']:,} for validation, {images['test']:,} for testing",
        f"[bold]{about['model']}[/]: {description}{trials}",
    )


def _conclude(folder: Any, result: Any, figures: list[Path]) -> None:
    from gncn.cli.progress import ERRORS

    kept = result.epochs_kept[-1]
    last = next(r for r in reversed(result.history) if r.epoch == kept)
    name, unit, _ = ERRORS[last.error_name]
    layers = [f"ρ{i}" for i in range(1, len(last.test.sparsity) + 1)]
    headings = (f"{name} ({unit.strip() or 'sum'})", "ψ (nats)", *layers)
    table = new_table(f"after epoch {last.epoch}", ("",), headings)
    for split in ("train", "validation", "test"):
        record = getattr(last, split)
        shares = (f"{share:.3f}" for share in record.sparsity)
        table.add_row(split, f"{record.error:.2f}", f"{record.discrepancy:.1f}", *shares)
    console.print(table)
    if layers:
        say("ρ is the share of active neurons in a layer.")
    say("Figures:", *(f"  {figure}" for figure in figures))
    commands = {"gncn": ("reconstruct", "settle"), "dsrn": ("compare",), "gmm": ("evaluate",)}
    following = commands.get(folder.config.model, ("reconstruct", "evaluate"))
    say("Next: " + " or ".join(f"[bold]gncn {one} {folder.path}[/]" for one in following))

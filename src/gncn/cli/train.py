"""``gncn train``: train networks and write a run folder with figures."""

import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from gncn.base.errors import ConfigError
from gncn.base.screen import console, say, styled
from gncn.cli import options
from gncn.cli.options import DataDirOption, JsonOption, new_table, print_json, print_table
from gncn.runs.toml import packaged_names
from gncn.training.kinds import MODEL_KINDS

_PRESETS = [name for name in packaged_names("runs/presets") if name not in MODEL_KINDS]
"""Names of the presets of networks."""
_SMALL = 200
"""Pixels of an image for which MNIST's network is far too large."""


def train(
    out: Annotated[
        Path | None, Option(help="Run folder to make.", metavar="RUN", parser=options.place)
    ] = None,
    resume: Annotated[
        Path | None,
        Option(
            help="Go on with the training that this run folder holds, from its last checkpoint. "
            "Only --epochs, --set training.evaluation_batch_size, --data-dir and the options of "
            "checkpoints may be given with it.",
            metavar="RUN",
            parser=options.place,
        ),
    ] = None,
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
            help=f"Settings to start from: {', '.join(f'`{name}`' for name in _PRESETS)}, or a "
            "baseline's name. Default: the baseline's, or `mnist`, unless --config is given."
        ),
    ] = None,
    config: Annotated[Path | None, Option(help="TOML file of settings.", **options.PATH)] = None,
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
        Option(
            help="Data set, or your own: a .npy, .npz, .csv or .parquet file, or a folder of PNG "
            "or JPEG files (`data.name`); see `gncn data list`. Tables need polars, pandas or "
            "pyarrow."
        ),
    ] = None,
    data_dir: DataDirOption = None,
    epochs: Annotated[int | None, Option(help="Epochs (`training.n_epochs`).", min=1)] = None,
    batch_size: Annotated[
        int | None, Option(help="Images in a mini-batch (`training.batch_size`).", min=1)
    ] = None,
    train_on: Annotated[
        str | None,
        Option(
            help="`train`, or `both`: learn from validation images, too, once settings have been "
            "chosen without them (`training.train_on`)."
        ),
    ] = None,
    seed: Annotated[int | None, Option(help="Seed of the first trial.", min=0)] = None,
    trials: Annotated[
        int | None, Option(help="Networks trained at once, with seeds one apart.", min=1)
    ] = None,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Replace the run that the folder holds.")
    ] = False,
    checkpoint_batches: Annotated[
        int | None,
        Option(help="Write a checkpoint every so many mini-batches, too, not only every epoch."),
    ] = None,
    checkpoint_seconds: Annotated[
        float | None, Option(help="Write one every so many seconds, too.")
    ] = None,
    log: Annotated[
        list[str] | None,
        Option(
            help="Log every epoch, too: to `csv` or `jsonl` (a file in the run folder), "
            "`tensorboard` (a folder in it), `trackio` or `wandb`; may be repeated."
        ),
    ] = None,
    wait: options.WaitOption = False,
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

    Ctrl-C, SIGTERM and SIGHUP end the run; the last whole epoch is kept. A run that ended early,
    killed or not, goes on from its last checkpoint and ends as if it had not:

    `gncn train --resume runs/mnist`

    `gncn train --resume runs/mnist --epochs 30`
    """
    from gncn.base.locks import alone
    from gncn.runs.folder import RunFolder
    from gncn.runs.replacing import refuse_taken
    from gncn.runs.train import check_loggers, loggers
    from gncn.training.checkpoints import Checkpoints

    named = {
        "model": model,
        "data.name": data,
        "data.data_dir": data_dir,
        "training.n_epochs": epochs,
        "training.batch_size": batch_size,
        "training.train_on": train_on,
        "seed": seed,
        "n_trials": trials,
    }
    settings = [f"{name}={_toml(value)}" for name, value in named.items() if value is not None]
    often = checkpoint_batches, checkpoint_seconds
    if (out is None) == (resume is None):
        raise ConfigError(
            "Give --out RUN to begin a run, or --resume RUN to go on with one; received "
            f"{'neither' if out is None else 'both'}."
        )
    Checkpoints(out or resume or "", *often)  # refuses bad numbers before a run is touched
    if resume is not None:
        given = {"--preset": preset, "--config": config, "--overwrite": overwrite or None}
        given["--log"] = log or None
        if idle := [name for name, value in given.items() if value is not None]:
            raise options.no_effect(idle, "with --resume: the run has its own settings")
        before = RunFolder.open(resume)
        loggers(before)  # refuses what lacks its package before a run is touched
        with alone(resume, "training", wait=wait):
            # The place of the data may differ on this machine, but the run's other settings stay.
            changes = [one for one in settings if not one.startswith("data.data_dir=")]
            dataset = before.data(data_dir)
            _train(
                lambda: RunFolder.resume(resume, [*(overrides or ()), *changes]),
                dataset,
                often,
                as_json,
            )
        return
    assert out is not None
    check_loggers(log or ())
    resolved = _resolve(model, preset, config, [*(overrides or ()), *settings])
    dataset = resolved.data.load()
    resolved.describe(dataset)  # refuses what doesn't go together before a folder is made
    n_pixels = dataset.n_pixels
    own = any(one.startswith("network.") for one in overrides or ()) or preset or config
    if not own and resolved.model == "gncn" and n_pixels <= _SMALL:
        say(
            f"Images of {n_pixels} pixels, and without --preset the network of MNIST. The network "
            "of --preset digits is for small images."
        )
    if wait and not overwrite:  # it would be refused after hours, too
        refuse_taken(out)
    with alone(out, "training", wait=wait):
        _train(
            lambda: (
                RunFolder.create(out, resolved, dataset, overwrite=overwrite, log=log or ()),
                resolved,
            ),
            dataset,
            often,
            as_json,
        )


def _resolve(
    model: str | None, preset: str | None, config: Path | None, overrides: list[str]
) -> Any:
    from gncn.base.errors import unknown_choice
    from gncn.runs.config import load_config

    if model is not None and model not in MODEL_KINDS:
        raise unknown_choice("model", model, MODEL_KINDS)
    if preset is None and config is None:
        # A baseline's preset has its name.
        preset = "mnist" if model in (None, "gncn") else model
    return load_config(preset=preset, file=config, overrides=overrides)


def _train(
    begin: Callable[[], tuple[Any, Any]],
    data: Any,
    often: tuple[int | None, float | None],
    as_json: bool,
) -> None:
    """Train in the folder, and by the configuration, that `begin` gives."""
    from gncn.base.interrupts import interrupts_held, last_words
    from gncn.runs.drawing import draw_run
    from gncn.runs.train import loggers, train_run
    from gncn.training.bar import ProgressBar
    from gncn.training.progress import Interrupted

    with ExitStack() as stack:
        # No Ctrl-C between the folder and the words that say what it holds.
        with interrupts_held():
            folder, config = begin()
            stack.enter_context(last_words(folder.interrupt))
        _introduce(folder.about, config.describe(data))
        if "resumed" in folder.about:
            say(f"goes on after epoch {folder.epoch} of {config.training.n_epochs}")
        every_batches, every_seconds = often
        stop: Interrupted | None = None
        with ProgressBar(console) as bar:
            try:
                result = train_run(
                    folder,
                    config,
                    data,
                    callbacks=[bar, *loggers(folder)],
                    every_batches=every_batches,
                    every_seconds=every_seconds,
                )
            except Interrupted as caught:  # what there is, is shown as ever
                result, stop = caught.fit, caught
        if result.history:
            # Only runs that chose among several variances have these.
            if tried := folder.about.get("validation_psi_of_variances"):
                each = ", ".join(f"{psi:.2f} with {variance}" for variance, psi in tried.items())
                chosen = folder.config.backprop.variance
                say(f"variance {chosen}; ψ on validation images: {each}")
            _conclude(folder, result, draw_run(folder, data), as_json)
        if as_json:
            last = [record.model_dump() for record in result.history[-len(result.networks) :]]
            kept = [record.model_dump() for record in result.kept]
            told = {"run": str(folder.path), "status": result.status, "last_epoch": last}
            print_json(told | {"epochs_kept": result.epochs_kept, "kept": kept})
        # After its results are shown, Ctrl-C ends the command as it would have.
        if stop is not None:
            raise stop


def _toml(value: Any) -> str:
    if isinstance(value, str | Path):
        # JSON's strings are TOML's.
        return json.dumps(str(value), ensure_ascii=False)
    return str(value)


def _introduce(about: dict[str, Any], description: str) -> None:
    name, images = about["data"]["name"], about["data"]["images"]
    trials = "" if len(about["seeds"]) == 1 else f", {len(about['seeds'])} trials"
    if about.get("train_on") == "both":
        both = images["train"] + images["validation"]
        parts = f"{both:,} images to learn from, validation images included, "
    else:
        parts = (
            f"{images['train']:,} images to learn from, {images['validation']:,} for validation, "
        )
    say(
        styled((name, "bold"), f": {parts}{images['test']:,} for testing"),
        styled((about["model"], "bold"), f": {description}{trials}"),
    )


def _conclude(folder: Any, result: Any, figures: list[Path], as_json: bool) -> None:
    from gncn.study.paper import over_trials
    from gncn.training.bar import ERRORS

    records, n_trials = result.kept, len(result.networks)
    name, unit, _ = ERRORS[records[0].error_name]
    layers = [f"ρ{i}" for i in range(1, len(records[0].train.sparsity) + 1)]
    headings = (f"{name} ({unit.strip() or 'sum'})", "ψ (nats)", *layers)
    epochs = sorted({record.epoch for record in records})
    after = f"epoch {epochs[0]}" if len(epochs) == 1 else f"epochs {epochs[0]} to {epochs[-1]}"
    over = f", mean ± sd over {n_trials} trials" if n_trials > 1 else ""
    n_done = result.history[-1].epoch
    best = f", the best of {n_done}" if epochs != [n_done] else ""
    table = new_table(f"after {after}{best}{over}", ("split",), headings)

    def cell(values: Iterable[float], decimals: int) -> str:
        found = over_trials(values)
        assert found is not None
        spread = "" if found.deviation is None else f" ± {found.deviation:.{decimals}f}"
        return f"{found.mean:.{decimals}f}{spread}"

    for split in ("train", "validation", "test"):
        of_trials = [getattr(record, split) for record in records]
        if None in of_trials:  # it was learned from
            continue
        shares = zip(*(one.sparsity for one in of_trials), strict=True)
        error = cell((one.error for one in of_trials), 2)
        psi = cell((one.discrepancy for one in of_trials), 1)
        table.add_row(split, error, psi, *(cell(share, 3) for share in shares))
    if as_json:  # which is the result, then
        # Standard output is for the JSON alone.
        console.print(table)
    else:
        print_table(table)
    plan = folder.config.training
    idle = n_done - max(result.epochs_kept)
    if result.status == "finished" and plan.patience is not None and plan.patience <= idle:
        say(
            f"Training stopped after epoch {n_done} of {plan.n_epochs}: no trial improved on the "
            f"validation images in the last {idle} (training.patience)."
        )
    if layers:
        say("ρ is the share of active neurons in a layer.")
    model = folder.config.model
    if model != "gmm":
        drawn = ", with codes drawn at random" if model in ("gvae", "gvae-cv", "gan-ae") else ""
        say(
            f"train: a mean over the epoch, while the model still learned{drawn}; others: after it."
        )
    which = " (of trial 0; learning-curve of all)" if n_trials > 1 else ""
    say(f"Figures{which}:", *(f"  {figure}" for figure in figures))
    commands = {"gncn": ("reconstruct", "settle"), "dsrn": ("compare",), "gmm": ("evaluate",)}
    following = commands.get(model, ("reconstruct", "evaluate"))
    either = [(f"gncn {one} {folder.path}", "bold") for one in following]
    say(styled("Next: ", *[part for one in either for part in (" or ", one)][1:]))

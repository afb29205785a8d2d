"""``gncn reconstruct``: draw images and their reconstructions."""

from typing import Annotated

import typer

from gncn.cli import options


def reconstruct(
    run: options.RunArgument,
    split: options.SplitOption = "test",
    n: Annotated[int, typer.Option("--n", help="Draw the first N images.", min=1)] = 20,
    trial: options.TrialOption = 0,
    data_dir: options.DataDirOption = None,
    out: options.FigureOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Draw images above their reconstructions by a trained network or autoencoder.

    A network settles on each image; an autoencoder encodes and decodes it. The printed error is
    the mean over all images of the split; the picture shows the first N.

    **Example:** `gncn reconstruct runs/mnist --split test --n 30`
    """
    from gncn.base.errors import RunError
    from gncn.baselines.autoencoder import Autoencoder
    from gncn.core.network import Network
    from gncn.figures.network import ERROR_LABELS
    from gncn.runs.drawing import draw_reconstruction_figure
    from gncn.runs.folder import RunFolder
    from gncn.runs.statistics import choose_split, mean_statistics

    folder = RunFolder.open(run)
    model, data = folder.model(trial), folder.data(data_dir)
    if not isinstance(model, Network | Autoencoder):
        raise RunError(f"{run} holds a {folder.config.model!r}, which reconstructs nothing.")
    chosen = choose_split(data, split)
    record = mean_statistics(model, chosen, folder.config)
    path = out or folder.figure(f"reconstructions-{split}")
    path = draw_reconstruction_figure(path, model, chosen.images[:n], data)
    if as_json:
        shown = {"split": split, "n_images": len(chosen), **record.model_dump(), "figure": path}
        options.print_json(shown)
        return
    name = ERROR_LABELS[folder.history[0].error_name]
    sparsity = " / ".join(f"{share:.3f}" for share in record.sparsity)
    options.say(
        f"{len(chosen):,} {split} images: {name} {record.error:.2f}",
        f"active neurons, layers 1 to {len(record.sparsity)}: {sparsity}",
        f"figure: {path}",
    )

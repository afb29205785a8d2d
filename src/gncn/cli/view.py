"""``gncn reconstruct`` and ``gncn settle``: a trained model's pictures of images."""

from typing import Annotated

import numpy as np
from typer import Option

from gncn.cli import options


def reconstruct(
    run: options.RunArgument,
    split: options.SplitOption = "test",
    n: Annotated[int, Option("--n", help="Draw the first N images.", min=1, max=1000)] = 20,
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
    from gncn.runs.assess import choose_split, mean_statistics
    from gncn.runs.drawing import draw_reconstruction_figure
    from gncn.runs.folder import RunFolder

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


def settle(
    run: options.RunArgument,
    index: Annotated[int, Option(help="Which image of the split, from 0.", min=0)] = 0,
    split: options.SplitOption = "test",
    steps: Annotated[
        int | None, Option(help="Settling steps T. Default: the network's.", min=1)
    ] = None,
    tolerance: Annotated[
        float | None,
        Option(
            help="Stop when the states' change per unit of settling time falls below this. "
            "Default: the network's."
        ),
    ] = None,
    trial: options.TrialOption = 0,
    data_dir: options.DataDirOption = None,
    out: options.FigureOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Watch a trained network settle on one image: ψ, its terms and the states after each step.

    **Examples**

    `gncn settle runs/mnist --index 7`

    `gncn settle runs/mnist --index 7 --steps 500 --tolerance 0.001`
    """
    from gncn.base.errors import ConfigError
    from gncn.core.settling import watch
    from gncn.runs.assess import choose_split
    from gncn.runs.drawing import draw_watched
    from gncn.runs.folder import RunFolder

    folder = RunFolder.open(run)
    network, data = folder.network(trial), folder.data(data_dir)
    chosen = choose_split(data, split)
    if index >= len(chosen):
        raise ConfigError(
            f"--index must be from 0 to {len(chosen) - 1}, the images of {split!r}; received "
            f"{index}."
        )
    image = chosen.images[index]
    settled, trajectory = watch(
        network, image[None], n_settle_steps=steps, tolerance=tolerance, keep_latents=True
    )
    path = out or folder.figure(f"settling-{split}-{index}")
    path = draw_watched(path, network, image, trajectory, data)
    psi = np.asarray(trajectory.discrepancy.layers)[:, 0]
    change = np.asarray(trajectory.change)[:, 0].max(axis=1)
    taken = int(settled.n_steps[0])
    converged = None if settled.converged is None else bool(settled.converged[0])
    if as_json:
        found = {"image": {"split": split, "index": index}, "n_steps": taken}
        found |= {"converged": converged, "discrepancy": psi.sum(1), "layer_discrepancy": psi}
        options.print_json(found | {"change": change, "figure": path})
        return
    layers = (f"ψ, layer {i}" for i in range(psi.shape[1]))
    headings = ("step", "ψ", *layers, "largest change")
    table = options.new_table(f"{split} image {index}", (), headings)
    for step in np.unique(np.round(np.linspace(0, taken, 12)).astype(int)):
        values = (psi[step].sum(), *psi[step])
        table.add_row(str(step), *(f"{value:.2f}" for value in values), f"{change[step]:.2e}")
    options.console.print(table)
    if converged is not None:
        used = network.settler.tolerance if tolerance is None else tolerance
        rest = "came to rest" if converged else "did not come to rest; raise --steps"
        options.say(f"after {taken} steps the states {rest} (tolerance {used})")
    options.say(f"figure: {path}")

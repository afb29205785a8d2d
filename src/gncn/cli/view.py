"""``gncn reconstruct`` and ``gncn settle``: a trained model's pictures of images."""

from typing import Annotated, Any

import numpy as np
from typer import Option

from gncn.base.screen import say
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
    folder.refuse_learned_from(split)
    model, data = folder.model(trial), folder.data(data_dir)
    options.say_if_unfinished(folder)
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
    say(
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
    animate: Annotated[
        bool,
        Option("--animate", help="Draw moving pictures, too: a GIF and an HTML page."),
    ] = False,
    trial: options.TrialOption = 0,
    data_dir: options.DataDirOption = None,
    out: options.FigureOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Watch a trained network settle on one image: ψ, its terms and the states after each step.

    **Examples**

    `gncn settle runs/mnist --index 7`

    `gncn settle runs/mnist --index 7 --animate`

    `gncn train --preset mnist-rest --out runs/rest`

    `gncn settle runs/rest --index 7 --steps 1000 --tolerance 0.005`

    The last one settles until the states rest. States of most presets don't: self-excitation
    outweighs the leak there, so states grow beyond the number of steps that the network learned
    with.
    """
    from gncn.base.arrays import NO_CLASS
    from gncn.base.errors import ConfigError
    from gncn.core.settling import watch
    from gncn.core.states import grows
    from gncn.figures.animation import FORMS
    from gncn.runs.assess import choose_split
    from gncn.runs.drawing import draw_watched
    from gncn.runs.folder import RunFolder

    folder = RunFolder.open(run)
    network, data = folder.network(trial), folder.data(data_dir)
    options.say_if_unfinished(folder)
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
    label = NO_CLASS if chosen.labels is None else chosen.labels[index]
    what = "" if label == NO_CLASS else f", class {label}"
    title = f"{data.name}, {split} image {index}{what}"
    moving = [path.with_suffix(form) for form in FORMS] if animate else []
    path = draw_watched(path, network, image, trajectory, data, title, moving)
    psi = np.asarray(trajectory.discrepancy.layers)[:, 0]
    # Of the layer that moves most.
    change = np.asarray(trajectory.change)[:, 0].max(axis=1)
    taken = int(settled.n_steps[0])
    converged = None if settled.converged is None else bool(settled.converged[0])
    if as_json:
        found = {"image": {"split": split, "index": index}, "n_steps": taken}
        found |= {"converged": converged, "grows": grows(psi.sum(1), change)}
        found |= {"discrepancy": psi.sum(1), "layer_discrepancy": psi}
        options.print_json(found | {"change": change, "figure": path, "moving": moving})
        return
    layers = (f"ψ, layer {i}" for i in range(psi.shape[1]))
    headings = ("step", "ψ", *layers, "largest change")
    table = options.new_table(title, (), headings)
    for step in np.unique(np.round(np.linspace(0, taken, 12)).astype(int)):
        values = (psi[step].sum(), *psi[step])
        table.add_row(str(step), *(f"{value:.2f}" for value in values), f"{change[step]:.2e}")
    options.print_table(table)
    if grows(psi.sum(1), change):
        say(_warn_of_growth(network, psi.sum(1)))
    elif converged is not None:
        # The tolerance that counted, given or the network's.
        used = network.settler.tolerance if tolerance is None else tolerance
        rest = "came to rest" if converged else "did not come to rest; raise --steps"
        say(f"after {taken} steps the states {rest} (tolerance {used})")
    say(*(f"figure: {one}" for one in (path, *moving)))


def _warn_of_growth(network: Any, psi: Any) -> str:
    """A warning about states that grow without bound, with advice."""
    best, last = int(np.nanargmax(psi)), len(psi) - 1
    what = (
        f"The states grow without bound: ψ rose to {psi[best]:.1f} at step {best} and fell to "
        f"{psi[last]:.4g} at step {last}, while they moved ever faster."
    )
    for number, layer in enumerate(network.layers[1:], start=1):
        # Competing states go below 0, and what inhibits a rival then excites it.
        rivals = layer.lateral_inhibition if layer.competing == "state" else 0.0
        excitation, leak = float(layer.self_excitation + rivals), float(layer.leak)
        if layer.layer.competes and excitation > leak:
            return (
                f"{what} In layer {number} excitation ({excitation:g}) outweighs the leak "
                f"({leak:g}), so the number of steps is a part of the model: settle for the "
                f"{network.settler.n_settle_steps} that it learned with. A network that comes to "
                f"rest is trained with settling.leak above {excitation:g}, as the preset "
                "mnist-rest has it for MNIST."
            )
    return f"{what} Smaller steps may help: train with a smaller settling.step_size."

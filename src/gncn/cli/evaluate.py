"""``gncn evaluate``: measure a trained network, honestly."""

from typing import Annotated, Any

import typer
from rich.table import Table

from gncn.cli.options import (
    DataDirOption,
    JsonOption,
    RunArgument,
    TrialOption,
    console,
    print_json,
)


def evaluate(
    run: RunArgument,
    split: Annotated[
        str,
        typer.Option(help="Images to report on: `validation` while choosing, `test` once."),
    ] = "validation",
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure only this; may be repeated. One of: `likelihood`, `tight`, `samples`, "
            "`completion`, `yardsticks`, `probe`, `sparsity`, `embedding`. Default: all.",
            show_default=False,
        ),
    ] = None,
    components: Annotated[
        list[int] | None,
        typer.Option(
            help="Components K of the mixture prior; of several, validation chooses. Default: 65.",
            show_default=False,
        ),
    ] = None,
    covariance: Annotated[
        str, typer.Option(help="Of the mixture: `full`, `tied`, `diagonal`, `spherical`.")
    ] = "full",
    samples: Annotated[int, typer.Option(help="Prior samples S for log p(x).", min=1)] = 5000,
    missing: Annotated[
        str,
        typer.Option(
            help="Pixels to complete: the `right`, `left`, `top` or `bottom` half, `random`, or a "
            ".npy file of booleans, true where visible."
        ),
    ] = "right",
    probe_layer: Annotated[
        list[int] | None,
        typer.Option(
            help="Latent layer to probe, from 1; may be repeated. Default: the top one.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is random here.", min=0)] = 0,
    trial: TrialOption = 0,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Drop what was measured before with another seed or settings."
        ),
    ] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a trained model: likelihood, samples, completion, probe, sparsity, codes.

    Writes `metrics-SPLIT.json` and figures to the run folder, the prior beside the network,
    and prints a table. What was measured before with the same settings is added to. Choose
    settings by `validation`; look at `test` once.

    **Examples**

    `gncn evaluate runs/mnist`

    `gncn evaluate runs/mnist --split test --only likelihood --only probe`

    `gncn evaluate runs/mnist --only probe --probe-layer 1 --probe-layer 2 --probe-layer 3`
    """
    from gncn.runs.assess import Choices, assess
    from gncn.runs.folder import RunFolder

    folder = RunFolder.open(run)
    choices = Choices(
        only=tuple(only) if only else None,
        n_components=tuple(components or [65]),
        covariance=covariance,
        n_samples=samples,
        missing=missing,
        probe_layers=tuple(probe_layer or ()),
    )
    data = folder.data(data_dir)
    with console.status("measuring") as status:
        stages: list[str] = []

        def report(what: str) -> None:
            status.update(what)
            stage = what.partition(":")[0]
            if not console.is_terminal and stage not in stages:
                stages.append(stage)
                console.print(stage, highlight=False)

        metrics, figures = assess(
            folder,
            data,
            split=split,
            choices=choices,
            seed=seed,
            trial=trial,
            replace=replace,
            report=report,
        )
    if as_json:
        print_json(metrics)
        return
    _show(metrics)
    console.print("Figures:")
    for figure in figures:
        console.print(f"  {figure}", highlight=False, soft_wrap=True)


def _show(metrics: dict[str, Any]) -> None:
    table = Table(title=f"{metrics['n_images']:,} {metrics['split']} images", title_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("", style="dim")
    for name, value, remark in _rows(metrics):
        table.add_row(name, value, remark)
    console.print(table)
    for name in ("likelihood", "tight"):
        if name in metrics:
            console.print(metrics[name]["note"], style="dim", highlight=False)


def _rows(metrics: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    if "bce" in metrics:
        rows.append(("reconstruction BCE", f"{metrics['bce']:.2f} nats", ""))
    if found := metrics.get("likelihood"):
        name = f"log p(x), S = {found['n_samples']:,}"
        spread = found["spread_over_prior_draws"]
        error = f"± {found['standard_error']:.2f} over images"
        remark = error if spread is None else f"{error}, ± {spread:.2f} over prior draws"
        rows.append((name, f"{found['mean']:.2f} nats", remark))
        curve = found["curve"]
        last = f"log p(x), S = {curve['n_samples'][-1]:,}"
        rows.append((last, f"{curve['mean'][-1]:.2f} nats", "a tighter bound"))
        remark = "adds 2 log S; for comparison with published numbers only"
        rows.append(("in the paper's convention", f"{found['paper_convention']:.2f}", remark))
    other_priors = {
        "likelihood_own_prior": "with the prior that the model was trained with",
        "likelihood_training_codes": "with the codes of training images as the prior",
    }
    for key, remark in other_priors.items():
        if found := metrics.get(key):
            name = f"log p(x), S = {found['n_samples']:,}"
            rows.append((name, f"{found['mean']:.2f} nats", remark))
    if found := metrics.get("tight"):
        check, weighed = found["simulated_images"], found["importance_sampling"]
        same = f"{found['n_images']} images; S = 5000 says {found['same_images_at_S_5000']:.2f}"
        remark = f"{same}; gap on simulated ones {check['gap']:.2f}"
        rows.append(("log p(x), annealed", f"{found['mean']:.2f} nats", remark))
        size, n = weighed["effective_sample_size"], weighed["n_samples"]
        remark = f"the same images; {size:.0f} effective samples of {n}"
        rows.append(("log p(x), importance", f"{weighed['mean']:.2f} nats", remark))
    if found := metrics.get("completion"):
        for way, score in found["ways"].items():
            rows.append((f"M-MSE, {way}", f"{score['m_mse']:.2f}", f"{found['missing']} missing"))
    if found := metrics.get("yardsticks"):
        for name, score in found["m_mse"].items():
            rows.append((f"M-MSE, {name.replace('_', ' ')}", f"{score['m_mse']:.2f}", "yardstick"))
    for found in metrics.get("probe", []):
        for name, symbol in (("z", "z"), ("phi", "φ(z)")):
            remark = f"layer {found['layer']}, linear"
            rows.append((f"probe on {symbol}", f"{found[name]['error_percent']:.2f} %", remark))
    for layer in metrics.get("sparsity", []):
        remark = f"Hoyer {layer['hoyer']:.2f}, Gini {layer['gini']:.2f} of φ(z)"
        rows.append((f"active, layer {layer['layer']}", f"{layer['active']:.3f}", remark))
    return rows

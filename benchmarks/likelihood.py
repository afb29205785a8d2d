"""Which model has the best log p(x), by S, by prior and by estimator: docs/likelihood.md.

Run with ``python -m benchmarks.likelihood``; seconds.  Its tables and figure are made from the
records of ``gncn reproduce paper``.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.document import put
from gncn.figures.style import COLOURS, new_figure, save_figure, style
from gncn.study.rows import number

RECORDS = Path("results/paper")
DATA = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "caltech-16": "CalTech Silhouettes"}
MODELS = {"gncn": "GNCN", "gvae": "GVAE", "gvae-cv": "GVAE-CV", "gan-ae": "GAN-AE", "rae": "RAE"}

Numbers = list[dict[str, Any]]
"""All that was measured of a model, trial by trial."""


def measured(data: str, model: str, records: Path = RECORDS) -> Numbers:
    """The numbers of all trials of a model on a data set."""
    paths = sorted((records / data).glob(f"{model}-[0-9]*.json"))
    return [json.loads(path.read_text(encoding="utf-8"))["metrics"] for path in paths]


def over_samples(trials: Numbers, key: str = "likelihood") -> dict[int, float]:
    """Log p(x) in nats for each S of the curve, mean over trials."""
    curves = [one[key]["curve"] for one in trials]
    sizes = curves[0]["n_samples"]
    return dict(zip(sizes, np.mean([one["mean"] for one in curves], axis=0).tolist(), strict=True))


def mean_of(trials: Numbers, key: str) -> float | None:
    """Mean over trials of a log p(x), where it was measured."""
    found = [one[key]["mean"] for one in trials if key in one]
    return float(np.mean(found)) if found else None


def rows(data: str) -> dict[str, dict[str, float | None]]:
    """Estimates of log p(x) of all test images, by model and by what they depend on."""
    found: dict[str, dict[str, float | None]] = {}
    for model in MODELS:
        trials = measured(data, model)
        codes = over_samples(trials, "likelihood_training_codes")
        found[model] = {
            **{f"S = {size:,}": value for size, value in over_samples(trials).items()},
            "own prior, S = 5,000": mean_of(trials, "likelihood_own_prior"),
            **{f"training codes, S = {size:,}": codes[size] for size in (5000, 25_000)},
        }
    return found


def markdown(found: dict[str, dict[str, float | None]]) -> str:
    """The estimates as a table, the best of each column bold."""
    columns = list(next(iter(found.values())))
    best = {
        column: max(value for one in found.values() if (value := one[column]) is not None)
        for column in columns
    }
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for model, values in found.items():
        cells = []
        for column, value in values.items():
            text = "–" if value is None else number(value, 1)
            cells.append(f"**{text}**" if value == best[column] else text)
        lines.append(f"| {MODELS[model]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def tight(data: str) -> dict[str, dict[str, Any]]:
    """What the first trial of each model has of annealing, by model."""
    return {model: measured(data, model)[0]["tight"] for model in MODELS}


def tight_markdown(found: dict[str, dict[str, Any]]) -> str:
    """Annealed estimates as a table, each with its gap; nothing is bold."""
    first = next(iter(found.values()))
    gap = f"gap, {first['simulated_images']['n']} simulated images"
    lines = [
        f"| {first['n_images']} images | S = 5,000 | annealed | {gap} |",
        "|---|---|---|---|",
    ]
    for model, one in found.items():
        estimate = f"{number(one['mean'], 1)} ± {number(one['standard_error'], 1)}"
        gap = number(one["simulated_images"]["gap"], 1)
        same = number(one["same_images_at_S_5000"], 1)
        lines.append(f"| {MODELS[model]} | {same} | {estimate} | {gap} |")
    return "\n".join(lines) + "\n"


def draw(path: Path) -> None:
    """Draw log p(x) over S, one panel for each data set."""
    figure = new_figure(11, 3.6)
    panels = figure.subplots(1, len(DATA), squeeze=False)[0]
    for axes, (data, title) in zip(panels, DATA.items(), strict=True):
        for colour, (model, name) in zip(COLOURS, MODELS.items(), strict=False):
            curve = over_samples(measured(data, model))
            axes.plot([*curve], [*curve.values()], color=colour, marker="o", ms=3, label=name)
        axes.set_xscale("log")
        style(axes, title=title, x="S, samples from the prior", y="log p(x), nats")
    panels[0].legend(fontsize=8, frameon=False)
    save_figure(figure, path)


def main() -> None:
    """Write the tables and the figure of docs/likelihood.md."""
    document = Path("docs/likelihood.md")
    for data in DATA:
        put(document, f"likelihood-{data}", markdown(rows(data)))
        put(document, f"tight-{data}", tight_markdown(tight(data)))
    draw(Path("docs/figures/likelihood-over-s.png"))


if __name__ == "__main__":
    main()

"""Which model has the best log p(x), by S, by prior and by estimator: docs/likelihood.md.

Run with ``python -m benchmarks.likelihood``; seconds.  Its tables and figure are made from the
records of ``gncn reproduce results/fair.toml``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.document import put
from benchmarks.searched import TITLES
from gncn.figures.style import COLOURS, new_figure, save_figure, style
from gncn.study.paired import ANNEALED, paired_differences
from gncn.study.rows import number

RECORDS = Path("results/fair")
DATA = {"caltech-16": "CalTech Silhouettes"}
MODELS = ("gncn", "gncn-paper", "gvae", "gvae-cv", "gan-ae", "rae")
OURS = MODELS[:2]

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
            **{f"training codes, S = {size:,}": codes[size] for size in (5000, 100_000)},
        }
    return found


def shares(data: str) -> dict[str, dict[str, float]]:
    """Log p(x) of validation images, S = 5,000, by model and by the share that widens its prior.

    The share is of the codes' variance; means over trials, priors widened but not fitted again.
    """
    found = {}
    for model in MODELS:
        tried = [one["prior"]["validation_log_likelihood"] for one in measured(data, model)]
        every = sorted(tried[0], key=float)
        found[model] = {share: float(np.mean([one[share] for one in tried])) for share in every}
    return found


def markdown(found: Mapping[str, Mapping[str, float | None]], decimals: int = 1) -> str:
    """Estimates as a table, a row for each model; the best of each column is bold."""
    columns = list(next(iter(found.values())))
    best = {
        column: max(value for one in found.values() if (value := one[column]) is not None)
        for column in columns
    }
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for model, values in found.items():
        cells = []
        for column, value in values.items():
            text = "–" if value is None else number(value, decimals)
            cells.append(f"**{text}**" if value == best[column] else text)
        lines.append(f"| {TITLES[model]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def chosen_markdown(found: Mapping[str, Mapping[str, float]]) -> str:
    """`shares` as a table; the best of each row is bold."""
    columns = list(next(iter(found.values())))
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for model, values in found.items():
        best = max(values.values())
        cells = [f"**{number(one)}**" if one == best else number(one) for one in values.values()]
        lines.append(f"| {TITLES[model]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def tight(data: str) -> dict[str, dict[str, Any]]:
    """What the first trial of each model has of annealing, by model."""
    return {model: measured(data, model)[0]["tight"] for model in MODELS}


def tight_markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Annealed estimates as a table, each with its gaps."""
    first = next(iter(found.values()))
    n, sizes = first["simulated_images"]["n"], first["from_prior_samples"]["n_samples"]
    headings = [
        f"{first['n_images']} images",
        *(f"S = {size:,}" for size in sizes[-3:]),
        "annealed",
        f"gap of {n} simulated images: median",
        "quartiles",
        "worst",
        "below 2 nats",
    ]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for model, one in found.items():
        gaps = one["simulated_images"]["gaps"]
        cells = [
            TITLES[model],
            *(number(mean, 1) for mean in one["from_prior_samples"]["mean"][-3:]),
            f"{number(one['mean'], 1)} ± {number(one['standard_error'], 1)}",
            number(gaps["median"]),
            f"{number(gaps['lower_quartile'])} to {number(gaps['upper_quartile'])}",
            number(gaps["worst"], 1),
            f"{number(100 * gaps['below_2_nats'], 0)} %",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def paired_markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Differences of the GNCNs' log p(x) from the others', on the images of `tight`."""
    names = ("S = 5,000", "S = 100,000", ANNEALED)
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for model in OURS:
        for other in (one for one in found if one not in OURS):
            _, differences = paired_differences(found[model], found[other])
            cells = [
                f"{number(one.mean)} ± {number(one.error)}, {one.verdict}"
                for one in (differences[name] for name in names)
            ]
            lines.append(f"| {TITLES[model]} − {TITLES[other]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(path: Path) -> None:
    """Draw log p(x) over S, one panel for each data set."""
    figure = new_figure(4 * len(DATA), 3.6)
    panels = figure.subplots(1, len(DATA), squeeze=False)[0]
    for axes, (data, title) in zip(panels, DATA.items(), strict=True):
        for colour, model in zip(COLOURS, MODELS, strict=False):
            curve = over_samples(measured(data, model))
            axes.plot(
                [*curve], [*curve.values()], color=colour, marker="o", ms=3, label=TITLES[model]
            )
        axes.set_xscale("log")
        style(axes, title=title, x="S, samples from the prior", y="log p(x), nats")
    panels[0].legend(fontsize=8, frameon=False)
    save_figure(figure, path)


def main() -> None:
    """Write the tables and the figure of docs/likelihood.md."""
    document = Path("docs/likelihood.md")
    for data in DATA:
        annealed = tight(data)
        put(document, f"likelihood-{data}", markdown(rows(data)))
        put(document, f"shares-{data}", chosen_markdown(shares(data)))
        put(document, f"tight-{data}", tight_markdown(annealed))
        put(document, f"paired-{data}", paired_markdown(annealed))
    draw(Path("docs/figures/likelihood-over-s.png"))


if __name__ == "__main__":
    main()

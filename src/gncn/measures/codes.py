"""`LinearProbe`, `Sparsity` and `CodeMap`: measures of a model's codes."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from gncn.base.arrays import NO_CLASS
from gncn.base.errors import ConfigError
from gncn.evaluation.codes import ACTIVE, Probe, ProbeScore, embed, fit_probe, sparsity
from gncn.evaluation.protocols import Codes
from gncn.measures.measure import Column, Measure, Numbers, Result, Row
from gncn.measures.subject import Subject

_SYMBOLS = {"z": "z", "phi": "φ(z)"}
_PERPLEXITY = 30.0


def _best(numbers: Numbers) -> dict[str, Any] | None:
    """The better of the topmost layer's two probes; None if there is no probe."""
    if not (probes := numbers.get("probe")):
        return None
    top = max(probes, key=lambda probe: probe["layer"])
    # Validation chose between z and φ(z), so the test error is not the lower of two test errors.
    return top[top["better_on_validation"]]


def _error(numbers: Numbers) -> Any:
    best = _best(numbers)
    return None if best is None else best["error_percent"]


class LinearProbe(Measure):
    """Error of a linear classifier on a layer's states z, and on its activities φ(z)."""

    probe_layer: tuple[int, ...] = Field(
        default=(), description="Latent layer to probe, from 1. Default: the top one."
    )

    needs_labels = True
    columns = (Column("error_percent", "Err (%)", _error, published="error_percent"),)

    def check(self, subject: Subject) -> None:
        for layer in self.probe_layer:
            if not 1 <= layer <= subject.n_layers:
                raise ConfigError(
                    f"A probe's layer must be from 1 to {subject.n_layers}; received {layer}."
                )

    def measure(self, subject: Subject) -> Result:
        layers = self.probe_layer or (subject.n_layers,)
        return Result({"probe": [probe_layer(subject, layer) for layer in layers]})

    def rows(self, numbers: Numbers) -> list[Row]:
        return [
            Row(
                f"probe on {symbol}, layer {found['layer']}",
                f"{found[name]['error_percent']:.2f} %",
                "a linear classifier",
            )
            for found in numbers.get("probe", [])
            for name, symbol in _SYMBOLS.items()
        ]

    def figure(self, result: Result, subject: Subject, folder: Path) -> Path | None:
        """Draw the confusion matrix, mistakes coloured, hits on white."""
        from gncn.figures.style import INK, new_figure, save_figure, style, write

        if (best := _best(result.numbers)) is None:
            return None
        confusion = np.array(best["confusion"])
        n = len(confusion)
        # Hits would outshine the mistakes, so they are left white.
        mistakes = confusion - np.diag(np.diag(confusion))
        side = max(4.0, 0.42 * n) if n <= 20 else 7.0
        figure = new_figure(side + 0.6, side)
        axes = figure.subplots()
        axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(int(mistakes.max()), 1))
        # Numbers in the cells of more classes would be too small to read.
        if n <= 20:
            axes.set_xticks(range(n))
            axes.set_yticks(range(n))
            for (row, column), count in np.ndenumerate(confusion):
                if count:
                    dark = mistakes[row, column] > 0.55 * mistakes.max()
                    colour = "#52606d" if row == column else "white" if dark else INK
                    write(axes, column, row, str(count), fontsize=7, color=colour)
        title = f"Linear probe: {best['error_percent']:.2f} % wrong"
        style(axes, title=title, x="predicted class", y="true class")
        axes.grid(visible=False)
        return save_figure(figure, folder / "confusion.png")


def probe_layer(subject: Subject, layer: int) -> dict[str, Any]:
    """Fit linear classifiers to the states and activities of a layer, from 1 to L; `probe_codes`.

    Raises:
        ConfigError: the images have no labels.
    """
    states = {name: layers[layer - 1] for name, layers in subject.states.items()}
    # φ of the stored states: nothing settles again.
    activities = {name: subject.model.activities(layer, z) for name, z in states.items()}
    results: dict[str, Any] = {"layer": layer}
    on_validation = {}
    for name, codes in (("z", states), ("phi", activities)):
        what = f"probe on {name}"
        subject.report(what)
        on_fit = subject.counting(what, "fits")
        probe, score = probe_codes(subject, codes, on_fit)
        results[name] = probe_numbers(probe, score) | {"confusion": score.confusion.tolist()}
        # Of the C that was chosen, so z and φ(z) compete at their best.
        on_validation[name] = min(probe.validation_error.values())
    return results | {"better_on_validation": min(on_validation, key=on_validation.__getitem__)}


def probe_codes(
    subject: Subject,
    codes: Mapping[str, Codes],
    on_fit: Callable[[int, int], None] | None = None,
) -> tuple[Probe, ProbeScore]:
    """Fit a linear classifier to codes of each split, by its name, and score it.

    Images without a class (-1) take no part.  If the model learned from validation images, too,
    so does the probe, once its regularisation has been chosen by training on the others.

    Raises:
        ConfigError: the images have no labels.
    """
    pairs = []
    # Training codes, validation codes, and the images to report on.
    for split in ("train", "validation", subject.split):
        labels = getattr(subject.data, split).labels
        if labels is None:
            raise ConfigError("A probe needs labels, and these data have none.")
        known = labels != NO_CLASS
        if not known.any():
            raise ConfigError("A probe needs labels, and all images of a split have none (-1).")
        pairs.append((codes[split][known], labels[known]))
    probe = fit_probe(*pairs[0], *pairs[1], on_fit=on_fit)
    if subject.both:  # of all labels, as regularised as validation images liked it best
        inputs, classes = map(np.concatenate, zip(*pairs[:2], strict=True))
        strength = (probe.regularisation,)
        last = fit_probe(inputs, classes, *pairs[1], regularisation=strength)
        probe = replace(last, validation_error=probe.validation_error)
    return probe, probe.score(*pairs[2])


def probe_numbers(probe: Probe, score: ProbeScore) -> dict[str, Any]:
    """A probe's error and how it was fitted, as numbers hold them."""
    return {
        "error_percent": score.error,
        "regularisation": probe.regularisation,
        "validation_error_percent": probe.validation_error,
        "converged": probe.converged,
    }


def _top_share(numbers: Numbers) -> Any:
    layers = numbers.get("sparsity")
    return layers[-1]["active"] if layers else None


class Sparsity(Measure):
    """Share of active and of silent neurons, and Hoyer's and Gini's measures of φ(z)."""

    columns = (Column("top_sparsity", "active in the top layer", _top_share, tabulated=False),)

    def measure(self, subject: Subject) -> Result:
        layers = []
        for index, states in enumerate(subject.states[subject.split], start=1):
            of_states = sparsity(states)
            sent = sparsity(subject.model.activities(index, states))
            layers.append(
                {
                    "layer": index,
                    "active": of_states.active,
                    "silent": of_states.silent,
                    "hoyer": sent.hoyer,
                    "gini": sent.gini,
                }
            )
        return Result({"sparsity": layers})

    def rows(self, numbers: Numbers) -> list[Row]:
        return [
            Row(
                f"active, layer {layer['layer']}",
                f"{layer['active']:.3f}",
                f"Hoyer {layer['hoyer']:.2f}, Gini {layer['gini']:.2f} of φ(z)",
            )
            for layer in numbers.get("sparsity", [])
        ]

    def figure(self, result: Result, subject: Subject, folder: Path) -> Path | None:
        """Draw the share of images that activate each neuron, the top layer above.

        Bars of a column of neurons stand side by side, busiest first.
        """
        from gncn.figures.style import COLOURS, new_figure, save_figure, style

        shares = [(states > ACTIVE).mean(axis=0) for states in subject.states[subject.split]]
        figure = new_figure(10, 1.9 * len(shares) + 0.6)
        rows = figure.subplots(len(shares), 1, squeeze=False)[::-1, 0]
        layers = enumerate(zip(rows, shares, subject.model.group_sizes(), strict=True), start=1)
        for layer, (axes, share, group) in layers:
            width = group or len(share)
            # A last, shorter column is filled up with NaN, which bars don't show.
            spare = -len(share) % width
            columns = np.pad(share, (0, spare), constant_values=np.nan).reshape(-1, width)
            # Within a column, whose neurons have no order of their own.
            ordered = -np.sort(-columns, axis=1).reshape(-1)
            # A gap of two bars after each column.
            centres = np.arange(len(ordered)) + 2 * (np.arange(len(ordered)) // width)
            axes.bar(centres, ordered, width=1.0, color=COLOURS[0], linewidth=0)
            axes.set_xlim(-2, centres[-1] + 2)
            axes.set_ylim(0, 1)
            axes.set_xticks([])
            kind = f"{len(columns)} columns of {group}" if group else f"{len(share)} neurons"
            title = f"layer {layer}: {kind}; {np.nanmean(share):.1%} active on average"
            style(axes, title=title, y="share of images")
        return save_figure(figure, folder / "activity.png")


class CodeMap(Measure):
    """Codes in the plane by t-SNE: a picture, no number."""

    def measure(self, subject: Subject) -> Result:
        subject.report("laying out codes by t-SNE")
        codes = subject.codes(subject.split)
        # t-SNE needs several times as many points as neighbours that count.
        perplexity = min(_PERPLEXITY, (len(codes) - 1) / 3)
        layout = embed(codes, perplexity=perplexity, seed=subject.seed)
        pictures = {"embedding": layout.positions}
        if (labels := subject.target.labels) is not None:
            pictures["embedding_labels"] = labels[layout.indices]
        return Result(pictures=pictures)

    def figure(self, result: Result, subject: Subject, folder: Path) -> Path | None:
        from gncn.figures.style import entitle, new_figure, save_figure, scatter_classes

        figure = new_figure(6.4, 5.6)
        axes = figure.subplots()
        shown = result.pictures
        scatter_classes(axes, shown["embedding"], shown.get("embedding_labels"))
        entitle(axes, "Top states of held-out images, t-SNE")
        return save_figure(figure, folder / "embedding.png")

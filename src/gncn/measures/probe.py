"""`LinearProbe`: the error of a linear classifier on a layer's states."""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from gncn.base.errors import ConfigError
from gncn.evaluation.probe import Probe, fit_probe
from gncn.measures.measure import Column, Measure, Numbers, Result, Row
from gncn.measures.subject import Subject

_SYMBOLS = {"z": "z", "phi": "φ(z)"}


def _error(numbers: Numbers) -> Any:
    """Error of the topmost layer's better probe, in %."""
    if not (probes := numbers.get("probe")):
        return None
    top = _topmost(probes)
    return top[top["better_on_validation"]]["error_percent"]


def _topmost(probes: list[dict[str, Any]]) -> dict[str, Any]:
    return max(probes, key=lambda probe: probe["layer"])


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
        return Result({"probe": [probe_layer(subject, layer)[0] for layer in layers]})

    def rows(self, numbers: Numbers) -> list[Row]:
        return [
            Row(
                f"probe on {symbol}",
                f"{found[name]['error_percent']:.2f} %",
                f"layer {found['layer']}, linear",
            )
            for found in numbers.get("probe", [])
            for name, symbol in _SYMBOLS.items()
        ]

    def figure(self, result: Result, subject: Subject, folder: Path) -> Path | None:
        from gncn.figures.evaluation import draw_confusion

        top = _topmost(result.numbers["probe"])
        best = top[top["better_on_validation"]]
        path = folder / "confusion.png"
        return draw_confusion(path, np.array(best["confusion"]), best["error_percent"])


def probe_layer(subject: Subject, layer: int) -> tuple[dict[str, Any], Probe]:
    """Fit linear classifiers to the states and activities of a layer, from 1 to L.

    Returns:
        The numbers, and the classifier with the lower validation error.

    Raises:
        ConfigError: the images have no labels.
    """
    states = {name: layers[layer - 1] for name, layers in subject.states.items()}
    activities = {name: subject.model.activities(layer, z) for name, z in states.items()}
    train, validation = subject.data.train.labels, subject.data.validation.labels
    labels = subject.target.labels
    if train is None or validation is None or labels is None:
        raise ConfigError("A probe needs labels, and these data have none.")
    results: dict[str, Any] = {"layer": layer}
    fitted: dict[str, Probe] = {}
    for name, codes in (("z", states), ("phi", activities)):
        subject.report(f"probe on {name}")
        on_fit = subject.counting(f"probe on {name}", "fits")
        probe = fit_probe(codes["train"], train, codes["validation"], validation, on_fit=on_fit)
        score = probe.score(codes[subject.split], labels)
        results[name] = {
            "error_percent": score.error,
            "confusion": score.confusion.tolist(),
            "regularisation": probe.regularisation,
            "validation_error_percent": probe.validation_error,
            "converged": probe.converged,
        }
        fitted[name] = probe
    best = min(fitted, key=lambda name: min(fitted[name].validation_error.values()))
    return results | {"better_on_validation": best}, fitted[best]

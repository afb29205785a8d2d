"""`Sparsity`: how few neurons of each layer are active."""

from pathlib import Path
from typing import Any

from gncn.evaluation.sparsity import ACTIVE, sparsity
from gncn.measures.measure import Column, Measure, Numbers, Result, Row
from gncn.measures.subject import Subject


def _top(numbers: Numbers) -> Any:
    layers = numbers.get("sparsity")
    return layers[-1]["active"] if layers else None


class Sparsity(Measure):
    """Share of active and of silent neurons, and Hoyer's and Gini's measures of φ(z)."""

    columns = (Column("top_sparsity", "active in the top layer", _top, tabulated=False),)

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
        from gncn.figures.evaluation import draw_activity

        shares = [(states > ACTIVE).mean(axis=0) for states in subject.states[subject.split]]
        return draw_activity(folder / "activity.png", shares, subject.model.group_sizes())

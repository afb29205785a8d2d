"""A study's targets for one of its models: our numbers, and whether they are reached."""

from collections.abc import Sequence
from dataclasses import dataclass

from gncn.study.paper import Summary, best_of, columns
from gncn.study.plan import Targets
from gncn.study.rows import ModelRow, number

AIMS = {
    "bce": ("BCE, nats", "≤"),
    "log_likelihood": ("log p(x), mixture prior", "≥"),
    "error_percent": ("probe error, %", "≤"),
    "m_mse_over_supervised": ("M-MSE ÷ supervised", "≤"),
    "top_sparsity": ("active in the top layer", "≤"),
    "m_mse": ("M-MSE", ""),
}
"""Each target's number in words, and which way it is bounded; M-MSE may only be the best."""


@dataclass(frozen=True)
class TargetRow:
    """A target in words, our number, whether that reaches it (None: unknown) and what was tried."""

    what: str
    wanted: str
    ours: Summary | None
    reached: bool | None
    tried: str


def target_rows(
    targets: Targets | None, model: str, rows: Sequence[ModelRow], supervised: Summary | None
) -> tuple[TargetRow, ...]:
    """The targets for a model on a data set, each with our number and whether it is reached.

    `rows` are all models on the data set; `supervised` is the M-MSE of the supervised yardstick.
    """
    if targets is None:
        return ()
    found = []
    row = next((row for row in rows if row.key == model), None)
    for key, (what, bound) in AIMS.items():
        wanted, our = getattr(targets, key, None), _aimed_at(key, row, supervised)
        if wanted is not None:
            sign = 1 if bound == "≤" else -1
            # A comparison with NaN is false, so NaN reaches nothing.
            reached = None if our is None else sign * our.mean <= sign * wanted
            tried = targets.tried.get(key, "")
            found.append(TargetRow(what, f"{bound} {number(wanted)}", our, reached, tried))
    for key in targets.best:
        our, what = _aimed_at(key, row), f"{AIMS[key][0]}: best of the neural models"
        reached = _is_best(key, model, rows) if our else None
        found.append(TargetRow(what, "best", our, reached, targets.tried.get(f"best_{key}", "")))
    return tuple(found)


def _aimed_at(key: str, row: ModelRow | None, supervised: Summary | None = None) -> Summary | None:
    """The number that a target is about."""
    if row is None:
        return None
    if key == "top_sparsity":
        return row.sparsity[-1] if row.sparsity else None
    if key == "m_mse_over_supervised":
        error = row.cells["m_mse"].ours
        return error and supervised and error.scaled(1 / supervised.mean)
    return row.cells[key].ours


def _is_best(key: str, model: str, rows: Sequence[ModelRow]) -> bool | None:
    """Whether a model is the best that learns synapses; None without another to compare."""
    # A mixture on pixels learns no synapses.
    neural = {row.key: _aimed_at(key, row) for row in rows if row.kind != "gmm"}
    means = {name: found.mean for name, found in neural.items() if found is not None}
    return model in best_of(columns()[key], means, 1) if len(means) > 1 else None

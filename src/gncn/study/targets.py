"""Rows of the report's table of targets."""

from collections.abc import Sequence

from gncn.study.columns import best_of, columns
from gncn.study.compare import Summary
from gncn.study.findings import ModelRow, TargetRow, number
from gncn.study.plan import Targets

AIMS = {"log_likelihood": "log p(x) honest, better prior", "m_mse": "M-MSE"}


def target_rows(
    targets: Targets | None, model: str, rows: Sequence[ModelRow], supervised: Summary | None
) -> tuple[TargetRow, ...]:
    """The targets of a data set, each with our number and whether it is reached.

    Args:
        targets: targets of the data set; None if it has none.
        model: the model that they are for.
        rows: all models on the data set.
        supervised: M-MSE of the supervised yardstick.
    """
    if targets is None:
        return ()
    row = next((row for row in rows if row.key == model), None)
    ours = {key: _aimed_at(key, row) for key in (*columns(), "top_sparsity")}
    error = ours["m_mse"]
    ours["m_mse_over_supervised"] = error and supervised and _scaled(error, 1 / supervised.mean)
    if row and row.sparsity:
        ours["top_sparsity"] = row.sparsity[-1]
    found = []
    for key, what, sign in (
        ("bce", "BCE, nats", "≤"),
        ("log_likelihood", AIMS["log_likelihood"], "≥"),
        ("error_percent", "probe error, %", "≤"),
        ("m_mse_over_supervised", "M-MSE ÷ supervised", "≤"),
        ("top_sparsity", "active in the top layer", "≤"),
    ):
        wanted, our = getattr(targets, key), ours[key]
        if wanted is not None:
            low = sign == "≤"
            reached = None if our is None else our.mean <= wanted if low else our.mean >= wanted
            tried = targets.tried.get(key, "")
            found.append(TargetRow(what, f"{sign} {number(wanted)}", our, reached, tried))
    for key in targets.best:
        reached = _is_best(key, model, rows) if ours[key] else None
        what, tried = (
            f"{AIMS[key]}: best of the neural models",
            targets.tried.get(f"best_{key}", ""),
        )
        found.append(TargetRow(what, "best", ours[key], reached, tried))
    return tuple(found)


def _scaled(summary: Summary, factor: float) -> Summary:
    deviation = None if summary.deviation is None else factor * summary.deviation
    return Summary(factor * summary.mean, deviation, summary.n_trials)


def _aimed_at(key: str, row: ModelRow | None) -> Summary | None:
    """The number that a target is about: of log p(x), with the better of two priors of codes."""
    keys = (key, "log_likelihood_training_codes") if key == "log_likelihood" else (key,)
    cells = [row.cells[one] for one in keys if one in row.cells] if row else []
    known = [cell.ours for cell in cells if cell.ours is not None]
    return max(known, key=lambda found: found.mean, default=None)


def _is_best(key: str, model: str, rows: Sequence[ModelRow]) -> bool | None:
    """Whether a model is the best that learns synapses; None without another to compare."""
    neural = {row.key: _aimed_at(key, row) for row in rows if row.kind != "gmm"}
    means = {name: found.mean for name, found in neural.items() if found is not None}
    return model in best_of(columns()[key], means, 1) if len(means) > 1 else None

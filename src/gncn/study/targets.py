"""Rows of the report's table of targets."""

from collections.abc import Sequence

from gncn.study.columns import columns
from gncn.study.compare import Summary
from gncn.study.findings import ModelRow, TargetRow, number
from gncn.study.plan import Targets

AIMS = {"log_likelihood": "log p(x) honest, better prior", "m_mse": "M-MSE"}
BY_FITTED_CODES = ("log_likelihood", "log_likelihood_training_codes")
"""Honest log p(x) with a prior made of codes: a target may be reached by either."""


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
    cell = (lambda key: _aimed_at(key, row)) if row else (lambda key: None)
    error = cell("m_mse")
    ratio = None if error is None or supervised is None else _scaled(error, 1 / supervised.mean)
    top = row.sparsity[-1] if row and row.sparsity else None
    plain = (
        ("bce", "BCE, nats", cell("bce"), True),
        ("log_likelihood", AIMS["log_likelihood"], cell("log_likelihood"), False),
        ("error_percent", "probe error, %", cell("error_percent"), True),
        ("m_mse_over_supervised", "M-MSE ÷ supervised", ratio, True),
        ("top_sparsity", "active in the top layer", top, True),
    )
    found = []
    for key, what, ours, low_is_good in plain:
        wanted = getattr(targets, key)
        if wanted is None:
            continue
        sign = 1 if low_is_good else -1
        reached = None if ours is None else sign * ours.mean <= sign * wanted
        text = f"{'≤' if low_is_good else '≥'} {number(wanted)}"
        found.append(TargetRow(what, text, ours, reached, targets.tried.get(key, "")))
    for key in targets.best:
        ours = cell(key)
        found.append(
            TargetRow(
                f"{AIMS[key]}: best of the neural models",
                "best",
                ours,
                _is_best(key, model, rows) if ours else None,
                targets.tried.get(f"best_{key}", ""),
            )
        )
    return tuple(found)


def _scaled(summary: Summary, factor: float) -> Summary:
    deviation = None if summary.deviation is None else factor * summary.deviation
    return Summary(factor * summary.mean, deviation, summary.n_trials)


def _aimed_at(key: str, row: ModelRow) -> Summary | None:
    """The number that a target is about: of log p(x), with the better of two priors."""
    keys = BY_FITTED_CODES if key == "log_likelihood" else (key,)
    known = [found for one in keys if (found := row.cells[one].ours) is not None]
    return max(known, key=lambda found: found.mean, default=None)


def _is_best(key: str, model: str, rows: Sequence[ModelRow]) -> bool | None:
    """Whether a model is the best that learns synapses; None without another to compare."""
    low = columns()[key].low_is_good
    means = {
        row.key: (1 if low else -1) * found.mean
        for row in rows
        if row.kind != "gmm" and (found := _aimed_at(key, row)) is not None
    }
    return min(means, key=means.__getitem__) == model if len(means) > 1 else None

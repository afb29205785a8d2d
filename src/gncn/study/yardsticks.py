"""`Yardstick`: the numbers of what needs no model, as the report shows them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gncn.measures.code_yardsticks import FEATURE_TITLES, PIXELS
from gncn.study.paper import COMPLETION_YARDSTICKS, Summary, over_trials
from gncn.study.plan import Study
from gncn.study.record import Record


@dataclass(frozen=True)
class Yardstick:
    """The numbers of one yardstick on one data set, by the key of their column.

    Attributes:
        name: a key of `gncn.study.paper.YARDSTICKS`.
        width: how many features it has, if it has any and their number is known.
        meant: whether places in texts mean it by its name, which several widths share.
    """

    name: str
    width: int | None
    meant: bool
    numbers: dict[str, Summary]


def yardsticks_of(study: Study, data: str, records: Sequence[Record]) -> tuple[Yardstick, ...]:
    """All yardsticks that finished runs on a data set measured; features by their width.

    Raises:
        ConfigError: a text of the study leaves open which of several widths it means.
    """
    completed = [record.metrics.get("yardsticks", {}).get("m_mse", {}) for record in records]
    found = []
    for name in COMPLETION_YARDSTICKS:
        measured = [one[name] for one in completed if name in one]
        if ours := over_trials(one.get("m_mse") for one in measured):
            width = measured[0].get("n_prototypes")
            found.append(Yardstick(name, width, True, {"m_mse": ours}))
    errors: dict[tuple[str, int | None], list[Any]] = {}
    by_width: dict[int, str] = {}
    # The targets' model goes first, so that a width is its own wherever it has it.
    for record in sorted(records, key=lambda record: record.model != study.targets_for):
        for name, one in record.metrics.get("codes", {}).get("probe", {}).items():
            width = one.get("n_features")
            errors.setdefault((name, width), []).append(one.get("error_percent"))
            if width is not None and name != PIXELS:
                by_width.setdefault(width, record.model)
    # Its width may still be to come.
    begun = {record.model for record in records if record.trial == 0}
    waits = study.n_trials(study.targets_for, data) > 0 and study.targets_for not in begun
    if not waits:
        study.refuse_open_widths(data, by_width)
    meant = {width for width, model in by_width.items() if model == study.targets_for}
    if len(by_width) < 2 and not waits:
        meant = {None, *by_width}
    names = [*FEATURE_TITLES]
    for name, width in sorted(
        (key for key in errors if key[0] in names),
        key=lambda key: (0 if key[0] == PIXELS else key[1] or 0, names.index(key[0])),
    ):
        same = name == PIXELS  # every run that takes the measure finds the same of them
        if ours := over_trials({*errors[name, width]} if same else errors[name, width]):
            found.append(Yardstick(name, width, same or width in meant, {"error_percent": ours}))
    return tuple(found)

"""`Yardsticks`: how well images can be completed without a generative model."""

from typing import Any

from gncn.evaluation.completion import Completer, complete, missing_squared_error
from gncn.evaluation.yardsticks import fit_nearest_neighbours, fit_regressor, mean_image
from gncn.measures.completion import Completion, MissingMeasure
from gncn.measures.measure import Column, Numbers, Result, Row, within
from gncn.measures.subject import Subject

_N_TO_CHOOSE_BY = 1000
"""Validation images by which the number of neighbours is chosen."""


def _over_supervised(numbers: Numbers) -> float | None:
    ours = Completion.columns[0].find(numbers)
    floor = within("yardsticks", "m_mse", "supervised", "m_mse")(numbers)
    return None if ours is None or floor is None else ours / floor


class Yardsticks(MissingMeasure):
    """M-MSE of the mean image, nearest neighbours, and a network trained for this mask."""

    of_data_alone = True
    columns = (
        Column(
            "m_mse_over_supervised",
            "M-MSE ÷ supervised",
            _over_supervised,
            tabulated=False,
            needs=("completion", "yardsticks"),
        ),
    )

    def measure(self, subject: Subject) -> Result:
        data, visible = subject.data, self.visible(subject)
        train, validation = data.train.array, data.validation.array
        subject.report("yardsticks: mean image")
        found: dict[str, Completer] = {"mean_image": mean_image(train)}
        subject.report("yardsticks: nearest neighbours")
        neighbours = fit_nearest_neighbours(train, validation[:_N_TO_CHOOSE_BY], visible)

        def on_epoch(number: int, error: float) -> None:
            subject.report(f"yardsticks: supervised regressor, epoch {number}: {error:.2f}")

        floor = fit_regressor(train, validation, visible, key=subject.key(5), on_epoch=on_epoch)
        found |= {"nearest_neighbours": neighbours, "supervised": floor.completer}
        images, scores = subject.target.array, {}
        for name, completer in found.items():
            error = missing_squared_error(images, complete(completer, images, visible), visible)
            one: dict[str, Any] = {"m_mse": error.mean, "standard_error": error.standard_error}
            scores[name] = one
        scores["nearest_neighbours"]["k"] = neighbours.k
        missing = int((~visible).sum())
        return Result(
            {"yardsticks": {"n_missing_pixels": missing, "m_mse": scores, "missing": self.words}}
        )

    def rows(self, numbers: Numbers) -> list[Row]:
        scores = within("yardsticks", "m_mse")(numbers) or {}
        return [
            Row(f"M-MSE, {name.replace('_', ' ')}", f"{score['m_mse']:.2f}", "yardstick")
            for name, score in scores.items()
        ]

"""`Completion`: how well the model fills in missing pixels, in each of its ways."""

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from gncn.base.errors import ConfigError
from gncn.data import Split
from gncn.data.stored import read_npy
from gncn.evaluation.completion import complete_in_ways, missing_squared_error, visible_pixels
from gncn.evaluation.protocols import Mask
from gncn.evaluation.scores import PerImage
from gncn.measures.measure import Column, Condition, Measure, Numbers, Result, Row, within
from gncn.measures.subject import Subject

_N_SHOWN = 12


class MissingMeasure(Measure):
    """A measure of images of which some pixels are missing."""

    missing: str = Field(
        default="right",
        description="Pixels to complete: the `right`, `left`, `top` or `bottom` half, `random`, "
        "or a .npy file of booleans, true where visible.",
    )

    @field_validator("missing")
    @classmethod
    def _known(cls, missing: str) -> str:
        if not missing.endswith(".npy"):
            visible_pixels(missing, (2, 2))
        return missing

    @property
    def words(self) -> str:
        """What is missing, in words."""
        return "a mask" if self.missing.endswith(".npy") else self.missing

    def check(self, subject: Subject) -> None:
        """Read the mask's file, if there is one.

        Raises:
            ConfigError: it doesn't hold one boolean for each pixel.
            DataError: it can't be read.
        """
        self.visible(subject)

    def visible(self, subject: Subject) -> Mask:
        """True where a pixel is visible."""
        return self.mask(subject.shape, subject.seed)

    def mask(self, shape: tuple[int, int], seed: int) -> Mask:
        """True where a pixel of images of a shape is visible; the seed is for random pixels."""
        if not self.missing.endswith(".npy"):
            return visible_pixels(self.missing, shape, seed=seed)
        mask = read_npy(Path(self.missing))
        if mask.dtype != bool:
            raise ConfigError(f"The mask {self.missing} must hold booleans; received {mask.dtype}.")
        return visible_pixels(mask, shape)


def _best(numbers: Numbers) -> Any:
    way = within("completion", "best_way")(numbers)
    return within("completion", "ways", str(way), "m_mse")(numbers)


class Completion(MissingMeasure):
    """M-MSE: squared error summed over an image's missing pixels, mean over images."""

    columns = (Column("m_mse", "M-MSE", _best, published="m_mse"),)
    conditions = (Condition("missing", "missing pixels", within("completion", "missing")),)

    def measure(self, subject: Subject) -> Result:
        """Complete images in every way of the model.

        ``per_image`` holds each image's squared error of each way.  ``best_way`` is the way
        with the lowest error on the validation images, whatever the split.
        """
        visible = self.visible(subject)
        subject.report("learning to complete images")
        train = subject.data.train.array
        ways = subject.model.completers(subject.codes("train"), train, visible)

        def errors(split: str, images: Split) -> dict[str, PerImage]:
            completed = complete_in_ways(
                ways,
                images.array,
                visible,
                on_way=lambda name: subject.report(f"completing {split} images: {name}"),
            )
            return {
                way: missing_squared_error(images.array, filled, visible)
                for way, filled in completed.items()
            }

        reported = errors(subject.split, subject.target)
        if subject.split == "validation":
            chosen_by = reported
        else:
            chosen_by = errors("validation", subject.data.validation)
        on_validation = {way: found.mean for way, found in chosen_by.items()}
        shown = subject.target.array[:_N_SHOWN]
        completed = complete_in_ways(ways, shown, visible)
        return Result(
            {
                "completion": {
                    "n_missing_pixels": int((~visible).sum()),
                    "ways": {
                        way: {"m_mse": found.mean, "standard_error": found.standard_error}
                        for way, found in reported.items()
                    },
                    "best_way": min(on_validation, key=lambda way: on_validation[way]),
                    "validation_m_mse": on_validation,
                    "missing": self.words,
                }
            },
            {f"squared_error_{way}": found.values for way, found in reported.items()},
            {
                "visible": visible,
                "whole": shown,
                **{f"completed_{way}": images for way, images in completed.items()},
            },
        )

    def rows(self, numbers: Numbers) -> list[Row]:
        if (found := numbers.get("completion")) is None:
            return []
        return [
            Row(f"M-MSE, {way}", f"{score['m_mse']:.2f}", f"{found['missing']} missing")
            for way, score in found["ways"].items()
        ]

    def figure(self, result: Result, subject: Subject, folder: Path) -> Path | None:
        from gncn.figures.evaluation import draw_completions

        ways = result.numbers["completion"]["ways"]
        return draw_completions(
            folder / "completions.png",
            result.pictures["whole"],
            result.pictures["visible"],
            {way: result.pictures[f"completed_{way}"] for way in ways},
            subject.shape,
        )

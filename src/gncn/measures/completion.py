"""`Completion` and `Yardsticks`: how well missing pixels are filled in, with a model and without.

M-MSE is the squared error summed over an image's missing pixels, mean over images.
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from gncn.base.errors import MOST_COUNT, ConfigError
from gncn.data.stored import read_npy
from gncn.evaluation.completion import (
    Completer,
    complete,
    complete_in_ways,
    missing_squared_error,
    visible_pixels,
)
from gncn.evaluation.features import fit_prototype_regressor
from gncn.evaluation.images import PerImage
from gncn.evaluation.protocols import Mask
from gncn.evaluation.yardsticks import choose_regressors, fit_nearest_neighbours, mean_image
from gncn.measures.measure import Column, Condition, Measure, Numbers, Result, Row, several, within
from gncn.measures.subject import Subject

_N_SHOWN = 12
_WAYS = {
    "drift": "settles; missing pixels start at 0\nand move with the states",
    "silent": "settles; missing pixels send no errors",
    "clamped": "encodes and decodes what it has\ncompleted, again and again",
    "fitted": "fits the code to what is visible",
    "recall": "averages training images whose\ncodes predict what is visible",
    "refined": "the likeliest such codes, improved\nby the model",
    "combined": "a weighted sum of these",
}
"""A description of each way of completing."""
_ALONE = ("drift", "silent", "clamped", "fitted")
"""Ways that remember no training images."""
_PAPERS = ("drift", "clamped")
"""The paper's ways: networks drift (Eq 4) and other models iterate, so no model has both."""
_N_TO_CHOOSE_BY = 1000
"""Validation images by which the number of neighbours is chosen."""


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
            # A name is tried on the smallest image, so that a wrong one is refused before anything
            # is measured.
            visible_pixels(missing, (2, 2))
        return missing

    @property
    def words(self) -> str:
        """What is missing, in words."""
        return "a mask" if self.missing.endswith(".npy") else self.missing

    def check(self, subject: Subject) -> None:
        """Read the mask's file, if there is one; see `mask`."""
        self.visible(subject)

    def visible(self, subject: Subject) -> Mask:
        """True where a pixel is visible."""
        return self.mask(subject.shape, subject.seed)

    def mask(self, shape: tuple[int, int], seed: int) -> Mask:
        """True where a pixel of images of a shape is visible; the seed is for random pixels.

        Raises:
            ConfigError: the mask's file doesn't hold one boolean for each pixel.
            DataError: it can't be read.
        """
        if not self.missing.endswith(".npy"):
            return visible_pixels(self.missing, shape, seed=seed)
        mask = read_npy(Path(self.missing))
        if mask.dtype != bool:
            raise ConfigError(f"The mask {self.missing} must hold booleans; received {mask.dtype}.")
        return visible_pixels(mask, shape)


def score(error: PerImage) -> dict[str, Any]:
    """M-MSE and its standard error over images, as numbers hold them."""
    return {"m_mse": error.mean, "standard_error": error.standard_error}


def _best(numbers: Numbers) -> Any:
    way = within("completion", "best_way")(numbers)
    return within("completion", "ways", str(way), "m_mse")(numbers)


def _papers(numbers: Numbers) -> Any:
    """M-MSE of the way that the paper measured: Eq 4 of a network, clamped iteration of others."""
    drift, clamped = (within("completion", "ways", way, "m_mse")(numbers) for way in _PAPERS)
    return clamped if drift is None else drift


def _alone(numbers: Numbers) -> Any:
    """M-MSE of the best way, by validation images, of those that remember no training images."""
    found = within("completion", "validation_m_mse")(numbers) or {}
    alone = {way: error for way, error in found.items() if way in _ALONE}
    way = min(alone, key=alone.__getitem__, default="")
    return within("completion", "ways", way, "m_mse")(numbers)


def _ways_tried(numbers: Numbers) -> Any:
    """Which ways of completing were tried; None if none was."""
    found = within("completion")(numbers)
    return None if found is None else found.get("tried", "all")


class Completion(MissingMeasure):
    """M-MSE of the model, in each of its ways of completing images.

    The paper's numbers are compared with its own way alone, `_papers`.
    """

    completion_ways: Literal["all", "direct", "paper"] = Field(
        default="all",
        description="Ways of completing: `all`, `direct` for those alone that remember no "
        "training images, which takes a tenth of the time, or `paper` for the paper's.",
    )

    columns = (
        Column("m_mse", "M-MSE, best way", _best),
        Column("m_mse_alone", "M-MSE, no stored images", _alone),
        Column("m_mse_paper", "M-MSE, the paper's way", _papers, published="m_mse"),
    )
    conditions = (
        Condition("missing", "missing pixels", within("completion", "missing")),
        Condition("ways", "ways of completing", _ways_tried),
    )

    def measure(self, subject: Subject) -> Result:
        """Complete images in every way of the model, or in the direct ones.

        ``per_image`` holds each image's squared error of each way.  ``best_way`` is the way
        with the lowest error on the validation images, whatever the split.
        """
        visible, train = self.visible(subject), subject.data.train.array
        subject.report("learning to complete images")
        # Learned from training images only; validation images then choose the best way.
        if self.completion_ways == "direct":
            ways = subject.model.direct_ways(train, visible)
        elif self.completion_ways == "paper":
            direct = subject.model.direct_completers
            ways = {way: one for way, one in direct.items() if way in _PAPERS}
        else:
            ways = subject.model.completers(subject.codes("train"), train, visible)
        if not ways and self.completion_ways != "all":
            raise ConfigError(
                "A model without direct ways of completing can't be measured by "
                f"completion_ways={self.completion_ways!r}; choose 'all'."
            )
        images = {"validation": subject.data.validation.array, subject.split: subject.target.array}
        errors: dict[str, dict[str, PerImage]] = {}
        completed = {}

        def on_way(name: str) -> None:
            subject.report(f"completing {split} images: {name}")

        for split, whole in images.items():  # the split to report on comes last
            fill = partial(complete_in_ways, ways, whole, visible, on_way=on_way)
            # Kept: completing takes longest, and an evaluation that was killed goes on after it.
            completed = subject.keep(f"completion: {split}", fill)
            errors[split] = {
                way: missing_squared_error(whole, filled, visible)
                for way, filled in completed.items()
            }
        reported = errors[subject.split]
        on_validation = {way: found.mean for way, found in errors["validation"].items()}
        numbers = {
            "n_missing_pixels": int((~visible).sum()),
            "ways": {way: score(error) for way, error in reported.items()},
            # By validation images: choosing on the test images would make its M-MSE too good.
            "best_way": min(on_validation, key=on_validation.__getitem__),
            "validation_m_mse": on_validation,
            "missing": self.words,
            **({} if self.completion_ways == "all" else {"tried": self.completion_ways}),
        }
        pictures = {"visible": visible, "whole": subject.target.array[:_N_SHOWN]}
        return Result(
            {"completion": numbers},
            {f"squared_error_{way}": error.values for way, error in reported.items()},
            pictures | {f"completed_{way}": x[:_N_SHOWN] for way, x in completed.items()},
        )

    def rows(self, numbers: Numbers) -> list[Row]:
        if (found := numbers.get("completion")) is None:
            return []
        return [
            Row(f"M-MSE, {way}", f"{score['m_mse']:.2f}", f"{found['missing']} missing")
            for way, score in found["ways"].items()
        ]

    def figure(self, result: Result, subject: Subject, folder: Path) -> Path | None:
        """Draw a row for what was seen, for each way's completion, and for the whole images."""
        from gncn.figures.style import INK, new_figure, save_figure, shades, show, write

        shown = result.pictures
        found = result.numbers["completion"]
        ways = found["ways"]
        scores = {way: f"{way}: M-MSE {one['m_mse']:.2f}" for way, one in ways.items()}
        look = shades(shown["whole"], *(shown[f"completed_{way}"] for way in ways))
        # Hidden pixels are shown in the middle of the scale.
        blank = (look["vmin"] + look["vmax"]) / 2
        rows = {"seen": np.where(shown["visible"][None, :], shown["whole"], blank)}
        rows |= {way: shown[f"completed_{way}"] for way in ways}
        rows["whole image"] = shown["whole"]
        n = len(shown["whole"])
        figure = new_figure(0.8 * n + 2.9, 0.86 * len(rows) + 0.6)
        title = (
            f"{subject.data.name}: {subject.split} images, missing: {found['missing']}"
            f"\nM-MSE is over all images; best on validation images: "
            f"{found['best_way']}"
        )
        figure.suptitle(title, fontsize=10, color=INK)
        grid = figure.subplots(len(rows), n, squeeze=False)
        for row, (name, images) in zip(grid, rows.items(), strict=True):
            for axes, image in zip(row, images, strict=True):
                show(axes, image.reshape(subject.shape), look)
            place: dict[str, Any] = {"transform": row[0].transAxes, "ha": "right"}
            says = _WAYS.get(name, "")
            # Names without words stand in the middle of their row.
            up = 0.62 if says else 0.5
            write(row[0], -0.08, up, scores.get(name, name), va="bottom", fontsize=9, **place)
            write(row[0], -0.08, 0.56, says, va="top", fontsize=7, **place)
        return save_figure(figure, folder / "completions.png")


def _over_supervised(numbers: Numbers) -> float | None:
    # The same column that tables show, so the quotient is of the numbers in them.
    ours = Completion.columns[0].find(numbers)
    floor = within("yardsticks", "m_mse", "supervised", "m_mse")(numbers)
    return None if ours is None or floor is None else ours / floor


class Yardsticks(MissingMeasure):
    """M-MSE of the mean image, nearest neighbours, and two regressions trained for this mask.

    One is a network trained by backprop, the other linear in the distances to training images.
    """

    ridge_prototypes: int = Field(
        default=1000,
        ge=1,
        le=MOST_COUNT,
        description="Training images that ridge regression measures distances to. All are taken, "
        "if there are fewer.",
    )
    regressor_units: tuple[Annotated[int, Field(ge=1, le=MOST_COUNT)], ...] = Field(
        default=(512,),
        min_length=1,
        description="Hidden units, in each of two layers, of the network that learns this mask; "
        "validation images choose among several.",
    )
    regressor_dropout: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = Field(
        default=(0.3,),
        min_length=1,
        description="Share of them that is left out in training; validation images choose among "
        "several.",
    )
    n_regressors: int = Field(
        default=1,
        ge=1,
        le=MOST_COUNT,
        description="Such networks, of which the yardstick is the mean.",
    )

    _several = field_validator("regressor_units", "regressor_dropout", mode="before")(several)

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
        subject.report("completing without a model: mean image")
        found: dict[str, Completer] = {"mean_image": mean_image(train)}
        n_prototypes = min(self.ridge_prototypes, len(train))
        subject.report(
            f"completing without a model: ridge regression from {n_prototypes:,} prototypes"
        )
        ridge = fit_prototype_regressor(train, validation, visible, n_prototypes, seed=subject.seed)
        subject.report("completing without a model: nearest neighbours")
        # Each query is compared with all training images, so not all validation images are needed.
        neighbours = fit_nearest_neighbours(train, validation[:_N_TO_CHOOSE_BY], visible)

        def on_epoch(number: int, error: float) -> None:
            subject.report(
                f"completing without a model: supervised regressor, epoch {number}: {error:.2f}"
            )

        supervised = choose_regressors(
            train,
            validation,
            visible,
            key=subject.key(5),
            n_hidden=self.regressor_units,
            dropout=self.regressor_dropout,
            n_networks=self.n_regressors,
            on_epoch=on_epoch,
        )
        found |= {"ridge": ridge, "nearest_neighbours": neighbours, "supervised": supervised}
        images = subject.target.array
        scores = {
            name: score(missing_squared_error(images, complete(one, images, visible), visible))
            for name, one in found.items()
        }
        scores["nearest_neighbours"]["k"] = neighbours.k
        scores["ridge"] |= {"n_prototypes": n_prototypes, "penalty": ridge.penalty}
        scores["supervised"] |= {
            "n_hidden": supervised.n_hidden,
            "dropout": supervised.dropout,
            "n_networks": len(supervised.networks),
            "validation": [[*pair, error] for pair, error in supervised.validation.items()],
        }
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

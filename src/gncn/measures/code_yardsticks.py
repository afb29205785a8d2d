"""`CodeYardsticks`: what features of the same width, which need no generative model, achieve."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from pydantic import Field

from gncn.base.errors import MOST_COUNT, ConfigError
from gncn.evaluation.features import (
    RBM_LEARNING_RATES,
    Features,
    k_means_centres,
    random_features,
    rbm_features,
    some_images,
    triangle_features,
)
from gncn.measures.codes import probe_codes, probe_numbers
from gncn.measures.measure import Measure, Numbers, Result, Row, within
from gncn.measures.subject import Subject

Maker = Callable[[], Features]

FEATURE_TITLES = {
    "pixels": "pixels as they are",
    "random": "fixed random features",
    "local": "fixed random features of patches",
    "prototypes": "training images as prototypes",
    "k_means": "centres of k-means",
    "rbm": "an RBM after five epochs",
}
"""The features, in words."""
PIXELS = "pixels"
"""Those whose number is the images', whatever the width of the codes."""


class CodeYardsticks(Measure):
    """Err of features that need no model and have the width of the model's codes."""

    code_width: int | None = Field(
        default=None,
        ge=1,
        le=MOST_COUNT,
        description="Number of features. Default: the neurons of the model's top layer.",
    )

    needs_labels = True
    of_width_alone = True
    on_request = True

    def measure(self, subject: Subject) -> Result:
        width = self.code_width or subject.codes("validation").shape[1]
        if width > (n_images := len(subject.data.train)):
            raise ConfigError(
                f"Prototypes need as many training images as features; received {width} features "
                f"and {n_images} images. Set code_width (--code-width)."
            )
        errors: dict[str, Any] = {}
        for name, chosen, make in _kinds(subject, width):
            probe = partial(_probe, subject, name, make)
            found = subject.keep(f"codes: {name}{chosen or ''}", probe) | chosen
            if name not in errors or _on_validation(found) < _on_validation(errors[name]):
                errors[name] = found
        return Result({"codes": {"width": width, "probe": errors}})

    def rows(self, numbers: Numbers) -> list[Row]:
        return [
            Row(
                f"probe on {FEATURE_TITLES[name]}",
                f"{one['error_percent']:.2f} %",
                f"yardstick, {one['n_features']:,} features",
            )
            for name, one in (within("codes", "probe")(numbers) or {}).items()
        ]


def _kinds(subject: Subject, width: int) -> Iterator[tuple[str, dict[str, Any], Maker]]:
    """Features by name, with the settings that validation images choose among, and their maker."""
    train, seed, shape = subject.data.train.array, subject.seed, subject.shape
    random = partial(random_features, train, width, seed=seed)
    yield PIXELS, {}, lambda: lambda x: np.asarray(x, np.float32)
    yield "random", {}, random
    # A third of the image: 9 of 28 pixels, the extent of a stroke with its surroundings.
    patch = max(1, round(min(shape) / 3))
    yield "local", {}, partial(random, image_shape=shape, patch=patch)
    yield "prototypes", {}, lambda: triangle_features(some_images(train, width, seed))
    yield "k_means", {}, lambda: triangle_features(k_means_centres(train, width, seed))
    if train.min() >= 0 and train.max() <= 1:  # real values are nothing for binary units
        for rate in RBM_LEARNING_RATES:
            yield "rbm", {"learning_rate": rate}, partial(rbm_features, train, width, seed, rate)


def _on_validation(found: dict[str, Any]) -> float:
    return min(found["validation_error_percent"].values())


def _probe(subject: Subject, name: str, make: Maker) -> dict[str, Any]:
    """Fit the classifier of codes to features, as it is fitted to the model's codes."""
    subject.report(f"features without a model: {FEATURE_TITLES[name]}")
    features = make()
    of_split = {
        split: features(getattr(subject.data, split).array)
        for split in ("train", "validation", subject.split)
    }
    probe, score = probe_codes(subject, of_split)
    return {"n_features": of_split["train"].shape[1], **probe_numbers(probe, score)}

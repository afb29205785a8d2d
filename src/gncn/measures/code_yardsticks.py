"""`CodeYardsticks`: what features of the same width, which need no generative model, achieve."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from pydantic import Field

from gncn.base.errors import MOST_COUNT, ConfigError
from gncn.evaluation.features import (
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
        errors = {}
        for name, features in self._features(subject, width):
            errors[name] = subject.keep(f"codes: {name}", lambda f=features: _probe(subject, f))
        return Result({"codes": {"width": width, "probe": errors}})

    def _features(self, subject: Subject, width: int) -> Iterator[tuple[str, Features]]:
        """The features by name, each made when its turn comes."""
        train, seed, shape = subject.data.train.array, subject.seed, subject.shape

        def tell(name: str) -> None:
            subject.report(f"features without a model: {FEATURE_TITLES[name]}")

        tell(PIXELS)
        yield PIXELS, lambda x: np.asarray(x, np.float32)
        tell("random")
        yield "random", random_features(train, width, seed=seed)
        tell("local")
        # A third of the image: 9 of 28 pixels, the extent of a stroke with its surroundings.
        patch = max(1, round(min(shape) / 3))
        yield "local", random_features(train, width, seed=seed, image_shape=shape, patch=patch)
        tell("prototypes")
        yield "prototypes", triangle_features(some_images(train, width, seed))
        tell("k_means")
        yield "k_means", triangle_features(k_means_centres(train, width, seed))
        if train.min() >= 0 and train.max() <= 1:  # real values are nothing for binary units
            tell("rbm")
            yield "rbm", rbm_features(train, width, seed)

    def rows(self, numbers: Numbers) -> list[Row]:
        found = within("codes")(numbers)
        if found is None:
            return []
        return [
            Row(
                f"probe on {FEATURE_TITLES[name]}",
                f"{one['error_percent']:.2f} %",
                f"yardstick, {one['n_features']:,} features",
            )
            for name, one in found["probe"].items()
        ]


def _probe(subject: Subject, features: Features) -> dict[str, Any]:
    """Fit the classifier of codes to features, as it is fitted to the model's codes."""
    of_split = {
        split: features(getattr(subject.data, split).array)
        for split in ("train", "validation", subject.split)
    }
    probe, score = probe_codes(subject, of_split)
    return {"n_features": of_split["train"].shape[1], **probe_numbers(probe, score)}

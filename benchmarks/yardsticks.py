"""The yardsticks of ``gncn tune paper``: numbers of validation images that need no model.

Run with ``python -m benchmarks.yardsticks``; minutes.  The numbers go to results/yardsticks.json:
BCE (which is -log p(x), too) and M-MSE of the mean of all training images, and the error of a
linear probe on pixels, fitted to as many training images as trials of the search learn from.
"""

import json
from pathlib import Path

import numpy as np

import gncn
from gncn.evaluation.codes import fit_probe
from gncn.evaluation.completion import complete, missing_squared_error, visible_pixels
from gncn.evaluation.yardsticks import mean_image
from gncn.study.search import load_search


def yardsticks(data: gncn.Dataset, train_images: int | None) -> dict[str, float]:
    """The yardsticks of a data set by column."""
    train, held_out = data.train, data.validation
    x = held_out.array.astype(np.float64)
    # A pixel that is never on in training would cost infinitely many nats where it is.
    mean = np.clip(np.mean(train.array, axis=0, dtype=np.float64), 1e-6, 1 - 1e-6)
    bce = -np.mean(np.sum(x * np.log(mean) + (1 - x) * np.log(1 - mean), axis=1))
    visible = visible_pixels("right", data.image_shape)
    completed = complete(mean_image(train.array), held_out.array, visible)
    some = train.subset(np.arange(min(train_images or len(train), len(train))))
    assert some.labels is not None
    assert held_out.labels is not None
    probe = fit_probe(
        some.array.astype(np.float32), some.labels, x.astype(np.float32), held_out.labels
    )
    return {
        "bce": float(bce),
        "log_likelihood": -float(bce),
        "error_percent": min(probe.validation_error.values()),
        "m_mse_paper": missing_squared_error(held_out.array, completed, visible).mean,
    }


def main() -> None:
    """Measure all data sets of the search, and keep the numbers."""
    search, found = load_search("paper"), {}
    for name, entry in search.data.items():
        data = gncn.load_dataset(name, **entry.settings)
        found[name] = yardsticks(data, search.budget_on(name).train_images)
        print(name, found[name], flush=True)
    text = json.dumps(found, indent=1) + "\n"
    Path("results/yardsticks.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

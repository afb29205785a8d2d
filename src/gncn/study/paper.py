"""The paper's published numbers, from ``paper.toml``, which says how to read them."""

from typing import NamedTuple

import numpy as np

from gncn.runs.toml import packaged

PAPER_SAMPLES = 5000
PAPER_TRIALS = 10
EXCESS = 2 * float(np.log(PAPER_SAMPLES))
"""Nats that printed log p(x) have too many: 2 log S."""


class Published(NamedTuple):
    """Numbers, or their deviations over trials, of one model on one data set; None if unknown.

    Attributes:
        bce: reconstruction BCE in nats.
        log_likelihood: log p(x) in nats, as printed.
        error_percent: of a linear classifier on the codes (of the DSRN, its own).
        m_mse: squared error of completing the right half.
    """

    bce: float | None = None
    log_likelihood: float | None = None
    error_percent: float | None = None
    m_mse: float | None = None

    @property
    def honest_log_likelihood(self) -> float | None:
        """Log p(x) in nats without the 2 log S that the printed value has too much."""
        return None if self.log_likelihood is None else self.log_likelihood - EXCESS


def _table(which: int) -> dict[str, dict[str, Published]]:
    return {
        data: {
            model: Published(**{name: pair[which] for name, pair in numbers.items()})
            for model, numbers in models.items()
        }
        for data, models in packaged("study", "paper").items()
    }


PUBLISHED = _table(0)
"""Means, by the name of the data set and of the model (`gncn.runs.config.Config.model`)."""

DEVIATIONS = _table(1)
"""Their standard deviations over the paper's trials."""

SPARSITY: dict[str, tuple[float, float, float]] = {
    "mnist": (0.21, 0.18, 0.16),
    "kmnist": (0.24, 0.21, 0.18),
    "fashion-mnist": (0.21, 0.20, 0.18),
    "caltech-16": (0.21, 0.19, 0.17),
}
"""Share of active neurons in the GNCN's layers 1, 2, 3 (journal version, Figure 6)."""

FIRST_EPOCH_BCE: dict[str, dict[str, float]] = {
    "mnist": {"gncn": 57.0, "gvae": 194.0, "rae": 168.0}
}
"""BCE after the first epoch, by data set and model (Results)."""


def published(
    data: str, model: str, n_samples: int | None = None, missing: str | None = None
) -> Published:
    """The paper's numbers that ours may be compared with: those measured as ours are.

    Args:
        data: name of the data set.
        model: name of the model.
        n_samples: S of our log p(x); None if it isn't measured.
        missing: the pixels that we complete; None if we complete none.
    """
    found = PUBLISHED.get(data, {}).get(model, Published())
    if n_samples not in (None, PAPER_SAMPLES):
        found = found._replace(log_likelihood=None)
    if missing not in (None, "right"):
        found = found._replace(m_mse=None)
    return found

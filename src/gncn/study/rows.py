"""A model on one data set, as the report shows it: its numbers and its sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gncn.study.paired import is_tight
from gncn.study.paper import Summary, Verdict
from gncn.study.record import Record
from gncn.study.specs import options_of

FROM_BOTH = "learned from training and validation images"


def number(value: float, decimals: int = 2) -> str:
    """A number with a true minus sign."""
    # Adding 0.0 turns −0.0 into 0.0.
    rounded = round(value, decimals) + 0.0  # no −0
    return f"{rounded:.{decimals}f}".replace("-", "−")


@dataclass(frozen=True)
class Cell:
    """A number of the report: ours, the paper's and the verdict; `best` if among the best two.

    `printed` is the paper's log p(x) as printed, and `paper` then the honest one.
    """

    ours: Summary | None = None
    paper: float | None = None
    verdict: Verdict | None = None
    printed: float | None = None
    as_printed: Verdict | None = None
    best: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether neither we nor the paper have a number."""
        return self.ours is None and self.paper is None


@dataclass(frozen=True)
class ModelRow:
    """A model on one data set.

    Attributes:
        key: what the study calls it; `title` is its name in the report, `kind` ``config.model``.
        point: the settings by name that tell it from other models with the same `name`.
        cells: by the keys of `gncn.study.paper.columns`.
        curve: BCE after each epoch that all trials reached: mean over trials, deviation.
        first_epoch: BCE after the first.
        sparsity: share of active neurons by layer.
        way: how it completed images best.
        pictures: pictures of its first trial that has some.
        tight: how log p(x) of a few images was bounded, as measured in the first trial that
            bounded it from both sides; empty if none did.
        sizes: how large it is, by what is counted; see `sizes_of`.
        mark: see `gncn.study.record.mark`.
        learned: from which images, if other models of the same table learned from others.
    """

    key: str
    title: str
    name: str
    point: dict[str, Any]
    kind: str
    n_trials: int
    cells: dict[str, Cell]
    curve: tuple[tuple[float, float], ...]
    first_epoch: Cell
    sparsity: tuple[Summary, ...]
    way: str | None
    pictures: dict[str, Any]
    tight: dict[str, Any]
    sizes: dict[str, int]
    mark: str = ""
    learned: str = ""

    @property
    def remark(self) -> str:
        """What whoever compares it must know; empty if there is nothing."""
        return ", ".join(one for one in (self.learned, self.mark) if one)

    @property
    def is_tight(self) -> bool | None:
        """Whether its estimates of log p(x) are, or None; see `gncn.study.paired.is_tight`."""
        return is_tight(self.tight)


def remark_on(rows: Sequence[ModelRow]) -> str:
    """What whoever compares these models must know: said once if it is the same of all."""
    if len({row.remark for row in rows}) == 1:
        return rows[0].remark
    return "; ".join(f"{row.title}: {row.remark}" for row in rows if row.remark)


def sizes_of(record: Record) -> dict[str, int]:
    """How large a model and its prior are, as far as that applies.

    A Gaussian mixture of K components on codes of n numbers has K weights and means, and for each
    component a covariance: n (n + 1) / 2 numbers if it is full, n if it is diagonal.
    """
    options, prior = options_of(record.spec), record.metrics.get("prior", {})
    sizes = {} if record.n_synapses is None else {"synapses": record.n_synapses}
    # A classifier and a density of pixels have no codes.
    if (kind := options["config.model"]) not in ("dsrn", "gmm"):
        layers, latent = "config.network.sizes", "config.backprop.n_latent"
        top = options[layers][-1] if kind == "gncn" else options[latent]
        sizes["units on top"] = top
        # Training may have fitted the prior, and then it is no mixture.
        if "n_components" in prior:
            spread = top * (top + 1) // 2 if prior["covariance"] == "full" else top
            sizes["numbers in the prior"] = prior["n_components"] * (1 + top + spread)
    return sizes

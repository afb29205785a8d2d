"""`ModelKind`: what a configuration needs to know of the kind of model that it names.

Networks (`gncn.training.hebbian`) and baselines (`gncn.baselines.kinds`) have theirs.
"""

import abc
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import Field

from gncn.base.description import Description
from gncn.core.build import Settling
from gncn.core.chain import Chain
from gncn.data import Dataset
from gncn.training.checkpoints import Checkpoints
from gncn.training.config import TrainingConfig
from gncn.training.fit import fit
from gncn.training.progress import Fit

Idle = tuple[str, tuple[str, ...], str]
"""A section, options of it that have no effect, and why: "without network.precision"."""


class Run(Description):
    """The part of a configuration that networks read; see `gncn.Config`."""

    model: str = "gncn"
    seed: int = Field(default=0, ge=0, lt=1 << 31)
    n_trials: int = Field(default=1, ge=1, le=10_000)
    network: Chain = Chain()
    settling: Settling = Settling()
    training: TrainingConfig = TrainingConfig()

    @property
    def seeds(self) -> list[int]:
        """The seed of each trial."""
        return [self.seed + trial for trial in range(self.n_trials)]


C = TypeVar("C", bound=Run, contravariant=True)


class ModelKind(abc.ABC, Generic[C]):
    """One kind of model; `C` is what it reads of a configuration.

    A method raises `ConfigError` or `DataError` if such a model can't be made for the data.

    Attributes:
        name: how a configuration names it (``model = "gvae"``).
        sections: the sections of a configuration that apply to it.
    """

    name: str
    sections: ClassVar[tuple[str, ...]]

    def idle(self, config: C) -> Iterator[Idle]:
        """Options of its sections that have no effect; by default none."""
        yield from ()

    def check(self, config: C) -> None:
        """Refuse values that don't go together, with a `ConfigError`; by default all do."""

    @abc.abstractmethod
    def models(self, config: C, data: Dataset) -> list[Any]:
        """Models before training, one for each trial."""

    @abc.abstractmethod
    def n_synapses(self, config: C, data: Dataset) -> int | None:
        """How many numbers a model learns; None for one without synapses."""

    @abc.abstractmethod
    def n_codes(self, config: C) -> int | None:
        """How many numbers an image's code has; None for a model without codes."""

    @abc.abstractmethod
    def describe(self, config: C, data: Dataset) -> str:
        """The model's layers and synapses in a few words."""

    def train(
        self,
        config: C,
        data: Dataset,
        callbacks: Any = (),
        checkpoints: Checkpoints | None = None,
    ) -> Fit[Any]:
        """Make the models and train them; see `fit`.

        Training goes on from the newest of the checkpoints, if there are any.
        """
        # A training that was killed before its first checkpoint begins again.
        goes_on = checkpoints is not None and bool(checkpoints.found)
        return fit(
            self.models(config, data),
            data,
            config.training,
            seeds=config.seeds,
            callbacks=callbacks,
            checkpoints=None if goes_on else checkpoints,
            resume_from=checkpoints if goes_on else None,
        )


MODEL_KINDS: dict[str, ModelKind[Any]] = {}
"""All kinds by name."""

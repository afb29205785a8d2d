"""`TrainingConfig`: how any model is trained, and which of its options a model takes."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic import Field

from gncn.base.description import Description
from gncn.base.errors import ConfigError
from gncn.training.optimiser import Rates, Rule, rates


class Plan(NamedTuple):
    """The fixed shape of a run.

    Attributes:
        rule: optimiser, schedule and bounds.
        n_epochs: length of the whole run, for the schedule.
        batch_size: images in a mini-batch.
        ipc_updates: see `TrainingConfig`.
    """

    rule: Rule
    n_epochs: int
    batch_size: int
    ipc_updates: int = 1


class TrainingConfig(Rule):
    """How a model is trained: the `Rule`, the rates, and the length of the run.

    Attributes:
        n_epochs: passes over the training images.
        batch_size: images in a mini-batch.
        learning_rate: step of W and E, or of a baseline's weights.
        feedback_rate: λ of Eq 19, the step of E relative to that of W.
        precision_rate: step of Σ⁻¹ (Eq 7).
        evaluation_batch_size: images evaluated at once.
        patience: stop after so many epochs in which no trial improved on the validation
            images, and keep each trial's best epoch.  None: train to the end and keep the
            last epoch.
        ipc_updates: how often synapses learn while a mini-batch settles.  1: once, after it
            has settled (the paper's recipe).  More is *incremental predictive coding* (iPC;
            Salvatori et al. 2022, 2024): synapses learn at evenly spaced settling steps,
            whose number it must divide.
    """

    n_epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=200, ge=1)
    learning_rate: float = Field(default=1e-3, ge=0)
    feedback_rate: float = Field(default=1.0, ge=0, le=1)
    precision_rate: float = Field(default=1e-3, ge=0)
    evaluation_batch_size: int = Field(default=200, ge=1)
    patience: int | None = Field(default=None, ge=1)
    ipc_updates: int = Field(default=1, ge=1)

    def rates(self) -> Rates:
        """The rates as arrays."""
        return rates(**{name: getattr(self, name) for name in RATES})

    def plan(self) -> Plan:
        """The fixed shape of the run."""
        rule = Rule(**{name: getattr(self, name) for name in Rule.model_fields})
        return Plan(rule, self.n_epochs, self.batch_size, self.ipc_updates)


RATES = tuple(field.name for field in dataclasses.fields(Rates))
"""Options that may differ between models trained at once."""

_SPECIAL = ("feedback_rate", "precision_rate", "precision_bounds", "ipc_updates", "clip_norm")
"""Options that apply to some models only; the others apply to all."""


def untaken(*taken: str) -> tuple[str, ...]:
    """Options without effect on models of a kind that, of those for some models, has `taken`."""
    return tuple(name for name in _SPECIAL if name not in taken)


def refuse_idle(config: Description, names: Iterable[str], why: str, prefix: str = "") -> None:
    """Refuse values that differ from their defaults but would have no effect.

    Args:
        config: the options.
        names: the options that have no effect.
        why: completes the sentence "option=value has no effect ...".
        prefix: written before each name.

    Raises:
        ConfigError: naming the option and its value.
    """
    for name in names:
        field = type(config).model_fields.get(name)
        value = getattr(config, name)
        default = None if field is None else field.get_default(call_default_factory=True)
        if value != default:
            raise ConfigError(f"{prefix}{name}={value!r} has no effect {why}.")


def refuse_unequal(configs: Sequence[TrainingConfig]) -> None:
    """Refuse configurations of trials that one program can't train.

    Raises:
        ConfigError: they differ in more than their rates.
    """
    for name in TrainingConfig.model_fields:
        values = [getattr(config, name) for config in configs]
        if name not in RATES and any(value != values[0] for value in values):
            raise ConfigError(
                f"Models trained at once may differ in {', '.join(RATES)} and share all else; "
                f"received training.{name}={values}. Train them one by one."
            )

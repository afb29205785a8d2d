"""`RunSpec`: one run of a study, whole; and in what two specs differ."""

from collections.abc import Collection
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from gncn.base.description import Description
from gncn.measures import MEASURES, check_settings, make_measures
from gncn.runs.config import Config

_WITHOUT_CODES = ("gmm",)
_CLASSIFIERS = ("dsrn",)


def possible_measures(kind: str) -> tuple[str, ...]:
    """Names of the measures that a kind of model allows."""
    if kind in _CLASSIFIERS:
        return ()
    needless = kind not in _WITHOUT_CODES
    return tuple(n for n in MEASURES.names() if needless or not MEASURES.get(n).needs_codes)


class Evaluation(Description):
    """What is measured of every trained model, as by ``gncn evaluate``.

    Settings of measures are options, too, such as ``n_samples``; measures declare them.

    Attributes:
        measures: names of measures; each model gets the ones that it allows.
        first_trial_only: measures for the first trial only.
        seed: seed of everything that is random in measuring.
    """

    model_config = ConfigDict(extra="allow")

    measures: tuple[str, ...] = Field(default_factory=MEASURES.names)
    first_trial_only: tuple[str, ...] = ("embedding",)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _known_settings(cls, options: dict[str, Any]) -> dict[str, Any]:
        own = {name: value for name, value in options.items() if name in cls.model_fields}
        return own | check_settings({k: v for k, v in options.items() if k not in own})

    @field_validator("measures", "first_trial_only")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        make_measures(names, {})
        return names

    @property
    def settings(self) -> dict[str, Any]:
        """The value of every setting of every measure."""
        return dict(self.model_extra or {})

    def without(self, measures: Collection[str]) -> "Evaluation":
        """The same without some measures."""
        kept = tuple(name for name in self.measures if name not in measures)
        return self.model_copy(update={"measures": kept})

    def of(self, model: str, trial: int) -> "Evaluation":
        """What applies to a trial of a kind of model."""
        possible = possible_measures(model)
        once = self.first_trial_only if trial > 0 else ()
        chosen = tuple(name for name in self.measures if name in possible and name not in once)
        return self.model_copy(update={"measures": chosen, "first_trial_only": ()})


class RunSpec(Description):
    """One run, whole: `gncn.study.run.run_one` needs nothing else.

    Attributes:
        model: what the study calls the model.
        data: what the study calls the data set.
        trial: number of the trial, from 0.
        config: configuration of one model, with the trial's seed.
        split: images to report on.
        evaluation: what to measure of them.
    """

    model: str
    data: str
    trial: int
    config: Config
    split: Literal["validation", "test"]
    evaluation: Evaluation

    @property
    def name(self) -> str:
        """``model/data/trial``."""
        return f"{self.model}/{self.data}/{self.trial}"

    def for_record(self) -> dict[str, Any]:
        """As JSON, without the place of the data files and without sections that don't apply."""
        described = self.model_dump(mode="json")
        applies = ("model", "seed", "n_trials", "data", *self.config.kind.sections)
        config = {name: described["config"][name] for name in applies}
        config["data"] = config["data"] | {"data_dir": None}
        return described | {"config": config}

    def differences(self, recorded: dict[str, Any]) -> list[str]:
        """What of this spec a recorded one says otherwise, in words; empty if nothing.

        Where data lie doesn't count: records hold a fingerprint.  An option that the
        record doesn't know is the same if it has its default.
        """
        return differences(recorded, self.model_dump(mode="json"))


def differences(
    before: dict[str, Any], after: dict[str, Any], *, but_for: Collection[str] = ()
) -> list[str]:
    """What two specs of a model, as JSON, say differently, in words.

    Args:
        before: one, or what an older version of the library recorded of it: an option that
            is missing has its default.
        after: the other; here, too, an option that is missing has its default.
        but_for: options that don't matter, such as ``config.seed``.
    """
    defaults = _flat(
        {
            "config": Config(model=after["config"]["model"]).model_dump(mode="json"),
            "evaluation": Evaluation().model_dump(mode="json"),
        }
    )
    then, now = defaults | _flat(before), defaults | _flat(after)
    changes = []
    for name in sorted({*now, *then} - {"config.data.data_dir", *but_for}):
        old, new = then.get(name, "unset"), now.get(name, "unset")
        if old != new:
            changes.append(f"{name.removeprefix('config.')}: {old!r} → {new!r}")
    return changes


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = inner
    return flat

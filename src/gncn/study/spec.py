"""`RunSpec`: one run of a study, whole; and the parts that studies and searches are made of."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError
from gncn.measures import MEASURES, check_settings, make_measures
from gncn.runs.config import Config
from gncn.runs.presets import read_settings
from gncn.runs.toml import overlay

Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
"""What names files."""


class Basis(Description):
    """How a model is made.

    Attributes:
        preset: name of a preset.
        settings: laid over it, in the sections of a configuration.
    """

    preset: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)

    def on_data(
        self,
        variant: "Basis",
        data: str,
        settings: Mapping[str, Any],
        *,
        data_dir: object,
        seed: int,
    ) -> dict[str, Any]:
        """The settings of one run on a data set, unchecked and without defaults.

        The settings of `variant` are laid over these, but a preset of its own replaces the one
        here.  `settings` are those of the section ``[data]``.

        Raises:
            ConfigError: the preset is unknown.
        """
        values = read_settings(preset=variant.preset or self.preset)
        values = overlay(overlay(values, self.settings), variant.settings)
        values["data"] = {"name": data, **settings}
        if data_dir is not None:
            values["data"]["data_dir"] = str(data_dir)
        return values | {"seed": seed, "n_trials": 1}


class Measuring(Description):
    """How models are measured.

    Settings of measures are options, too, such as ``n_samples``; measures declare them.

    Attributes:
        seed: seed of everything that is random in measuring.
    """

    model_config = ConfigDict(extra="allow")

    seed: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _known_settings(cls, options: dict[str, Any]) -> dict[str, Any]:
        own = {name: value for name, value in options.items() if name in cls.model_fields}
        settings = {name: value for name, value in options.items() if name not in own}
        return own | check_settings(settings)

    @property
    def settings(self) -> dict[str, Any]:
        """The value of every setting of every measure."""
        return dict(self.model_extra or {})


def possible_measures(kind: str) -> tuple[str, ...]:
    """Names of the measures that a kind of model allows."""
    if kind == "dsrn":  # a classifier
        return ()
    return tuple(n for n in MEASURES.names() if kind != "gmm" or not MEASURES.get(n).needs_codes)


class Evaluation(Measuring):
    """What is measured of every trained model, as by ``gncn evaluate``.

    Attributes:
        measures: names of measures; each model gets the ones that it allows.
        first_trial_only: measures for the first trial only.
    """

    measures: tuple[str, ...] = Field(default_factory=MEASURES.names)
    first_trial_only: tuple[str, ...] = ("embedding",)

    @field_validator("measures", "first_trial_only")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        make_measures(names, {})
        return names

    def of(self, model: str, trial: int, *, but_for: Collection[str] = ()) -> "Evaluation":
        """What applies to a trial of a kind of model, but for some measures."""
        left_out = {*but_for, *(self.first_trial_only if trial > 0 else ())}
        possible = {*possible_measures(model)} - left_out
        chosen = tuple(name for name in self.measures if name in possible)
        return self.model_copy(update={"measures": chosen, "first_trial_only": ()})


class RunSpec(Description):
    """One run, whole: `gncn.study.run.run_one` needs nothing else.

    Attributes:
        model: what the study calls the model; `data` is what it calls the data set.
        trial: number of the trial, from 0; `config` has its seed.
        split: images to report on.
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
        """What of this spec a recorded one says otherwise; see `differences`."""
        return differences(recorded, self.model_dump(mode="json"))


def differences(
    before: dict[str, Any], after: dict[str, Any], *, but_for: Collection[str] = ()
) -> list[str]:
    """What two specs of a model, as JSON, say differently, in words; empty if nothing.

    Where data lie doesn't count: records hold a fingerprint.  Options named in `but_for`, such as
    ``config.seed``, don't count either.  An option that one of the specs lacks, such as a record of
    an older version of the library, has its default there.
    """
    then, now = _options(before), _options(after)
    changes = []
    for name in sorted({*now, *then} - {"config.data.data_dir", *but_for}):
        old, new = then.get(name, "unset"), now.get(name, "unset")
        if old != new:
            changes.append(f"{name.removeprefix('config.')}: {old!r} → {new!r}")
    return changes


def _options(spec: dict[str, Any]) -> dict[str, Any]:
    """Every option of a spec by name, defaults included."""
    try:
        config = Config(**spec["config"]).resolved()
    except ConfigError:  # of a version with other options
        config = overlay(Config(model=spec["config"]["model"]).resolved(), spec["config"])
    evaluation = Evaluation().resolved() | spec.get("evaluation", {})
    return _flat(spec | {"config": config, "evaluation": evaluation})


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = inner
    return flat

"""`RunSpec`: one run of a study, whole, with its measures; and how two specs differ."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import jax
from pydantic import ConfigDict, Field, field_validator, model_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError
from gncn.measures import MEASURES, check_settings, make_measures, refuse_idle_settings
from gncn.runs.config import Config
from gncn.runs.toml import overlay

# A trial's own number, seed and measures; all else must agree.
TRIAL_OPTIONS = (
    "trial",
    "config.seed",
    "evaluation.seed",
    "evaluation.measures",
    "evaluation.first_trial_only",
)
"""In what trials of a model on one data set may differ and still be averaged."""


class Measuring(Description):
    """How models are measured: a seed, and any setting that some measure declares."""

    model_config = ConfigDict(extra="allow")

    seed: int = Field(default=0, ge=0, lt=1 << 31)

    @model_validator(mode="before")
    @classmethod
    def _known_settings(cls, options: Any) -> Any:
        if not isinstance(options, dict):
            return options
        own = {name: value for name, value in options.items() if name in cls.model_fields}
        # Checked with the settings of all measures, so an unknown one is refused.
        return own | check_settings({k: v for k, v in options.items() if k not in own})

    @property
    def settings(self) -> dict[str, Any]:
        """The value of every setting of every measure."""
        return dict(self.model_extra or {})

    def settings_of(self, measures: Collection[str]) -> dict[str, Any]:
        """The value of every setting that some of these measures reads."""
        read = {name for one in measures for name in MEASURES.get(one).model_fields}
        return {name: value for name, value in self.settings.items() if name in read}

    def refuse_idle(self, names: Collection[str], measures: Collection[str]) -> None:
        """Refuse settings of these names that none of these measures reads, by a `ConfigError`."""
        refuse_idle_settings({n: v for n, v in self.settings.items() if n in names}, measures)


def possible_measures(kind: str) -> tuple[str, ...]:
    """Names of the measures that a kind of model allows."""
    if kind == "dsrn":  # a classifier
        return ()
    return tuple(n for n in MEASURES.names() if kind != "gmm" or not MEASURES.get(n).needs_codes)


def _usual_measures() -> tuple[str, ...]:
    """Names of the measures that are taken unless some are named."""
    return tuple(name for name in MEASURES.names() if not MEASURES.get(name).on_request)


class Evaluation(Measuring):
    """The measures of every trained model, as by ``gncn evaluate``; each gets what it allows."""

    measures: tuple[str, ...] = Field(default_factory=_usual_measures)
    first_trial_only: tuple[str, ...] = ("embedding",)

    @field_validator("measures", "first_trial_only")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        make_measures(names, {})
        return names

    def of(self, model: str, trial: int, but_for: Collection[str]) -> "Evaluation":
        """The measures that apply to a trial of a kind of model, without some of them.

        Trials have seeds of their own, so that draws from priors are a part of their spread.
        """
        left_out = {*but_for, *(self.first_trial_only if trial > 0 else ())}
        possible = {*possible_measures(model)} - left_out
        chosen = tuple(name for name in self.measures if name in possible)
        own = {"measures": chosen, "first_trial_only": (), "seed": self.seed + trial}
        return self.model_copy(update=own)


class RunSpec(Description):
    """One run, whole: `gncn.study.run.run_one` needs nothing else.

    `model` and `data` are what the study calls them; trials count from 0; `split` is reported on.
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
        # Sections that don't apply would make records depend on defaults of other models.
        config = {name: described["config"][name] for name in applies}
        # Where the files lie differs between machines and changes nothing.
        config["data"] = config["data"] | {"data_dir": None}
        return described | {"config": config}

    def differences(self, recorded: dict[str, Any]) -> list[str]:
        """The differences of a recorded spec from this one; see `differences`."""
        return differences(recorded, self.model_dump(mode="json"))


def differences(
    before: dict[str, Any], after: dict[str, Any], *, but_for: Collection[str] = ()
) -> list[str]:
    """The differences of two specs of a model, as JSON, in words; empty if there are none.

    The folder where data lie doesn't count: records hold a fingerprint.  Options named in
    `but_for`, such as ``config.seed``, don't count either.  An option that one of the specs lacks,
    such as a record of an older version of the library, has its default there.
    """
    changed = changed_options(before, after, but_for=but_for)
    return [
        f"{name.removeprefix('config.')}: {old!r} → {new!r}" for name, (old, new) in changed.items()
    ]


def changed_options(
    before: dict[str, Any], after: dict[str, Any], *, but_for: Collection[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """The options in which two specs differ and their two values; see `differences`."""
    ignored = {"config.data.data_dir", *but_for}
    # Most specs that are compared say the same, and filling in defaults takes long.
    if _leaves(before, ignored) == _leaves(after, ignored):
        return {}
    # Defaults are filled in on both sides, so options that are new since then don't count.
    then, now = options_of(before), options_of(after)
    values = {
        name: (then.get(name, "unset"), now.get(name, "unset"))
        for name in sorted({*now, *then} - ignored)
    }
    return {name: (old, new) for name, (old, new) in values.items() if old != new}


def options_of(spec: dict[str, Any]) -> dict[str, Any]:
    """Every option of a spec by name, defaults included."""
    try:
        # What an older version wrote may not be a configuration today.
        config = Config(**spec["config"]).resolved()
    except ConfigError:  # of a version with other options
        config = overlay(Config(model=spec["config"]["model"]).resolved(), spec["config"])
    evaluation = Evaluation().resolved() | spec.get("evaluation", {})
    # The place of a file doesn't count; its fingerprint is in the record.
    config["data"] = config["data"] | {"name": Path(config["data"]["name"]).name}
    whole = spec | {"config": config, "evaluation": evaluation}
    return _leaves(whole)


def _leaves(spec: dict[str, Any], but_for: Collection[str] = ()) -> dict[str, Any]:
    leaves = jax.tree.leaves_with_path(spec, is_leaf=lambda value: not isinstance(value, dict))
    named = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
    return {name: value for name, value in named.items() if name not in but_for}

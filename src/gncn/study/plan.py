"""A study: models × data sets × trials from one TOML file, and the runs it asks for.

Each run's configuration is put together from below: the model's preset or file, its
settings, then what the study says of the model on that data set, then the data and seed.
"""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError, unknown_choice
from gncn.measures import MEASURES, check_settings, make_measures
from gncn.runs.config import Config
from gncn.runs.presets import read_settings
from gncn.runs.toml import overlay, packaged_names, read_packaged

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
Key = Annotated[str, Field(pattern=NAME)]
"""What names files."""

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
        measures: names of measures; each model gets those that it allows.
        first_trial_only: measures for the first trial only.
        seed: of all that is random in measuring.
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
        """The same but for some measures."""
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
        config: of one model; its seed is the trial's.
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
        """As JSON, without where the data files lie."""
        described = self.model_dump(mode="json")
        described["config"]["data"]["data_dir"] = None
        return described

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
        after: the other, likewise.
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


class Basis(Description):
    """How a model is made: a preset or a file, and settings laid over it.

    Attributes:
        preset: name of a preset.
        config: a TOML file, relative to that of the study or search.
        settings: laid over both, in the sections of a configuration.
    """

    preset: str | None = None
    config: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)

    def read(self, variant: "Basis", folder: Path | None) -> dict[str, Any]:
        """Settings, unchecked and without defaults.

        Args:
            variant: what differs: its settings are laid over these, but a preset or file
                of its own replaces those here.
            folder: what files are relative to.

        Raises:
            ConfigError: an unknown preset, or a file that isn't TOML.
        """
        basis = variant if variant.preset or variant.config else self
        file = None if basis.config is None else (folder or Path()) / basis.config
        values = read_settings(preset=basis.preset, file=file)
        return overlay(overlay(values, self.settings), variant.settings)


class Recipe(Basis):
    """How the runs of a model are made.

    Attributes:
        trials: how many; the data set's or the study's if None.
        minutes: about how long a run takes, for estimates before any has ended.
    """

    trials: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)


class Variant(Recipe):
    """A model on one data set: whatever differs; a preset or file replaces the model's.

    Attributes:
        skip: leave the data set out.
    """

    skip: bool = False


class StudyModel(Recipe):
    """A model of the study.

    Attributes:
        title: for people.
        on: what differs on single data sets.
    """

    title: str = ""
    on: dict[str, Variant] = Field(default_factory=dict)


class Targets(Description):
    """What a model should reach on one data set; None: no target.

    Attributes:
        bce: at most.
        log_likelihood: log p(x), at least.
        error_percent: of the probe, at most.
        m_mse_over_supervised: M-MSE over the supervised yardstick's, at most.
        top_sparsity: share of active neurons in the top layer, at most.
        best: columns in which to be the best of the models that learn in the same study.
        tried: by column, what was tried where a target isn't reached.
    """

    bce: float | None = None
    log_likelihood: float | None = None
    error_percent: float | None = None
    m_mse_over_supervised: float | None = None
    top_sparsity: float | None = None
    best: tuple[Literal["log_likelihood", "m_mse"], ...] = ()
    tried: dict[str, str] = Field(default_factory=dict)

    @field_validator("tried")
    @classmethod
    def _known_columns(cls, tried: dict[str, str]) -> dict[str, str]:
        """Columns are those of targets, and ``best_`` before those of `best`."""
        plain = [name for name in cls.model_fields if name not in ("best", "tried")]
        for name in tried:
            if name not in (known := [*plain, "best_log_likelihood", "best_m_mse"]):
                raise unknown_choice("target", name, known)
        return tried


class StudyData(Description):
    """A data set of the study.

    Attributes:
        title: for people.
        settings: the section ``[data]`` of every run; the name is the key's if not given.
        trials: how many; the study's if None.
        targets: for the model that the study names in `Study.targets_for`.
    """

    title: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    trials: int | None = Field(default=None, ge=1)
    targets: Targets | None = None


class Study(Description):
    """A study.

    Attributes:
        name: names the folder of its records.
        title: of the report.
        about: a paragraph for the report.
        split: images to report on: ``test`` for a final study, ``validation`` to choose.
        trials: how many of each model on each data set.
        seed: of the first trial; trial k has seed + k.
        targets_for: the model that targets are for.
        notes: paragraphs for the report: what was tried, what failed.
        evaluation: what is measured.
        data: data sets, in the report's order.
        models: models, in the report's order.
    """

    name: Key
    title: str = ""
    about: str = ""
    split: Literal["validation", "test"] = "test"
    trials: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
    targets_for: str = "gncn"
    notes: tuple[str, ...] = ()
    evaluation: Evaluation = Evaluation()
    data: dict[Key, StudyData]
    models: dict[Key, StudyModel]

    def title_of(self, key: str) -> str:
        """What people call a model or a data set of the study."""
        entry = self.models.get(key) or self.data.get(key)
        return (entry.title if entry else "") or key

    @property
    def n_runs(self) -> int:
        """How many runs the study asks for."""
        return sum(self.n_trials(model, data) for data in self.data for model in self.models)

    def minutes(self, model: str, data: str) -> float | None:
        """About how long a run takes, as the study says."""
        entry = self.models[model]
        variant = entry.on.get(data, Variant())
        return variant.minutes or entry.minutes

    def runs(
        self,
        *,
        folder: Path | None = None,
        only: Sequence[str] = (),
        data_dir: str | Path | None = None,
    ) -> list[RunSpec]:
        """The runs asked for, all first trials first.

        Args:
            folder: what files named in the study are relative to.
            only: patterns of ``model``, ``model/data`` or ``model/data/trial``.
            data_dir: folder of the original data files, for all runs.

        Raises:
            ConfigError: a configuration is wrong, or a pattern fits no run.
        """
        specs = []
        for data in self.data:
            here = [
                self._spec(model, data, trial, folder, data_dir)
                for model in self.models
                for trial in range(self.n_trials(model, data))
            ]
            specs += _with_yardsticks_once(here)
        specs.sort(key=lambda spec: spec.trial)
        chosen = {pattern: [s.name for s in specs if _fits(s, pattern)] for pattern in only}
        if idle := [pattern for pattern, names in chosen.items() if not names]:
            raise ConfigError(
                f"No run of the study {self.name!r} fits {', '.join(idle)}. Models: "
                f"{', '.join(self.models)}. Data sets: {', '.join(self.data)}. Write MODEL, "
                "MODEL/DATA or MODEL/DATA/TRIAL; * stands for any."
            )
        names = {name for fitting in chosen.values() for name in fitting}
        return [spec for spec in specs if not only or spec.name in names]

    def _variant(self, model: str, data: str) -> Variant:
        return self.models[model].on.get(data, Variant())

    def n_trials(self, model: str, data: str) -> int:
        """How many runs of a model on a data set it asks for."""
        if model not in self.models or data not in self.data:
            return 0
        entry, variant = self.models[model], self._variant(model, data)
        if variant.skip:
            return 0
        return variant.trials or entry.trials or self.data[data].trials or self.trials

    def _spec(
        self, model: str, data: str, trial: int, folder: Path | None, data_dir: str | Path | None
    ) -> RunSpec:
        config = self._config(model, data, trial, folder, data_dir)
        return RunSpec(
            model=model,
            data=data,
            trial=trial,
            config=config,
            split=self.split,
            evaluation=self.evaluation.of(config.model, trial),
        )

    def _config(
        self, model: str, data: str, trial: int, folder: Path | None, data_dir: str | Path | None
    ) -> Config:
        values = self.models[model].read(self._variant(model, data), folder)
        values["data"] = {"name": data, **self.data[data].settings}
        if data_dir is not None:
            values["data"]["data_dir"] = str(data_dir)
        values |= {"seed": self.seed + trial, "n_trials": 1}
        try:
            return Config(**values)
        except ConfigError as error:
            raise ConfigError(f"{model}/{data} of the study {self.name!r}: {error}") from error


def _fits(spec: RunSpec, pattern: str) -> bool:
    missing = 2 - pattern.count("/")
    return fnmatchcase(spec.name, pattern + "/*" * missing)


def study_names() -> tuple[str, ...]:
    """Names of the studies that come with the library."""
    return packaged_names("study.studies")


def load_study(study: str | Path) -> Study:
    """Read a study.

    Args:
        study: a TOML file, or the name of a study that comes with the library.

    Raises:
        ConfigError: it isn't there or isn't TOML, or an option or value is wrong.
    """
    found = Study(**read_packaged("study.studies", "study", study))
    aimed = [key for key, entry in found.data.items() if entry.targets is not None]
    if aimed and found.targets_for not in found.models:
        raise ConfigError(
            f"targets_for={found.targets_for!r} is no model of the study {found.name!r}, which has "
            f"{', '.join(found.models)}."
        )
    for model, entry in found.models.items():
        if unknown := [data for data in entry.on if data not in found.data]:
            raise ConfigError(
                f"models.{model}.on names {', '.join(unknown)}, but the study {found.name!r} has "
                f"the data sets {', '.join(found.data)}."
            )
    return found


def _with_yardsticks_once(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """The runs on one data set, of which only the first measures what depends on the data alone.

    Every run would find the same.
    """
    alone = {name for name in MEASURES.names() if MEASURES.get(name).of_data_alone}
    done: set[str] = set()
    once = []
    for spec in specs:
        repeated = done.copy()
        done |= alone & {*spec.evaluation.measures}
        once.append(spec.model_copy(update={"evaluation": spec.evaluation.without(repeated)}))
    return once

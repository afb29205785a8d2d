"""A study: models × data sets × trials from one TOML file, and the runs it asks for.

The configuration of a run has layers, each laid over the one before: the model's preset or file,
its settings, what the study says of the model on that data set, the data and the seed.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError, unknown_choice
from gncn.measures import MEASURES
from gncn.runs.config import Config
from gncn.runs.toml import packaged_names, read_packaged
from gncn.study.recipe import Key, StudyModel, Variant
from gncn.study.spec import Evaluation, RunSpec


class Targets(Description):
    """What a model should reach on one data set; None: no target.

    Attributes:
        bce: at most.
        log_likelihood: log p(x), at least.
        error_percent: error of the probe, at most.
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
        """Accept the names of targets, and ``best_`` followed by a name in `best`."""
        plain = [name for name in cls.model_fields if name not in ("best", "tried")]
        for name in tried:
            if name not in (known := [*plain, "best_log_likelihood", "best_m_mse"]):
                raise unknown_choice("target", name, known)
        return tried


class StudyData(Description):
    """A data set of the study.

    Attributes:
        title: its name in the report.
        settings: the section ``[data]`` of every run; the name is the key's if not given.
        trials: number of trials; the study's if None.
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
        title: title of the report.
        about: a paragraph for the report.
        split: images to report on: ``test`` for a final study, ``validation`` to choose.
        trials: number of trials of each model on each data set.
        seed: seed of the first trial; trial k has seed + k.
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
        ConfigError: the file is missing or isn't TOML, or an option or value is wrong.
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

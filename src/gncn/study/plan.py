"""`Study`: models × data sets × trials from one TOML file, and the runs it asks for."""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError, unknown_choice
from gncn.measures import MEASURES
from gncn.runs.config import Config
from gncn.runs.toml import read_packaged
from gncn.study.spec import Basis, Evaluation, Key, RunSpec


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


class Recipe(Basis):
    """How the runs of a model are made, on all data sets or on one.

    Attributes:
        trials: number of trials; the data set's or the study's if None.
        minutes: about how long a run takes, for estimates before any has ended.
    """

    trials: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)


class StudyModel(Recipe):
    """A model of the study.

    Attributes:
        title: its name in the report.
        on: what differs on single data sets.
    """

    title: str = ""
    on: dict[str, Recipe] = Field(default_factory=dict)


class Study(Description):
    """A study.

    Attributes:
        name: names the folder of its records.
        about: a paragraph for the report, which has the title `title`.
        split: images to report on: ``test`` for a final study, ``validation`` to choose.
        trials: number of trials of each model on each data set.
        seed: seed of the first trial; trial k has seed + k.
        targets_for: the model that targets are for.
        notes: paragraphs for the report: what was tried, what failed.
        data: data sets, in the report's order, as are `models`.
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

    def n_trials(self, model: str, data: str) -> int:
        """How many runs of a model on a data set it asks for."""
        if model not in self.models or data not in self.data:
            return 0
        one, entry = self._variant(model, data), self.models[model]
        return one.trials or entry.trials or self.data[data].trials or self.trials

    def minutes(self, model: str, data: str) -> float | None:
        """About how long a run takes, as the study says."""
        return self._variant(model, data).minutes or self.models[model].minutes

    def runs(
        self, *, only: Sequence[str] = (), data_dir: str | Path | None = None
    ) -> list[RunSpec]:
        """The runs asked for, all first trials first.

        What depends on the data alone is measured by one run on each data set: every run would
        find the same.

        Args:
            only: patterns of ``model``, ``model/data`` or ``model/data/trial``.
            data_dir: folder of the original data files, for all runs.

        Raises:
            ConfigError: a configuration is wrong, or a pattern fits no run.
        """
        alone = {name for name in MEASURES.names() if MEASURES.get(name).of_data_alone}
        specs = []
        for data in self.data:
            measured: set[str] = set()
            for model in self.models:
                for trial in range(self.n_trials(model, data)):
                    spec = self._spec(model, data, trial, data_dir, measured)
                    measured |= alone & {*spec.evaluation.measures}
                    specs.append(spec)
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

    def _variant(self, model: str, data: str) -> Recipe:
        return self.models[model].on.get(data, Recipe())

    def _spec(
        self,
        model: str,
        data: str,
        trial: int,
        data_dir: str | Path | None,
        measured: Collection[str],
    ) -> RunSpec:
        entry, variant, settings = self.models[model], self._variant(model, data), self.data[data]
        seed = self.seed + trial
        values = entry.on_data(variant, data, settings.settings, data_dir=data_dir, seed=seed)
        try:
            config = Config(**values)
        except ConfigError as error:
            raise ConfigError(f"{model}/{data} of the study {self.name!r}: {error}") from error
        evaluation = self.evaluation.of(config.model, trial, but_for=measured)
        return RunSpec(
            model=model,
            data=data,
            trial=trial,
            config=config,
            split=self.split,
            evaluation=evaluation,
        )


def _fits(spec: RunSpec, pattern: str) -> bool:
    missing = 2 - pattern.count("/")
    return fnmatchcase(spec.name, pattern + "/*" * missing)


def load_study(study: str | Path) -> Study:
    """Read a study.

    Args:
        study: a TOML file, or the name of a study that comes with the library.

    Raises:
        ConfigError: the file is missing or isn't TOML, or an option or value is wrong.
    """
    found = Study(**read_packaged("study.studies", "study", study))
    aimed = any(entry.targets is not None for entry in found.data.values())
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

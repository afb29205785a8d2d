"""`Study`: models × data sets × trials from one TOML file.

`Basis` and `Recipe` say how a model is made; searches need them, too.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError, shortened, unknown_choice
from gncn.data.registry import dataset_names
from gncn.measures import MEASURES, refuse_idle_settings
from gncn.measures.code_yardsticks import FEATURE_TITLES, PIXELS
from gncn.runs.config import Config, read_settings
from gncn.runs.toml import overlay
from gncn.study.grid import Grid, placed, read_plan
from gncn.study.specs import Evaluation, RunSpec, possible_measures
from gncn.study.texts import Texts, places

Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
"""A key that can be part of a file's name."""
Trials = Annotated[int, Field(ge=1, le=10_000)]
MAX_RUNS = 100_000
STUDIES = "study/studies"
"""The folder of the library's own studies."""
B = TypeVar("B", bound="Basis")


class Basis(Description):
    """How a model is made: the name of a preset, and settings, by section, laid over it."""

    preset: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)

    def varied(self, variant: B) -> B:
        """A variant of this, with what it doesn't say itself taken from here."""
        # What the variant doesn't say comes from here; tables are laid over one another.
        here = {name: getattr(self, name) for name in type(variant).model_fields}
        said = {name: value for name, value in variant if value is not None}
        return type(variant)(**overlay(here, said))

    def on_data(self, section: dict[str, Any], data_dir: object, seed: int) -> dict[str, Any]:
        """The settings of one run, unchecked; `section` is ``[data]``, but for the data's folder.

        Raises:
            ConfigError: the preset is unknown.
        """
        place = {} if data_dir is None else {"data_dir": str(data_dir)}
        # The data, seed and number of trials are the study's, whatever the preset says.
        run = {"data": section | place, "seed": seed, "n_trials": 1}
        return overlay(read_settings(preset=self.preset), self.settings) | run


class Targets(Description):
    """Aims for a model on one data set: the least log p(x), the greatest errors and sparsity.

    Attributes:
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
        known = [*plain, "best_log_likelihood", "best_m_mse"]
        if unknown := [name for name in tried if name not in known]:
            raise unknown_choice("target", unknown[0], known)
        return tried


class StudyData(Description):
    """A data set of the study.

    Attributes:
        settings: the section ``[data]`` of every run; the name is the key's if not given.
        like: another data set of the study.  What is said for that holds here, too, except for
            title, targets and the data set's number of trials; what is said here goes before it.
            The images are the other data set's, unless the key is the name of a known data set.
        model_settings: settings of every model on these data, by section.
        without: models that don't learn on these data, nor on data that are like them.
        measures: which of the study's measures are taken on these data; by default all.
    """

    title: str = ""
    like: str | None = None
    model_settings: dict[str, Any] = Field(default_factory=dict)
    without: tuple[str, ...] = ()
    measures: tuple[str, ...] | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    trials: Trials | None = None
    targets: Targets | None = None


class Recipe(Basis):
    """How the runs of a model are made, on all data sets or on one.

    `trials` go before the data set's and the study's; `minutes` is about how long a run takes, for
    estimates before any has ended.
    """

    trials: Trials | None = None
    minutes: float | None = Field(default=None, gt=0)


class StudyModel(Recipe):
    """A model of the study: its title in the report, and what differs on single data sets.

    `point` holds the settings by name that tell one model of a `Grid` from the others.
    """

    title: str = ""
    on: dict[str, Recipe] = Field(default_factory=dict)
    point: dict[str, Any] = Field(default_factory=dict)


class Study(Texts):
    """A study.

    Attributes:
        split: images to report on: ``test`` for a final study, ``validation`` to choose.
        seed: of the first trial; trial k has seed + k, in training and in evaluation.
        targets_for: the model that targets are for, and claims that name none.
        data: data sets, in the report's order, as are `models`.
    """

    name: Key
    split: Literal["validation", "test"] = "test"
    trials: Trials = 1
    seed: int = Field(default=0, ge=0, lt=1 << 31)
    targets_for: str = "gncn"
    evaluation: Evaluation = Evaluation()
    data: dict[Key, StudyData]
    models: dict[Key, StudyModel]

    @model_validator(mode="before")
    @classmethod
    def _one_model_for_each_point(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Put the models that a grid stands for in its place."""
        models = options.get("models")
        if not isinstance(models, dict):
            return options
        spread: dict[str, Any] = {}
        for key, entry in models.items():
            if not (isinstance(entry, dict) and entry.keys() & Grid.model_fields.keys()):
                spread[key] = entry
                continue
            grid = {name: entry[name] for name in Grid.model_fields if name in entry}
            rest = {name: value for name, value in entry.items() if name not in grid}
            spread |= Grid(**grid).models(key, rest)
        return options | {"models": spread}

    @model_validator(mode="after")
    def _texts_name_what_there_is(self) -> "Study":
        self.check_names(self.targets_for, [*self.data], [*self.models])
        return self

    @model_validator(mode="after")
    def _names_are_known(self) -> "Study":
        for name, entry in self.data.items():
            others = [key for key, one in self.data.items() if one.like is None and key != name]
            if entry.like is not None and entry.like not in others:
                raise unknown_choice(f"data.{name}.like", entry.like, others)
            if unknown := [key for key in entry.without if key not in self.models]:
                raise unknown_choice(f"model in data.{name}.without", unknown[0], self.models)
            taken = self.evaluation.measures
            if unknown := [one for one in entry.measures or () if one not in taken]:
                raise unknown_choice(f"measure in data.{name}.measures", unknown[0], taken)
        return self

    @model_validator(mode="after")
    def _first_trials_have_measures(self) -> "Study":
        measures = self.evaluation.measures  # not in `Evaluation`, which may be one trial's alone
        usual = Evaluation().first_trial_only
        if others := {*self.evaluation.first_trial_only} - {*measures, *usual}:
            raise ConfigError(
                f"evaluation.first_trial_only names {', '.join(sorted(others))}, which "
                f"evaluation.measures doesn't: {', '.join(measures) or 'nothing is measured'}."
            )
        return self

    @model_validator(mode="after")
    def _not_too_many(self) -> "Study":
        if self.n_runs > MAX_RUNS:
            raise ConfigError(
                f"the study asks for {self.n_runs:,} runs; {MAX_RUNS:,} at most are possible."
            )
        return self

    def title_of(self, key: str) -> str:
        """The title of a model or a data set of the study."""
        entry = self.models.get(key) or self.data.get(key)
        title = (entry.title if entry else "") or key
        point = entry.point if isinstance(entry, StudyModel) else {}
        values = (f"{name.rpartition('.')[2]} {value}" for name, value in point.items())
        return ", ".join((title, *values))

    @property
    def n_runs(self) -> int:
        """How many runs the study asks for."""
        return sum(self.n_trials(model, data) for data in self.data for model in self.models)

    def n_trials(self, model: str, data: str) -> int:
        """How many runs of a model on a data set it asks for."""
        if model not in self.models or data not in self.data:
            return 0
        if any(model in self.data[key].without for key in self._alike(data)):
            return 0
        # The model's word goes before the data's, and that before the study's.
        return self.recipe(model, data).trials or self.data[data].trials or self.trials

    def recipe(self, model: str, data: str) -> Recipe:
        """How the runs of a model on a data set are made."""
        entry = self.models[model]
        found = entry.varied(Recipe())
        for key in self._alike(data):
            found = found.varied(Recipe(settings=self.data[key].model_settings))
            found = found.varied(entry.on.get(key, Recipe()))
        return found

    def _alike(self, data: str) -> list[str]:
        """A data set, after the one that it is like."""
        return [key for key in (self.data[data].like, data) if key is not None]

    def runs(
        self, *, only: Sequence[str] = (), data_dir: str | Path | None = None
    ) -> list[RunSpec]:
        """The runs asked for, all first trials first.

        Every run would find the same for measures that depend on the data alone, so one run on
        each data set takes them.  Where the number of codes counts, too, one run takes them for
        each such number: the first trial of the first model that has so many.  The model that
        targets are for goes before the others.

        Args:
            only: patterns of ``model``, ``model/data`` or ``model/data/trial``.
            data_dir: folder of the original data files, for all runs.

        Raises:
            ConfigError: a configuration is wrong, a pattern fits no run, or a text leaves open
                which of several widths it means.
        """
        measures = {name: MEASURES.get(name) for name in MEASURES.names()}
        alone = {name for name, one in measures.items() if one.of_data_alone}
        specs = []
        for data in self.data:
            measured: set[str] = set()
            configs = {
                (model, trial): self._config(model, data, trial, data_dir)
                for model in self.models
                for trial in range(self.n_trials(model, data))
            }
            firsts = {model: one for (model, trial), one in configs.items() if trial == 0}
            takers = {
                m: self._by_width(m, firsts) for m, one in measures.items() if one.of_width_alone
            }
            not_here = self._not_on(data)
            if "codes" in {*self.evaluation.measures} - not_here:
                self.refuse_open_widths(data, takers["codes"])
            for (model, trial), config in configs.items():
                once = {m for m, by in takers.items() if trial > 0 or model not in by.values()}
                left_out = measured | once | _without_density(config) | not_here
                evaluation = self.evaluation.of(config.model, trial, left_out)
                measured |= alone & {*evaluation.measures}
                specs.append(
                    RunSpec(
                        model=model,
                        data=data,
                        trial=trial,
                        config=config,
                        split=self.split,
                        evaluation=evaluation,
                    )
                )
        # A measure may be listed that no model of the study can have.
        usual = Evaluation().settings
        changed = {n: v for n, v in self.evaluation.settings.items() if v != usual[n]}
        taken = dict.fromkeys(m for s in specs for m in s.evaluation.measures)
        refuse_idle_settings(changed, taken)
        # First trials of everything come first, so an early report has something of each.
        specs.sort(key=lambda spec: spec.trial)
        # A pattern that fits nothing is most likely a typing error.
        if idle := [pattern for pattern in only if not any(fits(s.name, pattern) for s in specs)]:
            raise ConfigError(
                f"No run of the study {self.name!r} fits {', '.join(idle)}. Models: "
                f"{shortened(', '.join(self.models), 500)}. Data sets: {', '.join(self.data)}. "
                "Write MODEL, MODEL/DATA or MODEL/DATA/TRIAL; * stands for any."
            )
        return [s for s in specs if not only or any(fits(s.name, pattern) for pattern in only)]

    def _not_on(self, data: str) -> set[str]:
        """Measures of the study that are not taken on a data set."""
        said = [self.data[key].measures for key in self._alike(data)]
        chosen = next((one for one in reversed(said) if one is not None), self.evaluation.measures)
        return {*self.evaluation.measures} - {*chosen}

    def _by_width(self, measure: str, configs: dict[str, Config]) -> dict[int | None, str]:
        """The models that take a measure of the number of codes alone, by that number."""
        given = self.evaluation.settings_of([measure]).get("code_width")
        found: dict[int | None, str] = {}
        for model in sorted(configs, key=lambda model: model != self.targets_for):
            config = configs[model]
            if measure in possible_measures(config.model):
                found.setdefault(given or config.kind.n_codes(config), model)
        return found

    def refuse_open_widths(self, data: str, by_width: Mapping[Any, str]) -> None:
        """Refuse places in texts for features of a data set if their width is open.

        They mean features as wide as the codes of the model that targets are for, or else of the
        only width.  `by_width` holds the models in whose runs features are measured, by width.

        Raises:
            ConfigError: naming a place and the widths.
        """
        if len(by_width) < 2 or self.targets_for in by_width.values():
            return
        widths = shortened(", ".join(map(str, sorted(by_width))), 500)
        features = FEATURE_TITLES.keys() - {PIXELS, *self.models}
        for place in (place for text in self.texts for place in places(text)):
            if place[0] == data and place[1] in features:
                raise ConfigError(
                    f"{{{'.'.join(place)}}} in a text leaves open which features it means: the "
                    f"study has them of widths {widths}, none for targets_for="
                    f"{self.targets_for!r}. Let targets_for name a model with codes, or set "
                    "evaluation.code_width."
                )

    def _config(self, model: str, data: str, trial: int, data_dir: str | Path | None) -> Config:
        alike, seed = self._alike(data), self.seed + trial
        # A protocol has the images of the data set that it is like; a known data set has its own.
        section: dict[str, Any] = {"name": data if data in dataset_names() else alike[0]}
        for key in alike:
            section |= self.data[key].settings
        try:
            values = self.recipe(model, data).on_data(section, data_dir, seed)
            for name, value in self.models[model].point.items():
                values = placed(values, name, value)
            config = Config(**values)
            if config.training.train_on == "both" and self.split == "validation":
                raise ConfigError(
                    "training.train_on='both' learns from validation images, so they measure "
                    'nothing: report on test images (split = "test").'
                )
            return config
        except ConfigError as error:
            raise ConfigError(f"{model}/{data} of the study {self.name!r}: {error}") from error


def _without_density(config: Config) -> set[str]:
    """Measures that need a density, if the model's output is Bernoulli and has none of greys."""
    binary = config.model != "gncn" or config.network.wiring().binary
    if not binary or config.data.rule != "none":
        return set()
    return {name for name in MEASURES.names() if MEASURES.get(name).needs_density}


def fits(name: str, pattern: str) -> bool:
    """Whether a pattern fits a name such as ``model/data/trial``; what it leaves out may be any."""
    missing = name.count("/") - pattern.count("/")
    return fnmatchcase(name, pattern + "/*" * missing)


def load_study(study: str | Path) -> Study:
    """Read a study from a TOML file, or one that comes with the library by its name.

    Raises:
        ConfigError: the file is missing or isn't TOML, or an option or value is wrong.
    """
    plan = read_plan(STUDIES, "study", study)
    found = Study(**plan)
    # Only settings that somebody wrote: a stored study names all, even the ones without effect.
    found.evaluation.refuse_idle(plan.get("evaluation", {}), found.evaluation.measures)
    aimed = any(entry.targets is not None for entry in found.data.values())
    if aimed and found.targets_for not in found.models:
        raise ConfigError(
            f"targets_for={found.targets_for!r} is no model of the study {found.name!r}, which has "
            f"{shortened(', '.join(found.models), 500)}."
        )
    for model, entry in found.models.items():
        if unknown := [data for data in entry.on if data not in found.data]:
            raise ConfigError(
                f"models.{model}.on names {', '.join(unknown)}, but the study {found.name!r} has "
                f"the data sets {', '.join(found.data)}."
            )
    return found

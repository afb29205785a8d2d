"""`tune`: search for the settings that fall short least, by Optuna's TPE.

Every trial, failed ones included, is kept in a journal, from which a search that was
killed goes on, and in a JSON file for people.  After each tenth of a training the
intermediate shortfall is reported; a trial worse than the median of its predecessors
there is pruned.

Where trials learn from a part of the training images, the best of them and the recipe that the
search began with learn from all in the end, because what suits few images may not suit many.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from gncn.base.errors import ConfigError, DataError, DivergenceError, GncnError, RunError
from gncn.base.files import write_atomic
from gncn.data import Dataset
from gncn.runs.config import Config
from gncn.runs.train import train
from gncn.study.objective import (
    check_measurable,
    development_data,
    measure_columns,
    objective,
    references,
    shortfall,
)
from gncn.study.run import Report, Watch, source_digest
from gncn.study.search import Search, value_at
from gncn.training.history import EpochRecord

SECONDS = "seconds"
"""Attribute of all trials that ended by themselves; a killed one has none."""

FINALS = "finals"
"""Attribute of a search: what came of the trials that learned from all images, by number."""

_TENTHS = 10


def tune(
    search: Search,
    model: str,
    data: str,
    out: Path,
    *,
    data_dir: str | Path | None = None,
    report: Report = lambda _: None,
    on_trial: Report = lambda _: None,
) -> dict[str, Any]:
    """Spend what is left of one model's budget on one data set.

    The journal, the summary and the best configuration go to the folder `out`; one that holds them
    already is added to.  `report` receives what is being done, `on_trial` a line for every trial
    that has ended.

    Returns:
        The summary, as written to ``DATA-MODEL.json``.

    Raises:
        ConfigError: the search is wrong.
        RunError: the folder holds another search.
        KeyboardInterrupt: Ctrl-C; the trial at work will be begun again.
    """
    task = _Task(search, model, data, out, data_dir, report)
    while (left := task.budget.trials - len(task.spent())) > 0:
        report(f"{model} on {data}: {left} trials left")
        on_trial(task.one())
        jax.clear_caches()
        task.write()
    while (number := task.next_final()) is not None:
        on_trial(task.final(number))
        jax.clear_caches()
    return task.write()


class _UnfitError(Exception):
    """The settings of a trial are no good; says why."""

    def __init__(self, error: GncnError) -> None:
        super().__init__(f"{type(error).__name__}: {error}")


class _Pruning(Watch):
    """Reports the shortfall so far after each tenth of the epochs, and gives up if it is bad."""

    def __init__(self, trial: Trial, wanted: Mapping[str, float], report: Report) -> None:
        super().__init__(report, f"trial {trial.number}, ")
        self._trial, self._wanted, self._tenths = trial, wanted, 0

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Any]) -> None:
        super().on_epoch(records, networks)
        name, tenths = records[0].error_name, _TENTHS * records[0].epoch // self.n_epochs
        if name not in self._wanted or tenths == self._tenths or tenths == _TENTHS:
            return
        self._tenths = tenths
        error = records[0].validation.error
        self._trial.report(shortfall(name, error, self._wanted[name]), tenths)
        if self._trial.should_prune():
            raise optuna.TrialPruned


class _Task:
    """One model on one data set."""

    def __init__(
        self,
        search: Search,
        model: str,
        data: str,
        out: Path,
        data_dir: str | Path | None,
        report: Report,
    ) -> None:
        self.search, self.model, self.data, self.out = search, model, data, out
        self.report, self.entry = report, search.models[model]
        self.config = partial(search.config, model, data, data_dir=data_dir)
        self.space = search.space(model, data)
        self.any_config = self.config({name: bounds.first for name, bounds in self.space.items()})
        self.budget = search.budget_on(data)
        self.images = development_data(self.any_config, self.budget.train_images)
        check_measurable(self.entry.columns, search.measuring, self.images)
        self.wanted = references(search, model, data, self.images.name, self.any_config.model)
        self.name = f"{data}-{model}"
        self.study = self._study()

    def description(self) -> dict[str, Any]:
        """What must stay the same for a search to go on."""
        variants = {name: variant for name, variant in self.entry.on.items() if name == self.data}
        entry = self.entry.model_copy(update={"on": variants})
        return {
            "model": entry.model_dump(mode="json", exclude={"space", "space_on"}),
            "space": {name: bounds.resolved() for name, bounds in self.space.items()},
            "budget": self.budget.model_dump(mode="json", exclude={"trials", "finalists"}),
            "measuring": self.search.measuring.resolved(),
            "seed": self.search.seed,
            "wanted": self.wanted,
            "data": self.images.fingerprint,
        }

    def _study(self) -> optuna.Study:
        """The journal's study, begun or gone on with."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / f"{self.name}.journal"
        storage = JournalStorage(JournalFileBackend(str(path)))
        n_random = self.budget.random_trials
        study = optuna.create_study(
            study_name=self.name, storage=storage, direction="minimize", load_if_exists=True
        )
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=n_random, seed=self.search.seed + len(study.trials)
        )
        study.pruner = optuna.pruners.MedianPruner(n_startup_trials=n_random)
        known, described = study.user_attrs.get("search"), self.description()
        if known is None:
            study.set_user_attr("search", described)
        elif known != json.loads(json.dumps(described)):
            changed = [key for key, value in described.items() if known.get(key) != value]
            raise RunError(
                f"{path} was begun with another search (changed: {', '.join(changed)}). Restore "
                "it, or begin a new one with another --out."
            )
        if not study.trials:
            study.enqueue_trial(self._known_params())
        for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(left.number, state=TrialState.FAIL)  # its process was killed
            study.enqueue_trial(left.params)
        return study

    def _known_params(self) -> dict[str, Any]:
        """What the recipe itself says of the settings that may vary, where the space allows it.

        So a search can't end below what it began with.
        """
        recipe = self.config({}).model_dump()
        known = {name: value_at(recipe, name) for name in self.space}
        return {
            name: bounds.key(known[name])
            for name, bounds in self.space.items()
            if bounds.allows(known[name])
        }

    def spent(self) -> list[FrozenTrial]:
        """Trials that count against the budget: all that ended by themselves."""
        return [t for t in self.study.get_trials(deepcopy=False) if SECONDS in t.user_attrs]

    def one(self) -> str:
        """Do a trial; returns a line that tells of it."""
        trial = self.study.ask({name: r.distribution for name, r in self.space.items()})
        began = time.perf_counter()
        state, result = TrialState.PRUNED, None
        about: dict[str, Any]
        try:
            result, about = self._measure(trial)
            state = TrialState.COMPLETE
        except optuna.TrialPruned:
            about = {"why": "pruned: worse than the median at this stage"}
        except _UnfitError as error:
            about = {"why": str(error)}
        about[SECONDS] = time.perf_counter() - began
        for name, what in about.items():
            trial.set_user_attr(name, what)
        self.study.tell(trial, result, state=state)
        return self._line(f"trial {len(self.spent())} of {self.budget.trials}", about)

    def _measure(self, trial: Trial) -> tuple[float, dict[str, Any]]:
        try:
            config = self.config(self._settings(trial))
            n_synapses, most = config.n_synapses(self.images), self.budget.max_synapses
            if n_synapses is not None and n_synapses > most:
                raise ConfigError(f"{n_synapses:,} synapses are more than {most:,}.")
        except ConfigError as error:
            raise _UnfitError(error) from error
        return self._learn(config, self.images, _Pruning(trial, self.wanted, self.report))

    def _learn(self, config: Config, images: Dataset, watch: Watch) -> tuple[float, dict[str, Any]]:
        """Train; returns the objective, and the values and shortfalls of the columns that count."""
        entry, measuring = self.entry, self.search.measuring
        try:
            fit = train(config, images, listeners=[watch])
        except (ConfigError, DataError, DivergenceError) as error:
            raise _UnfitError(error) from error
        if fit.status == "interrupted":
            raise KeyboardInterrupt
        try:
            remember = partial(self._remembered, images)
            values = measure_columns(fit, images, entry.columns, measuring, remember, self.report)
        except DataError as error:  # such as codes that no mixture can be fitted to
            raise _UnfitError(error) from error
        value, short = objective(values, self.wanted, entry.combine)
        return value, {"values": values, "shortfalls": short}

    def _remembered(
        self, images: Dataset, name: str, measure: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """What a measure finds of the images alone, measured once for all models."""
        which = self.data if images is self.images else f"{self.data}-all"
        path = self.out / f"{which}-{name}.json"
        key = {"data": images.fingerprint, "measuring": self.search.measuring.resolved()}
        try:
            known = json.loads(path.read_text())
        except (OSError, ValueError):
            known = {}
        if {part: known.get(part) for part in key} != key:
            known = key | {"numbers": measure()}
            write_atomic(path, json.dumps(known, indent=1) + "\n")
        return known["numbers"]

    @cached_property
    def all_images(self) -> Dataset:
        """The data with all training images."""
        return development_data(self.any_config)

    @property
    def finals(self) -> dict[str, dict[str, Any]]:
        """What came of the trials that learned from all images, by number."""
        return self.study.user_attrs.get(FINALS, {})

    def _ranked(self) -> list[FrozenTrial]:
        """Complete trials, best first."""
        done = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return sorted(done, key=lambda trial: trial.values[0])

    def next_final(self) -> int | None:
        """The trial that is next to learn from all images; None if none is, or all have."""
        few = self.budget.train_images
        if few is None or few >= len(self.all_images.train):
            return None
        ranked, recipe = self._ranked(), self.study.trials[0].params
        begun = min((trial.number for trial in ranked if trial.params == recipe), default=None)
        best = [trial.number for trial in ranked[: self.budget.finalists]]
        wanted = best if begun is None else [begun, *best]
        return next((number for number in wanted if str(number) not in self.finals), None)

    def final(self, number: int) -> str:
        """Let a trial's settings learn from all images; returns a line that tells of it."""
        config = self.config(self._settings(self.study.trials[number]))
        watch = Watch(self.report, f"final of trial {number}, ")
        began = time.perf_counter()
        result: dict[str, Any]
        try:
            value, found = self._learn(config, self.all_images, watch)
            result = {"objective": value, **found}
        except _UnfitError as error:
            result = {"objective": None, "why": str(error)}
        result[SECONDS] = time.perf_counter() - began
        self.study.set_user_attr(FINALS, self.finals | {str(number): result})
        return self._line(f"trial {number} with all images", result)

    def _line(self, which: str, about: Mapping[str, Any]) -> str:
        """What came of a trial, in a line."""
        values = ", ".join(f"{name} {value:.3f}" for name, value in about.get("values", {}).items())
        what = values or about["why"]
        return f"{self.model} on {self.data}, {which}: {what} ({about[SECONDS]:.0f} s)"

    def _settings(self, trial: Trial | FrozenTrial) -> dict[str, Any]:
        return {name: self.space[name].value(drawn) for name, drawn in trial.params.items()}

    def _best(self) -> FrozenTrial | None:
        """The best trial that learned from all images; if none has yet, the best trial."""
        finals = self.finals.items()
        ended = [(f["objective"], int(n)) for n, f in finals if f["objective"] is not None]
        if ended:
            return self.study.trials[min(ended)[1]]
        return next(iter(self._ranked()), None)

    def write(self) -> dict[str, Any]:
        """Write the summary, and the best trial's configuration."""
        trials = self.study.get_trials(deepcopy=False)
        best = self._best()
        summary = {
            "about": "Every trial of a search, all numbers of validation images; test images "
            "were set aside when loaded. Shortfalls are in tenths of the wanted value.",
            "search": self.search.name,
            "model": self.model,
            "data": self.images.name,
            "searched": self.description(),
            "trials_allowed": self.budget.trials,
            "trials_spent": len(self.spent()),
            "versions": {name: metadata.version(name) for name in ("gncn", "jax", "optuna")},
            "source": source_digest(),
            "best": best.number if best else None,
            "trials": [self._plain(trial) for trial in trials if trial.state != TrialState.WAITING],
            FINALS: self.finals,
        }
        write_atomic(self.out / f"{self.name}.json", json.dumps(summary, indent=1) + "\n")
        if best is not None:
            config = self.config(self._settings(best))
            plain = config.data.model_copy(update={"data_dir": None})
            text = config.model_copy(update={"data": plain}).to_toml()
            write_atomic(self.out / f"{self.name}-best.toml", text)
        return summary

    def _plain(self, trial: FrozenTrial) -> dict[str, Any]:
        return {
            "number": trial.number,
            "state": trial.state.name.lower() if SECONDS in trial.user_attrs else "killed",
            "objective": trial.value if trial.state == TrialState.COMPLETE else None,
            "settings": self._settings(trial),
            "intermediate": {str(k): v for k, v in trial.intermediate_values.items()},
            **trial.user_attrs,
        }

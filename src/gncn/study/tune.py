"""`tune`: search for the settings that fall short least, by Optuna's TPE.

Every trial is kept in a journal, from which a search that was killed goes on, and in a JSON file
for people.  If the training error is all that counts, a trial is pruned that is worse than the
median of its predecessors after a tenth of its training.

A trial is locked while it is at work, so that several processes and hosts can share a search.

Trials may learn from a part of the training images, and what suits few images may not suit many.
In the end the best of them learn from all, and so does the recipe that the search began with; see
`gncn.study.finals`.
"""

import json
import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from gncn.base.errors import ConfigError, DataError, DivergenceError, InUseError, RunError
from gncn.base.files import read_json, source_digest, write_atomic
from gncn.base.interrupts import interrupts_held, pause
from gncn.base.locks import alone
from gncn.base.progress import Report
from gncn.data import Dataset
from gncn.runs.train import train
from gncn.study.columns import check_measurable, development_data, measure_columns, measures_of
from gncn.study.finals import Final, all_finals, best_final
from gncn.study.journal import FINALS, SECONDS, locks_of, read_journal
from gncn.study.record import make_running
from gncn.study.run import Watch
from gncn.study.search import (
    Search,
    SearchData,
    TrialMeasuring,
    combined,
    refuse_values,
    value_at,
)
from gncn.training.history import EpochRecord

_TENTHS = 10
_FINAL_RULES = {"finalists", "final_epochs"}
"""Parts of the budget that no trial depends on."""


def tune(
    search: Search,
    model: str,
    data: str,
    out: Path,
    *,
    data_dir: str | Path | None = None,
    wait: bool = False,
    report: Report = lambda _: None,
    on_trial: Report = lambda _: None,
) -> dict[str, Any]:
    """Spend what is left of one model's budget on one data set.

    The journal, the summary and the best configuration go to the folder `out`; one that holds them
    already is added to, by several processes at a time if need be.  With `wait`, trials that others
    are at are waited for, and what they leave behind is done.  `report` receives what is being
    done, `on_trial` a line for every trial that has ended.

    Returns:
        The summary, as written to ``DATA-MODEL.json``.

    Raises:
        ConfigError: the search is wrong.
        RunError: the folder holds another search.
        KeyboardInterrupt: Ctrl-C; the trial at work will be begun again.
    """
    task = _Task(search, model, data, out, data_dir, report)
    # `one` and `final` find work under locks, so several processes can run this loop.
    while True:
        if line := task.one() or task.final():
            on_trial(line)
            # Trials compile programs of their own, which would use up the process's memory maps.
            jax.clear_caches()
            task.write()
        elif (others := task.n_elsewhere()) and wait:
            report(f"{model} on {data}: waiting for {others} trials of other processes")
            pause(1.0)
        else:
            if others:
                on_trial(f"{model} on {data}: {others} trials are left to other processes")
            return task.write()


class _UnfitError(Exception):
    """The settings of a trial are no good; says why."""


class _Pruning(Watch):
    """Reports the shortfall so far after each tenth of the epochs, and gives up if it is bad."""

    def __init__(
        self, trial: Trial, columns: Sequence[str], entry: SearchData, report: Report
    ) -> None:
        super().__init__(report, f"trial {trial.number}, ")
        self._trial, self._columns, self._entry, self._tenths = trial, columns, entry, 0

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Any]) -> None:
        super().on_epoch(records, networks)
        name, tenths = records[0].error_name, _TENTHS * records[0].epoch // self.n_epochs
        # Where other numbers count, too, a poor error so far says too little of the trial.
        # Once in each tenth, but not at the end, where the trial is measured anyway.
        if self._columns != (name,) or tenths == self._tenths or tenths == _TENTHS:
            return
        self._tenths = tenths
        error = records[0].held_out.error
        self._trial.report(self._entry.shortfall(name, error), tenths)
        if self._trial.should_prune():
            raise optuna.TrialPruned


def _spent(study: optuna.Study) -> list[FrozenTrial]:
    return [one for one in study.get_trials(deepcopy=False) if SECONDS in one.user_attrs]


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
        try:
            # Any allowed values: the data's section doesn't depend on them.
            self.any_config = self.config({name: one.some[0] for name, one in self.space.items()})
            # As TOML has them, because that is how settings of the space are named.
            self.recipe = tomllib.loads(self.config({}).to_toml())
            refuse_values(self.space, self.recipe, self.config)
        except ConfigError as error:
            raise ConfigError(f"{model}/{data} of the search {search.name!r}: {error}") from error
        self.budget = search.budget_on(data)
        self.images = development_data(self.any_config, self.budget.train_images)
        self.columns, self.wanted = search.columns(model), search.data[data]
        check_measurable(self.columns, search.measuring, self.images)
        # Measures of the data alone, kept from trial to trial.
        self.of_data: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.locks = locks_of(self._file(".journal"))
        self.looking = partial(alone, self.locks, "a look at the trials", wait=True)
        with self.looking():
            self.study = self._study()

    def description(self) -> dict[str, Any]:
        """Everything that must stay the same for a search to go on."""
        variants = {name: variant for name, variant in self.entry.on.items() if name == self.data}
        entry = self.entry.model_copy(update={"on": variants})
        return {
            "model": entry.model_dump(mode="json", exclude={"space", "space_on"}),
            "space": {name: bounds.resolved() for name, bounds in self.space.items()},
            "budget": self.budget.model_dump(mode="json", exclude={"trials", *_FINAL_RULES}),
            "measuring": self._measuring(self.search.measuring),
            "seed": self.search.seed,
            "objective": self.search.objective.model_dump(mode="json"),
            "wanted": self.wanted.model_dump(mode="json", include={"yardsticks", "enough"}),
            "data": self.images.fingerprint,
        }

    def _measuring(self, measuring: TrialMeasuring) -> dict[str, Any]:
        """Settings of what is measured; others don't count."""
        return {"seed": measuring.seed, **measuring.settings_of(measures_of(self.columns))}

    def _changes(self, known: dict[str, Any], described: dict[str, Any]) -> list[str]:
        """What a search differs in from the one that a journal was begun with."""
        told, usual = known.get("measuring", {}), self._measuring(TrialMeasuring())
        # A setting that the journal doesn't know is newer than the journal, and had its default.
        known = known | {"measuring": {name: told.get(name, one) for name, one in usual.items()}}
        # There and back through JSON, as the journal has it.
        known, now = (json.loads(json.dumps(one)) for one in (known, described))
        return sorted(key for key in {*known, *now} if known.get(key) != now.get(key))

    @interrupts_held()
    def _study(self) -> optuna.Study:
        """The journal's study, begun or gone on with."""
        make_running(self.out)
        journal, summary, told = self._file(".journal"), self._file(".json"), 0
        # A summary that can't be read says nothing about the journal.
        with suppress(RunError):  # it is written again
            told = read_json(summary).get("trials_spent") if summary.exists() else 0
        study = read_journal(journal)
        spent = _spent(study)
        # The journal never has fewer trials than the summary.
        if isinstance(told, int) and told > len(spent):
            raise RunError(
                f"{journal} holds {len(spent)} of the {told} trials that {summary} records: it is "
                "damaged. Restore it, or begin a new search with another --out."
            )
        study.pruner = optuna.pruners.MedianPruner(n_startup_trials=self.budget.random_trials)
        described = self.description()
        if "search" not in study.user_attrs:
            study.set_user_attr("search", described)
        elif changed := self._changes(study.user_attrs["search"], described):
            raise RunError(
                f"{journal} was begun with another search (changed: {', '.join(changed)}). Restore "
                "it, or begin a new one with another --out."
            )
        # The first trial is the recipe's own settings, so the search can't end below them.
        if not study.trials:
            study.enqueue_trial(self._known_params())
        return study

    def _claim(self, what: object) -> AbstractContextManager[None]:
        """A trial's lock, by its number, or a final's.

        Raises:
            InUseError: on entering; another process is at it.
        """
        return alone(self.locks / str(what), "the trial")

    def _running(self) -> list[FrozenTrial]:
        """Trials at work elsewhere, after those whose processes were killed have been given up.

        Their settings are tried again.
        """
        running = []
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            try:
                with self._claim(trial.number):
                    # Nobody holds its lock, so its process was killed.
                    self.study.tell(trial.number, state=TrialState.FAIL)
                    # The same settings again: a kill must not cost a trial.
                    self.study.enqueue_trial(trial.params)
            except InUseError:
                running.append(trial)
        return running

    def _file(self, suffix: str) -> Path:
        return self.out / f"{self.data}-{self.model}{suffix}"

    def _known_params(self) -> dict[str, Any]:
        """The recipe's own values of the settings that may vary, where the space allows them.

        So a search can't end below what it began with.
        """
        drawn = {name: one.drawn(value_at(self.recipe, name)) for name, one in self.space.items()}
        return {name: value for name, value in drawn.items() if value is not None}

    def spent(self) -> list[FrozenTrial]:
        """Trials that count against the budget: all that ended by themselves."""
        return _spent(self.study)

    def one(self) -> str | None:
        """Do a trial; returns a line that tells of it, or None if none is left to begin."""
        with ExitStack() as claim:
            with self.looking(), interrupts_held():
                n_begun = len(self.spent()) + len(self._running())
                if (left := self.budget.trials - n_begun) <= 0:
                    return None
                # A seed for each trial: what comes after a kill is what would have come without.
                self.study.sampler = optuna.samplers.TPESampler(
                    n_startup_trials=self.budget.random_trials, seed=self.search.seed + n_begun
                )
                trial = self.study.ask({name: r.distribution for name, r in self.space.items()})
                # Locked before the look is over, so no process takes it for a killed one's.
                claim.enter_context(self._claim(trial.number))
            self.report(f"{self.model} on {self.data}: trials left: {left}")
            return self._try(trial)

    def _try(self, trial: Trial) -> str:
        inner = {f"{name}.{one}" for name, bounds in self.space.items() for one in bounds.settings}
        # After a tenth of its epochs a long training has had more updates than a short one.
        alike = "training.n_epochs" not in {*self.space, *inner}
        columns = self.columns if alike else ()
        watch = _Pruning(trial, columns, self.wanted, self.report)
        about = self._outcome(self._settings(trial), self.images, watch)
        value = about.pop("objective")
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        # Attributes first: a trial without them counts as killed.
        with interrupts_held():
            for name, what in about.items():
                trial.set_user_attr(name, what)
            self.study.tell(trial, value, state=state)
        return self._line(f"trial {len(self.spent())} of {self.budget.trials}", about)

    def _outcome(self, settings: dict[str, Any], images: Dataset, watch: Watch) -> dict[str, Any]:
        """The outcome of settings: the objective or why there is none, and all else found."""
        began = time.perf_counter()
        found: dict[str, Any] = {"objective": None}
        try:
            found = self._learn(settings, images, watch)
        except optuna.TrialPruned:
            found["why"] = "pruned: worse than the median at this stage"
        except _UnfitError as error:
            found["why"] = str(error)
        return found | {SECONDS: time.perf_counter() - began}

    def _learn(self, settings: dict[str, Any], images: Dataset, watch: Watch) -> dict[str, Any]:
        """Train; returns the objective, and the values and shortfalls of the columns that count."""
        columns, measuring = self.columns, self.search.measuring
        try:
            config = self.config(settings)
            n_synapses, most = config.n_synapses(images), self.budget.max_synapses
            # Too many synapses count as a bad setting, not as an error of the search.
            if n_synapses is not None and n_synapses > most:
                raise ConfigError(f"{n_synapses:,} synapses are more than {most:,}.")
            fit = train(config, images, callbacks=[watch])
        except (ConfigError, DataError, DivergenceError) as error:
            raise _UnfitError(f"{type(error).__name__}: {error}") from error
        try:
            values = measure_columns(fit, images, columns, measuring, self.of_data, self.report)
        except DataError as error:  # such as codes that no mixture can be fitted to
            raise _UnfitError(f"{type(error).__name__}: {error}") from error
        short = {column: self.wanted.shortfall(column, value) for column, value in values.items()}
        objective = combined(short, self.search.objective.combine)
        return {"objective": objective, "values": values, "shortfalls": short}

    @cached_property
    def all_images(self) -> Dataset:
        """The data with all training images."""
        return development_data(self.any_config)

    @property
    def finals(self) -> dict[str, dict[str, Any]]:
        """The outcomes of the trainings on all images, by `Final.key`."""
        return self.study.user_attrs.get(FINALS, {})

    def _ranked(self) -> list[FrozenTrial]:
        """Complete trials, best first."""
        done = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return sorted(done, key=lambda trial: trial.values[0])

    def _finals_left(self) -> list[Final]:
        """What has yet to learn from all images, once all trials have ended."""
        # Finals are for settings that learned from a part only, and come when all trials have
        # ended.
        return [] if self._running() else self._finals_due()

    def _finals_due(self) -> list[Final]:
        """The same, whether or not all trials have ended."""
        few = self.budget.train_images
        if few is None or few >= len(self.all_images.train):
            return []
        recipe = self.study.trials[0].params
        due = all_finals(self._ranked(), recipe, self.budget, self._n_epochs)
        return [one for one in due if one.key not in self.finals]

    def _n_epochs(self, trial: FrozenTrial) -> int | None:
        config = self.config(self._settings(trial))
        return config.training.n_epochs if "training" in config.kind.sections else None

    def final(self) -> str | None:
        """Let a trial's settings learn from all images; returns a line that tells of it.

        None if none is left, apart from trials that other processes are at.
        """
        for one in self._finals_left():
            with suppress(InUseError), self._claim(f"final-{one.key}"):
                if one.key not in self.finals:  # as another process may have done it meanwhile
                    return self._learn_from_all(one)
        return None

    def _learn_from_all(self, one: Final) -> str:
        watch = Watch(self.report, f"final of trial {one.number}, ")
        result = self._outcome(self._settings_of(one), self.all_images, watch)
        with self.looking(), interrupts_held():
            self.study.set_user_attr(FINALS, self.finals | {one.key: result})
        return self._line(f"trial {one.number} with all images{one.length}", result)

    def n_elsewhere(self) -> int:
        """Trials and finals that other processes are at, when `one` and `final` find none."""
        with self.looking():
            return len(self._running()) or len(self._finals_left())

    def _line(self, which: str, about: Mapping[str, Any]) -> str:
        """The outcome of a trial, in a line."""
        values = ", ".join(f"{name} {value:.3f}" for name, value in about.get("values", {}).items())
        what = values or about["why"]
        return f"{self.model} on {self.data}, {which}: {what} ({about[SECONDS]:.0f} s)"

    def _settings(self, trial: Trial | FrozenTrial) -> dict[str, Any]:
        return {name: self.space[name].value(drawn) for name, drawn in trial.params.items()}

    def _settings_of(self, final: Final) -> dict[str, Any]:
        return self._settings(self.study.trials[final.number]) | final.settings

    def _best(self) -> Final | None:
        """The best training on all images; if there is none yet, the best trial's."""
        ranked = [Final(trial.number) for trial in self._ranked()]
        return best_final(self.finals) or next(iter(ranked), None)

    def write(self) -> dict[str, Any]:
        """Write the summary, and the best trial's configuration."""
        with self.looking(), interrupts_held():
            return self._write()

    def _write(self) -> dict[str, Any]:
        trials = self.study.get_trials(deepcopy=False)
        best = self._best()
        summary = {
            "about": "Every trial of a search, all numbers of validation images; test images "
            "were set aside when loaded. Shortfalls are in tenths of the yardstick.",
            "search": self.search.name,
            "model": self.model,
            "data": self.images.name,
            "searched": self.description(),
            "trials_allowed": self.budget.trials,
            "trials_spent": len(self.spent()),
            "versions": {name: metadata.version(name) for name in ("gncn", "jax", "optuna")},
            "source": source_digest(),
            "best": best.number if best else None,
            "best_final": best.key if best and best.key in self.finals else None,
            "final_rules": self.budget.model_dump(mode="json", include=_FINAL_RULES),
            # Trials that wait in line have not been tried.
            "trials": [self._plain(trial) for trial in trials if trial.state != TrialState.WAITING],
            FINALS: self.finals,
            "finals_left": len(self._finals_due()),
        }
        write_atomic(self._file(".json"), json.dumps(summary, indent=1) + "\n")
        if best is not None:
            config = self.config(self._settings_of(best))
            # Without the place of the files, so that it serves on other machines.
            plain = config.data.model_copy(update={"data_dir": None})
            text = config.model_copy(update={"data": plain}).to_toml()
            write_atomic(self._file("-best.toml"), text)
        return summary

    def _plain(self, trial: FrozenTrial) -> dict[str, Any]:
        killed = trial.state.is_finished() and SECONDS not in trial.user_attrs
        return {
            "number": trial.number,
            "state": "killed" if killed else trial.state.name.lower(),
            "objective": trial.value if trial.state == TrialState.COMPLETE else None,
            "settings": self._settings(trial),
            "intermediate": {str(k): v for k, v in trial.intermediate_values.items()},
            **trial.user_attrs,
        }

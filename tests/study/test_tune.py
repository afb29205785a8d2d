"""Searches: the objective's signs, the budget, going on after a kill, no test images."""

import dataclasses
import itertools
import json
import threading
import tomllib
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
import tomli_w
from handmade import metrics
from typer.testing import CliRunner

import gncn
from gncn.base.errors import ConfigError, DataError, GncnError, RunError
from gncn.cli.app import app
from gncn.cli.study import _best, _in_words
from gncn.data import DataConfig, Split
from gncn.measures import Result, Subject, as_measurable
from gncn.measures.completion import Completion
from gncn.study import columns as measured_columns
from gncn.study import journal
from gncn.study import tune as tuning
from gncn.study.columns import check_measurable, development_data, measure_columns
from gncn.study.finals import Final, all_finals, best_final
from gncn.study.search import Budget, Range, Search, SearchData, combined, load_search, value_at
from gncn.study.specs import Measuring
from gncn.training.callbacks import Start
from gncn.training.fit import Fit, FitDivergenceError
from gncn.training.history import EpochRecord, SplitRecord

SEARCH = {
    "name": "made",
    "budget": {"trials": 5, "random_trials": 2, "max_synapses": 60_000},
    "objective": {"columns": ["bce", "top_sparsity"]},
    "data": {"digits": {"yardsticks": {"bce": 10.0, "top_sparsity": 0.2}}},
    "models": {
        "gncn": {
            "preset": "digits",
            "settings": {"training": {"n_epochs": 4}},
            "space": {
                "training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
                "network.max_norm.0": {"low": 1.0, "high": 5.0},
                "network.sizes": {"choices": [[24, 24, 24], [60, 60, 60]]},
                "settling.n_settle_steps": {"low": 5, "high": 10},
            },
        }
    },
}


def search_of(**space):
    own = SEARCH["models"]["gncn"]
    return Search(**SEARCH | {"models": {"gncn": own | {"space": space}}})


def search(**budget):
    return Search(**SEARCH | {"budget": SEARCH["budget"] | budget})


@pytest.mark.parametrize(
    ("column", "worse", "better"),
    [
        ("bce", 55.0, 45.0),
        ("error_percent", 3.0, 2.0),
        ("m_mse_over_supervised", 1.3, 1.0),
        ("top_sparsity", 0.3, 0.1),
        ("log_likelihood", -120.0, -100.0),
    ],
)
def test_shortfalls_are_positive_where_worse(column, worse, better):
    yardsticks = {"log_likelihood": -110.0, "bce": 50.0, "error_percent": 2.5}
    yardsticks |= {"m_mse_over_supervised": 1.1, "top_sparsity": 0.2}
    entry = SearchData(yardsticks=yardsticks)
    assert entry.shortfall(column, worse) > 0 > entry.shortfall(column, better)
    assert entry.shortfall(column, yardsticks[column]) == 0


def test_a_number_beyond_what_is_enough_gains_nothing():
    yardsticks = {"bce": 200.0, "log_likelihood": -200.0}
    entry = SearchData(yardsticks=yardsticks, enough={"bce": 50.0, "log_likelihood": -100.0})
    assert entry.shortfall("bce", 60.0) == pytest.approx(-7.0)
    assert entry.shortfall("bce", 40.0) == entry.shortfall("bce", 50.0) == pytest.approx(-7.5)
    assert entry.shortfall("log_likelihood", -120.0) == pytest.approx(-4.0)
    assert entry.shortfall("log_likelihood", -90.0) == pytest.approx(-5.0)


def test_the_worst_column_decides_and_the_mean_breaks_ties():
    entry = SearchData(yardsticks={"bce": 50.0, "log_likelihood": -110.0})
    short = {
        "bce": entry.shortfall("bce", 55.0),
        "log_likelihood": entry.shortfall("log_likelihood", -132.0),
    }
    assert short == pytest.approx({"bce": 1.0, "log_likelihood": 2.0})
    assert combined(short, "worst") == pytest.approx(2.0 + 0.1 * 1.5)
    assert combined(short | {"bce": 0.0}, "worst") < combined(short, "worst")
    assert combined(short, "mean") == pytest.approx(1.5)


def test_every_model_of_the_papers_search_has_the_same_objective():
    """Fewer columns only where a model has no more: a classifier, and a density without codes."""
    paper = load_search("paper")
    whole = {"bce", "log_likelihood", "error_percent", "m_mse_paper"}
    assert {model for model in paper.models if {*paper.columns(model)} != whole} == {"dsrn", "gmm"}
    assert paper.columns("dsrn") == ("error_percent",)
    assert paper.columns("gmm") == ("log_likelihood",)
    assert paper.budget.trials >= 30
    for data in paper.data.values():
        assert {*data.yardsticks} == whole
        assert {*data.enough} == {"bce"}


def test_every_search_of_the_paper_begins_with_the_models_recipe():
    """So that no model ends below its preset."""
    paper = load_search("paper")
    for model in paper.models:
        for data in paper.data:
            recipe = tomllib.loads(paper.config(model, data, {}).to_toml())
            for name, bounds in paper.space(model, data).items():
                assert bounds.drawn(value_at(recipe, name)) is not None, (model, data, name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"models": {"gncn": SEARCH["models"]["gncn"] | {"columns": ["error_percent"]}}},
            "models.gncn counts error_percent, which the objective doesn't",
        ),
        (
            {"data": {"digits": {"yardsticks": {"bce": 1.0}}}},
            "data.digits.yardsticks needs a number other than 0 for top_sparsity",
        ),
        (
            {"data": {"digits": {"yardsticks": {"bce": 0.0, "top_sparsity": 0.2}}}},
            "other than 0 for bce",
        ),
        (
            {"data": {"digits": SEARCH["data"]["digits"] | {"enough": {"error_percent": 2.0}}}},
            "data.digits has values of error_percent, which the objective doesn't count",
        ),
        (
            {
                "models": {
                    "gncn": SEARCH["models"]["gncn"]
                    | {"space_on": {"digits": {"data.binarisation": {"choices": ["none"]}}}}
                }
            },
            "models.gncn varies data.binarisation; a search may vary settings of models, not data",
        ),
        (
            {
                "models": {
                    "gncn": SEARCH["models"]["gncn"] | {"space": {"seed": {"low": 1, "high": 2}}}
                }
            },
            "models.gncn varies seed",
        ),
        (
            {
                "models": {
                    "gncn": SEARCH["models"]["gncn"]
                    | {
                        "space": {
                            "network": {"choices": [{"sizes": [4]}, {"sizes": [5]}]},
                            "network.sizes.0": {"low": 2, "high": 3},
                        }
                    }
                }
            },
            "models.gncn varies network.sizes.0, which the tables of another range set, too",
        ),
        ({"models": {}}, "models: .*at least 1 item"),
        *(
            (
                {"models": {"gncn": {"space": {"training.learning_rate": {"choices": wrong}}}}},
                f"choices must be .*received {said}",
            )
            for wrong, said in (
                (3, "3"),
                ([], r"\[\]"),
                ([0.01, float("nan")], "nan"),
                ([[[1, 2]]], r"\[\[1, 2\]\]"),
                ([{"a": None}], "{'a': None}"),
            )
        ),
        (
            {"data": {"digits": SEARCH["data"]["digits"] | {"enough": {"bce": 10.5}}}},
            "data.digits.enough must be better than the yardstick of bce, 10.0; received 10.5",
        ),
    ],
)
def test_an_objective_is_the_same_for_all(change, message):
    with pytest.raises(ConfigError, match=message):
        Search(**SEARCH | change)


def test_a_setting_that_nothing_reads_is_refused(tmp_path):
    file = tmp_path / "made.toml"
    # The default, too, has no effect if nothing reads it.
    for n_samples in (9, Measuring().settings["n_samples"]):
        plan = SEARCH | {"measuring": {"n_samples": n_samples}}
        file.write_text(tomli_w.dumps(plan), encoding="utf-8")
        with pytest.raises(ConfigError, match="n_samples=.* has no effect: only 'likelihood'"):
            load_search(file)


def test_every_setting_of_the_packaged_searches_exists():
    for name in ("paper", "curves", "tiny"):
        found = load_search(name)
        for model in found.models:
            for data in found.data:
                for end in ("low", "high"):
                    drawn = {
                        k: (list(r.choices[0]) if isinstance(r.choices[0], tuple) else r.choices[0])
                        if r.choices
                        else getattr(r, end)
                        for k, r in found.space(model, data).items()
                    }
                    found.config(model, data, drawn)
    with pytest.raises(ConfigError, match="'settling.step_size.0': '0' is no part of 0.2"):
        found.config("gncn", "digits", {"settling.step_size.0": 1.0})
    with pytest.raises(ConfigError, match="step_sise"):
        found.config("gncn", "digits", {"settling.step_sise": 1.0})
    with pytest.raises(ConfigError, match="low=3, high=2"):
        Search(**SEARCH | {"models": {"a": {"space": {"b": BAD}}}})


BAD = {"low": 3, "high": 2}


def test_a_search_has_every_model_at_every_number_of_epochs(tmp_path):
    file = tmp_path / "s.toml"

    def written(n_epochs, **changes):
        file.write_text(tomli_w.dumps(SEARCH | {"n_epochs": n_epochs} | changes), encoding="utf-8")
        return file

    own = SEARCH["models"]["gncn"]
    models = {"gncn": {"preset": "digits", "space": own["space"]}}
    found = load_search(written([2, 7], models=models))
    assert [*found.models] == ["gncn-2", "gncn-7"]
    made = [found.config(model, "digits", {}) for model in found.models]
    assert [one.training.n_epochs for one in made] == [2, 7]
    assert made[0].network == Search(**SEARCH).config("gncn", "digits", {}).network
    again = Search(**found.model_dump(mode="json"))  # as other processes get it
    assert again == found
    for wrong, said in (
        (0, "list of whole numbers; received 0"),
        ([], r"list of whole numbers; received \[\]"),
        ([2, 0], r"n_epochs\.1 must be at least 1"),
    ):
        with pytest.raises(ConfigError, match=said):
            load_search(written(wrong))
    with pytest.raises(ConfigError, match="gncn"):
        load_search(written([2], models={"gncn": 3}))
    alone = {"preset": "digits", "space": own["space"]}
    for where in (
        {"space": own["space"] | EPOCHS},
        {"space_on": {"digits": EPOCHS}},
        {"space": {"training": {"choices": [{"n_epochs": 7}]}}},
        {"settings": {"training": {"n_epochs": 4}}},
        {"on": {"digits": {"settings": {"training": {"n_epochs": 4}}}}},
    ):
        with pytest.raises(ConfigError, match=r"gncn/digits of .* sets training\.n_epochs, which"):
            load_search(written([2], models={"gncn": alone | where}))
    for wrong in (3, {"training": 3}):
        with pytest.raises(ConfigError, match=r"settings|training.*received 3"):
            load_search(written([2], models={"gncn": alone | {"settings": wrong}}))


EPOCHS = {"training.n_epochs": {"low": 1, "high": 2}}


def test_a_search_names_the_model_and_data_whose_setting_is_wrong(tmp_path):
    unknown = search_of(**{"training.learning_rat": {"low": 1e-3, "high": 1e-2}})
    with pytest.raises(ConfigError, match=r"^gncn/digits of the search 'made': .*'learning_rat'"):
        tuning.tune(unknown, "gncn", "digits", tmp_path)
    preset = Search(**SEARCH | {"models": {"gncn": {"preset": "digitz", "space": {}}}})
    with pytest.raises(ConfigError, match=r"^gncn/digits of the search 'made': Unknown preset"):
        tuning.tune(preset, "gncn", "digits", tmp_path)
    fractions = search_of(**{"training.n_epochs": {"low": 1, "high": 2.5}})
    with pytest.raises(ConfigError, match=r"n_epochs takes whole numbers.*low=1, high=2\.5"):
        tuning.tune(fractions, "gncn", "digits", tmp_path)
    for name, wrong, said in (
        ("training.n_epochs", {"choices": [1, 2.5]}, r"n_epochs.*received 2\.5"),
        ("training.n_epochs", {"choices": [3, "many"]}, r"n_epochs.*received 'many'"),
        ("training.optimizer", {"choices": ["adam", "adan"]}, r"'adam' or 'sgd'; received 'adan'"),
        ("training.learning_rate", {"low": -1.0, "high": 1.0}, r"learning_rate.*received -1\.0"),
        ("training", {"choices": [{"n_epochs": 1}, {"n_epochs": 0}]}, r"n_epochs.*received 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            tuning.tune(search_of(**{name: wrong}), "gncn", "digits", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_values_that_only_fit_each_other_are_no_mistakes(pretence, tmp_path):
    """The second choices of one setting go with those of another, or with the recipe."""
    recipe = gncn.load_config(preset="digits").network
    both = search_of(
        **{
            "network.sizes": {"choices": [[10, 10, 10], recipe.sizes]},
            "network.group_size": {"choices": [[5, 5, 5], recipe.group_size]},
        }
    )
    tuning.tune(both, "gncn", "digits", tmp_path)


def test_bounds_may_differ_on_a_data_set():
    paper = load_search("paper")
    assert paper.space("gncn", "mnist")["training.n_epochs"].high == 24
    assert paper.space("gncn", "caltech-16")["training.n_epochs"].high == 40
    assert len(paper.space("gncn", "caltech-16")) == len(paper.space("gncn", "mnist"))
    model = SEARCH["models"]["gncn"] | {"space_on": {"mnist": {}}}
    with pytest.raises(ConfigError, match="speaks of 'mnist', and the search has the data digits"):
        Search(**SEARCH | {"models": {"gncn": model}})


def test_a_data_set_may_begin_with_a_preset_of_its_own():
    paper = load_search("paper")
    for data, preset in (("caltech-16", "caltech"), ("fashion-mnist", "fashion-mnist")):
        found, wanted = paper.config("gncn", data, {}), gncn.load_config(preset=preset)
        assert found.network == wanted.network
        assert found.settling.settler.products == "bfloat16"  # laid over every preset


def test_a_search_begins_with_what_its_recipe_says(pretence, tmp_path):
    summary = tuning.tune(search(), "gncn", "digits", tmp_path)
    first, digits = pretence.configs[0], gncn.load_config(preset="digits")
    assert first.training.learning_rate == digits.training.learning_rate
    assert first.network == digits.network
    assert 5 <= first.settling.settler.n_settle_steps <= 10  # the preset's 20 is out of bounds
    wider = SEARCH["models"]["gncn"]["space"] | {"settling.n_settle_steps": {"low": 5, "high": 30}}
    models = {"gncn": SEARCH["models"]["gncn"] | {"space": wider}}
    tuning.tune(Search(**SEARCH | {"models": models}), "gncn", "digits", tmp_path / "wider")
    assert pretence.configs[5].settling.settler.n_settle_steps == 20
    assert summary["trials"][0]["settings"]["network.max_norm.0"] == 4.0
    assert pretence.configs[1].training.learning_rate != digits.training.learning_rate


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        ({"low": 1, "high": 9}, [1, 5, 9], [0, 10, 5.0]),
        ({"low": 0.1, "high": 0.7}, [0.1, 0.25, 0.7], [0.09, 0.71, None, "0.3"]),
        ({"choices": [[1, 2], 3]}, [[1, 2], 3], [[1, 3], 1, None]),
        ({"choices": [True, "a"]}, [True, "a"], [False, "b"]),
        (
            {"choices": [{"sizes": [4, 2], "bias": True}, {"sizes": [6, 3]}]},
            [{"sizes": [4, 2], "bias": True}, {"sizes": [6, 3]}],
            [{"sizes": [4, 2], "bias": False}, {"sizes": [4, 2]}, {}, None, 3],
        ),
    ],
)
def test_what_a_range_allows(bounds, inside, outside):
    bounds = Range(**bounds)
    assert [bounds.value(bounds.drawn(value)) for value in inside] == inside
    assert {bounds.drawn(value) for value in outside} == {None}


def test_settings_that_fit_each_other_are_drawn_together(tmp_path, pretence):
    shapes = [{"sizes": [36, 36], "group_size": [6, 12]}, {"sizes": [60, 40], "group_size": [5, 4]}]
    own = {"preset": "digits", "settings": {"network": shapes[1] | {"max_norm": [3.0, 1.0]}}}
    space = {"network": {"choices": shapes}, "network.max_norm.0": {"low": 2.0, "high": 6.0}}
    made = Search(**SEARCH | {"models": {"gncn": own | {"space": space}}, "budget": {"trials": 8}})
    summary = tuning.tune(made, "gncn", "digits", tmp_path)
    # The recipe comes first, and the section's other settings stay.
    first = pretence.configs[0].network
    assert (first.sizes, first.max_norm) == ((60, 40), (3.0, 1.0))
    for config, trial in zip(pretence.configs, summary["trials"], strict=True):
        shape = trial["settings"]["network"]
        assert shape in shapes
        assert list(config.network.sizes) == shape["sizes"]
        assert list(config.network.group_size) == shape["group_size"]
        assert config.network.max_norm[0] == trial["settings"]["network.max_norm.0"]
        assert config.network.max_norm[1] == 1.0
    assert len({config.network.sizes for config in pretence.configs}) == 2
    # It goes on from the journal.
    assert tuning.tune(made, "gncn", "digits", tmp_path) == summary


def test_every_shape_of_the_papers_network_fits_the_budget():
    paper = load_search("paper")
    for shape in paper.models["gncn-paper"].space["network"].choices:
        columns = [n / g for n, g in zip(shape["sizes"], shape["group_size"], strict=True)]
        assert columns[-1] == 20
        assert all(one.is_integer() for one in columns)
        for data in paper.data:
            values = {"network": dict(shape), "network.precision": "full"}
            config = paper.config("gncn-paper", data, values)
            below = (784 if data != "caltech-16" else 256, *config.network.sizes)
            products = sum(a * b for a, b in itertools.pairwise(below))
            # W and E, and Σ⁻¹ of the two layers that are predicted and real-valued.
            assert 2 * products + sum(n * n for n in below[1:-1]) <= paper.budget.max_synapses


class Pretence:
    """Instead of training: BCE is best near a learning rate of 1e-2."""

    def __init__(self):
        self.configs = []
        self.fail_at = {}

    def __call__(self, config, data, *, callbacks=()):
        number = len(self.configs)
        self.configs.append(config)
        if number in self.fail_at:
            raise self.fail_at[number]
        history = []
        for callback in callbacks:
            callback.on_start(Start(config.training.n_epochs, 1))
        for epoch in range(1, config.training.n_epochs + 1):
            error = 10 + 20 * abs(np.log10(config.training.learning_rate) + 2) + 10 / epoch
            one = SplitRecord(
                error=float(error), discrepancy=0.0, layer_discrepancy=(), sparsity=(0.3, 0.18)
            )
            record = EpochRecord(
                trial=0,
                epoch=epoch,
                error_name="negative_log_likelihood" if config.model == "gmm" else "bce",
                seconds=0.1,
                train=one,
                validation=one,
                test=one,
            )
            history.append(record)
            for callback in callbacks:
                callback.on_epoch([record], [])
        return Fit((), tuple(history), "finished", (config.training.n_epochs,))


@pytest.fixture
def pretence(monkeypatch):
    made = Pretence()
    monkeypatch.setattr(tuning, "train", made)
    return made


def unlabelled(monkeypatch):
    """From now on data have no labels."""
    digits = gncn.load_dataset("digits")
    bare = {
        name: dataclasses.replace(getattr(digits, name), labels=None)
        for name in ("train", "validation", "test")
    }
    data = dataclasses.replace(digits, **bare, n_classes=None)
    monkeypatch.setattr(DataConfig, "load", lambda _: data)


def test_the_budget_is_spent_and_every_trial_recorded(pretence, tmp_path):
    pretence.fail_at[1] = FitDivergenceError("diverged", Fit((), (), "diverged", ()))
    lines = []
    made = search(trials=12)
    summary = tuning.tune(made, "gncn", "digits", tmp_path, on_trial=lines.append)
    assert [line.split(":")[0] for line in lines] == [
        f"gncn on digits, trial {number} of 12" for number in range(1, 13)
    ]
    for line, one in zip(lines, summary["trials"], strict=True):
        assert (one["why"] if "why" in one else f"bce {one['values']['bce']:.3f}") in line
    assert summary == json.loads((tmp_path / "digits-gncn.json").read_text(encoding="utf-8"))
    assert summary["trials_spent"] == len(summary["trials"]) == 12
    states = [one["state"] for one in summary["trials"]]
    assert "complete" in states
    whys = [one["why"] for one in summary["trials"] if "why" in one]
    assert any("FitDivergenceError: diverged" in why for why in whys)
    assert len(whys) == 1
    complete = [one for one in summary["trials"] if one["state"] == "complete"]
    best = min(complete, key=lambda one: one["objective"])
    assert summary["best"] == best["number"]
    assert best["values"]["top_sparsity"] == 0.18
    chosen = gncn.load_config(file=tmp_path / "digits-gncn-best.toml")
    assert chosen.training.learning_rate == best["settings"]["training.learning_rate"]
    assert list(chosen.network.sizes) == best["settings"]["network.sizes"]
    assert chosen.network.max_norm[1:] == (1.0, 1.0)
    assert len({config.training.learning_rate for config in pretence.configs}) == 12


def test_trials_are_pruned_where_the_training_error_is_all_that_counts(pretence, tmp_path):
    """With other columns a poor error so far says too little: above, none is pruned."""
    alone = {"objective": {"columns": ["bce"]}, "data": {"digits": {"yardsticks": {"bce": 10.0}}}}
    made = Search(**SEARCH | alone | {"budget": SEARCH["budget"] | {"trials": 12}})
    summary = tuning.tune(made, "gncn", "digits", tmp_path)
    whys = [one["why"] for one in summary["trials"] if "why" in one]
    assert whys
    assert all("worse than the median" in why for why in whys)
    pruned = [one["objective"] for one in summary["trials"] if one["state"] == "pruned"]
    assert pruned == [None] * len(whys)


@pytest.mark.parametrize(
    "epochs",
    [
        {"training.n_epochs": {"low": 4, "high": 40}},
        pytest.param(
            {"training": {"choices": [{"n_epochs": 4}, {"n_epochs": 40}]}},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_trials_of_other_lengths_are_not_compared_half_way(epochs, pretence, tmp_path):
    own = SEARCH["models"]["gncn"]
    alone = {"objective": {"columns": ["bce"]}, "data": {"digits": {"yardsticks": {"bce": 10.0}}}}
    more = {"models": {"gncn": own | {"space": own["space"] | epochs}}}
    made = Search(**SEARCH | alone | more | {"budget": SEARCH["budget"] | {"trials": 12}})
    summary = tuning.tune(made, "gncn", "digits", tmp_path)
    assert {one["state"] for one in summary["trials"]} == {"complete"}


def test_the_commands_table_has_the_numbers_that_count(pretence, tmp_path):
    file = tmp_path / "search.toml"
    file.write_text(tomli_w.dumps(SEARCH), encoding="utf-8")
    done = CliRunner().invoke(app, ["tune", str(file), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0
    best = json.loads((tmp_path / "out/digits-gncn.json").read_text(encoding="utf-8"))
    value = best["trials"][best["best"]]["values"]["bce"]
    heading = next(line for line in done.stdout.splitlines() if "trials" in line and "bce" in line)
    assert "top_sparsity" in heading
    assert any(f"{value:.3f}" in line and "0.180" in line for line in done.stdout.splitlines())


def test_the_command_does_what_fits_several_at_a_time_and_says_the_best(
    pretence, monkeypatch, tmp_path
):
    file, helped = tmp_path / "search.toml", []
    few = SEARCH | {"budget": SEARCH["budget"] | {"trials": 2}}
    file.write_text(tomli_w.dumps(few), encoding="utf-8")

    def together(search, *task, jobs, on_trial, **_):
        helped.append((search.name, *task, jobs))
        on_trial("gncn on digits, trial 1 of 2: of another process")

    monkeypatch.setattr("gncn.study.together.tune_together", together)
    out, command = tmp_path / "out", ["tune", str(file), "--out", str(tmp_path / "out")]
    refused = CliRunner().invoke(app, [*command, "--only", "rae"])
    assert str(refused.exception) == (
        "Nothing in the search 'made' fits 'rae'. Models: gncn. Data sets: digits. "
        "Write MODEL or MODEL/DATA; * stands for any."
    )
    said = []
    monkeypatch.setattr("gncn.cli.study.say", lambda *lines, **_: said.extend(map(str, lines)))
    done = CliRunner().invoke(app, [*command, "--only", "gncn/*", "--jobs", "2", "--json"])
    assert done.exit_code == 0
    assert helped == [("made", "gncn", "digits", out, 2)]
    assert said[0].startswith("gncn on digits, trial 1 of 2: of another process, about ")
    (summary,) = json.loads(done.stdout)
    assert summary == json.loads((out / "digits-gncn.json").read_text(encoding="utf-8"))
    best = summary["trials"][summary["best"]]["objective"]
    how = f"{abs(best):.2f} tenths of the yardsticks {'short' if best > 0 else 'ahead'}"
    assert said[-1] == f"gncn on digits: 2 trials, the best is {how}"
    del said[:]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert len(helped) == 1  # one at a time needs no other process
    assert said[-1] == f"records: {out}"


def test_the_best_is_told_as_it_learned_from_all_images():
    trials = [{"number": n, "objective": n - 1.5, "values": {"bce": n}} for n in range(3)]
    told = {"trials": trials, "best": 2, "best_final": None, "finals": {}}
    assert _in_words(_best(told)) == "the best is 0.50 tenths of the yardsticks short"
    finals = {"2": {"objective": 9.0}, "2-7": {"objective": -0.25, "values": {"bce": 0.5}}}
    whole = _best(told | {"finals": finals, "best_final": "2-7"})
    assert whole["values"] == {"bce": 0.5}
    assert _in_words(whole) == "the best is 0.25 tenths of the yardsticks ahead"
    assert _in_words(_best(told | {"best": None})) == "none ended"


def test_the_time_left_of_a_model_is_reckoned_from_its_own_trials(monkeypatch, tmp_path):
    """Trainings on all images of the model before it took an hour."""
    file, said, clock = tmp_path / "search.toml", [], SimpleNamespace(now=0.0)
    both = dict.fromkeys(("gncn", "other"), SEARCH["models"]["gncn"])
    file.write_text(tomli_w.dumps(SEARCH | {"models": both}), encoding="utf-8")

    def trials(search, model, *_, on_trial, **__):
        for number in (1, 2):
            clock.now += 60
            on_trial(f"{model} on digits, trial {number} of 5: bce 1.0")
        clock.now += 3600
        empty = {"best": None, "best_final": None, "trials_spent": 2, "trials": [], "finals": {}}
        return empty | {
            "model": model,
            "data": "digits",
            "searched": {"wanted": {"yardsticks": {}}},
        }

    monkeypatch.setattr("gncn.study.tune.tune", trials)
    monkeypatch.setattr("gncn.cli.study.time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr("gncn.cli.study.say", lambda *lines, **_: said.extend(map(str, lines)))
    done = CliRunner().invoke(app, ["tune", str(file), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0
    times = [line.partition("about ")[2] for line in said if "trial " in line]
    assert times == 2 * ["4 min 00 s left", "3 min 00 s left"]


def test_too_many_synapses_cost_a_trial_and_are_not_trained(pretence, tmp_path):
    summary = tuning.tune(search(max_synapses=10), "gncn", "digits", tmp_path)
    assert pretence.configs == []
    assert summary["best"] is None
    assert all("synapses are more than 10" in one["why"] for one in summary["trials"])


def test_a_search_for_what_is_not_there_ends_at_once(pretence, monkeypatch, tmp_path):
    data = {"digits": {"yardsticks": {"bce": 10.0, "error_percent": 3.0}}}
    errors = {"objective": {"columns": ["error_percent", "bce"]}, "data": data}
    gmm = Search(**SEARCH | {"models": {"gmm": {**GMM, "columns": ["bce"]}}})
    with pytest.raises(ConfigError, match="'bce' means nothing for this model"):
        tuning.tune(gmm, "gmm", "digits", tmp_path / "a")
    for _ in range(2):  # and again at the same trial
        with pytest.raises(ConfigError, match="'bce' means nothing for this model"):
            tuning.tune(gmm, "gmm", "digits", tmp_path / "a")
    middle = {"measuring": {"missing": "middle"}}
    with pytest.raises(ConfigError, match="Unknown missing 'middle'"):
        tuning.tune(Search(**SEARCH | middle), "gncn", "digits", tmp_path / "b")
    labelled = Search(**SEARCH | errors)
    pretence.configs.clear()
    unlabelled(monkeypatch)
    with pytest.raises(ConfigError, match="'error_percent' needs labels, and the data 'digits'"):
        tuning.tune(labelled, "gncn", "digits", tmp_path / "c")
    assert pretence.configs == []


GMM = {"preset": "gmm", "space": {"mixture.n_components": {"low": 2, "high": 5}}}


def test_settings_whose_results_cannot_be_measured_cost_a_trial(pretence, monkeypatch, tmp_path):
    whole, numbers = tuning.measure_columns, iter(range(100))

    def measured(*arguments):
        if next(numbers) == 1:
            raise DataError("no mixture can be fitted")
        return whole(*arguments)

    monkeypatch.setattr(tuning, "measure_columns", measured)
    summary = tuning.tune(search(), "gncn", "digits", tmp_path)
    whys = [one.get("why") for one in summary["trials"]]
    assert whys.count("DataError: no mixture can be fitted") == 1
    assert summary["trials_spent"] == 5
    assert [one["state"] for one in summary["trials"]].count("killed") == 0


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"low": 0.0, "high": 1.0, "log": True}, "low above 0; received low=0.0"),
        ({"low": 1, "high": 2, "choices": [1]}, "or low and high, not both"),
        ({"choices": [{}, {"sizes": [3]}]}, "a table needs a setting; received an empty one"),
    ],
)
def test_ranges_that_nothing_can_be_drawn_from_are_refused(bounds, message):
    with pytest.raises(ConfigError, match=message):
        Range(**bounds)


def test_a_killed_search_goes_on_and_repeats_the_trial_at_work(pretence, tmp_path):
    pretence.fail_at[2] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        tuning.tune(search(), "gncn", "digits", tmp_path)
    summary = tuning.tune(search(), "gncn", "digits", tmp_path)
    assert summary["trials_spent"] == 5
    assert [one["state"] for one in summary["trials"]].count("killed") == 1
    assert pretence.configs[3] == pretence.configs[2]
    assert len(pretence.configs) == 6
    assert tuning.tune(search(), "gncn", "digits", tmp_path)["trials_spent"] == 5
    assert len(pretence.configs) == 6
    assert tuning.tune(search(trials=6), "gncn", "digits", tmp_path)["trials_spent"] == 6
    with pytest.raises(RunError, match=r"begun with another search \(changed: budget\)"):
        tuning.tune(search(max_synapses=9), "gncn", "digits", tmp_path)


def settings_of_ended(summary):
    return [one["settings"] for one in summary["trials"] if one["state"] != "killed"]


@pytest.mark.slow
def test_a_search_that_was_killed_tries_what_it_would_have_tried(pretence, tmp_path):
    whole = tuning.tune(search(trials=8), "gncn", "digits", tmp_path / "whole")
    for kill in (8, 11, 14):
        pretence.fail_at[kill] = KeyboardInterrupt()
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            tuning.tune(search(trials=8), "gncn", "digits", tmp_path / "killed")
    killed = tuning.tune(search(trials=8), "gncn", "digits", tmp_path / "killed")
    assert settings_of_ended(killed) == settings_of_ended(whole)
    assert len(killed["trials"]) == 11
    names = "digits-gncn-best.toml"
    texts = [(tmp_path / run / names).read_text(encoding="utf-8") for run in ("whole", "killed")]
    assert texts[0] == texts[1]


def test_two_at_once_share_the_trials(pretence, monkeypatch, tmp_path):
    """The second starts while the first is at its third trial, and does all that are left."""
    lines, others = [], []

    def trained(config, data, **options):
        if len(pretence.configs) == 2:
            monkeypatch.setattr(tuning, "train", pretence)
            others.append(
                tuning.tune(search(trials=6), "gncn", "digits", tmp_path, on_trial=lines.append)
            )
        return pretence(config, data, **options)

    monkeypatch.setattr(tuning, "train", trained)
    summary = tuning.tune(search(trials=6), "gncn", "digits", tmp_path)
    assert others[0]["trials_spent"] == 5
    assert lines[-1] == "gncn on digits: 1 trials are left to other processes"
    states = [one["state"] for one in others[0]["trials"]]
    assert states[2] == "running"
    assert summary["trials_spent"] == len(pretence.configs) == 6
    assert "killed" not in [one["state"] for one in summary["trials"]]
    assert len({config.training.learning_rate for config in pretence.configs}) == 6


@pytest.mark.slow
def test_what_a_killed_process_leaves_is_waited_for_and_done(pretence, monkeypatch, tmp_path):
    """The first process is at the last trial when it is killed, and the second waits for it."""
    lines, others = [], []

    def killed(config, data, **options):
        if len(pretence.configs) == 2:
            monkeypatch.setattr(tuning, "train", pretence)
            waiting = threading.Thread(target=second)
            waiting.start()
            others.append(waiting)
            heard.wait(60)
            raise KeyboardInterrupt
        return pretence(config, data, **options)

    def second():
        summary = tuning.tune(search(trials=3), "gncn", "digits", tmp_path, wait=True, report=hear)
        lines.append(summary["trials_spent"])

    def hear(said):
        if said == "gncn on digits: waiting for 1 trials of other processes":
            heard.set()

    heard = threading.Event()
    monkeypatch.setattr(tuning, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        tuning.tune(search(trials=3), "gncn", "digits", tmp_path)
    others[0].join(60)
    assert lines == [3]
    assert heard.is_set()
    assert len(pretence.configs) == 3


@pytest.mark.slow
def test_half_a_line_of_a_killed_process_is_removed(pretence, tmp_path):
    tuning.tune(search(), "gncn", "digits", tmp_path)
    journal = tmp_path / "digits-gncn.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":8,"worker')
    tuning.tune(search(), "gncn", "digits", tmp_path)
    content = journal.read_bytes()
    assert content.startswith(whole)
    assert all(json.loads(line)["worker_id"] for line in content.splitlines())
    journal.write_bytes(whole + b"{")
    assert tuning.tune(search(trials=7), "gncn", "digits", tmp_path)["trials_spent"] == 7
    assert tuning.tune(search(trials=7), "gncn", "digits", tmp_path)["trials_spent"] == 7


def test_only_settings_that_are_read_make_another_search(pretence, tmp_path):
    """A version of the library with more settings of measures goes on with an older journal."""
    task = tuning._Task(search(), "gncn", "digits", tmp_path, None, lambda _: None)
    measuring = task.description()["measuring"]
    assert measuring == {"seed": 0}
    known = task.study.user_attrs["search"]
    task.study.set_user_attr("search", known | {"measuring": {"n_samples": 3, "unknown": 4}})
    assert tuning.tune(search(), "gncn", "digits", tmp_path)["trials_spent"] == 5
    task.study.set_user_attr("search", known | {"measuring": {"seed": 1}})
    with pytest.raises(RunError, match=r"begun with another search \(changed: measuring\)"):
        tuning.tune(search(), "gncn", "digits", tmp_path)
    reads = {**SEARCH, "objective": {"columns": ["bce", "log_likelihood"], "combine": "worst"}}
    reads["data"] = {"digits": {"yardsticks": {"bce": 10.0, "log_likelihood": -20.0}}}
    for n_samples, changed in ((5000, ["a"]), (9, ["a", "measuring"])):
        other = Search(**reads, measuring={"n_samples": n_samples})
        task = tuning._Task(other, "gncn", "digits", tmp_path / "other", None, lambda _: None)
        assert task.description()["measuring"]["n_samples"] == n_samples
        older = {"a": 1, **task.description(), "measuring": {}}
        assert task._changes(older, task.description()) == changed
        for file in (tmp_path / "other").glob("*.journal"):
            file.unlink()


def test_a_file_that_is_no_journal_is_left_as_it_is(pretence, tmp_path):
    (tmp_path / "digits-gncn.journal").write_text("notes", encoding="utf-8")
    with pytest.raises(RunError, match=r"digits-gncn.journal is damaged: its last line has no end"):
        tuning.tune(search(), "gncn", "digits", tmp_path)
    assert (tmp_path / "digits-gncn.journal").read_text(encoding="utf-8") == "notes"


@pytest.mark.slow
def test_what_differs_on_another_data_set_is_no_other_search(pretence, tmp_path):
    tuning.tune(search(), "gncn", "digits", tmp_path)
    entry = SEARCH["models"]["gncn"]
    data = SEARCH["data"] | {"other": SEARCH["data"]["digits"]}
    for named in ("other", "digits"):
        on = {named: {"settings": {"training": {"batch_size": 50}}}}
        changed = Search(**SEARCH | {"data": data, "models": {"gncn": entry | {"on": on}}})
        if named == "other":
            assert tuning.tune(changed, "gncn", "digits", tmp_path)["trials_spent"] == 5
        else:
            with pytest.raises(RunError, match=r"begun with another search \(changed: model\)"):
                tuning.tune(changed, "gncn", "digits", tmp_path)


@pytest.mark.slow
def test_finalists_learn_from_all_images(monkeypatch, tmp_path):
    """Of few images trial 1 is the best, of all the recipe is; a killed search goes on with it."""
    small = load_search("tiny")
    entry = small.models["gncn"]
    space = {"training.learning_rate": entry.space["training.learning_rate"]}
    entry = entry.model_copy(update={"space": space, "space_on": {}})
    budget = small.budget.model_copy(update={"trials": 4, "train_images": 300, "finalists": 2})
    small = small.model_copy(update={"models": {"gncn": entry}, "budget": budget})
    everything = development_data(small.config("gncn", "digits", {}))
    learned = []

    def trained(config, data, **options):
        learned.append((len(data.train), config.training.learning_rate))
        if len(learned) == 5 and not killed:
            killed.append(True)
            raise KeyboardInterrupt
        return SimpleNamespace()

    def measured(fit, data, columns, *options):
        few = len(data.train) == 300
        order = [rate for _, rate in dict.fromkeys(learned)]
        place = order.index(learned[-1][1])
        worth = (0.30, 0.10, 0.20, 0.25)[place] if few else (0.05, 0.15, 0.10, 0.0)[place]
        return dict.fromkeys(columns, worth)

    killed: list[bool] = []
    monkeypatch.setattr(tuning, "train", trained)
    monkeypatch.setattr(tuning, "measure_columns", measured)
    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        tuning.tune(small, "gncn", "digits", tmp_path, on_trial=lines.append)
    summary = tuning.tune(small, "gncn", "digits", tmp_path, on_trial=lines.append)
    assert [n for n, _ in learned] == [300] * 4 + [len(everything.train)] * 4
    assert {*summary["finals"]} == {"0", "1", "2"}
    assert summary["finals"]["1"]["values"]["bce"] == 0.15
    assert summary["best"] == 0
    chosen = gncn.load_config(file=tmp_path / "digits-gncn-best.toml")
    assert chosen.training.learning_rate == learned[0][1]
    assert sum("with all images" in line for line in lines) == 3
    again = tuning.tune(small, "gncn", "digits", tmp_path, on_trial=lines.append)
    assert again["finals"] == summary["finals"]
    assert len(learned) == 8


@pytest.mark.slow
def test_test_images_are_out_of_reach(monkeypatch, tmp_path):
    """Other test images change nothing, and none gets to where models are made."""
    real = gncn.load_dataset("digits")
    other = Split(1 - real.test.images, real.test.labels)
    small = load_search("tiny")
    entry = small.models["gncn"]
    space = {"training.learning_rate": entry.space["training.learning_rate"]}
    settings = {"network": {"sizes": [24, 24, 24]}, "training": {"n_epochs": 1}}
    entry = entry.model_copy(update={"space": space, "settings": settings})
    budget = small.budget.model_copy(update={"trials": 1, "train_images": 500})
    digits = small.data["digits"].model_copy(update={"train_images": 300})
    small = small.model_copy(
        update={"models": {"gncn": entry}, "budget": budget, "data": {"digits": digits}}
    )
    seen, train = [], tuning.train

    def watched(config, data, **options):
        seen.append(data)
        return train(config, data, **options)

    monkeypatch.setattr(tuning, "train", watched)
    values = []
    for number, data in enumerate((real, dataclasses.replace(real, test=other))):
        monkeypatch.setattr(DataConfig, "load", lambda _, data=data: data)
        summary = tuning.tune(small, "gncn", "digits", tmp_path / str(number))
        assert summary["best"] == 0
        values.append((summary["trials"][0]["values"], summary["searched"]["data"]))
        assert summary["searched"]["budget"]["train_images"] == 300
    assert values[0] == values[1]
    assert set(values[0][0]) == {"bce", "error_percent", "top_sparsity"}
    assert [len(data.train) for data in seen] == [300, len(real.train)] * 2
    for data in seen:
        np.testing.assert_array_equal(data.test.images, real.validation.images[:1])
    made = development_data(gncn.Config(data={"name": "digits"}))
    assert made.fingerprint != real.fingerprint
    np.testing.assert_array_equal(made.train.images, real.train.images)


def test_a_value_of_all_layers_is_the_value_of_each():
    settings = {"network": {"max_norm": 3.0, "sizes": [24, 12], "named": {}}}
    for name, expected in {
        "network.max_norm.1": 3.0,
        "network.sizes.1": 12,
        "network.sizes.2": None,
        "network.sizes.x": None,
        "network.named.x": None,
        "network.sizes": [24, 12],
    }.items():
        assert value_at(settings, name) == expected, name


def test_columns_that_do_not_exist_or_need_another_mask_are_refused(tmp_path):
    wrong = SEARCH | {"objective": {"columns": ["bec"]}}
    with pytest.raises(ConfigError, match="Unknown column 'bec'.*Did you mean 'bce'"):
        Search(**wrong)
    data = gncn.load_dataset("digits")
    for missing, error in (("right", None), (str(tmp_path / "none.npy"), GncnError)):
        with pytest.raises(error) if error else nullcontext():
            check_measurable(["bce", "m_mse"], Measuring(missing=missing), data)


def test_journals_that_no_search_wrote_are_damaged(tmp_path, monkeypatch):
    path = tmp_path / "digits-gncn.journal"
    study = journal.read_journal(path)
    study.set_user_attr(journal.FINALS, {"9": {"seconds": 1.0}})
    with pytest.raises(RunError, match="is damaged: it has no trial 9, and a final of it"):
        journal.read_journal(path)
    study.set_user_attr(journal.FINALS, {})
    journal.read_journal(path)
    n_lines = path.read_bytes().count(b"\n")
    monkeypatch.setattr(journal, "MAX_LINES", n_lines)
    journal.read_journal(path)
    monkeypatch.setattr(journal, "MAX_LINES", n_lines - 1)
    with pytest.raises(RunError, match=f"is damaged: it has more than {n_lines - 1} lines"):
        journal.read_journal(path)


def test_what_is_measured_of_the_data_alone_is_measured_once(monkeypatch):
    data, taken, kept = gncn.load_dataset("digits"), [], {}
    network = gncn.build(gncn.chain((64, 4)), seed=0)
    one = SplitRecord(error=7.0, discrepancy=0.0, layer_discrepancy=(), sparsity=())
    trained = EpochRecord(
        trial=0, epoch=1, error_name="bce", seconds=1.0, train=one, validation=one, test=one
    )
    fit = Fit((network,), (trained,), "finished", (1,))

    def measured(name, measure, subject):
        taken.append(name)
        return Result({name: metrics(m_mse=len(taken), supervised=20.0)[name]})

    monkeypatch.setattr("gncn.study.columns.measured", measured)
    wanted = ("bce", "m_mse_over_supervised")
    for expected in (1 / 20, 3 / 20):  # the second trial measures its own completions alone
        found = measure_columns(fit, data, wanted, Measuring(), kept, taken.append)
        assert found == {"bce": 7.0, "m_mse_over_supervised": pytest.approx(expected)}
    assert taken == ["completion", "yardsticks", "completion"]
    assert [*kept] == [(data.fingerprint, "yardsticks")]
    monkeypatch.setattr(
        "gncn.study.columns.measured", lambda name, *_: Result({name: {"mean": np.nan}})
    )
    with pytest.raises(DataError, match="the column 'log_likelihood' is no number: .*found nan"):
        measure_columns(fit, data, ("log_likelihood",), Measuring(), kept, taken.append)


@pytest.mark.parametrize(
    ("columns", "ways"),
    [
        (("m_mse_paper",), {"drift"}),
        (("m_mse_paper", "m_mse_alone"), {"drift", "silent"}),
        (("m_mse_alone",), {"drift", "silent"}),
    ],
)
def test_only_ways_of_completing_that_a_column_is_read_from_are_tried(monkeypatch, columns, ways):
    data = gncn.load_dataset("digits")
    data = dataclasses.replace(data, validation=data.validation.subset(np.arange(8)))
    network = gncn.build(gncn.chain((64, 6)), seed=0, n_settle_steps=3, weight_scale=2.0)
    one = SplitRecord(error=7.0, discrepancy=0.0, layer_discrepancy=(), sparsity=())
    trained = EpochRecord(
        trial=0, epoch=1, error_name="bce", seconds=1.0, train=one, validation=one, test=one
    )
    fit, tried, whole = Fit((network,), (trained,), "finished", (1,)), [], measured_columns.measured

    def measured(name, measure, subject):
        tried.append(whole(name, measure, subject))
        return tried[-1]

    monkeypatch.setattr(measured_columns, "measured", measured)
    measuring = Measuring(completion_ways="direct")
    found = measure_columns(fit, data, columns, measuring, {}, lambda _: None)
    (result,) = tried
    assert {*result.numbers["completion"]["ways"]} == ways
    everything = Subject(as_measurable(network), data, "validation")
    direct = Completion(completion_ways="direct").measure(everything).numbers["completion"]
    assert direct["ways"]["drift"]["m_mse"] != direct["ways"]["silent"]["m_mse"]
    for column in {"m_mse_paper"} & {*columns}:
        assert found[column] == direct["ways"]["drift"]["m_mse"]


def trial(number, **params):
    spaces = dict.fromkeys(params, optuna.distributions.IntDistribution(0, 9))
    one = optuna.trial.create_trial(value=0.0, params=params, distributions=spaces)
    one.number = number
    return one


def test_finals_learn_for_shares_of_their_epochs_too():
    ranked = [trial(3, a=1), trial(1, a=2), trial(0, a=0), trial(2, a=0)]
    epochs = {3: 20, 1: 1, 0: 7, 2: 7}
    budget = Budget(finalists=2, final_epochs=(0.3, 0.1, 0.01))

    def due(budget, n_epochs=lambda one: epochs[one.number]):
        return [one.key for one in all_finals(ranked, {"a": 0}, budget, n_epochs)]

    # The recipe's first, then the best; as few epochs once, and none that are the trial's own.
    assert due(budget) == ["0", "0-2", "0-1", "3", "3-6", "3-2", "3-1", "1"]
    assert due(Budget()) == ["0", "3"]
    assert due(budget, lambda _: None) == ["0", "3", "1"]
    for key in due(budget):
        assert Final.of(key).key == key
    assert Final.of("3-6").settings == {"training.n_epochs": 6}
    assert Final.of("3").settings == {}


def test_the_length_of_a_final_in_words():
    lengths = [Final(3, n).length for n in (None, 1, 2)]
    assert lengths == ["", " for one epoch", " for 2 epochs"]


def test_the_best_final_has_the_lowest_shortfall_whatever_its_length():
    def outcomes(**shortfalls):
        return {key.strip("_").replace("_", "-"): {"objective": v} for key, v in shortfalls.items()}

    assert best_final({}) is None
    assert best_final(outcomes(_3=None)) is None
    assert best_final(outcomes(_3=0.5, _3_6=-1.0, _0=0.1)) == Final(3, 6)
    assert best_final(outcomes(_3=0.5, _3_6=None, _0=0.1)) == Final(0)
    assert best_final(outcomes(_3=0.1, _0=0.1, _0_4=0.1, _0_2=0.1)) == Final(0)
    assert best_final(outcomes(_10_4=0.1, _9_2=0.1, _9_3=0.1)) == Final(9, 3)


def test_what_is_best_on_all_images_may_have_fewer_epochs(monkeypatch, tmp_path):
    small = search(trials=2, train_images=300, final_epochs=(0.5, 0.2))
    learned = []

    def trained(config, data, **options):
        learned.append((len(data.train), config.training.n_epochs))
        return SimpleNamespace()

    def measured(fit, data, columns, *options):
        n_images, n_epochs = learned[-1]
        # With all images many epochs are the worse.
        return dict.fromkeys(columns, 0.1 + n_epochs / 100 * (n_images > 300) * (n_epochs > 2))

    monkeypatch.setattr(tuning, "train", trained)
    monkeypatch.setattr(tuning, "measure_columns", measured)
    lines: list[str] = []
    summary = tuning.tune(small, "gncn", "digits", tmp_path, on_trial=lines.append)
    # The preset has four epochs; both trials rank alike, so the first is recipe and finalist.
    assert [n for _, n in learned] == [4, 4, 4, 2, 1]
    assert [*summary["finals"]] == ["0", "0-2", "0-1"]
    assert (summary["best"], summary["best_final"]) == (0, "0-2")
    assert summary["final_rules"] == {"finalists": 1, "final_epochs": [0.5, 0.2]}
    assert gncn.load_config(file=tmp_path / "digits-gncn-best.toml").training.n_epochs == 2
    assert sum("trial 0 with all images for 2 epochs: " in line for line in lines) == 1
    # More of them may be wanted later; what has ended stays.
    more = search(trials=2, train_images=300, final_epochs=(0.75,))
    again = tuning.tune(more, "gncn", "digits", tmp_path)
    assert [*again["finals"]] == ["0", "0-2", "0-1", "0-3"]
    assert [n for _, n in learned[5:]] == [3]

"""A measure from outside the library appears in evaluate, compare, report and tune by itself."""

import json
import re
import sys

import numpy as np
import pytest
from brightness import Brightness
from typer.testing import CliRunner

import gncn
import gncn.cli
from gncn.base.errors import ConfigError, DataError
from gncn.base.locks import LOCK
from gncn.measures import MEASURES, Column, Measure, Result, within
from gncn.runs.folder import RunFolder
from gncn.runs.train import train_run
from gncn.study.columns import measure_columns
from gncn.study.plan import Study
from gncn.study.search import Search
from gncn.study.specs import Measuring
from gncn.training.fit import Fit

CONFIG = gncn.Config(
    data={"name": "digits"},
    network={"sizes": (12, 8), "competition": "none"},
    settling={"n_settle_steps": 3},
    training={"n_epochs": 1},
)


@pytest.fixture(scope="module")
def registered():
    """The measure is registered, and commands are made again, for the tests of this module."""
    modules = [name for name in sys.modules if name in ("gncn.cli.app", "gncn.cli.evaluate")]
    kept = {name: sys.modules.pop(name) for name in modules}
    gncn.register("measure", "brightness", Brightness)
    from gncn.cli.app import app

    yield app
    del MEASURES._entries["brightness"]
    for name in ("gncn.cli.app", "gncn.cli.evaluate"):
        sys.modules.pop(name, None)
    sys.modules.update(kept)
    # An import also sets the package's attribute, by which other tests find the module.
    for name, module in kept.items():
        setattr(gncn.cli, name.rpartition(".")[2], module)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    data = CONFIG.data.load()
    made = RunFolder.create(tmp_path_factory.mktemp("runs") / "run", CONFIG, data, overwrite=False)
    train_run(made, CONFIG, data, callbacks=[])
    return made


def run(app, *arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture(scope="module")
def evaluated(registered, folder):
    options = ("--only", "brightness", "--scale", 1000, "--split", "test")
    return run(registered, "evaluate", folder.path, *options).output


def test_it_is_evaluated_with_its_setting_as_an_option(registered, folder, evaluated):
    found = json.loads((folder.path / "metrics-test.json").read_text(encoding="utf-8"))
    assert found["brightness"]["scale"] == 1000
    assert found["settings"] == {"scale": 1000.0}
    printed = re.sub(r"[│ ]", "", evaluated)
    assert f"Brightness{found['brightness']['difference']:.2f}" in printed
    help_text = run(registered, "evaluate", "--help").output
    assert "--scale" in help_text
    assert "brightness" in help_text


def test_it_is_compared(registered, folder, evaluated):
    text = run(registered, "compare", folder.path, "--format", "markdown").output
    assert "| Brightness |" in text.splitlines()[0]
    found = json.loads(run(registered, "compare", folder.path, "--json").stdout)
    measured = json.loads((folder.path / "metrics-test.json").read_text(encoding="utf-8"))[
        "brightness"
    ]
    ours = found["rows"][0]["measures"]["brightness"]
    assert ours["mean"] == pytest.approx(measured["difference"])


@pytest.mark.slow
def test_it_is_asked_for_by_a_study_and_reported(registered, tmp_path):
    study = Study(
        name="made",
        split="validation",
        evaluation={"measures": ["brightness"], "scale": 10.0},
        data={"digits": {}},
        models={"gncn": {"preset": "digits", "settings": SMALL}},
    )
    (tmp_path / "study.json").write_text(study.model_dump_json(), encoding="utf-8")
    from gncn.study.record import write_record
    from gncn.study.run import run_one

    (spec,) = study.runs()
    record = run_one(spec)
    write_record(tmp_path, record)
    assert record.metrics["brightness"]["scale"] == 10
    run(registered, "report", tmp_path)
    for name in ("report.html", "report.md"):
        page = (tmp_path / name).read_text(encoding="utf-8")
        assert "Brightness" in page
        assert f"{record.metrics['brightness']['difference']:.2f}" in page


SMALL = {
    "training": {"n_epochs": 1},
    "network": {"sizes": [12, 12], "group_size": 4, "max_norm": [4.0, 1.0]},
}


@pytest.mark.slow
def test_it_is_an_objective_of_a_search(registered, tmp_path):
    from gncn.study.tune import tune

    search = Search(
        name="made",
        budget={"trials": 1, "random_trials": 1},
        measuring={"scale": 10.0},
        objective={"columns": ["brightness"]},
        data={"digits": {"yardsticks": {"brightness": 1.0}}},
        models={
            "gncn": {
                "preset": "digits",
                "settings": SMALL,
                "columns": ["brightness"],
                "space": {"training.learning_rate": {"low": 1e-3, "high": 1e-2}},
            }
        },
    )
    summary = tune(search, "gncn", "digits", tmp_path)
    (trial,) = summary["trials"]
    value = trial["values"]["brightness"]
    assert value > 0
    assert trial["shortfalls"]["brightness"] == pytest.approx((value - 1) / 0.1)


class Lacking(Measure):
    pass


class Twin(Measure):
    columns = (Column("m_mse", "another", lambda _: None),)

    def measure(self, subject):
        return Result()


class Clashing(Measure):
    n_samples: str = "many"

    def measure(self, subject):
        return Result()


class Reserved(Measure):
    n_samples: int = 5000
    split: str = "test"

    def measure(self, subject):
        return Result()


@pytest.mark.parametrize(
    ("name", "measure", "message"),
    [
        ("mine", Lacking, "Lacking lacks `measure`"),
        ("probe", Brightness, "'probe' is taken"),
        (
            "mine",
            Clashing,
            "'n_samples' has another type or default in Clashing than in Likelihood",
        ),
        ("mine", Reserved, "can't have the option 'split'"),
        ("mine", Twin, "Twin and Completion both have a column 'm_mse'"),
        ("mine", str, "must be a subclass"),
    ],
)
def test_what_cannot_be_a_measure_is_refused(name, measure, message):
    with pytest.raises(ConfigError, match=message):
        gncn.register("measure", name, measure)


def loose(**parts):
    """A result whose parts have any type: what the tests check elsewhere, users don't."""
    result = Result()
    vars(result).update(parts)
    return result


def measure_of(found, **attributes):
    return type("Mine", (Measure,), {"measure": lambda self, subject: found, **attributes})


@pytest.fixture
def mine():
    """Registers a measure for one test."""
    yield lambda found, **attributes: gncn.register(
        "measure", "mine", measure_of(found, **attributes)
    )
    MEASURES._entries.pop("mine", None)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, r"'mine' \(Mine\) must return a `gncn\.measures\.Result`.*it gave None"),
        ({"mine": 1}, "it gave {'mine': 1}"),
        (loose(numbers=[1]), r"a dictionary of numbers; it gave \[1\]"),
        (Result({"mine": {"deep": object()}}), "plain values as numbers.*'mine': {'deep': <obj"),
        (Result({"mine": 10**30}), "a whole number of more than 64 bits"),
        (loose(per_image={"mine": [1.0]}), "a value for each of the 200 images"),
        (loose(pictures={"mine": object()}), "arrays of numbers as pictures"),
        (
            Result({"probe": 1}),
            "call its numbers 'probe': .* is the measure's 'probe'",
        ),
        (Result({"likelihood_own_prior": 1}), "the measure's 'likelihood'"),
        (Result({"seconds": 1}), "'seconds': this name is the library's own"),
    ],
)
def test_what_no_measure_may_find_is_refused(folder, mine, found, message):
    mine(found)
    before = sorted(folder.path.iterdir())
    with pytest.raises(ConfigError, match=message):
        gncn.evaluate(folder.path, only=["mine"])
    new = [path for path in folder.path.iterdir() if path not in before and path.is_file()]
    assert {path.name for path in new} <= {LOCK}
    with pytest.raises(ConfigError, match=message):
        gncn.evaluate(folder.model(0), CONFIG.data.load(), only=["mine"])


def test_numbers_that_are_not_finite_are_null_in_files(folder, mine):
    column = Column("mine", "mine", within("mine", "value"))
    found = {"mine": {"value": np.float32("nan"), "all": np.array([1.0, np.inf])}}
    mine(Result(found), columns=(column,))
    numbers = gncn.evaluate(folder.path, only=["mine"], replace=True)
    assert np.isnan(numbers["mine"]["value"])
    text = (folder.path / "metrics-validation.json").read_text(encoding="utf-8")
    written = json.loads(text, parse_constant=pytest.fail)
    assert written["mine"] == {"value": None, "all": [1.0, None]}
    again = gncn.evaluate(folder.path, only=["sparsity"])
    assert again["mine"] == written["mine"]
    assert "mine" not in [row.name for row in again.rows]


def test_a_trial_whose_number_is_none_is_unfit(folder, mine):
    column = Column("mine", "mine", within("mine", "value"))
    mine(Result({"mine": {"value": float("nan")}}), columns=(column,))
    fit = Fit((folder.model(0),), tuple(folder.history), "finished", (1,))
    with pytest.raises(DataError, match="column 'mine' is no number: the measure found nan"):
        measure_columns(fit, CONFIG.data.load(), ["mine"], Measuring(), {}, print)

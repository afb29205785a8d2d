"""Studies of many settings: grids, their columns in pages and tables, paths, several processes."""

import csv
import json
import re
from itertools import product

import numpy as np
import pyarrow.parquet
import pytest
import tomli_w
from handmade import metrics, record

import gncn
from gncn.base.errors import ConfigError, DataError
from gncn.base.tables import write_table
from gncn.figures.plots import PALETTE
from gncn.study.page import make_page
from gncn.study.plan import Study, load_study
from gncn.study.reproduce import STUDY, recorded_study, reproduce
from gncn.study.search import Search, load_search
from gncn.study.specs import Evaluation
from gncn.study.summary import summarise
from gncn.study.table import table
from gncn.study.together import tune_together
from gncn.study.tune import tune

N_SAMPLES = Evaluation().settings["n_samples"]
RATES, SIZES = [1e-3, 3e-3], [[12, 12, 12], [18, 12, 12], [24, 12, 12]]
GRID = {
    "title": "GNCN",
    "preset": "digits",
    "grid": {"training.learning_rate": RATES, "network.sizes": SIZES},
}


def study(models, **options):
    return Study(name="lab", data={"digits": {}}, models=models, **options)


def test_a_grid_has_a_model_for_every_combination():
    found = study({"gncn": GRID, "rae": {"preset": "rae"}})
    assert len(found.models) == found.n_runs == 7
    assert "rae" in found.models
    runs = {spec.model: spec.config for spec in found.runs(only=["gncn-*"])}
    values = {(one.training.learning_rate, one.network.sizes) for one in runs.values()}
    assert values == {(rate, tuple(sizes)) for rate, sizes in product(RATES, SIZES)}
    for key, config in runs.items():
        point = found.models[key].point
        assert point["training.learning_rate"] == config.training.learning_rate
        assert config.training.batch_size == gncn.load_config(preset="digits").training.batch_size
        assert found.title_of(key) == f"GNCN, learning_rate {point['training.learning_rate']}, " + (
            f"sizes {point['network.sizes']}"
        )
    again = Study(**json.loads(found.model_dump_json()))  # as `study.json` holds it
    assert again == found


@pytest.mark.parametrize(
    ("models", "options", "expected"),
    [
        ({"gncn": GRID}, {}, [0]),
        ({"gncn": GRID, "rae": {"preset": "rae"}}, {}, [0, 6]),
        ({"gmm": {"preset": "gmm"}, "dsrn": {"preset": "dsrn"}, "gncn": GRID}, {}, [2]),
        ({"gmm": {"preset": "gmm"}, "gncn": GRID}, {"targets_for": "gmm"}, [1]),
        ({"gncn": GRID, "rae": {"preset": "rae"}}, {"targets_for": "rae"}, [0, 6]),
        ({"gmm": {"preset": "gmm"}}, {}, []),
    ],
)
def test_a_study_without_the_model_of_the_targets_measures_codes_of_the_first_of_each_width(
    models, options, expected
):
    measures = {"measures": ["codes", "sparsity"]}
    found = study(models, trials=2, evaluation=measures, **options)
    measuring = [spec.name for spec in found.runs() if "codes" in spec.evaluation.measures]
    assert measuring == [f"{[*found.models][at]}/digits/0" for at in expected]


def test_points_are_combined_with_the_grid_and_keep_their_names():
    points = [{"network.sizes": [12, 12, 24], "network.max_norm.1": 2.5}, {"training.n_epochs": 3}]
    small = study({"gncn": {"preset": "digits", "points": points}})
    assert len(small.models) == 2
    both = study({"gncn": GRID | {"points": points}})
    assert len(both.models) == 12
    longer = study(
        {"gncn": {"preset": "digits", "points": [{"training.n_epochs": 4}, *reversed(points)]}}
    )
    assert {*small.models} < {*longer.models}  # so their records stand
    spec = small.runs()[0]
    assert spec.config.network.sizes == (12, 12, 24)
    assert spec.config.network.max_norm == (4.0, 2.5, 1.0)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"grid": {"training.n_epochs": []}}, "training.n_epochs"),
        ({"grid": {"training.n_epochs": 3}}, "training.n_epochs"),
        ({"grid": 3}, "grid"),
        ({"points": [3]}, "points"),
        ({"points": [{"seed": 3}]}, "seed can't differ"),
        ({"grid": {"data.name": ["mnist"]}}, "data.name can't differ"),
        ({"grid": {"a": [*range(200)], "b": [*range(200)]}}, "40,000 models.*10,000 at most"),
    ],
)
def test_grids_that_are_none_are_refused(entry, message):
    with pytest.raises(ConfigError, match=message):
        study({"gncn": {"preset": "digits"} | entry})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 10**7}, "trials"),
        ({"data": {"digits": {"trials": 2**63}}}, "trials"),
        ({"trials": 10_000, "data": {f"d{i}": {} for i in range(11)}}, "110,000 runs; 100,000"),
        ({"evaluation": []}, "evaluation"),
        ({"evaluation": "all"}, "evaluation"),
        (
            {"evaluation": {"measures": ["sparsity"], "first_trial_only": ["probe"]}},
            "first_trial_only names probe, which evaluation.measures doesn't: sparsity",
        ),
    ],
)
def test_studies_that_would_never_end_or_are_none_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Study(**{"name": "lab", "data": {"digits": {}}, "models": {"rae": {}}} | options)


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"code_width": 9}, "code_width=9 has no effect: only 'codes' reads it"),
        # The default has no effect either.
        ({"measures": ["sparsity"], "n_samples": N_SAMPLES}, "n_samples=.* has no effect"),
        (
            {"measures": ["sparsity"], "n_samples": 9},
            "n_samples=9 has no effect.* what is measured is 'sparsity'",
        ),
    ],
)
def test_a_setting_that_nothing_reads_is_refused_in_a_file_and_not_in_a_record(
    evaluation, message, tmp_path
):
    options = {"name": "lab", "data": {"digits": {}}, "models": {"rae": {}}}
    file = tmp_path / "lab.toml"
    file.write_text(tomli_w.dumps(options | {"evaluation": evaluation}), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_study(file)
    # Records name every setting; a default may have been another when they were written.
    stored = Study(**options).model_dump(mode="json")
    stored["evaluation"] |= evaluation
    (tmp_path / STUDY).write_text(json.dumps(stored), encoding="utf-8")
    assert recorded_study(tmp_path).evaluation == Evaluation(**stored["evaluation"])


def test_a_setting_of_a_measure_that_no_model_can_have_is_refused():
    evaluation = {"measures": ["likelihood", "codes"], "code_width": 9}
    made = Study(
        name="lab",
        data={"digits": {}},
        models={"gmm": {"preset": "gmm"}},
        **{"evaluation": evaluation},
    )
    with pytest.raises(ConfigError, match="code_width=9 has no effect.*'likelihood'"):
        made.runs()


def test_a_trial_keeps_settings_that_only_other_trials_read():
    evaluation = {"measures": ["sparsity", "codes"], "code_width": 9, "first_trial_only": ["codes"]}
    made = Study(name="lab", data={"digits": {}}, models={"rae": {}}, evaluation=evaluation)
    later = made.evaluation.of("rae", 1, but_for=())
    assert later.measures == ("sparsity",)
    assert later.settings_of(later.measures) == {}
    assert later.settings_of(["codes"])["code_width"] == 9
    # A worker reads it from a file.
    assert Evaluation(**later.model_dump(mode="json")) == later


@pytest.mark.parametrize("measuring", [[], "all", 3, True])
def test_measuring_is_a_table(measuring):
    with pytest.raises(ConfigError, match="measuring"):
        Search(name="lab", data={}, models={}, measuring=measuring)


@pytest.mark.parametrize("name", ["training.n_epoch", "network.sizes.9", "model.x"])
def test_settings_that_do_not_exist_are_refused_before_the_first_run(name):
    with pytest.raises(ConfigError, match=name.rpartition(".")[2]):
        study({"gncn": {"preset": "digits", "grid": {name: [1, 2]}}}).runs()


@pytest.fixture(scope="module")
def many():
    found = study(
        {
            "gncn": {
                "title": "GNCN",
                "preset": "digits",
                "grid": {"settling.n_settle_steps": [*range(30)]},
            }
        },
        trials=1,
    )
    records = [
        record(
            key,
            "digits",
            bce=(40.0, 30.0 - model.point["settling.n_settle_steps"] / 10),
            metrics=metrics(log_p=-30.0),
            spec={"split": "test", "config": {"model": "gncn", "seed": 0}},
        )
        for key, model in found.models.items()
    ]
    return found, records


def test_a_report_of_many_models_can_be_sorted_and_draws_the_best(many):
    found, records = many
    page = make_page(summarise(found, records))
    assert page.count('class="filter"') == 1
    head = re.search(r"<thead.*?</thead>", page[page.index('id="generative"') :], re.DOTALL)
    assert head is not None
    assert re.findall(r'scope="col">([\w.]+)', head[0])[:2] == ["Model", "settling.n_settle_steps"]
    drawn = [alt for alt in re.findall(r'aria-label="([^"]+)"', page) if "from the first" in alt]
    assert len(drawn) == 1
    assert re.findall(r"n_settle_steps (\d+) ", drawn[0]) == [
        str(29 - i) for i in range(len(PALETTE))
    ]
    assert f"the {len(PALETTE)} models with the best BCE" in page


def columns(rows):
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_all_results_are_one_table(many, tmp_path):
    found, records = many
    rows = table(found, records)
    for suffix in (".csv", ".parquet"):
        write_table(tmp_path / f"results{suffix}", columns(rows))
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert len(read) == 30
    for text, row, one in zip(read, rows, records, strict=True):
        assert text["model"] == one.model
        assert float(text["bce"]) == row["bce"] == one.history.test[-1]
        assert float(text["log_likelihood"]) == -30.0
        assert text["error_percent"] == ""
        assert int(text["settling.n_settle_steps"]) == row["settling.n_settle_steps"]
        assert row["settling.n_settle_steps"] in range(30)
    assert pyarrow.parquet.read_table(tmp_path / "results.parquet").to_pylist() == rows
    with pytest.raises(ConfigError, match=r"'results.xls' must end in \.csv or \.parquet"):
        write_table(tmp_path / "results.xls", columns(rows))


def test_settings_of_several_kinds_are_text_in_a_table(tmp_path):
    found = study({"gncn": {"preset": "digits", "grid": {"network.sizes": [12, [9, 9]]}}})
    spec = {"split": "test", "config": {"model": "gncn", "seed": 0}}
    rows = table(found, [record(key, "digits", bce=(1.0,), spec=spec) for key in found.models])
    assert [row["network.sizes"] for row in rows] == ["12", "[9, 9]"]
    write_table(tmp_path / "results.parquet", columns(rows))


FILE = """
name = "mine"
[data.mine.settings]
name = "images.npy"
[models.gncn]
preset = "digits"
"""


def test_paths_begin_at_the_studys_file(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.toml").write_text(FILE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = load_study("here/mine.toml")
    (spec,) = found.runs()
    assert spec.config.data.name == str(tmp_path / "here" / "images.npy")
    with pytest.raises(DataError, match=r"There is no .*images\.npy, which .*No run was started"):
        reproduce(found, [spec], tmp_path / "records")
    assert not (tmp_path / "records" / STUDY).exists()
    np.save(tmp_path / "here" / "images.npy", np.eye(64))
    assert len(spec.config.data.load().train) > 0
    moved = spec.for_record() | {}
    moved["config"]["data"]["name"] = "elsewhere/images.npy"
    assert spec.differences(moved) == []
    search = FILE + '[models.gncn.space]\n"training.n_epochs" = { low = 1, high = 9 }\n'
    search += '[objective]\ncolumns = ["bce"]\n[data.mine.yardsticks]\nbce = 1.0\n'
    (tmp_path / "here" / "search.toml").write_text(search, encoding="utf-8")
    settings = load_search("here/search.toml").data["mine"].settings
    assert settings["name"] == str(tmp_path / "here" / "images.npy")


@pytest.mark.slow
def test_several_processes_spend_a_budget_together(tmp_path):
    told = []
    tiny = load_search("tiny")
    tune_together(tiny, "gncn", "digits", tmp_path, jobs=2, on_trial=told.append)
    summary = tune(tiny, "gncn", "digits", tmp_path)
    assert summary["trials_spent"] == len(told) == 4
    assert {one["number"] for one in summary["trials"]} == {*range(4)}
    assert all("trial" in line for line in told)

"""Comparing runs: means and deviations over trials, the best two, the paper's numbers, misfits."""

import io
import json
import re
import shutil

import numpy as np
import pytest
from rich.console import Console
from tests.golden.stored import FORMATS

import gncn
from gncn.base.errors import ConfigError, RunError
from gncn.runs.folder import RunFolder
from gncn.study.compare import as_json, compare, render, rich_tables
from gncn.study.paper import PUBLISHED
from gncn.training.history import EpochRecord, SplitRecord

BCE = {"gncn": ([58.0], [2]), "rae": ([51.0, 53.0], [1, 2]), "gvae": ([70.0], [2])}


def make(path, model, *, name="mnist", errors=(1.0,), kept=None, error_name="bce"):
    """A run folder of two epochs: the error after the kept epoch is the given one."""
    data = gncn.load_dataset("digits")
    config = gncn.Config(model=model, n_trials=len(errors))
    folder = RunFolder.create(path, config, data, overwrite=False)
    kept = kept or [2] * len(errors)
    history = []
    for epoch in (1, 2):
        for trial, error in enumerate(errors):
            value = error if epoch == kept[trial] else error + 100
            split = SplitRecord(
                error=value, discrepancy=-value, layer_discrepancy=(-value,), sparsity=()
            )
            worse = split.model_copy(update={"error": value + 7})
            history.append(
                EpochRecord(
                    trial=trial,
                    epoch=epoch,
                    error_name=error_name,
                    seconds=1.0,
                    train=split,
                    validation=worse,
                    test=split,
                )
            )
    folder.on_epoch(history, [])
    folder.finish("finished", kept)
    about = folder.about
    about["data"]["name"] = name
    (path / "run.json").write_text(json.dumps(about), encoding="utf-8")
    return path


def evaluated(path, trial, **metrics):
    name = "metrics-test.json" if trial == 0 else f"metrics-test-{trial}.json"
    (path / name).write_text(json.dumps({"trial": trial, **metrics}), encoding="utf-8")


@pytest.fixture
def runs(tmp_path):
    made = {
        model: make(tmp_path / model, model, errors=errors, kept=kept)
        for model, (errors, kept) in BCE.items()
    }
    made["dsrn"] = make(tmp_path / "dsrn", "dsrn", errors=[1.8], error_name="error_percent")
    made["gmm"] = make(
        tmp_path / "gmm", "gmm", errors=[150.0], error_name="negative_log_likelihood"
    )
    for trial, error in ((0, 10.0), (1, 11.0)):
        evaluated(
            made["rae"],
            trial,
            likelihood={"mean": -120.0 - trial, "paper_convention": -103.0 - trial},
            probe=[
                {"layer": 2, "better_on_validation": "z", "z": {"error_percent": 99.0}},
                {"layer": 3, "better_on_validation": "phi", "phi": {"error_percent": error}},
                {"layer": 1, "better_on_validation": "z", "z": {"error_percent": 99.0}},
            ],
            completion={"best_way": "clamped", "ways": {"clamped": {"m_mse": 25.0}}},
        )
    evaluated(made["gvae"], 0, likelihood={"mean": -115.0}, tight={"mean": -90.0})
    return made


def test_rows_hold_means_deviations_and_the_papers_numbers(runs):
    found = compare(list(runs.values()))
    rows = {row.model: row for row in found.rows}
    bce = rows["rae"].values["bce"]
    assert bce.mean == pytest.approx(52.0)  # of epochs 1 and 2, which were kept
    assert bce.deviation == pytest.approx(np.sqrt(2))
    assert bce.n_trials == 2
    assert rows["gvae"].values["bce"].deviation is None
    assert rows["rae"].values["error_percent"].mean == 10.5
    assert rows["dsrn"].values["error_percent"].mean == 1.8
    assert rows["gmm"].values["log_likelihood"].mean == -150
    assert rows["gvae"].values["log_likelihood_tight"].mean == -90
    assert rows["rae"].published["bce"] == 52.55
    printed = PUBLISHED["mnist"]["rae"].log_likelihood
    assert rows["rae"].published["log_likelihood_paper_convention"] == printed
    honest = rows["rae"].published["log_likelihood"]
    assert honest == pytest.approx(printed - 2 * np.log(5000))
    assert rows["gncn"].n_synapses == gncn.Config().n_synapses(gncn.load_dataset("digits"))
    assert rows["rae"].curves == (102.0, 102.0)
    assert compare([runs["gvae"]], split="validation").rows[0].values["bce"].mean == 77


def test_a_mixture_evaluated_counts_as_evaluated(runs):
    evaluated(runs["gmm"], 0, likelihood={"mean": -149.0, "n_samples": 100})
    (row,) = compare([runs["gmm"]]).rows
    assert row.values["log_likelihood"].mean == -149.0
    assert "log_likelihood" not in row.published  # the paper's is of S = 5000


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        ({"likelihood": {"n_samples": 5000}}, {"likelihood": {"n_samples": 100}}, "S of log"),
        ({"completion": {"missing": "right"}}, {"completion": {"missing": "a mask"}}, "missing"),
    ],
)
def test_numbers_of_different_conditions_are_not_compared(runs, one, other, what):
    evaluated(runs["gvae"], 0, **one)
    evaluated(runs["rae"], 0, **one)
    evaluated(runs["rae"], 1, **one)
    compare([runs["gvae"], runs["rae"]])
    evaluated(runs["rae"], 1, **other)
    with pytest.raises(RunError, match=f"{what}.*{runs['rae']}, trial 1: (100|a mask)"):
        compare([runs["gvae"], runs["rae"]])


def test_the_paper_completed_the_right_half(runs):
    for missing, there in (("right", True), ("left", False)):
        ways = {"a": {"m_mse": 3.0}, "clamped": {"m_mse": 9.0}}
        found = {"best_way": "a", "ways": ways, "missing": missing}
        evaluated(runs["gvae"], 0, completion=found)
        (row,) = compare([runs["gvae"]]).rows
        assert row.values["m_mse"].mean == 3.0
        assert row.values["m_mse_paper"].mean == 9.0
        assert ("m_mse_paper" in row.published) == there
        assert "m_mse" not in row.published


def test_the_best_two_are_the_lowest_or_the_highest(runs):
    found = compare(list(runs.values()))
    assert found.best("bce") == {runs["rae"], runs["gncn"]}
    assert found.best("log_likelihood") == {runs["rae"], runs["gvae"]}
    assert found.best("log_likelihood", 1) == {runs["gvae"]}


def test_tables_in_every_form(runs):
    found = compare(list(runs.values()))
    lines = render(found, "markdown").splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert "**52.00 ± 1.41** | 52.55" in lines[3]
    assert "| 70.00 | 75.95 |" in lines[4]
    latex = render(found, "latex")
    assert r"\textbf{52.00 $\pm$ 1.41} & 52.55" in latex
    assert r"Err (\%)" in latex
    columns = re.match(r"\\begin\{tabular\}\{(l+r+)\}", latex)[1]
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len(rows) > len(runs)
    assert {line.count("&") + 1 for line in rows} == {len(columns)}
    plain = json.loads(json.dumps(as_json(found)))
    assert plain["rows"][1]["measures"]["bce"] == {
        "mean": 52.0,
        "deviation": pytest.approx(np.sqrt(2)),
        "n_trials": 2,
        "among_best_two": True,
    }
    assert not plain["rows"][2]["measures"]["bce"]["among_best_two"]
    with pytest.raises(ConfigError, match="Unknown format 'html'. Choose one of: 'text'"):
        render(found, "html")


@pytest.mark.parametrize(("width", "n_tables"), [(120, 1), (66, 2), (48, 5)])
def test_a_screen_shows_every_number_whole_however_narrow(runs, width, n_tables):
    console = Console(width=width, record=True, file=io.StringIO())
    tables = rich_tables(compare(list(runs.values())), console)
    assert len(tables) == n_tables
    for table in tables:
        console.print(table)
    text = console.export_text()
    assert "…" not in text
    for shown in ("52.00 ± 1.41*", "70.00", "52.55", "75.95", *(run.name for run in runs.values())):
        assert shown in text


def test_unpublished_data_have_no_column_of_the_papers(tmp_path):
    run = make(tmp_path / "a", "rae", name="digits")
    assert "paper" not in render(compare([run]), "markdown")


def test_what_cannot_be_compared_is_refused(runs, tmp_path):
    other = make(tmp_path / "other", "rae")
    about = json.loads((other / "run.json").read_text(encoding="utf-8"))
    about["data"]["fingerprint"] = "0123456789abcdef"
    (other / "run.json").write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(RunError, match=r"same images, split the same way.*\(0123456789abcdef\)"):
        compare([runs["rae"], other])
    with pytest.raises(ConfigError, match="received 'train'"):
        compare([runs["rae"]], split="train")
    with pytest.raises(ConfigError, match="Give each run once"):
        compare([runs["rae"], runs["rae"].parent / "." / "rae"])
    with pytest.raises(RunError, match="is not a run folder"):
        compare([tmp_path / "nothing"])
    (runs["rae"] / "metrics-test.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"metrics-test.json can't be read.*--split test"):
        compare([runs["rae"]])


def test_numbers_of_another_model_are_refused(tmp_path):
    """A run that is measured, trained further and compared had numbers of two networks."""
    folder = RunFolder.open(shutil.copytree(FORMATS / "run", tmp_path / "run"))
    assert compare([folder.path]).rows[0].values["log_likelihood"]
    gncn.save(folder.model(1), folder.trial(0))
    with pytest.raises(RunError, match="was measured of another model.*--split test --trial 0"):
        compare([folder.path])


def test_a_run_that_does_not_say_its_model_is_damaged(runs):
    path = runs["rae"] / "run.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    for harm in ({"model": 3}, {"n_synapses": "many"}):
        path.write_text(json.dumps(about | harm), encoding="utf-8")
        with pytest.raises(RunError, match="rae doesn't say what model it holds: its run.json"):
            compare([runs["rae"]])

"""`gncn.evaluate` and `gncn.compare` of models, estimators and runs; `gncn.load` of runs."""

import io
import re
import shutil

import jax
import numpy as np
import pytest
from tests.golden.stored import FORMATS

import gncn
from command import call
from gncn.base.errors import ConfigError, RunError
from gncn.baselines.pixel_mixture import PixelMixture
from gncn.cli import evaluate as command
from gncn.evaluation.mixture import mixture_from_moments
from gncn.measures import Result, Subject, as_measurable, make_measures
from gncn.runs.folder import RunFolder

IMAGES = np.random.default_rng(0).integers(0, 2, (60, 16)).astype(np.uint8)
SETTINGS = {"n_samples": 50, "n_components": 2, "curve": (), "n_repeats": 1}
ONLY = ["likelihood", "sparsity"]


@pytest.fixture(scope="module")
def data():
    return gncn.from_arrays(IMAGES)


@pytest.fixture(scope="module")
def network():
    return gncn.build(gncn.chain((16, 6, 4)), seed=0, n_settle_steps=4, weight_scale=0.5)


@pytest.fixture(scope="module")
def found(network, data):
    return gncn.evaluate(network, data, only=ONLY, split="test", **SETTINGS)


@pytest.fixture
def run(tmp_path):
    return shutil.copytree(FORMATS / "run", tmp_path / "run")


def test_a_model_is_measured_by_the_measures(network, data, found):
    subject = Subject(as_measurable(network), data, "test")
    for measure in make_measures(ONLY, SETTINGS).values():
        for name, numbers in measure.measure(subject).numbers.items():
            assert found[name] == numbers
    logits = jax.scipy.special.logit(gncn.reconstruct(network, data.test.images))
    bce = np.sum(np.logaddexp(0, logits) - data.test.images * logits, axis=1).mean()
    assert found["bce"] == pytest.approx(float(bce), rel=1e-4)
    assert found.per_image["log_likelihood"].shape == (len(data.test),)
    assert (found["split"], found["n_images"]) == ("test", 6)


def test_it_is_a_mapping_a_text_and_a_table(found):
    assert dict(found) == found.numbers
    assert len(found) == len(found.numbers)
    text = str(found)
    assert text.startswith("6 test images\n")
    mean = f"{found['likelihood']['mean']:.2f} nats"
    assert any(row.name == "log p(x), S = 50" and row.value == mean for row in found.rows)
    assert mean in text
    html = found._repr_html_()
    assert html.count("<tr>") == 1 + len(found.rows)
    assert f"<td>{mean}</td>" in html
    assert "lower bound" in found.notes[0]


def test_one_name_is_enough_and_a_report_must_be_a_function(network, data, found, unchecked):
    assert (
        gncn.evaluate(network, data, only="sparsity", split="test")["sparsity"] == found["sparsity"]
    )
    with pytest.raises(ConfigError, match="report must be a function that receives texts"):
        gncn.evaluate(network, data, only="sparsity", report="test")


def test_figures_are_drawn_when_they_are_asked_for(found, tmp_path):
    with pytest.raises(ConfigError, match="Say where to draw"):
        found.figures()
    paths = found.figures(tmp_path / "figures")
    assert [path.name for path in paths] == ["activity.png"]
    assert paths[0].read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_an_estimator_is_measured_on_images_alone_or_a_data_set(data):
    options = {"sizes": (6, 4), "group_size": 2, "n_settle_steps": 4, "n_epochs": 1}
    estimator = gncn.GNCN(**options).fit(data.train.images)
    alone = gncn.evaluate(estimator, data.test.images, only=ONLY, **SETTINGS)
    whole = gncn.evaluate(estimator.model_, data, only=ONLY, split="test", **SETTINGS)
    assert alone["likelihood"]["mean"] == pytest.approx(whole["likelihood"]["mean"], rel=1e-6)
    assert alone["sparsity"] == whole["sparsity"]
    with pytest.raises(ConfigError, match="must be the `gncn.Dataset`"):
        gncn.evaluate(estimator.model_, IMAGES)
    labels = data.train.images[:, 0]
    classifier = gncn.DSRN(budget=900, n_epochs=1).fit(data.train.images, labels)
    with pytest.raises(ConfigError, match="classifies and generates nothing"):
        gncn.evaluate(classifier, data)


@pytest.mark.slow
def test_a_run_is_measured_as_the_command_does(run):
    found = gncn.evaluate(run, only=["sparsity"], split="test", replace=True)
    assert (run / "metrics-test.json").exists()
    network = gncn.load(run)
    folder = RunFolder.open(run)
    same = gncn.evaluate(network, folder.data(), only=["sparsity"], split="test")
    assert found["sparsity"] == same["sparsity"]
    assert [path.name for path in found.figures()] == ["activity.png"]
    assert "active, layer 1" in str(found)


def test_load_takes_a_run(run):
    first = RunFolder.open(run).model(0)
    for one, other in zip(jax.tree.leaves(gncn.load(run)), jax.tree.leaves(first), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(RunError, match="no model in .*trials/7"):
        gncn.load(run, trial=7)
    with pytest.raises(ConfigError, match="no run, so it has no trials; received trial=1"):
        gncn.load(run / "trials" / "0", trial=1)


def test_models_stand_side_by_side(network, data, found):
    other = gncn.build(gncn.chain((16, 4)), seed=1, n_settle_steps=4)
    table = gncn.compare({"deep": found, "flat": other}, data, only=ONLY, **SETTINGS)
    assert [row.run.name for row in table.rows] == ["deep", "flat"]
    deep, flat = (row.values for row in table.rows)
    assert deep["log_likelihood"].mean == found["likelihood"]["mean"]
    assert deep["bce"].mean == found["bce"]
    assert set(flat) >= {"bce", "log_likelihood"}
    assert table.rows[1].n_synapses == other.circuit.n_synapses
    text = str(table)
    assert f"{found['bce']:.2f}" in text
    assert "flat" in text
    assert table._repr_html_().count("<tr>") == 3
    unnamed = gncn.compare([network, other], data, only=["sparsity"])
    assert [row.run.name for row in unnamed.rows] == ["Network 1", "Network 2"]


def test_what_cannot_be_compared_is_refused(network, data, found, run):
    elsewhere = gncn.from_arrays(1 - IMAGES)
    with pytest.raises(ConfigError, match="on the same images only"):
        gncn.compare([found, gncn.evaluate(network, elsewhere, only=["sparsity"])])
    more = SETTINGS | {"n_samples": 60}
    other = gncn.evaluate(network, data, only=ONLY, split="test", **more)
    with pytest.raises(RunError, match="different conditions .S of log p"):
        gncn.compare([found, other])
    for wrong in ([run, network], {"run": run}):
        with pytest.raises(ConfigError, match="Compare run folders, a list of paths"):
            gncn.compare(wrong, data)
    with pytest.raises(ConfigError, match="at least one"):
        gncn.compare([])
    assert gncn.compare([run]).rows[0].run == run


def test_public_names_are_all_there_and_nothing_else():
    assert set(dir(gncn)) == {*gncn.__all__, "__version__"}
    for name in gncn.__all__:
        assert getattr(gncn, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"):
        _ = gncn.nonesuch


def test_numbers_of_real_valued_images_have_rows_of_their_own():
    rows = gncn.Evaluation({"squared_error": 0.123456}).rows
    assert [tuple(row) for row in rows] == [("squared error", "0.1235", "of reconstructions")]
    (row,) = gncn.Evaluation({"bce": 12.5}).rows
    assert row[:2] == ("reconstruction BCE", "12.50 nats")


def test_a_mixture_reconstructs_nothing(data, monkeypatch):
    moments = np.ones(1), np.full((1, 16), 0.5), np.ones((1, 16))
    mixture = PixelMixture(mixture_from_moments(*moments), 0.01, "means")
    taken = Result({"samples": {"n": 3}})
    monkeypatch.setattr("gncn.runs.evaluation.measured", lambda *_: taken)
    found = gncn.evaluate(mixture, data, only=["samples"], split="test")
    assert found["samples"] == {"n": 3}
    assert not {"bce", "squared_error"} & {*found}


def test_the_table_has_what_was_asked_for():
    numbers = {
        "bce": 12.5,
        "n_images": 9,
        "split": "test",
        "sparsity": [{"layer": 1, "active": 0.25, "hoyer": 0.5, "gini": 0.75}],
        "yardsticks": {"m_mse": {"mean_image": {"m_mse": 30.0}}},
    }
    every = gncn.Evaluation(numbers)
    assert [row.name for row in every.rows][1:] == ["M-MSE, mean image", "active, layer 1"]
    assert every.others == []
    some = gncn.Evaluation(numbers, only=["sparsity"])
    assert [row.name for row in some.rows] == ["reconstruction BCE", "active, layer 1"]
    assert some.others == ["yardsticks"]
    assert "remark" in some._repr_html_()


def test_the_command_tabulates_what_was_asked_for(capsys):
    found = {"n_images": 9, "split": "test", "bce": 12.5}
    found["sparsity"] = [{"layer": 1, "active": 0.25, "hoyer": 0.5, "gini": 0.75}]
    found["yardsticks"] = {"m_mse": {"mean_image": {"m_mse": 30.0}}}
    command._show(found, ["sparsity"])
    shown = capsys.readouterr()
    assert "active, layer 1" in shown.out
    assert "mean image" not in shown.out
    assert "Kept from earlier evaluations: yardsticks." in shown.err
    command._show(found, None)
    shown = capsys.readouterr()
    assert "mean image" in shown.out
    assert "Kept" not in shown.err


@pytest.mark.parametrize("flag", ["--samples", "--chains", "--curve", "--components"])
def test_the_command_names_the_option_that_is_out_of_range(flag, tmp_path):
    out, err = io.StringIO(), io.StringIO()
    assert call(("evaluate", tmp_path, flag, "0"), out, err) == 2
    assert f"Invalid value for '{flag}'" in err.getvalue()


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--leapfrog-step", "0", "should be greater than 0; received 0.0"),
        ("--covariance", "round", "should be 'full' or 'diagonal'; received 'round'"),
    ],
)
def test_the_command_names_the_option_that_a_measure_refuses(flag, value, said, tmp_path):
    out, err = io.StringIO(), io.StringIO()
    assert call(("evaluate", tmp_path, flag, value), out, err) == 2
    assert re.sub(r"\s+", " ", err.getvalue()).startswith(f"Error: {flag}: input {said}")


def test_python_names_the_setting_that_is_out_of_range(network, data):
    with pytest.raises(ConfigError, match=r"^n_chains: .*greater than or equal to 1; received 0"):
        gncn.evaluate(network, data, only=["tight"], n_chains=0)


def test_no_two_rows_have_one_name():
    probe = [
        {"layer": layer, "z": {"error_percent": 9.0}, "phi": {"error_percent": 8.0}}
        for layer in (1, 2, 3)
    ]
    at = {"n_samples": 25_000, "mean": -9.0}
    curve = {"n_samples": [100, 25_000], "mean": [-9.9, -9.1]}
    more = {"standard_error": 0.1, "spread_over_prior_draws": 0.1, "paper_convention": 11.2}
    numbers = {"bce": 1.0, "probe": probe, "likelihood": at | more | {"curve": curve}}
    numbers |= {f"likelihood_{name}": at for name in ("own_prior", "training_codes")}
    names = [row.name for row in gncn.Evaluation(numbers).rows]
    assert len(names) == len(set(names)) == 12
    for name in ("log p(x), own prior", "log p(x), codes as prior", "probe on z, layer 2"):
        assert name in names


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--samples", "9"], "--samples 9 has no effect: only"),
        (["--curve", "8", "--curve", "9"], "--curve 8 --curve 9 has no effect: only"),
        (["--covariance", "diagonal"], "--covariance diagonal has no effect: only"),
    ],
)
def test_the_command_names_the_option_without_effect(options, said, tmp_path):
    out, err = io.StringIO(), io.StringIO()
    assert call(("evaluate", tmp_path, "--only", "sparsity", *options), out, err) == 2
    assert re.sub(r"\s+", " ", err.getvalue()).startswith(f"Error: {said}")

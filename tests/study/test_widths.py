"""Features that need no model: one run measures them for each width of codes, each has a row."""

import re

import numpy as np
import pytest
from handmade import metrics, record
from handmade import study as made

import gncn
from gncn.base.errors import ConfigError
from gncn.data import Dataset, Split
from gncn.measures import Subject, as_measurable
from gncn.measures.code_yardsticks import CodeYardsticks
from gncn.runs.config import Config
from gncn.study.page import write_report
from gncn.study.plan import Study
from gncn.study.specs import possible_measures
from gncn.study.summary import as_json, summarise
from gncn.training.kinds import MODEL_KINDS

PLACE = "{mnist.k_means.error_percent}"
DIGITS = PLACE.replace("mnist", "digits")
MEASURES = ["sparsity", "codes"]


def gncn_of(*sizes):
    return {"preset": "digits", "settings": {"network": {"sizes": sizes}}}


MODELS = {
    "gmm": {"preset": "gmm"},
    "rae": {"preset": "rae"},
    "gvae": {"preset": "gvae"},
    "wide": gncn_of(360, 360, 720),
    "other": gncn_of(720, 720, 360),
    "gncn": gncn_of(360, 360, 360),
    "flat": gncn_of(12, 12, 720),
    "dsrn": {"preset": "dsrn"},
}


def planned(models=MODELS, data=("digits",), **options):
    evaluation = {"measures": MEASURES} | options.pop("evaluation", {})
    entries = options.pop("entries", {})
    given = {"trials": 2, "evaluation": evaluation} | options
    data = {name: {"settings": {"name": "digits"}} for name in data} | entries
    return Study(name="widths", models=models, data=data, **given)


def takers(study):
    return [spec.name for spec in study.runs() if "codes" in spec.evaluation.measures]


@pytest.mark.parametrize("kind", sorted(MODEL_KINDS))
def test_a_configuration_knows_the_width_that_the_measure_takes(kind, monkeypatch):
    sections = {
        "gncn": {"network": {"sizes": (9, 5, 7)}},
        "gmm": {},
        "dsrn": {"backprop": {"budget": 5000}},
    }
    backprop = {"backprop": {"budget": 5000, "n_latent": 3}}
    config = Config(model=kind, **sections.get(kind, backprop))
    known = config.kind.n_codes(config)
    assert (known is not None) == ("codes" in possible_measures(kind))
    if known is None:
        assert kind in ("gmm", "dsrn")
        return
    images = np.random.default_rng(0).integers(0, 2, (20, 36)).astype(np.uint8)
    split = Split(images, np.arange(20, dtype=np.int32) % 2)
    data = Dataset("made", split, split, split, (6, 6), 2, "", "")
    [model] = config.models(data)
    monkeypatch.setattr("gncn.measures.code_yardsticks._kinds", lambda *_: ())
    subject = Subject(as_measurable(model), data, "validation")
    assert CodeYardsticks().measure(subject).numbers["codes"]["width"] == known
    assert known == (7 if kind == "gncn" else 3)


@pytest.mark.parametrize(
    ("models", "options", "expected"),
    [
        (MODELS, {}, ["rae/{}/0", "wide/{}/0", "gncn/{}/0"]),
        # The model of the targets goes before others of its width.
        (MODELS, {"targets_for": "flat"}, ["rae/{}/0", "other/{}/0", "flat/{}/0"]),
        (MODELS, {"targets_for": "gvae"}, ["gvae/{}/0", "wide/{}/0", "other/{}/0"]),
        (MODELS, {"targets_for": "gmm"}, ["rae/{}/0", "wide/{}/0", "other/{}/0"]),
        # With a width given there is one.
        (MODELS, {"evaluation": {"code_width": 9}}, ["gncn/{}/0"]),
        (MODELS, {"evaluation": {"code_width": 9}, "targets_for": "dsrn"}, ["rae/{}/0"]),
        (MODELS, {"evaluation": {"measures": ["sparsity"]}}, []),
        ({"gmm": {"preset": "gmm"}, "dsrn": {"preset": "dsrn"}}, {}, []),
    ],
)
def test_each_width_of_codes_is_measured_once_on_each_data_set(models, options, expected):
    assert takers(planned(models, ("digits", "again"), **options)) == [
        name.format(data) for data in ("digits", "again") for name in expected
    ]


def test_a_grid_measures_once_for_each_of_its_widths():
    sizes = [[12, 12, 24], [24, 12, 12], [12, 24, 12], [12, 12, 36]]
    entry = {"preset": "digits", "grid": {"network.sizes": sizes, "training.n_epochs": [2, 3]}}
    study = planned({"gncn": entry})
    keys = [*study.models]
    assert [study.models[key].point["network.sizes"] for key in keys[::2]] == sizes
    # Of 24, 12 and 36 on top; the third has 12 again.
    assert takers(study) == [f"{keys[at]}/digits/0" for at in (0, 2, 6)]
    rates = {"preset": "digits", "grid": {"training.learning_rate": [1e-3, 2e-3, 3e-3]}}
    study = planned({"gncn": rates})
    assert takers(study) == [f"{next(iter(study.models))}/digits/0"]


def test_a_text_that_leaves_the_width_open_is_refused_before_the_first_run():
    with pytest.raises(ConfigError, match=r"digits\.k_means.*widths 20, 360, 720, none.*'gmm'"):
        planned(targets_for="gmm", holds=[DIGITS]).runs()
    again = {"data": ("digits", "again"), "holds": [PLACE.replace("mnist", "again")]}
    with pytest.raises(ConfigError, match=r"again\.k_means"):
        planned(targets_for="gmm", **again).runs()
    for free in (
        {"holds": [DIGITS]},
        {"targets_for": "gmm", "holds": [DIGITS], "evaluation": {"code_width": 9}},
        {"targets_for": "gmm", "holds": [DIGITS], "evaluation": {"measures": ["sparsity"]}},
        {"targets_for": "gmm", "holds": ["{digits.pixels.error_percent}"]},
        {"targets_for": "gmm", "holds": [DIGITS], "entries": {"digits": {"measures": []}}},
    ):
        assert planned(**free).runs()
    # A model of that name is meant, and has one number.
    named = MODELS | {"k_means": gncn_of(12, 12, 12)}
    assert planned(named, targets_for="gmm", holds=["{digits.k_means.bce}"]).runs()


def probed(model, trial=0, **errors):
    """A record with errors of features by width, as ``k_means_360=2.5``; `width` of pixels is 784.

    Without errors the model's run measured no features.
    """
    probe = {}
    for name, error in errors.items():
        feature, _, width = name.rpartition("_")
        probe[feature] = {"error_percent": error, "n_features": int(width)}
    found = metrics(error=3.0) | ({"codes": {"probe": probe}} if probe else {})
    return record(model, trial=trial, metrics=found)


SEVERAL = [
    probed("rae", pixels_784=8.0, random_20=40.0, k_means_20=30.0),
    probed("gvae", pixels_784=8.0, random_1540=2.0, k_means_1540=1.5),
    probed("gncn", pixels_784=8.0, random_360=4.0, k_means_360=3.5),
    probed("gncn", trial=1, random_360=4.0, k_means_360=4.5),
]


def filled_in(findings, tmp_path):
    write_report(findings, tmp_path / "page.html", tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    found = re.search(r"k-means errs on (.*)\.\n", page)
    assert found is not None
    return found[1]


def test_features_of_each_width_have_a_row(tmp_path):
    findings = summarise(made(), SEVERAL)
    assert [
        (one.name, one.width, one.numbers["error_percent"].mean)
        for one in findings.sections[0].yardsticks
    ] == [
        ("pixels", 784, 8.0),
        ("random", 20, 40.0),
        ("k_means", 20, 30.0),
        ("random", 360, 4.0),
        ("k_means", 360, 4.0),
        ("random", 1540, 2.0),
        ("k_means", 1540, 1.5),
    ]
    write_report(findings, tmp_path / "page.html", tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert re.findall(r"\| yardstick: (.*?) \|(?: – \|)* ([\d.± ]+?) \|", text) == [
        # Every run finds the same number of pixels, which is no spread over trials.
        ("pixels as they are, 784 wide", "8.00"),
        ("fixed random features, 20 wide", "40.00"),
        ("centres of k-means, 20 wide", "30.00"),
        ("fixed random features, 360 wide", "4.00 ± 0.00"),
        ("centres of k-means, 360 wide", "4.00 ± 0.71"),
        ("fixed random features, 1,540 wide", "2.00"),
        ("centres of k-means, 1,540 wide", "1.50"),
    ]
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    rows = re.findall(r"Yardstick: (centres[^<]*)</th>.*?class=\"ours\">([^<]*)<", html, re.DOTALL)
    assert rows == [
        ("centres of k-means, 20 wide", "30.00"),
        ("centres of k-means, 360 wide", "4.00 ± 0.71"),
        ("centres of k-means, 1,540 wide", "1.50"),
    ]
    plain = as_json(findings)["data"][0]["yardsticks"]
    assert [(one["name"], one["width"], one["meant"]) for one in plain if "k_m" in one["name"]] == [
        ("k_means", 20, False),
        ("k_means", 360, True),
        ("k_means", 1540, False),
    ]


RAE, GVAE, GNCN = SEVERAL[:3]
BARE = probed("gncn")


@pytest.mark.parametrize(
    ("records", "targets_for", "expected"),
    [
        (SEVERAL, "gncn", "4.00"),
        (SEVERAL, "rae", "30.00"),
        (SEVERAL, "gvae", "1.50"),
        ([GNCN], "gncn", "3.50"),
        # Its own width may still be measured: another's would be another yardstick.
        ([RAE], "gncn", "–"),
        ([RAE, GVAE], "gncn", "–"),
        # Its run is finished and measured none, so the only width is meant.
        ([RAE, BARE], "gncn", "30.00"),
        ([GNCN, RAE], "absent", None),
        ([RAE, GVAE, BARE], "gncn", None),
        ([GNCN], "absent", "3.50"),
        # Both have the width, and it is the targets' model's, too.
        ([RAE, probed("gvae", k_means_360=3.0), GNCN], "gncn", "3.25"),
    ],
)
def test_places_in_texts_mean_the_width_of_the_targets_model(
    records, targets_for, expected, tmp_path
):
    study = made(holds=[f"k-means errs on {PLACE}."], targets_for=targets_for)
    if expected is not None:
        assert filled_in(summarise(study, records), tmp_path) == expected
        return
    with pytest.raises(gncn.ConfigError, match=r"mnist\.k_means.*widths 20, (360|1540), none"):
        summarise(study, records)
    # Nothing is open where no text asks.
    summarise(made(holds=["{mnist.pixels.error_percent}"], targets_for=targets_for), records)

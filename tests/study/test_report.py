"""The report from records made by hand: numbers, verdicts, missing cells, a sound page."""

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from handmade import MODELS, metrics, pictures, plausible, record, study, with_lock
from PIL import Image

import gncn
from command import call
from gncn.base.errors import ConfigError, RunError
from gncn.evaluation.mixture_fit import fit_mixture
from gncn.study.page import make_page, write_report
from gncn.study.paper import PUBLISHED, columns, over_trials
from gncn.study.pictures import pack_points, sheet, unpack_points
from gncn.study.plan import Study, Targets
from gncn.study.record import read_record, write_record
from gncn.study.rows import sizes_of
from gncn.study.specs import Evaluation
from gncn.study.summary import as_json, summarise

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Checks nesting, and collects ids, references and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.references, self.alts, self.text = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in found:
            self.ids.append(found["id"])
        self.references += [found[k] for k in ("src", "href", "xlink:href") if k in found]
        if tag == "img":
            self.alts.append(found.get("alt"))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def row(findings, model, data="mnist"):
    section = next(one for one in findings.sections if one.key == data)
    return next(one for one in section.rows if one.key == model)


def test_cells_are_means_over_trials_beside_the_papers_numbers():
    records = [
        record("gncn", trial=0, bce=(90.0, 50.0), metrics=metrics(log_p=-112, error=3, m_mse=21)),
        record("gncn", trial=1, bce=(94.0, 52.0), metrics=metrics(log_p=-114, error=4, m_mse=23)),
        record("rae", bce=(80.0, 52.6)),
    ]
    found = summarise(study(), records)
    cells = row(found, "gncn").cells
    assert cells["bce"].ours.mean == 51
    assert cells["bce"].ours.deviation == pytest.approx(np.sqrt(2))
    assert (cells["bce"].paper, cells["bce"].verdict.kind) == (58.05, "beaten")
    honest = cells["log_likelihood"]
    assert honest.ours.mean == -113
    assert honest.paper == pytest.approx(-98.29 - 2 * np.log(5000))
    assert honest.verdict.kind == "beaten"
    assert (honest.printed, honest.as_printed.kind) == (-98.29, "not attainable")
    convention = cells["log_likelihood_paper_convention"]
    assert convention.ours.mean == pytest.approx(-113 + 2 * np.log(5000))
    assert (convention.paper, convention.verdict.kind) == (-98.29, "beaten")
    assert cells["error_percent"].verdict.kind == "not reached"
    assert cells["m_mse_paper"].verdict.kind == "not attainable"
    assert (cells["m_mse_paper"].ours.mean, cells["m_mse_paper"].paper) == (27, 14.19)
    assert (cells["m_mse"].ours.mean, cells["m_mse"].verdict) == (22, None)
    assert row(found, "gncn").curve[0] == (92.0, pytest.approx(np.sqrt(8)))
    assert row(found, "gncn").first_epoch.verdict.kind == "not reached"
    assert row(found, "rae").cells["bce"].verdict.kind == "reproduced"
    assert row(found, "rae").cells["m_mse"].ours is None
    section = found.sections[0]
    assert sorted(section.counts.elements()) == [
        "beaten",
        "beaten",
        "not attainable",
        "not reached",
        "reproduced",
    ]
    numbers = {one.name: one.numbers for one in section.yardsticks}
    assert numbers["supervised"]["m_mse"].mean == 19
    assert as_json(found)["data"][0]["models"]["gncn"]["cells"]["bce"]["ours"]["n_trials"] == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "a network trained by backprop for exactly this half, which was not tuned."),
        (
            {"regressor_units": [2, 3], "regressor_dropout": [0.1, 0.3], "n_regressors": 3},
            "the mean of 3 networks trained by backprop for exactly this half; of 4 sizes and "
            "dropouts validation images chose one.",
        ),
    ],
)
def test_the_page_says_how_the_supervised_yardstick_was_chosen(tmp_path, settings, words):
    records = [record("gncn", metrics=metrics(error=2.2, m_mse=20.7))]
    planned = study(evaluation={"measures": ["completion", "yardsticks"], **settings})
    found = summarise(planned, records)
    for path in write_report(found, tmp_path / "page.html", tmp_path / "page.md")[:2]:
        text = " ".join(path.read_text(encoding="utf-8").split())
        # Under the verdicts, and in the page's list of terms.
        assert text.count(f"yardstick is {words}") == (2 if path.suffix == ".html" else 1)


def test_features_of_the_same_width_stand_under_the_models(tmp_path):
    probe = {"k_means": {"error_percent": 2.84}, "rbm": {"error_percent": 2.17, "n_features": 1540}}
    measured = metrics(error=2.2, m_mse=20.7) | {"codes": {"width": 9, "probe": probe}}
    measured["yardsticks"]["m_mse"]["ridge"] = {"m_mse": 21.17, "n_prototypes": 1200}
    records = [record("gncn", metrics=measured)]
    found = summarise(study(), records)
    yardsticks = {one.name: one.numbers for one in found.sections[0].yardsticks}
    assert yardsticks["rbm"]["error_percent"].mean == 2.17
    assert yardsticks["ridge"]["m_mse"].mean == 21.17
    assert "pixels" not in yardsticks
    write_report(found, tmp_path / "page.html", markdown=tmp_path / "page.md")
    lines = (tmp_path / "page.md").read_text(encoding="utf-8").splitlines()
    [line] = [line for line in lines if "an RBM after five epochs" in line]
    assert "| yardstick: an RBM after five epochs, 1,540 wide |" in line
    assert "2.17" in line
    assert "an RBM after five epochs, 1,540 wide</th>" in (tmp_path / "page.html").read_text(
        encoding="utf-8"
    )
    assert any("centres of k-means |" in line for line in lines)  # nobody said how wide
    plain = {one["name"]: one["width"] for one in as_json(found)["data"][0]["yardsticks"]}
    assert (plain["rbm"], plain["k_means"], plain["ridge"]) == (1540, None, 1200)
    assert sum("have one fixed setting each" in line for line in lines) == 1
    assert "21.17" not in line
    [line] = [
        line
        for line in lines
        if "ridge regression from distances to training images, 1,200 wide" in line
    ]
    assert "21.17" in line
    assert "21.17" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "2.84" in "".join(Page((tmp_path / "page.html").read_text(encoding="utf-8")).text)


@pytest.mark.parametrize(
    ("best", "kind"), [(19.1, "not attainable"), (18.9, "not reached"), (None, "not attainable")]
)
def test_a_yardstick_that_a_model_beats_puts_nothing_out_of_reach(best, kind):
    records = [record("gncn", metrics=metrics(m_mse=22.0)), record("rae")]
    if best is not None:
        records.append(record("gvae", metrics=metrics(m_mse=best)))
    found = summarise(study(), records)
    assert row(found, "gncn").cells["m_mse_paper"].verdict.kind == kind
    reason = row(found, "gncn").cells["m_mse_paper"].verdict.reason
    assert ("below the M-MSE of every model here, and below a yardstick's 19.00" in reason) == (
        kind == "not attainable"
    )


@pytest.mark.parametrize(
    ("ways", "papers"),
    [
        ({"drift": 31.0, "silent": 24.0, "combined": 20.0}, 31.0),  # a network: Eq 4
        ({"clamped": 56.0, "recall": 25.0}, 56.0),  # an autoencoder
        ({"recall": 25.0}, None),
    ],
)
def test_the_papers_numbers_are_compared_with_the_papers_way_of_completing(ways, papers):
    scores = {way: {"m_mse": error} for way, error in ways.items()}
    best = min(ways, key=ways.__getitem__)
    found = {"completion": {"best_way": best, "ways": scores}}
    cells = row(summarise(study(), [record("gncn", metrics=found)]), "gncn").cells
    ours = cells["m_mse_paper"].ours
    assert (None if ours is None else ours.mean) == papers
    assert cells["m_mse"].ours.mean == ways[best]
    assert cells["m_mse"].verdict is None


def test_the_classifiers_error_is_its_own():
    found = summarise(study(), [record("dsrn", bce=(5.0, 2.0))])
    cells = row(found, "dsrn").cells
    assert cells["error_percent"].ours.mean == 2.0
    assert cells["bce"].ours is None


def test_the_best_two_are_marked_whichever_way_is_better():
    values = {"rae": 50.0, "gvae": 70.0, "gncn": 40.0}
    records = [
        record(model, bce=(value,), metrics=metrics(log_p=-value))
        for model, value in values.items()
    ]
    found = summarise(study(), records)
    for key in ("bce", "log_likelihood"):
        assert {m for m in values if row(found, m).cells[key].best} == {"rae", "gncn"}


def test_part_of_the_data_is_compared_with_nothing():
    part = record("gncn", "kmnist", bce=(1.0,), metrics=metrics(log_p=-1.0), name="kmnist" + PART)
    whole = record("gncn", "kmnist", trial=1, bce=(142.0,))
    found = summarise(study(data=("kmnist",)), [part, whole])
    first, second = found.sections
    assert (first.name, first.partial, first.published) == ("kmnist", False, True)
    assert (second.partial, second.published) == (True, False)
    assert not second.counts
    assert second.rows[0].cells["bce"].ours.mean == 1
    page = make_page(found)
    assert "part of the data, not comparable with the paper" in page


PART = " (test part only)"


def test_targets_are_reached_or_not_the_right_way_round():
    wanted = Targets(
        bce=50,
        log_likelihood=-110,
        error_percent=2.5,
        m_mse_over_supervised=1.1,
        top_sparsity=0.2,
        best=("log_likelihood", "m_mse"),
        tried={"error_percent": "more | epochs"},
    )
    made = study()
    data = {"mnist": made.data["mnist"].model_copy(update={"targets": wanted})}
    made = made.model_copy(update={"data": data})
    own = metrics(log_p=-109, error=3.0, m_mse=20, sparsity=(0.3, 0.19))
    records = [
        record("gncn", bce=(49.0,), metrics=own),
        record("rae", bce=(30.0,), metrics=metrics(log_p=-120, m_mse=19.5)),
        record("gmm", metrics=metrics(log_p=-100)),  # no neural model
    ]
    found = summarise(made, records)
    reached = [one.reached for one in found.sections[0].targets]
    assert reached == [True, True, False, True, True, True, False]
    assert found.sections[0].targets[2].tried == "more | epochs"
    alone = summarise(made, [record("rae", bce=(30.0,))]).sections[0].targets
    assert {one.reached for one in alone} == {None}


def test_log_p_reaches_a_target_with_the_mixture_prior_alone():
    """The better of two priors, by test numbers, would be a choice made on test images."""
    made = study()
    wanted = Targets(log_likelihood=-110, best=("log_likelihood",))
    data = {"mnist": made.data["mnist"].model_copy(update={"targets": wanted})}
    made = made.model_copy(update={"data": data})

    def of(mixture, codes, rival):
        own = metrics(log_p=mixture) | {"likelihood_training_codes": {"mean": codes}}
        other = metrics(log_p=rival) | {"likelihood_training_codes": {"mean": -90.0}}
        records = [record("gncn", metrics=own), record("rae", metrics=other)]
        targets = summarise(made, records).sections[0].targets
        assert targets[0].what == "log p(x), mixture prior"
        assert {one.ours.mean for one in targets} == {mixture}
        return [one.reached for one in targets]

    assert of(mixture=-113.0, codes=-80.0, rival=-120.0) == [False, True]
    assert of(mixture=-109.0, codes=-115.0, rival=-108.0) == [True, False]


def test_rows_that_learned_from_other_images_say_so(tmp_path):
    """Of a few models each says it; of all the section does."""

    def told(**learned):
        records = [
            record(model, trial=trial, bce=(b, b), train_on=on)
            for trial in (0, 1)
            for (model, on), b in zip(learned.items(), (5.0, 6.0), strict=True)
        ]
        claim = {"claim": "A.", "column": "bce"}
        found = summarise(study(claims=[claim]), records)
        files = write_report(found, tmp_path / "page.html", tmp_path / "page.md")[:2]
        return *(one.read_text(encoding="utf-8") for one in files), as_json(found)["data"][0]

    both = "learned from training and validation images"
    page, text, plain = told(gncn="both", rae="train")
    assert f"| GNCN (2; {both}, not locked) |" in text
    assert "| RAE (2; not locked) |" in text
    assert f"**holds** (GNCN: {both}, not locked; RAE: not locked): 5.00" in text
    assert f"<em>{both}, not locked</em>" in page
    assert [plain["models"][one]["learned"] for one in ("gncn", "rae")] == [both, None]
    page, text, plain = told(gncn="both", rae="both")
    assert f"### MNIST (all models {both})\n" in text
    assert f"<caption>MNIST (all models {both})</caption>" in page
    assert "| GNCN (2; not locked) |" in text
    assert "**holds** (not locked): 5.00" in text
    assert plain["models"]["rae"]["learned"] == both
    page, text, _ = told(gncn="train", rae="train")
    assert both not in page + text


def test_the_page_says_which_code_made_records_and_how_often_test_images_were_measured(tmp_path):
    records = [record("gncn", bce=(5.0,)), record("rae", bce=(6.0,), source="ba9876543210")]
    for split, n_said in (("test", 1), ("validation", 0)):
        spec = {"split": split, "config": {"model": "gncn"}}
        ours = [one.model_copy(update={"spec": spec}) for one in records]
        found = summarise(study(split=split), ours)
        for path in write_report(found, tmp_path / "page.html", tmp_path / "page.md")[:2]:
            text = path.read_text(encoding="utf-8")
            assert "0123456789ab, ba9876543210" in text
            assert "records were made by 2 states of the library" in text
            assert text.count("Test errors are recorded after every epoch") == n_said


def test_verdicts_of_marked_models_are_counted(tmp_path):
    made = study(models=("gncn", "rae"))
    wanted = {"mnist": made.data["mnist"].model_copy(update={"targets": Targets(bce=50)})}
    made = made.model_copy(update={"data": wanted})
    records = [
        with_lock(record("gncn", bce=(57.0, 40.0)), tested=True),
        with_lock(record("rae", bce=(168.0, 60.0), metrics=metrics(error=3)), tested=False),
    ]
    found = summarise(made, records)
    assert (found.sections[0].counts.total(), found.sections[0].n_marked) == (3, 1)
    write_report(found, tmp_path / "page.html", tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert re.search(r"\| MNIST \| \d \| \d \| \d \| \d \| 1 \|", text)
    assert "### GNCN (exploratory) on MNIST" in text
    assert "After the first epoch, GNCN (exploratory) on MNIST" in text
    assert "After the first epoch, RAE on MNIST" in text


def test_records_of_different_images_are_not_averaged():
    other = record("gncn", trial=1, bce=(1.0,))
    other = other.model_copy(update={"dataset": other.dataset | {"fingerprint": "g"}})
    with pytest.raises(RunError, match="different images and can't be averaged"):
        summarise(study(), [record("gncn", bce=(1.0,)), other])


def evaluation(**options):
    return Evaluation(**options).model_dump(mode="json")


def test_trials_of_different_settings_are_not_averaged():
    def with_epochs(trial, n_epochs, **evaluated):
        config = gncn.Config(seed=trial, training={"n_epochs": n_epochs}).model_dump(mode="json")
        spec = {"split": "test", "config": config, "evaluation": evaluation(**evaluated)}
        return record("gncn", trial=trial, bce=(1.0,), spec=spec)

    alike = [with_epochs(0, 4), with_epochs(1, 4, measures=("likelihood",))]
    assert row(summarise(study(), alike), "gncn").n_trials == 2
    with pytest.raises(RunError, match=r"gncn/mnist/0 and gncn/mnist/1.*n_epochs: 4 → 9"):
        summarise(study(), [with_epochs(0, 4), with_epochs(1, 9)])
    with pytest.raises(RunError, match=r"evaluation.n_samples: 5000 → 100"):
        summarise(study(), [with_epochs(0, 4), with_epochs(1, 4, n_samples=100)])


def test_trials_that_the_study_does_not_ask_for_are_left_out():
    records = [record("gncn", trial=trial, bce=(1.0 + trial,)) for trial in range(4)]
    assert row(summarise(study(trials=2), records), "gncn").cells["bce"].ours.mean == 1.5


@pytest.mark.parametrize(
    ("options", "without"),
    [({"n_samples": 100}, "log_likelihood"), ({"missing": "left"}, "m_mse_paper")],
)
def test_what_the_paper_measured_otherwise_is_not_compared(options, without):
    one = record("gncn", bce=(50.0,), metrics=metrics(log_p=-100.0, m_mse=20.0))
    plain = row(summarise(study(), [one]), "gncn").cells
    other = row(summarise(study(evaluation=Evaluation(**options)), [one]), "gncn").cells
    for key in ("bce", "log_likelihood", "m_mse_paper"):
        assert plain[key].verdict is not None
        assert (other[key].paper is None) == (other[key].verdict is None) == (key == without)
    text = make_page(summarise(study(evaluation=Evaluation(**options)), [one]))
    assert ("of the right half of an image" in text) == (without != "m_mse_paper")


def test_validation_images_get_no_verdict():
    spec = {"split": "validation", "config": {"model": "gncn"}}
    one = record("gncn", bce=(50.0,), metrics=metrics(log_p=-100.0), spec=spec)
    found = row(summarise(study(split="validation"), [one]), "gncn")
    assert found.cells["bce"].paper == PUBLISHED["mnist"]["gncn"].bce
    assert {cell.verdict for cell in found.cells.values()} == {None}
    assert found.first_epoch.verdict is None


@pytest.fixture(scope="module")
def whole():
    data = ("mnist", "fashion-mnist", "kmnist")
    records = plausible(data, trials=2, draw=lambda: pictures(seed=3))
    bad = records[0].model_copy(
        update={
            "status": "failed",
            "trial": 2,
            "error": {"type": "Crash", "message": "<b>boom</b>", "details": "a < b"},
        }
    )
    return summarise(study(data=data, trials=3, notes=("A <note>.",)), [*records, bad])


def test_the_page_is_sound_html_and_needs_no_network(whole):
    text = make_page(whole)
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert page.references
    assert all(one.startswith(("#", "data:image/png;base64,")) for one in page.references)
    anchors = {one[1:] for one in page.references if one.startswith("#")}
    assert anchors <= set(page.ids)
    assert not re.search(r"url\((?!#)", text)
    assert not re.search(r"@import|<script .|<link", text)
    assert all(page.alts)
    assert text.count("<svg") == text.count('role="img" aria-label=')
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    words = " ".join(page.text)
    assert f"{len(whole.finished)} of {whole.study.n_runs} finished, 1 failed" in words
    assert "<b>boom</b>" in words  # as text, not as a tag
    assert "A <note>." in words
    for title in MODELS:
        assert title.upper() in words
    for name in ("MNIST", "FASHION-MNIST"):
        assert f"{name}: the same, completed by the GNCN" in page.alts


def test_markdown_tables_are_whole_and_figures_lie_beside_it(whole, tmp_path):
    written = write_report(whole, tmp_path / "page.html", tmp_path / "docs" / "report.md")
    text = (tmp_path / "docs" / "report.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(blocks) >= 8
    for block in blocks:
        lines = block.splitlines()
        assert re.fullmatch(r"\|( -+:? \|)+", lines[1]), lines[1]
        assert len({line.count("|") for line in lines}) == 1, block
    figures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    figures += re.findall(r'<img src="([^"]+)" alt="[^"]+" width="\d+">', text)
    assert figures
    assert {tmp_path / "docs" / one for one in figures} == set(written[2:])
    assert all(path.stat().st_size > 0 for path in written)
    svg = next(path for path in written if path.suffix == ".svg").read_text(encoding="utf-8")
    assert "prefers-color-scheme" in svg
    Page(svg)


def test_an_empty_study_still_makes_a_page():
    findings = summarise(study(), [])
    Page(make_page(findings))
    Page(make_page(summarise(study(), [record("gncn")])))


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_sizes_count_what_a_prior_holds(covariance):
    prior = {"n_components": 3, "covariance": covariance}
    config = {"model": "rae", "backprop": {"n_latent": 4}}
    one = record("rae", metrics={"prior": prior}, spec={"split": "test", "config": config})
    codes = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    fitted = fit_mixture(codes, 3, covariance=covariance, seed=0)
    # Of a symmetric matrix only one half counts, as of the triangular one that is kept.
    per_component = np.count_nonzero(np.asarray(fitted.mixture.whitening)) / 3
    expected = 3 * (1 + 4 + per_component)
    assert sizes_of(one) == {"units on top": 4, "numbers in the prior": expected}


def test_sizes_are_those_that_a_model_has():
    config = {"model": "gncn", "network": {"sizes": [300, 1540]}}
    given = {"spec": {"split": "test", "config": config}, "n_synapses": 1_394_700}
    network = record("gncn", bce=(3.0,), **given)
    assert sizes_of(network) == {"synapses": 1_394_700, "units on top": 1540}
    assert sizes_of(record("dsrn", n_synapses=7)) == {"synapses": 7}
    assert sizes_of(record("gmm")) == {}
    prior = {"prior": {"n_components": 65, "covariance": "full"}}
    found = summarise(study(), [record("gncn", metrics=prior | metrics(log_p=-9), **given)])
    # The matrix of 1540 units has 1540 · 1541 / 2 numbers.
    assert row(found, "gncn").sizes["numbers in the prior"] == 65 * (1 + 1540 + 1_186_570)
    assert as_json(found)["data"][0]["models"]["gncn"]["sizes"]["synapses"] == 1_394_700
    assert "77,227,215" in make_page(found)


def test_completion_without_stored_images_is_chosen_on_validation_images():
    """And the paper's way is Eq 4, or iteration."""
    alone, papers = (columns()[key].find for key in ("m_mse_alone", "m_mse_paper"))

    def ways(**found):  # of each way the error on these images, and on validation images
        scores = {way: {"m_mse": one} for way, (one, _) in found.items()}
        on_validation = {way: one for way, (_, one) in found.items()}
        return {"completion": {"ways": scores, "validation_m_mse": on_validation}}

    network = ways(drift=(31.0, 31.0), silent=(24.0, 25.0), recall=(21.0, 21.0))
    assert (alone(network), papers(network)) == (24.0, 31.0)
    before = ways(clamped=(56.0, 57.0), recall=(25.0, 25.0))
    assert (alone(before), papers(before)) == (56.0, 56.0)
    lucky = ways(clamped=(56.0, 30.0), fitted=(26.0, 31.0), combined=(20.0, 20.0))
    assert (alone(lucky), papers(lucky)) == (56.0, 56.0)
    better = ways(clamped=(56.0, 57.0), fitted=(26.0, 25.0), combined=(20.0, 20.0))
    assert (alone(better), papers(better)) == (26.0, 56.0)
    assert alone({}) is None
    assert alone(ways(recall=(25.0, 25.0))) is None


def test_pictures_have_colours_only_beyond_0_and_1():
    grey = Image.open(io.BytesIO(base64.b64decode(sheet(np.array([[0.0, 1.0]]), (1, 2))["png"])))
    assert (grey.mode, [grey.getpixel((x, 0)) for x in (0, 1)]) == ("L", [255, 0])
    found = sheet(np.array([[-2.0, 1.0]]), (1, 2))
    assert (found["width"], found["height"]) == (2, 1)
    coloured = Image.open(io.BytesIO(base64.b64decode(found["png"])))
    (low, high) = (coloured.getpixel((x, 0)) for x in (0, 1))
    assert low[2] > low[0] + 20  # blue below 0
    assert high[0] > high[2] + 20


def test_points_come_back_with_and_without_classes():
    points = np.array([[0.0, 2.0], [4.0, 2.0], [1.0, 2.0]])
    expected = [[0, 0], [1, 0], [0.25, 0]]
    found, labels = unpack_points(pack_points(points, None))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert labels is None
    found, labels = unpack_points(pack_points(points, np.array([3, -1, 0])))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert labels.tolist() == [3, -1, 0]


def test_what_is_no_number_has_no_mean():
    with pytest.raises(RunError, match="'2.0' is no number"):
        over_trials([1.0, None, "2.0"])
    assert over_trials([1.0, None, 3.0]).mean == 2
    assert over_trials([None]) is None


def test_a_record_of_another_format_is_refused(tmp_path):
    path = tmp_path / "gncn-0.json"
    for version in (1, 3, "2"):
        content = json.loads(record("gncn").to_json()) | {"format": version}
        path.write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(RunError, match=f"has version {version!r} of the format of records"):
            read_record(path)


def test_a_study_asks_nothing_of_what_it_does_not_name():
    made = study(models=("gncn", "rae"), trials=3)
    assert made.n_trials("gncn", "mnist") == 3
    assert made.n_trials("gvae", "mnist") == made.n_trials("gncn", "digits") == 0
    with pytest.raises(ConfigError, match="models"):
        Study(name="made", data={"mnist": {}}, models="gncn")


def reported(*options, status=0):
    """What ``gncn report`` writes as results, and what it says."""
    out, err = io.StringIO(), io.StringIO()
    assert call(["report", *options], out, err, COLUMNS="300", NO_COLOR="1") == status
    return out.getvalue(), err.getvalue()


def test_the_command_writes_page_text_and_table(tmp_path):
    made = study(models=("gncn", "rae"), trials=1)
    (tmp_path / "study.json").write_text(made.model_dump_json(), encoding="utf-8")
    assert "holds no records yet; `gncn reproduce` makes them." in reported(tmp_path, status=2)[1]
    for model, bce in (("gncn", (90.0, 50.0)), ("rae", (80.0, 52.6))):
        spec = {"split": "test", "config": {"model": model, "seed": 0}}
        write_record(tmp_path, record(model, bce=bce, spec=spec))
    page, text, table = (tmp_path / name for name in ("report.html", "report.md", "all.csv"))
    refused = reported(tmp_path, "--table", tmp_path / "all.xlsx", status=2)[1]
    assert (
        "The file 'all.xlsx' must end in .csv or .parquet: its suffix says what to write."
        in refused
    )
    assert not page.exists()  # refused before the page is made
    out, said = reported(tmp_path, "--table", table)
    assert out == ""
    lines = [f"report: {page}", f"report: {text}", f"table: {table}"]
    assert said.splitlines() == lines
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
    assert [(one["model"], float(one["bce"])) for one in rows] == [("gncn", 50.0), ("rae", 52.6)]
    assert "A study made by hand" in page.read_text(encoding="utf-8")
    other, elsewhere = tmp_path / "other.toml", tmp_path / "elsewhere.md"
    other.write_text(
        'name = "other"\ntitle = "Another title"\n[data.mnist]\n[models.gncn]\npreset = "mnist"\n',
        encoding="utf-8",
    )
    out, said = reported(tmp_path, "--study", other, "--markdown", elsewhere, "--json")
    found = json.loads(out)
    assert found["written"][:2] == [str(page), str(elsewhere)]
    assert found["data"][0]["models"]["gncn"]["cells"]["bce"]["ours"]["mean"] == 50.0
    assert said == ""
    assert "Another title" in elsewhere.read_text(encoding="utf-8")
    assert "report:" in reported(tmp_path)[1]
    assert "table:" not in reported(tmp_path)[1]


def test_what_the_paper_does_not_have_is_not_explained(tmp_path):
    """A study of other data has no verdicts, so the page doesn't say what they mean."""

    def in_markdown(found):
        write_report(found, tmp_path / "page.html", tmp_path / "page.md")
        return (tmp_path / "page.md").read_text(encoding="utf-8")

    about_the_paper = ("Table 1", "Figure 4", "17.03", "eaten", "ot attainable", "Rings")
    said = {}
    for data in ("mnist", "digits"):
        few = [record(m, data, bce=(9.0, 8.0), metrics=metrics(log_p=-9)) for m in ("gncn", "rae")]
        found = summarise(study((data,), ("gncn", "rae"), split="test"), few)
        body = make_page(found).partition("</style>")[2]
        said[data] = re.sub("<[^>]*>", "", body), in_markdown(found)
    for text in said["digits"]:
        assert "The paper has no numbers for these data" in text
        assert [words for words in about_the_paper if words in text] == []
        assert "est two" not in text  # of two models
    for text in said["mnist"]:
        assert [words for words in about_the_paper if words not in text] == []
    three = [record(m, bce=(9.0, b)) for m, b in (("gncn", 8.0), ("rae", 7.0), ("gvae", 6.0))]
    assert "The best two of a column are bold." in in_markdown(summarise(study(), three))

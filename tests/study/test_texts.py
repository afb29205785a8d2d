"""A study's texts and claims: numbers filled in, verdicts, the page's order, wrong names."""

import re

import numpy as np
import pytest
import scipy.stats
from handmade import metrics, record, study, with_lock

import gncn
from gncn.study.judged import allowed_by_images
from gncn.study.page import write_report
from gncn.study.plan import Study
from gncn.study.summary import as_json, summarise
from gncn.study.texts import filled, places

FEW = {"data": {"mnist": {}}, "models": {"gncn": {"preset": "mnist"}, "rae": {"preset": "rae"}}}


def of_bce(model, values, **more):
    return [
        record(model, trial=trial, bce=(value + 9, value), metrics=metrics(**more))
        for trial, value in enumerate(values)
    ]


def claims(*given, records, **options):
    section = summarise(study(claims=given, trials=9, **options), records).sections[0]
    return section.claims


def test_numbers_take_their_places():
    text = "It has {mnist.gncn.bce} nats, {set}, {a.b}, and {mnist.rae.m_mse} {x}."
    assert [*places(text)] == [("mnist", "gncn", "bce"), ("mnist", "rae", "m_mse")]
    numbers = {("mnist", "gncn", "bce"): "−1.50"}
    assert filled(text, numbers) == "It has −1.50 nats, {set}, {a.b}, and – {x}."


@pytest.mark.parametrize("seed", range(12))
def test_a_claim_is_judged_by_welchs_test_over_trials(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(2, 9, 2)
    ours = rng.normal(50, rng.uniform(0.1, 3), n)
    theirs = rng.normal(50 + rng.choice([-4, -1, 0, 1, 4]), rng.uniform(0.1, 3), m)
    records = [*of_bce("gncn", ours), *of_bce("rae", theirs), *of_bce("gvae", (99.0, 98.0))]
    differs = scipy.stats.ttest_ind(ours, theirs, equal_var=False).pvalue < 0.05
    better = "holds" if ours.mean() < theirs.mean() else "fails"
    for column, shift in (("bce", 0), ("first_epoch", 9)):
        [found] = claims({"claim": "Best.", "column": column}, records=records)
        assert found.verdict == (better if differs else "level")
        assert (found.rival, found.n_rivals) == ("RAE", 2)
        assert found.ours.mean == pytest.approx(ours.mean() + shift)
        assert found.theirs.mean == pytest.approx(theirs.mean() + shift)


@pytest.mark.parametrize(("column", "sign"), [("bce", 1), ("log_likelihood", -1)])
@pytest.mark.parametrize("worse", [-4.0, -1.0, 1.0, 2.0, 3.0, 6.0])
def test_a_claim_with_a_margin_allows_to_be_worse_by_that_much(column, sign, worse):
    """The oracle: Welch's test of numbers that are better by the margin."""
    ours = np.array([50.0, 50.4, 50.1, 49.8])
    theirs = ours[::-1] * 0.99 + 0.5 - sign * worse
    if column == "bce":
        records = [*of_bce("gncn", ours), *of_bce("rae", theirs)]
    else:
        records = [
            record(model, trial=trial, metrics=metrics(log_p=one))
            for model, values in (("gncn", ours), ("rae", theirs))
            for trial, one in enumerate(values)
        ]
    claim = {"claim": "a", "column": column, "margin": 2.0}
    [found] = claims(claim, records=records)
    moved = ours - sign * 2.0
    differs = scipy.stats.ttest_ind(moved, theirs, equal_var=False).pvalue < 0.05
    better = sign * (theirs.mean() - moved.mean()) > 0
    assert found.verdict == ("level" if not differs else "holds" if better else "fails")
    assert found.verdict == ("level" if worse == 2 else "holds" if worse < 2 else "fails")


def test_a_margin_stands_next_to_its_claim(tmp_path):
    records = [*of_bce("gncn", (50.0, 50.2)), *of_bce("rae", (49.0, 49.2))]
    plain, wide = {"claim": "A.", "column": "bce"}, {"claim": "B.", "column": "bce", "margin": 2.5}
    for given, shown in (((plain,), False), ((plain, wide), True)):
        found = summarise(study(claims=given, trials=2), records)
        for path in write_report(found, tmp_path / "page.html", tmp_path / "page.md")[:2]:
            text = " ".join(path.read_text(encoding="utf-8").split())
            title = found.study.title_of("gncn")
            assert (f"B. ({title}; margin 2.50; not locked)" in text) == shown
            assert f"A. ({title}; not locked)" in text
            assert ("A claim with a margin holds if" in text) == shown
    told = as_json(found)
    assert [one["margin"] for one in told["claims"]] == [0.0, 2.5]
    assert [one["verdict"] for one in told["data"][0]["claims"]] == ["fails", "holds"]


def test_equal_trials_are_told_apart_by_any_difference():
    for theirs, verdict in ((50.0, "level"), (50.1, "holds"), (49.9, "fails")):
        records = [*of_bce("gncn", (50.0, 50.0)), *of_bce("rae", (theirs, theirs))]
        [found] = claims({"claim": "a", "column": "bce"}, records=records)
        assert found.verdict == verdict


def of_errors(model, *values):
    return [record(model, trial=i, metrics=metrics(error=one)) for i, one in enumerate(values)]


@pytest.mark.parametrize(("ours", "theirs"), [(30, 100), (100, 30), (0, 7), (900, 950), (0, 0)])
def test_images_allow_what_the_worst_placed_errors_of_two_models_do(ours, theirs):
    """The oracle: errors of two models on 1,000 images, image by image, overlapping or not."""
    n, rng = 1000, np.random.default_rng(ours)
    at = np.arange(n)
    allowed = allowed_by_images(ours / 10, theirs / 10, n)

    def two_errors(wrong, others):
        return 200 * np.std(wrong.astype(float) - others) / np.sqrt(n)

    # The fewest images on which both fail: none, if there are enough others.
    assert allowed == pytest.approx(two_errors(at < ours, at >= n - theirs))
    for _ in range(5):
        assert allowed >= two_errors(at < ours, rng.permutation(at) < theirs) - 1e-9
    assert allowed >= two_errors(at < ours, at < theirs) - 1e-9


@pytest.mark.parametrize(
    ("theirs", "verdict"), [(2.1, "fails"), (3.2, "level"), (4.2, "holds"), (3.0, "level")]
)
def test_an_error_rate_is_better_only_beyond_what_2000_images_allow(theirs, verdict):
    """And worse as soon as trials say so: to show it is the claim's business."""
    records = [*of_errors("gncn", 3.0, 3.0), *of_errors("rae", theirs, theirs)]
    [found] = claims({"claim": "a", "column": "error_percent"}, records=records)
    assert found.verdict == verdict
    assert found.images == pytest.approx(1.1, abs=0.15)
    [other] = claims(
        {"claim": "a", "column": "bce"}, records=of_bce("gncn", (1, 1)) + of_bce("rae", (2, 2))
    )
    assert other.images is None


def test_a_spread_of_trials_counts_for_error_rates_too():
    records = [*of_errors("gncn", 1.0, 9.0), *of_errors("rae", 7.0, 13.0)]
    [found] = claims({"claim": "a", "column": "error_percent"}, records=records)
    assert (found.verdict, found.images < 5) == ("level", True)


def test_marks_stand_where_verdicts_stand(tmp_path):
    claim = {"claim": "A.", "column": "error_percent"}

    def told(gncn_tested, rae_tested):
        records = [
            *(with_lock(one, gncn_tested) for one in of_errors("gncn", 3.0, 3.1)),
            *(with_lock(one, rae_tested) for one in of_errors("rae", 9.0, 9.1)),
        ]
        found = summarise(study(claims=[claim], trials=2), records)
        files = write_report(found, tmp_path / "page.html", tmp_path / "page.md")[:2]
        page, text = (one.read_text(encoding="utf-8") for one in files)
        return page, text, as_json(found)["data"][0]["claims"][0]["remark"]

    page, text, plain = told(True, True)
    assert "**holds** (exploratory): 3.05; RAE 9.05; images allow 1.53 |" in text
    assert "holds (exploratory)</span>" in page
    assert plain == "exploratory"
    page, text, plain = told(True, False)
    assert "**holds** (GNCN: exploratory): 3.05" in text
    assert plain == "GNCN: exploratory"
    page, text, plain = told(False, False)
    assert "**holds**: 3.05" in text
    assert "exploratory" not in text + plain
    assert "The page makes 1 such judgements between models." in text
    assert "some 5 % of them apart, here 0.1" in text
    assert "a claim about them holds only if" in text


def test_the_page_explains_error_rates_only_where_claims_are_about_them(tmp_path):
    records = [*of_bce("gncn", (5.0, 5.0)), *of_bce("rae", (6.0, 6.0))]
    found = summarise(study(claims=[{"claim": "A.", "column": "bce"}], trials=2), records)
    for path in write_report(found, tmp_path / "page.html", tmp_path / "page.md")[:2]:
        text = path.read_text(encoding="utf-8")
        assert "Verdicts are for these test images" in text
        assert "images allow" not in text


def of_log_p(model, values):
    return [record(model, trial=i, metrics=metrics(log_p=one)) for i, one in enumerate(values)]


@pytest.mark.parametrize("few", [(-50.0,), (-50.0, np.nan)])
@pytest.mark.parametrize("swapped", [False, True])
def test_one_trial_or_no_number_says_nothing(few, swapped):
    pair = {"gncn": (-60.0, -61.0), "rae": few} if swapped else {"gncn": few, "rae": (-60.0, -61.0)}
    records = [one for model, values in pair.items() for one in of_log_p(model, values)]
    claim = {"claim": "a", "column": "log_likelihood"}
    [found] = claims(claim, records=records)
    assert found.verdict == "not known"
    # What is no number is no rival as long as there is another.
    [found] = claims(claim, records=[*records, *of_log_p("gvae", (-70.0, -71.0))])
    assert found.rival == ("GVAE" if swapped and len(few) == 2 else "RAE")


def test_a_rival_without_a_number_leaves_a_claim_open():
    """Else a study whose best baseline failed would show that the claim holds."""
    records = [*of_bce("gncn", (50.0, 51.0)), *of_bce("gvae", (60.0, 61.0))]
    named = {"claim": "a", "column": "bce", "against": ["rae", "gvae"]}
    assert claims(named, records=records) == (None,)
    [found] = claims(named, records=[*records, *of_bce("rae", (40.0, 41.0))])
    assert (found.verdict, found.rival) == ("fails", "RAE")


def test_more_is_better_where_a_column_says_so_and_rivals_may_be_named():
    records = [
        *of_bce("gncn", (5.0, 5.0), log_p=-100),
        *of_bce("gvae", (4.0, 4.0), log_p=-90),
        *of_bce("rae", (6.0, 6.0), log_p=-110),
    ]
    of_all, of_some, of_none, other = claims(
        {"claim": "a", "column": "log_likelihood"},
        {"claim": "b", "column": "log_likelihood", "against": ["rae"]},
        {"claim": "c", "column": "log_likelihood", "against": ["gmm"]},
        {"claim": "d", "column": "error_percent"},
        records=records,
    )
    assert (of_all.verdict, of_all.rival) == ("fails", "GVAE")
    assert (of_some.verdict, of_some.rival) == ("holds", "RAE")
    assert of_none is other is None
    [about_gvae] = claims(
        {"claim": "a", "column": "log_likelihood"}, records=records, targets_for="gvae"
    )
    [named] = claims({"claim": "a", "model": "gvae", "column": "log_likelihood"}, records=records)
    assert named == about_gvae
    assert (about_gvae.verdict, about_gvae.rival) == ("holds", "GNCN")


def test_the_page_says_which_model_a_claim_is_about(tmp_path):
    named = [{"claim": "A.", "column": "bce"}, {"claim": "B.", "model": "rae", "column": "bce"}]
    records = [*of_bce("gncn", (5.0, 5.0)), *of_bce("rae", (6.0, 6.0))]
    found = summarise(study(claims=named, trials=2), records)
    for path in write_report(found, tmp_path / "page.html", tmp_path / "page.md")[:2]:
        text = path.read_text(encoding="utf-8")
        assert "A. (GNCN; not locked)" in text
        assert "B. (RAE; not locked)" in text


def test_the_page_says_first_what_holds_and_last_how_far_to_trust_it(tmp_path):
    texts = {
        "holds": ["It has {mnist.gncn.bce} nats and {mnist.mean_image.m_mse}."],
        "fails": ["The <RAE> has {mnist.rae.bce}, the GVAE {mnist.gvae.bce}."],
        "depends": ["It | depends."],
        "notes": ["Trust {mnist.gncn.log_likelihood}."],
        "about": "About {mnist.rae.bce}.",
        "claims": [
            {"claim": "Best | of all.", "column": "bce", "reason": "<b>{mnist.rae.bce}</b>\n| x."}
        ],
    }
    records = [
        *of_bce("gncn", (50.0, 50.0), log_p=-100, m_mse=20),
        *of_bce("rae", (40.0, 40.0), error=3),
    ]
    found = summarise(study(**texts), records)
    write_report(found, tmp_path / "page.html", tmp_path / "page.md")
    page, text = (
        (tmp_path / name).read_text(encoding="utf-8") for name in ("page.html", "page.md")
    )
    order = (
        *("What holds", "What does not", "What depends on the measure", "The claims, one by one"),
        *("The paper's numbers", "Generative quality", "Classes and completion"),
        *("Learning curves", "How far to trust the numbers"),
    )
    for made, form in ((text, "\n## {}"), (page, "<h2>{}")):
        at = [made.index(form.format(one)) for one in order]
        assert at == sorted(at)
    assert "- It has 50.00 nats and 36.00.\n" in text
    assert "has 40.00, the GVAE –." in text
    assert "<li>The &lt;RAE&gt; has 40.00, the GVAE –.</li>" in page
    assert "Trust −100.00." in text
    row = next(line for line in text.splitlines() if "of all." in line)
    assert "**fails** (not locked): 50.00; RAE 40.00" in row
    assert row.count(" | ") == 2  # claim, data and reason: what is said has no bars of its own
    assert "<b>40" not in page + text
    assert "About 40.00." in text
    assert "<p>About 40.00.</p>" in page
    # A table has no line between its rows.
    assert re.search(r"\| claim \|.*\n\| --- \|.*\n\| Best", text)
    assert "&lt;em" not in page
    assert as_json(found)["data"][0]["claims"][0]["verdict"] == "fails"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"holds": ["{mnits.gncn.bce}"]}, "data set in a text 'mnits'.*Did you mean 'mnist'"),
        ({"fails": ["{mnist.gvae.bce}"]}, "model or yardstick in a text 'gvae'.*'mean_image'"),
        ({"depends": ["{mnist.rae.bse}"]}, "column in a text 'bse'.*Did you mean 'bce'"),
        ({"notes": ["{mnist.rae.first_epoch}"]}, "column in a text 'first_epoch'"),
        ({"about": "{mnits.gncn.bce}"}, "data set in a text 'mnits'"),
        ({"holds": ["{mnist.mean_image.bce}"]}, "column in a text 'bce'.*'m_mse'"),
        ({"holds": ["{mnist.gncn.bce }"]}, "DATA.MODEL.COLUMN}; received '{mnist.gncn.bce }'"),
        ({"holds": ["{mnist.gncn}"]}, "received '{mnist.gncn}'"),
        ({"holds": ["{mnist.gncn.bce"]}, "received '{mnist.gncn.bce'"),
        ({"holds": ["a}"]}, "received '}'"),
        (
            {"claims": [{"claim": "a", "column": "bce", "reason": "{mnist.x.bce}"}]},
            "model or yardstick in a text 'x'",
        ),
        (
            {"claims": [{"claim": "a", "column": "bce", "against": ["gncn"]}]},
            "rival of a claim 'gncn'. Choose one of: 'rae'",
        ),
        (
            {"claims": [{"claim": "a", "column": "bce"}], "targets_for": "gnnc"},
            "targets_for of a study with claims 'gnnc'.*Did you mean 'gncn'",
        ),
        (
            {"claims": [{"claim": "a", "model": "gvae", "column": "bce"}], "targets_for": "x"},
            "model of a claim 'gvae'. Choose one of: 'gncn', 'rae'",
        ),
        (
            {"claims": [{"claim": "a", "model": "rae", "column": "bce", "against": ["rae"]}]},
            "rival of a claim 'rae'. Choose one of: 'gncn'",
        ),
        ({"claims": [{"claim": "a", "column": "bse"}]}, "column of a claim 'bse'.*'first_epoch'"),
        (
            {"claims": [{"claim": "a", "column": "bce", "against": ["gvae"]}]},
            "rival of a claim 'gvae'. Choose one of: 'rae'",
        ),
        ({"claims": [{"claim": "a", "colum": "bce"}]}, "colum"),
    ],
)
def test_names_that_the_study_does_not_have_are_refused(texts, message):
    with pytest.raises(gncn.ConfigError, match=message):
        Study(name="made", **FEW, **texts)

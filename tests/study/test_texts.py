"""A study's texts and claims: numbers filled in, verdicts, the page's order, wrong names."""

import math

import pytest
from handmade import metrics, record, study

import gncn
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
    section = summarise(study(claims=given, **options), records).sections[0]
    return section.claims


def test_numbers_take_their_places():
    text = "It has {mnist.gncn.bce} nats, {set}, {a.b}, and {mnist.rae.m_mse} {x}."
    assert [*places(text)] == [("mnist", "gncn", "bce"), ("mnist", "rae", "m_mse")]
    numbers = {("mnist", "gncn", "bce"): "−1.50"}
    assert filled(text, numbers) == "It has −1.50 nats, {set}, {a.b}, and – {x}."


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        # Deviations of √2 each over two trials: two standard errors of the difference are 2 √2.
        ((49.0, 51.0), (52.7, 54.7), "holds"),
        ((49.0, 51.0), (51.9, 53.9), "holds"),
        ((49.0, 51.0), (51.8, 53.8), "level"),
        ((51.8, 53.8), (49.0, 51.0), "level"),
        ((51.9, 53.9), (49.0, 51.0), "fails"),
        ((50.0,), (50.0,), "level"),
        ((50.0,), (50.1,), "holds"),
    ],
)
def test_a_claim_holds_beyond_two_standard_errors(ours, theirs, verdict):
    assert 2 * math.hypot(1, 1) == pytest.approx(2.828, abs=1e-3)
    records = [*of_bce("gncn", ours), *of_bce("rae", theirs), *of_bce("gvae", (99.0,))]
    for column in ("bce", "first_epoch"):
        [found] = claims({"claim": "Best.", "column": column}, records=records)
        assert (found.verdict, found.rival) == (verdict, "RAE")
        shift = 9 * (column == "first_epoch")
        assert found.ours.mean == pytest.approx(sum(ours) / len(ours) + shift)
        assert found.theirs.mean == pytest.approx(sum(theirs) / len(theirs) + shift)


def test_more_is_better_where_a_column_says_so_and_rivals_may_be_named():
    records = [
        *of_bce("gncn", (5.0,), log_p=-100),
        *of_bce("gvae", (4.0,), log_p=-90),
        *of_bce("rae", (6.0,), log_p=-110),
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
    assert (about_gvae.verdict, about_gvae.rival) == ("holds", "GNCN")


def test_the_page_says_first_what_holds_and_last_how_far_to_trust_it(tmp_path):
    texts = {
        "holds": ["It has {mnist.gncn.bce} nats and {mnist.mean_image.m_mse}."],
        "fails": ["The <RAE> has {mnist.rae.bce}, the GVAE {mnist.gvae.bce}."],
        "depends": ["It | depends."],
        "notes": ["Trust {mnist.gncn.log_likelihood}."],
        "claims": [{"claim": "Best | of all.", "column": "bce", "reason": "Its <b>codes</b>."}],
    }
    records = [
        *of_bce("gncn", (50.0,), log_p=-100, m_mse=20),
        *of_bce("rae", (40.0,), error=3),
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
    assert "**fails**: 50.00; RAE 40.00" in row
    assert row.count(" | ") == 2  # claim, data and reason: what is said has no bars of its own
    assert "<b>codes" not in page + text
    assert as_json(found)["data"][0]["claims"][0]["verdict"] == "fails"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"holds": ["{mnits.gncn.bce}"]}, "data set in a text 'mnits'.*Did you mean 'mnist'"),
        ({"fails": ["{mnist.gvae.bce}"]}, "model or yardstick in a text 'gvae'.*'mean_image'"),
        ({"depends": ["{mnist.rae.bse}"]}, "column in a text 'bse'.*Did you mean 'bce'"),
        ({"notes": ["{mnist.rae.first_epoch}"]}, "column in a text 'first_epoch'"),
        ({"claims": [{"claim": "a", "column": "bse"}]}, "column of a claim 'bse'.*'first_epoch'"),
        (
            {"claims": [{"claim": "a", "column": "bce", "against": ["gvae"]}]},
            "model of a claim 'gvae'. Choose one of: 'gncn', 'rae'",
        ),
        ({"claims": [{"claim": "a", "colum": "bce"}]}, "colum"),
    ],
)
def test_names_that_the_study_does_not_have_are_refused(texts, message):
    with pytest.raises(gncn.ConfigError, match=message):
        Study(name="made", **FEW, **texts)

"""Paired differences: signs, errors, verdicts, and what is not tight."""

import numpy as np
import pytest
from handmade import metrics, record, study, with_lock

from gncn.study.page import write_report
from gncn.study.paired import is_tight, paired_differences
from gncn.study.plan import Study
from gncn.study.summary import as_json, summarise

GAPS = {"median": 0.1, "below_2_nats": 0.95, "worst": 3.0}


def tight(annealed, from_prior, gaps=GAPS, gap=0.0, n=100, gap_error=0.0, **more):
    return {
        "n_images": len(annealed),
        "standard_error": 1.0,
        "mean": float(np.mean(annealed)),
        "per_image": list(annealed),
        "from_prior_samples": {"n_samples": [100, 5000], "per_image": [list(from_prior)] * 2},
        "simulated_images": {"n": n, "gap": gap, "gap_error": gap_error, "gaps": gaps},
        **more,
    }


def test_differences_are_ours_less_theirs_with_the_error_of_pairs():
    rng = np.random.default_rng(0)
    images = rng.normal(-100, 30, 500)  # what images differ by counts for nothing
    ours, theirs = images + 2 + rng.normal(0, 1, 500), images
    n, found = paired_differences(tight(ours, theirs), tight(theirs, ours))
    assert n == 500
    assert list(found) == ["S = 100", "S = 5,000", "annealed"]
    one = found["annealed"]
    assert one.mean == pytest.approx((ours - theirs).mean())
    assert one.error == pytest.approx((ours - theirs).std(ddof=1) / np.sqrt(500))
    assert one.verdict == "ahead"
    assert found["S = 5,000"].mean == pytest.approx(-one.mean)
    assert found["S = 5,000"].verdict == "lower"


def test_a_difference_within_two_errors_is_none():
    noise = np.tile([1.0, -1.0], 50)
    error = noise.std(ddof=1) / 10
    for shift, density, bound in (
        (1.9, "level", "level"),
        (2.1, "ahead", "higher"),
        (-2.1, "behind", "lower"),
    ):
        values = noise + shift * error
        _, found = paired_differences(tight(values, values), tight(0 * noise, 0 * noise))
        verdicts = {name: one.verdict for name, one in found.items()}
        # The order of two bounds is no order of the densities, so it has words of its own.
        assert verdicts == {"S = 100": bound, "S = 5,000": bound, "annealed": density}


@pytest.mark.parametrize(
    ("gaps", "good"),
    [
        (GAPS, True),
        (GAPS | {"median": 0.6}, False),
        (GAPS | {"median": -0.6}, False),
        (GAPS | {"below_2_nats": 0.89}, False),
        (None, None),
    ],
)
def test_an_estimate_that_is_not_tight_says_nothing_of_the_densities(gaps, good):
    values = np.arange(10.0)
    ours, theirs = tight(values + 5, values), tight(values, values)
    theirs["simulated_images"] = {"n": 100, "gap": 0.1, "gap_error": 0.0} | (
        {"gaps": gaps} if gaps else {}
    )
    assert is_tight(theirs) is good
    _, found = paired_differences(ours, theirs)
    verdicts = {True: "ahead", False: "not tight", None: "not known"}
    assert found["annealed"].verdict == verdicts[good]
    assert found["S = 100"].verdict == "level"  # a fact about S samples, tight or not


def test_a_lead_within_the_others_gap_is_none():
    """The other's estimate is a lower bound, and may be too low by its gap, and the gap's error."""
    values = np.linspace(-120, -80, 50)
    loose, exact = {"gap": 0.6, "gap_error": 0.2}, {"gap": 0.1, "gap_error": 0.0}
    for shift, mine, others, verdict in (
        (0.9, exact, loose, "level"),
        (1.1, exact, loose, "ahead"),
        (0.9, loose, exact, "ahead"),
        (-0.9, loose, exact, "level"),
        (-1.1, loose, exact, "behind"),
    ):
        ours, theirs = tight(values + shift, values, **mine), tight(values, values, **others)
        assert paired_differences(ours, theirs)[1]["annealed"].verdict == verdict


def test_estimates_of_other_images_are_no_pairs():
    values = np.arange(9.0)
    ours = tight(values, values, images=[5, 1, 3, 0, 2, 4, 6, 7, 8])
    assert paired_differences(ours, tight(values, values)) == (0, {})
    assert paired_differences(ours, tight(values[:3], values[:3], images=[5, 1, 4])) == (0, {})
    n, found = paired_differences(ours, tight(values[:3], values[:3], images=[5, 1, 3]))
    assert (n, found["S = 100"].mean) == (3, 0)


def test_too_little_is_known_of_one_image_few_simulated_ones_and_numbers_that_are_none():
    _, one = paired_differences(tight([1.0], [2.0]), tight([0.0], [0.0]))
    assert {d.verdict for d in one.values()} == {"not known"}
    values = np.arange(9.0)
    _, none = paired_differences(tight(values * np.nan, values), tight(values, values))
    assert none["annealed"].verdict == "not known"
    assert not is_tight(tight(values, values, n=49))
    assert is_tight(tight(values, values, n=50))


def test_only_images_that_both_have_are_compared():
    ours, theirs = tight(np.arange(8.0), np.arange(8.0)), tight(np.zeros(5), np.zeros(5))
    n, found = paired_differences(ours, theirs)
    assert n == 5
    assert found["annealed"].mean == 2.0
    assert paired_differences({}, theirs) == (0, {})


def in_markdown(found, folder):
    """The page's text, and next to it the page."""
    write_report(found, folder / "page.html", folder / "page.md")
    return (folder / "page.md").read_text(encoding="utf-8")


def test_the_page_shows_them(tmp_path):
    values = np.linspace(-120, -80, 50)
    few = metrics(log_p=-100)
    records = [
        record("gncn", metrics=few | {"tight": tight(values, values + 1.5)}),
        record("gvae", metrics=few | {"tight": tight(values + 3, values)}),
        record("rae", metrics=few | {"tight": tight(values, values, GAPS | {"median": 4.0})}),
    ]
    found = summarise(study(), records)
    assert [one.other for one in found.sections[0].pairs] == ["RAE", "GVAE"]
    text = in_markdown(found, tmp_path)
    same = "1.50 ± 0.00: higher | 1.50 ± 0.00: higher"
    against = "GNCN against {} (not locked)"
    assert f"| {against.format('GVAE')} | {same} | −3.00 ± 0.00: behind | 50 |" in text
    assert f"| {against.format('RAE')} | {same} | 0.00 ± 0.00: not tight | 50 |" in text
    assert "Not tight: at least one of the two estimates is not, so their order is open." in text
    assert "With fewer than 100 images this is a rough guide." in text
    assert "RAE 50, 1.0, 4.00, 95 %, 3.0 (not tight)" in text
    assert "−3.00 ± 0.00: behind" in (tmp_path / "page.html").read_text(encoding="utf-8")
    plain = as_json(found)["data"][0]["paired"][1]
    annealed = plain.pop("differences")["annealed"]
    assert annealed == {"mean": pytest.approx(-3.0), "error": pytest.approx(0), "verdict": "behind"}
    assert plain == {"model": "GNCN", "other": "GVAE", "n_images": 50, "remark": "not locked"}


def test_models_that_claims_name_are_paired_too_and_each_pair_once(tmp_path):
    values = np.linspace(-120, -80, 50)
    records = [
        with_lock(record(model, metrics=metrics(log_p=-100) | {"tight": tight(one, one)}), tested)
        for model, one, tested in (
            ("gncn", values, True),
            ("gvae", values - 1, False),
            ("rae", values - 3, False),
        )
    ]
    claims = [{"claim": "a", "model": "rae", "column": "bce"}, {"claim": "b", "column": "bce"}]
    found = summarise(study(claims=claims), records)
    pairs = {(one.model, one.other): one for one in found.sections[0].pairs}
    assert {names: one.differences["annealed"].mean for names, one in pairs.items()} == {
        ("GNCN", "RAE"): 3.0,
        ("GNCN", "GVAE"): 1.0,
        ("RAE", "GVAE"): -2.0,
    }
    assert {names: one.remark for names, one in pairs.items()} == {
        ("GNCN", "RAE"): "GNCN: exploratory",
        ("GNCN", "GVAE"): "GNCN: exploratory",
        ("RAE", "GVAE"): "",
    }
    text = in_markdown(found, tmp_path)
    assert "| GNCN against GVAE (GNCN: exploratory) | 1.00 ± 0.00: higher |" in text
    assert "| RAE against GVAE | −2.00 ± 0.00: lower |" in text
    assert "makes 0 such judgements between models." in text


def test_models_measured_differently_have_their_own_cells(tmp_path):
    """The table has a column for every estimate, whoever stands first."""
    values, few = np.linspace(-120, -80, 60), metrics(log_p=-100)
    one = tight(values, values)
    short = tight(values[:50], values[:50])
    short["from_prior_samples"] = {"n_samples": [100], "per_image": [(values[:50] - 2).tolist()]}
    records = [
        record("gncn", metrics=few | {"tight": one}),
        record("rae", metrics=few | {"tight": short}),
        record("gvae", metrics=few | {"tight": one}),
    ]
    text = in_markdown(summarise(study(), records), tmp_path)
    assert "| model against another | S = 100 | annealed | S = 5,000 | images |\n| --- |" in text
    assert "RAE (not locked) | 2.00 ± 0.00: higher | 0.00 ± 0.00: level | – | 50 |\n|" in text
    assert "GVAE (not locked) | 0.00 ± 0.00: level |" in text
    assert "0.00 ± 0.00: level | 0.00 ± 0.00: level | 60 |" in text


def test_a_study_without_the_model_of_the_targets_has_no_pairs():
    values = np.linspace(-120, -80, 50)
    grid = {"grid": {"training.n_epochs": [1, 2]}}
    lab = Study(name="lab", data={"mnist": {}}, models={"gncn": {"preset": "mnist", **grid}})
    assert lab.targets_for not in lab.models
    records = [
        record(
            key,
            metrics=metrics(log_p=-100) | {"tight": tight(values, values)},
            spec={"split": "test", "config": {"model": "gncn"}},
        )
        for key in lab.models
    ]
    section = summarise(lab, records).sections[0]
    assert len(section.rows) == 2
    assert section.pairs == ()


def test_the_page_says_of_pairs_only_what_applies(tmp_path):
    values = np.linspace(-120, -80, 100)
    few = metrics(log_p=-100)
    records = [
        record("gncn", metrics=few | {"tight": tight(values, values + 1.5)}),
        record("gvae", metrics=few | {"tight": tight(values + 3, values)}),
    ]
    text = in_markdown(summarise(study(), records), tmp_path)
    assert "GVAE (not locked) | 1.50 ± 0.00: higher" in text
    assert "their order is no order of the densities" in text
    assert "tight annealed estimates, by more than two standard errors and than the gap" in text
    assert "the error knows nothing of other trainings" in text
    assert "rough guide" not in text
    assert "Not tight" not in text

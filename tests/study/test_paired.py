"""Paired differences: signs, errors, verdicts, and what is not tight."""

import numpy as np
import pytest
from handmade import metrics, record, study

from gncn.study.page import write_report
from gncn.study.paired import is_tight, pair
from gncn.study.plan import Study
from gncn.study.summary import as_json, summarise

GAPS = {"median": 0.1, "below_2_nats": 0.95, "worst": 3.0}


def tight(annealed, from_prior, gaps=GAPS, gap=0.0, n=100):
    return {
        "n_images": len(annealed),
        "standard_error": 1.0,
        "mean": float(np.mean(annealed)),
        "per_image": list(annealed),
        "from_prior_samples": {"n_samples": [100, 5000], "per_image": [list(from_prior)] * 2},
        "simulated_images": {"n": n, "gap": gap, "gaps": gaps},
    }


def test_differences_are_ours_less_theirs_with_the_error_of_pairs():
    rng = np.random.default_rng(0)
    images = rng.normal(-100, 30, 500)  # what images differ by counts for nothing
    ours, theirs = images + 2 + rng.normal(0, 1, 500), images
    found = pair(tight(ours, theirs), tight(theirs, ours), "GVAE")
    assert found.n_images == 500
    assert list(found.differences) == ["S = 100", "S = 5,000", "annealed"]
    one = found.differences["annealed"]
    assert one.mean == pytest.approx((ours - theirs).mean())
    assert one.error == pytest.approx((ours - theirs).std(ddof=1) / np.sqrt(500))
    assert one.verdict == "ahead"
    assert found.differences["S = 5,000"].mean == pytest.approx(-one.mean)
    assert found.differences["S = 5,000"].verdict == "behind"


def test_a_difference_within_two_errors_is_none():
    noise = np.tile([1.0, -1.0], 50)
    error = noise.std(ddof=1) / 10
    for shift, verdict in ((1.9, "level"), (2.1, "ahead"), (-2.1, "behind")):
        values = noise + shift * error
        found = pair(tight(values, values), tight(0 * noise, 0 * noise), "RAE")
        assert {one.verdict for one in found.differences.values()} == {verdict}


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
    theirs["simulated_images"] = {"n": 100, "gap": 0.1} | ({"gaps": gaps} if gaps else {})
    assert is_tight(theirs) is good
    found = pair(ours, theirs, "RAE").differences
    verdicts = {True: "ahead", False: "not tight", None: "not known"}
    assert found["annealed"].verdict == verdicts[good]
    assert found["S = 100"].verdict == "level"  # a fact about S samples, tight or not


def test_a_lead_within_the_others_gap_is_none():
    """The other's estimate is a lower bound, and may be too low by its gap."""
    values = np.linspace(-120, -80, 50)
    loose, exact = {"gap": 1.0}, {"gap": 0.1}
    for shift, mine, others, verdict in (
        (0.9, exact, loose, "level"),
        (1.1, exact, loose, "ahead"),
        (0.9, loose, exact, "ahead"),
        (-0.9, loose, exact, "level"),
        (-1.1, loose, exact, "behind"),
    ):
        ours, theirs = tight(values + shift, values, **mine), tight(values, values, **others)
        assert pair(ours, theirs, "RAE").differences["annealed"].verdict == verdict


def test_too_little_is_known_of_one_image_few_simulated_ones_and_numbers_that_are_none():
    one = pair(tight([1.0], [2.0]), tight([0.0], [0.0]), "RAE")
    assert {d.verdict for d in one.differences.values()} == {"not known"}
    values = np.arange(9.0)
    none = pair(tight(values * np.nan, values), tight(values, values), "RAE")
    assert none.differences["annealed"].verdict == "not known"
    assert not is_tight(tight(values, values, n=49))
    assert is_tight(tight(values, values, n=50))


def test_only_images_that_both_have_are_compared():
    ours, theirs = tight(np.arange(8.0), np.arange(8.0)), tight(np.zeros(5), np.zeros(5))
    found = pair(ours, theirs, "RAE")
    assert found.n_images == 5
    assert found.differences["annealed"].mean == 2.0
    assert pair({}, theirs, "RAE") is None


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
    assert "| GVAE | 1.50 ± 0.00: ahead | 1.50 ± 0.00: ahead | −3.00 ± 0.00: behind | 50 |" in text
    assert "| RAE | 1.50 ± 0.00: ahead | 1.50 ± 0.00: ahead | 0.00 ± 0.00: not tight | 50 |" in text
    assert "Not tight: at least one of the two estimates is not, so their order is open." in text
    assert "With fewer than 100 images this is a rough guide." in text
    assert "RAE 50, 1.0, 4.00, 95 %, 3.0 (not tight)" in text
    assert "−3.00 ± 0.00: behind" in (tmp_path / "page.html").read_text(encoding="utf-8")
    plain = as_json(found)["data"][0]["paired"]["GVAE"]["annealed"]
    assert plain == {"mean": pytest.approx(-3.0), "error": pytest.approx(0), "verdict": "behind"}


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
    assert "| GNCN against | S = 100 | annealed | S = 5,000 | images |\n| --- |" in text
    assert "---: |\n| RAE | 2.00 ± 0.00: ahead | 0.00 ± 0.00: level | – | 50 |\n| GVAE |" in text
    assert "| GVAE | 0.00 ± 0.00: level | 0.00 ± 0.00: level | 0.00 ± 0.00: level | 60 |" in text


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
    assert "| GVAE | 1.50 ± 0.00: ahead" in text
    assert "annealed estimates by more than the gap, too." in text
    assert "rough guide" not in text
    assert "Not tight" not in text

"""Every decimal number of README and docs is what a committed record, or the paper, says."""

import json
import math
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from benchmarks import likelihood, precision, searched
from benchmarks.document import around

from gncn.runs.config import load_config
from gncn.study.page import write_report
from gncn.study.paired import ANNEALED, paired_differences
from gncn.study.paper import PUBLISHED, all_columns
from gncn.study.plan import load_study
from gncn.study.record import read_records
from gncn.study.reproduce import recorded_study
from gncn.study.rows import number
from gncn.study.search import load_search
from gncn.study.summary import summarise

ROOT = Path(__file__).parent.parent
CLAIMS = tomllib.loads((ROOT / "tests/claims.toml").read_text(encoding="utf-8"))
GENERATED = {"likelihood", "precision", "reproduction", "performance", "settings"}
"""Pages whose tables commands write from records; see below, and tests of the benchmarks."""
PAGES = {
    page.stem: page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if page.stem not in GENERATED
}
NUMBER = re.compile(r"(?<![\w./])[−-]?\d[\d,]*\.\d+(?![\w]|\.\d)")


def prose(page: Path) -> str:
    """A page without code, and without the targets of links."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"`[^`]*`|\]\([^)]*\)|<[^>]*>", "", text)


def numbers(page: Path) -> set[str]:
    """Numbers with a decimal point, with true minus signs."""
    return {one.replace("-", "−") for one in NUMBER.findall(prose(page))}


def value_at(record, path: str):
    for key in path.split("."):
        record = record[int(key)] if isinstance(record, list) else record[key]
    return record


def values(files: str, find) -> list[float]:
    paths = sorted(ROOT.glob(files))
    assert paths, f"no record is called {files}"
    found = [find(json.loads(path.read_text(encoding="utf-8"))) for path in paths]
    if isinstance(found[0], list):  # all trials in one record
        [found] = found
    return found


def sourced(source: str) -> float:
    """The number that a source gives."""
    kind, *rest = source.split(" ", 2)
    if kind == "paper":
        data, model, name = source.split()[1:]
        return getattr(PUBLISHED[data][model], name)
    files, where = rest
    if kind.startswith("column"):
        column = all_columns()[where]
        found = values(files, lambda record: column.find(record["metrics"]))
    else:
        found = values(files, lambda record: value_at(record, where))
    return float(np.std(found, ddof=1) if kind.endswith("sd") else np.mean(found))


@pytest.mark.parametrize("name", PAGES)
def test_every_number_has_a_source(name):
    claimed = CLAIMS.get(name, {})
    assert numbers(PAGES[name]) == set(claimed), "numbers of the page, and of tests/claims.toml"


@pytest.mark.parametrize(
    ("page", "claim"), [(page, claim) for page in CLAIMS for claim in CLAIMS[page]]
)
def test_numbers_are_what_their_sources_say(page, claim):
    if (source := CLAIMS[page][claim]).startswith("stated "):
        return
    assert number(sourced(source), len(claim.partition(".")[2])) == claim.replace(",", "")


def test_a_wrong_number_is_noticed(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "| 47.93 |" in text
    page = tmp_path / "README.md"
    page.write_text(text.replace("| 47.93 |", "| 47.92 |"), encoding="utf-8")
    assert numbers(page) - set(CLAIMS["README"]) == {"47.92"}
    assert number(sourced(CLAIMS["README"]["47.93"]), 2) == "47.93" != number(47.92, 2)


def test_the_yardsticks_of_the_search_are_measured():
    measured = json.loads((ROOT / "results/yardsticks.json").read_text(encoding="utf-8"))
    for name, entry in load_search("paper").data.items():
        assert entry.yardsticks == pytest.approx(measured[name], abs=0.0501)
        # The paper's best, of all models.
        bces = [one.bce for one in PUBLISHED[name].values() if one.bce]
        assert entry.enough == {"bce": min(bces)}


def test_the_page_of_results_is_what_the_records_say(tmp_path):
    """But for the day on which it was made."""
    study = recorded_study(ROOT / "results/paper")
    write_report(
        summarise(study, read_records(ROOT / "results/paper")),
        tmp_path / "page.html",
        tmp_path / "reproduction.md",
    )
    made, kept = (
        re.sub(r"Made \d{4}-\d\d-\d\d by", "Made by", path.read_text(encoding="utf-8"))
        for path in (tmp_path / "reproduction.md", ROOT / "docs/reproduction.md")
    )
    assert made == kept


def test_the_page_on_settings_is_what_the_search_recorded(monkeypatch):
    monkeypatch.chdir(ROOT)
    whole = searched.DOCUMENT.read_text(encoding="utf-8")
    found = [*searched.searched()]
    assert "caltech-16" in found
    for data in found:
        before, after = around(searched.DOCUMENT, f"searched-{data}")
        assert before + searched.markdown(data) + after == whole
    assert set(re.findall("<!-- searched-([a-z0-9-]+) -->", whole)) == set(found)
    kept = {m: one["best_final"] for m, one in searched.summaries("mnist").items()}
    assert {m for m, final in kept.items() if "-" in final} == {"rae", "gan-ae", "gvae-cv", "dsrn"}
    search = load_search("paper")
    for data in found:
        for model, summary in searched.summaries(data).items():
            space = {name: one.resolved() for name, one in search.space(model, data).items()}
            assert summary["searched"]["space"] == json.loads(json.dumps(space)), (model, data)
    varied = {model: len(entry.space) for model, entry in search.models.items()}
    assert (varied["gncn"], varied["gncn-paper"]) == (10, 15)
    others = [n for model, n in varied.items() if not model.startswith("gncn")]
    assert (min(others), max(others)) == (3, 6)
    autoencoders = ("rae", "gvae", "gvae-cv", "gan-ae")
    backprop = {name: load_config(preset=name).backprop for name in autoencoders}
    penalties = {name: one.encoder_penalty for name, one in backprop.items()}
    assert penalties == {name: 0.01 if name == "gvae" else 0 for name in backprop}
    assert {backprop[name].kl_warmup for name in ("gvae", "gvae-cv")} == {0}
    assert backprop["gan-ae"].adversary_rate == 0.1
    settings = {name for entry in search.models.values() for name in entry.space}
    assert settings.isdisjoint({f"backprop.{one}" for one in ("encoder_penalty", "kl_warmup")})
    assert (search.budget.trials, search.budget.random_trials) == (30, 10)
    assert search.measuring.settings["n_samples"] == 2000


def test_claims_about_reconstruction_say_what_bce_alone_would_have_chosen():
    best = {}
    for model, summary in searched.summaries("mnist").items():
        bces = [one["values"].get("bce") for one in summary["finals"].values()]
        best[model] = None if None in bces else f"{min(bces):.1f}"
    study = load_study(ROOT / "results/fair.toml")
    reasons = [one.reason for one in study.claims if one.column == "bce"]
    assert len(reasons) == 2
    for reason in reasons:
        said = re.findall(r"\d+\.\d", reason)
        assert said == [best[m] for m in ("rae", "gan-ae", "gvae-cv", "gncn", "gncn-paper")]


def test_the_best_trial_of_each_short_search_is_told(tmp_path):
    for name, values in (
        ("digits-gncn-1", [9.0, 7.5, 8.0]),
        ("digits-gncn-10", [4.25]),
        ("digits-gncn-paper-1", [7.0]),
        ("other-rae-1", [1.0]),
    ):
        trials = [{"state": "complete", "values": {"bce": one}} for one in values]
        trials.append({"state": "pruned", "values": {}})
        (tmp_path / f"{name}.json").write_text(json.dumps({"trials": trials}), encoding="utf-8")
    assert searched.soonest("digits", tmp_path) == {
        "gncn": {1: 7.5, 10: 4.25},
        "gncn-paper": {1: 7.0},
    }
    assert searched.soonest_markdown("digits", tmp_path).splitlines() == [
        "| BCE | after one epoch | after 10 |",
        "|---|---|---|",
        "| GNCN, ours | 7.50 | **4.25** |",
        "| GNCN, the paper's | **7.00** | – |",
    ]


def test_settings_near_an_end_of_their_range_are_named():
    space = {
        name: {"low": 1.0, "high": high, "log": log, "choices": None}
        for name, high, log in (
            *(("a", 101.0, False), ("b", 101.0, False), ("c", 101.0, False), ("d", 101.0, False)),
            *(("e", 100.0, True), ("f", 100.0, True), ("g", 100.0, True), ("h", 3.0, False)),
        )
    }
    space["i"] = {"low": None, "high": None, "log": False, "choices": [1, 2]}
    values = {"a": 5.0, "b": 7.0, "c": 95.0, "d": 97.0, "e": 1.2, "f": 1.4, "g": 70.0, "h": 9.0}
    trials = [{"number": 3, "settings": values | {"i": 1}}, {"number": 4, "settings": {}}]
    found = searched.ends({"trials": trials, "best": 3, "searched": {"space": space}})
    assert found == [
        "`a` 5 of 1 to 101",
        "`d` 97 of 1 to 101",
        "`e` 1.2 of 1 to 100",
        "`h` 9 of 1 to 3",
    ]


def test_what_learning_precisions_needs_is_what_its_records_say():
    before, after = around(precision.DOCUMENT, "precision")
    whole = precision.DOCUMENT.read_text(encoding="utf-8")
    assert before + precision.markdown() + after == whole
    ways = dict(precision.rows())

    def way(told, start, rate="–", within="0.1 to 10", epochs="36"):
        found = ways[told, start, rate, "–" if rate == "–" else within, epochs]
        return found["log_likelihood"].mean, found["m_mse_paper"].mean

    each, slow, fast = "a number a unit", "0.00035", "0.0035"
    at_one, low, chosen = way("held", "1"), way("held", "0.1121"), way(each, "0.1121", slow)
    assert at_one[0] - 6 < low[0] < at_one[0] - 5
    bounded = way(each, "0.1121", fast, "0.1 to 1")
    best = max(found["log_likelihood"].mean for found in ways.values())
    assert best - 0.3 < min(at_one[0], bounded[0])
    assert bounded[1] == pytest.approx(at_one[1], abs=0.5)
    assert at_one[0] - chosen[0] == pytest.approx(0.3, abs=0.05)
    assert at_one[1] - chosen[1] == pytest.approx(0.6, abs=0.05)
    assert way(each, "1", slow)[0] < at_one[0]
    for start in ("0.1121", "1"):
        log_likelihood, m_mse = way(each, start, fast)
        assert at_one[0] - 16.5 < log_likelihood < at_one[0] - 12.5
        assert m_mse == pytest.approx(at_one[1] - 2, abs=0.4)
    assert way(each, "0.1121", "0.035")[0] == pytest.approx(at_one[0] - 90, abs=1)
    assert abs(way("a full matrix", "0.1121", slow)[0] - chosen[0]) < 0.3
    assert way("a full matrix", "0.1121", fast)[0] > way(each, "0.1121", fast)[0] + 8
    for epochs in ("6", "12"):
        held = way("held", "0.1121", epochs=epochs)
        learned = way(each, "0.1121", slow, epochs=epochs)
        assert learned[0] > held[0] + 5
        assert learned[1] < held[1] - 1.5


@pytest.mark.parametrize("data", likelihood.DATA)
def test_the_page_on_likelihoods_is_what_the_records_say(data, monkeypatch):
    monkeypatch.chdir(ROOT)
    rows, annealed = likelihood.rows(data), likelihood.tight(data)
    page = Path("docs/likelihood.md")
    whole = page.read_text(encoding="utf-8")
    for name, table in (
        ("likelihood", likelihood.markdown(rows)),
        ("shares", likelihood.chosen_markdown(likelihood.shares(data))),
        ("tight", likelihood.tight_markdown(annealed)),
        ("paired", likelihood.paired_markdown(annealed)),
    ):
        before, after = around(page, f"{name}-{data}")
        assert before + table + after == whole
    trials = [
        json.loads(path.read_text(encoding="utf-8"))["metrics"]
        for path in Path(f"results/fair/{data}").glob("gvae-[0-9].json")
    ]
    at_5000 = [one["likelihood"]["curve"]["mean"][2] for one in trials]
    assert rows["gvae"]["S = 5,000"] == pytest.approx(math.fsum(at_5000) / len(trials))


def test_what_the_page_on_likelihoods_concludes(monkeypatch):
    """Its sentences about who is best hold of its tables."""
    monkeypatch.chdir(ROOT)
    assert [*likelihood.DATA] == ["caltech-16"]
    found = likelihood.rows("caltech-16")

    def ranked(column):
        return sorted(found, key=lambda model: -found[model][column])

    assert {*ranked("S = 100")[:2]} == {*likelihood.OURS}
    assert ranked("S = 100,000")[:2] == ["gvae-cv", "gvae"]
    rise = [one["S = 100,000"] - one["S = 25,000"] for one in found.values()]
    assert sum(one > 0.8 for one in rise) > len(rise) / 2


def test_what_the_page_says_of_shares(monkeypatch):
    monkeypatch.chdir(ROOT)
    shares = likelihood.shares("caltech-16")

    def ranked(share):
        return sorted(shares, key=lambda model: -shares[model][share])

    assert ranked("0.02")[0] == "gvae-cv"
    (first, second, best) = ranked("1.0")[:3]
    assert (first, second) == likelihood.OURS
    assert shares[second]["1.0"] - shares[best]["1.0"] > 2
    for model, one in shares.items():
        assert (one["1.0"] > one["0.01"]) == model.startswith("gncn")


def test_what_the_page_says_of_tight_estimates(monkeypatch):
    monkeypatch.chdir(ROOT)
    tight = likelihood.tight("caltech-16")
    for one in tight.values():
        gaps = one["simulated_images"]["gaps"]
        assert abs(gaps["median"]) < 0.5
        assert gaps["below_2_nats"] >= 0.9
        assert (one["n_images"], one["simulated_images"]["n"]) == (500, 100)
    said = {}
    for model in likelihood.OURS:
        for other in ("gvae", "gvae-cv", "gan-ae", "rae"):
            _, differences = paired_differences(tight[model], tight[other])
            last = differences[ANNEALED]
            said[model, other] = last.verdict
            if other.startswith("gvae"):
                assert -3.5 < last.mean < -1.5
            if other == "rae":
                assert last.mean > 6
    assert {v for (_, other), v in said.items() if other.startswith("gvae")} == {"behind"}
    assert {v for (_, other), v in said.items() if other == "rae"} == {"ahead"}
    assert said["gncn", "gan-ae"] == "level"
    _, differences = paired_differences(tight["gncn"], tight["gvae"])
    assert differences["S = 5,000"].verdict == "level"
    _, differences = paired_differences(tight["gncn"], tight["gan-ae"])
    assert differences["S = 5,000"].verdict == "higher"

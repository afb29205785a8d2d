"""What locks remember of rows under other names, of tests in other folders, and of claims."""

# ruff: noqa: F811 (a fixture of another file)

import io
import json
import re
from pathlib import Path

import pytest
from handmade import record
from test_lock import LONGER, its_lock, load, place  # noqa: F401

from command import call
from gncn.base.errors import RunError
from gncn.study import lock as locking
from gncn.study.claims import LATE, mark_claims, unlocked
from gncn.study.lock import Content, StudyLock
from gncn.study.page import write_report
from gncn.study.plan import load_study
from gncn.study.record import (
    EXPLORATORY,
    MARKS,
    NOT_LOCKED,
    RELOCKED,
    REMEASURED,
    LockedClaim,
    mark_of_history,
    write_record,
)
from gncn.study.summary import summarise

ROOT = Path(__file__).parents[2]
MORE_TRIALS = ("trials = 2", "trials = 3")
MORE_SAMPLES = ("[evaluation]", "[evaluation]\nn_samples = 9000")
MEASURED = ('measures = ["sparsity"]', 'measures = ["sparsity", "likelihood"]')
RENAMED = ("[models.gncn]", "[models.gncn-b]")
RENAMED_DATA = ("[data.digits]", '[data.other]\nsettings.name = "digits"')


def lock(place, *changes, out="out"):
    """Lock a study with some changes of its text; what its lock holds then."""
    made = load(place, MEASURED, *changes)
    its_lock(place).update(made, made.runs(), place / out)
    return its_lock(place).read()[0]


def measure(place, *changes, row="gncn/digits", out="out", trial=0, **fields):
    """Pretend that a run measured test images, with settings that are locked; its record."""
    made = load(place, MEASURED, *changes)
    (spec,) = made.runs(only=[f"{row}/{trial}"])
    how = its_lock(place).check(made, [spec], place / out)[row]
    model, data = row.split("/")
    seen = record(model, data, trial, spec=spec.for_record(), lock=how, **fields)
    write_record(place / out, seen)
    return seen


def the_mark(content, row="gncn/digits"):
    return mark_of_history(content.rows[row].history)


# --- Names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rename", "row"), [(RENAMED, "gncn-b/digits"), (RENAMED_DATA, "gncn/other")]
)
def test_another_name_hides_no_test(place, rename, row):
    lock(place)
    measure(place)
    content = lock(place, rename, LONGER)
    (earlier,) = content.rows[row].history
    assert earlier.tested
    assert earlier.settings == content.rows["gncn/digits"].settings
    assert the_mark(content, row) == EXPLORATORY
    assert measure(place, rename, LONGER, row=row).lock.mark == EXPLORATORY
    # The name of another kind of model, or of a model that stays, gets no history.
    assert all(not entry.history for name, entry in content.rows.items() if name != row)


@pytest.mark.parametrize(
    ("rename", "row"), [(RENAMED, "gncn-b/digits"), (RENAMED_DATA, "gncn/other")]
)
def test_another_name_alone_is_no_fault(place, rename, row):
    lock(place)
    measure(place)
    assert lock(place, rename).rows[row].history == ()


def test_another_name_hides_no_test_of_a_deleted_lock(place):
    lock(place)
    measure(place)
    (place / "made.lock.json").unlink()
    assert the_mark(lock(place, RENAMED, LONGER), "gncn-b/digits") == EXPLORATORY
    (place / "made.lock.json").unlink()
    assert lock(place, RENAMED).rows["gncn-b/digits"].history == ()


def test_another_name_keeps_the_history(place):
    lock(place)
    measure(place)
    lock(place, LONGER)
    content = lock(place, RENAMED, LONGER, out="elsewhere")
    assert the_mark(content, "gncn-b/digits") == EXPLORATORY


def test_a_model_on_other_data_or_next_to_the_first_has_no_history(place):
    lock(place)
    measure(place)
    split = ("[data.digits]", '[data.other]\nsettings = { name = "digits", split_seed = 1 }')
    assert lock(place, split, LONGER).rows["gncn/other"].history == ()
    both = ("[models.gncn]", '[models.gncn-c]\npreset = "digits"\n[models.gncn]')
    assert lock(place, both).rows["gncn-c/digits"].history == ()


BESIDES = ("[models.gncn]", '[models.gncn-c]\npreset = "digits"\n[models.gncn]')
ALONE = ("[models.gncn]", '[models.gncn-c]\npreset = "digits"\n[models.unused]')


def at(monkeypatch, day):
    monkeypatch.setattr(locking, "now", lambda: f"2026-01-0{day}T00:00:00+00:00")


def test_another_name_in_two_steps_hides_no_test(place, monkeypatch):
    at(monkeypatch, 1)
    lock(place)
    measure(place, finished="2026-01-02T00:00:00+00:00")
    at(monkeypatch, 3)
    lock(place, BESIDES)
    lock(place, ALONE)
    assert measure(place, ALONE, row="gncn-c/digits").lock.mark == EXPLORATORY


def test_a_model_that_was_locked_before_another_was_tested_and_dropped_is_no_other_name(
    place, monkeypatch
):
    at(monkeypatch, 1)
    lock(place, BESIDES)
    measure(place, BESIDES, finished="2026-01-02T00:00:00+00:00")
    at(monkeypatch, 3)
    lock(place, ALONE)
    assert measure(place, ALONE, row="gncn-c/digits").lock.history == ()


# --- Folders -------------------------------------------------------------------------------------


def test_a_change_shows_even_if_its_tests_are_in_another_folder(place):
    lock(place)
    measure(place, out="first")
    content = lock(place, LONGER, out="second")
    assert [one.tested for one in content.rows["gncn/digits"].history] == [False]
    assert measure(place, LONGER, out="second").lock.mark == RELOCKED
    # Where the tests are, the records tell.
    assert measure(place, LONGER, out="first").lock.mark == EXPLORATORY


def test_a_folder_tells_of_tests_that_a_new_lock_does_not_know(place):
    lock(place)
    measure(place)
    (place / "made.lock.json").unlink()
    assert lock(place, LONGER, out="elsewhere").rows["gncn/digits"].history == ()
    assert measure(place, LONGER).lock.mark == EXPLORATORY


# --- What changed --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "kind", "expected"),
    [
        ([MORE_TRIALS], "trials", ""),
        ([MORE_SAMPLES], "measures", REMEASURED),
        ([MORE_SAMPLES, MORE_TRIALS], "measures", REMEASURED),
        ([MORE_SAMPLES, LONGER], "learning", EXPLORATORY),
        ([("trials = 2", "trials = 2\nseed = 7")], "learning", EXPLORATORY),
        (
            [("[data.digits]", "[data.digits]\nsettings.split_seed = 1")],
            "learning",
            EXPLORATORY,
        ),
    ],
)
@pytest.mark.parametrize("was_locked", [True, False])
def test_only_what_a_model_learns_by_makes_it_exploratory(
    place,
    changes,
    kind,
    expected,
    was_locked,
):
    lock(place)
    seen = measure(place, trial=1)
    if not was_locked:
        write_record(place / "out", seen.model_copy(update={"lock": None}))
        (place / "made.lock.json").unlink()
    content = lock(place, *changes)
    if kind == "trials" and not was_locked:  # runs do not say how many trials there were
        assert content.rows["gncn/digits"].history == ()
        return
    (earlier,) = content.rows["gncn/digits"].history
    assert (earlier.tested, earlier.changed) == (True, kind)
    assert measure(place, *changes).lock.mark == (expected or "not in git")


def test_a_test_counts_for_all_later_changes(place):
    lock(place)
    measure(place)
    lock(place, MORE_TRIALS)
    assert the_mark(lock(place, MORE_TRIALS, MORE_SAMPLES)) == REMEASURED
    assert the_mark(lock(place, MORE_TRIALS, LONGER)) == EXPLORATORY
    assert the_mark(lock(place)) == EXPLORATORY


def test_a_history_from_before_it_said_what_changed_is_read(place):
    lock(place)
    measure(place)
    lock(place, MORE_TRIALS)
    file = place / "made.lock.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(', "changed": "trials"', ""), encoding="utf-8")
    assert file.read_text(encoding="utf-8") != text
    assert the_mark(its_lock(place).read()[0]) == EXPLORATORY


def test_the_guide_names_all_marks_in_their_order():
    text = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    section = text.partition("### Test images need locked settings")[2].partition("\n### ")[0]
    assert re.findall(r"^- \*\*(.+?)\*\*: ", section, re.MULTILINE) == [*MARKS]


# --- Claims --------------------------------------------------------------------------------------


def claims(*texts, model="gncn", column="bce"):
    one = '[[claims]]\nclaim = "{}"\nmodel = "{}"\ncolumn = "{}"\nagainst = ["gvae"]\n'
    return ("[data.digits]", "".join(one.format(t, model, column) for t in texts) + "[data.digits]")


def marks(place, *changes, records):
    return mark_claims(load(place, MEASURED, *changes), records)


LATER = "2999-01-01T00:00:00+00:00"


def test_test_images_are_not_measured_while_a_claim_is_not_locked(place):
    lock(place)
    said = "locked settings and claims only, and the claim 'Best.' is not locked: run `gncn"
    with pytest.raises(RunError, match=said):
        measure(place, claims("Best."))
    content = lock(place, claims("Best."))
    (locked,) = content.claims
    assert locked.words == ("Best.", "gncn", "bce", ("gvae",), 0.0)
    assert not locked.tested
    assert measure(place, claims("Best.")).lock.claims == (locked,)
    margin = (claims("Best.")[0], claims("Best.")[1].replace("against", "margin = 2.5\nagainst"))
    for other in (
        claims("Best.", column="m_mse"),
        claims("Better."),
        claims("Best.", "Bad."),
        margin,
    ):
        with pytest.raises(RunError, match="the claim .* is not locked"):
            measure(place, other)


def test_a_claim_is_about_the_model_of_the_targets_that_were_locked(place):
    about = [("[data.digits]", '[[claims]]\nclaim = "It."\ncolumn = "bce"\n[data.digits]')]
    assert lock(place, *about).claims[0].model == "gncn"
    about.append(("trials = 2", 'targets_for = "gvae"\ntrials = 2'))
    with pytest.raises(RunError, match="the claim 'It.' is not locked"):
        measure(place, *about)


def test_a_claim_against_all_names_them(place):
    """A rival that is dropped, or comes later, would change the verdict unseen."""
    everybody = '[[claims]]\nclaim = "Best."\ncolumn = "bce"\n[data.digits]'
    alone = ("[data.digits]", everybody)
    (one,) = lock(place, alone).claims
    assert one.against == ("gvae",)
    assert measure(place, alone).lock.claims == (one,)
    more = ("[data.digits]", f'[models.rae]\npreset = "rae"\n{everybody}')
    with pytest.raises(RunError, match="the claim 'Best.' is not locked"):
        measure(place, more)
    assert [claim.against for claim in lock(place, more).claims] == [("gvae",), ("gvae", "rae")]


def test_a_claim_that_was_locked_before_the_tests_is_fine(place):
    lock(place, claims("Best."))
    seen = measure(place, claims("Best."), started=LATER)
    assert marks(place, claims("Best."), records=[seen]) == (("",), ())
    assert marks(place, claims("Best."), records=[]) == (("",), ())


def test_a_claim_that_comes_after_the_tests_shows(place):
    lock(place, claims("Best."))
    first = measure(place, claims("Best."), started=LATER)
    both = claims("Best.", "Sparsest.")
    # It isn't even locked, and no run is left that would ask for it.
    assert marks(place, both, records=[first]).marks == ("", LATE)
    content = lock(place, both)
    assert [one.tested for one in content.claims] == [False, True]
    second = measure(place, both, row="gvae/digits", started=LATER)
    assert marks(place, both, records=[first, second]).marks == ("", LATE)


def test_a_claim_that_was_locked_with_another_folder_shows(place, monkeypatch):
    monkeypatch.setattr(locking, "now", lambda: "2026-01-01T00:00:00+00:00")
    lock(place, claims("Best."))
    first = measure(place, claims("Best."), started="2026-01-02T00:00:00+00:00")
    monkeypatch.setattr(locking, "now", lambda: "2026-01-03T00:00:00+00:00")
    both = claims("Best.", "Sparsest.")
    assert [one.tested for one in lock(place, both, out="elsewhere").claims] == [False, False]
    second = measure(place, both, row="gvae/digits", started="2026-01-04T00:00:00+00:00")
    assert marks(place, both, records=[first, second]).marks == ("", LATE)
    assert marks(place, both, records=[second]).marks == ("", "")


def test_no_claim_is_forgotten(place):
    lock(place, claims("Best.", "Sparsest."))
    content = lock(place, claims("Sparsest."))
    assert [one.claim for one in content.claims] == ["Best.", "Sparsest."]
    seen = measure(place, claims("Sparsest."), started=LATER)
    found = marks(place, claims("Sparsest."), records=[seen, seen])
    assert found.marks == ("",)
    late = LockedClaim(
        claim="Late.", model="gncn", column="bce", against=(), date=LATER, tested=True
    )
    known = seen.lock.model_copy(update={"claims": (*seen.lock.claims, late)})
    told = seen.model_copy(update={"lock": known})
    # A claim that came late was not locked before the tests, and nobody says so when it is gone.
    assert marks(place, claims("Sparsest."), records=[told]).gone == found.gone
    # A first trial that failed holds the claims as well.
    failed = seen.model_copy(update={"status": "failed"})
    second = seen.model_copy(update={"lock": seen.lock.model_copy(update={"claims": None})})
    assert marks(place, claims("Sparsest."), records=[failed, second]) == found
    assert [one.claim for one in found.gone] == ["Best."]
    assert lock(place, claims("Best.", "Sparsest.")) == content  # back again


def test_a_lock_from_before_claims_were_locked_is_read(place):
    lock(place)
    file = place / "made.lock.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"claims": [\n\n], ', ""), encoding="utf-8")
    assert "claims" not in file.read_text(encoding="utf-8")
    assert its_lock(place).read()[0].claims == ()
    seen = measure(place)
    old = seen.model_copy(update={"lock": seen.lock.model_copy(update={"claims": None})})
    for one in (old, seen.model_copy(update={"lock": None})):
        assert marks(place, claims("Best."), records=[one]).marks == (NOT_LOCKED,)
    assert marks(place, claims("Best."), records=[seen]).marks == (LATE,)
    assert [one.tested for one in lock(place, claims("Best.")).claims] == [True]


def test_claims_of_validation_studies_have_no_mark(place):
    spec = {"split": "validation", "config": {"model": "gncn"}}
    seen = record("gncn", "digits", spec=spec)
    assert marks(place, claims("Best."), records=[seen]).marks == ("",)


def test_the_file_has_a_line_for_each_claim_and_row(place):
    content = lock(place, claims("Best.", "Sparsest."))
    lines = content.to_json().splitlines()
    assert [json.loads(line.rstrip(","))["claim"] for line in lines[1:3]] == ["Best.", "Sparsest."]
    assert len(lines) == 1 + 2 + 1 + 2 + 1
    assert Content(**json.loads(content.to_json())) == content


def test_the_command_tells_of_claims(place, monkeypatch):
    monkeypatch.chdir(place)
    load(place, MEASURED, claims("Best."))
    command = ["reproduce", "made.toml", "--out", "out", "--lock"]

    def said():
        err = io.StringIO()
        assert call(command, io.StringIO(), err) == 0
        return " ".join(err.getvalue().split())

    assert "locked: the claim 'Best.' Settings are locked" in said()
    measure(place, claims("Best."))
    load(place, MEASURED, claims("Best.", "Sparsest."))
    assert f"locked: the claim 'Sparsest.', {LATE} Settings are" in said()


def test_the_committed_lock_is_read():
    content, _ = StudyLock.of("paper").read()
    assert content.study == "paper"
    assert {"gncn/mnist", "gvae/caltech-16"} <= {*content.rows}
    assert unlocked(load_study("paper"), content.claims) == []


def test_the_page_shows_claims_that_came_late_and_claims_that_went(place):
    lock(place, claims("Best.", "Sparsest."))
    seen = measure(place, claims("Best.", "Sparsest."), started=LATER, bce=[9.0])
    made = load(place, MEASURED, claims("Best.", "Smallest."))
    files = place / "page.html", place / "page.md"
    write_report(summarise(made, [seen]), *files)
    for path in files:
        page = path.read_text(encoding="utf-8")
        assert re.search(r"Best\. \(gncn\)", page)
        assert f"Smallest. (gncn; {LATE})" in page
        said = "The study made these claims before the tests, and makes them no more:"
        assert f"{said} “Sparsest.” (gncn)." in page
    write_report(summarise(load(place, MEASURED, claims("Best.", "Sparsest.")), [seen]), *files)
    assert "makes them no more" not in files[1].read_text(encoding="utf-8")

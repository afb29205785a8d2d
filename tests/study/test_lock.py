"""Locks of studies: what is refused before test images are measured, and what is remembered."""

import io
import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import metadata
from itertools import count
from pathlib import Path
from unittest import mock

import pytest
from handmade import metrics, record, study
from hypothesis import given, settings
from hypothesis import strategies as st
from test_reproduce import WORKER

from command import call
from gncn.base.errors import ConfigError, RunError
from gncn.study import lock as locking
from gncn.study.lock import Entry, StudyLock
from gncn.study.page import make_page, write_report
from gncn.study.plan import Study, load_study
from gncn.study.record import (
    EXPLORATORY,
    MARKS,
    NOT_IN_GIT,
    NOT_LOCKED,
    RELOCKED,
    REMEASURED,
    Earlier,
    Fixed,
    mark,
    mark_of_history,
    read_records,
    seen_tests,
    write_record,
)
from gncn.study.reproduce import reproduce
from gncn.study.run import failed
from gncn.study.summary import as_json, summarise
from gncn.study.table import table

STUDY = """
name = "made"
split = "test"
trials = 2
[evaluation]
measures = ["sparsity"]
[data.digits]
[models.gncn]
preset = "digits"
settings.training.n_epochs = 1
[models.gvae]
preset = "gvae"
trials = 1
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder outside git, as far as locks can see, with a study and a worker that pretends."""
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    (tmp_path / "worker.py").write_text(WORKER, encoding="utf-8")
    load(tmp_path)
    return tmp_path


def load(place, *changes):
    text = STUDY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (place / "made.toml").write_text(text, encoding="utf-8")
    return load_study(place / "made.toml")


def its_lock(place):
    return StudyLock.of(place / "made.toml")


def update(place, *changes, only=()):
    made = load(place, *changes)
    return its_lock(place).update(made, made.runs(only=only), place / "out")


def run(place, *changes, only=(), **options):
    made = load(place, *changes)
    wanted = {spec.name for spec in made.runs(only=only)}
    return reproduce(
        made,
        made.runs(),
        place / "out",
        wanted=wanted,
        lock=its_lock(place),
        worker=(sys.executable, str(place / "worker.py")),
        **options,
    )


def git(place, *command):
    done = subprocess.run(
        ["git", "-C", place, "-c", "user.name=a", "-c", "user.email=a@b", *command],
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    return done.stdout.strip()


def commit(place):
    git(place, "add", "made.toml", "made.lock.json")
    git(place, "commit", "--quiet", "--message", "locked")
    return git(place, "rev-parse", "HEAD")


LONGER = ("n_epochs = 1", "n_epochs = 3")


def test_test_images_are_not_measured_with_settings_that_are_not_locked(place):
    said = rf"gncn/digits is not locked.*gvae/digits is not locked: run `gncn reproduce {place}"
    with pytest.raises(RunError, match=f"{re.escape(str(place))}.*--lock` and commit") as caught:
        run(place)
    assert re.search(said, str(caught.value))
    assert not (place / "out").exists()
    assert not (place / "log").exists()
    assert update(place, only=["gncn"]) == ["gncn/digits"]
    with pytest.raises(RunError, match=r"only, and gvae/digits is not locked: run"):
        run(place)
    assert len(run(place, only=["gncn"])) == 2
    assert update(place) == ["gvae/digits"]
    assert len(run(place)) == 1
    made = load(place, LONGER)
    with pytest.raises(ConfigError, match=r"measures test images, so its settings must be locked"):
        reproduce(made, made.runs(), place / "out2")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (LONGER, r"training.n_epochs: 1 → 3"),
        (("trials = 2", "trials = 3"), r"trials: 2 → 3"),
        (("trials = 2", "trials = 2\nseed = 7"), r"seed: 0 → 7"),
        (
            ('measures = ["sparsity"]', 'measures = ["likelihood"]\nn_samples = 9'),
            r"n_samples: 5000 → 9",
        ),
        (("[evaluation]", "[evaluation]\nseed = 3"), r"evaluation.seed: 0 → 3"),
        (("[data.digits]", "[data.digits]\nsettings.split_seed = 1"), r"data.split_seed: 0 → 1"),
    ],
)
def test_every_setting_that_decides_the_result_is_locked(place, change, said):
    update(place, only=["gncn"])
    made = load(place, change)
    given = made, made.runs(only=["gncn/digits/1"]), place / "out"
    with pytest.raises(RunError, match=rf"gncn/digits is locked with other settings, .*{said}"):
        its_lock(place).check(*given)
    assert its_lock(place).update(*given) == ["gncn/digits"]
    assert {*its_lock(place).check(*given)} == {"gncn/digits"}


def test_what_decides_no_result_is_not_locked(place):
    update(place)
    more = ('["sparsity"]', '["sparsity", "likelihood"]\nfirst_trial_only = []')
    title = ("[data.digits]", '[data.digits]\ntitle = "Digits"')
    assert update(place, more, title) == []
    made = load(place)
    specs = made.runs(only=["gncn/digits/1"], data_dir=place)  # the seed of the first trial counts
    assert its_lock(place).update(made, specs, place / "out") == []


def test_validation_images_need_no_lock(place):
    validation = ('split = "test"', 'split = "validation"')
    assert [one.lock for one in run(place, validation, only=["gvae"])] == [None]
    with pytest.raises(ConfigError, match="measures validation images, which needs no lock"):
        update(place, validation)


def test_outside_git_a_record_names_the_lock_itself(place):
    update(place)
    entry = its_lock(place).read()[0].rows["gncn/digits"]
    assert len(run(place)) == 3
    for one in read_records(place / "out"):
        assert one.lock.kept == "not in git"
        assert one.lock.version == locking.sha256((place / "made.lock.json").read_bytes())[:16]
    first = next(one for one in read_records(place / "out") if one.model == "gncn")
    assert (first.lock.settings, first.lock.date) == (entry.settings, entry.date)


def test_in_git_the_lock_must_be_committed_and_a_record_names_the_commit(place, monkeypatch):
    git(place, "init", "--quiet")
    update(place)
    uncommitted = r"Test images of gncn/digits, gvae/digits are not.*not committed; commit it"
    with pytest.raises(RunError, match=uncommitted):  # no commit at all
        run(place)
    git(place, "add", "made.lock.json")
    with pytest.raises(RunError, match=uncommitted):  # staged alone
        run(place)
    fixed_by = commit(place)
    (place / "other").touch()
    git(place, "add", "other")
    git(place, "commit", "--quiet", "--message", "of something else")
    monkeypatch.setenv("GIT_DIR", str(place / "elsewhere"))  # as in a hook of another checkout
    made = run(place, only=["gvae"])
    assert [(one.lock.kept, one.lock.version) for one in made] == [("git", fixed_by)]
    monkeypatch.delenv("GIT_DIR")
    assert update(place, LONGER) == ["gncn/digits"]
    with pytest.raises(RunError, match=r"gncn/digits are not measured yet.*not committed"):
        run(place, LONGER)
    assert run(place, LONGER, only=["gvae"]) == []  # nothing is left to do
    again = commit(place)
    assert {one.lock.version for one in run(place, LONGER)} == {again}
    (place / "made.lock.json").write_bytes(
        (place / "made.lock.json").read_bytes().replace(b"\n", b"\r\n")
    )
    git(place, "rm", "--quiet", "--cached", "made.lock.json")
    git(place, "commit", "--quiet", "--message", "no lock")
    (place / "out" / "digits" / "gvae-0.json").unlink()
    with pytest.raises(RunError, match="not committed"):
        run(place, LONGER)


def test_a_checkout_may_have_other_ends_of_lines(place):
    git(place, "init", "--quiet")
    update(place)
    commit(place)
    file = place / "made.lock.json"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert run(place, only=["gvae"])[0].lock.kept == "git"


def test_a_lock_that_git_ignores_is_not_committed(place):
    git(place, "init", "--quiet")
    (place / ".gitignore").write_text("*\n", encoding="utf-8")
    update(place)
    with pytest.raises(RunError, match="not committed"):
        run(place)


def test_a_link_is_no_way_around_git(place):
    git(place, "init", "--quiet")
    update(place)
    commit(place)
    (place / "links").mkdir()
    for name in ("made.toml", "made.lock.json"):
        (place / "links" / name).symlink_to(place / name)
    assert StudyLock.of(place / "links" / "made.toml").path == (place / "made.lock.json").resolve()


def test_without_git_a_checkout_is_refused(place, monkeypatch):
    git(place, "init", "--quiet")
    update(place)
    commit(place)
    monkeypatch.setattr(locking, "_GIT", (str(place / "no-git"),))
    with pytest.raises(RunError, match=r"git can't be started .*; install git"):
        run(place)
    (place / ".git" / "HEAD").write_text("harmed", encoding="utf-8")
    monkeypatch.undo()
    monkeypatch.setenv("LOG", str(place / "log"))
    with pytest.raises(RunError, match=r"git can't say whether .*made.lock.json is committed"):
        run(place)
    assert not (place / "log").exists()


def test_an_installed_package_is_its_own_witness(place, monkeypatch):
    git(place, "init", "--quiet")
    home = place / "venv" / "site-packages" / "gncn" / "study" / "studies"
    home.mkdir(parents=True)
    update(place)
    (place / "made.lock.json").rename(home / "made.lock.json")
    installed = StudyLock("made", home / "made.lock.json", True)
    made = load(place)
    fixed = installed.check(made, made.runs(only=["gvae"]), place / "out")["gvae/digits"]
    assert (fixed.kept, fixed.version) == ("package", metadata.version("gncn"))
    with pytest.raises(ConfigError, match="belongs to the installed package; copy the study"):
        installed.update(load(place, LONGER), made.runs(), place / "out")
    monkeypatch.setattr(locking, "_INSTALLED", {"dist-packages"})
    with pytest.raises(RunError, match="not committed"):  # a checkout of gncn itself
        installed.check(made, made.runs(only=["gvae"]), place / "out")


def test_a_change_after_a_test_is_remembered(place):
    update(place)
    untested = ("n_epochs = 1", "n_epochs = 2")
    assert update(place, untested) == ["gncn/digits"]
    assert run(place, untested, only=["gncn/digits/0"])[0].lock.mark == RELOCKED
    update(place, LONGER)
    (one, two) = run(place, LONGER, only=["gncn"], redo_stale=True)
    assert [earlier.tested for earlier in one.lock.history] == [False, True]
    assert one.lock.mark == EXPLORATORY
    assert two.lock == one.lock.model_copy(update={"claims": None})
    assert run(place, LONGER, only=["gvae"])[0].lock.mark == NOT_IN_GIT
    update(place)  # back to the first settings: the history stays
    rows = its_lock(place).read()[0].rows
    assert [earlier.tested for earlier in rows["gncn/digits"].history] == [False, True, True]
    assert rows["gvae/digits"].history == ()


def test_deleting_a_lock_forgets_no_test(place):
    """The records know with which settings test images were measured."""
    update(place)
    run(place, only=["gncn/digits/0"])
    (place / "made.lock.json").unlink()
    update(place, LONGER)
    rows = its_lock(place).read()[0].rows
    assert [earlier.tested for earlier in rows["gncn/digits"].history] == [True]
    assert rows["gvae/digits"].history == ()
    (place / "made.lock.json").unlink()
    update(place)
    assert its_lock(place).read()[0].rows["gncn/digits"].history == ()


def test_the_lock_of_another_study_is_refused(place):
    update(place)
    path = place / "made.lock.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"study": "made"', '"study": "other"'), encoding="utf-8")
    for use in (update, run):
        with pytest.raises(RunError, match="is the lock of the study 'other', and this one is"):
            use(place)


def test_a_test_that_ends_after_the_lock_changed_is_remembered(place):
    update(place)
    before = its_lock(place).read()[0].rows["gncn/digits"]
    made = load(place)
    fixed = its_lock(place).check(made, made.runs(), place / "out")
    update(place, LONGER)
    late = record("gncn", "digits", lock=fixed["gncn/digits"])
    write_record(place / "out", late)
    write_record(place / "out", record("gvae", "digits", lock=fixed["gvae/digits"]))
    made = load(place, LONGER)
    after = its_lock(place).check(made, made.runs(), place / "out")["gncn/digits"]
    assert [(e.settings, e.tested) for e in after.history] == [(before.settings, True)]


def test_failed_runs_and_validation_images_are_no_tests(place):
    made = load(place)
    update(place)
    fixed = its_lock(place).check(made, made.runs(), place / "out")["gncn/digits"]
    bad = failed(made.runs()[0], "Crash", "", "").model_copy(update={"lock": fixed})
    spec = {"split": "validation", "config": {"model": "gncn"}}
    for trial, one in enumerate((bad, record("gncn", "digits", spec=spec))):
        write_record(place / "out", one.model_copy(update={"trial": trial}))
    assert seen_tests(place / "out") == []
    update(place, LONGER)
    assert [one.tested for one in its_lock(place).read()[0].rows["gncn/digits"].history] == [False]


def test_tests_from_before_there_was_a_lock_count(place):
    (spec, *_) = load(place).runs()
    seen = record("gncn", "digits", spec=spec.for_record())
    write_record(place / "out", seen)
    update(place)  # with the same settings
    assert its_lock(place).read()[0].rows["gncn/digits"].history == ()
    (place / "made.lock.json").unlink()
    update(place, LONGER)
    earlier = Earlier(settings="", date=seen.finished, tested=True)
    assert its_lock(place).read()[0].rows["gncn/digits"].history == (earlier,)
    (place / "made.lock.json").unlink()
    update(place)
    update(place, LONGER)
    history = its_lock(place).read()[0].rows["gncn/digits"].history
    assert history[1:] == (earlier,)
    assert mark_of_history(history) == EXPLORATORY


@cache
def with_epochs(n_epochs):
    """A study with one row, and its runs."""
    gncn = {"preset": "digits", "settings": {"training": {"n_epochs": n_epochs}}}
    made = Study(name="made", data={"digits": {}}, models={"gncn": gncn})
    return made, made.runs()


@settings(deadline=None, max_examples=8)
@given(st.lists(st.sampled_from([1, 2, 3, "test"]), max_size=8))
def test_a_row_is_exploratory_if_its_settings_changed_after_a_test(actions):
    """Numbers lock settings; tests are with what is locked."""
    dates = (f"2026-01-01T00:00:{second:02d}+00:00" for second in count())
    locked, n_tests, changed_after_test = None, 0, False
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(locking, "now", side_effect=dates),
        mock.patch("os.fsync"),  # no power is lost here
    ):
        lock, out = its_lock(Path(folder)), Path(folder) / "out"
        for action in actions:
            if action == "test" and locked is not None:
                fixed = lock.check(*with_epochs(locked), out)["gncn/digits"]
                assert (fixed.mark == EXPLORATORY) == changed_after_test
                write_record(out, record("gncn", "digits", n_tests, lock=fixed))
                n_tests += 1
            elif action != "test":
                changed = lock.update(*with_epochs(action), out)
                assert bool(changed) == (action != locked)
                changed_after_test |= n_tests > 0 and action != locked
                locked = action


def test_several_processes_lock_at_once(place):
    grid = 'preset = "digits"\ngrid."training.n_epochs" = [1, 2, 3, 4, 5, 6]\n[models.gvae]'
    made = load(
        place,
        (
            'preset = "digits"\nsettings.training.n_epochs = 1\n[models.gvae]',
            grid,
        ),
    )
    specs = [spec for spec in made.runs() if spec.trial == 0]
    (place / "out").mkdir()

    def one(spec):
        return its_lock(place).update(made, [spec], place / "out")

    with ThreadPoolExecutor(len(specs)) as pool:
        changed = list(pool.map(one, specs))
    assert changed == [[f"{spec.model}/{spec.data}"] for spec in specs]
    assert {*its_lock(place).read()[0].rows} == {row for (row,) in changed}
    assert {path.name for path in place.iterdir()} == {
        "made.toml",
        "made.lock.json",
        "out",
        "worker.py",
    }


@pytest.mark.parametrize(
    "harm",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: f"<<<<<<< HEAD\n{text}",
        lambda text: "[]",
        lambda text: '{"format": 1, "study": "made", "rows": [1]}',
        lambda text: text.replace('"format": 1', '"format": 9'),
        lambda text: text.replace('"n_epochs": 1', '"n_epochs": 2'),  # settings without their hash
        lambda text: text.replace('"history": []', '"histery": []'),
        lambda text: text.replace('"history": []', '"history": [{"tested": true}]'),
        lambda text: "\0",
    ],
)
def test_a_damaged_lock_is_refused_in_a_sentence_and_kept(place, harm):
    update(place)
    file = place / "made.lock.json"
    whole = file.read_text(encoding="utf-8")
    file.write_text(harm(whole), encoding="utf-8")
    assert harm(whole) != whole
    for act in (run, update):
        with pytest.raises(RunError, match=r"is no lock of a study \(.*\): restore it") as caught:
            act(place, LONGER)
        assert str(file) in str(caught.value)
    assert file.read_text(encoding="utf-8") == harm(whole)
    assert not (place / "log").exists()


def test_a_lock_is_written_whole_or_not_at_all(place):
    update(place)
    before = (place / "made.lock.json").read_bytes()
    full = mock.patch("os.fsync", side_effect=OSError(28, "No space left on device"))
    with full, pytest.raises(RunError, match="No space left"):
        update(place, LONGER)
    assert (place / "made.lock.json").read_bytes() == before


def test_a_folder_in_its_place_is_refused(place):
    (place / "made.lock.json").mkdir()
    with pytest.raises(RunError, match=r"Can't read .*made.lock.json"):
        update(place)


def test_the_hash_belongs_to_the_settings():
    spec = {"trials": 1}
    assert Entry(settings=locking.short_hash(spec, 16), date="", spec=spec).history == ()
    with pytest.raises(ConfigError, match="its settings have the hash"):
        Entry(settings=locking.short_hash(spec, 16), date="", spec={"trials": 2})


@pytest.mark.slow
def test_the_papers_settings_are_locked():
    paper = load_study("paper")
    content, _ = StudyLock.of("paper").read()
    for row, spec in locking._rows(paper, paper.runs()).items():
        assert locking.differences(content.rows[row].spec, spec) == [], row


def test_the_command_locks_and_says_so(place, monkeypatch):
    monkeypatch.chdir(place)
    command = ["reproduce", "made.toml", "--out", "out"]

    def said(*options, status=0):
        out, err = io.StringIO(), io.StringIO()
        assert call([*command, *options], out, err) == status, err.getvalue()
        return out.getvalue(), " ".join(err.getvalue().split())

    assert "gncn/digits is not locked" in said("--list")[1]
    assert "gncn/digits is not locked" in json.loads(said("--list", "--json")[0])["refusal"]
    assert "gncn/digits is not locked" in said(status=2)[1]
    for idle in (
        ["--list"],
        ["--jobs", "2"],
        ["--redo-stale"],
        ["--wait"],
        ["--data-dir", "."],
    ):
        refused = said("--lock", *idle, status=2)[1]
        assert f"{idle[0]} has no effect with --lock, which trains nothing. Leave it" in refused
    refused = said("--lock", "--list", "--wait", "--redo-stale", status=2)[1]
    assert "--list, --redo-stale and --wait have no effect" in refused
    assert "Leave them out." in refused
    assert "locked: gncn/digits locked: gvae/digits Settings are locked in" in said("--lock")[1]
    assert "has these settings already" in said("--lock")[1]
    assert json.loads(said("--list", "--json")[0])["refusal"] is None
    write_record(place / "out", record("gncn", "digits"))
    load(place, LONGER)
    assert json.loads(said("--lock", "--json")[0])["changed"] == ["gncn/digits"]
    load(place)
    known = f"locked: gncn/digits, exploratory exploratory: {MARKS[EXPLORATORY]} Settings are"
    assert known in said("--lock")[1]


def fixed(*history, kept="git"):
    """Settings with a history: whether earlier ones were tested, and perhaps what changed."""
    both = [one if isinstance(one, tuple) else (one, "learning") for one in history]
    return Fixed(
        settings="s",
        date="2026-02-03T04:05:06",
        kept=kept,
        version="c0ffee",
        history=[
            Earlier(settings=f"{i}", date="2026-01-01", tested=tested, changed=changed)
            for i, (tested, changed) in enumerate(both)
        ],
    )


@pytest.mark.parametrize(
    ("locks", "expected"),
    [
        ([fixed(), fixed()], ""),
        ([fixed(False), fixed()], RELOCKED),
        ([fixed(), None], NOT_LOCKED),
        ([fixed(), fixed(False, True)], EXPLORATORY),
        ([fixed(True, False)], EXPLORATORY),
        ([fixed(True), None], NOT_LOCKED),
        ([fixed((True, "measures")), fixed()], REMEASURED),
        ([fixed((False, "measures"))], REMEASURED),
        ([fixed((True, "trials"), (False, "trials"))], ""),
        ([fixed((True, "trials"), (False, "measures"))], REMEASURED),
        ([fixed((True, "measures"), (False, "learning"))], EXPLORATORY),
        ([fixed((False, "learning"), (True, "measures"))], RELOCKED),
        ([fixed(), fixed(kept="not in git")], NOT_IN_GIT),
        ([fixed((True, "measures"), kept="not in git")], REMEASURED),
        ([fixed(False, kept="not in git"), fixed(True)], EXPLORATORY),
    ],
)
def test_marks_of_rows(locks, expected, tmp_path):
    found = summarise(
        study(),
        [
            record("gncn", trial=i, bce=(9.0,), metrics=metrics(error=3), lock=lock)
            for i, lock in enumerate(locks)
        ],
    )
    (row,) = found.sections[0].rows
    assert row.mark == mark(found.finished) == expected
    assert as_json(found)["data"][0]["models"]["gncn"]["mark"] == (expected or None)
    page = make_page(found)
    write_report(found, tmp_path / "page.html", tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    n = len(locks)
    in_git = any(one and one.kept == "git" for one in locks)
    assert ("commit c0ffee (locked 2026-02-03)" in text) == in_git
    assert ("commit c0ffee (locked 2026-02-03)" in page) == in_git
    for name, meaning in MARKS.items():
        assert (f"| GNCN ({n}; {name}) |" in text) == (name == expected)
        assert (f"<em>{name}</em></span></th>" in page) == (name == expected)
        assert (meaning in text) == (meaning in page) == (name == expected)
    assert (f"| GNCN ({n}) |" in text) == (not expected)


def test_rows_of_validation_images_have_no_mark():
    spec = {"split": "validation", "config": {"model": "gncn"}}
    assert mark([record("gncn", spec=spec)]) == ""


def test_tables_of_runs_have_marks():
    spec = {"split": "test", "config": {"model": "gncn", "seed": 0}}
    records = [
        record("gncn", trial=i, spec=spec, lock=lock)
        for i, lock in enumerate((fixed(), fixed(True), None))
    ]
    assert [one["mark"] for one in table(study(), records)] == [None, EXPLORATORY, NOT_LOCKED]

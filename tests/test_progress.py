"""Progress: nothing is drawn unless it is asked for; then a bar, or lines off a terminal."""

import io
import sys

import numpy as np
import pytest

import gncn
from gncn.base import progress, screen
from gncn.base.errors import ConfigError

IMAGES = (np.random.default_rng(0).random((40, 9)) < 0.4).astype(np.float32)
NETWORK = gncn.build(gncn.chain((9, 4)), seed=0, n_settle_steps=2)
PLAN = gncn.TrainingConfig(n_epochs=2, batch_size=10)
DATA = gncn.from_arrays(IMAGES, n_validation=10, n_test=10)


def prior():
    return gncn.fit_prior(NETWORK, IMAGES, n_components=2)


CALLS = {
    "fit": lambda **options: gncn.fit(NETWORK, DATA, PLAN, **options),
    "encode": lambda **options: gncn.encode(NETWORK, IMAGES, batch_size=10, **options),
    "reconstruct": lambda **options: gncn.reconstruct(NETWORK, IMAGES, batch_size=10, **options),
    "complete": lambda **options: gncn.complete(NETWORK, IMAGES, "right", **options),
    "refined": lambda **options: gncn.complete(
        NETWORK, IMAGES, "right", way="refined", data=IMAGES, **options
    ),
    "fit_prior": lambda **options: gncn.fit_prior(NETWORK, IMAGES, n_components=2, **options),
    "log_likelihood": lambda **options: gncn.log_likelihood(
        NETWORK, IMAGES, prior=prior(), n_samples=2000, **options
    ),
    "evaluate": lambda **options: gncn.evaluate(NETWORK, DATA, only=["sparsity"], **options),
    "estimator": lambda **options: (
        gncn.GNCN(sizes=(4,), group_size=2, n_epochs=2, **options).fit(IMAGES).transform(IMAGES)
    ),
}
SAID = {
    "fit": "epoch 2/2",
    "encode": "settling on images",
    "reconstruct": "settling on images",
    "complete": "completing",
    "refined": "completing",
    "fit_prior": "fitting the prior",
    "log_likelihood": "drawing from the prior",
    "evaluate": "measuring sparsity",
    "estimator": "epoch 2/2",
}
QUICK = ("fit", "encode", "complete", "evaluate")
CASES = [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in CALLS]


@pytest.fixture
def terminal(monkeypatch):
    """What a terminal of 80 columns would show."""
    shown = screen.Screen(file=io.StringIO(), width=80, force_terminal=True)
    monkeypatch.setattr(screen, "console", shown)
    return shown.file


@pytest.mark.parametrize("name", CASES)
def test_a_bar_is_drawn_only_when_it_is_asked_for(name, terminal, capsys):
    CALLS[name]()
    assert terminal.getvalue() == ""
    CALLS[name](progress=True)
    assert SAID[name] in terminal.getvalue()
    assert "━" in terminal.getvalue()
    assert capsys.readouterr() == ("", "")


def test_off_a_terminal_lines_are_written(capsys):
    CALLS["encode"](progress=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["settling on images"]
    CALLS["fit"](progress=True)
    assert [line[:9] for line in capsys.readouterr().err.splitlines()] == ["epoch 1/2", "epoch 2/2"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three four five", ["one two", "three four", "five"]),
        # A line of the text's own begins again on the left.
        ("one two\nthree four", ["one two", "three four"]),
        ("one\n\n  two six\nten", ["one", "", "  two six", "ten"]),
        ("one two three\nfour five six", ["one two", "three", "four five", "six"]),
        ("one/two/three/four five", ["one/two/three/four", "five"]),
    ],
)
def test_lines_are_broken_between_words(text, lines, monkeypatch):
    shown = screen.Screen(file=io.StringIO(), width=10, force_terminal=True)
    monkeypatch.setattr(screen, "console", shown)
    screen.say(text)
    assert shown.file.getvalue().splitlines() == lines


def test_a_bar_counts_what_the_loop_says(terminal):
    stage = screen.Stage(screen.console, "encoding")
    stage.count(500, 2000)

    def bar():
        (task,) = stage.tasks
        return task.description, task.completed, task.total

    assert bar() == ("encoding: 500 of 2000", 500, 2000)
    stage("annealing: 3 of 24 images")
    stage.count(7, 9)  # the stage counts by itself
    assert bar() == ("annealing: 3 of 24 images", 3, 24)
    stage("the probe")
    assert bar() == ("the probe", 0, None)


def test_a_notebook_without_widgets_gets_lines(monkeypatch):
    shown = screen.Screen(file=io.StringIO())
    monkeypatch.setattr(shown, "is_jupyter", True)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.setattr(screen, "find_spec", lambda name: None)
    assert not shown.can_draw
    monkeypatch.setattr(screen, "find_spec", lambda name: name)
    assert shown.can_draw


def test_a_function_receives_what_is_shown(terminal):
    heard = []
    CALLS["evaluate"](report=heard.append)
    assert heard[0] == "measuring sparsity"
    assert heard[1:]
    assert terminal.getvalue() == ""
    both = []
    CALLS["evaluate"](report=both.append, progress=True)
    assert both == heard
    assert "measuring sparsity" in terminal.getvalue()


def test_counts_are_reported_unless_the_stage_counts_by_itself():
    heard = []
    with progress.shown_progress(False, "", heard.append) as tell:
        tell("encoding")
        progress.advance(3, 8)
        tell("annealing: 1 of 2 images")
        progress.advance(5, 8)
    assert heard == ["encoding", "encoding: 3 of 8", "annealing: 1 of 2 images"]
    progress.tell("nobody hears this")
    assert len(heard) == 3


def test_after_an_error_nothing_is_shown_any_more(terminal):
    with pytest.raises(KeyError), progress.shown_progress(True, "looking up"):
        raise KeyError
    before = terminal.getvalue()
    progress.tell("more")
    progress.advance(1, 2)
    assert terminal.getvalue() == before


def test_what_is_neither_true_nor_false_is_refused():
    with pytest.raises(ConfigError, match="progress must be True or False; received 'yes'"):
        progress.check_progress("yes")


def test_without_rich_there_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ConfigError, match=r"needs rich, which .*pip install 'gncn\[cli\]'"):
        CALLS["encode"](progress=True)
    CALLS["encode"]()

"""`scripts/adopt.py`: settings that a search chose, in a study's file."""

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
from scripts.adopt import _rounded, adopted, best_of, main, sources

from gncn.base.errors import ConfigError
from gncn.runs.config import load_config
from gncn.study.plan import Study, load_study

ROOT = Path(__file__).parents[2]

STUDY = """# A study.
name = "mine"
split = "validation"

[data.digits]

[data.mnist]

[models.gncn]
title = "GNCN"
preset = "digits"
settings.training.n_epochs = 7

[models.gncn.on.digits]
trials = 3
settings.training.learning_rate = 0.5
settings.network.max_norm = [9.0, 9.0, 9.0]

# The other data.
[models.gncn.on.mnist]
settings.training.batch_size = 7

# The last model.
[models.rae]
preset = "rae"
"""
CHANGES = ("network.max_norm=[1.23456, 2.0, 3.0]", "training.learning_rate=0.00123456")


SEARCHED = {
    "space": {},
    "budget": {"train_images": 20000},
    "objective": {"columns": ["bce"], "combine": "mean"},
    "wanted": {"yardsticks": {"bce": 200.0}, "enough": {}},
    "data": "a fingerprint",
    "seed": 0,
    "measuring": {"n_samples": 2000, "curve": []},
}


def chosen(folder, data="digits", changes=CHANGES, preset="digits", **trials):
    """The folder of a search whose best trial has other settings than the study."""
    config = load_config(preset=preset, overrides=[f"data.name={data}", *changes])
    model = config.model
    (folder / f"{data}-{model}-best.toml").write_text(config.to_toml(), encoding="utf-8")
    summary = {"model": model, "trials_spent": 30, "trials_allowed": 30, "finals_left": 0}
    summary |= {"final_rules": {"finalists": 1}}
    summary |= {"source": "0123456789ab", "searched": SEARCHED} | trials
    (folder / f"{data}-{model}.json").write_text(json.dumps(summary), encoding="utf-8")
    return config


def configs(text):
    return {spec.name: spec.config for spec in Study(**tomllib.loads(text)).runs()}


def test_a_study_gets_the_best_trials_settings_and_nothing_else_changes(tmp_path):
    wanted = chosen(tmp_path)
    text = adopted(STUDY, best_of(tmp_path))
    before, after = configs(STUDY), configs(text)
    found = after["gncn/digits/2"]  # the number of trials stays
    assert found.network.max_norm == (1.235, 2.0, 3.0)
    assert found.training.learning_rate == 0.001235
    assert found.training.n_epochs == wanted.training.n_epochs == 20
    assert found.settling == wanted.settling
    assert {k: v for k, v in after.items() if not k.startswith("gncn/digits")} == {
        k: v for k, v in before.items() if not k.startswith("gncn/digits")
    }
    head, tail = STUDY.split("settings.training.learning_rate = 0.5\n")
    assert text.startswith(head)
    assert text.endswith(tail.partition("\n")[2])
    assert adopted(text, best_of(tmp_path)) == text


@pytest.mark.parametrize("missing", ["[models.gncn.on.digits]", "[models.gncn.on.mnist]"])
def test_a_table_that_is_not_there_comes_after_the_models_others(tmp_path, missing):
    head, _, tail = STUDY.partition(missing)
    without = head + tail.partition("\n\n")[2]
    data = missing.rpartition(".")[2].rstrip("]")
    wanted = chosen(tmp_path, data)
    text = adopted(without, best_of(tmp_path))
    assert text.index(missing) < text.index("[models.rae]")
    found = configs(text)[f"gncn/{data}/0"]
    assert found.training.n_epochs == wanted.training.n_epochs
    assert found.network.max_norm == (1.235, 2.0, 3.0)
    assert "# The last model.\n[models.rae]" in text


@pytest.mark.parametrize("left", [{"trials_spent": 29}, {"finals_left": 1}])
def test_a_search_under_way_has_chosen_nothing(tmp_path, left):
    chosen(tmp_path, **left)
    assert best_of(tmp_path) == {}


def test_what_cannot_be_written_is_refused(tmp_path):
    chosen(tmp_path)
    inner = STUDY.replace(
        "[models.gncn.on.digits]\ntrials = 3\n", "\n[models.gncn.on.digits.settings]\n"
    )
    with pytest.raises((ConfigError, tomllib.TOMLDecodeError)):
        adopted(inner.replace("settings.training.learn", "training.learn"), best_of(tmp_path))


def test_the_script_says_what_it_adopted_and_what_the_study_lacks(tmp_path, monkeypatch, capsys):
    chosen(tmp_path)
    chosen(tmp_path, preset="gvae", changes=())
    study = tmp_path / "study.toml"
    study.write_text(STUDY, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["adopt.py", str(tmp_path), str(study)])
    main()
    assert configs(study.read_text(encoding="utf-8"))["gncn/digits/0"].training.n_epochs == 20
    assert capsys.readouterr().out == (
        "adopted: gncn/digits\nnot in the study: gvae/digits\n"
        "code of the searches on digits: 0123456789ab\n"
    )
    study.write_text("name = ", encoding="utf-8")
    with pytest.raises(SystemExit):
        main()
    assert study.read_text(encoding="utf-8") == "name = "


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials_allowed": 60}, "gncn and gvae differ in trials: 30 and 60"),
        ({"trials_spent": 60}, "gncn and gvae differ in trials: 30 and 60"),
        ({"searched": SEARCHED | {"seed": 1}}, "differ in seed"),
        (
            {"searched": SEARCHED | {"measuring": {"n_samples": 10, "mine": 1}}},
            "gvae measured with n_samples=10, and others with 2000",
        ),
        ({"searched": SEARCHED | {"budget": {"train_images": None}}}, "differ in budget"),
        (
            {"searched": SEARCHED | {"objective": {"columns": ["error_percent"]}}},
            "differ in objective",
        ),
        ({"searched": SEARCHED | {"wanted": {"yardsticks": {"bce": 1.0}}}}, "differ in yardsticks"),
        ({"final_rules": {"finalists": 2}}, "differ in finals"),
        ({"searched": SEARCHED | {"data": "another"}}, "in images: .a fingerprint. and .another."),
    ],
)
def test_models_that_were_searched_otherwise_are_refused(
    tmp_path, monkeypatch, capsys, changes, message
):
    chosen(tmp_path)
    # Models of one study count, and so do others, and searches that have not ended.
    chosen(tmp_path, preset="gvae", changes=(), **changes)
    with pytest.raises(ConfigError, match=f"On digits.*{message}"):
        sources(tmp_path)
    study = tmp_path / "study.toml"
    study.write_text(STUDY, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["adopt.py", str(tmp_path), str(study)])
    with pytest.raises(SystemExit):
        main()
    assert re.search("differ in|measured with", capsys.readouterr().err)
    assert study.read_text(encoding="utf-8") == STUDY


def test_searches_of_other_data_spaces_and_code_may_differ(tmp_path):
    chosen(tmp_path)
    other = SEARCHED | {"space": {"training.n_epochs": {}}}
    chosen(tmp_path, preset="gvae", changes=(), searched=other, source="ba9876543210")
    chosen(tmp_path, data="mnist", trials_allowed=60, searched=SEARCHED | {"data": "b"})
    states = {"0123456789ab", "ba9876543210"}
    assert sources(tmp_path) == {"digits": states, "mnist": {"0123456789ab"}}


def test_the_study_of_precisions_begins_with_what_the_search_chose():
    (spec,) = load_study("precision").runs(only=["chosen/caltech-16/0"])
    best = load_config(file=ROOT / "results/search/paper/caltech-16-gncn-paper-best.toml")
    for section in ("network", "settling", "training"):
        ours, theirs = (getattr(one, section).resolved() for one in (spec.config, best))
        assert _rounded(ours) == _rounded(theirs), section

"""`scripts/adopt.py`: settings that a search chose, in a study's file."""

import json
import tomllib

from scripts.adopt import adopted, best_of

from gncn.runs.config import load_config
from gncn.study.plan import Study

STUDY = """# A study.
name = "mine"

[data.digits]

[data.mnist]

[models.gncn]
title = "GNCN"
preset = "digits"
settings.training.n_epochs = 7

[models.gncn.on.digits]
settings.training.learning_rate = 0.5
settings.network.max_norm = [
    9.0, 9.0, 9.0]

[models.gncn.on.mnist]
settings.training.batch_size = 7

# The last model.
[models.rae]
preset = "rae"
"""


def chosen(folder, data="digits", **trials):
    """The folder of a search whose best trial has other settings than the study."""
    changes = ["network.max_norm=[1.23456, 2.0, 3.0]", "training.learning_rate=0.00123456"]
    config = load_config(preset="digits", overrides=[f"data.name={data}", *changes])
    (folder / f"{data}-gncn-best.toml").write_text(config.to_toml(), encoding="utf-8")
    summary = {"model": "gncn", "trials_spent": 30, "trials_allowed": 30} | trials
    (folder / f"{data}-gncn.json").write_text(json.dumps(summary), encoding="utf-8")
    return config


def test_a_study_gets_the_best_trials_settings_and_nothing_else_changes(tmp_path):
    wanted = chosen(tmp_path)
    text = adopted(STUDY, best_of(tmp_path))
    before, after = (
        {spec.name: spec.config for spec in Study(**tomllib.loads(one)).runs()}
        for one in (STUDY, text)
    )
    found = after.pop("gncn/digits/0")
    assert found.network.max_norm == (1.235, 2.0, 3.0)
    assert found.training.learning_rate == 0.001235
    assert found.training.n_epochs == wanted.training.n_epochs == 20
    assert found.settling == wanted.settling
    before.pop("gncn/digits/0")
    assert after == before
    assert "# The last model." in text
    assert text.startswith("# A study.\n")
    assert adopted(text, best_of(tmp_path)) == text


def test_a_search_under_way_has_chosen_nothing(tmp_path):
    chosen(tmp_path, trials_spent=29)
    assert best_of(tmp_path) == {}


def test_only_what_differs_is_written(tmp_path):
    chosen(tmp_path)
    (table,) = [
        part
        for part in adopted(STUDY, best_of(tmp_path)).split("\n\n")
        if part.startswith("[models.gncn.on.digits]")
    ]
    assert table.splitlines()[1:] == [
        "settings.network.max_norm = [1.235, 2.0, 3.0]",
        "settings.training.n_epochs = 20",
        "settings.training.learning_rate = 0.001235",
    ]

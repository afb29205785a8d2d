"""What was ever stored is read, and holds the numbers that it held; see `tests/golden/stored.py`.

A test that fails here says that files which people have are read otherwise than they were written,
or that what gncn writes lacks something that it had, or has it with another type.  Then the format
needs a new name, and the old one a reader or a sentence that refuses it; the files in
``tests/golden/formats/`` stay as they are.  A format may get new fields that are optional to a
reader: here the old files show that.
"""

import json
import re
import shutil
import tomllib

import numpy as np
import pytest
from safetensors.numpy import load
from tests.golden.stored import FORMATS, NUMBERS, STORED

import gncn
from folders import content
from gncn.base.errors import ConfigError
from gncn.runs import model_files
from gncn.study import record
from gncn.training import checkpoints
from gncn.training.history import history_lines, read_history

MODELS = [name for name in STORED if name.startswith("gncn-model-")]
COSTLY = ("record-2", "run", "search", "gncn-model-2/gvae", "gncn-model-2/gmm")


@pytest.fixture
def stored(request, tmp_path):
    """A copy of the folder of a format, in which nothing of today is."""
    shutil.copytree(FORMATS / request.param, tmp_path / "stored")
    (tmp_path / "stored" / NUMBERS).unlink()
    return request.param, tmp_path / "stored"


@pytest.mark.parametrize("stored", STORED, indirect=True)
def test_stored_files_hold_their_numbers(stored):
    name, folder = stored
    wanted = json.loads((FORMATS / name / NUMBERS).read_text(encoding="utf-8"))
    found = STORED[name].numbers(folder)
    assert set(found) >= set(wanted)  # columns may have come since
    for key, values in wanted.items():
        np.testing.assert_allclose(
            np.asarray(found[key], np.float64), values, rtol=1e-4, atol=1e-5, err_msg=key
        )


def test_every_format_of_today_has_its_files():
    today = {model_files.FORMAT, checkpoints.FORMAT, f"record-{record.FORMAT}", "run", "search"}
    assert {name.partition("/")[0] for name in STORED} >= today
    assert {path.name for path in FORMATS.iterdir()} == {n.partition("/")[0] for n in STORED}
    assert sum(path.stat().st_size for path in FORMATS.rglob("*")) < 250_000


@pytest.mark.parametrize("stored", MODELS, indirect=True)
def test_models_are_written_as_they_were(stored, tmp_path):
    _, folder = stored
    gncn.save(gncn.load(folder), tmp_path / "today")
    then, now = content(folder), content(tmp_path / "today", locks=False)
    about = [json.loads(files.pop("model.json")) for files in (then, now)]
    assert about[0] | {"gncn": gncn.__version__} == about[1]
    assert then == now


@pytest.mark.parametrize("stored", ["run", "gncn-checkpoint-3"], indirect=True)
def test_histories_are_written_as_they_were(stored):
    (path,) = stored[1].rglob("history.jsonl")
    assert history_lines(read_history(path)) == path.read_bytes()


def form(value):
    """Names and types of what is in JSON or TOML; a list counts by its first value."""
    match value:
        case dict():
            return {key: form(one) for key, one in value.items()}
        case list():
            return [form(one) for one in value[:1]]
        case _:
            return type(value).__name__


def forms(folder):
    """The form of every file in a folder, by its name."""
    found = {}
    for name, bytes_ in content(folder, locks=False).items():
        match name.rpartition(".")[-1]:
            case "json":
                one = form(json.loads(bytes_))
            case "jsonl":
                one = [form(json.loads(line)) for line in bytes_.splitlines()]
            case "toml":
                one = form(tomllib.loads(bytes_.decode()))
            case "safetensors":
                one = {key: (a.shape, a.dtype.name) for key, a in load(bytes_).items()}
            case _:  # Optuna's
                one = None
        found[re.sub("model-[0-9a-f]{12}", "model-HASH", name)] = one
    return found


def marked(name):
    return pytest.param(name, marks=pytest.mark.slow if name in COSTLY else ())


# A study of validation images no longer measures test images while it trains.
GONE = {
    "record-2": {
        "digits/gncn-0.json/history/test": "[] instead of ['float']",
        "digits/gncn-0.json/kept/test": "NoneType instead of dict",
    }
}


def lost(then, now, where=""):
    """What of an earlier form a form of today lacks or has otherwise, by its place."""
    if isinstance(then, dict) and isinstance(now, dict):
        found = {}
        for key, one in then.items():
            place = f"{where}/{key}".removeprefix("/")
            found |= lost(one, now[key], place) if key in now else {place: "is gone"}
        return found
    if isinstance(then, list) and isinstance(now, list) and then and now:
        return lost(then[0], now[0], where)
    then, now = ("dict" if isinstance(one, dict) else one for one in (then, now))
    return {} if then == now else {where: f"{now} instead of {then}"}


@pytest.mark.parametrize("stored", [marked(name) for name in STORED], indirect=True)
def test_what_is_written_today_has_the_form_that_it_had(stored, tmp_path):
    name, folder = stored
    STORED[name].write(tmp_path / "today")
    then, now = forms(folder), forms(tmp_path / "today")
    assert lost(then, now) == GONE.get(name, {})
    assert set(now) == set(then)  # a new file in a folder is a new format


def test_a_field_that_is_gone_or_has_another_type_is_found():
    then = {"a.json": {"x": "int", "y": {"z": ["float"]}, "t": {"k": ((2, 3), "float32")}}}
    assert lost(then, {"a.json": {**then["a.json"], "new": "str"}, "b.json": None}) == {}
    now = {"a.json": {"x": "str", "y": {"z": []}, "t": {"k": ((2, 4), "float32")}}}
    found = {"a.json/x", "a.json/y/z", "a.json/t/k"}
    assert set(lost(then, now)) == found
    assert lost(then, {"a.json": {"x": "int"}}) == {"a.json/y": "is gone", "a.json/t": "is gone"}
    assert set(lost({"m.safetensors": {"W": ((2,), "int8")}}, {"m.safetensors": {}})) == {
        "m.safetensors/W"
    }


@pytest.mark.parametrize("stored", ["gncn-checkpoint-3"], indirect=True)
def test_checkpoints_of_other_versions_are_refused_in_a_sentence(stored):
    from tests.golden.stored import PLAN, data, network

    path = stored[1] / "000002" / "state.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    about["identity"]["versions"]["jax"] = "0.0.1"
    path.write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"versions\.jax: 0\.0\.1 → "):
        gncn.fit(network(), data(), PLAN, seeds=0, resume_from=stored[1])

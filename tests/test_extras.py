"""What is imported when: `import gncn` needs eight packages, and what is absent is said."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gncn
from gncn import estimators
from gncn.base.errors import ConfigError
from gncn.base.extras import needs
from gncn.cli import main
from gncn.evaluation.yardsticks import nearest_images

OPTIONAL = (
    *("scipy", "sklearn", "threadpoolctl", "matplotlib", "typer", "rich", "optuna", "jinja2"),
    *("pooch", "tomli_w"),
)


def loaded(code):
    """Which of the optional packages are loaded after some code in a new process."""
    ask = f"import sys; print(*(set({OPTIONAL!r}) & set(sys.modules)))"
    command = [sys.executable, "-c", f"{code}; {ask}"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    return set(done.stdout.split())


@pytest.mark.slow
def test_it_works_from_a_zip(tmp_path):
    source = Path(gncn.__file__).parents[1]
    archive = shutil.make_archive(str(tmp_path / "gncn"), "zip", source, "gncn")
    names = "gncn.runs.config.preset_names(), load_study('tiny').name, load_search('tiny').name"
    imports = "from gncn.study.plan import load_study; from gncn.study.search import load_search"
    command = [sys.executable, "-c", f"import gncn; {imports}; print(gncn.__file__, {names})"]
    done = subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        check=True,
        env=os.environ | {"PYTHONPATH": archive},
    )
    assert done.stdout.startswith(archive)
    assert "'mnist'" in done.stdout


def test_import_gncn_loads_nothing_optional():
    assert loaded("import gncn") == set()
    assert loaded("import gncn.measures, gncn.evaluation.mixture_fit, gncn.runs.folder") == set()


@pytest.mark.parametrize(
    ("module", "extra", "message"),
    [
        ("sklearn", "evaluation", r"scikit-learn.*pip install 'gncn\[evaluation\]'"),
        ("matplotlib", "figures", r"Matplotlib.*pip install 'gncn\[figures\]'"),
        ("nonesuch", "study", r"nonesuch.*pip install 'gncn\[study\]'"),
    ],
)
def test_an_absent_package_is_said_in_one_sentence(monkeypatch, module, extra, message):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=message):
        needs(module, extra)


def test_a_measure_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ConfigError, match=r"pip install 'gncn\[evaluation\]'"):
        nearest_images(np.ones((3, 2)), np.ones((1, 2)))


def test_a_package_that_is_there_is_no_error():
    needs("numpy", "evaluation")


@pytest.mark.parametrize(
    ("package", "call", "extra"),
    [
        ("sklearn", lambda: gncn.load_dataset("digits"), "evaluation"),
        ("sklearn", lambda: importlib.reload(estimators), "evaluation"),
        ("tomli_w", lambda: gncn.Config().to_toml(), "cli"),
    ],
)
def test_what_needs_an_extra_says_so(monkeypatch, package, call, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"pip install 'gncn\[{extra}\]'"):
        call()


@pytest.mark.parametrize(
    ("arguments", "package", "extra"),
    [
        (["--help"], "typer", "cli"),
        (["--help"], "rich", "cli"),
        (["tune", "tiny"], "optuna", "study"),
        (["report"], "jinja2", "study"),
    ],
)
def test_a_command_without_its_extra_ends_with_one_sentence(
    monkeypatch, capsys, arguments, package, extra
):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(sys, "argv", ["gncn", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert (
        said == f"Error: This needs {package}, which isn't installed: pip install 'gncn[{extra}]'."
    )

"""What documents show runs: blocks of pages, and examples of docstrings.

Every ```python block of the README and of docs/ runs, page by page, in a folder of its own.

A block whose first line is ``# tests/...py`` shows that file, word for word; it isn't run here, for
the tests of the file run it.
"""

import doctest
import importlib
import re
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

import gncn
from gncn.study.plan import load_study
from gncn.study.search import load_search

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FILE = re.compile(r"# (tests/\S+\.py)\n")
EXAMPLES = sorted(
    p for p in (ROOT / "src").rglob("*.py") if ">>> " in p.read_text(encoding="utf-8")
)
SLOW = ("estimators.md", "models.py", "generative.py")
"""Pages and modules whose examples train models for more than ten seconds."""
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def blocks(page: Path, language: str = "python") -> list[str]:
    return re.findall(
        rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL
    )


def those_with(condition) -> list:
    found = [page for page in PAGES if any(map(condition, blocks(page)))]
    return [with_slow_ones_marked(page) for page in found]


def with_slow_ones_marked(page: Path) -> Any:
    """A case of a test; `SLOW` ones wait for ``make test-all``."""
    marks = [pytest.mark.slow] if page.name in SLOW else []
    return pytest.param(page, id=page.name, marks=marks)


@pytest.mark.parametrize("page", those_with(lambda block: not FILE.match(block)))
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "tests" / "strangers")
    for name in ("ring", "convolution"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    names = {"__name__": page.stem}
    for block in blocks(page):
        if not FILE.match(block):
            exec(compile(block, str(page), "exec"), names)
    if page.stem == "README":  # its first snippet has learned: tossing coins has 64 log 2 = 44
        assert names["result"].history[-1].test.error < 10
        assert (tmp_path / "settling.gif").read_bytes().startswith(b"GIF8")


TOML = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(blocks(page, "toml"))
]


@pytest.mark.parametrize("block", TOML)
def test_settings_are_accepted(block, tmp_path):
    """A search has a space, a study models, and a configuration neither."""
    (tmp_path / "shown.toml").write_text(block, encoding="utf-8")
    if ".space]" in block:
        assert load_search(tmp_path / "shown.toml").models
    elif "[models." in block:
        assert load_study(tmp_path / "shown.toml").models
    else:
        from strangers.ring import Ring

        gncn.register("competition", "ring", Ring)
        assert gncn.load_config(file=tmp_path / "shown.toml").network.competition == "ring"


@pytest.mark.parametrize("page", those_with(FILE.match))
def test_blocks_show_files_word_for_word(page):
    for block in blocks(page):
        if shown := FILE.match(block):
            assert block[shown.end() :] == (ROOT / shown.group(1)).read_text(encoding="utf-8"), (
                shown.group(1)
            )


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_readme_is_short():
    readme = ROOT / "README.md"
    first = blocks(readme)[0].splitlines()
    assert len([line for line in first if line.strip()]) <= 10
    assert len(readme.read_text(encoding="utf-8").split()) <= 600


@pytest.mark.parametrize("path", [with_slow_ones_marked(path) for path in EXAMPLES])
def test_examples_of_docstrings_are_right(path):
    name = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_map_of_equations_names_what_exists():
    for row in re.findall(
        r"^\|.*\|$", (ROOT / "docs" / "equations.md").read_text(encoding="utf-8"), re.MULTILINE
    ):
        _, _, functions, tests = re.split(r"(?<!\\)\|", row)[1:-1]
        for path in re.findall(r"`([a-z_]+\.[\w.]+)`", functions):
            assert resolve_name(f"gncn.{path}") is not None
        for path in re.findall(r"`([a-z/]*test_\w+)`", tests):
            assert (ROOT / "tests" / f"{path}.py").exists(), path


def test_the_readme_for_a_package_index_has_links_that_work_there(monkeypatch):
    hook = type(sys)("hatchling.metadata.plugin.interface")  # Hatchling is there in builds only
    hook.MetadataHookInterface = object
    monkeypatch.setitem(sys.modules, hook.__name__, hook)
    script: dict[str, Any] = {"__name__": "readme"}
    source = (ROOT / "scripts" / "readme.py").read_text(encoding="utf-8")
    exec(compile(source, "readme.py", "exec"), script)
    text = (
        "![a](b/c.png)\nsee [here](docs/x.md), [docs/y.md](docs/y.md), [paper](https://z.org), "
        "[up](#a)"
    )
    assert script["absolute"](text, None, "1.2") == (
        "\nsee here (`docs/x.md`), `docs/y.md`, [paper](https://z.org), [up](#a)"
    )
    assert script["absolute"](text, "https://host/a/", "1.2") == (
        "![a](https://host/a/raw/v1.2/b/c.png)\nsee [here](https://host/a/blob/v1.2/docs/x.md), "
        "[docs/y.md](https://host/a/blob/v1.2/docs/y.md), [paper](https://z.org), [up](#a)"
    )
    whole = (ROOT / "README.md").read_text(encoding="utf-8")
    assert LINK.search(whole)
    links = LINK.findall(script["absolute"](whole, None, "1.2"))
    assert all(link.startswith("https://") for link in links)

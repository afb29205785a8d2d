"""Every Python snippet of the README runs, in order, in a folder of its own."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_python_snippets_run(tmp_path, monkeypatch):
    snippets = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert snippets
    monkeypatch.chdir(tmp_path)
    for snippet in snippets:
        exec(compile(snippet, str(README), "exec"), {})
    assert (tmp_path / "my-network" / "model.json").exists()


def test_the_first_snippet_is_ten_lines():
    first = re.search(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert first is not None
    lines = [line for line in first.group(1).splitlines() if line.strip()]
    assert len(lines) <= 10

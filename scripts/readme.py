"""The README for a package index, on which no file of this repository can be reached by its path.

A link to a file becomes one to the repository's address, if ``project.urls`` in pyproject.toml
has a ``Repository``.  Otherwise it becomes its text and its path, if the two differ: the file lies
in the source archive.  Hatchling calls `README` when it builds.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)]+)\)")


class README(MetadataHookInterface):
    """Gives the project's metadata the README for a package index."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        address = metadata.get("urls", {}).get("Repository")
        text = absolute(text, address, metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute(text: str, address: str | None, version: str) -> str:
    """Markdown whose links work anywhere.

    Args:
        text: Markdown with links to files of the repository.
        address: of the repository, if it has one.
        version: of the package, whose tag is ``v`` and the version.
    """

    def replace(link: re.Match[str]) -> str:
        picture, words, path = link.groups()
        if address is not None:
            kind = "raw" if picture else "blob"
            return f"{picture}[{words}]({address.rstrip('/')}/{kind}/v{version}/{path})"
        if picture:
            return ""
        return f"`{path}`" if words == path else f"{words} (`{path}`)"

    return LINK.sub(replace, text)

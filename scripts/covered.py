"""Say how much of the library tests run, room by room; exit with 1 if it is too little.

``python scripts/covered.py REPORT`` reads what ``coverage json`` wrote.  Lines and branches count
alike: of each there must be 100 % in the core and in the file layer, and 95 % in the whole.  What
is missing in those two is listed.
"""

import json
import sys
from collections import defaultdict
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

CORE = ("core/*", "settlers/*")
FILE_LAYER = (
    *("base/files.py", "base/interrupts.py", "base/locks.py", "base/tensors.py"),
    *("runs/folder.py", "runs/model_files.py", "runs/priors.py", "runs/replacing.py"),
    *("runs/tensors.py", "runs/toml.py", "training/checkpoints*.py"),
)
WHOLE = ("*",)
LEAST = {"the core": (CORE, 100.0), "the file layer": (FILE_LAYER, 100.0), "all": (WHOLE, 95.0)}
"""For each part of the library its files, and the least percentage of lines and of branches."""

Files = dict[str, dict[str, Any]]


def main() -> None:
    """Print the table."""
    files = read(Path(sys.argv[1]))
    rooms: dict[str, Files] = defaultdict(dict)
    for name, found in files.items():
        rooms[name.rpartition("/")[0].partition("/")[0] or "gncn"][name] = found
    print(f"{'':<16}{'lines':>16}{'branches':>16}")
    for room, inside in sorted(rooms.items()):
        print(row(room, inside))
    print()
    too_little = False
    for part, (patterns, least) in LEAST.items():
        inside = {name: files[name] for name in files if matches(name, patterns)}
        print(f"{row(part, inside)}   at least {least:.0f} %")
        if min(share(inside, "lines"), share(inside, "branches")) < least:
            too_little = True
            for name in inside if least == 100.0 else ():
                for line in missing(name, files[name]):
                    print(line)
    sys.exit(too_little)


def read(report: Path) -> Files:
    """What the report says of each file, by the file's path within the library."""
    files = json.loads(report.read_text(encoding="utf-8"))["files"]
    return {
        Path(name).as_posix().removeprefix("src/").removeprefix("gncn/"): found
        for name, found in files.items()
    }


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a file belongs to a part of the library."""
    return any(fnmatch(name, pattern) for pattern in patterns)


def counts(files: Files, what: str) -> tuple[int, int]:
    """How many lines or branches of these files ran, and how many there are."""
    ran, of = {
        "lines": ("covered_lines", "num_statements"),
        "branches": ("covered_branches", "num_branches"),
    }[what]
    summaries = [found["summary"] for found in files.values()]
    return sum(one[ran] for one in summaries), sum(one[of] for one in summaries)


def share(files: Files, what: str) -> float:
    """The percentage of lines or branches that ran."""
    ran, of = counts(files, what)
    return 100.0 * ran / of if of else 100.0


def row(name: str, files: Files) -> str:
    """A line of the table; never says 100 % of what has something missing."""
    cells = []
    for what in ("lines", "branches"):
        ran, of = counts(files, what)
        percent = min(share(files, what), 100.0 if ran == of else 99.9)
        cells.append(f"{f'{ran:,}/{of:,}':>10}{percent:>6.1f}")
    return f"{name:<16}{''.join(cells)}"


def missing(name: str, found: dict[str, Any]) -> list[str]:
    """What of a file did not run."""
    lines = ", ".join(map(str, found["missing_lines"]))
    branches = ", ".join(f"{a}→{'exit' if b < 0 else b}" for a, b in found["missing_branches"])
    said = [f"lines {lines}"] * bool(lines) + [f"branches {branches}"] * bool(branches)
    return [f"    {name}: {one}" for one in said]


if __name__ == "__main__":
    main()

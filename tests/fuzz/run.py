"""Fuzz the readers: ``python -m tests.fuzz.run --inputs 1000000 [TARGET ...]``.

Inputs are shared evenly among the targets.  Where Atheris is installed (``pip install atheris``) it
looks for inputs that reach new code; elsewhere files are harmed at random.  An input that leads to
anything but a documented error is kept in ``tests/fuzz/corpus/TARGET/``, so that tests have it from
then on.
"""

import argparse
import hashlib
import importlib.util
import random
import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
LIMITS = ("-rss_limit_mb=1500", "-timeout=20", "-max_len=100000", "-print_final_stats=1")
"""Of Atheris: a GB for a file, and what JAX takes."""


def keep(name: str, content: bytes) -> Path:
    """Add an input to a target's corpus."""
    path = CORPUS / name / hashlib.sha256(content).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def at_random(name: str, n_inputs: int, seed: int) -> None:
    """Feed a target with harmed files; an unexpected error ends it."""
    from tests.fuzz.mutations import harmed
    from tests.fuzz.targets import feed, sound

    draw, begin = random.Random(seed), [sound(name)]
    begin += [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
    for _ in range(n_inputs):
        content = harmed(draw.choice(begin), draw)
        try:
            feed(name, content)
        except BaseException:
            print(f"{name}: kept {keep(name, content)}")
            raise


def by_coverage(name: str, n_inputs: int, seed: int) -> None:
    """The same by Atheris, which ends the process."""
    import atheris  # pyright: ignore[reportMissingImports] (an extra)

    with atheris.instrument_imports(include=["gncn", "tomllib", "zipfile", "numpy.lib"]):
        from tests.fuzz.targets import feed, sound

    def one(content: bytes) -> None:
        try:
            feed(name, content)
        except BaseException:
            print(f"{name}: kept {keep(name, content)}", flush=True)
            raise

    with tempfile.TemporaryDirectory() as found:
        (Path(found) / "sound").write_bytes(sound(name))
        (CORPUS / name).mkdir(parents=True, exist_ok=True)
        runs = f"-runs={n_inputs}", f"-seed={seed}", f"-artifact_prefix={found}/"
        atheris.Setup([sys.argv[0], *LIMITS, *runs, found, str(CORPUS / name)], one)
        atheris.Fuzz()


def main() -> int:
    """Fuzz each target in a process of its own; returns how many failed."""
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), metavar="TARGET")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--alone", action="store_true", help="one target, in this process")
    asked = parser.parse_args()
    each = max(1, asked.inputs // len(asked.targets))
    has_atheris = importlib.util.find_spec("atheris") is not None
    if asked.alone:
        (by_coverage if has_atheris else at_random)(asked.targets[0], each, asked.seed)
        return 0
    print("with Atheris" if has_atheris else "at random: Atheris is not installed", flush=True)
    failed = []
    for name in asked.targets:
        command = [sys.executable, "-m", "tests.fuzz.run", name, "--alone"]
        command += [f"--inputs={each}", f"--seed={asked.seed}"]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
        print(f"{name}: {each:,} inputs, {'failed' if done.returncode else 'sound'}", flush=True)
        if done.returncode:
            failed.append(name)
            print((done.stdout + done.stderr)[-3000:], flush=True)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())

"""Fuzz the readers: ``python -m tests.fuzz.run --inputs 1000000 [TARGET ...]``.

Inputs are shared evenly among the targets.  Where Atheris is installed (``pip install atheris``) it
looks for inputs that reach new code; elsewhere files are harmed at random.  An input that leads to
anything but a documented error is kept in ``tests/fuzz/corpus/TARGET/``, so that tests have it from
then on.  With ``--collect`` so is the smallest input that leads to each documented error.
"""

import argparse
import hashlib
import importlib.util
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
MOST_BYTES = 3_000
"""Of an input that is collected."""
LIMITS = ("-rss_limit_mb=1500", "-timeout=20", "-max_len=100000", "-len_control=0")
"""Of Atheris: a GB for a file, and what JAX takes."""


def keep(name: str, content: bytes) -> Path:
    """Add an input to a target's corpus."""
    path = CORPUS / name / hashlib.sha256(content).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def kind_of(error: Exception) -> str:
    """The first words of an error's text, without what it quotes."""
    text = re.sub(r"(?<!\w)b?'[^']*'?|\"[^\"]*\"?|[\[{].*|\S*[^ a-zA-Z'.,:;()]\S*", "", str(error))
    return " ".join(text.split()[:20])


def fed(name: str, collect: bool) -> Callable[[bytes], None]:
    """What feeds a target and keeps inputs: those that fail and, to `collect`, one of each kind."""
    from tests.fuzz.targets import feed

    sizes: dict[str, tuple[int, Path | None]] = {}

    def one(content: bytes) -> None:
        try:
            error = feed(name, content)
        except BaseException:
            print(f"{name}: kept {keep(name, content)}", flush=True)
            raise
        if collect and error is not None and len(content) <= MOST_BYTES:
            size, path = sizes.get(kind := kind_of(error), (MOST_BYTES + 1, None))
            if len(content) < size:
                if path is not None:
                    path.unlink(missing_ok=True)
                sizes[kind] = len(content), keep(name, content)

    for path in sorted((CORPUS / name).glob("*")) if collect else ():
        if (error := feed(name, path.read_bytes())) is not None:
            sizes[kind_of(error)] = path.stat().st_size, path
    return one


def at_random(name: str, n_inputs: int, seed: int, collect: bool) -> None:
    """Feed a target with harmed files; an unexpected error ends it."""
    from tests.fuzz.mutations import harmed
    from tests.fuzz.targets import sound

    one = fed(name, collect)
    draw, begin = random.Random(seed), [sound(name)]
    begin += [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
    for _ in range(n_inputs):
        one(harmed(draw.choice(begin), draw))


def by_coverage(name: str, n_inputs: int, seed: int, collect: bool) -> None:
    """The same by Atheris, which ends the process."""
    import atheris  # pyright: ignore[reportMissingImports] (an extra)

    with atheris.instrument_imports(include=["gncn", "tomllib", "zipfile", "numpy.lib"]):
        from tests.fuzz.mutations import harmed
        from tests.fuzz.targets import sound

    def mutated(content: bytes, most: int, seed: int) -> bytes:
        own = random.Random(seed)
        if own.random() < 0.5:
            return atheris.Mutate(content, most)
        return harmed(content, own)[:most]

    with tempfile.TemporaryDirectory() as found:
        (Path(found) / "sound").write_bytes(sound(name))
        (CORPUS / name).mkdir(parents=True, exist_ok=True)
        runs = f"-runs={n_inputs}", f"-seed={seed}", f"-artifact_prefix={found}/"
        options = [sys.argv[0], *LIMITS, *runs, found, str(CORPUS / name)]
        atheris.Setup(options, fed(name, collect), custom_mutator=mutated)
        atheris.Fuzz()


def main() -> int:
    """Fuzz each target in a process of its own; returns how many failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all, unless named")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--collect", action="store_true", help="keep an input for each error")
    parser.add_argument("--alone", action="store_true", help="one target, in this process")
    asked = parser.parse_args()
    has_atheris = importlib.util.find_spec("atheris") is not None
    if asked.alone:  # nothing of gncn may be imported yet
        fuzz = by_coverage if has_atheris else at_random
        fuzz(asked.targets[0], asked.inputs, asked.seed, asked.collect)
        return 0
    from tests.fuzz.targets import TARGETS

    targets = asked.targets or list(TARGETS)
    each = max(1, asked.inputs // len(targets))
    print("with Atheris" if has_atheris else "at random: Atheris is not installed", flush=True)
    failed = []
    for name in targets:
        command = [sys.executable, "-m", "tests.fuzz.run", name, "--alone"]
        command += [f"--inputs={each}", f"--seed={asked.seed}", *["--collect"] * asked.collect]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
        took = time.perf_counter() - began
        how = "failed" if done.returncode else "sound"
        print(f"{name}: {each:,} inputs, {how}, {took:.0f} s", flush=True)
        if done.returncode:
            failed.append(name)
            print((done.stdout + done.stderr)[-3000:], flush=True)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())

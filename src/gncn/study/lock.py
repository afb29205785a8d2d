"""`StudyLock`: a study's settings, frozen in a file before test images are measured.

The file lies next to the study: ``mine.lock.json`` for ``mine.toml``.  For each model on each data
set, a row, it holds what decides the result: the configuration, the number of trials and the
settings of all measures.  Which measures are taken is left out, because none changes another's
numbers.  Rows that change keep a history, so that nobody can tune on test images unnoticed.  The
study's claims are locked, too, and none is forgotten.
"""

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import resources
from importlib.metadata import version
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import model_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError, RunError, quoted, shortened
from gncn.base.files import explained, parse_json, place, sha256, short_hash, write_atomic
from gncn.base.locks import alone
from gncn.data import cache_dir
from gncn.runs.folder import now
from gncn.runs.toml import packaged_names
from gncn.study.claims import unlocked
from gncn.study.plan import STUDIES, Study
from gncn.study.record import Earlier, Fixed, LockedClaim, Seen, seen_tests
from gncn.study.specs import TRIAL_OPTIONS, RunSpec, changed_options, differences, options_of

SUFFIX = ".lock.json"
_MOST_NAMED = 3
"""Rows that a message names; it counts the others."""
_OF_OTHERS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")
"""Variables by which git, in a hook, names another checkout than the lock's."""
_GIT = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false")
"""Git that only reads, and runs no program that a checkout names."""
_INSTALLED = {"site-packages", "dist-packages"}
_CHANGES = {"config": "learning", "evaluation": "measures", "trials": "trials"}
"""The kind of change (`Earlier.changed`) that each part of a row makes, the gravest first."""
_NAMES = {"model", "data", "trial", *TRIAL_OPTIONS} - {"config.seed", "evaluation.seed"}
"""Options that decide no row's result."""


class Entry(Description):
    """The settings of one row: their hash, when they were locked, and what they replaced."""

    settings: str
    date: str
    spec: dict[str, Any]
    history: tuple[Earlier, ...] = ()

    @model_validator(mode="after")
    def _unchanged(self) -> "Entry":
        if self.settings != _hash(self.spec):
            raise ConfigError(f"its settings have the hash {_hash(self.spec)}, not {self.settings}")
        return self


class Content(Description):
    """What the file holds: an `Entry` for each row, by names such as ``gncn/mnist``; and claims.

    Old files have no claims.
    """

    format: Literal[1] = 1
    study: str
    claims: tuple[LockedClaim, ...] = ()
    rows: dict[str, Entry]

    def to_json(self) -> str:
        """JSON with a line for each claim and row, so that git shows which have changed."""
        told = self.model_dump(mode="json")
        claims = ",\n".join(map(json.dumps, told["claims"]))
        rows = told["rows"].items()
        lines = ",\n".join(f"{json.dumps(row)}: {json.dumps(entry)}" for row, entry in rows)
        head = f'"format": {self.format}, "study": {json.dumps(self.study)}'
        return f'{{{head}, "claims": [\n{claims}\n], "rows": {{\n{lines}\n}}}}\n'


class StudyLock(NamedTuple):
    """The lock of a study.

    Attributes:
        study: the study as the user names it, for messages.
        path: the file, which needn't exist.
        packaged: whether the study is the library's own.
    """

    study: str
    path: Traversable
    packaged: bool

    @classmethod
    def of(cls, study: str | Path) -> "StudyLock":
        """The lock of a TOML file, or of one of the library's studies by its name."""
        if str(study) in packaged_names(STUDIES):
            folder = resources.files("gncn").joinpath(STUDIES)
            return cls(str(study), folder.joinpath(f"{study}{SUFFIX}"), True)
        # Git knows a link as a link: what it leads to is what must be committed.
        path = Path(os.path.realpath(place(study).with_suffix(SUFFIX)))
        return cls(str(study), path, False)

    def read(self) -> tuple[Content | None, bytes]:
        """What the file holds, and its bytes; None and nothing if there is no file.

        Raises:
            RunError: it can't be read, or is damaged.
        """
        with explained(f"Can't read {self.path}"):
            try:
                content = self.path.read_bytes()
            except FileNotFoundError:
                return None, b""
        try:
            found = parse_json(content)
            if not isinstance(found, dict):
                raise TypeError("it is no JSON object")
            return Content(**found), content
        except (ValueError, TypeError, ConfigError) as error:
            why = shortened(str(error).partition("\n")[0].rstrip("."), 300)
            raise RunError(
                f"{self.path} is no lock of a study ({why}): "
                "restore it, from git for instance, because a new one would lack its history."
            ) from error

    def update(self, study: Study, specs: Sequence[RunSpec], folder: Path) -> list[str]:
        """Lock the claims and the settings of some runs; what is locked stays as it is.

        A row that changes keeps a history, which says whether the records of a folder, superseded
        ones included, show that test images were measured with the earlier settings.  A row that
        is new gets the history of rows that it may have replaced: see `_past`.

        Returns:
            The rows that are new or have changed, then the claims that are new, in words.

        Raises:
            ConfigError: the study has no test images to protect.
            RunError: the file is damaged or can't be written, or records can't be read.
        """
        if study.split != "test":
            raise ConfigError(
                f"The study {self.study!r} measures {study.split} images, which needs no lock; a "
                'lock is for split = "test".'
            )
        if not isinstance(self.path, Path) or self._is_installed:
            raise ConfigError(
                f"The lock of {self.study!r} belongs to the installed package; copy the study to a "
                "file of your own, and lock that."
            )
        with self._alone(folder):
            before, _ = self.read()
            self._refuse_other(before, study)
            old, claims = (before.rows, before.claims) if before else ({}, ())
            seen, rows = seen_tests(folder), {}
            for row, spec in _rows(study, specs).items():
                if row not in old or differences(old[row].spec, spec):
                    history = _past(row, spec, study, old, seen)
                    rows[row] = Entry(settings=_hash(spec), date=now(), spec=spec, history=history)
            new = unlocked(study, claims, now(), bool(seen))
            if rows or new:
                whole = Content(study=study.name, claims=(*claims, *new), rows=old | rows)
                write_atomic(self.path, whole.to_json())
        return [*rows, *map(_claim, new)]

    def check(self, study: Study, specs: Sequence[RunSpec], folder: Path) -> dict[str, Fixed]:
        """How the settings of runs were fixed, by row; runs of validation images need no lock.

        Raises:
            RunError: the settings of a row or a claim are not locked, the file isn't committed
                where there is git, or it is damaged; says which, and what to do.
        """
        if study.split != "test" or not specs:
            return {}
        content, written = self.read()
        self._refuse_other(content, study)
        rows, claims = (content.rows, content.claims) if content else ({}, ())
        problems, wanted = {}, _rows(study, specs)
        for row, spec in wanted.items():
            if row not in rows:
                problems[row] = "not locked"
            elif changes := differences(rows[row].spec, spec):
                problems[row] = f"locked with other settings, {'; '.join(changes[:4])}"
        problems |= {_claim(one): "not locked" for one in unlocked(study, claims)}
        lock = f"`gncn reproduce {self.study} --lock`"
        if problems:
            raise RunError(
                "Test images are measured with locked settings and claims only, and "
                f"{_named(problems)}: run {lock} and commit {self.path}, then start again."
            )
        kept, by = self._kept(written, ", ".join(list(wanted)[:_MOST_NAMED]))
        seen, fixed = seen_tests(folder), {}
        for row, spec in wanted.items():
            fixed[row] = Fixed(
                settings=rows[row].settings,
                date=rows[row].date,
                kept=kept,
                version=by,
                history=_past(row, spec, study, rows, seen),
                claims=claims,
            )
        return fixed

    def _refuse_other(self, content: Content | None, study: Study) -> None:
        if content is not None and content.study != study.name:
            raise RunError(
                f"{self.path} is the lock of the study {content.study!r}, and this one is called "
                f"{study.name!r}. Restore its own, or rename the study's file."
            )

    @property
    def _is_installed(self) -> bool:
        """Whether the study came with an installed package, which its version identifies."""
        parts = self.path.parts if isinstance(self.path, Path) else ()
        return self.packaged and (not parts or not _INSTALLED.isdisjoint(parts))

    def _kept(self, content: bytes, rows: str) -> tuple[Any, str]:
        """Where the content of the file is kept, and what names its version there."""
        if self._is_installed:
            return "package", version("gncn")
        assert isinstance(self.path, Path)
        if any((folder / ".git").exists() for folder in self.path.parents):
            return "git", _commit(self.path, content, rows)
        return "not in git", sha256(content)[:16]

    @contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        """Do the block while no other process changes the lock, nor the folder of records."""
        with ExitStack() as held:
            if folder.is_dir():
                held.enter_context(alone(folder, "locking the settings", wait=True))
            # Next to the study a lock would lie about in the user's folder.
            home = cache_dir() / "locks" / short_hash(str(self.path))
            held.enter_context(alone(home, "locking the settings", wait=True))
            yield


def _rows(study: Study, specs: Iterable[RunSpec]) -> dict[str, dict[str, Any]]:
    """What decides the result of each row that the runs belong to, as JSON."""
    rows = {}
    for spec in specs:
        told = spec.for_record()
        evaluation = {
            name: value
            for name, value in told["evaluation"].items()
            if f"evaluation.{name}" not in TRIAL_OPTIONS
        } | {"seed": study.evaluation.seed}
        data = told["config"]["data"]
        config = told["config"] | {
            "seed": study.seed,  # trials count from it
            "data": data | {"name": Path(data["name"]).name},  # a file may lie anywhere
        }
        rows[f"{spec.model}/{spec.data}"] = {
            "model": spec.model,
            "data": spec.data,
            "split": spec.split,
            "trials": study.n_trials(spec.model, spec.data),
            "config": config,
            "evaluation": evaluation,
        }
    return rows


def _hash(spec: dict[str, Any]) -> str:
    return short_hash(spec, 16)


def _past(
    row: str,
    spec: dict[str, Any],
    study: Study,
    rows: Mapping[str, Entry],
    seen: Sequence[Seen],
) -> tuple[Earlier, ...]:
    """The history of a row with some settings, of which the last may be locked already.

    Tests in the folder that the lock doesn't know count if their settings were others: there may
    have been no lock, or it was deleted.  Rows that the study no longer has count if they have the
    same kind of model on the same data and were tested before this row was locked: it may be one
    of them under another name.
    """

    def counts(name: str, other: dict[str, Any]) -> bool:
        model, _, data = name.partition("/")
        if name == row:
            return True
        if study.n_trials(model, data) or _subject(other) != _subject(spec):
            return False
        tested = [one.finished for one in seen if one.row == name]
        return row not in rows or min(tested, default=rows[row].date) < rows[row].date

    before = [entry for name, entry in rows.items() if counts(name, entry.spec)]
    known = {(one.settings, one.date) for entry in before for one in (entry, *entry.history)}
    history = [one for entry in before for one in entry.history]
    for entry in before:
        if changed := _changed(entry.spec, spec):
            last = Earlier(settings=entry.settings, date=entry.date, tested=False, changed=changed)
            history.append(last)
    tests = [one for one in seen if one.locked not in known and counts(one.row, one.spec)]
    others = {one.finished: changed for one in tests if (changed := _changed(one.spec, spec))}
    if others and max(others) not in {one.date for one in history}:
        most = min(others.values(), key=[*_CHANGES.values()].index)
        history.append(Earlier(settings="", date=max(others), tested=True, changed=most))
    # A test may have ended after its settings were replaced.
    used = {one.locked for one in seen}
    return tuple(
        one.model_copy(update={"tested": one.tested or (one.settings, one.date) in used})
        for one in history
    )


def _subject(spec: dict[str, Any]) -> dict[str, Any]:
    """The kind of model and the data of a row or a run."""
    options = options_of(spec)
    names = [n for n in options if n == "config.model" or n.startswith("config.data.")]
    return {name: options[name] for name in names if name != "config.data.data_dir"}


def _changed(before: dict[str, Any], after: dict[str, Any]) -> Any:
    """The gravest kind of change from a row or a run to a row; None if nothing changes."""
    trial = before.get("trial", 0)
    # The seeds of a run are its trial's, and the seeds of a row the first trial's.
    parts = {name: before[name] for name in ("config", "evaluation") if name in before}
    first = {name: one | {"seed": one.get("seed", 0) - trial} for name, one in parts.items()}
    # Runs don't say how many trials there are.
    whole = {"trials": after["trials"]} | before | first
    differ = changed_options(whole, after, but_for=_NAMES)
    kinds = {_CHANGES.get(name.partition(".")[0]) for name in differ}
    return next((one for one in _CHANGES.values() if one in kinds), None)


def _claim(claim: LockedClaim) -> str:
    return f"the claim {quoted(claim.claim)}"


def _named(problems: dict[str, str]) -> str:
    shown = [f"{row} is {why}" for row, why in list(problems.items())[:_MOST_NAMED]]
    more = len(problems) - len(shown)
    return ", ".join(shown) + (f", and so are {more} more" if more else "")


def _commit(path: Path, content: bytes, rows: str) -> str:
    """The last commit that changed a file, whose content must be committed.

    Raises:
        RunError: it isn't, or git can't be asked.
    """
    refused = f"Test images of {rows} are not measured yet:"
    _git(path, "rev-parse", "--show-toplevel", refused=refused)
    committed = _git(path, "show", f"HEAD:./{path.name}")
    if committed is None or _lines(committed) != _lines(content):
        raise RunError(
            f"{refused} the lock of their settings, {path}, has changes that are not committed; "
            "commit it, then start again."
        )
    commit = _git(path, "log", "-1", "--format=%H", "--", f"./{path.name}", refused=refused) or b""
    return commit.decode().strip()


def _lines(content: bytes) -> bytes:
    """The content with the ends of lines that git stores; checkouts may have others."""
    return content.replace(b"\r\n", b"\n")


def _git(path: Path, *command: str, refused: str = "") -> bytes | None:
    """What a command of git prints in the folder of a file; None where it fails.

    Raises:
        RunError: git isn't there, or failed and `refused` begins the sentence that says so.
    """
    mine = {name: value for name, value in os.environ.items() if name not in _OF_OTHERS}
    try:
        done = subprocess.run(
            [*_GIT, "-C", str(path.parent), *command],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=mine,
        )
    except OSError as error:
        raise RunError(
            f"{refused} {path} lies in a git checkout, and git can't be started "
            f"({error.strerror}); install git, so that it can say whether the file is committed."
        ) from error
    if done.returncode == 0:
        return done.stdout
    if not refused:
        return None
    why = done.stderr.decode(errors="replace").strip().partition("\n")[0]
    raise RunError(
        f"{refused} git can't say whether {path} is committed ({shortened(why, 200)}); let git "
        "read that checkout, then start again."
    )

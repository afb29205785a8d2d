"""Whatever is done to a folder, and wherever that is cut off, it holds what it should.

Hypothesis saves, trains, overwrites, goes on, evaluates, loads, kills and holds locks in any order,
and compares the folder with a model of it: which runs it may hold, and what was measured of them.
"""

import json
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

import gncn
from budget import examples
from faults import Killed, faults
from folders import content
from gncn.base.errors import InUseError, RunError
from gncn.base.locks import LOCK, alone
from gncn.runs.assess import assess
from gncn.runs.folder import RunFolder
from gncn.runs.replacing import has_checkpoint, recover
from gncn.runs.train import train_run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for names of files")

CONFIG = gncn.Config(
    data={"name": "digits"},
    network={"sizes": (6, 4)},
    settling={"n_settle_steps": 2},
    training={"n_epochs": 2, "batch_size": 40},
)
SEEDS = (0, 1)
ORDERS = st.one_of(st.none(), st.integers(0, 160))
"""Which call is the last before a kill; with None there is none."""


@cache
def data():
    some = gncn.load_dataset("digits").train.subset(np.arange(120))
    return gncn.from_arrays(some.images, some.labels, n_validation=20, n_test=20)


def begin(path, seed):
    config = CONFIG.model_copy(update={"seed": seed})
    with alone(path, "training"):
        folder = RunFolder.create(path, config, data(), overwrite=True)
        train_run(folder, config, data(), every_batches=1)


def go_on(path):
    with alone(path, "training"):
        folder, config = RunFolder.resume(path)
        train_run(folder, config, data(), every_batches=1)


def measure(path):
    assess(RunFolder.open(path), data(), split="validation", only=("sparsity",))


def files(path):
    """The files of a folder but for locks, checkpoints, seconds and times."""
    found = content(path, locks=False)
    return {k: v for k, v in found.items() if not k.startswith(("figures", "checkpoints"))}


def result(path):
    """Models, history, and how far a run got, which is all if it has ended."""
    folder = RunFolder(path)
    told = [one.model_copy(update={"seconds": 0.0}) for one in folder.history]
    models = {k: v for k, v in files(path).items() if k.startswith("trials")}
    return models, told, folder.about["status"], folder.about.get("epochs_kept")


@cache
def goal(seed):
    with tempfile.TemporaryDirectory() as place:
        begin(Path(place) / "run", seed)
        return result(Path(place) / "run")


class Folders(RuleBasedStateMachine):
    """A run folder and a model's folder, used by processes that may be killed.

    Attributes:
        whole: the seed of the run that the run folder holds for certain; None before the first.
        begun: the seed of a run that was begun in its place, and was killed.
        saved: seeds of which the model's folder may hold the model.
        held: the lock of another process on both folders, or None.
    """

    @initialize()
    def start(self):
        self.place = Path(tempfile.mkdtemp())
        self.run, self.model = self.place / "run", self.place / "model"
        self.whole = self.begun = None
        self.saved = set()
        self.held = []

    def teardown(self):
        for lock in self.held:
            lock.release()
        shutil.rmtree(self.place)

    def killed(self, act, at):
        """Whether an act was killed; one that finds a lock held changes nothing."""
        if self.held:
            before = files(self.place)
            with pytest.raises(InUseError, match="in use"):
                act()
            assert files(self.place) == before
            return None
        try:
            with faults(self.place, at):
                act()
        except Killed:
            return True
        return False

    @rule(seed=st.sampled_from(SEEDS), at=ORDERS)
    def overwrite(self, seed, at):
        old, killed = (self.whole, self.begun), self.killed(lambda: begin(self.run, seed), at)
        if killed:
            self.look(*old, seed)
        elif killed is not None:
            self.whole, self.begun = seed, None

    def look(self, whole, begun, seed):
        """After a kill: is it the old run, or the new one, of `seed`, which can go on?"""
        self.whole = self.begun = None
        if self.run.exists():
            recover(self.run)
        if not (self.run / "run.json").exists():
            assert whole is None
            return
        folder = RunFolder(self.run)
        found = folder.config.seed
        if whole is not None and found == whole and result(self.run) == goal(whole):
            self.whole = whole
            return
        self.begun = found
        assert found == seed if whole is not None else found in (seed, begun)
        assert whole is None or (has_checkpoint(self.run) and folder.history)

    @precondition(lambda self: self.begun is not None)
    @rule(at=ORDERS)
    def resume(self, at):
        if self.killed(lambda: go_on(self.run), at) is False:
            self.whole, self.begun = self.begun, None

    @precondition(lambda self: self.whole is not None)
    @rule(at=ORDERS)
    def evaluate(self, at):
        killed = self.killed(lambda: measure(self.run), at)
        numbers = self.run / "metrics-validation.json"
        if killed is False:
            assert "sparsity" in json.loads(numbers.read_text(encoding="utf-8"))["seconds"]

    @precondition(lambda self: not self.held)
    @rule(seed=st.sampled_from(SEEDS), at=st.one_of(st.none(), st.integers(0, 12)))
    def save(self, seed, at):
        network = gncn.build(gncn.chain((5, 4)), seed=seed)
        killed = self.killed(lambda: gncn.save(network, self.model), at)
        self.saved = self.saved | {seed, *([] if self.saved else [None])} if killed else {seed}
        if not killed:
            assert not [name for name in files(self.model) if ".gncn-" in name]
            assert len(files(self.model)) == 2

    @rule()
    def load(self):
        if self.saved <= {None}:
            with pytest.raises(RunError, match="no model"):
                gncn.load(self.model)
            return
        known = [gncn.build(gncn.chain((5, 4)), seed=s) for s in self.saved - {None}]
        if None in self.saved and not (self.model / "model.json").exists():
            return
        found = np.asarray(gncn.load(self.model).connections[0].forward)
        assert any((found == np.asarray(one.connections[0].forward)).all() for one in known)

    @rule()
    def another_takes_or_leaves_the_locks(self):
        if self.held:
            for lock in self.held:
                lock.release()
            self.held = []
        elif self.run.exists():
            lock = FileLock(self.run / LOCK)
            lock.acquire()
            self.held = [lock]

    @invariant()
    def nothing_is_lost(self):
        if getattr(self, "whole", None) is not None:
            assert result(self.run) == goal(self.whole)


TestFolders = Folders.TestCase
TestFolders.settings = settings(max_examples=examples(40), stateful_step_count=8)

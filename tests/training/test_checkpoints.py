"""A training that was killed and goes on ends as one that was not, to the last bit."""

import json
import re

import jax
import numpy as np
import pytest

import gncn
from budget import later
from gncn.base.errors import ConfigError, RunError
from gncn.base.files import sha256
from gncn.training.checkpoints import ABOUT, STATE, Checkpoints
from gncn.training.history import HISTORY, MAX_BYTES, history_lines
from gncn.training.progress import Interrupted

EPOCHS = 4
OPTIONS = {"n_settle_steps": 4}


class Killed(BaseException):
    """Stands for a process that was killed."""


class Killer:
    """Kills when an epoch has ended, or after a chunk of mini-batches."""

    def __init__(self, epoch=None, chunk=None):
        self.epoch, self.chunk, self.chunks = epoch, chunk, 0

    def on_start(self, start):
        pass

    def on_batch(self, number):
        self.chunks += 1
        if self.chunks == self.chunk:
            raise Killed

    def on_epoch(self, records, networks):
        if records[0].epoch == self.epoch:
            raise Killed


def data(seed=0):
    rng = np.random.default_rng(seed)
    images = (rng.random((80, 12)) < rng.random(12)).astype(np.uint8)
    return gncn.from_arrays(images, np.arange(80) % 3, n_validation=10, n_test=10, name="small")


def network(seed=0, **options):
    return gncn.build(gncn.chain((12, 6, 5), precision="full"), seed=seed, **OPTIONS, **options)


def config(**options):
    return gncn.TrainingConfig(**{"n_epochs": EPOCHS, "batch_size": 7, **options})


def same(a, b):
    """Whether models, histories (but for their seconds) and epochs kept are the same bytes."""
    for x, y in zip(jax.tree.leaves(a.networks), jax.tree.leaves(b.networks), strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
    strip = [[r.model_copy(update={"seconds": 0.0}) for r in fit.history] for fit in (a, b)]
    assert strip[0] == strip[1]
    assert a.epochs_kept == b.epochs_kept
    assert a.status == b.status


def train(folder=None, *, seeds=(3,), callbacks=(), resume=False, images=None, **options):
    where = {} if folder is None else {"resume_from" if resume else "checkpoints": folder}
    networks = [network(seed) for seed in seeds]
    images = data() if images is None else images
    return gncn.fit(networks, images, config(**options), seeds=seeds, callbacks=callbacks, **where)


KINDS = {
    "adam": {},
    "cosine": {"schedule": "cosine", "warmup_fraction": 0.2},
    "patience": {"patience": 1, "learning_rate": 0.05},
    "ipc": {"ipc_updates": 2},
}


@pytest.mark.parametrize("seeds", [later((3,)), (3, 4)])
@pytest.mark.parametrize(
    "kind", ["patience", *(later(kind) for kind in KINDS if kind != "patience")]
)
def test_it_ends_as_if_it_had_not_been_killed(tmp_path, kind, seeds):
    options = KINDS[kind]
    whole = train(seeds=seeds, **options)
    for epoch in (1, 3):
        folder = tmp_path / str(epoch)
        with pytest.raises(Killed):
            train(folder, seeds=seeds, callbacks=[Killer(epoch)], **options)
        # Callbacks hear of an epoch before its checkpoint is written, so this one is lost.
        if epoch == 1:
            with pytest.raises(RunError, match="no checkpoint to go on from"):
                train(folder, seeds=seeds, resume=True, **options)
            continue
        same(train(folder, seeds=seeds, resume=True, **options), whole)
        same(train(folder, seeds=seeds, resume=True, **options), whole)  # it had ended already


@pytest.mark.slow
def test_early_stopping_goes_on_with_the_best_score_so_far(tmp_path):
    options = {"patience": 1, "learning_rate": 0.5, "n_epochs": 12}
    whole = train(**options)
    last = whole.history[-1].epoch
    assert whole.epochs_kept == (last - 1,) != (0,)
    with pytest.raises(Killed):
        train(tmp_path, callbacks=[Killer(last)], **options)  # in the epoch that is no better
    same(train(tmp_path, resume=True, **options), whole)


@pytest.mark.parametrize("every", [{"every_batches": 2}, later({"every_seconds": 1e-9})])
@pytest.mark.parametrize("chunk", [6, later(13)])
def test_it_goes_on_within_an_epoch(tmp_path, every, chunk):
    whole = train()
    with pytest.raises(Killed):
        train(Checkpoints(tmp_path, **every), callbacks=[Killer(chunk=chunk)])
    (newest, *_) = Checkpoints(tmp_path).found
    assert json.loads((newest / ABOUT).read_text(encoding="utf-8"))["n_batches"] > 0
    same(train(Checkpoints(tmp_path, **every), resume=True), whole)


def test_models_kept_while_an_epoch_is_under_way_are_those_of_the_last_whole_one(tmp_path):
    """A divergence in the epoch that goes on gives back what was good."""
    with pytest.raises(Killed):
        train(Checkpoints(tmp_path, every_batches=2), callbacks=[Killer(chunk=13)])

    class Pressed(Killer):
        def on_batch(self, number):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as pressed:
        train(Checkpoints(tmp_path, every_batches=2), resume=True, callbacks=[Pressed()])
    stopped = pressed.value.fit
    assert stopped.status == "interrupted"
    assert stopped.epochs_kept == (1,)
    one = train(n_epochs=1)
    for x, y in zip(jax.tree.leaves(stopped.network), jax.tree.leaves(one.network), strict=True):
        np.testing.assert_array_equal(x, y)


def test_two_are_kept_and_leftovers_are_removed(tmp_path):
    (tmp_path / ".gncn-0123456789abcdef").mkdir()
    train(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000003", "000004"]


@pytest.mark.parametrize("harm", ["cut", "foreign", "not JSON", "gone", "history cut"])
def test_a_damaged_checkpoint_is_told_of_and_the_one_before_serves(tmp_path, harm):
    whole = train(tmp_path)
    newest = tmp_path / "000004"
    if harm == "cut":
        (newest / STATE).write_bytes((newest / STATE).read_bytes()[:-1])
    elif harm == "foreign":
        (newest / ABOUT).write_text('{"format": "another"}', encoding="utf-8")
    elif harm == "history cut":
        lines = (newest / HISTORY).read_bytes().splitlines(keepends=True)
        (newest / HISTORY).write_bytes(b"".join(lines[:-1]))
    elif harm == "not JSON":
        (newest / ABOUT).write_text("[" * 100_000, encoding="utf-8")
    else:
        (newest / STATE).unlink()
    with pytest.warns(UserWarning, match="Training goes on from .*000003 instead"):
        same(train(tmp_path, resume=True), whole)
    for path in tmp_path.glob("0*"):
        (path / ABOUT).write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match="no checkpoint to go on from. .*must say format"):
        train(tmp_path, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 8}, r"training.batch_size: 7 → 8"),
        ({"seeds": (5,)}, r"seeds: 3 → 5"),
        ({"images": "other"}, r"data: "),
        ({"network": {"n_settle_steps": 5}}, r"models: "),
        ({"versions": "0.0.1"}, r"versions.jax: .* → 0.0.1"),
    ],
)
def test_another_training_is_refused(tmp_path, change, message, monkeypatch):
    train(tmp_path, n_epochs=2)
    if "images" in change:
        change = {"images": data(seed=1)}
    if options := change.pop("network", None):
        monkeypatch.setitem(OPTIONS, "n_settle_steps", options["n_settle_steps"])
    if version := change.pop("versions", None):
        monkeypatch.setattr("gncn.training.checkpoints.metadata.version", lambda _: version)
    for resume in (True, False):
        with pytest.raises(ConfigError, match=message):
            train(tmp_path, resume=resume, **{"n_epochs": 2, **change})


def test_the_same_training_may_begin_again_where_its_checkpoints_are(tmp_path):
    whole = train(tmp_path, n_epochs=2)
    same(train(tmp_path, n_epochs=2), whole)
    for path in tmp_path.glob("0*"):
        (path / ABOUT).write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match="must say format"):
        train(tmp_path, n_epochs=2)


@pytest.mark.parametrize("n_trials", [1, 3])
def test_a_history_that_could_not_be_read_again_is_refused_before_the_first_epoch(
    tmp_path, n_trials
):
    seeds = tuple(range(n_trials))
    with pytest.raises(ConfigError, match=r"less than [\d,]+ epochs") as refused:
        train(tmp_path, seeds=seeds, n_epochs=1_000_000)
    assert not [*tmp_path.iterdir()]
    # What is kept in no file has no such bound, and with patience the number is only the most.
    for folder, options in ((None, {}), (tmp_path / "patient", {"patience": 1})):
        with pytest.raises(Killed):
            train(folder, seeds=seeds, n_epochs=1_000_000, callbacks=[Killer(1)], **options)
    least = int(re.search(r"less than ([\d,]+)", str(refused.value))[1].replace(",", ""))
    with pytest.raises(ConfigError, match=f"received training.n_epochs={least:,}"):
        train(tmp_path, seeds=seeds, n_epochs=least)
    lines = history_lines(train(tmp_path, seeds=seeds, n_epochs=1).history)
    # Only what could surely not be read is refused.
    assert MAX_BYTES < least * len(lines) < 2.5 * MAX_BYTES


def test_a_training_ends_before_its_history_is_too_long(tmp_path, monkeypatch):
    whole = train(n_epochs=2)
    monkeypatch.setattr("gncn.training.history.MAX_BYTES", len(history_lines(whole.history)) + 9)
    with pytest.raises(RunError, match="has 3 records, which is more than .* fewer epochs than 3"):
        train(tmp_path, n_epochs=3)
    same(train(tmp_path, n_epochs=2, resume=True), whole)


@pytest.mark.slow
def test_a_history_of_a_million_values_can_be_gone_on_with(tmp_path):
    train(tmp_path, n_epochs=1)
    (path,) = tmp_path.iterdir()
    content = (path / HISTORY).read_bytes() * 40_000
    (path / HISTORY).write_bytes(content)
    about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
    about["sha256"][HISTORY] = sha256(content)
    (path / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    assert len(train(tmp_path, n_epochs=1, resume=True).history) == 40_000


def test_length_and_blocks_of_evaluation_may_change(tmp_path):
    train(tmp_path, n_epochs=2)
    more = train(tmp_path, resume=True, n_epochs=3, evaluation_batch_size=5)
    for x, y in zip(
        jax.tree.leaves(more.network), jax.tree.leaves(train(n_epochs=3).network), strict=True
    ):
        np.testing.assert_array_equal(x, y)


class Counter(Killer):
    """A callback with a state."""

    seen = 0

    def on_epoch(self, records, networks):
        self.seen += 1
        super().on_epoch(records, networks)

    def state(self):
        return {"seen": self.seen}

    def restore(self, state):
        self.seen = state["seen"]


def test_callbacks_go_on_with_their_own_state(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, callbacks=[Counter(3)])
    counter = Counter()
    train(tmp_path, resume=True, callbacks=[counter])
    assert counter.seen == EPOCHS
    with pytest.raises(ConfigError, match="callbacks"):
        train(tmp_path, resume=True)


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="not both"):
        gncn.fit(network(), data(), config(), checkpoints=tmp_path, resume_from=tmp_path)
    with pytest.raises(ConfigError, match="every_batches must be at least 1; received 0"):
        Checkpoints(tmp_path, every_batches=0)
    with pytest.raises(ConfigError, match="every_seconds must be above 0"):
        Checkpoints(tmp_path, every_seconds=0)


def test_several_trainings_have_checkpoints_of_their_own(tmp_path):
    where = Checkpoints(tmp_path, every_batches=3)
    one, other = where.of("one"), where.of("other")
    assert (one.folder, one.every_batches) == (tmp_path / "one", 3)
    train(one.folder, n_epochs=1)
    assert [path.name for path in one.found] == ["000001"]
    assert (other.found, where.found) == ([], [])


@pytest.mark.parametrize(("key", "kind"), [("sha256", "dict"), ("stopped", "bool")])
def test_a_description_that_lacks_something_is_damaged(tmp_path, key, kind):
    train(tmp_path, n_epochs=1)
    about = json.loads((tmp_path / "000001" / ABOUT).read_text(encoding="utf-8"))
    del about[key]
    (tmp_path / "000001" / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(RunError, match=f"needs '{key}' of type {kind}: it is damaged"):
        train(tmp_path, resume=True, n_epochs=1)


def test_a_part_of_an_epoch_without_its_statistics_is_refused(tmp_path):
    train(tmp_path, n_epochs=1)
    about = json.loads((tmp_path / "000001" / ABOUT).read_text(encoding="utf-8"))
    about["n_batches"] = 3
    (tmp_path / "000001" / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(RunError, match="000001 .*lacks what the epoch under way had seen"):
        train(tmp_path, resume=True, n_epochs=2)

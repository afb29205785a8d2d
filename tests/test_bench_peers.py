"""The peer benchmark's bookkeeping, with workers that only pretend to learn."""

import contextlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from benchmarks import contest, peers
from benchmarks.document import put
from rich.console import Console

from gncn import load_config, load_dataset

FAKE = """
import sys
sys.path.insert(0, {folder!r})
import numpy as np
from serving import serve

class Fake:
    # BCE of an image: its index in its block plus 100 / (1 + batches learned from)
    def __init__(self, task):
        print("what a library prints is no answer")
        self.task, self.about, self.seen = task, {{"fake": "1.0"}}, 0
    def learn(self, images):
        assert images.shape == (self.task.chunk, self.task.batch, 3), images.shape
        self.seen += len(images)
        if self.task.options.get("fails"):
            raise ValueError("out of luck")
    def bce(self, images):
        assert images.shape == (self.task.batch, 3)
        return 100 / (1 + self.seen) + np.arange(len(images)) + {offset}
    def restart(self):
        self.seen = 0

serve(Fake)
"""


def fake_worker(folder, *, offset="0", fails=False, name="fake"):
    rng = np.random.default_rng(0)
    bits = {"train": (10, 3), "validation": (4, 3)}
    np.savez(folder / "bits.npz", **{k: rng.integers(0, 2, s, np.uint8) for k, s in bits.items()})
    script = folder / f"{name}.py"
    script.write_text(FAKE.format(folder=str(contest.WORKERS), offset=offset), encoding="utf-8")
    task = {**peers.TASK, "sizes": [3, 2], "batch": 2, "chunk": 2, "n_chunks": 3}
    task |= {"rate": 0.1, "step_size": 0.1, "activation": "relu", "options": {"fails": fails}}
    return peers.Worker(name, [sys.executable, script, folder / "bits.npz"], task)


def test_a_worker_is_warm_but_has_learned_nothing_when_it_answers(tmp_path):
    worker = fake_worker(tmp_path)
    assert worker.about == {"fake": "1.0"}
    assert worker.first_bce == 100.5  # mean of block indices 0, 1 added
    assert worker.learn() >= 0
    assert worker.bce() == 100 / 3 + 0.5
    worker.close()
    assert worker.process.returncode == 0


def test_a_worker_that_fails_says_why(tmp_path):
    with pytest.raises(contest.WorkerError, match=r"'fake' ended with status 1(.|\n)*out of luck"):
        fake_worker(tmp_path, fails=True)


def test_all_take_turns_and_the_diverged_stop(tmp_path):
    good = fake_worker(tmp_path, name="good")
    bad = fake_worker(tmp_path, name="bad", offset="(np.nan if self.seen else 0)")
    turns = []
    for worker in (good, bad):
        learn = worker.learn
        worker.learn = lambda w=worker, learn=learn: turns.append(w.name) or learn()
    workers = {"good": good, "bad": bad}
    curves = peers.learn_in_turn(workers, 3)
    assert turns == ["good", "bad", "good", "good"]
    assert [bce for _, bce in curves["good"]] == [100 / n + 0.5 for n in (1, 3, 5, 7)]
    assert [bce for _, bce in curves["bad"]] == [100.5, math.inf]
    seconds = [s for s, _ in curves["good"]]
    assert seconds[0] == 0
    assert seconds == sorted(seconds)
    turns.clear()
    times = peers.time_in_turn(workers, 2, chunk=2)
    assert turns == ["good", "bad"] * 2
    assert {name: len(own) for name, own in times.items()} == {"good": 2, "bad": 2}
    good.close()
    bad.close()


def test_timing_starts_all_processes_anew(tmp_path):
    class Contestants:
        names = ("plain JAX", "gncn, fast")

        def __init__(self):
            self.started = []

        @contextlib.contextmanager
        def start(self, settings, chunk, n_chunks):
            self.started.append((settings, chunk, n_chunks))
            workers = {name: fake_worker(tmp_path, name=name) for name in settings}
            yield workers
            for worker in workers.values():
                worker.close()

    contestants = Contestants()
    timed = peers.time_processes(contestants, starts=3, rounds=2, chunk=4)
    settings = {"plain JAX": peers.FIXED, "gncn, fast": peers.OWN}
    assert contestants.started == [(settings, 4, 2)] * 3
    assert {name: len(own) for name, own in timed.seconds.items()} == dict.fromkeys(settings, 6)
    assert timed.bce == dict.fromkeys(settings, 100 / 5 + 0.5)  # after two rounds, not six
    assert set(timed.about) == set(settings)


def test_chunks_see_every_image_once_an_epoch_and_keep_their_seed(monkeypatch):
    monkeypatch.syspath_prepend(str(contest.WORKERS))
    from serving import Task, chunks

    task = Task([1, 1], 1, 3, 2, 1, 0.1, 0.1, "relu", 0.1, seed=5)
    images = np.arange(12)[:, None]
    source, again = chunks(images, task), chunks(images, task)
    epochs = [np.concatenate([next(source), next(source)]).ravel() for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert not np.array_equal(*epochs)
    assert np.array_equal(np.concatenate([next(again), next(again)]).ravel(), epochs[0])


def test_first_weights_have_their_scale_and_order(monkeypatch):
    monkeypatch.syspath_prepend(str(contest.WORKERS))
    from serving import Task

    task = Task([40, 30, 20], 1, 1, 1, 1, 0.1, 0.1, "relu", weight_scale=0.2, seed=0)
    low, high = task.first_weights()
    assert (low.shape, high.shape) == ((30, 40), (20, 30))
    assert abs(low.std() - 0.2) < 6 * 0.2 / np.sqrt(2 * low.size)


def test_seconds_to_a_bce_lie_on_the_line_between_measurements():
    curve = [(0.0, 100.0), (2.0, 60.0), (4.0, 70.0), (6.0, 20.0)]
    assert peers.seconds_to(curve, 80.0) == 1.0
    assert peers.seconds_to(curve, 60.0) == 2.0
    assert peers.seconds_to(curve, 45.0) == 5.0
    assert peers.seconds_to(curve, 200.0) == 0.0
    assert peers.seconds_to(curve, 19.0) is None
    assert peers.seconds_to([(0.0, 9.0), (1.0, math.inf)], 8.0) is None


def test_targets_are_the_lowest_of_peers_and_ratios_to_the_peer_that_was_first_there():
    curves = {
        "slow": [(0.0, 100.0), (4.0, 50.0), (8.0, 25.0)],
        "quick": [(0.0, 100.0), (2.0, 60.0), (4.0, 20.0)],
        "ours": [(0.0, 100.0), (0.5, 20.0), (1.0, 10.0)],
        "diverged": [(0.0, 100.0), (1.0, math.inf)],
    }
    names = ["slow", "quick", "diverged"]
    once, twice = peers.compare_curves(curves, names, 1, (1, 2, 3))
    assert (once["epochs"], once["bce"], once["fastest"]) == (1, 50.0, "quick")
    assert once["seconds"] == {"slow": 4.0, "quick": 2.5, "ours": 0.3125, "diverged": None}
    assert once["ratio"] == {"slow": 1.6, "quick": 1.0, "ours": 0.125, "diverged": None}
    assert twice["bce"] == 20.0
    assert twice["seconds"]["slow"] is None
    assert twice["ratio"]["ours"] == 0.125
    assert peers.compare_curves(curves, ["diverged"], 1, (1,)) == []


def test_ratios_are_taken_round_by_round_and_the_fastest_by_its_median():
    times = {"a": [1.0, 2.0, 30.0], "b": [2.0, 3.0, 4.0]}
    assert peers.ratios(times["a"], times["b"]) == [0.5, 2 / 3, 7.5]
    assert peers.fastest(times, ["a", "b"]) == "a"
    assert peers.fastest(times, ["b"]) == "b"


def test_the_table_has_what_was_measured_and_stands_in_its_place(tmp_path):
    record = {
        "seconds_a_batch": {"slow": [0.2, 0.4, 0.6], "fast": [0.1, 0.1, 0.2]},
        "fastest_peer": "fast",
        "curves": {"slow": [(0.0, 9.0), (3.0, math.inf)], "fast": [(0.0, 9.0), (2.0, 4.5)]},
        "to_equal_bce": [
            {
                "bce": 5.25,
                "fastest": "fast",
                "seconds": {"slow": None, "fast": 1.5},
                "ratio": {"slow": None, "fast": 1.0},
            }
        ],
    }
    document = tmp_path / "page.md"
    document.write_text(
        "Above\n<!-- peers -->\nold\n<!-- end of peers -->\nbelow\n", encoding="utf-8"
    )
    put(document, peers.PLACE, peers.markdown(peers.jsonable(record)))
    lines = document.read_text(encoding="utf-8").splitlines()
    assert (lines[0], lines[-1]) == ("Above", "below")
    assert "old" not in lines
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:-2]]
    assert cells[0][2:5] == ["÷ fast", "seconds to BCE 5.2", "÷ fast"]
    assert cells[2] == ["slow", "0.4000", "3.00", "not reached", "–", "diverged (3)"]
    assert cells[3] == ["fast", "0.1000", "1.00", "1.5", "1.000", "4.5 (2)"]


def test_a_document_without_a_place_is_refused(tmp_path):
    document = tmp_path / "page.md"
    document.write_text("<!-- end of peers -->\n<!-- peers -->\n", encoding="utf-8")
    with pytest.raises(typer.BadParameter, match="has no lines '<!-- peers -->'"):
        put(document, "peers", "")
    assert document.read_text(encoding="utf-8") == "<!-- end of peers -->\n<!-- peers -->\n"


def test_infinite_numbers_are_null_in_the_record():
    record = peers.jsonable({"a": [1.0, math.inf], "b": {"c": (math.nan, "x")}})
    assert json.dumps(record, allow_nan=False) == '{"a": [1.0, null], "b": {"c": [null, "x"]}}'


@pytest.mark.parametrize("name", peers.OURS)
def test_our_variants_are_configurations_of_the_same_task(name):
    variant = peers.OURS[name]
    sizes = f"network.sizes={peers.TASK['sizes'][1:]}"
    config = load_config(preset=variant["preset"], overrides=[sizes, *variant["overrides"]])
    network = config.models(load_dataset("mnist"))[0]
    assert list(network.circuit.sizes) == peers.TASK["sizes"]
    assert config.settling.weight_scale == peers.TASK["weight_scale"]
    if "exact" in name:
        assert network.settler.n_settle_steps == peers.TASK["n_steps"]
        assert network.settler.products == "float32"


def test_all_choose_from_as_many_rates_and_peers_of_one_rule_share_the_best_setting():
    rules = {name: peers.learning_rule(name) for name in peers.PEERS}
    assert rules["pcx"] == rules["ngc-learn"] != rules["plain JAX"]
    tried = [(1e-3, 0.1, 5.0), (2e-3, 0.1, math.inf), (3e-3, 0.05, 4.0), (4e-3, 0.1, 6.0)]
    tried = [{"rate": rate, "step_size": beta, "bce": bce} for rate, beta, bce in tried]
    assert peers.choose({rules["pcx"]: tried}, "ngc-learn") == {"rate": 3e-3, "step_size": 0.05}
    numbers = {
        name: len({setting["rate"] for setting in peers.settings_for(name)})
        for name in (*peers.PEERS, *peers.OURS)
    }
    assert set(numbers.values()) == {3}
    assert all(s["step_size"] is None for s in peers.settings_for("gncn, fast"))


def test_every_setting_is_tried_of_every_learning_rule():
    class Contestants:
        names = ("plain JAX", "pcx", "ngc-learn", "gncn, fast")

        @contextlib.contextmanager
        def start(self, settings, chunk, n_chunks, stand_in=False):
            assert stand_in
            assert (chunk, n_chunks) == (4, 2)
            yield settings

    def learn(settings, n_chunks):
        return {name: [(0.0, 200.0), (1.0, 1000 * one["rate"])] for name, one in settings.items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peers, "learn_in_turn", learn)
        tried = peers.try_settings(Console(quiet=True), Contestants(), 4, 2)
    rules = {name: peers.learning_rule(name) for name in Contestants.names}
    assert list(tried) == [rules["plain JAX"], rules["pcx"], "gncn, fast"]
    assert [(t["rate"], t["step_size"]) for t in tried[rules["pcx"]]] == [
        (s["rate"], s["step_size"]) for s in peers.SETTINGS
    ]
    assert peers.choose(tried, "gncn, fast") == {"rate": 6e-3, "step_size": None}


@pytest.mark.parametrize("peer", peers.PEERS.values())
def test_every_peer_has_its_worker(peer):
    assert Path(contest.WORKERS / f"with_{peer['worker']}.py").exists()

"""Locks: one writer at a time, whoever it is; the system frees what a killed process held."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gncn
from gncn.base.errors import RunError
from gncn.base.files import UNFINISHED
from gncn.base.locks import LOCK, OWNER, alone

HOLDER = """
import sys, time
from pathlib import Path
from gncn.base.locks import alone
with alone(Path(sys.argv[1]), "training"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of a folder."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_process_is_named_and_its_death_frees_the_folder(tmp_path, holder):
    folder = tmp_path / "run"
    message = rf"{re.escape(str(folder))} is in use: training by process {holder.pid} on \S+\. Wait"
    with pytest.raises(RunError, match=message), alone(folder, "evaluating"):
        pass
    holder.kill()
    holder.wait()
    with alone(folder, "evaluating"):
        assert (folder / OWNER).exists()
    assert [path.name for path in folder.iterdir()] == [LOCK]


def test_it_waits_if_asked_to(tmp_path):
    order = []

    def second():
        with alone(tmp_path, "second", wait=True):
            order.append("second")

    with ThreadPoolExecutor(1) as pool, alone(tmp_path, "first"):
        later = pool.submit(second)
        with pytest.raises(TimeoutError):
            later.result(timeout=0.2)
        order.append("first")
    assert order == ["first", "second"]


def test_what_a_killed_process_left_unfinished_is_swept_up(tmp_path):
    left, mine = tmp_path / f"{UNFINISHED}{'a' * 16}", tmp_path / f"{UNFINISHED}mine"
    for path in (left, mine):
        path.write_text("half", encoding="utf-8")
    with alone(tmp_path, "the next"):
        assert not left.exists()
    assert mine.exists()


def test_a_folder_whose_owner_says_nothing_is_refused_all_the_same(tmp_path):
    with alone(tmp_path, "first"):
        (tmp_path / OWNER).write_text("{", encoding="utf-8")
        with pytest.raises(RunError, match="just begun"), alone(tmp_path, "second"):
            pass


def test_saves_at_once_end_with_one_whole_model(tmp_path):
    networks = [gncn.build(gncn.chain((6, 4)), seed=seed) for seed in range(3)]
    for _ in range(4):
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda network: gncn.save(network, tmp_path / "model"), networks))
        found = np.asarray(gncn.load(tmp_path / "model").connections[0].forward)
        assert any(np.array_equal(found, one.connections[0].forward) for one in networks)
        assert len(list((tmp_path / "model").glob("model-*.safetensors"))) == 1

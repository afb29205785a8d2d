"""The library where others run it: without compilation, with checks, threads, pools, notebooks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


def run(command, **environment):
    """Run Python in a process of its own and read the JSON in its last line."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, **environment},
        cwd=HERE,
        capture_output=True,
        encoding="utf-8",
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def usual():
    return run(["environments.py"])


def alike(found, usual, within):
    for name, numbers in usual.items():
        if name != "types":
            np.testing.assert_allclose(found[name], numbers, rtol=within, atol=within)


def test_double_precision_changes_nothing_that_matters(usual, tmp_path):
    """JAX_ENABLE_X64 leaves networks in single precision: files and numbers agree."""
    folder = tmp_path / "network"
    found = run(["environments.py", folder], JAX_ENABLE_X64="1")
    assert found["types"] == usual["types"] == ["float32"]
    alike(found, usual, 2e-3)
    assert run(["environments.py", folder])["loaded"] < 1e-4  # what x64 saved
    assert run(["environments.py", folder], JAX_ENABLE_X64="1")["loaded"] < 1e-4


@pytest.mark.parametrize(
    ("name", "value"),
    [("JAX_PLATFORMS", "foo"), ("JAX_ENABLE_X64", "maybe"), ("MPLBACKEND", "paper")],
)
def test_a_variable_that_cannot_be_used_is_named(name, value):
    command = [sys.executable, "-c", "import _gncn; _gncn.main()"]
    done = subprocess.run(
        [*command, "reconstruct", "golden/formats/run"],
        # Where tests ask Python to warn of encodings, JAX may be warned of first.
        env={**os.environ, name: value, "PYTHONWARNDEFAULTENCODING": ""},
        cwd=HERE,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {name}='{value}' in the environment: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "environment",
    [
        {"JAX_DEBUG_NANS": "1"},
        {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
    ],
    ids=str,
)
def test_numbers_are_the_same_in_other_environments(environment, usual):
    alike(run(["environments.py"], **environment), usual, 2e-3)


TRY = "import json; from environments import small; import gncn, numpy as np\n"
SMALL = """
def once(seed):
    network = gncn.build(gncn.chain((64, 4)), seed=seed, n_settle_steps=2)
    plan = gncn.TrainingConfig(n_epochs=1, batch_size=60)
    fit = gncn.fit(network, small(), plan)
    settled = gncn.settle(fit.network, small().test.array[:5])
    return [fit.history[-1].validation.error, float(np.mean(settled.reconstruction))]
"""
THREAD = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(2) as pool:
    print(json.dumps(list(pool.map(once, [0, 0]))))
"""
POOL = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
if __name__ == "__main__":
    with ProcessPoolExecutor(2, get_context("{kind}")) as pool:
        print(json.dumps(list(pool.map(once, [0, 0]))))
"""
LOOP = """
import asyncio
async def cell():
    return [once(0), await asyncio.to_thread(once, 0)]
print(json.dumps(asyncio.run(cell())))
"""


@pytest.mark.parametrize(
    "rest",
    [THREAD, LOOP, POOL.format(kind="spawn"), POOL.format(kind="fork")],
    ids=["threads", "loop", "spawn", "fork"],
)
def test_threads_pools_and_loops(rest, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(TRY + SMALL + rest, encoding="utf-8")
    one, other = run([script], PYTHONPATH=os.pathsep.join([str(HERE), *sys.path]))
    assert np.isfinite(one).all()
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_without_compilation(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(TRY + SMALL + "print(json.dumps([once(0)]))", encoding="utf-8")
    path = os.pathsep.join([str(HERE), *sys.path])
    (slow,) = run([script], PYTHONPATH=path, JAX_DISABLE_JIT="1")
    (fast,) = run([script], PYTHONPATH=path)
    np.testing.assert_allclose(slow, fast, rtol=1e-4)

"""Images streamed from a file: the same numbers as in memory, and clear errors of the disk."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import gncn
import gncn.training.epochs
import gncn.training.examples
from budget import later
from gncn.base.errors import ConfigError, DataError
from gncn.data import StoredImages
from nets import Listens

CONFIG = gncn.TrainingConfig(n_epochs=2, batch_size=8, evaluation_batch_size=3)


def network(likelihood="bernoulli", seed=0):
    circuit = gncn.chain((12, 5), likelihood=likelihood)
    return gncn.build(circuit, seed=seed, n_settle_steps=3)


def values(dtype, shape=(90, 3, 4)):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, shape).astype(np.uint8) if dtype == np.uint8 else rng.random(shape)


def assert_same_bytes(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        later(np.uint8, {"max_value": 255}),
        later(np.uint8, {"threshold": 0.7}),
        (np.float64, {"n_validation": 20, "split_seed": 3}),
        later(np.float32, {"binarisation": "none"}),
        later(bool, {}),
    ],
)
def test_streamed_training_is_training_in_memory(tmp_path, monkeypatch, dtype, options):
    on = values(dtype) > 0.5 if dtype is bool else values(dtype).astype(dtype)
    np.save(tmp_path / "mine.npy", on)
    kept, streamed = (
        gncn.load_file(tmp_path / "mine.npy", stream=stream, **options) for stream in (False, True)
    )
    assert isinstance(streamed.train.images, StoredImages)
    assert streamed.fingerprint == kept.fingerprint
    assert streamed.image_shape == (3, 4)
    assert (len(streamed.validation), streamed.binary) == (len(kept.validation), kept.binary)
    for a, b in zip(streamed.splits, kept.splits, strict=True):
        np.testing.assert_array_equal(a.array, b.images)
        np.testing.assert_array_equal(a.images[2:5], b.images[2:5])
        np.testing.assert_array_equal(a.images[-1], b.images[-1])
        np.testing.assert_array_equal(a.subset(np.array([4, 1])).array, b.images[[4, 1]])
    image_bytes = 12 * np.dtype(dtype).itemsize
    monkeypatch.setattr(
        gncn.training.examples, "STREAMED_BYTES", 2 * 2 * 8 * image_bytes + 1
    )  # 2 batches
    monkeypatch.setattr(gncn.training.epochs, "CHUNKS", 1)
    kind = "gaussian" if options.get("binarisation") == "none" else "bernoulli"
    networks = [network(kind, 0), network(kind, 1)]
    told = []

    class Hears(Listens):
        def on_batch(self, number):
            told.append(number)

    a = gncn.fit(networks, streamed, CONFIG, seeds=[0, 1], callbacks=[Hears()])
    b = gncn.fit(networks, kept, CONFIG, seeds=[0, 1])
    assert_same_bytes(a.networks, b.networks)
    for x, y in zip(a.history, b.history, strict=True):
        assert x.model_copy(update={"seconds": y.seconds}) == y
    n_batches = -(-len(kept.train) // 8)
    assert told == 2 * [*range(1, n_batches - 1, 2), n_batches - 1]


@pytest.mark.slow
def test_baselines_stream_too(tmp_path):
    np.save(tmp_path / "mine.npy", values(np.float64))
    run = gncn.Config(
        model="gvae", backprop={"budget": 300, "n_latent": 2}, training={"n_epochs": 1}
    )
    found = []
    for stream in (False, True):
        data = gncn.load_file(tmp_path / "mine.npy", stream=stream)
        found.append(gncn.fit(run.models(data), data, run.training).networks)
    assert_same_bytes(*found)


def cut(path: Path):
    with path.open("r+b") as file:
        file.truncate(400)


def replace(path: Path):
    # At once: a thread that reads ahead must not find it gone for a moment.
    np.save(path.with_name("other.npy"), 1 - values(np.float64))
    path.with_name("other.npy").replace(path)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (Path.unlink, r"Can't read .*mine\.npy: No such file"),
        (cut, r"mine\.npy was changed while"),
        (replace, r"mine\.npy was changed while"),
    ],
)
def test_a_file_that_goes_away_is_an_error_that_names_it(tmp_path, monkeypatch, harm, message):
    path = tmp_path / "mine.npy"
    np.save(path, values(np.float64))
    monkeypatch.setattr(gncn.training.examples, "STREAMED_BYTES", 1)

    class Harms(Listens):
        def on_batch(self, number):
            if number == 0:
                harm(path)

    data = gncn.load_file(path, stream=True)
    with pytest.raises(DataError, match=message):
        gncn.fit(network(), data, CONFIG, callbacks=[Harms()])


@pytest.mark.parametrize(
    ("array", "options", "error", "message"),
    [
        (values(np.float64), {"binarisation": "stochastic"}, ConfigError, "can't be binarised"),
        (9 * values(float), {}, DataError, r"within 0..max_value=1.0; received values from 0\.0"),
        (np.full((9, 4), np.nan), {}, DataError, "36 of 36 values are missing"),
        (np.zeros((9, 4)), {}, DataError, "All pixels of The images in .*mine.npy are off"),
        (np.zeros(9), {}, DataError, r"\(n, rows, cols\)"),
        (np.asfortranarray(values(np.float64)), {}, DataError, "Fortran order"),
        (values(np.float64), {"threshold": 2.0}, ConfigError, r"within \(0, 1\]"),
        (values(np.float64), {"n_test": 90}, DataError, "Can't split"),
        (values(np.float64), {"max_value": 0}, ConfigError, "positive number; received 0"),
    ],
)
def test_what_cannot_be_streamed_is_refused(tmp_path, array, options, error, message):
    np.save(tmp_path / "mine.npy", array)
    with pytest.raises(error, match=message):
        gncn.load_file(tmp_path / "mine.npy", stream=True, **options)


@pytest.mark.parametrize("stream", [True, False])
def test_arrays_are_no_options_of_a_file(tmp_path, stream):
    np.save(tmp_path / "mine.npy", values(np.float64))
    for name in ("test_images", "source", "train_images"):
        with pytest.raises(ConfigError, match=f"Unknown option '{name}'"):
            gncn.load_file(tmp_path / "mine.npy", stream=stream, **{name: values(np.float64)})


def test_other_files_cannot_be_streamed(tmp_path):
    np.savez(tmp_path / "mine.npz", train_images=values(np.float64))
    with pytest.raises(DataError, match=r"Only \.npy files.*mine\.npz"):
        gncn.Config(data={"name": str(tmp_path / "mine.npz"), "stream": True}).data.load()
    with pytest.raises(ConfigError, match="stream: only for your own"):
        gncn.Config(data={"name": "digits", "stream": True}).data.load()
    with pytest.raises(DataError, match=r"Can't read .*none\.npy: No such file"):
        gncn.load_file(tmp_path / "none.npy", stream=True)
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY no")
    with pytest.raises(DataError, match="damaged"):
        gncn.load_file(tmp_path / "bad.npy", stream=True)


def test_the_option_streams(tmp_path):
    np.save(tmp_path / "mine.npy", values(np.float64))
    options = {"name": str(tmp_path / "mine.npy"), "stream": True, "n_test": 7}
    data = gncn.Config(data=options).data.load()
    assert isinstance(data.test.images, StoredImages)
    assert len(data.test) == 7


PEAK = """
import sys, numpy as np, gncn
from benchmarks.speed import peak_mib
path, n = sys.argv[1], int(sys.argv[2])
images = np.lib.format.open_memmap(path, "w+", np.uint8, (n, 4000))
images[::100] = 1
del images
data = gncn.load_file(path, stream=True, n_validation=50, n_test=n // 2)
config = gncn.TrainingConfig(n_epochs=1, batch_size=50, evaluation_batch_size=50)
gncn.fit(gncn.build(gncn.chain((4000, 4)), seed=0, n_settle_steps=1), data, config)
print(peak_mib())
"""


@pytest.mark.skipif(
    sys.platform != "linux",
    reason="elsewhere the peak may belong to the process that starts this one",
)
@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    def peak_mib(n):
        command = [sys.executable, "-c", PEAK, str(tmp_path / "mine.npy"), str(n)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", check=True, env=environment
        )
        return float(done.stdout)

    small, large = peak_mib(3000), peak_mib(20_000)  # 11 and 76 MiB
    assert large - small < 30

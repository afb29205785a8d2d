"""The embedded MNIST, and the original files where the environment variable GNCN_DATA has them."""

import gzip
import hashlib
import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from gncn.base.errors import DataError
from gncn.data import MissingFileError, dataset_info, load_dataset
from gncn.data.content import arrays_digest, read_mnist, read_packed_mnist, read_verified

DATA = os.environ.get("GNCN_DATA")
needs_data = pytest.mark.skipif(
    not DATA, reason="needs the original files: name their folder in GNCN_DATA"
)
SCRIPT = Path(__file__).parent.parent / "scripts" / "pack_mnist.py"


def pack_mnist():
    spec = importlib.util.spec_from_file_location("pack_mnist", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def raw(name: str, file: str, header: int) -> np.ndarray:
    """Values of an idx file, read without the code under test."""
    content = gzip.decompress((Path(DATA) / name / f"{file}.gz").read_bytes())
    return np.frombuffer(content, np.uint8, offset=header)


class TestEmbedded:
    def test_counts(self):
        data = load_dataset("mnist")
        assert (len(data.train), len(data.validation), len(data.test)) == (58_000, 2_000, 10_000)
        assert (data.image_shape, data.n_classes, data.n_pixels) == ((28, 28), 10, 784)
        # The class counts that the MNIST test set is known by.
        known = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
        assert np.bincount(data.test.labels).tolist() == known

    def test_validation_is_drawn_from_training(self):
        arrays = read_mnist()
        data = load_dataset("mnist", n_validation=500, split_seed=7)
        assert len(data.validation) == 500
        assert data.train.images.sum() + data.validation.images.sum() == (
            arrays["train_images"].sum()
        )
        other = load_dataset("mnist", n_validation=500, split_seed=8)
        assert not np.array_equal(data.validation.images, other.validation.images)

    def test_altered_archive_is_refused(self, monkeypatch):
        monkeypatch.setattr("gncn.data.content.MNIST_DIGEST", "sha256:0")
        with pytest.raises(DataError, match="was altered: expected content sha256:0"):
            load_dataset("mnist")

    def test_explicit_folder_is_obeyed(self, tmp_path):
        with pytest.raises(MissingFileError, match="leave out the data folder"):
            load_dataset("mnist", data_dir=tmp_path)

    def test_help_of_the_packing_script(self, capsys):
        with pytest.raises(SystemExit) as caught:
            pack_mnist().main(["--help"])
        assert caught.value.code == 0
        assert "--output" in capsys.readouterr().out

    def test_packing_needs_the_files(self, tmp_path, capsys):
        with pytest.raises(SystemExit) as caught:
            pack_mnist().main([str(tmp_path), "--output", str(tmp_path / "x.npz")])
        assert caught.value.code == 2
        assert "train-images-idx3-ubyte.gz" in capsys.readouterr().err
        assert not (tmp_path / "x.npz").exists()

    def test_archive_is_an_ordinary_npz_with_the_same_bytes_every_time(self, tmp_path):
        arrays = {"a": np.eye(3, dtype=np.uint8), "b": np.arange(4, dtype=np.uint8)}
        first, second = (pack_mnist().write_archive(arrays) for _ in range(2))
        assert first == second
        (tmp_path / "x.npz").write_bytes(first)
        with np.load(tmp_path / "x.npz", allow_pickle=False) as archive:
            assert archive.files == ["a", "b"]
            assert np.array_equal(archive["a"], arrays["a"])


@needs_data
class TestOriginalFiles:
    @pytest.mark.slow
    def test_packing_gives_the_embedded_arrays(self, tmp_path, capsys):
        script = pack_mnist()
        script.main([str(Path(DATA) / "mnist"), "--output", str(tmp_path / "mnist.npz")])
        embedded = read_packed_mnist()
        with np.load(tmp_path / "mnist.npz", allow_pickle=False) as archive:
            assert archive.files == list(embedded)
            for name, array in embedded.items():
                assert np.array_equal(archive[name], array)
        assert arrays_digest(embedded) in capsys.readouterr().out

    @pytest.mark.parametrize("split", ["train", "test"])
    def test_embedded_pixels_are_those_of_the_files(self, split):
        stem = {"train": "train", "test": "t10k"}[split]
        grey = raw("mnist", f"{stem}-images-idx3-ubyte", 16).reshape(-1, 784)
        arrays = read_mnist()
        assert np.array_equal(arrays[f"{split}_images"], grey > 127)  # 127.5 is the threshold
        labels = raw("mnist", f"{stem}-labels-idx1-ubyte", 8)
        assert np.array_equal(arrays[f"{split}_labels"], labels)

    def test_mnist_from_files_equals_the_embedded(self):
        assert load_dataset("mnist", data_dir=DATA).fingerprint == load_dataset("mnist").fingerprint

    def test_fashion_mnist(self):
        data = load_dataset("fashion-mnist", data_dir=DATA)
        assert (len(data.train), len(data.validation), len(data.test)) == (58_000, 2_000, 10_000)
        labels = np.concatenate([data.train.labels, data.validation.labels])
        assert np.bincount(labels).tolist() == [6_000] * 10
        assert np.bincount(data.test.labels).tolist() == [1_000] * 10
        grey = raw("fashion-mnist", "t10k-images-idx3-ubyte", 16).reshape(-1, 784)
        assert np.array_equal(data.test.images, grey > 127)
        assert np.array_equal(data.test.labels, raw("fashion-mnist", "t10k-labels-idx1-ubyte", 8))

    def test_kmnist_test_part(self):
        if (Path(DATA) / "kmnist" / "train-images-idx3-ubyte.gz").exists():
            data = load_dataset("kmnist", data_dir=DATA)
            assert (data.name, len(data.train)) == ("kmnist", 58_000)
            return
        with pytest.raises(MissingFileError, match="allow_missing_train=True"):
            load_dataset("kmnist", data_dir=DATA)
        data = load_dataset("kmnist", data_dir=DATA, allow_missing_train=True)
        assert (len(data.train), len(data.validation), len(data.test)) == (7_000, 1_000, 2_000)
        labels = [split.labels for split in (data.train, data.validation, data.test)]
        assert np.bincount(np.concatenate(labels)).tolist() == [1_000] * 10

    @pytest.mark.parametrize(
        ("name", "sizes"),
        [("caltech-16", (4_082, 2_257, 2_302)), ("caltech-28", (4_100, 2_264, 2_307))],
    )
    def test_caltech(self, name, sizes):
        data = load_dataset(name, data_dir=DATA)
        assert tuple(len(split) for split in (data.train, data.validation, data.test)) == sizes
        for split in (data.train, data.validation, data.test):
            assert np.unique(split.labels).tolist() == list(range(101))
        side = data.image_shape[0]
        images = data.train.images.reshape(-1, side, side)
        # Foreground is 1: the corners of an image are background more often than its middle.
        assert images[:, 0, 0].mean() < 0.2 < 0.9 < images[:, side // 2, side // 2].mean()
        # Upright: faces (class 2 of 101) are taller than wide, pyramids (class 75) are
        # wide at the bottom, and the tails of planes (class 1), which fly right, are left.
        faces = images[data.train.labels == 1].mean(axis=0)
        assert (faces.max(axis=1) > 0.5).sum() > 1.1 * (faces.max(axis=0) > 0.5).sum()
        pyramids = images[data.train.labels == 74]
        assert pyramids[:, side // 2 :].sum() > 1.5 * pyramids[:, : side // 2].sum()
        planes = images[data.train.labels == 0][:, : side // 3]
        assert planes[:, :, : side // 2].sum() > 3 * planes[:, :, side // 2 :].sum()

    @pytest.mark.parametrize(
        ("name", "file"),
        [
            ("mnist", "train-images-idx3-ubyte"),
            ("fashion-mnist", "train-labels-idx1-ubyte"),
            ("kmnist", "t10k-images-idx3-ubyte"),
        ],
    )
    def test_hashes_on_record_are_of_decompressed_content(self, name, file):
        content = gzip.decompress((Path(DATA) / name / f"{file}.gz").read_bytes())
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert digest in {known.digest for known in dataset_info(name).files}

    def test_one_changed_bit_is_found(self, tmp_path):
        path = Path(DATA) / "kmnist" / "t10k-labels-idx1-ubyte.gz"
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[5_000] ^= 1
        (tmp_path / "labels").write_bytes(content)
        info = dataset_info("kmnist")
        with pytest.raises(DataError, match="December 2018"):
            read_verified(tmp_path / "labels", info, info.files[-1])

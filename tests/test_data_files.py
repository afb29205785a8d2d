"""Finding, checking and downloading files, on small fabricated data sets and a local server."""

import gzip
import hashlib
import io
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from scipy.io import savemat

from gncn.base.errors import ConfigError, DataError, GncnError
from gncn.data import (
    AlteredFileError,
    MissingFileError,
    cache_dir,
    check,
    dataset_info,
    dataset_names,
    fetch,
    load_dataset,
    locate,
    registry,
)
from gncn.data.content import (
    parse_idx,
    parse_silhouettes,
    read_verified,
    to_idx,
)
from gncn.data.loaders import DataConfig
from gncn.data.locate import download, obtain

PARTS = ("train_images", "train_labels", "test_images", "test_labels")
N_TRAIN, N_TEST = 30, 12


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def idx_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    shapes = ((N_TRAIN, 28, 28), (N_TRAIN,), (N_TEST, 28, 28), (N_TEST,))
    return {
        part: generator.integers(0, 256 if len(shape) == 3 else 10, shape, dtype=np.uint8)
        for part, shape in zip(PARTS, shapes, strict=True)
    }


def fabricate(name: str, arrays: dict[str, np.ndarray], base: str = "http://localhost:1/"):
    """The entry of a data set, with other arrays and one mirror."""
    info = dataset_info(name)
    files = tuple(
        replace(
            file,
            digest=digest(to_idx(arrays[file.part])),
            shape=arrays[file.part].shape,
            urls=(base + file.file_names[0], *file.urls[2:]) if base else file.urls,
        )
        for file in info.files
    )
    return replace(info, files=files)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("GNCN_DATA", raising=False)
    monkeypatch.setenv("GNCN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def kmnist(monkeypatch):
    """A small KMNIST in the registry; its only mirror is a port that nobody listens on."""
    arrays = idx_arrays()
    info = fabricate("kmnist", arrays)
    info = replace(info, files=tuple(replace(f, urls=(f.urls[0],)) for f in info.files))
    monkeypatch.setitem(registry._DATASETS, "kmnist", info)
    return info, arrays


def write_gz(folder, info, arrays, parts=PARTS):
    folder.mkdir(parents=True, exist_ok=True)
    for file in info.files:
        if file.part in parts:
            content = gzip.compress(to_idx(arrays[file.part]))
            (folder / file.file_names[0]).write_bytes(content)


@pytest.fixture
def server():
    """A web server of the bytes put in `server.files`, at `server.url`; counts requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.requested.append(self.path)
            content = self.server.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) + self.server.cut))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.files, running.requested, running.cut = {}, [], 0
        running.url = f"http://127.0.0.1:{running.server_port}/"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


class TestIdx:
    def test_layout_is_that_of_mnist(self):
        # http://yann.lecun.com/exdb/mnist/: magic 0x00000803, three big-endian sizes, pixels
        content = bytes.fromhex("00000803 00000001 00000002 00000003 010203040506")
        assert parse_idx(content, (1, 2, 3)).tolist() == [[[1, 2, 3], [4, 5, 6]]]
        assert to_idx(np.arange(1, 7, dtype=np.uint8).reshape(1, 2, 3)) == content

    @pytest.mark.parametrize("content", [b"", b"\0\0\x08\1\0\0\0\3ab", b"\0\0\x0d\1\0\0\0\3abc"])
    def test_other_bytes_are_refused(self, content):
        with pytest.raises(DataError, match="Expected an idx file"):
            parse_idx(content, (3,))


class TestReadVerified:
    @pytest.mark.parametrize("form", ["gz", "plain", "npz"])
    def test_forms(self, tmp_path, form):
        arrays = idx_arrays()
        info = fabricate("kmnist", arrays)
        file = info.files[0]
        content, stream = to_idx(arrays["train_images"]), io.BytesIO()
        np.savez_compressed(stream, arrays["train_images"])
        forms = {"gz": gzip.compress(content), "plain": content, "npz": stream.getvalue()}
        (tmp_path / "file").write_bytes(forms[form])
        assert read_verified(tmp_path / "file", info, file) == content

    @pytest.mark.parametrize("keep", [3, 200, -4])
    @pytest.mark.parametrize("form", ["gz", "npz"])
    def test_truncated_files_name_both_hashes(self, tmp_path, form, keep):
        arrays = idx_arrays()
        info = fabricate("kmnist", arrays)
        stream = io.BytesIO()
        np.savez(stream, arrays["train_images"])
        whole = {"gz": gzip.compress(to_idx(arrays["train_images"])), "npz": stream.getvalue()}
        raw = whole[form][:keep]
        (tmp_path / "cut").write_bytes(raw)
        with pytest.raises(AlteredFileError) as caught:
            read_verified(tmp_path / "cut", info, info.files[0])
        for needed in (str(tmp_path / "cut"), info.files[0].digest, digest(raw), "gncn data fetch"):
            assert needed in str(caught.value)

    def test_altered_content_names_both_hashes_and_the_older_release(self, tmp_path):
        arrays = idx_arrays()
        info = fabricate("kmnist", arrays)
        arrays["test_images"][5, 3, 3] ^= 1
        content = to_idx(arrays["test_images"])
        (tmp_path / "x.gz").write_bytes(gzip.compress(content))
        with pytest.raises(AlteredFileError, match="December 2018") as caught:
            read_verified(tmp_path / "x.gz", info, info.files[2])
        assert digest(content) in str(caught.value)
        assert info.files[2].digest in str(caught.value)

    def test_a_file_that_unpacks_to_too_much_is_refused(self, tmp_path):
        arrays = idx_arrays()
        info = fabricate("kmnist", arrays)
        (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(10**7)))
        np.savez_compressed(tmp_path / "bomb.npz", np.zeros(10**7))
        for name in ("bomb.gz", "bomb.npz"):
            with pytest.raises(AlteredFileError):
                read_verified(tmp_path / name, info, info.files[0])

    @pytest.mark.parametrize(
        "member", [{"other": np.zeros(3)}, {"arr_0": np.full(3, 0.5)}, {"arr_0": np.full(3, -1)}]
    )
    def test_npz_of_another_kind_is_refused(self, tmp_path, member):
        info = fabricate("kmnist", idx_arrays())
        np.savez(tmp_path / "x.npz", **member)
        with pytest.raises(AlteredFileError, match=r"expected one array|expected integers"):
            read_verified(tmp_path / "x.npz", info, info.files[1])


class TestLocate:
    def test_layouts_of_an_explicit_folder(self, tmp_path, kmnist):
        info, arrays = kmnist
        for folder in (tmp_path / "a" / "kmnist", tmp_path / "b"):
            write_gz(folder, info, arrays)
        fingerprints = {
            load_dataset("kmnist", data_dir=tmp_path / name, n_validation=5).fingerprint
            for name in "ab"
        }
        assert len(fingerprints) == 1

    def test_explicit_folder_wins_and_is_the_only_one(self, tmp_path, kmnist, monkeypatch, server):
        info, arrays = kmnist
        write_gz(tmp_path / "env", info, arrays)
        monkeypatch.setenv("GNCN_DATA", str(tmp_path / "env"))
        assert load_dataset("kmnist", n_validation=5).n_pixels == 784
        (tmp_path / "empty").mkdir()
        with pytest.raises(MissingFileError) as caught:
            load_dataset("kmnist", data_dir=tmp_path / "empty", n_validation=5)
        message = str(caught.value)
        for name in ("kmnist/train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"):
            assert str(tmp_path / "empty" / name) in message
        assert "allow_missing_train=True" in message
        assert "Mirrors" not in message

    @pytest.mark.parametrize("explicit", [True, False])
    def test_folder_that_does_not_exist(self, tmp_path, monkeypatch, explicit):
        monkeypatch.setenv("GNCN_DATA", str(tmp_path / "nowhere"))
        with pytest.raises(DataError, match="nowhere, doesn't exist"):
            load_dataset("kmnist", data_dir=tmp_path / "nowhere" if explicit else None)

    def test_download_false_asks_no_mirror(self, kmnist):
        with pytest.raises(MissingFileError, match="Paths tried") as caught:
            load_dataset("kmnist", download=False)
        assert str(cache_dir() / "kmnist") in str(caught.value)

    def test_file_of_another_data_set_is_named(self, tmp_path, kmnist, monkeypatch):
        info, arrays = kmnist
        others = idx_arrays(seed=1)
        monkeypatch.setitem(registry._DATASETS, "mnist", fabricate("mnist", others))
        write_gz(tmp_path / "flat", info, others)
        with pytest.raises(AlteredFileError, match="is a file of 'mnist', not of 'kmnist'"):
            load_dataset("kmnist", data_dir=tmp_path / "flat")
        # As a hint about where data are, such a folder is passed over.
        monkeypatch.setenv("GNCN_DATA", str(tmp_path / "flat"))
        write_gz(cache_dir() / "kmnist", info, arrays)
        assert len(load_dataset("kmnist", n_validation=5).train) == N_TRAIN - 5

    def test_check_states(self, tmp_path, kmnist):
        info, arrays = kmnist
        write_gz(tmp_path, info, arrays, parts=("train_images", "train_labels"))
        path = tmp_path / info.files[1].file_names[0]
        path.write_bytes(gzip.compress(b"other"))
        statuses = [check(info, file, tmp_path) for file in info.files]
        assert [status.state for status in statuses] == ["sound", "altered", "missing", "missing"]
        assert statuses[1].path == path
        assert str(path) in statuses[1].detail


class TestDownload:
    def file_at(self, server, mirrors):
        """Describe a file that has the given mirrors on the server, and its content."""
        arrays = idx_arrays()
        info = fabricate("kmnist", arrays)
        urls = tuple(f"{server.url}{mirror}/train-images-idx3-ubyte.gz" for mirror in mirrors)
        file = replace(info.files[0], urls=urls)
        info = replace(info, files=(file, *info.files[1:]))
        return info, file, to_idx(arrays["train_images"])

    def serve(self, server, mirror, content):
        server.files[f"/{mirror}/train-images-idx3-ubyte.gz"] = content

    def test_the_second_mirror_helps_out(self, server, tmp_path):
        info, file, content = self.file_at(server, ("gone", "good"))
        self.serve(server, "good", gzip.compress(content))
        assert obtain(info, file, data_dir=None, allow_download=True) == content
        assert len(server.requested) == 2
        # Now it is in the cache, and nothing else is.
        assert obtain(info, file, data_dir=None, allow_download=True) == content
        assert len(server.requested) == 2
        kept = [path.name for path in (cache_dir() / "kmnist").iterdir()]
        assert kept == ["train-images-idx3-ubyte.gz"]

    @pytest.mark.parametrize("fault", ["altered", "truncated", "html"])
    def test_unsound_mirrors_are_passed_over(self, server, tmp_path, fault):
        info, file, content = self.file_at(server, ("bad", "good"))
        packed = gzip.compress(content)
        bad = {
            "altered": gzip.compress(content[:-1] + b"?"),
            "truncated": packed[:-100],
            "html": b"<html>Sign in</html>",
        }
        self.serve(server, "bad", bad[fault])
        self.serve(server, "good", packed)
        path = download(info, file, tmp_path / "here")
        assert path.read_bytes() == packed
        assert len(server.requested) == 2

    def test_no_mirror_has_it(self, server, tmp_path):
        info, file, content = self.file_at(server, ("gone", "bad"))
        self.serve(server, "bad", gzip.compress(content[:-1] + b"?"))
        with pytest.raises(MissingFileError) as caught:
            download(info, file, tmp_path / "here")
        for needed in (
            *file.urls,
            "404",
            "the file there is not",
            "expected content",
            "--data-dir",
            "GNCN_DATA",
        ):
            assert needed in str(caught.value)
        assert list((tmp_path / "here").iterdir()) == []

    def test_nothing_unfinished_lies_in_the_folder(self, server, tmp_path, monkeypatch):
        """So a kill leaves nothing there; what comes is written as all files are."""
        info, file, content = self.file_at(server, ("good",))
        self.serve(server, "good", gzip.compress(content))
        get, seen = locate._get, []

        def look(*arguments):
            get(*arguments)
            seen.extend((tmp_path / "here").iterdir())

        monkeypatch.setattr(locate, "_get", look)
        path = download(info, file, tmp_path / "here")
        assert seen == []
        assert list((tmp_path / "here").iterdir()) == [path]

    def test_connection_that_breaks_off(self, server, tmp_path):
        info, file, content = self.file_at(server, ("only",))
        self.serve(server, "only", gzip.compress(content))
        server.cut = 50
        with pytest.raises(MissingFileError, match="IncompleteRead"):
            download(info, file, tmp_path / "here")

    def test_no_network(self, kmnist):
        with pytest.raises(MissingFileError, match="Mirrors tried") as caught:
            load_dataset("kmnist")
        assert "http://localhost:1/" in str(caught.value)
        assert "allow_missing_train=True" in str(caught.value)

    def test_folder_that_can_not_be_made(self, server, tmp_path):
        info, file, _ = self.file_at(server, ("only",))
        (tmp_path / "file").write_text("in the way", encoding="utf-8")
        with pytest.raises(DataError, match="Can't save data in"):
            download(info, file, tmp_path / "file" / "folder")

    def test_altered_cache_is_replaced_or_reported(self, server):
        info, file, content = self.file_at(server, ("good",))
        self.serve(server, "good", gzip.compress(content))
        folder = cache_dir() / "kmnist"
        folder.mkdir(parents=True)
        (folder / file.file_names[0]).write_bytes(gzip.compress(b"rotten"))
        with pytest.raises(AlteredFileError, match="expected content"):
            obtain(info, file, data_dir=None, allow_download=False)
        assert obtain(info, file, data_dir=None, allow_download=True) == content
        assert obtain(info, file, data_dir=None, allow_download=False) == content

    def test_fetch_keeps_what_is_sound(self, server, tmp_path):
        arrays = idx_arrays()
        info = fabricate("fashion-mnist", arrays, base=server.url)
        for file in info.files:
            server.files[f"/{file.file_names[0]}"] = gzip.compress(to_idx(arrays[file.part]))
        write_gz(tmp_path / "fashion-mnist", info, arrays, parts=("train_images",))
        (tmp_path / "fashion-mnist" / info.files[1].file_names[0]).write_bytes(b"rotten")
        paths = fetch(info, tmp_path)
        assert [path.name for path in paths] == [file.file_names[0] for file in info.files]
        assert server.requested == [f"/{file.file_names[0]}" for file in info.files[1:]]
        assert all(check(info, file, tmp_path).state == "sound" for file in info.files)

    def test_nothing_to_fetch_for_what_is_installed(self, tmp_path):
        assert fetch(dataset_info("mnist")) == []
        assert fetch(dataset_info("digits"), tmp_path) == []


class TestLoadDataset:
    def test_binarises_splits_and_labels(self, tmp_path, kmnist):
        info, arrays = kmnist
        write_gz(tmp_path, info, arrays)
        data = load_dataset("kmnist", data_dir=tmp_path, n_validation=5, split_seed=3)
        assert (len(data.train), len(data.validation), len(data.test)) == (25, 5, 12)
        assert (data.image_shape, data.n_classes, data.binary) == ((28, 28), 10, True)
        on = arrays["test_images"].astype(float) / 255 >= 0.5
        assert np.array_equal(data.test.images, on.reshape(N_TEST, -1))
        assert np.array_equal(data.test.labels, arrays["test_labels"])
        both = np.concatenate([data.train.images, data.validation.images])
        expected = (arrays["train_images"].astype(float) / 255 >= 0.5).reshape(N_TRAIN, -1)
        assert sorted(map(bytes, both)) == sorted(map(bytes, expected.astype(np.uint8)))

    def test_kmnist_without_training_images(self, tmp_path, kmnist, monkeypatch):
        info, arrays = kmnist
        monkeypatch.setattr("gncn.data.loaders.KMNIST_PART_TEST_IMAGES", 3)
        write_gz(tmp_path, info, arrays, parts=("test_images", "test_labels"))
        data = load_dataset("kmnist", data_dir=tmp_path, n_validation=2, allow_missing_train=True)
        assert data.name == "kmnist (test part only)"
        assert (len(data.train), len(data.validation), len(data.test)) == (7, 2, 3)
        assert "aren't comparable" in data.source
        images = np.concatenate([data.train.images, data.validation.images, data.test.images])
        assert images.sum() == (arrays["test_images"] >= 128).sum()
        # Where the training images are available, they are used.
        write_gz(tmp_path, info, arrays)
        whole = load_dataset("kmnist", data_dir=tmp_path, n_validation=5, allow_missing_train=True)
        assert whole.name == "kmnist"

    def test_altered_training_images_are_no_missing_ones(self, tmp_path, kmnist):
        info, arrays = kmnist
        write_gz(tmp_path, info, arrays)
        (tmp_path / info.files[0].file_names[0]).write_bytes(b"rotten")
        with pytest.raises(AlteredFileError):
            load_dataset("kmnist", data_dir=tmp_path, allow_missing_train=True)

    def test_a_file_of_another_kind_is_none(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "mine.txt").write_text("1 2 3", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"'mine\.txt' is a file .*\.npy.*folder of pictures"):
            load_dataset("mine.txt")
        with pytest.raises(ConfigError, match="is a file of a kind that isn't read"):
            DataConfig(name="mine.txt").load()
        with pytest.raises(ConfigError, match="Unknown data set 'nnnn"):
            load_dataset("n" * 10_000)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("none", "Unknown data set 'none'.* Or give a path: there is no folder of that name"),
            ("some/none", "There is no file or folder some/none"),
            ("none.npy", "There is no file none.npy"),
        ],
    )
    def test_a_path_to_nothing_is_said_to_be_one(self, name, message, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(GncnError, match=message):
            DataConfig(name=name).load()

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("minst", {}, "Unknown data set 'minst'.*'mnist', 'fashion-mnist'"),
            ("mine.npz", {}, r"load_file\('mine.npz'\)"),
            ("mnist", {"allow_missing_train": True}, "for 'kmnist' only"),
            ("caltech-16", {"n_validation": 100}, "own validation split of 2257 images"),
            ("caltech-28", {"split_seed": 1}, "split_seed=1"),
            ("digits", {"data_dir": "/data"}, "received data_dir='/data'"),
        ],
    )
    def test_impossible_requests_are_refused(self, name, options, message):
        with pytest.raises(ConfigError, match=message):
            load_dataset(name, **options)

    def test_digits(self):
        from sklearn.datasets import load_digits

        raw = load_digits()
        data = load_dataset("digits")
        assert (len(data.train), len(data.validation), len(data.test)) == (1300, 200, 297)
        assert data.image_shape == (8, 8)
        assert np.array_equal(data.test.images, raw.data[1500:] >= 8)
        assert np.array_equal(data.test.labels, raw.target[1500:])
        assert data.fingerprint != load_dataset("digits", split_seed=1).fingerprint

    def test_registry_is_consistent(self):
        for name in dataset_names():
            info = dataset_info(name)
            for file in info.files:
                algorithm, _, value = file.digest.partition(":")
                assert len(value) == {"sha256": 64, "md5": 32}[algorithm]
                if file.shape is not None:
                    n = info.n_train if "train" in file.part else info.n_test
                    assert file.shape in ((n,), (n, *info.image_shape))


class TestSilhouettes:
    info = replace(
        dataset_info("caltech-16"), n_train=3, n_validation=2, n_test=1, image_shape=(2, 2)
    )

    def mat(self, **changes) -> bytes:
        arrays = {}
        for split, n in (("train", 3), ("val", 2), ("test", 1)):
            arrays[f"{split}_data"] = np.ones((n, 4), np.uint8)
            arrays[f"{split}_labels"] = np.ones((n, 1), np.uint8)
        stream = io.BytesIO()
        savemat(stream, arrays | changes)
        return stream.getvalue()

    def test_upright_foreground_one_and_labels_from_zero(self):
        # A silhouette whose upper right pixel is foreground. MATLAB stores columns first
        # and these files have foreground 0: left column 1 1, right column 0 1.
        stored = np.array([[1, 1, 0, 1]], np.uint8)
        content = self.mat(test_data=stored, test_labels=np.array([[101]], np.uint8))
        train, validation, test = parse_silhouettes(content, self.info)
        assert test.images.reshape(2, 2).tolist() == [[0, 1], [0, 0]]
        assert test.labels.tolist() == [100]
        assert (len(train), len(validation)) == (3, 2)
        assert not train.images.any()

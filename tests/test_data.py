"""Types, binarisation and users' own arrays: `gncn.data` without its files."""

import contextlib
import zipfile

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.progress import Progress

from budget import examples
from gncn.base.errors import ConfigError, DataError
from gncn.data import Dataset, Split, binarise, from_arrays, load_file, locate, stored
from gncn.data.given import as_split
from gncn.data.types import split_off

unit_images = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
    elements=st.floats(0, 1, width=32),
)


def bits(n: int = 6, pixels: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (n, pixels), dtype=np.uint8)


def small_dataset(**changes) -> Dataset:
    fields = {
        "name": "small",
        "train": Split(bits(6)),
        "validation": Split(bits(2)),
        "test": Split(bits(3)),
        "image_shape": (2, 2),
        "n_classes": None,
        "source": "made up",
        "licence": "none",
    }
    return Dataset(**(fields | changes))


class TestSplit:
    def test_arrays_are_read_only_and_the_callers_stay_writeable(self):
        images, labels = bits(), np.arange(6, dtype=np.int32)
        split = Split(images, labels)
        with pytest.raises(ValueError, match="read-only"):
            split.images[0, 0] = 1
        with pytest.raises(ValueError, match="read-only"):
            split.labels[0] = 1
        images[0, 0] = 1
        assert len(split) == 6

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (bits() * 255, "0 and 1 only; the largest value is 255"),
            (
                np.full((2, 3), np.inf, np.float32),
                "finite in single precision; received .* inf to inf",
            ),
            (np.full((2, 3), np.nan, np.float32), "6 of 6 values are missing"),
            (np.zeros((0, 3), np.uint8), "at least one row"),
        ],
    )
    def test_bad_images_are_refused(self, images, message):
        with pytest.raises(DataError, match=message):
            Split(images)

    @pytest.mark.parametrize(
        ("labels", "message"),
        [(np.full(6, -2, np.int32), "smallest received is -2")],
    )
    def test_bad_labels_are_refused(self, labels, message):
        with pytest.raises(DataError, match=message):
            Split(bits(6), labels)

    def test_subset_keeps_images_with_their_labels(self):
        split = Split(bits(6), np.arange(6, dtype=np.int32))
        part = split.subset(np.array([4, 1]))
        assert np.array_equal(part.images, bits(6)[[4, 1]])
        assert part.labels.tolist() == [4, 1]


class TestSplitOff:
    @given(n=st.integers(4, 60), data=st.data(), seed=st.integers(0, 2**32))
    def test_parts_are_disjoint_and_cover_everything(self, n, data, seed):
        first = data.draw(st.integers(1, n - 2))
        second = data.draw(st.integers(1, n - first - 1))
        whole = Split(np.ones((n, 1), np.uint8), np.arange(n, dtype=np.int32))
        parts = split_off(whole, (first, second), seed=seed)
        assert [len(part) for part in parts] == [n - first - second, first, second]
        assert sorted(np.concatenate([part.labels for part in parts])) == list(range(n))
        assert all((np.diff(part.labels) > 0).all() for part in parts)

    def test_seed_decides(self):
        whole = Split(np.ones((100, 1), np.uint8), np.arange(100, dtype=np.int32))
        drawn = [split_off(whole, (30,), seed=seed)[1].labels.tolist() for seed in (0, 0, 1)]
        assert drawn[0] == drawn[1] != drawn[2]

    @pytest.mark.parametrize(("sizes", "seed"), [((0,), 0), ((-1,), 0), ((6,), 0), ((1,), -1)])
    def test_impossible_splits_are_refused(self, sizes, seed):
        with pytest.raises(DataError, match=r"received -1|Can't split"):
            split_off(Split(bits(6)), sizes, seed=seed)


class TestDataset:
    def test_properties(self):
        data = small_dataset()
        assert (data.n_pixels, data.binary) == (4, True)
        real = Split(np.full((2, 4), 0.5, np.float32))
        assert not small_dataset(train=real, validation=real, test=real).binary

    def test_fingerprint_depends_on_arrays_alone(self):
        data = small_dataset()
        assert data.fingerprint == small_dataset(name="other", source="?").fingerprint
        assert len(data.fingerprint) == 16
        flipped = bits(3)
        flipped[2, 3] ^= 1
        assert data.fingerprint != small_dataset(test=Split(flipped)).fingerprint
        swapped = small_dataset(validation=data.test, test=data.validation)
        assert data.fingerprint != swapped.fingerprint

    def test_fingerprint_sees_labels(self):
        def labelled(last: int) -> str:
            labels = np.array([0, last], np.int32)
            split = Split(bits(2), labels)
            fields = {"train": split, "validation": split, "test": split, "n_classes": 3}
            return small_dataset(**fields).fingerprint

        assert labelled(1) != labelled(2)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"test": Split(bits(2, pixels=5))}, "share one type and number of pixels"),
            ({"test": Split(np.zeros((2, 4), np.float32))}, "share one type"),
            ({"image_shape": (2, 3)}, "makes 6 pixels"),
            ({"n_classes": 3}, "which has no labels"),
            ({"test": Split(bits(2), np.zeros(2, np.int32))}, "labels for 1 of 3"),
        ],
    )
    def test_disagreements_are_refused(self, changes, message):
        with pytest.raises(DataError, match=message):
            small_dataset(**changes)

    def test_labels_beyond_the_classes_are_refused(self):
        split = Split(bits(2), np.array([0, 3], np.int32))
        with pytest.raises(DataError, match=r"within 0\.\.2 \(n_classes=3\); the largest is 3"):
            small_dataset(train=split, validation=split, test=split, n_classes=3)


class TestBinarise:
    @given(unit_images, st.floats(0, 1, exclude_min=True, width=32))
    def test_threshold_is_inclusive(self, intensities, threshold):
        result = binarise(intensities, threshold=threshold)
        assert result.dtype == np.uint8
        for value, pixel in zip(intensities.flat, result.flat, strict=True):
            assert pixel == (1 if value >= threshold else 0)

    @given(unit_images)
    def test_binary_images_stay_as_they_are(self, intensities):
        once = binarise(intensities)
        again = once.astype(np.float32)
        assert np.array_equal(binarise(again), once)
        assert np.array_equal(binarise(again, "stochastic", seed=3), once)

    @given(st.floats(0.02, 0.98), st.integers(0, 2**32))
    def test_stochastic_has_the_intensity_as_its_mean(self, intensity, seed):
        n = 20_000
        images = np.full((100, 200), intensity, np.float32)
        mean = binarise(images, "stochastic", seed=seed).mean()
        assert abs(mean - intensity) < 6 * np.sqrt(intensity * (1 - intensity) / n)

    def test_stochastic_seed_decides(self):
        images = np.full((4, 50), 0.5, np.float32)
        first, again, other = (binarise(images, "stochastic", seed=seed) for seed in (1, 1, 2))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_none_keeps_values(self):
        images = np.array([[0.1, 0.9]], np.float32)
        assert np.array_equal(binarise(images, "none"), images)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"rule": "none", "threshold": 0.5}, "threshold=0.5 has no meaning"),
            ({"rule": "stochastic", "threshold": 0.5}, "threshold=0.5 has no meaning"),
            ({"rule": "threshold", "seed": 3}, r"seed \(3\) has no meaning"),
            ({"rule": "threshold", "threshold": 0.0}, r"within \(0, 1\]; received 0.0"),
            ({"rule": "threshold", "threshold": 1.5}, r"within \(0, 1\]; received 1.5"),
            ({"rule": "stochastic", "seed": -1}, "at least 0; received -1"),
        ],
    )
    def test_options_that_would_be_ignored_are_refused(self, options, message):
        with pytest.raises(ConfigError, match=message):
            binarise(np.zeros((1, 1), np.float32), **options)


class TestFromArrays:
    def test_takes_images_and_labels(self):
        images = np.random.default_rng(0).random((40, 3, 5))
        data = from_arrays(images, np.arange(40) % 4, n_validation=6, n_test=4, name="mine")
        assert [len(part) for part in (data.train, data.validation, data.test)] == [30, 6, 4]
        assert (data.image_shape, data.n_classes, data.binary) == ((3, 5), 4, True)
        assert data.train.labels.dtype == np.int32
        assert data.name == "mine"

    def test_given_splits_are_kept_whole(self):
        train, validation, test = bits(6, seed=1), bits(2, seed=2), bits(3, seed=3)
        data = from_arrays(train, validation_images=validation, test_images=test)
        for split, images in zip(
            (data.train, data.validation, data.test), (train, validation, test), strict=True
        ):
            assert np.array_equal(split.images, images)
        assert data.image_shape is None

    def test_default_split_sizes_are_a_tenth(self):
        data = from_arrays(bits(50))
        assert (len(data.train), len(data.validation), len(data.test)) == (40, 5, 5)

    def test_eight_bit_images_are_scaled(self):
        images = np.array([[0, 127, 128, 255]] * 4, np.uint8)
        for options in ({}, {"max_value": 255}):
            data = from_arrays(images, **options)
            assert data.train.images.tolist() == [[0, 0, 1, 1]] * 2
            assert "pixel/255" in data.source

    def test_stochastic_draws_differ_between_equal_splits(self):
        images = np.full((30, 40), 0.5)
        options = {"validation_images": images, "test_images": images}
        data = from_arrays(images, binarisation="stochastic", binarisation_seed=5, **options)
        again = from_arrays(images, binarisation="stochastic", binarisation_seed=5, **options)
        assert data.fingerprint == again.fingerprint
        assert not np.array_equal(data.train.images, data.test.images)

    def test_real_values_are_kept_for_gaussian_outputs(self):
        images = np.random.default_rng(0).random((10, 4)).astype(np.float32)
        data = from_arrays(images, binarisation="none")
        assert not data.binary
        kept = np.concatenate([data.train.images, data.validation.images, data.test.images])
        assert np.array_equal(np.sort(kept, axis=0), np.sort(images, axis=0))

    def test_channels_are_drawn_one_above_the_other_where_they_come_first(self):
        images = np.random.default_rng(0).integers(0, 2, (9, 3, 5, 7))
        data = from_arrays(images)
        assert data.image_shape == (15, 7)
        last = from_arrays(np.moveaxis(images, 1, -1))
        assert last.image_shape == (5, 21)

    def test_labels_are_text_in_all_splits_or_in_none(self):
        named = {"train_labels": ["a", "b"] * 3, "test_images": bits(2)}
        data = from_arrays(bits(6), test_labels=["b", "c"], n_validation=1, **named)
        assert (data.class_names, data.test.labels.tolist()) == (("a", "b", "c"), [1, 2])
        with pytest.raises(DataError, match=r"or in none; labels of \['test'\] are numbers"):
            from_arrays(bits(6), test_labels=[0, 1], n_validation=1, **named)

    def test_booleans_are_taken(self):
        data = from_arrays(bits(10).astype(bool), test_images=bits(3).astype(bool))
        assert np.array_equal(data.test.images, bits(3))

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"train_images": bits() - 1.0}, DataError, "from -1.0 to 0.0"),
            ({"train_images": np.array([[np.nan, 0.0]])}, DataError, "1 of 2 values are missing"),
            ({"train_images": np.zeros((3, 2))}, DataError, "All pixels of train_images are off"),
            ({"train_images": np.zeros(3)}, DataError, r"\(n, rows, cols\)"),
            ({"max_value": 0.0}, ConfigError, "positive number; received 0.0"),
            ({"n_test": 2, "test_images": bits()}, ConfigError, "n_test=2 asks"),
            ({"test_labels": np.arange(6)}, ConfigError, "without test_images"),
            ({"train_labels": np.arange(5)}, DataError, r"of shape \(6,\)"),
            (
                {"train_labels": np.arange(6), "test_images": bits()},
                DataError,
                r"labels for \['train'\]",
            ),
            ({"train_labels": np.full(6, 2**40)}, DataError, "received 1099511627776"),
            ({"test_images": np.ones((2, 3, 3))}, DataError, "share one type and number"),
            (
                {"train_images": np.ones((9, 2, 2)), "image_shape": (1, 4)},
                DataError,
                "2 x 2, but image_shape",
            ),
            ({"n_validation": 6}, DataError, "Can't split 6"),
            ({"image_shape": (3, 3)}, DataError, "makes 9 pixels"),
            ({"image_shape": (-2, -2)}, DataError, r"both positive; received \(-2, -2\)"),
            ({"train_images": bits() + 0j}, DataError, "floating type; received complex128"),
            ({"train_images": bits().astype(str)}, DataError, "floating type; received <U"),
            ({"train_images": bits().astype("m8[s]")}, DataError, "received timedelta64"),
            (
                {"train_images": np.zeros((6, 4), [("a", "u1")])},
                DataError,
                "floating type; received",
            ),
        ],
    )
    def test_bad_input_is_refused(self, arguments, error, message):
        with pytest.raises(error, match=message):
            from_arrays(**({"train_images": bits()} | arguments))


class TestLoadFile:
    def test_npy(self, tmp_path):
        np.save(tmp_path / "mine.npy", bits(20))
        data = load_file(tmp_path / "mine.npy", image_shape=(2, 2), split_seed=1)
        assert data.name == "mine"
        assert data.fingerprint == from_arrays(bits(20), split_seed=1).fingerprint

    def test_npz(self, tmp_path):
        members = {"train_images": bits(9), "test_images": bits(3)}
        np.savez(tmp_path / "mine.npz", **members)
        data = load_file(tmp_path / "mine.npz", n_validation=2, name="ours")
        assert data.name == "ours"
        assert data.fingerprint == from_arrays(**members, n_validation=2).fingerprint

    def test_other_members_are_refused(self, tmp_path):
        np.savez(tmp_path / "mine.npz", x_train=bits(9))
        with pytest.raises(DataError, match=r"must hold train_images.*received x_train"):
            load_file(tmp_path / "mine.npz")

    def test_pickles_are_refused(self, tmp_path):
        np.save(tmp_path / "mine.npy", np.array([{"a": 1}], dtype=object))
        with pytest.raises(DataError, match="pickled objects"):
            load_file(tmp_path / "mine.npy")

    @pytest.mark.parametrize("suffix", ["npy", "npz"])
    def test_truncated_files_are_refused(self, tmp_path, suffix):
        path = tmp_path / f"mine.{suffix}"
        save = {"npy": np.save, "npz": lambda file, array: np.savez(file, train_images=array)}
        save[suffix](path, bits(100))
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(DataError, match="damaged, cut short"):
            load_file(path)

    @given(data=st.data())
    @settings(max_examples=examples(150), deadline=None)
    @pytest.mark.parametrize("kind", ["npy", "npz"])
    def test_whatever_harm_is_done_to_a_file_the_error_is_ours(self, tmp_path_factory, kind, data):
        path = tmp_path_factory.getbasetemp() / f"harmed.{kind}"
        save = {
            "npy": np.save,
            "npz": lambda file, array: np.savez_compressed(file, train_images=array),
        }
        save[kind](path, bits(100))
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.one_of(st.integers(0, 127), st.integers(0, len(content) - 1)))
            content[place] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        for stream in (False, True) if kind == "npy" else (False,):
            with contextlib.suppress(DataError, ConfigError):
                load_file(path, stream=stream)

    def test_archives_that_pass_for_something_else_are_refused(self, tmp_path):
        np.savez(tmp_path / "a.npz", train_images=bits(9))
        (tmp_path / "a.npz").rename(tmp_path / "a.npy")
        for stream in (False, True):
            with pytest.raises(DataError, match="holds several arrays"):
                load_file(tmp_path / "a.npy", stream=stream)
        np.save(tmp_path / "b.npy", bits(9))
        (tmp_path / "b.npy").rename(tmp_path / "b.npz")
        with pytest.raises(DataError, match="holds one array"):
            load_file(tmp_path / "b.npz")
        with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
            archive.writestr("train_images", "words")
        with pytest.raises(DataError, match="'train_images', which is no array"):
            load_file(tmp_path / "c.npz")
        (tmp_path / "d.npy").write_bytes(b"")
        with pytest.raises(DataError, match="damaged, cut short"):
            load_file(tmp_path / "d.npy")

    def test_missing_and_foreign_files_are_refused(self, tmp_path):
        with pytest.raises(DataError, match="There is no file"):
            load_file(tmp_path / "none.npz")
        (tmp_path / "image.png").write_bytes(b"x")
        with pytest.raises(DataError, match=r"Expected a \.npy or \.npz"):
            load_file(tmp_path / "image.png")


def test_an_unknown_rule_is_refused(unchecked):
    with pytest.raises(ConfigError, match="Unknown binarisation rule 'treshold'.*Did you mean"):
        binarise(np.full((2, 2), 0.5, np.float32), "treshold")


def test_splits_hold_types_that_are_known(unchecked):
    with pytest.raises(DataError, match=r"uint8 \(binary\) or float32 .*; received float64"):
        Split(np.zeros((2, 3)))
    with pytest.raises(DataError, match=r"int32 of shape \(2,\).*; received int64 of shape \(2,\)"):
        Split(bits(2), np.arange(2))
    with pytest.raises(DataError, match=r"received int32 of shape \(3,\)"):
        Split(bits(2), np.arange(3, dtype=np.int32))


def test_labels_that_are_given_replace_those_of_a_split():
    split = Split(bits(3), np.array([2, 0, 1], np.int32))
    assert as_split(split, binary=True) == (split, None)
    found, names = as_split(split, ["b", "a", "b"], binary=True)
    assert (found.labels.tolist(), names) == ([1, 0, 1], ("a", "b"))
    np.testing.assert_array_equal(found.images, split.images)


def test_what_fills_more_than_half_of_the_memory_is_refused():
    stored._check_memory(1)
    with pytest.raises(DataError, match="Arrays of 1,152,921,504,606,846,976 bytes are too large"):
        stored._check_memory(1 << 60)


def test_a_download_ends_where_the_file_can_have_no_more():
    progress = Progress(disable=True)
    bar = locate._Bar(progress, "a file", most=10)
    bar.total = 10
    bar.update(10 + locate._CHUNK_BYTES)
    with pytest.raises(OSError, match="it sends more than the file can have"):
        bar.update(1)
    bar.reset()
    assert progress.tasks[0].completed == 0
    bar.update(10 + locate._CHUNK_BYTES)
    assert progress.tasks[0].completed == 10 + locate._CHUNK_BYTES

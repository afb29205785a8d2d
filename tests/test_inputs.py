"""Any array that a user has: what goes in, what comes out, and what is refused, by one table each.

Values are compared with a plain conversion by NumPy.  PyTorch and TensorFlow are no dependencies:
small classes that can do what their tensors can stand in for them.
"""

import functools
import io
import json
import warnings
from collections import deque
from contextlib import suppress
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from PIL import Image

import gncn
from command import call
from gncn.base import arrays, notices
from gncn.base.arrays import as_codes, as_images
from gncn.base.errors import ConfigError, DataError, GncnError
from gncn.base.labels import as_labels, check_all_labelled
from gncn.data.given import as_dataset
from gncn.evaluation.likelihood import importance_log_likelihood, prior_log_likelihood
from gncn.evaluation.proposals import Proposer
from gncn.evaluation.protocols import StandardNormal, WithPrior
from gncn.figures.style import GREYS as GREYS_LOOK
from gncn.figures.style import new_figure, scatter_classes, shades
from gncn.measures import Subject, as_measurable
from gncn.measures.codes import probe_layer
from gncn.measures.models import Generator
from gncn.training.callbacks import Callbacks
from nets import perturb

pytestmark = pytest.mark.usefixtures("unchecked")

N, ROWS, COLS = 3, 2, 3
PIXELS = ROWS * COLS
X = np.random.default_rng(0).random((N, ROWS, COLS)).astype(np.float32)
"""Three images in [0, 1], which all kinds of arrays below hold, as far as their type can."""
GREYS = np.random.default_rng(1).integers(0, 256, X.shape).astype(np.uint8)
ROWS_OF = X.reshape(N, PIXELS)


def network(likelihood: str) -> gncn.Network:
    circuit = gncn.chain((PIXELS, 4), likelihood=likelihood)
    return gncn.build(circuit, seed=0, n_settle_steps=2, weight_scale=0.5)


BINARY, REAL = network("bernoulli"), network("gaussian")
VISIBLE = np.array([True] * 3 + [False] * 3)


def log_likelihood(net, x):
    model = WithPrior(Generator(net), StandardNormal(4))
    return prior_log_likelihood(model, x, key=jax.random.key(0), n_samples=3).per_image


FUNCTIONS = {
    "settle": lambda net, x: gncn.settle(net, x).latents[1],
    "watch": lambda net, x: gncn.watch(net, x)[0].latents[1],
    "encode": gncn.encode,
    "reconstruct": gncn.reconstruct,
    "complete": lambda net, x: gncn.Completer(net, "silent", 2)(x, VISIBLE),
    "log_likelihood": log_likelihood,
}


class Torch:
    """Can what PyTorch's tensors can, and no more."""

    def __init__(self, values, dtype="torch.float32", attached=True):
        self.values, self.dtype, self.attached = np.asarray(values), dtype, attached

    def detach(self):
        return Torch(self.values, self.dtype, attached=False)

    def cpu(self):
        return self

    def float(self):
        return Torch(self.values, attached=self.attached)

    def __array__(self, dtype=None, copy=None):
        if self.attached:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        if self.dtype == "torch.bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.values


class TensorFlow:
    """Can what TensorFlow's eager tensors can."""

    def __init__(self, values):
        self.values = values

    def numpy(self):
        return self.values


class OnlyDlpack:
    def __init__(self, values):
        self.values = values

    def __dlpack__(self, **options):
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


class Column:
    """Can what a column of Hugging Face's data sets can."""

    def __init__(self, items):
        self.items = list(items)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


class Interface:
    """Has the older protocol of NumPy's arrays."""

    def __init__(self, values):
        self.kept, self.__array_interface__ = values, values.__array_interface__


class Broken:
    def __array__(self, dtype=None, copy=None):
        raise NotImplementedError("a symbolic tensor")


def pandas():
    return pytest.importorskip("pandas")


def polars():
    return pytest.importorskip("polars")


def matrix():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asmatrix(ROWS_OF)


def freed():
    array = jnp.zeros((2, PIXELS))
    array.delete()
    return array


def colours(mode: str) -> list:
    """Pictures of 1 x 2 pixels with three channels, opaque where `mode` knows transparency."""
    return [Image.fromarray(one.reshape(1, 2, 3)).convert(mode) for one in GREYS]


def palettes() -> list:
    found = [Image.fromarray(one.reshape(1, 2, 3)).quantize(256) for one in GREYS]
    assert {one.mode for one in found} == {"P"}
    return found


def grey_palettes(mode: str = "P") -> list:
    found = [Image.fromarray(one).convert("RGB").quantize(256) for one in GREYS]
    assert {one.mode for one in found} == {"P"}
    return [one.convert(mode) for one in found]


def turned(image, how: int) -> Image.Image:
    """A picture whose EXIF data say that it is turned; read from a file, as a camera's is."""
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = how
    Image.fromarray(image).save(file, "PNG", exif=exif)
    return Image.open(file)


HOW = {
    **{2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1]},
    **{5: lambda x: x.T, 6: lambda x: np.rot90(x, 3)},
    **{7: lambda x: x[::-1, ::-1].T, 8: np.rot90},
}
"""How a picture is to be shown, by the number that EXIF data hold, as its standard has it."""


def shared_names():
    frame = pandas().DataFrame(ROWS_OF)
    frame.columns = ["pixel"] * PIXELS
    return frame


def categories():
    frame = pandas().DataFrame((ROWS_OF > 0.5).astype(int))
    return frame.astype(dict.fromkeys(frame, "category"))


def with_times():
    days = polars().Series(["2020-01-01"] * N).str.to_date()
    return polars().DataFrame(ROWS_OF.astype(float)).with_columns(column_0=days)


def arrow():
    library = pytest.importorskip("pyarrow")
    return library.table({str(i): column for i, column in enumerate(ROWS_OF.T)})


def sparse_with_gap():
    return scipy.sparse.csr_matrix(np.where(ROWS_OF[1, 2] == ROWS_OF, np.nan, ROWS_OF))


def read_only(x):
    frozen = x.copy()
    frozen.flags.writeable = False
    return frozen


def mapped(x, folder: Path):
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r")


def png(image) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def nullable():
    frame = pandas().DataFrame(np.round(9 * ROWS_OF).astype(int)).astype("Int64")
    return frame.astype("Float64") / 9


KINDS = {
    # name: (makes it from nothing or a folder, the rows that it is)
    "rows": (lambda: ROWS_OF, ROWS_OF),
    "images": (lambda: X, ROWS_OF),
    "images with a channel": (lambda: X[..., None], ROWS_OF),
    "images with a channel first": (lambda: X[:, None], ROWS_OF),
    "images of channels": (lambda: X.reshape(N, 1, 2, 3), ROWS_OF),
    "one image, flat": (lambda: ROWS_OF[0], ROWS_OF[:1]),
    "one image, rows and columns": (lambda: X[0], ROWS_OF[:1]),
    "one image, rows, columns, channels": (lambda: X[0].reshape(2, 1, 3), ROWS_OF[:1]),
    "nested lists": (lambda: X.tolist(), ROWS_OF),
    "a list of rows": (lambda: ROWS_OF.tolist(), ROWS_OF),
    "tuples": (lambda: tuple(map(tuple, ROWS_OF.tolist())), ROWS_OF),
    "a list of arrays": (lambda: list(X), ROWS_OF),
    "a list of numbers": (lambda: ROWS_OF[0].tolist(), ROWS_OF[:1]),
    "double precision": (lambda: X.astype(float), ROWS_OF),
    "half precision": (lambda: X.astype(np.float16), ROWS_OF.astype(np.float16)),
    "longdouble": (lambda: X.astype(np.longdouble), ROWS_OF),
    "big-endian": (lambda: X.astype(">f4"), ROWS_OF),
    "booleans": (lambda: X > 0.5, ROWS_OF > 0.5),
    "uint8 zeros and ones": (lambda: (X > 0.5).astype(np.uint8), ROWS_OF > 0.5),
    "int64": (lambda: (X > 0.5).astype(np.int64), ROWS_OF > 0.5),
    "uint8 greys": (lambda: GREYS, GREYS.reshape(N, -1) / 255),
    "Fortran order": (lambda: np.asfortranarray(X), ROWS_OF),
    "negative strides": (lambda: X[::-1, ::-1], X[::-1, ::-1].reshape(N, -1)),
    "read-only": (lambda: read_only(X), ROWS_OF),
    "memory-mapped": (lambda folder: mapped(X, folder), ROWS_OF),
    "np.matrix": (matrix, ROWS_OF),
    "objects": (lambda: ROWS_OF.astype(object), ROWS_OF),
    "one image of Decimals": (lambda: [[Decimal("0.25")] * PIXELS], np.full((1, PIXELS), 0.25)),
    "one image of Fractions": (lambda: [[Fraction(1, 4)] * PIXELS], np.full((1, PIXELS), 0.25)),
    "a deque": (lambda: deque(ROWS_OF.tolist()), ROWS_OF),
    "a memory view": (lambda: memoryview(X), ROWS_OF),
    "the array interface": (lambda: Interface(X), ROWS_OF),
    "one image of large numbers": (lambda: [[2**60] * PIXELS], np.full((1, PIXELS), 2.0**60)),
    "one image of uint64": (
        lambda: np.full((1, PIXELS), 2**60, np.uint64),
        np.full((1, PIXELS), 2.0**60),
    ),
    "masked, nothing missing": (lambda: np.ma.masked_array(X, np.zeros(X.shape, bool)), ROWS_OF),
    "sparse csr": (lambda: scipy.sparse.csr_matrix(ROWS_OF), ROWS_OF),
    "sparse coo array": (lambda: scipy.sparse.coo_array(ROWS_OF), ROWS_OF),
    "JAX": (lambda: jnp.asarray(X), ROWS_OF),
    "JAX bfloat16": (
        lambda: jnp.asarray(X, jnp.bfloat16),
        np.asarray(jnp.asarray(ROWS_OF, "bfloat16")),
    ),
    "JAX float8": (
        lambda: jnp.asarray(X, jnp.float8_e4m3fn),
        np.asarray(jnp.asarray(ROWS_OF, jnp.float8_e4m3fn)),
    ),
    "NumPy bfloat16": (
        lambda: np.asarray(jnp.asarray(X, jnp.bfloat16)),
        np.asarray(jnp.asarray(ROWS_OF, "bfloat16")),
    ),
    "JAX uint8 greys": (lambda: jnp.asarray(GREYS), GREYS.reshape(N, -1) / 255),
    "PyTorch": (lambda: Torch(X), ROWS_OF),
    "PyTorch uint8": (lambda: Torch(GREYS, "torch.uint8"), GREYS.reshape(N, -1) / 255),
    "PyTorch bfloat16": (lambda: Torch(X, "torch.bfloat16"), ROWS_OF),
    "a list of PyTorch's": (lambda: [Torch(one) for one in X], ROWS_OF),
    "TensorFlow": (lambda: TensorFlow(X), ROWS_OF),
    "DLPack alone": (lambda: OnlyDlpack(X), ROWS_OF),
    "PIL images": (lambda: [Image.fromarray(one) for one in GREYS], GREYS.reshape(N, -1) / 255),
    "one PIL image": (lambda: Image.fromarray(GREYS[0]), GREYS[:1].reshape(1, -1) / 255),
    "PIL black and white": (
        lambda: [Image.fromarray(one).convert("1", dither=0) for one in GREYS],
        GREYS.reshape(N, -1) > 127,
    ),
    "PIL colours": (lambda: colours("RGB"), GREYS.reshape(N, -1) / 255),
    "PIL colours with transparency": (lambda: colours("RGBA"), GREYS.reshape(N, -1) / 255),
    "PIL palettes": (palettes, GREYS.reshape(N, -1) / 255),
    "PIL palettes of greys": (lambda: grey_palettes(), GREYS.reshape(N, -1) / 255),
    "PIL palettes of greys with transparency": (
        lambda: grey_palettes("PA"),
        GREYS.reshape(N, -1) / 255,
    ),
    "PIL greys with transparency": (
        lambda: [Image.fromarray(one).convert("LA") for one in GREYS],
        GREYS.reshape(N, -1) / 255,
    ),
    "PIL 16-bit numbers": (
        lambda: [Image.fromarray(one.astype(np.uint16) * 257) for one in GREYS],
        GREYS.reshape(N, -1) * 257.0,
    ),
    "a column of images": (
        lambda: Column(Image.fromarray(one) for one in GREYS),
        GREYS.reshape(N, -1) / 255,
    ),
    "images as bytes": (lambda: [{"bytes": png(one)} for one in GREYS], GREYS.reshape(N, -1) / 255),
    "pandas frame": (lambda: pandas().DataFrame(ROWS_OF), ROWS_OF),
    "pandas frame of several types": (
        lambda: pandas().DataFrame(ROWS_OF > 0.5).astype({0: int, 1: float, 2: object}),
        ROWS_OF > 0.5,
    ),
    "pandas nullable": (nullable, np.round(9 * ROWS_OF).astype(int) / 9),
    "pandas sparse": (
        lambda: pandas().DataFrame(ROWS_OF).astype(pandas().SparseDtype("float32", 0)),
        ROWS_OF,
    ),
    "pandas with shared names": (shared_names, ROWS_OF),
    "pandas categories": (categories, ROWS_OF > 0.5),
    "pyarrow table": (arrow, ROWS_OF),
    "pandas series of images": (lambda: pandas().Series(list(X)), ROWS_OF),
    "polars frame": (lambda: polars().DataFrame(ROWS_OF.astype(float)), ROWS_OF),
    "polars series of lists": (lambda: polars().Series(ROWS_OF.tolist()), ROWS_OF),
}


def make(name: str, folder: Path):
    build = KINDS[name][0]
    return build(folder) if build.__code__.co_argcount else build()


@pytest.fixture(autouse=True)
def _nothing_said():
    notices._said.clear()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_what_its_numbers_give(kind, function, tmp_path):
    rows = np.asarray(KINDS[kind][1], np.float32)
    value = make(kind, tmp_path)
    assert np.array_equal(np.asarray(as_images(value, PIXELS)), rows)
    expected = FUNCTIONS[function](REAL, rows)
    assert np.array_equal(FUNCTIONS[function](REAL, value), expected)


@pytest.mark.parametrize(
    "kind", [name for name in KINDS if "one" not in name and "number" not in name]
)
def test_every_kind_makes_a_data_set(kind, tmp_path):
    rows = np.asarray(KINDS[kind][1], np.float32)
    data = as_dataset(make(kind, tmp_path), binary=False)
    got = np.concatenate([split.images for split in data.splits])
    assert np.array_equal(got[np.lexsort(got.T)], rows[np.lexsort(rows.T)])
    binary = as_dataset(make(kind, tmp_path), binary=True)
    on = np.concatenate([split.images for split in binary.splits])
    assert sorted(on.tolist()) == sorted((rows >= 0.5).astype(int).tolist())


@functools.cache
def estimator(greys=False):
    options = {"sizes": (4,), "group_size": 2, "n_settle_steps": 2, "likelihood": "gaussian"}
    fast = {"n_epochs": 1, "batch_size": 6, "n_components": 1, "n_samples": 5}
    images = GREYS.reshape(N, -1) if greys else ROWS_OF
    return gncn.GNCN(**options, **fast).fit(np.tile(images, (4, 1)))


ESTIMATED = {
    "transform": lambda fitted, x: fitted.transform(x),
    "score_samples": lambda fitted, x: fitted.score_samples(x),
    "reconstruct": lambda fitted, x: fitted.reconstruct(x),
    "complete": lambda fitted, x: fitted.complete(x, "right"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_estimators_take_every_kind(kind, tmp_path):
    rows = np.asarray(KINDS[kind][1], np.float32)
    value = make(kind, tmp_path)
    if kind in ("one image, flat", "a list of numbers"):
        with pytest.raises(DataError, match="Reshape your data: one image is of shape"):
            estimator().transform(value)
        return
    if kind in ("one image, rows and columns", "one PIL image"):  # to scikit-learn two of three
        with pytest.raises(DataError, match="X has 3 features, but GNCN is expecting 6"):
            estimator(kind == "one PIL image").transform(value)
        return
    if kind == "one image, rows, columns, channels":
        return
    # It was fitted without names of columns, and scikit-learn says so where there are some.
    warnings.filterwarnings("ignore", "X has feature names", UserWarning)
    greys = arrays.is_grey(np.asarray(arrays.plain(value)))
    if greys:
        with pytest.raises(DataError, match="X are 8-bit.*that the model learned from were not"):
            estimator().transform(value)
    for function in ESTIMATED.values():
        assert np.array_equal(function(estimator(greys), value), function(estimator(greys), rows))


BAD = {
    "wrong width": (np.zeros((2, 5)), r"\(n, 6\).*received \(2, 5\)"),
    "wrong rank": (np.zeros((2, 3, 2, 2, 2)), "received"),
    "one image of another width": (np.zeros(7), r"received \(7,\)"),
    "an empty batch": (np.zeros((0, 6)), "n at least 1"),
    "an empty list": ([], r"received \(0,\)"),
    "a number": (3, r"received \(\)"),
    "complex": (ROWS_OF + 0j, "type; received complex64"),
    "text": (ROWS_OF.astype(str), "type; received <U"),
    "text among numbers": ([[1, 2, "3", 4, 5, 6]], "type; received <U"),
    "text among objects": (np.array([[1, 2, "3", 4, 5, 6]], object), "among them '3'"),
    "times": (np.zeros((2, 6), "M8[s]"), r"received datetime64\[s\]"),
    "records": (np.zeros((2, 6), [("a", "u1")]), "type; received"),
    "random keys": (jax.random.split(jax.random.key(0), 6), "type; received key"),
    "NaN": (np.full((1, 6), np.nan), "6 of 6 values are missing"),
    "None among numbers": ([[1, None, 0, 0, 0, 0]], "1 of 6 values are missing"),
    "masked": (np.ma.masked_array(ROWS_OF, ROWS_OF[1, 2] == ROWS_OF), "1 of 18 values are missing"),
    "a masked constant": ([[1, 0, 0, 0, 0, np.ma.masked]], "1 of 6 values are missing"),
    "infinity": (np.full((1, 6), np.inf), "finite in single precision.*inf"),
    "beyond single precision": (
        np.array([[0, 0, 0, 0, 2, 1e300]]),
        r"single precision, whose largest number is 3\.4e\+38; received .* 0 to 1e\+300",
    ),
    "below single precision": (np.array([[0.0] * 5 + [-1e39]]), r"received values from -1e\+39"),
    "lists of several lengths": ([[0] * 6, [0] * 5], r"one shape; received \(6,\) and \(5,\)"),
    "images of several sizes": ([X[0], X[0].T], r"received \(2, 3\) and \(3, 2\) among 2"),
    "a dictionary": ({"a": 1}, "array of numbers; received dict"),
    "None": (None, "received NoneType"),
    "a generator": (lambda: (row for row in ROWS_OF), "received generator. Make a list of it"),
    "bytes": (b"123456", "received bytes"),
    "a function": (lambda: np.tanh, "received numpy.ufunc"),
    "a path as text": ("images.npy", r"received the path 'images.npy'.*load_file"),
    "a path": (Path("images.npy"), "received the path 'images.npy'"),
    "an array that fails": (Broken(), "can't be read as one: a symbolic tensor"),
    "numbers too large": ([10**400] * 6, "too large"),
    "a number in an array": (np.array(0.5), r"received \(\)"),
    "complex numbers among objects": (np.array([[1j] * 6], object), "among them 1j"),
    "bytes among objects": (np.array([[b"1"] * 6], object), "among them b'1'"),
    "bytes of an array": (ROWS_OF.astype("S"), r"type; received \|S"),
    "dates": ([[date(2020, 1, 1)] * 6], "received datetime.date"),
    "all masked": (np.ma.masked_all((1, 6)), "6 of 6 values are missing"),
    "a sparse matrix with a gap": (sparse_with_gap, "1 of 18 values are missing"),
    "a set": ({1, 2}, "received set"),
    "a freed array of JAX": (freed, "whose memory JAX has freed"),
    "an empty frame": (lambda: pandas().DataFrame(), r"received \(0, 0\)"),
    "a frame of text": (lambda: pandas().DataFrame(ROWS_OF).astype(str), "among them '0"),
    "a frame with a gap": (
        lambda: pandas().DataFrame(ROWS_OF).astype("Float64").replace(ROWS_OF[0, 0], None),
        "1 of 18 values are missing",
    ),
    "a frame with times": (with_times, "a column of times"),
    "a lazy frame": (
        lambda: polars().DataFrame(ROWS_OF.astype(float)).lazy(),
        r"received polars.LazyFrame. Call its `collect\(\)`",
    ),
}


def bad(kind: str):
    """Values that are refused, made for each test, and the words of the refusal."""
    value, message = BAD[kind]
    return (value() if callable(value) else value), message


REFUSING = {name: lambda x, f=f: f(REAL, x) for name, f in FUNCTIONS.items()} | {
    "as_images": lambda x: as_images(x, PIXELS),
    "decode": lambda x: as_codes(x, PIXELS, what="Images"),
}


@pytest.mark.parametrize("function", REFUSING)
@pytest.mark.parametrize("kind", BAD)
def test_all_functions_refuse_in_the_same_words(kind, function):
    value, message = bad(kind)
    if function == "complete" and "missing" in message:
        message = "A pixel that is visible has no value"
    if kind == "a masked constant" and function == "complete":
        gncn.Completer(REAL, "silent", 2)(value, VISIBLE)  # it is hidden, so it may be missing
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=message) as caught:
            REFUSING[function](value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("kind", BAD)
def test_estimators_refuse_in_a_sentence(kind):
    value, message = bad(kind)
    told = f"{message}|X has .* features, but GNCN is expecting 6|minimum of 1 is required"
    for name, function in ESTIMATED.items():
        if name == "complete" and "missing" in message:
            assert np.isfinite(function(estimator(), value)).all()
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(DataError, match=told) as caught:
                function(estimator(), value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("function", FUNCTIONS)
def test_binary_outputs_take_probabilities_and_gaussian_ones_anything(function):
    values = 3 * np.random.default_rng(2).normal(size=(N, PIXELS)).astype(np.float32)
    said = "pixels of 0 or 1" if function == "log_likelihood" else r"lie in \[0, 1\].*gaussian"
    with pytest.raises(DataError, match=said):
        FUNCTIONS[function](BINARY, values)
    assert np.isfinite(np.asarray(FUNCTIONS[function](REAL, values))).all()


@pytest.mark.parametrize("function", ["settle", "encode", "watch"])
def test_jax_traces_what_it_traced(function):
    net, x = BINARY, jnp.asarray(ROWS_OF)

    def states(values):
        return gncn.settle(net, values).latents[1]

    plain = states(x)
    np.testing.assert_allclose(jax.jit(states)(x), plain, rtol=1e-5, atol=1e-7)
    each = jax.vmap(lambda one: states(one)[0])(x)
    np.testing.assert_allclose(each, plain, rtol=1e-5, atol=1e-7)
    slope = jax.grad(lambda values: jnp.sum(states(values)))(x)
    assert slope.shape == x.shape
    assert float(jnp.abs(slope).max()) > 0
    # A constant in somebody's program is looked at or not, but never an error of JAX's.
    assert jax.jit(lambda scale: scale * states(x))(1.0).shape == plain.shape


@pytest.mark.parametrize(
    ("net", "error", "message"),
    [
        ((PIXELS, 4), ConfigError, r"needs a network.*received \(6, 4\)"),
        (gncn.chain((PIXELS, 4)), ConfigError, "needs a network"),
        (None, ConfigError, "received None"),
    ],
)
@pytest.mark.parametrize("function", ["settle", "watch", "encode", "reconstruct"])
def test_what_is_no_network_is_refused(net, error, message, function):
    with pytest.raises(error, match=message):
        FUNCTIONS[function](net, ROWS_OF)
    with pytest.raises(error, match=message):
        gncn.decode(net, np.zeros((1, 4)))


def test_streamed_images_are_an_array_too(tmp_path):
    np.save(tmp_path / "x.npy", np.tile(X, (9, 1, 1)))
    data = gncn.load_file(tmp_path / "x.npy", stream=True, binarisation="none")
    whole = gncn.load_file(tmp_path / "x.npy", binarisation="none").train
    assert np.array_equal(gncn.encode(REAL, data.train.images), gncn.encode(REAL, whole.images))


def test_codes_stay_as_they_are():
    codes = np.array([[0, 3, 200, 1]], np.uint8)
    expected = gncn.decode(REAL, codes.astype(np.float32))
    assert np.array_equal(gncn.decode(REAL, codes), expected)
    assert np.array_equal(gncn.decode(REAL, codes[0].tolist()), expected)


def test_missing_values_are_no_numbers():
    filled = np.ma.masked_array(np.full((2, 6), 0.25), np.eye(2, 6, dtype=bool), fill_value=99)
    for value in (filled, list(filled), np.where(np.eye(2, 6), np.nan, 0.25)):
        got = as_images(value, 6, missing=True)
        assert np.array_equal(np.isnan(got), np.eye(2, 6, dtype=bool))
        assert (got[~np.isnan(got)] == 0.25).all()
    greys = np.ma.masked_array(GREYS, GREYS.max() == GREYS)
    with pytest.warns(notices.Notice, match="divided by 255"):
        got = as_images(greys, PIXELS, missing=True)
    wanted = np.where(GREYS.max() == GREYS, np.nan, GREYS / np.float32(255)).reshape(N, -1)
    np.testing.assert_array_equal(got, wanted.astype(np.float32))


def test_a_masked_pixel_that_is_hidden_may_be_missing():
    completer = gncn.Completer(REAL, "silent", 2)
    hidden = np.ma.masked_array(ROWS_OF, np.broadcast_to(~VISIBLE, ROWS_OF.shape))
    assert np.array_equal(completer(hidden, VISIBLE), completer(ROWS_OF, VISIBLE))
    assert np.array_equal(completer(ROWS_OF, VISIBLE.tolist()), completer(ROWS_OF, VISIBLE))
    for mask in (np.ones(6), np.ones(5, bool), "right"):
        with pytest.raises(GncnError, match="mask"):
            completer(ROWS_OF, mask)


def test_what_is_done_to_greys_is_said_once():
    with pytest.warns(notices.Notice, match="8-bit.*divided by 255") as told:
        gncn.encode(REAL, GREYS)
    assert (len(told), told[0].filename) == (1, __file__)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gncn.encode(REAL, GREYS)
        gncn.from_arrays(GREYS, binarisation="none")
    notices._said.clear()
    with pytest.warns(notices.Notice, match="greys: they are binarised at pixel/1 >= 0.5"):
        gncn.from_arrays(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gncn.from_arrays(X, binarisation="threshold")
        gncn.from_arrays(X > 0.5)


def test_an_estimator_says_that_it_binarises_values_beyond_0_and_1():
    wide = np.linspace(-2, 16, 240).reshape(20, 12)
    small = {"preset": "rae", "budget": 800, "n_epochs": 1}
    with pytest.warns(
        notices.Notice, match=r"Values from -2 to 16 are binarised at threshold=0\.5"
    ):
        gncn.RAE(**small).fit(wide)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gncn.RAE(**small).fit(wide[1:])  # a fold of the same data, whose range is much the same
    for other, said in ((wide * 10, "Values from -20 to 160"), (wide * 0 + 500, "from 500 to 500")):
        with pytest.warns(notices.Notice, match=said):
            gncn.RAE(**small).fit(other)
    notices._said.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # A little beyond, as held-out values are after MinMaxScaler, is no mistake.
        gncn.RAE(**small).fit((wide + 2) / 18).transform((wide + 1) / 18)
        gncn.GNCN(sizes=(6,), group_size=3, likelihood="gaussian", n_epochs=1).fit(wide)


AB = ("a", "b")
LABELS = {
    "numbers": ([0, 2, 1], [0, 2, 1], None),
    "none": ([0, -1, 1], [0, -1, 1], None),
    "floats": (np.array([0.0, 2.0, np.nan]), [0, 2, -1], None),
    "booleans": ([True, False, True], [1, 0, 1], None),
    "uint8": (np.array([0, 1, 255], np.uint8), [0, 1, 255], None),
    "a column": (np.array([[0], [1], [2]]), [0, 1, 2], None),
    "text": (["cat", "ant", "cat"], [1, 0, 1], ("ant", "cat")),
    "text and none": (np.array(["cat", None, "ant"], object), [1, -1, 0], ("ant", "cat")),
    "bytes": (np.array([b"cat", b"ant", b"bee"]), [2, 0, 1], ("ant", "bee", "cat")),
    "masked": (np.ma.masked_array([4, 5, 6], [0, 1, 0]), [4, -1, 6], None),
    "tensor": (Torch(np.array([1, 0, 2])), [1, 0, 2], None),
    "JAX": (jnp.array([1, 0, 2]), [1, 0, 2], None),
    "categories": (lambda: pandas().Categorical(["b", "a", None]), [1, 0, -1], ("a", "b")),
    "series": (lambda: pandas().Series(["b", "a", "a"]), [1, 0, 0], ("a", "b")),
    "nullable": (lambda: pandas().array([1, None, 0], dtype="Int64"), [1, -1, 0], None),
    "polars": (lambda: polars().Series(["b", None, "a"]), [1, -1, 0], ("a", "b")),
    "unused categories": (lambda: pandas().Categorical(["b", "a", "b"], [*"zba"]), [1, 0, 1], AB),
    "NaN": ([np.nan, 1, 0], [-1, 1, 0], None),
    "pandas NA": (lambda: [pandas().NA, "b", "a"], [-1, 1, 0], AB),
    "nullable text": (
        lambda: pandas().Series(["b", None, "a"], dtype="string"),
        [1, -1, 0],
        AB,
    ),
    "polars categories": (
        lambda: polars().Series(["b", "a", "b"], dtype=polars().Categorical),
        [1, 0, 1],
        AB,
    ),
    "a list of bytes": ([b"b", b"a", b"b"], [1, 0, 1], AB),
    "StringDType": (np.array(["b", "a", "b"], np.dtypes.StringDType()), [1, 0, 1], AB),
    "bfloat16": (jnp.array([2, 0, 1], jnp.bfloat16), [2, 0, 1], None),
    "Decimals": ([Decimal(1), Decimal("nan"), Decimal(0)], [1, -1, 0], None),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_kind_are_class_numbers(kind):
    value, numbers, names = LABELS[kind]
    got = as_labels(value() if callable(value) else value, 3)
    assert got[0].dtype == np.int32
    assert got[0].tolist() == numbers
    assert got[1] == names


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0, 1], r"shape \(3,\), one an image; received shape \(2,\)"),
        (np.eye(3), r"received shape \(3, 3\)"),
        ([0.5, 1, 2], "received 0.5"),
        ([-2, 0, 1], "-1 for none; received -2"),
        ([0, 1, 2**40], "received 1099511627776"),
        ([0, "a", 1], "all text, or all whole numbers.*received"),
        ([np.inf, 0, 0], "must be|infinity"),
        (np.zeros(3, complex), "received the type complex128"),
        ("abc", "received the path 'abc'"),
        (5, "shape"),
    ],
)
def test_other_labels_are_refused(value, message):
    with pytest.raises(DataError, match=message):
        as_labels(value, 3)
    with suppress(DataError):  # a classifier takes any numbers, and refuses in one way
        gncn.DSRN(budget=100, n_epochs=1).fit(X, value)


@pytest.mark.parametrize("kind", LABELS)
def test_a_classifier_needs_every_label(kind):
    value, numbers, _ = LABELS[kind]
    value = value() if callable(value) else value
    if -1 in numbers and kind != "none":
        with pytest.raises(DataError, match="y must have a class for each image; 1 of 3"):
            check_all_labelled(value, "y")
    else:
        check_all_labelled(value, "y")


def test_classes_are_shared_by_splits():
    data = gncn.from_arrays(
        X > 0.5,
        ["b", "c", "b"],
        validation_images=X > 0.5,
        validation_labels=["a", "c", None],
        test_images=X > 0.5,
        test_labels=["c", "c", "a"],
    )
    assert data.class_names == ("a", "b", "c")
    assert data.n_classes == 3
    assert [split.labels.tolist() for split in data.splits] == [[1, 2, 1], [0, 2, -1], [2, 2, 0]]
    unlabelled = gncn.from_arrays(np.tile(X > 0.5, (5, 1, 1)), [-1] * 15)
    assert unlabelled.n_classes is None


PICTURES = np.random.default_rng(3).integers(0, 256, (12, 4, 5)).astype(np.uint8)
ON = (PICTURES.reshape(12, -1) >= 128).astype(np.uint8)


def whole(data) -> list[tuple[int, ...]]:
    return sorted(tuple(row.tolist()) for split in data.splits for row in split.images)


def pairs(data) -> set[tuple]:
    return {
        (tuple(row.tolist()), data.class_names[label] if data.class_names else int(label))
        for split in data.splits
        for row, label in zip(split.images, split.labels, strict=True)
    }


def test_a_folder_of_pictures(tmp_path):
    for number, picture in enumerate(PICTURES):
        kind = ("png", "PNG")[number % 2]
        (tmp_path / f"{number:02}.{kind}").write_bytes(png(picture))
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    data = gncn.load_file(tmp_path)
    assert whole(data) == sorted(map(tuple, ON.tolist()))
    assert data.image_shape == (4, 5)
    config = gncn.Config(data={"name": str(tmp_path)})
    assert config.data.is_file
    assert config.data.load().fingerprint == data.fingerprint


def test_folders_are_classes_or_splits(tmp_path):
    classes = tmp_path / "classes"
    for number, picture in enumerate(PICTURES):
        home = classes / ("ant", "bee")[number % 2]
        home.mkdir(parents=True, exist_ok=True)
        (home / f"{number:02}.png").write_bytes(png(picture))
    data = gncn.load_file(classes)
    wanted = {(tuple(row), ("ant", "bee")[i % 2]) for i, row in enumerate(ON.tolist())}
    assert pairs(data) == wanted
    splits = tmp_path / "splits"
    for part, few in (("train", PICTURES[:9]), ("test", PICTURES[9:])):
        (splits / part).mkdir(parents=True)
        for number, picture in enumerate(few):
            (splits / part / f"{number}.png").write_bytes(png(picture))
    data = gncn.load_file(splits)
    assert np.array_equal(data.test.images, ON[9:])
    assert len(data.train) + len(data.validation) == 9


@pytest.mark.parametrize("library", ["polars", "pandas", "pyarrow"])
@pytest.mark.parametrize("kind", ["csv", "csv without names", "parquet", "images in parquet"])
def test_tables(tmp_path, library, kind, monkeypatch):
    frames = polars()
    pytest.importorskip(library)
    monkeypatch.setattr("gncn.data.files.find_spec", lambda name: True if name == library else None)
    pixels = {f"p{i}": column.tolist() for i, column in enumerate(ON.T)}
    labels = [("ant", "bee")[i % 2] for i in range(12)]
    path = tmp_path / f"mine.{'csv' if 'csv' in kind else 'parquet'}"
    if kind == "csv without names":
        np.savetxt(path, ON, fmt="%d", delimiter=",")
    elif kind == "csv":
        frames.DataFrame({"Label": labels} | pixels).write_csv(path)
    elif kind == "parquet":
        frames.DataFrame({"label": labels} | pixels).write_parquet(path)
    else:
        images = [{"bytes": png(one), "path": None} for one in PICTURES]
        frames.DataFrame({"image": images, "label": labels}).write_parquet(path)
    data = gncn.load_file(path)
    assert whole(data) == sorted(map(tuple, ON.tolist()))
    if kind != "csv without names":
        assert pairs(data) == {(tuple(r), labels[i]) for i, r in enumerate(ON.tolist())}


def test_the_index_of_a_frame_is_no_pixel(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pandas().DataFrame(ON, columns=[f"p{i}" for i in range(ON.shape[1])])
    frame.set_index(np.arange(12) + 5).to_parquet(tmp_path / "mine.parquet")
    assert whole(gncn.load_file(tmp_path / "mine.parquet")) == sorted(map(tuple, ON.tolist()))


@pytest.mark.parametrize("how", HOW)
def test_pictures_are_turned_as_their_cameras_say(tmp_path, how):
    for number, picture in enumerate(PICTURES):
        held = turned(picture, how)
        assert held.getexif()[0x0112] == how
        np.testing.assert_array_equal(arrays.plain(held), HOW[how](picture))
        held.save(tmp_path / f"{number:02}.png", exif=held.getexif())
    data = gncn.load_file(tmp_path, binarisation="none")
    assert data.image_shape == ((4, 5) if how < 5 else (5, 4))
    rows = [np.float32(HOW[how](picture).reshape(-1)) / np.float32(255) for picture in PICTURES]
    assert whole(data) == sorted(tuple(row.tolist()) for row in rows)


@pytest.mark.parametrize("mode", ["RGBA", "CMYK", "LA", "P", "I;16"])
def test_pictures_of_every_kind_are_what_they_show(tmp_path, mode):
    wide = np.repeat(PICTURES[:, :, :, None], 3, axis=3) if mode in ("RGBA", "CMYK") else None
    for number, picture in enumerate(PICTURES):
        image = Image.fromarray(picture)
        if mode == "I;16":
            image = Image.fromarray(picture.astype(np.uint16) * 257)
        elif mode == "CMYK":
            image = image.convert("RGB").convert(mode)
        else:
            image = image.convert(mode)
        image.save(tmp_path / f"{number:02}.{'jpg' if mode == 'CMYK' else 'png'}")
    data = gncn.load_file(tmp_path, max_value=65535 if mode == "I;16" else None)
    assert data.image_shape == ((4, 15) if wide is not None else (4, 5))
    if mode != "CMYK":  # JPEG loses a little
        expected = ON if wide is None else (wide.reshape(12, -1) >= 128).astype(np.uint8)
        assert whole(data) == sorted(map(tuple, expected.tolist()))


def test_files_that_hold_no_images_are_refused(tmp_path, monkeypatch):
    polars()
    mixed, empty, sizes = (tmp_path / name for name in ("mixed", "empty", "sizes"))
    for folder in (mixed / "a", empty, sizes):
        folder.mkdir(parents=True)
    (mixed / "1.png").write_bytes(png(PICTURES[0]))
    (sizes / "1.png").write_bytes(png(PICTURES[0]))
    (sizes / "2.png").write_bytes(png(PICTURES[0].T))
    (tmp_path / "text.csv").write_text("a,b\n1,x\n", encoding="utf-8")
    (tmp_path / "only.csv").write_text("label\n1\n", encoding="utf-8")
    (tmp_path / "semicolons.csv").write_text("1;0\n0;1\n", encoding="utf-8")
    (tmp_path / "gaps.csv").write_text("a,b\n1,\n0,1\n", encoding="utf-8")
    (tmp_path / "harmed.parquet").write_bytes(b"PAR1 no more")
    for name, message in {
        "mixed": "pictures and also folders",
        "empty": "holds no picture",
        "sizes": r"one size and kind.*shape \(5, 4\)",
        "text.csv": "among them 'x'|received",
        "only.csv": "must have columns of pixels",
        "gaps.csv": "1 of 4 values are missing",
        "semicolons.csv": "with commas between them; received the line '0;1'",
        "harmed.parquet": "no table that",
        "none.csv": "There is no file",
    }.items():
        with pytest.raises(DataError, match=message):
            gncn.load_file(tmp_path / name)
    (sizes / "2.png").write_bytes(b"no png")
    with pytest.raises(DataError, match=r"2\.png is no PNG or JPEG"):
        gncn.load_file(sizes)
    monkeypatch.setattr("gncn.data.files.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install polars"):
        gncn.load_file(tmp_path / "text.csv")


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        (np.tanh, r"with arrays of JAX it raised .*Error.*`jnp\.tanh` in place of `np\.tanh`"),
        (lambda x: x.sum(), r"must return f32\[1,4\] for f32\[1,4\]; it gave f32\[\]"),
        (lambda x: None, "it gave None"),
    ],
)
def test_functions_that_are_no_activations_are_refused(activation, message):
    with pytest.raises(ConfigError, match=message):
        gncn.chain((PIXELS, 4), activation=activation)
    assert gncn.chain((PIXELS, 4), activation=jnp.tanh).layers[1].phi is jnp.tanh


def test_callbacks_may_leave_out_methods():
    class Epochs:
        def __init__(self):
            self.seen = []

        def on_epoch(self, records, networks):
            self.seen.append(records[0].epoch)

    callback = Epochs()
    config = gncn.TrainingConfig(n_epochs=2, batch_size=2)
    data = np.random.default_rng(0).normal(size=(20, PIXELS))
    fit = gncn.fit(REAL, data.tolist(), config, callbacks=[callback])
    assert callback.seen == [1, 2]
    assert fit.history[0].error_name == "squared_error"
    for wrong in (print, [3], "abc"):
        with pytest.raises(ConfigError, match="one or several of the methods on_start"):
            Callbacks(wrong)


def test_fit_takes_what_makes_a_data_set(tmp_path):
    config = gncn.TrainingConfig(n_epochs=1, batch_size=5)
    values = np.random.default_rng(0).random((20, PIXELS))
    np.save(tmp_path / "x.npy", values)
    first = gncn.fit(BINARY, gncn.from_arrays(values), config)
    for same in (values, values.tolist(), tmp_path / "x.npy", str(tmp_path / "x.npy")):
        again = gncn.fit(BINARY, same, config)
        assert again.history[-1].test.error == first.history[-1].test.error
    for wrong, message in {
        (PIXELS, 4): r"received \(2,\)",
        None: "received NoneType",
        "none.npy": "There is no file",
    }.items():
        with pytest.raises(DataError, match=message):
            gncn.fit(BINARY, wrong, config)
    with pytest.raises(DataError, match="received a Split"):
        gncn.fit(BINARY, first and gncn.from_arrays(values).train, config)
    real = gncn.from_arrays(values * 9, binarisation="none")
    with pytest.raises(DataError, match="Bernoulli output takes pixels in"):
        gncn.fit(BINARY, real, config)
    with pytest.raises(ConfigError, match="fit trains networks"):
        gncn.fit((PIXELS, 4), values, config)


def test_a_split_is_as_good_as_its_images():
    data = gncn.from_arrays(np.random.default_rng(0).random((20, PIXELS)), n_test=4)
    split, images = data.test, data.test.images
    prior = gncn.fit_prior(BINARY, data.train, n_components=1)
    for function in (
        lambda x: gncn.settle(BINARY, x).latents[-1],
        lambda x: gncn.watch(BINARY, x)[1].change,
        lambda x: gncn.encode(BINARY, x),
        lambda x: gncn.reconstruct(BINARY, x),
        lambda x: gncn.complete(BINARY, x, mask="right"),
        lambda x: gncn.Completer(BINARY, "silent", 3)(x, np.arange(PIXELS) < 2),
        lambda x: gncn.log_likelihood(BINARY, x, prior=prior, n_samples=10),
    ):
        np.testing.assert_array_equal(function(split), function(images))
    with pytest.raises(DataError, match=r"'custom' has three splits .* its train, validation"):
        gncn.encode(BINARY, data)


SMALL = """
[data]
name = "{data}"
binarisation = "{rule}"
[network]
sizes = [8]
likelihood = "{likelihood}"
[settling]
n_settle_steps = 5
[training]
n_epochs = {epochs}
batch_size = 20
learning_rate = 1e-2
"""


def command(folder, *arguments) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    assert call(arguments, out, err, COLUMNS="100") == 0, err.getvalue()
    return out.getvalue(), err.getvalue()


@pytest.mark.slow
def test_the_command_line_says_it_once_too(tmp_path):
    np.save(tmp_path / "greys.npy", np.tile(GREYS, (8, 1, 1)))
    text = SMALL.format(data=tmp_path / "greys.npy", rule="none", likelihood="bernoulli", epochs=1)
    (tmp_path / "c.toml").write_text(text.replace('binarisation = "none"\n', ""), encoding="utf-8")
    _, said = command(tmp_path, "train", "--config", tmp_path / "c.toml", "--out", tmp_path / "run")
    assert said.count("they are divided by 255") == 1
    assert said.count("binarised at pixel/255 >= 0.5") == 1
    assert "Notice" not in said


@pytest.mark.slow
def test_real_values_are_measured_from_end_to_end(tmp_path):
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(150, 3)) @ rng.normal(size=(3, 12)) * 3).reshape(150, 3, 4)
    np.savez(tmp_path / "eeg.npz", train_images=values, train_labels=values[:, 0, 0] > 0)
    text = SMALL.format(data=tmp_path / "eeg.npz", rule="none", likelihood="gaussian", epochs=20)
    (tmp_path / "c.toml").write_text(text, encoding="utf-8")
    run = tmp_path / "run"
    command(tmp_path, "train", "--config", tmp_path / "c.toml", "--out", run)
    few = ["--samples", 50, "--repeats", 1, "--curve", 10, "--components", 2, "--tight-images", 2]
    few += ["--importance-samples", 10, "--temperatures", 2, "--chains", 1]
    table, _ = command(tmp_path, "evaluate", run, *few)
    found = json.loads((run / "metrics-validation.json").read_text(encoding="utf-8"))
    assert "squared error" in table
    assert {"probe", "sparsity", "likelihood", "tight", "completion", "samples"} <= set(found)
    assert "bce" not in found
    history = gncn.load_config(file=tmp_path / "c.toml")
    data = history.data.load()
    network = gncn.load(run / "trials" / "0")
    kept = data.validation.images
    error = np.mean(np.sum((kept - gncn.reconstruct(network, kept)) ** 2, axis=1))
    assert found["squared_error"] == pytest.approx(error, rel=1e-5)
    # Nothing visible is worth more than the values themselves: predicting 0 gives their squares.
    squares = np.mean(np.sum(kept[:, [2, 3, 6, 7, 10, 11]] ** 2, axis=1))
    assert 0 < found["completion"]["ways"]["combined"]["m_mse"] < squares
    assert found["yardsticks"]["m_mse"]["supervised"]["m_mse"] < squares
    table, _ = command(tmp_path, "compare", run, "--split", "validation")
    assert f"{error:.2f}" in table
    assert "squared error" in table
    assert {path.name for path in (run / "figures").glob("*.png")} >= {
        "completions.png",
        "reconstructions.png",
        "samples.png",
    }


@pytest.mark.parametrize("precision", ["off", "diagonal", "full"])
def test_log_densities_of_real_values_are_the_normal_ones(precision):
    stats = pytest.importorskip("scipy.stats")
    circuit = gncn.chain((5, 3), likelihood="gaussian", output_precision=precision)
    net = perturb(gncn.build(circuit, seed=1, n_settle_steps=2, weight_scale=0.7), 3)
    output, rng = Generator(net).output, np.random.default_rng(4)
    x, drive = rng.normal(2, 3, (4, 5)).astype(np.float32), rng.normal(size=(3, 5))
    sharp = np.asarray(net.layers[0].errors.precision.sharpness(), float)
    matrix = np.eye(5) * sharp if sharp.ndim < 2 else sharp
    cov = np.linalg.inv(matrix)
    wanted = [[stats.multivariate_normal.logpdf(a, m, cov) for m in drive] for a in x]
    drive = jnp.asarray(drive, jnp.float32)
    np.testing.assert_allclose(output.table(x, drive), wanted, rtol=2e-5, atol=1e-4)
    np.testing.assert_allclose(
        output.log_prob(x[:3], drive), np.diag(np.array(wanted)[:3]), rtol=2e-5, atol=1e-4
    )
    few = output.of(jnp.array([0, 3]))
    near = np.linalg.inv(matrix[np.ix_([0, 3], [0, 3])])
    wanted = stats.multivariate_normal.logpdf(x[0, [0, 3]], drive[0, [0, 3]], near)
    np.testing.assert_allclose(few.table(x[:, [0, 3]], drive[:, [0, 3]])[0, 0], wanted, rtol=1e-4)


def test_log_p_of_real_values_is_the_integral():
    """With linear neurons x = W z + noise, of which p(x) is known."""
    stats = pytest.importorskip("scipy.stats")
    circuit = gncn.chain((4, 2), likelihood="gaussian", activation="identity")
    net = gncn.build(circuit, seed=0, n_settle_steps=2, weight_scale=0.6)
    weights = np.asarray(net.drive(0, {1: jnp.eye(2)}), float)
    x = np.random.default_rng(5).normal(size=(3, 4)).astype(np.float32)
    exact = stats.multivariate_normal.logpdf(x, np.zeros(4), np.eye(4) + weights.T @ weights)
    model = WithPrior(Generator(net), StandardNormal(2))
    curve = prior_log_likelihood(model, x, key=jax.random.key(0), n_samples=20_000)
    np.testing.assert_allclose(curve.per_image[0], exact, atol=0.05)
    codes = np.zeros((3, 2), np.float32)
    propose = Proposer(model, jax.random.key(1), n_modes=1, prior_share=0.0, inflation=1.0)
    proposal = propose(x, codes)
    found = importance_log_likelihood(model, proposal, x, key=jax.random.key(2), n_samples=200)
    np.testing.assert_allclose(found.values, exact, atol=2e-3)
    assert found.effective_sample_size.min() > 195  # the posterior is normal, as the proposal is


@pytest.mark.slow
def test_bernoulli_outputs_have_no_density_of_greys(tmp_path):
    np.save(tmp_path / "greys.npy", np.random.default_rng(0).random((80, 3, 4)))
    text = SMALL.format(data=tmp_path / "greys.npy", rule="none", likelihood="bernoulli", epochs=1)
    (tmp_path / "c.toml").write_text(text, encoding="utf-8")
    run = tmp_path / "run"
    command(tmp_path, "train", "--config", tmp_path / "c.toml", "--out", run)
    out, err = io.StringIO(), io.StringIO()
    assert call(["evaluate", run, "--only", "likelihood"], out, err) == 2
    assert "needs a density" in err.getvalue()
    command(tmp_path, "evaluate", run, "--only", "sparsity")


def test_images_without_a_class_take_no_part_in_a_probe():
    labels = np.where(np.arange(60) < 40, np.arange(60) % 2, -1)
    values = np.random.default_rng(0).normal(size=(60, PIXELS)) + 5 * (np.arange(60) % 2)[:, None]
    data = gncn.from_arrays(
        values,
        labels,
        binarisation="none",
        validation_images=values,
        validation_labels=labels,
        test_images=values,
        test_labels=labels,
    )
    found = probe_layer(Subject(as_measurable(REAL), data, "test"), 1)
    assert np.sum(found["z"]["confusion"]) == 40
    assert found["z"]["error_percent"] < 10
    config = gncn.Config(model="dsrn", data={"name": "mine.npy"})
    with pytest.raises(DataError, match="60 of 'custom' have none"):
        config.describe(
            gncn.from_arrays(
                values > 0,
                labels,
                validation_images=values > 0,
                validation_labels=labels,
                test_images=values > 0,
                test_labels=labels,
            )
        )


def test_figures_of_negative_values_diverge():
    assert shades(np.array([0.0, 0.5])) == GREYS_LOOK
    assert shades(np.array([0.0, 7.0]))["vmax"] == 7
    look = shades(np.array([-3.0, 1.0]), np.array([np.nan, 2.0]))
    assert (look["cmap"], look["vmin"], look["vmax"]) == ("RdBu_r", -3, 3)


def test_points_without_a_class_are_faint_and_many_classes_have_no_names():
    points = np.arange(24.0).reshape(12, 2)

    def drawn(labels):
        axes = new_figure(3, 3).subplots()
        scatter_classes(axes, points, labels)
        return axes.collections, [text.get_text() for text in axes.texts]

    for labels, n_groups, names in (
        (None, 1, []),
        (np.arange(12), 12, []),
        (np.arange(12) % 2, 2, ["0", "1"]),
    ):
        groups, written = drawn(labels)
        assert (len(groups), written) == (n_groups, names)
        colours = {tuple(group.get_facecolor()[0]) for group in groups}
        assert len(colours) == n_groups
    groups, written = drawn(np.where(np.arange(12) < 3, -1, np.arange(12) % 2))
    assert (len(groups), written) == (3, ["0", "1"])
    np.testing.assert_array_equal(groups[0].get_offsets(), points[:3])


@pytest.mark.parametrize("values", [["a", "b", "c"], np.array([1, 2, 3], "m8[s]")])
def test_what_is_no_number_is_none_under_a_mask_either(values):
    masked = np.ma.masked_array([values], mask=[[True, False, False]])
    with pytest.raises(DataError, match="must be of a boolean, integer or floating type; received"):
        gncn.from_arrays(masked)

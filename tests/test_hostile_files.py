"""Files that were made to do harm: each reader refuses them in a sentence, and takes little memory.

Memory is limited by the system to what the process has and 1 GB, so that a reader that takes more
fails with a `MemoryError`.  The fuzzer (`tests/fuzz`) has the same targets.
"""

import base64
import contextlib
import gzip
import io
import json
import os
import resource
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy
from tests.fuzz.targets import TARGETS, feed, sound

import gncn
from gncn.base.errors import MAX_MESSAGE, ConfigError, GncnError, unknown_choice
from gncn.runs.toml import parse_override

ALL = list(TARGETS)
BINARY = ("idx", "gz", "archive", "mat")
ARRAYS = ("npy", "streamed", "npz")
TENSORS = ("arrays", "prior", "tensors")
JSON = ("run", "record", "model")
LINES = ("history", "journal")


@pytest.fixture(autouse=True)
def a_gigabyte(unchecked):
    """Let the process have 1 GB more than it has."""
    if not Path("/proc/self/statm").exists():
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def read(name, tmp_path, make):
    """Let a target read what `make` puts at its path; the error's text."""
    path = tmp_path / TARGETS[name].file
    make(path)
    with pytest.raises(GncnError) as caught:
        TARGETS[name].read(path)
    assert len(str(caught.value)) < 2_000
    return str(caught.value)


def refuse(name, content):
    """The text with which a target refuses a content."""
    error = feed(name, content)
    assert error is not None
    assert len(str(error)) < 4_000
    return str(error)


def sparse(path):
    path.write_bytes(b"")
    os.truncate(path, 1 << 40)


MADE = {
    "zeros without end": lambda path: path.symlink_to("/dev/zero"),
    "pipe": os.mkfifo,
    "folder": lambda path: path.mkdir(),
    "terabyte": sparse,
    "loop": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("name", ALL)
def test_what_is_no_file_and_what_is_too_large(name, kind, tmp_path):
    if name == "arrays" and kind != "terabyte":
        pytest.skip("the target itself reads the file, to state its hash")
    if name == "arrays":
        whole = json.loads(sound("model")) | {"tensors": "x.safetensors"}
        (tmp_path / "model.json").write_text(json.dumps(whole), encoding="utf-8")
        sparse(tmp_path / "x.safetensors")
        with pytest.raises(gncn.RunError, match="at most"):
            gncn.load(tmp_path)
        return
    read(name, tmp_path, MADE[kind])


def test_a_file_that_is_not_what_its_size_says(tmp_path):
    path = Path("/proc/self/maps")  # has no size, and content
    if path.exists():
        with pytest.raises(ConfigError, match="grows while it is read"):
            gncn.load_config(file=path)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\xff\xfe" + b"\xed\xa0\x80" * 9])
def test_nothing_zeros_and_bytes_that_are_no_text(name, content):
    if not (content == b"" and name in ("toml", "history", "journal")):
        refuse(name, content)


DEEP = {
    "lists": b"[" * 100_000,
    "objects": b'{"a":' * 100_000,
    "closed": b'{"a":' * 500 + b"1" + b"}" * 500,
}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("name", [*JSON, *LINES])
def test_deep_json(name, kind):
    refuse(name, DEEP[kind] + b"\n")


@pytest.mark.parametrize("name", [*JSON, *LINES])
@pytest.mark.parametrize(
    "content",
    [
        b'{"data": [' + b"[]," * 1_000_000 + b"[]]}",
        b"{" + b",".join(b'"k%d":0' % i for i in range(1_000_000)) + b"}",
        b'{"data": ' + b"9" * 5000 + b"}",
        b'{"data": ' + b"9" * 4000 + b"}",
        b'{"' + b"k" * 1_000_000 + b'": 1}',
        b'"' + "\N{GRINNING FACE}".encode() + b"x" * (1 << 20) + b'"',
    ],
    ids=["lists", "keys", "digits", "fewer digits", "a key", "a text"],
)
def test_much_json(name, content):
    refuse(name, content + b"\n")


TOML = {
    "keys": "\n".join(f"k{i}=1" for i in range(1_000_000)),
    "some keys": "\n".join(f"k{i}=1" for i in range(19_000)),
    "tables": "\n".join(f"[k{i}]" for i in range(19_000)),
    "dots": "a." * 50_000 + "a=1",
    "dotted lines": "\n".join(f"k{i}" + ".a" * 190 + "=1" for i in range(90)),
    "dotted tables": "\n".join(f"[k{i}" + ".a" * 190 + "]" for i in range(90)),
    "lists": "a=" + "[" * 15_000,
    "sections": "a=" + "{a=" * 6_000,
    "a number": "seed=0x" + "F" * 900_000,
    "a key": "k" * 900_000 + "=1",
    "a key twice": "k" * 400_000 + "=1\n" + "k" * 400_000 + "=1",
    "a text": "model='" + "x" * 900_000 + "'",
    "a text for a number": "seed='" + "x" * 900_000 + "'",
}


@pytest.mark.parametrize("kind", TOML)
def test_toml(kind):
    refuse("toml", TOML[kind].encode())


def npy_of(descr, shape, content=b""):
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(stream, header)
    return stream.getvalue() + content


NPY = {
    "10^12 numbers": npy_of("<f8", (10**6, 10**6)),
    "10^30 numbers": npy_of("<f8", (10**15, 10**15)),
    "less than none": npy_of("|u1", (-1, 6), bytes(60)),
    "objects": npy_of("|O", (10, 6), bytes(60)),
    "long texts": npy_of("<U100000000", (10, 6), bytes(60)),
    "records": npy_of([("a", "<f8"), ("b", "|O")], (10, 6), bytes(60)),
    "long header": b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\xff" + b" " * 1000,
    "deep header": b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"(" * 9000,
}


@pytest.mark.parametrize("kind", NPY)
@pytest.mark.parametrize("name", [*ARRAYS, "archive"])
def test_numpy_headers(name, kind):
    content = NPY[kind]
    if name in ("npz", "archive"):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("train_images.npy" if name == "npz" else "arr_0.npy", content)
        content = stream.getvalue()
    refuse(name, content)


@pytest.mark.parametrize("name", ["npz", "archive"])
def test_archives_that_unpack_to_too_much(name, tmp_path):
    member = "train_images.npy" if name == "npz" else "arr_0.npy"

    def bomb(path):
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open(member, "w", force_zip64=True) as stream,
        ):
            stream.write(npy_of("|u1", (300, 1 << 20)))
            for _ in range(300):
                stream.write(bytes(1 << 20))

    text = read(name, tmp_path, bomb)
    assert ("would unpack to" if name == "npz" else "is larger than") in text


@pytest.mark.parametrize("name", ["npz", "archive"])
def test_archives_of_too_many_members_and_of_other_kinds(name):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for i in range(20_000):
            archive.writestr(f"a{i}.npy", b"")
    refuse(name, stream.getvalue())
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("train_images.npy" if name == "npz" else "arr_0.npy", NPY["objects"])
    refuse(name, stream.getvalue())


def test_gzip_bombs():
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 24)) for _ in range(8)) + packer.flush()
    refuse("gz", bomb[:4096])
    refuse("gz", gzip.compress(bytes(4000)))
    refuse("gz", b"\x1f\x8b\x08\x08" + b"x" * 4000)  # a name without end


def tensors(header, content=b"", length=None):
    text = json.dumps(header).encode()
    return (length or len(text)).to_bytes(8, "little") + text + content


HUGE = {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}
HEADERS = {
    "10^12 numbers": tensors({"a": HUGE}),
    "a long header": tensors({}, bytes(1000), length=1 << 60),
    "a header of 90 MB": tensors({}, bytes(1000), length=90_000_000),
    "many": tensors(
        {f"k{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(20_000)}
    ),
    "deep": (100_000).to_bytes(8, "little") + b'{"a":' * 20_000,
    "unknown numbers": tensors({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}, b"0"),
    "no end": tensors({"means": {"dtype": "F32", "shape": [1 << 62, 0], "data_offsets": [0, 0]}}),
}


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("name", TENSORS)
def test_headers_of_tensors(name, kind):
    if (name, kind) != ("tensors", "no end"):  # an array without numbers
        refuse(name, HEADERS[kind])


def described(**changes):
    whole = json.loads(sound("model"))
    for name, value in changes.items():
        whole["description"]["circuit"][name] = value
    return json.dumps(whole).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": [{"size": 1}] * 30_000},
        {"layers": [{"size": 1 << 24}] * 3},
        {"connections": [{"kind": "dense", "source": 1, "target": 0}] * 20_000},
    ],
    ids=["layers", "neurons", "connections"],
)
def test_descriptions_of_huge_networks(changes):
    refuse("model", described(**changes))


@pytest.mark.slow
def test_masks_that_unpack_to_too_much():
    packer = zlib.compressobj()
    bomb = b"".join(packer.compress(bytes(1 << 24)) for _ in range(32)) + packer.flush()
    whole = {"kind": "matrix", "mask": base64.b64encode(bomb).decode()}
    for size in (4, 8192):
        layers = [{"size": size, "competition": whole}] * 3
        assert "masks have" in refuse("model", described(layers=layers))


def test_messages_are_short():
    assert len(str(unknown_choice("thing", "x" * 10**6, "ab"))) < 500
    assert len(str(unknown_choice("thing", [[list("x" * 1000)] * 1000] * 1000, "ab"))) < 9000
    assert len(str(GncnError("x" * 10**6))) < MAX_MESSAGE + 100
    assert "thousands of digits" in str(unknown_choice("thing", 1 << 100_000, "ab"))
    for override in ("a" * 10**6, "a." * 10_000 + "a=1", "a=1\nb" + "x" * 10**6 + "=1"):
        with pytest.raises(ConfigError) as caught:
            parse_override(override)
        assert len(str(caught.value)) < 500
    with contextlib.suppress(ConfigError):
        parse_override("seed=0x" + "F" * 10**5)


def test_large_files_are_still_read(tmp_path):
    images = np.zeros((300, 1 << 20), np.uint8)  # 315 MB
    images[:, 0] = 1
    np.save(tmp_path / "x.npy", images)
    del images
    data = gncn.load_file(tmp_path / "x.npy", stream=True, n_validation=1, n_test=1)
    assert len(data.train) == 298

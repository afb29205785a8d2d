"""What is fuzzed: each reader of files, with a sound file to begin from.

A target writes bytes to a file and reads it.  A `GncnError` is an answer; anything else is a fault.
"""

import gzip
import hashlib
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save as save_tensors

import gncn
from gncn.base.tensors import read_tensors
from gncn.data import dataset_info, load_file
from gncn.data.content import read_verified, to_idx
from gncn.evaluation.mixture import Mixture
from gncn.runs.folder import RunFolder
from gncn.runs.priors import load_mixture, save_mixture
from gncn.runs.toml import read_toml
from gncn.study.journal import read_journal
from gncn.study.record import read_record
from gncn.training.history import read_history

RESULTS = Path(__file__).parents[2] / "results" / "paper"
PIXELS = np.arange(60, dtype=np.uint8).reshape(10, 6) % 2


class Target(NamedTuple):
    """A reader.

    Attributes:
        file: name of the file that it reads.
        sound: content of a sound file, made in an empty folder.
        read: reads the file.
    """

    file: str
    sound: Callable[[Path], bytes]
    read: Callable[[Path], object]


def _saved(save: Callable[[Path], object], name: str) -> Callable[[Path], bytes]:
    def sound(folder: Path) -> bytes:
        save(folder)
        return (folder / name).read_bytes()

    return sound


def _journal(folder: Path) -> None:
    study = read_journal(folder / "x.journal")
    study.set_user_attr("search", {"space": {"a": 1}})
    trial = study.ask()
    trial.suggest_float("a", 0, 1)
    trial.report(0.5, 1)
    trial.set_user_attr("seconds", 1.0)
    study.tell(trial, 0.5)


def _record(line: bool = False) -> dict[str, object]:
    split = {"error": 1.5, "discrepancy": -2.0, "layer_discrepancy": [1.0], "sparsity": [0.5]}
    splits = dict.fromkeys(("train", "validation", "test"), split)
    return {"trial": 0, "epoch": 1, "error_name": "bce", "seconds": 1.0, **splits}


@cache
def _model() -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        circuit = gncn.chain([6, 4, 3])
        gncn.save(gncn.build(circuit, seed=0), folder)
        (tensors,) = Path(folder).glob("*.safetensors")
        return (Path(folder) / "model.json").read_bytes(), tensors.read_bytes()


def _load_described(path: Path) -> object:
    name = json.loads(_model()[0])["tensors"]
    (path.parent / name).write_bytes(_model()[1])
    return gncn.load(path.parent)


def _load_arrays(path: Path) -> object:
    whole = json.loads(_model()[0])
    whole |= {"tensors": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (path.parent / "model.json").write_text(json.dumps(whole), encoding="utf-8")
    return gncn.load(path.parent)


def _mixture(folder: Path) -> None:
    whitening = jnp.broadcast_to(jnp.eye(3), (2, 3, 3))
    save_mixture(Mixture(jnp.zeros(2), jnp.zeros((2, 3)), whitening, "full"), folder / "x")


def _verified(path: Path) -> object:
    info = dataset_info("kmnist")
    content = to_idx(PIXELS)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return read_verified(path, info, replace(info.files[0], shape=PIXELS.shape, digest=digest))


def _archive(folder: Path) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, PIXELS)
    return stream.getvalue()


def _verified_mat(path: Path) -> object:
    info = dataset_info("caltech-16")
    return read_verified(path, info, info.files[0])


TARGETS = {
    "toml": Target(
        "x.toml",
        lambda _: b"seed = 1\n[network]\nsizes = [3, 4]\n[settling]\nstep_size = 0.1\n",
        lambda path: gncn.Config(**read_toml(path)),
    ),
    "run": Target(
        "run.json",
        lambda _: b'{"data": {"name": "digits", "fingerprint": "1a"}, "epochs_kept": [1]}',
        lambda path: RunFolder(path.parent).about,
    ),
    "history": Target(
        "history.jsonl", lambda _: json.dumps(_record()).encode() + b"\n", read_history
    ),
    "record": Target(
        "x.json", lambda _: next(RESULTS.glob("*/dsrn-0.json")).read_bytes(), read_record
    ),
    "journal": Target("x.journal", _saved(_journal, "x.journal"), read_journal),
    "model": Target("model.json", lambda _: _model()[0], _load_described),
    "arrays": Target("x.safetensors", lambda _: _model()[1], _load_arrays),
    "prior": Target("x.safetensors", _saved(_mixture, "x"), load_mixture),
    "tensors": Target(
        "x.safetensors",
        lambda _: save_tensors({"a": PIXELS, "b": np.zeros(3)}),
        lambda path: read_tensors(path, 1 << 20),
    ),
    "npy": Target(
        "x.npy",
        _saved(lambda folder: np.save(folder / "x.npy", PIXELS), "x.npy"),
        lambda path: load_file(path, max_value=1),
    ),
    "streamed": Target(
        "x.npy",
        _saved(lambda folder: np.save(folder / "x.npy", PIXELS), "x.npy"),
        lambda path: load_file(path, max_value=1, stream=True),
    ),
    "npz": Target(
        "x.npz",
        _saved(
            lambda folder: np.savez_compressed(
                folder / "x.npz", train_images=PIXELS, train_labels=np.arange(10)
            ),
            "x.npz",
        ),
        lambda path: load_file(path, max_value=1),
    ),
    "idx": Target("x", lambda _: to_idx(PIXELS), _verified),
    "gz": Target("x.gz", lambda _: gzip.compress(to_idx(PIXELS), mtime=0), _verified),
    "archive": Target("x.npz", _archive, _verified),
    "mat": Target("x.mat", lambda _: b"MATLAB 5.0 MAT-file" + bytes(200), _verified_mat),
}


def sound(name: str) -> bytes:
    """Content of a sound file of a target."""
    with tempfile.TemporaryDirectory() as folder:
        return TARGETS[name].sound(Path(folder))


def feed(name: str, content: bytes) -> gncn.GncnError | None:
    """Let a target read a file of this content; returns how it was refused, if it was."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / TARGETS[name].file
        path.write_bytes(content)
        try:
            TARGETS[name].read(path)
        except gncn.GncnError as error:
            if len(str(error)) > 10_000:
                raise AssertionError(f"a message of {len(str(error))} characters") from error
            return error
    return None

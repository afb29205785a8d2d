"""Models on disk: ``model.json`` says what they are, a safetensors file holds their arrays.

The two are never out of step.  The arrays' file is named after its content and written first;
replacing ``model.json``, which names it, is what makes the new model the one that is loaded.
A process killed at any moment leaves the old model or the new one whole.

Loading trusts nothing.  The description is checked as if a user had typed it.  Names, shapes, types
and values of the arrays must be the ones that it calls for.  Saving makes the same checks, before
it touches a file.
"""

import base64
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gncn.base.errors import ConfigError, RunError, check_whole, quoted
from gncn.base.files import DAMAGED, explained, opened, place, read_json, sha256, write_atomic
from gncn.base.locks import alone
from gncn.base.registry import registered
from gncn.base.tensors import named_arrays, with_arrays
from gncn.baselines.blueprint import Blueprint
from gncn.baselines.kinds import CLASSES, start_baseline
from gncn.baselines.pixel_mixture import PixelMixture, PixelMixtureShape
from gncn.core.build import Settling, assemble
from gncn.core.circuit import PARTS, Circuit
from gncn.core.network import Network
from gncn.core.settler import SETTLERS
from gncn.runs.priors import mixture_skeleton
from gncn.runs.replacing import holds_run
from gncn.runs.tensors import decode, encode, largest_file

VERSION, FORMAT = metadata.version("gncn"), "gncn-model-2"
FORMER = ("gncn-network-1", "gncn-baseline-1", "gncn-mixture-1")
"""Formats up to commit 1ac8ea5."""
DESCRIPTION = "model.json"
MAX_DESCRIPTION_BYTES = 1 << 26
"""A description is small unless it holds the masks of lateral synapses."""
MAX_DESCRIPTION_VALUES = 100_000
"""Values in a description: some ten for each layer and connection."""
MAX_MASK_BYTES = 1 << 29
"""Of all masks together when they are unpacked; zeros pack to a thousandth."""
_KEYS = {"model": str, "description": dict, "tensors": str, "sha256": str}
_PLACES = {**PARTS, "connections": "connection", "settler": "settler"}
"""Kinds of registered parts, by the key under which a description names them."""
_CLASSES: dict[str, type] = {"gncn": Network, **CLASSES, "gmm": PixelMixture}


def _describe(model: Any) -> dict[str, Any]:
    """Everything about a model but its arrays, in JSON's types."""
    match model:
        case Network():
            return {
                "circuit": model.circuit.describe(),
                "settler": SETTLERS.describe(model.settler),
            }
        case PixelMixture():
            return model.shape.model_dump()
        case _:
            return model.blueprint.model_dump(exclude={"kind"})


def _skeleton(name: str, description: dict[str, Any]) -> Any:
    """The model of a description, with `jax.ShapeDtypeStruct` for arrays: nothing is allocated."""
    if name == "gmm":
        shape = PixelMixtureShape(**description)
        mixture = mixture_skeleton(shape.n_components, shape.n_pixels, shape.covariance)
        return PixelMixture(mixture, shape.floor, shape.emission)
    if name in CLASSES:
        blueprint = Blueprint(kind=name, **description)
        return eqx.filter_eval_shape(lambda: start_baseline(blueprint, seed=0))
    if set(description) != {"circuit", "settler"}:
        found = ", ".join(repr(key[:80]) for key in description) or "nothing"
        raise ConfigError(f"A network is described by 'circuit' and 'settler'; received {found}.")
    # Before Pydantic unpacks them.
    _check_masks(description)
    circuit = Circuit(**description["circuit"])
    settling = Settling(settler=SETTLERS.make(description["settler"]))
    return eqx.filter_eval_shape(lambda: assemble(circuit, settling, jax.random.key(0)))


def _check_masks(description: dict[str, Any]) -> None:
    """Refuse masks that unpack to too much; a part of each is unpacked at a time."""
    left, inside = MAX_MASK_BYTES, [description]
    while inside:
        one = inside.pop()
        inside += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        packed = one.get("mask") if isinstance(one, dict) else None
        rest, unpacker = packed if isinstance(packed, str) else "", zlib.decompressobj()
        rest = base64.b64decode(rest)
        with suppress(zlib.error):  # which is told where the mask is made
            # 16 MB at a time: only the length is counted, and nothing is kept.
            while rest and left >= 0:
                left -= len(unpacker.decompress(rest, 1 << 24))
                rest = unpacker.unconsumed_tail
    if left < 0:
        raise ConfigError(f"The masks have more than {MAX_MASK_BYTES:,} bytes, the most they may.")


def save(model: Any, folder: str | Path) -> Path:
    """Save a model into a folder, replacing the model that it may hold.

    Args:
        model: a network or baseline; a single one, without an axis of trials.
        folder: made if need be.

    Returns:
        The path of ``model.json``.

    Raises:
        ConfigError: a part of the model has no registered name.
        RunError: the model couldn't be loaded again, as values that are not finite, or the
            folder can't be written.
    """
    folder, what = _path(folder), f"This {type(model).__name__} can't be saved"
    name = next((name for name, kind in _CLASSES.items() if type(model) is kind), None)
    if name is None:
        known = ", ".join(kind.__name__ for kind in _CLASSES.values())
        if hasattr(model, "get_params"):  # an estimator
            raise RunError(
                f"A {type(model).__name__} is an estimator: save its model, "
                "gncn.save(estimator.model_, folder), or keep the estimator with joblib."
            )
        raise RunError(
            f"A {type(model).__name__} can't be saved; models that can be are of the classes "
            f"{known}."
        )
    description = _describe(model)
    try:
        # There and back through JSON, so the skeleton is made of what a reader will see.
        skeleton = _skeleton(name, json.loads(json.dumps(description, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what}: {error}") from error
    content = encode(what, model, skeleton)
    _check_numbers(model)
    # The skeleton is what `load` would fill: if it differs, the model couldn't come back.
    if jax.tree.structure(model) != jax.tree.structure(skeleton):
        raise RunError(f"{what}: its description doesn't say all that it is: {description}.")
    digest = sha256(content)
    # Named after its content, so a new file never overwrites one that is in use.
    tensors = f"model-{digest[:12]}.safetensors"
    whole = {
        "format": FORMAT,
        "gncn": VERSION,
        "model": name,
        "description": description,
        "tensors": tensors,
        "sha256": digest,
    }
    text = json.dumps(whole, indent=2) + "\n"
    if len(text) > MAX_DESCRIPTION_BYTES:
        raise RunError(
            f"{what}: its description has {len(text):,} bytes, and {MAX_DESCRIPTION_BYTES:,} are "
            "the most."
        )
    with alone(folder, "saving a model", wait=True):
        # Arrays first; the description that names them makes them count.
        write_atomic(folder / tensors, content)
        write_atomic(folder / DESCRIPTION, text)
        with suppress(OSError):  # what can't be removed now is removed by the next one
            # Files that nobody names any more; one that a user put there stays.
            for left in folder.glob("model-*.safetensors"):
                if left.name != tensors and _is_ours(left):
                    left.unlink(missing_ok=True)
    return folder / DESCRIPTION


def _is_ours(path: Path) -> bool:
    """Whether `save` wrote a file of arrays: then its name is the beginning of its hash."""
    found = re.fullmatch(r"model-([0-9a-f]{12})\.safetensors", path.name)
    if found is None:
        return False
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(found[1])


def load(folder: str | Path, *, trial: int = 0) -> Any:
    """Load a model that `save` wrote, or one of a run; returns a model of the kind that was saved.

    Args:
        folder: the model's folder, or a run's.
        trial: which of a run's models.

    Raises:
        ConfigError: a trial is asked for of a folder that is no run's.
        RunError: there is no model, or its files are damaged, altered or do not belong together,
            or it has a part that this installation doesn't know.
    """
    folder = _path(folder)
    with explained(f"Can't load {folder}"):
        # A run that is also a model folder is taken for the model.
        of_run = holds_run(folder) and not (folder / DESCRIPTION).exists()
    if of_run:
        folder /= f"trials/{check_whole('trial', trial, least=0)}"
    elif trial != 0:
        raise ConfigError(f"{folder} is no run, so it has no trials; received trial={trial}.")
    while True:
        whole = _read_description(folder / DESCRIPTION)
        try:
            return _load(folder, whole)
        except RunError:  # perhaps another process has saved a model since
            # The same description again: then the files are damaged, and no other process saved
            # meanwhile.
            if _read_description(folder / DESCRIPTION) == whole:
                raise


def arrays_needed(folder: Path) -> tuple[str, int]:
    """The file of arrays that a folder's description calls for, and the most bytes it may have.

    Raises:
        RunError: the description can't be used.
    """
    whole = _read_description(folder / DESCRIPTION)
    return _check_name(folder, whole["tensors"]), largest_file(_described(folder, whole))


def _described(folder: Path, whole: dict[str, Any]) -> Any:
    """The skeleton of the model that a description names."""
    try:
        # First, since an unknown name has better advice than the error of a class.
        _refuse_unknown_parts(folder, whole["description"])
        return _skeleton(whole["model"], whole["description"])
    except DAMAGED as error:
        raise RunError(f"{folder} holds no model that can be loaded: {error}") from error


def _load(folder: Path, whole: dict[str, Any]) -> Any:
    """The model that a description names."""
    skeleton = _described(folder, whole)
    content = _read_tensors(folder, whole["tensors"], whole["sha256"], largest_file(skeleton))
    model = decode(str(folder / whole["tensors"]), content, skeleton)
    _check_numbers(model)
    return model


def to_plain(model: Any) -> dict[str, Any]:
    """A model as plain values and NumPy arrays, from which `from_plain` makes it again.

    Raises:
        ConfigError: a part of the model has no registered name.
    """
    name = next(name for name, kind in _CLASSES.items() if type(model) is kind)
    return {"model": name, "description": _describe(model), "arrays": named_arrays(model)}


def from_plain(plain: dict[str, Any]) -> Any:
    """The model that `to_plain` described."""
    skeleton = _skeleton(plain["model"], json.loads(json.dumps(plain["description"])))
    return with_arrays("The model", plain["arrays"], skeleton)


def _path(folder: Any) -> Path:
    if not isinstance(folder, str | os.PathLike):
        raise ConfigError(
            f"A model's folder is given as a path, such as 'models/mnist'; received {folder!r}."
        )
    return place(folder)


def _check_numbers(model: Any) -> None:
    """Refuse numbers of a network with which it couldn't settle."""
    for index, layer in enumerate(model.layers if isinstance(model, Network) else ()):
        # `not >` also refuses NaN.
        if not layer.step_size > 0:
            raise RunError(
                f"A network's step sizes must be above 0; layer {index} has {layer.step_size}."
            )
        for name in ("leak", "self_excitation", "lateral_inhibition"):
            if not getattr(layer, name) >= 0:
                raise RunError(
                    f"A network's {name} must be at least 0; layer {index} has "
                    f"{getattr(layer, name)}."
                )
        # A logarithm of the determinant that is not finite shows any precision that can't be used.
        if not np.isfinite(np.asarray(layer.errors.log_prob(*[jnp.zeros((1, layer.size))] * 2))):
            raise RunError(f"The precision of layer {index} is not positive definite.")


def _refuse_unknown_parts(folder: Path, description: dict[str, Any]) -> None:
    for part, name in _parts(description):
        if name not in registered(part):
            raise RunError(
                f"The model in {folder} has the {part} {name[:80]!r}, which this installation "
                f"doesn't know. Register it before you load the model: gncn.register({part!r}, "
                f"{name[:80]!r}, YourClass)."
            )


def _parts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Kind and name of every registered part that a description names, at any depth."""
    if isinstance(value, list):
        for one in value:
            yield from _parts(one, key)
    elif key in _PLACES:
        name = value.get("kind") if isinstance(value, dict) else value
        if isinstance(name, str):
            yield _PLACES[key], name
    elif isinstance(value, dict):
        for inner, one in value.items():
            yield from _parts(one, inner)


def _read_description(path: Path) -> dict[str, Any]:
    with explained(f"Can't read {path}"):
        is_there = path.is_file()
    if not is_there:
        raise RunError(f"There is no model in {path.parent}: {path.name} is missing.")
    whole = read_json(path, MAX_DESCRIPTION_BYTES, MAX_DESCRIPTION_VALUES)
    found = whole.get("format")
    if found in FORMER:
        raise RunError(
            f"{path} has the format {found!r}, which this version of gncn no longer reads. Train "
            "the model again, or load it with gncn at commit 1ac8ea5."
        )
    if found != FORMAT:
        raise RunError(f"{path} must say format {FORMAT!r}; it says {str(found)[:80]!r}.")
    for key, kind in _KEYS.items():
        if not isinstance(whole.get(key), kind):
            raise RunError(
                f"{path} needs {key!r} of type {kind.__name__}; received {quoted(whole.get(key))}."
            )
    if foreign := set(whole) - {"format", "gncn", *_KEYS}:
        known = ", ".join(("format", "gncn", *_KEYS))
        raise RunError(f"{path} has the unknown key {min(foreign)[:80]!r}; known are {known}.")
    if whole["model"] not in _CLASSES:
        known = ", ".join(map(repr, _CLASSES))
        raise RunError(
            f"{path} holds a model of the kind {whole['model'][:80]!r}, which this version of gncn "
            f"({VERSION}) doesn't know; it knows {known}. The file was written by gncn "
            f"{str(whole.get('gncn'))[:80]}."
        )
    return whole


def _check_name(folder: Path, name: str) -> str:
    """The name of a file in the folder; a `RunError` if it leads out of it."""
    # Neither slashes nor anything else that leads out of the folder.
    if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
        raise RunError(f"{folder / DESCRIPTION} names arrays outside its folder: {name[:80]!r}.")
    return name


def _read_tensors(folder: Path, name: str, digest: str, most: int) -> bytes:
    """The content of the arrays' file, which takes no memory before its hash is known to be right.

    Raises:
        RunError: it can't be read, has more than `most` bytes, or has another hash.
    """
    _check_name(folder, name)
    advice = "Restore both files from one copy."
    what = f"Can't read {name[:80]} in {folder}, which {DESCRIPTION} calls for"
    with explained(what), opened(folder / name) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise RunError(
                f"{folder / name} has {size:,} bytes, and the model that {DESCRIPTION} describes "
                f"has at most {most:,}. {advice}"
            )
        # Hashed from the open file: it can't be exchanged between the check and the reading.
        if (found := hashlib.file_digest(file, "sha256").hexdigest()) != digest:
            raise RunError(
                f"{folder / name} is damaged or altered: its SHA-256 is {found}, and "
                f"{DESCRIPTION} says {digest[:80]}. {advice}"
            )
        file.seek(0)
        return file.read(size)

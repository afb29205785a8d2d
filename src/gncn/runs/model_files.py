"""Models on disk: ``model.json`` says what they are, a safetensors file holds their arrays.

The two are never out of step.  The arrays' file is named after its content and written first;
replacing ``model.json``, which names it, is what makes the new model the one that is loaded.
A process killed at any moment leaves the old model or the new one whole.

Loading trusts nothing: the description is checked as if a user had typed it, and names, shapes,
types and values of the arrays must be the ones that it calls for.  Saving makes the same checks,
before it touches a file.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from gncn.base.errors import ConfigError, RunError
from gncn.base.files import read_json, sha256, write_atomic
from gncn.base.registry import registered
from gncn.base.version import VERSION
from gncn.runs.model_kinds import FILE_KINDS, FileKind, file_kind_of
from gncn.runs.tensors import check_arrays, encoded, filled, named_arrays

FORMAT = "gncn-model-2"
FORMER = ("gncn-network-1", "gncn-baseline-1", "gncn-mixture-1")
"""Formats up to commit 1ac8ea5."""
DESCRIPTION = "model.json"
MAX_DESCRIPTION_BYTES = 1 << 26
"""A description is small unless it holds the masks of lateral synapses."""
_KEYS = {"model": str, "description": dict, "tensors": str, "sha256": str}


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
    folder, kind = Path(folder), file_kind_of(model)
    description = kind.describe(model)
    packed = kind.pack(model)
    arrays = {name: np.asarray(array) for name, array in named_arrays(packed).items()}
    _check_savable(kind, model, packed, description, arrays)
    content = encoded(arrays)
    digest = sha256(content)
    tensors = f"model-{digest[:12]}.safetensors"
    whole = {
        "format": FORMAT,
        "gncn": VERSION,
        "model": kind.name,
        "description": description,
        "tensors": tensors,
        "sha256": digest,
    }
    text = json.dumps(whole, indent=2) + "\n"
    if len(text) > MAX_DESCRIPTION_BYTES:
        raise RunError(
            f"This {type(model).__name__} can't be saved: its description has {len(text):,} bytes, "
            f"and {MAX_DESCRIPTION_BYTES:,} are the most."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"Can't make the folder {folder}: {error.strerror or error}.") from error
    write_atomic(folder / tensors, content)
    write_atomic(folder / DESCRIPTION, text)
    for left in (*folder.glob("model-*.safetensors"), *folder.glob(".model-*")):
        if left.name != tensors:  # of an earlier model, or by a process that was killed
            left.unlink(missing_ok=True)
    return folder / DESCRIPTION


def _check_savable(
    kind: FileKind[Any],
    model: Any,
    packed: Any,
    description: dict[str, Any],
    arrays: dict[str, np.ndarray],
) -> None:
    """Refuse a model that `load` would refuse, or that would come back as another."""
    what = f"This {type(model).__name__} can't be saved"
    try:
        skeleton = kind.skeleton(json.loads(json.dumps(description, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what}: {error}") from error
    check_arrays(what, arrays, skeleton)
    kind.check(model)
    if jax.tree.structure(packed) != jax.tree.structure(skeleton):
        raise RunError(f"{what}: its description doesn't say all that it is: {description}.")


def load(folder: str | Path) -> Any:
    """Load a model that `save` wrote.

    Args:
        folder: the folder given to `save`.

    Returns:
        The model, of the kind that was saved.

    Raises:
        RunError: there is no model, or its files are damaged, altered or do not belong together,
            or it has a part that this installation doesn't know.
    """
    folder = Path(folder)
    whole = _read_description(folder / DESCRIPTION)
    content = _read_tensors(folder, whole["tensors"], whole["sha256"])
    kind = FILE_KINDS[whole["model"]]
    _refuse_unknown_parts(folder, kind, whole["description"])
    try:
        skeleton = kind.skeleton(whole["description"])
        arrays = load_tensors(content)
    except (ConfigError, SafetensorError, KeyError, TypeError) as error:
        raise RunError(f"{folder} holds no model that can be loaded: {error}") from error
    check_arrays(str(folder / whole["tensors"]), arrays, skeleton)
    model = kind.unpack(filled(skeleton, arrays))
    kind.check(model)
    return model


def _refuse_unknown_parts(folder: Path, kind: FileKind[Any], description: dict[str, Any]) -> None:
    for part, name in kind.parts(description):
        if name not in registered(part):
            raise RunError(
                f"The model in {folder} has the {part} {name[:80]!r}, which this installation "
                f"doesn't know. Register it before you load the model: gncn.register({part!r}, "
                f"{name[:80]!r}, YourClass)."
            )


def _read_description(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise RunError(f"There is no model in {path.parent}: {path.name} is missing.")
    whole = read_json(path, MAX_DESCRIPTION_BYTES)
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
                f"{path} needs {key!r} of type {kind.__name__}; received {whole.get(key)!r}."
            )
    if whole["model"] not in FILE_KINDS:
        known = ", ".join(map(repr, FILE_KINDS))
        raise RunError(
            f"{path} holds a model of the kind {whole['model'][:80]!r}, which this version of gncn "
            f"({VERSION}) doesn't know; it knows {known}. The file was written by gncn "
            f"{str(whole.get('gncn'))[:80]}."
        )
    return whole


def _read_tensors(folder: Path, name: str, digest: str) -> bytes:
    if Path(name).name != name:
        raise RunError(f"{folder / DESCRIPTION} names arrays outside its folder: {name!r}.")
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        why = error.strerror or error
        raise RunError(
            f"Can't read {name[:80]} in {folder}, which {DESCRIPTION} calls for: {why}."
        ) from error
    if sha256(content) != digest:
        raise RunError(
            f"{folder / name} is damaged or altered: its SHA-256 is {sha256(content)}, and "
            f"{DESCRIPTION} says {digest}. Restore both files from one copy."
        )
    return content

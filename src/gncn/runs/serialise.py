"""Saving and loading models and priors: safetensors for the arrays, JSON for the rest.

A saved model is ``model.json`` (what it is made of: of a network the circuit and how it
settles, of a baseline its blueprint; name and SHA-256 of the arrays' file) and
``model-<hash>.safetensors``.  The JSON is written last and names the arrays that
belong to it, so a process killed between the two leaves the older network whole.

Loading trusts nothing: the description is checked as if typed by a user, and names,
shapes, types and values of the arrays must be those that it calls for.
"""

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from gncn.base.errors import ConfigError, RunError
from gncn.base.files import read_json, sha256, write_atomic
from gncn.baselines.blueprint import Blueprint
from gncn.baselines.dense import Dense
from gncn.baselines.models import CLASSES, Baseline
from gncn.baselines.pixel_mixture import PixelMixture, PixelMixtureShape
from gncn.core.circuit import Circuit
from gncn.core.network import Dynamics, Network, Settling
from gncn.evaluation.mixture import COVARIANCES, TRIANGULAR, Covariance, Mixture
from gncn.runs.models import Model

NETWORK, BASELINE, PIXELS = "gncn-network-1", "gncn-baseline-1", "gncn-mixture-1"
DESCRIPTION = "model.json"
MIXTURE = ("logits", "means", "whitening")
DYNAMICS = ("step_size", "leak", "self_excitation", "lateral_inhibition")
SYNAPSES = (
    "forward_weights",
    "feedback_weights",
    "start_weights",
    "precision",
    "lateral_masks",
)
MAX_DESCRIPTION_BYTES = 1 << 20


def save(network: Model, folder: str | Path) -> Path:
    """Save a model into a folder, replacing the model that it may hold.

    Args:
        network: the network or baseline; a single one, without an axis of trials.
        folder: made if need be.

    Returns:
        The path of ``model.json``.

    Raises:
        ConfigError: an activation is a callable without a registered name.
        RunError: the folder can't be written.
    """
    folder = Path(folder)
    description = _describe(network)
    content = _tensors(_arrays(network))
    digest = sha256(content)
    tensors = f"model-{digest[:12]}.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"Can't make the folder {folder}: {error.strerror or error}.") from error
    write_atomic(folder / tensors, content)
    whole = {**description, "tensors": tensors, "sha256": digest}
    write_atomic(folder / DESCRIPTION, json.dumps(whole, indent=2) + "\n")
    for left in (*folder.glob("model-*.safetensors"), *folder.glob(".model-*")):
        if left.name != tensors:  # of an earlier model, or by a process that was killed
            left.unlink(missing_ok=True)
    return folder / DESCRIPTION


def load(folder: str | Path) -> Any:
    """Load a model that `save` wrote.

    Args:
        folder: the folder given to `save`.

    Returns:
        The model, of the kind that was saved.

    Raises:
        RunError: there is no model, or its files are damaged, altered or do not
            belong together.
    """
    folder = Path(folder)
    description = _read_description(folder / DESCRIPTION)
    name = description["tensors"]
    path = folder / name
    if Path(name).name != name:
        raise RunError(f"{folder / DESCRIPTION} names arrays outside its folder: {name!r}.")
    try:
        content = path.read_bytes()
    except OSError as error:
        why = error.strerror or error
        raise RunError(
            f"Can't read {name[:80]} in {folder}, which {DESCRIPTION} calls for: {why}."
        ) from error
    if sha256(content) != description["sha256"]:
        raise RunError(
            f"{path} is damaged or altered: its SHA-256 is {sha256(content)}, and {DESCRIPTION} "
            f"says {description['sha256']}. Restore both files from one copy."
        )
    try:
        shape = _SHAPES[description["format"]](**description[_KEYS[description["format"]]])
        arrays = load_tensors(content)
    except (ConfigError, SafetensorError, TypeError) as error:
        raise RunError(f"{folder} holds no model that can be loaded: {error}") from error
    _check_arrays(path, arrays, array_shapes(shape))
    match shape:
        case Circuit():
            return _assemble(shape, _settling(folder, description["settling"]), arrays)
        case Blueprint():
            return _assemble_baseline(shape, arrays)
        case _:
            mixture = _assemble_mixture(arrays, shape.covariance)
            return PixelMixture(mixture, shape.floor, shape.emission)


_SHAPES = {NETWORK: Circuit, BASELINE: Blueprint, PIXELS: PixelMixtureShape}
_KEYS = {NETWORK: "circuit", BASELINE: "blueprint", PIXELS: "mixture"}


def _describe(model: Model) -> dict[str, Any]:
    match model:
        case Network():
            return {
                "format": NETWORK,
                "circuit": _describe_circuit(model.circuit),
                "settling": model.settling.model_dump(),
            }
        case PixelMixture():
            return {"format": PIXELS, "mixture": model.shape.model_dump()}
        case _:
            return {"format": BASELINE, "blueprint": model.blueprint.model_dump()}


def _describe_circuit(circuit: Circuit) -> dict[str, Any]:
    for index, layer in enumerate(circuit.layers):
        for field in ("activation", "prediction_activation"):
            function = getattr(layer, field)
            if not isinstance(function, str):
                raise ConfigError(
                    f"Layer {index}: {field}={function!r} has no name to be saved under. Call "
                    "`gncn.register_activation(name, function)` and use the name."
                )
    return circuit.model_dump()


def _arrays(model: Model) -> dict[str, Any]:
    match model:
        case Network():
            arrays = {}
            for group in SYNAPSES:
                for index, array in enumerate(getattr(model, group)):
                    if array is not None:
                        arrays[f"{group}.{index}"] = array
            return arrays | {f"dynamics.{name}": getattr(model.dynamics, name) for name in DYNAMICS}
        case PixelMixture():
            return _mixture_arrays(model.mixture)
        case _:
            return {
                f"{part}.{group}.{index}": array
                for part in model.blueprint.parts
                for group in ("weights", "biases")
                for index, array in enumerate(getattr(getattr(model, part), group))
            }


def array_shapes(shape: Circuit | Blueprint | PixelMixtureShape) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all arrays in a model of this description."""
    match shape:
        case Circuit():
            return _network_shapes(shape)
        case Blueprint():
            return {
                f"{part}.{group}.{index}": (below, above) if group == "weights" else (above,)
                for part, sizes in shape.parts.items()
                for group in ("weights", "biases")
                for index, (below, above) in enumerate(pairwise(sizes))
            }
        case _:
            return _mixture_shapes(shape.n_components, shape.n_pixels, shape.covariance)


def _mixture_shapes(n: int, dim: int, covariance: Covariance) -> dict[str, tuple[int, ...]]:
    n_kept = dim * (dim + 1) // 2
    whitening: dict[Covariance, tuple[int, ...]] = {
        "full": (n, n_kept),
        "tied": (n_kept,),
        "diagonal": (n, dim),
        "spherical": (n,),
    }
    return {"logits": (n,), "means": (n, dim), "whitening": whitening[covariance]}


def _network_shapes(circuit: Circuit) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for index, c in enumerate(circuit.connections):
        between = (circuit.sizes[c.target], circuit.sizes[c.source])
        shapes[f"forward_weights.{index}"] = between
        if circuit.has_error_synapses:
            shapes[f"feedback_weights.{index}"] = between[::-1]
        if circuit.start == "amortised":
            shapes[f"start_weights.{index}"] = between[::-1]
    for index, layer in enumerate(circuit.layers):
        if layer.precision != "off":
            shapes[f"precision.{index}"] = (layer.size,) * (2 if layer.precision == "full" else 1)
        if layer.competition == "matrix":
            shapes[f"lateral_masks.{index}"] = (layer.size, layer.size)
    return shapes | {f"dynamics.{name}": (circuit.n_latent,) for name in DYNAMICS}


def _read_description(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise RunError(f"There is no model in {path.parent}: {path.name} is missing.")
    description = read_json(path, MAX_DESCRIPTION_BYTES)
    found = description.get("format")
    if found not in tuple(_SHAPES):
        allowed = ", ".join(repr(name) for name in _SHAPES)
        raise RunError(f"{path} must say format {allowed}; it says {str(found)[:80]!r}.")
    kinds: dict[str, type] = {_KEYS[found]: dict, "tensors": str, "sha256": str}
    if found == NETWORK:
        kinds["settling"] = dict
    for key, kind in kinds.items():
        if not isinstance(description.get(key), kind):
            raise RunError(
                f"{path} needs {key!r} of type {kind.__name__}; received {description.get(key)!r}."
            )
    return description


def _settling(folder: Path, options: dict[str, Any]) -> Settling:
    try:
        return Settling(**options)
    except (ConfigError, TypeError) as error:
        raise RunError(f"{folder} holds no model that can be loaded: {error}") from error


def _check_arrays(
    path: Path, arrays: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]
) -> None:
    if set(arrays) != set(shapes):
        missing, foreign = sorted(set(shapes) - set(arrays)), sorted(set(arrays) - set(shapes))
        raise RunError(f"{path} doesn't fit its description: missing {missing}, unknown {foreign}.")
    for name, array in arrays.items():
        if array.shape != shapes[name] or array.dtype != np.float32:
            raise RunError(
                f"{path}: {name} must be float32 of shape {shapes[name]}; received "
                f"{array.dtype} of shape {array.shape}."
            )
        if not np.isfinite(array).all():
            raise RunError(f"{path}: {name} holds values that are not finite.")


def _assemble(circuit: Circuit, settling: Settling, arrays: dict[str, np.ndarray]) -> Network:
    def group(name: str, n: int) -> tuple[Any, ...]:
        found = (arrays.get(f"{name}.{index}") for index in range(n))
        return tuple(None if array is None else jnp.asarray(array) for array in found)

    if not (arrays["dynamics.step_size"] > 0).all():
        raise RunError(
            f"A network's step sizes must be above 0; received {arrays['dynamics.step_size']}."
        )
    n_connections, n_layers = len(circuit.connections), len(circuit.layers)
    return Network(
        circuit=circuit,
        settling=settling,
        forward_weights=group("forward_weights", n_connections),
        feedback_weights=group("feedback_weights", n_connections)
        if circuit.has_error_synapses
        else (),
        start_weights=group("start_weights", n_connections) if circuit.start == "amortised" else (),
        precision=group("precision", n_layers),
        lateral_masks=group("lateral_masks", n_layers),
        dynamics=Dynamics(**{name: jnp.asarray(arrays[f"dynamics.{name}"]) for name in DYNAMICS}),
    )


def _assemble_baseline(blueprint: Blueprint, arrays: dict[str, np.ndarray]) -> Baseline:
    def part(name: str, sizes: tuple[int, ...]) -> Dense:
        weights, biases = (
            tuple(jnp.asarray(arrays[f"{name}.{group}.{k}"]) for k in range(len(sizes) - 1))
            for group in ("weights", "biases")
        )
        return Dense(weights, biases)

    parts = {name: part(name, sizes) for name, sizes in blueprint.parts.items()}
    return CLASSES[blueprint.kind](blueprint=blueprint, **parts)


def save_mixture(mixture: Mixture, path: str | Path) -> None:
    """Save a mixture as one safetensors file, atomically.

    Raises:
        RunError: the file can't be written.
    """
    metadata = {"covariance": mixture.covariance}
    write_atomic(Path(path), _tensors(_mixture_arrays(mixture), metadata))


def load_mixture(path: str | Path) -> Mixture:
    """Load a mixture that `save_mixture` wrote; trusts nothing, as `load`.

    Raises:
        RunError: the file is missing, damaged, or holds no mixture.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="numpy") as file:
            covariance = (file.metadata() or {}).get("covariance")
        arrays = load_tensors(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} holds no mixture that can be loaded: {error}") from error
    if covariance not in COVARIANCES or set(arrays) != set(MIXTURE):
        raise RunError(
            f"{path} must hold {', '.join(MIXTURE)} and name its covariance, one of "
            f"{', '.join(COVARIANCES)}; found {', '.join(sorted(arrays))} and {covariance!r}."
        )
    if arrays["means"].ndim != 2:
        raise RunError(f"{path}: means must be a matrix; received {arrays['means'].shape}.")
    n, dim = arrays["means"].shape
    _check_arrays(path, arrays, _mixture_shapes(n, dim, covariance))
    return _assemble_mixture(arrays, covariance)


def _tensors(arrays: Mapping[str, Any], metadata: dict[str, str] | None = None) -> bytes:
    """The content of a safetensors file, which would know nothing of an array's strides."""
    return save_tensors(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata=metadata
    )


def _mixture_arrays(mixture: Mixture) -> dict[str, Any]:
    """Arrays to save: of matrices, which are lower triangular, that triangle row by row."""
    arrays: dict[str, Any] = {name: getattr(mixture, name) for name in MIXTURE}
    if mixture.covariance in TRIANGULAR:
        rows, columns = np.tril_indices(mixture.dim)
        arrays["whitening"] = np.asarray(mixture.whitening)[..., rows, columns]
    return arrays


def _assemble_mixture(arrays: dict[str, np.ndarray], covariance: Covariance) -> Mixture:
    whitening = arrays["whitening"]
    if covariance in TRIANGULAR:
        dim = arrays["means"].shape[1]
        whole = np.zeros((*whitening.shape[:-1], dim, dim), np.float32)
        rows, columns = np.tril_indices(dim)
        whole[..., rows, columns] = whitening
        whitening = whole
    return Mixture(
        jnp.asarray(arrays["logits"]),
        jnp.asarray(arrays["means"]),
        jnp.asarray(whitening),
        covariance,
    )

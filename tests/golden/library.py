"""What the golden numbers need of the library: to build, settle, train and measure."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tests.golden.cases import (
    BATCH,
    BLOCKS,
    MEASURED,
    MEASURING,
    PRESETS,
    SEED,
    TRIALS,
    images,
    in_new_names,
)

import gncn
from gncn.core.completion import Completer
from gncn.core.inference import decode, descend, encode, encode_layers, reconstruct
from gncn.evaluation.yardsticks import nearest_images
from gncn.measures import Completion, Likelihood, Sparsity, Subject, Tight, as_measurable
from gncn.measures.codes import probe_layer
from gncn.measures.models import SettleFrom, calibrated
from gncn.runs.train import train
from gncn.training.epochs import run_epoch, unstack
from gncn.training.examples import examples_of, on_device
from gncn.training.fit import method_of

Arrays = dict[str, np.ndarray]
_watch = eqx.filter_jit(gncn.watch)


@eqx.filter_jit
def _settle_and_compare(network: gncn.Network, x: Any, **options: Any) -> Any:
    result = gncn.settle(network, x, **options)
    return result, gncn.total_discrepancy(network, result.latents)


def dataset(x: np.ndarray, n_classes: int | None = None) -> gncn.Dataset:
    """Thirteen images to learn from, four for validation and four for testing."""
    parts = {"train": x[:13], "validation": x[13:17], "test": x[17:21]}
    labels: dict[str, Any] = {}
    if n_classes is not None:
        labels = {f"{name}_labels": np.arange(len(of)) % n_classes for name, of in parts.items()}
    return gncn.from_arrays(
        **{f"{name}_images": of for name, of in parts.items()},
        **labels,
        binarisation="threshold" if x.dtype == np.uint8 else "none",
    )


def circuit(case: dict[str, Any]) -> gncn.Circuit:
    """The wiring of a case in new names."""
    if "chain" in case:
        return gncn.chain(**case["chain"])
    given = dict(case["circuit"])
    layers = tuple(gncn.Layer(**layer) for layer in given.pop("layers"))
    connections = tuple(gncn.Dense(**c) for c in given.pop("connections"))
    return gncn.Circuit(layers=layers, connections=connections, **given)


def build(case: dict[str, Any], seed: int = SEED) -> gncn.Network:
    """The network of a case in new names."""
    return gncn.build(circuit(case), seed=seed, **case["build"])


def synapses(network: gncn.Network) -> Arrays:
    """W, E and Σ⁻¹ by their numbers."""
    found = {f"W{i}": c.forward for i, c in enumerate(network.connections)}
    backward = (getattr(c.feedback, "weights", None) for c in network.connections)
    found |= {f"E{i}": weights for i, weights in enumerate(backward)}
    for index, layer in enumerate(network.layers):
        precision = getattr(layer.errors, "precision", None)
        values = getattr(precision, "values", getattr(precision, "matrix", None))
        found[f"P{index}"] = values
    return {name: np.asarray(value) for name, value in found.items() if value is not None}


def settled(network: gncn.Network, x: np.ndarray, options: dict[str, Any]) -> Arrays:
    """States, predictions, errors and ψ after settling."""
    result, psi = _settle_and_compare(network, jnp.asarray(x, jnp.float32), **options)
    found = {f"z{i}": z for i, z in enumerate(result.latents) if i > 0}
    for index in network.circuit.predicted:
        found[f"prediction{index}"] = result.responses.predictions[index]
        found[f"error{index}"] = result.responses.errors[index]
    found |= {"psi": psi.layers, "n_steps": result.n_steps}
    if result.converged is not None:
        found["converged"] = result.converged
    return {name: np.asarray(value) for name, value in found.items()}


def trajectory(network: gncn.Network, x: np.ndarray) -> Arrays:
    """ψ by layer, speed of change, and the top's states, before and after every step."""
    result, seen = _watch(network, jnp.asarray(x, jnp.float32), keep_latents=True)
    return {
        "psi": np.asarray(seen.discrepancy.layers),
        "change": np.asarray(seen.change),
        "top": np.asarray(seen.latents[-1]),
        "n_steps": np.asarray(result.n_steps),
    }


def inference(network: gncn.Network, x: np.ndarray) -> Arrays:
    """Reconstructions, codes, and what codes decode to."""
    top = encode(network, x)
    layers = descend(network, jnp.asarray(top))
    return {
        "reconstruct": reconstruct(network, x),
        "encode": top,
        "encode1": encode(network, x, layer=1),
        "activities1": encode(network, x, layer=1, activities=True, batch_size=3),
        "encode_layers2": encode_layers(network, x)[1],
        "decode": np.asarray(decode(network, jnp.asarray(top))),
        **{f"descend{i}": np.asarray(z) for i, z in enumerate(layers) if i > 0},
    }


def completion(network: gncn.Network, x: np.ndarray) -> Arrays:
    """Images of which the last five pixels were missing, completed in every way."""
    visible = np.arange(x.shape[1]) < x.shape[1] - 5
    seen, at = jnp.asarray(x, jnp.float32), jnp.asarray(visible)
    silent = calibrated(Completer(network, "silent", 9), x, visible)
    codes = jnp.asarray(encode(network, x))
    drive, ended = SettleFrom(network, 6)(seen, at, codes)
    return {
        "drift": np.asarray(Completer(network, "drift", 9)(seen, at)),
        "silent": np.asarray(Completer(network, "silent", 9)(seen, at)),
        "calibrated": np.asarray(silent(seen, at)),
        "sharpness": np.asarray(silent.sharpness),
        "from_codes": np.asarray(drive),
        "from_codes_top": np.asarray(ended),
    }


def history(fit: Any) -> Arrays:
    """Records of training as one array for each split: all numbers of all epochs and trials."""
    found = {}
    for split in ("train", "validation", "test"):
        rows = []
        for record in fit.history:
            seen = getattr(record, split)
            steps = () if seen.n_steps is None else (seen.n_steps,)
            numbers = (seen.error, seen.discrepancy, *seen.layer_discrepancy, *seen.sparsity)
            rows.append((*numbers, *steps))
        found[split] = np.asarray(rows, np.float32)
    return found


def learned(network: gncn.Network, case: dict[str, Any], x: np.ndarray) -> tuple[Any, Arrays]:
    """The network trained as its case says, and the errors of the mini-batches of each epoch.

    Held-out images aren't looked at, which saves compiling a program; see `fitted`.
    """
    config, data = gncn.TrainingConfig(**case["training"]), dataset(x)
    method = method_of(network)(config, len(data.train))
    rates = jax.tree.map(lambda rate: rate[None], config.rates())
    state, source, seen = method.start([network], [3]), on_device(examples_of(data.train)), {}
    for epoch in range(config.n_epochs):
        state, report = run_epoch(state, source, method, rates, chunk=3)
        mean = [np.ravel(value) for value in report.mean]
        seen |= {f"batch_error{epoch}": report.batch_error, f"mean{epoch}": np.concatenate(mean)}
    return unstack(state.network)[0], {name: np.asarray(value) for name, value in seen.items()}


def fitted(network: Any, case: dict[str, Any], x: np.ndarray) -> Any:
    """Train by `gncn.fit`, which looks at held-out images after every epoch."""
    return gncn.fit(network, dataset(x), gncn.TrainingConfig(**case["training"]), seeds=3)


def under(name: str, arrays: Arrays) -> Arrays:
    """The same with names that begin with `name`."""
    return {f"{name}/{key}": value for key, value in arrays.items()}


def network_case(case: dict[str, Any]) -> Arrays:
    """All numbers of one of `cases.NETWORKS`."""
    seed, case = len(str(case)), in_new_names(case)
    network = build(case)
    x = images(network.circuit.sizes[0], 21, binary=case["binary"], seed=seed)
    few = x[:BATCH]
    found = {"x": x, **under("initial", synapses(network))}
    found |= under("settled", settled(network, few, case["settle"]))
    if case["training"] is not None:
        if "fit" in case["extra"]:
            fit = fitted(network, case, x)
            network, seen = fit.network, history(fit)
        else:
            network, seen = learned(network, case, x)
        found |= under("history", seen) | under("learned", synapses(network))
        found |= under("settled_after", settled(network, few, case["settle"]))
    for name, compute in EXTRAS.items():
        if name in case["extra"]:
            found |= under(name, compute(network, few))
    return found


EXTRAS = {"trajectory": trajectory, "inference": inference, "completion": completion}


def trials() -> Arrays:
    """All numbers of `cases.TRIALS`."""
    cases = [in_new_names({**TRIALS, **one}) for one in TRIALS["trials"]]
    networks = [build(case, seed=case["seed"]) for case in cases]
    configs = [gncn.TrainingConfig(**one["training"]) for one in cases]
    x = images(12, 21)
    fit = gncn.fit(networks, dataset(x), configs, seeds=[1, 2])
    found = {"x": x, **under("history", history(fit))}
    for index, network in enumerate(fit.networks):
        found |= under(f"learned{index}", synapses(network))
        found |= under(f"settled_after{index}", settled(network, x[:BATCH], {}))
    return found


def many() -> Arrays:
    """All numbers of `cases.BLOCKS`."""
    case = {"training": {"learning_rate": 0.02, "precision_rate": 0.05, "n_epochs": 1}, **BLOCKS}
    x = images(12, BLOCKS["n_images"], seed=4)
    network, _ = learned(build(in_new_names(case)), case, x)
    result = settled(network, x, {})
    kept = np.asarray(BLOCKS["kept"])
    found = {f"{name}_kept": value[kept] for name, value in result.items()}
    return found | {f"{name}_mean": value.mean(axis=0) for name, value in result.items()}


def parameters(model: Any) -> Arrays:
    """All arrays of a baseline, named after where they stand in it."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(eqx.filter(model, eqx.is_array))
    return {jax.tree_util.keystr(path).lstrip("."): np.asarray(leaf) for path, leaf in leaves}


def preset(name: str) -> Arrays:
    """All numbers of one of `cases.PRESETS`."""
    config = gncn.load_config(preset=name, overrides=PRESETS[name])
    data = dataset(images(16, 21, seed=5), n_classes=3)
    x = data.train.array[:BATCH]
    fit = train(config, data)
    model = fit.network
    found = {"x": images(16, 21, seed=5), **under("history", history(fit))}
    if isinstance(model, gncn.Network):
        found |= under("initial", synapses(config.models(data)[0]))
        found |= under("learned", synapses(model))
        return found | under("settled_after", settled(model, x, {}))
    if name != "gmm":
        found |= under("initial", parameters(config.models(data)[0]))
    found |= under("learned", parameters(model))
    pixels = jnp.asarray(x, jnp.float32)
    if name == "gmm":
        codes = model.sample(jax.random.key(0), 3)
        return found | {"codes": np.asarray(codes), "decode": np.asarray(model.decode(codes))}
    if name == "dsrn":
        return found
    codes = model.encode(pixels)
    return found | {
        "codes": np.asarray(codes),
        "decode": np.asarray(model.decode(codes)),
        "reconstruct": np.asarray(model.reconstruct(pixels)),
    }


def digits() -> gncn.Dataset:
    """A few of scikit-learn's digits."""
    whole = gncn.load_dataset("digits")
    parts = {}
    for split in ("train", "validation", "test"):
        parts[split] = getattr(whole, split).subset(np.arange(MEASURING[f"n_{split}"]))
    return dataclasses.replace(whole, **parts)


def measured(name: str) -> Arrays:
    """All numbers of one of `cases.MEASURED`."""
    first, *overrides = MEASURED[name]
    data = digits()
    config = gncn.load_config(preset=first.removeprefix("preset="), overrides=overrides)
    fit = train(config, data)
    subject = Subject(as_measurable(fit.network), data, "test", 0)
    mixture = {key: MEASURING["prior"][key] for key in ("n_components", "covariance")}
    annealing = dict(MEASURING["tight"]["annealing"])
    likelihood = Likelihood(**mixture, **MEASURING["likelihood"]).measure(subject)
    tight = Tight(
        **mixture,
        tight_images=MEASURING["tight"]["n_images"],
        simulated_images=MEASURING["tight"]["n_simulated"],
        importance_samples=MEASURING["tight"]["n_samples"],
        leapfrog_step=annealing.pop("step_size"),
        **annealing,
    ).measure(subject)
    completion = Completion(missing=MEASURING["missing"]).measure(subject)
    ways = completion.numbers["completion"]["ways"]
    for way, numbers in ways.items():
        numbers["per_image"] = completion.per_image[f"squared_error_{way}"]
    # Newer than the stored numbers.
    del tight.numbers["tight"]["images"]
    for estimate in (tight.numbers["tight"], tight.numbers["tight"]["importance_sampling"]):
        del estimate["sampling_error"]  # like gaps, a difference of nearly equal numbers
    for name in ("gaps", "gap_error"):
        del tight.numbers["tight"]["simulated_images"][name]
    prior = likelihood.numbers["prior"]
    codes = subject.prior((prior["n_components"],), prior["covariance"]).prior.sample(
        subject.key(6), MEASURING["n_drawn"]
    )
    means = np.asarray(jax.nn.sigmoid(subject.model.decoder.decode(codes)))
    uniform = np.random.default_rng(subject.seed).uniform(size=means.shape)
    drawn = (uniform < means).astype(np.uint8)
    sparse = Sparsity().measure(subject).numbers["sparsity"]
    results = {
        "prior": prior,
        "tight": tight.numbers["tight"],
        "completion": completion.numbers["completion"],
        "probe": probe_layer(subject, subject.n_layers),
        "probe1": probe_layer(subject, 1),
        "sparsity": {str(row["layer"]): row for row in sparse},
        "samples": {
            "means": means,
            "distances": nearest_images(data.train.array, drawn).distances,
        },
    }
    for suffix in ("", "_own_prior"):
        if f"likelihood{suffix}" in likelihood.numbers:
            per_image = {"per_image": likelihood.per_image[f"log_likelihood{suffix}"]}
            results[f"likelihood{suffix}"] = likelihood.numbers[f"likelihood{suffix}"] | per_image
    found = under("history", history(fit)) | {"codes": subject.codes("test")}
    return found | flat(results)


def flat(results: Any, name: str = "") -> Arrays:
    """Nested numbers as arrays by path; texts are left out, and truth values are numbers."""
    if isinstance(results, dict):
        found = {}
        for key, value in results.items():
            found |= flat(value, f"{name}/{key}" if name else str(key))
        return found
    if results is None or isinstance(results, str):
        return {}
    return {name: np.asarray(results, np.float32)}


def presets_in_full() -> dict[str, Any]:
    """Every preset with all its options, defaults included."""
    return {name: gncn.load_config(preset=name).to_toml() for name in PRESETS}

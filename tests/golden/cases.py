"""The cases of the golden numbers: plain dictionaries that know nothing of the library.

Options have the names that they had at commit 1ac8ea5; `in_new_names` says what they are
called since.  A case says:

``chain`` or ``circuit``   the wiring: options of `gncn.chain`, or layers and connections.
``build``                  options of `gncn.build`, ways of settling included.
``masks``                  for each layer whose competition is ``matrix``: its mask.
``training``               options of ``[training]``; None: the network isn't trained.
``settle``                 options of `gncn.settle`.
``extra``                  what else is computed: ``trajectory``, ``inference``, ``completion``;
                           ``fit``: train by `gncn.fit`, with held-out images.
``binary``                 whether pixels are zeros and ones.

Every network settles on `images`, learns from three mini-batches of 5, 5 and 3 images, and
settles again.
"""

from typing import Any

import numpy as np

SIZES = (12, 8, 6, 4)
SEED = 7
BATCH = 5

_SETTLING = {"n_settle_steps": 5, "step_size": 0.3, "leak": 0.01, "weight_scale": 0.6}
_TRAINING = {"n_epochs": 1, "batch_size": BATCH, "learning_rate": 0.02}
_COLUMNS = {"competition": "columns", "group_size": (4, 3, 2)}
_LATERAL = {"self_excitation": (0.1, 0.13, 0.2), "lateral_inhibition": (0.3, 0.15, 0.1)}


def images(n_pixels: int, n: int, *, binary: bool = True, seed: int = 0) -> np.ndarray:
    """Random images: uint8 zeros and ones, or float32 numbers in [0, 1]."""
    rng = np.random.default_rng(seed)
    if binary:
        return rng.integers(0, 2, (n, n_pixels)).astype(np.uint8)
    return rng.uniform(0, 1, (n, n_pixels)).astype(np.float32)


def _mask(size: int, seed: int) -> list[list[float]]:
    """How much neuron j inhibits i: quarters, with entries on the diagonal, not symmetric."""
    return (np.random.default_rng(seed).integers(0, 5, (size, size)) / 4).tolist()


def _case(
    *,
    binary: bool = True,
    build: dict[str, Any] | None = None,
    masks: dict[int, Any] | None = None,
    training: dict[str, Any] | None = None,
    settle: dict[str, Any] | None = None,
    extra: tuple[str, ...] = (),
    circuit: dict[str, Any] | None = None,
    **chain: Any,
) -> dict[str, Any]:
    case: dict[str, Any] = {"binary": binary}
    if circuit is None:
        likelihood = {} if binary else {"distribution": "gaussian"}
        case["chain"] = {"sizes": SIZES} | likelihood | chain
    else:
        case["circuit"] = circuit
    case["build"] = _SETTLING | (build or {})
    case["masks"] = masks or {}
    case["training"] = _TRAINING | (training or {})
    case["settle"] = settle or {}
    case["extra"] = extra
    return case


_GAUSSIAN_SKIP = {
    "layers": [
        {"size": 12, "distribution": "gaussian", "precision": "diagonal"},
        {"size": 8, "activation": "tanh", "precision": "diagonal"},
        {"size": 6, "precision": "full", "prediction_activation": "relu"},
        {"size": 4, "activation": "softplus"},
    ],
    "connections": [
        {"source": 1, "target": 0},
        {"source": 2, "target": 1, "norm": "clipped", "max_norm": 1.2},
        {"source": 3, "target": 2},
        {"source": 3, "target": 1, "norm": "unit", "norm_axis": "receiving"},
        {"source": 2, "target": 0},
    ],
}
_BERNOULLI_SKIP = {
    "layers": [
        {"size": 12, "distribution": "bernoulli", "prediction_activation": "sigmoid"},
        {
            "size": 8,
            "activation": "relu",
            "prediction_activation": "relu",
            "competition": "columns",
            "group_size": 2,
        },
        {"size": 6, "activation": "relu", "competition": "band", "band_width": 1},
        {"size": 4, "activation": "relu"},
    ],
    # Nothing predicts layers 2 and 3.
    "connections": [
        {"source": 1, "target": 0},
        {"source": 2, "target": 1},
        {"source": 3, "target": 1},
        {"source": 3, "target": 0},
    ],
    "compared": "activity",
    "competing": "activity",
}
_CALM = {"weight_scale": 0.4, "step_size": 0.1}
_EXACT = {"feedback": "transposed", "initial_state": 0.1}
_NEWTON = {"step_rule": "newton", "damping": 0.3, "pixel_variance": 0.2, "step_size": 0.7}
_HEAVY = {"acceleration": "heavy-ball", "momentum": 0.5}
_REST = {"n_settle_steps": 40, "tolerance": 0.08, "weight_scale": 0.3, "leak": 0.1}

NETWORKS: dict[str, dict[str, Any]] = {
    # Feedback and what errors compare.
    "learned": _case(extra=("trajectory", "inference"), training={"feedback_rate": 0.7}),
    "tied": _case(feedback="tied", compared="activity", extra=("inference",)),
    "exact": _case(**_EXACT, activation="tanh", prediction_activation="softplus"),
    "exact-activity": _case(**_EXACT, compared="activity", precision="full"),
    "exact-gaussian": _case(
        **_EXACT,
        binary=False,
        activation=("tanh", "sigmoid", "softplus"),
        prediction_activation="tanh",
        output_activation="sigmoid",
        output_precision="diagonal",
        precision="diagonal",
    ),
    "random": _case(feedback="random", compared="activity"),
    # Competition.
    "columns-state": _case(**_COLUMNS, build=_LATERAL),
    "columns-activity": _case(
        **_COLUMNS, competing="activity", compared="activity", feedback="tied"
    ),
    "band-state": _case(competition="band", band_width=(2, 1, 1), build=_LATERAL, feedback="tied"),
    "band-activity": _case(competition="band", band_width=1, competing="activity", build=_LATERAL),
    "matrix-state": _case(
        competition=("matrix", "none", "matrix"), masks={1: _mask(8, 1), 3: _mask(4, 3)}
    ),
    "matrix-activity": _case(
        competition=("matrix", "columns", "band"),
        group_size=(None, 3, None),
        band_width=(None, None, 2),
        masks={1: _mask(8, 1)},
        competing="activity",
        feedback="random",
        build=_LATERAL,
    ),
    # Precision.
    "precision-diagonal": _case(precision="diagonal", training={"precision_rate": 0.05}),
    "precision-full": _case(
        precision="full",
        build={"initial_precision": 0.7},
        training={"precision_rate": 0.05},
        extra=("trajectory",),
    ),
    "precision-activity": _case(
        precision=("full", "diagonal"),
        compared="activity",
        feedback="tied",
        training={"precision_rate": 0.1, "precision_bounds": (0.6, 1.05)},
    ),
    "gaussian-full": _case(
        binary=False,
        output_precision="full",
        precision="full",
        training={"precision_rate": 0.1, "precision_bounds": (0.9, 1.1)},
    ),
    "gaussian": _case(binary=False, output_activation="sigmoid", activation="softplus"),
    # Norms.
    "unit-sending": _case(norm="unit"),
    "unit-receiving": _case(norm="unit", norm_axis="receiving", max_norm=0.8, feedback="random"),
    "clipped-sending": _case(norm="clipped", max_norm=(1.5, 1.2, 1.0), max_feedback_norm=0.9),
    "clipped-receiving": _case(
        norm=("clipped", "off", "unit"),
        norm_axis="receiving",
        max_norm=(1.1, None, 0.5),
        max_feedback_norm=(None, None, 2.0),
    ),
    # Activations.
    "activations-smooth": _case(
        activation=("softplus", "sigmoid", "identity"), prediction_activation=("tanh", "identity")
    ),
    "activations-bent": _case(
        activation=("leaky_relu", "relu6", "tanh"), prediction_activation=("leaky_relu", "relu6")
    ),
    "activations-steps": _case(
        activation=("sign", "heaviside", "relu"), prediction_activation=("sign", "sigmoid")
    ),
    "k-winners": _case(
        activation=("k_winners", "relu", "k_winners"),
        winners=(3, None, 2),
        prediction_activation="identity",
        compared="activity",
    ),
    # States.
    "non-negative": _case(non_negative=(True, False, True), initial_state=0.3),
    "initial-state": _case(initial_state=-0.2, activation="tanh", feedback="tied"),
    "one-layer": _case(sizes=(12, 6), prediction_activation=(), precision=()),
    # Other wirings.
    "skip-gaussian": _case(
        circuit=_GAUSSIAN_SKIP | {"feedback": "learned"},
        binary=False,
        build=_CALM,
        training={"precision_rate": 0.05},
    ),
    "skip-gaussian-exact": _case(circuit=_GAUSSIAN_SKIP | _EXACT, binary=False, build=_CALM),
    "skip-bernoulli": _case(circuit=_BERNOULLI_SKIP | {"feedback": "tied"}, build={"leak": 0.05}),
    "skip-bernoulli-sequential": _case(
        circuit=_BERNOULLI_SKIP | {"feedback": "learned"}, build=_CALM | {"order": "sequential"}
    ),
    # Ways of settling.
    "sequential": _case(
        build={"order": "sequential"}, precision="diagonal", extra=("trajectory", "completion")
    ),
    "sequential-columns": _case(
        **_COLUMNS, build=_LATERAL | {"order": "sequential"}, compared="activity", feedback="tied"
    ),
    "sequential-exact": _case(**_EXACT, activation="tanh", build={"order": "sequential"}),
    "momentum": _case(build=_HEAVY, extra=("trajectory", "completion")),
    "momentum-non-negative": _case(
        build=_HEAVY | {"step_size": 0.05}, non_negative=True, feedback="tied", **_COLUMNS
    ),
    "newton": _case(build=_NEWTON, feedback="tied", precision="diagonal", **_COLUMNS),
    "newton-learned": _case(
        build=_NEWTON | {"leak": 0.1}, competition="band", band_width=1, precision="full"
    ),
    "newton-sequential": _case(
        build=_NEWTON | {"order": "sequential"},
        binary=False,
        output_precision="full",
        precision="diagonal",
        extra=("trajectory",),
    ),
    "newton-matrix": _case(
        build=_NEWTON | {"order": "sequential"},
        competition="matrix",
        masks={1: _mask(8, 1), 2: _mask(6, 2), 3: _mask(4, 3)},
        feedback="random",
    ),
    "bfloat16": _case(build={"products": "bfloat16"}, precision="diagonal"),
    "bfloat16-tied": _case(build={"products": "bfloat16"}, feedback="tied", **_COLUMNS),
    "bfloat16-newton": _case(build=_NEWTON | {"products": "bfloat16"}, precision="diagonal"),
    "tolerance": _case(build=_REST),
    "tolerance-momentum": _case(
        build=_REST | _HEAVY | {"tolerance": 0.05}, feedback="tied", compared="activity"
    ),
    "tolerance-sequential": _case(
        build=_REST | {"order": "sequential", "tolerance": 0.06},
        feedback="tied",
        extra=("trajectory",),
    ),
    "tolerance-newton": _case(
        build=_REST | _NEWTON | {"tolerance": 0.05, "step_size": 0.5}, feedback="tied"
    ),
    "settle-options": _case(settle={"n_settle_steps": 13, "tolerance": 0.1}),
    "one-step": _case(settle={"n_settle_steps": 1}, training=None),
    # Ways of learning.
    "ipc": _case(training={"updates_per_batch": 5}),
    "ipc-momentum": _case(
        training={"updates_per_batch": 2}, build=_HEAVY | {"n_settle_steps": 6}, precision="full"
    ),
    "ipc-newton": _case(
        training={"updates_per_batch": 2}, build=_NEWTON | {"n_settle_steps": 6}, feedback="tied"
    ),
    "sgd": _case(
        training={
            "optimizer": "sgd",
            "momentum": 0.8,
            "schedule": "cosine",
            "warmup_fraction": 0.4,
            "final_fraction": 0.1,
            "n_epochs": 2,
            "feedback_rate": 0.5,
        }
    ),
    "exponential": _case(
        training={"schedule": "exponential", "final_fraction": 0.2}, precision="diagonal"
    ),
    "plain-sgd": _case(training={"optimizer": "sgd", "learning_rate": 0.1}, feedback="tied"),
    "patience": _case(
        training={"n_epochs": 4, "patience": 1, "learning_rate": 0.1}, extra=("fit",)
    ),
    # Missing pixels.
    "completion": _case(extra=("completion",), feedback="tied", compared="activity"),
}

TRIALS = {
    "chain": {"sizes": SIZES, "precision": "full", **_COLUMNS},
    "trials": [
        {
            "seed": 1,
            "build": _SETTLING | _LATERAL,
            "training": _TRAINING | {"precision_rate": 0.05},
        },
        {
            "seed": 2,
            "build": _SETTLING | {"step_size": (0.1, 0.2, 0.3), "self_excitation": 0.05},
            "training": _TRAINING | {"learning_rate": 0.05, "feedback_rate": 0.3},
        },
    ],
}
"""Two networks trained at once, which differ in seeds, rates and the numbers of settling."""

BLOCKS = {
    "chain": {"sizes": (12, 8, 6), "precision": "diagonal"},
    "build": _SETTLING,
    "n_images": 700,
    "kept": [0, 1, 349, 350, 351, 511, 512, 698, 699],
}
"""More images than settle together on a CPU; `kept` are those whose states are stored."""

_TINY = ["training.n_epochs=1", f"training.batch_size={BATCH}"]
_FEW_STEPS = [*_TINY, "settling.n_settle_steps=6"]
_TWO_LAYERS = [*_FEW_STEPS, "network.sizes=[8, 6]", "network.group_size=[4, 3]"]
PRESETS: dict[str, list[str]] = {
    "mnist": _TWO_LAYERS,
    "fashion-mnist": _TWO_LAYERS,
    "kmnist": _TWO_LAYERS,
    "caltech": [*_FEW_STEPS, "network.sizes=[8, 6, 4]", "network.group_size=[4, 3, 2]"],
    "paper": [*_FEW_STEPS, "network.sizes=[8, 6, 4]", "network.group_size=[4, 3, 2]"],
    "digits": [*_FEW_STEPS, "network.sizes=[6, 6, 6]", "network.group_size=3"],
    "rae": [*_TINY, "backprop.budget=500", "backprop.n_latent=3"],
    "gvae": [*_TINY, "backprop.budget=500", "backprop.n_latent=3", "backprop.kl_warmup=0.5"],
    "gvae-cv": [*_TINY, "backprop.budget=500", "backprop.n_latent=3"],
    "gan-ae": [*_TINY, "backprop.budget=700", "backprop.n_latent=3"],
    "dsrn": [*_TINY, "backprop.budget=500"],
    "gmm": ["mixture.n_components=2", "mixture.n_samples=50"],
}
"""Every preset, with what makes it tiny, for images of 4×4 random pixels in three classes."""

MEASURED: dict[str, list[str]] = {
    "gncn": [
        "preset=digits",
        "training.n_epochs=1",
        "network.sizes=[12, 8]",
        "network.group_size=4",
        "network.max_norm=[4.0, 1.0]",
    ],
    "gvae": [
        "preset=gvae",
        "training.n_epochs=2",
        "training.batch_size=50",
        "backprop.budget=3000",
        "backprop.n_latent=3",
    ],
}
"""Models of a few of scikit-learn's digits, and how each differs from its preset."""

MEASURING = {
    "n_train": 250,
    "n_validation": 60,
    "n_test": 40,
    "prior": {"n_components": 3, "covariance": "full", "regularisation": 0.03},
    "likelihood": {"n_samples": 200, "n_repeats": 2, "curve": [50, 100]},
    "tight": {
        "n_images": 4,
        "n_simulated": 3,
        "n_samples": 100,
        "annealing": {"n_temperatures": 4, "n_chains": 2, "step_size": 0.3},
    },
    "missing": "right",
    "n_drawn": 20,
}
"""How those are measured."""

_RENAMED = {
    "distribution": "likelihood",
    "updates_per_batch": "ipc_updates",
}


def in_new_names(case: dict[str, Any]) -> dict[str, Any]:
    """A case of `NETWORKS`, or a part of one, with options as they are called since."""
    new = dict(case)
    masks = new.pop("masks", None) or {}
    if "chain" in case:
        chain = {_RENAMED.get(name, name): value for name, value in case["chain"].items()}
        if chain.get("feedback") == "transposed":
            chain["feedback"] = "exact"
        if masks:
            depth = len(chain["sizes"]) - 1
            chain["mask"] = [masks.get(index) for index in range(1, depth + 1)]
        new["chain"] = chain
    if "circuit" in case:
        new["circuit"] = _circuit_in_new_names(case["circuit"])
    if "build" in case:
        new["build"] = settling_in_new_names(case["build"])
    if case.get("training"):
        new["training"] = {_RENAMED.get(k, k): v for k, v in case["training"].items()}
    return new


def _circuit_in_new_names(circuit: dict[str, Any]) -> dict[str, Any]:
    feedback = {"transposed": "exact"}.get(circuit["feedback"], circuit["feedback"])
    layers = [{_RENAMED.get(k, k): v for k, v in x.items()} for x in circuit["layers"]]
    connections = [c | {"feedback": feedback} for c in circuit["connections"]]
    rest = {k: v for k, v in circuit.items() if k not in ("layers", "connections", "feedback")}
    return {"layers": layers, "connections": connections, **rest}


def settling_in_new_names(options: dict[str, Any]) -> dict[str, Any]:
    """Options of `gncn.build`: a settler's name takes the place of order and acceleration."""
    new = dict(options)
    sequential = new.pop("order", "simultaneous") == "sequential"
    heavy = new.pop("acceleration", "none") == "heavy-ball"
    if new.pop("step_rule", "fixed") == "newton":
        new |= {"settler": "newton", "sequential": sequential}
    elif heavy:
        new["settler"] = "momentum"
    elif sequential:
        new["settler"] = "sequential"
    return new

"""Random small networks, with parameters away from 0 and 1, for all tests."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import gncn
from gncn.core.bias import LearnedBias
from gncn.core.network import Network
from gncn.core.precision import Diagonal, Full

SMOOTH = ("identity", "softplus", "tanh", "sigmoid")
ANY = (*SMOOTH, "relu", "relu6", "leaky_relu", "sign", "heaviside", "k_winners")


def perturb(network: Network, seed: int) -> Network:
    """Give the network precisions that are no multiple of the identity, and biases unlike 0."""
    rng = np.random.default_rng(seed)
    errors = []
    for layer in network.layers:
        own = layer.errors
        match getattr(own, "precision", None):
            case Diagonal(values):
                drawn = jnp.asarray(rng.uniform(0.4, 2.0, values.shape), jnp.float32)
                own = dataclasses.replace(own, precision=Diagonal(drawn))
            case Full(matrix):
                root = rng.normal(size=matrix.shape) / np.sqrt(len(matrix))
                drawn = jnp.asarray(0.5 * np.eye(len(matrix)) + root @ root.T, jnp.float32)
                own = dataclasses.replace(own, precision=Full(drawn))
        errors.append(own)
    biases = []
    for layer in network.layers:
        own = layer.bias
        if isinstance(own, LearnedBias):
            drawn = np.random.default_rng([seed, layer.size]).uniform(-0.8, 0.8, layer.size)
            own = LearnedBias(jnp.asarray(drawn, jnp.float32))
        biases.append(own)
    return network.replaced(errors=errors, biases=biases)


def rates(learning_rate: float = 1e-3, feedback_rate: float = 1.0, precision_rate: float = 1e-3):
    """Rates of training as arrays."""
    return gncn.TrainingConfig(
        learning_rate=learning_rate, feedback_rate=feedback_rate, precision_rate=precision_rate
    ).rates()


class Listens:
    """A `gncn.Callback` that does nothing; tests say what theirs do."""

    def on_start(self, start):
        pass

    def on_batch(self, number):
        pass

    def on_epoch(self, records, networks):
        pass


@dataclasses.dataclass(frozen=True)
class Case:
    """Options drawn by Hypothesis; `build` makes the network and images from them."""

    seed: int
    n_settle_steps: int
    batch: int
    chain: dict
    settler: str = "euler"

    def build(self) -> tuple[Network, np.ndarray]:
        rng = np.random.default_rng(self.seed)
        options = dict(self.chain)
        sizes = options.pop("sizes")
        if options.get("competition") == "matrix":
            options["competition"] = [
                gncn.Matrix(mask=rng.integers(0, 2, (size, size))) for size in sizes[1:]
            ]
        circuit = gncn.chain(sizes, **options)
        depth = circuit.n_latent
        excitation, inhibition = (tuple(rng.uniform(0.05, 0.3, depth)) for _ in range(2))
        lateral = {"self_excitation": excitation, "lateral_inhibition": inhibition}
        network = gncn.build(
            circuit,
            seed=self.seed,
            n_settle_steps=self.n_settle_steps,
            settler=self.settler,
            step_size=tuple(rng.uniform(0.05, 0.3, depth)),
            leak=tuple(rng.uniform(0.01, 0.2, depth)),
            weight_scale=0.6,
            **(lateral if circuit.competes else {}),
        )
        shape = (self.batch, sizes[0])
        x = rng.integers(0, 2, shape) if circuit.binary else rng.uniform(0, 1, shape)
        return perturb(network, self.seed), x.astype(np.float32)


@st.composite
def cases(draw, *, batch=3, feedback=None, **fixed):
    """Random options for a small network; `fixed` options of `gncn.chain` stay as given."""
    feedback = feedback or draw(st.sampled_from(["learned", "tied", "exact", "random"]))
    depth = draw(st.integers(1, 3))
    activation = draw(st.sampled_from((*SMOOTH, "relu") if feedback == "exact" else ANY))
    kind = draw(st.sampled_from(["none", "columns", "band", "matrix"]))
    group = draw(st.integers(1, 2))
    bernoulli = draw(st.booleans())
    norm = draw(st.sampled_from(["off", "unit", "clipped"]))
    options = {
        "sizes": (5, 6, 4, 2)[: depth + 1],  # few shapes: compiled operations are reused
        "activation": activation,
        "winners": 2 if activation == "k_winners" else None,
        "prediction_activation": draw(st.sampled_from((*SMOOTH, "relu"))),
        "output_activation": None if bernoulli else draw(st.sampled_from(["identity", "sigmoid"])),
        "non_negative": draw(st.booleans()),
        "competition": kind,
        "group_size": group if kind == "columns" else None,
        "band_width": 1 if kind == "band" else None,
        "precision": draw(st.sampled_from(["off", "diagonal", "full"])),
        "output_precision": "off" if bernoulli else draw(st.sampled_from(["off", "diagonal"])),
        "likelihood": "bernoulli" if bernoulli else "gaussian",
        "bias": draw(st.sampled_from([False, True, (True, *(False,) * (depth - 1))])),
        "norm": norm,
        "max_norm": None if norm == "off" else 0.7,
        "norm_axis": draw(st.sampled_from(["sending", "receiving"])),
        "feedback": feedback,
        "compared": draw(st.sampled_from(["state", "activity"])),
        "competing": draw(st.sampled_from(["state", "activity"])),
        "initial_state": draw(st.sampled_from([0.05, 0.3])),
    }
    seed, steps = draw(st.integers(0, 2**16)), draw(st.sampled_from([1, 5]))
    settler = draw(st.sampled_from(["euler", "sequential"]))
    return Case(seed, steps, batch, options | fixed, settler)

"""The equations of the paper as plain NumPy loops, one image and one neuron at a time.

Written from the equations alone; shares no code with the library but the description
of the circuit.
"""

import numpy as np


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


FUNCTIONS = {
    "identity": lambda v: v,
    "relu": lambda v: v if v > 0 else 0.0,
    "relu6": lambda v: min(max(v, 0.0), 6.0),
    "leaky_relu": lambda v: v if v > 0 else 0.01 * v,
    "softplus": lambda v: np.log(1 + np.exp(v)),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "sign": lambda v: float(v > 0) - float(v < 0),
    "heaviside": lambda v: 1.0 if v > 0 else 0.0,
}
DERIVATIVES = {
    "identity": lambda v: 1.0,
    "relu": lambda v: 1.0 if v > 0 else 0.0,
    "softplus": sigmoid,
    "tanh": lambda v: 1 - np.tanh(v) ** 2,
    "sigmoid": lambda v: sigmoid(v) * (1 - sigmoid(v)),
}


def apply(activation, vector):
    if not isinstance(activation, str):  # k winners
        smallest = sorted(vector, reverse=True)[activation.winners - 1]
        return np.array([v if v >= smallest and v > 0 else 0.0 for v in vector])
    return np.array([FUNCTIONS[activation](v) for v in vector])


def precision_of(layer):
    """Σ⁻¹ of a built layer as an array of floats; None if it has none."""
    precision = getattr(layer.errors, "precision", None)
    values = getattr(precision, "values", getattr(precision, "matrix", None))
    return None if values is None else np.array(values, dtype=float)


class Oracle:
    """A network of one image at a time, with float64 arrays taken from a `Network`."""

    def __init__(self, network):
        self.circuit = c = network.circuit
        self.sequential = type(network.settler).__name__ == "Sequential"
        self.exact = c.connections[0].feedback == "exact"
        self.W = {(k.source, k.target): np.array(k.forward, float) for k in network.connections}
        self.E = {
            (k.source, k.target): np.array(k.feedback.weights, dtype=float)
            for k in network.connections
            if hasattr(k.feedback, "weights")
        }
        self.P = [precision_of(layer) for layer in network.layers]
        self.b = {
            index: np.array(layer.bias.values, dtype=float)
            for index, layer in enumerate(network.layers)
            if self.circuit.layers[index].bias
        }
        self.numbers = {
            name: np.array([getattr(one, name) for one in network.layers[1:]], dtype=float)
            for name in ("step_size", "leak", "self_excitation", "lateral_inhibition")
        }

    def precision(self, layer):
        J = self.circuit.layers[layer].size
        P = self.P[layer]
        if P is None:
            return np.eye(J)
        return np.diag(P) if P.ndim == 1 else P

    def lateral(self, layer):
        """The lateral matrix of the appendix, entry by entry."""
        spec = self.circuit.layers[layer]
        J = spec.size
        a_e = self.numbers["self_excitation"][layer - 1]
        a_h = self.numbers["lateral_inhibition"][layer - 1]
        V = np.zeros((J, J))
        kind = type(spec.competition).__name__
        if kind == "NoCompetition":
            return V
        for i in range(J):
            for j in range(J):
                if kind == "Columns":
                    size = spec.competition.group_size
                    M = float(i // size == j // size)
                elif kind == "Band":
                    M = float(abs(i - j) <= spec.competition.band_width)
                else:
                    M = spec.competition.mask.values[i, j]
                V[i, j] = -a_e if i == j else a_h * M
        return V

    def phi(self, layer, z):
        spec = self.circuit.layers[layer]
        return apply(spec.activation, z)

    def compared(self, layer, z):
        activity = self.circuit.compared == "activity" and layer > 0
        return self.phi(layer, z) if activity else z

    def predictions(self, z):
        """Drives h and predictions of all predicted layers (Eq 5)."""
        h, zbar = {}, {}
        for (source, target), W in self.W.items():
            sent = self.phi(source, z[source])
            for i in range(W.shape[0]):
                total = sum(W[i, j] * sent[j] for j in range(W.shape[1]))
                h.setdefault(target, np.zeros(W.shape[0]))[i] += total
        for layer, drive in h.items():
            spec = self.circuit.layers[layer]
            for i, b in enumerate(self.b.get(layer, ())):
                drive[i] += b
            zbar[layer] = apply(spec.prediction_activation, drive)
        return h, zbar

    def errors(self, z, zbar):
        """Error neurons, weighted by the precision (Eqs 1, 13, 15)."""
        e = {}
        for layer, prediction in zbar.items():
            d = self.compared(layer, z[layer]) - prediction
            P = self.precision(layer)
            e[layer] = np.array([sum(P[i, j] * d[j] for j in range(len(d))) for i in range(len(d))])
        return e

    def through(self, layer, error, drive):
        """∂ψ/∂h."""
        spec = self.circuit.layers[layer]
        if spec.likelihood.binary:
            return error
        slope = DERIVATIVES[spec.prediction_activation]
        return np.array([e * slope(v) for e, v in zip(error, drive, strict=True)])

    def change(self, layer, z, h, e):
        """Δz of one layer (Eqs 3, 15, 16)."""
        spec, J = self.circuit.layers[layer], self.circuit.layers[layer].size
        exact = self.exact
        up = np.zeros(J)
        for (source, target), W in self.W.items():
            if source != layer:
                continue
            error = self.through(target, e[target], h[target]) if exact else e[target]
            E = self.E.get((source, target), W.T)
            for j in range(J):
                up[j] += sum(E[j, i] * error[i] for i in range(len(error)))
        down = e.get(layer, np.zeros(J))
        if exact:
            slope = np.array([DERIVATIVES[spec.activation](v) for v in z[layer]])
            gated = self.circuit.compared == "activity"
            total = slope * (up - down) if gated else slope * up - down
        else:
            total = up - down
        rival = self.phi(layer, z[layer]) if self.circuit.competing == "activity" else z[layer]
        V = self.lateral(layer)
        lateral = np.array([sum(V[i, j] * rival[j] for j in range(J)) for i in range(J)])
        return total - lateral - self.numbers["leak"][layer - 1] * z[layer]

    def settle(self, x, n_steps):
        z = [np.array(x, dtype=float)]
        z += [np.full(s, self.circuit.initial_state, dtype=float) for s in self.circuit.sizes[1:]]
        for _ in range(n_steps):
            z = self.step(z)
        return z

    def step(self, z):
        """All layers by one step, at once or from the bottom up."""
        h, zbar = self.predictions(z)
        e = self.errors(z, zbar)
        moved = [z[0]]
        for layer in range(1, len(z)):
            beta = self.numbers["step_size"][layer - 1]
            if self.sequential:  # errors where those below have gone
                gone = [*moved, *z[layer:]]
                h, zbar = self.predictions(gone)
                e = self.errors(gone, zbar)
            new = z[layer] + beta * self.change(layer, z, h, e)
            if self.circuit.layers[layer].non_negative:
                new = np.array([max(v, 0.0) for v in new])
            moved.append(new)
        return moved

    def discrepancy(self, z):
        """The terms of ψ (Eq 6, with the sign that Eq 7 fixes)."""
        _, zbar = self.predictions(z)
        terms = []
        for layer in sorted(zbar):
            if self.circuit.layers[layer].likelihood.binary:
                p = zbar[layer]
                terms.append(
                    sum(
                        x * np.log(q) + (1 - x) * np.log(1 - q)
                        for x, q in zip(z[layer], p, strict=True)
                    )
                )
                continue
            d = self.compared(layer, z[layer]) - zbar[layer]
            P = self.precision(layer)
            quadratic = sum(d[i] * P[i, j] * d[j] for i in range(len(d)) for j in range(len(d)))
            terms.append(0.5 * np.log(np.linalg.det(P)) - 0.5 * quadratic)
        return terms

    def updates(self, batch, weights):
        """ΔW, ΔE (λ = 1), ΔΣ⁻¹ and Δb from settled states of several images (Eqs 7, 17–19)."""
        share = np.array(weights, dtype=float) / sum(weights)
        dW = {key: np.zeros_like(W) for key, W in self.W.items()}
        db = {layer: np.zeros_like(b) for layer, b in self.b.items()}
        C = [np.zeros((s, s)) for s in self.circuit.sizes]
        for w, z in zip(share, batch, strict=True):
            h, zbar = self.predictions(z)
            e = self.errors(z, zbar)
            for (source, target), update in dW.items():
                error = e[target]
                if self.exact:
                    error = self.through(target, error, h[target])
                sent = self.phi(source, z[source])
                for i in range(update.shape[0]):
                    for j in range(update.shape[1]):
                        update[i, j] += w * error[i] * sent[j]
            for layer, update in db.items():
                error = self.through(layer, e[layer], h[layer]) if self.exact else e[layer]
                for i in range(len(update)):
                    update[i] += w * error[i]
            for layer, prediction in zbar.items():
                d = self.compared(layer, z[layer]) - prediction
                C[layer] += w * np.outer(d, d)
        dE = {key: update.T for key, update in dW.items()}
        dP = [None] * len(C)
        for layer, P in enumerate(self.P):
            if P is not None:
                full = 0.5 * np.linalg.inv(self.precision(layer)) - 0.5 * C[layer]
                dP[layer] = np.diag(full) if P.ndim == 1 else full
        return dW, dE, dP, db

"""Predictive coding as a plain PyTorch loop on the CPU, for `benchmarks.peers`.

Eager PyTorch with the updates written out, so that autograd costs nothing; feedback is
the transpose of W without the derivative of φ.
"""

import numpy as np
import torch
from serving import Task, serve
from torch.nn import functional

ACTIVATIONS = {
    "relu": functional.relu,
    "leaky_relu": functional.leaky_relu,
    "tanh": torch.tanh,
}


class Plain:
    """The loop."""

    def __init__(self, task: Task) -> None:
        self.task, self.phi = task, ACTIVATIONS[task.activation]
        self.about = {"torch": torch.__version__, "threads": torch.get_num_threads()}
        self.restart()

    def restart(self) -> None:
        """Forget all that was learned."""
        self.weights = [torch.from_numpy(w) for w in self.task.first_weights()]
        self.optimiser = torch.optim.Adam(self.weights, lr=self.task.rate)

    @torch.no_grad()
    def learn(self, images: np.ndarray) -> None:
        """Settle and learn."""
        for x in torch.from_numpy(images).float():
            active, errors, _ = self._respond(self._settle(x))
            for w, a, e in zip(self.weights, active, errors, strict=True):
                w.grad = a.T @ e / -len(x)
            self.optimiser.step()

    @torch.no_grad()
    def bce(self, images: np.ndarray) -> np.ndarray:
        """BCE after settling."""
        x = torch.from_numpy(images).float()
        drive = self._respond(self._settle(x))[2]
        return (functional.softplus(drive) - x * drive).sum(-1).numpy()

    def _respond(
        self, states: list[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
        active = [self.phi(z) for z in states[1:]]
        drives = [a @ w for a, w in zip(active, self.weights, strict=True)]
        predictions = [torch.sigmoid(drives[0]), *drives[1:]]
        errors = [z - p for z, p in zip(states, predictions, strict=False)]
        return active, errors, drives[0]

    def _settle(self, x: torch.Tensor) -> list[torch.Tensor]:
        states = [x, *(torch.zeros(len(x), size) for size in self.task.sizes[1:])]
        for _ in range(self.task.n_steps):
            _, errors, _ = self._respond(states)
            for index, (w, e) in enumerate(zip(self.weights, errors, strict=True), start=1):
                states[index].add_(e @ w.T, alpha=self.task.step_size)
            for z, e in zip(states[1:], errors[1:], strict=False):
                z.sub_(e, alpha=self.task.step_size)
        return states


if __name__ == "__main__":
    serve(Plain)

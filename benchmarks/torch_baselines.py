"""The baselines in PyTorch, for `benchmarks.baselines`; needs PyTorch and NumPy alone.

Reads one JSON object a line on standard input, ``{"kind": ..., "parts": ...}``,
trains that model for one epoch and answers with the seconds it took.  Layers,
losses, Adam, clipping and mini-batches are the same as in `gncn.baselines`, written as PyTorch
users write them.
"""

import json
import sys
import time
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

BATCH, RATE, CLIP, PENALTY = 200, 1e-3, 5.0, 1e-5


def dense(sizes: list[int]) -> nn.Sequential:
    """Linear layers with ReLU between."""
    layers: list[nn.Module] = []
    for below, above in pairwise(sizes):
        layers += [nn.Linear(below, above), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Model:
    """One baseline and its optimisers."""

    def __init__(self, kind: str, parts: dict[str, list[int]], variance: float) -> None:
        self.kind, self.std = kind, variance**0.5
        self.parts = {name: dense(sizes) for name, sizes in parts.items()}
        groups = {
            "gan-ae": [("encoder", "decoder"), ("encoder",), ("discriminator",)],
            "dsrn": [("network",)],
        }.get(kind, [("encoder", "decoder")])
        self.groups = [[p for name in g for p in self.parts[name].parameters()] for g in groups]
        self.optimisers = [torch.optim.Adam(group, lr=RATE) for group in self.groups]

    def step(self, number: int, loss: torch.Tensor) -> None:
        """Descend one loss."""
        self.optimisers[number].zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.groups[number], CLIP)
        self.optimisers[number].step()

    def draw(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """A code for each image, and the divergence from N(0, I)."""
        top = self.parts["encoder"](x)
        if self.kind == "rae":
            return top, None
        if self.kind == "gvae-cv":
            mean, std = top, torch.full_like(top, self.std)
        else:
            mean, log_variance = top.chunk(2, dim=1)
            std = torch.exp(0.5 * log_variance)
        divergence = 0.5 * (mean**2 + std**2 - 1 - 2 * torch.log(std)).sum(1)
        return mean + std * torch.randn_like(std), divergence

    def learn(self, x: torch.Tensor, labels: torch.Tensor) -> None:
        """All updates of one mini-batch."""
        if self.kind == "dsrn":
            self.step(0, functional.cross_entropy(self.parts["network"](x), labels))
            return
        z, divergence = self.draw(x)
        logits = self.parts["decoder"](z)
        loss = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
        if self.kind in ("gvae", "gvae-cv"):
            assert divergence is not None
            loss = loss + divergence.mean()
        weights = [layer.weight for layer in self.parts["decoder"] if isinstance(layer, nn.Linear)]
        self.step(0, loss + PENALTY * sum((w**2).sum() for w in weights))
        if self.kind == "gan-ae":
            judge = self.parts["discriminator"]
            self.step(1, functional.softplus(-judge(self.draw(x)[0])).mean())
            with torch.no_grad():
                fake = self.draw(x)[0]
            real = torch.randn_like(fake)
            doubt = functional.softplus(-judge(real)) + functional.softplus(judge(fake))
            self.step(2, doubt.mean())


def main() -> None:
    """Serve epochs."""
    arrays = np.load(sys.argv[1])
    images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"]).long()
    models: dict[str, Model] = {}
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        kind = asked["kind"]
        if kind not in models:
            models[kind] = Model(kind, asked["parts"], 0.1)
        began = time.perf_counter()
        order = torch.randperm(len(images))
        for chosen in order.split(BATCH):
            models[kind].learn(images[chosen].float(), labels[chosen])
        print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main()

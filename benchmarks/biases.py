"""What learned biases of predictions change: one circuit with and without, on validation images.

Run with ``python -m benchmarks.biases``; about a minute.  The images are scikit-learn's digits,
binarised, and as real numbers for a Gaussian output.  The numbers go to results/biases.json.
"""

import json
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import gncn

SEEDS = (0, 1, 2)


def main() -> None:
    """Print error and share of active neurons, mean and standard deviation over seeds."""
    config = gncn.load_config(preset="digits")
    grey = gncn.from_arrays(np.asarray(load_digits(return_X_y=True)[0]) / 16, binarisation="none")
    data = {"bernoulli": gncn.load_dataset("digits"), "gaussian": grey}
    record = {}
    print("| output | bias | error | active in the top layer |\n|---|---|---|---|")
    for likelihood, images in data.items():
        for bias in (False, True):
            chain = config.network.model_copy(update={"likelihood": likelihood, "bias": bias})
            circuit = chain.circuit(images.n_pixels)
            models = [gncn.build(circuit, seed=seed, **dict(config.settling)) for seed in SEEDS]
            fit = gncn.fit(models, images, config.training, seeds=SEEDS)
            ended = [one for one in fit.history if one.epoch == config.training.n_epochs]
            last = [one.validation for one in ended if one.validation is not None]
            found = {
                "error": [one.error for one in last],
                "active": [one.sparsity[-1] for one in last],
            }
            record[f"{likelihood}, {'bias' if bias else 'no bias'}"] = found
            cells = (
                f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" for values in found.values()
            )
            print(f"| {likelihood} | {'yes' if bias else 'no'} | {' | '.join(cells)} |", flush=True)
    text = json.dumps(record, indent=1) + "\n"
    Path("results/biases.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

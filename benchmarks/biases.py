"""What learned biases of predictions change: one circuit with and without, on validation images.

Run with ``python -m benchmarks.biases``; about a minute.  The images are scikit-learn's digits,
binarised, and as real numbers for a Gaussian output.
"""

import numpy as np
from sklearn.datasets import load_digits

import gncn

SEEDS = (0, 1, 2)


def main() -> None:
    """Print error and share of active neurons, mean and standard deviation over seeds."""
    config = gncn.load_config(preset="digits")
    grey = gncn.from_arrays(np.asarray(load_digits(return_X_y=True)[0]) / 16, binarisation="none")
    data = {"bernoulli": gncn.load_dataset("digits"), "gaussian": grey}
    print("| output | bias | error | active in the top layer |\n|---|---|---|---|")
    for likelihood, images in data.items():
        for bias in (False, True):
            chain = config.network.model_copy(update={"likelihood": likelihood, "bias": bias})
            circuit = chain.circuit(images.n_pixels)
            models = [gncn.build(circuit, seed=seed, **dict(config.settling)) for seed in SEEDS]
            fit = gncn.fit(models, images, config.training, seeds=SEEDS)
            last = [one.validation for one in fit.history if one.epoch == config.training.n_epochs]
            cells = (
                f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
                for values in ([one.error for one in last], [one.sparsity[-1] for one in last])
            )
            print(f"| {likelihood} | {'yes' if bias else 'no'} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

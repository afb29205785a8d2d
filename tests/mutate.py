"""Mutation check: break the library on purpose, one line at a time; some test must fail.

Run with ``python tests/mutate.py [FILE ...]``; says of each mutant whether it was caught
and exits with 1 if any survived.  Each mutant is a sign flipped, a half dropped, a
transpose or an option ignored.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = {
    "baselines/": ["baselines/test_objectives", "baselines/test_pixel_mixture"],
    "completion.py": ["test_network_completion"],
    "evaluation/recall": ["evaluation/test_recall"],
    "evaluation/": [
        "evaluation/test_likelihood",
        "evaluation/test_mixture",
        "evaluation/test_importance",
        "evaluation/test_annealing",
        "evaluation/test_completion",
        "evaluation/test_sparsity",
    ],
    "study/plan": ["study/test_reproduce"],
    "study/reproduce": ["study/test_reproduce"],
    "study/": ["study/test_verdict", "study/test_report"],
    "tuning/": ["study/test_tune"],
    "serialise": ["test_serialise"],
    "fit.py": ["test_training", "test_runs"],
    "runs.py": ["test_runs"],
    "train.py": ["test_runs"],
    "assess.py": ["test_assess", "test_cli"],
    "": [
        "test_lateral",
        "test_circuit",
        "test_training",
        "test_settling",
        "test_theory",
        "test_oracle",
        "test_acceleration",
        "test_fast_training",
        "test_newton",
        "test_network_completion",
    ],
}
"""The tests that must notice, by the beginning of a mutant's path; the first that fits."""

MUTANTS = [
    ("precision.py", "0.5 / precision - 0.5", "0.5 / precision - 1.0"),
    (
        "precision.py",
        "0.5 * _inverse(precision) - 0.5",
        "0.5 * _inverse(precision) + 0.5",
    ),
    ("precision.py", "values, lowest, highest)[None, :]", "values, lowest, 1e9)[None, :]"),
    ("discrepancy.py", "0.5 * log_determinant - 0.5", "-0.5 * log_determinant - 0.5"),
    (
        "discrepancy.py",
        "return 2 * jnp.sum(jnp.log(jnp.diagonal",
        "return jnp.sum(jnp.log(jnp.diagonal",
    ),
    ("discrepancy.py", "softplus(logits) - x * logits", "softplus(logits) + x * logits"),
    ("discrepancy.py", 'circuit.compared == "activity" and index > 0', "index < 0"),
    ("lateral.py", "- self_excitation * signal", "+ self_excitation * signal"),
    ("lateral.py", "(sums - columns).reshape", "(sums - 0 * columns).reshape"),
    ("lateral.py", "n_columns += missing", "n_columns -= 1"),
    ("activations.py", "0.5 * jnp.tanh(0.5 * x) + 0.5", "0.5 * jnp.tanh(x) + 0.5"),
    ("lateral.py", "signal @ mask.T", "signal @ mask"),
    ("settling.py", "return change - dynamics.leak", "return change + dynamics.leak"),
    ("settling.py", "change = change - lateral_drive(", "change = change + lateral_drive("),
    ("settling.py", 'if circuit.competing == "state"', 'if circuit.competing != "state"'),
    ("settling.py", "return jax.nn.relu(states) if", "return states if"),
    ("settling.py", "return given is None and", "return"),
    ("settling.py", 'given is None and network.circuit.start == "constant"', "given is None"),
    ("settling.py", "n_steps - n_taken)", "n_steps)"),
    ("settling.py", "right = right._replace(precision=())", "pass"),
    ("settling.py", 'manner.acceleration == "none" and', ""),
    ("settling.py", 'and network.circuit.feedback != "transposed"', ""),
    ("settling.py", "n_blocks == 1 or", "True or"),
    ("settling.py", "p[:n_images] for p in right", "p for p in right"),
    ("settling.py", "jnp.pad(states, ((0,", "jnp.pad(states, ((-n_images % size,"),
    ("settling.py", "alike = starts_alike(network, start)", "alike = True"),
    ("training.py", "alike = starts_alike(network, kept)", "alike = True"),
    ("settling.py", "(new - old) / beta", "(new - old)"),
    ("settling.py", "speed >= tolerance, axis=-1)", "speed >= 2 * tolerance, axis=-1)"),
    ("learning.py", "error = error * share[:, None]", "pass"),
    ("learning.py", "e + rates.feedback_rate * rate * d", "e + rate * d"),
    ("learning.py", "return share / jnp.sum(share)", "return share / batch"),
    ("learning.py", "rates.precision_rate * factor * d", "rates.precision_rate * d * 0"),
    ("learning.py", "optax.trace(rule.momentum)", "optax.trace(0.1)"),
    ("network.py", '{"sending": 0, "receiving": 1}', '{"sending": 1, "receiving": 0}'),
    ("network.py", 'if connection.norm == "clipped"', 'if connection.norm == "unit"'),
    ("epochs.py", "(jnp.arange(batch_size) < left)", "(jnp.arange(batch_size) >= 0)"),
    (
        "epochs.py",
        'jax.default_backend() != "cpu" if together is None',
        "False if together is None",
    ),
    ("feed.py", "first * batch_size : (first", "0 : (first"),
    (
        "examples.py",
        "axis=-1, count=self.n_pixels",
        'axis=-1, count=self.n_pixels, bitorder="little"',
    ),
    ("training.py", "z > ACTIVE", "z < ACTIVE"),
    ("training.py", "// plan.updates_per_batch - 1", "// plan.updates_per_batch"),
    ("training.py", "n_total * plan.updates_per_batch", "n_total"),
    ("training.py", "jnp.where(draw.weights > 0, draw.chosen, len(kept[0]))", "draw.chosen"),
    ("learning.py", "rates.start_rate * rates.learning_rate", "rates.learning_rate"),
    ("training.py", "n_total, n_before", "n_total, n_before + 1"),
    ("learning.py", "(settled[c.source] - start[c.source])", "settled[c.source]"),
    (
        "settling.py",
        "responses = compare(network, latents, responses, right, index, heard)",
        "pass",
    ),
    ("discrepancy.py", "max(sources) <= index", "True"),
    ("discrepancy.py", "0, error * heard)", "0, error)"),
    ("acceleration.py", "at + mu * (now - old)", "at - mu * (now - old)"),
    ("acceleration.py", 'case "nesterov":\n            return target, latents', "case 0: pass"),
    ("acceleration.py", "rest - share[:, None] * q", "rest"),
    ("acceleration.py", "goal, axis=-1) - known", "goal, axis=-1)"),
    ("acceleration.py", "mixed = new - jnp", "mixed = old - jnp"),
    ("acceleration.py", "0.25 if layer", "1.0 if layer"),
    ("acceleration.py", "slope * up * reach[connection.target]", "slope * up * down"),
    (
        "acceleration.py",
        "_held(network, _ahead(network, latents, latents",
        "(_ahead(network, latents, latents",
    ),
    ("lateral.py", "jnp.sum(mask, axis=1) - jnp.diag(mask)", "jnp.sum(mask, axis=1)"),
    ("acceleration.py", "total[connection.target] += slope * down", "pass"),
    ("acceleration.py", "step_size / curvature(network)", "step_size"),
    (
        "epochs.py",
        "in_axes=(0, None))(key, epoch)",
        "in_axes=(0, None))(key, 7)",
    ),
    ("baselines/autoencoder.py", "return -self.blueprint.penalty", "return self.blueprint.penalty"),
    ("baselines/autoencoder.py", ".squared_norm() - on_encoder", ".squared_norm() + on_encoder"),
    ("baselines/autoencoder.py", "mean + std * jax", "mean - std * jax"),
    ("baselines/variational.py", "return 0.5 * jnp.sum(mean**2", "return jnp.sum(mean**2"),
    ("baselines/variational.py", "return -kl_to_standard_normal", "return kl_to_standard_normal"),
    ("baselines/variational.py", "jnp.exp(0.5 * log_variance)", "jnp.exp(log_variance)"),
    ("baselines/adversarial.py", "log_sigmoid(-self.judge(fake))", "log_sigmoid(self.judge(fake))"),
    ("baselines/adversarial.py", "(-jax.nn.log_sigmoid(model", "(jax.nn.log_sigmoid(model"),
    ("baselines/adversarial.py", 'generator_loss, ("encoder",)', 'generator_loss, ("decoder",)'),
    ("baselines/classifier.py", "-self.blueprint.penalty", "self.blueprint.penalty"),
    ("baselines/descent.py", "by_global_norm(rule.clip_norm)", "by_global_norm(5.0)"),
    ("baselines/descent.py", "if objective.adversarial else 1", "if False else 1"),
    ("baselines/autoencoder.py", "batch.progress / warmup, 1)", "batch.progress / warmup, 2)"),
    ("baselines/descent.py", "progress=learner.n_updates / n_total", "progress=1.0"),
    ("newton.py", "return 0.5 * (_weighted(up", "return (_weighted(up"),
    ("newton.py", "damping + dynamics.leak[index - 1]", "damping"),
    ("newton.py", "whole += inhibition", "whole -= inhibition"),
    ("newton.py", "~search.afresh & (search.idle > 0)", "search.afresh & (search.idle > 0)"),
    ("newton.py", "jnp.where(better, inverse, search.best)", "inverse"),
    ("newton.py", "jnp.where(better, 0, search.idle + 1)", "search.idle"),
    ("settling.py", "if right.inverses else change", "if False else change"),
    (
        "acceleration.py",
        "inverse_curvatures(network, right, last)",
        "inverse_curvatures(network, right)",
    ),
    ("baselines/objective.py", "/ jnp.sum(self.weights)", "/ len(self.weights)"),
    ("baselines/pixel_mixture.py", "self.floor, 1 - self.floor)", "0.01, 0.99)"),
    ("evaluation/likelihood.py", "- np.log(sizes[size])", "+ np.log(sizes[size])"),
    ("evaluation/likelihood.py", "self.mean + 2 * np.log", "self.mean + np.log"),
    (
        "evaluation/mixture.py",
        "jax.nn.log_softmax(self.logits)[None, :]",
        "self.logits[None, :]",
    ),
    ("evaluation/mixture.py", "deviations, whitening.T,", "deviations, whitening,"),
    (
        "evaluation/mixture.py",
        "flat = whitening.reshape(-1,",
        "flat = whitening.swapaxes(1, 2).reshape(-1,",
    ),
    ("evaluation/mixture.py", "right, matrix.T,", "right, matrix,"),
    (
        "evaluation/bernoulli.py",
        "x * logits - jax.nn.softplus(logits)",
        "x * jax.nn.sigmoid(logits) - jax.nn.softplus(jax.nn.sigmoid(logits))",
    ),
    ("evaluation/importance.py", "len(x), draw) - log_q", "len(x), draw) + log_q"),
    ("evaluation/proposals.py", "return -0.5 * jnp.sum(white**2", "return -jnp.sum(white**2"),
    (
        "evaluation/annealing.py",
        "log_joint - self.log_base(codes)",
        "log_joint",
    ),
    ("evaluation/annealing.py", "else -log_weight).reshape", "else log_weight).reshape"),
    ("evaluation/hmc.py", "half + 0.5 * step * force", "half + step * force"),
    ("evaluation/sparsity.py", "states > ACTIVE", "jnp.abs(states) > ACTIVE"),
    ("study/verdict.py", "paper - ours.mean if low_is_good", "ours.mean - paper if low_is_good"),
    ("study/verdict.py", "better_by >= -same", "better_by >= 0"),
    ("study/verdict.py", "paper < floor", "paper > floor"),
    ("study/verdict.py", "** 2 / PAPER_TRIALS", "** 2"),
    ("study/summary.py", "sign * ours.mean <= sign * wanted", "ours.mean <= wanted"),
    ("study/summary.py", "(1 if low else -1) * found.mean", "found.mean"),
    ("study/summary.py", "reverse=not column.low_is_good", "reverse=column.low_is_good"),
    ("study/summary.py", "published=name in PUBLISHED", "published=key in PUBLISHED"),
    ("study/plan.py", '"seed": self.seed + trial', '"seed": self.seed'),
    ("study/reproduce.py", 'one.state != "finished" and (', 'one.state == "missing" and ('),
    ("study/reproduce.py", "wanted is None or one.spec.name in wanted", "True"),
    ("study/summary.py", "one.trial < study.n_trials(", "0 < study.n_trials("),
    ("serialise.py", '    "start_weights",\n', ""),
    ("fit.py", "if diverged := _broken(", "if diverged := False and _broken("),
    ("fit.py", "kept=better.epochs[index] == epoch", "kept=True"),
    ("runs.py", "        shutil.rmtree(self.path / REPLACED, ignore_errors=True)\n", ""),
    ("runs.py", "moving.rename(aside)", "pass"),
    ("train.py", "if not folder.has_epochs:", "if False:"),
    ("assess.py", 'earlier.get("model") != header["model"]', "False"),
    ("assess.py", "if then.get(k) != v]", "if False]"),
    ("tuning/objective.py", "value - reference if LOW_IS_GOOD", "reference - value if LOW_IS_GOOD"),
    ("tuning/objective.py", "max(short.values()) +", "min(short.values()) +"),
    ("tuning/objective.py", "test=data.validation.subset(np.arange(1))", "test=data.test"),
    ("tuning/tune.py", "study.enqueue_trial(left.params)", "pass"),
    ("evaluation/recall.py", "/ recall.temperature", "/ 1.0"),
    ("evaluation/recall.py", "(x, logits[:, seen])", "(x, 0.5 * logits[:, seen])"),
    ("evaluation/recall.py", "fit = jnp.where(block[1][None, :] >= 0, fit, -jnp.inf)", "pass"),
    ("evaluation/recall.py", "jax.nn.sigmoid(logits[:, missing])", "logits[:, missing]"),
    ("evaluation/recall.py", "shrink * total +", "total +"),
    ("evaluation/recall.py", "(0, spare), constant_values=-1)", "(0, spare), constant_values=0)"),
    ("evaluation/recall.py", "np.delete(codes, chosen, axis=0)", "codes"),
    ("completion.py", "self.sharpness * drive", "drive"),
    ("completion.py", 'heard = None if way == "drift" else seen', "heard = None"),
    ("settling.py", "hear(responses, heard), right", "responses, right"),
    ("settling.py", "right, index, heard)", "right, index)"),
]


def survives(file: str, old: str, new: str) -> bool:
    """Whether all tests pass with `old` replaced by `new`."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "src", copy / "src")
        shutil.copytree(ROOT / "tests", copy / "tests")
        shutil.copy(ROOT / "pyproject.toml", copy)
        path = copy / "src" / "gncn" / file
        text = path.read_text()
        if old not in text:
            raise SystemExit(f"{file} no longer holds {old!r}; mend tests/mutate.py")
        path.write_text(text.replace(old, new, 1))
        names = next(names for start, names in TESTS.items() if file.startswith(start))
        tests = [f"tests/{name}.py" for name in names]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
            cwd=copy,
            capture_output=True,
            text=True,
            check=False,
            env={"PYTHONPATH": str(copy / "src"), "PATH": "/usr/bin:/bin", "CI": "1"},
        )
        if done.returncode not in (0, 1):
            raise SystemExit(f"pytest broke on {file}: {done.stdout[-2000:]}{done.stderr[-500:]}")
        return done.returncode == 0


def main() -> None:
    """Try every mutant, or those of the files named on the command line."""
    chosen = [m for m in MUTANTS if not sys.argv[1:] or m[0] in sys.argv[1:]]
    survivors = 0
    for file, old, new in chosen:
        survived = survives(file, old, new)
        survivors += survived
        verdict = "SURVIVED" if survived else "caught"
        print(f"{verdict} {file}: {old!r} -> {new!r}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants were caught")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()

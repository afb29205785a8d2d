"""Mutation check: break the library on purpose, one line at a time; some test must fail.

Run with ``python tests/mutate.py [FILE ...]``, files as in the list below.  It says of each
mutant whether it was caught, and exits with 1 if any survived.  Each mutant is a sign
flipped, a half dropped, a transpose or an option ignored.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = {
    "base/files": ["test_files"],
    "base/locks": ["test_locks"],
    "base/tensors": ["test_serialise", "training/test_checkpoints", "test_assess"],
    "runs/replacing": ["test_runs", "test_whole"],
    "base/interrupts": ["test_interrupts"],
    "base/": ["core/test_registry"],
    "baselines/": ["baselines/test_objectives", "baselines/test_pixel_mixture"],
    "core/activations": ["core/test_settling", "core/test_products", "core/test_error_neurons"],
    "core/circuit": ["core/test_circuit"],
    "core/competition": ["core/test_competition", "test_oracle"],
    "core/completion": ["core/test_network_completion"],
    "core/connections/": [
        "core/test_dense",
        "core/test_circuit",
        "core/test_products",
        "test_oracle",
        "core/test_theory",
    ],
    "core/flat": ["core/test_flat_options"],
    "core/inference": ["core/test_inference"],
    "core/": [
        "core/test_error_neurons",
        "test_oracle",
        "core/test_settling",
        "core/test_theory",
        "core/test_circuit",
        "test_training",
    ],
    "base/arrays": ["test_inputs"],
    "data/arrays": ["test_inputs", "test_data"],
    "data/files": ["test_inputs"],
    "evaluation/pixels": ["test_inputs"],
    "evaluation/recall": ["evaluation/test_recall"],
    "evaluation/": [
        "evaluation/test_likelihood",
        "evaluation/test_mixture",
        "evaluation/test_importance",
        "evaluation/test_annealing",
        "evaluation/test_completion",
        "evaluation/test_sparsity",
    ],
    "runs/assess": ["test_assess"],
    "runs/parts": ["test_assess"],
    "runs/model_files": ["test_serialise", "test_locks"],
    "runs/tensors": ["test_serialise"],
    "runs/priors": ["test_serialise"],
    "runs/folder": ["test_runs", "test_whole"],
    "runs/": ["test_runs"],
    "settlers/newton": ["settlers/test_newton"],
    "settlers/momentum": ["settlers/test_momentum"],
    "settlers/": ["test_oracle", "settlers/test_momentum"],
    "study/search": ["study/test_tune"],
    "study/tune": ["study/test_tune"],
    "study/journal": ["study/test_tune"],
    "study/columns": ["study/test_tune"],
    "study/compare": ["test_compare"],
    "study/plan": ["study/test_reproduce"],
    "study/reproduce": ["study/test_reproduce"],
    "study/run": ["study/test_reproduce"],
    "study/": ["study/test_verdict", "study/test_report"],
    "training/checkpoints": ["training/test_checkpoints"],
    "training/examples": ["training/test_checkpoints", "test_training"],
    "training/epochs": [
        "training/test_checkpoints",
        "test_training",
        "training/test_incremental",
        "baselines/test_objectives",
    ],
    "training/fit": ["test_training", "test_runs", "training/test_checkpoints"],
    "training/": ["test_training", "training/test_incremental"],
}
"""The tests that must notice, by the beginning of a mutant's path; the longest that fits."""

MUTANTS = [
    ("base/interrupts.py", "(signal.SIG_IGN, None)", "(None,)"),
    ("base/interrupts.py", "TO_END if self.heard else TO_HEAR", "60"),
    ("base/interrupts.py", "self.whole.acquire(timeout=0.02)", "True"),
    ("base/interrupts.py", "if self._over:\n            return", "if False:\n            return"),
    (
        "base/interrupts.py",
        "        self.say(words)\n        self._leave()",
        "        self._leave()",
    ),
    ("base/interrupts.py", "        guard.heard = True\n        raise", "        raise"),
    ("base/interrupts.py", "teller.join(1.0)", "teller.join()"),
    ("base/interrupts.py", "os._exit(128 + number)", "os._exit(1)"),
    (
        "base/registry.py",
        "name in self._entries and not _same(self._entries[name], entry)",
        "False",
    ),
    ("base/registry.py", "        self._refuse_clash(entry)\n", ""),
    ("base/registry.py", "if known is entry:", "if True:"),
    ("core/precision.py", "0.5 / self.values - 0.5", "0.5 / self.values - 1.0"),
    (
        "core/precision.py",
        "0.5 * _inverse(self.matrix) - 0.5",
        "0.5 * _inverse(self.matrix) + 0.5",
    ),
    ("core/precision.py", "values, lowest, highest)[None, :]", "values, lowest, 1e9)[None, :]"),
    ("core/precision.py", "return 2 * jnp.sum(jnp.log(", "return jnp.sum(jnp.log("),
    ("core/precision.py", "deviations @ self.matrix.T", "deviations"),
    ("core/precision.py", "solve_triangular(factor.T,", "solve_triangular(factor,"),
    (
        "core/likelihood.py",
        "return 0.5 * self.precision.log_determinant() - 0.5",
        "return -0.5 * self.precision.log_determinant() - 0.5",
    ),
    (
        "core/likelihood.py",
        "return jax.vjp(self.mean, drive)[1](self.error(actual, drive))[0]",
        "return self.error(actual, drive)",
    ),
    ("core/likelihood.py", "softplus(logits) - x * logits", "softplus(logits) + x * logits"),
    ("core/likelihood.py", "return actual - self.mean(drive)", "return self.mean(drive) - actual"),
    (
        "core/network.py",
        'activity if self.compared == "activity" else',
        'activity if self.compared != "activity" else',
    ),
    (
        "core/network.py",
        'activity if self.competing == "activity" else',
        'activity if self.competing != "activity" else',
    ),
    ("core/network.py", "return change - layer.leak", "return change + layer.leak"),
    ("core/network.py", "change - layer.lateral_drive(", "change + layer.lateral_drive("),
    ("core/network.py", "if c.source == index]", "if c.target == index - 1]"),
    ("core/network.py", "return jax.nn.relu(states) if", "return states if"),
    (
        "core/network.py",
        "layer.gate(states, change) - responses",
        "layer.gate(states, change - responses.errors[index]) + 0 * responses",
    ),
    ("core/competition.py", "- self_excitation * signal", "+ self_excitation * signal"),
    ("core/competition.py", "lateral_inhibition * rivals", "rivals"),
    ("core/competition.py", "(sums - columns).reshape", "(sums - 0 * columns).reshape"),
    ("core/competition.py", "n_columns += missing", "n_columns -= 1"),
    ("core/competition.py", "return window - signal", "return window"),
    ("core/competition.py", "signal @ mask.T", "signal @ mask"),
    ("core/activations.py", "0.5 * jnp.tanh(0.5 * x) + 0.5", "0.5 * jnp.tanh(x) + 0.5"),
    ("core/settling.py", "n_steps - n_taken)", "n_steps)"),
    ("core/settling.py", "(new - old) / layer.step_size", "(new - old)"),
    (
        "core/settling.py",
        "speed >= until_rest, axis=-1)",
        "speed >= 2 * until_rest, axis=-1)",
    ),
    (
        "core/settling.py",
        "latents, n_steps, tolerance, alike=start is None",
        "latents, n_steps, None",
    ),
    ("core/settling.py", "jnp.where(moving[:, None], new, old)", "new"),
    ("core/fast.py", "not settler.forgets or ", ""),
    ("core/fast.py", " or network.circuit.exact", ""),
    ("core/fast.py", "jnp.pad(states, ((0,", "jnp.pad(states, ((-n_images % size,"),
    ("core/learning.py", " * shares[:, None]", ""),
    ("core/learning.py", "weights / jnp.sum(weights)", "weights / len(weights)"),
    (
        "core/learning.py",
        "layer.errors.learned(own, precision_rate,",
        "layer.errors.learned(own, 0.0 * precision_rate,",
    ),
    (
        "core/circuit.py",
        "connection.check(self.sizes[connection.source], self.sizes[connection.target])",
        "pass",
    ),
    ("core/flat.py", "if option not in used:", "if False:"),
    ("core/connections/dense.py", "feedback_rate * rate * direction", "rate * direction"),
    (
        "core/connections/dense.py",
        '{"sending": 0, "receiving": 1}',
        '{"sending": 1, "receiving": 0}',
    ),
    ("core/connections/dense.py", 'if norms.norm == "clipped"', 'if norms.norm == "unit"'),
    ("core/connections/dense.py", "self.weights + step.T", "self.weights - step.T"),
    (
        "core/connections/dense.py",
        "return self.weights.T",
        "return forward",
    ),
    (
        "core/connections/dense.py",
        "_Factor(weights if single else weights.T.astype(dtype), flip=single)",
        "_Factor(weights.astype(dtype), flip=single)",
    ),
    (
        "core/connections/dense.py",
        "down, up = transposed(self.forward), transposed(self.feedback.weights)",
        "down, up = transposed(self.forward), transposed(self.forward.T)",
    ),
    ("core/completion.py", "self.sharpness * drive", "drive"),
    ("core/completion.py", 'if way == "silent":', "if False:"),
    (
        "core/completion.py",
        "self.errors.error(actual, drive) * self.visible",
        "self.errors.error(actual, drive)",
    ),
    ("core/completion.py", "step_size * error", "step_size * -error"),
    ("core/network.py", "layer.hold(z + layer.step_size * v)", "z + layer.step_size * v"),
    ("settlers/sequential.py", "responses = _heard(network, latents, responses, index)", "pass"),
    ("settlers/sequential.py", "highest <= index", "highest > index"),
    ("settlers/momentum.py", "self.momentum * (now - before)", "self.momentum * (before - now)"),
    (
        "settlers/momentum.py",
        "return (target[0], *ahead), latents",
        "return (target[0], *ahead), state",
    ),
    ("settlers/newton.py", "whole += 0.5 * (_weighted(up", "whole += (_weighted(up"),
    ("settlers/newton.py", "settler.damping + layer.leak", "settler.damping"),
    (
        "settlers/newton.py",
        "whole += layer.lateral_inhibition",
        "whole -= layer.lateral_inhibition",
    ),
    (
        "settlers/newton.py",
        "~search.afresh & (search.idle > 0)",
        "search.afresh & (search.idle > 0)",
    ),
    ("settlers/newton.py", "jnp.where(better, inverse, search.best)", "inverse"),
    ("settlers/newton.py", "jnp.where(better, 0, search.idle + 1)", "search.idle"),
    ("settlers/newton.py", "return product(dz, prepared[index - 1])", "return dz"),
    ("training/config.py", "optax.trace(self.momentum)", "optax.trace(0.1)"),
    ("training/hebbian.py", "rates.precision_rate * factor", "rates.precision_rate"),
    ("training/hebbian.py", "z > ACTIVE", "z < ACTIVE"),
    ("training/hebbian.py", "self.config.ipc_updates - 1", "self.config.ipc_updates"),
    (
        "training/epochs.py",
        "self.config.n_epochs * self.config.ipc_updates",
        "self.config.n_epochs",
    ),
    ("training/epochs.py", "(jnp.arange(len(chosen)) < n_left)", "(jnp.arange(len(chosen)) >= 0)"),
    (
        "training/epochs.py",
        'jax.default_backend() != "cpu" if together is None',
        "False if together is None",
    ),
    ("training/epochs.py", "in_axes=(0, None))(key, epoch)", "in_axes=(0, None))(key, 7)"),
    ("training/examples.py", "source, cut[number])", "source, cut[0])"),
    (
        "training/examples.py",
        "axis=-1, count=self.n_pixels",
        'axis=-1, count=self.n_pixels, bitorder="little"',
    ),
    ("training/fit.py", "~(np.isfinite(seen.error) &", "False & (np.isfinite(seen.error) &"),
    ("training/fit.py", "kept=bool(better[trial])", "kept=True"),
    ("baselines/autoencoder.py", "return -self.blueprint.penalty", "return self.blueprint.penalty"),
    ("baselines/autoencoder.py", ".squared_norm() - on_encoder", ".squared_norm() + on_encoder"),
    ("baselines/autoencoder.py", "mean + std * jax", "mean - std * jax"),
    ("baselines/autoencoder.py", "return 0.5 * jnp.sum(mean**2", "return jnp.sum(mean**2"),
    ("baselines/autoencoder.py", "(-kl_to_standard_normal", "(kl_to_standard_normal"),
    ("baselines/autoencoder.py", "jnp.exp(0.5 * log_variance)", "jnp.exp(log_variance)"),
    ("baselines/autoencoder.py", "log_sigmoid(-self.judge(fake))", "log_sigmoid(self.judge(fake))"),
    ("baselines/autoencoder.py", "(-jax.nn.log_sigmoid(model", "(jax.nn.log_sigmoid(model"),
    ("baselines/autoencoder.py", 'generator_loss, ("encoder",)', 'generator_loss, ("decoder",)'),
    ("baselines/classifier.py", "-self.blueprint.penalty", "self.blueprint.penalty"),
    ("baselines/descent.py", "by_global_norm(self.config.clip_norm)", "by_global_norm(5.0)"),
    ("baselines/descent.py", "if objective.adversarial else 1", "if False else 1"),
    ("baselines/autoencoder.py", "batch.progress / warmup, 1)", "batch.progress / warmup, 2)"),
    ("baselines/descent.py", "progress=learner.n_updates / self.n_updates", "progress=1.0"),
    ("training/epochs.py", "/ jnp.sum(self.weights)", "/ len(self.weights)"),
    ("baselines/pixel_mixture.py", "self.floor, 1 - self.floor)", "0.01, 0.99)"),
    ("evaluation/likelihood.py", "- np.log(last)", "+ np.log(last)"),
    ("evaluation/likelihood.py", "self.mean + 2 * np.log", "self.mean + np.log"),
    ("evaluation/mixture.py", "jax.nn.log_softmax(self.logits)[None, :]", "self.logits[None, :]"),
    ("evaluation/mixture.py", "deviations, whitening.T,", "deviations, whitening,"),
    (
        "evaluation/mixture.py",
        "flat = whitening.reshape(-1,",
        "flat = whitening.swapaxes(1, 2).reshape(-1,",
    ),
    ("evaluation/mixture.py", "+ rank", "+ rank[::-1]"),
    (
        "evaluation/images.py",
        "x * logits - jax.nn.softplus(logits)",
        "x * jax.nn.sigmoid(logits) - jax.nn.softplus(jax.nn.sigmoid(logits))",
    ),
    ("evaluation/likelihood.py", "codes) - self.log_prop", "codes) + self.log_prop"),
    ("evaluation/proposals.py", "return -0.5 * jnp.sum(white**2", "return -jnp.sum(white**2"),
    ("evaluation/likelihood.py", "codes) - self.log_proposal(codes)", "codes)"),
    ("evaluation/annealing.py", "else -log_weight", "else log_weight"),
    ("evaluation/annealing.py", "half + 0.5 * step * force", "half + step * force"),
    ("evaluation/codes.py", "states > ACTIVE", "jnp.abs(states) > ACTIVE"),
    ("study/paper.py", "paper - ours.mean if low_is_good", "ours.mean - paper if low_is_good"),
    ("study/paper.py", "better_by >= -same", "better_by >= 0"),
    ("study/paper.py", "paper >= floor", "paper <= floor"),
    ("study/paper.py", "** 2 / PAPER_TRIALS", "** 2"),
    ("study/summary.py", "sign * our.mean <= sign * wanted", "our.mean <= wanted"),
    ("study/summary.py", "in best_of(columns()[key], means, 1)", "in means"),
    ("study/paper.py", "reverse=not column.low_is_good", "reverse=column.low_is_good"),
    ("study/summary.py", "published=name in PUBLISHED", "published=key in PUBLISHED"),
    ("study/plan.py", "self.seed + trial", "self.seed"),
    ("study/reproduce.py", 'o.state != "finished" and', 'o.state == "missing" and'),
    ("study/reproduce.py", "o.spec.name in wanted", "o.spec.name"),
    ("study/summary.py", "one.trial < study.n_trials(", "0 < study.n_trials("),
    ("study/search.py", "low_is_good else -1", "low_is_good else 1"),
    ("study/search.py", "max(short.values()) +", "min(short.values()) +"),
    ("study/columns.py", "test=data.validation.subset(np.arange(1))", "test=data.test"),
    ("study/tune.py", "self.study.enqueue_trial(trial.params)", "pass"),
    ("base/arrays.py", "known = np.where(mask, 0, data)", "return data"),
    ("base/arrays.py", "found[mask] = np.nan", "pass"),
    ("base/arrays.py", "int(values.max()) > 1", "int(values.max()) > 256"),
    ("base/arrays.py", "values = values / np.float32(WHITE)", "values = values / np.float32(256)"),
    ("base/arrays.py", "if unit and not", "if False and not"),
    ("base/arrays.py", "names = tuple(sorted(set(there)))", "names = tuple(dict.fromkeys(there))"),
    ("base/arrays.py", "value = value.detach()", "pass"),
    ("data/files.py", "labels += [folder.name] * len(inside)", "labels += [''] * len(inside)"),
    ("data/files.py", "return not all(map(_is_number, cells))", "return True"),
    ("evaluation/pixels.py", "0.5 * n_pixels * float", "n_pixels * float"),
    ("evaluation/pixels.py", "normaliser - 0.5 * squares", "normaliser - squares"),
    (
        "evaluation/pixels.py",
        "0.5 * precision.log_determinant()",
        "0 * precision.log_determinant()",
    ),
    (
        "evaluation/pixels.py",
        "precision.matrix[pixels][:, pixels]",
        "precision.matrix[pixels][:, :2]",
    ),
    ("evaluation/recall.py", "/ recall.temperature", "/ 1.0"),
    ("evaluation/recall.py", "(x, drive[:, seen])", "(x, 0.5 * drive[:, seen])"),
    ("evaluation/recall.py", "fit = jnp.where(numbers[None, :] < 0, -jnp.inf, fit)", "pass"),
    ("evaluation/recall.py", "hidden.mean(drive[:, missing])", "drive[:, missing]"),
    ("evaluation/recall.py", "softmax(totals, axis=0)", "softmax(0 * totals, axis=0)"),
    ("evaluation/recall.py", "(0, spare), constant_values=-1)", "(0, spare), constant_values=0)"),
    ("evaluation/recall.py", "np.delete(codes, chosen, axis=0)", "codes"),
    ("runs/folder.py", "        shutil.rmtree(self.path / ASIDE, ignore_errors=True)\n", ""),
    ("runs/replacing.py", "(path / MOVING).rename(path / ASIDE)", "pass"),
    ("runs/train.py", "            folder.give_up()\n", "            pass\n"),
    ("runs/assess.py", 'numbers.get("model") != header["model"]', "False"),
    ("runs/assess.py", "and then.get(name, now[name]) != now[name]", "and False"),
    (
        "runs/model_files.py",
        'if (found := hashlib.file_digest(file, "sha256").hexdigest()) != digest:',
        'if found := "":',
    ),
    ("runs/model_files.py", "if name not in registered(part):", "if False:"),
    ("runs/model_files.py", "if found in FORMER:", "if False:"),
    ("runs/tensors.py", "    refuse_misfits(where, leaves, named_leaves(skeleton))\n", ""),
    ("runs/tensors.py", "if not np.isfinite(array).all():", "if False:"),
    ("base/tensors.py", "or array.dtype != like.dtype", ""),
    ("base/locks.py", "timeout=-1 if wait else 0", "timeout=-1"),
    ("base/locks.py", "        lock.release()\n", ""),
    (
        "runs/model_files.py",
        " and _is_ours(left):",
        ":",
    ),
    ("runs/replacing.py", "    recover(path)\n    links", "    links"),
    ("runs/replacing.py", "if one.is_symlink() and one.is_dir()", "if False"),
    ("training/checkpoints.py", "network=network, learner=learner)", "learner=learner)"),
    (
        "training/checkpoints.py",
        " if progress.best is state.network else progress.best",
        "",
    ),
    ("training/checkpoints.py", "        if then == self.identity:\n", "        if True:\n"),
    ("training/checkpoints.py", "if sha256(content) != about", "if False and about"),
    ("training/checkpoints.py", "self.remove(keep=KEPT)", "self.remove(keep=99)"),
    ("base/locks.py", "        sweep(folder)\n", ""),
    ("base/files.py", "                os.fsync(file.fileno())\n", ""),
    ("base/files.py", "        sync(path.parent)\n", "        pass\n"),
    (
        "base/files.py",
        "                temporary.unlink(missing_ok=True)\n",
        "                pass\n",
    ),
    ("base/files.py", "temporary = unfinished(path.parent)", "temporary = path"),
    ("base/files.py", "if max(size, len(content)) > most:", "if size > most + 9:"),
    (
        "base/files.py",
        'if re.fullmatch(rf"{re.escape(UNFINISHED)}[0-9a-f]{{16}}", path.name):',
        "if True:",
    ),
    ("base/locks.py", "            lock.acquire()\n", "            pass\n"),
    (
        "base/tensors.py",
        "return jax.random.key_data(leaf) if is_key(leaf) else leaf",
        "return leaf",
    ),
    ("runs/replacing.py", "(path / ASIDE).rename(path / RESTORING)", "(path / RESTORING).mkdir()"),
    ("runs/replacing.py", '"[0-9]*/state.json"', '"state.json"'),
    ("runs/replacing.py", "return has_checkpoint(path) or", "return True or"),
    ("runs/replacing.py", "    if (path / MOVING).is_dir():\n", "    if False:\n"),
    ("runs/folder.py", "        if has_checkpoint(self.path):\n", "        if True:\n"),
    (
        "runs/model_files.py",
        "tensors, content)\n        write_atomic(folder / DESCRIPTION, text)\n",
        "DESCRIPTION, text)\n        write_atomic(folder / tensors, content)\n",
    ),
    ("runs/model_files.py", 'with alone(folder, "saving a model", wait=True):', "with suppress():"),
    (
        "runs/priors.py",
        "read_rest(file, path, largest_file(skeleton))",
        "Path(path).read_bytes()[: largest_file(skeleton)]",
    ),
    ("training/checkpoints.py", "KEPT = 2\n", "KEPT = 1\n"),
    (
        "training/checkpoints.py",
        "best=kept.state.network if kept.best is None else kept.best",
        "best=kept.state.network",
    ),
    ("training/checkpoints.py", "            scores=np.asarray(kept.scores),\n", ""),
    (
        "training/checkpoints.py",
        "            epochs_kept=tuple(np.asarray(kept.epochs_kept).tolist()),\n",
        "",
    ),
    ("training/checkpoints.py", "            listener.restore(state)\n", "            pass\n"),
    ("training/checkpoints.py", "replace(progress, history=history), partial", "progress, partial"),
    (
        "training/checkpoints.py",
        '_refuse_other(path, _about(path)["identity"])',
        '_about(path)["identity"]',
    ),
    ("training/checkpoints.py", "        sweep(self.folder)\n", ""),
    (
        "training/fit.py",
        "progress, partial = keeper.restore(progress)",
        "progress, _ = keeper.restore(progress)",
    ),
    ("study/reproduce.py", "now.record is not None and now.record != before.record", "False"),
    ("study/reproduce.py", "_refuse_stale([now], folder)", "pass"),
    ("study/reproduce.py", "(wait and busy)", "False"),
    ("study/reproduce.py", 'if event.record.status == "finished":', "if False:"),
    ("study/reproduce.py", '            if one.state == "finished":', "            if False:"),
    (
        "study/run.py",
        "goes_on, earlier, watch = has_checkpoint(path),",
        "goes_on, earlier, watch = False,",
    ),
    ("study/run.py", "if not goes_on or watch.n_epochs:", "if True:"),
    ("study/run.py", "spec.for_record(), source_digest()", "spec.name, source_digest()"),
    ("study/run.py", "spec.for_record(), source_digest()", "spec.for_record()"),
    ("study/run.py", "sum(one.seconds for one in earlier)", "0"),
    ("runs/parts.py", "[identity, source_digest(), environment()]", "[identity, environment()]"),
    ("runs/parts.py", "[identity, source_digest(), environment()]", "[source_digest()]"),
    ("runs/parts.py", "if fresh or other != folder:", "if other != folder:"),
    ("runs/parts.py", "sha256(content[_HASH:]).encode() == content[:_HASH]", "True"),
    ("runs/assess.py", "isinstance(measure, PriorMeasure) and not new", "False"),
    (
        "runs/assess.py",
        '"masks": [sha256(np.asarray(mask).tobytes()) for mask in masks]',
        '"masks": 0',
    ),
    ("runs/assess.py", "_code(type(measure)) for", "0 for"),
    ("base/tensors.py", 'np.asarray(array, order="C") for name', "array for name"),
    ("study/compare.py", 'metrics["model"] != folder.digest(trial)', "False"),
    ("study/tune.py", "seed=self.search.seed + n_begun", "seed=self.search.seed"),
    ("study/tune.py", "claim.enter_context(self._claim(trial.number))", "pass"),
    ("study/tune.py", "len(self.spent()) + len(self._running())", "len(self.spent())"),
    ("study/journal.py", "                if begun:\n", "                if False:\n"),
    ("training/epochs.py", "[:, n_done * batch_size :]", "[:, n_done:]"),
    ("training/epochs.py", "n_batches, [partial.seen]", "n_batches, []"),
    ("training/examples.py", "np.asarray(n_done + first)", "np.asarray(first)"),
]


def survives(file: str, old: str, new: str) -> bool:
    """Whether all tests pass with `old` replaced by `new`."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "src", copy / "src")
        shutil.copytree(ROOT / "tests", copy / "tests")
        shutil.copy(ROOT / "pyproject.toml", copy)
        path = copy / "src" / "gncn" / file
        text = path.read_text(encoding="utf-8")
        if old not in text:
            raise SystemExit(f"{file} no longer holds {old!r}; mend tests/mutate.py")
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        closest = max(filter(file.startswith, TESTS), key=len)
        tests = [f"tests/{name}.py" for name in TESTS[closest]]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
            cwd=copy,
            capture_output=True,
            encoding="utf-8",
            check=False,
            env={
                "PYTHONPATH": str(copy / "src"),
                "PATH": "/usr/bin:/bin",
                "CI": "1",
                "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
            },
        )
        if done.returncode not in (0, 1):
            raise SystemExit(f"pytest broke on {file}: {done.stdout[-2000:]}{done.stderr[-500:]}")
        return done.returncode == 0


def main() -> None:
    """Try every mutant, or only the ones in the files named on the command line."""
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

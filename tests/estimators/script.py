"""From a table of images to a network that is measured, completes and samples."""

import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd  # pyright: ignore[reportMissingImports]
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

import gncn

out = Path(sys.argv[1])
data = gncn.load_dataset("digits")
names = [f"pixel{row}{column}" for row in range(8) for column in range(8)]
frame = pd.DataFrame(16.0 * data.train.images[:600], columns=names)
train, test = train_test_split(frame, test_size=100, random_state=0)

network = gncn.GNCN(sizes=(30, 30), group_size=5, n_epochs=5, n_samples=500)
steps = Pipeline([("scale", MinMaxScaler()), ("network", network)]).set_output(transform="pandas")
grid = {"network__learning_rate": [1e-4, 5e-3]}
search = GridSearchCV(steps, grid, cv=2, n_jobs=2).fit(train)
best = search.best_estimator_
codes = best.transform(test)
print(f"best: {search.best_params_}, log p(x) {best.score(test):.1f} nats")
print(f"codes: {codes.shape[1]} columns, {codes.columns[0]} to {codes.columns[-1]}")

scale, network = best.named_steps["scale"], best.named_steps["network"]
images = scale.transform(test)
found = gncn.evaluate(network, images, only=["likelihood", "sparsity"], n_samples=500, curve=())
print(found)
paths = found.figures(out / "figures")

right = images.copy()
right.iloc[:, 4::8] = np.nan
whole = network.complete(right)
mean = scale.transform(train).mean(axis=0).to_numpy()
hidden, truth = right.isna().to_numpy(), images.to_numpy()
errors = [np.square(one - truth)[hidden].sum() / len(truth) for one in (whole, mean)]
drawn = network.sample(10)
joblib.dump(best, out / "best.joblib")
gncn.save(network.model_, out / "network")
same = joblib.load(out / "best.joblib").score(test) == best.score(test)
print(f"completed: {errors[0]:.2f}; the mean image: {errors[1]:.2f}; drawn {drawn.shape}; {same}")

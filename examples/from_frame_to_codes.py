"""A data frame in; a network chosen, measured, completed from, sampled from, and its codes out."""

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import gncn

# A frame with a row for each image: 64 columns of greys from 0 to 16, and one of the digits shown.
frame = load_digits(as_frame=True).frame
pixels = frame.drop(columns="target")
train, test, _, digits = train_test_split(pixels, frame["target"], test_size=200, random_state=0)

# Greys are scaled to [0, 1], and the network binarises them. Two epochs or ten?
network = gncn.GNCN(sizes=(40, 40), group_size=5, random_state=0)
pipeline = make_pipeline(MinMaxScaler(clip=True), network)
search = GridSearchCV(pipeline, {"gncn__n_epochs": [2, 10]}, cv=2)  # by log p(x)
search.fit(train)
scaler, best = (step for _, step in search.best_estimator_.steps)
images = scaler.transform(test)

# Measured: log p(x), the squared error of reconstructions, the share of active neurons.
found = gncn.evaluate(best, images, only=["likelihood", "sparsity"], curve=())
print(search.best_params_, found, sep="\n")

# Completed: a third of the pixels is missing.
missing = np.random.default_rng(0).random(images.shape) < 1 / 3
completed = best.complete(np.where(missing, np.nan, images))
wrong = np.mean((completed[missing] > 0.5) != (images[missing] > 0.5))
print(f"{wrong:.0%} of the missing pixels are completed wrongly")

# Sampled and exported.
samples = best.sample(16)
gncn.export(best, "codes.csv", images, labels=digits)
codes = pd.read_csv("codes.csv", index_col="number")
print(codes.groupby("label").mean().round(2).iloc[:, :4])

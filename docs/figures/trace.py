"""The best loss of a search against the number of candidates: each tenfold buys less."""

import matplotlib.pyplot as plt

import metaopt_fast as mf
from metaopt_fast.datasets import load_breast_cancer

X, y, _ = load_breast_cancer()
X = (X - X.mean(axis=0)) / X.std(axis=0)
objective = mf.LogisticLoss(X, y, fit_intercept=True)

fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for seed in range(3):
    mf.random_search(objective, mf.Normal(), 300_000, seed=seed).plot_trace(ax=ax)

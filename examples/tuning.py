"""
Tuning a logistic regression, by two libraries
==============================================

Tuning a logistic regression: the same search by scikit-learn and by metaopt_fast.

Two hundred penalties times five folds are a thousand models. scikit-learn fits one after the
other; here all are one computation, and each comes with a proof of how far from its optimum it is.

Run it: ``python examples/tuning.py [N_PENALTIES]``    (needs scikit-learn)
"""

import sys
from time import perf_counter

import matplotlib.pyplot as plt
from scipy.stats import loguniform
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RandomizedSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metaopt_fast.datasets import load_breast_cancer
from metaopt_fast.sklearn import LogisticRegressionSearchCV


def main(n_iter=200):
    """Print seconds, penalties and scores of both; return the two searches."""
    X, y, _ = load_breast_cancer()
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    common = {"n_iter": n_iter, "cv": 5, "scoring": "neg_log_loss", "random_state": 0}
    candidates = {"C": loguniform(1e-4, 1e4)}
    searches = {
        "scikit-learn": RandomizedSearchCV(
            LogisticRegression(max_iter=10_000), candidates, n_jobs=-1, **common
        ),
        "metaopt_fast": LogisticRegressionSearchCV(candidates=candidates, **common),
    }
    for name, search in searches.items():
        started = perf_counter()
        pipeline = make_pipeline(StandardScaler(), search).fit(X_train, y_train)
        seconds = perf_counter() - started
        accuracy = (pipeline.predict(X_test) == y_test).mean()
        print(
            f"{name:14}{seconds:7.2f} s   C = {search.best_params_['C']:.4f}   "
            f"log loss {-search.best_score_:.5f}   held-out accuracy {accuracy:.3f}"
        )
    ours = searches["metaopt_fast"]
    print(f"every model within {ours.gap_bounds_.max():.1e} of its optimum: proven")
    return searches


def draw(searches):
    """Draw the scores of all penalties by both."""
    _, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
    styles = {
        "scikit-learn": {"marker": "o", "markersize": 9, "fillstyle": "none", "color": "#D55E00"},
        "metaopt_fast": {"marker": "x", "markersize": 5, "color": "#0072B2"},
    }
    for name, search in searches.items():
        found = search.cv_results_
        losses = [-score for score in found["mean_test_score"]]
        ax.plot(found["param_C"].astype(float), losses, linestyle="", label=name, **styles[name])
    ax.set(xscale="log", yscale="log", xlabel="C", ylabel="mean log loss of 5 folds")
    ax.grid(color="0.9")
    ax.legend()


if __name__ == "__main__":
    draw(main(*map(int, sys.argv[1:])))
    plt.show()

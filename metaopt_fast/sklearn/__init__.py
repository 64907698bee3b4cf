"""Estimators in scikit-learn's protocol: the only wing that imports scikit-learn or SciPy.

But for one module, ``models.pipeline``, which makes scikit-learn's own of a model.

Only users import it.
"""

from metaopt_fast.sklearn.permutation import permutation_test_score
from metaopt_fast.sklearn.regression import LogisticRegression
from metaopt_fast.sklearn.search import LogisticRegressionSearchCV
from metaopt_fast.sklearn.svc import LinearSVC
from metaopt_fast.sklearn.tree import BestTreeClassifier

__all__ = [
    "BestTreeClassifier",
    "LinearSVC",
    "LogisticRegression",
    "LogisticRegressionSearchCV",
    "permutation_test_score",
]

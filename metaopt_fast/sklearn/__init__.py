"""Estimators in scikit-learn's protocol: the only wing that imports scikit-learn or SciPy.

But for one module, ``models.pipeline``, which makes scikit-learn's own of a model.

Only users import it.
"""

try:  # before any module of ours, each of which would raise a word of its own
    import sklearn.model_selection  # noqa: F401
    from sklearn.utils.validation import validate_data  # noqa: F401  # since 1.6
except ImportError:
    raise ImportError(
        "metaopt_fast.sklearn needs scikit-learn 1.6 or newer: pip install 'metaopt_fast[sklearn]'."
    ) from None

from metaopt_fast.sklearn.grouped import GroupedLogisticRegressionCV
from metaopt_fast.sklearn.network import NetworkClassifier
from metaopt_fast.sklearn.network_search import NetworkSearchCV
from metaopt_fast.sklearn.permutation import permutation_test_score, plot_permutation_test
from metaopt_fast.sklearn.regression import LogisticRegression
from metaopt_fast.sklearn.search import LogisticRegressionSearchCV
from metaopt_fast.sklearn.svc import LinearSVC
from metaopt_fast.sklearn.tree import BestTreeClassifier

__all__ = [
    "BestTreeClassifier",
    "GroupedLogisticRegressionCV",
    "LinearSVC",
    "LogisticRegression",
    "LogisticRegressionSearchCV",
    "NetworkClassifier",
    "NetworkSearchCV",
    "permutation_test_score",
    "plot_permutation_test",
]

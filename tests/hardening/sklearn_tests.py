"""scikit-learn's own tests of LogisticRegression, with ours behind its name.

``python tests/hardening/sklearn_tests.py`` runs sklearn.linear_model.tests.test_logistic, as it is
installed, and tells for each test function how many of its cases fail that are known to, and why.
"""

import collections
import re

from checks import EXTRA, Report, needs

MODULE = "sklearn.linear_model.tests.test_logistic"
# At least so many pass, of 295 that run.
PASSED = 242

LIBLINEAR = "liblinear stands for the same optimum here, and for what the others can"
CALLBACKS = "there are no callbacks"
PRIVATE = "attributes or arguments that are scikit-learn's own"
L1_CLASSES = "an l1 penalty is for two classes"
# How many cases of each test function fail, and why, with scikit-learn 1.9.
KNOWN = {
    "test_LogisticRegressionCV_GridSearchCV_elastic_net": (1, L1_CLASSES),
    "test_check_solver_option": (1, LIBLINEAR),
    "test_dtype_match": (4, "of liblinear, coefficients are float32, too"),
    "test_large_sparse_matrix": (6, "indices of 64 bits are taken, whatever the solver's name"),
    "test_liblinear_dual_random_state": (1, "an optimum does not depend on random_state"),
    "test_liblinear_multiclass_raises": (1, LIBLINEAR),
    "test_liblinear_with_large_values": (1, "large values are no error"),
    "test_logistic_cv": (2, "coefficients of a tolerance of 1e-4 are compared with"),
    "test_logistic_cv_multinomial_score": (5, PRIVATE),
    "test_logistic_regression_callback_fitted_estimator": (4, CALLBACKS),
    "test_logistic_regression_callback_support": (3, CALLBACKS),
    "test_logistic_regression_callback_support_warning": (1, CALLBACKS),
    "test_logisticregression_warns_with_n_jobs": (1, "n_jobs has an effect"),
    "test_logreg_predict_proba_multinomial": (1, PRIVATE),
    "test_multinomial_logistic_regression_string_inputs": (1, "a class may not weigh 0"),
    "test_newton_cholesky_fallback_to_lbfgs": (1, "no solver falls back on another"),
    "test_scores_attribute_layout_elasticnet": (
        1,
        "scores of a tolerance of 1e-4 are compared with",
    ),
    "test_warm_start": (10, "a step of max_iter stands for ten, which come too near"),
    "test_warm_start_newton_solver": (8, "two steps at once are not two with pairs forgotten"),
}


class Behind:
    """A plugin of pytest: ours takes the place of theirs before the tests are imported."""

    def __init__(self):
        self.passed, self.failed = 0, collections.Counter()

    def pytest_configure(self, config):
        import sklearn.linear_model

        from metaopt_fast.sklearn import LogisticRegression

        sklearn.linear_model.LogisticRegression = LogisticRegression

    def pytest_runtest_logreport(self, report):
        name = re.search(r"::(\w+)", report.nodeid)[1]
        if report.failed:
            self.failed[name] += 1
        elif report.when == "call" and report.passed:
            self.passed += 1


def main():
    needs(EXTRA, packages=("pytest", "sklearn"))
    import pytest

    found = Behind()
    options = ["-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "--no-summary"]
    pytest.main([*options, "--pyargs", MODULE], plugins=[found])
    report = Report()
    report.line(f"{PASSED} of scikit-learn's tests pass", found.passed >= PASSED, found.passed)
    for name in sorted(KNOWN.keys() | found.failed.keys()):
        known, why = KNOWN.get(name, (0, "not known"))
        figure = f"{found.failed[name]} fail: {why}"
        report.line(name, found.failed[name] <= known, figure)
    report.exit()


if __name__ == "__main__":
    main()

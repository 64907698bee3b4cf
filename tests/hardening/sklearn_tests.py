"""scikit-learn's own tests of LogisticRegression, with ours behind its name.

``python tests/hardening/sklearn_tests.py`` runs sklearn.linear_model.tests.test_logistic, as it is
installed, and tells for each test function how many of its cases fail that are known to, and why.
"""

import collections
import re

from checks import EXTRA, Report, needs

MODULE = "sklearn.linear_model.tests.test_logistic"
# At least so many pass.
PASSED = 240

# How many cases of each test function fail, and why, with scikit-learn 1.9.
KNOWN = {}


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

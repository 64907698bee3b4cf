"""Arguments of scikit-learn's LogisticRegression that ours takes in its place: those that choose
how an optimum is found are checked and change nothing, since there is one."""

from __future__ import annotations

import warnings
from typing import Any

from sklearn.utils import check_random_state

from metaopt_fast.machine import default_n_threads
from metaopt_fast.validation.values import (
    MAX_THREADS,
    check_flag,
    check_integer,
    check_number,
    describe,
)

SAG = "The max_iter was reached which means the coef_ did not converge."
# The solvers, and how scikit-learn says that one has taken max_iter steps.
WORDS = {
    "lbfgs": "lbfgs failed to converge after {} iteration(s).",
    "liblinear": "Liblinear failed to converge, increase the number of iterations.",
    "newton-cg": "newton-cg failed to converge. Increase the number of iterations.",
    "newton-cholesky": "Newton solver did not converge after {} iterations.",
    "sag": SAG,
    "saga": SAG,
}
# The part of the l1 penalty that each of the penalties that scikit-learn has deprecated means.
RATIOS = {"l2": 0.0, "l1": 1.0}
PENALTIES = (*RATIOS, "elasticnet", None)


def check_ignored(
    *, solver: Any, random_state: Any, verbose: Any, dual: Any, intercept_scaling: Any
) -> None:
    """Raise an error where an argument that changes nothing is none of scikit-learn's."""
    if not isinstance(solver, str) or solver not in WORDS:
        raise ValueError(
            f"solver is {describe(solver)}: pass one of {', '.join(WORDS)}; all of them stand "
            "for the same optimum."
        )
    check_random_state(random_state)
    check_integer("verbose", int(verbose) if isinstance(verbose, bool) else verbose, 0)
    check_flag("dual", dual)
    check_number("intercept_scaling", intercept_scaling, 0.0, strictly=True)


def words_of(solver: str, max_iter: int) -> str:
    """Return scikit-learn's words for models that have not converged in max_iter steps."""
    return WORDS[solver].format(max_iter)


def threads_of(n_jobs: Any, n_threads: Any) -> Any:
    """Return the number of threads, as either name gives it."""
    if n_jobs is None:
        return n_threads
    if n_threads is not None:
        raise ValueError("n_jobs and n_threads are both given: pass one of them.")
    jobs = check_integer("n_jobs", n_jobs, -MAX_THREADS, MAX_THREADS)
    if jobs == 0:
        raise ValueError("n_jobs is 0: pass a number of threads, or -1 for all of them.")
    return jobs if jobs > 0 else max(1, default_n_threads()[0] + 1 + jobs)


def penalty_of(penalty: Any, C: Any, l1_ratio: Any) -> tuple[Any, Any]:
    """Return C and l1_ratio as they follow from `penalty`, too, which scikit-learn 1.8 has
    deprecated, in its words."""
    if l1_ratio is None:
        if isinstance(penalty, str) and penalty == "elasticnet":
            raise ValueError("l1_ratio is None and penalty 'elasticnet': pass l1_ratio alone.")
        if penalty == "deprecated":
            warnings.warn(
                "'l1_ratio=None' was deprecated in scikit-learn 1.8: pass l1_ratio=0.",
                FutureWarning,
                stacklevel=3,
            )
        l1_ratio = 0.0
    if isinstance(penalty, str) and penalty == "deprecated":
        return C, l1_ratio
    if not isinstance(penalty, (str, type(None))) or penalty not in PENALTIES:
        raise ValueError(
            f"penalty is {describe(penalty)}: leave it out, and pass l1_ratio=0 for l2, 1 for l1, "
            "a number between for an elastic net, or C=inf for none."
        )
    warnings.warn(
        "'penalty' was deprecated in scikit-learn 1.8: leave it out, and pass l1_ratio=0 for l2, 1 "
        "for l1, a number between for an elastic net, or C=inf for none.",
        FutureWarning,
        stacklevel=3,
    )
    if penalty is None:
        if C != 1.0:
            warnings.warn(
                "Setting penalty=None will ignore the C and l1_ratio parameters: pass C=inf alone.",
                UserWarning,
                stacklevel=3,
            )
        return float("inf"), 0.0
    wanted = RATIOS.get(penalty, l1_ratio)
    if l1_ratio != wanted:
        # A ratio of one of the two penalties alone may be what was left as it was.
        words = (
            f"Inconsistent values: penalty={penalty} with l1_ratio={l1_ratio}"
            if l1_ratio in RATIOS.values()
            else "l1_ratio parameter is only used when penalty is 'elasticnet'. Got "
            f"(penalty={penalty})"
        )
        warnings.warn(f"{words}: leave penalty out.", UserWarning, stacklevel=3)
    return C, wanted

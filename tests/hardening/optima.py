"""What `fit_many` calls converged is an optimum, and its bounds are bounds: random data, judged.

Each number draws a data set of 10 to 80 rows and 1 to 400 columns of three kinds (standardised, of
any units, far from 0), a penalty, weights, and the call that is tried. A quarter more have columns
that nearly depend on each other, a twentieth more have no optimum. The judge is a Newton method in
extended precision with a proof of its own. As many numbers more draw paths of l1 penalties,
support vector machines and softmax regressions, whose bounds are held against better models in
extended precision.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from checks import Report

sys.path.append(str(Path(__file__).parents[1]))
from bound_draws import judge_classes, judge_free_path, judge_machine, judge_path
from logistic_draws import ABOVE, DEPENDENT, KINDS, UNBOUNDED, draw, judge

SHARE = 0.99


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="number of the first draw")
    options = parser.parse_args()
    report, tried, converged = Report(), Counter(), Counter()
    wrong = {"false": [], "silent": [], "lie": []}
    n_above, worst = 0, 0.0
    numbers = range(options.seed, options.seed + options.draws)
    cases = [(number, None) for number in numbers]
    cases += [(number, UNBOUNDED) for number in numbers[::20]]
    cases += [(number, DEPENDENT) for number in numbers[::4]]
    for number, kind in cases:
        found = judge(draw(number, kind), number)
        tried[found.draw.kind] += 1
        converged[found.draw.kind] += found.converged
        n_above += found.converged and found.gap > max(ABOVE, found.draw.tol)
        worst = max(worst, abs(found.unsure) / max(1e-3, found.loss))
        for name, holds in found.wrong().items():
            if holds:
                wrong[name].append(number)
                print(f"{name:6}  {number}: {found}", flush=True)
    of_all = f"of {len(cases):,}"
    report.line(
        "the judge's own proof", worst < 1e-9, f"at most {worst:.0e} of an objective is left open"
    )
    report.line(
        "converged, but more than 1e-6 and 0.1 % above the least objective",
        not wrong["false"],
        f"{len(wrong['false'])} {of_all} ({n_above} more than 1e-6 or tol alone)",
    )
    report.line(
        "neither converged nor warned of", not wrong["silent"], f"{len(wrong['silent'])} {of_all}"
    )
    report.line(
        "gap_bound or certificate below the true gap",
        not wrong["lie"],
        f"{len(wrong['lie'])} {of_all}",
    )
    for kind in (*KINDS, DEPENDENT):
        share = converged[kind] / max(1, tried[kind])
        report.line(
            f"converged of the data {kind}",
            share >= SHARE or kind in (KINDS[2], DEPENDENT),
            f"{converged[kind]:,} of {tried[kind]:,} ({share:.1%})",
        )
    judges = {
        "l1 paths": judge_path,
        "l1 paths with features without a penalty": judge_free_path,
        "machines": judge_machine,
        "softmax": judge_classes,
    }
    for name, judge_one in judges.items():
        found = [(number, one) for number in numbers for one in judge_one(number)]
        false = [(number, one) for number, one in found if one.is_false]
        for number, one in false:
            print(f"false   {number}: {one}", flush=True)
        of_those = f"{len(false)} of {len(found):,}, {sum(one.converged for _, one in found):,} "
        report.line(f"gap_bound of {name} below a gap", not false, f"{of_those}converged")
    report.exit()


if __name__ == "__main__":
    main()

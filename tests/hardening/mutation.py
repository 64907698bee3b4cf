"""Mutants of the package, made by cosmic-ray: how many of them do the tests notice?

From each module some mutants are drawn with a fixed seed, and each is run with the tests of its
module alone, until one fails, which has to pass without the mutant: else the mutant is counted
apart, as one is that makes them run out of time. Annotations are no code and are left out. Needs
cosmic-ray; `mutation.py 15 counts metrics` draws 15 from each of two modules, `mutation.py 5` from
all (hours).
"""

import collections
import contextlib
import difflib
import importlib
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

from checks import EXTRA, ROOT, copy_project, needs, path_of_tests

# Tests of a module, where they are not in the file of its folder that has its name.
TESTS = {
    "arithmetic": ["arithmetic"],
    "bench/rates": ["kernel_rates"],
    "bench/works": ["kernel_rates"],
    "bench/roofline": ["kernel_rates"],
    "cli/arguments": ["usage", "every_option", "descent_arguments"],
    "cli/command_options": ["usage", "every_option"],
    "cli/bootstrapping": ["bootstrap_command"],
    "cli/comparison": ["search_command"],
    "cli/data": ["inputs", "models_of_commands"],
    "cli/data_options": ["usage", "every_option", "models_of_commands"],
    "cli/figures": ["models_of_commands"],
    "cli/fitted_report": ["models_of_commands", "tune_command", "bootstrap_command"],
    "cli/permuting": ["permutation_command"],
    "cli/predicting": ["models_of_commands"],
    "cli/shards": ["shards_of_commands"],
    "cli/stop": ["processes"],
    "cli/trees": ["tree_command"],
    "cli/tuning": ["tune_command", "models_of_commands"],
    "cli/data_report": ["inputs", "search_command", "tune_command", "tree_command"],
    "cli/job": ["search_command", "inputs", "checkpoints_of_commands"],
    "cli/options": ["usage", "every_option"],
    "cli/output": ["written_files", "processes"],
    "cli/program": ["search_command", "usage", "processes", "kernel_rates", "tune_command"],
    "cli/report": ["search_command", "counts_and_populations"],
    "cli/tune_report": ["tune_command"],
    "cli/network_report": ["tune_command"],
    "cli/waiting": ["waiting"],
    "cli/values": ["usage", "every_option", "tune_command", "counts_and_populations"],
    "data/batches": ["batches"],
    "data/checks": ["bad_input", "frames", "subset"],
    "data/numbers": ["packing", "bad_input", "duplicates", "storage"],
    "data/order": ["packing", "kernels", "subset", "storage"],
    "data/packed": ["packing", "subset", "eigenvalues"],
    "data/packing": ["packing", "kernels", "subset"],
    "data/products": ["packing", "eigenvalues"],
    "data/rows": ["packing"],
    "data/splitting": ["packing", "subset", "storage"],
    "data/standardize": ["standardize"],
    "data/storage": ["storage", "batches"],
    "data/subsets": ["subset"],
    "descent/first_order": ["optimizers"],
    "descent/held_out": ["held_out"],
    "descent/schedules": ["schedules"],
    "descent/gradient_descent": ["descent", "descents", "descent_arguments", "held_out"],
    "descent/line_search": ["optimizers", "descent"],
    "descent/loop": ["descent", "descents", "held_out"],
    "descent/options": ["descents", "descent_arguments"],
    "descent/result": ["descent", "descents"],
    "descent/starts": ["descents", "descent_arguments"],
    "descent/rule": ["optimizers", "descent_arguments"],
    "evolution/checkpoint_contents": ["evolve_stops", "restored"],
    "evolution/continuous": ["evolve"],
    "evolution/evolve": ["evolve", "evolve_stops", "every_argument_of_runs"],
    "evolution/result": ["evolve", "evolve_stops"],
    "evolution/integers": ["evolve"],
    "evolution/run": ["evolve", "evolve_stops"],
    "evolution/strategy": ["evolve", "every_argument_of_runs"],
    "files/archive": ["evolve_stops"],
    "files/atomic": ["evolve_stops", "result", "written_files"],
    "files/compressed": ["tables", "dialects"],
    "files/csv_columns": ["tables", "saved_frames", "dialects"],
    "files/csv_file": ["tables", "saved_frames", "dialects"],
    "files/csv_lines": ["tables", "saved_frames", "dialects"],
    "files/dialect": ["tables", "dialects"],
    "files/errors": ["tables", "saved_frames"],
    "files/npy_header": ["tables", "result"],
    "files/numpy_file": ["tables", "saved_frames"],
    "files/arrow_file": ["ordinary_files"],
    "files/csv_plain": ["plain_rows"],
    "files/owned": ["checkpoint", "evolve_stops"],
    "files/parquet_file": ["saved_frames", "tables", "dialects"],
    "files/read": ["tables"],
    "files/table": ["tables", "saved_frames", "dialects"],
    "files/recoded": ["dialects"],
    "files/wanted": ["tables", "dialects"],
    "fitting/arguments": ["training", "every_argument_of_runs"],
    "fitting/by_folds": ["spread", "standardized"],
    "fitting/certificates": ["gap_bounds", "newton"],
    "fitting/class_weights": ["training", "every_argument_of_runs"],
    "fitting/dense_fits": ["training", "newton", "spread"],
    "fitting/fit_many": ["training"],
    "fitting/hessians": ["newton", "training"],
    "fitting/deviations": ["standardized"],
    "fitting/falls": ["hinge", "differing", "sparse_fits"],
    "fitting/findings": ["newton", "gap_bounds"],
    "fitting/machines": ["machines"],
    "fitting/penalty_arguments": ["lasso", "free_features", "training"],
    "fitting/standardized": ["standardized"],
    "fitting/hinge": ["hinge", "svc"],
    "fitting/hinge_gaps": ["hinge"],
    "fitting/data_values": ["data_values"],
    "fitting/differing": ["differing"],
    "selection/descents": ["descent_search", "racing"],
    "selection/episodes": ["priors"],
    "selection/priors": ["priors"],
    "selection/permutations": ["permutation_command", "permutation"],
    "selection/rungs": ["priors"],
    "selection/racing": ["racing"],
    "selection/penalties": ["tuned_penalties"],
    "sklearn/grouped": ["grouped"],
    "selection/candidates": ["racing", "descent_search", "identity"],
    "fitting/validation_gradients": ["validation_gradients"],
    "fitting/differing_arguments": ["differing"],
    "fitting/fit_differing": ["differing", "machines"],
    "fitting/lane_fits": ["differing"],
    "fitting/lasso": ["lasso", "sparse_lasso", "free_features"],
    "fitting/lasso_columns": ["lasso", "sparse_lasso"],
    "fitting/normal": ["bootstrap"],
    "fitting/resamples": ["bootstrap", "bad_input"],
    "fitting/resampled_models": ["bootstrap"],
    "fitting/resample_tuning": ["bootstrap"],
    "fitting/bootstrap_result": ["bootstrap"],
    "fitting/label_vectors": ["permutation", "permutation_command"],
    "fitting/shared_rows": ["differing"],
    "fitting/models": ["newton", "training"],
    "fitting/paths": ["newton", "training"],
    "fitting/reductions": ["training", "newton"],
    "fitting/result": ["training", "models_of_fits", "results"],
    "data/sparse_packed": ["sparse_losses"],
    "data/sparse_rows": ["sparse_rows"],
    "fitting/sparse_fits": ["sparse_fits"],
    "fitting/sparse_sets": ["sparse_fits"],
    "fitting/sparse_softmax": ["sparse_softmax"],
    "fitting/softmax": ["softmax_fits", "multiclass"],
    "fitting/softmax_gaps": ["softmax_fits"],
    "fitting/softmax_sets": ["softmax_fits"],
    "fitting/stability": ["stability"],
    "fitting/starts": ["training"],
    "fitting/task_rows": ["tasks"],
    "fitting/tasks": ["tasks"],
    "fitting/training_sets": ["training"],
    "fitting/walks": ["newton", "training"],
    "floating_errors": ["seterr"],
    "machine": ["threads"],
    "metrics": ["counts", "every_argument"],
    "models/fitted": ["model", "model_file"],
    "models/model": ["model", "model_file"],
    "models/network_model": ["model_file", "model_of_results"],
    "models/networks": ["model_file", "networks"],
    "models/pipeline": ["model"],
    "models/preparation": ["model", "models_of_commands"],
    "models/raw_rows": ["model"],
    "models/tree": ["best_tree", "tree_model"],
    "models/tree_drawing": ["best_tree"],
    "models/tree_model": ["tree_model"],
    "objectives/base": ["losses", "kernels", "bad_input", "pruning"],
    "objectives/count_objective": ["counts", "every_argument"],
    "objectives/counts": ["counts", "exact_counts", "every_argument"],
    "objectives/costs": ["gains"],
    "objectives/dispersions": ["moments"],
    "objectives/limits": ["counts"],
    "objectives/screening": ["screening", "gains", "tangents", "prospects"],
    "objectives/stages": ["gains"],
    "objectives/pointwise": ["kernels", "bad_input", "pruning", "subset", "threads", "descent"],
    "objectives/network": ["network"],
    "objectives/softmax": ["softmax", "losses"],
    "objectives/unscreened": ["sparse_losses"],
    "models/of_result": ["model_of_results"],
    "notebook": ["model_of_results"],
    "plots": ["plots"],
    "runs/evaluation": ["search", "search_objectives", "own_samplers", "bad_input"],
    "runs/options": ["search", "bad_input"],
    "runs/progress": ["search"],
    "runs/provenance": ["search", "checkpoint", "identity", "restored"],
    "runs/ranges": ["result", "search"],
    "runs/ranking": ["result", "search"],
    "runs/saved": ["stored", "result", "evolve_stops"],
    "runs/spread": ["spread"],
    "runs/workers": ["executors", "search"],
    "samplers/base": ["samplers", "search", "bad_input"],
    "samplers/box": ["enumeration"],
    "samplers/from_dict": ["samplers", "sparse_integers", "enumeration"],
    "samplers/independent": ["samplers", "sparse_integers", "search"],
    "samplers/log_uniform": ["descent_search"],
    "samplers/mixture": ["samplers", "every_argument"],
    "samplers/own": ["own_samplers"],
    "samplers/sparsity": ["sparse_integers"],
    "search/checkpoint": ["checkpoint", "search"],
    "search/checkpoint_contents": ["checkpoint", "search"],
    "search/random_search": ["search", "search_stops", "checkpoint"],
    "search/result": ["result", "search", "search_stops", "plots"],
    "search/snapshot": ["snapshot", "shards_of_commands"],
    "search/shards": ["search", "pruning", "checkpoint", "gains"],
    "fitting/choice": ["sklearn", "tune", "results"],
    "selection/folds": ["folds", "sklearn"],
    "selection/multiclass_scores": ["multiclass"],
    "selection/networks": ["networks"],
    "selection/tune_networks": ["tune_command"],
    "selection/scores": ["tune", "sklearn"],
    "selection/splits": ["folds", "tune", "sklearn"],
    "sklearn/candidates": ["sklearn", "networks"],
    "sklearn/classifier": ["sklearn", "every_argument_of_estimators"],
    "sklearn/cv_results": ["sklearn", "tune"],
    "sklearn/drop_in": ["drop_in"],
    "sklearn/network": ["networks"],
    "sklearn/network_search": ["networks"],
    "sklearn/scoring": ["scorers", "sklearn"],
    "sklearn/regression": ["sklearn", "every_argument_of_estimators", "drop_in"],
    "sklearn/permutation": ["permutation"],
    "sklearn/search": ["sklearn", "tune", "every_argument_of_estimators"],
    "sklearn/svc": ["svc"],
    "sklearn/tree": ["trees"],
    "trees/arguments": ["best_tree"],
    "trees/counting": ["best_tree"],
    "trees/features": ["best_tree"],
    "trees/growing": ["best_tree"],
    "validation/labels": ["frames", "bad_input", "counts"],
    "validation/text": ["tables", "saved_frames"],
    "validation/values": ["bad_input", "every_argument", "checkpoint", "descent_arguments"],
}
# Data and what needs no test of its own; the references are what tests compare with.
LEFT_OUT = {"__init__", "__main__", "_version", "typing"}
PACKAGE = ROOT / "metaopt_fast"
MODULES = sorted(
    path.relative_to(PACKAGE).with_suffix("").as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.stem not in LEFT_OUT and path.parent.name != "reference"
)
# Of `|`: nearly all are annotations.
NO_CODE = "core/ReplaceBinaryOperator_BitOr_"
# Of a processor's time, which a busy machine does not use up; and of any time.
SECONDS, PATIENCE = 120, 1200
NO_TESTS = 5  # what pytest ends with where no test has the marks
OPTIONS = ["-p", "no:cacheprovider", "--hypothesis-seed=0"]
# Another number draws other mutants: after tests were written for those that had lived.
SEED = 5


def tests_of(module):
    """Return the files of a module's tests."""
    if module in TESTS:
        return [path_of_tests(name) for name in TESTS[module]]
    folder, _, name = module.rpartition("/")
    path = path_of_tests(name)
    # A file of that name elsewhere tests another module, and mutants of this one would live.
    if Path(path).parent.name != folder:
        sys.exit(f"mutation.py: say in TESTS which files test {module}.")
    return [path]


class Tests:
    """Runs tests in a copy of the repository, each time in a child of this process, which has
    imported what takes longest.

    Parameters
    ----------
    folder : pathlib.Path
        The copy.
    """

    def __init__(self, folder):
        self.folder, self.output = folder, folder / "mutation.txt"
        self.sound = {}  # whether a test passes without a mutant
        for name in ("hypothesis", "mpmath", "pandas", "pytest", "scipy.stats", "sklearn.svm"):
            importlib.import_module(name)

    def run(self, tests, marks):
        """Return what pytest ends with, None where it runs out of time; and what it prints."""
        if (child := os.fork()) == 0:
            self.become(["-x", "-q", "-o", "addopts=", "-m", marks, *OPTIONS, *tests])
        ends = time.monotonic() + PATIENCE
        while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < ends:
            time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what it has started, too
        if not ended[0]:
            ended = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(ended[1])
        out_of_time = code in (-signal.SIGXCPU, -signal.SIGKILL)
        return None if out_of_time else code, self.output.read_text(errors="replace")

    def become(self, arguments):
        """Be pytest, in the copy, and end."""
        try:
            os.setpgid(0, 0)
            os.chdir(self.folder)
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
            with open(self.output, "w", encoding="utf-8") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            # No bytecode: by its size and the second of its change, a file may be its mutant.
            sys.dont_write_bytecode = True
            os.environ |= {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
            sys.path[:0] = [str(self.folder)]
            code = importlib.import_module("pytest").main(arguments)
            sys.stdout.flush()
            os._exit(code)
        finally:
            os._exit(99)

    def outcome(self, tests):
        """The outcome in a word: killed, lived or timeout; and what pytest prints. The longest are
        run last."""
        for marks in ("not long", "long"):
            code, output = self.run(tests, marks)
            if code is None:
                return "timeout", output
            if code not in (0, NO_TESTS):
                return "killed", output
        return "lived", ""

    def passes(self, output):
        """Whether the test that has failed passes, now that there is no mutant."""
        failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", output, re.MULTILINE)
        if not failed:
            return True  # the process ended, or the package could not be imported
        # Of a test with parameters, all: their names may hold what pytest does not read again.
        test = failed[1].partition("[")[0]
        if test not in self.sound:
            self.sound[test] = self.run([test], "")[0] == 0
        return self.sound[test]


def drawn(source, module, count):
    """Return so many mutants of a module's source, drawn by its name: operator, line, source."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    found = []
    tree = get_ast(source)
    for name in sorted(operator_names()):
        kind = get_operator(name)
        if name.startswith(NO_CODE) or kind.arguments():
            continue
        places = [
            start[0] for node in ast_nodes(tree) for start, _ in kind().mutation_positions(node)
        ]
        found += [(name, line, number) for number, line in enumerate(places)]
    chosen = random.Random(f"{SEED} {module}").sample(found, min(count, len(found)))
    return [
        (name, line, mutate_code(source, get_operator(name)(), number))
        for name, line, number in sorted(chosen)
    ]


def mutants(tests, module, count):
    """Draw mutants of a module and test them; return operator, line, outcome and diff of each."""
    path = tests.folder / f"metaopt_fast/{module}.py"
    source, results = path.read_text(), []
    for name, line, mutant in drawn(source, module, count):
        path.write_text(mutant)
        try:
            outcome, output = tests.outcome(tests_of(module))
        finally:
            path.write_text(source)
        if outcome == "killed" and not tests.passes(output):
            outcome = "unsound"
        lines = difflib.unified_diff(source.splitlines(), mutant.splitlines(), lineterm="", n=2)
        results.append((name, line, outcome, "\n".join(lines)))
    return results


def main():
    if len(sys.argv) < 2 or not sys.argv[1].isdigit():
        sys.exit("mutation.py: pass the number of mutants of each module: mutation.py 5 metrics")
    needs(EXTRA, packages=["cosmic_ray"])
    count = int(sys.argv[1])
    modules = sys.argv[2:] or MODULES
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "copy")
        copy_project(folder)
        tests = Tests(folder)
        for module in modules:
            found = mutants(tests, module, count)
            counts.update(outcome for _, _, outcome, _ in found)
            print(
                f"{module:32}{sum(m[2] == 'killed' for m in found):4} of {len(found)}", flush=True
            )
            for name, row, outcome, diff in found:
                if outcome != "killed":
                    print(f"  {outcome}: {name} in line {row}\n{diff}", flush=True)
    print(f"{counts['killed'] / counts.total():.1%} killed: {dict(counts)}")


if __name__ == "__main__":
    main()

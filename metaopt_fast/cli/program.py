"""The program ``metaopt-fast``: random search and tuning over a file, from the command line."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from metaopt_fast.cli.arguments import PROGRAM, make_parser
from metaopt_fast.cli.comparison import fitted
from metaopt_fast.cli.data import DataSettings, read_data
from metaopt_fast.cli.data_report import STDIN, Data, named
from metaopt_fast.cli.fitted_report import CommandReport
from metaopt_fast.cli.job import (
    Job,
    Settings,
    check_data_usage,
    check_usage,
    model_of,
    part_of,
    sampler_of,
)
from metaopt_fast.cli.output import check_output, check_picture, draw, printable, write_output
from metaopt_fast.cli.report import Report
from metaopt_fast.cli.stop import TERMINATED, Stop, taken_for_ctrl_c
from metaopt_fast.cli.values import kind_of
from metaopt_fast.cli.waiting import PROGRESS, waiting
from metaopt_fast.evolution.result import EvolveResult
from metaopt_fast.files.owned import CheckpointError
from metaopt_fast.floating_errors import shielded
from metaopt_fast.machine import config, show_config
from metaopt_fast.search.random_search import random_search, resume_search
from metaopt_fast.search.result import SearchResult
from metaopt_fast.validation.text import shown

SUCCESS, FAILURE = 0, 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        0; 1 for a failed job; 2 for wrong usage; 130 after Ctrl-C; 143 after SIGTERM, which does
        the same.
    """
    stop = Stop()
    with taken_for_ctrl_c(stop):
        status = _main(argv, stop)
    if stop.came and argv is None:  # the process ends: with this status, if it comes once more
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return TERMINATED if stop.came and status == SUCCESS else status


def _main(argv: Sequence[str] | None, stop: Stop) -> int:
    """Run a command; say in one line what kept it from its end."""
    if sys.stdout is None:  # closed by the shell: >&-
        return _complain("error: stdout is closed: leave it open, or send it to a file.", FAILURE)
    try:
        status = _run(argv, stop)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _complain("interrupted before there was a result", stop.status)
    except BrokenPipeError:
        _abandon_stdout()
        return FAILURE
    except MemoryError:
        return _complain("error: there is not enough memory: pass a smaller file.", FAILURE)
    except OSError as error:
        if error.errno is None:  # a sentence of ours
            return _complain(f"error: {error}", FAILURE)
        if error.filename is None:
            _abandon_stdout()
        name = "stdout" if error.filename is None else shown(os.fsdecode(error.filename))
        return _complain(f"error: {name}: {error.strerror}.", FAILURE)
    except (ValueError, ImportError) as error:
        return _complain(f"error: {error}", FAILURE)
    return status


@shielded
def _run(argv: Sequence[str] | None, stop: Stop) -> int:
    try:
        arguments = make_parser().parse_args(argv)
        arguments.stop = stop
        return COMMANDS[arguments.command](arguments)
    except SystemExit as end:  # argparse's, after --help or a usage error
        return end.code if isinstance(end.code, int) else FAILURE


def _complain(text: str, status: int) -> int:
    if sys.stderr is not None:
        # A path in it may hold what a terminal obeys.
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
        sys.stderr.write(f"{PROGRAM}: {line}\n")
    return status


def _note(data: Data) -> None:
    """Say on stderr what was detected in a file that is not written as most are."""
    if data.table.notes:
        _complain(f"note: {data.name}: {' '.join(map(shown, data.table.notes))}", SUCCESS)


def _abandon_stdout() -> None:
    """Let what could not be written go, or Python would try again at exit, and say so."""
    # Suppressed: where stdout is no file of the system.
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _info(arguments: argparse.Namespace) -> int:
    if arguments.json:
        import json

        sys.stdout.write(json.dumps(config(), indent=1) + "\n")
    else:
        show_config()
    return SUCCESS


def _bench(arguments: argparse.Namespace) -> int:
    from metaopt_fast.bench import roofline
    from metaopt_fast.bench.rates import measure

    _check_outputs(arguments, None)
    rates = measure(arguments.seconds, arguments.threads)
    if arguments.output is not None:
        write_output(arguments.output, roofline.to_json(rates).encode(), arguments.force)
    if arguments.plot is not None:
        picture = draw(partial(roofline.plot_roofline, rates), kind_of(arguments.plot))
        write_output(arguments.plot, picture, arguments.force)
    sys.stdout.write(roofline.to_text(rates))
    return SUCCESS


def _search(arguments: argparse.Namespace) -> int:
    check_usage(arguments)
    _check_outputs(arguments, arguments.file)
    settings = Settings.of(arguments)
    with waiting(f"reading {named(settings.file)}", PROGRESS[arguments.progress]):
        job = Job(settings, arguments.threads)
    arguments.stop.check()
    _note(job.data)
    given = job.objective, sampler_of(arguments, job.data.table)
    options: dict[str, Any] = {
        "seed": arguments.seed,
        "top_k": arguments.top,
        "checkpoint": arguments.checkpoint,
        "progress": PROGRESS[arguments.progress],
        "n_threads": arguments.threads,
        "metadata": asdict(settings),
    }
    if arguments.method == "random":
        start, count = part_of(arguments)
        options["time_budget"] = arguments.time_budget
        run = partial(random_search, *given, count, start=start, **options)
        return _report(arguments, job, run)
    from metaopt_fast.evolution.evolve import evolve

    options |= {
        "method": arguments.method.replace("-", "_"),
        "population": arguments.population,
        "generations": -(-arguments.candidates // arguments.population),
        "time_budget": arguments.time_budget,
    }
    return _report(arguments, job, partial(evolve, *given, **options))


def _resume(arguments: argparse.Namespace) -> int:
    settings = Settings.read(arguments.checkpoint)
    _check_outputs(arguments, settings.file)
    with waiting(f"reading {named(settings.file)}", PROGRESS[arguments.progress]):
        job = Job(settings, arguments.threads)
    arguments.stop.check()
    _note(job.data)
    run = partial(
        resume_search,
        arguments.checkpoint,
        job.objective,
        progress=PROGRESS[arguments.progress],
        n_threads=arguments.threads,
    )
    return _report(arguments, job, run)


def _status(arguments: argparse.Namespace) -> int:
    from metaopt_fast.cli.shards import status

    sys.stdout.write(status(arguments))
    return SUCCESS


def _merge(arguments: argparse.Namespace) -> int:
    from metaopt_fast.cli.shards import merge, missing

    _check_outputs(arguments, None, *arguments.files)
    job, result = merge(arguments)
    _note(job.data)
    if gaps := missing(result):
        _complain(f"note: {gaps}", SUCCESS)
    return _finish(arguments, job, result)


def _tune(arguments: argparse.Namespace) -> int:
    from metaopt_fast.cli.tuning import check_tuning, run_network_tune, run_tune

    check_tuning(arguments)
    settings, data = _read(arguments)
    shown_where = PROGRESS[arguments.progress]
    run = run_tune if arguments.metamodel == "linear" else run_network_tune
    try:
        with waiting(f"training {arguments.candidates:,} candidates", shown_where):
            report = run(arguments, settings, data)
    except KeyboardInterrupt:
        what = "all models are trained together, so that none was finished, and no file was written"
        text = f"interrupted before there was a result: {what}; run it again"
        return _complain(text, arguments.stop.status)
    _deliver(arguments, report)
    return SUCCESS


def _tree(arguments: argparse.Namespace) -> int:
    from metaopt_fast.cli.trees import run_tree

    _, data = _read(arguments)
    with waiting(f"comparing trees of depth {arguments.depth}", PROGRESS[arguments.progress]):
        report = run_tree(arguments, data)
    _deliver(arguments, report)
    return SUCCESS


def _bootstrap(arguments: argparse.Namespace) -> int:
    from metaopt_fast.cli.bootstrapping import run_bootstrap

    if arguments.confidence >= 1:
        arguments.parser.error("--confidence is 1 or more")
    _, data = _read(arguments)
    report = run_bootstrap(arguments, data, PROGRESS[arguments.progress])
    _deliver(arguments, report)
    done = report.result.bootstrap_distribution.shape[1]
    return _status_of_part(arguments, done, arguments.resamples, "resamples")


def _permutation_test(arguments: argparse.Namespace) -> int:
    from metaopt_fast.cli.permuting import run_permutation_test

    settings, data = _read(arguments)
    report = run_permutation_test(arguments, settings, data, PROGRESS[arguments.progress])
    _deliver(arguments, report)
    done = len(report.result.others)
    return _status_of_part(arguments, done, arguments.permutations, "permutations")


def _read(arguments: argparse.Namespace) -> tuple[DataSettings, Data]:
    """Check the options of data and the files to write, and return the data of the one to read."""
    check_data_usage(arguments)
    _check_outputs(arguments, arguments.file)
    settings = DataSettings.of(arguments)
    with waiting(f"reading {named(settings.file)}", PROGRESS[arguments.progress]):
        data = read_data(settings)
    arguments.stop.check()
    _note(data)
    return settings, data


def _status_of_part(arguments: argparse.Namespace, done: int, asked: int, what: str) -> int:
    """Say that fewer were finished than were asked for, if so; return the exit status."""
    if done == asked:
        return SUCCESS
    return _complain(f"interrupted after {done:,} of {asked:,} {what}", arguments.stop.status)


def _predict(arguments: argparse.Namespace) -> int:
    from metaopt_fast.cli.predicting import predict

    return _print(*predict(arguments))


def _score(arguments: argparse.Namespace) -> int:
    from metaopt_fast.cli.predicting import score

    return _print(*score(arguments))


def _print(text: str, notes: list[str]) -> int:
    if notes:
        _complain(f"note: {' '.join(map(shown, notes))}", SUCCESS)
    sys.stdout.write(printable(text))
    return SUCCESS


def _check_outputs(arguments: argparse.Namespace, *files: str | None) -> None:
    """Raise before the search what would keep its result from being written after it."""
    given = (arguments.output, arguments.model, arguments.plot)
    paths = [path for path in given if path is not None]
    for path in paths:
        check_output(path, arguments.force)
    read = (*files, arguments.test)
    taken = [path for path in (*read, arguments.checkpoint, *paths) if path not in (None, STDIN)]
    if len({os.path.realpath(path) for path in taken}) < len(taken):
        arguments.parser.error("two of the given files are the same")
    if arguments.plot is not None:
        check_picture()


def _report(
    arguments: argparse.Namespace, job: Job, run: Callable[[], SearchResult | EvolveResult]
) -> int:
    """Run a search, and report it; return the exit status."""
    try:
        result = run()
    except CheckpointError as error:
        if error.result is not None:  # what was found before the checkpoint was gone
            _finish(arguments, job, error.result)
        raise
    return _finish(arguments, job, result)


def _finish(arguments: argparse.Namespace, job: Job, result: SearchResult | EvolveResult) -> int:
    """Print and write the result; return the exit status."""
    arguments.stop.is_reporting = True
    objective = job.objective
    found: dict[str, Any] = config()
    was_interrupted, fit = result.interrupted, None
    if not (was_interrupted or arguments.stop.came):
        try:
            fit = fitted(job, arguments.threads)
        except KeyboardInterrupt:
            was_interrupted = True
    report = Report(
        settings=job.settings,
        data=job.data,
        result=result,
        objective=objective,
        loss_of_zero=objective.loss(np.zeros(objective.n_params)),
        fitted=fit,
        isa=found["isa"],
        n_threads=arguments.threads or found["n_threads"],
        model=model_of(job, result),
        kept=arguments.model,
    )
    _deliver(arguments, report)
    if not was_interrupted:
        return SUCCESS
    what = f"interrupted after {result.n_evaluated:,} of {report.n_candidates:,} candidates"
    if arguments.checkpoint is not None:
        same = isinstance(result, EvolveResult)
        way = "the same command" if same else f"{PROGRAM} resume {shown(arguments.checkpoint)}"
        what += f"; go on by: {way}"
    return _complain(what, arguments.stop.status)


def _deliver(arguments: argparse.Namespace, report: CommandReport) -> None:
    """Write and print the report."""
    try:
        _write(arguments, report)
    finally:  # the result of hours is printed even if its file cannot be written
        sys.stdout.write(printable(report.to_json() if arguments.json else report.to_text()))


def _write(arguments: argparse.Namespace, report: Any) -> None:
    """Write the files that were asked for; where that is one of a model, the report has one."""
    if arguments.output is not None:
        write_output(arguments.output, report.to_json().encode(), arguments.force)
    if arguments.model is not None:
        write_output(arguments.model, report.model.to_json().encode(), arguments.force)
    if arguments.plot is not None:
        write_output(arguments.plot, report.to_picture(kind_of(arguments.plot)), arguments.force)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "search": _search,
    "resume": _resume,
    "status": _status,
    "merge": _merge,
    "tune": _tune,
    "tree": _tree,
    "bootstrap": _bootstrap,
    "permutation-test": _permutation_test,
    "predict": _predict,
    "score": _score,
    "info": _info,
    "bench": _bench,
}

"""The process of one peer: it takes orders from stdin, a line of JSON each, and answers likewise.

``{"order": "prepare", ...}`` checks and prepares, ``{"order": "run"}`` times one call.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time


def main() -> None:
    task, peer, n_threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    # Before any runtime looks: pools of threads are as large as the processors they may use.
    processors = sorted(os.sched_getaffinity(0))[:n_threads]
    os.sched_setaffinity(0, processors)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    from benches.peers.setting import Setting, check

    module = importlib.import_module(f"benches.peers.{task}")
    prepared = None
    for line in sys.stdin:
        order = json.loads(line)
        answer: dict[str, object] = {}
        try:
            if order.pop("order") == "prepare":
                prepared = None  # its memory first
                prepared = module.prepare(peer, Setting(**order, n_threads=n_threads))
                check(prepared)
                answer = {"count": prepared.count, "error": prepared.error}
            else:
                assert prepared is not None, "run before prepare"
                started = time.perf_counter()
                prepared.call()
                answer = {"seconds": time.perf_counter() - started}
        except ImportError as error:
            answer = {"missing": str(error)}
        except Exception as error:  # whatever a peer raises is a line of the table
            answer = {"failed": f"{type(error).__name__}: {error}"[:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()

"""``python -m metaopt_fast``: the same program as ``metaopt-fast``."""

import sys

from metaopt_fast.cli import main

if __name__ == "__main__":
    sys.exit(main())

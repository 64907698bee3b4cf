"""The kernels below the limits of a machine, as `metaopt-fast bench` recorded them."""

import json
from pathlib import Path

import matplotlib.pyplot as plt

from metaopt_fast.bench.rates import Rates
from metaopt_fast.bench.roofline import plot_roofline

fig, ax = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
# Sphinx runs this beside the record.
recorded = json.loads(Path("rates.json").read_text())
plot_roofline(Rates.from_dict(recorded), ax)

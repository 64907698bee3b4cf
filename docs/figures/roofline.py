"""The kernels below the limits of the machine that built this page."""

import matplotlib.pyplot as plt

from metaopt_fast.bench.rates import measure
from metaopt_fast.bench.roofline import plot_roofline

fig, ax = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
plot_roofline(measure(seconds=5), ax)

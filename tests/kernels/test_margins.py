"""The kernels at 2,000 hard margins, against exact values that margins.csv stores."""

from pathlib import Path

import make_margins
import numpy as np
import pytest

TABLE = Path(__file__).with_name("margins.csv")

# The largest distance from the truth, in units of the last place.
BOUND = 2

EVALUATE = """
import sys
import numpy as np
import metaopt_fast as mf
from metaopt_fast import _kernels
path, dtype = {path!r}, {dtype!r}
z = np.load(path).astype(dtype)
losses, slopes = np.empty_like(z), np.empty_like(z)
_kernels.pointwise(_kernels.LOSSES["logistic"], z, losses, slopes)
one_row = mf.LogisticLoss([[1.0], [1.0]], [0, 1], [1.0, 0.0], dtype=dtype)
whole, gradients = one_row.batch_loss_gradient(z[:, None])
np.save(path, [losses, slopes, whole, gradients[:, 0]])
"""


@pytest.fixture(scope="module")
def table():
    """The margins, then losses and slopes as doubles, each with its rest in ulp."""
    entries = [line.split(",") for line in TABLE.read_text().splitlines()[1:]]
    z, loss, loss_rest, slope, slope_rest = zip(*entries, strict=True)
    exact = [[float.fromhex(number) for number in column] for column in (z, loss, slope)]
    z, loss, slope = np.array(exact)
    return z, (loss, np.array(loss_rest, float)), (slope, np.array(slope_rest, float))


def test_the_table_holds_two_thousand_margins_and_is_what_its_script_writes():
    lines = TABLE.read_text().splitlines()[1:]
    assert len(lines) == 2000
    assert lines == make_margins.rows()


def ulps(found, exact, dtype):
    """Distances in units of the last place, of dtype's numbers where the exact ones are."""
    nearest, rest = exact
    with np.errstate(under="ignore"):
        unit = np.spacing(nearest.astype(dtype)).astype(np.float64)
    part = np.spacing(nearest) / unit
    return np.abs((found.astype(np.float64) - nearest) / unit - rest * part)


@pytest.mark.long(everywhere=True)
def test_losses_and_slopes_are_within_two_ulp_at_hard_margins(
    table, isa, dtype, run_python, tmp_path
):
    margins, losses, slopes = table
    chosen = margins.astype(dtype) == margins
    assert chosen.sum() > 900
    path = tmp_path / "margins.npy"
    np.save(path, margins[chosen])
    done = run_python(EVALUATE.format(path=str(path), dtype=dtype), METAOPT_FAST_ISA=isa)
    assert done.returncode == 0, done.stderr
    found = dict(
        zip(
            ("pointwise loss", "pointwise slope", "loss of one row", "gradient of one row"),
            np.load(path),
            strict=True,
        )
    )
    for name, values in found.items():
        nearest, rest = losses if "loss" in name else slopes
        far = ulps(values, (nearest[chosen], rest[chosen]), dtype)
        # Not `far > BOUND`, which a NaN would pass.
        assert (far <= BOUND).all(), (name, margins[chosen][far.argmax()], far.max())

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
    """The margins, losses and slopes as columns."""
    lines = TABLE.read_text().splitlines()[1:]
    return np.array([[float.fromhex(entry) for entry in line.split(",")] for line in lines]).T


def test_the_table_holds_two_thousand_margins_and_is_what_its_script_writes(table):
    assert table.shape == (3, 2000)
    rows = make_margins.rows()
    assert [",".join(number.hex() for number in row) for row in zip(*table, strict=True)] == rows


def ulps(found, exact, dtype):
    """Distances in units of the last place, of dtype's numbers where the exact ones are."""
    with np.errstate(under="ignore"):
        return np.abs(found - exact) / np.spacing(np.abs(exact).astype(dtype)).astype(np.float64)


def test_losses_and_slopes_are_within_two_ulp_at_hard_margins(
    table, isa, dtype, run_python, tmp_path
):
    margins, losses, slopes = table[:, table[0].astype(dtype) == table[0]]
    assert len(margins) > 900
    path = tmp_path / "margins.npy"
    np.save(path, margins)
    done = run_python(EVALUATE.format(path=str(path), dtype=dtype), METAOPT_FAST_ISA=isa)
    assert done.returncode == 0, done.stderr
    found = np.load(path).astype(np.float64)
    for name, values, exact in zip(
        ("pointwise loss", "pointwise slope", "loss of one row", "gradient of one row"),
        found,
        (losses, slopes, losses, slopes),
        strict=True,
    ):
        far = ulps(values, exact, dtype)
        # Not `far > BOUND`, which a NaN would pass.
        assert (far <= BOUND).all(), (name, margins[far.argmax()], far.max())

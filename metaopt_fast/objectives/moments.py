"""Moments of packed rows that bound losses of candidates from below, and their certificate.

`reference/bounds.py` has the bound and its proof in real numbers; `src/bound.hpp` evaluates it in
single precision. Here its constants are made, in double precision, and rounded to the safe side.
No BLAS is called: its threads would wait for each other beside those of others.

Columns are divided by powers of two, and thetas multiplied by them, so that the largest number of
each column is within 1 and 2.

What double precision rounds. Sums over N rows are those of chunks, so that their error is at most
(CHUNK_ROWS + N / CHUNK_ROWS + 4) 2^-53 of the sum of absolute values; margins at the anchor are off
by (D + 2) 2^-53 of sum_j |r_ij t_j|, and so, as |f'''| <= f'', is the logarithm of each h_i. Where
all that is not far below WIDE, there is no bound. WIDE is then more than the relative error of the
amplitude and of d' S d, than that of the loss in units of 1 plus the loss, and than that of the
gradient in units of the mean of |r_ij| times the largest slope.

What single precision rounds, with u = 2^-24 and gamma = (D + 4) u. What the kernel computes is a
bound of L(theta*), theta* = anchor + d with the d that it has, and |theta*_j - theta_j| is at most
2 u |theta_j| + u |d_j|; D 2^-52 |theta_j| besides covers what margins of double precision are off
by. As the loss is Lipschitz, the sum over j of the mean of |r_ij| times that is subtracted; of
squares, by Minkowski's inequality, 2 (1 + sum_j q_j |theta_j|) e + e^2 with e the same sum by the
roots q_j of the means of r_ij^2. The gradient's product is off by gamma sum_j |g_j d_j|, and sums
with the constant by 3 u of their terms. For |theta_j| and |d_j| stand the largest that the sampler
draws.

A product of d with a row c of C' is off by gamma sum_j |c_j d_j|, and by Cauchy's inequality all of
them together by gamma sqrt(trace(C V C')) |V^(-1/2) d| for any diagonal V. With V the squares of
`spread`, and T = trace(S V): trace(C V C') = (1 + RIDGE) T, and s~ >= d' R d, which is RIDGE T / D
d' V^-1 d. So the relative error of |y| is at most beta = gamma sqrt(D (1 + RIDGE) / RIDGE), and
that of s~, of its sum of squares and of d' R d at most 2 (beta + gamma); 16 u are left for
constants and products.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import products
from metaopt_fast.data.packed import CHUNK_ROWS, Packed
from metaopt_fast.data.rows import PANEL_ROWS
from metaopt_fast.floating_errors import shielded
from metaopt_fast.objectives.dispersions import dispersion_of
from metaopt_fast.typing import Float64Array, Sampler

# Part of the moment that is added to its diagonal. Of 0.03, 0.1, 0.3 and 1, this and 0.1 left the
# fewest of 20,000 candidates: 0.3 on breast_cancer in its own units around 0 (0.13 of them for the
# best one's loss, else 0.15), 0.1 on correlated normal data (0.013, else 0.019).
RIDGE = 0.3
# Relative error that double precision is allowed.
WIDE = 1e-9
SINGLE, DOUBLE = 2.0**-24, 2.0**-53
# Up to which what sums in double precision lose is far below what is left for that.
MAX_ROWS = 10**8
# Sizes of numbers whose products stay in the range of single precision.
SMALL, LARGE = 2.0**-60, 2.0**40
# More than what a number of single precision loses that is not a normal one.
LEAST = 2.0**-140


class Directions(NamedTuple):
    """How far candidates are from the anchor, and they and it from 0, in units of the columns."""

    anchor: Float64Array
    spread: Float64Array  # root of the mean square of each parameter's distance from the anchor
    reach: Float64Array  # its largest
    sizes: Float64Array  # the largest of its absolute values
    doubts: Float64Array  # how far one that is drawn in single precision is from its own


class Sums(NamedTuple):
    """Weighted sums over all rows at the anchor."""

    loss: float
    gradient: Float64Array
    absolutes: Float64Array  # of |r_ij|
    squares: Float64Array  # of r_ij^2
    amplitude: float
    second: Float64Array  # of h_i r_i r_i'
    steepest: float  # the largest slope of a row's loss, or 1


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Moments of rows around an anchor: all of a bound but its proof, which takes most of the time.

    In the units of the columns. `shape` is what `_rounded` takes beside the dispersion, `whiten`
    the inverse of the factor of the second moment.
    """

    packed: Packed
    curve: str
    of_draws: bool
    shape: tuple[Sums, Directions, Float64Array, Float64Array, Float64Array]
    whiten: Float64Array

    @shielded
    def shares(self) -> Float64Array:
        """Return what each row alone adds to the dispersion."""
        squares = [
            parts * np.square(np.square(products(rows, self.whiten)).sum(axis=1))
            for rows, parts in self._masses()
        ]
        return np.concatenate(squares)

    @shielded
    def supposed(self, dispersion: float) -> _kernels.MomentBound | None:
        """Return what the bound is for a dispersion, of which nothing is proven here."""
        return _rounded(self.curve, dispersion, self.of_draws, *self.shape)

    @shielded
    def dispersion(self, n_threads: int = 1) -> float | None:
        """Return a proven bound of the dispersion, or None if there is no proof after ATTEMPTS.

        Raises MemoryError: the pairs of 64 parameters take 100 MB.
        """
        if self.curve == "square":
            return 0.0
        return dispersion_of(self._masses(), self.whiten, n_threads)

    def certified(self, n_threads: int = 1) -> _kernels.MomentBound | None:
        """Return the bound, or None if there is no proof of its dispersion. Raises MemoryError."""
        found = self.dispersion(n_threads)
        return None if found is None else self.supposed(found)

    def among(self, others: Moments) -> Moments:
        """Return moments that bound the loss of all rows, `others`, of which these are a part: the
        rest of them add no less than their tangents."""
        sums = self.shape[0]
        of_all = others.shape[0]._replace(amplitude=sums.amplitude, second=sums.second)
        return replace(self, shape=(of_all, *self.shape[1:]))

    def _masses(self) -> Iterator[tuple[Float64Array, Float64Array]]:
        """Yield rows as `_chunks` does, and their part of the amplitude."""
        sums, ways, _, _, factors = self.shape
        for rows, weights in _chunks(self.packed, factors):
            curvature = _pointwise(products(ways.anchor[None], rows)[0], self.curve)[2]
            yield rows, weights * curvature / sums.amplitude


def moments_of(
    packed: Packed,
    loss: str,
    sampler: Sampler,
    anchor: Float64Array | None = None,
    draws: _kernels.Draws | None = None,
) -> _kernels.MomentBound | None:
    """Return a lower bound of the mean loss of what a sampler draws, or None where there is none.

    See `moments_around` for the arguments. Raises MemoryError.
    """
    found = moments_around(packed, loss, sampler, anchor, draws)
    return None if found is None else found.certified()


@shielded
def moments_around(
    packed: Packed,
    loss: str,
    sampler: Sampler,
    anchor: Float64Array | None = None,
    draws: _kernels.Draws | None = None,
) -> Moments | None:
    """Return moments of the rows for what a sampler draws, or None where there are none.

    That is where the loss is another one than the logistic and the squared one, or of single
    precision, parameters are more than MAX_MOMENT_PARAMS, the loss has no curvature at the anchor,
    or a number leaves the range.

    Parameters
    ----------
    packed, loss
        Rows, and the name of the pointwise loss.
    sampler
        States mean, standard deviation and bounds of what it draws. The bounds are relied on: only
        of thetas within them is a bound below the loss.
    anchor : numpy.ndarray of shape (n_params,), optional
        Where the bound is closest; by default the sampler's mean.
    draws : Draws, optional
        What draws the candidates in the kernels: the bound holds for those that are drawn in single
        precision, too.
    """
    if not has_moments(packed, loss):
        return None
    n_params, factors = packed.n_columns, column_factors(packed)
    ways = _directions(sampler, factors, anchor, draws)
    if ways is None or not _is_exact_enough(packed.n_rows, ways.anchor):
        return None
    curve = _curve(loss, ways.anchor)
    sums = _add_up(packed, factors, ways.anchor, curve)
    spread, moment = ways.spread, sums.second / sums.amplitude
    size = float((moment.diagonal() * np.square(spread)).sum())
    if not (sums.amplitude > SMALL and SMALL * SMALL < size < LARGE * LARGE):
        return None
    ridge = RIDGE * size / n_params / np.square(spread)
    scaled = moment * spread * spread[:, None]
    factor, whiten = _factored(scaled + RIDGE * size / n_params * np.eye(n_params))
    # Where a pivot was not above 0, this is not a number.
    off = np.abs(products(whiten, factor.T) - np.eye(n_params)).max()
    if not n_params * off <= WIDE:
        return None
    shape = sums, ways, factor / spread[:, None], ridge, factors
    return Moments(packed, curve, draws is not None, shape, whiten * spread)


def _factored(matrix: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return the lower triangle C of a matrix C C' (Cholesky), and its inverse."""
    factor, inverse = matrix.copy(), np.eye(len(matrix))
    for j in range(len(matrix)):
        factor[j:, j] /= np.sqrt(factor[j, j])
        below = factor[j + 1 :, j]
        factor[j + 1 :, j + 1 :] -= below * below[:, None]
        inverse[j] /= factor[j, j]
        inverse[j + 1 :] -= below[:, None] * inverse[j]
    return np.tril(factor), inverse


def has_moments(packed: Packed, loss: str) -> bool:
    """Whether there may be a bound: for the logistic and the squared loss, in double precision, of
    at most MAX_MOMENT_PARAMS parameters."""
    is_known = loss in ("logistic", "squared") and packed.dtype == "float64"
    return is_known and packed.n_columns <= _kernels.MAX_MOMENT_PARAMS


def set_up_work(n_rows: int, n_params: int) -> float:
    """Return about the work of a set-up, in units of `_kernels.work`.

    Within a factor of 1.5 of what 1000 x 10, 569 x 31, 10,000 x 31, 1797 x 62 and 1000 x 64 took.
    """
    n_pairs = n_params * (n_params + 1) // 2
    return (0.35 * n_rows + 0.43 * n_pairs) * n_pairs * n_pairs + 2.8e7


def column_factors(packed: Packed) -> Float64Array:
    """Return the power of two that divides each column, so that its largest is within 1 and 2."""
    factors = np.empty(packed.n_columns)
    _kernels.column_factors(packed.panels, packed.dtype == "float32", factors)
    return factors


def _directions(
    sampler: Sampler,
    factors: Float64Array,
    anchor: Float64Array | None,
    draws: _kernels.Draws | None,
) -> Directions | None:
    """Return where a sampler draws, or None where single precision is not enough for that."""
    n_params = len(factors)
    mean, (low, high) = sampler.mean(n_params) * factors, sampler.bounds(n_params)
    low, high = low * factors, high * factors
    # A number of single precision, so that no distance from it has an error of its own.
    at = mean if anchor is None else anchor * factors
    at = at.astype(np.float32).astype(np.float64)
    spread = np.hypot(sampler.std(n_params) * factors, mean - at)
    if not (spread > SMALL).any():
        return None
    # Any will do: this is for columns of zeros, and for parameters that never move.
    spread = np.where(spread < SMALL, spread[spread > SMALL].min(), spread)
    doubts = np.zeros(n_params)
    if draws is not None:
        near = _kernels.NarrowDraws(draws, factors)
        doubts = np.asarray(near.doubts, np.float64) if near.is_near else doubts
    sizes = np.maximum(np.abs(low), np.abs(high))
    reach = np.maximum(np.abs(low - at), np.abs(high - at)) + 2 * SINGLE * sizes + doubts
    found = Directions(at, spread, reach, sizes, doubts)
    # Not above, rather than below: what is not a number is refused, too.
    return found if all(np.abs(part).max() <= LARGE for part in found) else None


def _is_exact_enough(n_rows: int, anchor: Float64Array) -> bool:
    """Whether double precision rounds less than WIDE: see above."""
    of_sums = CHUNK_ROWS + n_rows / CHUNK_ROWS + 4
    of_margins = (len(anchor) + 2) * 2 * float(np.abs(anchor).sum())
    return n_rows <= MAX_ROWS and (of_sums + of_margins) * DOUBLE * 4 <= WIDE


def _curve(loss: str, anchor: Float64Array) -> str:
    if loss == "squared":
        return "square"
    return "away" if anchor.any() else "even"


def _chunks(packed: Packed, factors: Float64Array) -> Iterator[tuple[Float64Array, Float64Array]]:
    """Yield rows, columns divided by their factors, and their part of the weights."""
    for rows, weights in packed.weighted_rows():
        yield rows / factors, weights / packed.total_weight


def _pointwise(z: Float64Array, curve: str) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return loss, slope and curvature of each row, the latter in units of the curve's."""
    if curve == "square":
        return np.square(1 + z), 2 * (1 + z), np.ones(len(z))
    e = np.exp(-np.abs(z))
    slope = np.where(z < 0, e, 1.0) / (1 + e)
    curvature = np.ones(len(z)) if curve == "even" else e / np.square(1 + e)
    return np.maximum(z, 0) + np.log1p(e), slope, curvature


def _add_up(packed: Packed, factors: Float64Array, anchor: Float64Array, curve: str) -> Sums:
    n = len(factors)
    loss, amplitude, steepest = 0.0, 0.0, 1.0
    gradient, absolutes, squares, second = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros((n, n))
    for rows, weights in _chunks(packed, factors):
        value, slope, curvature = _pointwise(products(anchor[None], rows)[0], curve)
        columns = np.ascontiguousarray(rows.T)
        loss += float((weights * value).sum())
        gradient += products((weights * slope)[None], columns)[0]
        absolutes += products(weights[None], np.abs(columns))[0]
        squares += products(weights[None], np.square(columns))[0]
        curvature *= weights
        amplitude += float(curvature.sum())
        _kernels.add_gram(columns * np.sqrt(curvature), second, 1)
        steepest = max(steepest, float(np.abs(slope).max()))
    return Sums(loss, gradient, absolutes, squares, amplitude, second, steepest)


def _rounded(
    curve: str,
    dispersion: float,
    of_draws: bool,
    sums: Sums,
    ways: Directions,
    factor: Float64Array,
    ridge: Float64Array,
    factors: Float64Array,
) -> _kernels.MomentBound | None:
    """Return the moments in single precision, each rounded to the safe side."""
    n = len(factors)
    gamma = (n + 4) * SINGLE
    beta = gamma * math.sqrt(n * (1 + RIDGE) / RIDGE)
    doubt = absolute_error(curve, sums, ways)
    constant = sums.loss - doubt
    panels = np.zeros((-(-(n + 1) // PANEL_ROWS) * PANEL_ROWS, n))
    panels[0], panels[1 : n + 1] = sums.gradient, factor.T
    numbers = (constant, dispersion, *(np.abs(x).max() for x in (panels, ridge)))
    if not (all(abs(x) <= LARGE for x in numbers) and ridge.min() >= SMALL):
        return None
    bound = _kernels.MomentBound(
        _kernels.CURVES.index(curve),
        constant,
        sums.amplitude * (1 - WIDE),
        dispersion,
        2 * (beta + gamma) + 16 * SINGLE,
        np.ascontiguousarray(panels.reshape(-1, PANEL_ROWS, n).transpose(0, 2, 1), np.float32),
        ridge.astype(np.float32),
        ways.anchor.astype(np.float32),
        factors,
    )
    bound.of_draws, bound.doubt = of_draws, doubt
    return bound


def absolute_error(curve: str, sums: Sums, ways: Directions) -> float:
    """Return what the bound may be too high by, but for what is relative to its curvature."""
    n = len(ways.anchor)
    moves = (2 * SINGLE + n * 2 * DOUBLE) * ways.sizes + SINGLE * ways.reach + LEAST + ways.doubts
    if curve == "square":
        roots = np.sqrt(sums.squares)
        moved = float((roots * moves).sum())
        of_theta = 2 * (1 + float((roots * ways.sizes).sum())) * moved + moved * moved
    else:
        of_theta = float((sums.absolutes * moves).sum())
    product = float((np.abs(sums.gradient) * ways.reach).sum())
    of_sums = (n + 4) * SINGLE * product + 3 * SINGLE * (abs(sums.loss) + product)
    slopes = sums.steepest * float((sums.absolutes * ways.reach).sum())
    return (of_theta + of_sums + WIDE * (1 + abs(sums.loss) + slopes)) * (1 + WIDE)

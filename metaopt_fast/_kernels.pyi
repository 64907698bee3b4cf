"""Types of src/_kernels.pyx."""

from collections.abc import Iterable, Sequence
from typing import Any, Never, Self, TypeVar

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

_Float64Array = npt.NDArray[np.float64]
_Bytes = npt.NDArray[np.uint8]
_Real = TypeVar("_Real", np.float32, np.float64)
_Whole = TypeVar("_Whole", np.int32, np.int64)

ISAS: tuple[str, ...]
LOSSES: dict[str, int]
OPENMP: bool
SERIAL_WORK: float
TABLE_OF_TEXTS: int

def supported_isas() -> list[str]: ...
def isa() -> tuple[str, str]: ...
def max_threads() -> int: ...
def work(n_samples: int, n_params: int) -> float: ...
def sort_rows(
    keys: npt.NDArray[np.uint64],
    descending: bool,
    rows: npt.NDArray[np.intp],
    in_order: bool,
    scratch: _Bytes,
    n_threads: int,
) -> None: ...
def find_positions(
    row_at: npt.NDArray[np.intp],
    positions: npt.NDArray[_Whole],
    labels: _Bytes | None,
    labels_at: _Bytes | None,
    n_threads: int,
) -> None: ...
def add_by_exponent(numbers: _Float64Array, sums: npt.NDArray[np.uint64]) -> None: ...
def pointwise(
    loss: int, z: npt.NDArray[_Real], value: npt.NDArray[_Real], derivative: npt.NDArray[_Real]
) -> None: ...
def exp(x: _Float64Array, out: _Float64Array) -> None: ...
def expm1(x: _Float64Array, out: _Float64Array) -> None: ...
def log(x: _Float64Array, out: _Float64Array) -> None: ...
def log1p(x: _Float64Array, out: _Float64Array) -> None: ...
def log2(x: _Float64Array, out: _Float64Array) -> None: ...
def adam(
    numbers: _Float64Array,
    theta: _Float64Array,
    gradient: _Float64Array,
    mean: _Float64Array,
    squares: _Float64Array,
    out: _Float64Array,
) -> None: ...
def know_text(known: _Bytes, used: int, field: int, text: bytes, number: float) -> int: ...
def read_plain_rows(
    block: bytes,
    start: int,
    stop: int,
    separator: int,
    decimal: int,
    kinds: npt.NDArray[np.intc],
    powers: npt.NDArray[np.uint64],
    known: _Bytes,
    numbers: _Float64Array,
) -> tuple[int, int, int]: ...
def add_squares(
    thetas: _Float64Array,
    kept: _Float64Array,
    strengths: _Float64Array,
    gradients: _Float64Array,
    terms: _Float64Array,
) -> None: ...
def team_of_triples(n_features: int, n_words: int, n_classes: int, n_threads: int) -> int: ...
def triple_work(n_features: float, n_words: float, n_classes: float) -> float: ...
def sort_lines(
    lines: npt.NDArray[np.intc],
    places: npt.NDArray[np.intc],
    numbers: _Float64Array,
    starts: npt.NDArray[np.intp],
    sorted_places: npt.NDArray[np.intc],
    sorted_numbers: _Float64Array,
) -> None: ...

@disjoint_base
class SparseMatrix:
    def __init__(
        self,
        starts: npt.NDArray[np.intp],
        places: npt.NDArray[np.intc],
        numbers: _Float64Array,
    ) -> None: ...
    def times(self, x: _Float64Array, out: _Float64Array, n_threads: int) -> None: ...

@disjoint_base
class SparseLosses:
    n_params: int
    def __init__(
        self,
        loss: int,
        rows: SparseMatrix,
        columns: SparseMatrix,
        signs: _Float64Array,
        weights: _Float64Array,
        has_intercept: bool,
        l2: float,
    ) -> None: ...
    def find(
        self,
        thetas: _Float64Array,
        losses: _Float64Array,
        gradients: _Float64Array | None,
        n_threads: int,
    ) -> None: ...

@disjoint_base
class SparseSteps:
    def __init__(
        self,
        rows: SparseMatrix,
        columns: SparseMatrix,
        signs: _Float64Array,
        weights: _Float64Array,
        strata: npt.NDArray[np.intc],
        sizes: _Float64Array,
        vectors: _Float64Array,
        of_rows: _Float64Array,
    ) -> None: ...
    def visit(
        self,
        factors: _Float64Array,
        l2: _Float64Array,
        asked: _Float64Array,
        out: _Float64Array,
        n_threads: int,
    ) -> None: ...
    def climb(self, l2: _Float64Array, out: _Float64Array, n_threads: int) -> None: ...
    def move_residuals(
        self,
        factors: _Float64Array,
        l2: _Float64Array,
        scales: _Float64Array,
        out: _Float64Array,
        n_threads: int,
    ) -> None: ...
    def move_directions(
        self, factors: _Float64Array, l2: _Float64Array, scales: _Float64Array, n_threads: int
    ) -> None: ...

def fma_run(single_precision: bool, iterations: int, n_threads: int) -> float: ...
def read_run(memory: _Bytes, n_threads: int) -> float: ...
def useful_threads(asked: int) -> int: ...
def insist(on: bool) -> None: ...

@disjoint_base
class Teams:
    def choose(self, most: int, visits: float, now: int) -> int: ...
    def record(self, members: int, visits: float, wall: int, cpu: int, now: int) -> None: ...

@disjoint_base
class BitColumns:
    def __init__(
        self,
        words: npt.NDArray[np.uint32],
        ends: npt.NDArray[np.intp],
        classes: npt.NDArray[np.int32],
        costs: npt.NDArray[np.int32],
        sizes: npt.NDArray[np.int32],
        n_classes: int,
        n_features: int,
        least: int,
    ) -> None: ...
    def count(
        self, features: npt.NDArray[np.intp], counts: npt.NDArray[np.int32], n_threads: int
    ) -> None: ...
    def split(
        self,
        totals: npt.NDArray[np.int32],
        singles: npt.NDArray[np.int32],
        pairs: npt.NDArray[np.int32],
        best: npt.NDArray[np.int32],
        slice_work: float = ...,
    ) -> None: ...

@disjoint_base
class Numbers:
    def __new__(
        cls,
        array: npt.NDArray[Any],
        starts: npt.NDArray[np.intp] | None = None,
        n_columns: int = -1,
    ) -> Self: ...
    def row_norms(
        self, n_columns: int, single_precision: bool, norms: _Float64Array, n_threads: int
    ) -> int: ...
    def pack(
        self,
        row_at: npt.NDArray[np.intp],
        positions: npt.NDArray[np.signedinteger[Any]] | None,
        negative: _Bytes | None,
        scale: float,
        first_panel: npt.NDArray[np.intp],
        n_params: int,
        single_precision: bool,
        panels: _Bytes,
        n_threads: int,
    ) -> float: ...

@disjoint_base
class PackedRows:
    n_penalised: int
    l2: float
    on_disk: bool
    def __init__(
        self,
        loss: int,
        single_precision: bool,
        n_params: int,
        n_penalised: int,
        first_panel: npt.NDArray[np.intp],
        block_rows: npt.NDArray[np.intc],
        block_weights: _Float64Array,
        panels: _Bytes,
        row_weights: _Bytes | None,
        total_weight: float,
        l2: float,
        extent: float,
        on_disk: bool = ...,
    ) -> None: ...
    def evaluate(
        self,
        thetas: _Float64Array,
        losses: _Float64Array,
        gradients: _Float64Array | None,
        n_threads: int,
    ) -> bool: ...
    def evaluate_one(
        self, theta: _Float64Array, gradient: _Float64Array | None, n_threads: int
    ) -> float: ...
    def evaluate_drawn(
        self, draws: Draws, start: int, losses: _Float64Array, n_threads: int
    ) -> bool: ...
    def evaluate_below(
        self,
        thetas: _Float64Array | None,
        draws: Draws | None,
        start: int,
        threshold: float,
        losses: _Float64Array,
        n_threads: int,
        single_precision: bool = ...,
        points: Sequence[tuple[int, MomentBound]] = ...,
        tally: _Float64Array | None = ...,
        order: RowOrder | None = ...,
        tangents: Tangents | None = ...,
    ) -> float: ...
    def may_screen(self, losses: _Float64Array, n_threads: int) -> bool: ...
    @property
    def narrow_lanes(self) -> int: ...
    @property
    def has_narrow_rows(self) -> bool: ...
    @property
    def narrow_refusal(self) -> str | None: ...
    def narrow_factors(self) -> list[float] | None: ...
    def bound(
        self,
        thetas: _Float64Array,
        lower: _Float64Array,
        upper: _Float64Array,
        n_threads: int,
    ) -> bool: ...
    def release(self) -> None: ...

@disjoint_base
class SoftmaxRows:
    def __init__(
        self, rows: PackedRows, strata: npt.NDArray[np.intc], n_classes: int, n_strata: int
    ) -> None: ...
    def evaluate(
        self,
        thetas: _Float64Array,
        factors: _Float64Array,
        totals: _Float64Array,
        l2: _Float64Array,
        losses: _Float64Array,
        gradients: _Float64Array | None,
        n_threads: int,
    ) -> bool: ...
    def count(
        self, thetas: _Float64Array, factors: _Float64Array, counts: _Float64Array, n_threads: int
    ) -> bool: ...
    def covariances(
        self, thetas: _Float64Array, factors: _Float64Array, sums: _Float64Array, n_threads: int
    ) -> bool: ...

@disjoint_base
class NetworkRows:
    @property
    def n_params(self) -> int: ...
    @property
    def work(self) -> float: ...
    def __init__(
        self,
        packed: PackedRows,
        labels: npt.NDArray[np.intc],
        n_hidden: int,
        n_outputs: int,
        is_relu: bool,
        l2: float,
    ) -> None: ...
    def evaluate(
        self,
        thetas: _Float64Array,
        losses: _Float64Array,
        gradients: _Float64Array | None,
        n_threads: int,
    ) -> bool: ...
    def evaluate_below(
        self,
        thetas: _Float64Array | None,
        draws: Draws | None,
        start: int,
        threshold: float,
        losses: _Float64Array,
        n_threads: int,
    ) -> float: ...

@disjoint_base
class SoftmaxSteps:
    n_passes: int
    def __init__(
        self,
        n_classes: int,
        n_features: int,
        factors: _Float64Array,
        totals: _Float64Array,
        l2: _Float64Array,
        losses: _Float64Array,
        thetas: _Float64Array,
        gradients: _Float64Array,
        steps: npt.NDArray[np.float32],
        changes: npt.NDArray[np.float32],
        intercepts: npt.NDArray[np.float32],
        numbers: _Float64Array,
        ring: npt.NDArray[np.intp],
    ) -> None: ...
    def run(
        self,
        rows: SoftmaxRows,
        which: npt.NDArray[np.intp],
        inverses: _Float64Array,
        inverse_of: npt.NDArray[np.intp],
        targets: _Float64Array,
        most: int,
        rounding: float,
        patience: int,
        halvings: int,
        n_steps: npt.NDArray[np.intp],
        ends: npt.NDArray[np.intp],
        n_threads: int,
    ) -> None: ...

@disjoint_base
class NarrowDraws:
    doubts: memoryview
    is_near: bool
    def __init__(self, draws: Draws, factors: _Float64Array) -> None: ...
    def sample(self, start: int, out: npt.NDArray[np.float32], rare: _Bytes) -> None: ...

def column_factors(panels: _Bytes, single_precision: bool, factors: _Float64Array) -> None: ...

@disjoint_base
class RowOrder:
    row_at: memoryview
    first_panel: memoryview
    block_rows: memoryview
    block_weights: memoryview
    def __init__(
        self,
        row_at: npt.NDArray[np.intp],
        first_panel: npt.NDArray[np.intp],
        block_rows: npt.NDArray[np.intc],
        block_weights: _Float64Array,
    ) -> None: ...

@disjoint_base
class Tangents:
    blocks: memoryview
    constants: memoryview
    slopes: memoryview
    def __init__(
        self,
        blocks: npt.NDArray[np.intp],
        constants: _Float64Array,
        slopes: npt.NDArray[np.float32],
    ) -> None: ...

@disjoint_base
class NarrowRows: ...

@disjoint_base
class Counts:
    def __init__(
        self,
        rows: PackedRows,
        spans: npt.NDArray[np.intp],
        strata: npt.NDArray[np.intp],
        exact: _Float64Array,
        narrow: npt.NDArray[np.float32] | None,
        above: npt.NDArray[np.float32],
        totals: _Float64Array,
        both: bool,
    ) -> None: ...
    @property
    def has_narrow_rows(self) -> bool: ...
    def serves(self, count: int, n_threads: int) -> bool: ...
    def expect(self, count: int) -> None: ...
    def count(self, thetas: _Float64Array, cells: _Float64Array, n_threads: int) -> bool: ...
    def release(self) -> None: ...

CURVES: tuple[str, ...]
MAX_MOMENT_PARAMS: int

@disjoint_base
class MomentBound:
    constant: float
    amplitude: float
    dispersion: float
    error: float
    of_draws: bool
    doubt: float
    curved_from: int
    def __init__(
        self,
        curve: int,
        constant: float,
        amplitude: float,
        dispersion: float,
        error: float,
        panels: npt.NDArray[np.float32],
        ridge: npt.NDArray[np.float32],
        anchor: npt.NDArray[np.float32],
        factors: _Float64Array,
    ) -> None: ...
    def bounds(
        self, thetas: _Float64Array, out: npt.NDArray[np.float32], limit: float = ...
    ) -> None: ...

@disjoint_base
class RowSets:
    sets: tuple[PackedRows, ...]
    def __new__(cls, sets: Iterable[PackedRows]) -> Self: ...
    def evaluate(
        self,
        which: npt.NDArray[np.intp],
        thetas: _Float64Array,
        losses: _Float64Array,
        gradients: _Float64Array | None,
        n_threads: int,
    ) -> None: ...

def n_pairs(n_params: int) -> int: ...
def hessians(
    sets: RowSets,
    which: npt.NDArray[np.intp],
    thetas: _Float64Array,
    out: _Float64Array,
    n_threads: int,
) -> bool: ...
def largest_margins(
    sets: RowSets,
    which: npt.NDArray[np.intp],
    thetas: _Float64Array,
    out: _Float64Array,
    n_threads: int,
) -> bool: ...
def factor(
    matrices: _Float64Array,
    which: npt.NDArray[np.intp],
    scales: _Float64Array,
    shifts: _Float64Array,
    n_penalised: int,
    extents: _Float64Array,
    factors: _Float64Array,
    places: npt.NDArray[np.intp],
    radii: _Float64Array,
    inflations: _Float64Array,
    n_threads: int,
    alone: int = ...,
    others: npt.NDArray[np.intp] | None = ...,
    parts: _Float64Array | None = ...,
) -> None: ...
def is_positive_definite(matrix: _Float64Array) -> bool: ...
def solve(
    factors: _Float64Array,
    places: npt.NDArray[np.intp],
    x: _Float64Array,
    squares: _Float64Array,
    n_threads: int,
    alone: int = ...,
) -> None: ...
def kept_steps(
    sets: RowSets,
    which: npt.NDArray[np.intp],
    l2: _Float64Array,
    factors: _Float64Array,
    places: npt.NDArray[np.intp],
    radii: _Float64Array,
    drifts: _Float64Array,
    most: npt.NDArray[np.intp],
    thetas: _Float64Array,
    losses: _Float64Array,
    gradients: _Float64Array,
    newton: _Float64Array,
    lengths: _Float64Array,
    before: _Float64Array,
    falls: _Float64Array,
    sizes: _Float64Array,
    distances: _Float64Array,
    n_steps: npt.NDArray[np.intp],
    tol: float,
    slow: float,
    near: float,
    patience: int,
    n_threads: int,
) -> None: ...

@disjoint_base
class Walk:
    def __new__(
        cls,
        rows: PackedRows,
        theta: _Float64Array,
        l2: float,
        hessian: _Float64Array,
        origin: _Float64Array,
        n_threads: int,
    ) -> Self: ...

@disjoint_base
class LaneRows:
    def __init__(
        self,
        rows: PackedRows,
        row_at: npt.NDArray[np.intp],
        weights: npt.NDArray[Any] | None,
        codes: _Bytes,
        fold: npt.NDArray[np.intp] | None,
        weight_of: npt.NDArray[np.intp],
        code_of: npt.NDArray[np.intp],
        left_out: npt.NDArray[np.intp],
        factors: _Float64Array,
        are_turned: bool,
    ) -> None: ...
    def class_sums(self, n_folds: int, sums: _Float64Array) -> None: ...
    def losses(
        self,
        which: npt.NDArray[np.intp],
        thetas: _Float64Array,
        held_out: bool,
        losses: _Float64Array,
        wrong: _Float64Array,
        n_threads: int,
    ) -> None: ...
    def gradients(
        self,
        which: npt.NDArray[np.intp],
        thetas: _Float64Array,
        held_out: bool,
        gradients: _Float64Array,
        n_threads: int,
    ) -> None: ...
    def hessians(
        self,
        which: npt.NDArray[np.intp],
        thetas: _Float64Array,
        stride: int,
        hessians: _Float64Array,
        n_threads: int,
    ) -> None: ...
    def quasi_newton(
        self,
        which: npt.NDArray[np.intp],
        thetas: _Float64Array,
        metrics: _Float64Array,
        metric_of: npt.NDArray[np.intp],
        penalties: _Float64Array,
        centres: _Float64Array,
        inverse_totals: _Float64Array,
        wanted: float,
        most: int,
        stride: int,
        found: _Float64Array,
        gradients: _Float64Array,
        n_iter: npt.NDArray[np.intp],
        losses: _Float64Array,
        hessians: _Float64Array,
        n_threads: int,
    ) -> None: ...

@disjoint_base
class TaskRows:
    def __init__(
        self,
        X: _Float64Array,
        fit_intercept: bool,
        rows: npt.NDArray[np.intp],
        starts: npt.NDArray[np.intp],
        signed_weights: _Float64Array,
        inverse_totals: _Float64Array,
        order: npt.NDArray[np.intp],
    ) -> None: ...
    def fit(
        self,
        l2: _Float64Array,
        factors: _Float64Array,
        centres: _Float64Array,
        starts: _Float64Array,
        wanted: float,
        most: int,
        thetas: _Float64Array,
        numbers: _Float64Array,
        n_threads: int,
    ) -> None: ...
    def measure(
        self,
        l2: _Float64Array,
        factors: _Float64Array,
        centres: _Float64Array,
        thetas: _Float64Array,
        gradients: _Float64Array,
        numbers: _Float64Array,
        n_threads: int,
    ) -> None: ...
    def times_inverse(
        self,
        l2: _Float64Array,
        factors: _Float64Array,
        centres: _Float64Array,
        thetas: _Float64Array,
        vectors: _Float64Array,
        found: _Float64Array,
        n_threads: int,
    ) -> None: ...

@disjoint_base
class LassoPaths:
    def __init__(
        self,
        columns: _Float64Array | None,
        extents: _Float64Array,
        shares: _Float64Array,
        fit_intercept: bool,
        sparse: SparseMatrix | None = None,
        chain: float = 0.0,
    ) -> None: ...
    def add(
        self,
        rows: npt.NDArray[np.intp],
        signs: _Float64Array,
        weights: _Float64Array,
        lighter: float,
        models: npt.NDArray[np.intp],
    ) -> None: ...
    def run(
        self,
        l1: _Float64Array,
        l2: _Float64Array,
        tol: float,
        max_iter: int,
        thetas: _Float64Array,
        losses: _Float64Array,
        gaps: _Float64Array,
        n_iter: npt.NDArray[np.intp],
        status: npt.NDArray[np.intp],
        n_threads: int,
    ) -> int: ...

def newton_steps(
    rows: PackedRows,
    theta: _Float64Array,
    gradient: _Float64Array,
    hessian: _Float64Array,
    origin: _Float64Array,
    l2: float,
    tol: float,
    max_iter: int,
    n_threads: int,
) -> tuple[float, int, float]: ...
def turn_margins(
    probabilities: _Float64Array, weights: _Float64Array, slopes: _Float64Array
) -> None: ...
def sparse_decisions(
    columns: _Float64Array,
    thetas: _Float64Array,
    rows: npt.NDArray[np.intp],
    out: _Float64Array,
) -> None: ...
def column_slopes(columns: _Float64Array, residuals: _Float64Array, out: _Float64Array) -> None: ...
def make_reflections(rows: _Float64Array, taus: _Float64Array, n_threads: int) -> None: ...
def reflect(
    rows: _Float64Array,
    taus: _Float64Array,
    vectors: _Float64Array,
    backwards: bool,
    n_threads: int,
) -> None: ...
def products(thetas: _Float64Array, X: _Float64Array, out: _Float64Array) -> None: ...
def add_pair_gram(rows: npt.NDArray[np.float32], out: _Float64Array, n_threads: int) -> None: ...
def pair_covariance(sums: _Float64Array, moment: _Float64Array, out: _Float64Array) -> float: ...
def add_gram(rows: _Float64Array, out: _Float64Array, n_threads: int) -> None: ...
def histogram_aucs(
    negative: PackedRows,
    positive: PackedRows,
    thetas: _Float64Array,
    n_bins: int,
    aucs: _Float64Array,
    ties: _Float64Array,
    n_threads: int,
) -> bool: ...
def exact_aucs(
    negative: PackedRows,
    positive: PackedRows,
    thetas: _Float64Array,
    aucs: _Float64Array,
    n_threads: int,
) -> bool: ...
def margins(data: PackedRows, theta: _Float64Array, out: _Float64Array) -> bool: ...

@disjoint_base
class Draws:
    def __init__(
        self,
        transform: _Bytes,
        a: _Float64Array,
        b: _Float64Array,
        c: _Float64Array,
        seed: int,
    ) -> None: ...
    def sample(self, start: int, out: _Float64Array) -> bool: ...
    def count(self, start: int, out: _Bytes, n_threads: int) -> None: ...

class SparseDraws(Draws):
    def __init__(
        self,
        transform: _Bytes,
        a: _Float64Array,
        b: _Float64Array,
        c: _Float64Array,
        seed: int,
        n_kept: int,
        n_certain: int,
    ) -> None: ...

@disjoint_base
class NumberedDraws(Draws):
    def __init__(
        self,
        transform: _Bytes,
        a: _Float64Array,
        b: _Float64Array,
        c: _Float64Array,
        ways: _Float64Array,
        firsts: _Float64Array,
        n_models: int,
    ) -> None: ...

# What Cython adds to every module.
__test__: dict[str, object]

def __reduce_cython__(self: object) -> Never: ...
def __setstate_cython__(self: object, __pyx_state: object) -> Never: ...

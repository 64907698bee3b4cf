"""Types of src/_kernels.pyx."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Real = TypeVar("Real", np.float32, np.float64)

ISAS: tuple[str, ...]
OPENMP: bool
SERIAL_WORK: float

def supported_isas() -> list[str]: ...
def isa() -> tuple[str, str]: ...
def max_threads() -> int: ...
def work(n_samples: int, n_params: int) -> float: ...
def pack_rows(
    X: Float64Array,
    signs: Float64Array,
    first: int,
    n_params: int,
    single_precision: bool,
    panels: Bytes,
) -> None: ...
def pointwise(
    loss: int, z: npt.NDArray[Real], value: npt.NDArray[Real], derivative: npt.NDArray[Real]
) -> None: ...
def fma_run(single_precision: bool, iterations: int, n_threads: int) -> float: ...
def read_run(memory: Bytes, n_threads: int) -> float: ...

class PackedRows:
    def __init__(
        self,
        loss: int,
        single_precision: bool,
        n_params: int,
        n_penalised: int,
        first_panel: npt.NDArray[np.intp],
        block_rows: npt.NDArray[np.intc],
        block_weights: Float64Array,
        panels: Bytes,
        row_weights: Bytes | None,
        total_weight: float,
        l2: float,
        extent: float,
    ) -> None: ...
    def evaluate(
        self,
        thetas: Float64Array,
        losses: Float64Array,
        gradients: Float64Array | None,
        n_threads: int,
    ) -> bool: ...
    def evaluate_drawn(
        self, draws: Draws, start: int, losses: Float64Array, n_threads: int
    ) -> bool: ...

class Draws:
    def __init__(
        self,
        transform: Bytes,
        a: Float64Array,
        b: Float64Array,
        c: Float64Array,
        seed: int,
    ) -> None: ...
    def sample(self, start: int, out: Float64Array) -> bool: ...

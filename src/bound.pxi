# Moments of the rows, by which losses of candidates are bounded from below. Needs table.pxi and
# plan.pxi.

from libc.math cimport INFINITY, nextafterf
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

CURVES = ("away", "even", "square")
MAX_MOMENT_PARAMS = MOMENT_PARAMS


cdef float rounded_down(double x) noexcept:
    cdef float near = <float>x
    return nextafterf(near, -INFINITY) if near > x else near


cdef class MomentBound:
    """Moments of the rows of an objective, as the kernel reads them: see bound.hpp.

    Parameters
    ----------
    curve : int
        Position in CURVES.
    constant, amplitude, dispersion : float
        What the kernel's absolute errors take from the constant is subtracted already.
    error : float
        Relative error of the sums of squares.
    panels : array of shape (n_panels, n_params, 8), float32
    ridge, anchor : arrays of shape (n_params,), float32
    factors : array of shape (n_params,)
        Powers of two that thetas are multiplied by.
    """
    cdef Moments moments
    cdef const float[:, :, ::1] panels
    cdef const float[::1] ridge, anchor
    cdef const double[::1] factors
    cdef readonly double constant, amplitude, dispersion, error
    # Whether it holds for candidates drawn in single precision, too: see narrow.pxi; what was taken
    # from the constant; and, of a bound of all rows, the block from which on they are curved.
    cdef public bint of_draws
    cdef public double doubt
    cdef public Py_ssize_t curved_from

    def __init__(self, int curve, double constant, double amplitude, double dispersion,
                 double error, const float[:, :, ::1] panels, const float[::1] ridge,
                 const float[::1] anchor, const double[::1] factors):
        self.constant, self.amplitude = constant, amplitude
        self.dispersion, self.error = dispersion, error
        self.panels, self.ridge, self.anchor, self.factors = panels, ridge, anchor, factors
        self.moments.panels, self.moments.n_params = &panels[0, 0, 0], ridge.shape[0]
        self.moments.ridge, self.moments.anchor = &ridge[0], &anchor[0]
        self.moments.constant = rounded_down(constant)
        self.moments.amplitude = rounded_down(amplitude)
        self.moments.dispersion = -rounded_down(-dispersion)
        self.moments.less, self.moments.more = 1 - error, 1 + error
        self.moments.curve = curve

    def bounds(self, const double[:, ::1] thetas, float[::1] out, float limit=INFINITY):
        """Write a lower bound of the mean loss, without the penalty, of each theta; infinity for a
        tile of thetas that are all above the limit."""
        cdef const Kernels *kernels = table(0, True)
        cdef Py_ssize_t lanes = kernels.lanes, n = self.moments.n_params, first = 0, lane, j, count
        cdef bint all_above
        cdef char *memory = <char *>malloc(ALIGNMENT + (n + 2) * lanes * sizeof(float))
        if memory == NULL:
            raise MemoryError
        cdef float *tile = <float *>aligned(<Py_ssize_t><uintptr_t>memory)
        cdef float *lower = tile + n * lanes
        memset(tile, 0, n * lanes * sizeof(float))
        with nogil:
            while first < thetas.shape[0]:
                count = min(lanes, thetas.shape[0] - first)
                for lane in range(count):
                    for j in range(n):
                        tile[j * lanes + lane] = <float>(thetas[first + lane, j] * self.factors[j])
                all_above = kernels.moment_bounds(&self.moments, tile, limit, lower, lower + lanes)
                for lane in range(count):
                    out[first + lane] = INFINITY if all_above else lower[lane]
                first += lanes
        free(memory)

# One pointwise loss by itself, and what the machine can do at most. Needs table.pxi.

from cython.parallel cimport prange


def pointwise(int loss, const real[::1] z, real[::1] value, real[::1] derivative):
    """Write the loss and its derivative at each z."""
    cdef const Kernels *kernels = table(loss, real is float)
    with nogil:
        kernels.pointwise(&z[0], z.shape[0], &value[0], &derivative[0])


def fma_run(bint single_precision, Py_ssize_t iterations, int n_threads):
    """Do a run of independent FMAs on each thread; return the floating-point operations done."""
    cdef const Kernels *kernels = table(0, single_precision)
    cdef double operations = 0
    cdef int _thread
    with nogil:
        for _thread in prange(n_threads, num_threads=n_threads, schedule="static", chunksize=1):
            operations += kernels.fma_run(iterations)
    return operations


def read_run(const unsigned char[::1] memory, int n_threads):
    """Read memory once, a part on each thread; return a sum that depends on all of it."""
    cdef const Kernels *kernels = table(0, False)
    cdef Py_ssize_t part = memory.shape[0] // n_threads // 4096 * 4096
    cdef double total = 0
    cdef int thread
    with nogil:
        for thread in prange(n_threads, num_threads=n_threads, schedule="static", chunksize=1):
            total += kernels.read_run(&memory[0] + thread * part, part)
    return total

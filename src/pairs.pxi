# Steps and changes of gradients, the pairs that L-BFGS remembers of many models. Needs table.pxi
# and plan.pxi.

# Visits that a number of a pair takes, which comes from memory.
cdef double PAIR_WORK = 4


cdef struct PairsPlan:
    const Kernels *kernels
    const double *steps
    const double *changes
    const double *curvatures
    const Py_ssize_t *firsts
    const Py_ssize_t *counts
    const Py_ssize_t *which
    double *x
    double *alphas
    Py_ssize_t capacity, n
    bint again
    # Of sums of products.
    const double *a
    const double *b
    double *out


cdef void apply_ring(const PairsPlan *plan, Py_ssize_t i, int thread) noexcept nogil:
    """Apply the pairs of one model."""
    cdef Pairs pairs
    cdef Py_ssize_t model = plan.which[i], size = plan.capacity * plan.n
    pairs.steps, pairs.changes = plan.steps + model * size, plan.changes + model * size
    pairs.curvatures = plan.curvatures + model * plan.capacity
    pairs.first, pairs.count, pairs.capacity = (
        plan.firsts[model], plan.counts[model], plan.capacity)
    pairs.n = plan.n
    if plan.again:
        plan.kernels.apply_pairs_again(&pairs, plan.x + i * plan.n,
                                       plan.alphas + i * plan.capacity)
    else:
        plan.kernels.apply_pairs(&pairs, plan.x + i * plan.n, plan.alphas + i * plan.capacity)


cdef void multiply_rows(const PairsPlan *plan, Py_ssize_t i, int thread) noexcept nogil:
    plan.out[i] = plan.kernels.dot(plan.a + i * plan.n, plan.b + i * plan.n, plan.n)


def apply_pairs(const double[:, :, ::1] steps, const double[:, :, ::1] changes,
                const double[:, ::1] curvatures, const Py_ssize_t[::1] firsts,
                const Py_ssize_t[::1] counts, const Py_ssize_t[::1] which, double[:, ::1] x,
                double[:, ::1] alphas, bint again, int n_threads):
    """Go once over the pairs of some models: from the last to the first one, or `again`, from the
    first to the last.

    Model which[i] has the vector x[i], and the ring of pairs steps[which[i]], changes[which[i]],
    whose curvatures are s . y; its first pair is at firsts[which[i]]. The way back finds in alphas
    what the way there has left.
    """
    cdef PairsPlan plan
    cdef double work = 0
    cdef Py_ssize_t i
    if not which.shape[0]:
        return
    plan.kernels, plan.capacity, plan.n = table(0, False), steps.shape[1], steps.shape[2]
    plan.steps, plan.changes = &steps[0, 0, 0], &changes[0, 0, 0]
    plan.curvatures, plan.firsts, plan.counts = &curvatures[0, 0], &firsts[0], &counts[0]
    plan.which, plan.x, plan.alphas, plan.again = &which[0], &x[0, 0], &alphas[0, 0], again
    for i in range(which.shape[0]):
        work += 2 * PAIR_WORK * counts[which[i]] * plan.n
    n_threads = metaopt_team(n_threads, work)
    with nogil:
        metaopt_share[PairsPlan](apply_ring, &plan, which.shape[0], n_threads, work)


def dots(const double[:, ::1] a, const double[:, ::1] b, double[::1] out):
    """Write the sum of products of each row of a with that of b, in a fixed order."""
    cdef PairsPlan plan
    cdef Py_ssize_t i
    plan.kernels, plan.n = table(0, False), a.shape[1]
    if not a.shape[0]:
        return
    plan.a, plan.b, plan.out = &a[0, 0], &b[0, 0], &out[0]
    with nogil:
        for i in range(a.shape[0]):
            multiply_rows(&plan, i, 0)

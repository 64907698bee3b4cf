// Networks of one hidden layer: sums of losses and of gradients, one network in each lane.
//
// Of a row x, whose last entry is 1: a_h = f(x . u_h), o_k = b_k + sum over h of v_kh a_h, where f
// is tanh or max(0, z). One output is the margin of class 1, with the logistic loss; of several,
// the loss is that of a softmax. A tile has the hidden units one after the other, then the outputs:
//   [unit h][n_params][lane]    u_h
//   [output k][unit h][lane]    v_kh, and behind them b_k
//
// The margins and the gradients of a unit are those of tile.hpp, for each block of rows: the rows
// stay in the first-level cache while all units pass by, and the units' activations in the second.
// Bound by FMAs: 4 (n_params + 1) operations for each unit, besides about 45 for tanh and its
// derivative. No lane looks at another, so a network's sums have the same bits in any lane of any
// tile:
//   an output              the bias, then units in order
//   a derivative of v_kh   rows of a block in order, then blocks
//   all else               as in tile.hpp
#pragma once

#include "softmax.hpp"

namespace metaopt::MF_ISA {

// tanh of each z, within 2 ulp: m / (m + 2), m = exp(2 |z|) - 1, with what both operations lose put
// back. exp(2 |z|) = 2^n exp(r), and m = 2^n (exp(r) - 1) + (2^n - 1) keeps its digits near 0,
// where n is 0; in double precision, what r loses is put back, too. Beyond the largest |z| that is
// asked for, tanh rounds to 1.
//
// Some at a time, step by step: the chain of operations is so long that a processor which has them
// in their order waits for it with its queues full. Four take 0.84 to 0.92 of the time of four
// alone.
constexpr int TANHS = 4;
template <class V> inline void find_tanhs(V (&z)[TANHS]) {
    using T = scalar<V>;
    using B = bits_of<V>;
    using C = constants<T>;
    using bits = typename layout<T>::bits;
    constexpr bool is_double = sizeof(T) == sizeof(double);
    constexpr bits sign = (bits)1 << (8 * sizeof(T) - 1);
    constexpr T most = is_double ? 40 : 20;
    // The last two coefficients are those of 1 + r.
    constexpr int n_coefficients = sizeof C::exp_tail / sizeof(T) - 2;
    V r[TANHS], lost[TANHS], p[TANHS], scale[TANHS];
    for (int i = 0; i < TANHS; i++) {
        V t = (V)((B)z[i] & ~sign);
        t = t + t;
        t = t < most ? t : splat<V>(most);
        const V shifted = fma(t, splat<V>(C::log2_e), splat<V>(C::round_to_integer));
        const V n = shifted - C::round_to_integer;
        // The lowest bits of `shifted` are the integer n; the others leave at the top.
        scale[i] = (V)(((B)shifted + (bits)layout<T>::bias) << layout<T>::mantissa);
        const V high = fma(n, splat<V>(-C::ln2_high), t);
        r[i] = fma(n, splat<V>(-C::ln2_low), high);
        lost[i] = is_double ? fma(n, splat<V>(-C::ln2_low), high - r[i]) : V{};
        p[i] = splat<V>(C::exp_tail[0]);
    }
#pragma GCC unroll 16
    for (int k = 1; k < n_coefficients; k++)
        for (int i = 0; i < TANHS; i++) p[i] = fma(p[i], r[i], splat<V>(C::exp_tail[k]));
    for (int i = 0; i < TANHS; i++) {
        const V square = r[i] * r[i];
        p[i] = is_double ? r[i] + fma(square, p[i], lost[i]) : fma(square, p[i], r[i]);
        const V m = fma(scale[i], p[i], scale[i] - 1);
        const V d = m + 2, inverse = 1 / d, a = m * inverse;
        const V rest = fma(-a, m - (d - 2), fma(-a, d, m));
        z[i] = (V)((B)fma(rest, inverse, a) | ((B)z[i] & sign));
    }
}

// From one unit's activations of a block to the next one's: a vector of panels more than they need,
// as what lies whole pages apart waits for each other.
template <class T> constexpr ptrdiff_t UNIT = (BLOCK_ROWS + PANEL) * LANES<T>;

// Activations and a column of ones, outputs, and derivatives of a unit.
template <class T> ptrdiff_t network_memory(ptrdiff_t n_hidden, ptrdiff_t n_outputs) {
    return (n_hidden + n_outputs + 2) * UNIT<T> * (ptrdiff_t)sizeof(T);
}

// z[row][lane] of a unit becomes its activations; out[row][lane] += weights[lane] times these, or,
// where z is one already, that alone.
template <class T, bool RELU, bool KNOWN>
__attribute__((noinline)) void activate(T *z, int n_rows, int vectors, const T *weights, T *out) {
    using V = wide_vector<T>;
    for (int v = 0; v < vectors * lanes_of<V>; v += lanes_of<V>) {
        const V weight = load<V>(weights + v);
        for (int i = v; i < n_rows * LANES<T>; i += TANHS * LANES<T>) {
            V a[TANHS];
            for (int k = 0; k < TANHS; k++) a[k] = load<V>(z + i + k * LANES<T>);
            if constexpr (!KNOWN && !RELU) find_tanhs(a);
            for (int k = 0; k < TANHS; k++) {
                const int at = i + k * LANES<T>;
                if constexpr (!KNOWN && RELU) a[k] = max(a[k], V{});
                if constexpr (!KNOWN) store(z + at, a[k]);
                store(out + at, fma(weight, a[k], load<V>(out + at)));
            }
        }
    }
}

// Adds what a block says of one of a unit's output weights to its gradient, and this output's part
// to the derivatives by the unit's activations, which the FIRST output begins; the LAST one makes
// them those by its margins: 0 at the kink.
template <class T, bool FIRST, bool LAST>
__attribute__((noinline)) void find_slopes_of(const T *a, const T *d, int n_rows, int vectors,
                                              bool is_relu, const T *weights, T block_weight,
                                              T *gradients, T *slopes) {
    using V = wide_vector<T>;
    for (int v = 0; v < vectors * lanes_of<V>; v += lanes_of<V>) {
        const V weight = load<V>(weights + v);
        V sum = {};
        for (int i = v; i < n_rows * LANES<T>; i += LANES<T>) {
            const V x = load<V>(a + i), derivative = load<V>(d + i);
            sum = fma(x, derivative, sum);
            V slope = derivative * weight;
            if constexpr (!FIRST) slope = fma(derivative, weight, load<V>(slopes + i));
            if constexpr (LAST) {
                const V smooth = slope * fma(-x, x, splat<V>(1));
                const V kinked = x > 0 ? slope : V{};
                slope = is_relu ? kinked : smooth;
            }
            store(slopes + i, slope);
        }
        store(gradients + v, fma(splat<V>(block_weight), sum, load<V>(gradients + v)));
    }
}

// Sum of the losses of a block's rows in each lane, from o[output][row][lane], which are
// overwritten by their derivatives. As softmax_block, but a network is one lane.
template <class T>
void softmax_of_outputs(T *o, int n_rows, int vectors, ptrdiff_t n_outputs, const int *labels,
                        const T *weights, T *values) {
    using V = wide_vector<T>;
    constexpr T scale = (T)0x1p64, unscale = 1 / scale;
    static_assert(EXP_SCALE == 64);
    for (int v = 0; v < vectors * lanes_of<V>; v += lanes_of<V>) {
        V block = {};
        for (int c = 0; c < PANEL; c++) {
            V lane = {};
            for (int row = c; row < n_rows; row += PANEL) {
                T *const at = o + row * LANES<T> + v;
                const ptrdiff_t own = labels[row] * UNIT<T>, end = n_outputs * UNIT<T>;
                const V z = load<V>(at + own), weight = splat<V>(weights[row]);
                V top = z;
                for (ptrdiff_t k = 0; k < end; k += UNIT<T>) top = max(load<V>(at + k), top);
                V others = {};
                for (ptrdiff_t k = 0; k < end; k += UNIT<T>) {
                    const V e = exp_scaled(load<V>(at + k) - top);
                    store(at + k, e);
                    if (k != own) others = others + e;
                }
                const V mine = load<V>(at + own), sum = others + mine;
                const V q = mine == scale ? others : sum - scale, share = weight / sum;
                const V loss = (top - z) + log1p(q * unscale);
                lane = fma(weight, weight > 0 ? loss : V{}, lane);
                for (ptrdiff_t k = 0; k < end; k += UNIT<T>) store(at + k, load<V>(at + k) * share);
                store(at + own, -(others * share));
            }
            block = block + lane;
        }
        store(values + v, block);
    }
}

// One block of rows and a tile of networks.
template <class T> struct NetworkBlock {
    using V = wide_vector<T>;
    static constexpr int W = lanes_of<V>;

    const Network &network;
    const T *thetas, *panels;
    ptrdiff_t n_params;
    int n_rows, end, vectors;  // `end`: rows of whole panels
    T *units, *outputs, *slopes;

    NetworkBlock(const Rows *rows, ptrdiff_t b, const T *thetas, T *scratch)
        : network(*rows->network),
          thetas(thetas),
          panels((const T *)rows->panels + rows->first_panel[b] * rows->n_params * PANEL),
          n_params(rows->n_params),
          n_rows(rows->rows[b]),
          end((n_rows + PANEL - 1) / PANEL * PANEL),
          vectors(network.vectors),
          units(scratch),
          outputs(scratch + (network.n_hidden + 1) * UNIT<T>),
          slopes(outputs + network.n_outputs * UNIT<T>) {}

    // Where a tile has the weights of an output, of its thetas or its gradients.
    template <class P> P *output(P *tile, ptrdiff_t k) const {
        return tile + (network.n_hidden * n_params + k * (network.n_hidden + 1)) * LANES<T>;
    }

    void find_outputs(bool is_wide) const {
        const ptrdiff_t n_hidden = network.n_hidden;
        for (ptrdiff_t k = 0; k < network.n_outputs; k++)
            for (int i = 0; i < end * LANES<T>; i += W)
                store(outputs + k * UNIT<T> + i,
                      load<V>(output(thetas, k) + n_hidden * LANES<T> + i % LANES<T>));
        for (ptrdiff_t h = 0; h < n_hidden; h++) {
            T *const a = units + h * UNIT<T>;
            const T *const unit = thetas + h * n_params * LANES<T>;
            margins_of_tile(panels, n_rows, n_params, unit, vectors * W, a);
            if (is_wide) find_wide_margins(unit, a);
            const auto first =
                network.is_relu ? activate<T, true, false> : activate<T, false, false>;
            first(a, end, vectors, output(thetas, 0) + h * LANES<T>, outputs);
            for (ptrdiff_t k = 1; k < network.n_outputs; k++)
                activate<T, true, true>(a, end, vectors, output(thetas, k) + h * LANES<T>,
                                        outputs + k * UNIT<T>);
        }
        if (is_wide || network.is_relu) find_wide_outputs();
    }

    // Margins that are infinite become the largest numbers: 0 times them is 0.
    __attribute__((cold, noinline)) void find_wide_margins(const T *unit, T *z) const {
        recompute_margins(panels, n_rows, n_params, unit, z);
        limit(z);
    }

    // Outputs whose sums left the range are infinite only where they are beyond the range
    // themselves; a softmax, which takes their differences, has the largest numbers instead.
    __attribute__((cold, noinline)) void find_wide_outputs() const {
        T *const ones = units + network.n_hidden * UNIT<T>;
        for (int i = 0; i < end * LANES<T>; i++) ones[i] = 1;
        for (ptrdiff_t k = 0; k < network.n_outputs; k++) {
            T *const o = outputs + k * UNIT<T>;
            for (int i = 0; i < end * LANES<T>; i += W) {
                const int lane = i % LANES<T>;
                if (lane >= vectors * W || all_finite(load<V>(o + i))) continue;
                store(o + i, recomputed(load<V>(o + i), network.n_hidden + 1,
                                        Loaded<V>{units + i, UNIT<T>},
                                        Loaded<V>{output(thetas, k) + lane, LANES<T>}));
            }
            if (network.n_outputs > 1) limit(o);
        }
    }

    void limit(T *z) const {
        const V largest = splat<V>(layout<T>::largest);
        for (int i = 0; i < end * LANES<T>; i += W) {
            const V x = max(load<V>(z + i), -largest);
            store(z + i, x < largest ? x : largest);
        }
    }

    // Leaves the derivatives in the place of the outputs, and the sums of the losses in `values`.
    void find_losses(const T *row_weights, const int *labels, T *values) const {
        const T unit = (T)network.unit;
        alignas(64) T weights[BLOCK_ROWS];
        for (int row = 0; row < end; row++)
            weights[row] = row >= n_rows ? 0 : row_weights ? unit * row_weights[row] : unit;
        if (network.n_outputs > 1)
            return softmax_of_outputs(outputs, end, vectors, network.n_outputs, labels, weights,
                                      values);
        turn_signs(labels);
        for (int i = n_rows * LANES<T>; i < end * LANES<T>; i++) outputs[i] = Logistic::absent<V>;
        if (row_weights || unit != 1)
            reduce_weighted_block<T, Logistic, true>(outputs, n_rows, weights, values);
        else
            reduce_block<T, Logistic, true>(outputs, n_rows, values);
        turn_signs(labels);
    }

    // The logistic loss is that of -o in class 1.
    void turn_signs(const int *labels) const {
        for (int row = 0; row < n_rows; row++) {
            const T sign = labels[row] == 1 ? -1 : 1;
            for (int i = 0; i < LANES<T>; i += W)
                store(outputs + row * LANES<T> + i, sign * load<V>(outputs + row * LANES<T> + i));
        }
    }

    void add_gradients(T weight, T *gradients) const {
        const ptrdiff_t n_hidden = network.n_hidden;
        for (ptrdiff_t k = 0; k < network.n_outputs; k++)
            for (int v = 0; v < vectors * W; v += W) {
                V sum = {};
                for (int i = v; i < end * LANES<T>; i += LANES<T>)
                    sum = sum + load<V>(outputs + k * UNIT<T> + i);
                T *const bias = output(gradients, k) + n_hidden * LANES<T> + v;
                store(bias, fma(splat<V>(weight), sum, load<V>(bias)));
            }
        // The last units' activations are still near.
        for (ptrdiff_t h = n_hidden - 1; h >= 0; h--) {
            const T *const a = units + h * UNIT<T>;
            for (ptrdiff_t k = 0; k < network.n_outputs; k++) {
                const bool is_last = k == network.n_outputs - 1;
                auto find =
                    is_last ? find_slopes_of<T, false, true> : find_slopes_of<T, false, false>;
                if (k == 0)
                    find = is_last ? find_slopes_of<T, true, true> : find_slopes_of<T, true, false>;
                find(a, outputs + k * UNIT<T>, end, vectors, network.is_relu,
                     output(thetas, k) + h * LANES<T>, weight, output(gradients, k) + h * LANES<T>,
                     slopes);
            }
            gradients_of_tile(panels, n_rows, n_params, slopes, weight, vectors * W,
                              gradients + h * n_params * LANES<T>);
        }
    }
};

// The kernel of networks: see Evaluate.
template <class T>
void evaluate_network(const Rows *rows, ptrdiff_t first, ptrdiff_t last, const void *thetas,
                      double *sums, void *gradients, void *scratch) {
    const Network &network = *rows->network;
    const T *const tile = (const T *)thetas;
    const bool is_wide = may_overflow(
        tile, network.n_hidden * rows->n_params + network.n_outputs * (network.n_hidden + 1));
    for (ptrdiff_t b = first; b < last; b++) {
        const NetworkBlock<T> block(rows, b, tile, (T *)scratch);
        const ptrdiff_t row = rows->first_panel[b] * PANEL;
        alignas(64) T values[LANES<T>] = {};
        block.find_outputs(is_wide);
        block.find_losses(rows->row_weights ? (const T *)rows->row_weights + row : nullptr,
                          network.labels + row, values);
        add_block(values, rows->weights[b], LANES<T>, sums);
        if (gradients) block.add_gradients((T)rows->weights[b], (T *)gradients);
    }
}

}  // namespace metaopt::MF_ISA

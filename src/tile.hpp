// Sums of a loss, and of its gradient, over blocks of packed rows for a tile of candidates, one in
// each lane; single.hpp has them for one candidate, with one row in each lane.
//
// Both add in the same order, so a candidate's sums have the same bits in any lane of any tile:
//   z of a row             fma over the parameters in order, from 0
//   lane c of a block      rows c, 8 + c, 16 + c, ... in order (row r of panel p is 8 p + r)
//   a block                lanes 0..7 in order
//   a span                 blocks in order
#pragma once

#include "kernels.hpp"
#include "losses.hpp"

namespace metaopt::MF_ISA {

// A tile holds MARGIN_ROWS x VECTORS vectors of margins in registers: 24 of AVX-512's 32, 12 of
// AVX2's 16; the rest hold the thetas and one broadcast.
constexpr int VECTORS = MF_BYTES >= 32 ? 3 : 2;
constexpr int MARGIN_ROWS = MF_BYTES == 64 ? 8 : 4;
constexpr int BLOCK_ROWS = PANEL * PANELS_PER_BLOCK;
template <class T> constexpr int LANES = VECTORS * lanes_of<wide_vector<T>>;

// Parameters whose thetas are kept in the first-level cache while a block's rows pass by. AVX2
// reads a panel of doubles twice: with 24 KB of thetas, the 32 KB of most caches do not hold it
// beside the next one, and 200 parameters and more run at 37 GFLOP/s in place of 42, of 47.
template <class T>
constexpr ptrdiff_t THETA_BLOCK =
    (MF_BYTES == 32 && sizeof(T) == 8 ? 12 : 24) * 1024 / (LANES<T> * sizeof(T));

// z[row][lane] = (RESUME: z[row][lane] +) sum over `count` parameters of x[parameter][row] *
// thetas[parameter][lane], for the rows of neighbouring panels. Bound by FMAs: 3 loads and 8
// broadcasts feed 24. Of a tile with few candidates, the lanes of USED vectors.
// noinline, and the loop over row groups inside: else gcc 12 keeps the tile on the stack.
template <class T, bool RESUME, int USED = VECTORS>
__attribute__((noinline)) void margins(const T *panels, int n_panels, ptrdiff_t panel_size,
                                       const T *thetas, ptrdiff_t count, T *z) {
    using V = wide_vector<T>;
    constexpr int W = lanes_of<V>, ROWS = MARGIN_ROWS;
    for (int first = 0; first < n_panels * PANEL; first += ROWS, z += ROWS * LANES<T>) {
        const T *x = panels + first / PANEL * panel_size + first % PANEL;
        // Panels are too short for the hardware to see them coming: without this, 784 parameters
        // run at a third of the speed.
        const T *next = first + PANEL < n_panels * PANEL ? x + panel_size : panels + count * PANEL;
        V sums[ROWS][USED];
        for (int r = 0; r < ROWS; r++)
            for (int v = 0; v < USED; v++)
                sums[r][v] = RESUME ? load<V>(z + r * LANES<T> + v * W) : V{};
        for (ptrdiff_t j = 0; j < count; j++) {
            V theta[USED];
            for (int v = 0; v < USED; v++) theta[v] = load<V>(thetas + j * LANES<T> + v * W);
            __builtin_prefetch(next + j * PANEL);
            for (int r = 0; r < ROWS; r++) {
                const V value = splat<V>(x[j * PANEL + r]);
                for (int v = 0; v < USED; v++) sums[r][v] = fma(value, theta[v], sums[r][v]);
            }
        }
        for (int r = 0; r < ROWS; r++)
            for (int v = 0; v < USED; v++) store(z + r * LANES<T> + v * W, sums[r][v]);
    }
}

// Number j of many, in every lane; and a vector for each j.
template <class V> struct Spread {
    const scalar<V> *from;
    ptrdiff_t stride;

    V operator[](ptrdiff_t j) const { return splat<V>(from[j * stride]); }
};
template <class V> struct Loaded {
    const scalar<V> *from;
    ptrdiff_t stride;

    V operator[](ptrdiff_t j) const { return load<V>(from + j * stride); }
};

// Powers of two by which products are scaled whose partial sums left the range.
//
// The larger factor of each product is multiplied by 2^-shift, so that no sum reaches
// 2^(bias + 1), with n_params products below 2^(highest + 2). Nothing is lost. Where the larger
// factor falls below 2^(1 - bias), it is off by 2^(1 - bias - mantissa) at most, and the other one
// is below 2^(1 - bias + shift); the largest product is above 2^(bias - 3) / n_params (both of its
// factors are normal numbers, since a product with another is below 4), and shift at most
// bias + 3 + log2(n_params): together, this is less than n_params^2 2^(8 - 2 bias - mantissa) of
// the largest product. Less still is what sums lose that are subnormal. In the end, the sum is
// multiplied by 2^shift: that is exact up to the end of the range, since shift is not negative.
template <class V> struct Scaling {
    using B = bits_of<V>;
    V down, down_again, up, up_again;

    // `highest` is that of the sums of two exponents, which have the bias twice.
    Scaling(B highest, ptrdiff_t n_params) {
        using bits = typename layout<scalar<V>>::bits;
        constexpr int mantissa = layout<scalar<V>>::mantissa;
        constexpr bits bias = layout<scalar<V>>::bias;
        const B needed = highest + (bits)(__builtin_ilogb((double)n_params) + 3);
        // Where a sum left the range, it is 1 at least. In two steps, since 2^-shift may be
        // subnormal.
        const B shift = needed > 3 * bias ? needed - 3 * bias : B{}, half = shift >> 1;
        down = (V)((bias - half) << mantissa), down_again = (V)((bias - shift + half) << mantissa);
        up = (V)((bias + half) << mantissa), up_again = (V)((bias + shift - half) << mantissa);
    }

    template <class X, class Theta> V scaled_sum(ptrdiff_t n_params, X x, Theta theta) const {
        V sum = {};
        for (ptrdiff_t j = 0; j < n_params; j++) {
            const V a = x[j], b = theta[j];
            const auto is_larger = max(a, -a) > max(b, -b);
            const V larger = is_larger ? a : b, smaller = is_larger ? b : a;
            sum = fma(larger * down * down_again, smaller, sum);
        }
        return sum;
    }

    V restored(V sum) const { return sum * up * up_again; }
};

// The highest of the sums of the exponents of two factors.
template <class V, class X, class Theta>
inline bits_of<V> highest_exponents(ptrdiff_t n_params, X x, Theta theta) {
    using B = bits_of<V>;
    using bits = typename layout<scalar<V>>::bits;
    constexpr int mantissa = layout<scalar<V>>::mantissa;
    constexpr bits exponent = 2 * (bits)layout<scalar<V>>::bias + 1;
    B highest = {};
    for (ptrdiff_t j = 0; j < n_params; j++) {
        const B found = ((B)x[j] >> mantissa & exponent) + ((B)theta[j] >> mantissa & exponent);
        highest = found > highest ? found : highest;
    }
    return highest;
}

// Those margins z = x . theta that are not finite, because a partial sum left the range, as they
// should be: infinite only where they are beyond the range themselves. In the order of margins();
// the others are as they were.
template <class V, class X, class Theta>
inline V recomputed(V z, ptrdiff_t n_params, X x, Theta theta) {
    const Scaling<V> scaling(highest_exponents<V>(n_params, x, theta), n_params);
    const V sum = scaling.scaled_sum(n_params, x, theta);
    return z - z == 0 ? z : scaling.restored(sum);
}

template <class V> inline bool all_finite(V z) {
    z = z - z;
    scalar<V> sum = 0;
    for (int l = 0; l < lanes_of<V>; l++) sum += z[l];
    return sum == 0;
}

// Replaces those of z[row][lane] that are not finite.
template <class T>
__attribute__((noinline)) void recompute_margins(const T *panels, int n_rows, ptrdiff_t n_params,
                                                 const T *thetas, T *z) {
    using V = wide_vector<T>;
    for (int v = 0; v < VECTORS; v++, thetas += lanes_of<V>, z += lanes_of<V>) {
        V lost = {};  // 0 where all are finite, else not a number
        for (int row = 0; row < n_rows; row++) {
            const V margin = load<V>(z + row * LANES<T>);
            lost = lost + (margin - margin);
        }
        if (all_finite(lost)) continue;
        for (int row = 0; row < n_rows; row++) {
            const V margin = load<V>(z + row * LANES<T>);
            if (all_finite(margin)) continue;
            const T *from = panels + row / PANEL * n_params * PANEL + row % PANEL;
            store(z + row * LANES<T>, recomputed(margin, n_params, Spread<V>{from, PANEL},
                                                 Loaded<V>{thetas, LANES<T>}));
        }
    }
}

// Whether a margin of one of a tile's lanes may leave the range: see find_excesses.
template <class T> bool may_overflow(const T *thetas, ptrdiff_t n_params) {
    bool found = false;
    for (int l = 0; l < LANES<T>; l++) found |= thetas[n_params * LANES<T> + l] != 0;
    return found;
}

// The margins of a block's panels: z[row][lane]. Rows beyond the block's get `absent`, which
// neither a loss nor a derivative feels.
template <class T, int USED = VECTORS>
void block_margins(const T *panels, int n_rows, ptrdiff_t n_params, const T *thetas, bool is_wide,
                   T *z, T absent = 0) {
    const int n_panels = (n_rows + PANEL - 1) / PANEL;
    for (ptrdiff_t j = 0; j < n_params; j += THETA_BLOCK<T>) {
        const ptrdiff_t count = n_params - j < THETA_BLOCK<T> ? n_params - j : THETA_BLOCK<T>;
        const auto kernel = j == 0 ? margins<T, false, USED> : margins<T, true, USED>;
        kernel(panels + j * PANEL, n_panels, n_params * PANEL, thetas + j * LANES<T>, count, z);
    }
    if (is_wide) recompute_margins(panels, n_rows, n_params, thetas, z);
    for (int i = n_rows * LANES<T>; i < n_panels * PANEL * LANES<T>; i++) z[i] = absent;
}

// sums[lane] += weight * value[lane], in double precision.
template <class T> void add_block(const T *values, double weight, int count, double *sums) {
    for (int i = 0; i < count; i++) sums[i] += weight * values[i];
}

// Sum of the losses of a block in each lane, from z[row][lane]; with `GRADIENT`, z is overwritten
// by the derivatives. Panels that are visited together are filled up by one of absent rows, for
// which z must have room.
template <class T, class Loss, bool GRADIENT> void reduce_block(T *z, int n_rows, T *values) {
    using V = wide_vector<T>;
    using Sum = typename Loss::template Sum<V>;
    constexpr int W = lanes_of<V>, PANEL_SIZE = PANEL * LANES<T>;
    int n_panels = (n_rows + PANEL - 1) / PANEL;
    for (; n_panels % Sum::ROWS != 0; n_panels++)
        for (int i = 0; i < PANEL_SIZE; i++)
            z[n_panels * PANEL_SIZE + i] = Loss::template absent<V>;
    Sum block[VECTORS] = {};
    for (int c = 0; c < PANEL; c++) {
        Sum lane[VECTORS] = {};
        for (int p = 0; p < n_panels; p += Sum::ROWS) {
            T *row = z + (p * PANEL + c) * LANES<T>;
            V x[Sum::ROWS * VECTORS];
            for (int r = 0; r < Sum::ROWS; r++)
                for (int v = 0; v < VECTORS; v++)
                    x[r * VECTORS + v] = load<V>(row + r * PANEL_SIZE + v * W);
            Sum::template add_each<GRADIENT>(lane, x);
            for (int r = 0; GRADIENT && r < Sum::ROWS; r++)
                for (int v = 0; v < VECTORS; v++)
                    store(row + r * PANEL_SIZE + v * W, x[r * VECTORS + v]);
        }
        for (int v = 0; v < VECTORS; v++) block[v].merge(lane[v]);
    }
    for (int v = 0; v < VECTORS; v++) store(values + v * W, block[v].value());
}

// The same for rows of different weights, weights[row]: each loss is computed alone, and the
// derivatives are multiplied by the weights.
template <class T, class Loss, bool GRADIENT>
void reduce_weighted_block(T *z, int n_rows, const T *weights, T *values) {
    using V = wide_vector<T>;
    constexpr int W = lanes_of<V>;
    const int n_panels = (n_rows + PANEL - 1) / PANEL;
    V block[VECTORS] = {};
    for (int c = 0; c < PANEL; c++) {
        V lane[VECTORS] = {};
        for (int p = 0; p < n_panels; p++) {
            T *row = z + (p * PANEL + c) * LANES<T>;
            const V weight = splat<V>(weights[p * PANEL + c]);
            for (int v = 0; v < VECTORS; v++) {
                const V x = load<V>(row + v * W);
                lane[v] = fma(weight, Loss::value(x), lane[v]);
                if constexpr (GRADIENT) store(row + v * W, weight * Loss::derivative(x));
            }
        }
        for (int v = 0; v < VECTORS; v++) block[v] = block[v] + lane[v];
    }
    for (int v = 0; v < VECTORS; v++) store(values + v * W, block[v]);
}

// Whether two lanes of a block are summed together: where AVX2's registers are all taken.
template <int USED> constexpr bool IS_PAIRED = MF_BYTES == 32 && USED == VECTORS;

// gradients[parameter][lane] += weight * sum over a block's rows of x[parameter][row] *
// derivatives[row][lane], for the parameters from `j` on, PARAMETERS at a time; returns how far it
// came. Bound by FMAs, as margins() is.
//
// Where no register is left for the sums of the block, these go to memory and back after each lane:
// of two parameters and two lanes half as often as of four and one, which took a twelfth longer.
template <class T, int PARAMETERS, int USED = VECTORS>
__attribute__((noinline)) ptrdiff_t add_gradients(const T *panels, int n_panels, ptrdiff_t n_params,
                                                  ptrdiff_t j, const T *derivatives, T weight,
                                                  T *gradients) {
    using V = wide_vector<T>;
    constexpr int W = lanes_of<V>, TOGETHER = IS_PAIRED<USED> ? 2 : 1;
    for (; j + PARAMETERS <= n_params; j += PARAMETERS) {
        V block[PARAMETERS][USED] = {};
        for (int c = 0; c < PANEL; c += TOGETHER) {
            const T *x = panels + j * PANEL + c, *from = derivatives + c * LANES<T>;
            V sums[TOGETHER][PARAMETERS][USED] = {};
            for (int p = n_panels; p > 0; p--) {
                for (int k = 0; k < TOGETHER; k++) {
                    V derivative[USED];
                    for (int v = 0; v < USED; v++)
                        derivative[v] =
                            in_register<IS_PAIRED<USED>>(load<V>(from + k * LANES<T> + v * W));
                    for (int i = 0; i < PARAMETERS; i++) {
                        const V value = splat<V>(x[i * PANEL + k]);
                        for (int v = 0; v < USED; v++)
                            sums[k][i][v] = fma(value, derivative[v], sums[k][i][v]);
                    }
                }
                x += n_params * PANEL, from += PANEL * LANES<T>;
            }
            for (int k = 0; k < TOGETHER; k++)
                for (int i = 0; i < PARAMETERS; i++)
                    for (int v = 0; v < USED; v++) block[i][v] = block[i][v] + sums[k][i][v];
        }
        for (int i = 0; i < PARAMETERS; i++)
            for (int v = 0; v < USED; v++) {
                T *to = gradients + (j + i) * LANES<T> + v * W;
                store(to, fma(splat<V>(weight), block[i][v], load<V>(to)));
            }
    }
    return j;
}

template <class T, int USED = VECTORS>
void add_all_gradients(const T *panels, int n_rows, ptrdiff_t n_params, const T *derivatives,
                       T weight, T *gradients) {
    const int n_panels = (n_rows + PANEL - 1) / PANEL;
    ptrdiff_t j = 0;
    // One vector of eight parameters has as many sums as an FMA's latency asks for.
    if constexpr (USED == 1)
        j = add_gradients<T, 8, USED>(panels, n_panels, n_params, j, derivatives, weight,
                                      gradients);
    if constexpr (!IS_PAIRED<USED>)
        j = add_gradients<T, 4, USED>(panels, n_panels, n_params, j, derivatives, weight,
                                      gradients);
    j = add_gradients<T, 2, USED>(panels, n_panels, n_params, j, derivatives, weight, gradients);
    add_gradients<T, 1, USED>(panels, n_panels, n_params, j, derivatives, weight, gradients);
}

// high[i] + low[i] += partial[span][i] for one span after the other, what each addition rounds off
// kept in `low`: Knuth's two-sum. An overflow has no rounding error to keep. For the lanes of V.
template <class V, class T>
inline void fold_some(const T *partial, ptrdiff_t n_spans, ptrdiff_t count, double *high,
                      double *low) {
    V sum = load<V>(high), rest = load<V>(low);
    for (ptrdiff_t span = 0; span < n_spans; span++) {
        vector<T, lanes_of<V> * sizeof(T)> some;
        __builtin_memcpy(&some, partial + span * count, sizeof some);
        const V x = __builtin_convertvector(some, V), total = sum + x, added = total - sum;
        const V lost = (sum - (total - added)) + (x - added);
        rest = total - total == 0 ? rest + lost : rest;
        sum = total;
    }
    store(high, sum);
    store(low, rest);
}

// The same for `count` sums.
template <class T>
void fold_spans(const void *partial, ptrdiff_t n_spans, ptrdiff_t count, double *high,
                double *low) {
    const T *from = (const T *)partial;
    ptrdiff_t i = 0;
    for (constexpr int W = lanes_of<f64v>; i + W <= count; i += W)
        fold_some<f64v>(from + i, n_spans, count, high + i, low + i);
    for (; i < count; i++)
        fold_some<vector<double, 8>>(from + i, n_spans, count, high + i, low + i);
}

// The kernel of batch_loss and batch_loss_gradient: see Evaluate.
template <class T, class Loss>
void evaluate_tile(const Rows *rows, ptrdiff_t first, ptrdiff_t last, const void *thetas,
                   double *sums, void *gradients, void *) {
    const ptrdiff_t n_params = rows->n_params;
    alignas(64) T z[BLOCK_ROWS * LANES<T>];
    alignas(64) T values[LANES<T>];
    const bool is_wide = may_overflow((const T *)thetas, n_params);
    for (ptrdiff_t b = first; b < last; b++) {
        const T *panels = (const T *)rows->panels + rows->first_panel[b] * n_params * PANEL;
        const int n_rows = rows->rows[b];
        const double weight = rows->weights[b];
        block_margins(panels, n_rows, n_params, (const T *)thetas, is_wide, z,
                      Loss::template absent<wide_vector<T>>);
        if (rows->row_weights) {
            const T *weights = (const T *)rows->row_weights + rows->first_panel[b] * PANEL;
            if (gradients)
                reduce_weighted_block<T, Loss, true>(z, n_rows, weights, values);
            else
                reduce_weighted_block<T, Loss, false>(z, n_rows, weights, values);
        } else if (gradients) {
            reduce_block<T, Loss, true>(z, n_rows, values);
        } else {
            reduce_block<T, Loss, false>(z, n_rows, values);
        }
        add_block(values, weight, LANES<T>, sums);
        if (gradients) add_all_gradients(panels, n_rows, n_params, z, (T)weight, (T *)gradients);
    }
}

}  // namespace metaopt::MF_ISA

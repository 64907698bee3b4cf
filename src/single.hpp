// Sums of a loss, and of its gradient, over blocks of packed rows for a single theta: one row in
// each lane, and the order of additions of tile.hpp.
#pragma once

#include "tile.hpp"

namespace metaopt::MF_ISA {

// Panels of rows that are read side by side: their sums are eight vectors.
template <class T> constexpr int ABREAST = lanes_of<row_vector<T>>;

// Fetches what comes next in memory, up to `until`, into the cache of a level; returns where it
// goes on.
template <int LEVEL, class T> inline const T *fetch(const T *next, const T *until) {
    for (; next < until; next += 64 / sizeof(T)) __builtin_prefetch(next, 0, 4 - LEVEL);
    return next;
}

// z[row] = sum over parameters of x[parameter][row] * theta[parameter], for the rows of PANELS
// neighbouring panels. Meanwhile as much as FETCHED panels is fetched from x + ahead on.
template <int PANELS = 1, int FETCHED = 1, int LEVEL = 1, class T>
void row_margins(const T *x, ptrdiff_t n_params, const T *theta, ptrdiff_t ahead, T *z) {
    using V = row_vector<T>;
    constexpr int W = lanes_of<V>, PARTS = PANEL / W, FETCH = FETCHED * PANEL;
    V sums[PANELS][PARTS] = {};
    for (ptrdiff_t j = 0; j < n_params; j++) {
        const V value = splat<V>(theta[j]);
        const T *next = x + ahead + j * FETCH;
        fetch<LEVEL>(next, next + FETCH);
        for (int p = 0; p < PANELS; p++)
            for (int k = 0; k < PARTS; k++)
                sums[p][k] =
                    fma(load<V>(x + (p * n_params + j) * PANEL + k * W), value, sums[p][k]);
    }
    for (int p = 0; p < PANELS; p++)
        for (int k = 0; k < PARTS; k++) store(z + p * PANEL + k * W, sums[p][k]);
}

// Replaces those of z[row] of a panel that are not finite.
template <class T>
__attribute__((noinline)) void recompute_row_margins(const T *x, ptrdiff_t n_params, const T *theta,
                                                     T *z) {
    using V = row_vector<T>;
    for (int lane = 0; lane < PANEL; lane += lanes_of<V>) {
        const V margin = load<V>(z + lane);
        if (all_finite(margin)) continue;
        store(z + lane,
              recomputed(margin, n_params, Loaded<V>{x + lane, PANEL}, Spread<V>{theta, 1}));
    }
}

// lanes[parameter][lane] (+)= sum over PANELS neighbouring panels of x[parameter][lane] *
// derivatives[panel][lane]. Fetches as row_margins does.
template <int PANELS, int FETCHED, int LEVEL, class T>
void add_row_gradients(const T *x, ptrdiff_t n_params, const T *derivatives, bool resume,
                       ptrdiff_t ahead, T *lanes) {
    using V = row_vector<T>;
    constexpr int W = lanes_of<V>, PARTS = PANEL / W, FETCH = FETCHED * PANEL;
    V derivative[PANELS][PARTS];
    for (int i = 0; i < PANELS; i++)
        for (int k = 0; k < PARTS; k++) derivative[i][k] = load<V>(derivatives + i * PANEL + k * W);
    for (ptrdiff_t j = 0; j < n_params; j++) {
        const T *next = x + ahead + j * FETCH;
        fetch<LEVEL>(next, next + FETCH);
        for (int k = 0; k < PARTS; k++) {
            V sum = resume ? load<V>(lanes + j * PANEL + k * W) : V{};
            for (int i = 0; i < PANELS; i++)
                sum = fma(load<V>(x + (i * n_params + j) * PANEL + k * W), derivative[i][k], sum);
            store(lanes + j * PANEL + k * W, sum);
        }
    }
}

// The margins of neighbouring panels, as many abreast as may be, then half of them, and so on.
// Meanwhile EIGHTHS eighths of as many panels are fetched; returns where that goes on.
template <class T, int EIGHTHS, int LEVEL, int PANELS = ABREAST<T>>
const T *visit_margins(const T *x, int n_panels, ptrdiff_t n_params, const T *theta, const T *next,
                       T *z) {
    constexpr int FETCHED = PANELS * EIGHTHS / 8;
    const ptrdiff_t panel_size = n_params * PANEL;
    for (; n_panels >= PANELS; n_panels -= PANELS) {
        row_margins<PANELS, FETCHED, LEVEL>(x, n_params, theta, next - x, z);
        x += PANELS * panel_size, next += FETCHED * panel_size, z += PANELS * PANEL;
    }
    if constexpr (PANELS > 1)
        return visit_margins<T, EIGHTHS, LEVEL, PANELS / 2>(x, n_panels, n_params, theta, next, z);
    return next;
}

// The same for gradients.
template <class T, int EIGHTHS, int LEVEL, int PANELS = ABREAST<T>>
const T *visit_gradients(const T *x, int n_panels, ptrdiff_t n_params, const T *derivatives,
                         bool resume, const T *next, T *lanes) {
    constexpr int FETCHED = PANELS * EIGHTHS / 8;
    const ptrdiff_t panel_size = n_params * PANEL;
    for (; n_panels >= PANELS; n_panels -= PANELS, resume = true) {
        add_row_gradients<PANELS, FETCHED, LEVEL>(x, n_params, derivatives, resume, next - x,
                                                  lanes);
        x += PANELS * panel_size, next += FETCHED * panel_size, derivatives += PANELS * PANEL;
    }
    if constexpr (PANELS > 1)
        return visit_gradients<T, EIGHTHS, LEVEL, PANELS / 2>(x, n_panels, n_params, derivatives,
                                                              resume, next, lanes);
    return next;
}

// How the panels of a block are visited: for the margins and, while they are in cache, again for
// the gradient.
//
// Memory gives what hardware or a fetch asks for in its own order, without a gap and at an even
// pace: else the core waits for each line, at a third of the rate. So all that is done to a visit's
// panels fetches a part of as many panels to come. Where losses and their derivatives take as long
// as the sums over few parameters, half of it is theirs. Losses alone fetch into the first-level
// cache, if that holds two visits; gradients, which take longer than memory does, further ahead.
template <class T> struct Visits {
    decltype(&visit_margins<T, 4, 1>) margins;
    decltype(&visit_gradients<T, 4, 2>) gradients;
    int size;             // panels
    ptrdiff_t ahead;      // numbers
    ptrdiff_t of_losses;  // numbers that the losses of a panel fetch

    Visits(ptrdiff_t n_params, bool has_gradient) {
        // Visits stay in a second-level cache, beside as much that is fetched.
        constexpr ptrdiff_t SECOND_LEVEL = 256 * 1024, FIRST_LEVEL = 16 * 1024;
        const ptrdiff_t panel_bytes = n_params * PANEL * (ptrdiff_t)sizeof(T);
        size = PANELS_PER_BLOCK;
        while (size > 1 && size * panel_bytes > SECOND_LEVEL) size /= 2;
        const bool is_small = size * panel_bytes <= FIRST_LEVEL;
        ahead = size * n_params * PANEL;
        if (has_gradient && ahead * (ptrdiff_t)sizeof(T) <= 2 * FIRST_LEVEL) ahead *= 2;
        of_losses = is_small ? n_params * PANEL / 2 : 0;
        if (has_gradient)
            margins = is_small ? visit_margins<T, 2, 2> : visit_margins<T, 4, 2>;
        else
            margins = is_small ? visit_margins<T, 4, 1> : visit_margins<T, 8, 2>;
        gradients = is_small ? visit_gradients<T, 2, 2> : visit_gradients<T, 4, 2>;
    }
};

// gradient[parameter] += weight * (the sum of its lanes, in their order).
template <class T> void add_lanes(const T *lanes, ptrdiff_t n_params, T weight, T *gradient) {
    using V = row_vector<T>;
    constexpr int W = lanes_of<V>;
    ptrdiff_t j = 0;
    for (; j + W <= n_params; j += W) {
        V total = {};
        for (int c = 0; c < PANEL; c += W) {
            V square[W];
            for (int i = 0; i < W; i++) square[i] = load<V>(lanes + (j + i) * PANEL + c);
            transpose(square);
            for (int i = 0; i < W; i++) total = total + square[i];
        }
        store(gradient + j, fma(splat<V>(weight), total, load<V>(gradient + j)));
    }
    for (; j < n_params; j++) {
        T total = 0;
        for (int c = 0; c < PANEL; c++) total += lanes[j * PANEL + c];
        gradient[j] = fma(weight, total, gradient[j]);
    }
}

// The sums of a block's rows in each lane, as evaluate_one keeps them between panels.
template <class T, class Loss> struct RowSums {
    using V = row_vector<T>;
    using Sum = typename Loss::template Sum<V>;
    static constexpr int W = lanes_of<V>;
    static constexpr int PARTS = PANEL / W;

    Sum sums[PARTS] = {};
    V weighted[PARTS] = {};

    // Adds the losses of z[row] and writes the derivatives over them.
    inline void add_panel(T *z) {
        for (int k = 0; k < PARTS; k++)
            store(z + k * W, sums[k].add_derivative(load<V>(z + k * W)));
    }

    inline void add_weighted_panel(T *z, const T *weights) {
        for (int k = 0; k < PARTS; k++) {
            const V x = load<V>(z + k * W), weight = load<V>(weights + k * W);
            weighted[k] = fma(weight, Loss::value(x), weighted[k]);
            store(z + k * W, weight * Loss::derivative(x));
        }
    }
};

// The lane sums of up to PANEL blocks, kept until their lanes are added up together: one lane of
// each block at a time, the blocks side by side.
template <class T, class Loss> struct PendingBlocks {
    using V = row_vector<T>;
    using Sum = typename Loss::template Sum<V>;
    using Parts = RowSums<T, Loss>;
    static constexpr int W = Parts::W;
    static constexpr int FIELDS = sizeof(Sum) / sizeof(V);

    alignas(64) T lanes[FIELDS][PANEL][PANEL] = {};  // [field][block][lane]
    double weights[PANEL];
    int count = 0;

    void push(const Parts &block, bool row_weights, double weight) {
        for (int k = 0; k < Parts::PARTS; k++) {
            V fields[FIELDS];
            __builtin_memcpy(fields, &block.sums[k], sizeof fields);
            if (row_weights) fields[0] = block.weighted[k];
            for (int f = 0; f < FIELDS; f++) store(lanes[f][count] + k * W, fields[f]);
        }
        weights[count++] = weight;
    }

    void flush(bool row_weights, double *sum) {
        alignas(64) T values[PANEL];
        for (int k = 0; k < Parts::PARTS; k++) {
            Sum block = {};
            V weighted = {};
            for (int c = 0; c < PANEL; c += W) {
                V fields[FIELDS][W];
                for (int f = 0; f < FIELDS; f++) {
                    for (int b = 0; b < W; b++) fields[f][b] = load<V>(lanes[f][k * W + b] + c);
                    transpose(fields[f]);
                }
                for (int i = 0; i < W; i++) {
                    Sum lane;
                    V of_lane[FIELDS];
                    for (int f = 0; f < FIELDS; f++) of_lane[f] = fields[f][i];
                    __builtin_memcpy(&lane, of_lane, sizeof lane);
                    block.merge(lane);
                    weighted = weighted + fields[0][i];
                }
            }
            store(values + k * W, row_weights ? weighted : block.value());
        }
        for (int b = 0; b < count; b++) add_block(values + b, weights[b], 1, sum);
        count = 0;
    }
};

// The kernel of loss, gradient and loss_gradient: see Evaluate. Bound by reading X once. `scratch`:
// gradient[parameter][lane of a block].
template <class T, class Loss>
void evaluate_one(const Rows *rows, ptrdiff_t first, ptrdiff_t last, const void *thetas,
                  double *sum, void *gradient, void *scratch) {
    const ptrdiff_t n_params = rows->n_params, panel_size = n_params * PANEL;
    const Visits<T> visits(n_params, gradient);
    const T *theta = (const T *)thetas;
    T *lanes = (T *)scratch;
    PendingBlocks<T, Loss> pending;
    for (ptrdiff_t b = first; b < last; b++) {
        const T *x = (const T *)rows->panels + rows->first_panel[b] * panel_size;
        const T *weights = rows->row_weights
                               ? (const T *)rows->row_weights + rows->first_panel[b] * PANEL
                               : nullptr;
        const T *next = x + visits.ahead;
        const int n_panels = (rows->rows[b] + PANEL - 1) / PANEL;
        RowSums<T, Loss> block;
        for (int visit = 0; visit < n_panels; visit += visits.size) {
            const int count = n_panels - visit < visits.size ? n_panels - visit : visits.size;
            alignas(64) T z[BLOCK_ROWS];
            next = visits.margins(x, count, n_params, theta, next, z);
            for (int p = 0; theta[n_params] != 0 && p < count; p++)
                recompute_row_margins(x + p * panel_size, n_params, theta, z + p * PANEL);
            for (int row = rows->rows[b] - visit * PANEL; row < count * PANEL; row++)
                z[row] = Loss::template absent<row_vector<T>>;
            for (int p = 0; p < count; p++) {
                if (weights)
                    block.add_weighted_panel(z + p * PANEL, weights + (visit + p) * PANEL);
                else
                    block.add_panel(z + p * PANEL);
                if (gradient)
                    next = fetch<2>(next, next + visits.of_losses);
                else
                    next = fetch<1>(next, next + visits.of_losses);
            }
            if (gradient) next = visits.gradients(x, count, n_params, z, visit > 0, next, lanes);
            x += count * panel_size;
        }
        fetch<2>(next, x + visits.ahead);
        pending.push(block, weights, rows->weights[b]);
        if (pending.count == PANEL) pending.flush(weights, sum);
        if (gradient) add_lanes(lanes, n_params, (T)rows->weights[b], (T *)gradient);
    }
    pending.flush(rows->row_weights, sum);
}

// Knuth's two-sum; an overflow has no rounding error to keep.
inline void add_exactly(CarefulSum &sum, double x) {
    const double total = sum.high + x, added = total - sum.high;
    if (total - total == 0) sum.low += (sum.high - (total - added)) + (x - added);
    sum.high = total;
}

// sum = sum over all rows of unit * weight * loss and, unless `gradients` is null, the same of the
// gradients: for a candidate some of whose sums left the range, one row after the other and in
// double precision. `unit` is a power of two with unit * (sum of the weights) far below 1, so that
// a sum stays in the range if the mean does; what it takes from small terms is nothing beside a sum
// that left the range. A row counts for nothing where its weight or its number is 0, whatever the
// other is.
template <class T, class Loss>
void evaluate_wide(const Rows *rows, ptrdiff_t n_blocks, const void *thetas, ptrdiff_t stride,
                   double unit, CarefulSum *sum, CarefulSum *gradient, void *scratch) {
    using V = row_vector<double>;
    const ptrdiff_t n_params = rows->n_params, panel_size = n_params * PANEL;
    T *theta = (T *)scratch;
    for (ptrdiff_t j = 0; j <= n_params; j++) theta[j] = ((const T *)thetas)[j * stride];
    alignas(64) T panel[PANEL];
    alignas(64) double z[PANEL], losses[PANEL], slopes[PANEL];
    for (ptrdiff_t b = 0; b < n_blocks; b++)
        for (int first = 0; first < rows->rows[b]; first += PANEL) {
            const ptrdiff_t number = rows->first_panel[b] + first / PANEL;
            const T *x = (const T *)rows->panels + number * panel_size;
            row_margins(x, n_params, theta, panel_size, panel);
            if (theta[n_params] != 0) recompute_row_margins(x, n_params, theta, panel);
            for (int row = 0; row < PANEL; row++) z[row] = panel[row];
            for (int row = 0; row < PANEL; row += lanes_of<V>) {
                store(losses + row, Loss::value(load<V>(z + row)));
                store(slopes + row, Loss::derivative(load<V>(z + row)));
            }
            for (int row = 0; row < PANEL && first + row < rows->rows[b]; row++) {
                double weight = unit * rows->weights[b];
                if (rows->row_weights)
                    weight *= (double)((const T *)rows->row_weights)[number * PANEL + row];
                if (weight == 0) continue;
                double loss = losses[row], slope = slopes[row];
                if (loss - loss != 0 && z[row] - z[row] == 0) {
                    // A loss that overflows at a margin in the range is a square, of half its
                    // slope; that is z + 1, or z where the slope overflows, too.
                    loss = slope - slope == 0 ? slope / 2 : z[row];
                    weight *= loss;
                    slope = 2 * weight;
                } else {
                    slope *= weight;
                }
                add_exactly(*sum, weight * loss);
                for (ptrdiff_t j = 0; gradient && j < n_params; j++)
                    if (x[j * PANEL + row] != 0)
                        add_exactly(gradient[j], slope * (double)x[j * PANEL + row]);
            }
            if (!gradient && sum->high - sum->high != 0) return;
        }
}

}  // namespace metaopt::MF_ISA

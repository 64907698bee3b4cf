// Sums of a loss, and of its gradient, over blocks of packed rows for a single theta: one row in
// each lane, and the order of additions of tile.hpp.
#pragma once

#include "tile.hpp"

namespace metaopt::MF_ISA {

// z[row] = sum over parameters of x[parameter][row] * theta[parameter], for the rows of a panel.
// One chain of FMAs reads memory in order, as the hardware expects it; the chains of neighbouring
// panels overlap. `ahead` is the distance to what a later panel will read.
template <class T>
void row_margins(const T *x, ptrdiff_t n_params, const T *theta, ptrdiff_t ahead, T *z) {
    using V = row_vector<T>;
    constexpr int W = lanes_of<V>, PARTS = PANEL / W;
    V sums[PARTS] = {};
    for (ptrdiff_t j = 0; j < n_params; j++) {
        const V value = splat<V>(theta[j]);
        __builtin_prefetch(x + j * PANEL + ahead);
        for (int k = 0; k < PARTS; k++)
            sums[k] = fma(load<V>(x + j * PANEL + k * W), value, sums[k]);
    }
    for (int k = 0; k < PARTS; k++) store(z + k * W, sums[k]);
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
// derivatives[panel][lane].
template <class T, int PANELS>
void add_row_gradients(const T *x, ptrdiff_t n_params, const T *derivatives, bool resume,
                       T *lanes) {
    using V = row_vector<T>;
    constexpr int W = lanes_of<V>, PARTS = PANEL / W;
    V derivative[PANELS][PARTS];
    for (int i = 0; i < PANELS; i++)
        for (int k = 0; k < PARTS; k++) derivative[i][k] = load<V>(derivatives + i * PANEL + k * W);
    for (ptrdiff_t j = 0; j < n_params; j++)
        for (int k = 0; k < PARTS; k++) {
            V sum = resume ? load<V>(lanes + j * PANEL + k * W) : V{};
            for (int i = 0; i < PANELS; i++)
                sum = fma(load<V>(x + (i * n_params + j) * PANEL + k * W), derivative[i][k], sum);
            store(lanes + j * PANEL + k * W, sum);
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

    alignas(64) T lanes[FIELDS + 1][PANEL][PANEL] = {};  // [field][lane][block]
    double weights[PANEL];
    int count = 0;

    void push(const Parts &block, double weight) {
        for (int k = 0; k < Parts::PARTS; k++) {
            V fields[FIELDS];
            __builtin_memcpy(fields, &block.sums[k], sizeof fields);
            for (int l = 0; l < W; l++) {
                for (int f = 0; f < FIELDS; f++) lanes[f][k * W + l][count] = fields[f][l];
                lanes[FIELDS][k * W + l][count] = block.weighted[k][l];
            }
        }
        weights[count++] = weight;
    }

    void flush(bool row_weights, double *sum) {
        alignas(64) T values[PANEL];
        for (int k = 0; k < Parts::PARTS; k++) {
            Sum block = {};
            V weighted = {};
            for (int c = 0; c < PANEL; c++) {
                V fields[FIELDS];
                Sum lane;
                for (int f = 0; f < FIELDS; f++) fields[f] = load<V>(lanes[f][c] + k * W);
                __builtin_memcpy(&lane, fields, sizeof lane);
                block.merge(lane);
                weighted = weighted + load<V>(lanes[FIELDS][c] + k * W);
            }
            store(values + k * W, row_weights ? weighted : block.value());
        }
        for (int b = 0; b < count; b++) add_block(values + b, weights[b], 1, sum);
        count = 0;
    }
};

// The kernel of loss, gradient and loss_gradient: see Evaluate. Bound by reading X once: a block's
// panels are visited for the margins and, while they are in cache, again for the gradient.
// `scratch`: gradient[parameter][lane of a block].
template <class T, class Loss>
void evaluate_one(const Rows *rows, ptrdiff_t first, ptrdiff_t last, const void *thetas,
                  double *sum, void *gradient, void *scratch) {
    const ptrdiff_t n_params = rows->n_params, panel_size = n_params * PANEL;
    const ptrdiff_t panel_bytes = panel_size * (ptrdiff_t)sizeof(T);
    // Panels that a first-level cache holds until the gradient reads them again, few, so that
    // memory rests only shortly; where it does not hold two, a second-level cache holds four.
    const int visit_size = panel_bytes <= 12 * 1024 ? 2 : 4;
    // Memory answers within the time of some kilobytes.
    const ptrdiff_t ahead = (8 * 1024 / panel_bytes + 1) * panel_size;
    const T *theta = (const T *)thetas;
    T *lanes = (T *)scratch;
    PendingBlocks<T, Loss> pending;
    for (ptrdiff_t b = first; b < last; b++) {
        const T *x = (const T *)rows->panels + rows->first_panel[b] * panel_size;
        const T *weights = rows->row_weights
                               ? (const T *)rows->row_weights + rows->first_panel[b] * PANEL
                               : nullptr;
        const int n_rows = rows->rows[b];
        const int n_panels = (n_rows + PANEL - 1) / PANEL;
        RowSums<T, Loss> block;
        for (int visit = 0; visit < n_panels; visit += visit_size) {
            const int until = n_panels - visit < visit_size ? n_panels : visit + visit_size;
            alignas(64) T z[BLOCK_ROWS];
            for (int p = visit; p < until; p++)
                row_margins(x + p * panel_size, n_params, theta, ahead, z + p * PANEL);
            for (int p = visit; theta[n_params] != 0 && p < until; p++)
                recompute_row_margins(x + p * panel_size, n_params, theta, z + p * PANEL);
            for (int row = n_rows; row < until * PANEL; row++)
                z[row] = Loss::template absent<row_vector<T>>;
            for (int p = visit; p < until; p++)
                if (weights)
                    block.add_weighted_panel(z + p * PANEL, weights + p * PANEL);
                else
                    block.add_panel(z + p * PANEL);
            if (!gradient) continue;
            int p = visit;
            for (; p + 2 <= until; p += 2)
                add_row_gradients<T, 2>(x + p * panel_size, n_params, z + p * PANEL, p > 0, lanes);
            for (; p < until; p++)
                add_row_gradients<T, 1>(x + p * panel_size, n_params, z + p * PANEL, p > 0, lanes);
        }
        pending.push(block, rows->weights[b]);
        if (pending.count == PANEL) pending.flush(weights, sum);
        if (!gradient) continue;
        const T weight = (T)rows->weights[b];
        for (ptrdiff_t j = 0; j < n_params; j++) {
            T total = 0;
            for (int c = 0; c < PANEL; c++) total += lanes[j * PANEL + c];
            T *to = (T *)gradient + j;
            *to = fma(weight, total, *to);
        }
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

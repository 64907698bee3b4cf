// Sums of a loss, and of its gradient, over blocks of packed rows for a single theta: one row in
// each lane, and the order of additions of tile.hpp.
#pragma once

#include "visits.hpp"

namespace metaopt::MF_ISA {

// Panels of a visit whose gradient is late: of at most 32 parameters in double precision, two
// visits stay in a first-level cache.
constexpr int LATE = 4;

// How the panels of a block are visited: for the margins and, while they are in cache, again for
// the gradient.
//
// Memory gives what hardware or a fetch asks for in its own order, without a gap and at an even
// pace: else the core waits for each line, at a third of the rate. So all that is done to a visit's
// panels fetches a part of as many panels to come. Losses alone fetch into the first-level cache,
// if that holds two visits; gradients, which take longer than memory does, further ahead. Where
// panels are small, hardware is asked alone: see interleave.
template <class T> struct Visits {
    decltype(&visit_margins<T, 4, 1>) margins;
    int size;             // panels; 1 where each follows the one before: see follow
    ptrdiff_t ahead;      // numbers
    ptrdiff_t of_losses;  // numbers that the losses of a panel fetch
    bool is_late;         // whether a gradient is added during the next visit

    __attribute__((noinline)) Visits(ptrdiff_t n_params, bool has_gradient, bool is_large) {
        // Visits stay in a second-level cache, beside as much that is fetched.
        constexpr ptrdiff_t SECOND_LEVEL = 256 * 1024, FIRST_LEVEL = 16 * 1024;
        const ptrdiff_t panel_bytes = n_params * PANEL * (ptrdiff_t)sizeof(T);
        size = PANELS_PER_BLOCK;
        while (size > 1 && size * panel_bytes > SECOND_LEVEL) size /= 2;
        const bool is_small = size * panel_bytes <= FIRST_LEVEL;
        is_late = has_gradient && is_small;
        if (is_late) size = LATE;
        // Two panels and as many sums stay in a first-level cache; of fewer parameters, panels
        // would wait for each other's losses.
        constexpr ptrdiff_t LEAST_FOLLOWED = 192 / sizeof(T), MOST_FOLLOWED = 7 * 1024;
        if (has_gradient && is_large && n_params > LEAST_FOLLOWED && panel_bytes <= MOST_FOLLOWED)
            is_late = true, size = 1;
        ahead = (has_gradient ? 2 : 1) * size * n_params * PANEL;
        of_losses = is_small && !has_gradient ? n_params * PANEL / 2 : 0;
        margins = has_gradient ? visit_margins<T, 4, 2> : visit_margins<T, 8, 2>;
        if (is_small && !has_gradient) margins = visit_margins<T, 4, 1>;
    }
};

// gradient[parameter] += weight * (the sum of its lanes, in their order).
template <class T> void add_lanes(const T *lanes, ptrdiff_t n_params, T weight, T *gradient) {
    using V = row_vector<T>;
    constexpr int W = lanes_of<V>;
    const ptrdiff_t whole = n_params / W * W;
    for (ptrdiff_t j = 0; j < whole; j += W) {
        V total = {};
        for (int c = 0; c < PANEL; c += W) {
            V square[W];
            for (int i = 0; i < W; i++) square[i] = load<V>(lanes + (j + i) * PANEL + c);
            transpose(square);
            for (int i = 0; i < W; i++) total = total + square[i];
        }
        store(gradient + j, fma(splat<V>(weight), total, load<V>(gradient + j)));
    }
    for (ptrdiff_t j = whole; j < n_params; j++) {
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

    // Adds the losses of z[row] of some panels; with GRADIENT, writes the derivatives over them.
    // Fetches so many numbers meanwhile, and returns where that goes on.
    template <bool GRADIENT>
    const T *add_panels(T *z, int n_panels, const T *next, ptrdiff_t fetched) {
        for (int k = 0; k < PARTS; k++) {
            Sum sum = sums[k];  // in registers, and not behind `this`
            for (int p = 0; p < n_panels; p++) {
                T *at = z + p * PANEL + k * W;
                if constexpr (GRADIENT)
                    store(at, sum.add_derivative(load<V>(at)));
                else
                    sum.add(load<V>(at));
                next = fetch<GRADIENT ? 2 : 1>(next, next + fetched / PARTS);
            }
            sums[k] = sum;
        }
        return next;
    }

    const T *add_weighted_panels(T *z, const T *weights, int n_panels, const T *next,
                                 ptrdiff_t fetched) {
        for (int k = 0; k < PARTS; k++)
            for (int p = 0; p < n_panels; p++) {
                T *at = z + p * PANEL + k * W;
                store(at, add_weighted(k, load<V>(at), load<V>(weights + p * PANEL + k * W)));
                next = fetch<2>(next, next + fetched / PARTS);
            }
        return next;
    }

    // Adds the losses of z, and returns the derivatives.
    V add_weighted(int k, V z, V weight) {
        weighted[k] = fma(weight, Loss::value(z), weighted[k]);
        return weight * Loss::derivative(z);
    }
};

// How far ahead of what it reads a processor of 256 bits asks for lines, in bytes.
constexpr ptrdiff_t FETCHED_AHEAD = 12 * 1024;

// The derivatives of LATE panels, as RowSums has them, of margins as row_margins; and meanwhile
// lanes[parameter][lane] as add_row_gradients of as many panels before.
//
// Panel by panel and parameter by parameter, X is read as it lies in memory. That is what hardware
// sees coming, whoever reads: 0.9 of the rate of memory with 20 parameters, 0.7 where four or eight
// panels are read side by side and fetched by hand. A processor of 256 bits sees it too late where
// no cache holds X: lines are asked for FETCHED_AHEAD bytes before, which gives 10 GB/s in place of
// 7 with 20 parameters, and 8.3 in place of 6.9 with 10, of the 15 that memory gives. A quarter of
// the gradient's parameters goes with each panel, one with every four numbers that are read; and
// the losses of a panel, which wait for its margins, are computed beside the next one's. `weights`:
// of the rows, or null.
template <class T, class Loss>
void interleave(const T *x, ptrdiff_t n_params, const T *theta, const Late<T> &late, T *lanes,
                const T *weights, RowSums<T, Loss> &block, T *derivatives) {
    using V = row_vector<T>;
    constexpr int W = lanes_of<V>, PARTS = PANEL / W;
    const ptrdiff_t panel_size = n_params * PANEL;
    V derivative[LATE][PARTS];
    for (int i = 0; i < LATE; i++)
        for (int k = 0; k < PARTS; k++)
            derivative[i][k] = load<V>(late.derivatives + i * PANEL + k * W);
    const T *before[LATE];
    for (int i = 0; i < LATE; i++) before[i] = late.x + i * panel_size;
    const bool resume = late.resume;
    const auto add_gradient = [&](ptrdiff_t j) {
        for (int k = 0; k < PARTS; k++) {
            V sum = resume ? load<V>(lanes + j * PANEL + k * W) : V{};
            for (int i = 0; i < LATE; i++)
                sum = fma(load<V>(before[i] + j * PANEL + k * W), derivative[i][k], sum);
            store(lanes + j * PANEL + k * W, sum);
        }
    };
    RowSums<T, Loss> own = block;
    ptrdiff_t added = 0;
    for (int p = 0; p < LATE; p++, x += panel_size) {
        V z[PARTS];
        for (int k = 0; k < PARTS; k++) z[k] = V{};
        const auto add_product = [&](ptrdiff_t j) {
            for (int k = 0; k < PARTS; k++)
                z[k] = fma(load<V>(x + j * PANEL + k * W), splat<V>(theta[j]), z[k]);
        };
        ptrdiff_t j = 0;
        for (; j + LATE <= n_params; j += LATE, added++) {
            if constexpr (MF_BYTES == 32) {
                const T *next = x + j * PANEL + FETCHED_AHEAD / sizeof(T);
                fetch<2>(next, next + LATE * PANEL);
            }
            for (int i = 0; i < LATE; i++) add_product(j + i);
            add_gradient(added);
        }
        for (; j < n_params; j++) add_product(j);
        for (int k = 0; k < PARTS; k++) {
            const int row = p * PANEL + k * W;
            store(derivatives + row, weights ? own.add_weighted(k, z[k], load<V>(weights + row))
                                             : own.sums[k].add_derivative(z[k]));
        }
    }
    block = own;
    for (; added < n_params; added++) add_gradient(added);
}

// The lane sums of up to PANEL blocks, a span's, kept until their lanes are added up together: one
// lane of each block at a time, the blocks side by side.
template <class T, class Loss> struct PendingBlocks {
    using V = row_vector<T>;
    using Sum = typename Loss::template Sum<V>;
    using Parts = RowSums<T, Loss>;
    static constexpr int W = Parts::W;
    static constexpr int FIELDS = sizeof(Sum) / sizeof(V);

    static_assert(BLOCKS_PER_SPAN <= PANEL, "a span's blocks are pending at once");
    alignas(64) T lanes[FIELDS][PANEL][PANEL] = {};  // [field][block][lane]
    double weights[PANEL] = {};
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

// The sums of one theta, block by block. `lanes`: gradient[parameter][lane of a block].
template <class T, class Loss> struct SingleTheta {
    const Rows *rows;
    const T *theta;
    T *lanes;
    Visits<T> visits;
    Late<T> late;
    // Margins, then derivatives, of the visit at work and of the one before.
    alignas(64) T memory[2][BLOCK_ROWS];
    alignas(64) T nothing[LATE * PANEL] = {};

    SingleTheta(const Rows *rows, const T *theta, T *lanes, bool has_gradient)
        : rows(rows),
          theta(theta),
          lanes(lanes),
          visits(rows->n_params, has_gradient, rows->is_large) {
        late.n_panels = 0;
        late.derivatives = nullptr;
    }

    RowSums<T, Loss> add_block(ptrdiff_t b, T *gradient) {
        const ptrdiff_t n_params = rows->n_params, panel_size = n_params * PANEL;
        const ptrdiff_t first_panel = rows->first_panel[b];
        const T *x = (const T *)rows->panels + first_panel * panel_size, *next = x + visits.ahead;
        const T *weights = (const T *)rows->row_weights;
        if (weights) weights += first_panel * PANEL;
        const int n_panels = (rows->rows[b] + PANEL - 1) / PANEL;
        RowSums<T, Loss> block;
        for (int visit = 0; visit < n_panels; visit += visits.size) {
            const int count = n_panels - visit < visits.size ? n_panels - visit : visits.size;
            T *z = memory[late.derivatives == memory[0]];
            const bool is_plain = theta[n_params] == 0 && rows->rows[b] >= (visit + count) * PANEL;
            // At first, the gradient of nothing is late.
            if (visits.is_late && count == visits.size && late.n_panels == 0)
                late = {x, nothing, gradient, 0, count, false, false};
            const bool is_both =
                visits.is_late && count == visits.size && late.n_panels == count && is_plain;
            const bool has_losses = is_both && count == LATE;
            const T *own = weights ? weights + visit * PANEL : nullptr;
            if (has_losses)
                interleave(x, n_params, theta, late, lanes, own, block, z);
            else if (is_both)
                follow(x, n_params, theta, late, lanes, z);
            else
                next = visits.margins(x, count, n_params, theta, next, z);
            next = catch_up(is_both, next);
            if (!has_losses) {
                for (int p = 0; theta[n_params] != 0 && p < count; p++)
                    recompute_row_margins(x + p * panel_size, n_params, theta, z + p * PANEL);
                for (int row = rows->rows[b] - visit * PANEL; row < count * PANEL; row++)
                    z[row] = Loss::template absent<row_vector<T>>;
                if (own)
                    next = block.add_weighted_panels(z, own, count, next, visits.of_losses);
                else if (gradient)
                    next = block.template add_panels<true>(z, count, next, visits.of_losses);
                else
                    next = block.template add_panels<false>(z, count, next, visits.of_losses);
            }
            if (gradient)
                late = {
                    x, z, gradient, rows->weights[b], count, visit > 0, visit + count == n_panels};
            if (!visits.is_late) next = catch_up(false, next);
            x += count * panel_size;
        }
        if (!visits.is_late) fetch<2>(next, x + visits.ahead);
        return block;
    }

    // Adds the gradient of late panels, if there are any, unless that is done, and the lanes of
    // their block if it is complete. Fetches as visit_gradients does.
    const T *catch_up(bool is_added, const T *next) {
        const ptrdiff_t n_params = rows->n_params;
        if (late.n_panels == 0) return next;
        if (!is_added)
            next = visit_gradients<T, 4, 2>(late.x, late.n_panels, n_params, late.derivatives,
                                            late.resume, next, lanes);
        if (late.is_last) add_lanes(lanes, n_params, (T)late.weight, late.gradient);
        late.n_panels = 0;
        return next;
    }
};

// The kernel of loss, gradient and loss_gradient: see Evaluate. Bound by reading X once.
template <class T, class Loss>
void evaluate_one(const Rows *rows, ptrdiff_t first, ptrdiff_t last, const void *thetas,
                  double *sums, void *gradients, void *scratch) {
    SingleTheta<T, Loss> single(rows, (const T *)thetas, (T *)scratch, gradients != nullptr);
    PendingBlocks<T, Loss> pending;
    T *gradient = (T *)gradients;
    for (ptrdiff_t b = first; b < last; b++) {
        pending.push(single.add_block(b, gradient), rows->row_weights, rows->weights[b]);
        if (pending.count < BLOCKS_PER_SPAN && b + 1 < last) continue;
        pending.flush(rows->row_weights, sums++);
        if (gradient) gradient += rows->n_params;
    }
    single.catch_up(false, single.late.x);
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
// other is. Cold: it is rare, and compiled for size.
template <class T, class Loss>
__attribute__((cold)) void evaluate_wide(const Rows *rows, ptrdiff_t n_blocks, const void *thetas,
                                         ptrdiff_t stride, double unit, CarefulSum *sum,
                                         CarefulSum *gradient, void *scratch) {
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

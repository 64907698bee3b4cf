// Softmax regressions of many models: sums of losses and gradients, confusion counts, and the
// covariances of probabilities.
//
// The loss of a row of class y is log(sum over k of exp(z_k - z_y)), z_k = x . theta_k. The classes
// of all models are columns, whose margins and gradients are those of tile.hpp. In between, the
// columns of a block are turned, so that neighbouring rows lie in the lanes and a model's classes
// follow each other: a softmax mixes classes in their order, and no lanes. Bound by FMAs for many
// parameters, by exp, 25 operations for each row and class, for few.
//
// As in tile.hpp, a model's sums have the same bits whatever stands beside it:
//   a row                  classes in order, that of the row last
//   lane c of a block      rows c, 8 + c, 16 + c, ... in order
//   a block                lanes 0..7 in order
//   a span                 blocks in order
#pragma once

#include "tile.hpp"

namespace metaopt::MF_ISA {

// From one column of a block to the next: a panel more than it needs, as columns that lie a power
// of two apart would share few sets of the cache.
constexpr ptrdiff_t COLUMN = BLOCK_ROWS + PANEL;

template <class T> constexpr ptrdiff_t tiles_of(ptrdiff_t n_columns) {
    return (n_columns + LANES<T> - 1) / LANES<T>;
}

// Margins twice, by rows and by columns.
template <class T> ptrdiff_t softmax_memory(ptrdiff_t n_columns) {
    return tiles_of<T>(n_columns) * LANES<T> * (BLOCK_ROWS + COLUMN) * (ptrdiff_t)sizeof(T);
}

// columns[column][row] = z[row][column] for the first columns of a tile.
template <class T> void turn(const T *z, int n_panels, ptrdiff_t n_columns, T *columns) {
    using V = row_vector<T>;
    constexpr int W = lanes_of<V>;
    for (ptrdiff_t first = 0; first < n_columns; first += W)
        for (int row = 0; row < n_panels * PANEL; row += W) {
            V square[W];
            for (int i = 0; i < W; i++) square[i] = load<V>(z + (row + i) * LANES<T> + first);
            transpose(square);
            for (int i = 0; i < W; i++) store(columns + (first + i) * COLUMN + row, square[i]);
        }
}

// z[row][column] = columns[column][row].
template <class T> void turn_back(const T *columns, int n_panels, ptrdiff_t n_columns, T *z) {
    using V = row_vector<T>;
    constexpr int W = lanes_of<V>;
    for (ptrdiff_t first = 0; first < n_columns; first += W)
        for (int row = 0; row < n_panels * PANEL; row += W) {
            V square[W];
            for (int i = 0; i < W; i++) square[i] = load<V>(columns + (first + i) * COLUMN + row);
            transpose(square);
            for (int i = 0; i < W; i++) store(z + (row + i) * LANES<T> + first, square[i]);
        }
}

// block_margins and add_all_gradients for the vectors that the first columns of a tile fill: a
// lane's sums are the same.
template <class T, int USED = VECTORS>
void margins_of_tile(const T *panels, int n_rows, ptrdiff_t n_params, const T *thetas,
                     ptrdiff_t n_columns, T *z) {
    if constexpr (USED > 1)
        if (n_columns <= (USED - 1) * lanes_of<wide_vector<T>>)
            return margins_of_tile<T, USED - 1>(panels, n_rows, n_params, thetas, n_columns, z);
    block_margins<T, USED>(panels, n_rows, n_params, thetas, false, z);
}

template <class T, int USED = VECTORS>
void gradients_of_tile(const T *panels, int n_rows, ptrdiff_t n_params, const T *derivatives,
                       T weight, ptrdiff_t n_columns, T *gradients) {
    if constexpr (USED > 1)
        if (n_columns <= (USED - 1) * lanes_of<wide_vector<T>>)
            return gradients_of_tile<T, USED - 1>(panels, n_rows, n_params, derivatives, weight,
                                                  n_columns, gradients);
    add_all_gradients<T, USED>(panels, n_rows, n_params, derivatives, weight, gradients);
}

// A block's margins for the models of a group, as columns.
template <class T> struct Columns {
    const Rows *rows;
    const Softmax *softmax;
    const T *thetas;
    T *z, *columns;
    ptrdiff_t n_columns;
    bool is_wide;

    Columns(const Rows *rows, const Softmax *softmax, const void *thetas, void *scratch)
        : rows(rows),
          softmax(softmax),
          thetas((const T *)thetas),
          z((T *)scratch),
          n_columns(softmax->n_models * softmax->n_classes),
          is_wide(false) {
        const ptrdiff_t n_tiles = tiles_of<T>(n_columns);
        columns = z + n_tiles * BLOCK_ROWS * LANES<T>;
        for (ptrdiff_t t = 0; t < n_tiles; t++)
            is_wide |= may_overflow(thetas_of(t), rows->n_params);
    }

    const T *thetas_of(ptrdiff_t tile) const {
        return thetas + tile * (rows->n_params + 1) * LANES<T>;
    }
    T *z_of(ptrdiff_t tile) const { return z + tile * BLOCK_ROWS * LANES<T>; }
    T *columns_of(ptrdiff_t model) const { return columns + model * softmax->n_classes * COLUMN; }
    const T *panels(ptrdiff_t block) const {
        return (const T *)rows->panels + rows->first_panel[block] * rows->n_params * PANEL;
    }
    const T *weights(ptrdiff_t block) const {
        return rows->row_weights ? (const T *)rows->row_weights + rows->first_panel[block] * PANEL
                                 : nullptr;
    }
    int n_panels(ptrdiff_t block) const { return (rows->rows[block] + PANEL - 1) / PANEL; }
    ptrdiff_t label(ptrdiff_t block) const { return softmax->strata[block] % softmax->n_classes; }
    double factor(ptrdiff_t model, ptrdiff_t block) const {
        return softmax
            ->factors[softmax->members[model] * softmax->n_strata + softmax->strata[block]];
    }
    ptrdiff_t in_tile(ptrdiff_t tile) const {
        const ptrdiff_t rest = n_columns - tile * LANES<T>;
        return rest < LANES<T> ? rest : LANES<T>;
    }

    // Whether a model with columns in the tile counts the block.
    bool counts(ptrdiff_t tile, ptrdiff_t block) const {
        const ptrdiff_t first = tile * LANES<T>, last = first + in_tile(tile) - 1;
        for (ptrdiff_t m = first / softmax->n_classes; m <= last / softmax->n_classes; m++)
            if (factor(m, block) != 0) return true;
        return false;
    }

    void find_margins(ptrdiff_t block) const {
        const int n_rows = rows->rows[block];
        for (ptrdiff_t t = 0; t < tiles_of<T>(n_columns); t++) {
            if (!counts(t, block)) continue;
            margins_of_tile(panels(block), n_rows, rows->n_params, thetas_of(t), in_tile(t),
                            z_of(t));
            turn(z_of(t), n_panels(block), in_tile(t), columns + t * LANES<T> * COLUMN);
        }
        if (is_wide)
            for (ptrdiff_t m = 0; m < softmax->n_models; m++)
                if (factor(m, block) != 0) find_differences(m, block);
    }

    // Where a margin of a model left the range, all of the row's become differences from the
    // largest, which is all that a softmax asks for; infinite only where they are beyond the range.
    __attribute__((noinline)) void find_differences(ptrdiff_t model, ptrdiff_t block) const {
        using V = row_vector<T>;
        const ptrdiff_t n_params = rows->n_params, n_classes = softmax->n_classes;
        for (int row = 0; row < n_panels(block) * PANEL; row += lanes_of<V>) {
            T *at = columns_of(model) + row;
            V lost = {};
            for (ptrdiff_t k = 0; k < n_classes; k++) {
                const V margin = load<V>(at + k * COLUMN);
                lost = lost + (margin - margin);
            }
            if (all_finite(lost)) continue;
            const Loaded<V> x{panels(block) + row / PANEL * n_params * PANEL + row % PANEL, PANEL};
            bits_of<V> highest = {};
            for (ptrdiff_t k = 0; k < n_classes; k++) {
                const auto found = highest_exponents<V>(n_params, x, spread<V>(model, k));
                highest = found > highest ? found : highest;
            }
            const Scaling<V> scaling(highest, n_params);
            V top = splat<V>(-(T)__builtin_inf());
            for (ptrdiff_t k = 0; k < n_classes; k++) {
                const V sum = scaling.scaled_sum(n_params, x, spread<V>(model, k));
                top = max(sum, top);
                store(at + k * COLUMN, sum);
            }
            for (ptrdiff_t k = 0; k < n_classes; k++)
                store(at + k * COLUMN, scaling.restored(load<V>(at + k * COLUMN) - top));
        }
    }

    template <class V> Spread<V> spread(ptrdiff_t model, ptrdiff_t k) const {
        const ptrdiff_t column = model * softmax->n_classes + k;
        return {thetas_of(column / LANES<T>) + column % LANES<T>, LANES<T>};
    }
};

// exp(z_k - top) * 2^EXP_SCALE of classes [first, last), added to `sum`; KEEP: and left in z's
// place.
template <bool KEEP, class T, class V>
inline V add_exponentials(T *z, ptrdiff_t first, ptrdiff_t last, V top, V sum) {
    for (ptrdiff_t k = first; k < last; k++) {
        const V e = exp_scaled(load<V>(z + k * COLUMN) - top);
        if constexpr (KEEP) store(z + k * COLUMN, e);
        sum = sum + e;
    }
    return sum;
}

// Sum of the losses of a block's rows, from z[class][row]; DERIVATIVES: z is overwritten by them,
// times `factor`. Rows have the weights that are given, if not null, times `unit`.
//
// A row's loss is (top - z_label) + log(1 + q), top = max z_k, 1 + q = sum over k of
// exp(z_k - top). Where the label wins, q is the sum over the others, and keeps its digits however
// small it is; else it is 1 at least. The logarithms of rows without weights are one, as those of
// the logistic loss: the product of 8 rows' (1 + q) stays in the range.
template <class T, bool DERIVATIVES>
T softmax_block(T *z, int n_rows, ptrdiff_t n_classes, ptrdiff_t label, const T *weights, T unit,
                T factor) {
    using V = row_vector<T>;
    constexpr int W = lanes_of<V>;
    constexpr T scale = (T)0x1p64, unscale = 1 / scale;
    static_assert(EXP_SCALE == 64);
    const int end = (n_rows + PANEL - 1) / PANEL * PANEL;
    const bool is_weighted = weights || unit != 1;
    alignas(64) static constexpr T numbers[PANEL] = {0, 1, 2, 3, 4, 5, 6, 7};
    alignas(64) T lanes[PANEL];
    for (int c = 0; c < PANEL; c += W) {
        V linear{}, product{};
        for (int row = c; row < end; row += PANEL) {
            T *const at = z + row;
            const V own = load<V>(at + label * COLUMN);
            V top = own;
            for (ptrdiff_t k = 0; k < n_classes; k++) top = max(load<V>(at + k * COLUMN), top);
            V others = add_exponentials<DERIVATIVES>(at, 0, label, top, V{});
            others = add_exponentials<DERIVATIVES>(at, label + 1, n_classes, top, others);
            const V mine = exp_scaled(own - top), sum = others + mine;
            V beyond = top - own, q = mine == scale ? others : sum - scale;
            const auto is_there = load<V>(numbers + c) < (T)(n_rows - row + c);
            beyond = is_there ? beyond : V{}, q = is_there ? q : V{};
            V share = factor / sum;
            if (is_weighted) {
                const V weight = unit * (weights ? load<V>(weights + row) : splat<V>(1));
                const V loss = beyond + log1p(q * unscale);
                linear = fma(weight, weight > 0 ? loss : V{}, linear);
                share = share * weight;
            } else {
                linear = linear + beyond;
                const V unscaled = fma(product, splat<V>(unscale), splat<V>(unscale));
                product = fma(q, unscaled, product);
            }
            if constexpr (DERIVATIVES) {
                for (ptrdiff_t k = 0; k < n_classes; k++)
                    store(at + k * COLUMN, load<V>(at + k * COLUMN) * share);
                store(at + label * COLUMN, -(others * share));
            }
        }
        store(lanes + c, linear + log1p(product));
    }
    T value = 0;
    for (int c = 0; c < PANEL; c++) value += lanes[c];
    return value;
}

// sums[model] += losses; gradients, unless null, likewise.
template <class T>
void evaluate_softmax(const Rows *rows, const Softmax *softmax, ptrdiff_t first, ptrdiff_t last,
                      const void *thetas, double *sums, void *gradients, void *scratch) {
    const Columns<T> columns(rows, softmax, thetas, scratch);
    const auto reduce = gradients ? softmax_block<T, true> : softmax_block<T, false>;
    for (ptrdiff_t b = first; b < last; b++) {
        columns.find_margins(b);
        for (ptrdiff_t m = 0; m < softmax->n_models; m++) {
            T *z = columns.columns_of(m);
            const double factor = columns.factor(m, b);
            if (factor != 0)
                sums[m] += rows->weights[b] * factor *
                           reduce(z, rows->rows[b], softmax->n_classes, columns.label(b),
                                  columns.weights(b), (T)softmax->unit, (T)factor);
            else if (gradients)
                __builtin_memset(z, 0, softmax->n_classes * COLUMN * sizeof(T));
        }
        for (ptrdiff_t t = 0; gradients && t < tiles_of<T>(columns.n_columns); t++) {
            if (!columns.counts(t, b)) continue;
            turn_back(columns.columns + t * LANES<T> * COLUMN, columns.n_panels(b),
                      columns.in_tile(t), columns.z_of(t));
            gradients_of_tile(columns.panels(b), rows->rows[b], rows->n_params, columns.z_of(t),
                              (T)rows->weights[b], columns.in_tile(t),
                              (T *)gradients + t * softmax->tile_step);
        }
    }
}

// sums[model][class of the row][class of the largest margin, the first of equal ones] += weights.
template <class T>
void count_predictions(const Rows *rows, const Softmax *softmax, ptrdiff_t first, ptrdiff_t last,
                       const void *thetas, double *sums, void *, void *scratch) {
    using V = row_vector<T>;
    const Columns<T> columns(rows, softmax, thetas, scratch);
    const ptrdiff_t n_classes = softmax->n_classes;
    for (ptrdiff_t b = first; b < last; b++) {
        columns.find_margins(b);
        const T *weights = columns.weights(b);
        for (ptrdiff_t m = 0; m < softmax->n_models; m++) {
            const double weight = rows->weights[b] * columns.factor(m, b);
            double *counts = sums + (m * n_classes + columns.label(b)) * n_classes;
            for (int row = 0; weight != 0 && row < rows->rows[b]; row += lanes_of<V>) {
                const T *z = columns.columns_of(m) + row;
                V top = load<V>(z), winner{};
                for (ptrdiff_t k = 1; k < n_classes; k++) {
                    const V margin = load<V>(z + k * COLUMN);
                    winner = margin > top ? splat<V>((T)k) : winner;
                    top = max(margin, top);
                }
                for (int l = 0; l < lanes_of<V> && row + l < rows->rows[b]; l++)
                    counts[(ptrdiff_t)winner[l]] += weights ? weight * weights[row + l] : weight;
            }
        }
    }
}

// sums[model][k][l] += weights times p_k p_l, l <= k, for the probabilities p of the rows.
inline void add_covariances(const Rows *rows, const Softmax *softmax, ptrdiff_t first,
                            ptrdiff_t last, const void *thetas, double *sums, void *,
                            void *scratch) {
    using V = row_vector<double>;
    constexpr int W = lanes_of<V>;
    const Columns<double> columns(rows, softmax, thetas, scratch);
    const ptrdiff_t n_classes = softmax->n_classes;
    for (ptrdiff_t b = first; b < last; b++) {
        columns.find_margins(b);
        const int n_rows = rows->rows[b], end = columns.n_panels(b) * PANEL;
        const double *weights = columns.weights(b);
        for (ptrdiff_t m = 0; m < softmax->n_models; m++) {
            const double weight = rows->weights[b] * columns.factor(m, b);
            if (weight == 0) continue;
            double *p = columns.columns_of(m), *own = p + columns.label(b) * COLUMN;
            softmax_block<double, true>(p, n_rows, n_classes, columns.label(b), nullptr, 1, 1);
            for (int row = 0; row < end; row++) own[row] += 1;
            for (ptrdiff_t k = 0; k < n_classes; k++) {
                double *to = sums + (m * n_classes + k) * n_classes;
                alignas(64) double left[BLOCK_ROWS], lanes[PANEL];
                for (int row = 0; row < end; row++)
                    left[row] = row >= n_rows ? 0
                                : weights     ? weights[row] * p[k * COLUMN + row]
                                              : p[k * COLUMN + row];
                for (ptrdiff_t l = 0; l <= k; l++) {
                    for (int c = 0; c < PANEL; c += W) {
                        V sum{};
                        for (int row = c; row < end; row += PANEL)
                            sum = fma(load<V>(left + row), load<V>(p + l * COLUMN + row), sum);
                        store(lanes + c, sum);
                    }
                    double total = 0;
                    for (int c = 0; c < PANEL; c++) total += lanes[c];
                    to[l] += weight * total;
                }
            }
        }
    }
}

}  // namespace metaopt::MF_ISA

// Sums of a loss, and of its gradient, over blocks of packed rows: for a tile of candidates (one
// candidate in each lane), or for a single one (one row in each lane).
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
template <class T> constexpr int LANES = VECTORS *lanes_of<wide_vector<T>>;

// Parameters whose thetas are kept in the first-level cache while a block's rows pass by.
template <class T> constexpr ptrdiff_t THETA_BLOCK = 24 * 1024 / (LANES<T> * sizeof(T));

template <class T> constexpr T minus_infinity = -(T)__builtin_inf();

// z[row][lane] = (RESUME: z[row][lane] +) sum over `count` parameters of x[parameter][row] *
// thetas[parameter][lane], for the rows of neighbouring panels. Bound by FMAs: 3 loads and 8
// broadcasts feed 24.
// noinline, and the loop over row groups inside: else gcc 12 keeps the tile on the stack.
template <class T, bool RESUME>
__attribute__((noinline)) void margins(const T *panels, int n_panels, ptrdiff_t panel_size,
                                       const T *thetas, ptrdiff_t count, T *z) {
    using V = wide_vector<T>;
    constexpr int W = lanes_of<V>, ROWS = MARGIN_ROWS;
    for (int first = 0; first < n_panels * PANEL; first += ROWS, z += ROWS * LANES<T>) {
        const T *x = panels + first / PANEL * panel_size + first % PANEL;
        // Panels are too short for the hardware to see them coming: without this, 784 parameters run
        // at a third of the speed.
        const T *next = first + PANEL < n_panels * PANEL ? x + panel_size : panels + count * PANEL;
        V sums[ROWS][VECTORS];
        for (int r = 0; r < ROWS; r++)
            for (int v = 0; v < VECTORS; v++)
                sums[r][v] = RESUME ? load<V>(z + r * LANES<T> + v * W) : V{};
        for (ptrdiff_t j = 0; j < count; j++) {
            V theta[VECTORS];
            for (int v = 0; v < VECTORS; v++) theta[v] = load<V>(thetas + j * LANES<T> + v * W);
            __builtin_prefetch(next + j * PANEL);
            for (int r = 0; r < ROWS; r++) {
                const V value = splat<V>(x[j * PANEL + r]);
                for (int v = 0; v < VECTORS; v++) sums[r][v] = fma(value, theta[v], sums[r][v]);
            }
        }
        for (int r = 0; r < ROWS; r++)
            for (int v = 0; v < VECTORS; v++) store(z + r * LANES<T> + v * W, sums[r][v]);
    }
}

// The margins of a block's panels: z[row][lane]. Rows beyond the block's get -infinity, which
// neither a loss nor a derivative feels.
template <class T>
void block_margins(const T *panels, int n_rows, ptrdiff_t n_params, const T *thetas, bool scaled,
                   T *z) {
    const int n_panels = (n_rows + PANEL - 1) / PANEL;
    for (ptrdiff_t j = 0; j < n_params; j += THETA_BLOCK<T>) {
        const ptrdiff_t count = n_params - j < THETA_BLOCK<T> ? n_params - j : THETA_BLOCK<T>;
        const auto kernel = j == 0 ? margins<T, false> : margins<T, true>;
        kernel(panels + j * PANEL, n_panels, n_params * PANEL, thetas + j * LANES<T>, count, z);
    }
    if (scaled)
        for (int i = 0; i < n_rows * LANES<T>; i++)
            z[i] *= thetas[n_params * LANES<T> + i % LANES<T>];
    for (int i = n_rows * LANES<T>; i < n_panels * PANEL * LANES<T>; i++) z[i] = minus_infinity<T>;
}

// sums[lane] += weight * value[lane], in double precision.
template <class T> void add_block(const T *values, double weight, int count, double *sums) {
    for (int i = 0; i < count; i++) sums[i] += weight * values[i];
}

// Sum of the losses of a block in each lane, from z[row][lane]; with `GRADIENT`, z is overwritten
// by the derivatives.
template <class T, class Loss, bool GRADIENT>
void reduce_block(T *z, int n_rows, T *values) {
    using V = wide_vector<T>;
    using Sum = typename Loss::template Sum<V>;
    constexpr int W = lanes_of<V>;
    const int n_panels = (n_rows + PANEL - 1) / PANEL;
    Sum block[VECTORS] = {};
    for (int c = 0; c < PANEL; c++) {
        Sum lane[VECTORS] = {};
        for (int p = 0; p < n_panels; p++) {
            T *row = z + (p * PANEL + c) * LANES<T>;
            for (int v = 0; v < VECTORS; v++) {
                if constexpr (GRADIENT)
                    store(row + v * W, lane[v].add_derivative(load<V>(row + v * W)));
                else
                    lane[v].add(load<V>(row + v * W));
            }
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

// gradients[parameter][lane] += weight * sum over a block's rows of x[parameter][row] *
// derivatives[row][lane], for the parameters from `j` on, PARAMETERS at a time; returns how far it
// came. Bound by FMAs, as margins() is.
template <class T, int PARAMETERS>
__attribute__((noinline)) ptrdiff_t add_gradients(const T *panels, int n_panels, ptrdiff_t n_params,
                                                  ptrdiff_t j, const T *derivatives, T weight,
                                                  T *gradients) {
    using V = wide_vector<T>;
    constexpr int W = lanes_of<V>;
    for (; j + PARAMETERS <= n_params; j += PARAMETERS) {
        V block[PARAMETERS][VECTORS];
        for (int c = 0; c < PANEL; c++) {
            const T *x = panels + j * PANEL + c;
            V sums[PARAMETERS][VECTORS] = {};
            for (int p = 0; p < n_panels; p++, x += n_params * PANEL) {
                V derivative[VECTORS];
                for (int v = 0; v < VECTORS; v++)
                    derivative[v] = load<V>(derivatives + (p * PANEL + c) * LANES<T> + v * W);
                for (int i = 0; i < PARAMETERS; i++) {
                    const V value = splat<V>(x[i * PANEL]);
                    for (int v = 0; v < VECTORS; v++)
                        sums[i][v] = fma(value, derivative[v], sums[i][v]);
                }
            }
            for (int i = 0; i < PARAMETERS; i++)
                for (int v = 0; v < VECTORS; v++)
                    block[i][v] = c ? block[i][v] + sums[i][v] : sums[i][v];
        }
        for (int i = 0; i < PARAMETERS; i++)
            for (int v = 0; v < VECTORS; v++) {
                T *to = gradients + (j + i) * LANES<T> + v * W;
                store(to, fma(splat<V>(weight), block[i][v], load<V>(to)));
            }
    }
    return j;
}

template <class T>
void add_all_gradients(const T *panels, int n_rows, ptrdiff_t n_params, const T *derivatives,
                       T weight, T *gradients) {
    const int n_panels = (n_rows + PANEL - 1) / PANEL;
    ptrdiff_t j = 0;
    j = add_gradients<T, MARGIN_ROWS>(panels, n_panels, n_params, j, derivatives, weight, gradients);
    j = add_gradients<T, 4>(panels, n_panels, n_params, j, derivatives, weight, gradients);
    add_gradients<T, 1>(panels, n_panels, n_params, j, derivatives, weight, gradients);
}

// The kernel of batch_loss and batch_loss_gradient: see Evaluate.
template <class T, class Loss>
void evaluate_tile(const Rows *rows, ptrdiff_t first, ptrdiff_t last, const void *thetas,
                   double *sums, void *gradients, void *) {
    const ptrdiff_t n_params = rows->n_params;
    alignas(64) T z[BLOCK_ROWS * LANES<T>];
    alignas(64) T values[LANES<T>];
    bool scaled = false;
    for (int l = 0; l < LANES<T>; l++)
        scaled |= ((const T *)thetas)[n_params * LANES<T> + l] != 1;
    for (ptrdiff_t b = first; b < last; b++) {
        const T *panels = (const T *)rows->panels + rows->first_panel[b] * n_params * PANEL;
        const int n_rows = rows->rows[b];
        const double weight = rows->weights[b];
        block_margins(panels, n_rows, n_params, (const T *)thetas, scaled, z);
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
        if (gradients)
            add_all_gradients(panels, n_rows, n_params, z, (T)weight, (T *)gradients);
    }
}

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

// lanes[parameter][lane] (+)= sum over PANELS neighbouring panels of x[parameter][lane] *
// derivatives[panel][lane].
template <class T, int PANELS>
void add_row_gradients(const T *x, ptrdiff_t n_params, const T *derivatives, bool resume,
                       T *lanes) {
    using V = row_vector<T>;
    constexpr int W = lanes_of<V>, PARTS = PANEL / W;
    V derivative[PANELS][PARTS];
    for (int i = 0; i < PANELS; i++)
        for (int k = 0; k < PARTS; k++)
            derivative[i][k] = load<V>(derivatives + i * PANEL + k * W);
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
    // Panels that a first-level cache holds until the gradient reads them again, few, so that memory
    // rests only shortly; where it does not hold two, a second-level cache holds four.
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
            if (theta[n_params] != 1)
                for (int row = visit * PANEL; row < until * PANEL; row++) z[row] *= theta[n_params];
            for (int row = n_rows; row < until * PANEL; row++) z[row] = minus_infinity<T>;
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

template <class T>
void pack_rows(const double *X, const double *signs, ptrdiff_t first, ptrdiff_t count,
               ptrdiff_t n_features, ptrdiff_t n_params, void *panels) {
    for (ptrdiff_t i = 0; i < count; i++) {
        const ptrdiff_t row = first + i;
        T *to = (T *)panels + row / PANEL * n_params * PANEL + row % PANEL;
        for (ptrdiff_t j = 0; j < n_features; j++)
            to[j * PANEL] = (T)(signs[i] * X[i * n_features + j]);
        if (n_params > n_features) to[n_features * PANEL] = (T)signs[i];
    }
}

template <class T>
void pack_thetas(const double *thetas, ptrdiff_t count, ptrdiff_t n_params, ptrdiff_t lanes,
                 void *tile) {
    T *to = (T *)tile;
    for (ptrdiff_t j = 0; j < n_params; j++) {
        for (ptrdiff_t l = 0; l < count; l++) to[j * lanes + l] = (T)thetas[l * n_params + j];
        for (ptrdiff_t l = count; l < lanes; l++) to[j * lanes + l] = 0;
    }
}

// A margin whose partial sums leave the range would depend on which way they left first: an
// infinitely bad row could count as a perfect one. Where that is possible, theta is multiplied by a
// power of two and the margin divided by it, and becomes infinite, if so, with the right sign.
template <class T>
int scale_thetas(void *tile, ptrdiff_t n_params, ptrdiff_t lanes, double extent) {
    constexpr int MAX_EXPONENT = sizeof(T) == sizeof(double) ? 1023 : 127;
    T *thetas = (T *)tile, *scales = thetas + n_params * lanes;
    T largest[LANES<T>] = {};
    bool finite = true;
    for (ptrdiff_t j = 0; j < n_params; j++)
        for (ptrdiff_t l = 0; l < lanes; l++) {
            const T size = thetas[j * lanes + l] < 0 ? -thetas[j * lanes + l] : thetas[j * lanes + l];
            finite &= size - size == 0;
            largest[l] = size > largest[l] ? size : largest[l];
        }
    const int exponent = __builtin_ilogb(extent) + __builtin_ilogb((double)n_params) + 3;
    for (ptrdiff_t l = 0; l < lanes; l++) {
        scales[l] = 1;
        const bool zero = largest[l] == 0 || extent == 0;
        const int excess = zero ? 0 : exponent + __builtin_ilogb((double)largest[l]) - MAX_EXPONENT;
        if (!finite || excess <= 0) continue;
        scales[l] = (T)__builtin_ldexp(1, excess < MAX_EXPONENT ? excess : MAX_EXPONENT);
        for (ptrdiff_t j = 0; j < n_params; j++)
            thetas[j * lanes + l] = (T)__builtin_ldexp((double)thetas[j * lanes + l], -excess);
    }
    return finite;
}

// Loss and derivative of each z alone.
template <class T, class Loss>
void pointwise(const void *z, ptrdiff_t count, void *loss, void *derivative) {
    using V = wide_vector<T>;
    constexpr int W = lanes_of<V>;
    for (ptrdiff_t i = 0; i < count; i += W) {
        const size_t bytes = (count - i < W ? count - i : W) * sizeof(T);
        V x = {};
        __builtin_memcpy(&x, (const T *)z + i, bytes);
        const V value = Loss::value(x), slope = Loss::derivative(x);
        __builtin_memcpy((T *)loss + i, &value, bytes);
        __builtin_memcpy((T *)derivative + i, &slope, bytes);
    }
}

}  // namespace metaopt::MF_ISA

// Logistic models with one in each lane, each with weights and labels of its own for the same rows:
// their gradients, losses, Hessians, and steps of L-BFGS. Double precision alone.
//
// A row's z is x . theta, whatever its label. signed_weights[position][lane] has its weight in a
// model, negative where the model's label is the greater one, and 0 where it has no part in it; the
// loss is |w| softplus(z), or of -z where w is negative. Where all models have the same labels,
// rows of the greater one may be turned instead, multiplied by -1. No lane looks at another one: a
// model has the bits that it has in any other tile. Sums over rows are those of tile.hpp, a span at
// a time.
#pragma once

#include "newton.hpp"
#include "tile.hpp"

namespace metaopt::MF_ISA {

// Pairs of parameters whose sums are in registers, and the rows that pass by.
constexpr int LANE_PAIRS = MARGIN_ROWS;
constexpr int HESSIAN_ROWS = LANE_HESSIAN_BLOCKS * BLOCK_ROWS;
// A step is too long where the slope at its end is so many times what it was at its beginning, and
// uphill.
constexpr double OVERSHOT = 0.9;
// A model is idle while what a step promises is no less than this part of the least promise so far,
// and stops after so many such steps: rounding is all that they change.
constexpr double LESS = 0.25, IDLE_STEPS = 12;
// Curvatures of pairs below it are no numbers to divide by.
constexpr double LEAST_CURVATURE = 0x1p-960;

using lane_vector = wide_vector<double>;
using lane_bits = bits_of<lane_vector>;
constexpr auto SIGN_BIT = (layout<double>::bits)1 << 63;

inline lane_vector size_of_weight(lane_vector w) { return (lane_vector)((lane_bits)w & ~SIGN_BIT); }

// z of a row whose label is the lesser one, its negative for the other.
inline lane_vector turned(lane_vector z, lane_vector w) {
    return (lane_vector)((lane_bits)z ^ ((lane_bits)w & SIGN_BIT));
}

// The margins of a block for a tile, and where its signed weights are.
inline const double *lane_margins(const Rows *rows, ptrdiff_t block, const double *thetas,
                                  bool is_wide, const double *signed_weights, double *z) {
    const ptrdiff_t first = rows->first_panel[block];
    block_margins((const double *)rows->panels + first * rows->n_params * PANEL, rows->rows[block],
                  rows->n_params, thetas, is_wide, z);
    return signed_weights + first * PANEL * LANES<double>;
}

// gradients[parameter][lane] += sum over blocks [first, last) of w * derivative * x, span by span:
// `first` is where one begins. thetas are followed by their excesses; scratch is as large as the
// gradients. Bound by FMAs.
inline void add_lane_gradients(const Rows *rows, ptrdiff_t first, ptrdiff_t last,
                               const double *thetas, const double *signed_weights,
                               double *gradients, double *scratch) {
    using V = lane_vector;
    constexpr int W = lanes_of<V>;
    const ptrdiff_t n_params = rows->n_params, size = n_params * LANES<double>;
    alignas(64) double z[BLOCK_ROWS * LANES<double>];
    const bool is_wide = may_overflow(thetas, n_params);
    for (ptrdiff_t span = first; span < last; span += BLOCKS_PER_SPAN) {
        for (ptrdiff_t i = 0; i < size; i += W) store(scratch + i, V{});
        for (ptrdiff_t b = span; b < span + BLOCKS_PER_SPAN && b < last; b++) {
            const double *w = lane_margins(rows, b, thetas, is_wide, signed_weights, z);
            const int n_rows = (rows->rows[b] + PANEL - 1) / PANEL * PANEL;
            for (int i = 0; i < n_rows * LANES<double>; i += W) {
                const V weight = load<V>(w + i);
                store(z + i, weight * Logistic::derivative(turned(load<V>(z + i), weight)));
            }
            add_all_gradients(
                (const double *)rows->panels + rows->first_panel[b] * n_params * PANEL, n_rows,
                n_params, z, 1.0, scratch);
        }
        for (ptrdiff_t i = 0; i < size; i += W)
            store(gradients + i, load<V>(gradients + i) + load<V>(scratch + i));
    }
}

// losses[lane] += sum over blocks [first, last) of |w| loss, and wrong[lane] that of |w| where the
// decision is wrong: 0 is for the lesser label. Rows of the greater one may be multiplied by -1.
inline void add_lane_losses(const Rows *rows, ptrdiff_t first, ptrdiff_t last, const double *thetas,
                            const double *signed_weights, int are_turned, double *losses,
                            double *wrong) {
    using V = lane_vector;
    constexpr int W = lanes_of<V>;
    alignas(64) double z[BLOCK_ROWS * LANES<double>];
    const bool is_wide = may_overflow(thetas, rows->n_params);
    for (ptrdiff_t span = first; span < last; span += BLOCKS_PER_SPAN) {
        V sums[2][VECTORS] = {};
        for (ptrdiff_t b = span; b < span + BLOCKS_PER_SPAN && b < last; b++) {
            const double *w = lane_margins(rows, b, thetas, is_wide, signed_weights, z);
            V block[2][VECTORS] = {};
            for (int row = 0; row < rows->rows[b]; row++)
                for (int v = 0; v < VECTORS; v++) {
                    const ptrdiff_t i = row * LANES<double> + v * W;
                    const V signed_weight = load<V>(w + i), weight = size_of_weight(signed_weight);
                    const V margin = load<V>(z + i),
                            u = are_turned ? margin : turned(margin, signed_weight);
                    block[0][v] =
                        weight > 0 ? fma(weight, Logistic::value(u), block[0][v]) : block[0][v];
                    const auto is_wrong = signed_weight < 0 ? u >= 0 : u > 0;
                    block[1][v] = block[1][v] + (is_wrong ? weight : V{});
                }
            for (int v = 0; v < VECTORS; v++)
                for (int k = 0; k < 2; k++) sums[k][v] = sums[k][v] + block[k][v];
        }
        for (int v = 0; v < VECTORS; v++) {
            store(losses + v * W, load<V>(losses + v * W) + sums[0][v]);
            store(wrong + v * W, load<V>(wrong + v * W) + sums[1][v]);
        }
    }
}

// sums[pair][lane] += sum over rows of products[pair][row] * curvatures[row][lane]. Bound by FMAs:
// 3 loads and 8 broadcasts feed 24.
// noinline: else gcc 12 keeps the sums on the stack.
__attribute__((noinline)) inline void add_lane_pairs(const double *products,
                                                     const double *curvatures, int n_rows,
                                                     int n_pairs, double *sums) {
    using V = lane_vector;
    constexpr int W = lanes_of<V>;
    V pair[LANE_PAIRS][VECTORS] = {};
    for (int row = 0; row < n_rows; row++) {
        V curvature[VECTORS];
        for (int v = 0; v < VECTORS; v++)
            curvature[v] = load<V>(curvatures + row * LANES<double> + v * W);
        for (int i = 0; i < LANE_PAIRS; i++) {
            const V product = splat<V>(products[i * HESSIAN_ROWS + row]);
            for (int v = 0; v < VECTORS; v++) pair[i][v] = fma(product, curvature[v], pair[i][v]);
        }
    }
    for (int i = 0; i < n_pairs; i++)
        for (int v = 0; v < VECTORS; v++) {
            double *to = sums + i * LANES<double> + v * W;
            store(to, load<V>(to) + pair[i][v]);
        }
}

// hessians[pair][lane] += sum over blocks first, first + stride, ... below last of |w| loss'' x x',
// for the pairs of parameters j in [first_row, last_row); hessians begins with the first of them.
// As many blocks as are taken together make a span: scratch holds their curvatures, [row][lane].
inline void add_lane_hessians(const Rows *rows, ptrdiff_t first, ptrdiff_t last, ptrdiff_t stride,
                              const double *thetas, const double *signed_weights,
                              ptrdiff_t first_row, ptrdiff_t last_row, double *hessians,
                              double *scratch) {
    using V = lane_vector;
    constexpr int W = lanes_of<V>;
    const ptrdiff_t n_params = rows->n_params;
    const bool is_wide = may_overflow(thetas, n_params);
    alignas(64) double products[LANE_PAIRS * HESSIAN_ROWS];
    while (first < last) {
        const double *panels[HESSIAN_ROWS / PANEL];
        int n_panels = 0;
        for (int n = 0; n < LANE_HESSIAN_BLOCKS && first < last; n++, first += stride) {
            double *z = scratch + n_panels * PANEL * LANES<double>;
            const double *w = lane_margins(rows, first, thetas, is_wide, signed_weights, z);
            const int count = (rows->rows[first] + PANEL - 1) / PANEL;
            for (int i = 0; i < count * PANEL * LANES<double>; i += W)
                store(z + i, size_of_weight(load<V>(w + i)) * Logistic::curvature(load<V>(z + i)));
            for (int p = 0; p < count; p++)
                panels[n_panels++] = (const double *)rows->panels +
                                     (rows->first_panel[first] + p) * n_params * PANEL;
        }
        double *to = hessians;
        int n_pairs = 0;
        for (ptrdiff_t j = first_row; j < last_row; j++)
            for (ptrdiff_t k = j; k < n_params; k++) {
                for (int p = 0; p < n_panels; p++)
                    for (int i = 0; i < PANEL; i += lanes_of<f64v>)
                        store(products + n_pairs * HESSIAN_ROWS + p * PANEL + i,
                              load<f64v>(panels[p] + j * PANEL + i) *
                                  load<f64v>(panels[p] + k * PANEL + i));
                const bool is_last = j == last_row - 1 && k == n_params - 1;
                if (++n_pairs < LANE_PAIRS && !is_last) continue;
                add_lane_pairs(products, scratch, n_panels * PANEL, n_pairs, to);
                to += n_pairs * LANES<double>;
                n_pairs = 0;
            }
    }
}

// Solves factor' factor x = b in each lane, in place: entries[pair] is the factor's, in all lanes.
template <class Entries> inline void solve_lane_systems(Entries entries, ptrdiff_t n, double *x) {
    using V = lane_vector;
    constexpr ptrdiff_t L = LANES<double>;
    for (ptrdiff_t j = 0, row = 0; j < n; row += n - j, j++) {
        const V y = load<V>(x + j * L) * entries[row];
        store(x + j * L, y);
        for (ptrdiff_t k = 1; k < n - j; k++)
            store(x + (j + k) * L, fma(-y, entries[row + k], load<V>(x + (j + k) * L)));
    }
    for (ptrdiff_t j = n - 1; j >= 0; j--) {
        const ptrdiff_t row = j * n - j * (j - 1) / 2;
        V y = load<V>(x + j * L);
        for (ptrdiff_t k = 1; k < n - j; k++)
            y = fma(-entries[row + k], load<V>(x + (j + k) * L), y);
        store(x + j * L, y * entries[row]);
    }
}

// One vector of lanes of what L-BFGS knows of a tile of models.
struct LaneSteps {
    using V = lane_vector;
    static constexpr ptrdiff_t L = LANES<double>;
    const LaneDescent *d;
    ptrdiff_t lane;

    V get(const double *from, ptrdiff_t j = 0) const { return load<V>(from + j * L + lane); }
    void set(double *to, ptrdiff_t j, V value) const { store(to + j * L + lane, value); }

    // The objective's gradient at the trial, from the sums over rows, and its slope along the step.
    V take_gradient() const {
        const V inverse = get(d->inverse_totals), infinite = splat<V>(__builtin_inf());
        V slope{};
        for (ptrdiff_t j = 0; j < d->n; j++) {
            const V penalty = get(d->penalties, j), far = get(d->trial, j) - get(d->centres, j);
            const V sum = get(d->trial_gradient, j) * inverse;
            const V gradient = penalty == infinite ? V{} : fma(penalty, far, sum);
            set(d->trial_gradient, j, gradient);
            slope = fma(get(d->direction, j), gradient, slope);
        }
        return slope;
    }

    // Goes to the trial, in lanes that are accepted, and remembers the step.
    template <class Mask> void move(Mask is_accepted) const {
        const ptrdiff_t slot = d->newest * d->n;
        V curvature{};
        for (ptrdiff_t j = 0; j < d->n; j++) {
            const V theta = get(d->theta, j), gradient = get(d->gradient, j);
            const V step = is_accepted ? get(d->trial, j) - theta : V{};
            const V change = is_accepted ? get(d->trial_gradient, j) - gradient : V{};
            set(d->steps, slot + j, step);
            set(d->changes, slot + j, change);
            curvature = fma(step, change, curvature);
            set(d->theta, j, is_accepted ? get(d->trial, j) : theta);
            set(d->gradient, j, is_accepted ? get(d->trial_gradient, j) : gradient);
        }
        set(d->inverse_curvatures, d->newest, curvature > LEAST_CURVATURE ? 1 / curvature : V{});
    }

    // factor = (from . x) * inverse curvature of a pair.
    V part(const double *from, ptrdiff_t slot, const double *x) const {
        V sum{};
        for (ptrdiff_t j = 0; j < d->n; j++) sum = fma(get(from, slot * d->n + j), get(x, j), sum);
        return sum * get(d->inverse_curvatures, slot);
    }

    void add(const double *from, ptrdiff_t slot, V factor, double *x) const {
        for (ptrdiff_t j = 0; j < d->n; j++)
            set(x, j, fma(factor, get(from, slot * d->n + j), get(x, j)));
    }

    // The two loops of L-BFGS (Nocedal 1980) around the metric; returns the slope along the step.
    V turn() const {
        double *x = d->scratch;
        for (ptrdiff_t j = 0; j < d->n; j++) set(x, j, get(d->gradient, j));
        for (ptrdiff_t i = 0; i < d->count; i++) {
            const ptrdiff_t slot = (d->newest + d->capacity - i) % d->capacity;
            const V alpha = part(d->steps, slot, x);
            set(d->alphas, slot, alpha);
            add(d->changes, slot, -alpha, x);
        }
        if (d->is_shared)
            solve_lane_systems(Spread<V>{d->metric, 1}, d->n, x + lane);
        else
            solve_lane_systems(Loaded<V>{d->metric + lane, L}, d->n, x + lane);
        for (ptrdiff_t i = d->count - 1; i >= 0; i--) {
            const ptrdiff_t slot = (d->newest + d->capacity - i) % d->capacity;
            add(d->steps, slot, get(d->alphas, slot) - part(d->changes, slot, x), x);
        }
        V slope{};
        for (ptrdiff_t j = 0; j < d->n; j++) slope = fma(get(x, j), get(d->gradient, j), slope);
        return slope;
    }

    // Returns how many lanes are still to move.
    int advance() const {
        const auto is_active = get(d->active) > 0;
        const V slope = take_gradient(), before = get(d->slopes);
        const auto is_accepted = is_active & (slope >= -OVERSHOT * before);
        move(is_accepted);
        const V found = turn(), best = get(d->least);
        const auto is_less = is_accepted & (found < LESS * best);
        set(d->least, 0, is_less ? found : best);
        const V idle = is_less ? V{} : get(d->idle) + 1, asked = get(d->asked) + 1;
        set(d->idle, 0, idle);
        set(d->asked, 0, is_active ? asked : get(d->asked));
        const V size = is_accepted ? splat<V>(1) : get(d->sizes) / 2;
        set(d->sizes, 0, size);
        set(d->slopes, 0, is_accepted ? found : before);
        const auto goes_on = is_active & !(is_accepted & !(found > get(d->wanted))) &
                             (idle < IDLE_STEPS) & (asked < get(d->most));
        set(d->active, 0, goes_on ? splat<V>(1) : V{});
        for (ptrdiff_t j = 0; j < d->n; j++) {
            const V step = is_accepted ? get(d->scratch, j) : get(d->direction, j);
            const V theta = get(d->theta, j), to = fma(-size, step, theta);
            set(d->direction, j, step);
            set(d->trial, j, goes_on & (to - to == 0) ? to : theta);
        }
        int count = 0;
        for (int l = 0; l < lanes_of<V>; l++) count += d->active[lane + l] > 0;
        return count;
    }
};

// A step of L-BFGS in each lane that is active, given the sums over rows at the trials; returns how
// many go on.
//
// A trial is accepted unless it has gone too far: where the slope along the step has not turned,
// the objective, which is convex, has fallen; no loss is needed to know that. Otherwise the step is
// halved. Each lane that goes on remembers its last `capacity` trials, those that were not accepted
// as pairs of zeros, so that no lane's memory depends on another's.
inline int advance_lanes(const LaneDescent *descent) {
    int count = 0;
    for (int v = 0; v < VECTORS; v++)
        count += LaneSteps{descent, v * lanes_of<lane_vector>}.advance();
    return count;
}

}  // namespace metaopt::MF_ISA

// Logistic models with one in each lane, each of rows of its own: Newton steps to their optima.
// Double precision alone.
//
// x[row][parameter][lane] is in units in which no number is above 1, and signed weights are those
// of lanes.hpp: 0 for rows that only other lanes have. No lane looks at another one: a model has
// the bits that it has in any other tile.
#pragma once

#include "lanes.hpp"
#include "systems.hpp"

namespace metaopt::MF_ISA {

// A step has to bring what its slope promises (Armijo), but for rounding, and is halved at most so
// many times.
constexpr double TASK_ARMIJO = 1e-4, TASK_ROUNDING = 1e-13;
constexpr int TASK_HALVINGS = 40;
// Diagonal entry of a parameter that is left where it is.
constexpr double HELD = 0x1p60;

// z of a row in all lanes.
inline void task_margins(const TaskTile *t, ptrdiff_t row, const double *theta,
                         lane_vector (&z)[VECTORS]) {
    using V = lane_vector;
    constexpr int W = lanes_of<V>, L = LANES<double>;
    const double *x = t->x + row * t->n_params * L;
    for (int v = 0; v < VECTORS; v++) z[v] = V{};
    for (ptrdiff_t j = 0; j < t->n_params; j++)
        for (int v = 0; v < VECTORS; v++)
            z[v] = fma(load<V>(x + j * L + v * W), load<V>(theta + j * L + v * W), z[v]);
}

// Rows whose terms of the gradients are added together: a load and a store less for each.
constexpr int GRADIENT_ROWS = 4;

// The objectives at theta, and their gradients: 0 for what is held.
// noinline, as what follows: it is called from several places, and long.
__attribute__((noinline)) inline void evaluate_tasks(const TaskTile *t, const double *theta,
                                                     double *losses, double *gradients) {
    using V = lane_vector;
    constexpr int W = lanes_of<V>, L = LANES<double>;
    const ptrdiff_t n = t->n_params;
    V total[VECTORS] = {}, z[VECTORS];
    for (ptrdiff_t i = 0; i < n * L; i += W) store(gradients + i, V{});
    for (ptrdiff_t first = 0; first < t->n_rows; first += GRADIENT_ROWS) {
        V derivative[VECTORS][GRADIENT_ROWS] = {};
        const double *x[GRADIENT_ROWS];
        for (ptrdiff_t r = 0; r < GRADIENT_ROWS; r++) {
            // Of the last row, once more, nothing is added.
            x[r] = t->x + (first + r < t->n_rows ? first + r : t->n_rows - 1) * n * L;
        }
        for (ptrdiff_t row = first; row < first + GRADIENT_ROWS && row < t->n_rows; row++) {
            task_margins(t, row, theta, z);
            for (int v = 0; v < VECTORS; v++) {
                const V weight = load<V>(t->signed_weights + row * L + v * W);
                const V u = turned(z[v], weight);
                total[v] = fma(size_of_weight(weight), Logistic::value(u), total[v]);
                derivative[v][row - first] = weight * Logistic::derivative(u);
            }
        }
        for (int v = 0; v < VECTORS; v++)
            for (ptrdiff_t j = v * W; j < n * L; j += L) {
                V sum = load<V>(gradients + j);
                for (int r = 0; r < GRADIENT_ROWS; r++)
                    sum = fma(load<V>(x[r] + j), derivative[v][r], sum);
                store(gradients + j, sum);
            }
    }
    const V infinite = splat<V>(__builtin_inf());
    for (int v = 0; v < VECTORS; v++) {
        const V inverse = load<V>(t->inverse_totals + v * W);
        V loss = total[v] * inverse;
        for (ptrdiff_t j = v * W; j < n * L; j += L) {
            const V penalty = load<V>(t->penalties + j);
            const V far = load<V>(theta + j) - load<V>(t->centres + j);
            const V pull = penalty < infinite ? penalty * far : V{};
            loss = fma(pull * 0.5, far, loss);
            const V gradient = fma(load<V>(gradients + j), inverse, pull);
            store(gradients + j, penalty < infinite ? gradient : V{});
        }
        store(losses + v * W, loss);
    }
}

// The pairs (j, k) whose sums are in registers: 16 of AVX-512's 32 registers, 8 of other sets' 16.
constexpr ptrdiff_t TASK_ROWS = MF_BYTES == 64 ? 4 : 2, TASK_COLUMNS = 4;

// The sums over rows of curvature * x_j x_k for the parameters from `first` on and all k from there
// on: what is right of the diagonal is stored. Bound by FMAs: 9 loads and 4 products feed 16, of
// AVX-512.
// noinline: else gcc 12 keeps the sums on the stack.
__attribute__((noinline)) inline void task_pairs(const TaskTile *t, int v, ptrdiff_t first) {
    using V = lane_vector;
    constexpr int W = lanes_of<V>, L = LANES<double>;
    const ptrdiff_t n = t->n_params, step = n * L;
    ptrdiff_t rows[TASK_ROWS], columns[TASK_COLUMNS];
    double *to[TASK_ROWS];  // what is `to[i] + k * L` is of the pair (first + i, k)
    for (ptrdiff_t i = 0; i < TASK_ROWS; i++) {
        // There is no parameter behind the last one: its sums are those of the last one once more.
        const ptrdiff_t j = first + i < n ? first + i : n - 1;
        rows[i] = j * L;
        to[i] = t->matrix + (j * n - j * (j + 1) / 2) * L + v * W;
    }
    for (ptrdiff_t k = first; k < n; k += TASK_COLUMNS) {
        for (ptrdiff_t c = 0; c < TASK_COLUMNS; c++) columns[c] = (k + c < n ? k + c : n - 1) * L;
        const double *x = t->x + v * W, *curvature = t->curvatures + v * W;
        V sums[TASK_ROWS][TASK_COLUMNS] = {}, weighted[TASK_ROWS];
        for (ptrdiff_t row = 0; row < t->n_rows; row++, x += step, curvature += L) {
            for (int i = 0; i < TASK_ROWS; i++)
                weighted[i] = load<V>(curvature) * load<V>(x + rows[i]);
            for (int c = 0; c < TASK_COLUMNS; c++) {
                const V column = load<V>(x + columns[c]);
                for (int i = 0; i < TASK_ROWS; i++)
                    sums[i][c] = fma(weighted[i], column, sums[i][c]);
            }
        }
        for (int i = 0; i < TASK_ROWS; i++)
            for (int c = 0; c < TASK_COLUMNS; c++)
                if (columns[c] >= rows[i]) store(to[i] + columns[c], sums[i][c]);
    }
}

// The Hessians at theta, [pair][lane].
__attribute__((noinline)) inline void task_hessians(const TaskTile *t) {
    using V = lane_vector;
    constexpr int W = lanes_of<V>, L = LANES<double>;
    const ptrdiff_t n = t->n_params, n_rows = t->n_rows;
    V z[VECTORS];
    for (ptrdiff_t row = 0; row < n_rows; row++) {
        task_margins(t, row, t->theta, z);
        for (int v = 0; v < VECTORS; v++) {
            const ptrdiff_t i = row * L + v * W;
            const V weight =
                size_of_weight(load<V>(t->signed_weights + i)) * load<V>(t->inverse_totals + v * W);
            store(t->curvatures + i, weight * Logistic::curvature(z[v]));
        }
    }
    const V infinite = splat<V>(__builtin_inf()), held = splat<V>(HELD);
    for (int v = 0; v < VECTORS; v++) {
        for (ptrdiff_t j = 0; j < n; j += TASK_ROWS) task_pairs(t, v, j);
        double *diagonal = t->matrix + v * W;
        for (ptrdiff_t j = 0; j < n; diagonal += (n - j) * L, j++) {
            const V penalty = load<V>(t->penalties + j * L + v * W);
            store(diagonal, load<V>(diagonal) + (penalty < infinite ? penalty : held));
        }
    }
}

// to = the trial's, in lanes that are accepted.
inline void take_trial(const double *accepted, ptrdiff_t n, const double *trial, double *to) {
    using V = lane_vector;
    constexpr int W = lanes_of<V>, L = LANES<double>;
    for (ptrdiff_t i = 0; i < n * L; i += W)
        store(to + i, load<V>(accepted + i % L) > 0 ? load<V>(trial + i) : load<V>(to + i));
}

// One way of a tile's models to their optima.
struct TaskFit {
    static constexpr int L = LANES<double>;
    const TaskTile *t;
    // 1 of lanes that are not done, whose trial is not accepted yet, and whose was just now.
    double active[L], pending[L], accepted[L];
    double least[L], least_loss[L], sizes[L], trial_losses[L], squares[L];

    static bool any(const double *lanes) {
        double total = 0;
        for (int l = 0; l < L; l++) total += lanes[l];
        return total > 0;
    }

    // Says which lanes are done, given the squares of their steps: those that ask for no more, that
    // rounding holds, and that had all their steps; and what their factors bound.
    void judge() {
        double done[L];
        for (int l = 0; l < L; l++) {
            const double square = squares[l], loss = t->losses[l];
            const bool is_idle =
                !(square < least[l] / 4) &&
                !(loss < least_loss[l] - TASK_ROUNDING * __builtin_fabs(least_loss[l]));
            done[l] = active[l] > 0 && (square <= t->wanted || is_idle || t->n_steps[l] >= t->most);
            if (active[l] > 0) t->squares[l] = least[l] = square, least_loss[l] = loss;
        }
        if (any(done)) end(done);
    }

    // Ends some lanes, by the factors that are there.
    void end(const double *done) {
        double radii[L], inflations[L];
        bound_lanes(t->matrix, t->n_params, t->ones, radii, inflations, t->scratch);
        for (int l = 0; l < L; l++)
            if (done[l] > 0)
                t->radii[l] = radii[l], t->inflations[l] = inflations[l], active[l] = 0;
    }

    // Takes the steps, halved until the objectives fall; lanes where they do not are done.
    void move() {
        const ptrdiff_t size = t->n_params * L;
        for (int l = 0; l < L; l++) pending[l] = active[l], sizes[l] = 1;
        for (int h = 0; h < TASK_HALVINGS && any(pending); h++) {
            for (ptrdiff_t i = 0; i < size; i++) {
                const bool goes = pending[i % L] > 0 && t->penalties[i] < __builtin_inf();
                t->trial[i] = goes ? t->theta[i] - sizes[i % L] * t->step[i] : t->theta[i];
            }
            evaluate_tasks(t, t->trial, trial_losses, t->trial_gradient);
            for (int l = 0; l < L; l++) {
                const double loss = t->losses[l];
                const double asked = loss - TASK_ARMIJO * sizes[l] * t->squares[l] +
                                     TASK_ROUNDING * __builtin_fabs(loss);
                accepted[l] = pending[l] > 0 && trial_losses[l] <= asked;
                if (accepted[l] > 0)
                    pending[l] = 0, t->n_steps[l] += 1;
                else if (pending[l] > 0)
                    sizes[l] /= 2;
            }
            take_trial(accepted, t->n_params, t->trial, t->theta);
            take_trial(accepted, t->n_params, t->trial_gradient, t->gradient);
            take_trial(accepted, 1, trial_losses, t->losses);
        }
        if (any(pending)) end(pending);
    }

    void run() {
        evaluate_tasks(t, t->theta, t->losses, t->gradient);
        for (int l = 0; l < L; l++) {
            active[l] = t->losses[l] - t->losses[l] == 0;
            t->n_steps[l] = 0;
            t->squares[l] = t->radii[l] = t->inflations[l] = __builtin_inf();
            least[l] = least_loss[l] = __builtin_inf();
        }
        while (any(active)) {
            task_hessians(t);
            factor_lanes(t->matrix, t->n_params, t->scratch);
            __builtin_memcpy(t->step, t->gradient, sizeof(double) * t->n_params * L);
            solve_tile(t->matrix, t->n_params, t->step, squares);
            judge();
            if (any(active)) move();
        }
    }
};

// Does what is asked of a tile: Newton steps to the optima; or the objectives and their gradients
// at theta; or `step` times the inverses of the Hessians there.
inline void work_on_tasks(const TaskTile *tile, int work) {
    if (work == TASK_FIT) {
        TaskFit fit;
        fit.t = tile;
        fit.run();
    } else if (work == TASK_EVALUATE) {
        evaluate_tasks(tile, tile->theta, tile->losses, tile->gradient);
    } else {
        task_hessians(tile);
        factor_lanes(tile->matrix, tile->n_params, tile->scratch);
        solve_tile(tile->matrix, tile->n_params, tile->step, tile->squares);
    }
}

}  // namespace metaopt::MF_ISA

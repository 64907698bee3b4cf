// One instruction set's table of kernels. Included last by isa_*.cpp, which name the set.
#pragma once

#include "bound.hpp"
#include "counts.hpp"
#include "descents.hpp"
#include "elementwise.hpp"
#include "histogram.hpp"
#include "lanes.hpp"
#include "lasso.hpp"
#include "narrow_random.hpp"
#include "network.hpp"
#include "newton.hpp"
#include "packing.hpp"
#include "pairs.hpp"
#include "products.hpp"
#include "ranks.hpp"
#include "screen.hpp"
#include "single.hpp"
#include "softmax.hpp"
#include "sparse.hpp"
#include "systems.hpp"
#include "tasks.hpp"
#include "thetas.hpp"
#include "trees.hpp"
#include "whole.hpp"

namespace metaopt::MF_ISA {

// The machine's limit in FMAs: enough independent chains to fill the pipes.
template <class T> double fma_run(ptrdiff_t iterations) {
    using V = wide_vector<T>;
    constexpr int CHAINS = 12;
    V sums[CHAINS];
    for (int i = 0; i < CHAINS; i++) sums[i] = splat<V>((T)i);
    const V factor = splat<V>((T)0.999), term = splat<V>((T)0.001);
    for (ptrdiff_t n = 0; n < iterations; n++)
        for (int i = 0; i < CHAINS; i++) sums[i] = fma(sums[i], factor, term);
    for (int i = 1; i < CHAINS; i++) sums[0] = sums[0] + sums[i];
    // Nobody reads the sum: without this the compiler leaves the loop out.
    asm volatile("" : : "m"(sums[0]));
    return 2.0 * (double)iterations * CHAINS * lanes_of<V>;
}

// The machine's limit in reading: one pass over memory, summed so that nothing is left out.
inline double read_run(const void *memory, ptrdiff_t bytes) {
    constexpr int CHAINS = 8, W = lanes_of<f64v>;
    const double *from = (const double *)memory;
    f64v sums[CHAINS] = {};
    for (ptrdiff_t n = bytes / (ptrdiff_t)sizeof(f64v) / CHAINS; n > 0; n--, from += CHAINS * W)
        for (int i = 0; i < CHAINS; i++) sums[i] = sums[i] + load<f64v>(from + i * W);
    for (int i = 1; i < CHAINS; i++) sums[0] = sums[0] + sums[i];
    double total = 0;
    for (int l = 0; l < W; l++) total += sums[0][l];
    return total;
}

// What is the same for all losses.
template <class T> const Kernels &common_table() {
    static const Kernels kernels = {nullptr,
                                    sizeof(T),
                                    LANES<T>,
                                    lanes_of<wide_vector<T>>,
                                    0,
                                    0,
                                    nullptr,
                                    nullptr,
                                    evaluate_network<T>,
                                    network_memory<T>,
                                    fold_spans<T>,
                                    nullptr,
                                    row_norms<T>,
                                    pack_rows<T>,
                                    spread_rows<T>,
                                    turn_panels<T>,
                                    pack_thetas<T>,
                                    write_means,
                                    draw<T>,
                                    draw_narrow,
                                    find_excesses<T>,
                                    shrink_thetas<T>,
                                    narrow_tiles,
                                    margin_errors,
                                    narrow_rows,
                                    slope_products,
                                    find_factors<T>,
                                    measure_columns,
                                    penalties_below,
                                    count_tile<T>,
                                    count_narrow,
                                    find_slopes,
                                    measure_rows,
                                    find_grains,
                                    evaluate_softmax<T>,
                                    count_predictions<T>,
                                    add_covariances,
                                    softmax_memory<T>,
                                    nullptr,
                                    largest_margins,
                                    factor_tile,
                                    solve_tile,
                                    system_stride,
                                    system_steps,
                                    factor_one,
                                    solve_one,
                                    make_reflections,
                                    reflect,
                                    squeeze_rows,
                                    count_features,
                                    find_splits,
                                    apply_pairs,
                                    apply_pairs_again,
                                    keep_pair,
                                    tilt_pair,
                                    dot,
                                    add_lane_gradients,
                                    add_lane_losses,
                                    add_lane_hessians,
                                    advance_lanes,
                                    work_on_tasks,
                                    column_products,
                                    add_gram,
                                    combine,
                                    add_rows,
                                    logistic_rows,
                                    sweep,
                                    sparse_products,
                                    weigh_rows,
                                    read_lanes,
                                    write_lanes,
                                    sparse_rows,
                                    sparse_columns,
                                    sparse_residuals,
                                    sparse_directions,
                                    find_ranges<T>,
                                    add_histograms<T>,
                                    find_aucs<T>,
                                    find_margins<T>,
                                    exact_aucs<T>,
                                    nullptr,
                                    moment_bounds,
                                    elementwise<Exp>,
                                    elementwise<Expm1>,
                                    elementwise<Log>,
                                    elementwise<Log1p>,
                                    elementwise<Log2>,
                                    adam,
                                    add_squares,
                                    products,
                                    spread_pairs,
                                    add_pair_gram,
                                    fma_run<T>,
                                    read_run};
    return kernels;
}

template <class T, class Loss> Kernels table_for() {
    Kernels kernels = common_table<T>();
    kernels.loss = Loss::name;
    kernels.slope = Loss::slope;
    kernels.of_root = Loss::of_root;
    kernels.evaluate_tile = evaluate_tile<T, Loss>;
    kernels.evaluate_one = evaluate_one<T, Loss>;
    kernels.evaluate_wide = evaluate_wide<T, Loss>;
    kernels.add_hessian = HESSIAN_OF<Loss>;
    kernels.pointwise = pointwise<T, Loss>;
    return kernels;
}

// Filled in when it is first asked for: the addresses of 54 whole tables would be thousands of
// entries for the loader, and 20 KB of the wheel.
template <class T, class Loss> const Kernels *table() {
    static const Kernels kernels = table_for<T, Loss>();
    return &kernels;
}

template <class... L> const Kernels *table_of(List<L...>, int loss, int single_precision) {
    using Table = const Kernels *(*)();
    static constexpr Table tables[][2] = {{table<double, L>, table<float, L>}...};
    return loss < (int)sizeof...(L) ? tables[loss][single_precision]() : nullptr;
}

}  // namespace metaopt::MF_ISA

#define MF_JOIN(a, b) a##b
#define MF_NAME(isa) MF_JOIN(metaopt_kernels_, isa)

extern "C" const metaopt::Kernels *MF_NAME(MF_ISA)(int loss, int single_precision) {
    using namespace metaopt::MF_ISA;
    return table_of(Losses{}, loss, single_precision);
}

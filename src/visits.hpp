// What is done to panels of rows for a single theta, one row in each lane: their margins, and their
// gradient. Neighbouring panels are read side by side, and what comes next is fetched meanwhile.
#pragma once

#include "tile.hpp"

namespace metaopt::MF_ISA {

// Panels of rows that are read side by side: their sums are eight vectors.
template <class T> constexpr int ABREAST = lanes_of<row_vector<T>>;

// Panels whose derivatives are known, and whose gradient is still to be added; and, if they are the
// last ones of their block, that block's weight.
template <class T> struct Late {
    const T *x, *derivatives;
    T *gradient;
    double weight;
    int n_panels;
    bool resume, is_last;
};

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
    V sums[PANELS][PARTS];
    // One by one: what `= {}` fills, gcc 12 keeps in memory, and copies there and back.
    for (int p = 0; p < PANELS; p++)
        for (int k = 0; k < PARTS; k++) sums[p][k] = V{};
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

// The margins of a panel, as row_margins, and meanwhile lanes[parameter][lane] as add_row_gradients
// of the panel before it, which is still in a first-level cache.
//
// X is read as it lies in memory, and each line that is read asks for one some hundred lines on:
// as many are read until that one has come. Of 30 to 100 parameters, this reads at 0.8 to 0.87 of
// the rate of memory, visits of more panels at 0.61 to 0.75; but rows in a cache take a fifth
// longer.
constexpr ptrdiff_t FOLLOWED_AHEAD = 7 * 1024;
template <class T>
__attribute__((noinline)) void follow(const T *x, ptrdiff_t n_params, const T *theta,
                                      const Late<T> &late, T *lanes, T *z) {
    using V = row_vector<T>;
    constexpr int W = lanes_of<V>, PARTS = PANEL / W;
    const T *before = late.x;
    const bool resume = late.resume;
    V sums[PARTS], derivative[PARTS];
    for (int k = 0; k < PARTS; k++)
        sums[k] = V{}, derivative[k] = load<V>(late.derivatives + k * W);
    for (ptrdiff_t j = 0; j < n_params; j++) {
        __builtin_prefetch((const char *)(x + j * PANEL) + FOLLOWED_AHEAD, 0, 2);
        const V value = splat<V>(theta[j]);
        for (int k = 0; k < PARTS; k++) {
            const ptrdiff_t at = j * PANEL + k * W;
            sums[k] = fma(load<V>(x + at), value, sums[k]);
            const V sum = resume ? load<V>(lanes + at) : V{};
            store(lanes + at, fma(load<V>(before + at), derivative[k], sum));
        }
    }
    for (int k = 0; k < PARTS; k++) store(z + k * W, sums[k]);
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

}  // namespace metaopt::MF_ISA

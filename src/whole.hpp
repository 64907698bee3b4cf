// Whole numbers of which few are other than 0: drawn with a limit of them, or all of a box by
// number.
//
// A vector of candidates at a time, one in each lane. Which parameters a candidate keeps, and which
// vector has a number, are decided by exact operations alone: widths of vectors do not matter.
#pragma once

#include "random.hpp"

namespace metaopt::MF_ISA {

using Mask = decltype(f64v{} < f64v{});

inline bool any(Mask lanes) {
    unsigned long long found = 0;
    for (int l = 0; l < lanes_of<f64v>; l++) found |= ((u64v)lanes)[l];
    return found != 0;
}

// The uniform numbers of N pairs of parameters from `pair` on.
template <int N>
inline void draw_pairs(u64v candidates, uint64_t pair, const Keys &rounds, UniformPair (&u)[N]) {
    const Begun begun(candidates, rounds);
    Begun same[N];
    u64v pairs[N];
    for (int n = 0; n < N; n++) same[n] = begun, pairs[n] = u64v{} + (pair + n);
    philox(same, pairs, rounds, u);
}

// keys[parameter][lane] of a sampler that keeps some of its parameters.
inline void draw_keys(const Sampler *sampler, u64v candidates, const Keys &rounds, double *keys) {
    constexpr int W = lanes_of<f64v>;
    const ptrdiff_t n = sampler->n_params;
    for (ptrdiff_t column = n / 2 * 2; column < 2 * n; column += 2 * VECTORS) {
        UniformPair u[VECTORS];
        draw_pairs(candidates, column / 2, rounds, u);
        for (int i = 0; i < 2 * VECTORS; i++) {
            const ptrdiff_t j = column + i - n;
            if (j < 0 || j >= n) continue;
            const f64v number = i % 2 == 0 ? u[i / 2].first : u[i / 2].second;
            store(keys + j * W, Parameter(sampler, n + j)(number, f64v{}));
        }
    }
}

// How many of n keys are at most `limit`.
inline f64v count_up_to(const double *keys, ptrdiff_t n, f64v limit) {
    constexpr int W = lanes_of<f64v>;
    u64v count = (u64v)splat<f64v>(0x1p52);
    for (ptrdiff_t j = 0; j < n; j++) count -= (u64v)(load<f64v>(keys + j * W) <= limit);
    return (f64v)count - 0x1p52;
}

// The keys that are kept: those below `key`, and the first n_equal of those that equal it.
struct Cut {
    f64v key, n_equal;
};

// Of the n_kept lowest keys. Any number between the last one that is kept and the next will do.
// Keys are uniform: a guess by the numbers of keys around it, again between what it leaves, takes
// about seven counts until the last of eight lanes has such a number.
inline Cut find_cut(const double *keys, ptrdiff_t n, double n_kept, double n_certain) {
    // Equal keys would mislead guesses for ever; halves find them.
    constexpr int GUESSES = 16;
    f64v low = {}, high = splat<f64v>(1);
    f64v up_to_low = splat<f64v>(n_certain), up_to_high = splat<f64v>((double)n);
    Cut cut = {high, up_to_high};
    Mask open = low < high;
    for (int step = 0; any(open); step++) {
        f64v part = splat<f64v>(0.5);
        if (step < GUESSES) part = (n_kept - up_to_low + 0.5) / (up_to_high - up_to_low + 1);
        const f64v middle = low + (high - low) * part;
        const f64v count = count_up_to(keys, n, middle);
        const Mask found = open & (count == n_kept);
        cut.key = found ? middle : cut.key;
        open &= ~found;
        if (step >= GUESSES) {
            // No number is between them: what equals `high` is kept in part.
            const Mask tied = open & ((middle <= low) | (middle >= high));
            cut.key = tied ? high : cut.key;
            cut.n_equal = tied ? n_kept - up_to_low : cut.n_equal;
            open &= ~tied;
        }
        const Mask few = count<n_kept, many = count> n_kept;
        low = few ? middle : low;
        up_to_low = few ? count : up_to_low;
        high = many ? middle : high;
        up_to_high = many ? count : up_to_high;
    }
    return cut;
}

// The first `count` of a vector of candidates from `start` on into tile[parameter][lane].
template <class T>
void draw_sparse(const Sampler *sampler, uint64_t start, ptrdiff_t count, ptrdiff_t lanes, T *to,
                 double *keys) {
    constexpr int W = lanes_of<f64v>;
    const ptrdiff_t n = sampler->n_params;
    const Keys rounds(sampler->seed);
    u64v candidates;
    for (int l = 0; l < W; l++) candidates[l] = start + l;
    draw_keys(sampler, candidates, rounds, keys);
    Cut cut = find_cut(keys, n, (double)sampler->n_kept, (double)sampler->n_certain);
    for (ptrdiff_t first = 0; first < n; first += 2 * VECTORS) {
        const int size = (int)(n - first < 2 * VECTORS ? n - first : 2 * VECTORS);
        Mask kept[2 * VECTORS], some = {};
        for (int i = 0; i < size; i++) {
            const f64v key = load<f64v>(keys + (first + i) * W);
            const Mask equal = (key == cut.key) & (cut.n_equal > 0);
            cut.n_equal = equal ? cut.n_equal - 1 : cut.n_equal;
            kept[i] = (key < cut.key) | equal;
            some |= kept[i];
        }
        UniformPair u[VECTORS] = {};
        if (any(some)) draw_pairs(candidates, first / 2, rounds, u);
        for (int i = 0; i < size; i++) {
            const f64v number = i % 2 == 0 ? u[i / 2].first : u[i / 2].second;
            const f64v value = Parameter(sampler, first + i)(number, f64v{});
            write(to + (first + i) * lanes, kept[i] ? value : f64v{}, count);
        }
    }
}

// The vectors of a box by number, as samplers/box.py has their order: the digits of free
// parameters are the last ones, then those of the values other than 0, which a set of parameters
// shares; sets of fewer parameters come first. Parameters are from a on and have b values; where c
// is not 0, b of them are other than 0, and max_nonzero of these parameters may have one.
// firsts[r] is the number of the first vector of r of them, but for the free digits, and
// ways[p][r] how many vectors of r of the parameters p, p + 1, ... have one for p. In double
// precision: those of 2^53 and more need not be exact, as numbers are below 2^52.

// Neighbouring candidates: their numbers, of which those of the first and the last bound the
// others. What these two have in common, all have.
struct Numbers {
    static constexpr int MOST = 2 * VECTORS;  // vectors of the largest tile
    int n_vectors;
    f64v each[MOST];
    double first, last;
};

// tile[parameter][lane], of `lanes` candidates.
template <class T> struct Tile {
    T *to;
    ptrdiff_t lanes;

    ptrdiff_t count(int v) const {
        constexpr ptrdiff_t W = lanes_of<f64v>;
        return lanes - v * W < W ? lanes - v * W : W;
    }
    void fill(ptrdiff_t j, double value) const {
        for (ptrdiff_t l = 0; l < lanes; l++) to[j * lanes + l] = (T)value;
    }
    void set(ptrdiff_t j, int v, f64v values) const {
        write(to + j * lanes + v * lanes_of<f64v>, values, count(v));
    }
    f64v get(ptrdiff_t j, int v) const {
        constexpr int W = lanes_of<f64v>;
        vector<T, W * sizeof(T)> values = {};
        const T *from = to + j * lanes + v * W;
        if (count(v) == W)
            __builtin_memcpy(&values, from, sizeof values);
        else
            __builtin_memcpy(&values, from, count(v) * sizeof(T));
        return __builtin_convertvector(values, f64v);
    }
};

// Whole numbers below 2^52 without their last digit of a base of `size`. A quotient that is not
// whole is further from the next whole number than rounding goes.
inline f64v without_digit(f64v number, double size) { return round_down(number / size); }
inline double without_digit(double number, double size) {
    return (double)((uint64_t)number / (uint64_t)size);
}

// Writes the values of the free parameters; the numbers lose them.
template <class T> void write_free(const Sampler *sampler, Numbers &numbers, Tile<T> tile) {
    bool is_common = numbers.first == numbers.last;
    for (ptrdiff_t j = sampler->n_params - 1; j >= 0; j--) {
        const double low = sampler->a[j], size = sampler->b[j];
        if (sampler->c[j] != 0) continue;
        if (size == 1) {
            tile.fill(j, low);
            continue;
        }
        const double quotient = without_digit(numbers.first, size);
        if (is_common) {
            tile.fill(j, low + (numbers.first - quotient * size));
        } else {
            for (int v = 0; v < numbers.n_vectors; v++) {
                const f64v rest = without_digit(numbers.each[v], size);
                tile.set(j, v, low + (numbers.each[v] - rest * size));
                numbers.each[v] = rest;
            }
            numbers.last = without_digit(numbers.last, size);
            is_common = quotient == numbers.last;
        }
        numbers.first = quotient;
    }
    if (!is_common) return;
    numbers.last = numbers.first;
    for (int v = 0; v < numbers.n_vectors; v++) numbers.each[v] = splat<f64v>(numbers.first);
}

// How many parameters other than 0 candidates have yet to choose, and how many values those have
// that they chose.
struct Choices {
    u64v left[Numbers::MOST];
    f64v n_values[Numbers::MOST];
};

// How many parameters are other than 0; the numbers count on from the first with as many.
inline void find_sizes(const Sampler *sampler, Numbers &numbers, Choices &choices) {
    for (int v = 0; v < numbers.n_vectors; v++) {
        f64v begin = {};
        choices.left[v] = u64v{};
        for (ptrdiff_t r = 1; r <= sampler->max_nonzero; r++) {
            const Mask more = numbers.each[v] >= sampler->firsts[r];
            begin = more ? splat<f64v>(sampler->firsts[r]) : begin;
            choices.left[v] -= (u64v)more;
        }
        numbers.each[v] = numbers.each[v] - begin;
        choices.n_values[v] = splat<f64v>(1);
    }
}

// Writes 1 for each parameter that is other than 0, and 0 for the others, as long as the first and
// the last candidate, which have as many, choose alike: so do all. Returns the parameter from which
// on they do not.
template <class T>
ptrdiff_t write_common(const Sampler *sampler, Numbers &numbers, Choices &choices, Tile<T> tile) {
    const double *ways = sampler->ways;
    double less = 0, n_values = 1;
    uint64_t left = choices.left[0][0];
    ptrdiff_t j = 0;
    for (; j < sampler->n_params; j++) {
        if (sampler->c[j] == 0) continue;
        const double with_it = n_values * ways[left];
        const bool is_taken = numbers.first - less < with_it;
        if (is_taken != (numbers.last - less < with_it)) break;
        tile.fill(j, is_taken);
        if (is_taken)
            left--, n_values *= sampler->b[j];
        else
            less += with_it;
        ways += sampler->max_nonzero + 1;
    }
    for (int v = 0; v < numbers.n_vectors; v++) {
        numbers.each[v] = numbers.each[v] - less;
        choices.left[v] = u64v{} + left;
        choices.n_values[v] = splat<f64v>(n_values);
    }
    return j;
}

// The same of the parameters from j on, for each candidate by itself; what is left of the numbers
// is that of the values.
template <class T>
void write_others(const Sampler *sampler, ptrdiff_t j, Numbers &numbers, Choices &choices,
                  Tile<T> tile) {
    const double *ways = sampler->ways;
    for (ptrdiff_t i = 0; i < j; i++) ways += sampler->c[i] == 0 ? 0 : sampler->max_nonzero + 1;
    for (; j < sampler->n_params; j++) {
        if (sampler->c[j] == 0) continue;
        u64v some = {};
        for (int v = 0; v < numbers.n_vectors; v++) some |= choices.left[v];
        if (!any((Mask)some)) {
            tile.fill(j, 0);
            continue;
        }
        for (int v = 0; v < numbers.n_vectors; v++) {
            u64v &left = choices.left[v];
            f64v with_it, &number = numbers.each[v], &n_values = choices.n_values[v];
            for (int l = 0; l < lanes_of<f64v>; l++) with_it[l] = ways[left[l]];
            with_it = n_values * with_it;
            const Mask taken = number < with_it;
            number = taken ? number : number - with_it;
            n_values = taken ? n_values * sampler->b[j] : n_values;
            left += (u64v)taken;
            tile.set(j, v, taken ? splat<f64v>(1) : f64v{});
        }
        ways += sampler->max_nonzero + 1;
    }
}

// Writes the values of the parameters that are other than 0, where they may be other than 1.
template <class T> void write_values(const Sampler *sampler, Numbers &numbers, Tile<T> tile) {
    for (ptrdiff_t j = sampler->n_params - 1; j >= 0; j--) {
        const double low = sampler->a[j], size = sampler->b[j];
        if (sampler->c[j] == 0 || (low == 0 && size == 1)) continue;
        for (int v = 0; v < numbers.n_vectors; v++) {
            const Mask is_used = tile.get(j, v) != 0;
            if (!any(is_used)) continue;
            f64v &number = numbers.each[v];
            const f64v quotient = size == 1 ? number : without_digit(number, size);
            const f64v value = low + (size == 1 ? f64v{} : number - quotient * size);
            number = is_used ? quotient : number;
            tile.set(j, v, is_used ? (value >= 0 ? value + 1 : value) : f64v{});
        }
    }
}

template <class T> void write_numbered(const Sampler *sampler, uint64_t start, Tile<T> tile) {
    constexpr int W = lanes_of<f64v>;
    Numbers numbers;
    numbers.n_vectors = (int)((tile.lanes + W - 1) / W);
    numbers.first = (double)start, numbers.last = (double)(start + tile.lanes - 1);
    for (int v = 0; v < numbers.n_vectors; v++)
        for (int l = 0; l < W; l++) {
            const ptrdiff_t lane = v * W + l < tile.lanes ? v * W + l : tile.lanes - 1;
            numbers.each[v][l] = (double)(start + lane);
        }
    write_free(sampler, numbers, tile);
    if (sampler->max_nonzero == 0) return;
    Choices choices;
    find_sizes(sampler, numbers, choices);
    ptrdiff_t j = 0;
    const int end = numbers.n_vectors - 1, lane = (int)tile.count(end) - 1;
    if (choices.left[0][0] == choices.left[end][lane]) {
        numbers.first = numbers.each[0][0], numbers.last = numbers.each[end][lane];
        j = write_common(sampler, numbers, choices, tile);
    }
    write_others(sampler, j, numbers, choices, tile);
    write_values(sampler, numbers, tile);
}

// Candidates start .. start + lanes - 1 of any sampler into tile[parameter][lane].
template <class T>
void draw(const Sampler *sampler, uint64_t start, ptrdiff_t lanes, void *tile, double *scratch) {
    constexpr ptrdiff_t W = lanes_of<f64v>;
    T *to = (T *)tile;
    if (sampler->ways != nullptr)
        write_numbered(sampler, start, Tile<T>{to, lanes});
    else if (sampler->n_kept == 0)
        draw_all(sampler, start, lanes, to);
    else
        for (ptrdiff_t first = 0; first < lanes; first += W)
            draw_sparse(sampler, start + first, lanes - first < W ? lanes - first : W, lanes,
                        to + first, scratch);
}

}  // namespace metaopt::MF_ISA

// Trees of binary features by counting: for each pair of features, and each of the four ways to
// have them or not, the least cost of the rows there when a third feature splits them.
//
// Of features r < f < g, t rows have all three. The eight cells of a triple follow from t, from
// what is known of pairs, single features and all rows, by a subtraction each (inclusion and
// exclusion), so that one count of t serves all three pairs. A leaf costs 16 for each unit of what
// is decided wrongly in it, and 1, so that of two trees of one cost the one of fewer leaves costs
// less.
//
// Features lie in the lanes. All is of whole numbers below 2^31: the same for any vectors, threads
// and order. Where the processor counts bits, a triple takes about 3 instructions for each 512 rows
// that have r, and 4 besides; where it does not, 13 of the former.
#pragma once

#include "simd.hpp"

namespace metaopt::MF_ISA {

// The cost of a leaf with too few rows; two of them are a number still.
constexpr int32_t IMPOSSIBLE = (1 << 30) - 1;
// Words whose counts of bits fit in bytes.
constexpr ptrdiff_t WORDS_OF_BYTES = 255 / 8;

// Bits that are set both in a column, lane by lane, and in the mask.
template <bool IS_NATIVE>
inline i32v count_common(const uint32_t *columns, ptrdiff_t stride, const uint32_t *mask,
                         ptrdiff_t n_words) {
    u32v total = {};
    if constexpr (IS_NATIVE) {
        for (ptrdiff_t w = 0; w < n_words; w++)
            total += count_bits(load<u32v>(columns + w * stride) & splat<u32v>(mask[w]));
        return (i32v)total;
    }
    for (ptrdiff_t w = 0; w < n_words;) {
        const ptrdiff_t end = n_words - w < WORDS_OF_BYTES ? n_words : w + WORDS_OF_BYTES;
        u32v bytes = {};
        for (; w < end; w++) {
            u32v x = load<u32v>(columns + w * stride) & splat<u32v>(mask[w]);
            x = x - ((x >> 1) & 0x55555555u);
            x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
            bytes += (x + (x >> 4)) & 0x0f0f0f0fu;
        }
        bytes = (bytes & 0x00ff00ffu) + ((bytes >> 8) & 0x00ff00ffu);
        total += (bytes & 0xffffu) + (bytes >> 16);
    }
    return (i32v)total;
}

// Moves the bits of a mask to the lowest places, by shifts of 1, 2, 4, 8 and 16: as in H. Warren,
// Hacker's Delight, 7-4.
struct Squeeze {
    static constexpr int STEPS = 5;
    uint32_t mask, moved[STEPS];
    int count;

    explicit Squeeze(uint32_t bits) : mask(bits), count(__builtin_popcount(bits)) {
        uint32_t absent = ~bits << 1;
        for (int i = 0; i < STEPS; i++) {
            uint32_t parity = absent;
            for (int shift = 1; shift < 32; shift *= 2) parity ^= parity << shift;
            moved[i] = parity & bits;
            bits = (bits ^ moved[i]) | (moved[i] >> (1 << i));
            absent &= ~parity;
        }
    }

    u32v operator()(u32v x) const {
        x &= splat<u32v>(mask);
        for (int i = 0; i < STEPS; i++) {
            const u32v some = x & splat<u32v>(moved[i]);
            x = (x ^ some) | (some >> (1 << i));
        }
        return x;
    }
};

// Writes the rows that have a feature, segment by segment, and where segments end. There is room
// for as many words as of all rows.
inline void squeeze_rows(const BitRows *rows, ptrdiff_t feature, uint32_t *words, ptrdiff_t *ends) {
    constexpr int W = lanes_of<u32v>;
    const ptrdiff_t stride = rows->stride;
    ptrdiff_t w = 0, to = 0;
    for (ptrdiff_t s = 0; s < rows->n_segments; s++) {
        int used = 0;  // bits of the word at `to`
        for (; w < rows->ends[s]; w++) {
            const uint32_t *from = rows->words + w * stride;
            if (from[feature] == 0) continue;
            const Squeeze squeeze(from[feature]);
            const bool has_more = used + squeeze.count > 32;
            uint32_t *out = words + to * stride;
            for (ptrdiff_t g = 0; g < stride; g += W) {
                const u32v x = squeeze(load<u32v>(from + g));
                store(out + g, used == 0 ? x : load<u32v>(out + g) | (x << used));
                if (has_more) store(out + stride + g, x >> (32 - used));
            }
            used += squeeze.count;
            to += used >= 32;
            used -= used >= 32 ? 32 : 0;
        }
        to += used > 0;
        ends[s] = to;
    }
}

// counts[quantity][feature]: the cost of the rows of each class that have it, and, where these are
// counted, the rows.
template <bool IS_NATIVE> inline void count_all(const BitRows *rows, int32_t *counts) {
    constexpr int W = lanes_of<i32v>;
    const ptrdiff_t stride = rows->stride;
    uint32_t all[WORDS_OF_BYTES];
    for (ptrdiff_t w = 0; w < WORDS_OF_BYTES; w++) all[w] = ~0u;
    for (ptrdiff_t g = 0; g < stride; g += W) {
        i32v n_rows = {};
        ptrdiff_t s = 0, w = 0;
        for (ptrdiff_t k = 0; k < rows->n_classes; k++) {
            i32v cost = {};
            for (; s < rows->n_segments && rows->classes[s] == k; s++) {
                i32v count = {};
                while (w < rows->ends[s]) {
                    const ptrdiff_t left = rows->ends[s] - w;
                    const ptrdiff_t some = left < WORDS_OF_BYTES ? left : WORDS_OF_BYTES;
                    count +=
                        count_common<IS_NATIVE>(rows->words + w * stride + g, stride, all, some);
                    w += some;
                }
                cost += count * splat<i32v>(rows->costs[s]);
                n_rows += count * splat<i32v>(rows->sizes[s]);
            }
            store(counts + k * stride + g, cost);
        }
        if (rows->least > 0) store(counts + rows->n_classes * stride + g, n_rows);
    }
}

inline void count_features(const BitRows *rows, int32_t *counts) {
    if constexpr (MAY_COUNT_BITS)
        if (can_count_bits()) return count_all<true>(rows, counts);
    count_all<false>(rows, counts);
}

// What is known of a pair (r, f) and the features g in the lanes, of one quantity.
struct Cells {
    i32v of[8];  // by r, f, g: 4 + 2 + 1 is the cell of the rows that have all of them

    Cells(const FeatureCounts *known, ptrdiff_t n_quantities, ptrdiff_t stride, ptrdiff_t q,
          ptrdiff_t r, ptrdiff_t f, ptrdiff_t g, i32v all_three) {
        const int32_t *singles = known->singles + q * stride;
        const int32_t *of_r = known->pairs + (r * n_quantities + q) * stride;
        const int32_t *of_f = known->pairs + (f * n_quantities + q) * stride;
        const int32_t with_r = singles[r] - of_r[f], with_f = singles[f] - of_r[f];
        const int32_t neither = known->totals[q] - singles[r] - with_f;
        of[7] = all_three;
        of[6] = splat<i32v>(of_r[f]) - all_three;
        of[5] = load<i32v>(of_r + g) - all_three;
        of[4] = splat<i32v>(with_r) - of[5];
        of[3] = load<i32v>(of_f + g) - all_three;
        of[2] = splat<i32v>(with_f) - of[3];
        of[1] = load<i32v>(singles + g) - load<i32v>(of_r + g) - of[3];
        of[0] = splat<i32v>(neither) - of[1];
    }
};

// The costs of the eight leaves of (r, f, g), g in the lanes: `rows` are those that have r, and
// `mask` says which of them have f.
template <bool IS_NATIVE, bool IS_BINARY>
inline void leaf_costs(const BitRows *rows, const FeatureCounts *known, ptrdiff_t r, ptrdiff_t f,
                       ptrdiff_t g, const uint32_t *mask, i32v (&costs)[8]) {
    const ptrdiff_t stride = rows->stride, n_quantities = rows->n_classes + !IS_BINARY;
    i32v all[8] = {}, largest[8] = {}, n_rows = {};
    for (int c = 0; c < 8; c++) costs[c] = splat<i32v>(INT32_MAX);
    ptrdiff_t s = 0, w = 0;
    for (ptrdiff_t k = 0; k < rows->n_classes; k++) {
        i32v cost = {};
        for (; s < rows->n_segments && rows->classes[s] == k; w = rows->ends[s++]) {
            const i32v count = count_common<IS_NATIVE>(rows->words + w * stride + g, stride,
                                                       mask + w, rows->ends[s] - w);
            cost += count * splat<i32v>(rows->costs[s]);
            if (!IS_BINARY) n_rows += count * splat<i32v>(rows->sizes[s]);
        }
        const Cells cells(known, n_quantities, stride, k, r, f, g, cost);
        for (int c = 0; c < 8; c++) {
            if (IS_BINARY) {
                costs[c] = min(costs[c], cells.of[c]);
            } else {
                all[c] += cells.of[c];
                largest[c] = largest[c] > cells.of[c] ? largest[c] : cells.of[c];
            }
        }
    }
    if (IS_BINARY) return;
    const Cells cells(known, n_quantities, stride, n_quantities - 1, r, f, g, n_rows);
    for (int c = 0; c < 8; c++)
        costs[c] = cells.of[c] < rows->least ? splat<i32v>(IMPOSSIBLE) : all[c] - largest[c];
}

inline void lower(int32_t *at, i32v x) { store(at, min(load<i32v>(at), x)); }

template <bool IS_NATIVE, bool IS_BINARY>
inline void find_splits_of(const BitRows *rows, const FeatureCounts *known, ptrdiff_t root,
                           ptrdiff_t first, ptrdiff_t last, uint32_t *mask, int32_t *best) {
    constexpr int W = lanes_of<i32v>;
    const ptrdiff_t stride = rows->stride, n_words = rows->ends[rows->n_segments - 1];
    int32_t *of_root = best + root * 4 * stride;
    for (ptrdiff_t f = first; f < last; f++) {
        int32_t *of_f = best + f * 4 * stride;
        for (ptrdiff_t w = 0; w < n_words; w++) mask[w] = rows->words[w * stride + f];
        i32v least[4];
        for (int s = 0; s < 4; s++) least[s] = splat<i32v>(INT32_MAX);
        // Lanes of features up to f have true counts as well, so what they lower is a bound still.
        for (ptrdiff_t g = (f + 1) / W * W; g < rows->n_features; g += W) {
            i32v costs[8];
            leaf_costs<IS_NATIVE, IS_BINARY>(rows, known, root, f, g, mask, costs);
            for (int s = 0; s < 4; s++) {
                const int r = 4 * (s / 2) + s % 2;
                least[s] = min(least[s], costs[2 * s] + costs[2 * s + 1]);
                lower(of_root + s * stride + g, costs[r] + costs[r + 2]);
                lower(of_f + s * stride + g, costs[s] + costs[s + 4]);
            }
        }
        for (int s = 0; s < 4; s++)
            for (int l = 0; l < W; l++)
                if (least[s][l] < of_root[s * stride + f]) of_root[s * stride + f] = least[s][l];
    }
}

// Lowers best[feature][side of it, side of the other][other feature] to the cost of two leaves, for
// the pairs of root < f < g, f in [first, last), each split by the third. `rows` are those that
// have the root; `mask` has room for their words.
inline void find_splits(const BitRows *rows, const FeatureCounts *known, ptrdiff_t root,
                        ptrdiff_t first, ptrdiff_t last, uint32_t *mask, int32_t *best) {
    const bool is_binary = rows->least == 0;
    if constexpr (MAY_COUNT_BITS)
        if (can_count_bits()) {
            const auto find = is_binary ? find_splits_of<true, true> : find_splits_of<true, false>;
            return find(rows, known, root, first, last, mask, best);
        }
    const auto find = is_binary ? find_splits_of<false, true> : find_splits_of<false, false>;
    find(rows, known, root, first, last, mask, best);
}

}  // namespace metaopt::MF_ISA

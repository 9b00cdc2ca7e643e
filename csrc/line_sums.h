// Means of an enlarged map over its rows and columns, from the sums over taps that a tile keeps. Of the vector behind the last line
// something is read, and does not count.
#ifndef RFACONV_LINE_SUMS_H
#define RFACONV_LINE_SUMS_H

#include "vec.h"

namespace rfaconv {
namespace RFACONV_ISA {

// to[h*K + i] = scale * the sum of `width` floats at lines + i*stride + h*width. A horizontal sum of one row costs as many
// instructions as a lane has bits to fold; as many rows as there are lanes are folded together for little more.
template <int K>
static void sum_rows(const float* lines, int64_t stride, int64_t rows, int64_t width, float scale, float* to) {
    const int64_t whole = width / lanes * lanes;
    const vm rest = first_lanes(width - whole);
    for (int64_t o = 0; o < rows * K; o += lanes) {
        const int64_t count = imin(lanes, rows * K - o);
        vf r[lanes];
        int64_t h = o / K, i = o % K;
        for (int64_t l = 0; l < lanes; ++l) {
            r[l] = zero();
            if (l >= count) continue;
            const float* const at = lines + i * stride + h * width;
            for (int64_t w = 0; w < whole; w += lanes) r[l] = r[l] + load(at + w);
            if (whole < width) r[l] = r[l] + load_within(at + whole, rest);
            if (++i == K) i = 0, ++h;
        }
        store_first(to + o, lane_sums(r) * set1(scale), count);
    }
}

// to[w*K + j] (+)= scale * the sum over rows of lines[j*stride + h*width + w]
template <int K>
static void sum_columns(const float* lines, int64_t stride, int64_t rows, int64_t width, float scale, bool first, float* to) {
    for (int64_t w = 0; w < width; w += lanes) {
        const int64_t n = imin(lanes, width - w);
        const vm some = first_lanes(n);
        float out[K][lanes];
        for (int j = 0; j < K; ++j) {
            const float* const at = lines + j * stride + w;
            vf even = zero(), odd = zero();  // two chains: an addition waits for the one before it
            int64_t h = 0;
            for (; h + 2 <= rows; h += 2) {
                even = even + load_within(at + h * width, some);
                odd = odd + load_within(at + (h + 1) * width, some);
            }
            if (h < rows) even = even + load_within(at + h * width, some);
            store(out[j], (even + odd) * set1(scale));
        }
        for (int64_t l = 0; l < n; ++l)
            for (int j = 0; j < K; ++j) {
                float& at = to[(w + l) * K + j];
                at = first ? out[j][l] : at + out[j][l];
            }
    }
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

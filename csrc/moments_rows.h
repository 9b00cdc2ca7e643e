// Sums of products along rows of channel_rows.h, in float over at most `segment` terms at a time.
#ifndef RFACONV_MOMENTS_ROWS_H
#define RFACONV_MOMENTS_ROWS_H

#include "channel_rows.h"

namespace rfaconv {
namespace RFACONV_ISA {

enum : int64_t { segment = 256 };

// sum[i][j] = sum over outputs w of a(column of tap i at w) * b(column of tap j at w).
// step: floats from one output to the next, tap: floats from one tap to the next.
template <int K>
static void row_products(const float* a, const float* b, int64_t out, int64_t step, int64_t tap, vf sum[K][K]) {
    for (int i = 0; i < K; ++i)
        for (int j = 0; j < K; ++j) sum[i][j] = zero();
    for (int64_t begin = 0; begin < out; begin += segment) {
        const int64_t end = imin(out, begin + segment);
        vf part[K][K];
        for (int i = 0; i < K; ++i)
            for (int j = 0; j < K; ++j) part[i][j] = zero();
        for (int64_t w = begin; w < end; ++w) {
            vf u[K];
            RFACONV_UNROLL
            for (int i = 0; i < K; ++i) u[i] = load(a + w * step + i * tap);
            RFACONV_UNROLL
            for (int j = 0; j < K; ++j) {
                const vf v = load(b + w * step + j * tap);
                RFACONV_UNROLL
                for (int i = 0; i < K; ++i) part[i][j] = fma(u[i], v, part[i][j]);
            }
        }
        for (int i = 0; i < K; ++i)
            for (int j = 0; j < K; ++j) sum[i][j] = sum[i][j] + part[i][j];
    }
}

// The part of lag_products whose sum depends only on the lag between the columns: columns [K-1, out).
template <int K, int FROM, int TO>
static void lag_sums(const float* const rows[K], int64_t out, vf total[K][2 * K - 1]) {
    constexpr int N = 2 * K - 1;
    for (int r = FROM; r < TO; ++r)
        for (int l = 0; l < N; ++l) total[r][l] = zero();
    for (int64_t begin = K - 1; begin < out; begin += segment) {
        const int64_t end = imin(out, begin + segment);
        vf part[TO - FROM][N];
        RFACONV_UNROLL
        for (int r = 0; r < TO - FROM; ++r)
            for (int l = 0; l < N; ++l) part[r][l] = zero();
        for (int64_t c = begin; c < end; ++c) {
            const vf z = load(rows[0] + c * lanes);
            RFACONV_UNROLL
            for (int r = FROM; r < TO; ++r)
                RFACONV_UNROLL
                for (int l = r == 0 ? K - 1 : 0; l < N; ++l)
                    part[r - FROM][l] = fma(z, load(rows[r] + (c + l - (K - 1)) * lanes), part[r - FROM][l]);
        }
        for (int r = FROM; r < TO; ++r)
            for (int l = 0; l < N; ++l) total[r][l] = total[r][l] + part[r - FROM][l];
    }
}

// Stride and dilation 1: sum[r][i][j] = sum over outputs w of rows[0](w+i) * rows[r](w+j); for r = 0 only i <= j.
template <int K>
static void lag_products(const float* const rows[K], int64_t out, vf sum[K][K][K]) {
    vf total[K][2 * K - 1];
    if constexpr (K <= 3) {
        lag_sums<K, 0, K>(rows, out, total);
    } else {
        lag_sums<K, 0, 1>(rows, out, total);
        lag_sums<K, 1, 2>(rows, out, total);
        lag_sums<K, 2, 3>(rows, out, total);
        lag_sums<K, 3, 4>(rows, out, total);
        lag_sums<K, 4, 5>(rows, out, total);
    }
    for (int r = 0; r < K; ++r)
        for (int i = 0; i < K; ++i)
            for (int j = r == 0 ? i : 0; j < K; ++j) {
                vf v = total[r][j - i + K - 1];
                for (int64_t c = i; c < imin(K - 1, i + out); ++c)
                    v = fma(load(rows[0] + c * lanes), load(rows[r] + (c + j - i) * lanes), v);
                for (int64_t c = imax(K - 1, out); c < i + out; ++c)
                    v = fma(load(rows[0] + c * lanes), load(rows[r] + (c + j - i) * lanes), v);
                sum[r][i][j] = v;
            }
}

// sum[i] over outputs [begin, end) of the row's entry under column tap i.
template <int K>
static void row_sums(const float* row, int64_t begin, int64_t end, int64_t step, int64_t tap, vf sum[K]) {
    for (int i = 0; i < K; ++i) sum[i] = zero();
    if (step == lanes && tap == lanes && end - begin >= K) {  // the taps share all columns but a few
        vf shared = zero();
        for (int64_t from = begin + K - 1; from < end; from += segment) {
            vf part[4] = {zero(), zero(), zero(), zero()};
            const int64_t to = imin(end, from + segment);
            int64_t c = from;
            for (; c + 4 <= to; c += 4) {
                RFACONV_UNROLL
                for (int k = 0; k < 4; ++k) part[k] = part[k] + load(row + (c + k) * lanes);
            }
            for (; c < to; ++c) part[0] = part[0] + load(row + c * lanes);
            shared = shared + ((part[0] + part[1]) + (part[2] + part[3]));
        }
        for (int i = 0; i < K; ++i) {
            vf v = shared;
            for (int64_t c = begin + i; c < begin + K - 1; ++c) v = v + load(row + c * lanes);
            for (int64_t c = end; c < end + i; ++c) v = v + load(row + c * lanes);
            sum[i] = v;
        }
        return;
    }
    for (int64_t from = begin; from < end; from += segment) {
        const int64_t to = imin(end, from + segment);
        for (int i = 0; i < K; ++i) {
            vf part = zero();
            for (int64_t w = from; w < to; ++w) part = part + load(row + w * step + i * tap);
            sum[i] = sum[i] + part;
        }
    }
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

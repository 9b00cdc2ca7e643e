// The product of a small matrix A, read as scalars, and a strip B of packed vectors:
//
//     c[i][n] (+)= sum_k a[i*row + k*step] * b[k][n],     n < nv * lanes,  nv = 1 .. strip_vectors
//
// b is packed: row k begins at b + k * nv * lanes. The accumulators of block_rows x strip_vectors stay in registers.
#ifndef RFACONV_GEMM_H
#define RFACONV_GEMM_H

#include "vec.h"

namespace rfaconv {
namespace RFACONV_ISA {

// 24 accumulators of 32 registers (AVX-512), 12 of 16 (AVX2), 16 of 32 (NEON: A takes 8). RFACONV_PAIRS: what gemm_pairs.h wants.
#if defined(RFACONV_PAIRS)
enum : int64_t { block_rows = 8, strip_vectors = 2 };
#elif defined(RFACONV_SCALAR)
enum : int64_t { block_rows = 4, strip_vectors = 3 };
#elif defined(__AVX512F__)
enum : int64_t { block_rows = 8, strip_vectors = 3 };
#elif defined(__aarch64__)
enum : int64_t { block_rows = 8, strip_vectors = 2 };
#else
enum : int64_t { block_rows = 4, strip_vectors = 3 };
#endif
enum : int64_t { strip_pixels = strip_vectors * lanes };

#if defined(__aarch64__) && !defined(RFACONV_SCALAR)
// NEON multiplies by one lane of a register, so four columns of A are loaded at once: one load for four products, where a load
// for each element of A would be one for two. Returns how many columns it did.
template <int lane, int M, int NV>
RFACONV_INLINE void gemm_column(const vf (&av)[M], const float* b, vf (&sum)[M][NV]) {
    vf bv[NV];
    for (int v = 0; v < NV; ++v) bv[v] = load(b + (lane * NV + v) * lanes);
    for (int i = 0; i < M; ++i)
        for (int v = 0; v < NV; ++v) sum[i][v] = fma_lane<lane>(av[i], bv[v], sum[i][v]);
}
template <int M, int NV>
RFACONV_INLINE int64_t gemm_columns(int64_t depth, const float* __restrict a, int64_t row, const float* __restrict b,
                                    vf (&sum)[M][NV]) {
    int64_t k = 0;
    for (; k + lanes <= depth; k += lanes, b += NV * lanes * lanes) {
        vf av[M];
        for (int i = 0; i < M; ++i) av[i] = load(a + i * row + k);
        gemm_column<0>(av, b, sum), gemm_column<1>(av, b, sum), gemm_column<2>(av, b, sum), gemm_column<3>(av, b, sum);
    }
    return k;
}
#endif

template <int M, int NV>
RFACONV_INLINE void gemm_block(int64_t depth, const float* __restrict a, int64_t row, int64_t step, const float* __restrict b,
                               float* __restrict c, int64_t c_row, bool accumulate) {
    vf sum[M][NV];
    for (int i = 0; i < M; ++i)
        for (int v = 0; v < NV; ++v) sum[i][v] = zero();
    // One pointer for three rows: x86 addresses reach row and 2*row beyond it without further registers.
    const float* p[(M + 2) / 3];
    for (int i = 0; i < (M + 2) / 3; ++i) p[i] = a + 3 * i * row;
    int64_t k = 0;
#if defined(__aarch64__) && !defined(RFACONV_SCALAR)
    if (step == 1) k = gemm_columns<M, NV>(depth, a, row, b, sum), b += k * NV * lanes;
#endif
    RFACONV_UNROLL_4
    for (; k < depth; ++k) {
        vf bv[NV];
        for (int v = 0; v < NV; ++v) bv[v] = load(b + v * lanes);
        for (int i = 0; i < M; ++i) {
            const vf av = set1(p[i / 3][(i % 3) * row + k * step]);
            for (int v = 0; v < NV; ++v) sum[i][v] = fma(av, bv[v], sum[i][v]);
        }
        b += NV * lanes;
    }
    // Added at the end: a long sum over many calls errs like its parts, not like one chain through all of it.
    if (accumulate)
        for (int i = 0; i < M; ++i)
            for (int v = 0; v < NV; ++v) sum[i][v] = sum[i][v] + load(c + i * c_row + v * lanes);
    for (int i = 0; i < M; ++i)
        for (int v = 0; v < NV; ++v) store(c + i * c_row + v * lanes, sum[i][v]);
}

template <int M, int NV>
static __attribute__((noinline)) void gemm_fixed(int64_t depth, const float* a, int64_t row, int64_t step, const float* b,
                                                 float* c, int64_t c_row, bool accumulate) {
    if (step == 1)
        gemm_block<M, NV>(depth, a, row, 1, b, c, c_row, accumulate);
    else
        gemm_block<M, NV>(depth, a, row, step, b, c, c_row, accumulate);
}

// between() is called before every block of rows: a place to fetch what comes later.
template <int NV, class Between>
inline void gemm_rows(int64_t rows, int64_t depth, const float* a, int64_t row, int64_t step, const float* b, float* c,
                      int64_t c_row, bool accumulate, Between& between) {
    for (; rows >= block_rows; rows -= block_rows, a += block_rows * row, c += block_rows * c_row) {
        between();
        gemm_fixed<block_rows, NV>(depth, a, row, step, b, c, c_row, accumulate);
    }
    if (rows >= 4) {
        gemm_fixed<4, NV>(depth, a, row, step, b, c, c_row, accumulate);
        rows -= 4, a += 4 * row, c += 4 * c_row;
    }
    if (rows >= 2) {
        gemm_fixed<2, NV>(depth, a, row, step, b, c, c_row, accumulate);
        rows -= 2, a += 2 * row, c += 2 * c_row;
    }
    if (rows >= 1) gemm_fixed<1, NV>(depth, a, row, step, b, c, c_row, accumulate);
}

template <class Between>
inline void gemm_strip(int64_t rows, int64_t depth, const float* a, int64_t row, int64_t step, const float* b, int64_t nv,
                       float* c, int64_t c_row, bool accumulate, Between& between) {
    switch (nv) {
#if !defined(__aarch64__) || defined(RFACONV_SCALAR)
        case 3: return gemm_rows<3>(rows, depth, a, row, step, b, c, c_row, accumulate, between);
#endif
        case 2: return gemm_rows<2>(rows, depth, a, row, step, b, c, c_row, accumulate, between);
        default: return gemm_rows<1>(rows, depth, a, row, step, b, c, c_row, accumulate, between);
    }
}

inline void gemm_strip(int64_t rows, int64_t depth, const float* a, int64_t row, int64_t step, const float* b, int64_t nv,
                       float* c, int64_t c_row, bool accumulate) {
    struct {
        void operator()() {}
    } nothing;
    gemm_strip(rows, depth, a, row, step, b, nv, c, c_row, accumulate, nothing);
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

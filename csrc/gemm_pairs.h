// The product of gemm.h for pairs of bfloat16, summed in float32:
//
//     c[i][n] (+)= sum_k dot(a[i*row + k], b[k][n]),     n < nv * lanes,  nv = 1 .. 2
//
// a and b hold a pair in the place of each float. Rows of a come in sixteens, and so do pairs: what is missing is zero.
#ifndef RFACONV_GEMM_PAIRS_H
#define RFACONV_GEMM_PAIRS_H

#include "tiles.h"

namespace rfaconv {
namespace RFACONV_ISA {

// By vectors: M rows of a at once.
template <int M, int NV>
static __attribute__((noinline)) void dot_block(int64_t depth, const float* a, int64_t row, const float* b, float* c, int64_t c_row,
                                                bool accumulate) {
    vf sum[M][NV];
    for (int i = 0; i < M; ++i)
        for (int v = 0; v < NV; ++v) sum[i][v] = zero();
    for (int64_t k = 0; k < depth; ++k, b += NV * lanes) {
        vp bv[NV];
        for (int v = 0; v < NV; ++v) bv[v] = load_pairs(b + v * lanes);
        for (int i = 0; i < M; ++i) {
            const vp av = set1_pairs(a + i * row + k);
            for (int v = 0; v < NV; ++v) sum[i][v] = dot(sum[i][v], av, bv[v]);
        }
    }
    for (int i = 0; i < M; ++i)
        for (int v = 0; v < NV; ++v) {
            float* const at = c + i * c_row + v * lanes;
            store(at, accumulate ? sum[i][v] + load(at) : sum[i][v]);
        }
}

// By tiles: M sixteens of rows of a, N vectors of b. Sums in tiles 0 to 3, a in 4 and 5, b in 6 and 7: each is used twice.
template <int M, int N>
static __attribute__((noinline)) void tile_block(int64_t depth, const float* a, int64_t row, const float* b, float* c, int64_t c_row,
                                                 bool accumulate) {
    const int64_t a_step = row * 4, b_step = N * lanes * 4, c_step = c_row * 4;
    float* const below = c + tile_rows * c_row;
    if (accumulate) {
        RFACONV_TILE_LOAD(0, c, c_step);
        if (N > 1) RFACONV_TILE_LOAD(1, c + lanes, c_step);
        if (M > 1) RFACONV_TILE_LOAD(2, below, c_step);
        if (M > 1 && N > 1) RFACONV_TILE_LOAD(3, below + lanes, c_step);
    } else {
        RFACONV_TILE_ZERO(0);
        RFACONV_TILE_ZERO(1);
        RFACONV_TILE_ZERO(2);
        RFACONV_TILE_ZERO(3);
    }
    for (int64_t k = 0; k < depth; k += tile_rows, a += tile_rows, b += tile_rows * N * lanes) {
        RFACONV_TILE_LOAD(4, a, a_step);
        RFACONV_TILE_LOAD(6, b, b_step);
        RFACONV_TILE_DOT(0, 4, 6);
        if (N > 1) {
            RFACONV_TILE_LOAD(7, b + lanes, b_step);
            RFACONV_TILE_DOT(1, 4, 7);
        }
        if (M > 1) {
            RFACONV_TILE_LOAD(5, a + tile_rows * row, a_step);
            RFACONV_TILE_DOT(2, 5, 6);
            if (N > 1) RFACONV_TILE_DOT(3, 5, 7);
        }
    }
    RFACONV_TILE_STORE(0, c, c_step);
    if (N > 1) RFACONV_TILE_STORE(1, c + lanes, c_step);
    if (M > 1) RFACONV_TILE_STORE(2, below, c_step);
    if (M > 1 && N > 1) RFACONV_TILE_STORE(3, below + lanes, c_step);
}

enum : int64_t { pair_block = 2 * tile_rows };

template <int NV, class Between>
inline void gemm_pairs_rows(bool tiles, int64_t rows, int64_t depth, const float* a, int64_t row, const float* b, float* c, int64_t c_row,
                            bool accumulate, Between& between) {
    for (int64_t i = 0, n; i < rows; i += n, a += n * row, c += n * c_row) {
        n = imin(pair_block, rows - i);
        between();
        if (!tiles)
            for (int64_t r = 0; r < n; r += 8) dot_block<8, NV>(depth, a + r * row, row, b, c + r * c_row, c_row, accumulate);
        else if (n == pair_block)
            tile_block<2, NV>(depth, a, row, b, c, c_row, accumulate);
        else
            tile_block<1, NV>(depth, a, row, b, c, c_row, accumulate);
    }
}

// between() is called before every block of rows: a place to fetch what comes later.
template <class Between>
inline void gemm_pairs(bool tiles, int64_t rows, int64_t depth, const float* a, int64_t row, const float* b, int64_t nv, float* c,
                       int64_t c_row, bool accumulate, Between& between) {
    if (nv == 2)
        gemm_pairs_rows<2>(tiles, rows, depth, a, row, b, c, c_row, accumulate, between);
    else
        gemm_pairs_rows<1>(tiles, rows, depth, a, row, b, c, c_row, accumulate, between);
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

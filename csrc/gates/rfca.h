// RFCA: gate_j = row[b,c,kh*h + j/kw] * col[b,c,kw*w + j%kw].
#ifndef RFACONV_GATES_RFCA_H
#define RFACONV_GATES_RFCA_H

#include "../features.h"
#include "../window.h"

namespace rfaconv {
namespace RFACONV_ISA {

// Square kernels only: T = K*K.
template <int T>
struct RfcaGate {
    enum : int { K = T == 1 ? 1 : T == 9 ? 3 : 5 };

    // K lines of row values and K of column values for the pixels of a tile, and one column line in kw parts
    static int64_t tile_floats(const Shape& s, int64_t pixels) {
        return 2 * K * (round_up(pixels, lanes) + 2 * s.Wo + 2 * lanes) + K * round_up(s.Wo + lanes, 16);
    }
    static int64_t prepared_floats(const Shape&) { return 0; }
    static void prepare(const Shape&, const rfaconv_gate*, float*) {}

    RfcaGate(const Shape& shape, const rfaconv_gate* gate, const float*)
        : s(shape), row(gate->a), col(gate->b), tile(nullptr), lines(nullptr), stride(0), spread(nullptr) {}

    void begin_tile(const Tile& t, float* memory) {
        tile = &t;
        stride = t.vectors * lanes + 2 * s.Wo + 2 * lanes;
        lines = memory, spread = memory + 2 * K * stride;
    }

    // Rows of the image are written whole, from the first that the tile touches: what lies before the tile's first pixel
    // lands in the Wo floats kept free for it; what a vector store writes too much, the next row overwrites.
    void begin_channel(int64_t c) {
        const int64_t spread_stride = round_up(s.Wo + lanes, 16);
        for (int64_t k = 0; k < tile->spans; ++k) {
            const Span& span = tile->span[k];
            const float* from_col = col + (span.image * s.C + c) * K * s.Wo;
            const float* from_row = row + (span.image * s.C + c) * K * s.Ho;
            for (int64_t w = 0; w < s.Wo; ++w)
                for (int d = 0; d < K; ++d) spread[d * spread_stride + w] = from_col[w * K + d];
            for (int64_t r = 0; r < span.rows; ++r) {
                const int64_t h = span.first_row + r;
                const int64_t at = (span.image * s.Ho + h) * s.Wo - tile->begin + s.Wo;
                for (int d = 0; d < K; ++d) {
                    const vf value = set1(from_row[h * K + d]);
                    float* row_line = lines + d * stride + at;
                    float* col_line = lines + (K + d) * stride + at;
                    for (int64_t w = 0; w < s.Wo; w += lanes) {
                        store(row_line + w, value);
                        store(col_line + w, load(spread + d * spread_stride + w));
                    }
                }
            }
        }
    }

    RFACONV_METHOD void apply(vf* a, const vf* u, const FeatureWeights<T>& w, int64_t v) const {
        const float* q = lines + s.Wo + v * lanes;
        vf across[K];
        RFACONV_UNROLL
        for (int d = 0; d < K; ++d) across[d] = load(q + (K + d) * stride);
        RFACONV_UNROLL
        for (int j = 0; j < T; ++j)
            a[j] = relu(feature_sum<T>(u, w, j)) * (load(q + j / K * stride) * across[j % K]);
    }

    const Shape& s;
    const float* row;
    const float* col;
    const Tile* tile;
    float* lines;
    int64_t stride;
    float* spread;
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

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

    // The column values of each channel, a line for each column of the window, which goes on from its beginning: a vector of pixels
    // may run into the next row. `lanes` floats before a line may be read.
    static int64_t line_floats(const Shape& s) { return round_up(s.Wo + 2 * lanes, 16); }
    static int64_t prepared_floats(const Shape& s) { return s.B * s.C * K * line_floats(s); }
    static void prepare(const Shape& s, const rfaconv_gate* gate, float* prepared) {
        const float* from = gate->b;
        for (int64_t i = 0; i < s.B * s.C; ++i, from += K * s.Wo)
            for (int d = 0; d < K; ++d, prepared += line_floats(s)) {
                float* const line = prepared + lanes;
                zero_floats(prepared, lanes);
                for (int64_t w = 0; w < s.Wo; ++w) line[w] = from[w * K + d];
                for (int64_t w = 0; w < lanes; ++w) line[s.Wo + w] = line[w];
            }
    }
    // K lines of row values for the pixels of a tile, and the column of the first pixel of each vector.
    static int64_t tile_floats(const Shape& s, int64_t pixels) {
        return K * (round_up(pixels, lanes) + 2 * s.Wo + 2 * lanes) + ceil_div(pixels, lanes);
    }

    RfcaGate(const Shape& shape, const rfaconv_gate* gate, const float* prepared)
        : s(shape), row(gate->a), columns(prepared), channel(0), tile(nullptr), lines(nullptr), stride(0), column(nullptr) {}

    void begin_tile(const Tile& t, float* memory) {
        tile = &t;
        stride = t.vectors * lanes + 2 * s.Wo + 2 * lanes;
        lines = memory, column = reinterpret_cast<int32_t*>(memory + K * stride);
        for (int64_t v = 0; v < t.vectors; ++v) column[v] = int32_t((t.begin + v * lanes) % s.Wo);
    }

    // Rows of the image are written whole, from the first that the tile touches: what lies before the tile's first pixel
    // lands in the Wo floats kept free for it; what a vector store writes too much, the next row overwrites.
    void begin_channel(int64_t c) {
        channel = c;
        const int64_t width = s.Wo, step = stride;  // a vector store may change any member
        for (int64_t k = 0; k < tile->spans; ++k) {
            const Span& span = tile->span[k];
            const float* const from = row + (span.image * s.C + c) * K * s.Ho;
            float* to = lines + (span.image * s.Ho + span.first_row + 1) * s.Wo - tile->begin;
            for (int64_t h = span.first_row; h < span.first_row + span.rows; ++h, to += width) {
                vf value[K];
                RFACONV_UNROLL
                for (int d = 0; d < K; ++d) value[d] = set1(from[h * K + d]);
                for (int64_t w = 0; w < width; w += lanes)
                    RFACONV_UNROLL
                    for (int d = 0; d < K; ++d) store(to + d * step + w, value[d]);
            }
        }
    }

    // Row values of window row d, and column values of window column d, at the pixels of vector v.
    RFACONV_METHOD vf down(int64_t v, int d) const { return load(lines + d * stride + s.Wo + v * lanes); }
    RFACONV_METHOD vf across(int64_t v, int d) const {
        const Segment* part = tile->segment + tile->first_segment[v];
        const Segment* const stop = tile->segment + tile->first_segment[v + 1];
        vf value = load(line(part->image, d) + column[v]);
        for (++part; part < stop; ++part)
            value = blend(lanes_between(part->from, part->to), load(line(part->image, d) - part->from), value);
        return value;
    }

    template <int V, class Patches, class Put>
    RFACONV_METHOD void apply(const Patches& u, const float* g, const float* b, int64_t v, Put put) const {
        if constexpr (V > 1) {  // all in one image
            const float *at[V], *const rows = lines + s.Wo + v * lanes;
            const int64_t step = line_floats(s);
            RFACONV_UNROLL
            for (int i = 0; i < V; ++i) at[i] = line(tile->segment[tile->first_segment[v]].image, 0) + column[v + i];
            features<T, V>(u, g, b, [=](int i, int first, int j, vf f) __attribute__((always_inline)) {
                put(i, first, j, f * (load(rows + first / K * stride + i * lanes) * load(at[i] + j * step)));
            });
        } else {
            vf value[K];
            RFACONV_UNROLL
            for (int d = 0; d < K; ++d) value[d] = across(v, d);
            features<T, V>(u, g, b, [=](int, int, int j, vf f) __attribute__((always_inline)) {
                put(0, 0, j, f * (down(v, j / K) * value[j % K]));
            });
        }
    }

private:
    RFACONV_METHOD const float* line(int64_t image, int d) const {
        return columns + ((image * s.C + channel) * K + d) * line_floats(s) + lanes;
    }

    const Shape& s;
    const float *row, *columns;
    int64_t channel;
    const Tile* tile;
    float* lines;
    int64_t stride;
    int32_t* column;
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

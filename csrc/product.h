// The product of a chunk in float32: every row of its panel is a tap of a channel, in floats.
#ifndef RFACONV_PRODUCT_H
#define RFACONV_PRODUCT_H

#include "gemm.h"
#include "parallel.h"
#include "plan.h"
#include "prefetch.h"
#include "weights.h"

namespace rfaconv {
namespace RFACONV_ISA {

// What a projection asks of a product:
//   channel_step     channels that must stay together
//   output_step      outputs that must
//   most_channels    of a chunk
//   cost             of one channel for one output, as Plan weighs it against panel_cost
//   rows(n)          rows of the panel of n channels
//   height(n)        rows of the sums of n outputs
//   blocks(n)        how often multiply() calls `ahead` for a strip
template <int taps>
struct FloatProduct {
    enum : int { T = taps };
    enum : int64_t { channel_step = 1, output_step = block_rows, most_channels = chunk_rows / T, cost = 9 };

    static int64_t rows(int64_t channels) { return channels * T; }
    static int64_t height(int64_t outputs) { return outputs; }
    static int64_t blocks(int64_t outputs) { return imax(1, outputs / block_rows); }
    // Weights that cannot be read in rows are packed before the tiles, by all threads; else each thread packs its own of a chunk.
    static int64_t packed_floats(const rfaconv_tensor& w, int64_t) { return Weights(w).by_channel ? 0 : w.size[0] * w.size[1] * T; }
    static int64_t chunk_floats(const rfaconv_tensor& w, const Plan& p) { return Weights(w).by_channel ? p.outputs * rows(p.channels) : 0; }

    FloatProduct(const rfaconv_tensor& tensor, int64_t chunk_channels, float* packed_)
        : weights(tensor), chunk(chunk_channels), packed(weights.by_channel ? nullptr : packed_) {}

    void pack(const Crew& crew) const {
        if (packed == nullptr) return;
        const int64_t outputs = weights.w.size[0];
        weights.pack_chunks(packed, outputs * crew.me / crew.size, outputs * (crew.me + 1) / crew.size, chunk);
        crew.barrier();
    }

    template <class Gate>
    void panel(float* out, int64_t n, const Shape& s, const Tile& t, Gate& gate, float* planes, const float* g,
               const float* bias, int64_t first, int64_t from, int64_t to) const {
        make_panel<T>(out, rows(n), weights.order(n), s, t, gate, planes, g, bias, first, from, to - from);
    }

    // What multiply() will read for outputs first .. first + count - 1 and channels c .. c + n - 1.
    Stream stream(int64_t first, int64_t count, int64_t c, int64_t n) const {
        if (packed != nullptr) return packed_stream(packed + weights.chunk_offset(first, c, n), count * n * T);
        return direct() ? no_stream() : weight_stream(weights, first, count, c, n);
    }

    void multiply(const Tile& t, const float* panel, int64_t c, int64_t n, int64_t first, int64_t count, Ahead& ahead,
                  float* own_weights, float* sums) const {
        const int64_t depth = n * T;
        const float* w = own_weights;
        int64_t row = depth;
        if (packed != nullptr)
            w = packed + weights.chunk_offset(first, c, n);
        else if (direct())
            w = weights.at(first, c), row = weights.w.stride[0];
        else
            weights.pack(own_weights, first, count, c, n);
        for (int64_t strip = 0; strip < strip_count(t); ++strip) {
            const int64_t width = strip_width(t, strip);
            gemm_strip(count, depth, w, row, 1, panel + strip_offset(strip, depth), width / lanes, sums + strip_offset(strip, count),
                       width, c > 0, ahead);
        }
    }

private:
    // Weights are read where they are if all of them stay in the second-level cache.
    bool direct() const { return weights.direct() && weights.w.size[0] * weights.w.size[1] * T <= direct_floats; }

    Weights weights;
    int64_t chunk;
    float* packed;
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

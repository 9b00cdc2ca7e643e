// The product of a chunk in bfloat16: two channels share each row of its panel, a pair of numbers in the place of each float.
#ifndef RFACONV_PRODUCT_PAIRS_H
#define RFACONV_PRODUCT_PAIRS_H

#include "gemm_pairs.h"
#include "product.h"

namespace rfaconv {
namespace RFACONV_ISA {

// Row (channels 2c and 2c + 1, tap j) is c * by_channel + j * by_tap. Weights and panel are rounded to bfloat16, sums are not.
template <int taps>
struct PairProduct {
    enum : int { T = taps };
    // Rows of a whole chunk in sixteens without a gap where that is possible: 16 pairs of channels of a 3x3 kernel. An instruction
    // of AMX does 16 * 16 of what costs 9 halves in float32.
    enum : int64_t { channel_step = 2, output_step = tile_rows, most_channels = 2 * (144 / T), cost = 1 };

    static int64_t pairs(int64_t channels) { return ceil_div(channels, 2); }
    static int64_t rows(int64_t channels) { return round_up(pairs(channels) * T, tile_rows); }
    static int64_t height(int64_t outputs) { return round_up(outputs, tile_rows); }
    static int64_t blocks(int64_t outputs) { return ceil_div(outputs, pair_block); }
    static int64_t packed_floats(const rfaconv_tensor& w, int64_t chunk_channels) {
        return ceil_div(w.size[1], chunk_channels) * rows(chunk_channels) * height(w.size[0]);
    }
    static int64_t chunk_floats(const rfaconv_tensor&, const Plan&) { return 0; }

    PairProduct(const rfaconv_tensor& tensor, int64_t chunk_channels, float* packed_, bool tiles_)
        : weights(tensor), chunk(chunk_channels), packed(packed_), tiles(tiles_) {}

    // Rows of outputs that are not there are zeros, too: they are multiplied, and nobody reads the result.
    void pack(const Crew& crew) const {
        const int64_t outputs = weights.w.size[0], all = height(outputs), channels = weights.w.size[1];
        for (int64_t o = all * crew.me / crew.size; o < all * (crew.me + 1) / crew.size; ++o)
            for (int64_t c = 0; c < channels; c += chunk) {
                const int64_t n = imin(chunk, channels - c);
                float* const out = packed + offset(o, c, n);
                int64_t done = 0;
                if (o < outputs) pack_row(reinterpret_cast<uint16_t*>(out), o, c, n), done = pairs(n) * T;
                zero_floats(out + done, rows(n) - done);
            }
        crew.barrier();
    }

    template <class Gate>
    void panel(float* out, int64_t n, const Shape& s, const Tile& t, Gate& gate, float* planes, const float* g, const float* bias,
               int64_t first, int64_t from, int64_t to) const {
        const RowOrder by = order(n);
        const int64_t depth = rows(n), strips = strip_count(t);
        for (int64_t c = from; c < to; ++c) {
            const int64_t at = c - from;
            gate.begin_channel(first + at);
            float* const unmasked = planes + (to - from) * t.channel_stride;
            unmask<T>(unmasked, planes + at * t.channel_stride, s, t);
            const PatchReader<T> patch(planes + at * t.channel_stride, t, unmasked);
            for (int64_t strip = 0; strip < strips; ++strip) {
                const int64_t width = strip_width(t, strip);
                float* const to_row = out + strip_offset(strip, depth) + c / 2 * by.by_channel * width;
                feature_blocks<T>(t, strip * strip_vectors, width / lanes, [&](auto count, int64_t v) __attribute__((always_inline)) {
                    constexpr int V = decltype(count)::value;
                    // The even channel waits as floats for the odd one.
                    const auto put = [=](int i, int first_tap, int j, vf a) __attribute__((always_inline)) {
                        float* const to_tap = to_row + (first_tap + j) * by.by_tap * width + (v + i - strip * strip_vectors) * lanes;
                        if (c % 2 == 0)
                            store(to_tap, a);
                        else
                            store_pairs(to_tap, pair(load(to_tap), a));
                    };
                    gate.template apply<V>(patch.template at<V>(v), g + at * T * T, bias + at * T, v, put);
                });
            }
        }
        if (to < n) return;
        for (int64_t strip = 0; strip < strips; ++strip) {
            const int64_t width = strip_width(t, strip);
            float* const strip_rows = out + strip_offset(strip, depth);
            if (n % 2 == 1)
                for (int j = 0; j < T; ++j)
                    for (int64_t v = 0; v < width; v += lanes) {
                        float* const alone = strip_rows + (n / 2 * by.by_channel + j * by.by_tap) * width + v;
                        store_pairs(alone, pair(load(alone), zero()));
                    }
            zero_floats(strip_rows + pairs(n) * T * width, (depth - pairs(n) * T) * width);
        }
    }

    Stream stream(int64_t first, int64_t count, int64_t c, int64_t n) const {
        return packed_stream(packed + offset(first, c, n), height(count) * rows(n));
    }

    void multiply(const Tile& t, const float* panel, int64_t c, int64_t n, int64_t first, int64_t count, Ahead& ahead, float*,
                  float* sums) const {
        const TileSession session(tiles);
        const int64_t depth = rows(n), high = height(count);
        for (int64_t strip = 0; strip < strip_count(t); ++strip) {
            const int64_t width = strip_width(t, strip);
            gemm_pairs(tiles, high, depth, packed + offset(first, c, n), depth, panel + strip_offset(strip, depth), width / lanes,
                       sums + strip_offset(strip, high), width, c > 0, ahead);
        }
    }

private:
    RowOrder order(int64_t channels) const { return weights.by_tap ? RowOrder{1, pairs(channels)} : RowOrder{T, 1}; }
    // Of output o in the chunk of n channels that begins with c.
    int64_t offset(int64_t o, int64_t c, int64_t n) const {
        return c / chunk * rows(chunk) * height(weights.w.size[0]) + o * rows(n);
    }
    void pack_row(uint16_t* out, int64_t o, int64_t c, int64_t n) const {
        const rfaconv_tensor& w = weights.w;
        const uint16_t* const from = static_cast<const uint16_t*>(w.data) + o * w.stride[0] + c * w.stride[1];
        if (weights.by_channel) {
            for (int64_t i = 0; i < n; i += 2) {
                const uint16_t* const even = from + i * T;
                interleave(out + i * T, even, i + 1 < n ? even + T : nullptr, T);
            }
        } else if (weights.by_tap) {
            for (int64_t j = 0; j < T; ++j, out += 2 * pairs(n)) {
                memcpy(out, from + j * w.stride[3], size_t(n) * 2);
                if (n % 2 == 1) out[n] = 0;
            }
        } else {
            for (int64_t k = 0; k < pairs(n) * T; ++k)
                for (int64_t h = 0; h < 2; ++h) {
                    const int64_t i = k / T * 2 + h, j = k % T;
                    out[2 * k + h] = i < n ? from[i * w.stride[1] + j / w.size[3] * w.stride[2] + j % w.size[3] * w.stride[3]] : uint16_t(0);
                }
        }
    }

    Weights weights;
    int64_t chunk;
    float* packed;
    bool tiles;
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

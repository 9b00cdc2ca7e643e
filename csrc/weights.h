// The weights of a chunk of channels as float32 rows, in the order in which the panel's rows are wanted.
#ifndef RFACONV_WEIGHTS_H
#define RFACONV_WEIGHTS_H

#include "panel.h"

namespace rfaconv {
namespace RFACONV_ISA {

struct Weights {
    explicit Weights(const rfaconv_tensor& tensor) : w(tensor), T(w.size[2] * w.size[3]) {
        const bool rows = w.stride[3] == 1 && w.stride[2] == w.size[3];
        by_channel = rows && w.stride[1] == T;
        by_tap = !by_channel && w.stride[1] == 1 && w.stride[2] == w.size[3] * w.stride[3];
    }

    RowOrder order(int64_t channels) const { return by_tap ? RowOrder{1, channels} : RowOrder{T, 1}; }
    // Rows can be read where they are.
    bool direct() const { return by_channel && w.dtype == RFACONV_F32; }
    const float* at(int64_t o, int64_t c) const { return static_cast<const float*>(w.data) + o * w.stride[0] + c * w.stride[1]; }

    // out[i][row] = weight of output o + i and the panel row `row` of channels c .. c + n - 1
    void pack(float* out, int64_t o, int64_t count, int64_t c, int64_t n) const {
        const int64_t depth = n * T;
        for (int64_t i = 0; i < count; ++i, out += depth) {
            const int64_t base = (o + i) * w.stride[0] + c * w.stride[1];
            if (by_channel)
                copy(out, base, depth);
            else if (by_tap)
                for (int64_t j = 0; j < T; ++j) copy(out + j * n, base + j * w.stride[3], n);
            else
                for (int64_t k = 0; k < depth; ++k)
                    copy(out + k, base + k / T * w.stride[1] + k % T / w.size[3] * w.stride[2] + k % T % w.size[3] * w.stride[3], 1);
        }
    }

    // All of outputs from .. to - 1, chunk after chunk of `channels` channels: the weights of a chunk, [outputs][rows], follow each
    // other. The rows of one chunk of channels-last weights often lie a power of two apart, so read chunk by chunk they push
    // each other out of every cache.
    void pack_chunks(float* out, int64_t from, int64_t to, int64_t channels) const {
        for (int64_t o = from; o < to; ++o)
            for (int64_t c = 0; c < w.size[1]; c += channels) {
                const int64_t n = imin(channels, w.size[1] - c);
                pack(out + chunk_offset(o, c, n), o, 1, c, n);
            }
    }
    int64_t chunk_offset(int64_t o, int64_t c, int64_t n) const { return (c * w.size[0] + o * n) * T; }

    const rfaconv_tensor& w;
    int64_t T;
    bool by_channel, by_tap;

private:
    void copy(float* out, int64_t from, int64_t n) const {
        int64_t i = 0;
        if (w.dtype == RFACONV_BF16) {
            const uint16_t* p = static_cast<const uint16_t*>(w.data) + from;
            for (; i + lanes <= n; i += lanes) store(out + i, load_bf16(p + i));
            for (; i < n; ++i) out[i] = bf16_to_float(p[i]);
        } else {
            const float* p = static_cast<const float*>(w.data) + from;
            for (; i + lanes <= n; i += lanes) store(out + i, load(p + i));
            for (; i < n; ++i) out[i] = p[i];
        }
    }
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

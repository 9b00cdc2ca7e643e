// Fetches the inputs and weights of the next chunk into the second-level cache while the product of this one runs: they lie
// in short pieces on many pages, which the hardware does not foresee.
#ifndef RFACONV_PREFETCH_H
#define RFACONV_PREFETCH_H

#include "weights.h"
#include "window.h"

namespace rfaconv {
namespace RFACONV_ISA {

enum : int64_t { cache_line = 64 };

// Pieces of memory as two nested counts: runs of `lines` addresses, `step` bytes apart; runs `run_step` bytes apart.
struct Stream {
    const char* at;
    int64_t runs, lines, step, run_step;
    int64_t line;

    RFACONV_METHOD int64_t total() const { return runs * lines; }
    // The next n addresses.
    template <bool write = false>
    RFACONV_METHOD void advance(int64_t n) {
        const char* p = at + line * step;
        for (; n > 0 && runs > 0; --n) {
            __builtin_prefetch(p, write, 2);
            p += step;
            if (++line == lines) {
                line = 0, --runs;
                at += run_step;
                p = at;
            }
        }
    }
};

inline Stream no_stream() { return Stream{nullptr, 0, 0, 0, 0, 0}; }

inline Stream weight_stream(const Weights& weights, int64_t o, int64_t count, int64_t c, int64_t n) {
    const rfaconv_tensor& w = weights.w;
    const int64_t size = w.dtype == RFACONV_F32 ? 4 : 2;
    const char* at = static_cast<const char*>(w.data) + (o * w.stride[0] + c * w.stride[1]) * size;
    if (weights.by_channel) return Stream{at, count, ceil_div(n * weights.T * size, cache_line), cache_line, w.stride[0] * size, 0};
    return no_stream();
}
// n floats in one piece.
inline Stream packed_stream(const float* at, int64_t n) {
    return Stream{reinterpret_cast<const char*>(at), 1, ceil_div(n * 4, cache_line), cache_line, 0, 0};
}

// Channels c .. c + n - 1 as pixels begin .. end - 1 need them, in their first image (of later images the hardware finds
// the like).
inline Stream input_stream(const rfaconv_tensor& x, const Shape& s, int64_t begin, int64_t end, int64_t c, int64_t n) {
    const int64_t size = x.dtype == RFACONV_F32 ? 4 : 2, image_pixels = s.Ho * s.Wo;
    const int64_t image = begin / image_pixels, first = begin % image_pixels / s.Wo;
    const int64_t last = imin(end - 1 - image * image_pixels, image_pixels - 1) / s.Wo;
    const int64_t from = imax(0, imin(s.H - 1, first * s.sh - s.ph));
    const int64_t to = imax(from + 1, imin(s.H, last * s.sh + (s.kh - 1) * s.dh - s.ph + 1));
    const char* at = static_cast<const char*>(x.data) + (image * x.stride[0] + c * x.stride[1] + from * x.stride[2]) * size;
    if (x.stride[3] == 1 && x.stride[2] == s.W)
        return Stream{at, n, ceil_div((to - from) * s.W * size, cache_line), cache_line, x.stride[1] * size, 0};
    if (x.stride[1] == 1 && x.stride[2] == s.W * x.stride[3])
        return Stream{at, (to - from) * s.W, ceil_div(n * size, cache_line), cache_line, x.stride[3] * size, 0};
    return no_stream();
}

inline Stream input_stream(const rfaconv_tensor& x, const Shape& s, const Tile& t, int64_t c, int64_t n) {
    return input_stream(x, s, t.begin, t.end, c, n);
}

// Outputs first .. first + count - 1 of a tile, in its first image.
inline Stream output_stream(const rfaconv_tensor& y, const Tile& t, int64_t first, int64_t count) {
    const int64_t size = y.dtype == RFACONV_F32 ? 4 : 2, image_pixels = y.size[2] * y.size[3];
    const int64_t image = t.begin / image_pixels, p = t.begin % image_pixels, n = imin(t.end - t.begin, image_pixels - p);
    if (y.stride[2] != y.size[3] * y.stride[3]) return no_stream();
    const char* at = static_cast<const char*>(y.data) + (image * y.stride[0] + p * y.stride[3] + first * y.stride[1]) * size;
    if (y.stride[3] == 1) return Stream{at, count, ceil_div(n * size, cache_line), cache_line, y.stride[1] * size, 0};
    if (y.stride[1] == 1) return Stream{at, n, ceil_div(count * size, cache_line), cache_line, y.stride[3] * size, 0};
    return no_stream();
}

// What to fetch before each block of rows of a product.
struct Ahead {
    Stream weights, inputs, outputs;
    int64_t weight_quota, input_quota, output_quota;

    void start(const Stream& w, const Stream& i, const Stream& o, int64_t blocks) {
        weights = w, inputs = i, outputs = o;
        weight_quota = ceil_div(w.total(), blocks), input_quota = ceil_div(i.total(), blocks);
        output_quota = ceil_div(o.total(), blocks);
    }
    RFACONV_METHOD void operator()() {
        weights.advance(weight_quota);
        inputs.advance(input_quota);
        outputs.advance<true>(output_quota);
    }
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

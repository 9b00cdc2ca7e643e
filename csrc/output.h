// Writes the sums of a tile to y, with the bias, in y's layout and type.
#ifndef RFACONV_OUTPUT_H
#define RFACONV_OUTPUT_H

#include "panel.h"

namespace rfaconv {
namespace RFACONV_ISA {

struct Output {
    Output(const rfaconv_tensor& tensor, const float* bias_) : y(tensor), bias(bias_) {
        // pixels of an image at one distance from each other
        const bool even = y.stride[2] == y.stride[3] * y.size[3];
        planar = even && y.stride[3] == 1;
        last = even && y.stride[1] == 1;
    }

    // sums: strips of [height][width], of which outputs first .. first + count - 1 are written
    void write(const Tile& t, const float* sums, int64_t height, int64_t first, int64_t count) const {
        for (int64_t strip = 0; strip < strip_count(t); ++strip) {
            const int64_t width = strip_width(t, strip);
            const float* from = sums + strip_offset(strip, height);
            for (int64_t v = 0; v < width / lanes; ++v) write_vector(t, strip * strip_vectors + v, from + v * lanes, width, first, count);
        }
    }

    const rfaconv_tensor& y;
    const float* bias;  // per output, zeros where there is none
    bool planar, last;

private:
    void write_vector(const Tile& t, int64_t v, const float* sums, int64_t width, int64_t first, int64_t count) const {
        const int64_t image_pixels = y.size[2] * y.size[3];
        for (int64_t k = t.first_segment[v]; k < t.first_segment[v + 1]; ++k) {
            const Segment& part = t.segment[k];
            const int64_t p = t.begin + v * lanes - part.image * image_pixels;  // of lane 0, within the image
            const int64_t base = part.image * y.stride[0] + first * y.stride[1];
            int64_t o = 0;
            if (planar && y.dtype == RFACONV_F32) {
                float* out = static_cast<float*>(y.data) + base + p;
                const bool whole = part.from == 0 && part.to == lanes;
                const vm m = lanes_between(part.from, part.to);
                for (; o < count; ++o, out += y.stride[1]) {
                    const vf value = load(sums + o * width) + set1(bias[first + o]);
                    if (whole)
                        store(out, value);
                    else
                        store_mask(out, value, m);
                }
            } else if (last) {
                for (; o + lanes <= count; o += lanes) {
                    vf r[lanes];
                    const vf b = load(bias + first + o);
                    for (int64_t i = 0; i < lanes; ++i) r[i] = load(sums + (o + i) * width);
                    transpose(r);
                    for (int64_t l = part.from; l < part.to; ++l) {
                        const int64_t at = base + o + (p + l) * y.stride[3];
                        if (y.dtype == RFACONV_F32)
                            store(static_cast<float*>(y.data) + at, r[l] + b);
                        else
                            store_bf16(static_cast<uint16_t*>(y.data) + at, r[l] + b);
                    }
                }
            } else if (planar && part.from == 0 && part.to == lanes) {
                uint16_t* out = static_cast<uint16_t*>(y.data) + base + p;
                for (; o < count; ++o, out += y.stride[1]) store_bf16(out, load(sums + o * width) + set1(bias[first + o]));
            }
            for (; o < count; ++o)
                for (int64_t l = part.from; l < part.to; ++l) {
                    const int64_t q = p + l;
                    const int64_t at = base + o * y.stride[1] + q / y.size[3] * y.stride[2] + q % y.size[3] * y.stride[3];
                    const float value = sums[o * width + l] + bias[first + o];
                    if (y.dtype == RFACONV_F32)
                        static_cast<float*>(y.data)[at] = value;
                    else
                        static_cast<uint16_t*>(y.data)[at] = float_to_bf16(value);
                }
        }
    }
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

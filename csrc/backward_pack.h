// Operands of the two products of the backward pass, packed for gemm_strip: dy by pixels and by outputs, and the weights turned.
#ifndef RFACONV_BACKWARD_PACK_H
#define RFACONV_BACKWARD_PACK_H

#include "channel_rows.h"
#include "chunks.h"
#include "gemm.h"

namespace rfaconv {
namespace RFACONV_ISA {

// `vectors` vectors in strips of nearly equal width, at most strip_vectors each.
struct Strips {
    int64_t vectors, count;
    explicit Strips(int64_t n) : vectors(n), count(ceil_div(n, strip_vectors)) {}
    int64_t first(int64_t i) const { return vectors * i / count; }
    int64_t width(int64_t i) const { return first(i + 1) - first(i); }
    // The strip of a vector.
    int64_t of(int64_t v) const { return ((v + 1) * count - 1) / vectors; }
};

// One vector of `n` live values at p, `step` apart.
template <class V>
RFACONV_INLINE vf load_step(const V* p, int64_t step, int64_t n) {
    if (step == 1) return load_some(p, n);
    float part[lanes] = {0};
    for (int64_t i = 0; i < imin(n, lanes); ++i) part[i] = to_float(p[i * step]);
    return load(part);
}

// dy of a tile's pixels: by_pixel, strips of pixel vectors [O][width]; by_output, strips of output vectors [pixels][width].
// Zeros in the lanes beyond the last pixel and the last output. Either may be null.
template <class V>
static void pack_dy(const rfaconv_tensor& dy, const Tile& t, const V* data, float* by_pixel, float* by_output) {
    const int64_t outputs = dy.size[1], plane = dy.size[2] * dy.size[3], pixels = t.end - t.begin;
    const Strips pixel_strips(t.vectors), output_strips(ceil_div(outputs, lanes));
    const bool dense = dy.stride[2] == dy.size[3] * dy.stride[3];
    const bool turned = dense && dy.stride[1] == 1 && outputs > 1;  // outputs are adjacent in memory
    const int64_t so = dy.stride[1], sp = dy.stride[3];
    for (int64_t v = 0; v < t.vectors; ++v) {
        const int64_t strip = pixel_strips.of(v), width = pixel_strips.width(strip) * lanes;
        float* const to_pixel =
            by_pixel == nullptr ? nullptr : by_pixel + pixel_strips.first(strip) * lanes * outputs + (v - pixel_strips.first(strip)) * lanes;
        for (int64_t o = 0; o < outputs; o += lanes) {
            const int64_t n = imin(lanes, outputs - o);
            vf r[lanes];  // outputs o .. of the vector's pixels
            for (int64_t i = 0; i < lanes; ++i) r[i] = zero();
            for (int64_t k = t.first_segment[v]; k < t.first_segment[v + 1]; ++k) {
                const Segment& part = t.segment[k];
                const int64_t p = t.begin + v * lanes - part.image * plane;  // of lane 0, within the image
                const V* const base = data + part.image * dy.stride[0] + o * so;
                if (turned) {
                    for (int64_t l = part.from; l < part.to; ++l) r[l] = load_some(base + (p + l) * sp, n);
                } else if (dense) {
                    const vm m = lanes_between(part.from, part.to);
                    const int64_t live = part.to - part.from;
                    for (int64_t i = 0; i < n; ++i) {
                        if (live == lanes) {
                            r[i] = load_step(base + i * so + p * sp, sp, lanes);
                            continue;
                        }
                        float line[lanes] = {0};
                        for (int64_t l = part.from; l < part.to; ++l) line[l] = to_float(base[i * so + (p + l) * sp]);
                        r[i] = blend(m, load(line), r[i]);
                    }
                } else {
                    for (int64_t i = 0; i < n; ++i) {
                        float line[lanes];
                        store(line, r[i]);
                        for (int64_t l = part.from; l < part.to; ++l) {
                            const int64_t q = p + l;
                            line[l] = to_float(base[i * so + q / dy.size[3] * dy.stride[2] + q % dy.size[3] * sp]);
                        }
                        r[i] = load(line);
                    }
                }
            }
            // r holds rows of outputs, or of pixels when turned; each packing wants one of the two.
            for (int pass = 0; pass < 2; ++pass) {
                const bool rows_are_pixels = turned == (pass == 0);
                if (pass == 1) transpose(r);
                if (rows_are_pixels && by_output != nullptr) {
                    const int64_t at = o / lanes, s = output_strips.of(at), w = output_strips.width(s) * lanes;
                    float* const to = by_output + output_strips.first(s) * lanes * pixels + (at - output_strips.first(s)) * lanes;
                    for (int64_t l = 0; l < imin(lanes, pixels - v * lanes); ++l) store(to + (v * lanes + l) * w, r[l]);
                } else if (!rows_are_pixels && to_pixel != nullptr) {
                    for (int64_t i = 0; i < n; ++i) store(to_pixel + (o + i) * width, r[i]);
                }
            }
        }
    }
}

// out[(c*T + j)][o] = weight[o][first + c][j] for n channels: rows of `outputs` floats.
template <class V>
static void turn_weights(const rfaconv_tensor& w, const V* data, int64_t first, int64_t n, float* out) {
    const int64_t outputs = w.size[0], T = w.size[2] * w.size[3], rows = n * T;
    const bool by_row = w.stride[3] == 1 && w.stride[2] == w.size[3] && w.stride[1] == T;
    const bool by_tap = !by_row && w.stride[1] == 1 && w.stride[2] == w.size[3] * w.stride[3];
    const V* const base = data + first * w.stride[1];
    for (int64_t o = 0; o < outputs; o += lanes) {
        const int64_t m = imin(lanes, outputs - o);
        vf r[lanes];
        if (by_row) {
            for (int64_t k = 0; k < rows; k += lanes) {
                const int64_t live = imin(lanes, rows - k);
                for (int64_t i = 0; i < lanes; ++i) r[i] = i < m ? load_some(base + (o + i) * w.stride[0] + k, live) : zero();
                transpose(r);
                for (int64_t i = 0; i < live; ++i) store_some(out + (k + i) * outputs + o, r[i], m);
            }
        } else if (by_tap) {
            for (int64_t j = 0; j < T; ++j)
                for (int64_t c = 0; c < n; c += lanes) {
                    const int64_t live = imin(lanes, n - c);
                    for (int64_t i = 0; i < lanes; ++i)
                        r[i] = i < m ? load_some(base + (o + i) * w.stride[0] + j * w.stride[3] + c, live) : zero();
                    transpose(r);
                    for (int64_t i = 0; i < live; ++i) store_some(out + ((c + i) * T + j) * outputs + o, r[i], m);
                }
        } else {
            for (int64_t k = 0; k < rows; ++k)
                for (int64_t i = 0; i < m; ++i)
                    out[k * outputs + o + i] = to_float(base[(o + i) * w.stride[0] + k / T * w.stride[1] +
                                                             k % T / w.size[3] * w.stride[2] + k % w.size[3] * w.stride[3]]);
        }
    }
}

// dweight[o][from_row + k] = sums[k][o] for `rows` rows; rows of sums are padded to whole vectors, those of dweight `depth` long.
static void write_dweight(float* dweight, int64_t outputs, int64_t depth, int64_t from_row, int64_t rows, const float* sums) {
    const int64_t padded = round_up(outputs, lanes);
    for (int64_t o = 0; o < outputs; o += lanes)
        for (int64_t k = 0; k < rows; k += lanes) {
            const int64_t live = imin(lanes, rows - k);
            vf r[lanes];
            for (int64_t i = 0; i < lanes; ++i) r[i] = i < live ? load(sums + (k + i) * padded + o) : zero();
            transpose(r);
            for (int64_t i = 0; i < imin(lanes, outputs - o); ++i)
                store_some(dweight + (o + i) * depth + from_row + k, r[i], live);
        }
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

// Rows of the padded input with channels in the lanes: for a block of `lanes` channels, entry (column, lane) of a row holds
// the input times a scale less a shift per channel, and a chosen value where the row or column is padding. With channels in the lanes every
// pixel costs the same, so borders need no masks, and both memory formats look alike.
#ifndef RFACONV_CHANNEL_ROWS_H
#define RFACONV_CHANNEL_ROWS_H

#include "chunks.h"

namespace rfaconv {
namespace RFACONV_ISA {

RFACONV_INLINE float to_float(float v) { return v; }
RFACONV_INLINE float to_float(uint16_t v) { return bf16_to_float(v); }
RFACONV_INLINE void from_float(float v, float* to) { *to = v; }
RFACONV_INLINE void from_float(float v, uint16_t* to) { *to = float_to_bf16(v); }

RFACONV_INLINE vf load_some(const float* p, int64_t n) { return n >= lanes ? load(p) : load_first(p, n); }
RFACONV_INLINE vf load_some(const uint16_t* p, int64_t n) {
    if (n >= lanes) return load_bf16(p);
    uint16_t part[lanes] = {0};
    for (int64_t i = 0; i < n; ++i) part[i] = p[i];
    return load_bf16(part);
}
RFACONV_INLINE void store_some(float* p, vf v, int64_t n) { n >= lanes ? store(p, v) : store_first(p, v, n); }
RFACONV_INLINE void store_some(uint16_t* p, vf v, int64_t n) {
    if (n >= lanes) {
        store_bf16(p, v);
        return;
    }
    uint16_t part[lanes];
    store_bf16(part, v);
    for (int64_t i = 0; i < n; ++i) p[i] = part[i];
}

RFACONV_INLINE void store_line(float* p, const float* from, int64_t n) { copy_floats(p, from, n); }
RFACONV_INLINE void store_line(uint16_t* p, const float* from, int64_t n) {
    for (int64_t i = 0; i < n; i += lanes) store_some(p + i, load(from + i), n - i);
}

// Columns [0, n) of `channels` channels at p, each times scale less shift, to out[column*lanes + lane].
template <class T>
static void load_channels(const T* p, int64_t stride_c, int64_t stride_w, int64_t channels, int64_t n, const float* scale,
                          const float* shift, float* out) {
    const vf by = load(scale), s = load(shift);
    if (stride_c == 1) {
        for (int64_t w = 0; w < n; ++w) store(out + w * lanes, fms(load_some(p + w * stride_w, channels), by, s));
    } else if (stride_w == 1) {
        for (int64_t w = 0; w < n; w += lanes) {
            const int64_t columns = imin(lanes, n - w);
            vf r[lanes];
            for (int64_t c = 0; c < lanes; ++c) r[c] = c < channels ? load_some(p + c * stride_c + w, columns) : zero();
            transpose(r);
            for (int64_t i = 0; i < columns; ++i) store(out + (w + i) * lanes, fms(r[i], by, s));
        }
    } else {
        for (int64_t w = 0; w < n; ++w)
            for (int64_t c = 0; c < lanes; ++c)
                out[w * lanes + c] = (c < channels ? to_float(p[c * stride_c + w * stride_w]) : 0.0f) * scale[c] - shift[c];
    }
}

// The reverse: in[column*lanes + lane] to columns [0, n) of `channels` channels at p.
template <class T>
static void store_channels(const float* in, int64_t channels, int64_t n, T* p, int64_t stride_c, int64_t stride_w) {
    if (stride_c == 1) {
        for (int64_t w = 0; w < n; ++w) store_some(p + w * stride_w, load(in + w * lanes), channels);
    } else if (stride_w == 1) {
        for (int64_t w = 0; w < n; w += lanes) {
            const int64_t columns = imin(lanes, n - w);
            vf r[lanes];
            for (int64_t i = 0; i < lanes; ++i) r[i] = i < columns ? load(in + (w + i) * lanes) : zero();
            transpose(r);
            for (int64_t c = 0; c < channels; ++c) store_some(p + c * stride_c + w, r[c], columns);
        }
    } else {
        for (int64_t w = 0; w < n; ++w)
            for (int64_t c = 0; c < channels; ++c) from_float(in[w * lanes + c], p + c * stride_c + w * stride_w);
    }
}

// A block of channels of one image, read row by row.
struct ChannelRows {
    const rfaconv_tensor* x;
    int64_t pad_top, pad_left, width;  // width: columns of a padded row
    int64_t image = 0, channel = 0, channels = 0;
    alignas(64) float scale[lanes];  // a power of two: 1 but for values whose products float cannot hold
    alignas(64) float shift[lanes];
    alignas(64) float outside[lanes];  // the value of padding

    ChannelRows(const rfaconv_tensor* from, int64_t top, int64_t left, int64_t columns)
        : x(from), pad_top(top), pad_left(left), width(columns) {}
    void select(int64_t b, int64_t first_channel) {
        image = b;
        channel = first_channel;
        channels = imin(lanes, x->size[1] - first_channel);
    }
    // Row `row` of the padded plane to out (width*lanes).
    void read(int64_t row, float* out) const {
        const int64_t r = row - pad_top, in_width = x->size[3];
        const vf pad = load(outside);
        const bool inside = r >= 0 && r < x->size[2];
        const int64_t from = inside ? imin(pad_left, width) : width;
        const int64_t to = inside ? imin(width, pad_left + in_width) : width;
        for (int64_t w = 0; w < from; ++w) store(out + w * lanes, pad);
        for (int64_t w = to; w < width; ++w) store(out + w * lanes, pad);
        if (from >= to) return;
        const int64_t at = image * x->stride[0] + channel * x->stride[1] + r * x->stride[2];
        float* const first = out + from * lanes;
        if (x->dtype == RFACONV_F32)
            load_channels(static_cast<const float*>(x->data) + at, x->stride[1], x->stride[3], channels, to - from, scale, shift,
                          first);
        else
            load_channels(static_cast<const uint16_t*>(x->data) + at, x->stride[1], x->stride[3], channels, to - from, scale, shift,
                          first);
    }
};

// Input row r (all columns) from in (columns*lanes).
inline void write_channels(const float* in, rfaconv_tensor* y, int64_t image, int64_t channel, int64_t channels, int64_t r) {
    const int64_t at = image * y->stride[0] + channel * y->stride[1] + r * y->stride[2];
    if (y->dtype == RFACONV_F32)
        store_channels(in, channels, y->size[3], static_cast<float*>(y->data) + at, y->stride[1], y->stride[3]);
    else
        store_channels(in, channels, y->size[3], static_cast<uint16_t*>(y->data) + at, y->stride[1], y->stride[3]);
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

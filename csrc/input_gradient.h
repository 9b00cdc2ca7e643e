// dx from the gradients of patches: planes (window.h) of a chunk are folded to bands of input rows, and every row of dx is
// written once, when no later chunk adds to it. Rows shared with the next chunk of the image are carried over in float.
#ifndef RFACONV_INPUT_GRADIENT_H
#define RFACONV_INPUT_GRADIENT_H

#include "channel_rows.h"
#include "chunks.h"

namespace rfaconv {
namespace RFACONV_ISA {

class InputGradient {
public:
    // Memory of one thread that owns `channels` channels, in groups of `group`.
    InputGradient(Arena& arena, const Shape& shape, rfaconv_tensor* out, const Chunks& chunks, int64_t channels, int64_t group)
        : s(shape), dx(out), width(round_up(s.W + lanes, 16)) {
        const int64_t span = (s.kh - 1) * s.dh + 1;
        carried = chunks.per_image > 1 ? imax(0, span - s.sh) : 0;
        const int64_t touched = (s.Ho - 1) * s.sh - s.ph + span;
        rows_bound = chunks.rows * s.sh + imax(0, span - s.sh) + imax(0, s.H - touched);
        if (dx == nullptr) return;
        carry = arena.floats(channels * carried * width);
        band = arena.floats(group * rows_bound * width);
    }

    const rfaconv_tensor* gradient() const { return dx; }

    // Begins a group of channels at the rows that one image has in a chunk; `own` is the group's first channel in the carry.
    void begin(const Span& span, int64_t own) {
        const bool last = span.first_row + span.rows == s.Ho;
        const int64_t next = (span.first_row + span.rows) * s.sh - s.ph;
        const int64_t touched = (span.first_row + span.rows - 1) * s.sh - s.ph + (s.kh - 1) * s.dh + 1;
        image = span.image;
        top = span.first_row * s.sh - s.ph;
        done = last ? s.H : imin(next, s.H);
        rows = imax(imax(touched, done), next) - top;
        keep = last ? 0 : imax(0, touched - next);
        carried_in = span.first_row == 0 ? 0 : carried;
        from_carry = carry + own * carried * width;
    }
    // Adds the planes of channel i of the group.
    void fold(int64_t i, const float* planes, const Tile& t, const Span& span) {
        float* const out = band + i * rows_bound * width;
        float* const kept = from_carry + i * carried * width;
        if (carried_in > 0) copy_floats(out, kept, carried_in * width);
        zero_floats(out + carried_in * width, (rows - carried_in) * width);
        for (int64_t dx_tap = 0; dx_tap < s.kw; ++dx_tap) {
            const Columns c = columns(s, dx_tap);
            for (int64_t q = 0; q < s.phases; ++q) {
                // Plane rows that some tap of this phase reaches.
                for (int64_t r = 0; r < span.rows + s.halo; ++r) {
                    const int64_t row = r * s.sh + s.phase[q];
                    if (row >= rows || row + top < 0 || row + top >= s.H) continue;
                    const float* const from = planes + (q * s.kw + dx_tap) * t.plane_stride + span.base + r * s.Wo;
                    float* const to = out + row * width + c.first;
                    if (s.sw == 1)
                        add_row(to + c.from, from + c.from, c.to - c.from);
                    else
                        for (int64_t w = c.from; w < c.to; ++w) to[w * s.sw] += from[w];
                }
            }
        }
        if (keep > 0) copy_floats(kept, out + (rows - keep) * width, keep * width);
    }
    // Writes the finished rows of the group's n channels, the first of which is channel `first` of dx.
    void write(int64_t first, int64_t n) const {
        for (int64_t r = imax(top, 0); r < done; ++r) {
            const int64_t at = image * dx->stride[0] + first * dx->stride[1] + r * dx->stride[2];
            const float* const from = band + (r - top) * width;
            if (dx->dtype == RFACONV_F32)
                write_row(from, n, static_cast<float*>(dx->data) + at);
            else
                write_row(from, n, static_cast<uint16_t*>(dx->data) + at);
        }
    }

private:
    // Rows of a band are a vector longer than they need to be.
    static void add_row(float* to, const float* from, int64_t n) {
        int64_t i = 0;
        for (; i + lanes <= n; i += lanes) store(to + i, load(to + i) + load(from + i));
        if (i < n) store(to + i, load(to + i) + load_within(from + i, first_lanes(n - i)));
    }
    template <class V>
    void write_row(const float* from, int64_t n, V* to) const {
        const int64_t by_channel = dx->stride[1], by_column = dx->stride[3], stride = rows_bound * width;
        if (by_column == 1) {
            for (int64_t i = 0; i < n; ++i) store_line(to + i * by_channel, from + i * stride, s.W);
        } else if (by_channel == 1 && n > 1) {
            for (int64_t w = 0; w < s.W; w += lanes) {
                vf r[lanes];
                for (int64_t i = 0; i < lanes; ++i) r[i] = i < n ? load(from + i * stride + w) : zero();
                transpose(r);
                for (int64_t i = 0; i < imin(lanes, s.W - w); ++i) store_some(to + (w + i) * by_column, r[i], n);
            }
        } else {
            for (int64_t i = 0; i < n; ++i)
                for (int64_t w = 0; w < s.W; ++w) from_float(from[i * stride + w], to + i * by_channel + w * by_column);
        }
    }

    const Shape& s;
    rfaconv_tensor* dx;
    int64_t width, carried = 0, rows_bound = 0;
    float *carry = nullptr, *band = nullptr;
    // Of the current group and image: input row of band row 0, first row that is not final, rows in the band.
    int64_t image = 0, top = 0, done = 0, rows = 0, keep = 0, carried_in = 0;
    float* from_carry = nullptr;
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

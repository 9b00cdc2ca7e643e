// Copies the inputs of a tile to planes (see window.h).
#ifndef RFACONV_STAGE_H
#define RFACONV_STAGE_H

namespace rfaconv {
namespace RFACONV_ISA {

// How rows of a plane are made from rows of x; the masks of the blocks of `lanes` in a row are worked out once.
struct RowCopy {
    enum : int64_t { blocks = 4 };
    Columns c;
    int64_t sw, width;  // width of the plane
    vm low[blocks], high[blocks];

    void prepare(const Shape& s, const Columns& columns) {
        c = columns, sw = s.sw, width = s.Wo;
        for (int64_t i = 0; i < blocks; ++i) masks(i * lanes, low[i], high[i]);
    }
    // At stride 2 lane l takes element 2l of two vectors, so the masks reach to the last element used.
    void masks(int64_t w, vm& a, vm& b) const {
        const int64_t from = sw == 2 ? 2 * (c.from - w) : c.from - w, to = sw == 2 ? 2 * (c.to - w) - 1 : c.to - w;
        a = lanes_between(from, to), b = lanes_between(from - lanes, to - lanes);
    }
    // `rows` rows, `step` floats apart in x. Writes whole vectors: what falls beyond the row is overwritten by the next row, or
    // is slack. (Everything is copied to locals: to the compiler a vector store may change any member.)
    void run(float* out, const float* in, int64_t rows, int64_t step) const {
        const int64_t W = width, n = ceil_div(W, lanes);
        const float* p = in + c.first;
        if (sw > 2) {
            const int64_t from = c.from, to = c.to, stride = sw;
            for (int64_t r = 0; r < rows; ++r, out += W, p += step)
                for (int64_t w = 0; w < W; ++w) out[w] = w >= from && w < to ? p[w * stride] : 0.0f;
        } else if (n == 1) {
            const vm a = low[0], b = high[0];
            if (sw == 1)
                for (int64_t r = 0; r < rows; ++r, out += W, p += step) store(out, load_mask(p, a));
            else
                for (int64_t r = 0; r < rows; ++r, out += W, p += step) store(out, load_even(p, a, b));
        } else {
            for (int64_t i = n - 1; i >= 0; --i) {
                vm a, b;
                if (i < blocks)
                    a = low[i], b = high[i];
                else
                    masks(i * lanes, a, b);
                columns_of(out + i * lanes, p + i * lanes * sw, rows, step, a, b);
            }
        }
    }

private:
    // One block of all rows. Blocks are written from right to left: what the last one spoils of the next row is written later.
    void columns_of(float* out, const float* p, int64_t rows, int64_t step, vm a, vm b) const {
        const int64_t W = width;
        if (sw == 1 && all_of(a))
            for (int64_t r = 0; r < rows; ++r, out += W, p += step) store(out, load(p));
        else if (sw == 1)
            for (int64_t r = 0; r < rows; ++r, out += W, p += step) store(out, load_mask(p, a));
        else if (all_of(mask_and(a, b)))
            for (int64_t r = 0; r < rows; ++r, out += W, p += step) store(out, load_even(p));
        else
            for (int64_t r = 0; r < rows; ++r, out += W, p += step) store(out, load_even(p, a, b));
    }
};

// Floats that stage() needs for the lines that it converts or transposes.
inline int64_t stage_line_floats(const Shape& s) { return lanes * round_up(s.W + lanes, 16); }

// outs[i][k] (i < n, outs `stride` apart) = channel c + i of image b at pixels first .. first + count - 1, which lie x.stride[3]
// apart: one row, or several where rows follow each other without a gap. May write up to lanes - 1 floats more.
inline void read_pixels(const rfaconv_tensor& x, int64_t b, int64_t c, int64_t n, int64_t first, int64_t count, float* out,
                        int64_t stride) {
    const int64_t step = x.stride[3], at = b * x.stride[0] + c * x.stride[1] + first;
    const bool half = x.dtype == RFACONV_BF16;
    const float* f = static_cast<const float*>(x.data) + (half ? 0 : at);
    const uint16_t* h = static_cast<const uint16_t*>(x.data) + (half ? at : 0);
    if (n == lanes && x.stride[1] == 1) {  // channels last: read one pixel's channels as a vector, turn `lanes` pixels at once
        for (int64_t w = 0; w < count; w += lanes) {
            vf r[lanes];
            const int64_t m = imin(lanes, count - w);
            for (int64_t i = 0; i < lanes; ++i) {
                const int64_t p = (w + imin(i, m - 1)) * step;
                r[i] = half ? load_bf16(h + p) : load(f + p);
            }
            transpose(r);
            for (int64_t i = 0; i < lanes; ++i) store(out + i * stride + w, r[i]);
        }
        return;
    }
    for (int64_t i = 0; i < n; ++i, out += stride, f += half ? 0 : x.stride[1], h += half ? x.stride[1] : 0) {
        if (!half && step == 1) {
            copy_floats(out, f, count);
            continue;
        }
        int64_t w = 0;
        if (half && step == 1)
            for (; w + lanes <= count; w += lanes) store(out + w, load_bf16(h + w));
        for (; w < count; ++w) out[w] = half ? bf16_to_float(h[w * step]) : f[w * step];
    }
}

// Stages channels first .. first + n - 1 at `planes`, t.channel_stride apart. `lines` has stage_line_floats().
inline void stage(const rfaconv_tensor& x, const Shape& s, const Tile& t, int64_t first, int64_t n, float* planes, float* lines) {
    const bool direct = x.dtype == RFACONV_F32 && x.stride[3] == 1;
    // One plane that equals x: whole runs of rows are copied.
    const bool same = s.sh == 1 && s.sw == 1 && s.column_planes == 1 && s.W == s.Wo && s.column[0].first == 0 &&
                      x.stride[2] == s.W * x.stride[3];
    const int64_t line_stride = round_up(s.W + lanes, 16), count = s.phases * s.column_planes;
    RowCopy copy[max_taps];
    for (int64_t i = 0; i < s.column_planes; ++i) copy[i].prepare(s, s.column[i]);
    for (int64_t c = 0, group; c < n; c += group) {
        group = x.stride[1] == 1 ? imin(lanes, n - c) : 1;
        float* channel = planes + c * t.channel_stride;
        // What lies around the rows takes part in unused lanes only; zeros keep it free of slow numbers.
        for (int64_t i = 0; i < group; ++i)
            for (int64_t k = 0; k < count; ++k) {
                float* plane = channel + i * t.channel_stride + k * t.plane_stride;
                zero_floats(plane, t.span[0].base);
                zero_floats(plane + t.rows_end, t.plane_stride - t.rows_end);
            }
        for (int64_t k = 0; k < t.spans; ++k) {
            const Span& span = t.span[k];
            const int64_t rows = span.rows + s.halo;
            if (same) {
                const int64_t top = span.first_row - s.ph;  // input row of the first staged row
                const int64_t from = imin(rows, imax(0, -top)), to = imax(from, imin(rows, s.H - top));
                float* out = channel + span.base;
                for (int64_t i = 0; i < group; ++i) zero_floats(out + i * t.channel_stride, from * s.Wo);
                if (to > from)
                    read_pixels(x, span.image, first + c, group, (top + from) * x.stride[2], (to - from) * s.W,
                                out + from * s.Wo, t.channel_stride);
                for (int64_t i = 0; i < group; ++i) zero_floats(out + i * t.channel_stride + to * s.Wo, (rows - to) * s.Wo);
                continue;
            }
            for (int64_t q = 0; q < s.phases; ++q) {
                // Staged row r comes from row top + r*sh of x; rows from .. to - 1 exist.
                const int64_t top = span.first_row * s.sh + s.phase[q] - s.ph;
                const int64_t from = top >= 0 ? 0 : imin(rows, ceil_div(-top, s.sh));
                const int64_t to = top >= s.H ? from : imax(from, imin(rows, (s.H - 1 - top) / s.sh + 1));
                for (int64_t i = 0; i < group; ++i)
                    for (int64_t k2 = 0; k2 < s.column_planes; ++k2) {
                        float* out = channel + i * t.channel_stride + (q * s.column_planes + k2) * t.plane_stride + span.base;
                        zero_floats(out, from * s.Wo);
                        if (direct)
                            copy[k2].run(out + from * s.Wo,
                                         static_cast<const float*>(x.data) + span.image * x.stride[0] +
                                             (first + c + i) * x.stride[1] + (top + from * s.sh) * x.stride[2],
                                         to - from, s.sh * x.stride[2]);
                    }
                if (!direct)
                    for (int64_t r = from; r < to; ++r) {
                        read_pixels(x, span.image, first + c, group, (top + r * s.sh) * x.stride[2], s.W, lines, line_stride);
                        for (int64_t i = 0; i < group; ++i)
                            for (int64_t k2 = 0; k2 < s.column_planes; ++k2)
                                copy[k2].run(channel + i * t.channel_stride + (q * s.column_planes + k2) * t.plane_stride +
                                                 span.base + r * s.Wo,
                                             lines + i * line_stride, 1, 0);
                    }
                for (int64_t i = 0; i < group; ++i)
                    for (int64_t k2 = 0; k2 < s.column_planes; ++k2)
                        zero_floats(channel + i * t.channel_stride + (q * s.column_planes + k2) * t.plane_stride + span.base +
                                        to * s.Wo,
                                    (rows - to) * s.Wo);
            }
        }
    }
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

// Geometry of windows, tiles of output pixels, and the staging of a tile's inputs as planes.
//
// Output pixels are numbered p = (b*Ho + h)*Wo + w, over all images. A tile is a range of them. For each channel the inputs of
// a tile are copied to planes, one per phase q of the vertical stride and per column plane i:
//
//     plane[q,i][r][w] = x[b, c, (h0 + r)*sh + q - ph, first_i + w*sw]        (zero in the padding)
//
// A row of a plane is exactly Wo long, so the values that one tap has at consecutive pixels are consecutive in memory, whatever
// the stride, padding, dilation, layout and type of x were: tap (dy,dx) of pixel p stands at offset(p) + tap_offset[tap].
// Only where a vector of pixels runs from one image into the next does it need a second, masked load (a Segment).
//
// Every tap column dx may have its own plane. With `shared` planes, tap columns that differ by a multiple of the stride read
// one plane at shifted places, where that is possible: a shift runs into the next row of the plane just where the tap lies
// in the padding, and a mask per vector of pixels puts the zeros there. At stride 1 that makes one plane, equal to x itself.
#ifndef RFACONV_WINDOW_H
#define RFACONV_WINDOW_H

#include "rfaconv.h"
#include "vec.h"

namespace rfaconv {
namespace RFACONV_ISA {

enum : int64_t { max_taps = 25 };

// Columns of the output for which column first + w*sw lies inside the input: from <= w < to.
struct Columns {
    int64_t first, from, to;
};

struct Shape {
    int64_t B, C, H, W, Ho, Wo;
    int64_t kh, kw, sh, sw, ph, pw, dh, dw;
    int64_t T;             // taps
    int64_t pixels;        // B*Ho*Wo
    int64_t phases;        // different (dy*dh) mod sh
    int64_t phase[max_taps];   // their values
    int64_t tap_phase[max_taps];  // index of the phase of tap row dy
    int64_t halo;          // rows that a plane has more than the tile
    int64_t column_planes;
    Columns column[max_taps];  // of each column plane
    struct TapColumn {
        int64_t plane, shift;  // tap column dx at w stands at w + shift of this plane
        int64_t from, to;      // range of w where it is inside the image; elsewhere it must be masked
        int32_t mask;          // number of its mask, -1: none needed
    } tap_column[max_taps];
    int32_t masks;
};

// Column plane (or tap column without sharing) dx: its input column at w = 0, and where the input has such a column.
RFACONV_INLINE Columns columns(const Shape& s, int64_t dx) {
    Columns c;
    c.first = dx * s.dw - s.pw;
    c.from = c.first >= 0 ? 0 : imin(ceil_div(-c.first, s.sw), s.Wo);
    c.to = c.first >= s.W ? c.from : imax(c.from, imin((s.W - 1 - c.first) / s.sw + 1, s.Wo));
    return c;
}

inline void make_columns(Shape& s, bool shared) {
    s.column_planes = 0, s.masks = 0;
    for (int64_t dx = 0; dx < s.kw; ++dx) {
        Shape::TapColumn& tap = s.tap_column[dx];
        const Columns own = columns(s, dx);
        tap.shift = 0, tap.from = own.from, tap.to = own.to, tap.mask = -1;
        // The columns of the input that this residue of the stride has: column residue + t*sw, t < count.
        const int64_t residue = (own.first % s.sw + s.sw) % s.sw, count = residue < s.W ? (s.W - 1 - residue) / s.sw + 1 : 0;
        if (!shared || count > s.Wo || count == 0) {
            tap.plane = s.column_planes;
            s.column[s.column_planes++] = own;
            continue;
        }
        int64_t i = 0;
        while (i < s.column_planes && !(s.column[i].first == residue && s.column[i].from == 0 && s.column[i].to == count)) ++i;
        if (i == s.column_planes) s.column[s.column_planes++] = Columns{residue, 0, count};
        tap.plane = i, tap.shift = (own.first - residue) / s.sw;
        if (tap.shift != 0) tap.mask = s.masks++;
    }
}

inline Shape make_shape(const rfaconv_tensor& x, const rfaconv_window& w, bool shared = false) {
    Shape s;
    s.B = x.size[0], s.C = x.size[1], s.H = x.size[2], s.W = x.size[3];
    s.Ho = w.out[0], s.Wo = w.out[1], s.kh = w.kernel[0], s.kw = w.kernel[1];
    s.sh = w.stride[0], s.sw = w.stride[1], s.ph = w.pad[0], s.pw = w.pad[1], s.dh = w.dilation[0], s.dw = w.dilation[1];
    s.T = s.kh * s.kw, s.pixels = s.B * s.Ho * s.Wo, s.phases = 0;
    s.halo = (s.kh - 1) * s.dh / s.sh;
    for (int64_t dy = 0; dy < s.kh; ++dy) {
        const int64_t q = dy * s.dh % s.sh;
        int64_t i = 0;
        while (i < s.phases && s.phase[i] != q) ++i;
        if (i == s.phases) s.phase[s.phases++] = q;
        s.tap_phase[dy] = i;
    }
    make_columns(s, shared);
    return s;
}

// The part of an image that a tile covers. Pixel p of this image stands, for tap 0 of phase 0, at p + shift in a plane.
struct Span {
    int64_t image, first_row, rows;  // output rows first_row .. first_row + rows - 1, without the halo
    int64_t base;                    // where its staged rows begin in a plane
    int64_t shift;
};

// Lanes from..to-1 of a vector of pixels, all in one image; lane 0 would stand at `offset` in a plane.
struct Segment {
    int64_t image, offset;
    int64_t from, to;
};

struct Tile {
    int64_t begin, end;      // pixels
    int64_t vectors;         // of `lanes` pixels; the last may be partly beyond the end
    int64_t spans;
    Span* span;
    Segment* segment;        // of all vectors
    int32_t* first_segment;  // vectors + 1 entries
    vm* mask;                // s.masks for each vector
    int32_t masks;
    int32_t column_mask[max_taps];  // number of the mask of tap column dx, or -1
    int64_t plane_stride, channel_stride;  // floats
    int64_t rows_end;        // where the staged rows of a plane end
    int64_t tap_offset[max_taps];
    int64_t unmasked_offset[max_taps];  // of taps with a mask, in what unmask() makes
    bool run(int64_t v, int64_t n) const {  // vectors v .. v + n - 1 stand side by side
        const int32_t first = first_segment[v];
        return first_segment[v + n] - first == n && segment[first + n - 1].offset - segment[first].offset == (n - 1) * lanes;
    }
};

// Upper bounds for tiles of at most `pixels` pixels, to size the memory once.
inline int64_t tile_spans_bound(const Shape& s, int64_t pixels) {
    return imin(s.B, pixels / (s.Ho * s.Wo) + 2);
}
inline int64_t tile_index_bytes(const Shape& s, int64_t pixels) {
    const int64_t spans = tile_spans_bound(s, pixels), vectors = ceil_div(pixels, lanes);
    return round_up(spans * int64_t(sizeof(Span)), 64) + round_up((spans + vectors) * int64_t(sizeof(Segment)), 64) +
           round_up((vectors + 1) * int64_t(sizeof(int32_t)), 64) + round_up(vectors * s.masks * int64_t(sizeof(vm)), 64);
}
// Floats before and after the rows of a plane, for unused lanes and shifts.
RFACONV_INLINE int64_t tile_margin(const Shape& s) {
    int64_t most = 0;
    for (int64_t dx = 0; dx < s.kw; ++dx) most = imax(most, s.tap_column[dx].shift < 0 ? -s.tap_column[dx].shift : s.tap_column[dx].shift);
    return lanes + most;
}
inline int64_t tile_plane_floats(const Shape& s, int64_t pixels) {
    const int64_t rows_bound = ceil_div(pixels, s.Wo) + 1 + 2 * tile_spans_bound(s, pixels);
    const int64_t rows = imin(rows_bound, s.B * s.Ho) + tile_spans_bound(s, pixels) * s.halo;
    return round_up(rows * s.Wo + 2 * tile_margin(s) + lanes, 16);
}
inline int64_t tile_channel_floats(const Shape& s, int64_t pixels) {
    return s.phases * s.column_planes * tile_plane_floats(s, pixels) + 2 * 16;
}

// `memory` holds tile_index_bytes() for at least end - begin pixels.
inline void make_tile(Tile& t, const Shape& s, int64_t begin, int64_t end, void* memory) {
    const int64_t image_pixels = s.Ho * s.Wo, spans = tile_spans_bound(s, end - begin);
    t.begin = begin, t.end = end, t.vectors = ceil_div(end - begin, lanes);
    char* m = static_cast<char*>(memory);
    t.span = reinterpret_cast<Span*>(m);
    m += round_up(spans * int64_t(sizeof(Span)), 64);
    t.segment = reinterpret_cast<Segment*>(m);
    m += round_up((spans + t.vectors) * int64_t(sizeof(Segment)), 64);
    t.first_segment = reinterpret_cast<int32_t*>(m);
    m += round_up((t.vectors + 1) * int64_t(sizeof(int32_t)), 64);
    t.mask = reinterpret_cast<vm*>(m), t.masks = s.masks;

    const int64_t margin = tile_margin(s);
    // The first vector is aligned, and where rows are whole vectors so are all.
    int64_t base = round_up(margin + begin % s.Wo, lanes) - begin % s.Wo;
    t.spans = 0;
    for (int64_t b = begin / image_pixels; b * image_pixels < end; ++b) {
        const int64_t from = imax(begin - b * image_pixels, 0), to = imin(end - b * image_pixels, image_pixels);
        Span& span = t.span[t.spans++];
        span.image = b, span.first_row = from / s.Wo, span.rows = (to - 1) / s.Wo + 1 - span.first_row;
        span.base = base;
        span.shift = base - b * image_pixels - span.first_row * s.Wo;
        base += (span.rows + s.halo) * s.Wo;
    }
    t.rows_end = base;
    t.plane_stride = round_up(base + margin, 16);
    t.channel_stride = s.phases * s.column_planes * t.plane_stride + 16;
    for (int64_t dx = 0; dx < s.kw; ++dx) {
        const Shape::TapColumn& tap = s.tap_column[dx];
        t.column_mask[dx] = tap.mask;
        for (int64_t dy = 0; dy < s.kh; ++dy)
            t.tap_offset[dy * s.kw + dx] = (s.tap_phase[dy] * s.column_planes + tap.plane) * t.plane_stride +
                                           dy * s.dh / s.sh * s.Wo + tap.shift;
        if (tap.mask < 0) continue;
        for (int64_t dy = 0; dy < s.kh; ++dy)
            t.unmasked_offset[dy * s.kw + dx] = (tap.mask * s.phases + s.tap_phase[dy]) * t.plane_stride + dy * s.dh / s.sh * s.Wo;
        int64_t w = begin % s.Wo;
        for (int64_t v = 0; v < t.vectors; ++v) {
            uint32_t bits = 0;
            for (int64_t l = 0; l < lanes; ++l) {
                bits |= uint32_t(w >= tap.from && w < tap.to) << l;
                if (++w == s.Wo) w = 0;
            }
            t.mask[v * s.masks + tap.mask] = mask_of_bits(bits);
        }
    }

    int32_t count = 0;
    int64_t i = 0;  // span of the current pixel
    for (int64_t v = 0; v < t.vectors; ++v) {
        const int64_t p = begin + v * lanes, stop = imin(p + lanes, end);
        t.first_segment[v] = count;
        for (int64_t at = p; at < stop;) {
            const int64_t image_end = (t.span[i].image + 1) * image_pixels, to = imin(stop, image_end);
            t.segment[count++] = Segment{t.span[i].image, p + t.span[i].shift, at - p, to - p};
            if (to == image_end) ++i;
            at = to;
        }
    }
    t.first_segment[t.vectors] = count;
}

// Vectors of pixels whose features are made together. Sums of 3 taps at 3 vectors and their operands fill 16 registers, each
// number read serves three products, and nine sums at once hide how long one takes. With 32 registers a patch stays in them.
template <int T>
struct FeatureBlock {
    enum : int { vectors = registers == 16 && lanes > 1 && T == 9 ? 3 : 1 };
};

template <int n>
struct Count {
    enum : int { value = n };
};
// block(Count<V>(), v) for vectors v .. v + V - 1 of n: as many at a time as stand side by side.
template <int T, class Block>
RFACONV_INLINE void feature_blocks(const Tile& t, int64_t first, int64_t n, Block block) {
    constexpr int V = FeatureBlock<T>::vectors;
    for (int64_t v = 0; v < n;) {
        if (V > 1 && v + V <= n && t.run(first + v, V)) {
            block(Count<V>(), first + v);
            v += V;
        } else {
            block(Count<1>(), first + v++);
        }
    }
}

// Blocks read planes that need no masks: for each tap column that has one, its plane, moved by its shift, with the mask's zeros.
template <int T>
RFACONV_INLINE int64_t unmasked_floats(const Shape& s, int64_t pixels) {
    return FeatureBlock<T>::vectors > 1 ? s.masks * s.phases * tile_plane_floats(s, pixels) : 0;
}
template <int T>
inline void unmask(float* out, const float* channel, const Shape& s, const Tile& t) {
    if (FeatureBlock<T>::vectors == 1) return;
    const int64_t edge = round_up(tile_margin(s) - lanes, lanes);  // no further than that does a shift reach beyond the plane
    const int64_t end = t.plane_stride - edge, first_row = t.span[0].base, rows_end = t.rows_end, width = s.Wo;
    for (int64_t dx = 0; dx < s.kw; ++dx) {
        const Shape::TapColumn& tap = s.tap_column[dx];
        if (tap.mask < 0) continue;
        const int64_t before = tap.from, after = tap.to;
        for (int64_t q = 0; q < s.phases; ++q) {
            float* const to = out + (tap.mask * s.phases + q) * t.plane_stride;
            const float* const from = channel + (q * s.column_planes + tap.plane) * t.plane_stride + tap.shift;
            zero_floats(to, edge);
            RFACONV_UNROLL_4
            for (int64_t p = edge; p < end; p += lanes) store(to + p, load(from + p));
            zero_floats(to + end, edge);
            for (int64_t w = before > 0 ? 0 : after; w < width; w = w + 1 == before ? after : w + 1)
                for (int64_t row = first_row; row < rows_end; row += width) to[row + w] = 0.0f;
        }
    }
}

// What PatchReader::at gives for one vector, in registers, and for a block, in memory.
template <int T>
struct Patch {
    vf u[T];
    RFACONV_METHOD vf operator()(int, int k) const { return u[k]; }
};
template <int T>
struct PatchBlock {
    const float* const (&tap)[T];
    int64_t offset;
    RFACONV_METHOD vf operator()(int i, int k) const { return load(forget(tap[k]) + offset + i * lanes); }
};

// The T inputs under the window at the pixels of a vector, for one channel whose staged memory is given (and, for blocks, what
// unmask() made of it). Lanes beyond the tile's end hold something finite or not: never let them reach an output.
template <int T>
struct PatchReader {
    enum : int { K = T == 1 ? 1 : T == 9 ? 3 : 5 };
    const float *tap[T], *unmasked[T];
    const Tile& t;
    bool masked[K];

    RFACONV_METHOD PatchReader(const float* channel, const Tile& tile, const float* without_masks = nullptr) : t(tile) {
        RFACONV_UNROLL
        for (int dx = 0; dx < K; ++dx) masked[dx] = tile.column_mask[dx] >= 0;
        RFACONV_UNROLL
        for (int j = 0; j < T; ++j) {
            tap[j] = channel + tile.tap_offset[j];
            unmasked[j] = masked[j % K] ? without_masks + tile.unmasked_offset[j] : tap[j];
        }
    }
    template <int V>
    RFACONV_METHOD auto at(int64_t v) const {
        if constexpr (V > 1) {
            return PatchBlock<T>{unmasked, t.segment[t.first_segment[v]].offset};
        } else {
            Patch<T> patch;
            (*this)(patch.u, v);
            return patch;
        }
    }
    RFACONV_METHOD void operator()(vf* u, int64_t v) const {
        const int32_t first = t.first_segment[v], stop = t.first_segment[v + 1];
        const vm* mask = t.mask + v * t.masks;
        int64_t at = t.segment[first].offset;
        RFACONV_UNROLL
        for (int dx = 0; dx < K; ++dx) {
            if (masked[dx]) {
                const vm m = *mask++;
                RFACONV_UNROLL
                for (int j = dx; j < T; j += K) u[j] = load_within(tap[j] + at, m);
            } else {
                RFACONV_UNROLL
                for (int j = dx; j < T; j += K) u[j] = load(tap[j] + at);
            }
        }
        if (__builtin_expect(stop - first > 1, 0)) rest(u, v);
    }

private:
    // The images after the first that a vector runs into.
    RFACONV_METHOD void rest(vf* u, int64_t v) const {
        for (int32_t k = t.first_segment[v] + 1; k < t.first_segment[v + 1]; ++k) {
            const vm lane = lanes_between(t.segment[k].from, t.segment[k].to);
            const int64_t at = t.segment[k].offset;
            const vm* mask = t.mask + v * t.masks;
            RFACONV_UNROLL
            for (int dx = 0; dx < K; ++dx) {
                const vm m = masked[dx] ? mask_and(lane, *mask++) : lane;
                RFACONV_UNROLL
                for (int j = dx; j < T; j += K) u[j] = blend(lane, load_within(tap[j] + at, m), u[j]);
            }
        }
    }
};

template <int T>
RFACONV_INLINE void load_patch(vf* u, const float* channel, const Tile& t, int64_t v) {
    PatchReader<T>(channel, t)(u, v);
}

// The reverse, for gradients: adds du to the planes, which start as zeros.
template <int T>
RFACONV_INLINE void add_patch(float* channel, const Tile& t, int64_t v, const vf* du) {
    enum : int { K = T == 1 ? 1 : T == 9 ? 3 : 5 };
    const Segment* s = t.segment + t.first_segment[v];
    const Segment* stop = t.segment + t.first_segment[v + 1];
    const vm* mask = t.mask + v * t.masks;
    for (; s < stop; ++s) {
        float* p = channel + s->offset;
        const bool whole = s->from == 0 && s->to == lanes;
        RFACONV_UNROLL
        for (int dx = 0; dx < K; ++dx) {
            if (whole && t.column_mask[dx] < 0) {
                RFACONV_UNROLL
                for (int j = dx; j < T; j += K) store(p + t.tap_offset[j], load(p + t.tap_offset[j]) + du[j]);
            } else {
                const vm lane = lanes_between(s->from, s->to);
                const vm m = t.column_mask[dx] < 0 ? lane : mask_and(lane, mask[t.column_mask[dx]]);
                RFACONV_UNROLL
                for (int j = dx; j < T; j += K)
                    store_mask(p + t.tap_offset[j], load_within(p + t.tap_offset[j], m) + du[j], m);
            }
        }
    }
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#include "stage.h"

#endif

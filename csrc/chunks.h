// Work of the kernels that need whole rows: chunks of about `target` output pixels, either rows of one image or whole images.
#ifndef RFACONV_CHUNKS_H
#define RFACONV_CHUNKS_H

#include "stage.h"
#include "window.h"

namespace rfaconv {
namespace RFACONV_ISA {

struct Chunk {
    int64_t begin, end;      // pixels, as in window.h
    int64_t first_row, rows; // of the one image, or 0 and Ho
};

struct Chunks {
    int64_t per_image, image_group, rows;  // chunks of an image, or images of a chunk
    int64_t count_of(int64_t images) const { return per_image > 1 ? images * per_image : ceil_div(images, image_group); }

    Chunks(const Shape& s, int64_t target) {
        const int64_t pixels = s.Ho * s.Wo;
        image_group = imax(1, target / pixels);
        rows = ceil_div(s.Ho, imin(s.Ho, ceil_div(pixels, target)));
        per_image = ceil_div(s.Ho, rows);
    }
    // Chunk i of images [first, last).
    Chunk at(const Shape& s, int64_t first, int64_t last, int64_t i) const {
        const int64_t pixels = s.Ho * s.Wo;
        Chunk c;
        if (per_image > 1) {
            c.first_row = i % per_image * rows;
            c.rows = imin(rows, s.Ho - c.first_row);
            c.begin = (first + i / per_image) * pixels + c.first_row * s.Wo;
            c.end = c.begin + c.rows * s.Wo;
        } else {
            c.first_row = 0, c.rows = s.Ho;
            c.begin = (first + i * image_group) * pixels;
            c.end = imin(c.begin + image_group * pixels, last * pixels);
        }
        return c;
    }
    int64_t pixels_bound(const Shape& s) const { return per_image > 1 ? rows * s.Wo : image_group * s.Ho * s.Wo; }
};

// Lends parts of one block of scratch memory; a first pass without memory measures it.
struct Arena {
    char* base;
    int64_t used = 0;
    explicit Arena(void* memory) : base(static_cast<char*>(memory)) {}
    template <class V>
    V* take(int64_t n) {
        V* const at = base == nullptr ? nullptr : reinterpret_cast<V*>(base + used);
        used += round_up(n * int64_t(sizeof(V)), 64);
        return at;
    }
    float* floats(int64_t n) { return take<float>(n); }
};

// Channels staged together: a vector of them where channels are adjacent in memory, so that pixels can be turned at once.
inline int64_t stage_group(const rfaconv_tensor& x) { return x.stride[1] == 1 && x.size[1] > 1 ? int64_t(lanes) : 1; }

// Sum of p[from..to).
RFACONV_INLINE float sum_range(const float* p, int64_t from, int64_t to) {
    vf a = zero(), b = zero();
    int64_t i = from;
    for (; i + 2 * lanes <= to; i += 2 * lanes) {
        a = a + load(p + i);
        b = b + load(p + i + lanes);
    }
    for (; i < to; i += lanes) a = a + load_first(p + i, to - i);
    return reduce_add(a + b);
}

RFACONV_INLINE float sum_range(const uint16_t* p, int64_t from, int64_t to) {
    vf sum = zero();
    int64_t i = from;
    for (; i + lanes <= to; i += lanes) sum = sum + load_bf16(p + i);
    float rest = 0.0f;
    for (; i < to; ++i) rest += bf16_to_float(p[i]);
    return reduce_add(sum) + rest;
}

RFACONV_INLINE void add_floats(float* to, const float* from, int64_t n) {
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) store(to + i, load(to + i) + load(from + i));
    if (i < n) {
        const vm m = first_lanes(n - i);
        store_mask(to + i, load_mask(to + i, m) + load_mask(from + i, m), m);
    }
}
}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

// RFCBAM: gate_j = channel[b,c] * pixel[b,j,h,w].
#ifndef RFACONV_GATES_RFCBAM_H
#define RFACONV_GATES_RFCBAM_H

#include "../features.h"
#include "../window.h"

namespace rfaconv {
namespace RFACONV_ISA {

template <int T>
struct RfcbamGate {
    static int64_t prepared_floats(const Shape&) { return 0; }
    static void prepare(const Shape&, const rfaconv_gate*, float*) {}
    static int64_t tile_floats(const Shape&, int64_t pixels) { return round_up(pixels, lanes) * T; }

    RfcbamGate(const Shape& shape, const rfaconv_gate* gate, const float*)
        : s(shape), by_channel(gate->a), by_pixel(gate->b), tile(nullptr), pixel(nullptr), c(0) {}

    // The pixel gate in the order in which it is read: T vectors for each vector of pixels.
    void begin_tile(const Tile& t, float* memory) {
        tile = &t, pixel = memory;
        const int64_t image_pixels = s.Ho * s.Wo;
        for (int64_t v = 0; v < t.vectors; ++v)
            for (int64_t j = 0; j < T; ++j) {
                vf value = zero();
                for (int64_t k = t.first_segment[v]; k < t.first_segment[v + 1]; ++k) {
                    const Segment& part = t.segment[k];
                    const int64_t p = t.begin + v * lanes - part.image * image_pixels;
                    value = load_mask(value, by_pixel + (part.image * T + j) * image_pixels + p, lanes_between(part.from, part.to));
                }
                store(memory + (v * T + j) * lanes, value);
            }
    }
    void begin_channel(int64_t channel) { c = channel; }

    // Of the images to which the pixels of vector v belong.
    RFACONV_METHOD vf channel_gate(int64_t v) const {
        const Segment* part = tile->segment + tile->first_segment[v];
        const Segment* stop = tile->segment + tile->first_segment[v + 1];
        vf scale = set1(by_channel[part->image * s.C + c]);
        for (++part; part < stop; ++part)
            scale = blend(lanes_between(part->from, part->to), set1(by_channel[part->image * s.C + c]), scale);
        return scale;
    }
    template <int V, class Patches, class Put>
    RFACONV_METHOD void apply(const Patches& u, const float* g, const float* b, int64_t v, Put put) const {
        vf scale[V];
        RFACONV_UNROLL
        for (int i = 0; i < V; ++i) scale[i] = channel_gate(v + i);
        const float* const q = pixel + v * T * lanes;
        features<T, V>(u, g, b, [=](int i, int first, int j, vf f) __attribute__((always_inline)) {
            put(i, first, j, f * (scale[i] * load(q + (i * T + first + j) * lanes)));
        });
    }

    const Shape& s;
    const float* by_channel;
    const float* by_pixel;
    const Tile* tile;
    float* pixel;
    int64_t c;
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

// The gradient through RFCBAM's gate: dchannel = sum over pixels and taps of da pixel, dpixel = sum over channels of da channel.
#ifndef RFACONV_GATES_RFCBAM_BACKWARD_H
#define RFACONV_GATES_RFCBAM_BACKWARD_H

#include "none_backward.h"
#include "rfcbam.h"

namespace rfaconv {
namespace RFACONV_ISA {

template <int T>
struct RfcbamBackward {
    static int64_t prepared_floats(const Shape&) { return 0; }
    static void prepare(const Shape&, const rfaconv_gate*, float*) {}
    // The pixel gate, its gradient, and one line for the gradient of the channel gate.
    static int64_t tile_floats(const Shape& s, int64_t pixels) {
        return 2 * RfcbamGate<T>::tile_floats(s, pixels) + round_up(pixels, lanes);
    }

    RfcbamBackward(const Shape& shape, const GateGradient& out, const float*, float* memory_)
        : s(shape), gradient(out), gate(shape, out.gate, nullptr), memory(memory_) {}
    void begin_tile(const Tile& t) {
        tile = &t;
        const int64_t floats = RfcbamGate<T>::tile_floats(s, t.vectors * lanes);
        dpixel = memory + floats, line = dpixel + floats;
        gate.begin_tile(t, memory);
        zero_floats(dpixel, floats);
    }
    void end_tile() {
        if (gradient.pixel == nullptr) return;
        const int64_t plane = s.Ho * s.Wo;
        for (int64_t v = 0; v < tile->vectors; ++v)
            for (int64_t k = tile->first_segment[v]; k < tile->first_segment[v + 1]; ++k) {
                const Segment& part = tile->segment[k];
                const int64_t p = tile->begin + v * lanes - part.image * plane;
                for (int j = 0; j < T; ++j)
                    store_mask(gradient.pixel + (part.image * T + j) * plane + p, load(dpixel + (v * T + j) * lanes),
                               lanes_between(part.from, part.to));
            }
    }
    void begin_channel(int64_t c) { gate.begin_channel(c); }
    void end_channel(int64_t c) {
        if (gradient.a == nullptr) return;
        for (int64_t k = 0; k < tile->spans; ++k) {
            const Span& span = tile->span[k];
            const int64_t from = (span.image * s.Ho + span.first_row) * s.Wo - tile->begin;
            float* const to = gradient.a + span.image * s.C + c;
            const float sum = sum_range(line, from, from + span.rows * s.Wo);
            *to = span.first_row == 0 ? sum : *to + sum;
        }
    }
    RFACONV_METHOD vf apply(vf* df, const float* f, const float*, int64_t v, float* rows, int64_t stride) {
        const vf scale = gate.channel_gate(v);
        const float* const q = gate.pixel + v * T * lanes;
        float* const dq = dpixel + v * T * lanes;
        vf sum = zero();
        RFACONV_UNROLL
        for (int j = 0; j < T; ++j) {
            const vf d = load(rows + j * stride), by_pixel = load(q + j * lanes), fj = load(f + j * lanes);
            const vf a = scale * by_pixel, da = d * fj;
            store(rows + j * stride, fj * a);
            df[j] = d * a;
            sum = fma(da, by_pixel, sum);
            store(dq + j * lanes, fma(da, scale, load(dq + j * lanes)));
        }
        store(line + v * lanes, sum);
        return zero();
    }

    const Shape& s;
    const GateGradient& gradient;
    RfcbamGate<T> gate;
    float* memory;
    const Tile* tile = nullptr;
    float *dpixel = nullptr, *line = nullptr;
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

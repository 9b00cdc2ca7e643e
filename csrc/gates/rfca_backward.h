// The gradient through RFCA's gate: drow = sum over the enlarged row of da col, dcol = sum over the enlarged column of da row.
#ifndef RFACONV_GATES_RFCA_BACKWARD_H
#define RFACONV_GATES_RFCA_BACKWARD_H

#include "../line_sums.h"
#include "none_backward.h"
#include "rfca.h"

namespace rfaconv {
namespace RFACONV_ISA {

template <int T>
struct RfcaBackward {
    enum : int { K = RfcaGate<T>::K };
    static int64_t prepared_floats(const Shape& s) { return RfcaGate<T>::prepared_floats(s); }
    static void prepare(const Shape& s, const rfaconv_gate* gate, float* prepared) { RfcaGate<T>::prepare(s, gate, prepared); }
    // The gate's lines, and 2K lines of their gradients, as line_sums.h wants them.
    static int64_t tile_floats(const Shape& s, int64_t pixels) {
        return RfcaGate<T>::tile_floats(s, pixels) + 2 * K * round_up(pixels, lanes) + lanes;
    }

    RfcaBackward(const Shape& shape, const GateGradient& out, const float* prepared, float* memory_)
        : s(shape), gradient(out), gate(shape, out.gate, prepared), memory(memory_) {}
    void begin_tile(const Tile& t) {
        tile = &t, stride = t.vectors * lanes;
        lines = memory + RfcaGate<T>::tile_floats(s, stride);
        gate.begin_tile(t, memory);
    }
    void end_tile() {}
    void begin_channel(int64_t c) { gate.begin_channel(c); }
    void end_channel(int64_t c) {
        for (int64_t k = 0; k < tile->spans; ++k) {
            const Span& span = tile->span[k];
            const int64_t from = (span.image * s.Ho + span.first_row) * s.Wo - tile->begin;
            if (gradient.a != nullptr)
                sum_rows<K>(lines + from, stride, span.rows, s.Wo, 1.0f,
                            gradient.a + ((span.image * s.C + c) * s.Ho + span.first_row) * K);
            if (gradient.b != nullptr)
                sum_columns<K>(lines + K * stride + from, stride, span.rows, s.Wo, 1.0f, span.first_row == 0,
                               gradient.b + (span.image * s.C + c) * K * s.Wo);
        }
    }
    RFACONV_METHOD vf apply(vf* df, const float* f, const float*, int64_t v, float* rows, int64_t row_stride) {
        vf across[K], dcol[K];
        RFACONV_UNROLL
        for (int j = 0; j < K; ++j) across[j] = gate.across(v, j), dcol[j] = zero();
        RFACONV_UNROLL
        for (int i = 0; i < K; ++i) {
            const vf down = gate.down(v, i);
            vf drow = zero();
            RFACONV_UNROLL
            for (int j = 0; j < K; ++j) {
                float* const at = rows + (i * K + j) * row_stride;
                const vf d = load(at), a = down * across[j], fj = load(f + (i * K + j) * lanes), da = d * fj;
                store(at, fj * a);
                df[i * K + j] = d * a;
                drow = fma(da, across[j], drow);
                dcol[j] = fma(da, down, dcol[j]);
            }
            store(lines + i * stride + v * lanes, drow);
        }
        RFACONV_UNROLL
        for (int j = 0; j < K; ++j) store(lines + (K + j) * stride + v * lanes, dcol[j]);
        return zero();
    }

    const Shape& s;
    const GateGradient& gradient;
    RfcaGate<T> gate;
    float* memory;
    const Tile* tile = nullptr;
    int64_t stride = 0;
    float* lines = nullptr;
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

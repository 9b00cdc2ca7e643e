// The gradient through RFA's gate: dl = a (da - a.da), dw_j = sum dl_j m, du gets (dl.w)/T.
#ifndef RFACONV_GATES_RFA_BACKWARD_H
#define RFACONV_GATES_RFA_BACKWARD_H

#include "none_backward.h"
#include "rfa.h"

namespace rfaconv {
namespace RFACONV_ISA {

template <int T>
struct RfaBackward {
    static int64_t prepared_floats(const Shape& s) { return RfaGate<T>::prepared_floats(s); }
    static void prepare(const Shape& s, const rfaconv_gate* gate, float* prepared) { RfaGate<T>::prepare(s, gate, prepared); }
    static int64_t tile_floats(const Shape&, int64_t) { return T * lanes; }

    RfaBackward(const Shape& shape, const GateGradient& out, const float* prepared, float* memory)
        : gradient(out), gate(shape, out.gate, prepared), dw(memory) {}
    void begin_tile(const Tile&) {}
    void end_tile() {}
    void begin_channel(int64_t c) {
        gate.begin_channel(c);
        zero_floats(dw, T * lanes);
    }
    void end_channel(int64_t c) {
        if (gradient.sums != nullptr) add_lane_sums(gradient.sums + c * T, dw, T);
    }
    RFACONV_METHOD vf apply(vf* df, const float* f, const float* u_in, int64_t, float* rows, int64_t stride) {
        vf u[T], a[T];
        RFACONV_UNROLL
        for (int j = 0; j < T; ++j) u[j] = load(u_in + j * lanes);
        const vf scale = gate.gates(u, [&](int j, vf e) __attribute__((always_inline)) { a[j] = e; });
        const vf mean = patch_sum<T>(u) * set1(float(1.0 / T));
        // g: dA * f, the gradient of each gate. The largest gate's is taken off all of them: in sum_k a_k g_k - g_j it cancels,
        // and where that gate is nearly 1 the difference would otherwise be nothing but rounding.
        vf g[T], top = zero(), largest = set1(-1.0f);
        RFACONV_UNROLL
        for (int j = 0; j < T; ++j) {
            const vf d = load(rows + j * stride);
            a[j] = a[j] * scale;
            df[j] = d * a[j];
            g[j] = d * load(f + j * lanes);
            top = blend(gt(a[j], largest), g[j], top);
            largest = max(largest, a[j]);
        }
        if (T == 1) {  // the gate is 1: no rounding error may stand in for its gradient
            const vf poison = mean - mean;
            store(rows, a[0] * load(f));
            store(dw, load(dw) + poison);
            return poison;
        }
        // Two chains for each sum: half the latency.
        vf inner[2] = {zero(), zero()}, more[2] = {zero(), zero()};
        RFACONV_UNROLL
        for (int j = 0; j < T; ++j) {
            g[j] = g[j] - top;
            inner[j & 1] = fma(a[j], g[j], inner[j & 1]);
        }
        const vf all = inner[0] + inner[1];
        // sum_j dl_j is 0 but for rounding: against the weight of the largest gate that rounding counts for nothing.
        const vm positive = ge(mean, zero());
        RFACONV_UNROLL
        for (int j = 0; j < T; ++j) {
            const vf dl = a[j] * (g[j] - all);
            store(rows + j * stride, a[j] * load(f + j * lanes));
            store(dw + j * lanes, fma(dl, mean, load(dw + j * lanes)));
            const vf w = blend(positive, set1(gate.channel->below[j]), set1(gate.channel->above[j]));
            more[j & 1] = fma(dl, w, more[j & 1]);
        }
        // The prepared w is w log2(e) / T.
        return (more[0] + more[1]) * set1(0.6931471805599453f);
    }

    const GateGradient& gradient;
    RfaGate<T> gate;
    float* dw;
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

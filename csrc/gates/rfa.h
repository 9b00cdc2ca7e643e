// RFA: gate_j = softmax over the taps of w[c,j] * mean(u).
#ifndef RFACONV_GATES_RFA_H
#define RFACONV_GATES_RFA_H

#include "../features.h"
#include "../window.h"

namespace rfaconv {
namespace RFACONV_ISA {

// The logits of a pixel are w_j * m with one m, so their maximum is m * max(w) or m * min(w): no pass over the taps.
// Powers of two: w is scaled by log2(e), and by 1/T so that the patch's sum serves as m.
template <int T>
struct RfaGate {
    struct Channel {
        float w[T], rest[T], low, high;  // w + rest: the scaled weight to twice the precision
    };

    static int64_t prepared_floats(const Shape& s) { return s.C * int64_t(sizeof(Channel) / sizeof(float)); }

    static void prepare(const Shape& s, const rfaconv_gate* gate, float* prepared) {
        const double scale = 1.4426950408889634 / T;
        Channel* channel = reinterpret_cast<Channel*>(prepared);
        const float* w = gate->a;
        for (int64_t c = 0; c < s.C; ++c, ++channel, w += T) {
            for (int j = 0; j < T; ++j) {
                const double exact = w[j] * scale;
                const float v = channel->w[j] = float(exact);
                channel->rest[j] = float(exact - v);
                channel->low = j == 0 || v < channel->low ? v : channel->low;
                channel->high = j == 0 || v > channel->high ? v : channel->high;
            }
        }
    }
    static int64_t tile_floats(const Shape&, int64_t) { return 0; }

    RfaGate(const Shape&, const rfaconv_gate*, const float* prepared)
        : channels(reinterpret_cast<const Channel*>(prepared)), channel(channels) {}
    void begin_tile(const Tile&, float*) {}
    void begin_channel(int64_t c) { channel = channels + c; }

    // use(j, e_j) for every tap, then the factor that makes e_j the gate.
    template <class Use>
    RFACONV_METHOD vf gates(const vf* u, Use use) const {
        const vf m = patch_sum<T>(u), one = m * set1(channel->low), other = m * set1(channel->high);
        const vf top = max(one, other);
        vf sum;
        if (__builtin_expect(all_of(ge(set1(16.0f), max(absolute(one), absolute(other)))), 1)) {
            RFACONV_UNROLL
            for (int j = 0; j < T; ++j) {
                const vf e = exp2_scaled(fms(m, set1(channel->w[j]), top));
                sum = j > 0 ? sum + e : e;
                use(j, e);
            }
        } else {
            // Large logits: an error relative to them is large in the exponential, so m and w count to twice the precision.
            vf error;
            const vf precise = patch_sum_exact<T>(u, error);
            sum = m - m;  // NaN where the mean is not finite, as softmax(inf - inf) has it
            RFACONV_UNROLL
            for (int j = 0; j < T; ++j) {
                const vf w = set1(channel->w[j]);
                const vf t = fms(precise, w, top) + fma(error, w, precise * set1(channel->rest[j]));
                const vf e = exp2_scaled(max(set1(-126.0f), min(set1(1.0f), t)));
                sum = sum + e;
                use(j, e);
            }
        }
        return reciprocal(sum);
    }

    // The feature sums of a tap keep the multipliers busy while its exponential mostly uses the adders.
    RFACONV_METHOD void apply(vf* a, const vf* u, const float* g, const float* bias, int64_t) const {
        const vf scale = gates(u, [&](int j, vf e) __attribute__((always_inline)) {
            a[j] = relu(feature_sum<T>(u, g + j * T, bias[j])) * e;
        });
        RFACONV_UNROLL
        for (int j = 0; j < T; ++j) a[j] = a[j] * scale;
    }

    const Channel* channels;
    const Channel* channel;
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

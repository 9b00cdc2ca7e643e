// RFA: gate_j = softmax over the taps of w[c,j] * mean(u).
#ifndef RFACONV_GATES_RFA_H
#define RFACONV_GATES_RFA_H

#include "../features.h"
#include "../window.h"

namespace rfaconv {
namespace RFACONV_ISA {

// The logits of a pixel are w_j * m with one m, so none is larger than m * max |w|: where that is small, no maximum is taken off.
// Powers of two: w is scaled by log2(e), and by 1/T so that the patch's sum serves as m.
template <int T>
struct RfaGate {
    struct Channel {
        float w[T], most;  // scaled, and their largest absolute value
        // w less the lowest and less the highest, of the exact weights, and what rounding took from them
        float above[T], below[T], above_rest[T], below_rest[T];
    };

    static int64_t prepared_floats(const Shape& s) { return s.C * int64_t(sizeof(Channel) / sizeof(float)); }

    static void prepare(const Shape& s, const rfaconv_gate* gate, float* prepared) {
        const double scale = 1.4426950408889634 / T;
        Channel* channel = reinterpret_cast<Channel*>(prepared);
        const float* w = gate->a;
        for (int64_t c = 0; c < s.C; ++c, ++channel, w += T) {
            double low = 0.0, high = 0.0;
            for (int j = 0; j < T; ++j) {
                const float v = channel->w[j] = float(w[j] * scale);
                const float size = v < 0.0f ? -v : v;
                channel->most = j == 0 || size > channel->most ? size : channel->most;
                low = j == 0 || w[j] < low ? w[j] : low;
                high = j == 0 || w[j] > high ? w[j] : high;
            }
            for (int j = 0; j < T; ++j) {
                const double above = (double(w[j]) - low) * scale, below = (double(w[j]) - high) * scale;
                channel->above_rest[j] = float(above - (channel->above[j] = float(above)));
                channel->below_rest[j] = float(below - (channel->below[j] = float(below)));
            }
        }
    }
    static int64_t tile_floats(const Shape&, int64_t) { return 0; }

    RfaGate(const Shape&, const rfaconv_gate*, const float* prepared)
        : channels(reinterpret_cast<const Channel*>(prepared)), channel(channels) {}
    void begin_tile(const Tile&, float*) {}
    void begin_channel(int64_t c) { channel = channels + c; }

    // Whether exponentials of all logits are in range, as they are but for extreme weights or inputs.
    RFACONV_METHOD bool small(vf m) const { return __builtin_expect(all_of(ge(set1(16.0f), absolute(m) * set1(channel->most))), 1); }
    RFACONV_METHOD vf power(vf m, int j) const { return exp2_product(m, set1(channel->w[j])); }

    // use(j, e_j) for every tap, then the factor that makes e_j the gate.
    template <class Use>
    RFACONV_METHOD vf gates(const vf* u, Use use) const {
        const vf m = patch_sum<T>(u);
        vf sum;
        if (T == 1) {  // exactly 1, or NaN
            use(0, set1(1.0f));
            return set1(1.0f) + (m - m);
        }
        if (small(m)) {
            RFACONV_UNROLL
            for (int j = 0; j < T; ++j) {
                const vf e = power(m, j);
                sum = j > 0 ? sum + e : e;
                use(j, e);
            }
        } else {
            // Large logits: the difference of two is all rounding. The mean times the difference of their weights is not;
            // what its rounding takes is large in the exponential, so it is given back there.
            vf error;
            const vf precise = patch_sum_exact<T>(u, error);
            const vm positive = ge(precise + error, zero());
            const vf least = set1(-126.0f);
            sum = m - m;  // NaN where the mean is not finite, as softmax(inf - inf) has it
            RFACONV_UNROLL
            for (int j = 0; j < T; ++j) {
                const vf w = blend(positive, set1(channel->below[j]), set1(channel->above[j]));
                const vf rest = blend(positive, set1(channel->below_rest[j]), set1(channel->above_rest[j]));
                const vf small = fma(error, w, precise * rest), t = fma(precise, w, small);
                const vf slip = (fms(precise, w, t) + small) * set1(0.6931471805599453f);
                // Not a tiny number but nothing: a large gradient would make much of it.
                const vf power = exp2_scaled(max(least, t));
                const vf e = blend(ge(t, least), fma(power, slip, power), zero());
                sum = sum + e;
                use(j, e);
            }
        }
        return reciprocal(sum);
    }

    template <int V, class Patches, class Put>
    RFACONV_METHOD void apply(const Patches& u, const float* g, const float* b, int64_t, Put put) const {
        vf a[V * T], scale[V];
        if constexpr (V > 1) {
            vf m[V];
            bool all = true;
            RFACONV_UNROLL
            for (int i = 0; i < V; ++i) {
                vf own[T];
                RFACONV_UNROLL
                for (int k = 0; k < T; ++k) own[k] = u(i, k);
                m[i] = patch_sum<T>(own);
                all = all && small(m[i]);
            }
            if (all) {
                RFACONV_UNROLL
                for (int j = 0; j < T; ++j)
                    RFACONV_UNROLL
                    for (int i = 0; i < V; ++i) {
                        const vf e = power(m[i], j);
                        scale[i] = j > 0 ? scale[i] + e : e;
                        a[i * T + j] = e;
                    }
                RFACONV_UNROLL
                for (int i = 0; i < V; ++i) scale[i] = reciprocal(scale[i]);
            } else {
                for (int i = 0; i < V; ++i) {
                    vf own[T];
                    for (int k = 0; k < T; ++k) own[k] = u(i, k);
                    scale[i] = gates(own, [&](int j, vf e) __attribute__((always_inline)) { a[i * T + j] = e; });
                }
            }
            features<T, V>(u, g, b, [&](int i, int first, int j, vf f) __attribute__((always_inline)) {
                put(i, first, j, f * a[i * T + first + j] * scale[i]);
            });
        } else {
            // The feature sums of a tap keep the multipliers busy while its exponential mostly uses the adders.
            scale[0] = gates(u.u, [&](int j, vf e) __attribute__((always_inline)) { a[j] = relu(feature_sum<T>(u.u, g, b, j)) * e; });
            RFACONV_UNROLL
            for (int j = 0; j < T; ++j) put(0, 0, j, a[j] * scale[0]);
        }
    }

    const Channel* channels;
    const Channel* channel;
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

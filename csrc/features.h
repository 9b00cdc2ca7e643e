// feature = relu(G' u + b') of one channel at one vector of pixels.
#ifndef RFACONV_FEATURES_H
#define RFACONV_FEATURES_H

#include "vec.h"

namespace rfaconv {
namespace RFACONV_ISA {

// G' (T,T), row = output tap, and b' (T) of a channel.
template <int T>
struct FeatureWeights {
    // Where there are few registers each weight is read for one multiplication. AVX2 can do that with a vector in memory, but not
    // with one number; 25 taps of vectors would fill the first-level cache.
    enum : bool { spread = registers == 16 && lanes > 1 && T <= 9 };
    enum : int64_t { step = spread ? int64_t(lanes) : 1, floats = spread ? T * (T + 1) * int64_t(lanes) : 0 };

    // memory: floats of them, which this channel's weights take until the next one's are put there.
    RFACONV_METHOD FeatureWeights(const float* weights, const float* bias, float* memory) : g(weights), b(bias) {
        if (!spread) return;
        for (int j = 0; j < T * T; ++j) store(memory + j * lanes, set1(weights[j]));
        for (int j = 0; j < T; ++j) store(memory + (T * T + j) * lanes, set1(bias[j]));
        g = memory, b = memory + T * T * lanes;
    }
    RFACONV_METHOD vf weight(int j, int k) const { return spread ? load(g + (j * T + k) * step) : set1(g[j * T + k]); }
    RFACONV_METHOD vf bias(int j) const { return spread ? load(b + j * step) : set1(b[j]); }

private:
    const float *g, *b;
};

// z_j = g_j . u + b_j, before the ReLU. Two chains: half the latency.
template <int T>
RFACONV_INLINE vf feature_sum(const vf* u, const FeatureWeights<T>& w, int j) {
    vf z = w.bias(j);
    if (T == 1) return fma(u[0], w.weight(j, 0), z);
    vf r = u[T / 2] * w.weight(j, T / 2);
    RFACONV_UNROLL
    for (int k = 0; k < T / 2; ++k) z = fma(u[k], w.weight(j, k), z);
    RFACONV_UNROLL
    for (int k = T / 2 + 1; k < T; ++k) r = fma(u[k], w.weight(j, k), r);
    return z + r;
}

// All features of a channel.
template <int T>
RFACONV_INLINE void features(vf* f, const vf* u, const FeatureWeights<T>& w) {
    RFACONV_UNROLL
    for (int j = 0; j < T; ++j) f[j] = relu(feature_sum<T>(u, w, j));
}

template <int T>
RFACONV_INLINE vf patch_sum(const vf* u) {
    if (T == 1) return u[0];
    vf s = u[0], r = u[T / 2];  // two chains: half the latency
    RFACONV_UNROLL
    for (int j = 1; j < T / 2; ++j) s = s + u[j];
    RFACONV_UNROLL
    for (int j = T / 2 + 1; j < T; ++j) r = r + u[j];
    return s + r;
}

// The sum and, in `error`, what its rounding lost (two-sum of Knuth).
template <int T>
RFACONV_INLINE vf patch_sum_exact(const vf* u, vf& error) {
    vf s = u[0];
    error = zero();
    RFACONV_UNROLL
    for (int j = 1; j < T; ++j) {
        const vf t = s + u[j], back = t - s;
        error = error + ((s - (t - back)) + (u[j] - back));
        s = t;
    }
    return s;
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

// feature = relu(G' u + b') of one channel at one vector of pixels.
#ifndef RFACONV_FEATURES_H
#define RFACONV_FEATURES_H

#include "vec.h"

namespace rfaconv {
namespace RFACONV_ISA {

// z_j = g_j . u + bias, before the ReLU; g = row j of G'. Two chains: half the latency.
template <int T>
RFACONV_INLINE vf feature_sum(const vf* u, const float* g, float bias) {
    vf z = set1(bias);
    if (T == 1) return fma(u[0], set1(g[0]), z);
    vf r = u[T / 2] * set1(g[T / 2]);
    RFACONV_UNROLL
    for (int k = 0; k < T / 2; ++k) z = fma(u[k], set1(g[k]), z);
    RFACONV_UNROLL
    for (int k = T / 2 + 1; k < T; ++k) r = fma(u[k], set1(g[k]), r);
    return z + r;
}

// All features of a channel; g (T,T), row = output tap.
template <int T>
RFACONV_INLINE void features(vf* f, const vf* u, const float* g, const float* bias) {
    RFACONV_UNROLL
    for (int j = 0; j < T; ++j) f[j] = relu(feature_sum<T>(u, g + j * T, bias[j]));
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

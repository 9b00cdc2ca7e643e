// feature_j = relu(g_j . u + b_j) of one channel: g is (T,T), row = output tap, u the patch under the window.
#ifndef RFACONV_FEATURES_H
#define RFACONV_FEATURES_H

#include "window.h"

namespace rfaconv {
namespace RFACONV_ISA {

// put(i, first, j, start(i, first + j) + sum over k of m[(first + j) * row + k * column] u(i, k)) for V vectors i and all taps
// first + j, first being 0, 3, 6 where V is 3.
template <int T, int V, class Patches, class Start, class Put>
RFACONV_INLINE void block_products(const Patches& u, const float* m, int64_t row, int64_t column, Start start, Put put) {
    enum : int { J = V > 1 ? V : T };
    for (int first = 0; first < T; first += J, m += J * row) {
        vf z[J][V];
        RFACONV_UNROLL
        for (int j = 0; j < J; ++j)
            RFACONV_UNROLL
            for (int i = 0; i < V; ++i) z[j][i] = start(i, first + j);
        RFACONV_UNROLL
        for (int k = 0; k < T; ++k) {
            vf at[V];
            RFACONV_UNROLL
            for (int i = 0; i < V; ++i) at[i] = in_register(u(i, k));
            RFACONV_UNROLL
            for (int j = 0; j < J; ++j) {
                const vf w = set1(m[j * row + k * column]);
                RFACONV_UNROLL
                for (int i = 0; i < V; ++i) z[j][i] = fma(at[i], w, z[j][i]);
            }
        }
        RFACONV_UNROLL
        for (int j = 0; j < J; ++j)
            RFACONV_UNROLL
            for (int i = 0; i < V; ++i) put(i, first, j, z[j][i]);
    }
}

// g_j . u + b_j of one vector, before the ReLU, where a patch stays in registers.
template <int T>
RFACONV_INLINE vf feature_sum(const vf* u, const float* g, const float* b, int j) {
    vf z = set1(b[j]);
    if (T == 1) return fma(u[0], set1(g[j]), z);
    vf r = u[T / 2] * set1(g[j * T + T / 2]);  // two chains: half the latency
    RFACONV_UNROLL
    for (int k = 0; k < T / 2; ++k) z = fma(u[k], set1(g[j * T + k]), z);
    RFACONV_UNROLL
    for (int k = T / 2 + 1; k < T; ++k) r = fma(u[k], set1(g[j * T + k]), r);
    return z + r;
}

// put(i, first, j, feature first + j of vector i) for V vectors with the patches u(i, k).
template <int T, int V, class Patches, class Put>
RFACONV_INLINE void features(const Patches& u, const float* g, const float* b, Put put) {
    if constexpr (FeatureBlock<T>::vectors > 1) {
        block_products<T, V>(
            u, g, T, 1, [=](int, int j) __attribute__((always_inline)) { return set1(b[j]); },
            [&](int i, int first, int j, vf z) __attribute__((always_inline)) { put(i, first, j, relu(z)); });
    } else {
        RFACONV_UNROLL
        for (int j = 0; j < T; ++j) put(0, 0, j, relu(feature_sum<T>(u.u, g, b, j)));
    }
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

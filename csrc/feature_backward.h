// The gradient of features, shared by projection and statistics: with df from a `Pull` (a gate or a statistic),
//     dv = df where feature > 0     dG'_j = sum dv_j u     db'_j = sum dv_j     du = sum_j dv_j g'_j (+ what the gate adds).
#ifndef RFACONV_FEATURE_BACKWARD_H
#define RFACONV_FEATURE_BACKWARD_H

#include "features.h"
#include "input_gradient.h"
#include "prefetch.h"

namespace rfaconv {
namespace RFACONV_ISA {

// acc[j][i] += sum over vectors of dv_j u_i, both [count][T][lanes], for rows j0 .. j0 + J - 1.
template <int T, int J>
RFACONV_INLINE void outer_sums(float* acc, const float* dv, const float* u, int64_t count) {
    vf s[J][T];
    RFACONV_UNROLL
    for (int j = 0; j < J; ++j)
        RFACONV_UNROLL
        for (int i = 0; i < T; ++i) s[j][i] = load(acc + (j * T + i) * lanes);
    for (int64_t v = 0; v < count; ++v, dv += T * lanes, u += T * lanes) {
        vf d[J];
        RFACONV_UNROLL
        for (int j = 0; j < J; ++j) d[j] = load(dv + j * lanes);
        RFACONV_UNROLL
        for (int i = 0; i < T; ++i) {
            const vf w = load(u + i * lanes);
            RFACONV_UNROLL
            for (int j = 0; j < J; ++j) s[j][i] = fma(d[j], w, s[j][i]);
        }
    }
    RFACONV_UNROLL
    for (int j = 0; j < J; ++j)
        RFACONV_UNROLL
        for (int i = 0; i < T; ++i) store(acc + (j * T + i) * lanes, s[j][i]);
}

// acc[j] += sum over vectors of dv_j.
template <int T>
RFACONV_INLINE void plain_sums(float* acc, const float* dv, int64_t count) {
    vf s[T];
    RFACONV_UNROLL
    for (int j = 0; j < T; ++j) s[j] = load(acc + j * lanes);
    for (int64_t v = 0; v < count; ++v, dv += T * lanes)
        RFACONV_UNROLL
        for (int j = 0; j < T; ++j) s[j] = s[j] + load(dv + j * lanes);
    RFACONV_UNROLL
    for (int j = 0; j < T; ++j) store(acc + j * lanes, s[j]);
}

// to[k] += sum of the lanes of acc[k], k < n.
static void add_lane_sums(double* to, const float* acc, int64_t n) {
    for (int64_t k = 0; k < n; k += lanes) {
        vf r[lanes];
        for (int64_t i = 0; i < lanes; ++i) r[i] = k + i < n ? load(acc + (k + i) * lanes) : zero();
        float sum[lanes];
        store(sum, lane_sums(r));
        for (int64_t i = 0; i < imin(lanes, n - k); ++i) to[k + i] += double(sum[i]);
    }
}

// dG' and db' of channels [from, to): the sum of `shares` arrays [C][T*T + T]. Either output may be null.
template <int T>
static void write_feature_sums(const double* sums, int64_t shares, int64_t channels, int64_t from, int64_t to, float* dg,
                               float* dbias) {
    constexpr int64_t n = T * T + T;
    for (int64_t c = from; c < to; ++c)
        for (int64_t k = 0; k < n; ++k) {
            double sum = 0.0;
            for (int64_t i = 0; i < shares; ++i) sum += sums[(i * channels + c) * n + k];
            if (k < T * T) {
                if (dg != nullptr) dg[c * T * T + k] = float(sum);
            } else if (dbias != nullptr) {
                dbias[c * T + k - T * T] = float(sum);
            }
        }
}

template <int T>
struct FeatureBackward {
    // Vectors of pixels that go through the passes together: their u, f and dv stay in the first cache.
    enum : int { sums_count = T * T + T, block = T > 9 ? 4 : FeatureBlock<T>::vectors > 1 ? 9 : 8 };
    const rfaconv_tensor& x;
    const Shape& s;
    const float *g, *bias;   // of all channels
    double* sums;            // [C][sums_count] of this thread's images, or null: dG' then db' of each channel
    int64_t group;
    bool want_dx;
    // Memory of one thread.
    void* index;
    float *planes, *lines, *dplanes, *dv, *us, *fs, *more, *acc;
    InputGradient input;
    Tile t;
    Stream ahead[2];
    int64_t quota[2];

    FeatureBackward(Arena& a, const rfaconv_tensor& x_, const Shape& s_, const float* g_, const float* bias_, double* sums_,
                    rfaconv_tensor* dx, const Chunks& chunks, int64_t channels)
        : x(x_), s(s_), g(g_), bias(bias_), sums(sums_), group(imax(stage_group(x_), dx == nullptr ? 1 : stage_group(*dx))),
          want_dx(dx != nullptr), index(a.take<char>(tile_index_bytes(s, chunks.pixels_bound(s)))),
          planes(a.floats(group * tile_channel_floats(s, chunks.pixels_bound(s)))), lines(a.floats(stage_line_floats(s))),
          dplanes(a.floats(want_dx ? group * tile_channel_floats(s, chunks.pixels_bound(s)) : 0)),
          dv(a.floats(block * T * lanes)), us(a.floats(block * T * lanes)), fs(a.floats(block * T * lanes)),
          more(a.floats(block * lanes)), acc(a.floats(sums_count * lanes)),
          input(a, s, dx, chunks, channels, group) {}

    void begin_tile(const Chunk& chunk) { make_tile(t, s, chunk.begin, chunk.end, index); }

    // Channels first .. first + n - 1; `own` is the first one's place among the thread's channels. rows: dA of the group's
    // channels, T rows of row_stride each, replaced by the panel; null if the pull needs none.
    template <class Pull>
    void run(int64_t first, int64_t n, int64_t own, float* rows, int64_t row_stride, Pull& pull) {
        for (int64_t at = 0; at < n; at += group) {
            const int64_t m = imin(group, n - at);
            stage(x, s, t, first + at, m, planes, lines);
            // The next group's inputs, and the rows of dx that this one will write.
            ahead[0] = first + at + m < s.C ? input_stream(x, s, t, first + at + m, imin(group, s.C - first - at - m)) : no_stream();
            ahead[1] = want_dx ? input_stream(*input.gradient(), s, t, first + at, m) : no_stream();
            for (int k = 0; k < 2; ++k) quota[k] = ceil_div(ahead[k].total(), t.vectors * m);
            for (int64_t i = 0; i < m; ++i)
                channel(first + at + i, i, rows == nullptr ? nullptr : rows + (at + i) * T * row_stride, row_stride, pull);
            if (!want_dx) continue;
            for (int64_t k = 0; k < t.spans; ++k) {
                input.begin(t.span[k], own + at);
                for (int64_t i = 0; i < m; ++i) input.fold(i, dplanes + i * t.channel_stride, t, t.span[k]);
                input.write(first + at, m);
            }
        }
    }

private:
    template <class Pull>
    void channel(int64_t c, int64_t i, float* rows, int64_t row_stride, Pull& pull) {
        const float* const gc = g + c * T * T;
        float* const dp = dplanes + i * t.channel_stride;
        if (want_dx) zero_floats(dp, t.channel_stride);
        zero_floats(acc, sums_count * lanes);
        pull.begin_channel(c);
        const float* const plane = planes + i * t.channel_stride;
        // Short passes over a few vectors: each keeps its values in registers, and the processor overlaps its vectors.
        for (int64_t from = 0; from < t.vectors; from += block) {
            const int64_t count = imin(block, t.vectors - from);
            make_features(plane, gc, bias + c * T, from, count);
            for (int64_t v = 0; v < count; ++v) {
                float* const at = rows == nullptr ? nullptr : rows + (from + v) * lanes;
                ahead[0].advance(quota[0]);
                ahead[1].advance(quota[1]);
                pull_gradient(pull, from + v, at, row_stride, us + v * T * lanes, fs + v * T * lanes, dv + v * T * lanes, more + v * lanes);
            }
            if (want_dx)
                push_patches(gc, from, count, dp);
            if (sums == nullptr) continue;
            constexpr int J = T == 9 && registers == 32 ? 3 : 1;
            for (int j = 0; j < T; j += J) outer_sums<T, J>(acc + j * T * lanes, dv + j * lanes, us, count);
            plain_sums<T>(acc + T * T * lanes, dv, count);
        }
        pull.end_channel(c);
        if (sums != nullptr) add_lane_sums(sums + c * sums_count, acc, sums_count);
    }

    RFACONV_METHOD void make_features(const float* plane, const float* gc, const float* b, int64_t from, int64_t count) {
        const PatchReader<T> patch(plane, t);  // gradients have planes for every tap column, without masks
        feature_blocks<T>(t, from, count, [&](auto block_vectors, int64_t v) __attribute__((always_inline)) {
            constexpr int V = decltype(block_vectors)::value;
            auto u = patch.template at<V>(v);
            float *const u_out = us + (v - from) * T * lanes, *const f_out = fs + (v - from) * T * lanes;
            RFACONV_UNROLL
            for (int i = 0; i < V; ++i) {
                const int64_t live = t.end - t.begin - (v + i) * lanes;
                RFACONV_UNROLL
                for (int k = 0; k < T; ++k) {
                    const vf value = live < lanes ? blend(first_lanes(live), u(i, k), zero()) : u(i, k);
                    store(u_out + (i * T + k) * lanes, value);
                    if constexpr (V == 1) u.u[k] = value;
                }
            }
            features<T, V>(u, gc, b, [=](int i, int first, int j, vf f) __attribute__((always_inline)) {
                store(f_out + (i * T + first + j) * lanes, f);
            });
        });
    }
    template <class Pull>
    RFACONV_METHOD void pull_gradient(Pull& pull, int64_t v, float* rows, int64_t row_stride, const float* u, const float* f,
                                      float* dv_out, float* more_out) {
        vf df[T];
        store(more_out, pull.apply(df, f, u, v, rows, row_stride));
        const int64_t live = t.end - t.begin - v * lanes;
        if (live < lanes)
            for (int j = 0; j < T; ++j) df[j] = blend(first_lanes(live), df[j], zero());
        // relu'(NaN) = 1, as in torch
        RFACONV_UNROLL
        for (int j = 0; j < T; ++j) store(dv_out + j * lanes, blend(ge(zero(), load(f + j * lanes)), zero(), df[j]));
    }
    RFACONV_METHOD void push_patches(const float* gc, int64_t from, int64_t count, float* dp) {
        feature_blocks<T>(t, from, count, [&](auto block_vectors, int64_t at) __attribute__((always_inline)) {
            constexpr int V = decltype(block_vectors)::value;
            const int64_t v = at - from;
            vf du[V * T];
            const float* const d = dv + v * T * lanes;
            if constexpr (FeatureBlock<T>::vectors > 1) {
                block_products<T, V>(
                    [=](int i, int j) __attribute__((always_inline)) { return load(d + (i * T + j) * lanes); }, gc, 1, T,
                    [=](int i, int) __attribute__((always_inline)) { return load(more + (v + i) * lanes); },
                    [&](int i, int first, int k, vf sum) __attribute__((always_inline)) { du[i * T + first + k] = sum; });
            } else {
                push_patch(du, gc, d, load(more + v * lanes));
            }
            for (int i = 0; i < V; ++i) add_patch<T>(dp, t, at + i, du + i * T);
        });
    }
    RFACONV_METHOD void push_patch(vf* du, const float* gc, const float* dv_in, vf add) {
        vf d[T];
        RFACONV_UNROLL
        for (int j = 0; j < T; ++j) d[j] = load(dv_in + j * lanes);
        RFACONV_UNROLL
        for (int i = 0; i < T; ++i) {
            vf low = d[0] * set1(gc[i]), high = T > 1 ? d[T / 2] * set1(gc[T / 2 * T + i]) : zero();  // short chains round less
            RFACONV_UNROLL
            for (int j = 1; j < T / 2; ++j) low = fma(d[j], set1(gc[j * T + i]), low);
            RFACONV_UNROLL
            for (int j = T / 2 + 1; j < T; ++j) high = fma(d[j], set1(gc[j * T + i]), high);
            du[i] = (low + high) + add;
        }
    }
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

// feature_stats_backward: df from the gradients of the statistics, then the gradient of the features.
#ifndef RFACONV_STATS_BACKWARD_H
#define RFACONV_STATS_BACKWARD_H

#include "feature_backward.h"
#include "gates/rfca.h"
#include "gates/rfcbam.h"
#include "scratch.h"
#include "stats.h"
#include "thread_grid.h"

namespace rfaconv {
namespace RFACONV_ISA {

struct StatsGradient {
    const rfaconv_tensor* x;
    const float *g, *bias, *d0, *d1, *s0, *s1;
    rfaconv_tensor* dx;
    float *dg, *dbias;
    float* prepared;  // rfcbam: the gradient that each channel at the maximum gets, (B,T,Ho,Wo); rfca: see RfcaGate::prepare
};

// Loads values of (B,T,Ho,Wo) for the pixels of vector v.
RFACONV_INLINE vf load_pixels(const float* map, const Shape& s, const Tile& t, int64_t v, int64_t j) {
    const int64_t plane = s.Ho * s.Wo;
    vf value = zero();
    for (int64_t k = t.first_segment[v]; k < t.first_segment[v + 1]; ++k) {
        const Segment& part = t.segment[k];
        value = load_mask(value, map + (part.image * s.T + j) * plane + t.begin + v * lanes - part.image * plane,
                          lanes_between(part.from, part.to));
    }
    return value;
}

// df = dmean / C + (share where f is the maximum). A NaN maximum gives NaN to all channels, as torch's amax does.
template <int T>
struct ChannelPull {
    static int64_t tile_floats(const Shape&, int64_t pixels) { return 3 * T * round_up(pixels, lanes); }
    ChannelPull(const Shape& shape, const StatsGradient& gradient, float* memory_) : s(shape), a(gradient), memory(memory_) {}
    void begin_tile(const Tile& t) {
        const vf scale = set1(float(1.0 / double(s.C)));
        for (int64_t v = 0; v < t.vectors; ++v)
            for (int j = 0; j < T; ++j) {
                float* const to = memory + (v * T + j) * 3 * lanes;
                const vf top = load_pixels(a.s0, s, t, v, j);
                store(to, load_pixels(a.d1, s, t, v, j) * scale + (top - top));
                store(to + lanes, top);
                store(to + 2 * lanes, load_pixels(a.prepared, s, t, v, j));
            }
    }
    void begin_channel(int64_t) {}
    void end_channel(int64_t) {}
    RFACONV_METHOD vf apply(vf* df, const float* f, const float*, int64_t v, float*, int64_t) const {
        const float* const from = memory + v * T * 3 * lanes;
        RFACONV_UNROLL
        for (int j = 0; j < T; ++j) {
            const vf all = load(from + j * 3 * lanes);
            df[j] = blend(eq(load(f + j * lanes), load(from + (j * 3 + 1) * lanes)), all + load(from + (j * 3 + 2) * lanes), all);
        }
        return zero();
    }
    const Shape& s;
    const StatsGradient& a;
    float* memory;
};

// df = drow / (kw Wo) + dcol / (kh Ho): the gate of rfca holds both lines.
template <int T>
struct LinePull {
    enum : int { K = RfcaGate<T>::K };
    static int64_t tile_floats(const Shape& s, int64_t pixels) { return RfcaGate<T>::tile_floats(s, pixels); }
    LinePull(const Shape& shape, const StatsGradient& a, float* memory_)
        : s(shape), both{a.d0, a.d1}, gate(shape, &both, a.prepared), memory(memory_), by_row(set1(float(1.0 / double(K * s.Wo)))),
          by_col(set1(float(1.0 / double(K * s.Ho)))) {}
    void begin_tile(const Tile& t) { gate.begin_tile(t, memory); }
    void begin_channel(int64_t c) { gate.begin_channel(c); }
    void end_channel(int64_t) {}
    RFACONV_METHOD vf apply(vf* df, const float*, const float*, int64_t v, float*, int64_t) const {
        vf across[K];
        RFACONV_UNROLL
        for (int j = 0; j < K; ++j) across[j] = gate.across(v, j) * by_col;
        RFACONV_UNROLL
        for (int j = 0; j < T; ++j) df[j] = fma(gate.down(v, j / K), by_row, across[j % K]);
        return zero();
    }
    const Shape& s;
    const rfaconv_gate both;
    RfcaGate<T> gate;
    float* memory;
    const vf by_row, by_col;
};

// share = dmax / (channels whose feature is the maximum); 0 where the maximum is 0, as nothing passes the ReLU there.
template <int T>
static int32_t count_shares(const StatsGradient& a, const Shape& s, int64_t threads) {
    const int64_t width = stats_tile<T>(s, threads), group = imax(2, stage_group(*a.x)), plane = s.Ho * s.Wo;
    const int64_t count = ceil_div(s.pixels, width);
    threads = imin(threads, count);
    Arena measure(nullptr);
    StatsMemory(Count<T>(), measure, s, width, group, 2 * T * round_up(width, lanes));
    Scratch scratch{size_t(measure.used * threads)};
    if (scratch.data() == nullptr) return RFACONV_OUT_OF_MEMORY;
    parallel(threads, [=, &a, &s, &scratch](Crew crew) {
        const int64_t me = crew.me, team = crew.size;
        Arena arena(static_cast<char*>(scratch.data()) + me * measure.used);
        const StatsMemory m(Count<T>(), arena, s, width, group, 2 * T * round_up(width, lanes));
        for (int64_t i = count * me / team; i < count * (me + 1) / team; ++i) {
            Tile t;
            make_tile(t, s, i * width, imin((i + 1) * width, s.pixels), m.index);
            for (int64_t v = 0; v < t.vectors; ++v)
                for (int j = 0; j < T; ++j) {
                    store(m.more + (v * T + j) * 2 * lanes, load_pixels(a.s0, s, t, v, j));
                    store(m.more + ((v * T + j) * 2 + 1) * lanes, zero());
                }
            over_all_channels<T>(*a.x, s, t, a.g, a.bias, group, m.planes, m.unmasked, m.lines, m.more,
                                 [](vf f, vf& highest, vf& n) __attribute__((always_inline)) {
                                     n = n + blend(eq(f, highest), set1(1.0f), zero());
                                 });
            for (int64_t v = 0; v < t.vectors; ++v)
                for (int j = 0; j < T; ++j) {
                    const float* const at = m.more + (v * T + j) * 2 * lanes;
                    const vf n = load(at + lanes), top = load(at);
                    const vf share = load_pixels(a.d0, s, t, v, j) / max(n, set1(1.0f));
                    for (int64_t k = t.first_segment[v]; k < t.first_segment[v + 1]; ++k) {
                        const Segment& part = t.segment[k];
                        const int64_t to = (part.image * T + j) * plane + t.begin + v * lanes - part.image * plane;
                        store_within(a.prepared + to, blend(gt(top, zero()), share, zero()), part.from, part.to);
                    }
                }
        }
    });
    return RFACONV_OK;
}

template <int T, class Pull>
static int32_t stats_backward_with(const StatsGradient& a, const Shape& s, int64_t threads) {
    const Chunks chunks(s, 448);
    const ThreadGrid grid(s, 0, threads);
    threads = grid.threads();
    const bool want_sums = a.dg != nullptr || a.dbias != nullptr;
    const int64_t sums_count = want_sums ? s.C * FeatureBackward<T>::sums_count : 0;
    const int64_t pull_floats = Pull::tile_floats(s, chunks.pixels_bound(s));
    Arena measure(nullptr);
    measure.floats(pull_floats);
    FeatureBackward<T>(measure, *a.x, s, a.g, a.bias, nullptr, a.dx, chunks, grid.channels);
    const int64_t shared = grid.image_shares * sums_count * int64_t(sizeof(double));
    Scratch scratch{size_t(round_up(shared, 64) + measure.used * threads)};
    if (scratch.data() == nullptr) return RFACONV_OUT_OF_MEMORY;
    double* const all_sums = static_cast<double*>(scratch.data());
    memset(all_sums, 0, size_t(shared));
    char* const own = static_cast<char*>(scratch.data()) + round_up(shared, 64);
    parallel(threads, [=, &a, &s](Crew crew) {
        const int64_t me = crew.me, team = crew.size;
        for (int64_t i = me; i < threads; i += team) {
            const int64_t image_share = i / grid.channel_shares, channel_share = i % grid.channel_shares;
            Arena arena(own + i * measure.used);
            Pull pull(s, a, arena.floats(pull_floats));
            double* const sums = want_sums ? all_sums + image_share * sums_count : nullptr;
            FeatureBackward<T> features(arena, *a.x, s, a.g, a.bias, sums, a.dx, chunks, grid.channels);
            const int64_t from = grid.first_image(image_share), to = grid.first_image(image_share + 1);
            const int64_t first = grid.first_channel(channel_share), last = grid.first_channel(channel_share + 1);
            for (int64_t k = 0; k < (to > from ? chunks.count_of(to - from) : 0); ++k) {
                features.begin_tile(chunks.at(s, from, to, k));
                pull.begin_tile(features.t);
                features.run(first, last - first, 0, nullptr, 0, pull);
            }
        }
        crew.barrier();
        if (want_sums)
            for (int64_t i = me; i < threads; i += team)
                write_feature_sums<T>(all_sums, grid.image_shares, s.C, s.C * i / threads, s.C * (i + 1) / threads, a.dg, a.dbias);
    });
    return RFACONV_OK;
}

template <int T>
static int32_t stats_backward_taps(StatsGradient& a, const Shape& s, int32_t kind, int64_t threads) {
    const bool rfca = kind == RFACONV_RFCA;
    if (!rfca && (kind != RFACONV_RFCBAM || a.s0 == nullptr)) return RFACONV_BAD_ARGUMENT;
    Scratch prepared{size_t(rfca ? RfcaGate<T>::prepared_floats(s) : T * s.pixels) * sizeof(float)};
    if (prepared.data() == nullptr) return RFACONV_OUT_OF_MEMORY;
    a.prepared = static_cast<float*>(prepared.data());
    if (rfca) {
        const rfaconv_gate both{a.d0, a.d1};
        RfcaGate<T>::prepare(s, &both, a.prepared);
        return stats_backward_with<T, LinePull<T>>(a, s, threads);
    }
    const int32_t status = count_shares<T>(a, s, threads);
    return status != RFACONV_OK ? status : stats_backward_with<T, ChannelPull<T>>(a, s, threads);
}

static int32_t feature_stats_backward(const float* d0, const float* d1, const rfaconv_tensor* x, const rfaconv_window* window,
                                      const float* feature_weight, const float* feature_bias, const float* s0, const float* s1,
                                      int32_t kind, rfaconv_tensor* dx, float* dfeature_weight, float* dfeature_bias,
                                      int32_t threads) {
    const Shape s = make_shape(*x, *window);
    StatsGradient a{x, feature_weight, feature_bias, d0, d1, s0, s1, dx, dfeature_weight, dfeature_bias, nullptr};
    switch (s.T) {
        case 1: return stats_backward_taps<1>(a, s, kind, threads);
        case 9: return stats_backward_taps<9>(a, s, kind, threads);
        case 25: return stats_backward_taps<25>(a, s, kind, threads);
        default: return RFACONV_UNSUPPORTED;
    }
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

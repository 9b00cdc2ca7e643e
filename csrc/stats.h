// feature_stats: what the attention of RFCBAM and RFCA needs to know of the features, reduced while they are made.
#ifndef RFACONV_STATS_H
#define RFACONV_STATS_H

#include "chunks.h"
#include "features.h"
#include "line_sums.h"
#include "prefetch.h"
#include "scratch.h"

namespace rfaconv {
namespace RFACONV_ISA {

// use(f, first, second) with the feature f of every vector v, tap j and channel of N; the state `first`, `second` of (v, j)
// is two vectors at run + (v*T + j) * 2 * lanes.
template <int T, int N, class Use>
static void over_channels(const Shape& s, const Tile& t, const float* planes, float* unmasked, const float* g,
                          const float* b, float* run, Stream& ahead, int64_t quota, Use use) {
    if (N == 1) unmask<T>(unmasked, planes, s, t);
    const PatchReader<T> patch(planes, t, unmasked);
    feature_blocks<T>(t, 0, t.vectors, [&](auto count, int64_t v) __attribute__((always_inline)) {
        constexpr int V = decltype(count)::value;
        ahead.advance(V * quota);
        const auto with = [=](int i, int j, const vf* f) __attribute__((always_inline)) {
            float* const at = run + ((v + i) * T + j) * 2 * lanes;
            vf first = load(at), second = load(at + lanes);
            RFACONV_UNROLL
            for (int n = 0; n < N; ++n) use(f[n], first, second);
            store(at, first);
            store(at + lanes, second);
        };
        if constexpr (N == 1) {
            features<T, V>(patch.template at<V>(v), g, b, [=](int i, int first, int j, vf f) __attribute__((always_inline)) {
                with(i, first + j, &f);
            });
        } else {
            vf u[N][T];
            RFACONV_UNROLL
            for (int n = 0; n < N; ++n) load_patch<T>(u[n], planes + n * t.channel_stride, t, v);
            RFACONV_UNROLL
            for (int j = 0; j < T; ++j) {
                vf f[N];
                RFACONV_UNROLL
                for (int n = 0; n < N; ++n) f[n] = relu(feature_sum<T>(u[n], g + n * T * T, b + n * T, j));
                with(0, j, f);
            }
        }
    });
}
// The same for all channels of a tile, two at a time where the registers hold two patches: half the loads and stores of the state.
template <int T, class Use>
static void over_all_channels(const rfaconv_tensor& x, const Shape& s, const Tile& t, const float* g, const float* bias,
                              int64_t group, float* planes, float* unmasked, float* lines, float* run, Use use) {
    enum : int { together = registers > 16 && T <= 9 ? 2 : 1 };
    for (int64_t c = 0; c < s.C; c += group) {
        const int64_t n = imin(group, s.C - c);
        stage(x, s, t, c, n, planes, lines);
        Stream ahead = c + n < s.C ? input_stream(x, s, t, c + n, imin(group, s.C - c - n)) : no_stream();
        const int64_t quota = ceil_div(ahead.total(), t.vectors * imax(1, n / together));
        int64_t i = 0;
        for (; i + together <= n; i += together)
            over_channels<T, together>(s, t, planes + i * t.channel_stride, unmasked, g + (c + i) * T * T, bias + (c + i) * T, run,
                                       ahead, quota, use);
        for (; i < n; ++i)
            over_channels<T, 1>(s, t, planes + i * t.channel_stride, unmasked, g + (c + i) * T * T, bias + (c + i) * T, run, ahead,
                                quota, use);
    }
}

// Pixels of a tile: whole rows where they are short, as a tile stages every row that it touches.
template <int T>
RFACONV_INLINE int64_t stats_tile(const Shape& s, int64_t threads) {
    const int64_t target = T > 9 ? 96 : 256, unit = s.Wo <= target ? s.Wo : lanes, units = ceil_div(s.pixels, unit);
    const int64_t tiles = round_up(ceil_div(s.pixels, target), imin(threads, units));
    return ceil_div(units, imin(units, tiles)) * unit;
}

// Memory of one thread: index and planes of a tile of at most `pixels` pixels, `group` channels of it at once, and `floats` more.
struct StatsMemory {
    void* index;
    float *planes, *unmasked, *lines, *more;
    template <int T>
    StatsMemory(Count<T>, Arena& a, const Shape& s, int64_t pixels, int64_t group, int64_t floats)
        : index(a.take<char>(tile_index_bytes(s, pixels))), planes(a.floats(group * tile_channel_floats(s, pixels))),
          unmasked(a.floats(unmasked_floats<T>(s, pixels))), lines(a.floats(stage_line_floats(s))), more(a.floats(floats)) {}
};

// max and mean over channels: tiles of pixels, a loop over channels inside, running max and sum in the first cache.
template <int T>
static int32_t channel_stats(const rfaconv_tensor* x, const Shape& s, const float* g, const float* bias, float* top, float* mean,
                             int32_t threads) {
    const int64_t width = stats_tile<T>(s, threads), group = imax(2, stage_group(*x)), plane = s.Ho * s.Wo;
    const int64_t count = ceil_div(s.pixels, width);
    threads = int32_t(imin(threads, count));
    Arena measure(nullptr);
    StatsMemory(Count<T>(), measure, s, width, group, 2 * T * round_up(width, lanes));
    Scratch scratch{size_t(measure.used * threads)};
    if (scratch.data() == nullptr) return RFACONV_OUT_OF_MEMORY;

    parallel(threads, [=, &s, &scratch](Crew crew) {
        const int64_t me = crew.me, team = crew.size;
        Arena arena(static_cast<char*>(scratch.data()) + me * measure.used);
        const StatsMemory m(Count<T>(), arena, s, width, group, 2 * T * round_up(width, lanes));
        float* const run = m.more;
        for (int64_t i = count * me / team; i < count * (me + 1) / team; ++i) {
            Tile t;
            make_tile(t, s, i * width, imin((i + 1) * width, s.pixels), m.index);
            zero_floats(run, 2 * T * t.vectors * lanes);
            over_all_channels<T>(*x, s, t, g, bias, group, m.planes, m.unmasked, m.lines, run,
                                 [](vf f, vf& highest, vf& sum) __attribute__((always_inline)) {
                                     highest = max(highest, f);
                                     sum = sum + f;
                                 });
            // A NaN may be lost from the maximum (see vec.h), never from the sum: features are not negative.
            const vf scale = set1(float(1.0 / double(s.C)));
            for (int64_t v = 0; v < t.vectors; ++v)
                for (int j = 0; j < T; ++j) {
                    const float* const at = run + (v * T + j) * 2 * lanes;
                    const vf sum = load(at + lanes);
                    const vf highest = blend(eq(sum, sum), load(at), sum);
                    const Segment* const stop = t.segment + t.first_segment[v + 1];
                    for (const Segment* p = t.segment + t.first_segment[v]; p < stop; ++p) {
                        const int64_t to = (p->image * T + j) * plane + (t.begin + v * lanes) - p->image * plane;
                        store_within(top + to, highest, p->from, p->to);
                        store_within(mean + to, sum * scale, p->from, p->to);
                    }
                }
        }
    });
    return RFACONV_OK;
}

// Means over the rows and columns of the enlarged map: each channel of an image by itself.
template <int K>
static int32_t line_stats(const rfaconv_tensor* x, const Shape& s, const float* g, const float* bias, float* row, float* col,
                          int32_t threads) {
    enum : int { T = K * K };
    const Chunks chunks(s, 448);
    const int64_t group = stage_group(*x), groups = ceil_div(s.C, group), parts = chunks.count_of(s.B);
    const int64_t image_units = chunks.per_image > 1 ? s.B : parts;  // the chunks of one image stay together
    const int64_t tasks = image_units * groups, bound = round_up(chunks.pixels_bound(s), lanes), floats = 2 * K * bound + lanes;
    threads = int32_t(imin(threads, tasks));
    Arena measure(nullptr);
    StatsMemory(Count<T>(), measure, s, bound, group, floats);
    Scratch scratch{size_t(measure.used * threads)};
    if (scratch.data() == nullptr) return RFACONV_OUT_OF_MEMORY;
    const float row_scale = float(1.0 / double(K * s.Wo)), col_scale = float(1.0 / double(K * s.Ho));

    parallel(threads, [=, &s, &scratch](Crew crew) {
        const int64_t me = crew.me, team = crew.size;
        Arena arena(static_cast<char*>(scratch.data()) + me * measure.used);
        const StatsMemory m(Count<T>(), arena, s, bound, group, floats);
        float *const by_row = m.more, *const by_col = m.more + K * bound;
        const int64_t stop = tasks * (me + 1) / team;
        // The groups of a unit that are this thread's go through each of its tiles together.
        for (int64_t task = tasks * me / team, next; task < stop; task = next) {
            const int64_t unit = task / groups, first = task % groups * group;
            next = imin(stop, (unit + 1) * groups);
            const int64_t last = imin(s.C, first + (next - task) * group);
            for (int64_t i = unit * chunks.per_image; i < (unit + 1) * chunks.per_image; ++i) {
                const Chunk chunk = chunks.at(s, 0, s.B, i);
                Tile t;
                make_tile(t, s, chunk.begin, chunk.end, m.index);
                for (int64_t c = first; c < last; ++c) {
                    const int64_t staged = (c - first) % group;
                    if (staged == 0) stage(*x, s, t, c, imin(group, last - c), m.planes, m.lines);
                    unmask<T>(m.unmasked, m.planes + staged * t.channel_stride, s, t);
                    const PatchReader<T> patch(m.planes + staged * t.channel_stride, t, m.unmasked);
                    feature_blocks<T>(t, 0, t.vectors, [&](auto count, int64_t v) __attribute__((always_inline)) {
                        constexpr int V = decltype(count)::value;
                        const auto patches = patch.template at<V>(v);
                        const float *const gc = g + c * T * T, *const bc = bias + c * T;
                        if constexpr (V > 1) {
                            vf sum[V];
                            features<T, V>(patches, gc, bc, [&](int i, int first, int j, vf f) __attribute__((always_inline)) {
                                float* const down = by_col + j * bound + (v + i) * lanes;
                                store(down, first == 0 ? f : load(down) + f);
                                sum[i] = j == 0 ? f : sum[i] + f;
                                if (j == K - 1) store(by_row + first / K * bound + (v + i) * lanes, sum[i]);
                            });
                        } else {
                            vf f[T];
                            features<T, V>(patches, gc, bc, [&](int, int, int j, vf a) __attribute__((always_inline)) { f[j] = a; });
                            RFACONV_UNROLL
                            for (int i = 0; i < K; ++i) {
                                vf r = f[i * K], q = f[i];
                                for (int j = 1; j < K; ++j) r = r + f[i * K + j], q = q + f[j * K + i];
                                store(by_row + i * bound + v * lanes, r);
                                store(by_col + i * bound + v * lanes, q);
                            }
                        }
                    });
                    for (int64_t k = 0; k < t.spans; ++k) {
                        const Span& span = t.span[k];
                        const int64_t from = span.image * s.Ho * s.Wo + span.first_row * s.Wo - t.begin;
                        float* const to_row = row + (span.image * s.C + c) * K * s.Ho + span.first_row * K;
                        float* const to_col = col + (span.image * s.C + c) * K * s.Wo;
                        sum_rows<K>(by_row + from, bound, span.rows, s.Wo, row_scale, to_row);
                        sum_columns<K>(by_col + from, bound, span.rows, s.Wo, col_scale, span.first_row == 0, to_col);
                    }
                }
            }
        }
    });
    return RFACONV_OK;
}

template <int K>
static int32_t feature_stats_of(const rfaconv_tensor* x, const rfaconv_window* window, const float* g, const float* bias,
                                int32_t kind, float* s0, float* s1, int32_t threads) {
    const Shape s = make_shape(*x, *window, true);
    if (kind == RFACONV_RFCBAM) return channel_stats<K * K>(x, s, g, bias, s0, s1, threads);
    if (kind == RFACONV_RFCA) return line_stats<K>(x, s, g, bias, s0, s1, threads);
    return RFACONV_BAD_ARGUMENT;
}

static int32_t feature_stats(const rfaconv_tensor* x, const rfaconv_window* window, const float* feature_weight,
                             const float* feature_bias, int32_t kind, float* s0, float* s1, int32_t threads) {
    switch (window->kernel[0]) {
        case 1: return feature_stats_of<1>(x, window, feature_weight, feature_bias, kind, s0, s1, threads);
        case 3: return feature_stats_of<3>(x, window, feature_weight, feature_bias, kind, s0, s1, threads);
        case 5: return feature_stats_of<5>(x, window, feature_weight, feature_bias, kind, s0, s1, threads);
        default: return RFACONV_UNSUPPORTED;
    }
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

// project_backward. Threads form a grid: some share the images, the others the channels. A thread goes through its images in
// chunks of a few hundred pixels and through its channels in blocks: dA = K' dy of the block, then per channel the features
// again, the gate and their gradients (the panel takes dA's place), then dK += dy A'. dx is written row by row when complete.
#ifndef RFACONV_BACKWARD_H
#define RFACONV_BACKWARD_H

#include "backward_pack.h"
#include "feature_backward.h"
#include "gates/none_backward.h"
#include "gates/rfa_backward.h"
#include "gates/rfca_backward.h"
#include "gates/rfcbam_backward.h"
#include "scratch.h"
#include "thread_grid.h"

namespace rfaconv {
namespace RFACONV_ISA {

struct BackwardArguments {
    const rfaconv_tensor *dy, *x;
    const float *feature_weight, *feature_bias;
    const rfaconv_gate* gate;
    const rfaconv_tensor *weight;
    rfaconv_tensor* dx;
    float *dfeature_weight, *dfeature_bias, *dgate_a, *dgate_b, *dweight;
    int32_t kind;
};

enum : int64_t { backward_pixels = 448, backward_channels = 16 };

template <int T, class Gate>
struct ProjectBackward {
    const BackwardArguments& a;
    const Shape& s;
    const Chunks chunks;
    ThreadGrid grid;
    int64_t outputs, padded, block;  // block: channels whose panel is in cache at once
    bool need_da, need_dw, dw_direct;
    // Shared between threads.
    float* prepared;
    double *sums, *gate_sums;  // per share of images
    float *dw_sums, *pixel;    // per share of images, per share of channels

    ProjectBackward(const BackwardArguments& a_, const Shape& s_, int64_t threads)
        : a(a_), s(s_), chunks(s_, backward_pixels), grid(s_, a_.weight->size[0], threads), outputs(a_.weight->size[0]),
          padded(round_up(outputs, lanes)), block(imin(backward_channels, grid.channels)) {
        need_dw = a.dweight != nullptr;
        need_da = a.dx != nullptr || a.dfeature_weight != nullptr || a.dfeature_bias != nullptr || a.dgate_a != nullptr ||
                  a.dgate_b != nullptr;
        // With one chunk a block's dK is complete at once and needs no memory beside the cache.
        dw_direct = grid.image_shares == 1 && chunks.count_of(s.B) == 1;
    }

    bool want_sums() const { return a.dfeature_weight != nullptr || a.dfeature_bias != nullptr; }
    bool want_gate_sums() const { return a.kind == RFACONV_RFA && a.dgate_a != nullptr; }
    bool want_pixel() const { return a.kind == RFACONV_RFCBAM && a.dgate_b != nullptr; }
    int64_t sums_count() const { return s.C * FeatureBackward<T>::sums_count; }
    int64_t pixel_floats() const { return grid.channel_shares > 1 ? T * s.pixels : 0; }

    void take_shared(Arena& arena) {
        prepared = arena.floats(Gate::prepared_floats(s));
        sums = arena.take<double>(want_sums() ? grid.image_shares * sums_count() : 0);
        gate_sums = arena.take<double>(want_gate_sums() ? grid.image_shares * s.C * T : 0);
        dw_sums = arena.floats(need_dw && !dw_direct ? grid.image_shares * s.C * T * padded : 0);
        pixel = arena.floats(want_pixel() ? grid.channel_shares * pixel_floats() : 0);
    }

    struct Workspace {
        float *gate, *panel, *by_pixel, *by_output, *weights, *dw_block;
    };
    Workspace take_own(Arena& arena) const {
        const int64_t pixels = round_up(chunks.pixels_bound(s), lanes);
        Workspace w;
        w.gate = arena.floats(Gate::tile_floats(s, pixels));
        w.panel = arena.floats(block * T * pixels);
        w.by_pixel = arena.floats(need_da ? outputs * pixels : 0);
        w.by_output = arena.floats(need_dw ? padded * pixels : 0);
        w.weights = arena.floats(need_da ? block * T * outputs : 0);
        w.dw_block = arena.floats(need_dw && dw_direct ? block * T * padded : 0);
        return w;
    }
    int64_t own_channels() const { return grid.channels; }
    FeatureBackward<T> take_features(Arena& arena, int64_t share) const {
        return FeatureBackward<T>(arena, *a.x, s, a.feature_weight, a.feature_bias,
                                  want_sums() ? sums + share * sums_count() : nullptr, a.dx, chunks, own_channels());
    }

    void run(int64_t me, Arena& arena) {
        const int64_t image_share = me / grid.channel_shares, channel_share = me % grid.channel_shares;
        const int64_t first_image = grid.first_image(image_share), last_image = grid.first_image(image_share + 1);
        const int64_t first = grid.first_channel(channel_share), last = grid.first_channel(channel_share + 1);
        const Workspace work = take_own(arena);
        FeatureBackward<T> features = take_features(arena, image_share);
        GateGradient gradient{a.gate, a.dgate_a, a.dgate_b, nullptr, nullptr};
        if (want_gate_sums()) gradient.sums = gate_sums + image_share * s.C * T;
        if (want_pixel()) gradient.pixel = grid.channel_shares > 1 ? pixel + channel_share * pixel_floats() : a.dgate_b;
        Gate gate(s, gradient, prepared, work.gate);
        clear_sums(image_share, first, last);

        const int64_t count = last_image > first_image ? chunks.count_of(last_image - first_image) : 0;
        for (int64_t i = 0; i < count; ++i) {
            features.begin_tile(chunks.at(s, first_image, last_image, i));
            const Tile& t = features.t;
            float* const by_pixel = need_da ? work.by_pixel : nullptr;
            float* const by_output = need_dw ? work.by_output : nullptr;
            if (a.dy->dtype == RFACONV_F32)
                pack_dy(*a.dy, t, static_cast<const float*>(a.dy->data), by_pixel, by_output);
            else
                pack_dy(*a.dy, t, static_cast<const uint16_t*>(a.dy->data), by_pixel, by_output);
            gate.begin_tile(t);
            for (int64_t c = first; c < last; c += block) one_block(c, imin(block, last - c), first, image_share, i, work, features, gate);
            gate.end_tile();
        }
    }

    void one_block(int64_t c, int64_t n, int64_t first, int64_t image_share, int64_t chunk, const Workspace& work,
                   FeatureBackward<T>& features, Gate& gate) {
        const Tile& t = features.t;
        const int64_t rows = n * T, stride = t.vectors * lanes;
        if (need_da) {
            if (a.weight->dtype == RFACONV_F32)
                turn_weights(*a.weight, static_cast<const float*>(a.weight->data), c, n, work.weights);
            else
                turn_weights(*a.weight, static_cast<const uint16_t*>(a.weight->data), c, n, work.weights);
            const Strips strips(t.vectors);
            for (int64_t i = 0; i < strips.count; ++i)
                gemm_strip(rows, outputs, work.weights, outputs, 1, work.by_pixel + strips.first(i) * lanes * outputs, strips.width(i),
                           work.panel + strips.first(i) * lanes, stride, false);
        } else {
            zero_floats(work.panel, rows * stride);
        }
        features.run(c, n, c - first, work.panel, stride, gate);
        if (!need_dw) return;
        const int64_t pixels = t.end - t.begin;
        float* const dw = dw_direct ? work.dw_block : dw_sums + (image_share * s.C + c) * T * padded;
        const Strips strips(padded / lanes);
        for (int64_t i = 0; i < strips.count; ++i)
            gemm_strip(rows, pixels, work.panel, stride, 1, work.by_output + strips.first(i) * lanes * pixels, strips.width(i),
                       dw + strips.first(i) * lanes, padded, chunk > 0);
        if (dw_direct) write_dweight(a.dweight, outputs, s.C * T, c * T, rows, dw);
    }

    void clear_sums(int64_t share, int64_t first, int64_t last) {
        if (want_sums())
            memset(sums + share * sums_count() + first * FeatureBackward<T>::sums_count, 0,
                   size_t((last - first) * FeatureBackward<T>::sums_count) * sizeof(double));
        if (want_gate_sums()) memset(gate_sums + (share * s.C + first) * T, 0, size_t((last - first) * T) * sizeof(double));
    }

    // After a barrier: adds the shares, in order, and writes what the shares could not. Part `me` of `team`.
    void finish(int64_t me, int64_t team) {
        const int64_t from = s.C * me / team, to = s.C * (me + 1) / team, shares = grid.image_shares;
        if (want_sums())
            write_feature_sums<T>(sums, shares, s.C, from, to, a.dfeature_weight, a.dfeature_bias);
        if (want_gate_sums())
            for (int64_t k = from * T; k < to * T; ++k) {
                double sum = 0.0;
                for (int64_t i = 0; i < shares; ++i) sum += gate_sums[i * s.C * T + k];
                a.dgate_a[k] = float(sum);
            }
        if (need_dw && !dw_direct && to > from) {
            float* const total = dw_sums + from * T * padded;
            for (int64_t i = 1; i < shares; ++i) add_floats(total, total + i * s.C * T * padded, (to - from) * T * padded);
            write_dweight(a.dweight, outputs, s.C * T, from * T, (to - from) * T, total);
        }
        if (want_pixel() && grid.channel_shares > 1) {
            const int64_t begin = T * s.pixels * me / team, end = T * s.pixels * (me + 1) / team;
            copy_floats(a.dgate_b + begin, pixel + begin, end - begin);
            for (int64_t i = 1; i < grid.channel_shares; ++i) add_floats(a.dgate_b + begin, pixel + i * pixel_floats() + begin, end - begin);
        }
    }
};

template <int T, class Gate>
static int32_t project_backward_with(const BackwardArguments& a, const Shape& s, int64_t threads) {
    ProjectBackward<T, Gate> plan(a, s, threads);
    threads = plan.grid.threads();
    Arena common(nullptr), own(nullptr);
    plan.take_shared(common);
    plan.take_own(own);
    plan.take_features(own, 0);
    Scratch scratch{size_t(common.used + own.used * threads)};
    if (scratch.data() == nullptr) return RFACONV_OUT_OF_MEMORY;
    char* const base = static_cast<char*>(scratch.data());
    Arena shared(base);
    plan.take_shared(shared);
    Gate::prepare(s, a.gate, plan.prepared);
    parallel(threads, [&](Crew crew) {
        // The runtime may give fewer threads than asked; the shares are then done in turns.
        const int64_t me = crew.me, team = crew.size;
        for (int64_t i = me; i < threads; i += team) {
            Arena arena(base + common.used + i * own.used);
            plan.run(i, arena);
        }
        crew.barrier();
        for (int64_t i = me; i < threads; i += team) plan.finish(i, threads);
    });
    return RFACONV_OK;
}

template <int T>
static int32_t project_backward_taps(const BackwardArguments& a, const Shape& s, int64_t threads) {
    switch (a.kind) {
        case RFACONV_RFA: return project_backward_with<T, RfaBackward<T>>(a, s, threads);
        case RFACONV_RFCBAM: return project_backward_with<T, RfcbamBackward<T>>(a, s, threads);
        case RFACONV_RFCA: return project_backward_with<T, RfcaBackward<T>>(a, s, threads);
        case RFACONV_NONE: return project_backward_with<T, NoneBackward<T>>(a, s, threads);
        default: return RFACONV_BAD_ARGUMENT;
    }
}

static int32_t project_backward(const rfaconv_tensor* dy, const rfaconv_tensor* x, const rfaconv_window* window,
                                const float* feature_weight, const float* feature_bias, int32_t kind, const rfaconv_gate* gate,
                                const rfaconv_tensor* weight, rfaconv_tensor* dx, float* dfeature_weight, float* dfeature_bias,
                                float* dgate_a, float* dgate_b, float* dweight, int32_t threads) {
    const Shape s = make_shape(*x, *window);
    const BackwardArguments a{dy, x, feature_weight, feature_bias, gate, weight, dx, dfeature_weight, dfeature_bias,
                              dgate_a, dgate_b, dweight, kind};
    switch (s.T) {
        case 1: return project_backward_taps<1>(a, s, threads);
        case 9: return project_backward_taps<9>(a, s, threads);
        case 25: return project_backward_taps<25>(a, s, threads);
        default: return RFACONV_UNSUPPORTED;
    }
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

// Projection: y = K A + bias, with the panel A made tile by tile and chunk by chunk in cache.
#ifndef RFACONV_PROJECT_H
#define RFACONV_PROJECT_H

#include "gates/none.h"
#include "gates/rfa.h"
#include "gates/rfca.h"
#include "gates/rfcbam.h"
#include "output.h"
#include "panel.h"
#include "plan.h"
#include "prefetch.h"
#include "scratch.h"
#include "weights.h"

namespace rfaconv {
namespace RFACONV_ISA {

// Cuts one block of memory into aligned pieces; with a null base it only measures.
struct Carver {
    char* base;
    int64_t used;

    float* floats(int64_t n) { return static_cast<float*>(bytes(n * int64_t(sizeof(float)))); }
    void* bytes(int64_t n) {
        void* at = base + used;
        used += round_up(n, 64);
        return at;
    }
};

struct ProjectArguments {
    const rfaconv_tensor* x;
    const float* feature_weight;
    const float* feature_bias;
    const rfaconv_gate* gate;
    const rfaconv_tensor* weight;
    const rfaconv_tensor* bias;
    rfaconv_tensor* y;
};

// Memory of one thread.
struct Workspace {
    void* index;      // of the tile
    float* planes;
    float* lines;
    float* gate;
    float* weights;   // of a chunk, packed
    float* sums;
    float* panel;     // where each thread makes its own

    // packed: whether all weights are packed before the tiles.
    Workspace(Carver& carver, const Shape& s, const Plan& p, int64_t gate_floats, bool packed) {
        const int64_t pixels = p.vectors * lanes;
        index = carver.bytes(tile_index_bytes(s, pixels));
        planes = carver.floats(p.plane_channels * tile_channel_floats(s, pixels));
        lines = carver.floats(stage_line_floats(s));
        gate = carver.floats(gate_floats);
        weights = carver.floats(packed ? 0 : p.outputs * p.depth(s));
        sums = carver.floats(p.outputs * pixels);
        panel = p.makers == 1 ? carver.floats(p.depth(s) * pixels) : nullptr;
    }
};

template <int T, class Gate>
struct Projection {
    Projection(const ProjectArguments& a_, const Shape& s_, const Plan& p_, const float* bias_, const float* prepared_,
               float* shared_panel_, float* packed_)
        : a(a_), s(s_), p(p_), weights(*a_.weight), output(*a_.y, bias_), prepared(prepared_), shared_panel(shared_panel_),
          packed(packed_) {}

    // Before run(), by all threads: packs the weights that cannot be read in rows.
    void pack_weights(const Crew& crew) const {
        if (packed == nullptr) return;
        const int64_t outputs = a.weight->size[0];
        weights.pack_chunks(packed, outputs * crew.me / crew.size, outputs * (crew.me + 1) / crew.size, p.channels);
        crew.barrier();
    }

    // All tiles of pixels begin .. end - 1, for thread `member` of its team, which is the whole crew if it has more than one.
    void run(const Crew& crew, int64_t begin, int64_t end, int64_t member, const Workspace& work) const {
        const int64_t outputs = a.weight->size[0];
        const int64_t first = imin(member * p.outputs, outputs), count = imin(p.outputs, outputs - first);
        Gate gate(s, a.gate, prepared);
        int64_t turn = 0;
        for (int64_t at = begin; at < end; at += p.vectors * lanes) {
            Tile t;
            make_tile(t, s, at, imin(end, at + p.vectors * lanes), work.index);
            gate.begin_tile(t, work.gate);
            for (int64_t c = 0; c < s.C; c += p.channels) {
                const int64_t n = imin(p.channels, s.C - c);
                float* panel = p.makers == 1 ? work.panel : shared_panel + (turn++ & 1) * p.depth(s) * p.vectors * lanes;
                int64_t from, to;
                share(n, member, from, to);
                stage(*a.x, s, t, c + from, to - from, work.planes, work.lines);
                make_panel<T>(panel, n * T, weights.order(n), t, gate, work.planes, a.feature_weight + (c + from) * T * T,
                              a.feature_bias + (c + from) * T, c + from, from, to - from);
                // Two panels take turns, so one barrier a chunk is enough.
                if (p.makers > 1) crew.barrier();
                const Ahead ahead = next_chunk(t, c + p.channels, end, member, first, count);
                multiply(t, panel, c, n, first, count, ahead, work);
            }
            output.write(t, work.sums, first, count);
        }
    }

private:
    // The part of n channels whose panel this thread makes.
    void share(int64_t n, int64_t member, int64_t& from, int64_t& to) const {
        from = p.makers > 1 ? n * member / p.makers : 0, to = p.makers > 1 ? n * (member + 1) / p.makers : n;
    }
    // What follows channel c - 1 of tile t: the next chunk, or the first chunk of the next tile.
    Ahead next_chunk(const Tile& t, int64_t c, int64_t end, int64_t member, int64_t first, int64_t count) const {
        int64_t begin = t.begin, stop = t.end;
        const bool last = c >= s.C;
        if (last) c = 0, begin = t.end, stop = imin(end, t.end + p.vectors * lanes);
        const int64_t n = imin(p.channels, s.C - c);
        int64_t from, to;
        share(n, member, from, to);
        Ahead ahead;
        ahead.start(begin >= end ? no_stream() : chunk_stream(first, count, c, n),
                    begin >= end ? no_stream() : input_stream(*a.x, s, begin, stop, c + from, to - from),
                    last ? output_stream(*a.y, t, first, count) : no_stream(), strip_count(t) * imax(1, count / block_rows));
        return ahead;
    }

    Stream chunk_stream(int64_t first, int64_t count, int64_t c, int64_t n) const {
        if (packed != nullptr) return packed_stream(packed + weights.chunk_offset(first, c, n), count * n * T);
        return direct() ? no_stream() : weight_stream(weights, first, count, c, n);
    }

    // Weights are read where they are if all of them stay in the second-level cache.
    bool direct() const { return weights.direct() && a.weight->size[0] * s.C * T <= direct_floats; }

    void multiply(const Tile& t, const float* panel, int64_t c, int64_t n, int64_t first, int64_t count, Ahead ahead,
                  const Workspace& work) const {
        const int64_t depth = n * T;
        const float* w = work.weights;
        int64_t row = depth;
        if (packed != nullptr)
            w = packed + weights.chunk_offset(first, c, n);
        else if (direct())
            w = weights.at(first, c), row = a.weight->stride[0];
        else
            weights.pack(work.weights, first, count, c, n);
        for (int64_t strip = 0; strip < strip_count(t); ++strip) {
            const int64_t width = strip_width(t, strip);
            gemm_strip(count, depth, w, row, 1, panel + strip_offset(strip, depth), width / lanes,
                       work.sums + strip_offset(strip, count), width, c > 0, ahead);
        }
    }

    const ProjectArguments& a;
    const Shape& s;
    const Plan& p;
    Weights weights;
    Output output;
    const float* prepared;
    float* shared_panel;
    float* packed;
};

RFACONV_INLINE void read_bias(float* out, const rfaconv_tensor* bias, int64_t outputs) {
    for (int64_t o = 0; o < outputs; ++o) {
        if (bias == nullptr)
            out[o] = 0.0f;
        else if (bias->dtype == RFACONV_F32)
            out[o] = static_cast<const float*>(bias->data)[o * bias->stride[0]];
        else
            out[o] = bf16_to_float(static_cast<const uint16_t*>(bias->data)[o * bias->stride[0]]);
    }
}

template <int T, class Gate>
inline int32_t project_with(const ProjectArguments& a, const Shape& s, int64_t threads) {
    const int64_t outputs = a.weight->size[0];
    const Plan p = make_plan(s, outputs, threads);
    const int64_t gate_floats = Gate::tile_floats(s, p.vectors * lanes);
    const int64_t shared_floats = p.makers > 1 ? 2 * p.depth(s) * p.vectors * lanes : 0;

    const bool packed = !Weights(*a.weight).by_channel;
    const int64_t packed_floats = packed ? outputs * s.C * T : 0;

    Carver measure{nullptr, 0};
    Workspace(measure, s, p, gate_floats, packed);
    const int64_t own_bytes = measure.used + 64;
    Carver common{nullptr, 0};
    common.floats(round_up(outputs, lanes)), common.floats(Gate::prepared_floats(s)), common.floats(shared_floats),
        common.floats(packed_floats);
    Scratch scratch(size_t(common.used + own_bytes * threads));
    if (scratch.data() == nullptr) return RFACONV_OUT_OF_MEMORY;

    Carver carver{static_cast<char*>(scratch.data()), 0};
    float* bias = carver.floats(round_up(outputs, lanes));
    float* prepared = carver.floats(Gate::prepared_floats(s));
    float* shared_panel = carver.floats(shared_floats);
    float* all_weights = carver.floats(packed_floats);
    char* own = carver.base + carver.used;
    read_bias(bias, a.bias, outputs);
    Gate::prepare(s, a.gate, prepared);

    const Projection<T, Gate> projection(a, s, p, bias, prepared, shared_panel, packed ? all_weights : nullptr);
    bool few = false;
    parallel(threads, [&](Crew crew) {
        const int64_t me = crew.me;
        if (crew.size != threads) {
            if (me == 0) few = true;
        } else {
            Carver mine{own + me * own_bytes, 0};
            const Workspace work(mine, s, p, gate_floats, packed);
            projection.pack_weights(crew);
            const int64_t vectors = ceil_div(s.pixels, lanes);
            if (p.team > 1) {
                projection.run(crew, 0, s.pixels, me, work);
            } else {
                const int64_t from = vectors * me / threads * lanes, to = imin(s.pixels, vectors * (me + 1) / threads * lanes);
                projection.run(crew, from, to, 0, work);
            }
        }
    });
    // The runtime may give fewer threads than asked (nested regions, limits), and the plan counts on all of them.
    return few ? project_with<T, Gate>(a, s, 1) : int32_t(RFACONV_OK);
}

template <int T>
inline int32_t project_taps(int32_t kind, const ProjectArguments& a, const Shape& s, int64_t threads) {
    switch (kind) {
        case RFACONV_RFA: return project_with<T, RfaGate<T>>(a, s, threads);
        case RFACONV_RFCBAM: return project_with<T, RfcbamGate<T>>(a, s, threads);
        case RFACONV_RFCA: return project_with<T, RfcaGate<T>>(a, s, threads);
        default: return project_with<T, NoneGate<T>>(a, s, threads);
    }
}

inline int32_t project(const rfaconv_tensor* x, const rfaconv_window* window, const float* feature_weight,
                       const float* feature_bias, int32_t kind, const rfaconv_gate* gate, const rfaconv_tensor* weight,
                       const rfaconv_tensor* bias, rfaconv_tensor* y, int32_t threads) {
    const Shape s = make_shape(*x, *window, true);
    const ProjectArguments a{x, feature_weight, feature_bias, gate, weight, bias, y};
    switch (s.T) {
        case 1: return project_taps<1>(kind, a, s, threads);
        case 9: return project_taps<9>(kind, a, s, threads);
        case 25: return project_taps<25>(kind, a, s, threads);
        default: return RFACONV_UNSUPPORTED;
    }
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

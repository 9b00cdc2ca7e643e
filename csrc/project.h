// Projection: y = K A + bias, with the panel A made tile by tile and chunk by chunk in cache.
#ifndef RFACONV_PROJECT_H
#define RFACONV_PROJECT_H

#include "gates/none.h"
#include "gates/rfa.h"
#include "gates/rfca.h"
#include "gates/rfcbam.h"
#include "output.h"
#include "panel.h"
#include "product.h"
#include "scratch.h"

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
    float* weights;   // of a chunk, packed, where not all are packed before the tiles
    float* sums;
    float* panel;     // where each thread makes its own

    template <class Product>
    static Workspace make(Carver& carver, const Shape& s, const Plan& p, int64_t gate_floats, int64_t chunk_floats) {
        const int64_t pixels = p.vectors * lanes;
        Workspace w;
        w.index = carver.bytes(tile_index_bytes(s, pixels));
        w.planes = carver.floats(p.plane_channels * tile_channel_floats(s, pixels) + unmasked_floats<Product::T>(s, pixels));
        w.lines = carver.floats(stage_line_floats(s));
        w.gate = carver.floats(gate_floats);
        w.weights = carver.floats(chunk_floats);
        w.sums = carver.floats(Product::height(p.outputs) * pixels);
        w.panel = p.makers == 1 ? carver.floats(Product::rows(p.channels) * pixels) : nullptr;
        return w;
    }
};

template <class Product, class Gate>
struct Projection {
    enum : int { T = Product::T };

    Projection(const ProjectArguments& a_, const Shape& s_, const Plan& p_, const Product& product_, const float* bias_,
               const float* prepared_, float* shared_panel_)
        : a(a_), s(s_), p(p_), product(product_), output(*a_.y, bias_), prepared(prepared_), shared_panel(shared_panel_) {}

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
                float* panel = p.makers == 1 ? work.panel : shared_panel + (turn++ & 1) * Product::rows(p.channels) * p.vectors * lanes;
                int64_t from, to;
                share(n, member, from, to);
                stage(*a.x, s, t, c + from, to - from, work.planes, work.lines);
                product.panel(panel, n, s, t, gate, work.planes, a.feature_weight + (c + from) * T * T,
                              a.feature_bias + (c + from) * T, c + from, from, to);
                // Two panels take turns, so one barrier a chunk is enough.
                if (p.makers > 1) crew.barrier();
                Ahead ahead = next_chunk(t, c + p.channels, end, member, first, count);
                product.multiply(t, panel, c, n, first, count, ahead, work.weights, work.sums);
            }
            output.write(t, work.sums, Product::height(count), first, count);
        }
    }

private:
    // The part of n channels whose panel this thread makes.
    void share(int64_t n, int64_t member, int64_t& from, int64_t& to) const {
        const int64_t step = Product::channel_step, steps = ceil_div(n, step);
        from = 0, to = n;
        if (p.makers > 1) from = steps * member / p.makers * step, to = imin(n, steps * (member + 1) / p.makers * step);
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
        ahead.start(begin >= end ? no_stream() : product.stream(first, count, c, n),
                    begin >= end ? no_stream() : input_stream(*a.x, s, begin, stop, c + from, to - from),
                    last ? output_stream(*a.y, t, first, count) : no_stream(), strip_count(t) * Product::blocks(count));
        return ahead;
    }

    const ProjectArguments& a;
    const Shape& s;
    const Plan& p;
    Product product;
    Output output;
    const float* prepared;
    float* shared_panel;
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

// Options: what the product is told besides.
template <class Product, class Gate, class... Options>
inline int32_t project_with(const ProjectArguments& a, const Shape& s, int64_t threads, Options... options) {
    const int64_t outputs = a.weight->size[0];
    const Plan p = make_plan<Product>(s, outputs, threads);
    const int64_t gate_floats = Gate::tile_floats(s, p.vectors * lanes);
    const int64_t chunk_floats = Product::chunk_floats(*a.weight, p);

    Carver measure{nullptr, 0};
    Workspace::make<Product>(measure, s, p, gate_floats, chunk_floats);
    const int64_t own_bytes = measure.used + 64;
    float *bias = nullptr, *prepared = nullptr, *shared_panel = nullptr, *packed = nullptr;
    const auto carve = [&](Carver& carver) {
        bias = carver.floats(round_up(outputs, lanes));
        prepared = carver.floats(Gate::prepared_floats(s));
        shared_panel = carver.floats(p.makers > 1 ? 2 * Product::rows(p.channels) * p.vectors * lanes : 0);
        packed = carver.floats(Product::packed_floats(*a.weight, p.channels));
    };
    Carver common{nullptr, 0};
    carve(common);
    Scratch scratch(size_t(common.used + own_bytes * threads));
    if (scratch.data() == nullptr) return RFACONV_OUT_OF_MEMORY;

    Carver carver{static_cast<char*>(scratch.data()), 0};
    carve(carver);
    char* own = carver.base + carver.used;
    read_bias(bias, a.bias, outputs);
    Gate::prepare(s, a.gate, prepared);

    const Product product(*a.weight, p.channels, packed, options...);
    const Projection<Product, Gate> projection(a, s, p, product, bias, prepared, shared_panel);
    bool few = false;
    parallel(threads, [&](Crew crew) {
        const int64_t me = crew.me;
        if (crew.size != threads) {
            if (me == 0) few = true;
        } else {
            Carver mine{own + me * own_bytes, 0};
            const Workspace work = Workspace::make<Product>(mine, s, p, gate_floats, chunk_floats);
            product.pack(crew);
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
    return few ? project_with<Product, Gate>(a, s, 1, options...) : int32_t(RFACONV_OK);
}

template <template <int> class Product, int T, class... Options>
inline int32_t project_taps(int32_t kind, const ProjectArguments& a, const Shape& s, int64_t threads, Options... options) {
    switch (kind) {
        case RFACONV_RFA: return project_with<Product<T>, RfaGate<T>>(a, s, threads, options...);
        case RFACONV_RFCBAM: return project_with<Product<T>, RfcbamGate<T>>(a, s, threads, options...);
        case RFACONV_RFCA: return project_with<Product<T>, RfcaGate<T>>(a, s, threads, options...);
        default: return project_with<Product<T>, NoneGate<T>>(a, s, threads, options...);
    }
}

template <template <int> class Product, class... Options>
inline int32_t project_by(const rfaconv_window& window, int32_t kind, const ProjectArguments& a, int64_t threads, Options... options) {
    const Shape s = make_shape(*a.x, window, true);
    switch (s.T) {
        case 1: return project_taps<Product, 1>(kind, a, s, threads, options...);
        case 9: return project_taps<Product, 9>(kind, a, s, threads, options...);
        case 25: return project_taps<Product, 25>(kind, a, s, threads, options...);
        default: return RFACONV_UNSUPPORTED;
    }
}

inline int32_t project(const rfaconv_tensor* x, const rfaconv_window* window, const float* feature_weight,
                       const float* feature_bias, int32_t kind, const rfaconv_gate* gate, const rfaconv_tensor* weight,
                       const rfaconv_tensor* bias, rfaconv_tensor* y, int32_t threads) {
    return project_by<FloatProduct>(*window, kind, {x, feature_weight, feature_bias, gate, weight, bias, y}, threads);
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

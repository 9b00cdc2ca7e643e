// rfaconv_forward against its stages called one by one.
#include "oracle.h"

#include "../line_gates.h"
#include "../pixel_gate.h"
#include "../project.h"
#include "../squeeze.h"
#include "../stats.h"

// The C interface without its checks: forward.cpp calls the kernels through it.
extern "C" {
int32_t rfaconv_feature_stats(const rfaconv_tensor* x, const rfaconv_window* window, const float* g, const float* b, int32_t kind,
                              float* s0, float* s1, int32_t threads) {
    return feature_stats(x, window, g, b, kind, s0, s1, threads);
}
int32_t rfaconv_channel_gate(const rfaconv_tensor* x, const float* reduce, const float* expand, int64_t hidden, float* gate,
                             int32_t threads) {
    return channel_gate(x, reduce, expand, hidden, gate, threads);
}
int32_t rfaconv_pixel_gate(const float* top, const float* mean, const float* weight, const int64_t* spatial, int64_t batch,
                           const rfaconv_window* window, float* gate, int32_t threads) {
    return pixel_gate(top, mean, weight, spatial, batch, window, gate, threads);
}
int32_t rfaconv_line_hidden(const float* first, const float* second, const float* weight, const float* bias, const int64_t* size,
                            float* hidden, int32_t threads) {
    return line_hidden(first, second, weight, bias, size, hidden, threads);
}
int32_t rfaconv_line_gates(const float* hidden, const float* const* weight, const float* const* bias, const int64_t* size,
                           float* const* gate, int32_t threads) {
    return line_gates(hidden, weight, bias, size, gate, threads);
}
int32_t rfaconv_project(const rfaconv_tensor* x, const rfaconv_window* window, const float* g, const float* b, int32_t kind,
                        const rfaconv_gate* gate, const rfaconv_tensor* weight, const rfaconv_tensor* bias, rfaconv_tensor* y,
                        int32_t threads) {
    return project(x, window, g, b, kind, gate, weight, bias, y, threads);
}
}

#include "../forward.cpp"

typedef std::vector<float> Floats;

static double normed(const rfaconv_norm& n, int64_t i, double z) {
    const double scale = (n.weight == nullptr ? 1.0 : n.weight[i]) / std::sqrt(n.variance[i] + n.eps);
    return (z - n.mean[i]) * scale + (n.bias == nullptr ? 0.0 : n.bias[i]);
}

// Means, variances, scales and shifts of n channels.
struct Norm {
    Floats mean, variance, weight, bias;
    rfaconv_norm norm;
    Norm(std::mt19937& rng, int64_t n, bool affine)
        : mean(random_floats(rng, n, 1.0f)), variance(random_floats(rng, n, 1.0f)), weight(random_floats(rng, n, 1.0f)),
          bias(random_floats(rng, n, 1.0f)) {
        for (float& v : variance) v = 0.5f + v * v;
        norm = {mean.data(), variance.data(), affine ? weight.data() : nullptr, affine ? bias.data() : nullptr, 1e-5};
    }
};

// The gate from its stages, each result in a vector of its own.
static void staged_gate(const Problem& p, const Tensor& x, const Features& a, int kind, const rfaconv_attention& t, Floats& first,
                        Floats& second) {
    const int64_t T = p.T(), plane = p.outputs(), rows = p.k * p.win.out[0], columns = p.k * p.win.out[1];
    if (kind == RFACONV_RFCBAM) {
        first.assign(size_t(p.B * p.C), NAN), second.assign(size_t(p.B * T * plane), NAN);
        Floats top(second.size(), NAN), mean(second.size(), NAN);
        channel_gate(&x.t, t.weight[0], t.weight[1], t.hidden, first.data(), p.threads);
        feature_stats(&x.t, &p.win, a.g.data(), a.bias.data(), kind, top.data(), mean.data(), p.threads);
        pixel_gate(top.data(), mean.data(), t.weight[2], t.spatial, p.B, &p.win, second.data(), p.threads);
        return;
    }
    const int64_t size[] = {p.B, p.C, t.hidden, rows, columns};
    first.assign(size_t(p.B * p.C * rows), NAN), second.assign(size_t(p.B * p.C * columns), NAN);
    Floats row(first.size(), NAN), column(second.size(), NAN), hidden(size_t(p.B * t.hidden * (rows + columns)), NAN);
    feature_stats(&x.t, &p.win, a.g.data(), a.bias.data(), kind, row.data(), column.data(), p.threads);
    line_hidden(row.data(), column.data(), t.weight[0], t.bias[0], size, hidden.data(), p.threads);
    for (size_t i = 0; i < hidden.size(); ++i) {
        const int64_t m = int64_t(i) / (rows + columns) % t.hidden;
        hidden[i] = float(normed(t.norm, m, hidden[i]));
    }
    float* const gates[] = {first.data(), second.data()};
    line_gates(hidden.data(), t.weight + 1, t.bias + 1, size, gates, p.threads);
}

static void test_problem(std::mt19937& rng, const Problem& p, int kind) {
    Tensor x(p.B, p.C, p.H, p.W, p.half, p.channels_last), w(p.O, p.C, p.k, p.k, p.half, false), bias(p.O, 1, 1, 1, p.half, false);
    for (Tensor* t : {&x, &w, &bias}) t->fill(rng, 0.0f, 1.0f);
    const Features raw(p, x, rng, false);
    Features a = raw;
    const int64_t M = 1 + int64_t(rng() % 12), T = p.T();
    const bool plain = rng() % 2 == 0, folded = rng() % 2 == 0;
    const Norm of_features(rng, p.C * T, plain), of_hidden(rng, M, !plain);
    if (folded)
        for (int64_t r = 0; r < p.C * T; ++r) {
            const double shift = normed(of_features.norm, r, 0.0), scale = normed(of_features.norm, r, 1.0) - shift;
            a.bias[size_t(r)] = float(shift);
            for (int64_t k = 0; k < T; ++k) a.g[size_t(r * T + k)] = float(scale * a.g[size_t(r * T + k)]);
        }
    const Floats w0 = random_floats(rng, kind == RFACONV_RFA ? p.C * T : M * p.C, 0.3f), w1 = random_floats(rng, p.C * M, 0.3f),
                 w2 = random_floats(rng, kind == RFACONV_RFCBAM ? 2 * 3 * 3 : p.C * M, 0.3f), b0 = random_floats(rng, M, 1.0f),
                 b1 = random_floats(rng, p.C, 1.0f);
    const rfaconv_attention t{{w0.data(), w1.data(), w2.data()}, {plain ? nullptr : b0.data(), b1.data(), nullptr}, of_hidden.norm, M,
                              {3, 3}, {9, 3, 1}};
    Floats first, second;
    rfaconv_gate gate{w0.data(), nullptr};
    if (kind != RFACONV_RFA) {
        staged_gate(p, x, a, kind, t, first, second);
        gate = {first.data(), second.data()};
    }
    Tensor want(p.B, p.O, p.win.out[0], p.win.out[1], p.half, p.channels_last), found = want;
    found.t.data = p.half ? static_cast<void*>(found.h.data()) : found.f.data();
    const rfaconv_tensor* const offset = plain ? nullptr : &bias.t;
    project(&x.t, &p.win, a.g.data(), a.bias.data(), kind, &gate, &w.t, offset, &want.t, p.threads);
    const rfaconv_layer layer{x.t, w.t, plain ? rfaconv_tensor{} : bias.t, found.t, p.win, raw.g.data(),
                              folded ? nullptr : raw.bias.data(), folded ? of_features.norm : rfaconv_norm{}, t, kind};
    const int32_t status = rfaconv_forward(&layer, sizeof layer, p.threads);
    expect(status == RFACONV_OK, "status", p);
    // a BatchNorm is folded, so sums differ in their last digits, and some are rounded to the bfloat16 beside
    expect_close(values(found), values(want), kind == RFACONV_RFCA || folded ? (p.half ? 4e-3 : 3e-6) : 0.0, "forward", p);
}

int run_tests() {
    const int rounds = rounds_or(150);
    std::mt19937 rng(11);
    for (int i = 0; i < rounds; ++i) {
        Problem p;
        if (!p.draw(rng, i)) continue;
        test_problem(rng, p, i % 3);
    }
    const rfaconv_attention none{};
    Problem p{1, 2, 1, 4, 4, 3, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {4, 4}}, false, false, 1};
    Tensor x(1, 2, 4, 4, false, false);
    rfaconv_layer layer{x.t, x.t, {}, x.t, p.win, x.f.data(), x.f.data(), {}, none, RFACONV_RFCA};
    expect(rfaconv_forward(&layer, sizeof layer, 1) == RFACONV_BAD_ARGUMENT, "missing weights", p);
    expect(rfaconv_forward(&layer, sizeof layer - 8, 1) == RFACONV_BAD_ARGUMENT, "another layout", p);
    layer.attention.weight[0] = x.f.data(), layer.kind = RFACONV_RFA, layer.feature_bias = nullptr;
    expect(rfaconv_forward(&layer, sizeof layer, 1) == RFACONV_BAD_ARGUMENT, "neither norm nor bias", p);
    return report();
}

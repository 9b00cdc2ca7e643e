// project against plain double loops: all gates, both memory formats, float32 and bfloat16; NaN, infinity and large logits.
// With RFACONV_PAIRS, project_pairs in the same way.
#include "oracle.h"

#ifdef RFACONV_PAIRS
#include "../project_pairs.h"
static const bool pairs = true;
#else
#include "../project.h"
static const bool pairs = false;
#endif

// The panel of a problem in double, index as features.
static std::vector<double> panel_of(const Problem& p, const Tensor& x, const Features& a, int kind, const float* ga, const float* gb) {
    const int64_t T = p.T(), k = p.k, Ho = p.win.out[0], Wo = p.win.out[1];
    std::vector<double> panel(a.f.size());
    a.each([&](int64_t b, int64_t c, int64_t h, int64_t w) {
        double m = 0.0, top = -1e300, sum = 0.0, gate[25];
        for (int64_t j = 0; j < T; ++j) m += patch_at(p, x, b, c, h, w, j) / double(T);
        if (kind == RFACONV_RFA)
            for (int64_t j = 0; j < T; ++j) top = ga[c * T + j] * m > top ? ga[c * T + j] * m : top;
        for (int64_t j = 0; j < T; ++j) {
            if (kind == RFACONV_RFA) sum += gate[j] = std::exp(ga[c * T + j] * m - top);
            if (kind == RFACONV_RFCBAM) gate[j] = double(ga[b * p.C + c]) * gb[((b * T + j) * Ho + h) * Wo + w];
            if (kind == RFACONV_RFCA) gate[j] = double(ga[(b * p.C + c) * k * Ho + h * k + j / k]) * gb[(b * p.C + c) * k * Wo + w * k + j % k];
            if (kind == RFACONV_NONE) gate[j] = 1.0;
        }
        for (int64_t j = 0; j < T; ++j) panel[a.at(b, c, j, h, w)] = a.f[a.at(b, c, j, h, w)] * gate[j] / (kind == RFACONV_RFA ? sum : 1.0);
    });
    return panel;
}

// tiles: of project_pairs
static void test_problem(std::mt19937& rng, const Problem& p, int kind, float logits, [[maybe_unused]] bool tiles) {
    const int64_t T = p.T(), k = p.k, Ho = p.win.out[0], Wo = p.win.out[1];
    Tensor x(p.B, p.C, p.H, p.W, p.half, p.channels_last), y(p.B, p.O, Ho, Wo, p.half, p.channels_last);
    Tensor weight(p.O, p.C, k, k, p.half, rng() % 2 == 0), bias(p.O, 1, 1, 1, p.half, false);
    x.fill(rng, 0.0f, 1.0f);
    weight.fill(rng, 0.0f, 0.3f);
    bias.fill(rng, 0.0f, 1.0f);
    if (rng() % 8 == 0 && weight.t.stride[3] == 1) std::swap(weight.t.stride[2], weight.t.stride[3]);
    const bool with_bias = rng() % 3 != 0;
    const Features a(p, x, rng);
    const bool rfa = kind == RFACONV_RFA, rfcbam = kind == RFACONV_RFCBAM;
    const std::vector<float> ga = random_floats(rng, rfa ? p.C * T : rfcbam ? p.B * p.C : p.B * p.C * k * Ho, rfa ? logits : 1.0f);
    const std::vector<float> gb = random_floats(rng, rfcbam ? p.B * T * Ho * Wo : p.B * p.C * k * Wo, 1.0f);
    const rfaconv_gate gate{ga.data(), gb.data()};
    const auto run = [&] {
        const rfaconv_tensor* const offset = with_bias ? &bias.t : nullptr;
#ifdef RFACONV_PAIRS
        return project_pairs(&x.t, &p.win, a.g.data(), a.bias.data(), kind, &gate, &weight.t, offset, &y.t, p.threads, tiles);
#else
        return project(&x.t, &p.win, a.g.data(), a.bias.data(), kind, &gate, &weight.t, offset, &y.t, p.threads);
#endif
    };
    expect(run() == RFACONV_OK, "status", p);

    std::vector<double> panel = panel_of(p, x, a, kind, ga.data(), gb.data());
    if (pairs)
        for (double& v : panel) v = bf16_to_float(float_to_bf16(float(v)));
    std::vector<double> want;
    for (int64_t b = 0; b < p.B; ++b)
        for (int64_t o = 0; o < p.O; ++o)
            for (int64_t h = 0; h < Ho; ++h)
                for (int64_t w = 0; w < Wo; ++w) {
                    double sum = with_bias ? bias.at(o, 0, 0, 0) : 0.0;
                    for (int64_t c = 0; c < p.C; ++c)
                        for (int64_t j = 0; j < T; ++j) sum += weight.at(o, c, j / k, j % k) * panel[a.at(b, c, j, h, w)];
                    want.push_back(sum);
                }
    // Float32 logits of size L are uncertain by L * 2^-24, and so is the gate, relatively.
    const double bound = (p.half ? 5e-3 : 3e-6) + (rfa ? 3e-7 * logits : 0.0);
    expect_close(values(y), want, bound, "y", p);

    // A poisoned input reaches the outputs whose windows see it, and no other.
    const size_t at = rng() % size_t(p.B * p.C * p.H * p.W);
    const int64_t image = int64_t(at) / (p.C * p.H * p.W);
    const float poison = rng() % 2 ? NAN : INFINITY;
    x.set(at, poison);
    expect(run() == RFACONV_OK, "status", p);
    size_t i = 0;
    const Features poisoned_f(p, x, rng);
    for (int64_t b = 0; b < p.B; ++b)
        for (int64_t o = 0; o < p.O; ++o)
            for (int64_t h = 0; h < Ho; ++h)
                for (int64_t w = 0; w < Wo; ++w, ++i) {
                    bool seen = false;
                    for (int64_t c = 0; c < p.C && b == image; ++c)
                        for (int64_t j = 0; j < T; ++j) seen = seen || !std::isfinite(patch_at(p, x, b, c, h, w, j));
                    const double got = y.at(b, o, h, w);
                    // Infinity may also end as zero in every feature (all its weights negative), but for softmax it is NaN.
                    if (!seen) expect(std::fabs(got - want[i]) <= bound * (p.half ? 1e2 : 1e3), "clean output", p);
                    if (seen && (rfa || std::isnan(poison))) expect(std::isnan(got), "poisoned output", p);
                }
}

int run_tests() {
    std::mt19937 rng(3);
    Problem p;
    const auto test = [&](int kind, float logits) {
        p.half = p.half || pairs;
        test_problem(rng, p, kind, logits, rng() % 2 == 0);
    };
    for (int round = 0; round < 120; ++round)
        if (p.draw(rng, round)) test(round % 4, round % 3 == 0 ? 80.0f : 1.0f);
    // Few pixels and many outputs: threads share tiles. More channels than a chunk; more pixels than a tile.
    for (int kind = 0; kind < 4; ++kind)
        for (int round = 0; round < 2; ++round) {
            p.B = 1, p.C = 70, p.O = 48, p.H = p.W = round == 0 ? 7 : 30, p.k = 3, p.half = false, p.channels_last = round == 0, p.threads = 2;
            p.win = {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {p.H, p.W}};
            test(kind, 1.0f);
        }
    return report();
}

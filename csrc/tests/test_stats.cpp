// feature_stats and its gradient against plain double loops.
#include "oracle.h"

#include "../stats.h"
#include "../stats_backward.h"

static void test_problem(std::mt19937& rng, const Problem& p, int kind, float x_mean) {
    Tensor x(p.B, p.C, p.H, p.W, p.half, p.channels_last);
    x.fill(rng, x_mean, 1.0f);
    // Quarters are exact in every sum, so float and double agree on which channels share a maximum; and many do.
    const bool quarters = kind == RFACONV_RFCBAM && x_mean == 0.0f;
    if (quarters) {
        for (float& v : x.f) v = std::round(v * 4) / 4;
        for (uint16_t& v : x.h) v = float_to_bf16(std::round(bf16_to_float(v) * 4) / 4);
    }
    const Features a(p, x, rng, quarters);
    const Statistics want(a, kind);
    std::vector<float> s0(want.s0.size(), NAN), s1(want.s1.size(), NAN);
    expect(feature_stats(&x.t, &p.win, a.g.data(), a.bias.data(), kind, s0.data(), s1.data(), p.threads) == RFACONV_OK, "status", p);
    expect_close(s0, want.s0, 2e-6, kind == RFACONV_RFCBAM ? "max" : "row", p);
    expect_close(s1, want.s1, 2e-6, kind == RFACONV_RFCBAM ? "mean" : "col", p);

    if (kind == RFACONV_RFCBAM && !quarters) return;
    const std::vector<float> d0 = random_floats(rng, int64_t(s0.size()), 1.0f), d1 = random_floats(rng, int64_t(s1.size()), 1.0f);
    const int64_t T = p.T(), k = p.k, Ho = p.win.out[0], Wo = p.win.out[1];
    std::vector<double> df(a.f.size());
    a.each([&](int64_t b, int64_t c, int64_t h, int64_t w) {
        for (int64_t j = 0; j < T; ++j) {
            double& v = df[a.at(b, c, j, h, w)];
            if (kind == RFACONV_RFCA) {
                v = d0[size_t((b * p.C + c) * k * Ho + h * k + j / k)] / double(k * Wo) +
                    d1[size_t((b * p.C + c) * k * Wo + w * k + j % k)] / double(k * Ho);
                continue;
            }
            const size_t i = size_t(((b * T + j) * Ho + h) * Wo + w);
            v = d1[i] / double(p.C);
            int ties = 0;
            for (int64_t o = 0; o < p.C; ++o) ties += a.f[a.at(b, o, j, h, w)] == want.s0[i];
            if (a.f[a.at(b, c, j, h, w)] == want.s0[i]) v += d0[i] / ties;
        }
    });
    const FeatureGradients grad(a, x, df, {});
    Tensor dx(p.B, p.C, p.H, p.W, p.half, p.channels_last);
    std::vector<float> dg(grad.dg.size(), NAN), dbias(grad.dbias.size(), NAN);
    expect(feature_stats_backward(d0.data(), d1.data(), &x.t, &p.win, a.g.data(), a.bias.data(), s0.data(), s1.data(), kind, &dx.t,
                                  dg.data(), dbias.data(), p.threads) == RFACONV_OK,
           "status", p);
    expect_close(values(dx), grad.dx, p.half ? 8e-3 : 3e-6, kind == RFACONV_RFCA ? "rfca dx" : "rfcbam dx", p);
    expect_close(dg, grad.dg, 3e-6, kind == RFACONV_RFCA ? "rfca dG" : "rfcbam dG", p);
    expect_close(dbias, grad.dbias, 3e-6, kind == RFACONV_RFCA ? "rfca db" : "rfcbam db", p);
}

int run_tests() {
    const int rounds = rounds_or(300);
    std::mt19937 rng(3);
    for (int i = 0; i < rounds; ++i) {
        Problem p;
        if (p.draw(rng, i)) test_problem(rng, p, i % 2 ? RFACONV_RFCBAM : RFACONV_RFCA, i % 5 ? 0.0f : 3.0f);
    }
    Problem large{2, 3, 1, 60, 70, 3, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {60, 70}}, false, false, 2};
    for (int kind : {RFACONV_RFCBAM, RFACONV_RFCA}) test_problem(rng, large, kind, 0.0f);
    return report();
}

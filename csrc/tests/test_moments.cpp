// patch_moments and its gradient against plain double loops, for the instruction set that this file is compiled with.
#include "check.h"

#include "../moments.h"
#include "../moments_backward.h"

static void oracle(const Problem& p, const Tensor& x, std::vector<double>& mean, std::vector<double>& cov) {
    const int64_t T = p.T();
    const double n = double(p.B * p.outputs());
    mean.assign(size_t(p.C * T), 0.0);
    cov.assign(size_t(p.C * T * T), 0.0);
    for (int pass = 0; pass < 2; ++pass)
        for (int64_t c = 0; c < p.C; ++c)
            for (int64_t b = 0; b < p.B; ++b)
                for (int64_t h = 0; h < p.win.out[0]; ++h)
                    for (int64_t w = 0; w < p.win.out[1]; ++w)
                        for (int64_t i = 0; i < T; ++i) {
                            const double u = patch_at(p, x, b, c, h, w, i);
                            if (pass == 0) {
                                mean[size_t(c * T + i)] += u / n;
                                continue;
                            }
                            for (int64_t j = 0; j < T; ++j)
                                cov[size_t((c * T + i) * T + j)] += (u - mean[size_t(c * T + i)]) / n *
                                                                    (patch_at(p, x, b, c, h, w, j) - mean[size_t(c * T + j)]);
                        }
}

static void test_problem(std::mt19937& rng, const Problem& p, float x_mean) {
    const int64_t T = p.T();
    Tensor x(p.B, p.C, p.H, p.W, p.half, p.channels_last), dx(p.B, p.C, p.H, p.W, p.half, p.channels_last);
    x.fill(rng, x_mean, 1.0f);
    std::vector<double> mean, cov, got_mean(size_t(p.C * T), NAN), got_cov(size_t(p.C * T * T), NAN);
    oracle(p, x, mean, cov);
    expect(patch_moments(&x.t, &p.win, got_mean.data(), got_cov.data(), p.threads) == RFACONV_OK, "status", p);
    expect_close(got_mean, mean, 2e-7, "mean", p);
    // With a large mean, the taps that never read padding have small variances beside the others: each must be right.
    // (Of two or three samples a variance can be as small as it likes, so there it is measured against the largest.)
    const double floor = p.B * p.outputs() < 8 ? 1e-2 : 1e-8;
    double worst = 0.0, scale = 0.0;
    for (double v : cov) scale = std::fmax(scale, std::fabs(v));
    for (int64_t c = 0; c < p.C; ++c)
        for (int64_t i = 0; i < T; ++i)
            for (int64_t j = 0; j < T; ++j) {
                const auto at = [&](int64_t a, int64_t b) { return size_t((c * T + a) * T + b); };
                const double unit = std::sqrt(cov[at(i, i)] * cov[at(j, j)]) + floor * scale + 1e-25;
                const double e = std::fabs(got_cov[at(i, j)] - cov[at(i, j)]) / unit;
                if (!(e <= worst)) worst = e;
            }
    expect(worst <= 2e-6, "cov", p);
    if (!(worst <= 2e-6)) std::printf("   cov error %g (mean %g)\n", worst, double(x_mean));

    std::vector<double> dmean, dcov, want(size_t(p.B * p.C * p.H * p.W), 0.0);
    for (float v : random_floats(rng, p.C * T, 1.0f)) dmean.push_back(v);
    for (float v : random_floats(rng, p.C * T * T, 1.0f)) dcov.push_back(v);
    const double n = double(p.B * p.outputs());
    for (int64_t b = 0; b < p.B; ++b)
        for (int64_t c = 0; c < p.C; ++c)
            for (int64_t h = 0; h < p.win.out[0]; ++h)
                for (int64_t w = 0; w < p.win.out[1]; ++w)
                    for (int64_t i = 0; i < T; ++i) {
                        const TapAt t = tap_at(p, h, w, i);
                        if (!t.inside) continue;
                        double du = dmean[size_t(c * T + i)];
                        for (int64_t j = 0; j < T; ++j)
                            du += (dcov[size_t((c * T + i) * T + j)] + dcov[size_t((c * T + j) * T + i)]) *
                                  (patch_at(p, x, b, c, h, w, j) - mean[size_t(c * T + j)]);
                        want[size_t(((b * p.C + c) * p.H + t.r) * p.W + t.c)] += du / n;
                    }
    expect(patch_moments_backward(dmean.data(), dcov.data(), &x.t, mean.data(), &p.win, &dx.t, p.threads) == RFACONV_OK, "status", p);
    expect_close(values(dx), want, p.half ? 8e-3 : p.B * p.outputs() < 8 ? 1e-5 : 1e-6, "moments dx", p);
}

// A channel with NaN or Inf has no finite moment where a tap sees it; the other channels do not change.
static void test_not_finite(std::mt19937& rng) {
    Problem p{2, 3, 1, 9, 11, 3, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {9, 11}}, false, false, 1};
    Tensor x(p.B, p.C, p.H, p.W, false, false);
    x.fill(rng, 0.0f, 1.0f);
    x.f[size_t(9 * 11 + 40)] = NAN;
    x.f[size_t(2 * 9 * 11 + 40)] = INFINITY;
    double mean[27], cov[243];
    patch_moments(&x.t, &p.win, mean, cov, 1);
    for (int i = 0; i < 9; ++i)
        expect(std::isfinite(mean[i]) && std::isnan(mean[9 + i]) && mean[18 + i] == INFINITY, "NaN and Inf in the mean", p);
    for (int i = 0; i < 81; ++i) expect(std::isfinite(cov[i]) && std::isnan(cov[81 + i]) && std::isnan(cov[162 + i]), "NaN in cov", p);
}

int run_tests() {
    const int rounds = rounds_or(400);
    std::mt19937 rng(2);
    for (int i = 0; i < rounds; ++i) {
        Problem p;
        if (p.draw(rng, i)) test_problem(rng, p, i % 3 == 0 ? 100.0f : 0.5f);
    }
    Problem wide{1, 2, 1, 3, 1200, 3, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {3, 1200}}, false, false, 2};
    test_problem(rng, wide, 100.0f);
    test_not_finite(rng);
    return report();
}

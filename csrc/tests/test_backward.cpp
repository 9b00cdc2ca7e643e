// project_backward against plain double loops, all gates.
#include "oracle.h"

#include "../backward.h"

static void test_problem(std::mt19937& rng, const Problem& p, int kind, float logits) {
    const int64_t T = p.T(), k = p.k, Ho = p.win.out[0], Wo = p.win.out[1];
    Tensor x(p.B, p.C, p.H, p.W, p.half, p.channels_last), dx(p.B, p.C, p.H, p.W, p.half, p.channels_last);
    Tensor dy(p.B, p.O, Ho, Wo, p.half, p.channels_last), weight(p.O, p.C, k, k, p.half, rng() % 2 == 0);
    x.fill(rng, 0.0f, 1.0f);
    dy.fill(rng, 0.0f, 1.0f);
    weight.fill(rng, 0.0f, 0.3f);
    const Features a(p, x, rng);
    const size_t a_count = size_t(kind == RFACONV_RFA ? p.C * T : kind == RFACONV_RFCBAM ? p.B * p.C : kind == RFACONV_RFCA ? p.B * p.C * k * Ho : 0);
    const size_t b_count = size_t(kind == RFACONV_RFCBAM ? p.B * T * Ho * Wo : kind == RFACONV_RFCA ? p.B * p.C * k * Wo : 0);
    const std::vector<float> ga = random_floats(rng, int64_t(a_count), kind == RFACONV_RFA ? logits : 1.0f), gb = random_floats(rng, int64_t(b_count), 1.0f);
    const rfaconv_gate gate{ga.data(), gb.data()};

    std::vector<double> df(a.f.size()), du(a.f.size(), 0.0), dga(a_count, 0.0), dgb(b_count, 0.0), dw(size_t(p.O * p.C * T), 0.0);
    a.each([&](int64_t b, int64_t c, int64_t h, int64_t w) {
        double m = 0.0, top = -1e300, sum = 0.0, inner = 0.0, av[25], da[25];
        for (int64_t i = 0; i < T; ++i) m += patch_at(p, x, b, c, h, w, i) / double(T);
        for (int64_t j = 0; j < T; ++j) {
            const size_t row = size_t((b * p.C + c) * k * Ho + h * k + j / k), col = size_t((b * p.C + c) * k * Wo + w * k + j % k);
            const size_t pixel = size_t(((b * T + j) * Ho + h) * Wo + w);
            if (kind == RFACONV_RFA) top = std::fmax(top, ga[size_t(c * T + j)] * m);
            if (kind == RFACONV_RFCBAM) av[j] = double(ga[size_t(b * p.C + c)]) * gb[pixel];
            if (kind == RFACONV_RFCA) av[j] = double(ga[row]) * gb[col];
            if (kind == RFACONV_NONE) av[j] = 1.0;
        }
        if (kind == RFACONV_RFA) {
            for (int64_t j = 0; j < T; ++j) sum += av[j] = std::exp(ga[size_t(c * T + j)] * m - top);
            for (int64_t j = 0; j < T; ++j) av[j] /= sum;
        }
        for (int64_t j = 0; j < T; ++j) {
            const double f = a.f[a.at(b, c, j, h, w)];
            double d = 0.0;
            for (int64_t o = 0; o < p.O; ++o) {
                d += weight.at(o, c, j / k, j % k) * dy.at(b, o, h, w);
                dw[size_t((o * p.C + c) * T + j)] += dy.at(b, o, h, w) * f * av[j];
            }
            df[a.at(b, c, j, h, w)] = d * av[j];
            da[j] = d * f;
            inner += da[j] * av[j];
            const size_t row = size_t((b * p.C + c) * k * Ho + h * k + j / k), col = size_t((b * p.C + c) * k * Wo + w * k + j % k);
            const size_t pixel = size_t(((b * T + j) * Ho + h) * Wo + w);
            if (kind == RFACONV_RFCBAM) {
                dga[size_t(b * p.C + c)] += da[j] * gb[pixel];
                dgb[pixel] += da[j] * ga[size_t(b * p.C + c)];
            }
            if (kind == RFACONV_RFCA) {
                dga[row] += da[j] * gb[col];
                dgb[col] += da[j] * ga[row];
            }
        }
        if (kind == RFACONV_RFA) {
            double more = 0.0;
            for (int64_t j = 0; j < T; ++j) {
                const double dl = av[j] * (da[j] - inner);
                dga[size_t(c * T + j)] += dl * m;
                more += dl * ga[size_t(c * T + j)] / double(T);
            }
            for (int64_t i = 0; i < T; ++i) du[a.at(b, c, i, h, w)] = more;
        }
    });
    const FeatureGradients grad(a, x, df, du);

    std::vector<float> dg(grad.dg.size(), NAN), dbias(grad.dbias.size(), NAN), got_a(a_count + 1, NAN), got_b(b_count + 1, NAN), got_w(dw.size(), NAN);
    const bool all = rng() % 3 != 0;
    const unsigned need = all ? 63u : rng() % 64u;
    const auto want = [&](unsigned i) { return ((need >> i) & 1u) != 0; };
    const bool wa = want(3) && a_count > 0, wb = want(4) && b_count > 0;
    expect(project_backward(&dy.t, &x.t, &p.win, a.g.data(), a.bias.data(), kind, &gate, &weight.t, want(0) ? &dx.t : nullptr,
                            want(1) ? dg.data() : nullptr, want(2) ? dbias.data() : nullptr, wa ? got_a.data() : nullptr,
                            wb ? got_b.data() : nullptr, want(5) ? got_w.data() : nullptr, p.threads) == RFACONV_OK,
           "status", p);
    static const char* const names[] = {"rfa", "rfcbam", "rfca", "none"};
    const auto close = [&](const auto& got, const std::vector<double>& expected, double bound, const char* what) {
        expect_close(got, expected, bound, (std::string(names[kind]) + " " + what).c_str(), p);
    };
    const double bound = 5e-6 * std::fmax(1.0, double(logits) / 4);
    if (want(0)) close(values(dx), grad.dx, p.half ? 8e-3 : bound, "dx");
    if (want(1)) close(dg, grad.dg, bound, "dG");
    if (want(2)) close(dbias, grad.dbias, bound, "db");
    if (wa) close(got_a, dga, bound, "dgate a");
    if (wb) close(got_b, dgb, bound, "dgate b");
    if (want(5)) close(got_w, dw, bound, "dweight");
}

int run_tests() {
    const int rounds = rounds_or(400);
    std::mt19937 rng(4);
    for (int i = 0; i < rounds; ++i) {
        Problem p;
        if (p.draw(rng, i)) test_problem(rng, p, i % 4, i % 3 ? 1.0f : 20.0f);
    }
    // Several chunks of an image, carried rows, both ways to share the work.
    for (int kind = 0; kind < 4; ++kind) {
        Problem rows{2, 5, 7, 60, 34, 3, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {60, 34}}, false, kind % 2 == 1, 2};
        test_problem(rng, rows, kind, 1.0f);
        Problem images{4, 3, 5, 70, 40, 3, {{3, 3}, {2, 1}, {1, 1}, {1, 1}, {35, 40}}, false, false, 2};
        test_problem(rng, images, kind, 1.0f);
        Problem five{1, 3, 5, 40, 40, 5, {{5, 5}, {1, 1}, {2, 2}, {1, 1}, {40, 40}}, kind % 2 == 0, true, 2};
        test_problem(rng, five, kind, 1.0f);
    }
    return report();
}

// The formulas of the projection and its statistics in plain double loops, with their gradients.
#ifndef RFACONV_TESTS_ORACLE_H
#define RFACONV_TESTS_ORACLE_H

#include "check.h"

// Features of a problem and their inputs; index (((b*C + c)*T + j)*Ho + h)*Wo + w.
struct Features {
    Problem p;
    std::vector<float> g, bias;
    std::vector<double> z, f;
    size_t at(int64_t b, int64_t c, int64_t j, int64_t h, int64_t w) const {
        return size_t((((b * p.C + c) * p.T() + j) * p.win.out[0] + h) * p.win.out[1] + w);
    }
    Features(const Problem& problem, const Tensor& x, std::mt19937& rng, bool quarters = false) : p(problem) {
        const int64_t T = p.T();
        g = random_floats(rng, p.C * T * T, 0.5f);
        bias = random_floats(rng, p.C * T, 0.5f);
        for (std::vector<float>* v : {&g, &bias})
            for (float& value : *v) value = quarters ? std::round(value * 4) / 4 : value;
        z.resize(size_t(p.B * p.C * T * p.outputs()));
        f = z;
        for (int64_t c = 0; c < p.C; ++c)
            for (int64_t j = 0; j < T; ++j)
                // float and double disagree about the sign of a feature next to zero: move those away
                while (fill(c, j, x) && !quarters) bias[size_t(c * T + j)] += 1.0f / 64;
    }
    // Computes tap j of channel c; says whether one of its features lies next to zero.
    bool fill(int64_t c, int64_t j, const Tensor& x) {
        const int64_t T = p.T();
        bool near = false;
        for (int64_t b = 0; b < p.B; ++b)
            for (int64_t h = 0; h < p.win.out[0]; ++h)
                for (int64_t w = 0; w < p.win.out[1]; ++w) {
                    double v = bias[size_t(c * T + j)];
                    for (int64_t i = 0; i < T; ++i) v += double(g[size_t((c * T + j) * T + i)]) * patch_at(p, x, b, c, h, w, i);
                    z[at(b, c, j, h, w)] = v;
                    f[at(b, c, j, h, w)] = v > 0 ? v : 0;
                    near = near || std::fabs(v) < 1e-6;
                }
        return near;
    }
    template <class Body>
    void each(const Body& body) const {
        for (int64_t b = 0; b < p.B; ++b)
            for (int64_t c = 0; c < p.C; ++c)
                for (int64_t h = 0; h < p.win.out[0]; ++h)
                    for (int64_t w = 0; w < p.win.out[1]; ++w) body(b, c, h, w);
    }
};

// Gradients of a scalar with respect to x, G' and b', given df (indexed as f) and what reaches u directly.
struct FeatureGradients {
    std::vector<double> dx, dg, dbias;
    FeatureGradients(const Features& a, const Tensor& x, const std::vector<double>& df, const std::vector<double>& du_more) {
        const Problem& p = a.p;
        const int64_t T = p.T();
        dx.assign(size_t(p.B * p.C * p.H * p.W), 0.0);
        dg.assign(size_t(p.C * T * T), 0.0);
        dbias.assign(size_t(p.C * T), 0.0);
        a.each([&](int64_t b, int64_t c, int64_t h, int64_t w) {
            for (int64_t i = 0; i < T; ++i) {
                double du = du_more.empty() ? 0.0 : du_more[a.at(b, c, i, h, w)];
                for (int64_t j = 0; j < T; ++j) {
                    const double dv = a.z[a.at(b, c, j, h, w)] > 0 ? df[a.at(b, c, j, h, w)] : 0.0;
                    if (i == 0) dbias[size_t(c * T + j)] += dv;
                    dg[size_t((c * T + j) * T + i)] += dv * patch_at(p, x, b, c, h, w, i);
                    du += dv * double(a.g[size_t((c * T + j) * T + i)]);
                }
                const TapAt t = tap_at(p, h, w, i);
                if (t.inside) dx[size_t(((b * p.C + c) * p.H + t.r) * p.W + t.c)] += du;
            }
        });
    }
};

// rfcbam: max and mean over channels (B,T,Ho,Wo); rfca: means over rows (B,C,k*Ho) and columns (B,C,k*Wo) of the map.
struct Statistics {
    std::vector<double> s0, s1;
    Statistics(const Features& a, int kind) {
        const Problem& p = a.p;
        const int64_t T = p.T(), k = p.k, Ho = p.win.out[0], Wo = p.win.out[1];
        s0.assign(size_t(kind == RFACONV_RFCBAM ? p.B * T * Ho * Wo : p.B * p.C * k * Ho), 0.0);
        s1.assign(kind == RFACONV_RFCBAM ? s0.size() : size_t(p.B * p.C * k * Wo), 0.0);
        a.each([&](int64_t b, int64_t c, int64_t h, int64_t w) {
            for (int64_t j = 0; j < T; ++j) {
                const double f = a.f[a.at(b, c, j, h, w)];
                if (kind == RFACONV_RFCBAM) {
                    const size_t i = size_t(((b * T + j) * Ho + h) * Wo + w);
                    s0[i] = std::fmax(s0[i], f);
                    s1[i] += f / double(p.C);
                } else {
                    s0[size_t((b * p.C + c) * k * Ho + h * k + j / k)] += f / double(k * Wo);
                    s1[size_t((b * p.C + c) * k * Wo + w * k + j % k)] += f / double(k * Ho);
                }
            }
        });
    }
};

#endif

// Shared by the tests of the kernels: random problems, plain double loops, comparison. RFACONV_ISA comes from the build.
#ifndef RFACONV_TESTS_CHECK_H
#define RFACONV_TESTS_CHECK_H

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../window.h"
#include "program.h"

using namespace rfaconv::RFACONV_ISA;

static int failures = 0;

// A random window and image size; false where the window does not fit.
struct Problem {
    int64_t B, C, O, H, W, k;
    rfaconv_window win;
    bool half, channels_last;
    int threads;

    int64_t T() const { return k * k; }
    int64_t outputs() const { return win.out[0] * win.out[1]; }
    std::string text() const {
        char s[256];
        std::snprintf(s, sizeof s, "B%d C%d O%d %dx%d k%d s%d,%d p%d,%d d%d,%d -> %dx%d%s%s threads %d", int(B), int(C), int(O), int(H),
                      int(W), int(k), int(win.stride[0]), int(win.stride[1]), int(win.pad[0]), int(win.pad[1]),
                      int(win.dilation[0]), int(win.dilation[1]), int(win.out[0]), int(win.out[1]), half ? " bf16" : "",
                      channels_last ? " nhwc" : "", threads);
        return s;
    }
    bool draw(std::mt19937& rng, int round) {
        auto pick = [&](int a, int b) { return int64_t(a + int(rng() % unsigned(b - a + 1))); };
        k = round % 7 == 0 ? 5 : round % 5 == 0 ? 1 : 3;
        B = pick(1, 3), C = pick(1, 35), O = pick(1, 40), H = pick(1, 20), W = pick(1, 40);
        const bool plain = rng() % 2 == 0;
        for (int d = 0; d < 2; ++d) {
            win.kernel[d] = k;
            win.stride[d] = plain ? 1 : pick(1, 3), win.dilation[d] = plain ? 1 : pick(1, 3);
            win.pad[d] = rng() % 2 ? k / 2 : pick(0, 3);
            const int64_t size = d == 0 ? H : W, high = rng() % 2 ? win.pad[d] : pick(0, 3);
            const int64_t room = size + win.pad[d] + high - win.dilation[d] * (k - 1) - 1;
            if (room < 0) return false;
            win.out[d] = room / win.stride[d] + 1;
        }
        half = rng() % 4 == 0, channels_last = rng() % 2 == 0, threads = int(pick(1, 3));
        return true;
    }
};

// A tensor of B C H W in the problem's memory format and type, its values also as double.
struct Tensor {
    std::vector<float> f;
    std::vector<uint16_t> h;
    rfaconv_tensor t;

    Tensor(int64_t a, int64_t b, int64_t c, int64_t d, bool half, bool channels_last) {
        const size_t n = size_t(a * b * c * d);
        t = {nullptr, {a, b, c, d}, {b * c * d, c * d, d, 1}, half ? RFACONV_BF16 : RFACONV_F32};
        if (channels_last) t.stride[1] = 1, t.stride[2] = d * b, t.stride[3] = b;
        if (half)
            h.assign(n, 0x7fc0), t.data = h.data();
        else
            f.assign(n, NAN), t.data = f.data();
    }
    double at(int64_t a, int64_t b, int64_t c, int64_t d) const {
        const size_t i = size_t(a * t.stride[0] + b * t.stride[1] + c * t.stride[2] + d * t.stride[3]);
        return t.dtype == RFACONV_BF16 ? double(bf16_to_float(h[i])) : double(f[i]);
    }
    void set(size_t i, float value) {
        if (t.dtype == RFACONV_BF16)
            h[i] = float_to_bf16(value);
        else
            f[i] = value;
    }
    void fill(std::mt19937& rng, float mean, float std) {
        std::normal_distribution<float> normal(mean, std);
        for (float& v : f) v = normal(rng);
        for (uint16_t& v : h) v = float_to_bf16(normal(rng));
    }
};

static std::vector<float> random_floats(std::mt19937& rng, int64_t n, float scale, float mean = 0.0f) {
    std::normal_distribution<float> normal(mean, scale);
    std::vector<float> v(static_cast<size_t>(n));
    for (float& x : v) x = normal(rng);
    return v;
}

// The input under tap j of output (h, w): its row and column, and whether it lies inside.
struct TapAt {
    int64_t r, c;
    bool inside;
};
static TapAt tap_at(const Problem& p, int64_t h, int64_t w, int64_t j) {
    TapAt t;
    t.r = h * p.win.stride[0] - p.win.pad[0] + j / p.k * p.win.dilation[0];
    t.c = w * p.win.stride[1] - p.win.pad[1] + j % p.k * p.win.dilation[1];
    t.inside = t.r >= 0 && t.r < p.H && t.c >= 0 && t.c < p.W;
    return t;
}
static double patch_at(const Problem& p, const Tensor& x, int64_t b, int64_t c, int64_t h, int64_t w, int64_t j) {
    const TapAt t = tap_at(p, h, w, j);
    return t.inside ? x.at(b, c, t.r, t.c) : 0.0;
}

// Largest difference relative to the largest wanted value.
template <class Got>
static double worst_error(const Got& got, const std::vector<double>& want) {
    double scale = 1e-30, worst = 0.0;
    for (double w : want) scale = std::fmax(scale, std::fabs(w));
    for (size_t i = 0; i < want.size(); ++i) {
        const double e = std::fabs(double(got[i]) - want[i]) / scale;
        if (!(e <= worst)) worst = e;  // NaN counts
    }
    return worst;
}

template <class Got>
static void expect_close(const Got& got, const std::vector<double>& want, double bound, const char* what, const Problem& p) {
    const double e = worst_error(got, want);
    if (e <= bound) return;
    ++failures;
    std::printf("FAILED %s: error %.3g > %.3g, %s\n", what, e, bound, p.text().c_str());
}
static void expect(bool good, const char* what, const Problem& p) {
    if (good) return;
    ++failures;
    std::printf("FAILED %s, %s\n", what, p.text().c_str());
}
static std::vector<double> values(const Tensor& t) {
    std::vector<double> v;
    for (int64_t a = 0; a < t.t.size[0]; ++a)
        for (int64_t b = 0; b < t.t.size[1]; ++b)
            for (int64_t c = 0; c < t.t.size[2]; ++c)
                for (int64_t d = 0; d < t.t.size[3]; ++d) v.push_back(t.at(a, b, c, d));
    return v;
}

// Random problems that a program draws: as many as RFACONV_TEST_ROUNDS says.
[[maybe_unused]] static int rounds_or(int usual) {
    const char* const text = std::getenv("RFACONV_TEST_ROUNDS");
    return text != nullptr ? std::atoi(text) : usual;
}

static int report() {
    std::printf("lanes %d: %d failures\n", int(lanes), failures);
    return failures != 0;
}

#endif

// Vectors, staging and geometry against plain loops, for the instruction set that this file is compiled with.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "../window.h"
#include "program.h"

using namespace rfaconv::RFACONV_ISA;

static int failures = 0;

static void expect(bool good, const char* what, double value) {
    if (good) return;
    ++failures;
    std::printf("FAILED %s: %g\n", what, value);
}

static void test_exp2() {
    double least = INFINITY, most = 0;  // of exp2_scaled(t) / 2^t, which need only be constant
    float out[lanes];
    for (double t = -16.0; t <= 16.0; t += 0.000117) {  // the same constant for products, which are not rounded
        const float a = float(t), b = 0.99993f;
        store(out, exp2_product(set1(a), set1(b)));
        const double ratio = out[0] / std::exp2(double(a) * double(b));
        least = std::fmin(least, ratio), most = std::fmax(most, ratio);
    }
    expect(most / least - 1 < 4e-7, "exp2_product relative error", most / least - 1);
    for (double t = -125.9; t < 0.01; t += 0.000917) {
        store(out, exp2_scaled(set1(float(t))));
        const double ratio = out[0] / std::exp2(double(float(t)));
        least = std::fmin(least, ratio), most = std::fmax(most, ratio);
    }
    expect(most / least - 1 < 6e-7, "exp2_scaled relative error", most / least - 1);
    store(out, exp2_scaled(set1(NAN)));
    expect(std::isnan(out[0]), "exp2_scaled(NaN)", out[0]);
    store(out, exp2_product(set1(NAN), set1(1.0f)));
    expect(std::isnan(out[0]), "exp2_product(NaN)", out[0]);
    store(out, relu(set1(NAN)));
    expect(std::isnan(out[0]), "relu(NaN)", out[0]);
    for (float a : {1.0f, 3.0f, 8.9f, 24.7f}) {
        store(out, reciprocal(set1(a)));
        expect(std::fabs(out[0] * double(a) - 1) < 2e-7, "reciprocal", out[0]);
    }
}

static void test_transpose() {
    float in[lanes * lanes], out[lanes * lanes];
    vf r[lanes];
    for (int i = 0; i < lanes * lanes; ++i) in[i] = float(i);
    for (int i = 0; i < lanes; ++i) r[i] = load(in + i * lanes);
    transpose(r);
    for (int i = 0; i < lanes; ++i) store(out + i * lanes, r[i]);
    for (int i = 0; i < lanes; ++i)
        for (int j = 0; j < lanes; ++j) expect(out[i * lanes + j] == in[j * lanes + i], "transpose", i * 100 + j);
    for (int i = 0; i < lanes; ++i) {
        uint16_t h[lanes];
        float f = float(std::exp(i - 5.3)) * (i % 2 ? 1 : -1);
        if (i == 3) f = NAN;
        store_bf16(h, set1(f));
        expect(h[lanes - 1] == float_to_bf16(f), "store_bf16", f);
        store(out, load_bf16(h));
        expect(i == 3 ? std::isnan(out[0]) : std::fabs(out[0] / f - 1) < 0.004, "load_bf16", out[0]);
    }
}

static void test_stage(std::mt19937& rng, int round) {
    auto pick = [&](int a, int b) { return int64_t(a + int(rng() % unsigned(b - a + 1))); };
    rfaconv_window w;
    const int64_t k = round % 7 == 0 ? 5 : round % 5 == 0 ? 1 : 3;
    const int64_t B = pick(1, 4), C = pick(1, 35), H = pick(1, 20), W = pick(1, 40);
    for (int d = 0; d < 2; ++d) {
        w.kernel[d] = k, w.stride[d] = pick(1, 3), w.dilation[d] = pick(1, 3), w.pad[d] = pick(0, 3);
        const int64_t high = pick(0, 3), size = d == 0 ? H : W;
        w.out[d] = (size + w.pad[d] + high - w.dilation[d] * (k - 1) - 1) / w.stride[d] + 1;
        if (size + w.pad[d] + high < w.dilation[d] * (k - 1) + 1) return;
    }
    const bool half = rng() % 3 == 0, last = rng() % 2 == 0;
    std::vector<float> xf(size_t(B * C * H * W));
    std::vector<uint16_t> xh(xf.size());
    rfaconv_tensor x{half ? static_cast<void*>(xh.data()) : xf.data(), {B, C, H, W}, {C * H * W, H * W, W, 1}, half ? RFACONV_BF16 : RFACONV_F32};
    if (last) x.stride[1] = 1, x.stride[2] = W * C, x.stride[3] = C;
    for (size_t i = 0; i < xf.size(); ++i) xf[i] = bf16_to_float(xh[i] = float_to_bf16(float(rng() % 1000) - 500));
    const Shape s = make_shape(x, w, round % 2 == 0);
    const int64_t begin = pick(0, int(s.pixels - 1)), end = pick(int(begin) + 1, int(s.pixels)), n = pick(1, int(C)), first = pick(0, int(C - n));
    struct alignas(64) Line {
        char bytes[64];
    };
    std::vector<Line> memory(size_t(ceil_div(tile_index_bytes(s, end - begin), 64)));
    Tile t;
    make_tile(t, s, begin, end, memory.data());
    expect(t.channel_stride <= tile_channel_floats(s, end - begin), "tile_channel_floats", double(t.channel_stride));
    std::vector<float> planes(size_t(n * t.channel_stride)), lines(size_t(stage_line_floats(s)));
    stage(x, s, t, first, n, planes.data(), lines.data());
    std::vector<float> sums(planes.size(), 0.0f);
    for (int64_t c = 0; c < n; ++c)
        for (int64_t v = 0; v < t.vectors; ++v) {
            vf u[25];
            float* channel = planes.data() + c * t.channel_stride;
            if (k == 1) load_patch<1>(u, channel, t, v); else if (k == 3) load_patch<9>(u, channel, t, v); else load_patch<25>(u, channel, t, v);
            float* sum = sums.data() + c * t.channel_stride;
            vf one[25];
            for (int j = 0; j < 25; ++j) one[j] = set1(1.0f);
            if (k == 1) add_patch<1>(sum, t, v, one); else if (k == 3) add_patch<9>(sum, t, v, one); else add_patch<25>(sum, t, v, one);
            for (int64_t j = 0; j < s.T; ++j) {
                float got[lanes];
                store(got, u[j]);
                for (int64_t l = 0; l < lanes && begin + v * lanes + l < end; ++l) {
                    const int64_t p = begin + v * lanes + l, b = p / (s.Ho * s.Wo), h = p / s.Wo % s.Ho, q = p % s.Wo;
                    const int64_t row = h * s.sh - s.ph + j / k * s.dh, col = q * s.sw - s.pw + j % k * s.dw;
                    const float want = row < 0 || row >= H || col < 0 || col >= W ? 0.0f : xf[size_t(b * x.stride[0] + (first + c) * x.stride[1] + row * x.stride[2] + col * x.stride[3])];
                    expect(got[l] == want, "load_patch", double(p));
                }
            }
        }
    double total = 0, want = 0;  // shared planes drop what falls on the padding left and right
    for (float f : sums) total += f;
    for (int64_t p = begin; p < end; ++p)
        for (int64_t j = 0; j < s.T; ++j) {
            const Shape::TapColumn& tap = s.tap_column[j % k];
            want += tap.mask < 0 || (p % s.Wo >= tap.from && p % s.Wo < tap.to) ? double(n) : 0.0;
        }
    expect(total == want, "add_patch", total - want);
}

int run_tests() {
    std::mt19937 rng(1);
    test_exp2();
    test_transpose();
    for (int i = 0; i < 3000; ++i) test_stage(rng, i);
    std::printf("lanes %d: %d failures\n", int(lanes), failures);
    return failures != 0;
}

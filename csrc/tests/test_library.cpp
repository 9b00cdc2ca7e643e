// The finished library through its C interface, as Python calls it: a projection whose result is known.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "threads.h"

static int failures = 0;

static void expect(bool good, const char* what) {
    if (good) return;
    ++failures;
    std::printf("FAILED %s\n", what);
}

int main() {
    expect(rfaconv_abi_version() == RFACONV_ABI_VERSION, "ABI version");
    std::printf("runs with %s\n", rfaconv_isa());
    const char* const wish = std::getenv("RFACONV_CPU_ISA");
    if (wish != nullptr && std::strcmp(wish, rfaconv_isa()) != 0) {
        std::printf("skipped: this processor lacks %s\n", wish);
        return 77;  // test runners show it as skipped
    }
    for (const rfaconv_openmp* runtime : {static_cast<const rfaconv_openmp*>(nullptr), &gomp_runtime(), &kmp_runtime()}) {
        expect(rfaconv_bind_openmp(runtime) == RFACONV_OK, "runtime");
        // 1x1, feature = relu(2 x + 1), y_o = sum over c of (c + 1) * feature, the same for all outputs
        const int64_t B = 2, C = 37, O = 19, H = 23, W = 29;
        std::vector<float> x(size_t(B * C * H * W)), y(size_t(B * O * H * W), -1.0f), weight(size_t(O * C)), g(size_t(C), 2.0f), bias(size_t(C), 1.0f);
        for (size_t i = 0; i < x.size(); ++i) x[i] = float(int(i * 7919 % 17) - 8);
        for (size_t i = 0; i < weight.size(); ++i) weight[i] = float(i % size_t(C) + 1);
        rfaconv_tensor tx{x.data(), {B, C, H, W}, {C * H * W, H * W, W, 1}, RFACONV_F32}, ty{y.data(), {B, O, H, W}, {O * H * W, H * W, W, 1}, RFACONV_F32};
        rfaconv_tensor tw{weight.data(), {O, C, 1, 1}, {C, 1, 1, 1}, RFACONV_F32};
        const rfaconv_window window{{1, 1}, {1, 1}, {0, 0}, {1, 1}, {H, W}};
        expect(rfaconv_project(&tx, &window, g.data(), bias.data(), RFACONV_NONE, nullptr, &tw, nullptr, &ty, 3) == RFACONV_OK, "status");
        bool good = true;
        for (int64_t b = 0; b < B; ++b)
            for (int64_t p = 0; p < H * W; ++p) {
                float want = 0.0f;  // whole numbers: exact
                for (int64_t c = 0; c < C; ++c) {
                    const float f = 2 * x[size_t((b * C + c) * H * W + p)] + 1;
                    want += float(c + 1) * (f > 0 ? f : 0);
                }
                for (int64_t o = 0; o < O; ++o) good = good && y[size_t((b * O + o) * H * W + p)] == want;
            }
        expect(good, "values");
        expect(rfaconv_project(&tx, &window, nullptr, bias.data(), RFACONV_NONE, nullptr, &tw, nullptr, &ty, 1) == RFACONV_BAD_ARGUMENT, "null");
    }
    rfaconv_release();
    std::printf("%d failures\n", failures);
    return failures != 0;
}

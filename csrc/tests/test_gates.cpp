// channel_gate, pixel_gate, line_hidden and line_gates against plain double loops on the enlarged map.
#include "check.h"

#include "../line_gates.h"
#include "../pixel_gate.h"
#include "../squeeze.h"

static double exact_sigmoid(double z) { return 1.0 / (1.0 + std::exp(-z)); }

static std::vector<float> draw(std::mt19937& rng, int64_t n, float scale) {
    std::normal_distribution<float> normal(0.0f, scale);
    std::vector<float> v(static_cast<size_t>(n));
    for (float& x : v) x = normal(rng);
    return v;
}

static void compare(const std::vector<float>& found, const std::vector<double>& want, const char* what, const std::string& problem) {
    double worst = 0.0, largest = 1e-30;
    for (size_t i = 0; i < want.size(); ++i) {
        const double error = std::fabs(double(found[i]) - want[i]);
        worst = error > worst || error != error ? error : worst;
        largest = std::fmax(largest, std::fabs(want[i]));
    }
    if (!(worst <= 2e-6 * largest)) {
        ++failures;
        std::printf("%s: error %.3g of %.3g in %s\n", what, worst, largest, problem.c_str());
    }
}

static void test_pixel_gate(std::mt19937& rng) {
    auto pick = [&](int a, int b) { return int64_t(a + int(rng() % unsigned(b - a + 1))); };
    const int64_t B = pick(1, 3), k[2] = {pick(1, 5), pick(1, 5)}, out[2] = {pick(1, 12), pick(1, 90)};
    const int64_t spatial[2] = {2 * pick(0, 3) + 1, 2 * pick(0, 3) + 1}, T = k[0] * k[1], plane = out[0] * out[1];
    const int threads = int(pick(1, 3));
    const std::vector<float> top = draw(rng, B * T * plane, 2), mean = draw(rng, B * T * plane, 1),
                             weight = draw(rng, 2 * spatial[0] * spatial[1], 0.3f);
    std::vector<double> want(top.size());
    std::vector<float> found(top.size(), NAN);
    const auto index = [&](int64_t b, int64_t row, int64_t col) {
        return size_t(((b * T + row % k[0] * k[1] + col % k[1]) * out[0] + row / k[0]) * out[1] + col / k[1]);
    };
    for (int64_t b = 0; b < B; ++b)
        for (int64_t row = 0; row < k[0] * out[0]; ++row)
            for (int64_t col = 0; col < k[1] * out[1]; ++col) {
                double sum = 0.0;
                for (int64_t y = 0; y < spatial[0]; ++y)
                    for (int64_t x = 0; x < spatial[1]; ++x) {
                        const int64_t r = row + y - spatial[0] / 2, c = col + x - spatial[1] / 2;
                        if (r < 0 || c < 0 || r >= k[0] * out[0] || c >= k[1] * out[1]) continue;
                        sum += double(weight[size_t(y * spatial[1] + x)]) * top[index(b, r, c)];
                        sum += double(weight[size_t((spatial[0] + y) * spatial[1] + x)]) * mean[index(b, r, c)];
                    }
                want[index(b, row, col)] = exact_sigmoid(sum);
            }
    const rfaconv_window window{{k[0], k[1]}, {1, 1}, {0, 0}, {1, 1}, {out[0], out[1]}};
    if (pixel_gate(top.data(), mean.data(), weight.data(), spatial, B, &window, found.data(), threads) != RFACONV_OK) ++failures;
    char text[128];
    std::snprintf(text, sizeof text, "B%d %dx%d of %dx%d, kernel %dx%d, threads %d", int(B), int(out[0]), int(out[1]), int(k[0]),
                  int(k[1]), int(spatial[0]), int(spatial[1]), threads);
    compare(found, want, "pixel gate", text);
}

static void test_lines(std::mt19937& rng) {
    auto pick = [&](int a, int b) { return int64_t(a + int(rng() % unsigned(b - a + 1))); };
    const int64_t B = pick(1, 3), C = pick(1, 40), M = pick(1, 20), L[2] = {pick(1, 40), pick(1, 40)}, size[5] = {B, C, M, L[0], L[1]};
    const int64_t total = L[0] + L[1];
    const int threads = int(pick(1, 3));
    const bool with_bias = rng() % 2 == 0;
    const std::vector<float> first = draw(rng, B * C * L[0], 1), second = draw(rng, B * C * L[1], 1), weight = draw(rng, M * C, 1),
                             bias = draw(rng, M, 1);
    std::vector<double> hidden(size_t(B * M * total));
    std::vector<float> found(hidden.size(), NAN);
    for (int64_t b = 0; b < B; ++b)
        for (int64_t m = 0; m < M; ++m)
            for (int64_t i = 0; i < total; ++i) {
                double sum = with_bias ? bias[size_t(m)] : 0.0;
                for (int64_t c = 0; c < C; ++c)
                    sum += double(weight[size_t(m * C + c)]) *
                           (i < L[0] ? first[size_t((b * C + c) * L[0] + i)] : second[size_t((b * C + c) * L[1] + i - L[0])]);
                hidden[size_t((b * M + m) * total + i)] = sum;
            }
    char text[128];
    std::snprintf(text, sizeof text, "B%d C%d M%d lengths %d, %d, threads %d", int(B), int(C), int(M), int(L[0]), int(L[1]), threads);
    if (line_hidden(first.data(), second.data(), weight.data(), with_bias ? bias.data() : nullptr, size, found.data(), threads) !=
        RFACONV_OK)
        ++failures;
    compare(found, hidden, "hidden", text);

    const std::vector<float> w[2] = {draw(rng, C * M, 0.5f), draw(rng, C * M, 0.5f)}, offset[2] = {draw(rng, C, 1), draw(rng, C, 1)};
    std::vector<float> gate[2] = {std::vector<float>(first.size(), NAN), std::vector<float>(second.size(), NAN)};
    const float* const weights[2] = {w[0].data(), w[1].data()};
    const float* const offsets[2] = {with_bias ? offset[0].data() : nullptr, offset[1].data()};
    float* const gates[2] = {gate[0].data(), gate[1].data()};
    if (line_gates(found.data(), weights, offsets, size, gates, threads) != RFACONV_OK) ++failures;
    for (int axis = 0; axis < 2; ++axis) {
        std::vector<double> want(gate[axis].size());
        for (int64_t b = 0; b < B; ++b)
            for (int64_t c = 0; c < C; ++c)
                for (int64_t i = 0; i < L[axis]; ++i) {
                    double sum = offsets[axis] == nullptr ? 0.0 : offset[axis][size_t(c)];
                    for (int64_t m = 0; m < M; ++m) {
                        const double h = found[size_t((b * M + m) * total + axis * L[0] + i)];
                        sum += double(w[axis][size_t(c * M + m)]) * h * std::fmin(6.0, std::fmax(0.0, h + 3.0)) / 6.0;
                    }
                    want[size_t((b * C + c) * L[axis] + i)] = exact_sigmoid(sum);
                }
        compare(gate[axis], want, axis ? "column gate" : "row gate", text);
    }
}

static void test_channel_gate(std::mt19937& rng, int64_t H, int64_t W) {
    auto pick = [&](int a, int b) { return int64_t(a + int(rng() % unsigned(b - a + 1))); };
    const int64_t B = pick(1, 3), C = pick(1, 50), M = pick(1, 20);
    const int layout = int(pick(0, 3)), threads = int(pick(1, 3));
    // a map of its own, channels last, a part of a wider one, every second channel of a map with channels last
    const int64_t wide = layout == 2 ? W + 3 : W, gap = layout == 3 ? 2 : 1, deep = C * gap;
    std::vector<float> memory = draw(rng, B * deep * H * wide, 1);
    for (float& v : memory) v += 3.0f;
    rfaconv_tensor x{memory.data(), {B, C, H, W}, {deep * H * wide, H * wide, wide, 1}, RFACONV_F32};
    if (layout % 2 == 1) x.stride[1] = gap, x.stride[2] = deep * W, x.stride[3] = deep;
    const std::vector<float> reduce = draw(rng, M * C, 0.2f), expand = draw(rng, C * M, 0.2f);
    std::vector<double> want(size_t(B * C));
    for (int64_t b = 0; b < B; ++b) {
        std::vector<double> hidden(static_cast<size_t>(M));
        for (int64_t c = 0; c < C; ++c) {
            double mean = 0.0;
            for (int64_t h = 0; h < H; ++h)
                for (int64_t w = 0; w < W; ++w)
                    mean += memory[size_t(b * x.stride[0] + c * x.stride[1] + h * x.stride[2] + w * x.stride[3])] / double(H * W);
            for (int64_t m = 0; m < M; ++m) hidden[size_t(m)] += reduce[size_t(m * C + c)] * mean;
        }
        for (int64_t c = 0; c < C; ++c) {
            double sum = 0.0;
            for (int64_t m = 0; m < M; ++m) sum += expand[size_t(c * M + m)] * std::fmax(0.0, hidden[size_t(m)]);
            want[size_t(b * C + c)] = exact_sigmoid(sum);
        }
    }
    std::vector<float> found(want.size(), NAN);
    if (channel_gate(&x, reduce.data(), expand.data(), M, found.data(), threads) != RFACONV_OK) ++failures;
    char text[128];
    std::snprintf(text, sizeof text, "B%d C%d M%d %dx%d layout %d threads %d", int(B), int(C), int(M), int(H), int(W), layout, threads);
    compare(found, want, "channel gate", text);
}

int run_tests() {
    const int rounds = rounds_or(200);
    std::mt19937 rng(7);
    for (int i = 0; i < rounds; ++i) {
        test_pixel_gate(rng);
        test_lines(rng);
        test_channel_gate(rng, 1 + int64_t(rng() % 20), 1 + int64_t(rng() % 40));
    }
    test_channel_gate(rng, 90, 110);  // more pixels than are summed in float
    return report();
}

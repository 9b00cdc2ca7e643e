// A whole operator in one call, for inference: statistics of the features, gates, projection. What is between them stays in one
// block of working memory.
#include <cmath>

#include "rfaconv.h"
#include "scratch.h"

namespace rfaconv {

namespace {

// Cuts a block of floats into pieces; with a null base it only counts.
struct Pieces {
    float* base;
    int64_t used = 0;

    float* take(int64_t n) {
        float* const at = base == nullptr ? nullptr : base + used;
        used += (n + 15) / 16 * 16;
        return at;
    }
};

struct Forward {
    const rfaconv_tensor* x;
    const rfaconv_window* window;
    const float* feature_weight;
    const float* feature_bias;
    const rfaconv_attention& attention;
    int32_t threads;

    int64_t images() const { return x->size[0]; }
    int64_t channels() const { return x->size[1]; }

    int32_t stats(int32_t kind, float* s0, float* s1) const {
        return rfaconv_feature_stats(x, window, feature_weight, feature_bias, kind, s0, s1, threads);
    }

    // Channel gate (B,C) and pixel gate (B,T,Ho,Wo).
    int32_t rfcbam(Pieces& memory, rfaconv_gate& gate) const {
        const int64_t pixels = images() * window->kernel[0] * window->kernel[1] * window->out[0] * window->out[1];
        float *channel = memory.take(images() * channels()), *pixel = memory.take(pixels);
        float *top = memory.take(pixels), *mean = memory.take(pixels);
        const int64_t *size = attention.spatial, *stride = attention.spatial_stride;
        float* weight = memory.take(2 * size[0] * size[1]);
        if (memory.base == nullptr) return RFACONV_OK;
        gate = {channel, pixel};
        int32_t status = rfaconv_channel_gate(x, attention.weight[0], attention.weight[1], attention.hidden, channel, threads);
        if (status == RFACONV_OK) status = stats(RFACONV_RFCBAM, top, mean);
        if (status != RFACONV_OK) return status;
        for (int64_t i = 0; i < 2 * size[0] * size[1]; ++i)
            weight[i] = attention.weight[2][i / (size[0] * size[1]) * stride[0] + i / size[1] % size[0] * stride[1] +
                                            i % size[1] * stride[2]];
        return rfaconv_pixel_gate(top, mean, weight, size, images(), window, pixel, threads);
    }

    // Gates of the rows (B,C,kh*Ho) and of the columns (B,C,kw*Wo).
    int32_t rfca(Pieces& memory, rfaconv_gate& gate) const {
        const int64_t size[] = {images(), channels(), attention.hidden, window->kernel[0] * window->out[0],
                                window->kernel[1] * window->out[1]};
        const int64_t rows = size[0] * size[1] * size[3], columns = size[0] * size[1] * size[4];
        float *row = memory.take(rows), *column = memory.take(columns);
        float *row_gate = memory.take(rows), *column_gate = memory.take(columns);
        float* hidden = memory.take(size[0] * size[2] * (size[3] + size[4]));
        float *weight = memory.take(size[2] * size[1]), *bias = memory.take(size[2]);
        if (memory.base == nullptr) return RFACONV_OK;
        gate = {row_gate, column_gate};
        int32_t status = stats(RFACONV_RFCA, row, column);
        if (status != RFACONV_OK) return status;
        fold_norm(weight, bias);
        status = rfaconv_line_hidden(row, column, weight, bias, size, hidden, threads);
        if (status != RFACONV_OK) return status;
        float* const gates[] = {row_gate, column_gate};
        return rfaconv_line_gates(hidden, attention.weight + 1, attention.bias + 1, size, gates, threads);
    }

private:
    // The small layer with its BatchNorm: scale * (W p + b - mean) + shift.
    void fold_norm(float* weight, float* bias) const {
        const float* const* norm = attention.norm;
        for (int64_t m = 0; m < attention.hidden; ++m) {
            const double scale = (norm[2] == nullptr ? 1.0 : double(norm[2][m])) / std::sqrt(double(norm[1][m]) + attention.eps);
            const double offset = attention.bias[0] == nullptr ? 0.0 : double(attention.bias[0][m]);
            bias[m] = float((offset - double(norm[0][m])) * scale + (norm[3] == nullptr ? 0.0 : double(norm[3][m])));
            const float* const from = attention.weight[0] + m * channels();
            for (int64_t c = 0; c < channels(); ++c) weight[m * channels() + c] = float(double(from[c]) * scale);
        }
    }
};

}  // namespace
}  // namespace rfaconv

using namespace rfaconv;

extern "C" int32_t rfaconv_forward(const rfaconv_tensor* x, const rfaconv_window* window, const float* feature_weight,
                                   const float* feature_bias, int32_t kind, const rfaconv_attention* attention,
                                   const rfaconv_tensor* weight, const rfaconv_tensor* bias, rfaconv_tensor* y, int32_t threads) {
    if (x == nullptr || window == nullptr || attention == nullptr) return RFACONV_BAD_ARGUMENT;
    if (x->dtype != RFACONV_F32) return RFACONV_UNSUPPORTED;
    const int weights = kind == RFACONV_RFA ? 1 : kind == RFACONV_RFCBAM || kind == RFACONV_RFCA ? 3 : 0;
    for (int i = 0; i < weights; ++i)
        if (attention->weight[i] == nullptr) return RFACONV_BAD_ARGUMENT;
    if (kind == RFACONV_RFCA && (attention->norm[0] == nullptr || attention->norm[1] == nullptr)) return RFACONV_BAD_ARGUMENT;
    if (kind == RFACONV_RFCBAM && (attention->spatial[0] < 1 || attention->spatial[1] < 1)) return RFACONV_BAD_ARGUMENT;
    if (weights == 0 || (weights == 3 && attention->hidden < 1)) return RFACONV_BAD_ARGUMENT;

    const Forward forward{x, window, feature_weight, feature_bias, *attention, threads};
    rfaconv_gate gate{attention->weight[0], nullptr};
    const auto gates = [&](Pieces& memory) {
        if (kind == RFACONV_RFCBAM) return forward.rfcbam(memory, gate);
        return kind == RFACONV_RFCA ? forward.rfca(memory, gate) : int32_t(RFACONV_OK);
    };
    Pieces count{nullptr};
    gates(count);
    if (count.used == 0)
        return rfaconv_project(x, window, feature_weight, feature_bias, kind, &gate, weight, bias, y, threads);
    const Scratch scratch(size_t(count.used) * sizeof(float));
    if (scratch.data() == nullptr) return RFACONV_OUT_OF_MEMORY;
    Pieces memory{static_cast<float*>(scratch.data())};
    const int32_t status = gates(memory);
    if (status != RFACONV_OK) return status;
    return rfaconv_project(x, window, feature_weight, feature_bias, kind, &gate, weight, bias, y, threads);
}

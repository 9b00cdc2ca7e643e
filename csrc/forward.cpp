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

// A linear layer (rows, columns) with the BatchNorm behind it as one layer; offset (rows) may be null.
void fold(const rfaconv_norm& norm, const float* from, const float* offset, int64_t rows, int64_t columns, float* weight,
          float* bias) {
    for (int64_t r = 0; r < rows; ++r) {
        const double scale = (norm.weight == nullptr ? 1.0 : double(norm.weight[r])) / std::sqrt(double(norm.variance[r]) + norm.eps);
        const double shift = norm.bias == nullptr ? 0.0 : double(norm.bias[r]);
        bias[r] = float(((offset == nullptr ? 0.0 : double(offset[r])) - double(norm.mean[r])) * scale + shift);
        for (int64_t c = 0; c < columns; ++c) weight[r * columns + c] = float(double(from[r * columns + c]) * scale);
    }
}

struct Forward {
    const rfaconv_tensor* x;
    const rfaconv_window* window;
    const float* feature_weight;
    const float* feature_bias;
    const rfaconv_norm* feature_norm;
    int32_t kind;
    const rfaconv_attention& attention;
    int32_t threads;
    rfaconv_gate gate;

    int64_t images() const { return x->size[0]; }
    int64_t channels() const { return x->size[1]; }
    int64_t taps() const { return window->kernel[0] * window->kernel[1]; }

    // Everything that the projection needs; the first pass, without memory, only measures.
    int32_t prepare(Pieces& memory) {
        if (feature_norm != nullptr) {
            const int64_t rows = channels() * taps();
            float *weight = memory.take(rows * taps()), *bias = memory.take(rows);
            if (memory.base != nullptr) {
                fold(*feature_norm, feature_weight, nullptr, rows, taps(), weight, bias);
                feature_weight = weight, feature_bias = bias;
            }
        }
        if (kind == RFACONV_RFCBAM) return rfcbam(memory);
        if (kind == RFACONV_RFCA) return rfca(memory);
        gate = {attention.weight[0], nullptr};
        return RFACONV_OK;
    }

    int32_t project(const rfaconv_tensor* weight, const rfaconv_tensor* bias, rfaconv_tensor* y) const {
        return rfaconv_project(x, window, feature_weight, feature_bias, kind, &gate, weight, bias, y, threads);
    }

private:
    int32_t stats(float* s0, float* s1) const {
        return rfaconv_feature_stats(x, window, feature_weight, feature_bias, kind, s0, s1, threads);
    }

    // Channel gate (B,C) and pixel gate (B,T,Ho,Wo).
    int32_t rfcbam(Pieces& memory) {
        const int64_t pixels = images() * taps() * window->out[0] * window->out[1];
        const int64_t *size = attention.spatial, *stride = attention.spatial_stride;
        float *channel = memory.take(images() * channels()), *pixel = memory.take(pixels);
        float *top = memory.take(pixels), *mean = memory.take(pixels), *weight = memory.take(2 * size[0] * size[1]);
        if (memory.base == nullptr) return RFACONV_OK;
        gate = {channel, pixel};
        int32_t status = rfaconv_channel_gate(x, attention.weight[0], attention.weight[1], attention.hidden, channel, threads);
        if (status == RFACONV_OK) status = stats(top, mean);
        if (status != RFACONV_OK) return status;
        for (int64_t i = 0; i < 2 * size[0] * size[1]; ++i)
            weight[i] = attention.weight[2][i / (size[0] * size[1]) * stride[0] + i / size[1] % size[0] * stride[1] +
                                            i % size[1] * stride[2]];
        return rfaconv_pixel_gate(top, mean, weight, size, images(), window, pixel, threads);
    }

    // Gates of the rows (B,C,kh*Ho) and of the columns (B,C,kw*Wo).
    int32_t rfca(Pieces& memory) {
        const int64_t size[] = {images(), channels(), attention.hidden, window->kernel[0] * window->out[0],
                                window->kernel[1] * window->out[1]};
        const int64_t rows = size[0] * size[1] * size[3], columns = size[0] * size[1] * size[4];
        float *row = memory.take(rows), *column = memory.take(columns);
        float *row_gate = memory.take(rows), *column_gate = memory.take(columns);
        float* hidden = memory.take(size[0] * size[2] * (size[3] + size[4]));
        float *weight = memory.take(size[2] * size[1]), *bias = memory.take(size[2]);
        if (memory.base == nullptr) return RFACONV_OK;
        gate = {row_gate, column_gate};
        int32_t status = stats(row, column);
        if (status != RFACONV_OK) return status;
        fold(attention.norm, attention.weight[0], attention.bias[0], size[2], size[1], weight, bias);
        status = rfaconv_line_hidden(row, column, weight, bias, size, hidden, threads);
        if (status != RFACONV_OK) return status;
        float* const gates[] = {row_gate, column_gate};
        return rfaconv_line_gates(hidden, attention.weight + 1, attention.bias + 1, size, gates, threads);
    }
};

bool good(const rfaconv_norm& norm) { return norm.mean != nullptr && norm.variance != nullptr; }

bool good(int32_t kind, const rfaconv_attention& a) {
    if (a.weight[0] == nullptr) return false;
    if (kind == RFACONV_RFA) return true;
    if (a.weight[1] == nullptr || a.weight[2] == nullptr || a.hidden < 1) return false;
    return kind == RFACONV_RFCBAM ? a.spatial[0] > 0 && a.spatial[1] > 0 : kind == RFACONV_RFCA && good(a.norm);
}

}  // namespace
}  // namespace rfaconv

using namespace rfaconv;

extern "C" int32_t rfaconv_forward(const rfaconv_layer* layer, int64_t bytes, int32_t threads) {
    if (layer == nullptr || bytes != int64_t(sizeof(rfaconv_layer))) return RFACONV_BAD_ARGUMENT;
    const rfaconv_layer& l = *layer;
    if (l.x.data == nullptr || l.weight.data == nullptr || l.y.data == nullptr) return RFACONV_BAD_ARGUMENT;
    const bool normed = l.feature_norm.mean != nullptr;
    if (l.feature_weight == nullptr || (normed ? !good(l.feature_norm) : l.feature_bias == nullptr)) return RFACONV_BAD_ARGUMENT;
    if (!good(int32_t(l.kind), l.attention)) return RFACONV_BAD_ARGUMENT;

    const rfaconv_tensor* const bias = l.bias.data == nullptr ? nullptr : &l.bias;
    rfaconv_tensor y = l.y;
    Forward forward{&l.x, &l.window, l.feature_weight, l.feature_bias, normed ? &l.feature_norm : nullptr, int32_t(l.kind),
                    l.attention, threads, {nullptr, nullptr}};
    Pieces count{nullptr};
    forward.prepare(count);
    if (count.used == 0) return forward.project(&l.weight, bias, &y);
    const Scratch scratch(size_t(count.used) * sizeof(float));
    if (scratch.data() == nullptr) return RFACONV_OUT_OF_MEMORY;
    Pieces memory{static_cast<float*>(scratch.data())};
    const int32_t status = forward.prepare(memory);
    return status != RFACONV_OK ? status : forward.project(&l.weight, bias, &y);
}

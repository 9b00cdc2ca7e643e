// Squeeze and excitation: the gate of each channel from the means of the input.
#ifndef RFACONV_SQUEEZE_H
#define RFACONV_SQUEEZE_H

#include "channel_rows.h"
#include "chunks.h"
#include "scratch.h"
#include "sigmoid.h"

namespace rfaconv {
namespace RFACONV_ISA {

// Floats of a channel that are summed in float; the sums of such blocks are added in double.
enum : int64_t { mean_block = 4096 };

// mean[c - from], channels from .. to - 1 of one image at p.
template <class Number>
static void channel_means(const rfaconv_tensor& x, const Number* p, int64_t from, int64_t to, float* mean) {
    const int64_t H = x.size[2], W = x.size[3];
    const double scale = 1.0 / double(H * W);
    if (x.stride[3] == 1) {
        const bool dense = x.stride[2] == W;
        const int64_t rows = dense ? 1 : H, length = dense ? H * W : W;
        for (int64_t c = from; c < to; ++c) {
            double sum = 0.0;
            for (int64_t h = 0; h < rows; ++h)
                for (int64_t at = 0; at < length; at += mean_block)
                    sum += sum_range(p + c * x.stride[1] + h * x.stride[2], at, imin(length, at + mean_block));
            mean[c - from] = float(sum * scale);
        }
        return;
    }
    for (int64_t c = from; c < to; c += lanes) {
        const int64_t n = imin(lanes, to - c);
        double sum[lanes] = {0.0};
        for (int64_t h = 0; h < H; ++h) {
            const Number* at = p + c * x.stride[1] + h * x.stride[2];
            alignas(64) float row[lanes] = {0.0f};
            if (x.stride[1] == 1) {
                vf total = zero();
                for (int64_t w = 0; w < W; ++w) total = total + load_some(at + w * x.stride[3], n);
                store(row, total);
            } else {
                for (int64_t w = 0; w < W; ++w)
                    for (int64_t l = 0; l < n; ++l) row[l] += to_float(at[w * x.stride[3] + l * x.stride[1]]);
            }
            for (int64_t l = 0; l < n; ++l) sum[l] += double(row[l]);
        }
        for (int64_t l = 0; l < n; ++l) mean[c - from + l] = float(sum[l] * scale);
    }
}

RFACONV_INLINE float dot(const float* a, const float* b, int64_t n) {
    vf sum = zero();
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) sum = fma(load(a + i), load(b + i), sum);
    if (i < n) sum = fma(load_first(a + i, n - i), load_first(b + i, n - i), sum);
    return reduce_add(sum);
}

// gate (B,C) = sigmoid(expand (C,M) . relu(reduce (M,C) . mean(x)))
static int32_t channel_gate(const rfaconv_tensor* x, const float* reduce, const float* expand, int64_t hidden, float* gate,
                            int32_t threads) {
    const int64_t B = x->size[0], C = x->size[1], tasks = B * C;
    threads = int32_t(imin(threads, ceil_div(tasks, lanes)));
    const int64_t blocks = ceil_div(C, lanes);
    parallel(threads, [=](Crew crew) {
        for (int64_t task = B * blocks * crew.me / crew.size; task < B * blocks * (crew.me + 1) / crew.size; ++task) {
            const int64_t b = task / blocks, c = task % blocks * lanes;
            const int64_t at = b * x->stride[0], end = imin(C, c + lanes);
            if (x->dtype == RFACONV_BF16)
                channel_means(*x, static_cast<const uint16_t*>(x->data) + at, c, end, gate + b * C + c);
            else
                channel_means(*x, static_cast<const float*>(x->data) + at, c, end, gate + b * C + c);
        }
    });
    Scratch scratch{size_t(hidden) * sizeof(float)};
    if (scratch.data() == nullptr) return RFACONV_OUT_OF_MEMORY;
    float* const active = static_cast<float*>(scratch.data());
    for (int64_t b = 0; b < B; ++b) {
        float* const own = gate + b * C;
        for (int64_t m = 0; m < hidden; ++m) {
            const float sum = dot(reduce + m * C, own, C);
            active[m] = sum < 0.0f ? 0.0f : sum;  // NaN stays
        }
        for (int64_t c = 0; c < C; ++c) own[c] = dot(expand + c * hidden, active, hidden);
        for (int64_t c = 0; c < C; c += lanes) store_first(own + c, sigmoid(load_first(own + c, C - c)), C - c);
    }
    return RFACONV_OK;
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

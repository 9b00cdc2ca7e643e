// The two small layers of coordinate attention, which torch runs in its slow path: means over lines to a few hidden channels,
// and those, once normalised, to the gates of rows and columns.
#ifndef RFACONV_LINE_GATES_H
#define RFACONV_LINE_GATES_H

#include "chunks.h"
#include "scratch.h"
#include "sigmoid.h"

namespace rfaconv {
namespace RFACONV_ISA {

enum : int64_t { hidden_block = 8 };

// hidden (B,M,L0+L1) = weight (M,C) . [first (B,C,L0), second (B,C,L1)] + bias.
static int32_t line_hidden(const float* first, const float* second, const float* weight, const float* bias, const int64_t* size,
                           float* hidden, int32_t threads) {
    const int64_t B = size[0], C = size[1], M = size[2], L[2] = {size[3], size[4]};
    const int64_t padded = round_up(M, hidden_block), vectors = ceil_div(L[0], lanes) + ceil_div(L[1], lanes);
    Scratch scratch{size_t(C * padded) * sizeof(float)};
    if (scratch.data() == nullptr) return RFACONV_OUT_OF_MEMORY;
    float* const turned = static_cast<float*>(scratch.data());  // the weights of a channel side by side
    for (int64_t c = 0; c < C; ++c)
        for (int64_t m = 0; m < padded; ++m) turned[c * padded + m] = m < M ? weight[m * C + c] : 0.0f;

    const int64_t tasks = B * vectors;
    threads = int32_t(imin(threads, tasks));
    parallel(threads, [=](Crew crew) {
        const int64_t me = crew.me, team = crew.size;
        for (int64_t task = tasks * me / team; task < tasks * (me + 1) / team; ++task) {
            const int64_t b = task / vectors, v = task % vectors, axis = v * lanes >= round_up(L[0], lanes);
            const int64_t at = v * lanes - axis * round_up(L[0], lanes), length = L[axis];
            const float* const from = (axis ? second : first) + b * C * length + at;
            const vm live = lanes_between(0, length - at);
            for (int64_t m = 0; m < M; m += hidden_block) {
                vf sum[hidden_block];
                for (int i = 0; i < hidden_block; ++i) sum[i] = zero();
                for (int64_t c = 0; c < C; ++c) {
                    const vf p = load_mask(from + c * length, live);
                    RFACONV_UNROLL
                    for (int i = 0; i < hidden_block; ++i) sum[i] = fma(p, set1(turned[c * padded + m + i]), sum[i]);
                }
                for (int64_t i = 0; i < imin(hidden_block, M - m); ++i) {
                    float* const to = hidden + (b * M + m + i) * (L[0] + L[1]) + axis * L[0] + at;
                    store_mask(to, bias == nullptr ? sum[i] : sum[i] + set1(bias[m + i]), live);
                }
            }
        }
    });
    return RFACONV_OK;
}

// Channels c .. c + N - 1 of one image: gate = sigmoid(weight . active + bias), active [M][stride].
template <int N>
static void expand_lines(const float* active, int64_t stride, int64_t M, int64_t length, const float* weight, const float* bias,
                         int64_t c, float* gate) {
    for (int64_t at = 0; at < length; at += lanes) {
        vf sum[N];
        for (int n = 0; n < N; ++n) sum[n] = zero();
        for (int64_t m = 0; m < M; ++m) {
            const vf h = load(active + m * stride + at);
            RFACONV_UNROLL
            for (int n = 0; n < N; ++n) sum[n] = fma(h, set1(weight[(c + n) * M + m]), sum[n]);
        }
        for (int n = 0; n < N; ++n)
            store_first(gate + n * length + at, sigmoid(bias == nullptr ? sum[n] : sum[n] + set1(bias[c + n])), length - at);
    }
}

// gate of axis i (B,C,Li) = sigmoid(weight_i (C,M) . hardswish(hidden)_i + bias_i).
static int32_t line_gates(const float* hidden, const float* const* weight, const float* const* bias, const int64_t* size,
                          float* const* gate, int32_t threads) {
    const int64_t B = size[0], C = size[1], M = size[2], L[2] = {size[3], size[4]};
    const int64_t offset = round_up(L[0], lanes), stride = offset + round_up(L[1], lanes), total = L[0] + L[1];
    const int64_t tasks = B * C;
    threads = int32_t(imin(threads, tasks));
    Scratch scratch{size_t(threads * M * stride) * sizeof(float)};
    if (scratch.data() == nullptr) return RFACONV_OUT_OF_MEMORY;
    parallel(threads, [=, &scratch](Crew crew) {
        const int64_t me = crew.me, team = crew.size;
        float* const active = static_cast<float*>(scratch.data()) + me * M * stride;
        const int64_t last = tasks * (me + 1) / team;
        for (int64_t task = tasks * me / team; task < last;) {
            const int64_t b = task / C, first = task % C, n = imin(C - first, last - task);
            for (int64_t m = 0; m < M; ++m)
                for (int axis = 0; axis < 2; ++axis)
                    for (int64_t at = 0; at < L[axis]; at += lanes) {
                        const vf h = load_first(hidden + (b * M + m) * total + axis * L[0] + at, L[axis] - at);
                        const vf up = min(set1(6.0f), max(zero(), h + set1(3.0f)));
                        store(active + m * stride + axis * offset + at, h * up * set1(1.0f / 6.0f));
                    }
            for (int axis = 0; axis < 2; ++axis) {
                const float* const from = active + axis * offset;
                float* const to = gate[axis] + b * C * L[axis];
                int64_t c = first;
                for (; c + 4 <= first + n; c += 4)
                    expand_lines<4>(from, stride, M, L[axis], weight[axis], bias[axis], c, to + c * L[axis]);
                for (; c < first + n; ++c) expand_lines<1>(from, stride, M, L[axis], weight[axis], bias[axis], c, to + c * L[axis]);
            }
            task += n;
        }
    });
    return RFACONV_OK;
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

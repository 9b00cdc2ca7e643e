// The spatial gate of RFCBAM: sigmoid of a convolution over the enlarged maps, in which the taps of a window lie side by side.
// The enlarged maps are never made: a step on them leads to another tap of the same window or of a neighbour.
#ifndef RFACONV_PIXEL_GATE_H
#define RFACONV_PIXEL_GATE_H

#include "chunks.h"
#include "scratch.h"
#include "sigmoid.h"
#include "window.h"

namespace rfaconv {
namespace RFACONV_ISA {

// One product of an output tap: `down` rows below, what lies at `offset` from there in a row of the ring.
struct GateTerm {
    int64_t down, offset;
    float weight;
};

// The rows of both maps that a row of the gate is made of, each with zeros at its ends: slots of [2][T][stride].
struct GateRows {
    const float *top, *mean;
    float* memory;
    int64_t T, Ho, Wo, far, slots, stride;  // far: zeros before a row; stride: of a row with its zeros
    int64_t slot_floats() const { return 2 * T * stride; }
    float* slot(int64_t h) const { return memory + (h + slots) % slots * slot_floats(); }

    // Row h of image b; zeros where h is outside.
    void take(int64_t b, int64_t h) const {
        float* const to = slot(h);
        for (int64_t k = 0; k < 2 * T; ++k) {
            float* const row = to + k * stride + far;
            if (h < 0 || h >= Ho) {
                zero_floats(row, Wo);
                continue;
            }
            const float* const from = (k < T ? top : mean) + ((b * T + k % T) * Ho + h) * Wo;
            copy_floats(row, from, Wo);
        }
    }
};

// N vectors of one tap's row from column w on.
template <int N>
static void gate_row(const GateTerm* term, int64_t terms, const GateRows& rows, int64_t first, int64_t w, int64_t Wo, float* to) {
    const int64_t slots = rows.slots, slot_floats = rows.slot_floats(), first_slot = (first + slots) % slots;
    const float* const memory = rows.memory + w;
    vf sum[2][N];  // two chains
    for (int n = 0; n < N; ++n) sum[0][n] = sum[1][n] = zero();
    for (int64_t k = 0; k + 2 <= terms; k += 2)
        RFACONV_UNROLL
        for (int i = 0; i < 2; ++i) {
            const int64_t slot = first_slot + term[k + i].down;
            const float* const p = memory + (slot < slots ? slot : slot - slots) * slot_floats + term[k + i].offset;
            const vf weight = set1(term[k + i].weight);
            RFACONV_UNROLL
            for (int n = 0; n < N; ++n) sum[i][n] = fma(load(p + n * lanes), weight, sum[i][n]);
        }
    for (int n = 0; n < N && w + n * lanes < Wo; ++n)
        store_within(to + w + n * lanes, sigmoid(sum[0][n] + sum[1][n]), 0, imin(lanes, Wo - w - n * lanes));
}

RFACONV_INLINE int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

static int32_t pixel_gate(const float* top, const float* mean, const float* weight, const int64_t* spatial, int64_t batch,
                          const rfaconv_window* window, float* gate, int32_t threads) {
    const int64_t kh = window->kernel[0], kw = window->kernel[1], T = kh * kw, Ho = window->out[0], Wo = window->out[1];
    const int64_t height = spatial[0], width = spatial[1], terms = 2 * height * width;
    // Windows that a step can cross.
    const int64_t far = ceil_div(width / 2, kw), deep = ceil_div(height / 2, kh), slots = 2 * deep + 1;
    // Whole vectors are read from any column that a term shifts to.
    const int64_t stride = round_up(Wo, lanes) + 2 * far + lanes, rows = batch * Ho;
    const int64_t ring_floats = slots * 2 * T * stride + 4 * lanes;  // four vectors are read where two are left
    threads = int32_t(imin(threads, rows));
    const auto layout = [&](Arena& arena, GateTerm*& term, float*& ring) {
        term = arena.take<GateTerm>(T * terms);
        ring = arena.floats(threads * ring_floats);
    };
    GateTerm* term;
    float* ring;
    Arena measure(nullptr);
    layout(measure, term, ring);
    Scratch scratch{size_t(measure.used)};
    if (scratch.data() == nullptr) return RFACONV_OUT_OF_MEMORY;
    Arena arena(scratch.data());
    layout(arena, term, ring);
    GateTerm* next = term;
    for (int64_t j = 0; j < T; ++j)
        for (int64_t y = 0; y < height; ++y)
            for (int64_t x = 0; x < width; ++x)
                for (int64_t m = 0; m < 2; ++m, ++next) {
                    const int64_t row = j / kw + y - height / 2, col = j % kw + x - width / 2;
                    const int64_t down = floor_div(row, kh), right = floor_div(col, kw);
                    const int64_t tap = (row - down * kh) * kw + col - right * kw;
                    *next = {down + deep, (m * T + tap) * stride + far + right, weight[(m * height + y) * width + x]};
                }

    parallel(threads, [=](Crew crew) {
        const int64_t me = crew.me, team = crew.size;
        GateRows source{top, mean, ring + me * ring_floats, T, Ho, Wo, far, slots, stride};
        zero_floats(source.memory, slots * source.slot_floats());
        int64_t image = -1;
        for (int64_t task = rows * me / team; task < rows * (me + 1) / team; ++task) {
            const int64_t b = task / Ho, h = task % Ho;
            // Of the same image only the last row is new.
            for (int64_t down = b == image ? deep : -deep; down <= deep; ++down) source.take(b, h + down);
            image = b;
            for (int64_t j = 0; j < T; ++j) {
                float* const to = gate + ((b * T + j) * Ho + h) * Wo;
                const GateTerm* const own = term + j * terms;
                int64_t w = 0;
                for (; w + lanes < Wo; w += 4 * lanes) gate_row<4>(own, terms, source, h - deep, w, Wo, to);
                for (; w < Wo; w += lanes) gate_row<1>(own, terms, source, h - deep, w, Wo, to);
            }
        }
    });
    return RFACONV_OK;
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

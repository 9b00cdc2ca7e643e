// The gradient through "no gate": df = dA.
#ifndef RFACONV_GATES_NONE_BACKWARD_H
#define RFACONV_GATES_NONE_BACKWARD_H

#include "none.h"

namespace rfaconv {
namespace RFACONV_ISA {

// What a gate is to the backward pass:
//   prepared_floats, prepare      values made once per call and shared by all threads
//   tile_floats, begin_tile       values of a tile; end_tile when all channels of the thread are done
//   begin_channel, end_channel    around the vectors of one channel
//   apply                         df from the features f and patches u of a vector and from dA (in `rows`), which the panel
//                                 replaces; returns what du gets beside G' dv
//   sums_floats                   sums per channel over pixels that the thread keeps in double
// A gate writes its own gradients where the thread owns them; what several threads add to has a place per thread.
struct GateGradient {
    const rfaconv_gate* gate;
    float *a, *b;     // gradients, null = not needed
    double* sums;     // of this thread's images: (C, T) for rfa
    float* pixel;     // of this thread's channels: (B, T, Ho, Wo) for rfcbam
};

template <int T>
struct NoneBackward {
    static int64_t prepared_floats(const Shape&) { return 0; }
    static void prepare(const Shape&, const rfaconv_gate*, float*) {}
    static int64_t tile_floats(const Shape&, int64_t) { return 0; }

    NoneBackward(const Shape&, const GateGradient&, const float*, float*) {}
    void begin_tile(const Tile&) {}
    void end_tile() {}
    void begin_channel(int64_t) {}
    void end_channel(int64_t) {}
    RFACONV_METHOD vf apply(vf* df, const float* f, const float*, int64_t, float* rows, int64_t stride) {
        RFACONV_UNROLL
        for (int j = 0; j < T; ++j) {
            df[j] = load(rows + j * stride);
            store(rows + j * stride, load(f + j * lanes));
        }
        return zero();
    }
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

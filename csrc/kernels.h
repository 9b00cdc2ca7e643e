// The table of kernels of one instruction set. Each kernels_<isa>.cpp compiles the same headers inside its own
// namespace (macro RFACONV_ISA) with its own compiler flags and fills one table.
//
// Headers compiled that way must not use inline functions or templates of the standard library: the linker keeps one copy of
// each, and that copy could hold instructions that the processor lacks.
#ifndef RFACONV_KERNELS_H
#define RFACONV_KERNELS_H

#include "rfaconv.h"

namespace rfaconv {

struct Kernels {
    decltype(&rfaconv_patch_moments) patch_moments;
    decltype(&rfaconv_patch_moments_backward) patch_moments_backward;
    decltype(&rfaconv_feature_stats) feature_stats;
    decltype(&rfaconv_feature_stats_backward) feature_stats_backward;
    decltype(&rfaconv_channel_gate) channel_gate;
    decltype(&rfaconv_pixel_gate) pixel_gate;
    decltype(&rfaconv_line_hidden) line_hidden;
    decltype(&rfaconv_line_gates) line_gates;
    decltype(&rfaconv_project) project;
    decltype(&rfaconv_project_backward) project_backward;
};

extern const Kernels kernels_scalar;
#if defined(__x86_64__)
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;

#if defined(RFACONV_HAS_PAIRS)
// In bfloat16 throughout; the last argument: by the tiles of AMX.
struct PairKernels {
    int32_t (*project)(const rfaconv_tensor* x, const rfaconv_window* window, const float* feature_weight, const float* feature_bias,
                       int32_t kind, const rfaconv_gate* gate, const rfaconv_tensor* weight, const rfaconv_tensor* bias,
                       rfaconv_tensor* y, int32_t threads, bool tiles);
};

extern const PairKernels pair_kernels;
#endif
#elif defined(__aarch64__)
extern const Kernels kernels_neon;
#endif

}  // namespace rfaconv

#endif

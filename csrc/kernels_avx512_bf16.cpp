// Compiled with the flags of kernels_avx512.cpp and -mavx512bf16 -mamx-tile -mamx-bf16; tiles are used only where they may be.
#define RFACONV_ISA avx512_bf16
#define RFACONV_PAIRS
#include "kernels.h"

#include "project_pairs.h"

namespace rfaconv {

extern const PairKernels pair_kernels = {avx512_bf16::project_pairs};

}  // namespace rfaconv

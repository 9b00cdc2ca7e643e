// Compiled with -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma.
#define RFACONV_ISA avx512
#include "kernels.inc"

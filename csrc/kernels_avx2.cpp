// Compiled with -mavx2 -mfma.
#define RFACONV_ISA avx2
#include "kernels.inc"

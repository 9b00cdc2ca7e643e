// Compiled with no flags beyond the baseline of 64 bit ARM, of which NEON is a part.
#define RFACONV_ISA neon
#include "kernels.inc"

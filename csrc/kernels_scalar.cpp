// Compiled with no flags beyond the platform's baseline.
#define RFACONV_ISA scalar
#define RFACONV_SCALAR
#include "kernels.inc"

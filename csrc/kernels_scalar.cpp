// Compiled with no flags beyond the platform's baseline.
#define RFACONV_ISA scalar
#include "kernels.inc"

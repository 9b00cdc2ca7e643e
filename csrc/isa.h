// Which instruction set the kernels run with, chosen once at the first call.
#ifndef RFACONV_ISA_H
#define RFACONV_ISA_H

namespace rfaconv {

enum class Isa { scalar, avx2, avx512, neon };

Isa detected_isa();   // the best that this processor and operating system have
Isa selected_isa();   // the same, lowered by the environment variable RFACONV_CPU_ISA
const char* isa_name(Isa isa);

}  // namespace rfaconv

#endif

// Which instruction set the kernels run with, chosen once at the first call.
#ifndef RFACONV_ISA_H
#define RFACONV_ISA_H

namespace rfaconv {

enum class Isa { scalar = 0, avx2 = 1, avx512 = 2 };

Isa detected_isa();   // the best that this processor and operating system have
Isa selected_isa();   // the same, lowered by the environment variable RFACONV_CPU_ISA
bool has_avx512_bf16();
const char* isa_name(Isa isa);

}  // namespace rfaconv

#endif

// Which instruction set the kernels run with, chosen once at the first call.
#ifndef RFACONV_ISA_H
#define RFACONV_ISA_H

namespace rfaconv {

// The last two of x86 only add products of bfloat16 to what runs with avx512.
enum class Isa { scalar, avx2, avx512, avx512_bf16, amx, neon };

constexpr Isa highest_isa = Isa::neon;
// The best that this processor and operating system have, `most` at the most; more is not asked of the system.
Isa detected_isa(Isa most = highest_isa);
Isa selected_isa();  // the same, with `most` of the environment variable RFACONV_CPU_ISA
const char* isa_name(Isa isa);

}  // namespace rfaconv

#endif

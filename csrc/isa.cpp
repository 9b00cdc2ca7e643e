#include "isa.h"

#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace rfaconv {

#if defined(__x86_64__)
// __builtin_cpu_supports also asks the operating system (XGETBV) whether it saves the wide registers.
Isa detected_isa() {
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return avx512 ? Isa::avx512 : avx2 ? Isa::avx2 : Isa::scalar;
}

bool has_avx512_bf16() { return selected_isa() == Isa::avx512 && __builtin_cpu_supports("avx512bf16"); }
#else
Isa detected_isa() { return Isa::scalar; }
bool has_avx512_bf16() { return false; }
#endif

static Isa choose() {
    const Isa best = detected_isa();
    const char* wish = std::getenv("RFACONV_CPU_ISA");
    if (wish == nullptr) return best;
    for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512})
        if (std::strcmp(wish, isa_name(isa)) == 0) return isa < best ? isa : best;
    return best;  // an unknown name changes nothing; Python reports it
}

Isa selected_isa() {
    static const Isa isa = choose();
    return isa;
}

const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::avx512: return "avx512";
        case Isa::avx2: return "avx2";
        default: return "scalar";
    }
}

}  // namespace rfaconv

#include "isa.h"

#include <cstdlib>
#include <cstring>

namespace rfaconv {

// `known`: what is compiled for this kind of processor, from the lowest to the best.
#if defined(__x86_64__)
static const Isa known[] = {Isa::scalar, Isa::avx2, Isa::avx512};

// __builtin_cpu_supports also asks the operating system (XGETBV) whether it saves the wide registers.
Isa detected_isa() {
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return avx512 ? Isa::avx512 : avx2 ? Isa::avx2 : Isa::scalar;
}
#elif defined(__aarch64__)
static const Isa known[] = {Isa::scalar, Isa::neon};

Isa detected_isa() { return Isa::neon; }
#else
static const Isa known[] = {Isa::scalar};

Isa detected_isa() { return Isa::scalar; }
#endif

static Isa choose() {
    const Isa best = detected_isa();
    const char* wish = std::getenv("RFACONV_CPU_ISA");
    if (wish == nullptr) return best;
    for (Isa isa : known)
        if (std::strcmp(wish, isa_name(isa)) == 0) return isa < best ? isa : best;
    return best;  // an unknown name changes nothing
}

Isa selected_isa() {
    static const Isa isa = choose();
    return isa;
}

const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::avx512: return "avx512";
        case Isa::avx2: return "avx2";
        case Isa::neon: return "neon";
        default: return "scalar";
    }
}

}  // namespace rfaconv

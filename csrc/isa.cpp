#include "isa.h"

#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace rfaconv {

// `known`: what is compiled for this kind of processor, from the lowest to the best.
#if defined(__x86_64__)
static const Isa known[] = {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx};

#if defined(RFACONV_HAS_PAIRS)
// Linux lets a process use tiles when it asks for them, once and for all its threads; other systems are not asked.
static bool tiles_granted() {
#if defined(__linux__) && defined(SYS_arch_prctl)
    const long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, request, tile_data) == 0;
#else
    return false;
#endif
}

// What AVX-512 is here for 16 bits. Intel's processors sum products of bfloat16 in vectors at half the speed of float32's: there
// they are used by tiles or not at all.
static Isa detected_avx512(Isa most) {
    unsigned a = 0, b = 0, c = 0, d = 0, a1 = 0, rest = 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !__get_cpuid_count(7, 1, &a1, &b, &c, &rest)) return Isa::avx512;
    if ((a1 >> 5 & 1) == 0) return Isa::avx512;  // AVX512_BF16
    const bool tiles = (d >> 22 & 1) != 0 && (d >> 24 & 1) != 0;  // AMX_BF16, AMX_TILE
    if (tiles && most >= Isa::amx && tiles_granted()) return Isa::amx;
    return __builtin_cpu_is("intel") && most != Isa::avx512_bf16 ? Isa::avx512 : Isa::avx512_bf16;
}
#else
static Isa detected_avx512(Isa) { return Isa::avx512; }
#endif

// __builtin_cpu_supports also asks the operating system (XGETBV) whether it saves the wide registers.
static Isa detected(Isa most) {
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return avx512 ? detected_avx512(most) : avx2 ? Isa::avx2 : Isa::scalar;
}
#elif defined(__aarch64__)
static const Isa known[] = {Isa::scalar, Isa::neon};

static Isa detected(Isa) { return Isa::neon; }
#else
static const Isa known[] = {Isa::scalar};

static Isa detected(Isa) { return Isa::scalar; }
#endif

Isa detected_isa(Isa most) {
    const Isa best = detected(most);
    return most < best ? most : best;
}

static Isa choose() {
    const char* wish = std::getenv("RFACONV_CPU_ISA");
    if (wish == nullptr) return detected_isa();
    for (Isa isa : known)
        if (std::strcmp(wish, isa_name(isa)) == 0) return detected_isa(isa);
    return detected_isa();  // an unknown name changes nothing
}

Isa selected_isa() {
    static const Isa isa = choose();
    return isa;
}

const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::amx: return "amx";
        case Isa::avx512_bf16: return "avx512_bf16";
        case Isa::avx512: return "avx512";
        case Isa::avx2: return "avx2";
        case Isa::neon: return "neon";
        default: return "scalar";
    }
}

}  // namespace rfaconv

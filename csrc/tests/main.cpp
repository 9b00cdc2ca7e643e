// The start of every test program, compiled for the platform's baseline: what is compiled for an instruction set that the processor
// lacks faults in its first line, before it could ask.
#include <cstdio>
#include <cstring>

#include "../isa.h"
#include "program.h"

static bool runs_here(const char* name) {
    using rfaconv::Isa;
    static const Isa all[] = {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx, Isa::neon};
    for (Isa isa : all)
        if (std::strcmp(rfaconv::isa_name(isa), name) == 0) return isa <= rfaconv::detected_isa();
    return true;  // an unknown name is no reason to skip
}

int main() {
    if (runs_here(tested_isa)) return run_tests();
    std::printf("skipped: this processor lacks %s\n", tested_isa);
    return 77;  // test runners show it as skipped
}

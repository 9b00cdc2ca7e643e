// Threads from a runtime bound at run time: how many, which, and that they wait for each other.
#include <atomic>
#include <cstdio>
#include <vector>

#include "../vec.h"
#include "program.h"
#include "threads.h"

using namespace rfaconv;
using namespace rfaconv::RFACONV_ISA;

static int failures = 0;

static void expect(bool good, const char* what, const char* runtime) {
    if (good) return;
    ++failures;
    std::printf("FAILED %s: %s\n", runtime, what);
}

static void test_runtime(const rfaconv_openmp* runtime, bool threaded, const char* name) {
    expect(rfaconv_bind_openmp(runtime) == RFACONV_OK, "status", name);
    for (int threads = 1; threads <= 4; ++threads) {
        const int64_t want = threaded ? threads : 1;
        std::vector<int> calls(4, 0), first(4, 0);
        std::atomic<int> wrong{0};
        for (int round = 0; round < 20; ++round)
            parallel(threads, [&](Crew crew) {
                if (crew.size != want || crew.me < 0 || crew.me >= crew.size) return void(++wrong);
                ++calls[size_t(crew.me)];
                first[size_t(crew.me)] = round + 1;
                crew.barrier();
                for (int64_t i = 0; i < crew.size; ++i) wrong += first[size_t(i)] != round + 1;
                crew.barrier();
            });
        expect(wrong == 0, "places and barriers", name);
        for (int64_t i = 0; i < 4; ++i) expect(calls[size_t(i)] == (i < want ? 20 : 0), "calls", name);
    }
}

int run_tests() {
    test_runtime(nullptr, false, "none");
    test_runtime(&gomp_runtime(), true, "gomp");
    test_runtime(&kmp_runtime(), true, "kmp");
    // Half a runtime is refused, and the one before stays.
    rfaconv_openmp half = kmp_runtime();
    half.kmp_barrier = nullptr;
    expect(rfaconv_bind_openmp(&half) == RFACONV_BAD_ARGUMENT, "half of kmp", "half");
    half = gomp_runtime(), half.num_threads = nullptr;
    expect(rfaconv_bind_openmp(&half) == RFACONV_BAD_ARGUMENT, "half of gomp", "half");
    std::printf("%d failures\n", failures);
    return failures != 0;
}

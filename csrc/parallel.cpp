#include "parallel.h"

#include "rfaconv.h"

namespace rfaconv {

namespace {

// Names a place in the source to LLVM's and Intel's runtime, in their layout; flag 2: compiled for this interface.
struct Place {
    int32_t reserved, flags, more[2];
    const char* text;
};
const Place place{0, 2, {0, 0}, ";rfaconv;run_team;0;0;;"};

typedef int (*Number)();
typedef void (*GompParallel)(void (*)(void*), void*, unsigned, unsigned);
typedef void (*GompBarrier)();
typedef void (*KmpFork)(const Place*, int32_t, void (*)(int32_t*, int32_t*, void*), ...);
typedef void (*KmpPush)(const Place*, int32_t, int32_t);
typedef int32_t (*KmpThread)(const Place*);
typedef void (*KmpBarrier)(const Place*, int32_t);

// Written once, when the library is loaded, before any kernel runs.
rfaconv_openmp bound = {};

template <class Function>
Function as(void* address) {
    return reinterpret_cast<Function>(address);
}

bool has_gomp(const rfaconv_openmp& r) { return r.gomp_parallel != nullptr && r.gomp_barrier != nullptr; }
bool has_kmp(const rfaconv_openmp& r) {
    return r.kmp_fork != nullptr && r.kmp_push_num_threads != nullptr && r.kmp_thread != nullptr && r.kmp_barrier != nullptr;
}

struct Call {
    void (*region)(const void*, Crew);
    const void* body;
};

void run(void* data) {
    const Call& call = *static_cast<const Call*>(data);
    call.region(call.body, Crew{as<Number>(bound.thread_num)(), as<Number>(bound.num_threads)()});
}
void run_kmp(int32_t*, int32_t*, void* data) { run(data); }

}  // namespace

void run_team(int64_t threads, void (*region)(const void*, Crew), const void* body) {
    Call call{region, body};
    if (threads < 2 || bound.num_threads == nullptr) {
        region(body, Crew{0, 1});
    } else if (has_gomp(bound)) {
        as<GompParallel>(bound.gomp_parallel)(run, &call, unsigned(threads), 0);
    } else {
        as<KmpPush>(bound.kmp_push_num_threads)(&place, as<KmpThread>(bound.kmp_thread)(&place), int32_t(threads));
        as<KmpFork>(bound.kmp_fork)(&place, 1, run_kmp, &call);
    }
}

void Crew::barrier() const {
    if (size < 2) return;
    if (has_gomp(bound))
        as<GompBarrier>(bound.gomp_barrier)();
    else
        as<KmpBarrier>(bound.kmp_barrier)(&place, as<KmpThread>(bound.kmp_thread)(&place));
}

}  // namespace rfaconv

extern "C" int32_t rfaconv_bind_openmp(const rfaconv_openmp* runtime) {
    using namespace rfaconv;
    if (runtime == nullptr) {
        bound = {};
        return RFACONV_OK;
    }
    if (runtime->thread_num == nullptr || runtime->num_threads == nullptr || (!has_gomp(*runtime) && !has_kmp(*runtime)))
        return RFACONV_BAD_ARGUMENT;
    bound = *runtime;
    return RFACONV_OK;
}

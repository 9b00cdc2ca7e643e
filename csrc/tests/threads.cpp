// An OpenMP runtime for the tests, on std::thread, with the functions of GCC's and of LLVM's: so they run wherever the kernels
// compile. Every program starts with GCC's bound; test_parallel.cpp tries both.
#include "threads.h"

#include <condition_variable>
#include <cstdarg>
#include <mutex>
#include <thread>
#include <vector>

namespace {

struct Barrier {
    std::mutex mutex;
    std::condition_variable all_here;
    int size, here = 0, round = 0;
    explicit Barrier(int n) : size(n) {}
    void wait() {
        std::unique_lock<std::mutex> lock(mutex);
        const int mine = round;
        if (++here == size) {
            here = 0, ++round;
            all_here.notify_all();
        } else {
            all_here.wait(lock, [&] { return round != mine; });
        }
    }
};

thread_local int me = 0, size = 1, wanted = 1;
thread_local Barrier* barrier = nullptr;

int thread_num() { return me; }
int num_threads() { return size; }

template <class Body>
void fork(int threads, const Body& body) {
    Barrier shared(threads);
    const auto one = [&](int i) {
        me = i, size = threads, barrier = &shared;
        body();
        me = 0, size = 1, barrier = nullptr;
    };
    std::vector<std::thread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back(one, i);
    one(0);
    for (std::thread& t : others) t.join();
}

void gomp_parallel(void (*body)(void*), void* data, unsigned threads, unsigned) {
    fork(int(threads), [&] { body(data); });
}
void gomp_barrier() { barrier->wait(); }

void kmp_push_num_threads(const void*, int32_t, int32_t threads) { wanted = threads; }
int32_t kmp_thread(const void*) { return me; }
void kmp_barrier(const void*, int32_t) { barrier->wait(); }
void kmp_fork(const void*, int32_t, void (*body)(int32_t*, int32_t*, void*), ...) {
    va_list rest;
    va_start(rest, body);
    void* const data = va_arg(rest, void*);
    va_end(rest);
    fork(wanted, [&] {
        int32_t id = me;
        body(&id, &id, data);
    });
}

template <class Function>
void* address(Function* function) {
    return reinterpret_cast<void*>(function);
}

const int bound = rfaconv_bind_openmp(&gomp_runtime());

}  // namespace

const rfaconv_openmp& gomp_runtime() {
    static const rfaconv_openmp runtime{address(thread_num), address(num_threads), address(gomp_parallel), address(gomp_barrier),
                                        nullptr, nullptr, nullptr, nullptr};
    return runtime;
}
const rfaconv_openmp& kmp_runtime() {
    static const rfaconv_openmp runtime{address(thread_num), address(num_threads), nullptr, nullptr,
                                        address(kmp_fork), address(kmp_push_num_threads), address(kmp_thread), address(kmp_barrier)};
    return runtime;
}

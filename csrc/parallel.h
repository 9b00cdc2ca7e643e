// Threads for the kernels, from the pool of an OpenMP runtime that the process has already (rfaconv_bind_openmp): no second pool
// that fights for the cores, and no OpenMP where the kernels are compiled. Without such a runtime they run on one thread.
#ifndef RFACONV_PARALLEL_H
#define RFACONV_PARALLEL_H

#include <stdint.h>

namespace rfaconv {

// One thread's place among those that run a region. There may be fewer than asked for (nested regions, limits).
struct Crew {
    int64_t me, size;
    void barrier() const;  // all threads of the crew must call it
};

// Calls region(body, crew) on `threads` threads, fewer if the runtime gives fewer, and waits for them.
void run_team(int64_t threads, void (*region)(const void*, Crew), const void* body);

}  // namespace rfaconv

#endif

// OpenMP runtimes that the kernels can be bound to, see threads.cpp.
#ifndef RFACONV_TESTS_THREADS_H
#define RFACONV_TESTS_THREADS_H

#include "../rfaconv.h"

const rfaconv_openmp& gomp_runtime();
const rfaconv_openmp& kmp_runtime();

#endif

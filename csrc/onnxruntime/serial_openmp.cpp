// GCC's OpenMP runtime, reduced to one thread: inside ONNX Runtime its own pool shares the work, and a second pool, or a second
// copy of libgomp beside torch's, would only fight for the cores. Hidden, so that nothing else in the process sees it.
#if defined(__GNUC__) && !defined(__clang__)

extern "C" {

void GOMP_parallel(void (*body)(void*), void* data, unsigned, unsigned) { body(data); }
void GOMP_barrier(void) {}
int omp_get_num_threads(void) { return 1; }
int omp_get_thread_num(void) { return 0; }

}  // extern "C"

#endif

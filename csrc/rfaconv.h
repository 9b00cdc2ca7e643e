/* The C interface of the CPU kernels: plain C, no torch header; the only header that Python mirrors.
 *
 * Words: window = kernel, stride, padding, dilation; taps T = kh*kw, tap j = row*kw + col; feature = relu(G' u + b'),
 * gate = attention, panel = feature * gate (C*T rows), projection = weight . panel + bias.
 * Channel c of x owns the feature channels c*T + j.
 *
 * Every call returns a status (0 = done). Nothing throws across this boundary. Small arrays of float are contiguous. */
#ifndef RFACONV_H
#define RFACONV_H

#include <stdint.h>

#if defined(_WIN32)
#define RFACONV_API __declspec(dllexport)
#else
#define RFACONV_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define RFACONV_ABI_VERSION 4

typedef enum { RFACONV_F32 = 0, RFACONV_BF16 = 1 } rfaconv_dtype;
typedef enum { RFACONV_RFA = 0, RFACONV_RFCBAM = 1, RFACONV_RFCA = 2, RFACONV_NONE = 3 } rfaconv_gate_kind;
typedef enum {
    RFACONV_OK = 0,
    RFACONV_BAD_ARGUMENT = 1,
    RFACONV_UNSUPPORTED = 2,
    RFACONV_OUT_OF_MEMORY = 3
} rfaconv_status;

/* Order B C H W, strides in elements: contiguous and channels_last memory both come this way. */
typedef struct {
    void* data;
    int64_t size[4];
    int64_t stride[4];
    int32_t dtype;
} rfaconv_tensor;

/* pad is the low side; the high side follows from out. Padding holds zeros. */
typedef struct {
    int64_t kernel[2], stride[2], pad[2], dilation[2], out[2];
} rfaconv_window;

/* rfa: a = w (C,T) | rfcbam: a = channel (B,C), b = pixel (B,T,Ho,Wo) | rfca: a = row (B,C,kh*Ho), b = col (B,C,kw*Wo)
 * | none: both NULL. Contiguous float32. */
typedef struct {
    const float* a;
    const float* b;
} rfaconv_gate;

/* The state of a BatchNorm in evaluation: weight . (z - mean) / sqrt(variance + eps) + bias; weight and bias may be NULL. */
typedef struct {
    const float *mean, *variance, *weight, *bias;
    double eps;
} rfaconv_norm;

/* What the attention of an operator is made from; contiguous float32. M = hidden, the width of the small layers.
 * rfa: weight[0] (C,T) | rfcbam: weight[0] (M,C) and weight[1] (C,M) of squeeze and excitation, weight[2] (2,spatial[0],spatial[1])
 * with these strides | rfca: weight[0] (M,C), then weight[1] of the rows and weight[2] of the columns (C,M), each with its bias or
 * NULL; norm: of the M channels between them. */
typedef struct {
    const float* weight[3];
    const float* bias[3];
    rfaconv_norm norm;
    int64_t hidden, spatial[2], spatial_stride[3];
} rfaconv_attention;

/* A layer in inference; x, weight, bias and y have one type. With feature_norm.mean, features are relu(norm(feature_weight u)) and feature_bias is not
 * read; with NULL, relu(feature_weight u + feature_bias). bias.data may be NULL. Every field is a multiple of 8 bytes. */
typedef struct {
    rfaconv_tensor x, weight, bias, y;
    rfaconv_window window;
    const float *feature_weight, *feature_bias;
    rfaconv_norm feature_norm;
    rfaconv_attention attention;
    int64_t kind;
} rfaconv_layer;

RFACONV_API int32_t rfaconv_abi_version(void);
/* "scalar" | "avx2" | "avx512" | "avx512_bf16" | "amx" | "neon"; RFACONV_CPU_ISA lowers it. The two after avx512 are the same in
 * float32. */
RFACONV_API const char* rfaconv_isa(void);
RFACONV_API const char* rfaconv_status_text(int32_t status);
RFACONV_API void rfaconv_release(void); /* frees the scratch kept between calls */

/* Functions of an OpenMP runtime that the process has loaded: omp_get_thread_num and omp_get_num_threads, and with them either
 * GOMP_parallel and GOMP_barrier, or __kmpc_fork_call, __kmpc_push_num_threads, __kmpc_global_thread_num and __kmpc_barrier (LLVM's
 * and Intel's runtimes). What it lacks is NULL. */
typedef struct {
    void *thread_num, *num_threads;
    void *gomp_parallel, *gomp_barrier;
    void *kmp_fork, *kmp_push_num_threads, *kmp_thread, *kmp_barrier;
} rfaconv_openmp;

/* The kernels take their threads from this runtime's pool; NULL: from none, they run on the calling thread, as before the first
 * call. Not while a kernel runs. */
RFACONV_API int32_t rfaconv_bind_openmp(const rfaconv_openmp* runtime);

/* mean (C,T) = E[u], cov (C,T,T) = E[u u'] - mean mean', biased, over all patches. */
RFACONV_API int32_t rfaconv_patch_moments(const rfaconv_tensor* x, const rfaconv_window* window, double* mean, double* cov,
                                          int32_t threads);
RFACONV_API int32_t rfaconv_patch_moments_backward(const double* dmean, const double* dcov, const rfaconv_tensor* x,
                                                   const double* mean, const rfaconv_window* window, rfaconv_tensor* dx,
                                                   int32_t threads);

/* rfcbam: s0 = max, s1 = mean of the features over channels, both (B,T,Ho,Wo).
 * rfca: s0 = row (B,C,kh*Ho), s1 = col (B,C,kw*Wo), means of the enlarged map over its width and height. */
RFACONV_API int32_t rfaconv_feature_stats(const rfaconv_tensor* x, const rfaconv_window* window, const float* feature_weight,
                                          const float* feature_bias, int32_t kind, float* s0, float* s1, int32_t threads);
RFACONV_API int32_t rfaconv_feature_stats_backward(const float* d0, const float* d1, const rfaconv_tensor* x,
                                                   const rfaconv_window* window, const float* feature_weight,
                                                   const float* feature_bias, const float* s0, const float* s1, int32_t kind,
                                                   rfaconv_tensor* dx, float* dfeature_weight, float* dfeature_bias,
                                                   int32_t threads);

/* Squeeze and excitation: gate (B,C) = sigmoid(expand (C,M) . relu(reduce (M,C) . mean of x)). */
RFACONV_API int32_t rfaconv_channel_gate(const rfaconv_tensor* x, const float* reduce, const float* expand, int64_t hidden,
                                         float* gate, int32_t threads);

/* rfcbam: gate (B,T,Ho,Wo) = sigmoid(conv([top, mean])) over the enlarged maps, "same" padding; top, mean (B,T,Ho,Wo), weight
 * (2,spatial[0],spatial[1]), odd sizes. Kernel and out of the window are read, any kernel. */
RFACONV_API int32_t rfaconv_pixel_gate(const float* top, const float* mean, const float* weight, const int64_t* spatial,
                                       int64_t batch, const rfaconv_window* window, float* gate, int32_t threads);

/* Coordinate attention; size = B, C, M, L0, L1. hidden (B,M,L0+L1) = weight (M,C) . [first (B,C,L0), second (B,C,L1)] + bias (M). */
RFACONV_API int32_t rfaconv_line_hidden(const float* first, const float* second, const float* weight, const float* bias,
                                        const int64_t* size, float* hidden, int32_t threads);
/* gate[i] (B,C,Li) = sigmoid(weight[i] (C,M) . hardswish(part i of hidden) + bias[i] (C)); a bias may be NULL. */
RFACONV_API int32_t rfaconv_line_gates(const float* hidden, const float* const* weight, const float* const* bias,
                                       const int64_t* size, float* const* gate, int32_t threads);

/* y = weight . (feature * gate) + bias; weight (O,C,kh,kw) and y in x's dtype, bias (size[0] = O) may be NULL. */
RFACONV_API int32_t rfaconv_project(const rfaconv_tensor* x, const rfaconv_window* window, const float* feature_weight,
                                    const float* feature_bias, int32_t kind, const rfaconv_gate* gate,
                                    const rfaconv_tensor* weight, const rfaconv_tensor* bias, rfaconv_tensor* y,
                                    int32_t threads);

/* The whole operator for inference: statistics, gates and projection; bytes = sizeof(rfaconv_layer). */
RFACONV_API int32_t rfaconv_forward(const rfaconv_layer* layer, int64_t bytes, int32_t threads);

/* A NULL output is not computed. dweight (O,C,kh,kw) is contiguous. */
RFACONV_API int32_t rfaconv_project_backward(const rfaconv_tensor* dy, const rfaconv_tensor* x, const rfaconv_window* window,
                                             const float* feature_weight, const float* feature_bias, int32_t kind,
                                             const rfaconv_gate* gate, const rfaconv_tensor* weight, rfaconv_tensor* dx,
                                             float* dfeature_weight, float* dfeature_bias, float* dgate_a, float* dgate_b,
                                             float* dweight, int32_t threads);

#ifdef __cplusplus
}
#endif
#endif

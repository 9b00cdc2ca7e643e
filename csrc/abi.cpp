// The C interface: checks arguments once, then calls the table of the selected instruction set.
#include "isa.h"
#include "kernels.h"
#include "scratch.h"

namespace rfaconv {

static const Kernels& kernels() {
#if defined(__x86_64__)
    switch (selected_isa()) {
        case Isa::amx:
        case Isa::avx512_bf16:
        case Isa::avx512: return kernels_avx512;
        case Isa::avx2: return kernels_avx2;
        default: break;
    }
#elif defined(__aarch64__)
    if (selected_isa() == Isa::neon) return kernels_neon;
#endif
    return kernels_scalar;
}

static bool good(const rfaconv_tensor* t) {
    if (t == nullptr || t->data == nullptr || (t->dtype != RFACONV_F32 && t->dtype != RFACONV_BF16)) return false;
    for (int d = 0; d < 4; ++d)
        if (t->size[d] < 1 || t->stride[d] < 0) return false;
    return true;
}

static bool good(const rfaconv_window* w) {
    if (w == nullptr) return false;
    for (int d = 0; d < 2; ++d)
        if (w->kernel[d] < 1 || w->stride[d] < 1 || w->pad[d] < 0 || w->dilation[d] < 1 || w->out[d] < 1) return false;
    return true;
}

static int32_t check(const rfaconv_tensor* x, const rfaconv_window* w, int32_t threads) {
    if (!good(x) || !good(w) || threads < 1) return RFACONV_BAD_ARGUMENT;
    const int64_t taps = w->kernel[0] * w->kernel[1];
    if (w->kernel[0] != w->kernel[1] || (taps != 1 && taps != 9 && taps != 25)) return RFACONV_UNSUPPORTED;
    return RFACONV_OK;
}

static bool same_size(const rfaconv_tensor* a, const rfaconv_tensor* b) {
    for (int d = 0; d < 4; ++d)
        if (a->size[d] != b->size[d]) return false;
    return true;
}

static bool good_output(const rfaconv_tensor* y, const rfaconv_tensor* x, const rfaconv_window* w) {
    return good(y) && y->dtype == x->dtype && y->size[0] == x->size[0] && y->size[2] == w->out[0] && y->size[3] == w->out[1];
}

static bool good_weight(const rfaconv_tensor* k, const rfaconv_tensor* x, const rfaconv_tensor* y, const rfaconv_window* w) {
    return good(k) && k->dtype == x->dtype && k->size[0] == y->size[1] && k->size[1] == x->size[1] &&
           k->size[2] == w->kernel[0] && k->size[3] == w->kernel[1];
}

static bool good_gate(int32_t kind, const rfaconv_gate* g) {
    switch (kind) {
        case RFACONV_RFA: return g != nullptr && g->a != nullptr;
        case RFACONV_RFCBAM:
        case RFACONV_RFCA: return g != nullptr && g->a != nullptr && g->b != nullptr;
        case RFACONV_NONE: return true;
        default: return false;
    }
}

static bool good_lines(const int64_t* size, int32_t threads) {
    if (size == nullptr || threads < 1) return false;
    for (int i = 0; i < 5; ++i)
        if (size[i] < 1) return false;
    return true;
}

static bool has_stats(int32_t kind) { return kind == RFACONV_RFCBAM || kind == RFACONV_RFCA; }

}  // namespace rfaconv

using namespace rfaconv;

#define RFACONV_CHECK(condition) \
    do {                         \
        if (!(condition)) return RFACONV_BAD_ARGUMENT; \
    } while (0)

#define RFACONV_CHECK_WINDOW(x, w, threads)                      \
    do {                                                         \
        const int32_t status_ = check(x, w, threads);            \
        if (status_ != RFACONV_OK) return status_;               \
    } while (0)

extern "C" {

int32_t rfaconv_abi_version(void) { return RFACONV_ABI_VERSION; }

const char* rfaconv_isa(void) { return isa_name(selected_isa()); }

const char* rfaconv_status_text(int32_t status) {
    switch (status) {
        case RFACONV_OK: return "ok";
        case RFACONV_BAD_ARGUMENT: return "an argument is null, of a wrong size or of a wrong dtype";
        case RFACONV_UNSUPPORTED: return "these kernels do not cover the request (kernel 1x1, 3x3 or 5x5; float32 or bfloat16)";
        case RFACONV_OUT_OF_MEMORY: return "out of memory";
        default: return "unknown status";
    }
}

void rfaconv_release(void) { Scratch::release_all(); }

int32_t rfaconv_patch_moments(const rfaconv_tensor* x, const rfaconv_window* window, double* mean, double* cov, int32_t threads) {
    RFACONV_CHECK_WINDOW(x, window, threads);
    RFACONV_CHECK(mean != nullptr && cov != nullptr);
    return kernels().patch_moments(x, window, mean, cov, threads);
}

int32_t rfaconv_patch_moments_backward(const double* dmean, const double* dcov, const rfaconv_tensor* x, const double* mean,
                                       const rfaconv_window* window, rfaconv_tensor* dx, int32_t threads) {
    RFACONV_CHECK_WINDOW(x, window, threads);
    RFACONV_CHECK(dmean != nullptr && dcov != nullptr && mean != nullptr && good(dx) && same_size(x, dx));
    return kernels().patch_moments_backward(dmean, dcov, x, mean, window, dx, threads);
}

int32_t rfaconv_feature_stats(const rfaconv_tensor* x, const rfaconv_window* window, const float* feature_weight,
                              const float* feature_bias, int32_t kind, float* s0, float* s1, int32_t threads) {
    RFACONV_CHECK_WINDOW(x, window, threads);
    RFACONV_CHECK(feature_weight != nullptr && feature_bias != nullptr && s0 != nullptr && s1 != nullptr && has_stats(kind));
    return kernels().feature_stats(x, window, feature_weight, feature_bias, kind, s0, s1, threads);
}

int32_t rfaconv_feature_stats_backward(const float* d0, const float* d1, const rfaconv_tensor* x, const rfaconv_window* window,
                                       const float* feature_weight, const float* feature_bias, const float* s0, const float* s1,
                                       int32_t kind, rfaconv_tensor* dx, float* dfeature_weight, float* dfeature_bias,
                                       int32_t threads) {
    RFACONV_CHECK_WINDOW(x, window, threads);
    RFACONV_CHECK(d0 != nullptr && d1 != nullptr && feature_weight != nullptr && feature_bias != nullptr && has_stats(kind));
    RFACONV_CHECK(dx == nullptr || (good(dx) && same_size(x, dx)));
    return kernels().feature_stats_backward(d0, d1, x, window, feature_weight, feature_bias, s0, s1, kind, dx, dfeature_weight,
                                            dfeature_bias, threads);
}

int32_t rfaconv_channel_gate(const rfaconv_tensor* x, const float* reduce, const float* expand, int64_t hidden, float* gate,
                             int32_t threads) {
    RFACONV_CHECK(good(x) && reduce != nullptr && expand != nullptr && gate != nullptr && hidden > 0 && threads > 0);
    return kernels().channel_gate(x, reduce, expand, hidden, gate, threads);
}

int32_t rfaconv_pixel_gate(const float* top, const float* mean, const float* weight, const int64_t* spatial, int64_t batch,
                           const rfaconv_window* window, float* gate, int32_t threads) {
    RFACONV_CHECK(top != nullptr && mean != nullptr && weight != nullptr && spatial != nullptr && gate != nullptr);
    RFACONV_CHECK(good(window) && batch > 0 && threads > 0 && spatial[0] % 2 == 1 && spatial[1] % 2 == 1);
    return kernels().pixel_gate(top, mean, weight, spatial, batch, window, gate, threads);
}

int32_t rfaconv_line_hidden(const float* first, const float* second, const float* weight, const float* bias, const int64_t* size,
                            float* hidden, int32_t threads) {
    RFACONV_CHECK(first != nullptr && second != nullptr && weight != nullptr && hidden != nullptr && good_lines(size, threads));
    return kernels().line_hidden(first, second, weight, bias, size, hidden, threads);
}

int32_t rfaconv_line_gates(const float* hidden, const float* const* weight, const float* const* bias, const int64_t* size,
                           float* const* gate, int32_t threads) {
    RFACONV_CHECK(hidden != nullptr && weight != nullptr && bias != nullptr && gate != nullptr && good_lines(size, threads));
    for (int i = 0; i < 2; ++i) RFACONV_CHECK(weight[i] != nullptr && gate[i] != nullptr);
    return kernels().line_gates(hidden, weight, bias, size, gate, threads);
}

int32_t rfaconv_project(const rfaconv_tensor* x, const rfaconv_window* window, const float* feature_weight,
                        const float* feature_bias, int32_t kind, const rfaconv_gate* gate, const rfaconv_tensor* weight,
                        const rfaconv_tensor* bias, rfaconv_tensor* y, int32_t threads) {
    RFACONV_CHECK_WINDOW(x, window, threads);
    RFACONV_CHECK(feature_weight != nullptr && feature_bias != nullptr && good_gate(kind, gate));
    RFACONV_CHECK(good_output(y, x, window) && good_weight(weight, x, y, window));
    RFACONV_CHECK(bias == nullptr || (bias->data != nullptr && bias->dtype == x->dtype && bias->size[0] == y->size[1]));
#if defined(RFACONV_HAS_PAIRS)
    const Isa isa = selected_isa();
    if (x->dtype == RFACONV_BF16 && (isa == Isa::avx512_bf16 || isa == Isa::amx))
        return pair_kernels.project(x, window, feature_weight, feature_bias, kind, gate, weight, bias, y, threads, isa == Isa::amx);
#endif
    return kernels().project(x, window, feature_weight, feature_bias, kind, gate, weight, bias, y, threads);
}

int32_t rfaconv_project_backward(const rfaconv_tensor* dy, const rfaconv_tensor* x, const rfaconv_window* window,
                                 const float* feature_weight, const float* feature_bias, int32_t kind, const rfaconv_gate* gate,
                                 const rfaconv_tensor* weight, rfaconv_tensor* dx, float* dfeature_weight, float* dfeature_bias,
                                 float* dgate_a, float* dgate_b, float* dweight, int32_t threads) {
    RFACONV_CHECK_WINDOW(x, window, threads);
    RFACONV_CHECK(feature_weight != nullptr && feature_bias != nullptr && good_gate(kind, gate));
    RFACONV_CHECK(good_output(dy, x, window) && good_weight(weight, x, dy, window));
    RFACONV_CHECK(dx == nullptr || (good(dx) && same_size(x, dx)));
    return kernels().project_backward(dy, x, window, feature_weight, feature_bias, kind, gate, weight, dx, dfeature_weight,
                                      dfeature_bias, dgate_a, dgate_b, dweight, threads);
}

}  // extern "C"

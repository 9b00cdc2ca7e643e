// How the work of a node is cut into parts that run on one thread each.
//
// The kernels run on one thread here and the runtime's own pool runs the parts: one pool in the process, of the size that the
// session asked for.
#ifndef RFACONV_ORT_PARTS_H
#define RFACONV_ORT_PARTS_H

#include <algorithm>
#include <atomic>

#include "ort_api.h"
#include "../rfaconv.h"

namespace rfaconv {
namespace ort {

// The session's threads, as one call sees them.
class Pool {
public:
    Pool(const Api& api, const OrtKernelContext* context, int64_t threads) : threads(threads), api_(api), context_(context) {}

    // body(i) returns a status of the kernels; the first bad one is returned.
    template <class Body>
    int32_t run(int64_t tasks, const Body& body) const {
        struct Job {
            const Body& body;
            std::atomic<int32_t> status;
        } job{body, {RFACONV_OK}};
        const auto one = [](void* data, size_t i) {
            Job& j = *static_cast<Job*>(data);
            const int32_t status = j.body(int64_t(i));
            if (status != RFACONV_OK) j.status = status;
        };
        if (tasks == 1) {
            one(&job, 0);
        } else if (OrtStatus* failed = api_.parallel(context_, one, size_t(tasks), size_t(tasks), &job)) {
            api_.release(failed);
            for (int64_t i = 0; i < tasks; ++i) one(&job, size_t(i));  // parts may run twice: they only write their results
        }
        return job.status;
    }

    const int64_t threads;

private:
    const Api& api_;
    const OrtKernelContext* context_;
};

// Cuts begin .. end - 1, counted through outer x inner, into rectangles: use(outer from, outer to, inner from, inner to).
template <class Use>
int32_t rectangles(int64_t begin, int64_t end, int64_t inner, const Use& use) {
    int32_t status = RFACONV_OK;
    while (begin < end && status == RFACONV_OK) {
        const int64_t outer = begin / inner, from = begin % inner, whole = end / inner;
        if (from == 0 && whole > outer) {
            status = use(outer, whole, int64_t(0), inner);
            begin = whole * inner;
        } else {
            const int64_t to = std::min(inner, from + end - begin);
            status = use(outer, outer + 1, from, to);
            begin += to - from;
        }
    }
    return status;
}

// Images, rows of the output and output channels of one call of a kernel.
struct Part {
    int64_t image, images, row, rows, output, outputs;
};

// A convolution as the C interface has it, and parts of it.
struct Problem {
    rfaconv_tensor x, weight, y;
    rfaconv_window window;
    const float* bias;  // (O,) or null

    int64_t images() const { return x.size[0]; }
    int64_t rows() const { return window.out[0]; }
    int64_t columns() const { return window.out[1]; }
    int64_t taps() const { return window.kernel[0] * window.kernel[1]; }

    // Whether parts share the outputs: where there are few pixels, reading the weights costs more than making the panel again.
    bool shares_outputs(int64_t threads) const;

    // Rows of all images that part i of n begins at. A part must not lie below the map, within its padding.
    int64_t first_row(int64_t i, int64_t n) const;

    // The same problem for some rows of some images: x and window of it.
    rfaconv_tensor rows_of_x(const Part& p) const;
    rfaconv_window rows_of_window(const Part& p) const;
    rfaconv_tensor part_of_y(const Part& p) const;
};

// Contiguous, in the order of the C interface.
rfaconv_tensor tensor(const float* data, int64_t a, int64_t b, int64_t c, int64_t d);

}  // namespace ort
}  // namespace rfaconv

#endif

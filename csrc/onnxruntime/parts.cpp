#include "parts.h"

namespace rfaconv {
namespace ort {

rfaconv_tensor tensor(const float* data, int64_t a, int64_t b, int64_t c, int64_t d) {
    return {const_cast<float*>(data), {a, b, c, d}, {b * c * d, c * d, d, 1}, RFACONV_F32};
}

namespace {
void advance(rfaconv_tensor& t, int64_t elements) { t.data = static_cast<float*>(t.data) + elements; }
}  // namespace

bool Problem::shares_outputs(int64_t threads) const {
    const int64_t few_pixels = 192, few_outputs = 32;
    return images() * rows() * columns() < few_pixels * threads && weight.size[0] >= few_outputs * threads;
}

int64_t Problem::first_row(int64_t i, int64_t n) const {
    const int64_t all = images() * rows(), at = all * i / n;
    if (at == all) return all;
    const int64_t last = (x.size[2] - 1 + window.pad[0]) / window.stride[0];  // the last row that begins on the map
    return at - std::max<int64_t>(0, at % rows() - last);
}

rfaconv_tensor Problem::rows_of_x(const Part& p) const {
    rfaconv_tensor part = x;
    const int64_t skipped = std::max<int64_t>(0, p.row * window.stride[0] - window.pad[0]);
    advance(part, p.image * x.stride[0] + skipped * x.stride[2]);
    part.size[0] = p.images;
    part.size[2] -= skipped;
    return part;
}

rfaconv_window Problem::rows_of_window(const Part& p) const {
    rfaconv_window part = window;
    part.pad[0] = std::max<int64_t>(0, window.pad[0] - p.row * window.stride[0]);
    part.out[0] = p.rows;
    return part;
}

rfaconv_tensor Problem::part_of_y(const Part& p) const {
    rfaconv_tensor part = y;
    advance(part, p.image * y.stride[0] + p.output * y.stride[1] + p.row * y.stride[2]);
    part.size[0] = p.images;
    part.size[1] = p.outputs;
    part.size[2] = p.rows;
    return part;
}

}  // namespace ort
}  // namespace rfaconv

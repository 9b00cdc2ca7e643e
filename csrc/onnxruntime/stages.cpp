#include "stages.h"

#include <cstring>
#include <memory>
#include <new>

namespace rfaconv {
namespace ort {

namespace {

using Buffer = std::unique_ptr<float[]>;

Buffer allocate(int64_t floats) { return Buffer(new (std::nothrow) float[size_t(floats)]); }

// planes of `width` floats, `from` apart in the source and `to` apart in the target
void copy_planes(float* target, int64_t to, const float* source, int64_t from, int64_t planes, int64_t width) {
    for (int64_t i = 0; i < planes; ++i) std::memcpy(target + i * to, source + i * from, size_t(width) * sizeof(float));
}

// The gate of some rows of one image, where the kernel wants it without gaps between the planes.
struct PartGate {
    rfaconv_gate gate;
    Buffer copy;
    bool good = true;

    PartGate(const Problem& problem, const Gates& all, const Part& p) : gate{all.a, all.b} {
        const int64_t c = problem.x.size[1], columns = problem.columns(), kernel = problem.window.kernel[0];
        if (all.kind == RFACONV_RFCBAM) {
            gate.a += p.image * c;
            gate.b = planes(all.b, problem.taps(), problem.rows() * columns, p, columns);
        } else if (all.kind == RFACONV_RFCA) {
            gate.a = planes(all.a, c, problem.rows() * kernel, p, kernel);
            gate.b += p.image * c * columns * problem.window.kernel[1];
        }
    }

private:
    // Rows of `width` floats in planes of `plane` floats.
    const float* planes(const float* from, int64_t count, int64_t plane, const Part& p, int64_t width) {
        from += p.image * count * plane;
        if (p.rows * width == plane) return from;
        copy = allocate(count * p.rows * width);
        good = copy != nullptr;
        if (good) copy_planes(copy.get(), p.rows * width, from + p.row * width, plane, count, p.rows * width);
        return copy.get();
    }
};

void rectify(const rfaconv_tensor& y) {
    for (int64_t image = 0; image < y.size[0]; ++image)
        for (int64_t channel = 0; channel < y.size[1]; ++channel) {
            float* at = static_cast<float*>(y.data) + image * y.stride[0] + channel * y.stride[1];
            const int64_t count = y.size[2] * y.size[3];
            for (int64_t i = 0; i < count; ++i) at[i] = at[i] < 0.0f ? 0.0f : at[i];  // NaN stays
        }
}

int32_t project_part(const Problem& problem, const Features& features, const Gates& gates, const Part& p, bool relu) {
    const PartGate gate(problem, gates, p);
    if (!gate.good) return RFACONV_OUT_OF_MEMORY;
    const rfaconv_tensor x = problem.rows_of_x(p);
    const rfaconv_window window = problem.rows_of_window(p);
    rfaconv_tensor y = problem.part_of_y(p), weight = problem.weight;
    weight.data = static_cast<float*>(weight.data) + p.output * weight.stride[0];
    weight.size[0] = p.outputs;
    rfaconv_tensor bias = tensor(problem.bias ? problem.bias + p.output : nullptr, p.outputs, 1, 1, 1);
    const int32_t status = rfaconv_project(&x, &window, features.weight, features.bias, gates.kind, &gate.gate, &weight,
                                           problem.bias ? &bias : nullptr, &y, 1);
    if (status == RFACONV_OK && relu) rectify(y);
    return status;
}

}  // namespace

int32_t project(const Pool& pool, const Problem& problem, const Features& features, const Gates& gates, bool relu) {
    const int64_t outputs = problem.weight.size[0], rows = problem.rows();
    if (problem.shares_outputs(pool.threads)) {
        const int64_t step = (outputs / pool.threads + 15) / 16 * 16, tasks = (outputs + step - 1) / step;
        return pool.run(tasks, [&](int64_t i) {
            const int64_t first = i * step;
            const Part p{0, problem.images(), 0, rows, first, std::min(step, outputs - first)};
            return project_part(problem, features, gates, p, relu);
        });
    }
    const int64_t tasks = std::min(pool.threads, problem.images() * rows);
    return pool.run(tasks, [&](int64_t i) {
        const int64_t begin = problem.first_row(i, tasks), end = problem.first_row(i + 1, tasks);
        return rectangles(begin, end, rows, [&](int64_t image, int64_t image_end, int64_t row, int64_t row_end) {
            const Part p{image, image_end - image, row, row_end - row, 0, outputs};
            return project_part(problem, features, gates, p, relu);
        });
    });
}

int32_t pixel_stats(const Pool& pool, const Problem& problem, const Features& features, float* top, float* mean) {
    const int64_t rows = problem.rows(), columns = problem.columns(), taps = problem.taps();
    const int64_t tasks = std::min(pool.threads, problem.images() * rows), plane = rows * columns;
    return pool.run(tasks, [&](int64_t i) {
        const int64_t begin = problem.first_row(i, tasks), end = problem.first_row(i + 1, tasks);
        return rectangles(begin, end, rows, [&](int64_t image, int64_t image_end, int64_t row, int64_t row_end) {
            const Part p{image, image_end - image, row, row_end - row, 0, 0};
            const rfaconv_tensor x = problem.rows_of_x(p);
            const rfaconv_window window = problem.rows_of_window(p);
            const int64_t offset = image * taps * plane, part = p.rows * columns;
            if (p.rows == rows)
                return rfaconv_feature_stats(&x, &window, features.weight, features.bias, RFACONV_RFCBAM, top + offset,
                                             mean + offset, 1);
            const Buffer own = allocate(2 * taps * part);
            if (own == nullptr) return int32_t(RFACONV_OUT_OF_MEMORY);
            float *first = own.get(), *second = first + taps * part;
            const int32_t status =
                rfaconv_feature_stats(&x, &window, features.weight, features.bias, RFACONV_RFCBAM, first, second, 1);
            copy_planes(top + offset + row * columns, plane, first, part, taps, part);
            copy_planes(mean + offset + row * columns, plane, second, part, taps, part);
            return status;
        });
    });
}

int32_t line_stats(const Pool& pool, const Problem& problem, const Features& features, float* row, float* column) {
    const int64_t channels = problem.x.size[1], all = problem.images() * channels, taps = problem.taps();
    const int64_t rows = problem.rows() * problem.window.kernel[0], columns = problem.columns() * problem.window.kernel[1];
    const int64_t tasks = std::min(pool.threads, all);
    return pool.run(tasks, [&](int64_t i) {
        return rectangles(all * i / tasks, all * (i + 1) / tasks, channels,
                          [&](int64_t image, int64_t image_end, int64_t channel, int64_t channel_end) {
            rfaconv_tensor x = problem.x;
            x.data = static_cast<float*>(x.data) + image * x.stride[0] + channel * x.stride[1];
            x.size[0] = image_end - image;
            x.size[1] = channel_end - channel;
            const int64_t first = image * channels + channel;
            return rfaconv_feature_stats(&x, &problem.window, features.weight + channel * taps * taps,
                                         features.bias + channel * taps, RFACONV_RFCA, row + first * rows,
                                         column + first * columns, 1);
        });
    });
}

}  // namespace ort
}  // namespace rfaconv

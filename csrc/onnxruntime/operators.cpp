#include "operators.h"

#include <memory>
#include <string>

#include "node.h"
#include "stages.h"

namespace rfaconv {
namespace ort {

namespace {

// The last one, the bias, may be absent. Sizes: x (B,C,H,W), weight (O,C,kh,kw), feature_weight (C,T,T), feature_bias (C,T).
const char* const rfa_inputs[] = {"x", "weight", "feature_weight", "feature_bias", "attention_weight", "bias"};
const char* const rfcbam_inputs[] = {"x",           "weight",         "feature_weight", "feature_bias",
                                     "channel_gate", "spatial_weight", "bias"};
const char* const rfca_inputs[] = {"x",           "weight",     "feature_weight", "feature_bias",  "hidden_weight", "hidden_bias",
                                   "row_weight", "row_bias", "column_weight",  "column_bias", "bias"};

struct Kernel {
    const Api api;
    const Description& op;
    std::string name;
    int64_t stride[2], pad[4], dilation[2];
    bool relu;

    Kernel(const Description& op_, void* const* table, const OrtKernelInfo* info) : api(table), op(op_), name(node_name(api, info)) {
        read_integers(api, info, "strides", stride, 2, 1);
        read_integers(api, info, "pads", pad, 4, 0);  // top, left, bottom, right
        read_integers(api, info, "dilations", dilation, 2, 1);
        relu = read_flag(api, info, "relu");
    }

    void compute(OrtKernelContext* context) const;
};

// Inputs of one call.
struct Call {
    const Kernel& kernel;
    const OrtKernelContext* context;

    Input operator[](size_t i) const {
        const Input input = read_input(kernel.api, context, i, kernel.op.inputs[i]);
        if (input.data == nullptr && input.dims == 0 && i + 1 < kernel.op.count)
            throw BadNode(std::string(kernel.op.inputs[i]) + ": expected a tensor, got none");
        return input;
    }
    const float* sized(size_t i, std::initializer_list<int64_t> size) const {
        const Input input = (*this)[i];
        check_size(input, kernel.op.inputs[i], size);
        return input.data;
    }
};

Problem make_problem(const Kernel& k, const Call& call) {
    const Input x = call[0], weight = call[1], bias = call[k.op.count - 1];
    if (x.dims != 4) throw BadNode("x: expected four dimensions, got shape " + size_text(x.size, x.dims));
    if (weight.dims != 4) throw BadNode("weight: expected four dimensions, got shape " + size_text(weight.size, weight.dims));
    check_size(weight, "weight", {weight.size[0], x.size[1], weight.size[2], weight.size[3]});
    if (bias.data != nullptr) check_size(bias, "bias", {weight.size[0]});
    Problem p;
    p.x = tensor(x.data, x.size[0], x.size[1], x.size[2], x.size[3]);
    p.weight = tensor(weight.data, weight.size[0], weight.size[1], weight.size[2], weight.size[3]);
    p.bias = bias.data;
    for (int d = 0; d < 2; ++d) {
        const int64_t extent = k.dilation[d] * (weight.size[2 + d] - 1) + 1;
        const int64_t room = x.size[2 + d] + k.pad[d] + k.pad[2 + d] - extent;
        if (room < 0 || x.size[2 + d] < 1)
            throw BadNode("x: expected a map that the window fits, got shape " + size_text(x.size, 4));
        p.window.kernel[d] = weight.size[2 + d];
        p.window.stride[d] = k.stride[d];
        p.window.pad[d] = k.pad[d];
        p.window.dilation[d] = k.dilation[d];
        p.window.out[d] = room / k.stride[d] + 1;
    }
    return p;
}

void check_status(int32_t status) {
    if (status != RFACONV_OK) throw BadNode(rfaconv_status_text(status));
}

using Buffer = std::unique_ptr<float[]>;

Gates rfcbam_gates(const Call& call, const Pool& pool, const Problem& p, const Features& features, Buffer& memory) {
    const int64_t images = p.images(), image = p.taps() * p.rows() * p.columns();
    const float* channel = call.sized(4, {images, p.x.size[1]});
    const Input spatial = call[5];
    check_size(spatial, "spatial_weight", {2, spatial.size[1], spatial.size[2]});
    memory.reset(new float[size_t(3 * images * image)]);
    float *top = memory.get(), *mean = top + images * image, *gate = mean + images * image;
    check_status(pixel_stats(pool, p, features, top, mean));
    const int64_t tasks = std::min(pool.threads, images);
    check_status(pool.run(tasks, [&](int64_t i) {
        const int64_t from = images * i / tasks, count = images * (i + 1) / tasks - from, at = from * image;
        return rfaconv_pixel_gate(top + at, mean + at, spatial.data, spatial.size + 1, count, &p.window, gate + at, 1);
    }));
    return {RFACONV_RFCBAM, channel, gate};
}

Gates rfca_gates(const Call& call, const Pool& pool, const Problem& p, const Features& features, Buffer& memory) {
    const int64_t images = p.images(), c = p.x.size[1], hidden_channels = call[4].size[0];
    const int64_t rows = p.rows() * p.window.kernel[0], columns = p.columns() * p.window.kernel[1], lines = rows + columns;
    const float* hidden_weight = call.sized(4, {hidden_channels, c});
    const float* hidden_bias = call.sized(5, {hidden_channels});
    const float* weight[] = {call.sized(6, {c, hidden_channels}), call.sized(8, {c, hidden_channels})};
    const float* bias[] = {call.sized(7, {c}), call.sized(9, {c})};
    memory.reset(new float[size_t(images * lines * (2 * c + hidden_channels))]);
    float *row = memory.get(), *column = row + images * c * rows, *hidden = column + images * c * columns;
    float *row_gate = hidden + images * hidden_channels * lines, *column_gate = row_gate + images * c * rows;
    check_status(line_stats(pool, p, features, row, column));
    const int64_t tasks = std::min(pool.threads, images);
    check_status(pool.run(tasks, [&](int64_t i) {
        const int64_t from = images * i / tasks, count = images * (i + 1) / tasks - from;
        const int64_t size[] = {count, c, hidden_channels, rows, columns};
        const int64_t at_row = from * c * rows, at_column = from * c * columns, at_hidden = from * hidden_channels * lines;
        float* gate[] = {row_gate + at_row, column_gate + at_column};
        const int32_t status = rfaconv_line_hidden(row + at_row, column + at_column, hidden_weight, hidden_bias, size,
                                                   hidden + at_hidden, 1);
        return status != RFACONV_OK ? status : rfaconv_line_gates(hidden + at_hidden, weight, bias, size, gate, 1);
    }));
    return {RFACONV_RFCA, row_gate, column_gate};
}

void Kernel::compute(OrtKernelContext* context) const {
    const Call call{*this, context};
    Problem p = make_problem(*this, call);
    const int64_t c = p.x.size[1], taps = p.taps();
    const Features features{call.sized(2, {c, taps, taps}), call.sized(3, {c, taps})};
    const float* attention = op.kind == RFACONV_RFA ? call.sized(4, {c, taps}) : nullptr;

    const int64_t size[] = {p.images(), p.weight.size[0], p.rows(), p.columns()};
    OrtValue* value = nullptr;
    void* data = nullptr;
    require(api, api.output(context, size, 4, &value), "output");
    require(api, api.data(value, &data), "output");
    p.y = tensor(static_cast<float*>(data), size[0], size[1], size[2], size[3]);
    if (size[0] == 0 || size[1] == 0) return;

    const Pool pool(api, context, op.threads);
    Buffer memory;
    Gates gates{RFACONV_RFA, attention, nullptr};
    if (op.kind == RFACONV_RFCBAM) gates = rfcbam_gates(call, pool, p, features, memory);
    if (op.kind == RFACONV_RFCA) gates = rfca_gates(call, pool, p, features, memory);
    check_status(project(pool, p, features, gates, relu));
}

OrtStatus* failure(const Api& api, const Description& op, const std::string& node, const char* text) {
    return api.error(invalid_argument, ("rfaconv." + std::string(op.text) + " " + node + ": " + text).c_str());
}

const Description& described(const Operator* op) { return *static_cast<const Description*>(op); }

OrtStatus* create_kernel(const Operator* op, void* const* table, const OrtKernelInfo* info, void** kernel) {
    try {
        *kernel = new Kernel(described(op), table, info);
        return nullptr;
    } catch (const std::exception& error) {
        return failure(Api(table), described(op), node_name(Api(table), info), error.what());
    }
}

OrtStatus* run_kernel(void* kernel, OrtKernelContext* context) {
    const Kernel& k = *static_cast<const Kernel*>(kernel);
    try {
        k.compute(context);
        return nullptr;
    } catch (const std::exception& error) {
        return failure(k.api, k.op, k.name, error.what());
    }
}

}  // namespace

Description::Description(int32_t kind_, int64_t threads_) : Operator{}, kind(kind_), threads(threads_) {
    switch (kind) {
        case RFACONV_RFCBAM: text = "RFCBAMConv", inputs = rfcbam_inputs, count = 7; break;
        case RFACONV_RFCA: text = "RFCAConv", inputs = rfca_inputs, count = 11; break;
        default: text = "RFAConv", inputs = rfa_inputs, count = 6;
    }
    version = api_version;
    name = [](const Operator* op) { return described(op).text; };
    provider = [](const Operator*) -> const char* { return nullptr; };  // the CPU
    input_type = output_type = [](const Operator*, size_t) { return int(element_float); };
    input_count = [](const Operator* op) { return described(op).count; };
    output_count = [](const Operator*) { return size_t(1); };
    input_kind = [](const Operator* op, size_t i) { return int(i + 1 < described(op).count ? required : optional); };
    output_kind = [](const Operator*, size_t) { return int(required); };
    input_memory = [](const Operator*, size_t) { return 0; };
    variadic_input_minimum = variadic_output_minimum = [](const Operator*) { return 1; };
    variadic_input_homogeneous = variadic_output_homogeneous = [](const Operator*) { return 1; };
    create_checked = create_kernel;
    compute_checked = run_kernel;
    destroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    first_opset = [](const Operator*) { return 1; };
    last_opset = [](const Operator*) { return INT32_MAX; };
}

}  // namespace ort
}  // namespace rfaconv

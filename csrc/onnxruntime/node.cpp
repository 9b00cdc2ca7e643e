#include "node.h"

#include <algorithm>
#include <vector>

namespace rfaconv {
namespace ort {

void require(const Api& api, OrtStatus* status, const char* what) {
    if (status == nullptr) return;
    std::string text = std::string(what) + ": " + api.message(status);
    api.release(status);
    throw BadNode(text);
}

std::string node_name(const Api& api, const OrtKernelInfo* info) {
    size_t size = 0;
    OrtStatus* status = api.node_name(info, nullptr, &size);
    std::vector<char> text(size + 1, '\0');
    if (status == nullptr) status = api.node_name(info, text.data(), &size);
    if (status != nullptr) api.release(status);
    return text.data();
}

void read_integers(const Api& api, const OrtKernelInfo* info, const char* name, int64_t* values, size_t count, int64_t minimum) {
    const std::string expected = std::string("attribute ") + name + ": expected " + std::to_string(count) +
                                 " integers, each at least " + std::to_string(minimum);
    size_t size = 0;
    require(api, api.integers(info, name, nullptr, &size), expected.c_str());
    if (size != count) throw BadNode(expected + ", got " + std::to_string(size));
    require(api, api.integers(info, name, values, &size), expected.c_str());
    for (size_t i = 0; i < count; ++i)
        if (values[i] < minimum || values[i] > INT32_MAX) throw BadNode(expected + ", got " + std::to_string(values[i]));
}

bool read_flag(const Api& api, const OrtKernelInfo* info, const char* name) {
    const std::string expected = std::string("attribute ") + name + ": expected 0 or 1";
    int64_t value = 0;
    require(api, api.integer(info, name, &value), expected.c_str());
    if (value != 0 && value != 1) throw BadNode(expected + ", got " + std::to_string(value));
    return value == 1;
}

Input read_input(const Api& api, const OrtKernelContext* context, size_t index, const char* name) {
    Input input;
    size_t count = 0;
    require(api, api.input_count(context, &count), name);
    const OrtValue* value = nullptr;
    if (index < count) require(api, api.input(context, index, &value), name);
    if (value == nullptr) return input;
    OrtTensorTypeAndShapeInfo* info = nullptr;
    require(api, api.shape(value, &info), name);
    OrtStatus* status = api.dims(info, &input.dims);
    if (status == nullptr && input.dims <= 4) status = api.size(info, input.size, input.dims);
    api.release(info);
    require(api, status, name);
    if (input.dims > 4) throw BadNode(std::string(name) + ": expected at most 4 dimensions, got " + std::to_string(input.dims));
    void* data = nullptr;
    require(api, api.data(value, &data), name);
    input.data = static_cast<const float*>(data);
    return input;
}

std::string size_text(const int64_t* size, size_t dims) {
    std::string text = "(";
    for (size_t i = 0; i < dims; ++i) text += (i ? ", " : "") + std::to_string(size[i]);
    return text + ")";
}

void check_size(const Input& input, const char* name, std::initializer_list<int64_t> expected) {
    if (input.dims == expected.size() && std::equal(expected.begin(), expected.end(), input.size)) return;
    throw BadNode(std::string(name) + ": expected shape " + size_text(expected.begin(), expected.size()) + ", got " +
                  size_text(input.size, input.dims));
}

}  // namespace ort
}  // namespace rfaconv

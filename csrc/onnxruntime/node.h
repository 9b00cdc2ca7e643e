// One node of a graph: its attributes, its inputs at a call, and errors that name it.
#ifndef RFACONV_ORT_NODE_H
#define RFACONV_ORT_NODE_H

#include <initializer_list>
#include <stdexcept>
#include <string>

#include "ort_api.h"

namespace rfaconv {
namespace ort {

// An argument that cannot be used; becomes a status before it reaches the runtime.
struct BadNode : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Input {
    const float* data = nullptr;  // null: the optional input is absent
    int64_t size[4] = {1, 1, 1, 1};
    size_t dims = 0;
};

// Throws BadNode, with the runtime's own text, where a status is not success.
void require(const Api& api, OrtStatus* status, const char* what);

// The name of the node, for messages.
std::string node_name(const Api& api, const OrtKernelInfo* info);

// A list of `count` integers, each at least `minimum`.
void read_integers(const Api& api, const OrtKernelInfo* info, const char* name, int64_t* values, size_t count, int64_t minimum);

bool read_flag(const Api& api, const OrtKernelInfo* info, const char* name);

// Input `index`; up to four dimensions.
Input read_input(const Api& api, const OrtKernelContext* context, size_t index, const char* name);

// Sizes as expected, else BadNode naming the input.
void check_size(const Input& input, const char* name, std::initializer_list<int64_t> expected);

std::string size_text(const int64_t* size, size_t dims);

}  // namespace ort
}  // namespace rfaconv

#endif

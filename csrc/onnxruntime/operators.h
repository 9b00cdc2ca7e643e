// The operators of the domain rfaconv: RFAConv, RFCBAMConv, RFCAConv.
#ifndef RFACONV_ORT_OPERATORS_H
#define RFACONV_ORT_OPERATORS_H

#include "ort_api.h"
#include "../rfaconv.h"

namespace rfaconv {
namespace ort {

// The runtime's description of an operator, with what our callbacks need to know behind it.
struct Description : Operator {
    const char* const* inputs;  // names
    size_t count;
    int32_t kind;               // of the gate
    const char* text;           // the operator's name
    int64_t threads;            // of the sessions that it is registered for

    Description(int32_t kind, int64_t threads);
};

enum : int { operators = 3 };

}  // namespace ort
}  // namespace rfaconv

#endif

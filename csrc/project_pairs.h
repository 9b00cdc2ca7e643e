// Projection with operands in bfloat16.
#ifndef RFACONV_PROJECT_PAIRS_H
#define RFACONV_PROJECT_PAIRS_H

#include "product_pairs.h"
#include "project.h"

namespace rfaconv {
namespace RFACONV_ISA {

// As project, for bfloat16 maps and weights; tiles: by AMX.
inline int32_t project_pairs(const rfaconv_tensor* x, const rfaconv_window* window, const float* feature_weight,
                             const float* feature_bias, int32_t kind, const rfaconv_gate* gate, const rfaconv_tensor* weight,
                             const rfaconv_tensor* bias, rfaconv_tensor* y, int32_t threads, bool tiles) {
    return project_by<PairProduct>(*window, kind, {x, feature_weight, feature_bias, gate, weight, bias, y}, threads, tiles);
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

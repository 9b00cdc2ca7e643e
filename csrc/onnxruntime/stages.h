// The stages of the operators on a session's threads: statistics, gates, projection.
#ifndef RFACONV_ORT_STAGES_H
#define RFACONV_ORT_STAGES_H

#include "parts.h"

namespace rfaconv {
namespace ort {

// feature_weight (C,T,T) and feature_bias (C,T).
struct Features {
    const float* weight;
    const float* bias;
};

// As rfaconv_gate, for all images.
struct Gates {
    int32_t kind;
    const float* a;
    const float* b;
};

// y = weight . (feature * gate) + bias, and relu of it if asked for.
int32_t project(const Pool& pool, const Problem& problem, const Features& features, const Gates& gates, bool relu);

// rfcbam: top and mean (B,T,Ho,Wo) of the features over channels.
int32_t pixel_stats(const Pool& pool, const Problem& problem, const Features& features, float* top, float* mean);

// rfca: means (B,C,kh*Ho) and (B,C,kw*Wo) of the enlarged map.
int32_t line_stats(const Pool& pool, const Problem& problem, const Features& features, float* row, float* column);

}  // namespace ort
}  // namespace rfaconv

#endif

// 1 / (1 + exp(-z)), the activation of every gate but RFA's.
#ifndef RFACONV_SIGMOID_H
#define RFACONV_SIGMOID_H

#include "vec.h"

namespace rfaconv {
namespace RFACONV_ISA {

// With e = exp(-|z|), at most 1: 1 / (1 + e) for z >= 0, else e / (1 + e), precise to a few units in the last place at either
// end. The exponent counts to twice the precision, as its error is relative to |z|. Beyond 87 float has no exp(-|z|).
RFACONV_INLINE vf sigmoid(vf z) {
    const float log2e = 1.44269502f, rest = 1.92596303e-8f, ln2 = 0.693147182f;
    const vf a = min(set1(87.0f), absolute(z));
    const vf t = a * set1(log2e);
    const vf error = fma(a, set1(rest), fms(a, set1(log2e), t));
    const vf one = exp2_scaled(zero()), scaled = exp2_scaled(zero() - t);
    const vf e = fnma(scaled, error * set1(ln2), scaled);
    return blend(ge(z, zero()), one, e) * reciprocal(one + e);
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

// Pairs of bfloat16 numbers, one pair in each lane of 32 bits, the even one in the low half; and their products.
//
//   vp  vector of pairs          pair(even, odd)  rounds two float vectors to one of pairs, to nearest even; a NaN stays one
//   dot(sum, a, b)               sum + a.even * b.even + a.odd * b.odd in every lane, in float32
//
// AVX512-BF16 has these as instructions, which take numbers below 2^-126 for zero. What stands in for them elsewhere is for tests.
#ifndef RFACONV_VEC_PAIRS_H
#define RFACONV_VEC_PAIRS_H

#include "vec.h"

namespace rfaconv {
namespace RFACONV_ISA {

#if defined(__AVX512BF16__) && !defined(RFACONV_SCALAR)

typedef __m512i vp;

RFACONV_INLINE vp load_pairs(const void* p) { return _mm512_loadu_si512(p); }
RFACONV_INLINE void store_pairs(void* p, vp v) { _mm512_storeu_si512(p, v); }
RFACONV_INLINE vp set1_pairs(const void* p) {
    int32_t bits;
    memcpy(&bits, p, 4);
    return _mm512_set1_epi32(bits);
}
RFACONV_INLINE vp pair(vf even, vf odd) {
    // word 2i = word i, word 2i + 1 = word 16 + i
    const __m512i ramp = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i order = _mm512_or_si512(ramp, _mm512_slli_epi32(_mm512_add_epi32(ramp, _mm512_set1_epi32(16)), 16));
    return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
}
RFACONV_INLINE vf dot(vf sum, vp a, vp b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }

#else

struct vp {
    uint16_t half[2 * lanes];
};

RFACONV_INLINE vp load_pairs(const void* p) {
    vp v;
    memcpy(&v, p, sizeof v);
    return v;
}
RFACONV_INLINE void store_pairs(void* p, const vp& v) { memcpy(p, &v, sizeof v); }
RFACONV_INLINE vp set1_pairs(const void* p) {
    vp v;
    for (int64_t l = 0; l < lanes; ++l) memcpy(v.half + 2 * l, p, 4);
    return v;
}
RFACONV_INLINE vp pair(vf even, vf odd) {
    float e[lanes], o[lanes];
    store(e, even), store(o, odd);
    vp v;
    for (int64_t l = 0; l < lanes; ++l) v.half[2 * l] = float_to_bf16(e[l]), v.half[2 * l + 1] = float_to_bf16(o[l]);
    return v;
}
RFACONV_INLINE vf dot(vf sum, const vp& a, const vp& b) {
    float s[lanes];
    store(s, sum);
    for (int64_t l = 0; l < lanes; ++l)
        for (int64_t h = 2 * l; h < 2 * l + 2; ++h) s[l] += bf16_to_float(a.half[h]) * bf16_to_float(b.half[h]);
    return load(s);
}

#endif

// out[2i] = even[i], out[2i + 1] = odd[i], or zero without odd; i < n.
RFACONV_INLINE void interleave(uint16_t* out, const uint16_t* even, const uint16_t* odd, int64_t n) {
#if defined(__AVX512BF16__) && !defined(RFACONV_SCALAR)
    if (n == 9 && odd == even + 9) {
        const __m512i ramp = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        const __m512i order = _mm512_or_si512(ramp, _mm512_slli_epi32(_mm512_add_epi32(ramp, _mm512_set1_epi32(9)), 16));
        const __m512i both = _mm512_maskz_loadu_epi16(0x3ffff, even);
        _mm512_mask_storeu_epi32(out, 0x1ff, _mm512_permutexvar_epi16(order, both));
        return;
    }
#endif
    for (int64_t i = 0; i < n; ++i) out[2 * i] = even[i], out[2 * i + 1] = odd == nullptr ? uint16_t(0) : odd[i];
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

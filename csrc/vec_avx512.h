// AVX-512 F, BW, DQ, VL: 16 floats.
#ifndef RFACONV_VEC_AVX512_H
#define RFACONV_VEC_AVX512_H

#include <immintrin.h>

namespace rfaconv {
namespace RFACONV_ISA {

typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;
typedef __m512d vd;
enum : int64_t { lanes = 16, dlanes = 8, halves = 2, registers = 32 };

RFACONV_INLINE vf zero() { return _mm512_setzero_ps(); }
RFACONV_INLINE vf set1(float a) { return _mm512_set1_ps(a); }
RFACONV_INLINE vf load(const float* p) { return _mm512_loadu_ps(p); }
RFACONV_INLINE void store(float* p, vf v) { _mm512_storeu_ps(p, v); }
// lanes l with from <= l < to
RFACONV_INLINE vm lanes_between(int64_t from, int64_t to) {
    const int64_t a = from < 0 ? 0 : from > 16 ? 16 : from, b = to < 0 ? 0 : to > 16 ? 16 : to;
    return vm(((1u << b) - 1u) & ~((1u << a) - 1u));
}
RFACONV_INLINE vm mask_and(vm a, vm b) { return vm(a & b); }
RFACONV_INLINE vm mask_of_bits(uint32_t bits) { return vm(bits); }
RFACONV_INLINE vf load_mask(const float* p, vm m) { return _mm512_maskz_loadu_ps(m, p); }
RFACONV_INLINE vf load_mask(vf other, const float* p, vm m) { return _mm512_mask_loadu_ps(other, m, p); }
RFACONV_INLINE vf load_within(const float* p, vm m) { return _mm512_maskz_loadu_ps(m, p); }
RFACONV_INLINE void store_mask(float* p, vf v, vm m) { _mm512_mask_storeu_ps(p, m, v); }
RFACONV_INLINE vf blend(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }  // m ? a : b
RFACONV_INLINE vf fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
RFACONV_INLINE vf fms(vf a, vf b, vf c) { return _mm512_fmsub_ps(a, b, c); }
RFACONV_INLINE vf fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
RFACONV_INLINE vf max(vf a, vf b) { return _mm512_max_ps(a, b); }
RFACONV_INLINE vf min(vf a, vf b) { return _mm512_min_ps(a, b); }
RFACONV_INLINE vf absolute(vf a) { return _mm512_abs_ps(a); }
RFACONV_INLINE vm gt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
RFACONV_INLINE vm ge(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
RFACONV_INLINE vm eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
RFACONV_INLINE float reduce_add(vf v) { return _mm512_reduce_add_ps(v); }
RFACONV_INLINE float reduce_max(vf v) { return _mm512_reduce_max_ps(v); }

// c * 2^t for |t| <= 126 with t * c in range, with a constant c near 4: what a softmax needs. NaN gives NaN.
// t = n/32 + f: adding 1.5 * 2^18 rounds to multiples of 1/32 and leaves n in the low bits; the table holds 2^(j/32) less
// j << 18, so that adding n << 18 to it completes mantissa and exponent at once. On |f| <= 1/64, 2^f is proportional to
// (f + 23/16)^2 + k within 1.3e-7: one multiplication less than a parabola in f, and 23/16 comes with the rounding constant.
// In z and q as exp2_scaled (vec.h) has them.
RFACONV_INLINE vf exp2_of_parts(vf z, vf q) {
    alignas(64) static const float table[32] = {
        1.0f, 1.0218972f, 1.04427373f, 1.06714046f, 1.09050775f, 1.1143868f, 1.13878858f, 1.1637249f,
        1.18920708f, 1.21524739f, 1.24185777f, 1.26905096f, 1.29683959f, 1.32523668f, 1.35425556f, 1.38390994f,
        1.41421354f, 1.44518077f, 1.47682619f, 1.50916445f, 1.54221082f, 1.5759809f, 1.61049032f, 1.64575553f,
        1.68179286f, 1.71861935f, 1.75625217f, 1.79470909f, 1.8340081f, 1.87416768f, 1.91520655f, 1.95714414f};
    const vi ramp = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const vi low = _mm512_sub_epi32(_mm512_castps_si512(_mm512_load_ps(table)), _mm512_slli_epi32(ramp, 18));
    const vi high = _mm512_sub_epi32(_mm512_castps_si512(_mm512_load_ps(table + 16)),
                                     _mm512_slli_epi32(_mm512_add_epi32(ramp, _mm512_set1_epi32(16)), 18));
    const vi n = _mm512_castps_si512(z);
    const vi s = _mm512_add_epi32(_mm512_permutex2var_epi32(low, n, high), _mm512_slli_epi32(n, 18));
    return _mm512_castsi512_ps(s) * fma(q, q, set1(2.08126005f));
}
const float exp2_magic = 393216.0f, exp2_shift = 393217.4375f;
RFACONV_INLINE bool all_of(vm m) { return m == 0xffff; }
// One Newton step on a 14 bit estimate; for finite normal a.
RFACONV_INLINE vf reciprocal(vf a) {
    const vf r = _mm512_rcp14_ps(a);
    return fma(fnma(a, r, set1(1.0f)), r, r);
}
RFACONV_INLINE vf load_bf16(const uint16_t* p) {
    const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
RFACONV_INLINE __m256i to_bf16(vf v) {
    const vi bits = _mm512_castps_si512(v);
    const vi odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    vi r = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const vm nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    r = _mm512_mask_or_epi32(r, nan, _mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
    return _mm512_cvtepi32_epi16(r);
}
RFACONV_INLINE void store_bf16(uint16_t* p, vf v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bf16(v)); }
// p[0], p[2], ... p[30], with p[31] read, too; low and high mask the two loads
RFACONV_INLINE vf load_even(const float* p, vm low = 0xffff, vm high = 0xffff) {
    const vi even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    return _mm512_permutex2var_ps(load_mask(p, low), even, load_mask(p + 16, high));
}
// r[i][j] <-> r[j][i]
RFACONV_INLINE void transpose(vf* r) {
    vf t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int h = 0; h < 2; ++h) {
            const vd a = _mm512_castps_pd(t[i + h]), b = _mm512_castps_pd(t[i + 2 + h]);
            r[i + 2 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            r[i + 2 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    for (int i = 0; i < 4; ++i) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; ++i) {
        r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

// Lane i of the result = sum of the lanes of r[i]; r is used up.
RFACONV_INLINE vf lane_sums(vf* r) {
    for (int i = 0; i < 16; i += 2) r[i] = _mm512_unpacklo_ps(r[i], r[i + 1]) + _mm512_unpackhi_ps(r[i], r[i + 1]);
    for (int i = 0; i < 16; i += 4) {
        const vd a = _mm512_castps_pd(r[i]), b = _mm512_castps_pd(r[i + 2]);
        r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b)) + _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
    for (int i = 0; i < 16; i += 8) r[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88) + _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    return _mm512_shuffle_f32x4(r[0], r[8], 0x88) + _mm512_shuffle_f32x4(r[0], r[8], 0xdd);
}

RFACONV_INLINE vd dzero() { return _mm512_setzero_pd(); }
RFACONV_INLINE vd dset1(double a) { return _mm512_set1_pd(a); }
RFACONV_INLINE vd dload(const double* p) { return _mm512_loadu_pd(p); }
RFACONV_INLINE void dstore(double* p, vd v) { _mm512_storeu_pd(p, v); }
RFACONV_INLINE vd dfma(vd a, vd b, vd c) { return _mm512_fmadd_pd(a, b, c); }
RFACONV_INLINE double dreduce_add(vd v) { return _mm512_reduce_add_pd(v); }
template <int half>
RFACONV_INLINE vd widen(vf v) {
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, half));
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

// AVX2 and FMA: 8 floats.
#ifndef RFACONV_VEC_AVX2_H
#define RFACONV_VEC_AVX2_H

#include <immintrin.h>

namespace rfaconv {
namespace RFACONV_ISA {

typedef __m256 vf;
typedef __m256i vi;
typedef __m256i vm;  // all bits of a lane set or clear
typedef __m256d vd;
enum : int64_t { lanes = 8, dlanes = 4, halves = 2, registers = 16 };

RFACONV_INLINE vf zero() { return _mm256_setzero_ps(); }
RFACONV_INLINE vf set1(float a) { return _mm256_set1_ps(a); }
RFACONV_INLINE vf load(const float* p) { return _mm256_loadu_ps(p); }
RFACONV_INLINE void store(float* p, vf v) { _mm256_storeu_ps(p, v); }
// lanes l with from <= l < to
RFACONV_INLINE vm lanes_between(int64_t from, int64_t to) {
    const int a = int(from < 0 ? 0 : from > 8 ? 8 : from), b = int(to < 0 ? 0 : to > 8 ? 8 : to);
    const vi ramp = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    return _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(a), ramp), _mm256_cmpgt_epi32(_mm256_set1_epi32(b), ramp));
}
RFACONV_INLINE vm mask_and(vm a, vm b) { return _mm256_and_si256(a, b); }
RFACONV_INLINE vm mask_of_bits(uint32_t bits) {
    const vi bit = _mm256_set_epi32(128, 64, 32, 16, 8, 4, 2, 1);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(int(bits)), bit), bit);
}
RFACONV_INLINE vf blend(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(m)); }  // m ? a : b
RFACONV_INLINE vf load_mask(const float* p, vm m) { return _mm256_maskload_ps(p, m); }
RFACONV_INLINE vf load_mask(vf other, const float* p, vm m) { return blend(m, _mm256_maskload_ps(p, m), other); }
// Not by a masked load: on Zen 1 that takes ten times as long.
RFACONV_INLINE vf load_within(const float* p, vm m) { return _mm256_and_ps(_mm256_loadu_ps(p), _mm256_castsi256_ps(m)); }
RFACONV_INLINE void store_mask(float* p, vf v, vm m) { _mm256_maskstore_ps(p, m, v); }
RFACONV_INLINE vf fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
RFACONV_INLINE vf fms(vf a, vf b, vf c) { return _mm256_fmsub_ps(a, b, c); }
RFACONV_INLINE vf fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
RFACONV_INLINE vf max(vf a, vf b) { return _mm256_max_ps(a, b); }
RFACONV_INLINE vf min(vf a, vf b) { return _mm256_min_ps(a, b); }
RFACONV_INLINE vf absolute(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
RFACONV_INLINE vm gt(vf a, vf b) { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_GT_OQ)); }
RFACONV_INLINE vm ge(vf a, vf b) { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_GE_OQ)); }
RFACONV_INLINE vm eq(vf a, vf b) { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)); }
RFACONV_INLINE float reduce_add(vf v) {
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_shuffle_ps(a, a, 1)));
}
RFACONV_INLINE float reduce_max(vf v) {
    __m128 a = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(a, _mm_shuffle_ps(a, a, 1)));
}

// As in vec_avx512.h (with c = 1), by a table of 8 and a cubic: on |f| <= 1/16 it errs by 3e-8.
RFACONV_INLINE vf exp2_of_parts(vf z, vf f) {
    alignas(32) static const float table[8] = {
        1.0f, 1.09050775f, 1.18920708f, 1.29683959f, 1.41421354f, 1.54221082f, 1.68179286f, 1.8340081f};
    const vi ramp = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    const vi low = _mm256_sub_epi32(_mm256_castps_si256(_mm256_load_ps(table)), _mm256_slli_epi32(ramp, 20));
    const vi n = _mm256_castps_si256(z);
    const vi s = _mm256_add_epi32(_mm256_permutevar8x32_epi32(low, n), _mm256_slli_epi32(n, 20));
    const vf p = fma(fma(fma(set1(0.05549622f), f, set1(0.24025763f)), f, set1(0.69314721f)), f, set1(1.0f));
    return _mm256_castsi256_ps(s) * p;
}
const float exp2_magic = 1572864.0f, exp2_shift = exp2_magic;
RFACONV_INLINE bool all_of(vm m) { return _mm256_movemask_ps(_mm256_castsi256_ps(m)) == 0xff; }
RFACONV_INLINE vf reciprocal(vf a) { return set1(1.0f) / a; }
RFACONV_INLINE vf load_bf16(const uint16_t* p) {
    const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
RFACONV_INLINE void store_bf16(uint16_t* p, vf v) {
    const vi bits = _mm256_castps_si256(v);
    const vi odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const vi near = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    const vi quiet = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
    const vi nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const vi r = _mm256_blendv_epi8(near, quiet, nan);
    const vi packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(r, r), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}
// p[0], p[2], ... p[14], with p[15] read, too; low and high mask the two loads
RFACONV_INLINE vf load_even(const float* p) {
    const vf a = _mm256_shuffle_ps(load(p), load(p + 8), 0x88);
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(a), 0xd8));
}
RFACONV_INLINE vf load_even(const float* p, vm low, vm high) {
    const vf a = _mm256_shuffle_ps(load_mask(p, low), load_mask(p + 8, high), 0x88);
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(a), 0xd8));
}
// r[i][j] <-> r[j][i]
RFACONV_INLINE void transpose(vf* r) {
    vf t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int h = 0; h < 2; ++h) {
            r[i + 2 * h] = _mm256_shuffle_ps(t[i + h], t[i + 2 + h], 0x44);
            r[i + 2 * h + 1] = _mm256_shuffle_ps(t[i + h], t[i + 2 + h], 0xee);
        }
    for (int i = 0; i < 4; ++i) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    for (int i = 0; i < 8; ++i) r[i] = t[i];
}

// Lane i of the result = sum of the lanes of r[i]; r is used up.
RFACONV_INLINE vf lane_sums(vf* r) {
    for (int i = 0; i < 8; i += 2) r[i] = _mm256_unpacklo_ps(r[i], r[i + 1]) + _mm256_unpackhi_ps(r[i], r[i + 1]);
    for (int i = 0; i < 8; i += 4) r[i] = _mm256_shuffle_ps(r[i], r[i + 2], 0x44) + _mm256_shuffle_ps(r[i], r[i + 2], 0xee);
    return _mm256_permute2f128_ps(r[0], r[4], 0x20) + _mm256_permute2f128_ps(r[0], r[4], 0x31);
}

RFACONV_INLINE vd dzero() { return _mm256_setzero_pd(); }
RFACONV_INLINE vd dset1(double a) { return _mm256_set1_pd(a); }
RFACONV_INLINE vd dload(const double* p) { return _mm256_loadu_pd(p); }
RFACONV_INLINE void dstore(double* p, vd v) { _mm256_storeu_pd(p, v); }
RFACONV_INLINE vd dfma(vd a, vd b, vd c) { return _mm256_fmadd_pd(a, b, c); }
RFACONV_INLINE double dreduce_add(vd v) {
    const __m128d a = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(a, _mm_unpackhi_pd(a, a)));
}
template <int half>
RFACONV_INLINE vd widen(vf v) {
    return _mm256_cvtps_pd(_mm256_extractf128_ps(v, half));
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

// NEON of 64 bit ARM: 4 floats. Every such processor has it.
#ifndef RFACONV_VEC_NEON_H
#define RFACONV_VEC_NEON_H

#include <arm_neon.h>

namespace rfaconv {
namespace RFACONV_ISA {

typedef float32x4_t vf;
typedef int32x4_t vi;
typedef uint32x4_t vm;  // all bits of a lane set or clear
typedef float64x2_t vd;
enum : int64_t { lanes = 4, dlanes = 2, halves = 2, registers = 32 };

RFACONV_INLINE vf zero() { return vdupq_n_f32(0.0f); }
RFACONV_INLINE vf set1(float a) { return vdupq_n_f32(a); }
RFACONV_INLINE vf load(const float* p) { return vld1q_f32(p); }
RFACONV_INLINE void store(float* p, vf v) { vst1q_f32(p, v); }
// lanes l with from <= l < to
RFACONV_INLINE vm lanes_between(int64_t from, int64_t to) {
    const int32_t a = int32_t(from < 0 ? 0 : from > 4 ? 4 : from), b = int32_t(to < 0 ? 0 : to > 4 ? 4 : to);
    const vi ramp = {0, 1, 2, 3};
    return vandq_u32(vcgeq_s32(ramp, vdupq_n_s32(a)), vcltq_s32(ramp, vdupq_n_s32(b)));
}
RFACONV_INLINE vm mask_and(vm a, vm b) { return vandq_u32(a, b); }
RFACONV_INLINE vm mask_of_bits(uint32_t bits) {
    const vm bit = {1, 2, 4, 8};
    return vtstq_u32(vdupq_n_u32(bits), bit);
}
RFACONV_INLINE vf blend(vm m, vf a, vf b) { return vbslq_f32(m, a, b); }  // m ? a : b
RFACONV_INLINE bool all_of(vm m) { return vminvq_u32(m) == 0xffffffffu; }
// 16 bits for each lane
RFACONV_INLINE uint64_t bits_of(vm m) { return vget_lane_u64(vreinterpret_u64_u16(vmovn_u32(m)), 0); }

// NEON has no masked loads and stores: nearly all masks here are whole, the others go lane by lane. What lies in the other lanes
// may not exist, or be another thread's to write.
RFACONV_INLINE vf load_mask(vf other, const float* p, vm m) {
    const uint64_t bits = bits_of(m);
    if (bits == ~uint64_t(0)) return load(p);
    if (bits & 0x1) other = vld1q_lane_f32(p, other, 0);
    if (bits & 0x10000) other = vld1q_lane_f32(p + 1, other, 1);
    if (bits & 0x100000000) other = vld1q_lane_f32(p + 2, other, 2);
    if (bits & 0x1000000000000) other = vld1q_lane_f32(p + 3, other, 3);
    return other;
}
RFACONV_INLINE vf load_mask(const float* p, vm m) { return load_mask(zero(), p, m); }
RFACONV_INLINE vf load_within(const float* p, vm m) {
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(load(p)), m));
}
RFACONV_INLINE void store_mask(float* p, vf v, vm m) {
    const uint64_t bits = bits_of(m);
    if (bits == ~uint64_t(0)) return store(p, v);
    if (bits & 0x1) vst1q_lane_f32(p, v, 0);
    if (bits & 0x10000) vst1q_lane_f32(p + 1, v, 1);
    if (bits & 0x100000000) vst1q_lane_f32(p + 2, v, 2);
    if (bits & 0x1000000000000) vst1q_lane_f32(p + 3, v, 3);
}
RFACONV_INLINE vf fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
RFACONV_INLINE vf fms(vf a, vf b, vf c) { return vfmaq_f32(vnegq_f32(c), a, b); }
RFACONV_INLINE vf fnma(vf a, vf b, vf c) { return vfmsq_f32(c, a, b); }
// a[lane] * b + c
template <int lane>
RFACONV_INLINE vf fma_lane(vf a, vf b, vf c) {
    return vfmaq_laneq_f32(c, b, a, lane);
}
RFACONV_INLINE vf max(vf a, vf b) { return vmaxq_f32(a, b); }
RFACONV_INLINE vf min(vf a, vf b) { return vminq_f32(a, b); }
RFACONV_INLINE vf absolute(vf a) { return vabsq_f32(a); }
RFACONV_INLINE vm gt(vf a, vf b) { return vcgtq_f32(a, b); }
RFACONV_INLINE vm ge(vf a, vf b) { return vcgeq_f32(a, b); }
RFACONV_INLINE vm eq(vf a, vf b) { return vceqq_f32(a, b); }
RFACONV_INLINE float reduce_add(vf v) { return vaddvq_f32(v); }
RFACONV_INLINE float reduce_max(vf v) { return vmaxvq_f32(v); }

// As in vec_avx512.h (with c = 1), but by a polynomial of degree 6 on |f| <= 1/2, which errs by 2e-9: a look into a table costs
// more than its three products. t = n + f: adding 1.5 * 2^23 + 127 leaves n + 127, the exponent of 2^n, in the low bits.
RFACONV_INLINE vf exp2_of_parts(vf z, vf f) {
    const vf power = vreinterpretq_f32_s32(vshlq_n_s32(vreinterpretq_s32_f32(z), 23));
    vf p = fma(set1(0.00015353362f), f, set1(0.00133988739f));
    p = fma(p, f, set1(0.00961843692f));
    p = fma(p, f, set1(0.0555033237f));
    p = fma(p, f, set1(0.240226477f));
    p = fma(p, f, set1(0.693147182f));
    return fma(p, f, set1(1.0f)) * power;
}
const float exp2_magic = 12583039.0f, exp2_shift = exp2_magic;
RFACONV_INLINE vf reciprocal(vf a) { return set1(1.0f) / a; }
RFACONV_INLINE vf load_bf16(const uint16_t* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
RFACONV_INLINE void store_bf16(uint16_t* p, vf v) {
    const vm bits = vreinterpretq_u32_f32(v);
    const vm odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint16x4_t near = vaddhn_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint16x4_t quiet = vorr_u16(vshrn_n_u32(bits, 16), vdup_n_u16(0x40));
    vst1_u16(p, vbsl_u16(vmovn_u32(eq(v, v)), near, quiet));
}
// p[0], p[2], p[4], p[6], with p[7] read, too; low and high mask the two loads
RFACONV_INLINE vf load_even(const float* p) { return vuzp1q_f32(load(p), load(p + 4)); }
RFACONV_INLINE vf load_even(const float* p, vm low, vm high) { return vuzp1q_f32(load_mask(p, low), load_mask(p + 4, high)); }
// r[i][j] <-> r[j][i]
RFACONV_INLINE void transpose(vf* r) {
    const vd a = vreinterpretq_f64_f32(vtrn1q_f32(r[0], r[1])), b = vreinterpretq_f64_f32(vtrn2q_f32(r[0], r[1]));
    const vd c = vreinterpretq_f64_f32(vtrn1q_f32(r[2], r[3])), d = vreinterpretq_f64_f32(vtrn2q_f32(r[2], r[3]));
    r[0] = vreinterpretq_f32_f64(vtrn1q_f64(a, c));
    r[1] = vreinterpretq_f32_f64(vtrn1q_f64(b, d));
    r[2] = vreinterpretq_f32_f64(vtrn2q_f64(a, c));
    r[3] = vreinterpretq_f32_f64(vtrn2q_f64(b, d));
}

// Lane i of the result = sum of the lanes of r[i].
RFACONV_INLINE vf lane_sums(vf* r) { return vpaddq_f32(vpaddq_f32(r[0], r[1]), vpaddq_f32(r[2], r[3])); }

RFACONV_INLINE vd dzero() { return vdupq_n_f64(0.0); }
RFACONV_INLINE vd dset1(double a) { return vdupq_n_f64(a); }
RFACONV_INLINE vd dload(const double* p) { return vld1q_f64(p); }
RFACONV_INLINE void dstore(double* p, vd v) { vst1q_f64(p, v); }
RFACONV_INLINE vd dfma(vd a, vd b, vd c) { return vfmaq_f64(c, a, b); }
RFACONV_INLINE double dreduce_add(vd v) { return vaddvq_f64(v); }
template <int half>
RFACONV_INLINE vd widen(vf v) {
    return half ? vcvt_high_f64_f32(v) : vcvt_f64_f32(vget_low_f32(v));
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

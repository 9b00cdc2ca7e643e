// One lane: for correctness on any processor.
#ifndef RFACONV_VEC_SCALAR_H
#define RFACONV_VEC_SCALAR_H

#include <math.h>

namespace rfaconv {
namespace RFACONV_ISA {

typedef float vf;
typedef int32_t vi;
typedef bool vm;
typedef double vd;
enum : int64_t { lanes = 1, dlanes = 1, halves = 1, registers = 16 };

RFACONV_INLINE vf zero() { return 0.0f; }
RFACONV_INLINE vf set1(float a) { return a; }
RFACONV_INLINE vf load(const float* p) { return *p; }
RFACONV_INLINE void store(float* p, vf v) { *p = v; }
RFACONV_INLINE vm lanes_between(int64_t from, int64_t to) { return from <= 0 && to > 0; }  // lanes l with from <= l < to
RFACONV_INLINE vm mask_and(vm a, vm b) { return a && b; }
RFACONV_INLINE vm mask_of_bits(uint32_t bits) { return bits & 1; }
RFACONV_INLINE vf load_mask(const float* p, vm m) { return m ? *p : 0.0f; }
RFACONV_INLINE vf load_mask(vf other, const float* p, vm m) { return m ? *p : other; }
RFACONV_INLINE vf load_within(const float* p, vm m) { return m ? *p : 0.0f; }
RFACONV_INLINE void store_mask(float* p, vf v, vm m) {
    if (m) *p = v;
}
RFACONV_INLINE vf blend(vm m, vf a, vf b) { return m ? a : b; }  // m ? a : b
RFACONV_INLINE vf fma(vf a, vf b, vf c) { return a * b + c; }
RFACONV_INLINE vf fms(vf a, vf b, vf c) { return float(double(a) * b - c); }  // one rounding, as fused
RFACONV_INLINE vf fnma(vf a, vf b, vf c) { return c - a * b; }
RFACONV_INLINE vf max(vf a, vf b) { return a > b ? a : b; }
RFACONV_INLINE vf min(vf a, vf b) { return a < b ? a : b; }
RFACONV_INLINE vf absolute(vf a) { return ::fabsf(a); }
RFACONV_INLINE vm gt(vf a, vf b) { return a > b; }
RFACONV_INLINE vm ge(vf a, vf b) { return a >= b; }
RFACONV_INLINE vm eq(vf a, vf b) { return a == b; }
RFACONV_INLINE float reduce_add(vf v) { return v; }
RFACONV_INLINE float reduce_max(vf v) { return v; }
#define RFACONV_EXP2
RFACONV_INLINE vf exp2_scaled(vf t) { return ::exp2f(t); }
RFACONV_INLINE vf exp2_product(vf a, vf b) { return float(::exp2(double(a) * double(b))); }
RFACONV_INLINE bool all_of(vm m) { return m; }
RFACONV_INLINE vf reciprocal(vf a) { return 1.0f / a; }
RFACONV_INLINE vf load_bf16(const uint16_t* p) { return bf16_to_float(*p); }
RFACONV_INLINE void store_bf16(uint16_t* p, vf v) { *p = float_to_bf16(v); }
RFACONV_INLINE vf load_even(const float* p, vm low = true, vm = true) { return low ? *p : 0.0f; }  // p[0], p[2], ...
RFACONV_INLINE void transpose(vf*) {}

RFACONV_INLINE vf lane_sums(vf* r) { return r[0]; }

RFACONV_INLINE vd dzero() { return 0.0; }
RFACONV_INLINE vd dset1(double a) { return a; }
RFACONV_INLINE vd dload(const double* p) { return *p; }
RFACONV_INLINE void dstore(double* p, vd v) { *p = v; }
RFACONV_INLINE vd dfma(vd a, vd b, vd c) { return a * b + c; }
RFACONV_INLINE double dreduce_add(vd v) { return v; }
template <int half>
RFACONV_INLINE vd widen(vf v) {
    return v;
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

// Vectors of one instruction set under common names. Included once per translation unit, with RFACONV_ISA naming the set;
// + - * / work on vf and vd directly (built-in vector types).
//
//   vf  float vector of `lanes`      vi  int32 vector      vm  mask of a vf
//   vd  double vector of `dlanes`    a vf widens to `halves` vd
//
// Where the second operand of max or min is NaN, so is the result (x86 returns the second where either is NaN, ARM returns NaN):
// relu(x) = max(0, x) keeps NaN as torch does.
// load_mask and store_mask touch the masked lanes alone; load_within may read all, and gives zeros in the others.
#ifndef RFACONV_VEC_H
#define RFACONV_VEC_H

#include <stdint.h>
#include <string.h>

#include "parallel.h"

namespace rfaconv {
namespace RFACONV_ISA {

#define RFACONV_INLINE static inline __attribute__((always_inline))
// Before loops over taps: their arrays live in registers only if the loops vanish.
#if defined(__clang__)
#define RFACONV_UNROLL _Pragma("clang loop unroll(full)")
#define RFACONV_UNROLL_4 _Pragma("clang loop unroll_count(4)")
#else
#define RFACONV_UNROLL _Pragma("GCC unroll 25")
#define RFACONV_UNROLL_4 _Pragma("GCC unroll 4")
#endif
#define RFACONV_METHOD inline __attribute__((always_inline))

RFACONV_INLINE int64_t imin(int64_t a, int64_t b) { return a < b ? a : b; }
RFACONV_INLINE int64_t imax(int64_t a, int64_t b) { return a > b ? a : b; }
RFACONV_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }  // a >= 0, b > 0
RFACONV_INLINE int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

RFACONV_INLINE float bf16_to_float(uint16_t h) {
    const uint32_t bits = uint32_t(h) << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}
// body(crew) on up to `threads` threads. Each works on a copy of what body captured: the compiler can then keep it in registers
// through stores to memory that it knows nothing of.
template <class Body>
RFACONV_INLINE void parallel(int64_t threads, const Body& body) {
    run_team(threads, [](const void* data, Crew crew) {
        const Body own = *static_cast<const Body*>(data);
        own(crew);
    }, &body);
}

// Round to nearest even; a NaN stays a NaN.
RFACONV_INLINE uint16_t float_to_bf16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t((bits >> 16) | 0x40u);
    return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#if defined(RFACONV_SCALAR)
#include "vec_scalar.h"
#elif defined(__AVX512F__)
#include "vec_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "vec_avx2.h"
#elif defined(__aarch64__)
#include "vec_neon.h"
#else
#include "vec_scalar.h"
#endif

namespace rfaconv {
namespace RFACONV_ISA {

// p, but the compiler forgets what it read from there: it would copy more to the stack than registers hold.
RFACONV_INLINE const float* forget(const float* p) {
    asm("" : "+r"(p));
    return p;
}
// v, but the compiler cannot read it from memory again for each use.
RFACONV_INLINE vf in_register(vf v) {
#if defined(__AVX2__)
    asm("" : "+x"(v));
#endif
    return v;
}
#if !defined(RFACONV_EXP2)
RFACONV_INLINE vf exp2_scaled(vf t) {
    const vf z = t + set1(exp2_magic);
    return exp2_of_parts(z, t - (z - set1(exp2_shift)));
}
// The same of t = a * b, which is never rounded. Zen 1 adds at a third of its speed beside multiply-adds.
RFACONV_INLINE vf exp2_product(vf a, vf b) {
    const vf z = fma(a, b, set1(exp2_magic));
    return exp2_of_parts(z, fms(a, b, z - set1(exp2_shift)));
}
#endif
RFACONV_INLINE vf relu(vf x) { return max(zero(), x); }
RFACONV_INLINE vm first_lanes(int64_t n) { return lanes_between(0, n); }
RFACONV_INLINE vf load_first(const float* p, int64_t n) { return load_mask(p, first_lanes(n)); }
RFACONV_INLINE void store_first(float* p, vf v, int64_t n) { store_mask(p, v, first_lanes(n)); }
// Lanes from .. to - 1: mostly all of them, and masked stores are slow on some processors.
RFACONV_INLINE void store_within(float* p, vf v, int64_t from, int64_t to) {
    if (from == 0 && to == lanes)
        store(p, v);
    else
        store_mask(p, v, lanes_between(from, to));
}

// The rest of a line is written with what is before it once more: masked stores are slow on some processors.
RFACONV_INLINE void zero_floats(float* out, int64_t n) {
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) store(out + i, zero());
    if (i == n) return;
    if (n >= lanes)
        store(out + n - lanes, zero());
    else
        store_first(out, zero(), n);
}
RFACONV_INLINE void copy_floats(float* out, const float* in, int64_t n) {
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) store(out + i, load(in + i));
    if (i == n) return;
    if (n >= lanes)
        store(out + n - lanes, load(in + n - lanes));
    else
        store_first(out, load_first(in, n), n);
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif

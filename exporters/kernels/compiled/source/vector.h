// The vector type: VL lanes of `real`, one cache line wide where the machine allows it.
//
// One source serves every instruction set: GCC's and Clang's vector extensions become zmm,
// ymm or xmm registers by the flags alone; only the lane sums use intrinsics.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#ifdef SPARSE_DOUBLE
using real = double;
#else
using real = float;
#endif

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX2__)
constexpr int VECTOR_BYTES = 32;
#else
constexpr int VECTOR_BYTES = 16;
#endif
constexpr int VL = VECTOR_BYTES / static_cast<int>(sizeof(real));

typedef real vec __attribute__((vector_size(VECTOR_BYTES), may_alias));

typedef real any_vec __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(sizeof(real))));
#ifdef SPARSE_DOUBLE
typedef int64_t bits __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(8)));
#else
typedef int32_t bits __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(4)));
#endif

#define INLINE inline __attribute__((always_inline))

static INLINE vec load(const real* p) { return *reinterpret_cast<const vec*>(p); }
static INLINE void store(real* p, vec v) { *reinterpret_cast<vec*>(p) = v; }
// bf16, the upper half of a float: what a training in bf16 keeps for its backward pass. Storing rounds
// to the nearest; the instruction is asked for by name, as only machines that have it come here.
using half = uint16_t;
static INLINE vec load(const half* p) {
#if defined(__AVX512F__) && !defined(SPARSE_DOUBLE)
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return (vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(low), 16);
#else
    vec found;
    for (int l = 0; l < VL; ++l) {
        const uint32_t whole = uint32_t(p[l]) << 16;
        float value;
        std::memcpy(&value, &whole, sizeof value);
        found[l] = real(value);
    }
    return found;
#endif
}
static INLINE void store(half* p, vec v) {
#if defined(__AVX512F__) && !defined(SPARSE_DOUBLE)
    __m256i low;
    asm("vcvtneps2bf16 %1, %0" : "=v"(low) : "v"((__m512)v));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), low);
#else
    for (int l = 0; l < VL; ++l) {
        const float value = float(v[l]);
        uint32_t whole;
        std::memcpy(&whole, &value, sizeof whole);
        p[l] = value != value ? half(0x7fc0) : half((whole + 0x7fff + ((whole >> 16) & 1)) >> 16);
    }
#endif
}
// At any address that holds a real. Where addresses are whole vectors it is as fast as `load`.
static INLINE vec load_any(const real* p) { return *reinterpret_cast<const any_vec*>(p); }
static INLINE void store_any(real* p, vec v) { *reinterpret_cast<any_vec*>(p) = v; }
// v where the mask's bits are set, zero elsewhere: also where v is a NaN.
// Lane l of the result is lane index[l] of `v` and, from VL on, of `w`. clang has this for
// constant indices only.
static INLINE vec shuffle(vec v, vec w, bits index) {
#if defined(__clang__)
    vec found;
    for (int l = 0; l < VL; ++l) found[l] = index[l] < VL ? v[index[l]] : w[index[l] - VL];
    return found;
#else
    return __builtin_shuffle(v, w, index);
#endif
}
// Rows become columns: VL vectors, in registers.
static INLINE void transpose(vec* v) {
#pragma GCC unroll 6
    for (int step = 1; step < VL; step *= 2) {
        bits low, high;
        for (int l = 0; l < VL; ++l) {
            low[l] = l & step ? VL + l - step : l;
            high[l] = l & step ? VL + l : l + step;
        }
#pragma GCC unroll 16
        for (int i = 0; i < VL; ++i)
            if (!(i & step)) {
                const vec a = v[i], b = v[i + step];
                v[i] = shuffle(a, b, low);
                v[i + step] = shuffle(a, b, high);
            }
    }
}

static INLINE vec keep(vec v, const real* mask) {
    return (vec)((bits)v & *reinterpret_cast<const bits*>(mask));
}
static INLINE vec splat(real s) {
    vec v;
    for (int i = 0; i < VL; ++i) v[i] = s;
    return v;
}

static INLINE real lane_sum(vec v) {
    real sum = 0;
    for (int i = 0; i < VL; ++i) sum += v[i];
    return sum;
}

// Adds the lane sums of v[0..3] to out[0..3].
static INLINE void add_lane_sums(const vec* v, real* out) {
#if defined(__AVX512F__) && !defined(SPARSE_DOUBLE)
    const __m512 a = _mm512_add_ps(_mm512_unpacklo_ps((__m512)v[0], (__m512)v[1]),
                                   _mm512_unpackhi_ps((__m512)v[0], (__m512)v[1]));
    const __m512 b = _mm512_add_ps(_mm512_unpacklo_ps((__m512)v[2], (__m512)v[3]),
                                   _mm512_unpackhi_ps((__m512)v[2], (__m512)v[3]));
    const __m512 c = _mm512_add_ps((__m512)_mm512_unpacklo_pd((__m512d)a, (__m512d)b),
                                   (__m512)_mm512_unpackhi_pd((__m512d)a, (__m512d)b));
    const __m256 d = _mm256_add_ps(_mm512_castps512_ps256(c),
                                   _mm256_castpd_ps(_mm512_extractf64x4_pd((__m512d)c, 1)));
    const __m128 e = _mm_add_ps(_mm256_castps256_ps128(d), _mm256_extractf128_ps(d, 1));
    _mm_storeu_ps(out, _mm_add_ps(_mm_loadu_ps(out), e));
#elif defined(__AVX2__) && !defined(SPARSE_DOUBLE)
    const __m256 a = _mm256_hadd_ps((__m256)v[0], (__m256)v[1]);
    const __m256 b = _mm256_hadd_ps((__m256)v[2], (__m256)v[3]);
    const __m256 c = _mm256_hadd_ps(a, b);
    const __m128 e = _mm_add_ps(_mm256_castps256_ps128(c), _mm256_extractf128_ps(c, 1));
    _mm_storeu_ps(out, _mm_add_ps(_mm_loadu_ps(out), e));
#else
    for (int i = 0; i < 4; ++i) out[i] += lane_sum(v[i]);
#endif
}

// Activations. A NaN stays a NaN: every comparison with it is false.
enum Act : int32_t { ACT_NONE = 0, ACT_RELU = 1, ACT_RELU6 = 2 };

static INLINE vec activate(vec v, int act) {
    const vec zero = {};
    if (act >= ACT_RELU) v = v < zero ? zero : v;
    if (act == ACT_RELU6) {
        const vec six = splat(6);
        v = v > six ? six : v;
    }
    return v;
}

// The gradient `g` at an activation whose output is `z` (as PyTorch: none at the corners).
static INLINE vec activate_backward(vec g, vec z, int act) {
    const vec zero = {};
    if (act >= ACT_RELU) g = z <= zero ? zero : g;
    if (act == ACT_RELU6) g = z >= splat(6) ? zero : g;
    return g;
}

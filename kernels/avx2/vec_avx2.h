/* Small pieces that the AVX2 kernels share: partial loads and stores, horizontal sums, an 8x8
 * transposition and a vectorised exponential.  Included only by files of this folder, which are
 * compiled with -mavx2 -mfma -mf16c.
 */
#ifndef STRATA_VEC_AVX2_H
#define STRATA_VEC_AVX2_H

#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define STRATA_INLINE static inline __attribute__((always_inline))

/* Unrolls the loop that follows, whose trip count is a constant, so that arrays of vectors indexed
 * by its counter live in registers. */
#if defined(__clang__)
#define STRATA_UNROLL _Pragma("unroll")
#else
#define STRATA_UNROLL _Pragma("GCC unroll 16")
#endif

/* v, opaque to the optimiser: sums built through it are evaluated as written.  Without it gcc
 * reassociates chains of integer additions and holds all their terms at once, which spills. */
STRATA_INLINE __m256i in_order(__m256i v)
{
    __asm__("" : "+x"(v));
    return v;
}

/* Lanes 0..n-1 set, for n <= 8 (all of them for more). */
STRATA_INLINE __m256i first_lanes(size_t n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < 8 ? (int)n : 8), lane);
}

/* Eight binary16 numbers as floats. */
STRATA_INLINE __m256 load_half8(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}

/* The first n < 8 of them, zeros after. */
STRATA_INLINE __m256 load_half_tail(const void *p, size_t n)
{
    uint16_t buffer[8] = {0};
    memcpy(buffer, p, n * sizeof *buffer);
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)buffer));
}

/* Sum of the lanes, in a fixed order. */
STRATA_INLINE float sum_lanes(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* Sums of the lanes of four vectors. */
STRATA_INLINE __m128 sum_lanes4(__m256 a, __m256 b, __m256 c, __m256 d)
{
    const __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

/* Largest lane; NaNs must not occur, or the result is unspecified. */
STRATA_INLINE float max_lanes(__m256 v)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

/* Transposes v in place as an 8x8 matrix of 32-bit elements. */
STRATA_INLINE void transpose8x8(__m256i v[8])
{
    __m256i t[8], u[8];
    STRATA_UNROLL
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    }
    STRATA_UNROLL
    for (int i = 0; i < 8; i += 4) {
        u[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        u[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        u[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        u[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    STRATA_UNROLL
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x20);
        v[i + 4] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x31);
    }
}

/* exp(x - n ln 2), at most ln 2 / 2 away from exp(0): ln 2 in two parts (Cody & Waite 1980), then
 * exp(r) = 1 + r + r^2 P(r), P of degree 4 interpolated at Chebyshev nodes (relative error 1.1e-8).
 */
STRATA_INLINE __m256 exp_of_rest(__m256 x, __m256 n)
{
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e400p-1f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.7f7d1cp-20f), r);
    __m256 p = _mm256_set1_ps(0.0013926250394433737f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.00836323294788599f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.04166655242443085f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.16666576266288757f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r);
    return _mm256_add_ps(p, _mm256_set1_ps(1.0f));
}

/* exp(x) within 2 ulp; 0 below -104, Inf above 89, NaN stays NaN, results down to the denormals.
 * 2^n comes in two factors, so that neither overflows before the result does. */
STRATA_INLINE __m256 exp_ps(__m256 x)
{
    x = _mm256_min_ps(_mm256_set1_ps(89.0f), x);
    x = _mm256_max_ps(_mm256_set1_ps(-104.0f), x);
    const __m256i n = _mm256_cvtps_epi32(_mm256_mul_ps(x, _mm256_set1_ps(0x1.715476p+0f)));
    const __m256 p = exp_of_rest(x, _mm256_cvtepi32_ps(n));
    const __m256i half = _mm256_srai_epi32(n, 1);
    const __m256i bias = _mm256_set1_epi32(127);
    const __m256i e0 = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    const __m256i e1 = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(n, half), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(e0)), _mm256_castsi256_ps(e1));
}

#endif

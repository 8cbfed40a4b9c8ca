/* Small pieces that the AVX-512 kernels share: masks, half precision, transposes, exp.
 *
 * Everything here is static inline: these headers are compiled with instruction-set flags, and an
 * external copy of a function could be linked into code that runs on lesser hosts. */
#ifndef STRATA_LANES_AVX512_H
#define STRATA_LANES_AVX512_H

#include <immintrin.h>
#include <string.h>

#include "kernel_list.h"

#define INLINE static inline __attribute__((always_inline))

/* gcc needs to be told before it keeps small arrays of vectors in registers; clang does not. */
#if defined(__clang__)
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* The lowest n lanes of 16 (of 32, of 64); n may be more. */
INLINE __mmask16 first16(size_t n)
{
    return (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1);
}

INLINE __mmask32 first32(size_t n)
{
    return n >= 32 ? 0xffffffffu : (1u << n) - 1;
}

INLINE __mmask64 first64(size_t n)
{
    return n >= 64 ? ~0ull : (1ull << n) - 1;
}

INLINE size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

INLINE int32_t load_i32(const void *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE __m128i load128(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

/* Asks for the lines of `bytes` bytes, from memory, and returns their end.  This is no access: the
 * address may lie outside every buffer.  Loops over several rows at once look to the hardware like
 * many short streams, which its own prefetchers follow badly; they ask for memory in order,
 * PREFETCH_AHEAD bytes beyond the rows at hand. */
#define PREFETCH_AHEAD 8192
INLINE const char *prefetch(const char *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch(at + i, _MM_HINT_T1);
    return at + bytes;
}

/* Within each 128-bit lane, the transpose of the 4 x 4 matrix of dwords whose rows are v[0..3]. */
INLINE void transpose_lanes(__m512i v[4])
{
    __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpackhi_epi32(v[0], v[1]);
    __m512i c = _mm512_unpacklo_epi32(v[2], v[3]), d = _mm512_unpackhi_epi32(v[2], v[3]);
    v[0] = _mm512_unpacklo_epi64(a, c);
    v[1] = _mm512_unpackhi_epi64(a, c);
    v[2] = _mm512_unpacklo_epi64(b, d);
    v[3] = _mm512_unpackhi_epi64(b, d);
}

/* 16 x 16 floats: rows[r] lane c becomes column[c] lane r, stored at out + stride * c for c < n. */
INLINE void store_transposed(float *out, size_t stride, __m512 rows[16], size_t n)
{
    __m512i t[16];
    UNROLL for (int i = 0; i < 4; i++)
    { /* t[4 i + j], lane l: row 4 i.., column 4 l + j */
        UNROLL for (int j = 0; j < 4; j++) t[4 * i + j] = _mm512_castps_si512(rows[4 * i + j]);
        transpose_lanes(t + 4 * i);
    }
    UNROLL for (int j = 0; j < 4; j++)
    {
        __m512i a = _mm512_shuffle_i32x4(t[j], t[4 + j], 0x44);
        __m512i b = _mm512_shuffle_i32x4(t[j], t[4 + j], 0xee);
        __m512i c = _mm512_shuffle_i32x4(t[8 + j], t[12 + j], 0x44);
        __m512i d = _mm512_shuffle_i32x4(t[8 + j], t[12 + j], 0xee);
        const __m512i column[4] = {
            _mm512_shuffle_i32x4(a, c, 0x88), _mm512_shuffle_i32x4(a, c, 0xdd),
            _mm512_shuffle_i32x4(b, d, 0x88), _mm512_shuffle_i32x4(b, d, 0xdd)};
        UNROLL for (size_t l = 0; l < 4; l++) if (4 * l + (size_t)j < n)
            _mm512_storeu_ps(out + stride * (4 * l + (size_t)j), _mm512_castsi512_ps(column[l]));
    }
}

/* The 16 even and the 16 odd words of v, as binary16, to float. */
INLINE void halves_to_floats(__m512i v, __m512 *even, __m512 *odd)
{
    const __m512i order =
        _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1, 30, 28, 26, 24,
                         22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    v = _mm512_permutexvar_epi16(order, v);
    *even = _mm512_cvtph_ps(_mm512_castsi512_si256(v));
    *odd = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(v, 1));
}

/* Sum of the four 128-bit lanes. */
INLINE __m128 sum_quarters(__m512 v)
{
    __m128 a = _mm_add_ps(_mm512_extractf32x4_ps(v, 0), _mm512_extractf32x4_ps(v, 1));
    __m128 b = _mm_add_ps(_mm512_extractf32x4_ps(v, 2), _mm512_extractf32x4_ps(v, 3));
    return _mm_add_ps(a, b);
}

/* Sum of the 16 lanes, always in the same order. */
INLINE float sum16(__m512 v)
{
    __m128 a = sum_quarters(v);
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}

INLINE float max16(__m512 v)
{
    __m128 a = _mm_max_ps(_mm512_extractf32x4_ps(v, 0), _mm512_extractf32x4_ps(v, 1));
    __m128 b = _mm_max_ps(_mm512_extractf32x4_ps(v, 2), _mm512_extractf32x4_ps(v, 3));
    a = _mm_max_ps(a, b);
    a = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)));
}

/* exp(x) within 1.5 ulp: x = n ln 2 + r, |r| <= ln 2 / 2, and exp(r) by its Taylor polynomial of
 * degree 7, whose remainder there is below 2^-27.  Below -104 the result is 0, above 88.73 it is
 * Inf, NaN stays NaN. */
INLINE __m512 exp16(__m512 x)
{
    /* The bounds come first: max and min return their second operand when one is NaN. */
    x = _mm512_max_ps(_mm512_set1_ps(-150.0f), x);
    x = _mm512_min_ps(_mm512_set1_ps(130.0f), x);
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(0x1.715476p+0f)), 0);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e4p-1f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.7f7d1cp-20f), r);
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

#endif

/* Stands in for <immintrin.h> where the AVX-512 kernels are compiled for hosts without AVX-512:
 * AVX2 stays native, AVX-512 comes from SIMDe, and what SIMDe 0.7.2 lacks is written out below,
 * after the definitions in the Intel Intrinsics Guide.  Only the intrinsics that the kernels use
 * are here.
 */
#ifndef STRATA_SIMDE_IMMINTRIN_H
#define STRATA_SIMDE_IMMINTRIN_H

#include_next <immintrin.h>

#include <math.h>
#include <stdint.h>
#include <string.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#pragma GCC diagnostic pop

/* This alias has the parameters of the masked form. */
#undef _mm512_madd_epi16
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)

#define EMULATED static inline __attribute__((unused))

/* A vector and its lanes. */
#define FROM_LANES(type, lanes)                  \
    ({                                           \
        type vector_;                            \
        memcpy(&vector_, lanes, sizeof vector_); \
        vector_;                                 \
    })
#define TO_LANES(lanes, vector)                  \
    do {                                         \
        __typeof__(vector) vector_ = (vector);   \
        memcpy(lanes, &vector_, sizeof vector_); \
    } while (0)

/* Masked loads and stores touch no memory of lanes that are masked out. */
#define MASKED_LOAD(name, type, mask_type, lane, n)                              \
    EMULATED type emulated_##name(type otherwise, mask_type mask, const void *p) \
    {                                                                            \
        lane lanes[n];                                                           \
        TO_LANES(lanes, otherwise);                                              \
        for (int i = 0; i < n; i++)                                              \
            if (mask >> i & 1)                                                   \
                memcpy(&lanes[i], (const lane *)p + i, sizeof(lane));            \
        return FROM_LANES(type, lanes);                                          \
    }
MASKED_LOAD(load512_16, __m512i, uint32_t, uint16_t, 32)
MASKED_LOAD(load512_ps, __m512, uint16_t, float, 16)
MASKED_LOAD(load256_16, __m256i, uint16_t, uint16_t, 16)
MASKED_LOAD(load128_16, __m128i, uint8_t, uint16_t, 8)
MASKED_LOAD(load256_8, __m256i, uint32_t, uint8_t, 32)
MASKED_LOAD(load128_ps, __m128, uint8_t, float, 4)

#define MASKED_STORE(name, type, mask_type, lane, n)                    \
    EMULATED void emulated_##name(void *p, mask_type mask, type vector) \
    {                                                                   \
        lane lanes[n];                                                  \
        TO_LANES(lanes, vector);                                        \
        for (int i = 0; i < n; i++)                                     \
            if (mask >> i & 1)                                          \
                memcpy((lane *)p + i, &lanes[i], sizeof(lane));         \
    }
MASKED_STORE(store512_ps, __m512, uint16_t, float, 16)
MASKED_STORE(store512_8, __m512i, uint64_t, uint8_t, 64)
MASKED_STORE(store128_ps, __m128, uint8_t, float, 4)
MASKED_STORE(store128_32, __m128i, uint8_t, uint32_t, 4)

#define _mm512_mask_loadu_ps(o, m, p) emulated_load512_ps(o, m, p)
#define _mm512_maskz_loadu_ps(m, p) emulated_load512_ps(_mm512_setzero_ps(), m, p)
#define _mm512_maskz_loadu_epi16(m, p) emulated_load512_16(_mm512_setzero_si512(), m, p)
#define _mm256_maskz_loadu_epi16(m, p) emulated_load256_16(_mm256_setzero_si256(), m, p)
#define _mm_maskz_loadu_epi16(m, p) emulated_load128_16(_mm_setzero_si128(), m, p)
#define _mm256_maskz_loadu_epi8(m, p) emulated_load256_8(_mm256_setzero_si256(), m, p)
#define _mm_maskz_loadu_ps(m, p) emulated_load128_ps(_mm_setzero_ps(), m, p)
#define _mm512_mask_storeu_ps(p, m, v) emulated_store512_ps(p, m, v)
#define _mm512_mask_storeu_epi8(p, m, v) emulated_store512_8(p, m, v)
#define _mm_mask_storeu_ps(p, m, v) emulated_store128_ps(p, m, v)
#define _mm_mask_storeu_epi32(p, m, v) emulated_store128_32(p, m, v)

/* Conversions lane by lane; where AVX2 has the half-width one, twice that. */
#define IN_HALVES(name, type, from, half_from, half_type, half) \
    EMULATED type emulated_##name(from vector)                  \
    {                                                           \
        half_from part[2];                                      \
        TO_LANES(part, vector);                                 \
        half_type result[2] = {half(part[0]), half(part[1])};   \
        return FROM_LANES(type, result);                        \
    }
IN_HALVES(cvtph_ps, __m512, __m256i, __m128i, __m256, _mm256_cvtph_ps)
IN_HALVES(cvtepi32_ps, __m512, __m512i, __m256i, __m256, _mm256_cvtepi32_ps)
IN_HALVES(cvtps_epi32, __m512i, __m512, __m256, __m256i, _mm256_cvtps_epi32)
IN_HALVES(cvtepu16_epi32, __m512i, __m256i, __m128i, __m256i, _mm256_cvtepu16_epi32)
#define _mm512_cvtph_ps(v) emulated_cvtph_ps(v)
#define _mm512_cvtepi32_ps(v) emulated_cvtepi32_ps(v)
#define _mm512_cvtps_epi32(v) emulated_cvtps_epi32(v)
#define _mm512_cvtepu16_epi32(v) emulated_cvtepu16_epi32(v)

#define LANE_BY_LANE(name, type, to, from, from_lane, n) \
    EMULATED type emulated_##name(from vector)           \
    {                                                    \
        from_lane in[n];                                 \
        to out[n];                                       \
        TO_LANES(in, vector);                            \
        for (int i = 0; i < n; i++)                      \
            out[i] = (to)in[i];                          \
        return FROM_LANES(type, out);                    \
    }
LANE_BY_LANE(cvtepi8_epi32, __m512i, int32_t, __m128i, int8_t, 16)
LANE_BY_LANE(cvtepu8_epi32, __m512i, uint32_t, __m128i, uint8_t, 16)
LANE_BY_LANE(cvtepi8_epi16, __m512i, int16_t, __m256i, int8_t, 32)
LANE_BY_LANE(cvtepi64_ps, __m128, float, __m256i, int64_t, 4)
LANE_BY_LANE(cvtepi64_epi16, __m128i, uint16_t, __m512i, uint64_t, 8)
LANE_BY_LANE(cvtepi32_epi8, __m128i, uint8_t, __m512i, uint32_t, 16)
#define _mm512_cvtepi8_epi32(v) emulated_cvtepi8_epi32(v)
#undef _mm512_cvtepi8_epi16
#define _mm512_cvtepi8_epi16(v) emulated_cvtepi8_epi16(v)
#define _mm256_cvtepi64_ps(v) emulated_cvtepi64_ps(v)
#define _mm512_cvtepu8_epi32(v) emulated_cvtepu8_epi32(v)
#define _mm512_cvtepi64_epi16(v) emulated_cvtepi64_epi16(v)
#define _mm512_cvtepi32_epi8(v) emulated_cvtepi32_epi8(v)

/* SIMDe rounds the product first. */
EMULATED __m512 emulated_fmadd_ps(__m512 a, __m512 b, __m512 c)
{
    __m256 x[2], y[2], z[2];
    TO_LANES(x, a);
    TO_LANES(y, b);
    TO_LANES(z, c);
    for (int i = 0; i < 2; i++)
        z[i] = _mm256_fmadd_ps(x[i], y[i], z[i]);
    return FROM_LANES(__m512, z);
}
#undef _mm512_fmadd_ps
#define _mm512_fmadd_ps(a, b, c) emulated_fmadd_ps(a, b, c)

/* Shifts by numbers that are constants only once everything is inlined, which SIMDe's macros want
 * to see at once. */
#define SHIFT(name)                                                                 \
    EMULATED __m512i emulated_##name(__m512i vector, int n)                         \
    {                                                                               \
        __m256i half[2];                                                            \
        TO_LANES(half, vector);                                                     \
        __m256i result[2] = {_mm256_##name(half[0], n), _mm256_##name(half[1], n)}; \
        return FROM_LANES(__m512i, result);                                         \
    }
SHIFT(srai_epi32)
SHIFT(slli_epi32)
SHIFT(slli_epi16)
SHIFT(srli_epi16)
#undef _mm512_srai_epi32
#undef _mm512_slli_epi32
#undef _mm512_slli_epi16
#undef _mm512_srli_epi16
#define _mm512_srai_epi32(v, n) emulated_srai_epi32(v, n)
#define _mm512_slli_epi32(v, n) emulated_slli_epi32(v, n)
#define _mm512_slli_epi16(v, n) emulated_slli_epi16(v, n)
#define _mm512_srli_epi16(v, n) emulated_srli_epi16(v, n)

EMULATED float emulated_cvtss_f32(__m512 vector)
{
    float lanes[16];
    TO_LANES(lanes, vector);
    return lanes[0];
}
#define _mm512_cvtss_f32(v) emulated_cvtss_f32(v)

#undef _mm512_mask_cmp_ps_mask
#define _mm512_mask_cmp_ps_mask(m, a, b, op) ((__mmask16)((m)&_mm512_cmp_ps_mask(a, b, op)))

/* Subnormal numbers are zero, also those that come out. */
EMULATED float emulated_flush(float x)
{
    return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x;
}

/* In each dword, the second product is added before the first. */
EMULATED __m512 emulated_dpbf16_ps(__m512 sum, __m512bh a, __m512bh b)
{
    float lanes[16];
    uint16_t x[32], y[32];
    TO_LANES(lanes, sum);
    TO_LANES(x, a);
    TO_LANES(y, b);
    for (int i = 31; i >= 0; i--) {
        uint32_t bits[2] = {(uint32_t)x[i] << 16, (uint32_t)y[i] << 16};
        float factor[2];
        memcpy(factor, bits, sizeof factor);
        float product = emulated_flush(factor[0]) * emulated_flush(factor[1]);
        lanes[i / 2] = emulated_flush(lanes[i / 2] + product);
    }
    return FROM_LANES(__m512, lanes);
}
#undef _mm512_dpbf16_ps
#define _mm512_dpbf16_ps(sum, a, b) emulated_dpbf16_ps(sum, a, b)

#endif

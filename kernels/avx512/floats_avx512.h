/* Rows of float weights read with AVX-512. */
#ifndef STRATA_FLOATS_AVX512_H
#define STRATA_FLOATS_AVX512_H

#include "lanes_avx512.h"

/* 16 elements from element `at` of a row on, as float; lanes outside `mask` are 0 and not read. */
INLINE __m512 decode16(enum strata_type type, const void *row, size_t at, __mmask16 mask)
{
    switch (type) {
    case STRATA_TYPE_F32:
        return _mm512_maskz_loadu_ps(mask, (const char *)row + 4 * at);
    case STRATA_TYPE_F16:
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, (const char *)row + 2 * at));
    default: { /* BF16 */
        __m256i half = _mm256_maskz_loadu_epi16(mask, (const char *)row + 2 * at);
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
    }
    }
}

INLINE size_t element_bytes(enum strata_type type)
{
    return type == STRATA_TYPE_F32 ? 4 : 2;
}

/* X(TYPE) */
#define STRATA_FLOAT_TYPES(X) X(F32) X(F16) X(BF16)

#endif

/* Rows of float weights read with AVX2, 32 elements (a chunk) at a time. */
#ifndef STRATA_FLOATS_AVX2_H
#define STRATA_FLOATS_AVX2_H

#include "vec_avx2.h"

/* Floats of chunk c of a row: w[i] holds elements 8i .. 8i + 7. */
typedef void chunk_fn(__m256 w[4], const uint8_t *row, size_t c);

STRATA_INLINE void chunk_F32(__m256 w[4], const uint8_t *row, size_t c)
{
    STRATA_UNROLL
    for (int i = 0; i < 4; i++)
        w[i] = _mm256_castsi256_ps(_mm256_loadu_si256((const void *)(row + 128 * c + 32 * i)));
}

STRATA_INLINE void chunk_F16(__m256 w[4], const uint8_t *row, size_t c)
{
    STRATA_UNROLL
    for (int i = 0; i < 4; i++)
        w[i] = load_half8(row + 64 * c + 16 * i);
}

STRATA_INLINE void chunk_BF16(__m256 w[4], const uint8_t *row, size_t c)
{
    STRATA_UNROLL
    for (int i = 0; i < 4; i++) {
        const __m128i bits = _mm_loadu_si128((const void *)(row + 64 * c + 16 * i));
        w[i] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
    }
}

/* The last n < 32 elements of a row (element_bytes each), zeros after. */
STRATA_INLINE void chunk_tail(__m256 w[4], const uint8_t *row, size_t c, size_t n,
                              size_t element_bytes, chunk_fn *chunk)
{
    uint8_t buffer[32 * sizeof(float)] = {0};
    memcpy(buffer, row + c * 32 * element_bytes, n * element_bytes);
    chunk(w, buffer, 0);
}

/* X(TYPE, bytes of an element) */
#define STRATA_CHUNK_TYPES(X) X(F32, 4) X(F16, 2) X(BF16, 2)

#endif

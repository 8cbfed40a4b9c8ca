/* Block types taken apart with AVX2, for every kernel that reads them: the quants of 32 elements as
 * bytes in order, and the same elements as floats.
 *
 * A row is seen as 32-element chunks; chunk c of a row of a K type is sub-block c % 8 of block
 * c / 8.  Layouts are those of block_formats.h.  All loads stay within the block. */
#ifndef STRATA_BLOCKS_AVX2_H
#define STRATA_BLOCKS_AVX2_H

#include "../block_formats.h"
#include "vec_avx2.h"

/* Scale and minimum factors of a Q4_K block: sub-block j has scale d * sc[j], minimum dmin * mn[j].
 */
struct k_scales {
    uint8_t sc[8], mn[8];
};

STRATA_INLINE struct k_scales q4_k_scales(const uint8_t *packed)
{
    struct k_scales s;
    uint32_t a, b, c;
    memcpy(&a, packed, 4);
    memcpy(&b, packed + 4, 4);
    memcpy(&c, packed + 8, 4);
    const uint32_t sc[2] = {a & 0x3f3f3f3f, (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030)};
    const uint32_t mn[2] = {b & 0x3f3f3f3f, (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030)};
    memcpy(s.sc, sc, 8);
    memcpy(s.mn, mn, 8);
    return s;
}

/* ---- quants ---- */

/* 16 bytes of nibbles: the low ones of all, then the high ones. */
STRATA_INLINE __m256i nibbles32(const uint8_t *qs)
{
    const __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)qs));
    const __m256i shift = _mm256_setr_epi64x(0, 0, 4, 4);
    return _mm256_and_si256(_mm256_srlv_epi64(both, shift), _mm256_set1_epi8(15));
}

/* Chunk j of a Q4_K block: 0..15. */
STRATA_INLINE __m256i quants_Q4_K(const uint8_t *block, size_t j)
{
    const uint8_t *qs = block + offsetof(struct strata_block_q4_k, qs) + j / 2 * 32;
    const __m256i both = _mm256_loadu_si256((const void *)qs);
    const __m256i shifted = _mm256_srl_epi16(both, _mm_cvtsi32_si128(j % 2 ? 4 : 0));
    return _mm256_and_si256(shifted, _mm256_set1_epi8(15));
}

/* Chunk j of a Q6_K block: 0..63. */
STRATA_INLINE __m256i quants_Q6_K(const uint8_t *block, size_t j)
{
    const uint8_t *ql = block + j / 4 * 64 + j % 2 * 32;
    const uint8_t *qh = block + offsetof(struct strata_block_q6_k, qh) + j / 4 * 32;
    const __m128i low_shift = _mm_cvtsi32_si128(j % 4 / 2 ? 4 : 0);
    const __m128i high_shift = _mm_cvtsi32_si128((int)(j % 4 * 2));
    const __m256i low = _mm256_srl_epi16(_mm256_loadu_si256((const void *)ql), low_shift);
    const __m256i high = _mm256_srl_epi16(_mm256_loadu_si256((const void *)qh), high_shift);
    const __m256i top = _mm256_and_si256(high, _mm256_set1_epi8(3));
    return _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi8(15)), _mm256_slli_epi16(top, 4));
}

/* ---- elements as floats: w[i] holds elements 8i..8i+7 of a chunk ---- */

/* 32 signed bytes as floats. */
STRATA_INLINE void bytes_to_floats(__m256 w[4], __m256i q)
{
    const __m128i low = _mm256_castsi256_si128(q), high = _mm256_extracti128_si256(q, 1);
    w[0] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low));
    w[1] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(low, 8)));
    w[2] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high));
    w[3] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(high, 8)));
}

STRATA_INLINE void scale_floats(__m256 w[4], float scale)
{
    STRATA_UNROLL
    for (int i = 0; i < 4; i++)
        w[i] = _mm256_mul_ps(w[i], _mm256_set1_ps(scale));
}

STRATA_INLINE void add_floats(__m256 w[4], float offset)
{
    STRATA_UNROLL
    for (int i = 0; i < 4; i++)
        w[i] = _mm256_add_ps(w[i], _mm256_set1_ps(offset));
}

/* Floats of chunk c of a row. */
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

STRATA_INLINE void chunk_Q4_0(__m256 w[4], const uint8_t *row, size_t c)
{
    const uint8_t *b = row + c * sizeof(struct strata_block_q4_0);
    bytes_to_floats(w, _mm256_sub_epi8(nibbles32(b + 2), _mm256_set1_epi8(8)));
    scale_floats(w, load_half(b));
}

STRATA_INLINE void chunk_Q4_1(__m256 w[4], const uint8_t *row, size_t c)
{
    const uint8_t *b = row + c * sizeof(struct strata_block_q4_1);
    bytes_to_floats(w, nibbles32(b + 4));
    scale_floats(w, load_half(b));
    add_floats(w, load_half(b + 2));
}

STRATA_INLINE void chunk_Q8_0(__m256 w[4], const uint8_t *row, size_t c)
{
    const uint8_t *b = row + c * sizeof(struct strata_block_q8_0);
    bytes_to_floats(w, _mm256_loadu_si256((const void *)(b + 2)));
    scale_floats(w, load_half(b));
}

STRATA_INLINE void chunk_Q4_K(__m256 w[4], const uint8_t *row, size_t c)
{
    const uint8_t *b = row + c / 8 * sizeof(struct strata_block_q4_k);
    const struct k_scales s = q4_k_scales(b + offsetof(struct strata_block_q4_k, scales));
    bytes_to_floats(w, quants_Q4_K(b, c % 8));
    scale_floats(w, load_half(b) * (float)s.sc[c % 8]);
    add_floats(w, -(load_half(b + 2) * (float)s.mn[c % 8]));
}

STRATA_INLINE void chunk_Q6_K(__m256 w[4], const uint8_t *row, size_t c)
{
    const uint8_t *b = row + c / 8 * sizeof(struct strata_block_q6_k);
    const int8_t *scales = (const int8_t *)(b + offsetof(struct strata_block_q6_k, scales));
    const float d = load_half(b + offsetof(struct strata_block_q6_k, d));
    const float d0 = d * (float)scales[c % 8 * 2], d1 = d * (float)scales[c % 8 * 2 + 1];
    bytes_to_floats(w, _mm256_sub_epi8(quants_Q6_K(b, c % 8), _mm256_set1_epi8(32)));
    STRATA_UNROLL
    for (int i = 0; i < 4; i++)
        w[i] = _mm256_mul_ps(w[i], _mm256_set1_ps(i < 2 ? d0 : d1));
}

/* The last n < 32 elements of a row of F32, F16 or BF16 (element_bytes each), zeros after. */
STRATA_INLINE void chunk_tail(__m256 w[4], const uint8_t *row, size_t c, size_t n,
                              size_t element_bytes, chunk_fn *chunk)
{
    uint8_t buffer[32 * sizeof(float)] = {0};
    memcpy(buffer, row + c * 32 * element_bytes, n * element_bytes);
    chunk(w, buffer, 0);
}

/* X(TYPE, bytes of an element where single elements have bytes of their own, else 0) */
#define STRATA_CHUNK_TYPES(X) \
    X(F32, 4) X(F16, 2) X(BF16, 2) X(Q4_0, 0) X(Q4_1, 0) X(Q8_0, 0) X(Q4_K, 0) X(Q6_K, 0)

#endif

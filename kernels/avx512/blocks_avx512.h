/* Weight blocks in registers: the one place where the AVX-512 float kernels know how a type is
 * packed.  (The q8 kernels, which never leave integers, have theirs in gemv_q8_avx512.h and
 * panel_q8_avx512.h.) */
#ifndef STRATA_BLOCKS_AVX512_H
#define STRATA_BLOCKS_AVX512_H

#include "lanes_avx512.h"

/* Blocks as they lie in files, at any address. */
typedef struct strata_block_q4_0 block_q4_0 __attribute__((aligned(1)));
typedef struct strata_block_q4_1 block_q4_1 __attribute__((aligned(1)));
typedef struct strata_block_q8_0 block_q8_0 __attribute__((aligned(1)));
typedef struct strata_block_q4_k block_q4_k __attribute__((aligned(1)));
typedef struct strata_block_q6_k block_q6_k __attribute__((aligned(1)));

/* The scales and minima of the eight sub-blocks of a Q4_K block, one in each byte. */
INLINE void unpack_scales_q4_k(const block_q4_k *block, uint64_t *sc, uint64_t *mn)
{
    uint32_t a = (uint32_t)load_i32(block->scales), b = (uint32_t)load_i32(block->scales + 4);
    uint32_t c = (uint32_t)load_i32(block->scales + 8);
    uint32_t sc_high = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030);
    uint32_t mn_high = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
    *sc = (a & 0x3f3f3f3f) | (uint64_t)sc_high << 32;
    *mn = (b & 0x3f3f3f3f) | (uint64_t)mn_high << 32;
}

INLINE __m512 bytes_to_floats(__m128i bytes)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
}

/* Elements 0..15 (part 0) or 16..31 (part 1) of the 32 at element c of a Q4_K row. */
INLINE __m512 decode16_q4_k(const void *row, size_t c, int part)
{
    const block_q4_k *block = (const block_q4_k *)row + c / 256;
    int j = (int)(c % 256 / 32);
    uint64_t sc, mn;
    unpack_scales_q4_k(block, &sc, &mn);
    float scale = half_at(&block->d) * (float)(sc >> 8 * j & 63);
    float offset = half_at(&block->dmin) * (float)(mn >> 8 * j & 63);
    __m128i q = load128(block->qs + 32 * (j / 2) + 16 * part);
    q = _mm_and_si128(_mm_srl_epi16(q, _mm_cvtsi32_si128(4 * (j & 1))), _mm_set1_epi8(15));
    __m512 w = _mm512_mul_ps(_mm512_set1_ps(scale), bytes_to_floats(q));
    return _mm512_sub_ps(w, _mm512_set1_ps(offset));
}

/* The same of a Q6_K row. */
INLINE __m512 decode16_q6_k(const void *row, size_t c, int part)
{
    const block_q6_k *block = (const block_q6_k *)row + c / 256;
    int half = (int)(c % 256 / 128), j = (int)(c % 128 / 32);
    float scale = half_at(&block->d) * (float)block->scales[8 * half + 2 * j + part];
    __m128i low = load128(block->ql + 64 * half + 32 * (j & 1) + 16 * part);
    __m128i high = load128(block->qh + 32 * half + 16 * part);
    low = _mm_and_si128(_mm_srl_epi16(low, _mm_cvtsi32_si128(4 * (j >> 1))), _mm_set1_epi8(15));
    high = _mm_and_si128(_mm_srl_epi16(high, _mm_cvtsi32_si128(2 * j)), _mm_set1_epi8(3));
    __m128i q = _mm_or_si128(low, _mm_slli_epi16(high, 4));
    q = _mm_sub_epi8(q, _mm_set1_epi8(32));
    __m512 value = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q));
    return _mm512_mul_ps(_mm512_set1_ps(scale), value);
}

/* Elements c + 16 * part .. + 15 of a row, as float, bit for bit what the reference gives; c is a
 * multiple of 32 and part 0 or 1.  Lanes outside `mask` are 0 and not read (float types only; block
 * types ignore it). */
INLINE __m512 decode16(enum strata_type type, const void *row, size_t c, int part, __mmask16 mask)
{
    size_t at = c + 16 * (size_t)part;
    switch (type) {
    case STRATA_TYPE_F32:
        return _mm512_maskz_loadu_ps(mask, (const char *)row + 4 * at);
    case STRATA_TYPE_F16:
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, (const char *)row + 2 * at));
    case STRATA_TYPE_BF16: {
        __m256i half = _mm256_maskz_loadu_epi16(mask, (const char *)row + 2 * at);
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
    }
    case STRATA_TYPE_Q4_0: {
        const block_q4_0 *block = (const block_q4_0 *)row + c / 32;
        __m128i q = load128(block->qs);
        q = _mm_and_si128(part ? _mm_srli_epi16(q, 4) : q, _mm_set1_epi8(15));
        q = _mm_sub_epi8(q, _mm_set1_epi8(8));
        return _mm512_mul_ps(_mm512_set1_ps(half_at(&block->d)),
                             _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q)));
    }
    case STRATA_TYPE_Q4_1: {
        const block_q4_1 *block = (const block_q4_1 *)row + c / 32;
        __m128i q = load128(block->qs);
        q = _mm_and_si128(part ? _mm_srli_epi16(q, 4) : q, _mm_set1_epi8(15));
        __m512 w = _mm512_mul_ps(_mm512_set1_ps(half_at(&block->d)), bytes_to_floats(q));
        return _mm512_add_ps(w, _mm512_set1_ps(half_at(&block->m)));
    }
    case STRATA_TYPE_Q8_0: {
        const block_q8_0 *block = (const block_q8_0 *)row + c / 32;
        __m128i q = load128(block->qs + 16 * part);
        return _mm512_mul_ps(_mm512_set1_ps(half_at(&block->d)),
                             _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q)));
    }
    case STRATA_TYPE_Q4_K:
        return decode16_q4_k(row, c, part);
    default:
        return decode16_q6_k(row, c, part);
    }
}

/* Bytes of 32 * n elements (Q6_K, whose blocks of 256 have an odd number of 16ths: rounded down).
 */
INLINE size_t bytes_of(enum strata_type type, size_t n)
{
    switch (type) {
    case STRATA_TYPE_F32:
        return n * 128;
    case STRATA_TYPE_F16:
    case STRATA_TYPE_BF16:
        return n * 64;
    case STRATA_TYPE_Q4_0:
        return n * sizeof(struct strata_block_q4_0);
    case STRATA_TYPE_Q4_1:
        return n * sizeof(struct strata_block_q4_1);
    case STRATA_TYPE_Q8_0:
        return n * sizeof(struct strata_block_q8_0);
    case STRATA_TYPE_Q4_K:
        return n * sizeof(struct strata_block_q4_k) / 8;
    default:
        return n * sizeof(struct strata_block_q6_k) / 8;
    }
}

/* How much the unsigned quants of the integer products are too large by, and whether the type has
 * an offset (gemm_q8_avx512.h). */
INLINE int bias_of(enum strata_type type)
{
    return type == STRATA_TYPE_Q4_0   ? 8
           : type == STRATA_TYPE_Q6_K ? 32
           : type == STRATA_TYPE_Q8_0 ? 128
                                      : 0;
}

INLINE int has_offset(enum strata_type type)
{
    return type == STRATA_TYPE_Q4_1 || type == STRATA_TYPE_Q4_K;
}

/* X(TYPE) for every type that strata computes with. */
#define STRATA_COMPUTE_TYPES_AVX512(X) X(F32) X(F16) X(BF16) X(Q4_0) X(Q4_1) X(Q8_0) X(Q4_K) X(Q6_K)
/* X(TYPE) for those that are quantised in blocks. */
#define STRATA_BLOCK_TYPES_AVX512(X) X(Q4_0) X(Q4_1) X(Q8_0) X(Q4_K) X(Q6_K)

#endif

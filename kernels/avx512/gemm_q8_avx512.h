/* Several tokens, 8-bit activations: the part that gemm_q8_avx512.c and gemm_q8_avx512vnni.c share.
 * The includer defines first
 *   struct dots              integer accumulators of 16 rows x 1 token
 *   dots_init(struct dots *, __m512i start)
 *   dots_step(struct dots *, __m512i w, __m512i x, type)   adds 4 products a row: w unsigned bytes
 *   dots_sum(const struct dots *, type)                    the 16 totals
 * which are all that differs between the two levels.
 *
 * Maths.  A block of 32 weights is scale * (q - bias) + offset with q unsigned (bias: Q4_0 8, Q6_K
 * 32, Q8_0 128, whose bytes have their sign bit flipped; offset: Q4_1, Q4_K).  With activations
 * scale_x * q_x the block adds
 *   scale_x * (scale * (dot(q, q_x) - bias * sum(q_x)) + offset * sum(q_x)).
 * The bias stays in integers: the accumulator starts at -bias * sum(q_x), so large terms cancel
 * exactly.  Q6_K has a scale for each 16.
 *
 * Layout.  Panels of 16 rows (Goto & van de Geijn 2008) are unpacked once into scratch, a record a
 * sub-block (of 32, or 16 elements for Q6_K): 8 (4) vectors of bytes, each with 4 successive
 * elements of the 16 rows, a vector of the 16 scales and, for types with offset, one of the 16
 * offsets.  The four elements lie as the dot product instructions want them, so a vector against
 * one broadcast dword of activations is a step for 16 rows.  Behind the panel are the sums of
 * activations of the current tokens as float, for types with offset.
 *
 * The micro-kernel holds 16 rows x 8 tokens: 8 float and 8 integer accumulators.  A block of 32
 * takes 8 steps, one conversion and two or three float operations a token.  Broadcast loads of a
 * dword run at two a cycle, dot products at one (Zen 4), so wider tiles gain nothing.
 *
 * Gains, in multiply-adds a second of one Zen 4 core at 3.6 GHz, 512 tokens, k = 576 and 1536: VNNI
 * 152-159 G for Q4_0, Q4_1, Q8_0, Q4_K (Q4_1: 11 operations on the two multiplier pipes for 512
 * products give at most 167 G), Q6_K 126 G; without VNNI 92-104 G for 4-bit weights, 30-38 G for
 * Q8_0, 42 G for Q6_K.  Eight tokens, where unpacking the panel counts: 105-118 G, Q4_K 82 G, Q6_K
 * 67 G.
 */
#ifndef STRATA_GEMM_Q8_AVX512_H
#define STRATA_GEMM_Q8_AVX512_H

#include "blocks_avx512.h"

#define TOKENS 8

/* Elements a sub-block, and bytes a record of the panel. */
INLINE size_t sub_block(enum strata_type type)
{
    return type == STRATA_TYPE_Q6_K ? 16 : 32;
}

INLINE size_t record_bytes(enum strata_type type)
{
    return 16 * sub_block(type) + 64 + (has_offset(type) ? 64 : 0);
}

/* The 16 bytes at row[r] + offset of 16 rows, four vectors of them: their low nibbles to `low`, the
 * high ones to `high`. */
INLINE void unpack_nibbles(uint8_t *low, uint8_t *high, const uint8_t *const row[16], size_t offset)
{
    const __m512i mask = _mm512_set1_epi8(15);
    __m512i v[4];
    gather_dwords(v, row, offset);
    UNROLL for (int i = 0; i < 4; i++)
    {
        _mm512_storeu_si512(low + 64 * i, _mm512_and_si512(v[i], mask));
        _mm512_storeu_si512(high + 64 * i, _mm512_and_si512(_mm512_srli_epi16(v[i], 4), mask));
    }
}

/* The 16 binary16 numbers at row[r] + offset as a vector of floats. */
INLINE void unpack_halves(uint8_t *out, const uint8_t *const row[16], size_t offset)
{
    uint16_t half[16];
    for (int r = 0; r < 16; r++)
        half[r] = load_u16(row[r] + offset);
    _mm512_storeu_ps(out, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)half)));
}

INLINE void unpack_block_q4_0(uint8_t *out, const uint8_t *const row[16], size_t b)
{
    unpack_nibbles(out, out + 256, row, 18 * b + 2);
    unpack_halves(out + 512, row, 18 * b);
}

INLINE void unpack_block_q4_1(uint8_t *out, const uint8_t *const row[16], size_t b)
{
    unpack_nibbles(out, out + 256, row, 20 * b + 4);
    unpack_halves(out + 512, row, 20 * b);
    unpack_halves(out + 576, row, 20 * b + 2);
}

INLINE void unpack_block_q8_0(uint8_t *out, const uint8_t *const row[16], size_t b)
{
    const __m512i flip = _mm512_set1_epi8(-128);
    for (size_t half = 0; half < 2; half++) {
        __m512i v[4];
        gather_dwords(v, row, 34 * b + 2 + 16 * half);
        UNROLL for (size_t i = 0; i < 4; i++)
            _mm512_storeu_si512(out + 256 * half + 64 * i, _mm512_xor_si512(v[i], flip));
    }
    unpack_halves(out + 512, row, 34 * b);
}

/* 256 elements: eight records. */
INLINE void unpack_block_q4_k(uint8_t *out, const uint8_t *const row[16], size_t b)
{
    const size_t record = record_bytes(STRATA_TYPE_Q4_K);
    for (size_t j = 0; j < 8; j += 2)
        for (size_t half = 0; half < 2; half++)
            unpack_nibbles(out + j * record + 256 * half, out + (j + 1) * record + 256 * half, row,
                           144 * b + 16 + 16 * j + 16 * half);
    float scale[8][16], offset[8][16];
    for (size_t r = 0; r < 16; r++) {
        const block_q4_k *block = (const block_q4_k *)row[r] + b;
        uint64_t sc, mn;
        unpack_scales_q4_k(block, &sc, &mn);
        float d = half_at(&block->d), dmin = half_at(&block->dmin);
        for (int j = 0; j < 8; j++) {
            scale[j][r] = d * (float)(sc >> 8 * j & 63);
            offset[j][r] = -(dmin * (float)(mn >> 8 * j & 63));
        }
    }
    for (size_t j = 0; j < 8; j++) {
        memcpy(out + j * record + 512, scale[j], 64);
        memcpy(out + j * record + 576, offset[j], 64);
    }
}

/* 256 elements: sixteen records. */
INLINE void unpack_block_q6_k(uint8_t *out, const uint8_t *const row[16], size_t b)
{
    const size_t record = record_bytes(STRATA_TYPE_Q6_K);
    const __m512i low_mask = _mm512_set1_epi8(15), high_mask = _mm512_set1_epi8(0x30);
    for (size_t h = 0; h < 2; h++)
        for (size_t l = 0; l < 2; l++) { /* 16 of the 32 columns of a half */
            __m512i low[2][4], high[4];
            gather_dwords(low[0], row, 210 * b + 64 * h + 16 * l);
            gather_dwords(low[1], row, 210 * b + 64 * h + 16 * l + 32);
            gather_dwords(high, row, 210 * b + 128 + 32 * h + 16 * l);
            uint8_t *to = out + (8 * h + l) * record;
            UNROLL for (size_t i = 0; i < 4; i++)
            {
                const __m512i top[4] = {_mm512_slli_epi16(high[i], 4),
                                        _mm512_slli_epi16(high[i], 2), high[i],
                                        _mm512_srli_epi16(high[i], 2)};
                UNROLL for (size_t j = 0; j < 4; j++)
                {
                    __m512i q = low[j & 1][i];
                    q = _mm512_and_si512(j < 2 ? q : _mm512_srli_epi16(q, 4), low_mask);
                    q = _mm512_or_si512(q, _mm512_and_si512(top[j], high_mask));
                    _mm512_storeu_si512(to + 2 * j * record + 64 * i, q);
                }
            }
        }
    float scale[16][16];
    for (size_t r = 0; r < 16; r++) {
        const block_q6_k *block = (const block_q6_k *)row[r] + b;
        float d = half_at(&block->d);
        for (size_t j = 0; j < 16; j++)
            scale[j][r] = d * (float)block->scales[j];
    }
    for (size_t j = 0; j < 16; j++)
        memcpy(out + j * record + 256, scale[j], 64);
}

/* Unpacks rows i..i+15 (the last row again past the end). */
INLINE void unpack_panel(uint8_t *panel, const struct strata_matmul *a, size_t i,
                         enum strata_type type)
{
    const uint8_t *row[16];
    for (size_t r = 0; r < 16; r++)
        row[r] = (const uint8_t *)a->w + min_size(i + r, a->rows - 1) * a->row_bytes;
    size_t elems = type == STRATA_TYPE_Q4_K || type == STRATA_TYPE_Q6_K ? 256 : 32;
    for (size_t b = 0; b < a->k / elems; b++) {
        uint8_t *out = panel + b * (elems / sub_block(type)) * record_bytes(type);
        switch (type) {
        case STRATA_TYPE_Q4_0:
            unpack_block_q4_0(out, row, b);
            break;
        case STRATA_TYPE_Q4_1:
            unpack_block_q4_1(out, row, b);
            break;
        case STRATA_TYPE_Q8_0:
            unpack_block_q8_0(out, row, b);
            break;
        case STRATA_TYPE_Q4_K:
            unpack_block_q4_k(out, row, b);
            break;
        default:
            unpack_block_q6_k(out, row, b);
        }
    }
}

/* -bias * (sum of the quants of a sub-block), in all lanes; sum points at its one or two sums. */
INLINE __m512i start_of(const int16_t *sum, enum strata_type type)
{
    int bias = bias_of(type);
    if (!bias)
        return _mm512_setzero_si512();
    if (sub_block(type) == 32)
        return _mm512_madd_epi16(_mm512_set1_epi32(load_i32(sum)), _mm512_set1_epi16((short)-bias));
    return _mm512_madd_epi16(_mm512_set1_epi16(sum[0]), _mm512_set1_epi32(-bias & 0xffff));
}

/* The sums of 32 quants of a token, as floats. */
INLINE void sums_to_floats(float *out, const int16_t *sum, size_t blocks)
{
    const __m512i ones = _mm512_set1_epi16(1);
    for (size_t b = 0; b < blocks; b += 16) {
        __m512i pairs = _mm512_maskz_loadu_epi32(first16(blocks - b), sum + 2 * b);
        _mm512_mask_storeu_ps(out + b, first16(blocks - b),
                              _mm512_cvtepi32_ps(_mm512_madd_epi16(pairs, ones)));
    }
}

/* 16 rows x `tokens` tokens from token j on; `tokens` and `type` are constants where inlined. */
INLINE void multiply_tile(const struct strata_matmul *a, const uint8_t *panel, float *sums,
                          size_t i, size_t j, size_t tokens, enum strata_type type)
{
    const size_t k = a->k, blocks = k / 32, subs = 32 / sub_block(type);
    const int8_t *q = a->xq.q + j * k;
    const float *scale_x = a->xq.scale + j * blocks;
    const int16_t *sum_x = a->xq.sum + j * 2 * blocks;
    __m512 y[TOKENS];
    for (size_t t = 0; t < tokens && has_offset(type); t++)
        sums_to_floats(sums + t * blocks, sum_x + t * 2 * blocks, blocks);
    UNROLL for (size_t t = 0; t < tokens; t++) y[t] = _mm512_setzero_ps();
    for (size_t b = 0; b < blocks; b++)
        UNROLL for (size_t s = 0; s < subs; s++)
        {
            struct dots dot[TOKENS];
            UNROLL for (size_t t = 0; t < tokens; t++)
                dots_init(&dot[t], start_of(sum_x + t * 2 * blocks + 2 * b + s, type));
            UNROLL for (size_t g = 0; g < sub_block(type) / 4; g++)
            {
                __m512i w = _mm512_loadu_si512(panel + 64 * g);
                UNROLL for (size_t t = 0; t < tokens; t++)
                {
                    const int8_t *at = q + t * k + 32 * b + 16 * s + 4 * g;
                    dots_step(&dot[t], w, _mm512_set1_epi32(load_i32(at)), type);
                }
            }
            const uint8_t *scales = panel + 16 * sub_block(type);
            __m512 scale = _mm512_loadu_ps(scales);
            UNROLL for (size_t t = 0; t < tokens; t++)
            {
                __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(dots_sum(&dot[t], type)), scale);
                if (has_offset(type))
                    v = _mm512_fmadd_ps(_mm512_loadu_ps(scales + 64),
                                        _mm512_set1_ps(sums[t * blocks + b]), v);
                y[t] = _mm512_fmadd_ps(v, _mm512_set1_ps(scale_x[t * blocks + b]), y[t]);
            }
            panel += record_bytes(type);
        }
    UNROLL for (size_t t = 0; t < tokens; t++)
        _mm512_mask_storeu_ps(a->y + (j + t) * a->ldy + i, first16(a->rows - i), y[t]);
}

INLINE void gemm_q8(const struct strata_matmul *a, enum strata_type type)
{
    uint8_t *panel = a->scratch;
    float *sums = (float *)(panel + a->k / sub_block(type) * record_bytes(type));
    for (size_t i = 0; i < a->rows; i += STRATA_PANEL_ROWS) {
        unpack_panel(panel, a, i, type);
        size_t j = 0;
        for (; j + TOKENS <= a->m; j += TOKENS)
            multiply_tile(a, panel, sums, i, j, TOKENS, type);
        if (a->m - j >= 4) {
            multiply_tile(a, panel, sums, i, j, 4, type);
            j += 4;
        }
        if (a->m - j >= 2) {
            multiply_tile(a, panel, sums, i, j, 2, type);
            j += 2;
        }
        if (j < a->m)
            multiply_tile(a, panel, sums, i, j, 1, type);
    }
}

#endif

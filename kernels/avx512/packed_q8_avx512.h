/* Packed weights by 8-bit activations, for decode and prefill alike: the part that
 * packed_q8_avx512.c and packed_q8_avx512vnni.c share.  The includer defines first
 *   struct dots              integer accumulators of 16 rows x 1 token
 *   dots_init(struct dots *, __m512i start)
 *   dots_step(struct dots *, __m512i w, __m512i x, bool wide)   adds 4 products a row: w unsigned
 *                            bytes, below 16 unless wide
 *   dots_sum(const struct dots *, bool wide)                    the 16 totals
 * which are all that differs between the two levels.
 *
 * Maths.  For 32 columns, with activations scale_x * q_x, a weight row adds
 *   scale_x * scale * (dot(q, q_x) - bias * sum(q_x)) + offset * total_x
 * with q unsigned: types with signed quants are taken as larger by 128.  The bias stays in integers
 * (the accumulator starts at -bias * sum(q_x)), so large terms cancel exactly.  Types with
 * sub-blocks of 16 make two sums.
 *
 * A tile is 16 rows x 8 tokens: 8 float and 8 integer accumulators.  A group's quants are unpacked
 * in registers, a dword a row, as the dot product instructions want them; against one broadcast
 * dword of activations that is a step for 16 rows.  Every (row, token) sees the same operations in
 * the same order, wherever it lies in a tile.
 *
 * Measured on one core of a Zen 4 at 3.7 GHz, 10^9 products a second, Q4_1, weights in L2, k = 576
 * and 1536: VNNI 163 and 160 with tiles of 8 tokens, 6 165 and 163, 4 160 and 159, 2 146 and 146,
 * 1 89 and 110 (more than twice what memory gives).  Eight dot products and three float operations
 * on the two multiplier pipes give at most 170, so unpacking is free there; panels unpacked once
 * into L1 for all tokens reached 152 to 159 with four times the code. */
#ifndef STRATA_PACKED_Q8_AVX512_H
#define STRATA_PACKED_Q8_AVX512_H

#include "panels_avx512.h"

enum { TILE_TOKENS = 8 };

/* What a tile reads and writes; token t is at t times the strides. */
struct tile {
    const uint8_t *scales, *quants;
    size_t blocks; /* of the type */
    const int8_t *x;
    const float *xs, *total;
    const int16_t *sum;
    size_t k; /* stride of x; of xs and total k / 32, of sum k / 16 */
    float *y;
    size_t y_stride;
    __mmask16 mask;    /* rows that exist */
    const char *ahead; /* what to prefetch next, or NULL: the panel is in the caches */
};

/* Memory is asked for in order, PREFETCH_AHEAD bytes before it is needed, each record its share:
 * the hardware's prefetchers stop at every page.  Q4_1 in memory, 10^9 bytes a second on 1 and 2
 * threads where a loop that only reads gets 31 and 36: without 12 to 15 and 23 to 26, to L2 23 and
 * 34, to L1 26 and 36. */
INLINE void prefetch_share(const char **ahead, format f)
{
    const int share = f.quant_bytes + f.scale_bytes * 32 / f.block_elems;
    UNROLL for (int i = 0; i < share; i += 64) _mm_prefetch(*ahead + i, _MM_HINT_T0);
    *ahead += share;
}

/* -bias * (sum of the quants of sub-block s), in all lanes; `sum` points at the record's two. */
INLINE __m512i start_of(const int16_t *sum, int s, format f)
{
    const int bias = bias_of(f);
    if (!bias)
        return _mm512_setzero_si512();
    if (f.sub == 32)
        return _mm512_madd_epi16(_mm512_set1_epi32(load_i32(sum)), _mm512_set1_epi16((short)-bias));
    return _mm512_madd_epi16(_mm512_set1_epi16(sum[s]), _mm512_set1_epi32(-bias & 0xffff));
}

/* One record of 32 columns, for all tokens of the tile: at column c, with the block's d and m. */
INLINE void add_record(__m512 acc[TILE_TOKENS], const struct tile *a, const uint8_t *record,
                       const uint8_t *factors, size_t c, __m512 d, __m512 m, size_t tokens,
                       format f)
{
    __m512 part[TILE_TOKENS];
    const int subs = 32 / f.sub, groups = 8 / subs; /* of the record, of a sub-block */
    UNROLL for (int s = 0; s < subs; s++)
    {
        struct dots dot[TILE_TOKENS];
        UNROLL for (size_t t = 0; t < tokens; t++)
            dots_init(&dot[t], start_of(a->sum + (t * a->k + c) / 16, s, f));
        UNROLL for (int i = 0; i < groups; i++)
        {
            const int g = s * groups + i;
            const __m512i w = unsigned_quants(record, g, f);
            UNROLL for (size_t t = 0; t < tokens; t++) dots_step(
                &dot[t], w, _mm512_set1_epi32(load_i32(a->x + t * a->k + c + 4 * (size_t)g)),
                f.bits > 4 || f.table);
        }
        const __m512 scale = scale_of(d, factors, s, f);
        UNROLL for (size_t t = 0; t < tokens; t++)
        {
            const __m512 sums = _mm512_cvtepi32_ps(dots_sum(&dot[t], f.bits > 4 || f.table));
            part[t] = s == 0 ? _mm512_mul_ps(sums, scale) : _mm512_fmadd_ps(sums, scale, part[t]);
        }
    }
    const __m512 offset = f.offset && f.sub == 32 ? offset_of(m, factors, 0, f) : m;
    __m512i minors = _mm512_setzero_si512(); /* of both sub-blocks of 16, as words */
    if (f.offset && f.sub == 16)
        minors = _mm512_or_si512(load_minors(factors, 0, f),
                                 _mm512_slli_epi32(load_minors(factors, 1, f), 16));
    UNROLL for (size_t t = 0; t < tokens; t++)
    {
        const size_t at = (t * a->k + c) / 32;
        if (f.offset && f.sub == 16) {
            const __m512i pair = _mm512_set1_epi32(load_i32(a->sum + 2 * at));
            const __m512 sums = _mm512_cvtepi32_ps(_mm512_madd_epi16(minors, pair));
            part[t] = _mm512_fnmadd_ps(sums, m, part[t]);
        }
        acc[t] = _mm512_fmadd_ps(part[t], _mm512_set1_ps(a->xs[at]), acc[t]);
        if (f.offset && f.sub == 32)
            acc[t] = _mm512_fmadd_ps(offset, _mm512_set1_ps(a->total[at]), acc[t]);
    }
}

INLINE void multiply_tile(const struct tile *a, size_t tokens, format f)
{
    __m512 acc[TILE_TOKENS];
    UNROLL for (size_t t = 0; t < tokens; t++) acc[t] = _mm512_setzero_ps();
    const uint8_t *record = a->quants, *scales = a->scales;
    const char *ahead = a->ahead;
    for (size_t b = 0, c = 0; b < a->blocks; b++, scales += f.scale_bytes) {
        const __m512 d = load_halves(scales);
        const __m512 m = f.offset ? load_halves(scales + 32) : _mm512_setzero_ps();
        const uint8_t *factors = scales + (f.offset ? 64 : 32);
        for (int i = 0; i < f.block_elems / 32; i++, c += 32) {
            if (ahead)
                prefetch_share(&ahead, f);
            add_record(acc, a, record, factors, c, d, m, tokens, f);
            record += f.quant_bytes;
            factors += f.factor_bytes;
        }
    }
    UNROLL for (size_t t = 0; t < tokens; t++)
        _mm512_mask_storeu_ps(a->y + t * a->y_stride, a->mask, acc[t]);
}

INLINE void advance(struct tile *tile, size_t tokens)
{
    tile->x += tokens * tile->k;
    tile->xs += tokens * tile->k / 32;
    tile->total += tokens * tile->k / 32;
    tile->sum += tokens * tile->k / 16;
    tile->y += tokens * tile->y_stride;
    tile->ahead = NULL;
}

INLINE void packed_q8(const struct strata_matmul *a, enum strata_type type)
{
    const format f = strata_packed_format(type);
    const uint8_t *panel = a->w;
    for (size_t i = 0; i < a->rows; i += STRATA_PANEL_ROWS) {
        struct tile tile = {.scales = panel,
                            .quants = panel + strata_panel_scale_bytes(f, a->k),
                            .blocks = a->k / (size_t)f.block_elems,
                            .x = a->xq.q,
                            .xs = a->xq.scale,
                            .total = a->xq.total,
                            .sum = a->xq.sum,
                            .k = a->k,
                            .y = a->y + i,
                            .y_stride = a->ldy,
                            .mask = first16(a->rows - i),
                            .ahead = (const char *)panel + PREFETCH_AHEAD};
        size_t left = a->m;
        for (; left >= TILE_TOKENS; left -= TILE_TOKENS) {
            multiply_tile(&tile, TILE_TOKENS, f);
            advance(&tile, TILE_TOKENS);
        }
        if (left & 4) {
            multiply_tile(&tile, 4, f);
            advance(&tile, 4);
        }
        if (left & 2) {
            multiply_tile(&tile, 2, f);
            advance(&tile, 2);
        }
        if (left & 1)
            multiply_tile(&tile, 1, f);
        panel += strata_panel_bytes(type, a->k);
    }
}

#endif

/* Matrix-vector products of Q4_0 and Q4_1 weights with 8-bit activations.  Decode streams most of
 * a model through here, so the aim is few instructions for each byte read.
 *
 * Two rows share every vector, one in each 128-bit half, so that a block's 16 bytes of a row fill
 * one half: low nibbles meet elements 0..15 of the activations, high ones 16..31, both broadcast to
 * the two halves.  vpmaddubsw sums pairs, in 16 bits; four blocks are then merged by shuffles and
 * additions (8 * 2 * 15 * 127 = 30480 fits) until one vpmaddwd leaves the eight dot products of two
 * rows and four blocks, in order.  These are converted at once and multiplied into the accumulator
 * by scale_w * scale_x; offset_w * (scale_x * sum_x) is a second accumulator (Q4_1), 8 * sum_x is
 * subtracted before the conversion (Q4_0).  The last step of a row whose blocks are no multiple of
 * four takes the last four again with the factors of those already counted set to zero.
 *
 * Scales of four neighbouring blocks of 20 (18) bytes: dword (word) b of a 16-byte load at 16 b is
 * the one of block b, so three blends gather them.
 *
 * Tried before, on Zen 4, Q4_1 in the second-level cache, cycles a block at k = 576 and 1536: one
 * row at a time, eight scales made together and broadcast from memory, conversion and fused
 * multiply-add for each block: 4.6 and 3.8.  This version: 3.4 and 2.9.  Four rows at a time: the
 * same, with spills. */
#include "../kernel_list.h"
#include "blocks_avx2.h"

enum { STEP = 4 };

struct nibble_format {
    size_t block_bytes, quants; /* quants: offset of the nibbles in a block */
    int offset;                 /* Q4_1: has one */
};

/* All bits set for `skip` blocks from skip_mask + 4 - skip on, then none. */
static const int32_t skip_mask[8] = {-1, -1, -1, -1, 0, 0, 0, 0};

/* Activations of four blocks, each in both halves. */
struct step_x {
    const int8_t *q;
    __m256 scale, scaled_sum;
    __m256i sum8; /* 8 * sum */
};

STRATA_INLINE __m256i both_halves(const void *p)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(p));
}

STRATA_INLINE struct step_x step_activations(const struct strata_q8_rows *x, size_t at, int offset)
{
    struct step_x s = {.q = x->q + 32 * at};
    const __m256i pairs = both_halves(x->sum + 2 * at);
    s.scale = _mm256_castsi256_ps(both_halves(x->scale + at));
    s.sum8 = _mm256_madd_epi16(pairs, _mm256_set1_epi16(offset ? 1 : 8));
    if (offset)
        s.scaled_sum = _mm256_mul_ps(_mm256_cvtepi32_ps(s.sum8), s.scale);
    return s;
}

/* Scales (low 8 bytes) and offsets (high 8) of four blocks, as binary16. */
STRATA_INLINE __m128i gather_scales(const uint8_t *w, int offset)
{
#define AT(b) _mm_loadu_si128((const void *)(w + (b)*16))
    __m128i v = AT(0);
    if (!offset) {
        v = _mm_blend_epi16(v, AT(1), 1 << 1);
        v = _mm_blend_epi16(v, AT(2), 1 << 2);
        return _mm_blend_epi16(v, _mm_loadl_epi64((const void *)(w + 48)), 1 << 3);
    }
    v = _mm_blend_epi32(v, AT(1), 1 << 1);
    v = _mm_blend_epi32(v, AT(2), 1 << 2);
    v = _mm_blend_epi32(v, AT(3), 1 << 3);
#undef AT
    const __m128i split = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    return _mm_shuffle_epi8(v, split);
}

/* Sums of pairs of one block: four dwords of two 16-bit sums in each half. */
STRATA_INLINE __m256i pair_sums(const uint8_t *w0, const uint8_t *w1, const int8_t *x)
{
    const __m256i mask = _mm256_set1_epi8(15);
    const __m128i q0 = _mm_loadu_si128((const void *)w0);
    const __m256i q =
        _mm256_inserti128_si256(_mm256_castsi128_si256(q0), _mm_loadu_si128((const void *)w1), 1);
    const __m256i low = _mm256_and_si256(q, mask);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(q, 4), mask);
    return _mm256_add_epi16(_mm256_maddubs_epi16(low, both_halves(x)),
                            _mm256_maddubs_epi16(high, both_halves(x + 16)));
}

/* Adds four blocks of the rows at w0 and w1, without the first `skip` ones. */
STRATA_INLINE void add_step(__m256 *acc, __m256 *offsets, const uint8_t *w0, const uint8_t *w1,
                            const struct strata_q8_rows *x, size_t at, struct nibble_format f,
                            size_t skip)
{
    const struct step_x sx = step_activations(x, at, f.offset);
    w0 += at * f.block_bytes;
    w1 += at * f.block_bytes;
    const __m128i s0 = gather_scales(w0, f.offset), s1 = gather_scales(w1, f.offset);
    __m256 factor = _mm256_mul_ps(_mm256_cvtph_ps(_mm_unpacklo_epi64(s0, s1)), sx.scale);
    __m256 m = _mm256_cvtph_ps(_mm_unpackhi_epi64(s0, s1));
    if (skip != 0) {
        const __m256 skipped =
            _mm256_castsi256_ps(both_halves((const void *)(skip_mask + 4 - skip)));
        factor = _mm256_andnot_ps(skipped, factor);
        m = _mm256_andnot_ps(skipped, m);
    }
    __m256i p[STEP];
    STRATA_UNROLL
    for (size_t b = 0; b < STEP; b++) {
        const size_t at = b * f.block_bytes + f.quants;
        p[b] = pair_sums(w0 + at, w1 + at, sx.q + 32 * b);
    }
    const __m256i p01 =
        _mm256_add_epi16(_mm256_unpacklo_epi64(p[0], p[1]), _mm256_unpackhi_epi64(p[0], p[1]));
    const __m256i p23 =
        _mm256_add_epi16(_mm256_unpacklo_epi64(p[2], p[3]), _mm256_unpackhi_epi64(p[2], p[3]));
    const __m256 f01 = _mm256_castsi256_ps(p01), f23 = _mm256_castsi256_ps(p23);
    const __m256i even = _mm256_castps_si256(_mm256_shuffle_ps(f01, f23, 0x88));
    const __m256i odd = _mm256_castps_si256(_mm256_shuffle_ps(f01, f23, 0xdd));
    __m256i dot = _mm256_madd_epi16(_mm256_add_epi16(even, odd), _mm256_set1_epi16(1));
    if (!f.offset)
        dot = _mm256_sub_epi32(dot, sx.sum8);
    *acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), factor, *acc);
    if (f.offset)
        *offsets = _mm256_fmadd_ps(m, sx.scaled_sum, *offsets);
}

/* Products of the rows at w0 and w1: y[0] and y[1]; blocks >= STEP. */
STRATA_INLINE void multiply_rows(float y[2], const uint8_t *w0, const uint8_t *w1,
                                 const struct strata_q8_rows *x, size_t blocks,
                                 struct nibble_format f)
{
    __m256 acc = _mm256_setzero_ps(), offsets = acc;
    size_t at = 0;
    for (; at + STEP <= blocks; at += STEP)
        add_step(&acc, &offsets, w0, w1, x, at, f, 0);
    if (at < blocks)
        add_step(&acc, &offsets, w0, w1, x, blocks - STEP, f, at + STEP - blocks);
    __m256 v = f.offset ? _mm256_add_ps(acc, offsets) : acc;
    v = _mm256_hadd_ps(v, v);
    v = _mm256_hadd_ps(v, v);
    y[0] = _mm256_cvtss_f32(v);
    y[1] = _mm_cvtss_f32(_mm256_extractf128_ps(v, 1));
}

/* Rows of fewer than STEP blocks: through copies that zeros fill up. */
STRATA_INLINE void short_rows(const struct strata_matmul *a, struct nibble_format f)
{
    const size_t blocks = a->k / 32;
    int8_t q[32 * STEP] = {0};
    float scale[STEP] = {0};
    int16_t sum[2 * STEP] = {0};
    memcpy(q, a->xq.q, 32 * blocks);
    memcpy(scale, a->xq.scale, blocks * sizeof *scale);
    memcpy(sum, a->xq.sum, 2 * blocks * sizeof *sum);
    const struct strata_q8_rows x = {q, scale, sum};
    for (size_t i = 0; i < a->rows; i++) {
        uint8_t row[STEP * sizeof(struct strata_block_q4_1)] = {0};
        float y[2];
        memcpy(row, (const uint8_t *)a->w + i * a->row_bytes, blocks * f.block_bytes);
        multiply_rows(y, row, row, &x, STEP, f);
        a->y[i] = y[0];
    }
}

STRATA_INLINE void gemv_nibbles(const struct strata_matmul *a, struct nibble_format f)
{
    const uint8_t *row = a->w;
    const size_t blocks = a->k / 32;
    if (blocks < STEP) {
        short_rows(a, f);
        return;
    }
    size_t i = 0;
    for (; i + 2 <= a->rows; i += 2, row += 2 * a->row_bytes)
        multiply_rows(a->y + i, row, row + a->row_bytes, &a->xq, blocks, f);
    if (i < a->rows) {
        float y[2];
        multiply_rows(y, row, row, &a->xq, blocks, f);
        a->y[i] = y[0];
    }
}

void strata_gemv_q8_Q4_0_avx2(const struct strata_matmul *a)
{
    const struct nibble_format f = {sizeof(struct strata_block_q4_0), 2, 0};
    gemv_nibbles(a, f);
}

void strata_gemv_q8_Q4_1_avx2(const struct strata_matmul *a)
{
    const struct nibble_format f = {sizeof(struct strata_block_q4_1), 4, 1};
    gemv_nibbles(a, f);
}

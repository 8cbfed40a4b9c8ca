/* One token, 8-bit activations: the part that gemv_q8_avx512.c and gemv_q8_avx512vnni.c share.
 * The includer defines first
 *   dot_start(x, bias, is_signed)        what dot(.., x, ..) has to start from
 *   dot_part(sum, w, x, is_signed)       sum + 16 sums of 4 products of bytes
 *   dot_whole(sum, low, x_low, high, x_high, is_signed)     the same of two such vectors
 * where w are unsigned quants (signed ones of Q8_0 if is_signed), and bias is what they are too
 * large by.  That is all that differs between the two levels.
 *
 * Maths.  See gemm_q8_avx512.h; the bias is again taken off in integers.
 *
 * Layout.  Blocks are read where they lie.  The unit of work is four blocks of 32 of one row: the
 * first halves of the blocks in the four 128-bit lanes of one vector, the second halves in those of
 * another (for 4-bit types these are low and high nibbles of the same bytes, so one permute and
 * three logical operations unpack 128 weights).  Two dot products leave four sums a block; those of
 * four rows are transposed and added to one vector, lane 4 b + r for block b and row r, for which
 * one vector of 16 scales, read from the four rows by masked permutes and converted at once,
 * serves: per 16 blocks of weights one conversion and two or three float operations.  The
 * activations are permuted to match once for eight rows.  A row's sum takes groups of four blocks
 * in order, whatever rows stand beside it; the four lanes of a row are added at its end.
 *
 * Q6_K has a scale for each 16, so its two halves are kept apart up to the float sums.
 *
 * Gains, on weights in memory, against a loop of 512-bit loads over the same bytes (Zen 4, one
 * core, alternating, Q4_1 and Q8_0, k = 576 and 1536): no prefetch 0.28-0.49; lines of the next
 * rows to L1, where the few miss buffers stall the loop, 0.45-0.69; to L2 0.52-0.81; to L2 and 8
 * KiB further ahead 0.76-1.00.  Without eight rows a pass (four) 0.72-0.93. */
#ifndef STRATA_GEMV_Q8_AVX512_H
#define STRATA_GEMV_Q8_AVX512_H

#include "blocks_avx512.h"

/* Activations of four blocks. */
struct activations {
    __m512i low, high;             /* first and second halves of the blocks, one a 128-bit lane */
    __m512i start_low, start_high; /* starting values of the integer sums (start_high: Q6_K) */
    __m512 scale, sum;             /* of block b in lanes 4 b .. 4 b + 3 */
};

/* Scales and offsets of four blocks of four rows; lane 4 b + r of the floats. */
struct weights {
    __m512 scale, scale_high, offset; /* scale_high: of second halves (Q6_K) */
};

/* Blocks 4 g .. 4 g + n - 1; the others are zero. */
INLINE struct activations load_activations(const struct strata_q8_rows *xq, size_t g, size_t n,
                                           enum strata_type type)
{
    const __m512i first = _mm512_set_epi64(13, 12, 9, 8, 5, 4, 1, 0);
    const __m512i second = _mm512_set_epi64(15, 14, 11, 10, 7, 6, 3, 2);
    const __m512i spread = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    const int8_t *q = xq->q + 128 * g;
    __m512i q0, q1;
    __m128i sums;
    __m128 scale;
    if (n == 4) {
        q0 = _mm512_loadu_si512(q);
        q1 = _mm512_loadu_si512(q + 64);
        scale = _mm_loadu_ps(xq->scale + 4 * g);
        sums = load128(xq->sum + 8 * g);
    } else {
        q0 = _mm512_maskz_loadu_epi32(first16(8 * n), q);
        q1 = _mm512_maskz_loadu_epi32(n == 3 ? 0xff : 0, q + 64);
        scale = _mm_maskz_loadu_ps((__mmask8)first16(n), xq->scale + 4 * g);
        sums = _mm_maskz_loadu_epi32((__mmask8)first16(n), xq->sum + 8 * g);
    }
    struct activations x;
    x.low = _mm512_permutex2var_epi64(q0, first, q1);
    x.high = _mm512_permutex2var_epi64(q0, second, q1);
    x.start_low = dot_start(x.low, bias_of(type), type == STRATA_TYPE_Q8_0);
    x.start_high = dot_start(x.high, bias_of(type), type == STRATA_TYPE_Q8_0);
    if (type != STRATA_TYPE_Q6_K)
        x.start_low = _mm512_add_epi32(x.start_low, x.start_high);
    x.scale = _mm512_permutexvar_ps(spread, _mm512_castps128_ps512(scale));
    __m128 sum = _mm_cvtepi32_ps(_mm_madd_epi16(sums, _mm_set1_epi16(1)));
    x.sum = _mm512_permutexvar_ps(spread, _mm512_castps128_ps512(sum));
    return x;
}

INLINE void split_nibbles(__m512i bytes, __m512i *low, __m512i *high)
{
    const __m512i mask = _mm512_set1_epi8(15);
    *low = _mm512_and_si512(bytes, mask);
    *high = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), mask);
}

/* The first 64 bytes of a group that has `bytes` bytes: less are read if it ends before. */
INLINE __m512i load_start(const uint8_t *at, size_t bytes)
{
    if (bytes >= 64)
        return _mm512_loadu_si512(at);
    return _mm512_maskz_loadu_epi16(first32(bytes / 2), at);
}

INLINE void load_group_q4_k(__m512i *low, __m512i *high, const uint8_t *row, size_t g)
{
    const __m512i shift = _mm512_set_epi64(4, 4, 0, 0, 4, 4, 0, 0), mask = _mm512_set1_epi8(15);
    __m512i q = _mm512_loadu_si512(row + g / 2 * 144 + 16 + 64 * (g & 1));
    __m512i first = _mm512_shuffle_i32x4(q, q, 0xa0), second = _mm512_shuffle_i32x4(q, q, 0xf5);
    *low = _mm512_and_si512(_mm512_srlv_epi64(first, shift), mask);
    *high = _mm512_and_si512(_mm512_srlv_epi64(second, shift), mask);
}

INLINE void load_group_q6_k(__m512i *low, __m512i *high, const uint8_t *row, size_t g)
{
    const __m512i mask = _mm512_set1_epi8(15), top_mask = _mm512_set1_epi8(0x30);
    const __m512i shift = _mm512_set_epi64(4, 4, 4, 4, 0, 0, 0, 0);
    const __m512i top_left = _mm512_set_epi64(0, 0, 0, 0, 2, 2, 4, 4);
    const __m512i top_right = _mm512_set_epi64(2, 2, 0, 0, 0, 0, 0, 0);
    const uint8_t *block = row + g / 2 * 210;
    __m512i q = _mm512_loadu_si512(block + 64 * (g & 1));
    __m256i h = _mm256_loadu_si256((const __m256i *)(block + 128 + 32 * (g & 1)));
    __m512i top[2] = {_mm512_broadcast_i32x4(_mm256_castsi256_si128(h)),
                      _mm512_broadcast_i32x4(_mm256_extracti128_si256(h, 1))};
    UNROLL for (int i = 0; i < 2; i++) /* bits 2 b, 2 b + 1 of lane b to bits 4, 5 */
        top[i] = _mm512_and_si512(_mm512_srlv_epi64(_mm512_sllv_epi64(top[i], top_left), top_right),
                                  top_mask);
    __m512i first = _mm512_srlv_epi64(_mm512_shuffle_i32x4(q, q, 0x88), shift);
    __m512i second = _mm512_srlv_epi64(_mm512_shuffle_i32x4(q, q, 0xdd), shift);
    *low = _mm512_or_si512(_mm512_and_si512(first, mask), top[0]);
    *high = _mm512_or_si512(_mm512_and_si512(second, mask), top[1]);
}

/* Quants of group g of a row, which has n blocks (4 but for the last group of a row). */
INLINE void load_group(__m512i *low, __m512i *high, const uint8_t *row, size_t g, size_t n,
                       enum strata_type type)
{
    const uint8_t *at = row + g * bytes_of(type, 4);
    switch (type) {
    case STRATA_TYPE_Q4_0: {
        const __m512i order =
            _mm512_set_epi16(39, 38, 37, 36, 35, 34, 33, 32, 26, 25, 24, 23, 22, 21, 20, 19, 17, 16,
                             15, 14, 13, 12, 11, 10, 8, 7, 6, 5, 4, 3, 2, 1);
        __m128i rest = n == 4 ? load128(at + 56) : _mm_setzero_si128();
        __m512i start = load_start(at, bytes_of(type, n));
        split_nibbles(_mm512_permutex2var_epi16(start, order, _mm512_castsi128_si512(rest)), low,
                      high);
        break;
    }
    case STRATA_TYPE_Q4_1: {
        const __m512i order =
            _mm512_set_epi32(19, 18, 17, 16, 14, 13, 12, 11, 9, 8, 7, 6, 4, 3, 2, 1);
        __m128i rest = n == 4 ? load128(at + 64) : _mm_setzero_si128();
        __m512i start = load_start(at, bytes_of(type, n));
        split_nibbles(_mm512_permutex2var_epi32(start, order, _mm512_castsi128_si512(rest)), low,
                      high);
        break;
    }
    case STRATA_TYPE_Q8_0: { /* blocks past the end repeat the last one; activations are 0 there */
        const uint8_t *b0 = at + 2, *b1 = b0 + 34 * min_size(1, n - 1);
        const uint8_t *b2 = b0 + 34 * min_size(2, n - 1), *b3 = b0 + 34 * (n - 1);
        *low = load_lanes(b0, b1, b2, b3);
        *high = load_lanes(b0 + 16, b1 + 16, b2 + 16, b3 + 16);
        break;
    }
    case STRATA_TYPE_Q4_K:
        load_group_q4_k(low, high, row, g);
        break;
    default:
        load_group_q6_k(low, high, row, g);
    }
}

/* Bytes b = 0..7 of four rows to b-major order: byte 4 b + r. */
INLINE void transpose_bytes(const uint64_t row[4], __m128i *first4, __m128i *last4)
{
    __m128i r01 = _mm_unpacklo_epi8(_mm_cvtsi64_si128((long long)row[0]),
                                    _mm_cvtsi64_si128((long long)row[1]));
    __m128i r23 = _mm_unpacklo_epi8(_mm_cvtsi64_si128((long long)row[2]),
                                    _mm_cvtsi64_si128((long long)row[3]));
    *first4 = _mm_unpacklo_epi16(r01, r23);
    *last4 = _mm_unpackhi_epi16(r01, r23);
}

/* Binary16 numbers at row[r] + offset, r = 0..3, in lanes r, 4 + r, 8 + r, 12 + r. */
INLINE __m512 halves_of_rows(const uint8_t *const row[4], size_t offset)
{
    __m128i h = _mm_set_epi16(0, 0, 0, 0, (short)load_u16(row[3] + offset),
                              (short)load_u16(row[2] + offset), (short)load_u16(row[1] + offset),
                              (short)load_u16(row[0] + offset));
    return _mm512_broadcast_f32x4(_mm_cvtph_ps(h));
}

INLINE struct weights load_scales_q4_k(const uint8_t *const row[4], size_t g)
{
    uint64_t sc[4], mn[4];
    for (int r = 0; r < 4; r++)
        unpack_scales_q4_k((const block_q4_k *)row[r] + g / 2, &sc[r], &mn[r]);
    __m128i s[2], m[2];
    transpose_bytes(sc, &s[0], &s[1]);
    transpose_bytes(mn, &m[0], &m[1]);
    struct weights w;
    w.scale = _mm512_mul_ps(halves_of_rows(row, g / 2 * 144), bytes_to_floats(s[g & 1]));
    w.offset = _mm512_mul_ps(halves_of_rows(row, g / 2 * 144 + 2), bytes_to_floats(m[g & 1]));
    w.offset = _mm512_sub_ps(_mm512_setzero_ps(), w.offset);
    w.scale_high = w.scale;
    return w;
}

INLINE struct weights load_scales_q6_k(const uint8_t *const row[4], size_t g)
{
    size_t at = g / 2 * 210;
    uint64_t sc[4];
    for (int r = 0; r < 4; r++)
        sc[r] = load_u64(row[r] + at + 192 + 8 * (g & 1));
    __m128i s[2];
    transpose_bytes(sc, &s[0], &s[1]); /* dword j: scale j of the four rows */
    __m128 s0 = _mm_castsi128_ps(s[0]), s1 = _mm_castsi128_ps(s[1]);
    __m128i even = _mm_castps_si128(_mm_shuffle_ps(s0, s1, 0x88));
    __m128i odd = _mm_castps_si128(_mm_shuffle_ps(s0, s1, 0xdd));
    __m512 d = halves_of_rows(row, at + 208);
    struct weights w;
    w.scale = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(even)));
    w.scale_high = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(odd)));
    w.offset = w.scale;
    return w;
}

/* Words at block starts of the four rows' groups to lanes 4 b + r, as binary16 to float. */
INLINE __m512 load_scales_words(const uint8_t *const row[4], size_t g, size_t n,
                                enum strata_type type)
{
    const __m512i order_q4_0 = _mm512_set_epi16(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 27,
                                                27, 27, 27, 18, 18, 18, 18, 9, 9, 9, 9, 0, 0, 0, 0);
    const __m512i order_q8_0 = _mm512_set_epi16(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 17,
                                                17, 17, 17, 0, 0, 0, 0, 17, 17, 17, 17, 0, 0, 0, 0);
    __m512i words = _mm512_setzero_si512();
    UNROLL for (int r = 0; r < 4; r++)
    {
        const uint8_t *at = row[r] + g * bytes_of(type, 4);
        __m512i start = load_start(at, bytes_of(type, n));
        if (type == STRATA_TYPE_Q4_0) {
            words = _mm512_mask_permutexvar_epi16(words, 0x1111u << r, order_q4_0, start);
        } else {
            words = _mm512_mask_permutexvar_epi16(words, 0x0011u << r, order_q8_0, start);
            if (n > 2) {
                __m512i next = load_start(at + 68, bytes_of(type, n - 2));
                words = _mm512_mask_permutexvar_epi16(words, 0x1100u << r, order_q8_0, next);
            }
        }
    }
    return _mm512_cvtph_ps(_mm512_castsi512_si256(words));
}

INLINE struct weights load_scales(const uint8_t *const row[4], size_t g, size_t n,
                                  enum strata_type type)
{
    if (type == STRATA_TYPE_Q4_K)
        return load_scales_q4_k(row, g);
    if (type == STRATA_TYPE_Q6_K)
        return load_scales_q6_k(row, g);
    struct weights w;
    if (type == STRATA_TYPE_Q4_1) { /* scale and offset share a dword */
        const __m512i order =
            _mm512_set_epi32(15, 15, 15, 15, 10, 10, 10, 10, 5, 5, 5, 5, 0, 0, 0, 0);
        __m512i pairs = _mm512_setzero_si512();
        UNROLL for (int r = 0; r < 4; r++) pairs =
            _mm512_mask_permutexvar_epi32(pairs, (__mmask16)(0x1111u << r), order,
                                          load_start(row[r] + 80 * g, bytes_of(type, n)));
        halves_to_floats(pairs, &w.scale, &w.offset);
    } else {
        w.scale = w.offset = load_scales_words(row, g, n, type);
    }
    w.scale_high = w.scale;
    return w;
}

/* Adds the products of group g, which has n blocks, of four rows to lanes 4 b + r of y. */
INLINE __m512 add_group(__m512 y, const struct activations *x, const uint8_t *const row[4],
                        size_t g, size_t n, enum strata_type type)
{
    const int is_signed = type == STRATA_TYPE_Q8_0;
    __m512i sum[4], sum_high[4];
    UNROLL for (int r = 0; r < 4; r++)
    {
        __m512i low, high;
        load_group(&low, &high, row[r], g, n, type);
        if (type == STRATA_TYPE_Q6_K) {
            sum[r] = dot_part(x->start_low, low, x->low, is_signed);
            sum_high[r] = dot_part(x->start_high, high, x->high, is_signed);
        } else {
            sum[r] = dot_whole(x->start_low, low, x->low, high, x->high, is_signed);
        }
    }
    struct weights w = load_scales(row, g, n, type);
    __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(sum_lanes(sum)), w.scale);
    if (type == STRATA_TYPE_Q6_K)
        v = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum_lanes(sum_high)), w.scale_high, v);
    if (has_offset(type))
        v = _mm512_fmadd_ps(w.offset, x->sum, v);
    return _mm512_fmadd_ps(v, x->scale, y);
}

/* Rows i .. i + 4 * sets - 1 (the last row again past the end); `sets` and `type` are constants
 * where this is inlined. */
INLINE void multiply_rows(const struct strata_matmul *a, size_t i, size_t sets,
                          enum strata_type type)
{
    const uint8_t *row[2][4];
    __m512 y[2];
    UNROLL for (size_t s = 0; s < sets; s++)
    {
        y[s] = _mm512_setzero_ps();
        UNROLL for (size_t r = 0; r < 4; r++) row[s][r] =
            (const uint8_t *)a->w + min_size(i + 4 * s + r, a->rows - 1) * a->row_bytes;
    }
    size_t groups = a->k / 128, rest = a->k / 32 % 4;
    const char *next = (const char *)a->w + (i + 4 * sets) * a->row_bytes + PREFETCH_AHEAD;
    for (size_t g = 0; g < groups; g++) {
        next = prefetch(next, 4 * sets * bytes_of(type, 4));
        struct activations x = load_activations(&a->xq, g, 4, type);
        UNROLL for (size_t s = 0; s < sets; s++) y[s] = add_group(y[s], &x, row[s], g, 4, type);
    }
    if (rest && type != STRATA_TYPE_Q4_K && type != STRATA_TYPE_Q6_K) {
        prefetch(next, 4 * sets * bytes_of(type, rest));
        struct activations x = load_activations(&a->xq, groups, rest, type);
        UNROLL for (size_t s = 0; s < sets; s++) y[s] =
            add_group(y[s], &x, row[s], groups, rest, type);
    }
    UNROLL for (size_t s = 0; s < sets; s++)
    {
        size_t at = i + 4 * s;
        if (at < a->rows)
            _mm_mask_storeu_ps(a->y + at, (__mmask8)first16(min_size(a->rows - at, 4)),
                               sum_quarters(y[s]));
    }
}

INLINE void gemv_q8(const struct strata_matmul *a, enum strata_type type)
{
    size_t i = 0;
    for (; i + 8 <= a->rows; i += 8)
        multiply_rows(a, i, 2, type);
    for (; i < a->rows; i += 4)
        multiply_rows(a, i, 1, type);
}

#endif

/* Matrix-vector products of Q8_0, Q4_K and Q6_K weights with 8-bit activations
 * (gemv_q8_nibbles_avx2.c has Q4_0 and Q4_1).
 *
 * A row is read in groups of eight 32-element blocks (one block of a K type).  For each group the
 * eight scales, multiplied by the activation scales, are made together and kept in a small array;
 * offsets times activation sums are added, eight blocks at a time, to an accumulator of their own.
 * For each block vpmaddubsw (unsigned weights, signed activations: 2 * 63 * 127 and 2 * 128 * 127
 * fit in 16 bits) and vpmaddwd give eight 32-bit partial sums, which are converted and multiplied
 * into one of four float accumulators (block b into b % 4, to hide the latency).  Lanes are summed
 * once a row.  The activation quants are memory operands.  Blocks after the last whole group are
 * taken one by one.
 *
 * Q8_0 multiplies |w| by x with the sign of w.  Q6_K multiplies by its integer sub-block scales in
 * vpmaddwd and handles the -32 through the activation sums.  Scales of eight neighbouring Q8_0
 * blocks of 34 bytes: word b of a 16-byte load at 32 b is the one of block b, so seven blends
 * gather them.
 *
 * Measured on a Zen 4 at 3.7 GHz, weights in the second-level cache, k = 576 (512) and 1536: Q8_0
 * 27 and 28 GB/s, Q4_K 16 and 18, Q6_K 17 and 20, where a loop that only reads memory gets 27. */
#include <assert.h>

#include "../kernel_list.h"
#include "blocks_avx2.h"

/* Eight scales times the activation scales xs; offset terms (if any) are added to *offsets. */
typedef __m256 group_fn(const uint8_t *w, __m256 xs, const int16_t *sum, __m256 *offsets);
/* The same for one block: its factor, in lane 0. */
typedef __m256 single_fn(const uint8_t *w, float xs, const int16_t *sum, __m256 *offsets);
/* Partial sums of block b of the group at w. */
typedef __m256i block_fn(const uint8_t *w, int b, __m256i x);

struct row_format {
    size_t block_bytes, group_bytes;
    group_fn *group;
    single_fn *single;
    block_fn *block;
};

/* ---- scales ---- */

/* Scales of eight Q8_0 blocks. */
STRATA_INLINE __m256 gather_scales(const uint8_t *w)
{
#define AT(b) _mm_loadu_si128((const void *)(w + (b)*32))
    __m128i h = AT(0);
    h = _mm_blend_epi16(h, AT(1), 1 << 1);
    h = _mm_blend_epi16(h, AT(2), 1 << 2);
    h = _mm_blend_epi16(h, AT(3), 1 << 3);
    h = _mm_blend_epi16(h, AT(4), 1 << 4);
    h = _mm_blend_epi16(h, AT(5), 1 << 5);
    h = _mm_blend_epi16(h, AT(6), 1 << 6);
    h = _mm_blend_epi16(h, AT(7), 1 << 7);
#undef AT
    return _mm256_cvtph_ps(h);
}

STRATA_INLINE __m256 group_Q8_0(const uint8_t *w, __m256 xs, const int16_t *sum, __m256 *offsets)
{
    (void)sum, (void)offsets;
    return _mm256_mul_ps(gather_scales(w), xs);
}

/* Sums of whole blocks as floats, from the sums of 16. */
STRATA_INLINE __m256 block_sums(const int16_t *sum)
{
    const __m256i pairs = _mm256_loadu_si256((const void *)sum);
    return _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* Eight bytes as floats. */
STRATA_INLINE __m256 u8_to_floats(const uint8_t *bytes)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)bytes)));
}

STRATA_INLINE __m256 group_Q4_K(const uint8_t *w, __m256 xs, const int16_t *sum, __m256 *offsets)
{
    const struct k_scales s = q4_k_scales(w + offsetof(struct strata_block_q4_k, scales));
    const __m256 dmin = _mm256_set1_ps(load_half(w + 2)), d = _mm256_set1_ps(load_half(w));
    const __m256 m = _mm256_mul_ps(dmin, u8_to_floats(s.mn));
    *offsets = _mm256_fnmadd_ps(m, _mm256_mul_ps(xs, block_sums(sum)), *offsets);
    return _mm256_mul_ps(_mm256_mul_ps(d, u8_to_floats(s.sc)), xs);
}

STRATA_INLINE __m256i scales_Q6_K(const uint8_t *w)
{
    const uint8_t *scales = w + offsetof(struct strata_block_q6_k, scales);
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)scales));
}

STRATA_INLINE __m256 group_Q6_K(const uint8_t *w, __m256 xs, const int16_t *sum, __m256 *offsets)
{
    const __m256 d = _mm256_set1_ps(load_half(w + offsetof(struct strata_block_q6_k, d)));
    const __m256 factor = _mm256_mul_ps(d, xs);
    const __m256i sums = _mm256_loadu_si256((const void *)sum);
    const __m256i offset = _mm256_slli_epi32(_mm256_madd_epi16(scales_Q6_K(w), sums), 5);
    *offsets = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(offset), factor, *offsets);
    return factor;
}

STRATA_INLINE __m256 single_Q8_0(const uint8_t *w, float xs, const int16_t *sum, __m256 *offsets)
{
    (void)sum, (void)offsets;
    return _mm256_set1_ps(load_half(w) * xs);
}

/* ---- integers ---- */

STRATA_INLINE __m256i add_pairs(__m256i products)
{
    return _mm256_madd_epi16(products, _mm256_set1_epi16(1));
}

STRATA_INLINE __m256i block_Q8_0(const uint8_t *w, int b, __m256i x)
{
    const __m256i q = _mm256_loadu_si256((const void *)(w + b * 34 + 2));
    return add_pairs(_mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q)));
}

STRATA_INLINE __m256i block_Q4_K(const uint8_t *w, int b, __m256i x)
{
    return add_pairs(_mm256_maddubs_epi16(quants_Q4_K(w, (size_t)b), x));
}

STRATA_INLINE __m256i block_Q6_K(const uint8_t *w, int b, __m256i x)
{
    const uint8_t *scales = w + offsetof(struct strata_block_q6_k, scales) + 2 * b;
    const __m256i which = _mm256_setr_epi64x(0, 0, 0x0101010101010101, 0x0101010101010101);
    uint16_t pair;
    memcpy(&pair, scales, sizeof pair);
    const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi16((short)pair), which);
    const __m256i sc = _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8);
    return _mm256_madd_epi16(_mm256_maddubs_epi16(quants_Q6_K(w, (size_t)b), x), sc);
}

/* ---- rows ---- */

STRATA_INLINE float row_dot(const uint8_t *w, const struct strata_q8_rows *x, size_t blocks,
                            struct row_format f)
{
    __m256 acc[4], offsets = _mm256_setzero_ps();
    STRATA_UNROLL
    for (int i = 0; i < 4; i++)
        acc[i] = _mm256_setzero_ps();
    size_t at = 0;
    for (; at + 8 <= blocks; at += 8, w += f.group_bytes) {
        float scale[8] __attribute__((aligned(32)));
        const int8_t *q = x->q + 32 * at;
        const __m256 xs = _mm256_loadu_ps(x->scale + at);
        _mm256_store_ps(scale, f.group(w, xs, x->sum + 2 * at, &offsets));
        STRATA_UNROLL
        for (int b = 0; b < 8; b++) {
            const __m256i xb = _mm256_loadu_si256((const void *)(q + 32 * b));
            const __m256 s = _mm256_broadcast_ss(scale + b);
            acc[b % 4] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(f.block(w, b, xb)), s, acc[b % 4]);
        }
    }
    for (; f.single != NULL && at < blocks; at++, w += f.block_bytes) {
        const __m256i xb = _mm256_loadu_si256((const void *)(x->q + 32 * at));
        const __m256 s = f.single(w, x->scale[at], x->sum + 2 * at, &offsets);
        acc[0] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(f.block(w, 0, xb)), s, acc[0]);
    }
    acc[0] = _mm256_add_ps(_mm256_add_ps(acc[0], acc[1]), _mm256_add_ps(acc[2], acc[3]));
    return sum_lanes(_mm256_add_ps(acc[0], offsets));
}

#define X(type, single_block, bytes_of_block, bytes_of_group)                                    \
    void strata_gemv_q8_##type##_avx2(const struct strata_matmul *a)                             \
    {                                                                                            \
        const struct row_format f = {bytes_of_block, bytes_of_group, group_##type, single_block, \
                                     block_##type};                                              \
        assert(f.single != NULL || a->k % 256 == 0);                                             \
        for (size_t i = 0; i < a->rows; i++)                                                     \
            a->y[i] = row_dot((const uint8_t *)a->w + i * a->row_bytes, &a->xq, a->k / 32, f);   \
    }
X(Q8_0, single_Q8_0, 34, 272)
X(Q4_K, NULL, 0, sizeof(struct strata_block_q4_k))
X(Q6_K, NULL, 0, sizeof(struct strata_block_q6_k))
#undef X

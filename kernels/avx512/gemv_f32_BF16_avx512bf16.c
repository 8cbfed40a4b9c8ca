/* One token, float activations, BF16 weights, by vdpbf16ps: y[i] = sum over c of w[i][c] * x[c].
 *
 * The instruction adds, in each of 16 float lanes, two products of bf16 numbers.  A float has 24
 * significant bits, so it is the exact sum of three bf16 numbers of eight bits each, cut off one
 * after the other (cutting, where rounding could overflow): high + middle + low.  Three
 * instructions a vector of 32 weights, which need no widening, so give the accuracy of float sums.
 *
 * The instruction takes subnormal numbers for zero.  Where a part of x might be one, or where x is
 * not finite (Inf has no middle part), the call goes to the kernel that widens.  Subnormal weights,
 * and sums below 2^-126, do count as zero here.
 *
 * Eight rows share a cut of x; each has an accumulator for each part, added at the end.  Rows past
 * the end repeat the last one; their results are not stored.
 *
 * Gain over widening (gemv_f32_avx512.c; Zen 4, one core, alternating): 1.14 with weights in L2 and
 * k = 576, 1.0 with k = 2048 there or with weights in memory, where both wait for it.  In products
 * of several tokens, which widen once a panel, the three parts would make it 0.64 times as fast
 * (one instruction a cycle, like a multiply-add), so there is no gemm of this kind. */
#include "lanes_avx512.h"

#define ROWS 8

/* 32 activations as bf16 numbers. */
struct parts {
    __m512bh high, middle, low;
};

/* The upper halves of the dwords of two vectors, in order. */
INLINE __m512bh upper_halves(__m512 first, __m512 second)
{
    const __m512i odd =
        _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27,
                         25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    return (__m512bh)_mm512_permutex2var_epi16(_mm512_castps_si512(first), odd,
                                               _mm512_castps_si512(second));
}

INLINE __m512 cut(__m512 x)
{
    return _mm512_and_ps(x, _mm512_castsi512_ps(_mm512_set1_epi32((int)0xffff0000)));
}

INLINE struct parts split(__m512 first, __m512 second)
{
    __m512 first_rest = _mm512_sub_ps(first, cut(first));
    __m512 second_rest = _mm512_sub_ps(second, cut(second));
    return (struct parts){
        upper_halves(first, second),
        upper_halves(first_rest, second_rest),
        upper_halves(_mm512_sub_ps(first_rest, cut(first_rest)),
                     _mm512_sub_ps(second_rest, cut(second_rest))),
    };
}

/* True when no part of x[0..k) is subnormal or not finite. */
INLINE int splits_exactly(const float *x, size_t k)
{
    const __m512 smallest = _mm512_set1_ps(0x1p-100f), largest = _mm512_set1_ps(0x1p127f);
    __mmask16 bad = 0;
    for (size_t c = 0; c < k; c += 16) {
        __m512 size = _mm512_abs_ps(_mm512_maskz_loadu_ps(first16(k - c), x + c));
        __mmask16 some = _mm512_cmp_ps_mask(size, _mm512_setzero_ps(), _CMP_NEQ_UQ);
        bad |= _mm512_mask_cmp_ps_mask(some, size, smallest, _CMP_LT_OQ);
        bad |= _mm512_cmp_ps_mask(size, largest, _CMP_NLT_UQ);
    }
    return bad == 0;
}

/* Sums of the parts of one row, lane by lane. */
struct sums {
    __m512 high, middle, low;
};

INLINE void add_products(struct sums sum[ROWS], const __m512i w[ROWS], struct parts x)
{
    UNROLL for (size_t r = 0; r < ROWS; r++)
    {
        sum[r].high = _mm512_dpbf16_ps(sum[r].high, (__m512bh)w[r], x.high);
        sum[r].middle = _mm512_dpbf16_ps(sum[r].middle, (__m512bh)w[r], x.middle);
        sum[r].low = _mm512_dpbf16_ps(sum[r].low, (__m512bh)w[r], x.low);
    }
}

/* Rows i .. i + ROWS - 1. */
INLINE void multiply_rows(const struct strata_matmul *a, size_t i)
{
    const char *row[ROWS];
    struct sums sum[ROWS];
    __m512i w[ROWS];
    UNROLL for (size_t r = 0; r < ROWS; r++)
    {
        row[r] = (const char *)a->w + min_size(i + r, a->rows - 1) * a->row_bytes;
        sum[r].high = sum[r].middle = sum[r].low = _mm512_setzero_ps();
    }
    const char *next = (const char *)a->w + (i + ROWS) * a->row_bytes + PREFETCH_AHEAD;
    size_t c = 0;
    for (; c + 32 <= a->k; c += 32) {
        next = prefetch(next, ROWS * 64);
        UNROLL for (size_t r = 0; r < ROWS; r++) w[r] = _mm512_loadu_si512(row[r] + 2 * c);
        add_products(sum, w, split(_mm512_loadu_ps(a->x + c), _mm512_loadu_ps(a->x + c + 16)));
    }
    if (c < a->k) {
        __mmask32 mask = first32(a->k - c);
        UNROLL for (size_t r = 0; r < ROWS; r++) w[r] =
            _mm512_maskz_loadu_epi16(mask, row[r] + 2 * c);
        add_products(sum, w,
                     split(_mm512_maskz_loadu_ps((__mmask16)mask, a->x + c),
                           _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), a->x + c + 16)));
    }
    UNROLL for (size_t r = 0; r < ROWS; r++) if (i + r < a->rows) a->y[i + r] =
        sum16(_mm512_add_ps(sum[r].high, _mm512_add_ps(sum[r].middle, sum[r].low)));
}

void strata_gemv_f32_BF16_avx512bf16(const struct strata_matmul *a)
{
    if (!splits_exactly(a->x, a->k)) {
        strata_gemv_f32_BF16_avx512(a);
        return;
    }
    for (size_t i = 0; i < a->rows; i += ROWS)
        multiply_rows(a, i);
}

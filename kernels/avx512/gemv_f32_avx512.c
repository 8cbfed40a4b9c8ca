/* One token, float activations: y[i] = sum over c of w[i][c] * x[c].
 *
 * Four rows at a time share the loads of x; a row has two accumulators of 16 lanes (elements
 * 0..15 and 16..31 of each 32), added and reduced once at its end, so the order of its sum does not
 * depend on its neighbours.
 *
 * Lines of later rows are prefetched in order: without that, weights in memory come at a third of
 * the speed of a plain loop of loads.
 *
 * Rows past the end repeat the last one; their results are not stored. */
#include "floats_avx512.h"

#define ROWS 4

INLINE void gemv_f32(const struct strata_matmul *a, enum strata_type type)
{
    for (size_t i = 0; i < a->rows; i += ROWS) {
        const char *row[ROWS];
        __m512 sum0[ROWS], sum1[ROWS];
        UNROLL for (size_t r = 0; r < ROWS; r++)
        {
            row[r] = (const char *)a->w + min_size(i + r, a->rows - 1) * a->row_bytes;
            sum0[r] = sum1[r] = _mm512_setzero_ps();
        }
        const char *next = (const char *)a->w + (i + ROWS) * a->row_bytes + PREFETCH_AHEAD;
        size_t c = 0;
        for (; c + 32 <= a->k; c += 32) {
            next = prefetch(next, ROWS * 32 * element_bytes(type));
            __m512 x0 = _mm512_loadu_ps(a->x + c), x1 = _mm512_loadu_ps(a->x + c + 16);
            UNROLL for (size_t r = 0; r < ROWS; r++)
            {
                sum0[r] = _mm512_fmadd_ps(decode16(type, row[r], c, 0xffff), x0, sum0[r]);
                sum1[r] = _mm512_fmadd_ps(decode16(type, row[r], c + 16, 0xffff), x1, sum1[r]);
            }
        }
        if (c < a->k) {
            __mmask16 mask0 = first16(a->k - c), mask1 = (__mmask16)(first32(a->k - c) >> 16);
            __m512 x0 = _mm512_maskz_loadu_ps(mask0, a->x + c);
            __m512 x1 = _mm512_maskz_loadu_ps(mask1, a->x + c + 16);
            UNROLL for (size_t r = 0; r < ROWS; r++)
            {
                sum0[r] = _mm512_fmadd_ps(decode16(type, row[r], c, mask0), x0, sum0[r]);
                sum1[r] = _mm512_fmadd_ps(decode16(type, row[r], c + 16, mask1), x1, sum1[r]);
            }
        }
        UNROLL for (size_t r = 0; r < ROWS; r++) if (i + r < a->rows) a->y[i + r] =
            sum16(_mm512_add_ps(sum0[r], sum1[r]));
    }
}

#define X(type)                                                         \
    void strata_gemv_f32_##type##_avx512(const struct strata_matmul *a) \
    {                                                                   \
        gemv_f32(a, STRATA_TYPE_##type);                                \
    }
STRATA_FLOAT_TYPES(X)
#undef X

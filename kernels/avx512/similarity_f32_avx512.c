/* Inner products of float vectors with queries, in the order of sums that kernels.h fixes: a vector
 * register is the 16 lanes of one product.
 *
 * Up to four queries share the loads and conversions of a vector; four sums are reduced together.
 * Vectors are read one after the other, as the hardware's prefetchers expect: four at a time, with
 * prefetches of our own, came at half of the speed.
 *
 * Vectors past the end repeat the last one; their results are not used. */
#include "floats_avx512.h"

#define PRODUCTS 4

/* Lanes 8 apart added, then 4 apart. */
INLINE __m128 fold(__m512 v)
{
    __m128 a = _mm_add_ps(_mm512_extractf32x4_ps(v, 0), _mm512_extractf32x4_ps(v, 2));
    __m128 b = _mm_add_ps(_mm512_extractf32x4_ps(v, 1), _mm512_extractf32x4_ps(v, 3));
    return _mm_add_ps(a, b);
}

/* The sums of four vectors. */
INLINE __m128 sum_each(const __m512 v[PRODUCTS])
{
    __m128 a = fold(v[0]), b = fold(v[1]), c = fold(v[2]), d = fold(v[3]);
    a = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
    c = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
    return _mm_add_ps(_mm_shuffle_ps(a, c, 0x88), _mm_shuffle_ps(a, c, 0xdd));
}

/* One vector with `queries` queries, lane by lane. */
INLINE void lanes(__m512 *out, enum strata_type type, const char *row, const float *x, size_t ldx,
                  size_t queries, size_t k)
{
    __m512 sum[PRODUCTS];
    size_t c = 0;
    UNROLL for (size_t j = 0; j < queries; j++) sum[j] = _mm512_setzero_ps();
    for (; c + 16 <= k; c += 16) {
        __m512 w = decode16(type, row, c, 0xffff);
        UNROLL for (size_t j = 0; j < queries; j++) sum[j] =
            _mm512_fmadd_ps(w, _mm512_loadu_ps(x + j * ldx + c), sum[j]);
    }
    if (c < k) {
        __mmask16 mask = first16(k - c);
        __m512 w = decode16(type, row, c, mask);
        UNROLL for (size_t j = 0; j < queries; j++) sum[j] =
            _mm512_fmadd_ps(w, _mm512_maskz_loadu_ps(mask, x + j * ldx + c), sum[j]);
    }
    UNROLL for (size_t j = 0; j < queries; j++) out[j] = sum[j];
}

/* `queries` queries from query j on. */
INLINE void part(const struct strata_matmul *a, enum strata_type type, size_t j, size_t queries)
{
    for (size_t i = 0; i < a->rows; i += PRODUCTS / queries) {
        __m512 sum[PRODUCTS];
        float dot[PRODUCTS];
        for (size_t r = 0; r < PRODUCTS / queries; r++) {
            const char *row = (const char *)a->w + min_size(i + r, a->rows - 1) * a->row_bytes;
            lanes(sum + r * queries, type, row, a->x + j * a->ldx, a->ldx, queries, a->k);
        }
        _mm_storeu_ps(dot, sum_each(sum));
        for (size_t p = 0; p < PRODUCTS && i + p / queries < a->rows; p++)
            a->y[(j + p % queries) * a->ldy + i + p / queries] = dot[p];
    }
}

INLINE void similarity(const struct strata_matmul *a, enum strata_type type)
{
    size_t j = 0;
    for (; j + 4 <= a->m; j += 4)
        part(a, type, j, 4);
    for (; j + 2 <= a->m; j += 2)
        part(a, type, j, 2);
    if (j < a->m)
        part(a, type, j, 1);
}

void strata_similarity_f32_F32_avx512(const struct strata_matmul *a)
{
    similarity(a, STRATA_TYPE_F32);
}

void strata_similarity_f32_F16_avx512(const struct strata_matmul *a)
{
    similarity(a, STRATA_TYPE_F16);
}

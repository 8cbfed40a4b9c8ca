/* Inner products of float vectors with queries, in the order of sums that kernels.h fixes: the 16
 * lanes of one product are two registers.
 *
 * Up to four queries share the loads and conversions of a vector; vectors are read one after the
 * other, as the hardware's prefetchers expect, and the next one hides the latency of the last sums.
 * Elements past the last 16 go through a zero-padded copy. */
#include "../kernel_list.h"
#include "vec_avx2.h"

/* Eight elements from element c on as float. */
STRATA_INLINE __m256 elements(enum strata_type type, const void *row, size_t c)
{
    return type == STRATA_TYPE_F32 ? _mm256_loadu_ps((const float *)row + c)
                                   : load_half8((const uint16_t *)row + c);
}

STRATA_INLINE size_t element_bytes(enum strata_type type)
{
    return type == STRATA_TYPE_F32 ? 4 : 2;
}

/* One vector with `queries` (at most 4) queries; results ldy apart. */
STRATA_INLINE void products(float *y, size_t ldy, enum strata_type type, const char *row,
                            const float *x, size_t ldx, size_t queries, size_t k)
{
    __m256 sum[4][2];
    size_t c = 0;
    STRATA_UNROLL
    for (size_t j = 0; j < queries; j++)
        sum[j][0] = sum[j][1] = _mm256_setzero_ps();
    for (; c + 16 <= k; c += 16) {
        const __m256 w0 = elements(type, row, c), w1 = elements(type, row, c + 8);
        STRATA_UNROLL
        for (size_t j = 0; j < queries; j++) {
            const float *at = x + j * ldx + c;
            sum[j][0] = _mm256_fmadd_ps(w0, _mm256_loadu_ps(at), sum[j][0]);
            sum[j][1] = _mm256_fmadd_ps(w1, _mm256_loadu_ps(at + 8), sum[j][1]);
        }
    }
    if (c < k) {
        char rest[64] = {0};
        float left[16] = {0};
        memcpy(rest, row + c * element_bytes(type), (k - c) * element_bytes(type));
        const __m256 w0 = elements(type, rest, 0), w1 = elements(type, rest, 8);
        for (size_t j = 0; j < queries; j++) {
            memcpy(left, x + j * ldx + c, (k - c) * sizeof *x);
            sum[j][0] = _mm256_fmadd_ps(w0, _mm256_loadu_ps(left), sum[j][0]);
            sum[j][1] = _mm256_fmadd_ps(w1, _mm256_loadu_ps(left + 8), sum[j][1]);
        }
    }
    STRATA_UNROLL
    for (size_t j = 0; j < queries; j++)
        y[j * ldy] = sum_lanes(_mm256_add_ps(sum[j][0], sum[j][1]));
}

/* `queries` queries from query j on. */
STRATA_INLINE void part(const struct strata_matmul *a, enum strata_type type, size_t j,
                        size_t queries)
{
    for (size_t i = 0; i < a->rows; i++)
        products(a->y + j * a->ldy + i, a->ldy, type, (const char *)a->w + i * a->row_bytes,
                 a->x + j * a->ldx, a->ldx, queries, a->k);
}

STRATA_INLINE void similarity(const struct strata_matmul *a, enum strata_type type)
{
    size_t j = 0;
    for (; j + 4 <= a->m; j += 4)
        part(a, type, j, 4);
    for (; j + 2 <= a->m; j += 2)
        part(a, type, j, 2);
    if (j < a->m)
        part(a, type, j, 1);
}

void strata_similarity_f32_F32_avx2(const struct strata_matmul *a)
{
    similarity(a, STRATA_TYPE_F32);
}

void strata_similarity_f32_F16_avx2(const struct strata_matmul *a)
{
    similarity(a, STRATA_TYPE_F16);
}

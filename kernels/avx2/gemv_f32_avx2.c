/* Matrix-vector products with float activations: y[i] = sum of w[i][c] * x[c].
 *
 * A row is read once, 32 elements at a time; weights become floats in registers
 * (floats_avx2.h) and are multiplied into four accumulators, one for each eight elements of the
 * chunk, enough to hide the latency of the fused multiply-add on two ports.  The four are added in
 * fixed order at the end of the row.  Elements past the last whole chunk go through a zero-padded
 * copy of weights and activations. */
#include "../kernel_list.h"
#include "floats_avx2.h"

STRATA_INLINE float row_dot(const uint8_t *row, const float *x, size_t k, size_t element_bytes,
                            chunk_fn *chunk)
{
    __m256 acc[4], w[4];
    STRATA_UNROLL
    for (int i = 0; i < 4; i++)
        acc[i] = _mm256_setzero_ps();
    for (size_t c = 0; c < k / 32; c++) {
        chunk(w, row, c);
        STRATA_UNROLL
        for (int i = 0; i < 4; i++)
            acc[i] = _mm256_fmadd_ps(w[i], _mm256_loadu_ps(x + 32 * c + 8 * i), acc[i]);
    }
    if (k % 32 != 0) {
        float tail[32] = {0};
        memcpy(tail, x + k / 32 * 32, k % 32 * sizeof *x);
        chunk_tail(w, row, k / 32, k % 32, element_bytes, chunk);
        STRATA_UNROLL
        for (int i = 0; i < 4; i++)
            acc[i] = _mm256_fmadd_ps(w[i], _mm256_loadu_ps(tail + 8 * i), acc[i]);
    }
    return sum_lanes(_mm256_add_ps(_mm256_add_ps(acc[0], acc[1]), _mm256_add_ps(acc[2], acc[3])));
}

#define X(type, element_bytes)                                                                     \
    void strata_gemv_f32_##type##_avx2(const struct strata_matmul *a)                              \
    {                                                                                              \
        for (size_t i = 0; i < a->rows; i++)                                                       \
            a->y[i] = row_dot((const uint8_t *)a->w + i * a->row_bytes, a->x, a->k, element_bytes, \
                              chunk_##type);                                                       \
    }
STRATA_CHUNK_TYPES(X)
#undef X

/* Several tokens: each weight row times each activation row (product_ref.c has the maths).  The
 * f32 products unpack a weight row once, into scratch, and then treat it as an F32 row. */
#include "product_ref.h"

static const void *weight_row(const struct strata_matmul *a, size_t i)
{
    return (const char *)a->w + i * a->row_bytes;
}

static void gemm_f32(const struct strata_matmul *a, strata_dequantize_fn *dequantize)
{
    float *w = a->scratch;
    for (size_t i = 0; i < a->rows; i++) {
        dequantize(w, weight_row(a, i), a->k);
        for (size_t j = 0; j < a->m; j++)
            a->y[j * a->ldy + i] = strata_row_f32_ref(w, a->x + j * a->ldx, a->k, STRATA_TYPE_F32,
                                                      strata_dequantize_F32_ref);
    }
}

#define X(type)                                                      \
    void strata_gemm_f32_##type##_ref(const struct strata_matmul *a) \
    {                                                                \
        gemm_f32(a, strata_dequantize_##type##_ref);                 \
    }
STRATA_COMPUTE_TYPES(X)
#undef X

#define X(type, has_offset)                                                                  \
    void strata_gemm_q8_##type##_ref(const struct strata_matmul *a)                          \
    {                                                                                        \
        for (size_t i = 0; i < a->rows; i++)                                                 \
            for (size_t j = 0; j < a->m; j++)                                                \
                a->y[j * a->ldy + i] =                                                       \
                    strata_row_q8_ref(weight_row(a, i), &a->xq, j, a->k, STRATA_TYPE_##type, \
                                      strata_decode_##type##_ref, has_offset);               \
    }
STRATA_BLOCK_TYPES(X)
#undef X

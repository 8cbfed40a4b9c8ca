/* One token: each weight row times the activations (product_ref.c has the maths). */
#include "product_ref.h"

static const void *weight_row(const struct strata_matmul *a, size_t i)
{
    return (const char *)a->w + i * a->row_bytes;
}

#define X(type)                                                                            \
    void strata_gemv_f32_##type##_ref(const struct strata_matmul *a)                       \
    {                                                                                      \
        for (size_t i = 0; i < a->rows; i++)                                               \
            a->y[i] = strata_row_f32_ref(weight_row(a, i), a->x, a->k, STRATA_TYPE_##type, \
                                         strata_dequantize_##type##_ref);                  \
    }
STRATA_COMPUTE_TYPES(X)
#undef X

#define X(type, has_offset)                                                                    \
    void strata_gemv_q8_##type##_ref(const struct strata_matmul *a)                            \
    {                                                                                          \
        for (size_t i = 0; i < a->rows; i++)                                                   \
            a->y[i] = strata_row_q8_ref(weight_row(a, i), &a->xq, 0, a->k, STRATA_TYPE_##type, \
                                        strata_decode_##type##_ref, has_offset);               \
    }
STRATA_BLOCK_TYPES(X)
#undef X

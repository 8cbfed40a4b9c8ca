/* Products of rows of float weights with float activations: each output is the sum of w[c] * x[c].
 *
 * Each product of two floats is exact in double, and sums of doubles lose less than k * 2^-53 of
 * sum |w x|, so the result is the exact one rounded to float in all but rare cases: that makes it
 * the fair judge of every float order of summation. */
#include "kernel_list.h"

static float row_dot(const void *row, const float *x, size_t k, size_t element_bytes,
                     strata_dequantize_fn *dequantize)
{
    enum { RUN = 64 };
    double sum = 0;
    for (size_t c = 0; c < k; c += RUN) {
        float w[RUN];
        size_t n = k - c < RUN ? k - c : RUN;
        dequantize(w, (const char *)row + c * element_bytes, n);
        for (size_t i = 0; i < n; i++)
            sum += (double)w[i] * (double)x[c + i];
    }
    return (float)sum;
}

static void gemm_f32(const struct strata_matmul *a, size_t element_bytes,
                     strata_dequantize_fn *dequantize)
{
    for (size_t i = 0; i < a->rows; i++)
        for (size_t j = 0; j < a->m; j++)
            a->y[j * a->ldy + i] = row_dot((const char *)a->w + i * a->row_bytes, a->x + j * a->ldx,
                                           a->k, element_bytes, dequantize);
}

#define X(type, element_bytes)                                       \
    void strata_gemm_f32_##type##_ref(const struct strata_matmul *a) \
    {                                                                \
        gemm_f32(a, element_bytes, strata_dequantize_##type##_ref);  \
    }
X(F32, 4)
X(F16, 2)
X(BF16, 2)
#undef X

/* Rounding of activations and cache entries to fewer bits; kernels.h states the rules bit by bit.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "half.h"
#include "kernel_list.h"

/* One block of 32: quants, scale, the two sums of 16 and the scaled total. */
static void quantize_block(int8_t *q, float *scale, int16_t *sum, float *total, const float *x)
{
    float largest = 0;
    int finite = 1;
    for (int i = 0; i < 32; i++) {
        float magnitude = fabsf(x[i]);
        finite &= isfinite(magnitude) != 0;
        largest = magnitude > largest ? magnitude : largest;
    }
    float inverse = 127 / largest;
    *scale = finite ? largest / 127 : NAN;
    if (!finite || largest < 0x1p-100f) {
        inverse = 0;
        *scale = finite ? 0 : NAN;
    }
    sum[0] = sum[1] = 0;
    for (int i = 0; i < 32; i++) {
        q[i] = inverse == 0 ? 0 : (int8_t)lrintf(x[i] * inverse);
        sum[i / 16] = (int16_t)(sum[i / 16] + q[i]);
    }
    *total = *scale * (float)(sum[0] + sum[1]);
}

void strata_quantize_q8_ref(const struct strata_q8_rows *out, const float *x, size_t m, size_t k)
{
    assert(k % 32 == 0);
    for (size_t b = 0; b < m * (k / 32); b++) /* rows are contiguous, so blocks are */
        quantize_block(out->q + 32 * b, out->scale + b, out->sum + 2 * b, out->total + b,
                       x + 32 * b);
}

void strata_encode_F16_ref(void *dst, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t half = strata_float_to_half(x[i]);
        memcpy((char *)dst + 2 * i, &half, sizeof half);
    }
}

void strata_encode_Q8_0_ref(void *dst, const float *x, size_t n)
{
    assert(n % 32 == 0);
    for (size_t b = 0; b < n / 32; b++) {
        struct strata_block_q8_0 block;
        float scale, total;
        int16_t sum[2];
        quantize_block(block.qs, &scale, sum, &total, x + 32 * b);
        block.d = strata_float_to_half(scale);
        memcpy((char *)dst + b * sizeof block, &block, sizeof block);
    }
}

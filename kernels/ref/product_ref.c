/* One output of a product, the definition of all gemv and gemm kernels.
 *
 * f32: sum of w[c] * x[c].  Each product of two floats is exact in double, and sums of doubles lose
 * less than k * 2^-53 of sum |w x|, so the result is the exact one rounded to float in all but rare
 * cases: that makes it the fair judge of every float order of summation.
 *
 * q8: for each 16 elements the integers q_w and q_x give an exact dot product; the row's result is
 * sum of scale_w * scale_x * dot(q_w, q_x) + offset_w * scale_x * sum(q_x), in double for the same
 * reason.  A NaN activation scale (a block that was not finite) makes the result NaN. */
#include "product_ref.h"

float strata_row_f32_ref(const void *row, const float *x, size_t k, enum strata_type type,
                         strata_dequantize_fn *dequantize)
{
    const struct strata_block_format *format = strata_block_format(type);
    const char *at = row;
    double sum = 0;
    for (size_t c = 0; c < k; c += STRATA_DECODED_MAX) {
        float w[STRATA_DECODED_MAX];
        size_t n = k - c < STRATA_DECODED_MAX ? k - c : STRATA_DECODED_MAX;
        dequantize(w, at, n);
        for (size_t i = 0; i < n; i++)
            sum += (double)w[i] * (double)x[c + i];
        at += n / format->block_elems * format->block_bytes;
    }
    return (float)sum;
}

float strata_row_q8_ref(const void *row, const struct strata_q8_rows *xq, size_t j, size_t k,
                        enum strata_type type, strata_decode_fn *decode, int has_offset)
{
    const struct strata_block_format *format = strata_block_format(type);
    const int8_t *q = xq->q + j * k;
    const float *scale = xq->scale + j * (k / 32);
    const int16_t *sums = xq->sum + j * (k / 16);
    double sum = 0;
    for (size_t c = 0; c < k; c += format->block_elems) {
        struct strata_decoded b;
        decode(&b, (const char *)row + c / format->block_elems * format->block_bytes);
        for (size_t g = 0; g < format->block_elems / 16; g++) {
            int dot = 0;
            for (size_t i = 16 * g; i < 16 * g + 16; i++)
                dot += b.q[i] * q[c + i];
            double scale_x = scale[(c + 16 * g) / 32];
            sum += (double)b.scale[g] * scale_x * dot;
            if (has_offset)
                sum += (double)b.offset[g] * scale_x * sums[c / 16 + g];
        }
    }
    return (float)sum;
}

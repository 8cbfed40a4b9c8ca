/* Products with packed weights (packed.h), the definition of all packed kernels.
 *
 * f32: sum of w[c] * x[c], w rounded to float as dequantize does, in double (gemm_ref.c says why).
 *
 * q8: for each 16 elements the integers q_w and q_x give an exact dot product; the row's result is
 * sum of scale_w * scale_x * dot(q_w, q_x) + offset_w * scale_x * sum(q_x), in double for the same
 * reason.  A NaN activation scale (a block that was not finite) makes the result NaN. */
#include "decode_ref.h"
#include "kernel_list.h"

enum { TOKENS = 32 };

static double block_f32(const struct strata_decoded *w, const float *x, size_t n, bool offset)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        float value = w->scale[i / 16] * (float)w->q[i];
        value = offset ? value + w->offset[i / 16] : value;
        sum += (double)value * (double)x[i];
    }
    return sum;
}

static double block_q8(const struct strata_decoded *w, const int8_t *q, const float *scale,
                       const int16_t *sums, size_t n, bool offset)
{
    double sum = 0;
    for (size_t g = 0; g < n / 16; g++) {
        int dot = 0;
        for (size_t i = 16 * g; i < 16 * g + 16; i++)
            dot += w->q[i] * q[i];
        sum += (double)w->scale[g] * (double)scale[g / 2] * dot;
        if (offset)
            sum += (double)w->offset[g] * (double)scale[g / 2] * sums[g];
    }
    return sum;
}

/* Rows i, tokens j .. j + n - 1: a block is taken apart once for all of them. */
static void multiply_row(const struct strata_matmul *a, enum strata_type type, bool q8, size_t i,
                         size_t j, size_t n)
{
    const struct strata_packed_format f = strata_packed_format(type);
    size_t elems = (size_t)f.block_elems, r = i % STRATA_PANEL_ROWS;
    const char *panel =
        (const char *)a->w + (i - r) / STRATA_PANEL_ROWS * strata_panel_bytes(type, a->k);
    double sum[TOKENS] = {0};
    for (size_t c = 0; c < a->k; c += elems) {
        struct strata_block_parts parts;
        struct strata_decoded w;
        strata_parts_of_panel(type, &parts, panel, a->k, r, c / elems);
        strata_decode_ref(type, &w, &parts);
        for (size_t t = 0; t < n; t++) {
            size_t at = (j + t) * a->k + c; /* in the quantised rows */
            sum[t] += q8 ? block_q8(&w, a->xq.q + at, a->xq.scale + at / 32, a->xq.sum + at / 16,
                                    elems, f.offset)
                         : block_f32(&w, a->x + (j + t) * a->ldx + c, elems, f.offset);
        }
    }
    for (size_t t = 0; t < n; t++)
        a->y[(j + t) * a->ldy + i] = (float)sum[t];
}

static void multiply(const struct strata_matmul *a, enum strata_type type, bool q8)
{
    for (size_t i = 0; i < a->rows; i++)
        for (size_t j = 0; j < a->m; j += TOKENS)
            multiply_row(a, type, q8, i, j, a->m - j < TOKENS ? a->m - j : TOKENS);
}

#define X(type, ...)                                                   \
    void strata_packed_f32_##type##_ref(const struct strata_matmul *a) \
    {                                                                  \
        multiply(a, STRATA_TYPE_##type, false);                        \
    }                                                                  \
    void strata_packed_q8_##type##_ref(const struct strata_matmul *a)  \
    {                                                                  \
        multiply(a, STRATA_TYPE_##type, true);                         \
    }
STRATA_PACKED_FORMATS(X)
#undef X

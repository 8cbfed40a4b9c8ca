/* Inner products whose sums have one order at every level (kernels.h, strata_similarity_f32_fn).
 *
 * f32: 16 lanes of fused multiply-adds, then a tree.  16 lanes are one vector of AVX-512 and two of
 * AVX2; products are fused because both have that as one instruction, and are slower otherwise.
 *
 * q16: queries rounded to 16 bits lose no more than float sums do, and integer sums have no order:
 * a product of a code and 16 bits is below 2^22 + 1, so 32 bits hold the sum of RUN of them. */
#include <math.h>
#include <stdbool.h>

#include "half.h"
#include "kernel_list.h"

#define LANES 16
#define RUN 512

static float element(enum strata_type type, const char *row, size_t c)
{
    uint16_t half;
    float value;
    if (type == STRATA_TYPE_F16) {
        memcpy(&half, row + 2 * c, sizeof half);
        return strata_half_to_float(half);
    }
    memcpy(&value, row + 4 * c, sizeof value);
    return value;
}

static float dot_f32(enum strata_type type, const char *row, const float *x, size_t k)
{
    float sum[LANES] = {0};
    for (size_t c = 0; c < (k + LANES - 1) / LANES * LANES; c++) {
        float w = c < k ? element(type, row, c) : 0;
        sum[c % LANES] = fmaf(w, c < k ? x[c] : 0, sum[c % LANES]);
    }
    for (int distance = LANES / 2; distance > 0; distance /= 2)
        for (int l = 0; l < distance; l++)
            sum[l] += sum[l + distance];
    return sum[0];
}

static void similarity_f32(const struct strata_matmul *a, enum strata_type type)
{
    for (size_t j = 0; j < a->m; j++)
        for (size_t i = 0; i < a->rows; i++)
            a->y[j * a->ldy + i] =
                dot_f32(type, (const char *)a->w + i * a->row_bytes, a->x + j * a->ldx, a->k);
}

void strata_similarity_f32_F32_ref(const struct strata_matmul *a)
{
    similarity_f32(a, STRATA_TYPE_F32);
}

void strata_similarity_f32_F16_ref(const struct strata_matmul *a)
{
    similarity_f32(a, STRATA_TYPE_F16);
}

static int64_t dot_q16(const int8_t *row, const int16_t *x, size_t k)
{
    int64_t sum = 0;
    for (size_t c = 0; c < k; c += RUN) {
        int32_t part = 0;
        size_t n = k - c < RUN ? k - c : RUN;
        for (size_t i = c; i < c + n; i++)
            part += row[i] * x[i];
        sum += part;
    }
    return sum;
}

static int64_t dot_q4(const unsigned char *row, const int16_t *x, size_t k)
{
    int64_t sum = 0;
    for (size_t c = 0; c < k; c++) {
        size_t group = c / STRATA_SKETCH_GROUP, word = c % 32, nibble = c / 32 % 4;
        unsigned byte = row[group * STRATA_SKETCH_GROUP / 2 + 2 * word + nibble / 2];
        sum += (int64_t)(byte >> nibble % 2 * 4 & 15) * x[c];
    }
    return sum;
}

static void similarity_codes(const struct strata_matmul *a, bool sketch)
{
    for (size_t j = 0; j < a->m; j++) {
        const int16_t *x = a->x16 + j * a->ldx;
        int64_t total = 0;
        for (size_t c = 0; c < a->k; c++)
            total += x[c];
        for (size_t i = 0; i < a->rows; i++) {
            const char *row = (const char *)a->w + i * a->row_bytes;
            int64_t dot = sketch ? dot_q4((const unsigned char *)row, x, a->k)
                                 : dot_q16((const int8_t *)row, x, a->k);
            float scaled = a->scales[2 * i] * (float)dot;
            a->y[j * a->ldy + i] = a->steps[j] * (scaled + a->scales[2 * i + 1] * (float)total);
        }
    }
}

void strata_similarity_q16_I8_ref(const struct strata_matmul *a)
{
    similarity_codes(a, false);
}

void strata_similarity_q4_ref(const struct strata_matmul *a)
{
    similarity_codes(a, true);
}

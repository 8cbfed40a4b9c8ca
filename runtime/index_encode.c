/* Vectors as an index stores them. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "half.h"
#include "index.h"

#define LARGEST_F16 65504

size_t strata__index_bad_element(strata_index_type type, const float *x, size_t n)
{
    float limit = type == STRATA_INDEX_F16 ? LARGEST_F16 : FLT_MAX;
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(x[i]) <= limit))
            return i;
    return SIZE_MAX;
}

double strata__index_factor(const strata_index *index, const float *x)
{
    double squares = 0;
    for (size_t i = 0; i < index->dimension && index->metric == STRATA_INDEX_COSINE; i++)
        squares += (double)x[i] * (double)x[i];
    return squares > 0 ? 1 / sqrt(squares) : 1;
}

/* 256 steps from the least to the greatest element: code -128 is the least.  A step too small for a
 * normal float is none. */
static void encode_int8(int8_t *code, float *scales, const float *x, size_t n, double factor)
{
    float least = x[0], greatest = x[0];
    for (size_t i = 1; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        greatest = x[i] > greatest ? x[i] : greatest;
    }
    double low = (double)least * factor, high = (double)greatest * factor;
    float scale = (float)((high - low) / 255);
    if (scale < FLT_MIN) {
        memset(code, 0, n);
        scales[0] = 0;
        scales[1] = (float)(low + (high - low) / 2);
        return;
    }
    scales[0] = scale;
    scales[1] = (float)(low + 128 * (double)scale);
    double step = factor / (double)scale, offset = (double)scales[1] / (double)scale;
    for (size_t i = 0; i < n; i++) {
        double value = (double)x[i] * step - offset; /* -128 .. 127, but for rounding */
        int nearest = (int)(value + 128.5) - 128;
        code[i] = (int8_t)(value < -128 ? -128 : nearest > 127 ? 127 : nearest);
    }
}

void strata__index_encode(const strata_index *index, uint64_t row, const float *x, double factor)
{
    const struct strata__index_block *block = strata__index_block(index, row);
    size_t at = row % index->block_rows, n = index->dimension;
    char *vector = block->vectors + at * index->row_bytes;
    if (index->type == STRATA_INDEX_INT8) {
        encode_int8((int8_t *)vector, block->scales + 2 * at, x, n, factor);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        float value = (float)((double)x[i] * factor);
        if (index->type == STRATA_INDEX_F16)
            ((uint16_t *)vector)[i] = strata_float_to_half(value);
        else
            ((float *)vector)[i] = value;
    }
}

void strata__index_decode(const strata_index *index, uint64_t row, float *vector)
{
    const struct strata__index_block *block = strata__index_block(index, row);
    size_t at = row % index->block_rows;
    const char *stored = block->vectors + at * index->row_bytes;
    for (size_t i = 0; i < index->dimension; i++)
        if (index->type == STRATA_INDEX_INT8)
            vector[i] = block->scales[2 * at] * (float)((const int8_t *)stored)[i] +
                        block->scales[2 * at + 1];
        else if (index->type == STRATA_INDEX_F16)
            vector[i] = strata_half_to_float(((const uint16_t *)stored)[i]);
        else
            vector[i] = ((const float *)stored)[i];
}

strata_status strata_index_vector(strata_index *index, uint64_t id, float *vector)
{
    pthread_rwlock_rdlock(&index->lock);
    uint64_t row = strata__index_find(index, id);
    if (row != UINT64_MAX)
        strata__index_decode(index, row, vector);
    pthread_rwlock_unlock(&index->lock);
    if (row == UINT64_MAX)
        return strata__fail(STRATA_E_INVALID, "the index has no id %llu", (unsigned long long)id);
    return STRATA_OK;
}

/* Elements of a row as floats: value = scale * q [+ offset], rounded once per operation. */
#include <assert.h>
#include <string.h>

#include "decode_ref.h"
#include "half.h"
#include "kernel_list.h"

void strata_dequantize_F32_ref(float *dst, const void *src, size_t n)
{
    memcpy(dst, src, n * sizeof *dst);
}

void strata_dequantize_F16_ref(float *dst, const void *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, (const char *)src + 2 * i, sizeof half);
        dst[i] = strata_half_to_float(half);
    }
}

void strata_dequantize_BF16_ref(float *dst, const void *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t bfloat;
        memcpy(&bfloat, (const char *)src + 2 * i, sizeof bfloat);
        dst[i] = strata_bfloat_to_float(bfloat);
    }
}

static void dequantize(float *dst, const void *src, size_t n, enum strata_type type)
{
    const struct strata_block_format *format = strata_block_format(type);
    bool has_offset = strata_packed_format(type).offset;
    assert(n % format->block_elems == 0);
    for (size_t at = 0; at < n; at += format->block_elems) {
        struct strata_block_parts parts;
        struct strata_decoded b;
        strata_parts_of_block(type, &parts,
                              (const char *)src + at / format->block_elems * format->block_bytes);
        strata_decode_ref(type, &b, &parts);
        for (size_t i = 0; i < format->block_elems; i++) {
            float value = b.scale[i / 16] * (float)b.q[i];
            dst[at + i] = has_offset ? value + b.offset[i / 16] : value;
        }
    }
}

#define X(type, ...)                                                           \
    void strata_dequantize_##type##_ref(float *dst, const void *src, size_t n) \
    {                                                                          \
        dequantize(dst, src, n, STRATA_TYPE_##type);                           \
    }
STRATA_PACKED_FORMATS(X)
#undef X

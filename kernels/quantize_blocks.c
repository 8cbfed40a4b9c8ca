/* Blocks from floats: bringing a block near 1, the search of its type, and its bytes. */
#include "quantize_blocks.h"

#include <assert.h>
#include <string.h>

#include "half.h"
#include "quantize_fit.h"

bool strata_quantize_blocks_has(enum strata_type type)
{
    return strata_packed_format(type).bits != 0;
}

static strata_fan_fit_fn *fit_of(enum strata_level level)
{
#ifdef STRATA_X86
    if (level >= STRATA_LEVEL_avx2)
        return strata_fan_fit_avx2;
#endif
    (void)level;
    return strata_fan_fit_ref;
}

/* The levels and scales of a type. */
static struct strata_lattice lattice_of(enum strata_type type, enum strata_level level)
{
    struct strata_packed_format f = strata_packed_format(type);
    struct strata_lattice l = {.sub = f.sub, .offset = f.offset, .table = f.table, .bias = f.bias};
    l.lo = f.table ? -127 : f.bits == 8 ? -127 : (float)-f.bias;
    l.hi = f.table ? 113 : f.bits == 8 ? 127 : (float)((1 << f.bits) - 1 - f.bias);
    l.power = f.table ? 1 : f.bits == 8 ? 64 : f.offset ? (l.hi + 1) / 2 : l.lo;
    l.below = f.k_type && f.offset;
    l.fit = fit_of(level);
    switch (type) {
    case STRATA_TYPE_Q2_K:
        l.factor_hi = l.minor_hi = 15;
        break;
    case STRATA_TYPE_Q4_K:
    case STRATA_TYPE_Q5_K:
        l.factor_hi = l.minor_hi = 63;
        break;
    case STRATA_TYPE_Q6_K:
        l.factor_lo = -128;
        l.factor_hi = 127;
        break;
    default: /* Q3_K, IQ4_XS */
        l.factor_lo = -32;
        l.factor_hi = 31;
    }
    return l;
}

/* A power of two that brings the largest magnitude to 1 .. 2, or 0 when the type can hold none of
 * the block but zeros: its smallest scale is 2^-24. */
static float unit_of(const float *x, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        float magnitude = x[i] < 0 ? -x[i] : x[i];
        most = magnitude > most ? magnitude : most;
    }
    if (most < 0x1p-26f)
        return 0;
    uint32_t exponent = strata_float_to_bits(most) >> 23;
    return strata_float_from_bits((exponent > 253 ? 1 : 254 - exponent) << 23);
}

/* The weights of a block, the largest brought to 1. */
static void scale_weights(float *out, const float *weight, size_t n)
{
    float most = 0;
    for (size_t i = 0; weight && i < n; i++)
        most = weight[i] > most ? weight[i] : most;
    for (size_t i = 0; i < n; i++)
        out[i] = most > 0 ? weight[i] / most : 1;
}

void strata_quantize_blocks(enum strata_level level, enum strata_type type, void *dst,
                            const float *x, const float *weight, size_t n)
{
    const struct strata_block_format *format = strata_block_format(type);
    const struct strata_lattice lattice = lattice_of(type, level);
    size_t elems = format->block_elems;
    assert(strata_quantize_blocks_has(type) && n % elems == 0);
    for (size_t at = 0; at < n; at += elems) {
        float y[256], w[256];
        struct strata_block_parts parts;
        memset(&parts, 0, sizeof parts);
        memset(parts.q, lattice.table ? 8 : lattice.bias, sizeof parts.q);
        float unit = unit_of(x + at, elems);
        if (unit > 0) {
            for (size_t i = 0; i < elems; i++)
                y[i] = x[at + i] * unit;
            scale_weights(w, weight ? weight + at : NULL, elems);
            if (elems == 32)
                strata_fit_block(&parts, &lattice, y, w, unit);
            else
                strata_fit_super(&parts, &lattice, y, w, unit);
        }
        strata_block_of_parts(type, (char *)dst + at / elems * format->block_bytes, &parts);
    }
}

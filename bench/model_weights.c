/* Types of random weights (model_parts.h). */
#include "model_parts.h"

#include <string.h>

#include "half.h"

#define DEVIATION 0.02

/* Blocks are random bytes, but for the binary16 scales of a block.
 *
 * SIGNED: w = d * x.  d is fixed up to its sign.
 * CENTRED: w = d * x + m * y.  Both are fixed: m = ratio * d, such that the mean of w is 0.
 * FLOATS: sign and mantissa are random, the magnitude is from 2^-7 to 2^-5: that deviates by 0.019.
 *
 * The deviation is that of a block's weights for d = 1, of independent uniform quants and factors:
 * with n bits, a quant has the mean (2^n - 1) / 2 and the mean square
 * (2^n - 1) * (2^(n+1) - 1) / 6. */
/* clang-format off */
#define FLOATS(name, type, keep, bits) \
    {#name, STRATA_TYPE_##type, 0, 0, 0, 0, keep, bits},
#define SIGNED(name, type, deviation) \
    {#name, STRATA_TYPE_##type, deviation, 0, offsetof(struct strata_block_##name, d), 0, 0, 0},
#define CENTRED(name, type, m, deviation, ratio) \
    {#name, STRATA_TYPE_##type, deviation, ratio, offsetof(struct strata_block_##name, d), \
     offsetof(struct strata_block_##name, m), 0, 0},

static const struct weight_type rows[] = {
    FLOATS(f32, F32, 0x80, 0x3c)
    FLOATS(f16, F16, 0x87, 0x20)
    FLOATS(bf16, BF16, 0x80, 0x3c)
    SIGNED(q4_0, Q4_0, 4.637)
    CENTRED(q4_1, Q4_1, m, 4.610, -7.5)
    SIGNED(q5_0, Q5_0, 9.247)
    CENTRED(q5_1, Q5_1, m, 9.233, -15.5)
    SIGNED(q8_0, Q8_0, 73.90)
    CENTRED(q2_k, Q2_K, dmin, 13.87, 1.5)
    SIGNED(q3_k, Q3_K, 43.34)
    CENTRED(q4_k, Q4_K, dmin, 258.3, 7.5)
    CENTRED(q5_k, Q5_K, dmin, 526.9, 15.5)
    SIGNED(q6_k, Q6_K, 1366)
    SIGNED(iq4_nl, IQ4_NL, 67.44)
    SIGNED(iq4_xs, IQ4_XS, 1246)
};
/* clang-format on */
#define ROWS (sizeof rows / sizeof *rows)

const struct weight_type *weight_type_row(size_t i)
{
    return i < ROWS ? &rows[i] : NULL;
}

const struct weight_type *weight_type_named(const char *name)
{
    for (size_t i = 0; i < ROWS; i++)
        if (!strcmp(rows[i].name, name))
            return &rows[i];
    return NULL;
}

const struct weight_type *weight_type_of(enum strata_type type)
{
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].type == type)
            return &rows[i];
    return NULL;
}

/* ---- Filling: splitmix64 (Steele, Lea, Flood 2014), then what is fixed ---- */

static uint64_t mixed(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static void fill_random(uint8_t *out, size_t size, uint64_t seed, uint64_t chunk)
{
    uint64_t state = mixed(mixed(seed) + chunk);
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = mixed(state += 0x9e3779b97f4a7c15u);
        memcpy(out + at, &word, size - at < 8 ? size - at : 8);
    }
}

/* In byte `at` of each block the bits of `keep` stay random and the others become `bits`. */
static void fix(uint8_t *out, size_t size, size_t step, size_t at, unsigned keep, unsigned bits)
{
    for (; at < size; at += step)
        out[at] = (uint8_t)((out[at] & keep) | bits);
}

void fill_weights(uint8_t *out, const struct weight_type *row, size_t blocks, uint64_t seed,
                  uint64_t chunk)
{
    size_t step = strata_block_format(row->type)->block_bytes, size = blocks * step;
    fill_random(out, size, seed, chunk);
    if (row->deviation == 0) {
        fix(out, size, step, step - 1, row->keep, row->bits);
        return;
    }
    double scale = DEVIATION / row->deviation;
    unsigned d = strata_float_to_half((float)scale);
    fix(out, size, step, row->scale_at, 0, d & 255);
    fix(out, size, step, row->scale_at + 1u, row->ratio == 0 ? 0x80 : 0, d >> 8);
    if (row->ratio != 0) {
        unsigned m = strata_float_to_half((float)(scale * row->ratio));
        fix(out, size, step, row->more_at, 0, m & 255);
        fix(out, size, step, row->more_at + 1u, 0, m >> 8);
    }
}

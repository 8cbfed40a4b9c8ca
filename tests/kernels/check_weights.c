/* Weight rows: random contents, and the value of an element by the format's definition, written
 * apart from kernels/ref so that the two check each other. */
#include <math.h>
#include <string.h>

#include "check.h"

double check_half(uint16_t half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double value;
    if (exponent == 31)
        value = fraction ? NAN : INFINITY;
    else if (exponent == 0)
        value = ldexp(fraction, -24);
    else
        value = ldexp(1024 + fraction, exponent - 25);
    return half >> 15 ? -value : value;
}

static uint16_t word(const unsigned char *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static struct check_element float_element(enum strata_type type, const unsigned char *row, size_t i)
{
    struct check_element e = {.q = 1};
    float value;
    if (type == STRATA_TYPE_F16) {
        e.scale = check_half(word(row + 2 * i));
    } else if (type == STRATA_TYPE_BF16) {
        uint32_t bits = (uint32_t)word(row + 2 * i) << 16;
        memcpy(&value, &bits, 4);
        e.scale = (double)value;
    } else {
        memcpy(&value, row + 4 * i, 4);
        e.scale = (double)value;
    }
    return e;
}

static struct check_element q4_k_element(const unsigned char *b, size_t i)
{
    /* The scale bytes hold two 6-bit numbers for each of eight sub-blocks of 32. */
    const unsigned char *s = b + 4;
    size_t j = i / 32;
    int scale = j < 4 ? s[j] % 64 : s[j + 4] % 16 + s[j - 4] / 64 * 16;
    int minimum = j < 4 ? s[j + 4] % 64 : s[j + 4] / 16 + s[j] / 64 * 16;
    int byte = b[16 + i / 64 * 32 + i % 32];
    struct check_element e = {
        .scale = check_half(word(b)) * scale,
        .offset = -check_half(word(b + 2)) * minimum,
        .q = i / 32 % 2 ? byte / 16 : byte % 16,
    };
    return e;
}

static struct check_element q6_k_element(const unsigned char *b, size_t i)
{
    size_t half = i / 128, part = i / 32 % 4, l = i % 32;
    int low = b[half * 64 + part % 2 * 32 + l];
    int high = b[128 + half * 32 + l];
    low = part < 2 ? low % 16 : low / 16;
    high = (high >> (2 * part)) % 4;
    struct check_element e = {
        .scale = check_half(word(b + 208)) * (signed char)b[192 + i / 16],
        .q = high * 16 + low - 32,
    };
    return e;
}

struct check_element check_weight(enum strata_type type, const unsigned char *row, size_t i)
{
    const struct strata_block_format *format = strata_block_format(type);
    const unsigned char *b = row + i / format->block_elems * format->block_bytes;
    size_t at = i % format->block_elems;
    struct check_element e = {0};
    switch (type) {
    case STRATA_TYPE_Q4_0:
        e.scale = check_half(word(b));
        e.q = (at < 16 ? b[2 + at] % 16 : b[2 + at - 16] / 16) - 8;
        return e;
    case STRATA_TYPE_Q4_1:
        e.scale = check_half(word(b));
        e.offset = check_half(word(b + 2));
        e.q = at < 16 ? b[4 + at] % 16 : b[4 + at - 16] / 16;
        return e;
    case STRATA_TYPE_Q8_0:
        e.scale = check_half(word(b));
        e.q = (signed char)b[2 + at];
        return e;
    case STRATA_TYPE_Q4_K:
        return q4_k_element(b, at);
    case STRATA_TYPE_Q6_K:
        return q6_k_element(b, at);
    default:
        return float_element(type, row, i);
    }
}

/* ---- random contents ---- */

static uint16_t random_half(enum check_mode mode, struct check_random *random)
{
    static const uint16_t extremes[] = {0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x0400,
                                        0x7bff, 0xfbff, 0x3c00, 0xbc00, 0x0002, 0x7800};
    static const uint16_t specials[] = {0x7c00, 0xfc00, 0x7e00, 0xfe01, 0x7c01};
    uint16_t sign = (uint16_t)(check_next(random) << 15);
    if (mode == CHECK_EXACT) /* +-1/4 or +-1/8 */
        return (uint16_t)(sign | (check_one_in(random, 2) ? 0x3400 : 0x3000));
    if (mode == CHECK_HOSTILE_WEIGHTS && check_one_in(random, 4))
        return specials[check_between(random, 0, 4)];
    if (mode == CHECK_EXTREME && check_one_in(random, 2))
        return extremes[check_between(random, 0, sizeof extremes / sizeof *extremes - 1)];
    return (uint16_t)(sign | check_between(random, 0x1400, 0x3000)); /* 2^-10 .. 2^-3 */
}

static float random_f32(enum check_mode mode, struct check_random *random)
{
    if (mode == CHECK_EXACT)
        return (float)check_between(random, 0, 14) - 7;
    if (mode == CHECK_HOSTILE_WEIGHTS && check_one_in(random, 8))
        return check_one_in(random, 2) ? NAN : check_one_in(random, 2) ? INFINITY : -INFINITY;
    if (mode == CHECK_EXTREME && check_one_in(random, 3))
        return check_one_in(random, 3)
                   ? 0
                   : ldexpf(check_unit(random), (int)check_between(random, 0, 240) - 140);
    return check_unit(random);
}

static void fill_floats(enum strata_type type, unsigned char *row, size_t n, enum check_mode mode,
                        struct check_random *random)
{
    for (size_t i = 0; i < n; i++) {
        float value = random_f32(mode, random);
        if (type == STRATA_TYPE_F32) {
            memcpy(row + 4 * i, &value, 4);
        } else if (type == STRATA_TYPE_BF16) {
            memcpy(row + 2 * i, (unsigned char *)&value + 2, 2);
            if (isnan(value))
                row[2 * i] = 0xc0;
        } else {
            uint16_t half = random_half(mode, random);
            memcpy(row + 2 * i, &half, 2);
        }
    }
}

/* Blocks begin as random bytes, all-ones, all-zeros and the like: that makes every quant and every
 * small scale extreme.  Then the binary16 fields are set. */
static void fill_block(enum strata_type type, unsigned char *block, enum check_mode mode,
                       struct check_random *random)
{
    static const unsigned char patterns[] = {0x00, 0xff, 0x80, 0x7f, 0x0f, 0xf0, 0x88, 0x77};
    size_t size = strata_block_format(type)->block_bytes;
    bool pattern = check_one_in(random, 4);
    unsigned char byte = patterns[check_between(random, 0, sizeof patterns - 1)];
    for (size_t i = 0; i < size; i++)
        block[i] = pattern ? byte : (unsigned char)check_next(random);
    if (type == STRATA_TYPE_Q4_K && mode == CHECK_EXACT) /* scales and minima below 16 */
        for (size_t i = 4; i < 16; i++)
            block[i] = i < 12 ? block[i] & 15 : block[i];
    if (type == STRATA_TYPE_Q6_K && mode == CHECK_EXACT) /* scales -2..1 */
        for (size_t i = 192; i < 208; i++)
            block[i] = (unsigned char)((int)check_between(random, 0, 3) - 2);
    size_t first = type == STRATA_TYPE_Q6_K ? 208 : 0;
    size_t fields = type == STRATA_TYPE_Q4_1 || type == STRATA_TYPE_Q4_K ? 2 : 1;
    for (size_t f = 0; f < fields; f++) {
        uint16_t half = random_half(mode, random);
        memcpy(block + first + 2 * f, &half, 2);
    }
}

void check_fill_weights(enum strata_type type, unsigned char *row, size_t n, enum check_mode mode,
                        struct check_random *random)
{
    const struct strata_block_format *format = strata_block_format(type);
    if (format->block_elems == 1) {
        fill_floats(type, row, n, mode, random);
        return;
    }
    for (size_t b = 0; b < n / format->block_elems; b++)
        fill_block(type, row + b * format->block_bytes, mode, random);
}

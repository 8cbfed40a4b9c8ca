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

/* Bit `bit` of byte `byte`. */
static int bit_of(unsigned char byte, size_t bit)
{
    return byte >> bit & 1;
}

/* The two-bit number of element i in 64 bytes: four runs of 32 share the bytes of a half. */
static int crumb_of(const unsigned char *bytes, size_t i)
{
    int byte = bytes[i / 128 * 32 + i % 32];
    size_t run = i % 128 / 32;
    return byte / (run == 0 ? 1 : run == 1 ? 4 : run == 2 ? 16 : 64) % 4;
}

/* Blocks of 32, byte by byte: 2 bytes d, then m (Q4_1, Q5_1), then the fifth bits (Q5), then
 * quants. */
static struct check_element short_element(enum strata_type type, const unsigned char *b, size_t i)
{
    bool has_offset = type == STRATA_TYPE_Q4_1 || type == STRATA_TYPE_Q5_1;
    bool five = type == STRATA_TYPE_Q5_0 || type == STRATA_TYPE_Q5_1;
    const unsigned char *after = b + (has_offset ? 4 : 2), *quants = after + (five ? 4 : 0);
    struct check_element e = {.scale = check_half(word(b)), .has_offset = has_offset};
    if (has_offset)
        e.offset = check_half(word(b + 2));
    e.q = i < 16 ? quants[i] % 16 : quants[i - 16] / 16;
    if (five)
        e.q += 16 * bit_of(after[i / 8], i % 8);
    if (type == STRATA_TYPE_Q4_0)
        e.q -= 8;
    if (type == STRATA_TYPE_Q5_0)
        e.q -= 16;
    if (type == STRATA_TYPE_Q8_0)
        e.q = (signed char)after[i];
    return e;
}

/* IQ4: sixteen levels, dense near zero. */
static int iq4_level(int index)
{
    static const int levels[] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                 1,    13,   25,  38,  53,  69,  89,  113};
    return levels[index];
}

static struct check_element iq4_element(enum strata_type type, const unsigned char *b, size_t i)
{
    struct check_element e = {.scale = check_half(word(b))};
    size_t sub = i / 32, at = i % 32;
    const unsigned char *quants = type == STRATA_TYPE_IQ4_NL ? b + 2 : b + 8 + 16 * sub;
    e.q = iq4_level(at < 16 ? quants[at] % 16 : quants[at - 16] / 16);
    if (type == STRATA_TYPE_IQ4_XS) {
        int low = sub % 2 ? b[4 + sub / 2] / 16 : b[4 + sub / 2] % 16;
        int high =
            bit_of(b[2 + sub / 4], 2 * (sub % 4)) + 2 * bit_of(b[2 + sub / 4], 2 * (sub % 4) + 1);
        e.scale *= low + 16 * high - 32;
    }
    return e;
}

static struct check_element q2_k_element(const unsigned char *b, size_t i)
{
    int scales = b[i / 16];
    struct check_element e = {
        .scale = check_half(word(b + 80)) * (scales % 16),
        .offset = -check_half(word(b + 82)) * (scales / 16),
        .q = crumb_of(b + 16, i),
        .has_offset = true,
    };
    return e;
}

static struct check_element q3_k_element(const unsigned char *b, size_t i)
{
    /* 12 bytes of scales: 16 numbers of four bits, then the upper two bits of each, four a byte. */
    const unsigned char *s = b + 96;
    size_t j = i / 16;
    int low = j < 8 ? s[j] % 16 : s[j - 8] / 16;
    int high = bit_of(s[8 + j % 4], j / 4 * 2) + 2 * bit_of(s[8 + j % 4], j / 4 * 2 + 1);
    struct check_element e = {
        .scale = check_half(word(b + 108)) * (low + 16 * high - 32),
        .q = crumb_of(b + 32, i) + 4 * bit_of(b[i % 32], i / 32) - 4,
    };
    return e;
}

/* Q4_K, and Q5_K, which has 32 bytes of fifth bits before the nibbles. */
static struct check_element q45_k_element(enum strata_type type, const unsigned char *b, size_t i)
{
    /* The scale bytes hold two 6-bit numbers for each of eight sub-blocks of 32. */
    const unsigned char *s = b + 4, *quants = b + (type == STRATA_TYPE_Q5_K ? 48 : 16);
    size_t j = i / 32;
    int scale = j < 4 ? s[j] % 64 : s[j + 4] % 16 + s[j - 4] / 64 * 16;
    int minimum = j < 4 ? s[j + 4] % 64 : s[j + 4] / 16 + s[j] / 64 * 16;
    int byte = quants[i / 64 * 32 + i % 32];
    struct check_element e = {
        .scale = check_half(word(b)) * scale,
        .offset = -check_half(word(b + 2)) * minimum,
        .q = j % 2 ? byte / 16 : byte % 16,
        .has_offset = true,
    };
    if (type == STRATA_TYPE_Q5_K)
        e.q += 16 * bit_of(b[16 + i % 32], j);
    return e;
}

static struct check_element q6_k_element(const unsigned char *b, size_t i)
{
    size_t half = i / 128, part = i / 32 % 4, l = i % 32;
    int low = b[half * 64 + part % 2 * 32 + l];
    low = part < 2 ? low % 16 : low / 16;
    struct check_element e = {
        .scale = check_half(word(b + 208)) * (signed char)b[192 + i / 16],
        .q = crumb_of(b + 128, i) * 16 + low - 32,
    };
    return e;
}

struct check_element check_weight(enum strata_type type, const unsigned char *row, size_t i)
{
    const struct strata_block_format *format = strata_block_format(type);
    const unsigned char *b = row + i / format->block_elems * format->block_bytes;
    size_t at = i % format->block_elems;
    switch (type) {
    case STRATA_TYPE_Q4_0:
    case STRATA_TYPE_Q4_1:
    case STRATA_TYPE_Q5_0:
    case STRATA_TYPE_Q5_1:
    case STRATA_TYPE_Q8_0:
        return short_element(type, b, at);
    case STRATA_TYPE_IQ4_NL:
    case STRATA_TYPE_IQ4_XS:
        return iq4_element(type, b, at);
    case STRATA_TYPE_Q2_K:
        return q2_k_element(b, at);
    case STRATA_TYPE_Q3_K:
        return q3_k_element(b, at);
    case STRATA_TYPE_Q4_K:
    case STRATA_TYPE_Q5_K:
        return q45_k_element(type, b, at);
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
        } else if (type == STRATA_TYPE_I8) {
            row[i] = check_one_in(random, 4) ? 0x80 : (unsigned char)check_next(random);
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

/* Where a block's binary16 numbers are: `count` of them from byte `first` on. */
struct half_fields {
    size_t first, count;
};

static struct half_fields half_fields_of(enum strata_type type)
{
    switch (type) {
    case STRATA_TYPE_Q2_K:
        return (struct half_fields){80, 2};
    case STRATA_TYPE_Q3_K:
        return (struct half_fields){108, 1};
    case STRATA_TYPE_Q6_K:
        return (struct half_fields){208, 1};
    case STRATA_TYPE_Q4_1:
    case STRATA_TYPE_Q5_1:
    case STRATA_TYPE_Q4_K:
    case STRATA_TYPE_Q5_K:
        return (struct half_fields){0, 2};
    default:
        return (struct half_fields){0, 1};
    }
}

/* Keeps a K type's integer factors so small that float sums of the products stay exact. */
static void make_exact(enum strata_type type, unsigned char *block, struct check_random *random)
{
    switch (type) {
    case STRATA_TYPE_Q4_K: /* scales and minima below 16 */
    case STRATA_TYPE_Q5_K:
        for (size_t i = 4; i < 12; i++)
            block[i] &= 15;
        break;
    case STRATA_TYPE_Q6_K: /* scales -2..1 */
        for (size_t i = 192; i < 208; i++)
            block[i] = (unsigned char)((int)check_between(random, 0, 3) - 2);
        break;
    case STRATA_TYPE_Q3_K: /* scales 0..15, from 32..47 */
        memset(block + 104, 0xaa, 4);
        break;
    case STRATA_TYPE_IQ4_XS: /* likewise */
        memset(block + 2, 0xaa, 2);
        break;
    default:
        break;
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
    if (mode == CHECK_EXACT)
        make_exact(type, block, random);
    const struct half_fields fields = half_fields_of(type);
    for (size_t f = 0; f < fields.count; f++) {
        uint16_t half = random_half(mode, random);
        memcpy(block + fields.first + 2 * f, &half, 2);
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

/* ---- trees ---- */

void check_fill_tree(uint32_t *until, size_t tree, size_t rows, struct check_random *random)
{
    size_t path[301], depth = 0;
    for (size_t i = 0; i <= rows; i++) {
        size_t stays = i < rows ? check_between(random, 0, depth) : 0;
        if (check_one_in(random, 2) && i < rows)
            stays = depth;
        while (depth > stays)
            until[path[--depth]] = (uint32_t)(tree + i);
        path[depth++] = i;
    }
    if (check_one_in(random, 3))
        until[0] = (uint32_t)tree;
}

/* Parts of blocks into the layout of files: the inverse of what pack.c takes apart. */
#include <assert.h>
#include <string.h>

#include "quantize_blocks.h"

/* 16 bytes of nibbles: elements 0..15 low, 16..31 high. */
static void nibbles(uint8_t qs[16], const uint8_t q[32])
{
    for (int i = 0; i < 16; i++)
        qs[i] = (uint8_t)((q[i] & 15) | q[i + 16] << 4);
}

/* The fifth bits of 32 elements: bit i of four bytes. */
static void fifth_bits(uint8_t qh[4], const uint8_t q[32])
{
    memset(qh, 0, 4);
    for (int i = 0; i < 32; i++)
        qh[i / 8] |= (uint8_t)((q[i] >> 4 & 1) << i % 8);
}

/* Bits `shift` and the next of 256 elements, as 64 bytes of two-bit numbers. */
static void crumbs(uint8_t qs[64], const uint8_t q[256], int shift)
{
    memset(qs, 0, 64);
    for (int run = 0; run < 8; run++) /* of 32 elements */
        for (int i = 0; i < 32; i++)
            qs[32 * (run / 4) + i] |= (uint8_t)((q[32 * run + i] >> shift & 3) << 2 * (run % 4));
}

/* 128 bytes of nibbles: `run` elements low, then as many high. */
static void long_nibbles(uint8_t qs[128], const uint8_t q[256], int run)
{
    for (int at = 0; at < 128; at += run)
        for (int i = 0; i < run; i++)
            qs[at + i] = (uint8_t)((q[2 * at + i] & 15) | q[2 * at + run + i] << 4);
}

/* Bit `shift` of 256 elements: bit i / 32 of byte i % 32. */
static void single_bits(uint8_t bits[32], const uint8_t q[256], int shift)
{
    memset(bits, 0, 32);
    for (int run = 0; run < 8; run++)
        for (int i = 0; i < 32; i++)
            bits[i] |= (uint8_t)((q[32 * run + i] >> shift & 1) << run);
}

/* The 6-bit scales and minima of Q4_K and Q5_K. */
static void six_bit_pairs(uint8_t scales[12], const struct strata_block_parts *parts)
{
    for (int j = 0; j < 4; j++) {
        unsigned factor = (unsigned)parts->factor[j + 4], minor = parts->minor[j + 4];
        scales[j] = (uint8_t)((unsigned)parts->factor[j] | factor >> 4 << 6);
        scales[j + 4] = (uint8_t)(parts->minor[j] | minor >> 4 << 6);
        scales[j + 8] = (uint8_t)((factor & 15) | minor << 4);
    }
}

#define STORE() memcpy(block, &b, sizeof b)

static void store_Q4_0(void *block, const struct strata_block_parts *parts)
{
    struct strata_block_q4_0 b = {.d = parts->d};
    nibbles(b.qs, parts->q);
    STORE();
}

static void store_Q4_1(void *block, const struct strata_block_parts *parts)
{
    struct strata_block_q4_1 b = {.d = parts->d, .m = parts->m};
    nibbles(b.qs, parts->q);
    STORE();
}

static void store_Q5_0(void *block, const struct strata_block_parts *parts)
{
    struct strata_block_q5_0 b = {.d = parts->d};
    nibbles(b.qs, parts->q);
    fifth_bits(b.qh, parts->q);
    STORE();
}

static void store_Q5_1(void *block, const struct strata_block_parts *parts)
{
    struct strata_block_q5_1 b = {.d = parts->d, .m = parts->m};
    nibbles(b.qs, parts->q);
    fifth_bits(b.qh, parts->q);
    STORE();
}

static void store_Q8_0(void *block, const struct strata_block_parts *parts)
{
    struct strata_block_q8_0 b = {.d = parts->d};
    memcpy(b.qs, parts->q, sizeof b.qs);
    STORE();
}

static void store_IQ4_NL(void *block, const struct strata_block_parts *parts)
{
    struct strata_block_iq4_nl b = {.d = parts->d};
    nibbles(b.qs, parts->q);
    STORE();
}

static void store_Q2_K(void *block, const struct strata_block_parts *parts)
{
    struct strata_block_q2_k b = {.d = parts->d, .dmin = parts->m};
    crumbs(b.qs, parts->q, 0);
    for (int j = 0; j < 16; j++)
        b.scales[j] = (uint8_t)(parts->factor[j] | parts->minor[j] << 4);
    STORE();
}

static void store_Q3_K(void *block, const struct strata_block_parts *parts)
{
    struct strata_block_q3_k b = {.d = parts->d};
    crumbs(b.qs, parts->q, 0);
    single_bits(b.hmask, parts->q, 2);
    for (int j = 0; j < 16; j++) {
        int factor = parts->factor[j] + 32;
        b.scales[j % 8] |= (uint8_t)((factor & 15) << j / 8 * 4);
        b.scales[8 + j % 4] |= (uint8_t)(factor >> 4 << 2 * (j / 4));
    }
    STORE();
}

static void store_Q4_K(void *block, const struct strata_block_parts *parts)
{
    struct strata_block_q4_k b = {.d = parts->d, .dmin = parts->m};
    long_nibbles(b.qs, parts->q, 32);
    six_bit_pairs(b.scales, parts);
    STORE();
}

static void store_Q5_K(void *block, const struct strata_block_parts *parts)
{
    struct strata_block_q5_k b = {.d = parts->d, .dmin = parts->m};
    long_nibbles(b.qs, parts->q, 32);
    single_bits(b.qh, parts->q, 4);
    six_bit_pairs(b.scales, parts);
    STORE();
}

static void store_Q6_K(void *block, const struct strata_block_parts *parts)
{
    struct strata_block_q6_k b = {.d = parts->d};
    long_nibbles(b.ql, parts->q, 64);
    crumbs(b.qh, parts->q, 4);
    memcpy(b.scales, parts->factor, sizeof b.scales);
    STORE();
}

static void store_IQ4_XS(void *block, const struct strata_block_parts *parts)
{
    struct strata_block_iq4_xs b = {.d = parts->d};
    for (int j = 0; j < 8; j++) {
        int factor = parts->factor[j] + 32;
        nibbles(b.qs + 16 * j, parts->q + 32 * j);
        b.scales_l[j / 2] |= (uint8_t)((factor & 15) << j % 2 * 4);
        b.scales_h |= (uint16_t)(factor >> 4 << 2 * j);
    }
    STORE();
}

void strata_block_of_parts(enum strata_type type, void *block,
                           const struct strata_block_parts *parts)
{
    switch (type) {
#define X(name, ...)                \
    case STRATA_TYPE_##name:        \
        store_##name(block, parts); \
        return;
        STRATA_PACKED_FORMATS(X)
#undef X
    default:
        assert(!"a type without a packed layout");
    }
}

/* Blocks taken apart and put side by side: from the layout of files (block_formats.h) to that of
 * packed.h.
 *
 * Plain C, for every level: a matrix is packed once, and reading its file costs more. */
#include "packed.h"

#include <assert.h>
#include <string.h>

/* ---- taking blocks apart ---- */

/* 16 bytes of nibbles: elements 0..15 low, 16..31 high. */
static void nibbles(uint8_t q[32], const uint8_t qs[16])
{
    for (int i = 0; i < 16; i++) {
        q[i] = qs[i] & 15;
        q[i + 16] = qs[i] >> 4;
    }
}

/* The fifth bits of 32 elements: bit i of four bytes. */
static void fifth_bits(uint8_t q[32], const uint8_t qh[4])
{
    for (int i = 0; i < 32; i++)
        q[i] |= (uint8_t)((qh[i / 8] >> i % 8 & 1) << 4);
}

/* 64 bytes of two-bit numbers, shifted to the left. */
static void crumbs(uint8_t q[256], const uint8_t qs[64], int shift)
{
    for (int run = 0; run < 8; run++) /* of 32 elements */
        for (int i = 0; i < 32; i++)
            q[32 * run + i] |= (uint8_t)((qs[32 * (run / 4) + i] >> 2 * (run % 4) & 3) << shift);
}

/* 128 bytes of nibbles: `run` of them low, then as many high ones. */
static void long_nibbles(uint8_t q[256], const uint8_t qs[128], int run)
{
    for (int at = 0; at < 128; at += run)
        for (int i = 0; i < run; i++) {
            q[2 * at + i] = qs[at + i] & 15;
            q[2 * at + run + i] = qs[at + i] >> 4;
        }
}

/* One bit of each of 256 elements, bit i / 32 of byte i % 32, shifted to the left. */
static void single_bits(uint8_t q[256], const uint8_t bits[32], int shift)
{
    for (int run = 0; run < 8; run++)
        for (int i = 0; i < 32; i++)
            q[32 * run + i] |= (uint8_t)((bits[i] >> run & 1) << shift);
}

/* The 6-bit scales and minima of Q4_K and Q5_K. */
static void six_bit_pairs(struct strata_block_parts *out, const uint8_t scales[12])
{
    for (int j = 0; j < 4; j++) {
        out->factor[j] = scales[j] & 63;
        out->minor[j] = scales[j + 4] & 63;
        out->factor[j + 4] = (int8_t)((scales[j + 8] & 15) | scales[j] >> 6 << 4);
        out->minor[j + 4] = (uint8_t)(scales[j + 8] >> 4 | scales[j + 4] >> 6 << 4);
    }
}

#define LOAD(type_of_block) \
    struct type_of_block b; \
    memcpy(&b, block, sizeof b)

static void parts_Q4_0(struct strata_block_parts *out, const void *block)
{
    LOAD(strata_block_q4_0);
    nibbles(out->q, b.qs);
    out->d = b.d;
}

static void parts_Q4_1(struct strata_block_parts *out, const void *block)
{
    LOAD(strata_block_q4_1);
    nibbles(out->q, b.qs);
    out->d = b.d;
    out->m = b.m;
}

static void parts_Q5_0(struct strata_block_parts *out, const void *block)
{
    LOAD(strata_block_q5_0);
    nibbles(out->q, b.qs);
    fifth_bits(out->q, b.qh);
    out->d = b.d;
}

static void parts_Q5_1(struct strata_block_parts *out, const void *block)
{
    LOAD(strata_block_q5_1);
    nibbles(out->q, b.qs);
    fifth_bits(out->q, b.qh);
    out->d = b.d;
    out->m = b.m;
}

static void parts_Q8_0(struct strata_block_parts *out, const void *block)
{
    LOAD(strata_block_q8_0);
    memcpy(out->q, b.qs, sizeof b.qs);
    out->d = b.d;
}

static void parts_IQ4_NL(struct strata_block_parts *out, const void *block)
{
    LOAD(strata_block_iq4_nl);
    nibbles(out->q, b.qs);
    out->d = b.d;
}

static void parts_Q2_K(struct strata_block_parts *out, const void *block)
{
    LOAD(strata_block_q2_k);
    memset(out->q, 0, sizeof out->q);
    crumbs(out->q, b.qs, 0);
    for (int j = 0; j < 16; j++) {
        out->factor[j] = b.scales[j] & 15;
        out->minor[j] = b.scales[j] >> 4;
    }
    out->d = b.d;
    out->m = b.dmin;
}

static void parts_Q3_K(struct strata_block_parts *out, const void *block)
{
    LOAD(strata_block_q3_k);
    memset(out->q, 0, sizeof out->q);
    crumbs(out->q, b.qs, 0);
    single_bits(out->q, b.hmask, 2);
    for (int j = 0; j < 16; j++) {
        int low = b.scales[j % 8] >> j / 8 * 4 & 15, high = b.scales[8 + j % 4] >> 2 * (j / 4) & 3;
        out->factor[j] = (int8_t)((low | high << 4) - 32);
    }
    out->d = b.d;
}

static void parts_Q4_K(struct strata_block_parts *out, const void *block)
{
    LOAD(strata_block_q4_k);
    long_nibbles(out->q, b.qs, 32);
    six_bit_pairs(out, b.scales);
    out->d = b.d;
    out->m = b.dmin;
}

static void parts_Q5_K(struct strata_block_parts *out, const void *block)
{
    LOAD(strata_block_q5_k);
    long_nibbles(out->q, b.qs, 32);
    single_bits(out->q, b.qh, 4);
    six_bit_pairs(out, b.scales);
    out->d = b.d;
    out->m = b.dmin;
}

static void parts_Q6_K(struct strata_block_parts *out, const void *block)
{
    LOAD(strata_block_q6_k);
    long_nibbles(out->q, b.ql, 64);
    crumbs(out->q, b.qh, 4);
    memcpy(out->factor, b.scales, sizeof b.scales);
    out->d = b.d;
}

static void parts_IQ4_XS(struct strata_block_parts *out, const void *block)
{
    LOAD(strata_block_iq4_xs);
    for (int j = 0; j < 8; j++) {
        nibbles(out->q + 32 * j, b.qs + 16 * j);
        int low = b.scales_l[j / 2] >> j % 2 * 4 & 15, high = b.scales_h >> 2 * j & 3;
        out->factor[j] = (int8_t)((low | high << 4) - 32);
    }
    out->d = b.d;
}

void strata_parts_of_block(enum strata_type type, struct strata_block_parts *parts,
                           const void *block)
{
    switch (type) {
#define X(name, ...)                \
    case STRATA_TYPE_##name:        \
        parts_##name(parts, block); \
        return;
        STRATA_PACKED_FORMATS(X)
#undef X
    default:
        assert(!"a type without a packed layout");
    }
}

/* ---- panels ---- */

/* Where the parts of block b of a panel lie. */
struct place {
    struct strata_packed_format f;
    uint8_t *scales, *quants; /* of the block: its scales, its first record */
};

static struct place place_of(enum strata_type type, uint8_t *panel, size_t k, size_t b)
{
    struct place at = {.f = strata_packed_format(type)};
    size_t records = (size_t)at.f.block_elems / 32;
    at.scales = panel + b * (size_t)at.f.scale_bytes;
    at.quants = panel + strata_panel_scale_bytes(at.f, k) + b * records * (size_t)at.f.quant_bytes;
    return at;
}

/* The byte of row r and sub-block j (of the block's) that holds the factor, or the offset's. */
static uint8_t *factor_at(const struct place *at, size_t r, size_t j, bool of_offset)
{
    size_t subs = 32 / (size_t)at->f.sub, head = at->f.offset ? 64 : 32;
    uint8_t *record = at->scales + head + j / subs * (size_t)at->f.factor_bytes;
    return record + 16 * (j % subs + (of_offset && at->f.sub == 32)) + r;
}

/* Puts the quants of rows q[0..16) of 32 elements each, 256 apart, into one plane of a record, the
 * four columns of a group at a time. */
static inline void store_plane(uint8_t *out, int from, int bits, const uint8_t *q)
{
    int share = 8 / bits; /* groups a byte */
    uint32_t mask = ((1u << bits) - 1) * 0x01010101u;
    for (int first = 0; first < 8; first += share, out += 64)
        for (size_t r = 0; r < STRATA_PANEL_ROWS; r++) {
            uint32_t packed = 0;
            for (int g = 0; g < share; g++) {
                uint32_t four;
                memcpy(&four, q + 256 * r + 4 * (size_t)(first + g), sizeof four);
                packed |= (four >> from & mask) << g * bits;
            }
            memcpy(out + 4 * r, &packed, sizeof packed);
        }
}

/* All planes of a record.  The calls' constants make loops of known lengths of them. */
static void store_quants(uint8_t *record, const uint8_t *q, int bits)
{
    switch (bits) {
    case 2:
        store_plane(record, 0, 2, q);
        return;
    case 3:
        store_plane(record, 0, 2, q);
        store_plane(record + 128, 2, 1, q);
        return;
    case 4:
        store_plane(record, 0, 4, q);
        return;
    case 5:
        store_plane(record, 0, 4, q);
        store_plane(record + 256, 4, 1, q);
        return;
    case 6:
        store_plane(record, 0, 4, q);
        store_plane(record + 256, 4, 2, q);
        return;
    default:
        store_plane(record, 0, 8, q);
    }
}

static void store_scales(const struct place *at, size_t r, const struct strata_block_parts *parts)
{
    memcpy(at->scales + 2 * r, &parts->d, 2);
    if (at->f.offset)
        memcpy(at->scales + 32 + 2 * r, &parts->m, 2);
    for (size_t j = 0; at->f.k_type && j < 256 / (size_t)at->f.sub; j++) {
        *factor_at(at, r, j, false) = (uint8_t)parts->factor[j];
        if (at->f.offset && at->f.sub == 32)
            *factor_at(at, r, j, true) = parts->minor[j];
        else if (at->f.offset)
            *factor_at(at, r, j, false) |= (uint8_t)(parts->minor[j] << 4);
    }
}

void strata_pack_panel(enum strata_type type, void *panel, const void *src, size_t row_bytes,
                       size_t rows, size_t k)
{
    const struct strata_block_format *format = strata_block_format(type);
    static const struct strata_block_parts zeros;
    uint8_t q[STRATA_PANEL_ROWS * 256];
    assert(rows > 0 && rows <= STRATA_PANEL_ROWS && k % format->block_elems == 0);
    memset(q, 0, sizeof q);
    memset(panel, 0, strata_panel_scale_bytes(strata_packed_format(type), k));
    for (size_t b = 0; b < k / format->block_elems; b++) {
        struct place at = place_of(type, panel, k, b);
        for (size_t r = 0; r < STRATA_PANEL_ROWS; r++) {
            struct strata_block_parts parts;
            const char *row = (const char *)src + r * row_bytes;
            if (r < rows)
                strata_parts_of_block(type, &parts, row + b * format->block_bytes);
            store_scales(&at, r, r < rows ? &parts : &zeros);
            if (r < rows)
                memcpy(q + 256 * r, parts.q, format->block_elems);
        }
        for (size_t c = 0; c < format->block_elems; c += 32, at.quants += at.f.quant_bytes)
            store_quants(at.quants, q + c, at.f.bits);
    }
}

/* Planes of a record: `bits` bits of the group's quants from bit `from` on, in the vectors at
 * `vectors`; a byte holds 8 / bits groups. */
struct plane {
    int from, bits;
    size_t vectors; /* offset in the record */
};

/* The planes of a type; returns how many. */
static int planes_of(struct strata_packed_format f, struct plane planes[2])
{
    int low = f.bits == 8 ? 8 : f.bits >= 4 ? 4 : 2;
    planes[0] = (struct plane){0, low, 0};
    planes[1] = (struct plane){low, f.bits - low, 64 * (size_t)low};
    return f.bits > low ? 2 : 1;
}

void strata_parts_of_panel(enum strata_type type, struct strata_block_parts *parts,
                           const void *panel, size_t k, size_t r, size_t b)
{
    struct place at = place_of(type, (uint8_t *)(uintptr_t)panel, k, b); /* only read */
    struct plane planes[2];
    int n_planes = planes_of(at.f, planes);
    for (size_t c = 0; c < (size_t)at.f.block_elems; c++) {
        const uint8_t *record = at.quants + c / 32 * (size_t)at.f.quant_bytes;
        size_t g = c % 32 / 4;
        unsigned q = 0;
        for (int p = 0; p < n_planes; p++) {
            size_t share = 8 / (size_t)planes[p].bits;
            unsigned byte = record[planes[p].vectors + g / share * 64 + 4 * r + c % 4];
            q |= (byte >> g % share * (size_t)planes[p].bits & ((1u << planes[p].bits) - 1))
                 << planes[p].from;
        }
        parts->q[c] = (uint8_t)q;
    }
    memcpy(&parts->d, at.scales + 2 * r, 2);
    if (at.f.offset)
        memcpy(&parts->m, at.scales + 32 + 2 * r, 2);
    for (size_t j = 0; at.f.k_type && j < 256 / (size_t)at.f.sub; j++) {
        uint8_t factor = *factor_at(&at, r, j, false);
        bool nibbles_of_two = at.f.offset && at.f.sub == 16;
        parts->factor[j] = (int8_t)(nibbles_of_two ? factor & 15 : factor);
        if (at.f.offset)
            parts->minor[j] = nibbles_of_two ? factor >> 4 : *factor_at(&at, r, j, true);
    }
}

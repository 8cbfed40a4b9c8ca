/* Packed weights: how matrices of the block types lie in memory when products read them.
 *
 * In a file, a row's blocks follow each other; a product wants 16 rows side by side, each load a
 * vector of all of them.  So a matrix is packed once into panels of STRATA_PANEL_ROWS rows (the
 * last one filled up with rows of zeros).  The layout is the same for every level of instruction
 * sets, and loses nothing.
 *
 * A panel has two areas, each read from front to back.
 *
 * Scales: for each block of the type
 * - d of the 16 rows (binary16);
 * - for types with an offset, m (dmin) of the 16 rows;
 * - for K types, for each 32 elements, the integer factors of the rows, a byte each: 16 factors
 *   (sub-blocks of 32), and 16 of the offset where there is one; or 16 and 16 (sub-blocks of 16),
 *   where Q2_K has its two factors in the low and high nibbles.
 *
 * The area is filled up to a multiple of 64 bytes.
 *
 * Quants: for each 32 elements a record of vectors of 64 bytes.  Four successive columns are a
 * group; byte 4 * r + j of a vector belongs to row r and to column j of a group.  A record has
 * eight groups, 0 to 7, in one or two planes:
 * - 8 bits: eight vectors, one a group, signed;
 * - 4 bits: four vectors; group g is in vector g / 2, low nibbles for even g, else high ones;
 * - 2 bits: two vectors; group g is bits 2 * (g % 4) and the next of vector g / 4;
 * - 1 bit: one vector; group g is bit g.
 *
 * Types of 5 and 6 bits are a plane of 4 and then one of 1 or 2 bits, above them; those of 3 bits
 * are one of 2 and then one of 1.
 *
 * An element is scale * (q - bias) + offset, or scale * value[q] for types with a table.  scale is
 * d, times the factor in K types; offset is m, and -dmin times its factor in K types.
 */
#ifndef STRATA_PACKED_H
#define STRATA_PACKED_H

#include <stdbool.h>

#include "block_formats.h"

/* X(TYPE, bits, elements a scale, bias, has an offset, has a table) */
/* clang-format off */
#define STRATA_PACKED_FORMATS(X) \
    X(Q4_0, 4, 32, 8, 0, 0) \
    X(Q4_1, 4, 32, 0, 1, 0) \
    X(Q5_0, 5, 32, 16, 0, 0) \
    X(Q5_1, 5, 32, 0, 1, 0) \
    X(Q8_0, 8, 32, 0, 0, 0) \
    X(IQ4_NL, 4, 32, 0, 0, 1) \
    X(Q2_K, 2, 16, 0, 1, 0) \
    X(Q3_K, 3, 16, 4, 0, 0) \
    X(Q4_K, 4, 32, 0, 1, 0) \
    X(Q5_K, 5, 32, 0, 1, 0) \
    X(Q6_K, 6, 16, 32, 0, 0) \
    X(IQ4_XS, 4, 32, 0, 0, 1)
/* clang-format on */

/* Rows of a panel; splitting work at multiples of it wastes nothing. */
#define STRATA_PANEL_ROWS 16

struct strata_packed_format {
    int bits, sub, bias; /* sub: elements a scale */
    bool offset, table, k_type;
    int scale_bytes;  /* of a block in the scales area */
    int block_elems;  /* 32, or 256 (K types) */
    int factor_bytes; /* of 32 elements in the scales area: K types, else 0 */
    int quant_bytes;  /* of a record */
};

/* The row of a type; bits is 0 for types that are not packed.  Constant where `type` is. */
static inline struct strata_packed_format strata_packed_format(enum strata_type type)
{
    struct strata_packed_format f = {0};
    switch (type) {
#define X(name, bits_, sub_, bias_, offset_, table_) \
    case STRATA_TYPE_##name:                         \
        f.bits = bits_;                              \
        f.sub = sub_;                                \
        f.bias = bias_;                              \
        f.offset = offset_;                          \
        f.table = table_;                            \
        break;
        STRATA_PACKED_FORMATS(X)
#undef X
    default:
        return f;
    }
    f.k_type = type == STRATA_TYPE_Q2_K || type == STRATA_TYPE_Q3_K || type == STRATA_TYPE_Q4_K ||
               type == STRATA_TYPE_Q5_K || type == STRATA_TYPE_Q6_K || type == STRATA_TYPE_IQ4_XS;
    f.block_elems = f.k_type ? 256 : 32;
    f.factor_bytes = !f.k_type ? 0 : f.sub == 32 && !f.offset ? 16 : 32;
    f.scale_bytes = (f.offset ? 64 : 32) + 8 * f.factor_bytes;
    f.quant_bytes = 64 * f.bits;
    return f;
}

/* Bytes of the scales area of a panel, and of a whole panel, for rows of k elements. */
static inline size_t strata_panel_scale_bytes(struct strata_packed_format f, size_t k)
{
    return (k / (size_t)f.block_elems * (size_t)f.scale_bytes + 63) / 64 * 64;
}

static inline size_t strata_panel_bytes(enum strata_type type, size_t k)
{
    struct strata_packed_format f = strata_packed_format(type);
    return strata_panel_scale_bytes(f, k) + k / 32 * (size_t)f.quant_bytes;
}

/* Packs `rows` rows (1 .. STRATA_PANEL_ROWS) of k elements, row r at (char *)src + r * row_bytes in
 * the layout of block_formats.h, into the panel at `panel` (strata_panel_bytes of it, aligned to
 * 64).  `type` has a row above, and k is a multiple of its block size. */
void strata_pack_panel(enum strata_type type, void *panel, const void *src, size_t row_bytes,
                       size_t rows, size_t k);

/* A block taken apart into integers, as both layouts hold it. */
struct strata_block_parts {
    uint8_t q[256];    /* quants as stored, 0 .. 2^bits - 1; Q8_0: signed, as bytes */
    uint16_t d, m;     /* binary16 */
    int8_t factor[16]; /* K types: of each sub-block's scale */
    uint8_t minor[16]; /* K types with an offset: of each sub-block's offset */
};

/* Takes the block at `block` (in a file, any alignment) apart, or block b of row r of a panel. */
void strata_parts_of_block(enum strata_type type, struct strata_block_parts *parts,
                           const void *block);
void strata_parts_of_panel(enum strata_type type, struct strata_block_parts *parts,
                           const void *panel, size_t k, size_t r, size_t b);

#endif

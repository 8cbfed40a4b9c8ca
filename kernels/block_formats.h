/* Element types of GGUF tensors, one row a type.
 *
 * Row: X(NAME, GGUF type id, elements a block, bytes a block).  A tensor row holds a whole number
 * of blocks. Ids and layouts follow the GGUF specification and `ggml-common.h` of ggml; ids that
 * ggml removed (4, 5, 31-33, 36-38) have no row and are unknown here.  A type is listed so that
 * files that hold it can be inspected; it can be computed with when the kernel table has its slots
 * (see kernel_list.h).
 */
#ifndef STRATA_BLOCK_FORMATS_H
/* clang-format off */
#define STRATA_BLOCK_FORMATS_H

#include <stddef.h>
#include <stdint.h>

#define STRATA_BLOCK_FORMATS(X) \
    X(F32, 0, 1, 4) \
    X(F16, 1, 1, 2) \
    X(BF16, 30, 1, 2) \
    X(Q4_0, 2, 32, 18) \
    X(Q4_1, 3, 32, 20) \
    X(Q5_0, 6, 32, 22) \
    X(Q5_1, 7, 32, 24) \
    X(Q8_0, 8, 32, 34) \
    X(Q8_1, 9, 32, 36) \
    X(Q2_K, 10, 256, 84) \
    X(Q3_K, 11, 256, 110) \
    X(Q4_K, 12, 256, 144) \
    X(Q5_K, 13, 256, 176) \
    X(Q6_K, 14, 256, 210) \
    X(Q8_K, 15, 256, 292) \
    X(IQ2_XXS, 16, 256, 66) \
    X(IQ2_XS, 17, 256, 74) \
    X(IQ3_XXS, 18, 256, 98) \
    X(IQ1_S, 19, 256, 50) \
    X(IQ4_NL, 20, 32, 18) \
    X(IQ3_S, 21, 256, 110) \
    X(IQ2_S, 22, 256, 82) \
    X(IQ4_XS, 23, 256, 136) \
    X(I8, 24, 1, 1) \
    X(I16, 25, 1, 2) \
    X(I32, 26, 1, 4) \
    X(I64, 27, 1, 8) \
    X(F64, 28, 1, 8) \
    X(IQ1_M, 29, 256, 56) \
    X(TQ1_0, 34, 256, 54) \
    X(TQ2_0, 35, 256, 66) \
    X(MXFP4, 39, 32, 17)
/* clang-format on */

/* Dense index of a type: the subscript of every typed slot in struct strata_kernels. */
enum strata_type {
#define X(name, id, elems, bytes) STRATA_TYPE_##name,
    STRATA_BLOCK_FORMATS(X)
#undef X
        STRATA_TYPE_COUNT
};

struct strata_block_format {
    const char *name;     /* "Q4_1" */
    uint32_t gguf_id;     /* the type word in a GGUF tensor header */
    uint32_t block_elems; /* elements a block; every row length is a multiple of it */
    uint32_t block_bytes;
};

/* The row of a type; `type` must be below STRATA_TYPE_COUNT.  Static, never NULL. */
const struct strata_block_format *strata_block_format(enum strata_type type);

/* The type with this GGUF id, or STRATA_TYPE_COUNT when no row has it. */
enum strata_type strata_type_from_gguf(uint32_t gguf_id);

/* Blocks as they lie in the file: little-endian, no padding, alignment 1 once read through memcpy
 * or byte access.  `d`, `m`, `dmin` are IEEE binary16 bit patterns.
 *
 * Blocks of 32 (w: the weight, q: its quant).  4-bit quants lie with element i in the low nibble of
 * qs[i] for i < 16 and element i + 16 in its high nibble; 5-bit ones have their top bits in qh, bit
 * i of the little-endian word for element i. */
struct strata_block_q4_0 { /* w = d * (q - 8) */
    uint16_t d;
    uint8_t qs[16];
};
struct strata_block_q4_1 { /* w = d * q + m */
    uint16_t d, m;
    uint8_t qs[16];
};
struct strata_block_q5_0 { /* w = d * (q - 16) */
    uint16_t d;
    uint8_t qh[4], qs[16];
};
struct strata_block_q5_1 { /* w = d * q + m */
    uint16_t d, m;
    uint8_t qh[4], qs[16];
};
struct strata_block_q8_0 { /* w = d * q */
    uint16_t d;
    int8_t qs[32];
};
struct strata_block_iq4_nl { /* w = d * STRATA_IQ4_VALUES[q] */
    uint16_t d;
    uint8_t qs[16];
};

/* Blocks of 256, in sub-blocks of 32 or 16 with integer factors of their own.
 *
 * Two-bit fields ("crumbs") of 64 bytes: for each half of 128 elements and l < 32, elements l,
 * l+32, l+64, l+96 are bits 0-1, 2-3, 4-5, 6-7 of byte l (the second half has the next 32 bytes).
 * Nibbles: 64 elements share 32 bytes, the first 32 in the low nibbles, the next 32 in the high
 * ones. */

/* Sub-blocks of 16: w = d * (scales[j] & 15) * q - dmin * (scales[j] >> 4).  qs: crumbs. */
struct strata_block_q2_k {
    uint8_t scales[16], qs[64];
    uint16_t d, dmin;
};
/* Sub-blocks of 16: w = d * (sc[j] - 32) * (q - 4).  q's low two bits are crumbs in qs, its top bit
 * is bit i / 32 of hmask[i % 32].  The 6-bit sc[j] has its low four bits in the nibbles of
 * scales[0..8) (low ones j < 8, high ones after), its top two in bits 2 * (j / 4) of scales[8 + j %
 * 4]. */
struct strata_block_q3_k {
    uint8_t hmask[32], qs[64], scales[12];
    uint16_t d;
};
/* Eight sub-blocks of 32: w = d * sc[j] * q - dmin * mn[j]; the 6-bit sc and mn are packed in
 * `scales`: for j < 4 sc is scales[j] & 63 and mn is scales[j + 4] & 63; for j >= 4 the low four
 * bits are the nibbles of scales[j + 4] (sc low, mn high) and the upper two the top bits of
 * scales[j - 4] (sc) and scales[j] (mn).  qs: nibbles. */
struct strata_block_q4_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qs[128];
};
/* As Q4_K; the fifth bit of element i is bit i / 32 of qh[i % 32]. */
struct strata_block_q5_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[32], qs[128];
};
/* Sixteen sub-blocks of 16: w = d * scales[j] * (q - 32), q of six bits.  For each half of 128
 * elements and l < 32 the low four bits of elements l, l+32, l+64, l+96 are ql[l]&15, ql[l+32]&15,
 * ql[l]>>4, ql[l+32]>>4 (ql advanced by 64 for the second half); the top two are crumbs in qh. */
struct strata_block_q6_k {
    uint8_t ql[128], qh[64];
    int8_t scales[16];
    uint16_t d;
};
/* Eight sub-blocks of 32: w = d * (sc[j] - 32) * STRATA_IQ4_VALUES[q]; the 6-bit sc[j] has its low
 * four bits in the nibbles of scales_l (j even low, j odd high), its top two in bits 2 * j of
 * scales_h.  In each sub-block's 16 bytes of qs, the nibbles lie as in a block of 32. */
struct strata_block_iq4_xs {
    uint16_t d, scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
};

/* What the 4-bit quants of IQ4_NL and IQ4_XS stand for. */
#define STRATA_IQ4_VALUES -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113

_Static_assert(sizeof(struct strata_block_q4_0) == 18, "Q4_0 is 18 bytes");
_Static_assert(sizeof(struct strata_block_q4_1) == 20, "Q4_1 is 20 bytes");
_Static_assert(sizeof(struct strata_block_q5_0) == 22, "Q5_0 is 22 bytes");
_Static_assert(sizeof(struct strata_block_q5_1) == 24, "Q5_1 is 24 bytes");
_Static_assert(sizeof(struct strata_block_q8_0) == 34, "Q8_0 is 34 bytes");
_Static_assert(sizeof(struct strata_block_iq4_nl) == 18, "IQ4_NL is 18 bytes");
_Static_assert(sizeof(struct strata_block_q2_k) == 84, "Q2_K is 84 bytes");
_Static_assert(sizeof(struct strata_block_q3_k) == 110, "Q3_K is 110 bytes");
_Static_assert(sizeof(struct strata_block_q4_k) == 144, "Q4_K is 144 bytes");
_Static_assert(sizeof(struct strata_block_q5_k) == 176, "Q5_K is 176 bytes");
_Static_assert(sizeof(struct strata_block_q6_k) == 210, "Q6_K is 210 bytes");
_Static_assert(sizeof(struct strata_block_iq4_xs) == 136, "IQ4_XS is 136 bytes");

#endif

/* One row a kernel.  A row names the operation, the type (typed rows) and the level; from it come
 * the prototype (below), the table slot (kernels_select.c), the check (tests/kernels) and the
 * benchmark (bench/).  Adding a kernel = writing the function `strata_<op>[_<TYPE>]_<level>` and
 * adding its row.
 *
 *   STRATA_TYPED_KERNELS_<level>(X)   X(op, TYPE, level)
 *   STRATA_PLAIN_KERNELS_<level>(X)   X(op, level)
 */
#ifndef STRATA_KERNEL_LIST_H
#define STRATA_KERNEL_LIST_H

#include "kernels.h"

/* clang-format off */

/* One row for each type with float elements, and for each packed one. */
#define STRATA_FLOAT_ROWS(X, op, level) X(op, F32, level) X(op, F16, level) X(op, BF16, level)
#define STRATA_PACKED_ROWS(X, op, level) \
    X(op, Q4_0, level) X(op, Q4_1, level) X(op, Q5_0, level) X(op, Q5_1, level) \
    X(op, Q8_0, level) X(op, IQ4_NL, level) X(op, Q2_K, level) X(op, Q3_K, level) \
    X(op, Q4_K, level) X(op, Q5_K, level) X(op, Q6_K, level) X(op, IQ4_XS, level)

/* And for each that keys and values are kept in, and those that they are computed in. */
#define STRATA_CACHE_ROWS(X, op, level) X(op, F16, level) X(op, Q8_0, level)
#define STRATA_ATTENDED_ROWS(X, level) \
    STRATA_CACHE_ROWS(X, attention, level) X(attention, F32, level)

/* Vectors are stored as F32, F16 and I8. */
#define STRATA_SIMILARITY_ROWS(X, level) \
    X(similarity_f32, F32, level) X(similarity_f32, F16, level) X(similarity_q16, I8, level)

#define STRATA_TYPED_KERNELS_ref(X) \
    STRATA_FLOAT_ROWS(X, dequantize, ref) STRATA_PACKED_ROWS(X, dequantize, ref) \
    STRATA_FLOAT_ROWS(X, gemv_f32, ref) STRATA_FLOAT_ROWS(X, gemm_f32, ref) \
    STRATA_PACKED_ROWS(X, packed_f32, ref) STRATA_PACKED_ROWS(X, packed_q8, ref) \
    STRATA_CACHE_ROWS(X, encode, ref) STRATA_ATTENDED_ROWS(X, ref) \
    STRATA_SIMILARITY_ROWS(X, ref)
#define STRATA_PLAIN_KERNELS_ref(X) \
    X(quantize_q8, ref) X(rms_norm, ref) X(layer_norm, ref) X(gelu, ref) X(rope_norm, ref) \
    X(rope_neox, ref) X(softmax, ref) X(silu_mul, ref) X(add, ref) X(attention_merge, ref) \
    X(argmax, ref) X(top_k, ref) X(similarity_q4, ref)

/* Levels that speed a slot up list it here. */
#define STRATA_TYPED_KERNELS_avx2(X) \
    STRATA_FLOAT_ROWS(X, dequantize, avx2) STRATA_FLOAT_ROWS(X, gemv_f32, avx2) \
    STRATA_FLOAT_ROWS(X, gemm_f32, avx2) STRATA_PACKED_ROWS(X, packed_f32, avx2) \
    STRATA_PACKED_ROWS(X, packed_q8, avx2) STRATA_CACHE_ROWS(X, encode, avx2) \
    STRATA_ATTENDED_ROWS(X, avx2) STRATA_SIMILARITY_ROWS(X, avx2)
#define STRATA_PLAIN_KERNELS_avx2(X) \
    X(quantize_q8, avx2) X(rms_norm, avx2) X(layer_norm, avx2) X(gelu, avx2) \
    X(rope_norm, avx2) X(rope_neox, avx2) X(softmax, avx2) X(silu_mul, avx2) X(add, avx2) \
    X(attention_merge, avx2) X(argmax, avx2) \
    X(similarity_q4, avx2)
#define STRATA_TYPED_KERNELS_avx512(X) \
    STRATA_FLOAT_ROWS(X, gemv_f32, avx512) STRATA_FLOAT_ROWS(X, gemm_f32, avx512) \
    STRATA_PACKED_ROWS(X, packed_f32, avx512) STRATA_PACKED_ROWS(X, packed_q8, avx512) \
    STRATA_ATTENDED_ROWS(X, avx512) STRATA_SIMILARITY_ROWS(X, avx512)
#define STRATA_PLAIN_KERNELS_avx512(X) \
    X(quantize_q8, avx512) X(rms_norm, avx512) X(layer_norm, avx512) X(gelu, avx512) \
    X(softmax, avx512) X(silu_mul, avx512) X(argmax, avx512) X(similarity_q4, avx512)
#define STRATA_TYPED_KERNELS_avx512vnni(X) STRATA_PACKED_ROWS(X, packed_q8, avx512vnni)
#define STRATA_PLAIN_KERNELS_avx512vnni(X)
#define STRATA_TYPED_KERNELS_avx512bf16(X) X(gemv_f32, BF16, avx512bf16)
#define STRATA_PLAIN_KERNELS_avx512bf16(X)
/* clang-format on */

/* Prototypes of all of them. */
#define STRATA_TYPED_PROTOTYPE(op, type, level) strata_##op##_fn strata_##op##_##type##_##level;
#define STRATA_PLAIN_PROTOTYPE(op, level) strata_##op##_fn strata_##op##_##level;
#define X(level)                                         \
    STRATA_TYPED_KERNELS_##level(STRATA_TYPED_PROTOTYPE) \
        STRATA_PLAIN_KERNELS_##level(STRATA_PLAIN_PROTOTYPE)
STRATA_LEVELS(X)
#undef X

#endif

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

/* Every type that strata computes with has dequantize, gemv_f32 and gemm_f32; types quantised in
 * blocks also gemv_q8 and gemm_q8. */
/* clang-format off */
#define STRATA_TYPED_KERNELS_ref(X) \
    X(dequantize, F32, ref) X(dequantize, F16, ref) X(dequantize, BF16, ref) \
    X(dequantize, Q4_0, ref) X(dequantize, Q4_1, ref) X(dequantize, Q8_0, ref) \
    X(dequantize, Q4_K, ref) X(dequantize, Q6_K, ref) \
    X(gemv_f32, F32, ref) X(gemv_f32, F16, ref) X(gemv_f32, BF16, ref) X(gemv_f32, Q4_0, ref) \
    X(gemv_f32, Q4_1, ref) X(gemv_f32, Q8_0, ref) X(gemv_f32, Q4_K, ref) X(gemv_f32, Q6_K, ref) \
    X(gemm_f32, F32, ref) X(gemm_f32, F16, ref) X(gemm_f32, BF16, ref) X(gemm_f32, Q4_0, ref) \
    X(gemm_f32, Q4_1, ref) X(gemm_f32, Q8_0, ref) X(gemm_f32, Q4_K, ref) X(gemm_f32, Q6_K, ref) \
    X(gemv_q8, Q4_0, ref) X(gemv_q8, Q4_1, ref) X(gemv_q8, Q8_0, ref) X(gemv_q8, Q4_K, ref) \
    X(gemv_q8, Q6_K, ref) \
    X(gemm_q8, Q4_0, ref) X(gemm_q8, Q4_1, ref) X(gemm_q8, Q8_0, ref) X(gemm_q8, Q4_K, ref) \
    X(gemm_q8, Q6_K, ref)

#define STRATA_PLAIN_KERNELS_ref(X) \
    X(quantize_q8, ref) X(f32_to_f16, ref) X(rms_norm, ref) X(rope_norm, ref) \
    X(rope_neox, ref) X(softmax, ref) X(silu_mul, ref) X(add, ref) \
    X(attention_f16, ref) X(argmax, ref) X(top_k, ref)

/* Levels that speed a slot up list it here. */
#define STRATA_TYPED_KERNELS_avx2(X) \
    X(dequantize, F32, avx2) X(dequantize, F16, avx2) X(dequantize, BF16, avx2) \
    X(dequantize, Q4_0, avx2) X(dequantize, Q4_1, avx2) X(dequantize, Q8_0, avx2) \
    X(dequantize, Q4_K, avx2) X(dequantize, Q6_K, avx2) X(gemv_f32, F32, avx2) \
    X(gemv_f32, F16, avx2) X(gemv_f32, BF16, avx2) X(gemv_f32, Q4_0, avx2) \
    X(gemv_f32, Q4_1, avx2) X(gemv_f32, Q8_0, avx2) X(gemv_f32, Q4_K, avx2) \
    X(gemv_f32, Q6_K, avx2) X(gemm_f32, F32, avx2) X(gemm_f32, F16, avx2) \
    X(gemm_f32, BF16, avx2) X(gemm_f32, Q4_0, avx2) X(gemm_f32, Q4_1, avx2) \
    X(gemm_f32, Q8_0, avx2) X(gemm_f32, Q4_K, avx2) X(gemm_f32, Q6_K, avx2) \
    X(gemv_q8, Q4_0, avx2) X(gemv_q8, Q4_1, avx2) X(gemv_q8, Q8_0, avx2) X(gemv_q8, Q4_K, avx2) \
    X(gemv_q8, Q6_K, avx2) X(gemm_q8, Q4_0, avx2) X(gemm_q8, Q4_1, avx2) X(gemm_q8, Q8_0, avx2) \
    X(gemm_q8, Q4_K, avx2) X(gemm_q8, Q6_K, avx2)
#define STRATA_PLAIN_KERNELS_avx2(X) \
    X(quantize_q8, avx2) X(f32_to_f16, avx2) X(rms_norm, avx2) X(rope_norm, avx2) \
    X(rope_neox, avx2) X(softmax, avx2) X(silu_mul, avx2) X(add, avx2) X(attention_f16, avx2) \
    X(argmax, avx2)
#define STRATA_TYPED_KERNELS_avx512(X) \
    X(dequantize, F32, avx512) X(dequantize, F16, avx512) X(dequantize, BF16, avx512) \
    X(dequantize, Q4_0, avx512) X(dequantize, Q4_1, avx512) X(dequantize, Q8_0, avx512) \
    X(dequantize, Q4_K, avx512) X(dequantize, Q6_K, avx512) X(gemv_f32, F32, avx512) \
    X(gemv_f32, F16, avx512) X(gemv_f32, BF16, avx512) X(gemv_f32, Q4_0, avx512) \
    X(gemv_f32, Q4_1, avx512) X(gemv_f32, Q8_0, avx512) X(gemv_f32, Q4_K, avx512) \
    X(gemv_f32, Q6_K, avx512) X(gemm_f32, F32, avx512) X(gemm_f32, F16, avx512) \
    X(gemm_f32, BF16, avx512) X(gemm_f32, Q4_0, avx512) X(gemm_f32, Q4_1, avx512) \
    X(gemm_f32, Q8_0, avx512) X(gemm_f32, Q4_K, avx512) X(gemm_f32, Q6_K, avx512) \
    X(gemv_q8, Q4_0, avx512) X(gemv_q8, Q4_1, avx512) X(gemv_q8, Q8_0, avx512) \
    X(gemv_q8, Q4_K, avx512) X(gemv_q8, Q6_K, avx512) X(gemm_q8, Q4_0, avx512) \
    X(gemm_q8, Q4_1, avx512) X(gemm_q8, Q8_0, avx512) X(gemm_q8, Q4_K, avx512) \
    X(gemm_q8, Q6_K, avx512)
#define STRATA_PLAIN_KERNELS_avx512(X) \
    X(quantize_q8, avx512) X(rms_norm, avx512) X(softmax, avx512) X(silu_mul, avx512) \
    X(attention_f16, avx512) X(argmax, avx512)
#define STRATA_TYPED_KERNELS_avx512vnni(X) \
    X(gemv_q8, Q4_0, avx512vnni) X(gemv_q8, Q4_1, avx512vnni) X(gemv_q8, Q8_0, avx512vnni) \
    X(gemv_q8, Q4_K, avx512vnni) X(gemv_q8, Q6_K, avx512vnni) X(gemm_q8, Q4_0, avx512vnni) \
    X(gemm_q8, Q4_1, avx512vnni) X(gemm_q8, Q8_0, avx512vnni) X(gemm_q8, Q4_K, avx512vnni) \
    X(gemm_q8, Q6_K, avx512vnni)
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

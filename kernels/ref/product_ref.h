/* The products that gemv_ref.c and gemm_ref.c share. */
#ifndef STRATA_PRODUCT_REF_H
#define STRATA_PRODUCT_REF_H

#include "decode_ref.h"
#include "kernel_list.h"

/* X(TYPE) for every type that strata computes with. */
#define STRATA_COMPUTE_TYPES(X) X(F32) X(F16) X(BF16) X(Q4_0) X(Q4_1) X(Q8_0) X(Q4_K) X(Q6_K)

/* Product of one weight row with float activations. */
float strata_row_f32_ref(const void *row, const float *x, size_t k, enum strata_type type,
                         strata_dequantize_fn *dequantize);

/* Product of one weight row with row j of 8-bit activations. */
float strata_row_q8_ref(const void *row, const struct strata_q8_rows *xq, size_t j, size_t k,
                        enum strata_type type, strata_decode_fn *decode, int has_offset);

#endif

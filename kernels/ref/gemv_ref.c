/* One token: each weight row times the activations (gemm_ref.c has the maths). */
#include "kernel_list.h"

#define X(type)                                                      \
    void strata_gemv_f32_##type##_ref(const struct strata_matmul *a) \
    {                                                                \
        struct strata_matmul one = *a;                               \
        one.m = 1;                                                   \
        one.ldx = a->k;                                              \
        one.ldy = a->rows;                                           \
        strata_gemm_f32_##type##_ref(&one);                          \
    }
X(F32)
X(F16)
X(BF16)
#undef X

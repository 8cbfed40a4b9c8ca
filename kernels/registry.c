/* The rows of kernel_list.h as a table. */
#include "registry.h"

#include <assert.h>

#include "kernel_list.h"

/* clang-format off */
#define TYPED(op, type, level) \
    {#op "_" #type "_" #level, STRATA_OP_##op, STRATA_TYPE_##type, STRATA_LEVEL_##level, \
     {.op = strata_##op##_##type##_##level}},
#define PLAIN(op, level) \
    {#op "_" #level, STRATA_OP_##op, STRATA_TYPE_COUNT, STRATA_LEVEL_##level, \
     {.op = strata_##op##_##level}},

static const struct strata_kernel kernels[] = {
    STRATA_TYPED_KERNELS_ref(TYPED)
    STRATA_PLAIN_KERNELS_ref(PLAIN)
#if STRATA_X86
    STRATA_TYPED_KERNELS_avx2(TYPED)
    STRATA_PLAIN_KERNELS_avx2(PLAIN)
    STRATA_TYPED_KERNELS_avx512(TYPED)
    STRATA_PLAIN_KERNELS_avx512(PLAIN)
    STRATA_TYPED_KERNELS_avx512vnni(TYPED)
    STRATA_PLAIN_KERNELS_avx512vnni(PLAIN)
    STRATA_TYPED_KERNELS_avx512bf16(TYPED)
    STRATA_PLAIN_KERNELS_avx512bf16(PLAIN)
#endif
};
/* clang-format on */

static const char *const op_names[STRATA_OP_COUNT] = {
#define X(op) #op,
    STRATA_TYPED_OPS(X) STRATA_PLAIN_OPS(X)
#undef X
};

const struct strata_kernel *strata_kernel_rows(size_t *count)
{
    *count = sizeof kernels / sizeof *kernels;
    return kernels;
}

const char *strata_op_name(enum strata_op op)
{
    assert((unsigned)op < STRATA_OP_COUNT);
    return op_names[op];
}

/* The kernels of kernel_list.h as data: one row each, for everything that goes through all of them
 * (checker, benchmarks, tuner). */
#ifndef STRATA_REGISTRY_H
#define STRATA_REGISTRY_H

#include "kernels.h"

enum strata_op {
#define X(op) STRATA_OP_##op,
    STRATA_TYPED_OPS(X) STRATA_PLAIN_OPS(X)
#undef X
        STRATA_OP_COUNT
};

/* A kernel; the member of the union that `op` names is set. */
struct strata_kernel {
    const char *name; /* "packed_q8_Q4_1_avx2" */
    enum strata_op op;
    enum strata_type type; /* STRATA_TYPE_COUNT for operations without a type */
    enum strata_level level;
    union {
#define X(op) strata_##op##_fn *op;
        STRATA_TYPED_OPS(X) STRATA_PLAIN_OPS(X)
#undef X
    } fn;
};

/* All rows that this build has, the reference first, then level by level; *count of them.  Static.
 */
const struct strata_kernel *strata_kernel_rows(size_t *count);

/* "packed_q8"; `op` must be below STRATA_OP_COUNT.  Static. */
const char *strata_op_name(enum strata_op op);

#endif

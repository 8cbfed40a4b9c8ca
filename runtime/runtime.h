/* What strata_runtime holds: the kernels in use, the threads, where messages go. */
#ifndef STRATA_RUNTIME_H
#define STRATA_RUNTIME_H

#include "kernels.h"
#include "status.h"
#include "threads.h"

enum strata__blas { STRATA__BLAS_AUTO, STRATA__BLAS_ON, STRATA__BLAS_OFF };

struct strata_runtime {
    struct strata_kernels kernels;
    enum strata_level level;
    enum strata__blas blas;
    const char *blas_name; /* NULL when off or not built in */
    struct strata__threads *threads;
    strata_log_fn *log; /* may be NULL */
    void *log_user;
};

#endif

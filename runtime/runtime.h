/* What strata_runtime holds: the kernels in use, the threads, where messages go. */
#ifndef STRATA_RUNTIME_H
#define STRATA_RUNTIME_H

#include "kernels.h"
#include "ledger.h"
#include "status.h"
#include "threads.h"
#include "tune.h"

enum strata__blas { STRATA__BLAS_AUTO, STRATA__BLAS_ON, STRATA__BLAS_OFF };

/* Which accelerators are used: those that can be, none, those that can be and at least one, the
 * emulated ones. */
enum strata__device_choice {
    STRATA__DEVICE_AUTO,
    STRATA__DEVICE_CPU,
    STRATA__DEVICE_CUDA,
    STRATA__DEVICE_EMU
};

struct strata_runtime {
    struct strata_kernels kernels; /* for everything but chunks of single tokens */
    struct strata_kernels decode;  /* for those: they differ in what the tuning chose */
    struct strata__tuning tuning;
    bool tuned;     /* it comes from this host's file */
    bool no_tuning; /* as configured */
    enum strata_level level;
    enum strata__blas blas;
    const char *blas_name; /* NULL where it does not serve */
    struct strata__threads *threads;
    enum strata__device_choice device; /* layers go to devices, however slow these are */
    struct strata__devices *devices;   /* accelerators in use (devices.h), or NULL */
    unsigned cores;                    /* that this process may use */
    strata_log_fn *log;                /* may be NULL */
    void *log_user;
    struct strata__events *events;       /* what was decided (events.h) */
    struct strata__governor *governor;   /* watches memory, moves layers (governor.h) */
    struct strata__ledger *ledger;       /* budgets, and what is charged to them (ledger.h) */
    struct strata__scope core, indices;  /* what is of no model, and vectors to search in */
    struct strata__collector *collector; /* makes room (collect.h) */
};

#endif

/* Loops that do nothing but read or compute, to measure what this host can do at each level: the
 * peaks of the roofline (Williams, Waterman & Patterson 2009). */
#ifndef STRATA_BENCH_PROBES_H
#define STRATA_BENCH_PROBES_H

#include <stddef.h>

#include "kernels.h"

/* Bytes that `read` takes at a time. */
#define PROBE_READ_BYTES 512

/* Each may be called from any thread, on hosts that have the level. */
struct probe {
    /* Reads `bytes` at p by the widest loads; p is aligned to 64, bytes a multiple of
     * PROBE_READ_BYTES. */
    void (*read)(const void *p, size_t bytes);
    /* `rounds` rounds of independent float multiply-adds, fma_ops operations a round (a
     * multiply-add is two). */
    void (*fma)(size_t rounds);
    double fma_ops;
    /* The same for products of 8-bit integers added up in 32 bits. */
    void (*dot)(size_t rounds);
    double dot_ops;
};

/* The probes of a level; `level` must be one that strata_cpu_level() allows.  Static. */
const struct probe *probe_of_level(enum strata_level level);

#endif

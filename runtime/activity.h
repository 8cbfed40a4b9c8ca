/* What a model has been used for, as counters that any thread may read while it is used. */
#ifndef STRATA_ACTIVITY_H
#define STRATA_ACTIVITY_H

#include <stdatomic.h>

#include "status.h"

#define STRATA__ACTIVITY_KEPT 256

struct strata__activity {
    _Atomic uint64_t evaluations, tokens, busy_us;
    _Atomic uint64_t decoded;                          /* evaluations of one token a sequence */
    _Atomic uint32_t recent_us[STRATA__ACTIVITY_KEPT]; /* of the latest of those */
};

/* An evaluation of so many tokens has ended.  One thread at a time. */
void strata__activity_add(struct strata__activity *activity, size_t tokens, bool decoded,
                          double ms);

/* Fills the counters and percentiles of *out. */
void strata__activity_read(const struct strata__activity *activity, strata_activity *out);

#endif

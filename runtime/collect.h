/* Making room: what can be given back, in which order, and when. */
#ifndef STRATA_COLLECT_H
#define STRATA_COLLECT_H

#include "ledger.h"

struct strata__collector;

/* `aim`: bytes of host memory beyond which what is idle is given back; `idle_ms`: when a model is
 * idle (0: 300,000).  E_NOMEM. */
strata_status strata__collector_open(struct strata__collector **out, uint64_t aim,
                                     unsigned idle_ms);
void strata__collector_close(struct strata__collector **collector);

uint64_t strata__collector_aim(const struct strata__collector *collector);

/* The ledger's collect function; `runtime` is the strata_runtime. */
strata__collect_fn strata__collect;

/* Called by the governor's thread with every tick: every few seconds gives back what is idle, when
 * more than the aim is used, and what the heap keeps of freed blocks. */
void strata__collect_scheduled(strata_runtime *runtime);

/* Holders shrink that were of no use since the last call, to half; calls `each` for those. */
typedef void strata__shrunk_fn(void *user, const char *purpose, uint64_t predicted, uint64_t freed);
void strata__holders_resize(struct strata__collector *collector, strata__shrunk_fn *each,
                            void *user);

#endif

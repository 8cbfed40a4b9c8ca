/* A pool of compute threads that run one function together (single program, multiple data).
 *
 * The calling thread takes part as thread 0; the others are bound to distinct cores, wait for work
 * by spinning for some microseconds and then sleep on a futex, so that a barrier costs well below a
 * microsecond while the pool is busy and nothing while it is idle.
 *
 * Inside a run, work is handed out by claims: between two barriers each call of
 * strata__threads_claim returns the next of 0, 1, 2, ... to whichever thread asks first.  Work must
 * be cut so that results do not depend on who does what.
 */
#ifndef STRATA_THREADS_H
#define STRATA_THREADS_H

#include "status.h"

struct strata__threads;

/* Runs on every thread of the pool; `thread` is 0 .. count - 1. */
typedef void strata__threads_task(void *context, unsigned thread);

/* Starts count - 1 threads (count >= 1); thread i is bound to the processing unit pus[i % n_pus]
 * (OS index) when n_pus > 0.  A binding that the system refuses is ignored: it only costs speed.
 * E_NOMEM, E_IO. */
strata_status strata__threads_open(struct strata__threads **out, unsigned count,
                                   const unsigned *pus, size_t n_pus);

/* Waits for the threads to end.  No run may be in progress. */
void strata__threads_close(struct strata__threads **pool);

unsigned strata__threads_count(const struct strata__threads *pool);

/* Runs the task once on every thread and returns when all are done.  Several callers wait for each
 * other; a task must not start another run. */
void strata__threads_run(struct strata__threads *pool, strata__threads_task *task, void *context);

/* To be called by every thread of a run: returns when all have called it, and restarts the claims.
 */
void strata__threads_barrier(struct strata__threads *pool);

/* The next number since the last barrier (or the beginning of the run). */
unsigned strata__threads_claim(struct strata__threads *pool);

#endif

/* How likely a key is asked for again, and where its value is kept.
 *
 * Uses of keys are counted in a count-min sketch of 8-bit counters, four of which a use goes to;
 * all are halved when so many uses have been counted, so that what was popular is forgotten.  The
 * least of a key's counters, u, is how often it was used lately.
 *
 * Memory and LMDB have little room: a value is worth its place there when it was used more often
 * than all that would have to leave for it were together (in memory the ones least recently used,
 * in LMDB the least used of some).  What that saves is the time to read it from the level below,
 * whatever it cost to make.  On disk there is room for much, and what counts is that cost: it must
 * be more than reading takes.  So, with t the times of reading, which are measured:
 *
 *   very high  worth a place in memory, used 4 times or more, cost > t(disk)    all levels
 *   high       worth a place in memory, cost > t(memory)                        memory, LMDB
 *   medium     worth a place in LMDB, cost > t(disk)                            LMDB, disk
 *   low        cost > t(disk)                                                   disk
 *   very low   else                                                             nowhere */
#ifndef STRATA_CACHE_PREDICT_H
#define STRATA_CACHE_PREDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

enum strata__likelihood {
    STRATA__VERY_UNLIKELY,
    STRATA__UNLIKELY,
    STRATA__LIKELY,
    STRATA__VERY_LIKELY,
    STRATA__CERTAIN,
    STRATA__LIKELIHOODS
};

enum strata__cache_level {
    STRATA__IN_MEMORY,
    STRATA__IN_LMDB,
    STRATA__ON_DISK,
    STRATA__CACHE_LEVELS
};

struct strata__chance {
    unsigned uses;
    unsigned displaced[2]; /* uses of what would leave memory, LMDB; 0: there is room */
    bool fits[2];          /* there, even alone */
    double cost_ms;
    double read_ms[STRATA__CACHE_LEVELS];
};
enum strata__likelihood strata__predict(const struct strata__chance *chance);

/* Bits 1 << level of the levels that a value is written to. */
unsigned strata__levels_of(enum strata__likelihood likelihood);

/* ---- Uses ---- */

struct strata__uses;

/* `period`: uses between two halvings.  Any thread may call the others.  E_NOMEM. */
strata_status strata__uses_open(uint64_t period, struct strata__uses **out);
void strata__uses_close(struct strata__uses **uses);

/* Counts a use of a key; returns how often it was used lately, this time included. */
unsigned strata__uses_add(struct strata__uses *uses, uint64_t key);
unsigned strata__uses_of(const struct strata__uses *uses, uint64_t key);

/* All counts from and to a file that belongs to `origin`; a file that is damaged, or of another
 * one, is not read (false). */
bool strata__uses_load(struct strata__uses *uses, const char *path, uint64_t origin);
bool strata__uses_save(const struct strata__uses *uses, const char *path, uint64_t origin);

#endif

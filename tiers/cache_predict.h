/* How likely a key is asked for again, and where its value is kept.
 *
 * Uses of keys are counted in a count-min sketch of 8-bit counters, four of which a use goes to;
 * all are halved from time to time, so that what was popular is forgotten.  The least of a key's
 * counters, u, is how often it was used lately, this time included.
 *
 * Memory and LMDB have little room: a value comes in while there is some, or when it was used
 * before.  On disk there is room for much.  Since writing takes time too, and may have been in
 * vain, a value must have taken 10 times as long to make as it takes to read it from the slowest
 * level that it is written to.  So, with t the times of reading, which are measured:
 *
 *   very high  u >= 4; cost > 10 t(disk)                                all levels
 *   high       u >= 2, or there is room in memory; cost > 10 t(LMDB)    memory, LMDB
 *   medium     there is room in LMDB; cost > 10 t(disk)                 LMDB, disk
 *   low        cost > 10 t(disk)                                        disk
 *   very low   else                                                     nowhere
 *
 * A value that is too large for a level does not come in there.  What is found on a level comes to
 * those above by the same rule: to memory when it is hot (as high), to LMDB when it is warm (as
 * medium, or hot). */
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
    bool fits[2],
        room[2]; /* in memory, in LMDB: it may be there at all; and nothing has to leave */
    double cost_ms;
    double read_ms[STRATA__CACHE_LEVELS];
};
enum strata__likelihood strata__predict(const struct strata__chance *chance);
bool strata__is_hot(const struct strata__chance *chance);
bool strata__is_warm(const struct strata__chance *chance);

/* Bits 1 << level of the levels that a value is written to. */
unsigned strata__levels_of(enum strata__likelihood likelihood);

/* ---- Uses ---- */

struct strata__uses;

/* Any thread may call the others.  E_NOMEM. */
strata_status strata__uses_open(struct strata__uses **out);
void strata__uses_close(struct strata__uses **uses);

/* Counts a use of a key; returns how often it was used lately, this time included. */
unsigned strata__uses_add(struct strata__uses *uses, uint64_t key);
unsigned strata__uses_of(const struct strata__uses *uses, uint64_t key);

/* Of how many values uses are compared: counts are halved after 5 times as many uses. */
void strata__uses_set_values(struct strata__uses *uses, uint64_t values);

/* All counts from and to a file that belongs to `origin`; a file that is damaged, or of another
 * one, is not read (false). */
bool strata__uses_load(struct strata__uses *uses, const char *path, uint64_t origin);
bool strata__uses_save(const struct strata__uses *uses, const char *path, uint64_t origin);

#endif

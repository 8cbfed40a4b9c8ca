/* A fixed sequence of small changes of a store, each one transaction, and what it then holds. */
#ifndef CHANGE_SCRIPT_H
#define CHANGE_SCRIPT_H

#include <stdbool.h>
#include <stdint.h>

#include "strata_facts.h"

struct change_script {
    uint64_t seed;
    const char *scratch; /* a file that is written for imports */
};

/* Makes change i, from 0 on: triples of a new subject come by an import, or those of an earlier one
 * go, by a pattern or a file.  Objects are of all kinds, some longer than a page. */
strata_status change_make(const struct change_script *script, strata_facts *facts, unsigned i);

/* Whether the store holds what is there after the first n changes, and nothing else. */
bool change_state_is(const struct change_script *script, strata_facts *facts, unsigned n);

/* After a crash: strata_facts_check passes, and the store holds the first n changes or those and
 * the next one.  *n becomes which.  False, with a line on standard error, where that is not so. */
bool change_survived(const struct change_script *script, strata_facts *facts, unsigned *n);

/* A pseudo-random number that follows from x. */
uint64_t change_random(uint64_t x);

#endif

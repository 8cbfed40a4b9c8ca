/* The names in the IRIs of predicates: what comes after the last '/', '#' or ':' ("capitalOf"). */
#ifndef STRATA_PREDICATE_NAMES_H
#define STRATA_PREDICATE_NAMES_H

#include "store.h"

/* The names of one state of the store, made anew when it has changed.  Any thread. */
struct strata__predicate_names;

strata_status strata__predicate_names_open(struct strata__predicate_names **out);
void strata__predicate_names_close(struct strata__predicate_names **names);

/* Appends the ids of the predicates that have a name (compared as strata__fold_name has it). */
strata_status strata__predicate_names_find(struct strata__txn *txn, const char *text, size_t size,
                                           struct strata__bytes *ids);

#endif

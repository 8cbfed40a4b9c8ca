/* Triples of a store by what is known of them. */
#ifndef STRATA_PATTERN_H
#define STRATA_PATTERN_H

#include "store.h"

/* Terms that a place of a triple may have, best first. */
struct strata__choices {
    strata__id *ids;
    size_t n;
    bool any; /* all terms: there are no ids */
};

/* Which terms the texts of a query mean (strata_facts_query); the caller frees the ids.  E_INVALID:
 * a text that cannot be read. */
struct strata__pattern {
    struct strata__choices subject, predicate, object;
};
strata_status strata__pattern_read(struct strata__txn *txn, const strata_facts_query *query,
                                   struct strata__pattern *out);
void strata__pattern_free(struct strata__pattern *pattern);

/* Takes a row (subject, predicate, object); *stop ends the walk. */
typedef strata_status strata__row_fn(void *user, const struct strata__row *row, bool *stop);

/* Gives all triples of the pattern, those of its first subjects, predicates and objects first. */
strata_status strata__pattern_walk(struct strata__txn *txn, const struct strata__pattern *pattern,
                                   strata__row_fn *take, void *user);

/* A label of a term, borrowed until the transaction ends; .text NULL: it has none. */
strata_status strata__label_of(struct strata__txn *txn, strata__id id, struct strata__term *label);

#endif

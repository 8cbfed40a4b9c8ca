/* What a query found, with texts that are its own. */
#ifndef STRATA_FACTS_RESULT_H
#define STRATA_FACTS_RESULT_H

#include "tier2_expand.h"
#include "tier3_find.h"

struct chunk; /* memory that texts lie in */

struct strata_facts_result {
    strata_fact *facts;
    strata_facts_answer answer;
    strata_facts_candidate *candidates;
    size_t n_candidates;
    strata_facts_expansion *expansions;
    size_t n_expansions;
    strata_facts_chain *chains;
    size_t n_chains;
    strata_facts_meaning meaning;
    enum strata__lm_use lm;
    double tier_ms[STRATA_FACTS_TIERS];
    struct chunk *chunks;
};

/* Fills a term with its texts and its label. */
strata_status strata__result_term(strata_facts_result *result, struct strata__txn *txn,
                                  strata__id id, strata_term *out);

/* A terminated copy of a text, which lives as long as the result. */
strata_status strata__result_text(strata_facts_result *result, const char *text, size_t size,
                                  const char **out);

/* Frees all that a result has; it is empty then. */
void strata__result_empty(strata_facts_result *result);

/* Keeps what tiers 1 to 3 considered, for `explain`. */
strata_status strata__result_candidates(const struct strata__candidate *candidates, size_t n,
                                        struct strata__txn *txn, strata_facts_result *result);
strata_status strata__result_expansions(const struct strata__tier2 *tier2, struct strata__txn *txn,
                                        strata_facts_result *result);
strata_status strata__result_chains(const struct strata__tier3 *tier3, struct strata__txn *txn,
                                    strata_facts_result *result);

#endif

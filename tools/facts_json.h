/* Facts as JSON and as lines for people. */
#ifndef STRATA_FACTS_JSON_H
#define STRATA_FACTS_JSON_H

#include <jansson.h>

#include "strata_facts.h"

/* {facts:[{s, p, o, score, ids, labels, language?, datatype?}], tier, latency_ms, complete}: IRIs
 * are whole, literals plain text, labels null where there is none; of tiers 1 and 2 also `why`, and
 * with explain the candidates, and predicates where there are any, with their evidence.  NULL: no
 * memory. */
json_t *facts_json(const strata_facts_result *result, bool explain);

/* The 20 best predicates of tier 2, and candidates of tier 1, a line each. */
void facts_print_explanation(const strata_facts_result *result);

/* A line a fact, by labels where there are some, and one that counts them. */
void facts_print(const strata_facts_result *result);

#endif

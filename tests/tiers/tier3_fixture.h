/* Graphs of invented kinds and predicates for tests of tier 3, with the vectors of tier2_fixture.h:
 * which words mean a predicate or a kind is known. */
#ifndef STRATA_TIER3_FIXTURE_H
#define STRATA_TIER3_FIXTURE_H

#include "tier2_fixture.h"

#define TYPE "<http://www.w3.org/1999/02/22-rdf-syntax-ns#type>"

enum { T3_LANDS = 6 };

/* Lands "Land A" to "Land F", each <u:l0> ... with a seat <u:t0> (a town), whose mayor is <u:p0>, a
 * person, whose spouse is <u:q0>, in a league <u:g0>, whose coin is "coin0"; no inverses declared.
 * Towns, persons and leagues have the names "Town A", "Person A", "Spouse A", "League A". */
void t3_add_lands(struct strata__bytes *text);
strata_facts *t3_lands(const char *name);

/* Masks <u:m0> ... <u:m23>: the carver of each is one of "Cara A" to "Cara E", its painter one of
 * "Dora A" ..., its wood one of "Sort A" ...; each two of these have one mask in common,
 * but Cara E and Dora E. */
void t3_add_makers(struct strata__bytes *text);

struct t3_answer {
    strata_facts_answer answer;
    size_t answers, proofs, chains;
    size_t ends;                                 /* of the first chain, */
    bool joined;                                 /* which is one of two */
    char subject[64], predicate[64], object[64]; /* of the first answer */
    strata_facts_meaning meaning;
};

strata_facts_query t3_query_of(const char *question);

/* What a query with `explain` finds.  Every fact that is given is in the graph and given once,
 * scores fall, answers come before what led to them, and, where all is given, each answer is
 * reached by a chain through the facts that are given. */
struct t3_answer t3_ask_with(strata_facts *facts, const strata_facts_query *query);
struct t3_answer t3_ask(strata_facts *facts, const char *question);

/* The first answer is that fact, and so many facts led to the answers (T3_ANY: or another
 * number); subject NULL: there is none. */
#define T3_ANY SIZE_MAX
void t3_means(strata_facts *facts, const char *question, const char *subject, const char *predicate,
              const char *object, size_t proofs);

#endif

/* Graphs of invented predicates for tests of tier 2, and vectors that are made here, of the words
 * of a text, so that it is known which texts mean the same. */
#ifndef STRATA_TIER2_FIXTURE_H
#define STRATA_TIER2_FIXTURE_H

#include "text.h"
#include "vectors_fixture.h"

#define COMMENT "<http://www.w3.org/2000/01/rdf-schema#comment>"
#define INVERSE "<http://www.w3.org/2002/07/owl#inverseOf>"

enum { NEAR, SURPASSED, SHARED, REVERSED }; /* strata_facts_phrase_evidence_name */

extern bool t2_blind;        /* all texts mean the same */
extern size_t t2_bytes_most; /* of the texts of one call of strata_embed, so far */

/* Adds lines to a text; imports it and frees it. */
void t2_add(struct strata__bytes *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void t2_import(strata_facts *facts, struct strata__bytes *text);

void t2_index_all(strata_facts *facts);
void t2_use(strata_facts *facts);

/* A new store with the triples of a text, which is freed, and vectors: the first words have
 * directions of their own. */
strata_facts *t2_store_of(const char *name, struct strata__bytes *text);

/* Firms with an overseer ("boss") and a staff, ores with a mass ("heaviness"), and people who own
 * firms; such a store. */
void t2_add_firms(struct strata__bytes *text);
strata_facts *t2_firms(const char *name);

struct t2_answer {
    strata_facts_answer answer;
    char subject[64], predicate[64], object[64]; /* of the first fact */
    size_t predicates;                           /* that were considered */
    strata_facts_expansion best;                 /* terms are not valid */
};

/* A query with `explain`, and what it finds, whose scores, evidence and facts are checked. */
strata_facts_query t2_query_of(const char *entity, const char *phrase);
struct t2_answer t2_ask_with(strata_facts *facts, const strata_facts_query *query);
struct t2_answer t2_ask(strata_facts *facts, const char *entity, const char *phrase);

/* The first fact of the answer of tier 2 is that; subject NULL: there is no answer. */
void t2_means(strata_facts *facts, const char *entity, const char *phrase, const char *subject,
              const char *predicate, const char *object);

#endif

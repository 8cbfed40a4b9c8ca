/* What the tests of vectors share: a model, stores, and what indexing gives. */
#ifndef STRATA_VECTORS_FIXTURE_H
#define STRATA_VECTORS_FIXTURE_H

#include "engine_fixture.h"
#include "store_fixture.h"
#include "strata_facts.h"

#define LABEL "<http://www.w3.org/2000/01/rdf-schema#label>"

/* The model that makes vectors, and the path of one of the same shape with other weights. */
extern struct engine vectors_engine;
extern char vectors_other_model[128];

int vectors_set_up(void **state);
int vectors_tear_down(void **state);

/* A new store with two labels, a description and two predicates, without vectors; and how many
 * these are. */
enum { SMALL_STORE = 2 + 1 + 2 };
strata_facts *vectors_small_store(const char *name);

/* The file of the vectors `name` ("labels", "descriptions"); valid until the next call. */
const char *vectors_file(const char *store, const char *name);

/* The call failed with `wanted`, and its message has the text. */
void vectors_refused(strata_status status, strata_status wanted, const char *text);

/* Indexing makes so many vectors. */
void vectors_makes(strata_facts *facts, uint64_t wanted);

#endif

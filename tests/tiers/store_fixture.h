/* Stores of facts in a temporary folder, with hashes that collide and batches that are small. */
#ifndef STRATA_STORE_FIXTURE_H
#define STRATA_STORE_FIXTURE_H

#include "rdf_fixture.h"
#include "strata_facts.h"

/* Bits of the hashes that are kept (all ones: as they are), and triples of a full batch (0: as it
 * is). */
extern uint64_t store_hash_mask;
extern size_t store_batch_triples;

/* Opens the store `name` of rdf_folder, made new where `is_new`. */
strata_facts *store_open(const char *name, bool is_new);

/* Imports a text from the file `file` of rdf_folder; E_... are failures of the test. */
strata_facts_import_info store_import(strata_facts *facts, const char *file, const char *text);

/* What the store exports: lines in order, terminated; freed by the caller. */
char *store_export(strata_facts *facts);

/* The store is what `lines`, in any order, say, and its indices agree. */
void store_is(strata_facts *facts, const char *lines);

/* What a pattern finds as lines of N-Triples, in its order; freed by the caller. */
char *store_find(strata_facts *facts, const strata_facts_query *query, strata_facts_answer *answer);

/* Puts the lines of a text in order, in place. */
void sort_lines(char *text);

#endif

/* What a graph says of its predicates: their names and descriptions as texts. */
#ifndef STRATA_PREDICATE_TEXTS_H
#define STRATA_PREDICATE_TEXTS_H

#include "store.h"

#define STRATA__OWL "http://www.w3.org/2002/07/owl#"
#define STRATA__PREDICATE_NAMES 4                             /* of a predicate that are read, */
#define STRATA__PREDICATE_TEXTS (STRATA__PREDICATE_NAMES + 2) /* and all of its texts */

/* The texts of one predicate: its names, the first one best (without any: the end of its IRI, as
 * words); its description (strata__describes), and this behind the first name.  Each
 * ends at ends[i], and begins behind the NUL that ends the one before. */
struct strata__predicate_texts {
    size_t n;
    bool described; /* the last two are the description, and this behind the first name */
    size_t ends[STRATA__PREDICATE_TEXTS];
    struct strata__bytes bytes;
};

/* Replaces *texts, which starts as zeros; the caller frees its bytes.  n is 0 for predicates that
 * RDF, RDFS, OWL and SKOS have for describing a graph. */
strata_status strata__predicate_texts_read(struct strata__txn *txn, strata__id predicate,
                                           struct strata__predicate_texts *texts);

/* Appends the end of an IRI as words, at most `most` bytes of it: "capitalOf", "capital_of" and
 * "capital-of" are "capital Of". */
strata_status strata__iri_words(const struct strata__term *iri, size_t most,
                                struct strata__bytes *out);

/* The id of a predicate's vector: another one when its texts are others. */
uint64_t strata__predicate_vector_id(strata__id predicate,
                                     const struct strata__predicate_texts *texts);

/* Calls for the predicates of all triples, in the order of their ids, until *stop. */
typedef strata_status strata__predicate_fn(struct strata__txn *txn, strata__id predicate,
                                           void *user, bool *stop);
strata_status strata__each_predicate(struct strata__txn *txn, strata__predicate_fn *call,
                                     void *user);

/* Whether a triple has it as its predicate. */
strata_status strata__is_predicate(struct strata__txn *txn, strata__id id, bool *is);

#endif

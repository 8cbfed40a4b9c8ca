/* What kinds of things a graph has, and which predicates lead from which kind to which.
 *
 * A kind is what an entity's rdf:type says, the first one of several.  Which kinds a predicate
 * joins is known by a sample of its triples, spread over its objects and their subjects.  A
 * predicate without a declared inverse (owl:inverseOf) also leads from its objects to its subjects.
 */
#ifndef STRATA_TIER3_SCHEMA_H
#define STRATA_TIER3_SCHEMA_H

#include "tier1_link.h"

#define STRATA__NO_KIND 0u              /* of entities without a type */
#define STRATA__LITERAL_KIND UINT16_MAX /* of literals */
#define STRATA__NO_PREDICATE UINT16_MAX

#define STRATA__FORMS 8 /* of a predicate's values, that samples meet first */

/* One step of a chain. */
struct strata__hop {
    uint16_t predicate; /* its index in the schema */
    bool reversed;      /* from object to subject */
};

/* A kind's predicate, and the kind that it leads to most often. */
struct strata__schema_edge {
    uint16_t from, to;
    struct strata__hop hop;
};

struct strata__schema {
    size_t width, n_predicates, n_kinds;
    strata__id type; /* rdf:type; 0: nothing has one */
    strata__id *predicates;
    uint32_t (*forms)[STRATA__FORMS]; /* of each predicate: what its values look like */
    uint16_t *inverse;                /* of each predicate: its index, or STRATA__NO_PREDICATE */
    strata__id *kinds;                /* [n_kinds]; 0 is STRATA__NO_KIND */
    float *vectors; /* [n_predicates + n_kinds][width]; zeros where a kind has no name */
    struct strata__schema_edge *edges; /* by `from` */
    size_t n_edges;
    uint32_t *first; /* [n_kinds + 1]: where each kind's edges begin */
    unsigned uses;
};

/* The schemas of a store's states: the newest one is kept.  Any thread. */
struct strata__schemas;
strata_status strata__schemas_open(struct strata__schemas **out);
void strata__schemas_close(struct strata__schemas **schemas);

/* What its memory is charged to from then on. */
strata_status strata__schemas_charge(struct strata__schemas *schemas, const strata_model *model);

/* The schema of the transaction's state, made when there is none yet: the caller drops it.  The
 * store has vectors of predicates. */
strata_status strata__schema_get(struct strata__txn *txn, const struct strata__schema **out);
void strata__schema_drop(strata_facts *facts, const struct strata__schema *schema);

/* What a literal looks like, runs of one kind of character taken as one: "EUR", "USD" have one
 * form,
 * "+44" and ".pt" others; never 0. */
strata_status strata__form_of(struct strata__txn *txn, strata__id literal, uint32_t *form);

/* Whether a predicate has values of a form. */
bool strata__schema_has_form(const struct strata__schema *schema, uint16_t predicate,
                             uint32_t form);

/* The kind of an entity or a literal. */
strata_status strata__kind_of(struct strata__txn *txn, const struct strata__schema *schema,
                              strata__id id, uint16_t *kind);

/* Whether the second of two steps goes back along the first one. */
static inline bool strata__hop_returns(const struct strata__schema *schema, struct strata__hop a,
                                       struct strata__hop b)
{
    return a.predicate == b.predicate
               ? a.reversed != b.reversed || schema->inverse[a.predicate] == a.predicate
               : schema->inverse[a.predicate] == b.predicate;
}

#endif

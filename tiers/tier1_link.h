/* Tier 1: which entities a mention means, among those that have a fact with a predicate.
 *
 * Candidates come from what the store knows: their codes (literals that are the mention), their
 * labels' spelling, labels that they share with an entity that the mention, or some words of it,
 * name (an entry of a dictionary for a country of the same name), and vectors of descriptions and
 * labels.  Each is scored by all of it: the logistic of a weighted sum (tier1_weights.h), which is
 * how likely it is to be meant. */
#ifndef STRATA_TIER1_LINK_H
#define STRATA_TIER1_LINK_H

#include <string.h>

#include "embed_queue.h"
#include "pattern.h"
#include "vectors.h"

/* What speaks for a candidate, each from 0 to 1. */
enum strata__evidence {
    STRATA__CODE,               /* a literal of it is the mention: 1 / how many have that one */
    STRATA__SPELLED,            /* strata__spelling_alike to a label */
    STRATA__WORDS,              /* strata__spelling_words_alike */
    STRATA__ABBREVIATED,        /* the mention is its initials, or a namesake's */
    STRATA__MENTIONED,          /* a description of what the mention names holds its label */
    STRATA__NAMESAKE,           /* shares a label with what some words name: their part of it */
    STRATA__DESCRIBED,          /* cosine to its description */
    STRATA__NAMESAKE_DESCRIBED, /* to that of an entity that shares a label */
    STRATA__MEANING,            /* cosine to a label; of predicates with few facts */
    STRATA__EVIDENCE
};

struct strata__mention; /* mention_cache.h */

struct strata__candidate {
    strata__id id;
    float evidence[STRATA__EVIDENCE];
    double score;
};

/* Vectors and the model that makes them; owned by the store. */
struct strata__linker {
    strata_model *model; /* borrowed */
    struct strata__vectors vectors;
    struct strata__embed_queue *queue; /* by which the model and descriptions are asked */
    size_t width;
};

void strata__linker_close(struct strata__linker **linker);

/* The candidates, best first, that have a fact with one of the predicates (which are ids, not any);
 * the caller frees them.  `exact` holds entities that have the mention as a name: when one of them
 * is of a kind that has the predicate, it is meant and has no such fact, and there are no
 * candidates.  Evidence that is not there when `deadline` (of CLOCK_MONOTONIC, in ms) comes is left
 * out, and *whole false. */
strata_status strata__tier1_link(struct strata__txn *txn, const char *mention,
                                 const struct strata__choices *exact,
                                 const struct strata__choices *predicates, double deadline,
                                 struct strata__candidate **out, size_t *n, bool *whole);

/* True when an entity of those `exact` ones is of a kind (rdf:type) that has the predicates. */
strata_status strata__tier1_is_known(struct strata__txn *txn, const struct strata__choices *exact,
                                     const struct strata__choices *predicates, bool *known);

/* What the model is needed for of a mention, into *mention, whose width and vector are set; not if
 * `deadline` comes before (tier1_prepare.c). */
strata_status strata__tier1_ask(strata_facts *facts, const strata_text *text, double deadline,
                                struct strata__mention *mention);

#define STRATA__ASKED_TOGETHER STRATA__TEXTS_TOGETHER

/* Does that together for up to STRATA__ASKED_TOGETHER mentions and as many phrases of tier 2, and
 * puts it into the store's cache. */
bool strata__tier1_prepares(const strata_facts *facts); /* it has vectors, and room to keep these */
strata_status strata__tier1_prepare(struct strata__txn *txn, const char *const *mentions,
                                    size_t n_mentions, const char *const *phrases,
                                    size_t n_phrases);

#define STRATA__PHRASE_BYTES 1024 /* that are read of a phrase */

static inline strata_text strata__phrase_text(const char *phrase)
{
    return (strata_text){phrase, strnlen(phrase, STRATA__PHRASE_BYTES)};
}

/* The vector of a phrase, that prepared or made; not if `deadline` comes before: *made says. */
strata_status strata__phrase_vector(struct strata__txn *txn, const char *phrase, double deadline,
                                    float *vector, bool *made);

/* Where the best candidate has a lower score, nothing is given. */
extern const double strata__tier1_least;

/* "code", "spelling", ...: the evidence that counts most. */
const char *strata__candidate_why(const struct strata__candidate *candidate);

/* Names of evidence, for reports. */
extern const char *const strata__evidence_names[STRATA__EVIDENCE];

#endif

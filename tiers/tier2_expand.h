/* Tier 2: which predicates of the graph a phrase means.
 *
 * Every predicate is scored by what the graph says of it (predicate_texts.h): how near the phrase's
 * vector is to its own, how much nearer that of another predicate is, but for its inverse (then
 * the phrase means that one, whether the entity has it or not), and which of the phrase's words its
 * texts have, rare ones counting more.  A language model, where one is in use, says of the best of
 * them how probable the phrase is as another name (predicate_lm.h).  Where no inverse of it is
 * declared, it is also read backwards: as one whose subject is the object of its triples.  The
 * score, the logistic of a weighted sum (tier2_weights.h), is how likely it is to be meant. */
#ifndef STRATA_TIER2_EXPAND_H
#define STRATA_TIER2_EXPAND_H

#include "tier1_link.h"

enum strata__phrase_evidence {
    STRATA__NEAR,      /* cosine of the phrase and the predicate */
    STRATA__SURPASSED, /* how much larger the largest such cosine is of another one in the graph */
    STRATA__SHARED,    /* share of the phrase's words, by rarity, that the predicate's texts have */
    STRATA__REVERSED,  /* 1: it is read backwards */
    STRATA__UNSAID,    /* how much less probable a language model finds the phrase as another name
                        * of it than of the best: exp(-20) times or less is 1, as much 0 */
    STRATA__PHRASE_EVIDENCE
};

struct strata__expansion {
    strata__id predicate;
    bool reversed;
    bool held; /* an entity that was asked for has such facts; of those that were looked at */
    float evidence[STRATA__PHRASE_EVIDENCE];
    double score;
};

#define STRATA__LM_PREDICATES 8 /* that a language model is asked about */

/* Whether the language model was asked (tier2_lm.c). */
enum strata__lm_use {
    STRATA__LM_NONE,  /* there is none */
    STRATA__LM_ASKED, /* of the best predicates; for all others its evidence is that of the worst */
    STRATA__LM_NEEDLESS, /* the entity has none of the predicates, or it is clear which is meant */
    STRATA__LM_LATE,     /* the deadline would probably come before */
    STRATA__LM_FULL      /* it has no memory */
};

#define STRATA__EXPANSIONS_MOST 256 /* that are given, of any graph */

/* The predicates of one state of the store with their vectors and words, made anew when it has
 * changed.  Any thread. */
struct strata__predicates;
strata_status strata__predicates_open(struct strata__predicates **out);
void strata__predicates_close(struct strata__predicates **predicates);

/* What its memory is charged to from then on. */
strata_status strata__predicates_charge(struct strata__predicates *predicates,
                                        const strata_model *model);

/* Makes what is known of the predicates of the transaction's state, so that the first phrase does
 * not wait for it; where that fails, the phrase will say why. */
void strata__tier2_preload(struct strata__txn *txn);

/* The predicates that a phrase may mean, best first; the caller frees them.  None where the store
 * has no vectors of them, or `deadline` came (*whole is false then). */
strata_status strata__tier2_expand(struct strata__txn *txn, const char *phrase, double deadline,
                                   struct strata__expansion **out, size_t *n, bool *whole);

/* Scores expansions by their evidence, with the weights for when there is that of a language model
 * or those for when there is not, and puts them in order. */
void strata__tier2_rank(struct strata__expansion *expansions, size_t n, bool with_lm);

/* Asks the store's language model about the best expansions, which are in order and of which those
 * that are held are marked, and puts them in order by that too.  `always`: also where it would
 * hardly change the outcome. */
strata_status strata__tier2_ask_lm(struct strata__txn *txn, const char *phrase,
                                   struct strata__expansion *expansions, size_t n, bool always,
                                   double deadline, enum strata__lm_use *use);

/* ---- Facts ---- */

/* Facts of one predicate and one entity: its subject, or object of one that is read backwards. */
struct strata__meant {
    strata__id predicate, entity;
    bool reversed;
    double score;
    const char *why;
};

/* What tier 2 finds for one query, in the order in which the facts are given; all are freed by
 * strata__tier2_free. */
struct strata__tier2 {
    struct strata__expansion *expansions;
    size_t n_expansions;
    struct strata__candidate *candidates; /* of tier 1, with their predicates' scores in theirs */
    size_t n_candidates;
    struct strata__meant *meant;
    size_t n_meant;
    enum strata__lm_use lm;
    bool whole;
};

/* What an entity (`exact`: those that have its name) and a phrase mean.  Where no such entity has
 * facts of what the phrase likely means, tier 1 links the name for each of the best predicates;
 * `entity` NULL: it is no name.
 * `all`: looks for those of all expansions, not only of likely ones, as explanations want. */
strata_status strata__tier2_find(struct strata__txn *txn, const char *entity, const char *phrase,
                                 const struct strata__choices *exact, double deadline, bool all,
                                 struct strata__tier2 *out);
void strata__tier2_free(struct strata__tier2 *tier2);

/* Gives the triples of all that is meant, each once. */
strata_status strata__tier2_walk(struct strata__txn *txn, const struct strata__tier2 *tier2,
                                 strata__row_fn *take, void *user);

/* What is meant by a row of it: its score, and what counted most. */
const struct strata__meant *strata__tier2_meant(const struct strata__tier2 *tier2,
                                                const struct strata__row *row);

extern const char *const strata__phrase_evidence_names[STRATA__PHRASE_EVIDENCE];

#endif

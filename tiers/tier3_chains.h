/* Tier 3's search: chains of at most five facts that explain a question.
 *
 * A beam search from what the question names, a hop at a time.  Chains are scored by their shape
 * alone (tier3_align.h), with which the schema says how they may go on; the graph is asked, best
 * ones first, whether what they say is there.  Those that the graph has not are followed too, as
 * shapes: where one of them explains the question much better than what there is, the question has
 * no answer. */
#ifndef STRATA_TIER3_CHAINS_H
#define STRATA_TIER3_CHAINS_H

#include "tier3_align.h"

struct strata__chain {
    struct strata__shape shape;
    uint16_t start;  /* index in starts */
    uint8_t returns; /* hops that go back along the one before */
    bool real;       /* the graph has it */
    float score;
    size_t parent;       /* index in `all`, or SIZE_MAX */
    size_t ends, n_ends; /* where it leads, in `ids`: some of them */
};

/* Two chains that end at something in common. */
struct strata__joint {
    struct strata__chain chain; /* its shape has the hops of both; -inf: there is none */
    size_t parts[2];            /* in `all` */
};

struct strata__chains {
    struct strata__start starts[STRATA__STARTS_MOST];
    size_t n_starts;
    struct strata__bytes all;   /* struct strata__chain: those of a level after those before */
    struct strata__bytes ids;   /* strata__id */
    struct strata__bytes best;  /* size_t: indices of real chains, best first */
    struct strata__joint joint; /* the best one, by strata__chains_join */
    float imagined;             /* the best score of a chain that is not real; -inf: none */
    bool whole;                 /* the deadline did not come first */
};

/* Searches until `deadline`; strata__chains_free frees what it found, after errors too. */
strata_status strata__chains_search(struct strata__txn *txn, const struct strata__schema *schema,
                                    const struct strata__question *question, double deadline,
                                    struct strata__chains *out);
void strata__chains_free(struct strata__chains *chains);

/* Finds the best two chains, from different names, that end at something in common (tier3_join.c),
 * until `deadline`. */
void strata__chains_join(const struct strata__schema *schema,
                         const struct strata__question *question, double deadline,
                         struct strata__chains *chains);

static inline const struct strata__chain *strata__chains_at(const struct strata__chains *chains,
                                                            size_t index)
{
    return (const struct strata__chain *)(const void *)chains->all.data + index;
}

/* The terms that a hop leads to from one term, at most `most`, appended to `out` (strata__id). */
strata_status strata__hop_follow(struct strata__txn *txn, const struct strata__schema *schema,
                                 struct strata__hop hop, strata__id from, size_t most,
                                 struct strata__bytes *out);

#endif

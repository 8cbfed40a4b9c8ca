/* How well a chain of predicates explains a question.
 *
 * An alignment gives each hop of the chain a span of the question, apart from the others and from
 * the start's name; a span may also be taken by a kind of thing that the chain comes through.  It
 * scores the sum of how near each span is to its hop, or to its kind, above a least cosine, less
 * what the words weigh that no span covers, and less for hops that lie apart in the question but
 * not in the chain: a question says its hops in turn, the first one near the start's name.  The
 * best one is found by dynamic programming over words, hops that have their span, and the last one
 * of these.
 *
 * Two chains that end at the same ("films by one and with another") are aligned together, each with
 * its start's name and order.
 *
 * Where the chain starts at a literal, that may itself say what the first hop is ("the currency
 * EUR"): the hop then may go without a span. */
#ifndef STRATA_TIER3_ALIGN_H
#define STRATA_TIER3_ALIGN_H

#include "tier3_question.h"

#define STRATA__HOPS_MOST 5

/* Words [first, end) of the question. */
struct strata__words {
    uint8_t first, end;
};

/* A chain as an alignment sees it, or two that end at the same: the second one's hops and kinds are
 * then behind the first one's. */
struct strata__shape {
    struct strata__words names[2]; /* of the starts */
    uint8_t n;                     /* hops */
    uint8_t split;                 /* hops of the first chain, where there are two; else 0 */
    bool literal;                  /* it starts at a literal; of two chains it does not matter */
    struct strata__hop hops[STRATA__HOPS_MOST];
    uint8_t n_kinds;
    uint16_t kinds[STRATA__HOPS_MOST + 2]; /* of the starts, and of where each hop leads */
};

/* What an alignment says of the words. */
struct strata__alignment {
    float score;
    uint64_t bare; /* bit i: word i is covered by nothing */
    float least;   /* the least cosine of a hop and its span; 1: none has one */
};

/* The best alignment's score; `bare_cost`: of a word that is not covered, by what it weighs.  -inf:
 * the question has too few words.  `out` may be NULL. */
float strata__align(const struct strata__question *question, const struct strata__schema *schema,
                    const struct strata__shape *shape, float bare_cost,
                    struct strata__alignment *out);

#endif

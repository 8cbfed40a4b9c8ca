/* Tier 3: the facts that answer a question, and the chains that prove them.
 *
 * The question's words are weighed and compared with the graph's predicates and kinds
 * (tier3_question.h), chains of facts that explain them are searched (tier3_chains.h), and the best
 * one's score, what it leaves unexplained, and how much better a chain would be that the graph has
 * not, say how likely it is to be meant (tier3_weights.h).  Unless it is unlikely, the facts of its
 * last hop are given (of two chains that end at the same: of both, where they do), those of others
 * that are nearly as good behind them, and then the facts that led there. */
#ifndef STRATA_TIER3_FIND_H
#define STRATA_TIER3_FIND_H

#include "tier3_chains.h"

/* What speaks for the best chain, or against it. */
enum strata__chain_evidence {
    STRATA__CHAIN_SCORE,
    STRATA__CHAIN_IMAGINED, /* how much better the best chain is that the graph has not, or less */
    STRATA__CHAIN_BARE,     /* the largest weight of a word that nothing explains */
    STRATA__CHAIN_NAME,     /* weight of the start's name */
    STRATA__CHAIN_LEAST,    /* the least cosine of a hop and its span */
    STRATA__CHAIN_HOPS,
    STRATA__CHAIN_EVIDENCE
};

extern const char *const strata__chain_evidence_names[STRATA__CHAIN_EVIDENCE];

/* Why a fact is given. */
#define STRATA__WHY_ANSWER "answer"
#define STRATA__WHY_CHAIN "chain" /* it led to one */

struct strata__tier3_fact {
    struct strata__row row;
    double score;
    bool proof; /* of a hop before the last one */
};

struct strata__tier3 {
    const struct strata__schema *schema; /* or NULL */
    struct strata__question *question;
    struct strata__chains chains;
    struct strata__bytes
        facts; /* struct strata__tier3_fact, in the order in which they are given */
    float evidence[STRATA__CHAIN_EVIDENCE];
    bool joined;         /* two chains that end at the same are meant (chains.joint) */
    size_t count;        /* of what the best chain leads to */
    double score, least; /* how likely the best chain is to be meant, and must be */
    bool whole;          /* the deadline did not come first */
    bool more;           /* these are not all facts of the chains */
};

/* What a question finds, which strata__tier3_free frees, after errors too.  Nothing where the store
 * has no vectors. */
strata_status strata__tier3_find(struct strata__txn *txn, const char *question, double deadline,
                                 struct strata__tier3 *out);
void strata__tier3_free(strata_facts *facts, struct strata__tier3 *tier3);

#endif

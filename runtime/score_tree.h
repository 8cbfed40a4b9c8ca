/* Continuations as a tree of tokens that one chunk, or some, evaluate (struct strata__tree in
 * forward.h).
 *
 * The tree's first token is the last one of the sequence that goes on, for the logits after it: it
 * sees that sequence and is seen by nobody, the cache having it already.  Then come, in preorder,
 * the tokens that others follow; a token that none follows needs no evaluation. */
#ifndef STRATA_SCORE_TREE_H
#define STRATA_SCORE_TREE_H

#include "forward.h"

/* A continuation; its tokens' numbers among all continuations' begin with `at`. */
struct strata__branch {
    const int32_t *ids;
    size_t count, at;
};

struct strata__score_tree {
    struct strata__tree tree;
    size_t rows, picks; /* room of the tree's arrays; picks are those of all trees together */
    size_t n_picks;     /* that there are so far */
    uint32_t *pick;     /* [number of a token]: where its log-probability is in the tree's */
    /* Of each depth: the token on the path to the branch at hand, and its number among the picks */
    uint32_t *path, *picked;
    uint32_t *at; /* [picks]: the token after which it is asked for, then its place */
    int32_t *ids; /* [picks] */
};

/* Room for trees of up to `rows` tokens, of branches of up to `longest` tokens and of `total`
 * tokens together.  Freed with strata__score_tree_close, also after a failure. */
strata_status strata__score_tree_open(struct strata__score_tree *tree, size_t rows, size_t longest,
                                      size_t total);
void strata__score_tree_close(struct strata__score_tree *tree);

/* Puts branches in the order of their tokens, so that those that begin alike are neighbours. */
void strata__branches_sort(struct strata__branch *branches, size_t count);

/* Makes the tree of the first of the sorted branches that fit in its rows (the first one does), to
 * follow `position` tokens whose last is `last`; returns their number. */
size_t strata__score_tree_plant(struct strata__score_tree *tree,
                                const struct strata__branch *branches, size_t count,
                                size_t position, int32_t last);

#endif

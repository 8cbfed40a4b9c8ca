/* Continuations at random, and their log-probabilities one by one. */
#ifndef SCORE_FIXTURE_H
#define SCORE_FIXTURE_H

#include "strata.h"

struct forest {
    strata_continuation *each;
    size_t count, total; /* tokens of all of them */
    int32_t *ids;        /* of all of them, one after the other */
};

/* `count` continuations of up to `longest` tokens, many of which begin alike, repeat, are empty or
 * are beginnings of others: their ids are of the first `choices` (at least 1) of the vocabulary. */
struct forest forest_of(unsigned seed, size_t count, size_t longest, unsigned choices);
/* The same, of `longest` tokens each. */
struct forest forest_of_long(unsigned seed, size_t count, size_t longest, unsigned choices);
void forest_free(struct forest *forest);

/* The tokens of a tree that others follow, beginnings that are shared counted once; and the one
 * before them. */
size_t forest_rows(const struct forest *forest);

/* Makes the session hold n tokens, which follow from n. */
void forest_ground(strata_session *session, size_t n);

/* Log-probabilities as strata_score gives them (the caller frees); fails the test if it fails. */
float *forest_score(strata_session *session, const struct forest *forest);

/* The same of each continuation evaluated alone, in double from the logits; the session has the
 * tokens that it had. */
float *forest_alone(strata_session *session, const struct forest *forest);

/* The largest difference of two numbers of one place, and the root of the mean of squares. */
float farthest(const float *a, const float *b, size_t n);
float on_average(const float *a, const float *b, size_t n);

#endif

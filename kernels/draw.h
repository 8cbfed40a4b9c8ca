/* Drawing a token: what the CPU does, and the specification of what devices do (ref/draw_ref.c).
 *
 * Of n tokens, best first, token i has the logit logits[ids[i]] (ids NULL: logits[i]), of which the
 * best is finite and none is NaN.  Top-p (Holtzman et al. 2020) keeps the first tokens whose
 * probabilities together reach top_p (1: all), min-p (Nguyen et al. 2024) those that are at least
 * min_p as probable as the best, both at least one; one of these is drawn with their probabilities
 * at `temperature` (0: the first).  The only thing left to chance is `random`, in [0, 1).  All sums
 * are of doubles, in the tokens' order. */
#ifndef STRATA_DRAW_H
#define STRATA_DRAW_H

#include <stddef.h>
#include <stdint.h>

/* Which of the n tokens. */
size_t strata_draw_ref(const float *logits, const int32_t *ids, size_t n, float temperature,
                       float top_p, float min_p, double random);

/* Its parts, for a caller that has not sorted all tokens.  The sum of exp((logit - best) /
 * temperature); how many of n tokens, best first, the filters keep when that sum over all tokens at
 * temperature 1 is `sum`; which of n tokens, in whatever order, is drawn. */
double strata_draw_sum_ref(const float *logits, const int32_t *ids, size_t n, double best,
                           float temperature);
size_t strata_draw_keep_ref(const float *logits, const int32_t *ids, size_t n, double sum,
                            float top_p, float min_p);
size_t strata_draw_one_ref(const float *logits, const int32_t *ids, size_t n, double best,
                           float temperature, double random);

#endif

/* What evidence of tier 1 weighs (tier1_link.h).  Made by bench/fit_tier1: do not edit. */
#ifndef STRATA_TIER1_WEIGHTS_H
#define STRATA_TIER1_WEIGHTS_H

/* Of each kind of evidence, then of what it has beyond the second kink; of all, the first weight is
 * that of the evidence itself. */
static const double strata__tier1_bias = -9.0;
static const double strata__tier1_weights[STRATA__EVIDENCE] = {8.0, 2.0, 2.0, 6.0, 3.0, 3.0, 2.0};
/* A sum of max(0, evidence - from) * weight. */
static const struct {
    enum strata__evidence evidence;
    double from, weight;
} strata__tier1_kinks[] = {
    {STRATA__SPELLED, 0.6, 6.0},   {STRATA__SPELLED, 0.8, 6.0},
    {STRATA__WORDS, 0.7, 4.0},     {STRATA__MEANING, 0.5, 4.0},
    {STRATA__DESCRIBED, 0.5, 6.0}, {STRATA__NAMESAKE_DESCRIBED, 0.5, 4.0},
};
/* Below it a candidate is not given. */
const double strata__tier1_least = 0.03;

#endif

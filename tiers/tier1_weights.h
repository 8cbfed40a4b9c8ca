/* What evidence of tier 1 weighs (tier1_link.h).  Made by tiers/fit_tier1: not to be edited. */
#ifndef STRATA_TIER1_WEIGHTS_H
#define STRATA_TIER1_WEIGHTS_H

// clang-format off
static const double strata__tier1_bias = -7.8900;
static const double strata__tier1_weights[STRATA__EVIDENCE] = {
    7.9682, /* code */
    0.5388, /* spelling */
    0.2723, /* words */
    5.3377, /* abbreviation */
    3.8940, /* mention */
    5.2777, /* namesake */
    1.1715, /* description */
    1.4539, /* namesake's description */
    4.2500, /* meaning */
};

/* Beyond `from`, evidence weighs so much more. */
static const struct {
    enum strata__evidence evidence;
    double from, weight;
} strata__tier1_kinks[] = {
    {STRATA__SPELLED, 0.6, 19.8098},
    {STRATA__SPELLED, 0.8, 7.3373},
    {STRATA__WORDS, 0.7, 0.8672},
    {STRATA__NAMESAKE, 0.6, 20.0529},
    {STRATA__NAMESAKE, 0.9, -51.3497},
    {STRATA__MEANING, 0.5, 2.4066},
    {STRATA__DESCRIBED, 0.5, 22.8337},
    {STRATA__NAMESAKE_DESCRIBED, 0.5, 7.8038},
};

/* Where the best candidate has a lower score, nothing is given. */
const double strata__tier1_least = 0.0255;
// clang-format on

#endif

/* What evidence of tier 1 weighs (tier1_link.h).  Made by tiers/fit_tier1: not to be edited. */
#ifndef STRATA_TIER1_WEIGHTS_H
#define STRATA_TIER1_WEIGHTS_H

// clang-format off
static const double strata__tier1_bias = -7.8384;
static const double strata__tier1_weights[STRATA__EVIDENCE] = {
    7.8987, /* code */
    0.6724, /* spelling */
    0.0925, /* words */
    5.4186, /* abbreviation */
    3.6560, /* mention */
    4.9438, /* namesake */
    1.0415, /* description */
    1.3095, /* namesake's description */
    4.1147, /* meaning */
};

/* Beyond `from`, evidence weighs so much more. */
static const struct {
    enum strata__evidence evidence;
    double from, weight;
} strata__tier1_kinks[] = {
    {STRATA__SPELLED, 0.6, 20.5112},
    {STRATA__SPELLED, 0.8, 5.6715},
    {STRATA__WORDS, 0.7, 1.8289},
    {STRATA__NAMESAKE, 0.6, 21.7528},
    {STRATA__NAMESAKE, 0.9, -49.9307},
    {STRATA__MEANING, 0.5, 2.7803},
    {STRATA__DESCRIBED, 0.5, 22.7815},
    {STRATA__NAMESAKE_DESCRIBED, 0.5, 8.6153},
};

/* Where the best candidate has a lower score, nothing is given. */
const double strata__tier1_least = 0.02428;
// clang-format on

#endif

/* What evidence of tier 1 weighs (tier1_link.h).  Made by tiers/fit_tier1: not to be edited. */
#ifndef STRATA_TIER1_WEIGHTS_H
#define STRATA_TIER1_WEIGHTS_H

// clang-format off
static const double strata__tier1_bias = -7.8866;
static const double strata__tier1_weights[STRATA__EVIDENCE] = {
    7.9632, /* code */
    0.5242, /* spelling */
    0.2265, /* words */
    5.3318, /* abbreviation */
    3.6533, /* mention */
    5.3126, /* namesake */
    1.1750, /* description */
    1.4572, /* namesake's description */
    4.2841, /* meaning */
};

/* Beyond `from`, evidence weighs so much more. */
static const struct {
    enum strata__evidence evidence;
    double from, weight;
} strata__tier1_kinks[] = {
    {STRATA__SPELLED, 0.6, 19.9455},
    {STRATA__SPELLED, 0.8, 7.1177},
    {STRATA__WORDS, 0.7, 0.9658},
    {STRATA__NAMESAKE, 0.6, 19.8860},
    {STRATA__NAMESAKE, 0.9, -51.0918},
    {STRATA__MEANING, 0.5, 1.8263},
    {STRATA__DESCRIBED, 0.5, 22.8331},
    {STRATA__NAMESAKE_DESCRIBED, 0.5, 7.9466},
};

/* Where the best candidate has a lower score, nothing is given. */
const double strata__tier1_least = 0.012943;
// clang-format on

#endif

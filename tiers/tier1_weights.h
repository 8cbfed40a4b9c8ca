/* What evidence of tier 1 weighs (tier1_link.h).  Made by tiers/fit_tier1: not to be edited. */
#ifndef STRATA_TIER1_WEIGHTS_H
#define STRATA_TIER1_WEIGHTS_H

// clang-format off
static const double strata__tier1_bias = -7.6849;
static const double strata__tier1_weights[STRATA__EVIDENCE] = {
    7.8646, /* code */
    0.5253, /* spelling */
    0.2276, /* words */
    4.5181, /* namesake */
    1.1846, /* description */
    1.3168, /* namesake's description */
    3.9352, /* meaning */
};

/* Beyond `from`, evidence weighs so much more. */
static const struct {
    enum strata__evidence evidence;
    double from, weight;
} strata__tier1_kinks[] = {
    {STRATA__SPELLED, 0.6, 20.1660},
    {STRATA__SPELLED, 0.8, 6.2838},
    {STRATA__WORDS, 0.7, 1.4648},
    {STRATA__NAMESAKE, 0.6, 21.3818},
    {STRATA__NAMESAKE, 0.9, -44.6521},
    {STRATA__MEANING, 0.5, 3.4896},
    {STRATA__DESCRIBED, 0.5, 21.8501},
    {STRATA__NAMESAKE_DESCRIBED, 0.5, 8.7312},
};

/* Candidates of a lower score are not given. */
const double strata__tier1_least = 0.02664;
// clang-format on

#endif

/* What evidence of tier 2 weighs (tier2_expand.h).  Made by tiers/fit_tier2: not to be edited. */
#ifndef STRATA_TIER2_WEIGHTS_H
#define STRATA_TIER2_WEIGHTS_H

#include "tier2_expand.h"

// clang-format off
static const double strata__tier2_bias = -2.3555;
static const double strata__tier2_weights[STRATA__PHRASE_EVIDENCE] = {
    4.8320, /* meaning */
    -13.9814, /* another's meaning */
    1.7147, /* words */
    -3.3623, /* reversed */
};

/* Where the best has a lower score, nothing is given: of predicates that an entity of the very name
 * has, and of those of entities that tier 1 found. */
static const double strata__tier2_least = 0.187945;
static const double strata__tier2_least_linked = 0.083999;
// clang-format on

#endif

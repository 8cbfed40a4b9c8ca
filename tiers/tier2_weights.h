/* What evidence of tier 2 weighs (tier2_expand.h).  Made by tiers/fit_tier2: not to be edited. */
#ifndef STRATA_TIER2_WEIGHTS_H
#define STRATA_TIER2_WEIGHTS_H

#include "tier2_expand.h"

/* First without a language model, then with one. */
// clang-format off
static const double strata__tier2_bias[2] = {-2.7689, -1.4296};
static const double strata__tier2_weights[2][STRATA__PHRASE_EVIDENCE] = {
    {
        5.3202, /* meaning */
        -12.3226, /* another's meaning */
        1.9312, /* words */
        -2.8955, /* reversed */
        0.0000, /* unsaid */
    },
    {
        3.7805, /* meaning */
        -8.8179, /* another's meaning */
        1.5925, /* words */
        -2.6565, /* reversed */
        -5.9736, /* unsaid */
    },
};

/* Where the best has a lower score, nothing is given: of predicates that an entity of the very name
 * has (with a language model: by the weights of both), and of those of entities that tier 1 found.
 */
static const double strata__tier2_least[2] = {0.1513, 0.2830};
static const double strata__tier2_least_linked = 0.0861;
// clang-format on

#endif

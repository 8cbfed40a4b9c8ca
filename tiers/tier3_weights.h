/* What evidence of tier 3 weighs (tier3_align.h, tier3_chains.h).  Made by tiers/fit_tier3: not to
 * be edited. */
#ifndef STRATA_TIER3_WEIGHTS_H
#define STRATA_TIER3_WEIGHTS_H

#include "tier3_find.h"

// clang-format off
/* Alignments: the cosine from which on a hop or a kind gains, and what a kind's weighs; what a
 * word that is not covered costs, by its weight; hops apart, each; a first hop that a literal
 * implies. */
static const float strata__tier3_hop_least = 0.43f;
static const float strata__tier3_kind_least = 0.52f;
static const float strata__tier3_kind_gain = 1.0f;
static const float strata__tier3_bare = 2.7f, strata__tier3_loose = 0.3f;
static const float strata__tier3_apart = 0.14f, strata__tier3_backward = 0.15f;
static const float strata__tier3_implied = 0.1f;
/* Chains: what the start's name gains, by its words' weight; what a step back costs. */
static const float strata__tier3_name = 3.0f;
static const float strata__tier3_return = 0.25f;
/* How likely the best chain is to be meant, and the least such score. */
static const double strata__tier3_bias = -6.6615;
static const double strata__tier3_weights[STRATA__CHAIN_EVIDENCE] = {
    1.7331, /* score */
    -9.8244, /* imagined */
    -7.4552, /* bare */
    -0.7804, /* name */
    5.7701, /* least */
    1.1023, /* hops */
};
static const double strata__tier3_least = 0.4444;
// clang-format on

#endif

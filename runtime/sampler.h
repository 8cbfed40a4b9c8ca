/* Chooses the next token from logits. */
#ifndef STRATA_SAMPLER_H
#define STRATA_SAMPLER_H

#include "kernels.h"
#include "status.h"

struct strata__sampler {
    const strata_generate_options *options;
    const struct strata_kernels *kernels;
    uint64_t random; /* state of the generator */
    size_t vocab;
    float *logits;       /* [vocab] working copy */
    int32_t *candidates; /* [vocab] */
};

/* E_INVALID names the field, its value and range. */
strata_status strata__check_draw(float temperature, float top_p, float min_p);

/* Checks the options (E_INVALID names the field, its value and range), allocates the working memory
 * and seeds.  The options and kernels are borrowed until close. */
strata_status strata__sampler_open(struct strata__sampler *sampler,
                                   const strata_generate_options *options,
                                   const struct strata_kernels *kernels, size_t vocab);
void strata__sampler_close(struct strata__sampler *sampler);

/* The next token after logits[0..vocab).  `recent` holds the ids that the repetition penalty looks
 * at (the last repeat_window before now).  In order: repetition penalty (Keskar et al. 2019:
 * divides positive logits, multiplies negative ones), top-k (Fan et al. 2018), top-p (Holtzman et
 * al. 2020), min-p (Nguyen et al. 2024), temperature, draw; temperature 0 takes the best after the
 * penalty. */
int32_t strata__sampler_next(struct strata__sampler *sampler, const float *logits,
                             const int32_t *recent, size_t n_recent);

/* So many of the greatest logits (strata_session_candidates) are enough for the same token, at most
 * STRATA_CANDIDATES_MAX; 0: all are needed.  strata__sampler_choose then takes n of them, that
 * number or more. */
size_t strata__sampler_wants(const struct strata__sampler *sampler);
int32_t strata__sampler_choose(struct strata__sampler *sampler, const strata_candidate *candidates,
                               size_t n, const int32_t *recent, size_t n_recent);

/* Whether tokens can be drawn where the candidates are chosen (strata_session_set_draw), no penalty
 * coming in between; how the next one is then: the token is that of strata__sampler_choose. */
bool strata__sampler_draws(const struct strata__sampler *sampler);
strata_draw strata__sampler_draw(struct strata__sampler *sampler);

#endif

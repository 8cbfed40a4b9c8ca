/* Sampling: filters narrow a list of candidates, best first, then one is drawn. */
#include "sampler.h"

#include <string.h>

#include "draw.h"
#include "memory.h"

/* Candidates sorted in the first attempt when nothing limits their number. */
#define FIRST_SORTED 256

strata_status strata__check_draw(float temperature, float top_p, float min_p)
{
    if (!(temperature >= 0 && temperature <= 1e6f))
        return strata__fail(STRATA_E_INVALID, "temperature: %g, must be 0 (greedy) to 1e6",
                            temperature);
    if (!(top_p > 0 && top_p <= 1))
        return strata__fail(STRATA_E_INVALID, "top_p: %g, must be above 0 and at most 1 (off)",
                            top_p);
    if (!(min_p >= 0 && min_p <= 1))
        return strata__fail(STRATA_E_INVALID, "min_p: %g, must be 0 (off) to 1", min_p);
    return STRATA_OK;
}

static strata_status check(const strata_generate_options *o)
{
    STRATA_TRY(strata__check_draw(o->temperature, o->top_p, o->min_p));
    if (!(o->repeat_penalty >= 0.01f && o->repeat_penalty <= 100))
        return strata__fail(STRATA_E_INVALID, "repeat_penalty: %g, must be 0.01 to 100 (1: off)",
                            o->repeat_penalty);
    return STRATA_OK;
}

strata_status strata__sampler_open(struct strata__sampler *sampler,
                                   const strata_generate_options *options,
                                   const struct strata_kernels *kernels, size_t vocab)
{
    *sampler = (struct strata__sampler){
        .options = options, .kernels = kernels, .random = options->seed, .vocab = vocab};
    STRATA_TRY(check(options));
    STRATA_TRY(strata__calloc(&sampler->logits, vocab, sizeof(float), "sampler"));
    strata_status status = strata__calloc(&sampler->candidates, vocab, sizeof(int32_t), "sampler");
    if (status != STRATA_OK)
        strata__sampler_close(sampler);
    return status;
}

void strata__sampler_close(struct strata__sampler *sampler)
{
    strata__free(sampler->logits);
    strata__free(sampler->candidates);
    sampler->logits = NULL;
    sampler->candidates = NULL;
}

/* Uniform in [0, 1): splitmix64 (Steele, Lea & Flood 2014), whose sequence the seed alone decides.
 */
static double uniform(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* Each id of `recent` is penalised once; `seen` is a mark for every id of the vocabulary. */
static void penalise(float *logits, const int32_t *recent, size_t n_recent, float penalty,
                     int32_t *seen)
{
    for (size_t i = 0; i < n_recent; i++)
        seen[recent[i]] = 0;
    for (size_t i = 0; i < n_recent; i++) {
        float *logit = &logits[recent[i]];
        if (!seen[recent[i]])
            *logit = *logit > 0 ? *logit / penalty : *logit * penalty;
        seen[recent[i]] = 1;
    }
}

/* Fills candidates with what the filters keep and returns their number.  Sorting the whole
 * vocabulary would cost more than a small model's forward pass, so only as many as are kept are
 * sorted. */
static size_t narrow(struct strata__sampler *sampler, double best)
{
    const strata_generate_options *o = sampler->options;
    size_t n = sampler->vocab, k = o->top_k && o->top_k < n ? o->top_k : n;
    if (k == n && o->top_p == 1 && o->min_p == 0) {
        for (size_t i = 0; i < n; i++)
            sampler->candidates[i] = (int32_t)i;
        return n;
    }
    size_t take = k < n ? k : n < FIRST_SORTED ? n : FIRST_SORTED;
    for (;;) {
        sampler->kernels->top_k(sampler->candidates, sampler->logits, n, take);
        const int32_t *summed = k < n ? sampler->candidates : NULL;
        double sum = strata_draw_sum_ref(sampler->logits, summed, k, best, 1);
        size_t kept = strata_draw_keep_ref(sampler->logits, sampler->candidates, take, sum,
                                           o->top_p, o->min_p);
        if (kept < take || take == k)
            return kept;
        take = take * 8 < k ? take * 8 : k;
    }
}

int32_t strata__sampler_next(struct strata__sampler *sampler, const float *logits,
                             const int32_t *recent, size_t n_recent)
{
    const strata_generate_options *o = sampler->options;
    size_t n = sampler->vocab;
    if (o->repeat_penalty != 1 && n_recent) {
        memcpy(sampler->logits, logits, n * sizeof *logits);
        penalise(sampler->logits, recent, n_recent, o->repeat_penalty, sampler->candidates);
        logits = sampler->logits;
    }
    if (o->temperature == 0)
        return (int32_t)sampler->kernels->argmax(logits, n);
    if (logits != sampler->logits)
        memcpy(sampler->logits, logits, n * sizeof *logits);
    double best = sampler->logits[sampler->kernels->argmax(sampler->logits, n)];
    size_t kept = narrow(sampler, best);
    return sampler->candidates[strata_draw_one_ref(sampler->logits, sampler->candidates, kept, best,
                                                   o->temperature, uniform(&sampler->random))];
}

/* ---- From the greatest logits alone ---- */

/* A penalty of at least 1 lowers what was taken lately, and nothing comes up from below the
 * candidates, if there are as many more of them. */
size_t strata__sampler_wants(const struct strata__sampler *sampler)
{
    const strata_generate_options *o = sampler->options;
    size_t k = o->temperature == 0 ? 1 : o->top_k;
    size_t lowered = o->repeat_penalty == 1 ? 0 : o->repeat_window;
    bool enough = k && k < sampler->vocab && o->repeat_penalty >= 1 && k <= STRATA_CANDIDATES_MAX &&
                  lowered <= STRATA_CANDIDATES_MAX - k;
    return enough ? k + lowered : 0;
}

bool strata__sampler_draws(const struct strata__sampler *sampler)
{
    const strata_generate_options *o = sampler->options;
    return o->temperature != 0 && o->repeat_penalty == 1 && strata__sampler_wants(sampler);
}

strata_draw strata__sampler_draw(struct strata__sampler *sampler)
{
    const strata_generate_options *o = sampler->options;
    return (strata_draw){.top_k = o->top_k,
                         .temperature = o->temperature,
                         .top_p = o->top_p,
                         .min_p = o->min_p,
                         .random = o->temperature == 0 ? 0 : uniform(&sampler->random)};
}

/* Puts the candidates in order again: insertion, since few are out of it. */
static void sort(struct strata__sampler *sampler, size_t n)
{
    const float *logits = sampler->logits;
    for (size_t i = 1; i < n; i++) {
        int32_t id = sampler->candidates[i];
        size_t at = i;
        for (; at > 0; at--) {
            int32_t before = sampler->candidates[at - 1];
            if (logits[before] > logits[id] || (logits[before] == logits[id] && before < id))
                break;
            sampler->candidates[at] = before;
        }
        sampler->candidates[at] = id;
    }
}

int32_t strata__sampler_choose(struct strata__sampler *sampler, const strata_candidate *candidates,
                               size_t n, const int32_t *recent, size_t n_recent)
{
    const strata_generate_options *o = sampler->options;
    for (size_t i = 0; i < n; i++)
        sampler->logits[candidates[i].id] = candidates[i].logit;
    if (o->repeat_penalty != 1)
        penalise(sampler->logits, recent, n_recent, o->repeat_penalty, sampler->candidates);
    for (size_t i = 0; i < n; i++)
        sampler->candidates[i] = candidates[i].id;
    if (o->repeat_penalty != 1)
        sort(sampler, n);
    strata_draw how = strata__sampler_draw(sampler);
    size_t k = how.top_k && how.top_k < n ? how.top_k : n;
    return sampler->candidates[strata_draw_ref(sampler->logits, sampler->candidates, k,
                                               how.temperature, how.top_p, how.min_p, how.random)];
}

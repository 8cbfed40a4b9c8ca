/* What a language model says of a phrase, as evidence for predicates (tier2_expand.h). */
#include <math.h>
#include <string.h>

#include "answer_cache.h"
#include "predicate_lm.h"
#include "tier2_expand.h"
#include "tier2_weights.h"

#define BEST_OF_ALL 4      /* of those that are asked about, whether an entity has them or not */
#define DIFFERENCE_MOST 20 /* of log-probabilities */

/* Of scores without it: what is this likely, and no other has more than this part of it, is meant;
 * less than this part of the least one is refused. */
#define LIKELY 0.5
#define RIVAL 0.1
#define HOPELESS 0.25

/* Where a predicate is among those to be asked about, or n. */
static size_t place_of(const struct strata__wording *asked, size_t n, strata__id predicate)
{
    size_t i = 0;
    while (i < n && asked[i].predicate != predicate)
        i++;
    return i;
}

/* The best of all, then the best of those that are held, then again of all; each once. */
static size_t choose(const struct strata__expansion *expansions, size_t n, const char *phrase,
                     struct strata__wording asked[STRATA__LM_PREDICATES])
{
    size_t count = 0;
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < n && count < (round ? STRATA__LM_PREDICATES : BEST_OF_ALL); i++) {
            const strata__id id = expansions[i].predicate;
            if ((round != 1 || expansions[i].held) && place_of(asked, count, id) == count)
                asked[count++] = (struct strata__wording){id, phrase, strlen(phrase), 0};
        }
    return count;
}

/* Whether the model would hardly change the outcome: the best that is held is as good as unlikely,
 * or likelier than not, and far ahead of the next. */
static bool is_settled(const struct strata__expansion *expansions, size_t n)
{
    size_t best = 0, next;
    while (best < n && !expansions[best].held)
        best++;
    if (best == n || expansions[best].score < HOPELESS * strata__tier2_least[0])
        return true;
    for (next = best + 1; next < n; next++)
        if (expansions[next].held && expansions[next].predicate != expansions[best].predicate)
            break;
    return expansions[best].score >= LIKELY &&
           (next == n || expansions[next].score <= RIVAL * expansions[best].score);
}

/* Sets the evidence: of each how much less probable than the best, of the others as of the worst.
 */
static void take(struct strata__expansion *expansions, size_t n,
                 const struct strata__wording *asked, size_t n_asked)
{
    double best = asked[0].logprob, worst = best;
    for (size_t i = 1; i < n_asked; i++) {
        best = fmax(best, asked[i].logprob);
        worst = fmin(worst, asked[i].logprob);
    }
    for (size_t i = 0; i < n; i++) {
        const size_t at = place_of(asked, n_asked, expansions[i].predicate);
        const double less = best - (at < n_asked ? asked[at].logprob : worst);
        expansions[i].evidence[STRATA__UNSAID] = (float)fmin(less / DIFFERENCE_MOST, 1);
    }
}

strata_status strata__tier2_ask_lm(struct strata__txn *txn, const char *phrase,
                                   struct strata__expansion *expansions, size_t n, bool always,
                                   double deadline, enum strata__lm_use *use)
{
    struct strata__wording asked[STRATA__LM_PREDICATES];
    const size_t n_asked = choose(expansions, n, phrase, asked);
    bool scored;
    *use = STRATA__LM_NEEDLESS;
    if (!always && is_settled(expansions, n))
        return STRATA_OK;
    const strata_status status = strata__score_cached(txn, asked, n_asked, deadline, &scored);
    *use = status == STRATA_E_BUDGET ? STRATA__LM_FULL
           : scored                  ? STRATA__LM_ASKED
                                     : STRATA__LM_LATE;
    if (status != STRATA_OK || !scored)
        return status == STRATA_E_BUDGET ? STRATA_OK : status;
    take(expansions, n, asked, n_asked);
    strata__tier2_rank(expansions, n, true);
    return STRATA_OK;
}

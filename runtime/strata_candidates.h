/* Parts of logits: part of strata.h, which includes this file.
 *
 *   strata_draw draw = {.top_k = 40, .temperature = 0.8f, .top_p = 0.95f, .random = 0.371};
 *   strata_session_set_draw(session, &draw);
 *   strata_session_eval(session, ids, count, STRATA_LOGITS_LAST);
 *   size_t n;                                   -- 1
 *   int32_t id = strata_session_candidates(session, 0, &n)->id;
 *
 * Devices choose and draw themselves, so that a row of logits need not be fetched for every token.
 */
#ifndef STRATA_CANDIDATES_H
#define STRATA_CANDIDATES_H

#include "strata.h"

#ifdef __cplusplus
extern "C" {
#endif

#define STRATA_CANDIDATES_MAX 256

/* A token, and its logit. */
typedef struct strata_candidate {
    int32_t id;
    float logit;
} strata_candidate;

/* From now on evaluations that would leave the logits after the last token (STRATA_LOGITS_LAST, and
 * strata_batch_eval where this is sessions[0]) leave the `count` greatest of each row instead, as
 * strata_session_candidates has them: a device then sends no others.  0: all logits (the default);
 * E_INVALID: above STRATA_CANDIDATES_MAX. */
STRATA_API strata_status strata_session_set_candidates(strata_session *session, size_t count);

/* How one of a row's top_k greatest logits is drawn: by the filters of strata_generate_options, in
 * the order top-k, top-p, min-p, temperature, and a random number that the caller chooses. */
typedef struct strata_draw {
    unsigned top_k;    /* 1 .. STRATA_CANDIDATES_MAX */
    float temperature; /* 0: the greatest */
    float top_p;       /* above 0 .. 1 (off) */
    float min_p;       /* 0 (off) .. 1 */
    double random;     /* 0 .. below 1: which part of the probabilities is hit */
} strata_draw;

/* From now on evaluations that would leave the logits after the last token leave one candidate for
 * each row instead, the token that is drawn from it; a device that has the logits draws too, and
 * sends no others.  Row i of strata_batch_eval is drawn as sessions[i] says.  A new `random` for
 * every token is up to the caller.  NULL: logits or candidates again (the default).  E_INVALID,
 * naming the field: out of its range. */
STRATA_API strata_status strata_session_set_draw(strata_session *session, const strata_draw *draw);

/* Row `index` of the candidates of the last evaluation, or NULL when there is none: *count of them
 * (no more than the vocabulary has), the greater logit first, the lower id first among equals: the
 * first of the logits in that order; or the one that was drawn.  Borrowed until the next call on
 * the session. */
STRATA_API const strata_candidate *strata_session_candidates(const strata_session *session,
                                                             size_t index, size_t *count);

#ifdef __cplusplus
}
#endif

#endif

/* Log-probabilities of many continuations: part of strata.h, which includes this file.
 *
 *   strata_session_eval(session, prompt, n, STRATA_LOGITS_NONE);
 *   strata_continuation answers[2] = {{yes, n_yes}, {no, n_no}};
 *   float logprobs[n_yes + n_no];
 *   strata_score(session, answers, 2, logprobs);   -- of "yes", token by token, then of "no"
 *
 * What the session holds is read once for all of them, and so is every beginning that several
 * share: the continuations are evaluated as a tree, in one pass over the weights where it is short
 * enough for one (512 tokens; 4096 where all layers are on devices).
 */
#ifndef STRATA_SCORE_H
#define STRATA_SCORE_H

#include "strata.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Tokens that may follow what a session holds; none are allowed. */
typedef struct strata_continuation {
    const int32_t *ids;
    size_t count;
} strata_continuation;

/* How probable each token of each continuation is after the session's tokens and those before it
 * in its continuation: the natural logarithm of its share of the softmax over the vocabulary.
 * `logprobs` has room for the tokens of all continuations, in their order.  They may be in any
 * order and may repeat or begin like each other.
 *
 * The session is as it was afterwards, but for its logits, of which it has none: it goes on as if
 * this call had not been.  Meanwhile tokens take positions behind its own: one, and one for each
 * token that others follow, shared beginnings once.  Where the context has not that many free, the
 * continuations are evaluated in several trees.  Values are those of evaluating a continuation
 * alone but for the order of sums (and, with 8-bit activations or cache, what rounding makes of
 * it).
 *
 * The session is in use by this call, which strata_session_cancel ends.  After an error `logprobs`
 * is as it was.  E_INVALID: `count` is 0; the session is empty; an id outside the vocabulary; a
 * continuation that is longer than the positions that are free in the context; a model with a
 * window of attention that is shorter than the session's tokens and a continuation (each named).
 * E_CANCELLED; E_BUDGET, E_NOMEM: room for numbers of every token and for some rows of logits;
 * E_FORMAT: as strata_session_eval. */
STRATA_API strata_status strata_score(strata_session *session,
                                      const strata_continuation *continuations, size_t count,
                                      float *logprobs);

/* The same of one continuation of each session: continuations[i] follows what sessions[i] holds,
 * for i < count (1 .. STRATA_BATCH_MAX).  All are evaluated in one pass over the weights up to 64
 * tokens, in several above.  The sessions are different ones of one model and are all in use by
 * this call; they are as they were afterwards, but for their logits and for the order of sums in
 * the keys and values of their last tokens, which are evaluated again.  After an error `logprobs`
 * may hold some of them.  Errors as strata_score, naming the session by its index; E_INVALID also:
 * count, a session twice, sessions of two models, or a continuation of more tokens than the
 * longest context or 512. */
STRATA_API strata_status strata_score_batch(strata_session *const *sessions,
                                            const strata_continuation *continuations, size_t count,
                                            float *logprobs);

#ifdef __cplusplus
}
#endif

#endif

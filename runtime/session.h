/* What a session holds.  See strata_session in strata.h for its rules. */
#ifndef STRATA_SESSION_H
#define STRATA_SESSION_H

#include "forward.h"

struct strata_session {
    strata_model *model;
    struct strata__kv_cache kv;
    struct strata__workspace workspace; /* of one with a lender: empty */
    strata_session *lender;             /* or NULL */
    size_t position;
    float *logits; /* logit_rows rows of vocab floats */
    size_t logit_rows, logit_capacity;
    strata_candidate *candidates; /* logit_rows rows of n_candidates; */
    size_t candidate_capacity;
    size_t n_candidates; /* of the last evaluation; 0: it left logits */
    size_t wanted;       /* candidates of those to come; 0: logits */
    strata_draw draw;    /* or, where its top_k is not 0, one that is drawn */
    int32_t *history;    /* ids at positions 0 .. position - 1; for the repetition penalty */
    bool *begins;        /* of each position: a chunk began there, so that it can be repeated */
    struct strata_session *next_of_model; /* kept by residency.c */
    _Atomic bool cancel;
    double *const *column_sums; /* as in struct strata__chunk, or NULL */
};

/* After a device with some of the keys and values was lost: computes those of the positions before
 * `end` once more, in the chunks that they were in, so that they get the same bits. */
strata_status strata__session_restore(strata_session *session, size_t end);

/* The session in whose buffers it is evaluated. */
static inline strata_session *strata__session_buffers(strata_session *session)
{
    return session->lender ? session->lender : session;
}

/* Of the sessions in whose buffers several are evaluated, the one with the longest context: it has
 * room for all others' positions. */
strata_session *strata__session_lender(strata_session *const *sessions, size_t count);

/* Whether a continuation, number `index` in messages, can be scored after what the session holds
 * (score.c). */
strata_status strata__score_check(const strata_session *session,
                                  const strata_continuation *continuation, size_t index);

/* Room for `rows` rows of logits. */
strata_status strata__session_reserve_logits(strata_session *session, size_t rows);

#endif

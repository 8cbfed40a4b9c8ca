/* Scoring a continuation each of several sessions: their tokens are one chunk, of a span each.
 *
 * A span begins with the session's last token, for the logits after it, and ends before the
 * continuation's last one, after which nothing is asked for. */
#include <math.h>
#include <stdio.h>

#include "session.h"

/* Sessions first .. first + count - 1 of the batch, whose spans have `tokens` tokens together. */
struct part {
    size_t first, count, tokens;
};

/* Rows of logits of a part, unless one continuation has more tokens. */
#define ROWS STRATA__TREE_LOGITS

static strata_status check_one(strata_session *const *sessions,
                               const strata_continuation *continuations, size_t i, size_t most)
{
    for (size_t j = 0; j < i; j++)
        if (sessions[j] == sessions[i])
            return strata__fail(STRATA_E_INVALID, "batch: sessions %zu and %zu are the same", j, i);
    if (sessions[i]->model != sessions[0]->model)
        return strata__fail(STRATA_E_INVALID, "batch: session %zu has another model than session 0",
                            i);
    if (strata__score_check(sessions[i], &continuations[i], i) != STRATA_OK) {
        char why[256];
        snprintf(why, sizeof why, "%s", strata_last_error());
        return strata__fail(STRATA_E_INVALID, "batch: session %zu: %s", i, why);
    }
    if (continuations[i].count > most)
        return strata__fail(STRATA_E_INVALID,
                            "batch: continuation %zu: %zu tokens, %zu are evaluated together: use "
                            "strata_score",
                            i, continuations[i].count, most);
    return STRATA_OK;
}

/* The next sessions whose tokens are evaluated together; empty continuations need nothing. */
static bool next_part(const strata_continuation *continuations, size_t count, size_t most,
                      struct part *part)
{
    part->first += part->count;
    part->count = part->tokens = 0;
    while (part->first < count && continuations[part->first].count == 0)
        part->first++;
    while (part->first + part->count < count) {
        const size_t n = continuations[part->first + part->count].count;
        if (n == 0 || (part->count && part->tokens + n > most))
            break;
        part->tokens += n;
        part->count++;
    }
    return part->count > 0;
}

static strata_status eval_part(strata_session *lender, strata_session *const *sessions,
                               const strata_continuation *continuations, const struct part *part,
                               int32_t *ids)
{
    struct strata__span spans[STRATA_BATCH_MAX];
    size_t at = 0;
    for (size_t i = 0; i < part->count; i++) {
        strata_session *session = sessions[i];
        const size_t n = continuations[i].count;
        STRATA_TRY(strata__session_restore(session, session->position));
        spans[i] = (struct strata__span){&session->kv, &session->cancel, .first = at, .count = n,
                                         .position = session->position - 1};
        ids[at] = session->history[session->position - 1];
        for (size_t t = 1; t < n; t++)
            ids[at + t] = continuations[i].ids[t - 1];
        at += n;
    }
    struct strata__chunk chunk = {
        .model = lender->model,
        .workspace = &lender->workspace,
        .spans = spans,
        .n_spans = part->count,
        .ids = ids,
        .count = part->tokens,
        .logits = lender->logits,
        .logit_rows = part->tokens,
    };
    const strata_status status = strata__forward(&chunk);
    for (size_t i = 0; i < part->count; i++)
        sessions[i]->kv.used = sessions[i]->position;
    return status;
}

/* The logarithm of a token's share of the softmax over a row of logits, which is used up. */
static float logprob_of(const struct strata_kernels *kernels, float *row, size_t vocab, int32_t id)
{
    const size_t best = kernels->argmax(row, vocab);
    const float less = row[id] - row[best];
    kernels->softmax(row, vocab);
    return less + logf(row[best]);
}

/* Evaluates a part, also when devices are lost before or meanwhile. */
static strata_status score_part(strata_session *lender, strata_session *const *sessions,
                                const strata_continuation *continuations, const struct part *part,
                                int32_t *ids, float *logprobs)
{
    const struct strata_kernels *kernels = &lender->model->runtime->kernels;
    const size_t vocab = lender->model->hp.vocab;
    float *row = lender->logits;
    strata_status status;
    do
        status = eval_part(lender, sessions, continuations, part, ids);
    while (status == STRATA_E_DEVICE);
    STRATA_TRY(status);
    for (size_t i = 0; i < part->count; i++)
        for (size_t t = 0; t < continuations[i].count; t++, row += vocab)
            *logprobs++ = logprob_of(kernels, row, vocab, continuations[i].ids[t]);
    return STRATA_OK;
}

strata_status strata_score_batch(strata_session *const *sessions,
                                 const strata_continuation *continuations, size_t count,
                                 float *logprobs)
{
    int32_t ids[STRATA__CHUNK];
    if (count == 0 || count > STRATA_BATCH_MAX)
        return strata__fail(STRATA_E_INVALID, "batch of %zu sessions, must be 1 to %d", count,
                            STRATA_BATCH_MAX);
    strata_session *lender = strata__session_lender(sessions, count);
    const size_t room = lender->workspace.tokens, most = room < ROWS ? room : ROWS;
    size_t rows = 0;
    for (size_t i = 0; i < count; i++)
        STRATA_TRY(check_one(sessions, continuations, i, room));
    for (struct part part = {0}; next_part(continuations, count, most, &part);)
        rows = part.tokens > rows ? part.tokens : rows;
    for (size_t i = 0; i < count; i++)
        sessions[i]->logit_rows = 0;
    lender->logit_rows = 0;
    STRATA_TRY(strata__session_reserve_logits(lender, rows));
    strata_status status = STRATA_OK;
    for (struct part part = {0};
         status == STRATA_OK && next_part(continuations, count, most, &part);) {
        status = score_part(lender, sessions + part.first, continuations + part.first, &part, ids,
                            logprobs);
        logprobs += part.tokens;
    }
    for (size_t i = 0; i < count && status == STRATA_E_CANCELLED; i++)
        atomic_store(&sessions[i]->cancel, false);
    return status;
}

/* Sessions: a KV cache that grows by evaluated tokens. */
#include "session.h"

#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "residency.h"
#include "sampler.h"

/* Context when the caller names none: the model's own, but no more than this. */
#define DEFAULT_CONTEXT 4096

void strata_session_options_default(strata_session_options *options)
{
    *options = (strata_session_options){.size = sizeof *options};
}

static strata_status open_in_scope(strata_session *session, size_t context, strata_kv_type kv_type)
{
    enum strata_type type = kv_type == STRATA_KV_Q8_0 ? STRATA_TYPE_Q8_0 : STRATA_TYPE_F16;
    STRATA_TRY(strata__kv_open(&session->kv, type, &session->model->hp, context));
    STRATA_TRY(strata__calloc(&session->history, context, sizeof *session->history, "history"));
    STRATA_TRY(strata__calloc(&session->begins, context, sizeof *session->begins, "history"));
    size_t tokens = context < STRATA__CHUNK ? context : STRATA__CHUNK;
    if (!session->lender)
        STRATA_TRY(strata__workspace_open(&session->workspace, session->model, tokens, context));
    return strata__residency_join(session);
}

static strata_status open_session(strata_session *session, size_t context, strata_kv_type kv_type)
{
    struct strata__scope before = strata__scope_set(session->model->for_context);
    strata_status status = open_in_scope(session, context, kv_type);
    strata__scope_set(before);
    return status;
}

static strata_status check_lender(const strata_model *model, const strata_session *lender,
                                  unsigned context)
{
    if (!lender)
        return STRATA_OK;
    if (lender->model != model || lender->lender)
        return strata__fail(STRATA_E_INVALID, "lender: %s",
                            lender->lender ? "it has a lender itself" : "it is of another model");
    if (lender->kv.context < context)
        return strata__fail(STRATA_E_INVALID,
                            "lender: its context has %zu positions, %u are needed",
                            lender->kv.context, context);
    return STRATA_OK;
}

strata_status strata_session_open(strata_model *model, const strata_session_options *options,
                                  strata_session **out)
{
    *out = NULL;
    strata_session_options defaults;
    strata_session_options_default(&defaults);
    if (!options)
        options = &defaults;
    if (options->size != sizeof *options)
        return strata__fail(STRATA_E_INVALID, "strata_session_options: size is %zu, expected %zu",
                            options->size, sizeof *options);
    if (model->hp.encoder)
        return strata__fail(STRATA_E_UNSUPPORTED,
                            "%s: a %s model makes sentence vectors (strata_embed), it generates no "
                            "text",
                            strata__file_path(model->file),
                            strata_file_info_get(model->file).architecture);
    if (model->no_weights)
        return strata__fail(STRATA_E_INVALID, "%s: loaded without its weights (no_weights)",
                            strata__file_path(model->file));
    unsigned own = model->hp.context;
    unsigned context = options->context;
    if (!context)
        context = own < DEFAULT_CONTEXT ? own : DEFAULT_CONTEXT;
    if (context > own)
        return strata__fail(STRATA_E_INVALID,
                            "context: %u positions, but the model was made for %u", context, own);
    if (options->kv_type != STRATA_KV_F16 && options->kv_type != STRATA_KV_Q8_0)
        return strata__fail(STRATA_E_INVALID, "strata_session_options: kv_type is %d",
                            (int)options->kv_type);
    STRATA_TRY(check_lender(model, options->lender, context));
    strata_session *session;
    STRATA_TRY(strata__calloc(&session, 1, sizeof *session, "session"));
    session->model = strata_model_ref(model);
    session->lender = options->lender;
    strata_status status = open_session(session, context, options->kv_type);
    if (status != STRATA_OK)
        strata_session_close(&session);
    *out = session;
    return status;
}

void strata_session_close(strata_session **handle)
{
    strata_session *session = handle ? *handle : NULL;
    if (!session)
        return;
    strata__residency_part(session);
    strata__workspace_close(&session->workspace);
    strata__kv_close(&session->kv);
    strata__free(session->history);
    strata__free(session->begins);
    strata__free(session->logits);
    strata__free(session->candidates);
    strata_model_unref(&session->model);
    strata__free(session);
    *handle = NULL;
}

size_t strata_session_position(const strata_session *session)
{
    return session->position;
}

size_t strata_session_context(const strata_session *session)
{
    return session->kv.context;
}

strata_status strata_session_truncate(strata_session *session, size_t position)
{
    if (position > session->position)
        return strata__fail(STRATA_E_INVALID,
                            "truncate: position %zu is beyond the present position %zu", position,
                            session->position);
    session->position = position;
    session->logit_rows = 0;
    if (position < session->kv.used)
        session->kv.used = position;
    return STRATA_OK;
}

void strata_session_cancel(strata_session *session)
{
    atomic_store(&session->cancel, true);
}

static strata_status check_tokens(const strata_session *session, const int32_t *ids, size_t count)
{
    if (count == 0)
        return strata__fail(STRATA_E_INVALID, "no tokens to evaluate");
    size_t room = session->kv.context - session->position;
    if (count > room)
        return strata__fail(STRATA_E_INVALID,
                            "%zu tokens do not fit: %zu of the context's %zu positions are free",
                            count, room, session->kv.context);
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (unsigned)ids[i] >= session->model->hp.vocab)
            return strata__fail(STRATA_E_INVALID,
                                "token %zu: id %d, must be 0 to %u (the vocabulary)", i, ids[i],
                                session->model->hp.vocab - 1);
    return STRATA_OK;
}

/* What an evaluation is to leave of its last tokens: `rows` rows of logits, or of n candidates
 * (then the logits are room for making them), or of the one that is drawn from those.  None: zeros.
 */
struct results {
    size_t rows;
    float *logits;
    strata_candidate *candidates;
    size_t n;
    const strata_draw *draws; /* [rows], or NULL */
};

/* Room for items of an array of the session that only grows. */
static strata_status reserve(const strata_session *session, void *array, size_t *capacity,
                             size_t wanted, size_t size)
{
    if (wanted <= *capacity)
        return STRATA_OK;
    struct strata__scope before = strata__scope_set(session->model->for_context);
    strata_status status = strata__resize(array, wanted, size, "logits");
    strata__scope_set(before);
    STRATA_TRY(status);
    *capacity = wanted;
    return STRATA_OK;
}

strata_status strata__session_reserve_logits(strata_session *session, size_t rows)
{
    return reserve(session, &session->logits, &session->logit_capacity, rows,
                   session->model->hp.vocab * sizeof *session->logits);
}

/* Room for `rows` rows of logits, and of candidates if they are wanted (`choose`); draws: of the
 * rows, or NULL. */
static strata_status reserve_results(strata_session *session, size_t rows, bool choose,
                                     const strata_draw *draws, struct results *out)
{
    size_t vocab = session->model->hp.vocab, n = choose && !draws ? session->wanted : 0;
    for (size_t i = 0; draws && i < rows; i++)
        n = draws[i].top_k > n ? draws[i].top_k : n;
    n = n < vocab ? n : vocab;
    session->n_candidates = draws ? 1 : n;
    STRATA_TRY(strata__session_reserve_logits(session, rows));
    STRATA_TRY(reserve(session, &session->candidates, &session->candidate_capacity,
                       rows * session->n_candidates, sizeof *session->candidates));
    *out = (struct results){rows, session->logits, session->candidates, n, draws};
    return STRATA_OK;
}

/* Those of the tokens from number `first` on, whose results come first. */
static struct results results_from(const struct results *all, const strata_model *model,
                                   size_t first, size_t rows)
{
    struct results part = {.rows = rows, .n = all->n};
    if (rows) {
        part.logits = all->logits + first * model->hp.vocab;
        part.candidates = all->n ? all->candidates + first * (all->draws ? 1 : all->n) : NULL;
        part.draws = all->draws ? all->draws + first : NULL;
    }
    return part;
}

static void mark_chunk(strata_session *session, size_t position, size_t count)
{
    memset(session->begins + position, 0, count * sizeof *session->begins);
    session->begins[position] = true;
}

/* Evaluates up to *count tokens of the history from `position` on, one chunk; *count becomes the
 * number of those that were. */
static strata_status eval_chunk(strata_session *session, size_t position, size_t *count,
                                struct results results)
{
    struct strata__span span = {&session->kv, &session->cancel, .first = 0, .count = *count,
                                .position = position};
    struct strata__chunk chunk = {
        .model = session->model,
        .workspace = &strata__session_buffers(session)->workspace,
        .spans = &span,
        .n_spans = 1,
        .ids = session->history + position,
        .count = *count,
        .logits = results.logits,
        .logit_rows = results.rows,
        .candidates = results.candidates,
        .n_candidates = results.n,
        .draws = results.draws,
        .column_sums = session->column_sums,
    };
    STRATA_TRY(strata__forward(&chunk));
    *count = chunk.count;
    return STRATA_OK;
}

strata_status strata__session_restore(strata_session *session, size_t end)
{
    while (session->kv.lost) {
        strata__residency_enter(session->model);
        strata_status status = strata__residency_settle(session->model, &session->kv);
        if (status == STRATA_OK)
            session->kv.lost = false;
        strata__residency_leave(session->model);
        STRATA_TRY(status);
        for (size_t at = 0; at < end && status == STRATA_OK;) {
            size_t next = at + 1;
            while (next < end && !session->begins[next])
                next++;
            size_t count = next - at; /* of a long chunk perhaps less than all */
            status = eval_chunk(session, at, &count, (struct results){0});
            at += count;
        }
        if (status != STRATA_OK) {
            bool again = status == STRATA_E_DEVICE;
            session->kv.lost = true;
            if (!again)
                return status;
        }
    }
    return STRATA_OK;
}

/* The same as eval_chunk, also when devices are lost before or meanwhile. */
static strata_status eval_chunk_safely(strata_session *session, size_t position, size_t *count,
                                       struct results results)
{
    for (;;) {
        STRATA_TRY(strata__session_restore(session, position));
        strata_status status = eval_chunk(session, position, count, results);
        if (status != STRATA_E_DEVICE)
            return status;
    }
}

strata_status strata_session_eval(strata_session *session, const int32_t *ids, size_t count,
                                  strata_logits logits)
{
    session->logit_rows = 0;
    STRATA_TRY(check_tokens(session, ids, count));
    size_t rows = logits == STRATA_LOGITS_ALL ? count : logits == STRATA_LOGITS_LAST ? 1 : 0;
    struct results all;
    bool last = logits == STRATA_LOGITS_LAST;
    const strata_draw *draw = last && session->draw.top_k ? &session->draw : NULL;
    STRATA_TRY(reserve_results(session, rows, last, draw, &all));
    memcpy(session->history + session->position, ids, count * sizeof *ids);
    strata_status status = STRATA_OK;
    for (size_t done = 0; done < count && status == STRATA_OK;) {
        size_t left = count - done, position = session->position + done;
        size_t most =
            strata__chunk_tokens(session->model, &strata__session_buffers(session)->workspace);
        size_t m = left < most ? left : most;
        size_t chunk_rows = logits == STRATA_LOGITS_ALL || m == left ? rows : 0;
        struct results part =
            results_from(&all, session->model, logits == STRATA_LOGITS_ALL ? done : 0,
                         chunk_rows < m ? chunk_rows : m);
        status = eval_chunk_safely(session, position, &m, part);
        mark_chunk(session, position, m);
        done += m;
    }
    if (status == STRATA_E_CANCELLED)
        atomic_store(&session->cancel, false);
    STRATA_TRY(status);
    session->position += count;
    session->logit_rows = rows;
    return STRATA_OK;
}

static strata_status check_batch(strata_session *const *sessions, const int32_t *ids, size_t count)
{
    if (count == 0 || count > STRATA_BATCH_MAX)
        return strata__fail(STRATA_E_INVALID, "batch of %zu sessions, must be 1 to %d", count,
                            STRATA_BATCH_MAX);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++)
            if (sessions[j] == sessions[i])
                return strata__fail(STRATA_E_INVALID, "batch: sessions %zu and %zu are the same", j,
                                    i);
        if (sessions[i]->model != sessions[0]->model)
            return strata__fail(STRATA_E_INVALID,
                                "batch: session %zu has another model than session 0", i);
        if (!sessions[i]->draw.top_k != !sessions[0]->draw.top_k)
            return strata__fail(STRATA_E_INVALID,
                                "batch: of sessions 0 and %zu one has a draw, the other has none; "
                                "see strata_session_set_draw",
                                i);
        if (check_tokens(sessions[i], &ids[i], 1) != STRATA_OK) {
            char why[256];
            snprintf(why, sizeof why, "%s", strata_last_error());
            return strata__fail(STRATA_E_INVALID, "batch: session %zu: %s", i, why);
        }
    }
    return STRATA_OK;
}

/* The session whose context is the longest: its buffers have room for all others' positions. */
strata_session *strata__session_lender(strata_session *const *sessions, size_t count)
{
    strata_session *lender = strata__session_buffers(sessions[0]);
    for (size_t i = 1; i < count; i++)
        if (strata__session_buffers(sessions[i])->kv.context > lender->kv.context)
            lender = strata__session_buffers(sessions[i]);
    return lender;
}

static strata_status eval_batch(strata_session *lender, strata_session *const *sessions,
                                const int32_t *ids, size_t count, struct results results)
{
    struct strata__span spans[STRATA_BATCH_MAX];
    for (size_t i = 0; i < count; i++)
        spans[i] = (struct strata__span){&sessions[i]->kv, &sessions[i]->cancel, .first = i,
                                         .count = 1, .position = sessions[i]->position};
    struct strata__chunk chunk = {
        .model = sessions[0]->model,
        .workspace = &lender->workspace,
        .spans = spans,
        .n_spans = count,
        .ids = ids,
        .count = count,
        .logits = results.logits,
        .logit_rows = results.rows,
        .candidates = results.candidates,
        .n_candidates = results.n,
        .draws = results.draws,
    };
    return strata__forward(&chunk);
}

/* The same, also when devices are lost before or meanwhile. */
static strata_status eval_batch_safely(strata_session *lender, strata_session *const *sessions,
                                       const int32_t *ids, size_t count, struct results results)
{
    for (;;) {
        for (size_t i = 0; i < count; i++)
            STRATA_TRY(strata__session_restore(sessions[i], sessions[i]->position));
        strata_status status = eval_batch(lender, sessions, ids, count, results);
        if (status != STRATA_E_DEVICE)
            return status;
    }
}

strata_status strata_batch_eval(strata_session *const *sessions, const int32_t *ids, size_t count)
{
    STRATA_TRY(check_batch(sessions, ids, count));
    strata_draw draws[STRATA_BATCH_MAX];
    for (size_t i = 0; i < count; i++) {
        sessions[i]->logit_rows = 0;
        draws[i] = sessions[i]->draw;
    }
    strata_session *first = sessions[0];
    struct results all;
    STRATA_TRY(reserve_results(first, count, true, draws->top_k ? draws : NULL, &all));
    strata_session *lender = strata__session_lender(sessions, count);
    strata_status status = STRATA_OK;
    for (size_t done = 0; done < count && status == STRATA_OK;) { /* in parts: tiny contexts only */
        size_t left = count - done, most = lender->workspace.tokens;
        size_t m = left < most ? left : most;
        status = eval_batch_safely(lender, sessions + done, ids + done, m,
                                   results_from(&all, first->model, done, m));
        done += m;
    }
    if (status == STRATA_E_CANCELLED)
        for (size_t i = 0; i < count; i++)
            atomic_store(&sessions[i]->cancel, false);
    STRATA_TRY(status);
    for (size_t i = 0; i < count; i++) {
        sessions[i]->history[sessions[i]->position] = ids[i];
        mark_chunk(sessions[i], sessions[i]->position++, 1);
    }
    first->logit_rows = count;
    return STRATA_OK;
}

const float *strata_session_logits(const strata_session *session, size_t index)
{
    bool there = index < session->logit_rows && session->n_candidates == 0;
    return there ? session->logits + index * session->model->hp.vocab : NULL;
}

strata_status strata_session_set_candidates(strata_session *session, size_t count)
{
    if (count > STRATA_CANDIDATES_MAX)
        return strata__fail(STRATA_E_INVALID, "%zu candidates, must be 0 (all logits) to %d", count,
                            STRATA_CANDIDATES_MAX);
    session->wanted = count;
    return STRATA_OK;
}

strata_status strata_session_set_draw(strata_session *session, const strata_draw *draw)
{
    if (!draw) {
        session->draw = (strata_draw){.top_k = 0};
        return STRATA_OK;
    }
    if (draw->top_k < 1 || draw->top_k > STRATA_CANDIDATES_MAX)
        return strata__fail(STRATA_E_INVALID, "top_k: %u, must be 1 to %d where a token is drawn",
                            draw->top_k, STRATA_CANDIDATES_MAX);
    STRATA_TRY(strata__check_draw(draw->temperature, draw->top_p, draw->min_p));
    if (!(draw->random >= 0 && draw->random < 1))
        return strata__fail(STRATA_E_INVALID, "random: %g, must be 0 to below 1", draw->random);
    session->draw = *draw;
    return STRATA_OK;
}

const strata_candidate *strata_session_candidates(const strata_session *session, size_t index,
                                                  size_t *count)
{
    *count = index < session->logit_rows ? session->n_candidates : 0;
    return *count ? session->candidates + index * *count : NULL;
}

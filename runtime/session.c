/* Sessions: a KV cache that grows by evaluated tokens. */
#include "session.h"

#include <string.h>

#include "memory.h"

/* Context when the caller names none: the model's own, but no more than this. */
#define DEFAULT_CONTEXT 4096

void strata_session_options_default(strata_session_options *options)
{
    *options = (strata_session_options){.size = sizeof *options};
}

static strata_status open_session(strata_session *session, size_t context)
{
    const struct strata__hparams *hp = &session->model->hp;
    STRATA_TRY(strata__kv_open(&session->kv, hp->layers, hp->kv_heads, context, hp->head_dim));
    STRATA_TRY(strata__calloc(&session->history, context, sizeof *session->history, "history"));
    size_t tokens = context < STRATA__CHUNK ? context : STRATA__CHUNK;
    return strata__workspace_open(&session->workspace, session->model, tokens);
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
    unsigned own = model->hp.context;
    unsigned context = options->context;
    if (!context)
        context = own < DEFAULT_CONTEXT ? own : DEFAULT_CONTEXT;
    if (context > own)
        return strata__fail(STRATA_E_INVALID,
                            "context: %u positions, but the model was made for %u", context, own);
    strata_session *session;
    STRATA_TRY(strata__calloc(&session, 1, sizeof *session, "session"));
    session->model = strata_model_ref(model);
    strata_status status = open_session(session, context);
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
    strata__workspace_close(&session->workspace);
    strata__kv_close(&session->kv);
    strata__free(session->history);
    strata__free(session->logits);
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

static strata_status reserve_logits(strata_session *session, size_t rows)
{
    if (rows <= session->logit_capacity)
        return STRATA_OK;
    STRATA_TRY(
        strata__resize(&session->logits, rows, session->model->hp.vocab * sizeof(float), "logits"));
    session->logit_capacity = rows;
    return STRATA_OK;
}

strata_status strata_session_eval(strata_session *session, const int32_t *ids, size_t count,
                                  strata_logits logits)
{
    session->logit_rows = 0;
    STRATA_TRY(check_tokens(session, ids, count));
    size_t rows = logits == STRATA_LOGITS_ALL ? count : logits == STRATA_LOGITS_LAST ? 1 : 0;
    STRATA_TRY(reserve_logits(session, rows));
    strata_status status = STRATA_OK;
    for (size_t done = 0; done < count && status == STRATA_OK;) {
        size_t left = count - done;
        size_t m = left < session->workspace.tokens ? left : session->workspace.tokens;
        size_t chunk_rows = logits == STRATA_LOGITS_ALL || m == left ? rows : 0;
        struct strata__chunk chunk = {
            .model = session->model,
            .workspace = &session->workspace,
            .kv = &session->kv,
            .ids = ids + done,
            .count = m,
            .position = session->position + done,
            .logits = session->logits,
            .logit_rows = chunk_rows < m ? chunk_rows : m,
            .cancel = &session->cancel,
        };
        if (logits == STRATA_LOGITS_ALL)
            chunk.logits += done * session->model->hp.vocab;
        status = strata__forward(&chunk);
        done += m;
    }
    if (status == STRATA_E_CANCELLED)
        atomic_store(&session->cancel, false);
    STRATA_TRY(status);
    memcpy(session->history + session->position, ids, count * sizeof *ids);
    session->position += count;
    session->logit_rows = rows;
    return STRATA_OK;
}

const float *strata_session_logits(const strata_session *session, size_t index)
{
    return index < session->logit_rows ? session->logits + index * session->model->hp.vocab : NULL;
}

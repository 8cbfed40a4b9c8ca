/* Scoring continuations of a session, as trees of tokens behind what it holds. */
#include "score_tree.h"

#include <stdlib.h>

#include "memory.h"
#include "session.h"

/* What the continuations are, all together. */
struct extent {
    size_t longest, total;
};

static strata_status check_ids(const strata_session *session,
                               const strata_continuation *continuation, size_t index)
{
    unsigned vocab = session->model->hp.vocab;
    for (size_t i = 0; i < continuation->count; i++)
        if (continuation->ids[i] < 0 || (unsigned)continuation->ids[i] >= vocab)
            return strata__fail(STRATA_E_INVALID,
                                "continuation %zu, token %zu: id %d, must be 0 to %u (the "
                                "vocabulary)",
                                index, i, continuation->ids[i], vocab - 1);
    return STRATA_OK;
}

strata_status strata__score_check(const strata_session *session,
                                  const strata_continuation *continuation, size_t index)
{
    size_t room = session->kv.context - session->position, window = session->model->hp.window,
           n = continuation->count;
    if (session->position == 0)
        return strata__fail(STRATA_E_INVALID,
                            "the session is empty: evaluate what is to be continued first, the BOS "
                            "token at least");
    if (n > room)
        return strata__fail(STRATA_E_INVALID,
                            "continuation %zu: its %zu tokens do not fit: %zu of the context's "
                            "%zu positions are free",
                            index, n, room, session->kv.context);
    if (window && session->position + n > window)
        return strata__fail(STRATA_E_INVALID,
                            "continuation %zu: with it the session has %zu tokens, but the "
                            "model's attention has a window of %zu: evaluate it alone, with "
                            "strata_session_eval",
                            index, session->position + n, window);
    return check_ids(session, continuation, index);
}

static strata_status check(const strata_session *session, const strata_continuation *continuations,
                           size_t count, struct extent *extent)
{
    *extent = (struct extent){0};
    if (count == 0)
        return strata__fail(STRATA_E_INVALID, "no continuations to score");
    for (size_t i = 0; i < count; i++) {
        size_t n = continuations[i].count;
        STRATA_TRY(strata__score_check(session, &continuations[i], i));
        extent->longest = n > extent->longest ? n : extent->longest;
        if (n > UINT32_MAX - extent->total)
            return strata__fail(STRATA_E_INVALID, "continuations of more than 2^32 tokens");
        extent->total += n;
    }
    return STRATA_OK;
}

/* Evaluates the chunks of a tree, one after the other. */
static strata_status eval_chunks(strata_session *session, const struct strata__tree *tree)
{
    for (size_t done = 0; done < tree->count;) {
        size_t left = tree->count - done;
        size_t most =
            strata__chunk_tokens(session->model, &strata__session_buffers(session)->workspace);
        struct strata__span span = {&session->kv, &session->cancel, .first = 0,
                                    .count = left < most ? left : most,
                                    .position = tree->from + done};
        struct strata__chunk chunk = {
            .model = session->model,
            .workspace = &strata__session_buffers(session)->workspace,
            .spans = &span,
            .n_spans = 1,
            .ids = tree->ids + done,
            .count = span.count,
            .logits = session->logits,
            .logit_rows = span.count,
            .tree = tree,
        };
        STRATA_TRY(strata__forward(&chunk));
        done += chunk.count;
    }
    return STRATA_OK;
}

/* The same, also when devices are lost before or meanwhile. */
static strata_status eval_tree(strata_session *session, const struct strata__tree *tree)
{
    for (;;) {
        STRATA_TRY(strata__session_restore(session, session->position));
        strata_status status = eval_chunks(session, tree);
        session->kv.used = session->position;
        if (status != STRATA_E_DEVICE)
            return status;
    }
}

static strata_status score_in_scope(strata_session *session, struct strata__branch *branches,
                                    size_t count, struct strata__score_tree *tree, float *logprobs)
{
    size_t logit_rows = tree->rows < STRATA__TREE_LOGITS ? tree->rows : STRATA__TREE_LOGITS;
    STRATA_TRY(strata__session_reserve_logits(session, logit_rows));
    strata__branches_sort(branches, count);
    int32_t last = session->history[session->position - 1];
    for (size_t done = 0; done < count;) {
        done +=
            strata__score_tree_plant(tree, branches + done, count - done, session->position, last);
        STRATA_TRY(eval_tree(session, &tree->tree));
    }
    for (size_t i = 0; i < count; i++)
        for (size_t d = branches[i].at; d < branches[i].at + branches[i].count; d++)
            logprobs[d] = tree->tree.logprob[tree->pick[d]];
    return STRATA_OK;
}

/* Every tree has a token for each one of a branch but the last, and one before them. */
static size_t rows_of(const strata_session *session, const struct extent *extent)
{
    size_t room = session->kv.context - session->position;
    return extent->total < room ? extent->total : room;
}

strata_status strata_score(strata_session *session, const strata_continuation *continuations,
                           size_t count, float *logprobs)
{
    struct extent extent;
    struct strata__score_tree tree = {.rows = 0};
    struct strata__branch *branches = NULL;
    session->logit_rows = 0;
    STRATA_TRY(check(session, continuations, count, &extent));
    if (extent.total == 0)
        return STRATA_OK;
    struct strata__scope before = strata__scope_set(session->model->for_context);
    strata_status status = strata__calloc(&branches, count, sizeof *branches, "continuations");
    if (status == STRATA_OK)
        status =
            strata__score_tree_open(&tree, rows_of(session, &extent), extent.longest, extent.total);
    for (size_t i = 0, at = 0; i < count && status == STRATA_OK; at += continuations[i++].count)
        branches[i] = (struct strata__branch){continuations[i].ids, continuations[i].count, at};
    if (status == STRATA_OK)
        status = score_in_scope(session, branches, count, &tree, logprobs);
    if (status == STRATA_E_CANCELLED)
        atomic_store(&session->cancel, false);
    strata__score_tree_close(&tree);
    strata__free(branches);
    strata__scope_set(before);
    return status;
}

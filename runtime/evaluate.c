/* One chunk through all layers, each where it lives. */
#include <string.h>

#include "device.h"
#include "draw.h"
#include "residency.h"

/* Looks at exponents only, without branches: a token's logits are checked every time. */
static bool all_finite(const float *x, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bad |= (bits & 0x7f800000) == 0x7f800000;
    }
    return !bad;
}

static bool is_cancelled(const struct strata__chunk *chunk)
{
    bool cancelled = false;
    for (size_t i = 0; i < chunk->n_spans; i++)
        if (chunk->spans[i].cancel)
            cancelled |= atomic_load_explicit(chunk->spans[i].cancel, memory_order_relaxed);
    return cancelled;
}

/* Thread 0, between layers: stops everybody at the next layer when asked to, or when the residual
 * stream has gone bad (X may not have the last addend yet, which is on the host then).  A stop is
 * announced one layer ahead, so that all threads see it alike. */
static void watch(struct strata__chunk *chunk, size_t layer, bool addend)
{
    bool stop = is_cancelled(chunk);
    if (chunk->find_bad_layer) {
        size_t n = chunk->count * chunk->model->hp.embedding;
        stop = !all_finite(strata__row_of(chunk, STRATA__BUF_X, 0), n) ||
               (addend && !all_finite(strata__row_of(chunk, STRATA__BUF_DELTA, 0), n));
    }
    if (stop && layer + 1 < atomic_load(&chunk->stop_layer))
        atomic_store(&chunk->stop_layer, layer + 1);
}

/* Steps of whole layers for the CPU's threads, and before them the embedding of the tokens. */
struct part {
    struct strata__chunk *chunk;
    const struct strata__step *steps;
    size_t count;
    bool embeds;
};

static void run_part(void *context, unsigned thread)
{
    const struct part *part = context;
    struct strata__chunk *chunk = part->chunk;
    if (part->embeds)
        strata__embed_tokens(chunk, thread);
    for (size_t i = 0; i < part->count; i++) {
        const struct strata__step *step = &part->steps[i];
        bool begins = i == 0 || step->layer != part->steps[i - 1].layer;
        if (begins && step->layer < chunk->model->hp.layers) {
            if (step->layer >= atomic_load(&chunk->stop_layer))
                return;
            if (thread == 0)
                watch(chunk, step->layer, step->layer > 0 && chunk->model->hp.encoder);
            if (chunk->find_bad_layer) /* steps change what it looks at */
                strata__threads_barrier(strata__pool_of(chunk));
        }
        strata__run_step(chunk, step, thread);
    }
}

void strata__run_steps(struct strata__chunk *chunk, const struct strata__step *steps, size_t count)
{
    struct part part = {.chunk = chunk, .steps = steps, .count = count};
    strata__threads_run(strata__pool_of(chunk), run_part, &part);
}

static void run_stretch_on_host(struct strata__chunk *chunk, struct part *part, bool on_disk)
{
    unsigned layer = part->steps->layer;
    if (on_disk)
        strata__stream_in(chunk->model, layer);
    strata__threads_run(strata__pool_of(chunk), run_part, part);
    if (on_disk)
        strata__stream_out(chunk->model, layer);
}

/* True when the device has the table of embeddings, with the bits of the file: as the weights of a
 * head that is tied to it, whether packed or not.  Other tables stay on the host, and so do their
 * look-ups: a row of X is sent then. */
static bool can_look_up(const struct strata_model *model, const struct strata__device *device)
{
    const struct strata__product *head = &model->steps[model->n_steps - 1].product[0];
    return device && device->looks_up && head->weight == model->embedding &&
           head->type == model->embedding->type &&
           strata__place_now(model, strata__placed_layers(model) - 1).device == device;
}

/* All layers, in stretches that live in one place.  *failed is the device that gave the error. */
static strata_status walk(struct strata__chunk *chunk, struct strata__device **failed)
{
    const struct strata_model *model = chunk->model;
    size_t all = strata__needs_head(chunk) ? model->n_steps : model->n_steps - 1;
    bool embeds = true;
    chunk->chosen = false;
    for (size_t i = 0; i < all && model->steps[i].layer < atomic_load(&chunk->stop_layer);) {
        struct strata__stretch stretch = strata__stretch_at(model, i);
        struct strata__device *device = stretch.device;
        size_t layer = model->steps[i].layer, one;
        strata__home_steps(model, layer, &one);
        /* A device does not look for bad layers: one by one. */
        size_t most = device && chunk->find_bad_layer ? one : stretch.steps;
        size_t steps = most < all - i ? most : all - i;
        struct part part = {chunk, &model->steps[i], device ? 0 : steps, embeds};
        chunk->look_up = embeds && !chunk->find_bad_layer && can_look_up(model, device);
        if (!device || embeds)
            run_stretch_on_host(chunk, &part, stretch.on_disk);
        if (device && layer < model->hp.layers)
            watch(chunk, layer, layer > 0 && model->hp.encoder);
        strata_status status =
            device ? device->ops->run(device, chunk, part.steps, steps) : STRATA_OK;
        if (status != STRATA_OK) {
            *failed = device;
            return status;
        }
        embeds = false;
        i += steps;
    }
    return STRATA_OK;
}

/* What each token sees, and its place in its sequence; caches hold as much. */
static void place_tokens(const struct strata__chunk *chunk)
{
    for (size_t i = 0; i < chunk->n_spans; i++) {
        const struct strata__span *span = &chunk->spans[i];
        if (span->kv)
            span->kv->used = span->position + span->count;
        for (size_t t = 0; t < span->count; t++) {
            size_t row = span->position + t;
            chunk->workspace->place[span->first + t] =
                chunk->tree ? chunk->tree->place[strata__tree_at(chunk) + t] : (uint32_t)row;
            chunk->workspace->visible[span->first + t] =
                (uint32_t)(chunk->model->hp.encoder ? span->count : row + 1);
        }
    }
}

static strata_status not_finite(const struct strata__chunk *chunk)
{
    size_t bad = atomic_load(&chunk->stop_layer);
    const char *path = strata__file_path(chunk->model->file);
    if (bad == SIZE_MAX)
        return strata__fail(STRATA_E_FORMAT,
                            "%s: the last layer or the output head gives values that are not "
                            "finite: its weights hold NaN, Inf or overflowing scales",
                            path);
    if (bad == 1)
        return strata__fail(STRATA_E_FORMAT, "%s: token_embd.weight: values are not finite", path);
    /* watch() looks at a layer's result at the beginning of the next and stops the one after. */
    return strata__fail(STRATA_E_FORMAT,
                        "%s: layer %zu gives values that are not finite: its weights hold NaN, Inf "
                        "or overflowing scales",
                        path, bad - 2);
}

static bool results_are_finite(const struct strata__chunk *chunk)
{
    const struct strata__hparams *hp = &chunk->model->hp;
    if (hp->encoder)
        return all_finite(chunk->pooled, chunk->n_spans * hp->embedding);
    if (chunk->tree) {
        const uint32_t *first = chunk->tree->first + strata__tree_at(chunk);
        return all_finite(chunk->tree->logprob + *first, first[chunk->count] - *first);
    }
    if (!chunk->chosen)
        return all_finite(chunk->logits, chunk->logit_rows * hp->vocab);
    bool finite = true;
    for (size_t i = 0; i < chunk->logit_rows; i++)
        finite &= chunk->candidates[i * strata__candidates_left(chunk)].id >= 0;
    return finite;
}

/* Which of a row's tokens, best first, is drawn. */
static size_t drawn(const float *row, const int32_t *best, size_t n, const strata_draw *draw)
{
    return strata_draw_ref(row, best, draw->top_k < n ? draw->top_k : n, draw->temperature,
                           draw->top_p, draw->min_p, draw->random);
}

/* The candidates that are wanted, of logits. */
static void choose(const struct strata__chunk *chunk)
{
    size_t vocab = chunk->model->hp.vocab, n = chunk->n_candidates;
    int32_t best[STRATA_CANDIDATES_MAX];
    for (size_t i = 0; n && i < chunk->logit_rows; i++) {
        const float *row = chunk->logits + i * vocab;
        if (n == 1)
            best[0] = (int32_t)chunk->model->runtime->kernels.argmax(row, vocab);
        else
            chunk->model->runtime->kernels.top_k(best, row, vocab, n);
        if (chunk->draws)
            best[0] = best[drawn(row, best, n, &chunk->draws[i])];
        size_t left = strata__candidates_left(chunk);
        for (size_t c = 0; c < left; c++)
            chunk->candidates[i * left + c] = (strata_candidate){best[c], row[best[c]]};
    }
}

static strata_status evaluate(struct strata__chunk *chunk, struct strata__device **failed)
{
    chunk->find_bad_layer = false;
    atomic_store(&chunk->stop_layer, SIZE_MAX);
    STRATA_TRY(walk(chunk, failed));
    if (is_cancelled(chunk))
        return strata__fail(STRATA_E_CANCELLED, "evaluation cancelled");
    if (results_are_finite(chunk)) {
        if (!chunk->chosen)
            choose(chunk);
        return STRATA_OK;
    }
    chunk->find_bad_layer = true;
    STRATA_TRY(walk(chunk, failed));
    return not_finite(chunk);
}

/* ---- Long chunks ---- */

size_t strata__chunk_tokens(const struct strata_model *model,
                            const struct strata__workspace *workspace)
{
    bool longer = workspace->longest > workspace->tokens && strata__takes_long_chunks(model);
    return longer ? workspace->longest : workspace->tokens;
}

/* False: they are as short as the host's already. */
static bool shorten_chunks(struct strata__workspace *ws)
{
    if (ws->longest == ws->tokens)
        return false;
    ws->longest = ws->longest / 2 > ws->tokens ? ws->longest / 2 : ws->tokens;
    return true;
}

/* Tokens of the chunk that have room in the workspace.  Those of long chunks whose logits are
 * wanted would need room for these, too. */
static size_t room_for(const struct strata__chunk *chunk)
{
    struct strata__workspace *ws = chunk->workspace;
    if (chunk->logit_rows > 1 && !chunk->tree)
        return ws->tokens;
    for (;;) {
        size_t room = strata__chunk_tokens(chunk->model, ws);
        size_t tokens = chunk->count < room ? chunk->count : room;
        if (tokens <= ws->tokens || strata__workspace_extend(ws, chunk->model, tokens) == STRATA_OK)
            return room;
        shorten_chunks(ws);
    }
}

/* Leaves of a chunk what can be evaluated together now. */
static void cut(struct strata__chunk *chunk)
{
    size_t room = room_for(chunk), first_row = chunk->count - chunk->logit_rows, spans = 0;
    if (chunk->count <= room)
        return;
    for (chunk->count = 0; spans < chunk->n_spans && chunk->count < room; spans++) {
        struct strata__span *span = &chunk->spans[spans];
        size_t left = room - chunk->count;
        if (span->count > left && chunk->model->hp.encoder)
            break;
        span->count = span->count < left ? span->count : left;
        chunk->count += span->count;
    }
    chunk->n_spans = spans;
    chunk->logit_rows = chunk->count > first_row ? chunk->count - first_row : 0;
}

static bool caches_lost(const struct strata__chunk *chunk)
{
    bool lost = false;
    for (size_t i = 0; i < chunk->n_spans && !chunk->model->hp.encoder; i++)
        lost |= chunk->spans[i].kv->lost;
    return lost;
}

strata_status strata__forward(struct strata__chunk *chunk)
{
    strata__residency_enter(chunk->model);
    double began = strata__clock_ms();
    strata_status status = STRATA_OK;
    for (bool again = true; again;) {
        struct strata__device *failed = NULL;
        again = false;
        cut(chunk);
        place_tokens(chunk);
        status = caches_lost(chunk) ? STRATA_E_DEVICE : evaluate(chunk, &failed);
        if (status == STRATA_E_DEVICE && failed) {
            strata__residency_lose(chunk->model, failed);
            again = !caches_lost(chunk);
        } else if (strata__is_full(status) && failed) {
            bool longer = chunk->count > chunk->workspace->tokens;
            again = (longer && shorten_chunks(chunk->workspace)) ||
                    strata__residency_lower(chunk->model, failed);
        }
    }
    bool decoded = strata__is_decoding(chunk) && !chunk->model->hp.encoder;
    strata__residency_used(chunk->model, chunk->count, decoded, began);
    strata__residency_leave(chunk->model);
    return status;
}

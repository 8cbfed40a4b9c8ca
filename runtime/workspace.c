/* Buffers of a session for forward.c: sizes follow from the model's hyper-parameters. */
#include <stdlib.h>
#include <string.h>

#include "forward.h"
#include "memory.h"

static strata_status open_input(struct strata__input *input, size_t rows, size_t width)
{
    /* q8 blocks are 32 wide; float-only inputs need not be a multiple of that. */
    size_t padded = (width + 31) / 32 * 32;
    STRATA_TRY(strata__alloc_aligned(&input->norm, rows * width * sizeof(float), "activations"));
    STRATA_TRY(strata__alloc_aligned(&input->q8.q, rows * padded, "activations"));
    STRATA_TRY(strata__alloc_aligned(&input->q8.scale, rows * (padded / 32) * sizeof(float),
                                     "activations"));
    STRATA_TRY(strata__alloc_aligned(&input->q8.sum, rows * (padded / 16) * sizeof(int16_t),
                                     "activations"));
    return strata__alloc_aligned(&input->q8.total, rows * (padded / 32) * sizeof(float),
                                 "activations");
}

static void close_input(struct strata__input *input)
{
    strata__free(input->norm);
    strata__free(input->q8.q);
    strata__free(input->q8.scale);
    strata__free(input->q8.sum);
    strata__free(input->q8.total);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Room for as many single tokens as a chunk may have, a batch at most. */
static strata_status open_parts(struct strata__workspace *ws, const struct strata__hparams *hp,
                                size_t context)
{
    struct strata__parts *parts = &ws->parts;
    if (context <= STRATA__ATTENTION_PART)
        return STRATA_OK;
    parts->each =
        larger((context - 1) / STRATA__ATTENTION_LONGEST_PART + 1, STRATA__ATTENTION_FEW_PARTS);
    size_t spans = ws->tokens < STRATA_BATCH_MAX ? ws->tokens : STRATA_BATCH_MAX;
    size_t n = spans * hp->heads * parts->each;
    STRATA_TRY(strata__alloc_aligned(&parts->sums, n * hp->head_dim * sizeof(float),
                                     "parts of attention"));
    STRATA_TRY(strata__alloc_aligned(&parts->largest, n * sizeof(float), "parts of attention"));
    STRATA_TRY(strata__alloc_aligned(&parts->denominator, n * sizeof(float), "parts of attention"));
    return strata__calloc(&parts->done, spans * hp->kv_heads, sizeof *parts->done,
                          "parts of attention");
}

size_t strata__buffer_width(const struct strata__hparams *hp, enum strata__buffer buffer)
{
    switch (buffer) {
    case STRATA__BUF_Q:
    case STRATA__BUF_MIX:
        return (size_t)hp->heads * hp->head_dim;
    case STRATA__BUF_K:
    case STRATA__BUF_V:
        return (size_t)hp->kv_heads * hp->head_dim;
    case STRATA__BUF_GATE:
    case STRATA__BUF_UP:
        return hp->ffn;
    case STRATA__BUF_LOGITS:
        return hp->vocab;
    default:
        return hp->embedding;
    }
}

strata_status strata__workspace_open(struct strata__workspace *ws, const struct strata_model *model,
                                     size_t tokens, size_t context)
{
    const struct strata__hparams *hp = &model->hp;
    size_t longest = hp->encoder || context > STRATA__LONG_CHUNK ? STRATA__LONG_CHUNK : context;
    *ws = (struct strata__workspace){
        .tokens = tokens, .rows = tokens, .longest = larger(tokens, longest)};
    for (int i = 0; i < STRATA__BUF_COUNT; i++)
        ws->width[i] = strata__buffer_width(hp, (enum strata__buffer)i);
    for (int i = 0; i < STRATA__BUF_LOGITS; i++)
        STRATA_TRY(strata__alloc_aligned(&ws->buffer[i], tokens * ws->width[i] * sizeof(float),
                                         "activations"));
    STRATA_TRY(strata__alloc_aligned(&ws->rope, tokens * 2 * hp->rope_pairs * sizeof(float),
                                     "rope table"));
    STRATA_TRY(strata__alloc_aligned(&ws->place, tokens * sizeof(uint32_t), "positions"));
    STRATA_TRY(strata__alloc_aligned(&ws->visible, tokens * sizeof(uint32_t), "positions"));
    STRATA_TRY(open_parts(ws, hp, context));
    size_t widest = larger(larger(hp->embedding, ws->width[STRATA__BUF_Q]), hp->ffn);
    STRATA_TRY(open_input(&ws->shared, tokens, widest));
    size_t scratch =
        larger(STRATA_GEMM_SCRATCH_BYTES(widest), STRATA_ATTENTION_SCRATCH_BYTES(hp->head_dim));
    size_t lanes = strata__threads_count(model->runtime->threads);
    STRATA_TRY(strata__calloc(&ws->lanes, lanes, sizeof *ws->lanes, "thread buffers"));
    ws->n_lanes = lanes;
    for (size_t i = 0; i < lanes; i++) {
        STRATA_TRY(open_input(&ws->lanes[i].input, 1, widest));
        STRATA_TRY(strata__alloc_aligned(&ws->lanes[i].queries,
                                         STRATA_ATTENTION_HEADS * hp->head_dim * sizeof(float),
                                         "thread buffers"));
        STRATA_TRY(strata__alloc_aligned(&ws->lanes[i].scratch, scratch, "thread scratch"));
    }
    return STRATA_OK;
}

/* A larger buffer in place of the one at `buffer`. */
static strata_status replace(void *buffer, size_t bytes)
{
    void *old, *fresh;
    memcpy(&old, buffer, sizeof old);
    STRATA_TRY(strata__alloc_aligned(&fresh, bytes, "activations"));
    memcpy(buffer, &fresh, sizeof fresh);
    strata__free(old);
    return STRATA_OK;
}

static strata_status replace_all(struct strata__workspace *ws, const struct strata__hparams *hp,
                                 size_t tokens)
{
    size_t row = hp->embedding * sizeof(float);
    STRATA_TRY(replace(&ws->buffer[STRATA__BUF_X], tokens * row));
    if (hp->encoder)
        STRATA_TRY(replace(&ws->buffer[STRATA__BUF_DELTA], tokens * row));
    STRATA_TRY(replace(&ws->rope, tokens * 2 * hp->rope_pairs * sizeof(float)));
    STRATA_TRY(replace(&ws->place, tokens * sizeof *ws->place));
    return replace(&ws->visible, tokens * sizeof *ws->visible);
}

strata_status strata__workspace_extend(struct strata__workspace *ws,
                                       const struct strata_model *model, size_t tokens)
{
    size_t rows = ws->rows;
    while (rows < tokens) /* not for each chunk that is a little longer than the one before */
        rows = 2 * rows < ws->longest ? 2 * rows : ws->longest;
    if (rows == ws->rows)
        return STRATA_OK;
    struct strata__scope before = strata__scope_set(model->for_context);
    strata_status status = replace_all(ws, &model->hp, rows);
    strata__scope_set(before);
    if (status == STRATA_OK)
        ws->rows = rows;
    return status;
}

void strata__workspace_close(struct strata__workspace *ws)
{
    for (size_t i = 0; i < ws->n_lanes; i++) {
        close_input(&ws->lanes[i].input);
        strata__free(ws->lanes[i].queries);
        strata__free(ws->lanes[i].scratch);
    }
    strata__free(ws->lanes);
    close_input(&ws->shared);
    strata__free(ws->parts.sums);
    strata__free(ws->parts.largest);
    strata__free(ws->parts.denominator);
    strata__free(ws->parts.done);
    strata__free(ws->visible);
    strata__free(ws->place);
    strata__free(ws->rope);
    for (int i = 0; i < STRATA__BUF_LOGITS; i++)
        strata__free(ws->buffer[i]);
    *ws = (struct strata__workspace){0};
}

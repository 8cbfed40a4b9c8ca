/* Sentence vectors: texts to token ids, batches of whole sequences through the model, one vector
 * each.
 *
 * Texts are taken in slices; those of a slice are sorted by length, so that a batch has sequences
 * of like length and its work divides evenly, and follow each other in it without padding: products
 * see one matrix of all tokens, attention goes sequence by sequence. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "encoder.h"
#include "forward.h"
#include "memory.h"
#include "tokenizer.h"

/* Texts that are tokenised and sorted together, and from how many on by all threads. */
#define SLICE_TEXTS 1024
#define SHARED_TEXTS 8

struct strata__encoder {
    pthread_mutex_t lock; /* held while the rest is used */
    struct strata__workspace workspace;
    size_t tokens;              /* of a batch, at most; 0: there are no buffers */
    int32_t *ids;               /* [tokens] */
    struct strata__span *spans; /* [tokens] */
    float *pooled;              /* [tokens][embedding] */
};

void strata_embed_options_default(strata_embed_options *options)
{
    *options = (strata_embed_options){.size = sizeof *options};
}

bool strata_model_embeds(const strata_model *model)
{
    return model->hp.encoder;
}

/* ---- The encoder ---- */

strata_status strata__encoder_open(struct strata_model *model)
{
    STRATA_TRY(strata__calloc(&model->encoder, 1, sizeof *model->encoder, "encoder"));
    pthread_mutex_init(&model->encoder->lock, NULL); /* cannot fail with default attributes */
    return STRATA_OK;
}

static void close_batch(struct strata__encoder *encoder)
{
    strata__free(encoder->ids);
    strata__free(encoder->spans);
    strata__free(encoder->pooled);
    encoder->ids = NULL;
    encoder->spans = NULL;
    encoder->pooled = NULL;
    encoder->tokens = 0;
}

static void close_buffers(struct strata__encoder *encoder)
{
    strata__workspace_close(&encoder->workspace);
    close_batch(encoder);
}

void strata__encoder_close(struct strata__encoder **handle)
{
    if (!*handle)
        return;
    close_buffers(*handle);
    pthread_mutex_destroy(&(*handle)->lock);
    strata__free(*handle);
    *handle = NULL;
}

/* For batches of `tokens` tokens. */
static strata_status open_batch(struct strata__encoder *encoder, const struct strata_model *model,
                                size_t tokens)
{
    STRATA_TRY(strata__calloc(&encoder->ids, tokens, sizeof *encoder->ids, "batch"));
    STRATA_TRY(strata__calloc(&encoder->spans, tokens, sizeof *encoder->spans, "batch"));
    STRATA_TRY(strata__alloc_aligned(&encoder->pooled, tokens * model->hp.embedding * sizeof(float),
                                     "batch"));
    encoder->tokens = tokens;
    return STRATA_OK;
}

/* For a workspace of `tokens` tokens, a single sequence at least. */
static strata_status open_buffers(struct strata__encoder *encoder, const struct strata_model *model,
                                  size_t tokens)
{
    close_buffers(encoder);
    strata_status status = strata__workspace_open(&encoder->workspace, model, tokens, tokens);
    if (status == STRATA_OK)
        status = open_batch(encoder, model, tokens);
    if (status != STRATA_OK)
        close_buffers(encoder);
    return status;
}

/* Tokens of the next batch, at most: as many as are evaluated together, and of `left` that there
 * are as many as the batch has room for. */
static strata_status batch_tokens(struct strata__encoder *encoder, const struct strata_model *model,
                                  size_t left, size_t *out)
{
    size_t tokens = strata__chunk_tokens(model, &encoder->workspace);
    size_t wanted = tokens < left ? tokens : left, before = encoder->tokens;
    strata_status status = STRATA_OK;
    if (wanted > before) {
        close_batch(encoder);
        status = open_batch(encoder, model, wanted);
    }
    if (status != STRATA_OK) { /* shorter ones do as well */
        close_batch(encoder);
        status = open_batch(encoder, model, before);
    }
    *out = tokens < encoder->tokens ? tokens : encoder->tokens;
    return status;
}

/* ---- Batches ---- */

/* Longer sequences first, equals in their order. */
static int longer_first(const void *a, const void *b, void *context)
{
    const struct strata__sequence *sequences = context;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    if (sequences[x].count != sequences[y].count)
        return sequences[x].count > sequences[y].count ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* Sequences order[0 .. left - 1] of together `most` tokens, at most, into the batch. */
static void fill_batch(struct strata__encoder *encoder, struct strata__chunk *chunk,
                       const struct strata__sequence *sequences, const uint32_t *order, size_t left,
                       size_t most)
{
    size_t n = 0, tokens = 0;
    for (; n < left && tokens + sequences[order[n]].count <= most; n++) {
        const struct strata__sequence *sequence = &sequences[order[n]];
        encoder->spans[n] = (struct strata__span){.first = tokens, .count = sequence->count};
        memcpy(encoder->ids + tokens, sequence->ids, sequence->count * sizeof *sequence->ids);
        tokens += sequence->count;
    }
    chunk->n_spans = n;
    chunk->ids = encoder->ids;
    chunk->spans = encoder->spans;
    chunk->pooled = encoder->pooled;
    chunk->count = tokens;
}

static strata_status encode_ordered(struct strata_model *model, struct strata__encoder *encoder,
                                    const struct strata__sequence *sequences, const uint32_t *order,
                                    size_t count, float *vectors)
{
    size_t longest = count ? sequences[order[0]].count : 0, left = 0;
    if (!encoder->tokens || longest > encoder->workspace.tokens)
        STRATA_TRY(open_buffers(encoder, model, longest > STRATA__CHUNK ? longest : STRATA__CHUNK));
    for (size_t i = 0; i < count; i++)
        left += sequences[i].count;
    struct strata__chunk chunk = {.model = model, .workspace = &encoder->workspace};
    size_t width = model->hp.embedding;
    for (size_t done = 0; done < count; done += chunk.n_spans) {
        size_t most;
        STRATA_TRY(batch_tokens(encoder, model, left, &most));
        fill_batch(encoder, &chunk, sequences, order + done, count - done, most);
        STRATA_TRY(strata__forward(&chunk));
        left -= chunk.count;
        for (size_t i = 0; i < chunk.n_spans; i++)
            memcpy(vectors + order[done + i] * width, chunk.pooled + i * width,
                   width * sizeof *vectors);
    }
    return STRATA_OK;
}

strata_status strata__encode_sequences(struct strata_model *model,
                                       const struct strata__sequence *sequences, size_t count,
                                       float *vectors)
{
    uint32_t *order;
    STRATA_TRY(strata__calloc(&order, count, sizeof *order, "order of texts"));
    for (size_t i = 0; i < count; i++)
        order[i] = (uint32_t)i;
    qsort_r(order, count, sizeof *order, longer_first, (void *)sequences);
    pthread_mutex_lock(&model->encoder->lock);
    strata_status status = encode_ordered(model, model->encoder, sequences, order, count, vectors);
    pthread_mutex_unlock(&model->encoder->lock);
    strata__free(order);
    return status;
}

/* ---- Texts ---- */

/* Up to SLICE_TEXTS texts, being tokenised. */
struct slice {
    struct strata_model *model;
    const strata_text *texts;
    size_t first, count; /* of all texts of the call */
    size_t longest;      /* sequence: what is more is cut off */
    unsigned flags;
    int32_t *ids;    /* room for all of them */
    size_t *at;      /* [count + 1]: where each text's room begins */
    size_t *tokens;  /* [count]: that it has */
    int32_t closing; /* the token that ends every sequence, or -1 */
    strata_status *status;
};

/* Room for the ids of a text: normalising makes at most STRATA__TOKENS_A_BYTE bytes of one, and a
 * token has at least one; plus special tokens. */
static size_t room_of(const struct slice *slice, size_t index)
{
    size_t longest = slice->longest, size = slice->texts[index].size;
    if (size >= longest / STRATA__TOKENS_A_BYTE)
        return longest;
    size_t room = STRATA__TOKENS_A_BYTE * size + 8;
    return room < longest ? room : longest;
}

static void tokenise_one(struct slice *slice, size_t i)
{
    const strata_text *text = &slice->texts[i];
    int32_t *ids = slice->ids + slice->at[i];
    size_t room = slice->at[i + 1] - slice->at[i];
    slice->status[i] = strata_tokenize(slice->model->tokenizer, text->text, text->size,
                                       slice->flags, ids, room, &slice->tokens[i]);
    if (slice->status[i] == STRATA_OK && slice->tokens[i] > room && slice->closing >= 0)
        ids[room - 1] = slice->closing;
}

static void tokenise_task(void *context, unsigned thread)
{
    struct slice *slice = context;
    (void)thread;
    for (;;) {
        size_t i = strata__threads_claim(slice->model->runtime->threads);
        if (i >= slice->count)
            return;
        tokenise_one(slice, i);
    }
}

static strata_status tokenise(struct slice *slice)
{
    int32_t both[2];
    size_t count;
    STRATA_TRY(strata_tokenize(slice->model->tokenizer, "", 0, slice->flags, both, 2, &count));
    slice->closing = slice->model->tokenizer->add_eos && count ? both[count - 1] : -1;
    if (slice->count >= SHARED_TEXTS)
        strata__threads_run(slice->model->runtime->threads, tokenise_task, slice);
    for (size_t i = 0; i < slice->count; i++) {
        /* On this thread (again, after a failure on another one: its message is here then). */
        if (slice->count < SHARED_TEXTS || slice->status[i] != STRATA_OK)
            tokenise_one(slice, i);
        if (slice->status[i] != STRATA_OK)
            return slice->status[i];
        if (slice->tokens[i] == 0)
            return strata__fail(STRATA_E_INVALID, "text %zu of the call has no tokens",
                                slice->first + i);
    }
    return STRATA_OK;
}

static strata_status open_slice(struct slice *slice)
{
    STRATA_TRY(strata__calloc(&slice->at, slice->count + 1, sizeof *slice->at, "texts"));
    STRATA_TRY(strata__calloc(&slice->tokens, slice->count, sizeof *slice->tokens, "texts"));
    STRATA_TRY(strata__calloc(&slice->status, slice->count, sizeof *slice->status, "texts"));
    for (size_t i = 0; i < slice->count; i++)
        slice->at[i + 1] = slice->at[i] + room_of(slice, i);
    return strata__calloc(&slice->ids, slice->at[slice->count], sizeof *slice->ids, "token ids");
}

static void close_slice(struct slice *slice)
{
    strata__free(slice->ids);
    strata__free(slice->status);
    strata__free(slice->tokens);
    strata__free(slice->at);
}

static strata_status embed_slice(struct slice *slice, float *vectors, strata_embed_info *infos)
{
    struct strata__sequence sequences[SLICE_TEXTS];
    STRATA_TRY(open_slice(slice));
    STRATA_TRY(tokenise(slice));
    for (size_t i = 0; i < slice->count; i++) {
        size_t tokens = slice->tokens[i], room = slice->at[i + 1] - slice->at[i];
        bool truncated = tokens > room;
        sequences[i] = (struct strata__sequence){.ids = slice->ids + slice->at[i],
                                                 .count = truncated ? room : tokens};
        if (infos)
            infos[i] = (strata_embed_info){.tokens = sequences[i].count, .truncated = truncated};
    }
    return strata__encode_sequences(slice->model, sequences, slice->count, vectors);
}

/* To length 1; a vector of zeros stays one. */
static void normalise(float *vector, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)vector[i] * (double)vector[i];
    if (squares == 0)
        return;
    double factor = 1 / sqrt(squares);
    for (size_t i = 0; i < n; i++)
        vector[i] = (float)((double)vector[i] * factor);
}

static strata_status check_call(const struct strata_model *model,
                                const strata_embed_options *options)
{
    if (options->size != sizeof *options)
        return strata__fail(STRATA_E_INVALID, "strata_embed_options: size is %zu, expected %zu",
                            options->size, sizeof *options);
    if (!model->hp.encoder)
        return strata__fail(
            STRATA_E_UNSUPPORTED, "%s: a %s model generates text, it makes no sentence vectors",
            strata__file_path(model->file), strata_file_info_get(model->file).architecture);
    if (model->no_weights)
        return strata__fail(STRATA_E_INVALID, "%s: loaded without its weights (no_weights)",
                            strata__file_path(model->file));
    if (options->max_tokens == 1 || options->max_tokens > model->hp.context)
        return strata__fail(STRATA_E_INVALID,
                            "max_tokens: %zu, must be 2 to the model's context of %u, or 0",
                            options->max_tokens, model->hp.context);
    return STRATA_OK;
}

static strata_status embed(strata_model *model, const strata_text *texts, size_t count,
                           const strata_embed_options *options, float *vectors,
                           strata_embed_info *infos)
{
    size_t width = model->hp.embedding;
    for (size_t done = 0, n; done < count; done += n) {
        n = count - done < SLICE_TEXTS ? count - done : SLICE_TEXTS;
        struct slice slice = {.model = model, .texts = texts + done, .first = done, .count = n};
        slice.longest = options->max_tokens ? options->max_tokens : model->hp.longest;
        slice.flags = STRATA_TOKENIZE_ADD_BOS | (options->special ? STRATA_TOKENIZE_SPECIAL : 0);
        strata_status status =
            embed_slice(&slice, vectors + done * width, infos ? infos + done : NULL);
        close_slice(&slice);
        if (status != STRATA_OK)
            return status;
    }
    for (size_t i = 0; i < count && !options->no_normalize; i++)
        normalise(vectors + i * width, width);
    return STRATA_OK;
}

strata_status strata_embed(strata_model *model, const strata_text *texts, size_t count,
                           const strata_embed_options *options, float *vectors,
                           strata_embed_info *infos)
{
    strata_embed_options defaults;
    strata_embed_options_default(&defaults);
    if (!options)
        options = &defaults;
    STRATA_TRY(check_call(model, options));
    struct strata__scope before = strata__scope_set(model->for_context);
    strata_status status = embed(model, texts, count, options, vectors, infos);
    strata__scope_set(before);
    return status;
}

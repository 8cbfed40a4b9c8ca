/* SentencePiece's unigram language model: tokenizer.ggml.model "t5".
 *
 * Of all ways to write a text (tokenizer_sentencepiece.h normalises it) as pieces, the one with the
 * greatest sum of scores (Kudo 2018, arXiv:1804.10959), found by Viterbi's algorithm over the
 * positions of the text.  A character that is no piece by itself counts as unknown, with the lowest
 * score of all less 10; a user-defined piece has 0.1 for each of its bytes but one.
 * Sums are 32-bit floats, and equal ones are decided for the piece that begins first, as
 * sentencepiece 0.2.3 does: its ids are matched, not only its sums.
 */
#include <float.h>

#include "memory.h"
#include "tokenizer_sentencepiece.h"

#define UNKNOWN_PENALTY 10.0f
#define NOWHERE UINT32_MAX

struct tables {
    struct strata__sp sp;
    struct strata__prefixes pieces;
    float *score; /* [vocab.count] */
    float unknown;
};

static void unigram_destroy(void *pointer)
{
    struct tables *tables = pointer;
    if (!tables)
        return;
    strata__sp_free(&tables->sp);
    strata__prefixes_free(&tables->pieces);
    strata__free(tables->score);
    strata__free(tables);
}

static bool is_piece(const void *user, size_t id)
{
    const struct strata__sp *sp = user;
    const struct strata__vocab *vocab = sp->vocab;
    return (vocab->type[id] == STRATA__TOKEN_NORMAL ||
            vocab->type[id] == STRATA__TOKEN_USER_DEFINED) &&
           strata__text_table_find(&sp->pieces, vocab->bytes + vocab->bytes_at[id],
                                   vocab->bytes_at[id + 1] - vocab->bytes_at[id]) == (int32_t)id;
}

/* Of a user-defined piece; spaces count as the three bytes of U+2581. */
static float bonus(const struct strata__vocab *vocab, size_t id)
{
    size_t bytes = vocab->bytes_at[id + 1] - vocab->bytes_at[id];
    for (size_t at = vocab->bytes_at[id]; at < vocab->bytes_at[id + 1]; at++)
        bytes += vocab->bytes[at] == ' ' ? 2 : 0;
    return bytes ? 0.1f * (float)(bytes - 1) : 0;
}

static strata_status unigram_create(strata_tokenizer *tokenizer,
                                    const struct strata__tokenizer_source *source, void **out)
{
    const struct strata__vocab *vocab = &tokenizer->vocab;
    const char *scores;
    struct tables *tables;
    STRATA_TRY(strata__calloc(&tables, 1, sizeof *tables, "tokenizer"));
    *out = tables;
    tokenizer->add_eos = true;
    STRATA_TRY(strata__sp_load(&tables->sp, tokenizer, source));
    STRATA_TRY(strata__sp_scores(vocab, source, &scores));
    STRATA_TRY(strata__calloc(&tables->score, vocab->count, sizeof(float), "token scores"));
    float worst = FLT_MAX;
    for (size_t id = 0; id < vocab->count; id++) {
        float score = strata__sp_score(scores, id);
        if (vocab->type[id] == STRATA__TOKEN_NORMAL && score < worst)
            worst = score;
        tables->score[id] =
            vocab->type[id] == STRATA__TOKEN_USER_DEFINED ? bonus(vocab, id) : score;
    }
    tables->unknown = worst - UNKNOWN_PENALTY;
    return strata__prefixes_create(&tables->pieces, vocab->count, vocab->bytes, vocab->bytes_at,
                                   is_piece, &tables->sp);
}

/* ---- Encoding ---- */

/* The best way to a position of the text. */
struct node {
    float score;
    uint32_t from; /* where its last piece begins; on the way back, where the next ends; NOWHERE */
    int32_t id;    /* of that piece, or -1 */
};

struct work {
    struct strata__sp_text normal;
    struct node *nodes; /* [size + 1] */
    size_t capacity;
};

static void unigram_end(void *pointer)
{
    struct work *work = pointer;
    if (!work)
        return;
    strata__free(work->normal.text);
    strata__free(work->nodes);
    strata__free(work);
}

static strata_status unigram_begin(const strata_tokenizer *tokenizer, void **work)
{
    (void)tokenizer;
    return strata__calloc(work, 1, sizeof(struct work), "tokenizer work");
}

static void offer(struct node *nodes, size_t from, size_t to, int32_t id, float sum)
{
    if (nodes[to].from == NOWHERE || sum > nodes[to].score)
        nodes[to] = (struct node){sum, (uint32_t)from, id};
}

/* Finds the best way to every position between characters of text[0..size). */
static void search(const struct tables *tables, const char *text, size_t size, struct node *nodes)
{
    for (size_t at = 0, step; at < size; at += step) {
        struct strata__prefix_walk walk = {0, 0, 0};
        bool single = false;
        int32_t id;
        step = strata__sp_character(text + at, size - at);
        while (at + walk.depth < size &&
               strata__prefix_step(&tables->pieces, &walk, (unsigned char)text[at + walk.depth],
                                   &id)) {
            if (id < 0)
                continue;
            offer(nodes, at, at + walk.depth, id, tables->score[id] + nodes[at].score);
            single = single || walk.depth == step;
        }
        if (!single)
            offer(nodes, at, at + step, -1, tables->unknown + nodes[at].score);
    }
}

static strata_status unigram_encode(const strata_tokenizer *tokenizer, void *pointer,
                                    const char *text, size_t size, struct strata__ids *out)
{
    const struct tables *tables = tokenizer->tables;
    struct work *work = pointer;
    bool in_unknown = false;
    STRATA_TRY(strata__sp_normalize(&tables->sp, text, size, &work->normal));
    text = work->normal.text, size = work->normal.size;
    if (size >= work->capacity) {
        STRATA_TRY(strata__resize(&work->nodes, size + 1, sizeof *work->nodes, "ways of a text"));
        work->capacity = size + 1;
    }
    struct node *nodes = work->nodes;
    nodes[0] = (struct node){0, 0, -1};
    for (size_t at = 1; at <= size; at++)
        nodes[at].from = NOWHERE;
    search(tables, text, size, nodes);

    /* Turn the way round, then walk it. */
    uint32_t end = NOWHERE;
    for (uint32_t at = (uint32_t)size, from; at; end = at, at = from) {
        from = nodes[at].from;
        nodes[at].from = end;
    }
    for (uint32_t at = 0, to = end; at < size; at = to, to = nodes[to].from)
        strata__sp_put(&tables->sp, nodes[to].id, text + at, to - at, &in_unknown, out);
    return STRATA_OK;
}

const struct strata__tokenizer_model strata__tokenizer_unigram = {
    .name = "t5",
    .plain_user_defined = true,
    .create = unigram_create,
    .destroy = unigram_destroy,
    .decode = strata__sp_decode,
    .begin = unigram_begin,
    .encode = unigram_encode,
    .end = unigram_end,
};

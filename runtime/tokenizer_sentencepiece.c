/* SentencePiece's BPE: tokenizer.ggml.model "llama".
 *
 * A text (tokenizer_sentencepiece.h normalises it) begins as one symbol a character, but for the
 * user-defined pieces in it, the longest at each position, which are taken out beforehand.  Of all
 * neighbours whose joined text is a piece, the pair with the best score, leftmost first, becomes
 * one symbol, until none is a piece.  What is no piece then is spelled in byte tokens, or unknown.
 *
 * Where no piece has a space behind another character, words do not touch each other and are merged
 * one by one.  A symbol's position is that of its first byte.
 */
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "tokenizer_merge.h"
#include "tokenizer_sentencepiece.h"

struct tables {
    struct strata__sp sp;
    struct strata__prefixes user_defined;
    uint32_t *rank; /* [vocab.count]: of the scores, best first, equal for equal ones */
    bool word_by_word;
};

static void sp_destroy(void *pointer)
{
    struct tables *tables = pointer;
    if (!tables)
        return;
    strata__sp_free(&tables->sp);
    strata__prefixes_free(&tables->user_defined);
    strata__free(tables->rank);
    strata__free(tables);
}

static bool is_user_defined(const void *user, size_t id)
{
    const struct strata__sp *sp = user;
    const struct strata__vocab *vocab = sp->vocab;
    return vocab->type[id] == STRATA__TOKEN_USER_DEFINED &&
           strata__text_table_find(&sp->pieces, vocab->bytes + vocab->bytes_at[id],
                                   vocab->bytes_at[id + 1] - vocab->bytes_at[id]) == (int32_t)id;
}

static int compare_scores(const void *a, const void *b, void *user)
{
    const char *scores = user;
    float left = strata__sp_score(scores, *(const uint32_t *)a);
    float right = strata__sp_score(scores, *(const uint32_t *)b);
    return (left < right) - (left > right);
}

/* Ranks the normal tokens; the others keep NO_RANK and are not merged. */
static strata_status rank_scores(struct tables *tables, const char *scores)
{
    const struct strata__vocab *vocab = tables->sp.vocab;
    uint32_t *order;
    size_t n = 0;
    STRATA_TRY(strata__calloc(&tables->rank, vocab->count, sizeof(uint32_t), "token ranks"));
    STRATA_TRY(strata__calloc(&order, vocab->count, sizeof(uint32_t), "token ranks"));
    for (size_t id = 0; id < vocab->count; id++) {
        tables->rank[id] = STRATA__NO_RANK;
        if (vocab->type[id] == STRATA__TOKEN_NORMAL)
            order[n++] = (uint32_t)id;
    }
    qsort_r(order, n, sizeof *order, compare_scores, (void *)scores);
    for (size_t i = 0; i < n; i++) {
        bool tie = i && compare_scores(&order[i - 1], &order[i], (void *)scores) == 0;
        tables->rank[order[i]] = tie ? tables->rank[order[i - 1]] : (uint32_t)i;
    }
    strata__free(order);
    return STRATA_OK;
}

/* Whether no normal token has a space behind another character. */
static bool words_are_separate(const struct strata__vocab *vocab)
{
    for (size_t id = 0; id < vocab->count; id++) {
        if (vocab->type[id] != STRATA__TOKEN_NORMAL)
            continue;
        for (size_t at = vocab->bytes_at[id] + 1; at < vocab->bytes_at[id + 1]; at++)
            if (vocab->bytes[at] == ' ' && vocab->bytes[at - 1] != ' ')
                return false;
    }
    return true;
}

static strata_status sp_create(strata_tokenizer *tokenizer,
                               const struct strata__tokenizer_source *source, void **out)
{
    const struct strata__vocab *vocab = &tokenizer->vocab;
    const char *scores;
    struct tables *tables;
    STRATA_TRY(strata__calloc(&tables, 1, sizeof *tables, "tokenizer"));
    *out = tables;
    tokenizer->add_bos = true;
    STRATA_TRY(strata__sp_load(&tables->sp, tokenizer, source));
    STRATA_TRY(strata__sp_scores(vocab, source, &scores));
    STRATA_TRY(rank_scores(tables, scores));
    tables->word_by_word = words_are_separate(vocab);
    return strata__prefixes_create(&tables->user_defined, vocab->count, vocab->bytes,
                                   vocab->bytes_at, is_user_defined, &tables->sp);
}

/* ---- Encoding ---- */

struct work {
    struct strata__sp_text normal;
    struct strata__merger merger;
    bool in_unknown;
};

static void sp_end(void *pointer)
{
    struct work *work = pointer;
    if (!work)
        return;
    strata__free(work->normal.text);
    strata__merger_free(&work->merger);
    strata__free(work);
}

static strata_status sp_begin(const strata_tokenizer *tokenizer, void **work)
{
    (void)tokenizer;
    return strata__calloc(work, 1, sizeof(struct work), "tokenizer work");
}

/* The text that symbols are positions in. */
struct span {
    const struct tables *tables;
    const char *text;
};

/* The normal token with this text, or -1. */
static int32_t find_normal(const struct tables *tables, const char *text, size_t size)
{
    int32_t id =
        size <= tables->sp.longest ? strata__text_table_find(&tables->sp.pieces, text, size) : -1;
    return id >= 0 && tables->rank[id] != STRATA__NO_RANK ? id : -1;
}

static uint32_t pair_rank(const void *context, const struct strata__symbol *symbols, uint32_t at,
                          int32_t *merged)
{
    const struct span *span = context;
    size_t size = symbols[symbols[at].next].next - at;
    *merged = find_normal(span->tables, span->text + at, size);
    return *merged >= 0 ? span->tables->rank[*merged] : STRATA__NO_RANK;
}

/* Encodes text[0..size) without user-defined pieces. */
static strata_status encode_span(const struct tables *tables, struct work *work, const char *text,
                                 size_t size, struct strata__ids *out)
{
    const struct span span = {tables, text};
    uint32_t previous = STRATA__NO_SYMBOL, end = (uint32_t)size;
    if (size == 0)
        return STRATA_OK;
    STRATA_TRY(strata__merger_reserve(&work->merger, size));
    struct strata__symbol *symbols = work->merger.symbols;
    for (uint32_t at = 0; at < end; at = symbols[at].next) {
        size_t step = strata__sp_character(text + at, size - at);
        symbols[at] = (struct strata__symbol){.id = find_normal(tables, text + at, step),
                                              .previous = previous,
                                              .next = at + (uint32_t)step};
        previous = at;
    }
    strata__merger_run(&work->merger, end, pair_rank, &span);
    for (uint32_t at = 0; at < end; at = symbols[at].next)
        strata__sp_put(&tables->sp, symbols[at].id, text + at, symbols[at].next - at,
                       &work->in_unknown, out);
    return STRATA_OK;
}

static strata_status sp_encode(const strata_tokenizer *tokenizer, void *pointer, const char *text,
                               size_t size, struct strata__ids *out)
{
    const struct tables *tables = tokenizer->tables;
    struct work *work = pointer;
    if (size == 0)
        return STRATA_OK;
    STRATA_TRY(strata__sp_normalize(&tables->sp, text, size, &work->normal));
    text = work->normal.text, size = work->normal.size;
    work->in_unknown = false;
    size_t begin = 0; /* of what is not encoded yet */
    for (size_t at = 0; at < size;) {
        int32_t id;
        size_t n = 0;
        if (strata__prefixes_begin(&tables->user_defined, text[at]))
            n = strata__prefixes_match(&tables->user_defined, text + at, size - at, &id);
        bool word = tables->word_by_word && at > begin && text[at] == ' ' && text[at - 1] != ' ';
        if (n || word) {
            STRATA_TRY(encode_span(tables, work, text + begin, at - begin, out));
            begin = at + n;
        }
        if (n)
            strata__sp_put(&tables->sp, id, text + at, n, &work->in_unknown, out);
        at += n ? n : strata__sp_character(text + at, size - at);
    }
    return encode_span(tables, work, text + begin, size - begin, out);
}

const struct strata__tokenizer_model strata__tokenizer_sentencepiece = {
    .name = "llama",
    .plain_user_defined = true,
    .create = sp_create,
    .destroy = sp_destroy,
    .decode = strata__sp_decode,
    .begin = sp_begin,
    .encode = sp_encode,
    .end = sp_end,
};

/* The vocabulary: one block of text, offsets, and a hash table over it. */
#include "tokenizer.h"

#include <string.h>

#include "memory.h"

#define KEY_TOKENS "tokenizer.ggml.tokens"
#define KEY_TYPES "tokenizer.ggml.token_type"
#define KEY_SCORES "tokenizer.ggml.scores"

int32_t strata__vocab_find(const struct strata__vocab *vocab, const char *text, size_t size)
{
    return strata__text_table_find(&vocab->by_text, text, size);
}

/* Copies the strings of the array into `text`. */
static strata_status copy_tokens(struct strata__vocab *vocab,
                                 const struct strata__tokenizer_source *source,
                                 const struct strata__string *strings)
{
    char where[512];
    size_t total = 0;
    for (size_t i = 0; i < vocab->count; i++) {
        if (strings[i].size > STRATA__TOKEN_BYTES_MAX)
            return strata__fail(STRATA_E_FORMAT,
                                "%s: " KEY_TOKENS ": token %zu has %zu bytes, limit %zu",
                                strata__file_where(source->file, KEY_TOKENS, where, sizeof where),
                                i, strings[i].size, (size_t)STRATA__TOKEN_BYTES_MAX);
        total += strings[i].size;
    }
    STRATA_TRY(strata__calloc(&vocab->text, total, 1, "token texts"));
    STRATA_TRY(strata__calloc(&vocab->text_at, vocab->count + 1, sizeof(size_t), "token offsets"));
    for (size_t i = 0; i < vocab->count; i++) {
        memcpy(vocab->text + vocab->text_at[i], strings[i].text, strings[i].size);
        vocab->text_at[i + 1] = vocab->text_at[i] + strings[i].size;
    }
    return STRATA_OK;
}

static strata_status load_tokens(struct strata__vocab *vocab,
                                 const struct strata__tokenizer_source *source)
{
    struct strata__meta_array array;
    struct strata__string *strings = NULL;
    char where[512];
    strata_status status = STRATA_OK;

    STRATA_TRY(strata__meta_array(source->file, KEY_TOKENS, STRATA__META_STRING, &array, NULL));
    if (array.count == 0 || array.count > STRATA__TOKENS_MAX)
        return strata__fail(
            STRATA_E_FORMAT, "%s: " KEY_TOKENS ": %llu tokens, at least 1 and at most %llu",
            strata__file_where(source->file, KEY_TOKENS, where, sizeof where),
            (unsigned long long)array.count, (unsigned long long)STRATA__TOKENS_MAX);
    vocab->count = (size_t)array.count;
    STRATA_TRY_DONE(strata__calloc(&strings, vocab->count, sizeof *strings, "token list"));
    strata__meta_array_strings(&array, strings);
    STRATA_TRY_DONE(copy_tokens(vocab, source, strings));
done:
    strata__free(strings);
    return status;
}

/* An array that, where present, has one element of `type` for each token. */
static strata_status per_token(const struct strata__vocab *vocab,
                               const struct strata__tokenizer_source *source, const char *key,
                               enum strata__meta_type type, struct strata__meta_array *array,
                               bool *found)
{
    char where[512];
    STRATA_TRY(strata__meta_array(source->file, key, type, array, found));
    if (*found && array->count != vocab->count)
        return strata__fail(STRATA_E_FORMAT, "%s: %s: %llu elements, expected %zu, one a token",
                            strata__file_where(source->file, key, where, sizeof where), key,
                            (unsigned long long)array->count, vocab->count);
    return STRATA_OK;
}

static strata_status load_types(struct strata__vocab *vocab,
                                const struct strata__tokenizer_source *source)
{
    struct strata__meta_array array;
    char where[512];
    bool found;

    STRATA_TRY(per_token(vocab, source, KEY_SCORES, STRATA__META_F32, &array, &found));
    STRATA_TRY(per_token(vocab, source, KEY_TYPES, STRATA__META_I32, &array, &found));
    STRATA_TRY(strata__calloc(&vocab->type, vocab->count, 1, "token types"));
    for (size_t i = 0; i < vocab->count; i++) {
        int32_t type = STRATA__TOKEN_NORMAL;
        if (found)
            memcpy(&type, (const char *)array.data + i * sizeof type, sizeof type);
        if (type < STRATA__TOKEN_NORMAL || type > STRATA__TOKEN_BYTE)
            return strata__fail(STRATA_E_FORMAT, "%s: " KEY_TYPES ": token %zu has type %d, 1 to 6",
                                strata__file_where(source->file, KEY_TYPES, where, sizeof where), i,
                                (int)type);
        vocab->type[i] = (uint8_t)type;
    }
    return STRATA_OK;
}

static strata_status index_tokens(struct strata__vocab *vocab,
                                  const struct strata__tokenizer_source *source)
{
    size_t empty = 0, repeated = 0;
    STRATA_TRY(
        strata__text_table_create(&vocab->by_text, vocab->count, vocab->text, vocab->text_at));
    for (size_t i = 0; i < vocab->count; i++)
        if (vocab->text_at[i + 1] == vocab->text_at[i])
            empty++;
        else if (!strata__text_table_add(&vocab->by_text, i))
            repeated++;
    if (empty)
        strata__tokenizer_log(source, STRATA_LOG_WARN, KEY_TOKENS ": %zu empty tokens are skipped",
                              empty);
    if (repeated)
        strata__tokenizer_log(source, STRATA_LOG_WARN,
                              KEY_TOKENS ": %zu tokens repeat an earlier text, whose id is used",
                              repeated);
    return STRATA_OK;
}

strata_status strata__vocab_load(struct strata__vocab *vocab,
                                 const struct strata__tokenizer_source *source)
{
    STRATA_TRY(load_tokens(vocab, source));
    STRATA_TRY(load_types(vocab, source));
    return index_tokens(vocab, source);
}

bool strata__vocab_is_special(const struct strata__vocab *vocab, size_t id, bool plain_user_defined)
{
    return vocab->type[id] == STRATA__TOKEN_CONTROL || vocab->type[id] == STRATA__TOKEN_UNKNOWN ||
           (vocab->type[id] == STRATA__TOKEN_USER_DEFINED && !plain_user_defined);
}

strata_status strata__vocab_decode(struct strata__vocab *vocab, strata__token_decoder *decode,
                                   bool plain_user_defined)
{
    size_t count = vocab->count;
    STRATA_TRY(strata__calloc(&vocab->bytes, vocab->text_at[count], 1, "token bytes"));
    STRATA_TRY(strata__calloc(&vocab->bytes_at, count + 1, sizeof(size_t), "token offsets"));
    for (size_t i = 0; i < count; i++) {
        const char *text = vocab->text + vocab->text_at[i];
        char *bytes = vocab->bytes + vocab->bytes_at[i];
        size_t size = vocab->text_at[i + 1] - vocab->text_at[i];
        if (strata__vocab_is_special(vocab, i, plain_user_defined))
            memcpy(bytes, text, size);
        else
            size = decode(text, size, vocab->type[i], bytes);
        vocab->bytes_at[i + 1] = vocab->bytes_at[i] + size;
    }
    return STRATA_OK;
}

void strata__vocab_free(struct strata__vocab *vocab)
{
    strata__free(vocab->text);
    strata__free(vocab->text_at);
    strata__free(vocab->bytes);
    strata__free(vocab->bytes_at);
    strata__free(vocab->type);
    strata__text_table_free(&vocab->by_text);
}

/* The tokenizer API over the models' tables: special tokens, invalid UTF-8, detokenising. */
#include "tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "utf8.h"

#define KEY(name) "tokenizer.ggml." name

/* One row a value of tokenizer.ggml.model. */
static const struct strata__tokenizer_model *const models[] = {
    &strata__tokenizer_bpe,
    &strata__tokenizer_wordpiece,
    &strata__tokenizer_sentencepiece,
    &strata__tokenizer_unigram,
};

static const char *const special_keys[STRATA__SPECIAL_COUNT] = {
    [STRATA__SPECIAL_BOS] = KEY("bos_token_id"),
    [STRATA__SPECIAL_EOS] = KEY("eos_token_id"),
    [STRATA__SPECIAL_EOT] = KEY("eot_token_id"),
    [STRATA__SPECIAL_EOM] = KEY("eom_token_id"),
    [STRATA__SPECIAL_UNKNOWN] = KEY("unknown_token_id"),
    [STRATA__SPECIAL_SEPARATOR] = KEY("seperator_token_id"), /* as GGUF spells it */
    [STRATA__SPECIAL_PADDING] = KEY("padding_token_id"),
    [STRATA__SPECIAL_CLS] = KEY("cls_token_id"),
    [STRATA__SPECIAL_MASK] = KEY("mask_token_id"),
};

/* Control tokens with these texts end a text or a turn, also where no key of the file says so. */
static const char *const end_texts[] = {
    "<|endoftext|>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>",
    "<|end|>",       "<|eot|>",    "<end_of_turn>",   "</s>",
};

void strata__tokenizer_log(const struct strata__tokenizer_source *source, strata_log_level level,
                           const char *format, ...)
{
    va_list args;
    va_start(args, format);
    strata__vlog(source->log, source->log_user, level, format, args);
    va_end(args);
}

/* ---- Building ---- */

static strata_status find_model(const strata_file *file,
                                const struct strata__tokenizer_model **model)
{
    struct strata__string name;
    char quote[64];
    STRATA_TRY(strata__meta_string(file, KEY("model"), &name, NULL));
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (strlen(models[i]->name) == name.size &&
            memcmp(models[i]->name, name.text, name.size) == 0) {
            *model = models[i];
            return STRATA_OK;
        }
    return strata__fail(STRATA_E_UNSUPPORTED, "%s: " KEY("model") ": tokenizer \"%s\" is not known",
                        strata__file_path(file),
                        strata__escape(quote, sizeof quote, name.text, name.size));
}

static strata_status load_special_ids(strata_tokenizer *tokenizer, const strata_file *file)
{
    char where[512];
    for (size_t i = 0; i < STRATA__SPECIAL_COUNT; i++) {
        uint64_t id = 0;
        bool found;
        STRATA_TRY(strata__meta_u64(file, special_keys[i], &id, &found));
        if (found && id >= tokenizer->vocab.count)
            return strata__fail(STRATA_E_FORMAT, "%s: %s: %llu, the vocabulary has %zu tokens",
                                strata__file_where(file, special_keys[i], where, sizeof where),
                                special_keys[i], (unsigned long long)id, tokenizer->vocab.count);
        tokenizer->special[i] = found ? (int32_t)id : -1;
    }
    return STRATA_OK;
}

/* Whether `key` asks for the special token to be added; that token must exist then. */
static strata_status load_flag(const strata_tokenizer *tokenizer, const strata_file *file,
                               const char *key, enum strata__special which, bool *flag)
{
    char where[512];
    STRATA_TRY(strata__meta_bool(file, key, flag, &(bool){false}));
    if (*flag && tokenizer->special[which] < 0)
        return strata__fail(STRATA_E_FORMAT, "%s: %s: missing, but the token is to be added",
                            strata__file_where(file, key, where, sizeof where),
                            special_keys[which]);
    return STRATA_OK;
}

/* True for tokens that texts may name: not the empty ones, nor repetitions. */
static bool recognised_in_text(const void *user, size_t id)
{
    const strata_tokenizer *tokenizer = user;
    const struct strata__vocab *vocab = &tokenizer->vocab;
    return strata__vocab_is_special(vocab, id, tokenizer->model->plain_user_defined) &&
           strata__vocab_find(vocab, vocab->text + vocab->text_at[id],
                              vocab->text_at[id + 1] - vocab->text_at[id]) == (int32_t)id;
}

static strata_status find_ends(strata_tokenizer *tokenizer)
{
    static const enum strata__special keys[] = {STRATA__SPECIAL_EOS, STRATA__SPECIAL_EOT,
                                                STRATA__SPECIAL_EOM};
    const struct strata__vocab *vocab = &tokenizer->vocab;
    STRATA_TRY(strata__calloc(&tokenizer->is_end, vocab->count, sizeof(bool), "end tokens"));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (tokenizer->special[keys[i]] >= 0)
            tokenizer->is_end[tokenizer->special[keys[i]]] = true;
    for (size_t i = 0; i < sizeof end_texts / sizeof *end_texts; i++) {
        int32_t id = strata__vocab_find(vocab, end_texts[i], strlen(end_texts[i]));
        if (id >= 0 && (vocab->type[id] == STRATA__TOKEN_CONTROL ||
                        vocab->type[id] == STRATA__TOKEN_USER_DEFINED))
            tokenizer->is_end[id] = true;
    }
    return STRATA_OK;
}

static strata_status build(strata_tokenizer *tokenizer,
                           const struct strata__tokenizer_source *source)
{
    const strata_file *file = source->file;
    const struct strata__tokenizer_model *model = tokenizer->model;
    struct strata__vocab *vocab = &tokenizer->vocab;
    struct strata__string chat;
    bool found;

    STRATA_TRY(strata__vocab_load(vocab, source));
    STRATA_TRY(strata__vocab_decode(vocab, model->decode, model->plain_user_defined));
    STRATA_TRY(load_special_ids(tokenizer, file));
    STRATA_TRY(model->create(tokenizer, source, &tokenizer->tables));
    STRATA_TRY(
        load_flag(tokenizer, file, KEY("add_bos_token"), STRATA__SPECIAL_BOS, &tokenizer->add_bos));
    STRATA_TRY(
        load_flag(tokenizer, file, KEY("add_eos_token"), STRATA__SPECIAL_EOS, &tokenizer->add_eos));
    STRATA_TRY(strata__prefixes_create(&tokenizer->in_text, vocab->count, vocab->text,
                                       vocab->text_at, recognised_in_text, tokenizer));
    STRATA_TRY(find_ends(tokenizer));
    STRATA_TRY(strata__meta_string(file, "tokenizer.chat_template", &chat, &found));
    if (found)
        STRATA_TRY(strata__chat_parse(&tokenizer->chat, chat.text, chat.size));
    return STRATA_OK;
}

strata_status strata_tokenizer_create(strata_tokenizer **out, const strata_file *file,
                                      strata_log_fn *log, void *log_user)
{
    const struct strata__tokenizer_source source = {file, log, log_user};
    const struct strata__tokenizer_model *model = NULL;
    *out = NULL;
    STRATA_TRY(find_model(file, &model));
    strata_tokenizer *tokenizer;
    STRATA_TRY(strata__calloc(&tokenizer, 1, sizeof *tokenizer, "tokenizer"));
    tokenizer->model = model;
    strata_status status = build(tokenizer, &source);
    if (status == STRATA_OK)
        *out = tokenizer;
    else
        strata_tokenizer_free(&tokenizer);
    return status;
}

void strata_tokenizer_free(strata_tokenizer **handle)
{
    if (!handle || !*handle)
        return;
    strata_tokenizer *tokenizer = *handle;
    tokenizer->model->destroy(tokenizer->tables);
    strata__vocab_free(&tokenizer->vocab);
    strata__chat_free(&tokenizer->chat);
    strata__prefixes_free(&tokenizer->in_text);
    strata__free(tokenizer->is_end);
    strata__free(tokenizer);
    *handle = NULL;
}

/* ---- Text to ids ---- */

static bool is_valid(const char *text, size_t size)
{
    for (size_t at = 0, step; at < size; at += step) {
        uint64_t eight = UINT64_MAX; /* bytes, most often of ASCII */
        if (size - at >= sizeof eight)
            memcpy(&eight, text + at, sizeof eight);
        step = sizeof eight;
        if (eight & UINT64_C(0x8080808080808080))
            step =
                (unsigned char)text[at] < 0x80 ? 1 : strata__utf8_next(text + at, size - at, NULL);
        if (step == 0)
            return false;
    }
    return true;
}

static strata_status encode(const strata_tokenizer *tokenizer, const char *text, size_t size,
                            unsigned flags, struct strata__ids *out)
{
    const struct strata__tokenizer_model *model = tokenizer->model;
    void *work = NULL;
    strata_status status;
    size_t begin = 0; /* of the plain text before `at` */

    STRATA_TRY_DONE(model->begin(tokenizer, &work));
    for (size_t at = 0; flags & STRATA_TOKENIZE_SPECIAL && at < size;) {
        int32_t id;
        size_t n = 0;
        if (strata__prefixes_begin(&tokenizer->in_text, text[at]))
            n = strata__prefixes_match(&tokenizer->in_text, text + at, size - at, &id);
        if (n) {
            STRATA_TRY_DONE(model->encode(tokenizer, work, text + begin, at - begin, out));
            strata__ids_put(out, id);
            begin = at + n;
        }
        at += n ? n : 1;
    }
    STRATA_TRY_DONE(model->encode(tokenizer, work, text + begin, size - begin, out));
done:
    model->end(work);
    return status;
}

strata_status strata_tokenize(const strata_tokenizer *tokenizer, const char *text, size_t size,
                              unsigned flags, int32_t *ids, size_t capacity, size_t *count)
{
    struct strata__ids out = {ids, capacity, 0};
    bool add = flags & STRATA_TOKENIZE_ADD_BOS;
    char *valid = NULL;
    strata_status status = STRATA_OK;

    *count = 0;
    if (size == 0)
        text = "";
    if (size <= INT32_MAX && !is_valid(text, size)) {
        size_t valid_size = strata_utf8_repair(text, size, NULL, 0);
        STRATA_TRY(strata__calloc(&valid, valid_size, 1, "text"));
        strata_utf8_repair(text, size, valid, valid_size);
        text = valid, size = valid_size;
    }
    if (size > INT32_MAX) {
        status = strata__fail(STRATA_E_INVALID, "text of %zu bytes, limit %d", size, INT32_MAX);
        goto done;
    }
    if (add && tokenizer->add_bos)
        strata__ids_put(&out, tokenizer->special[STRATA__SPECIAL_BOS]);
    STRATA_TRY_DONE(encode(tokenizer, text, size, flags, &out));
    if (add && tokenizer->add_eos)
        strata__ids_put(&out, tokenizer->special[STRATA__SPECIAL_EOS]);
    *count = out.count;
done:
    strata__free(valid);
    return status;
}

/* ---- Ids to text ---- */

const char *strata__token_bytes(const strata_tokenizer *tokenizer, int32_t id, size_t *size)
{
    const struct strata__vocab *vocab = &tokenizer->vocab;
    *size = vocab->bytes_at[id + 1] - vocab->bytes_at[id];
    return vocab->bytes + vocab->bytes_at[id];
}

strata_status strata_detokenize(const strata_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                char *text, size_t capacity, size_t *size)
{
    size_t total = 0;
    *size = 0;
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= tokenizer->vocab.count)
            return strata__fail(STRATA_E_INVALID, "token id %d at %zu: the vocabulary has %zu",
                                (int)ids[i], i, tokenizer->vocab.count);
    for (size_t i = 0; i < count; i++) {
        size_t n;
        const char *bytes = strata__token_bytes(tokenizer, ids[i], &n);
        if (i == 0 && tokenizer->leading_space && n && *bytes == ' ')
            bytes++, n--;
        size_t room = total < capacity ? capacity - total : 0;
        if (room)
            memcpy(text + total, bytes, n < room ? n : room);
        total += n;
    }
    *size = total;
    return STRATA_OK;
}

size_t strata_vocab_size(const strata_tokenizer *tokenizer)
{
    return tokenizer->vocab.count;
}

bool strata_token_is_end(const strata_tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && (size_t)id < tokenizer->vocab.count && tokenizer->is_end[id];
}

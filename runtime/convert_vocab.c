/* The vocabulary of a tokenizer.json or vocab.txt as it is collected and written. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "convert.h"
#include "memory.h"
#include "tokenizer.h"

#define SPELL_EXTRA 3u    /* bytes that a speller may add */
#define PADDING_BYTES 24u /* "[PADn]" */

strata_status strata__convert_vocab_create(struct strata__convert_vocab *vocab, uint64_t count)
{
    *vocab = (struct strata__convert_vocab){.count = count};
    if (count > STRATA__TOKENS_MAX)
        return strata__fail(STRATA_E_FORMAT, "vocab_size: %" PRIu64 ", at most %" PRIu64, count,
                            STRATA__TOKENS_MAX);
    STRATA_TRY(strata__calloc(&vocab->tokens, (size_t)count, sizeof *vocab->tokens, "vocabulary"));
    return strata__calloc(&vocab->types, (size_t)count, sizeof *vocab->types, "vocabulary");
}

void strata__convert_vocab_free(struct strata__convert_vocab *vocab)
{
    strata__free(vocab->tokens);
    strata__free(vocab->types);
    *vocab = (struct strata__convert_vocab){0};
}

static strata_status read_pieces(struct strata__convert_vocab *vocab,
                                 const struct strata__json_at *pieces)
{
    const char *text;
    json_t *value;
    json_object_foreach(pieces->value, text, value)
    {
        uint64_t id;
        STRATA_TRY(strata__json_u64(pieces, text, 0, vocab->count - 1, &id, NULL));
        if (vocab->tokens[id].text)
            return strata__json_refuse(pieces, text, value, STRATA_E_FORMAT,
                                       "an id that no other token has");
        vocab->tokens[id] = (struct strata__string){text, strlen(text)};
        vocab->types[id] = STRATA__TOKEN_NORMAL;
    }
    return STRATA_OK;
}

static strata_status read_added(struct strata__convert_vocab *vocab,
                                const struct strata__json_at *token)
{
    static const char *const flags[] = {"single_word", "lstrip", "rstrip"};
    struct strata__string text;
    bool special = false, found;
    uint64_t id;
    STRATA_TRY(strata__json_u64(token, "id", 0, vocab->count - 1, &id, NULL));
    STRATA_TRY(strata__json_string(token, "content", &text, NULL));
    STRATA_TRY(strata__json_bool(token, "special", &special, &found));
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bool flag = false;
        STRATA_TRY(strata__json_bool(token, flags[i], &flag, &found));
        if (flag)
            return strata__json_refuse(token, flags[i], json_object_get(token->value, flags[i]),
                                       STRATA_E_UNSUPPORTED, "false");
    }
    struct strata__string *slot = &vocab->tokens[id];
    if (slot->text && (slot->size != text.size || memcmp(slot->text, text.text, text.size) != 0))
        return strata__json_refuse(token, "content", json_object_get(token->value, "content"),
                                   STRATA_E_FORMAT, "the token that model.vocab has for the id");
    *slot = text;
    vocab->types[id] = special ? STRATA__TOKEN_CONTROL : STRATA__TOKEN_USER_DEFINED;
    return STRATA_OK;
}

strata_status strata__convert_vocab_read(struct strata__convert_vocab *vocab,
                                         const struct strata__json_at *root,
                                         const struct strata__json_at *model)
{
    struct strata__json_at pieces, added, token;
    bool found;
    STRATA_TRY(strata__json_object(model, "vocab", &pieces, NULL));
    STRATA_TRY(read_pieces(vocab, &pieces));
    STRATA_TRY(strata__json_array(root, "added_tokens", &added, &found));
    for (size_t i = 0; found && i < json_array_size(added.value); i++) {
        STRATA_TRY(strata__json_element(&added, i, &token));
        STRATA_TRY(read_added(vocab, &token));
    }
    return STRATA_OK;
}

int64_t strata__convert_vocab_find(const struct strata__convert_vocab *vocab,
                                   struct strata__string text)
{
    for (uint64_t i = 0; i < vocab->count; i++)
        if (vocab->tokens[i].text && vocab->tokens[i].size == text.size &&
            memcmp(vocab->tokens[i].text, text.text, text.size) == 0)
            return (int64_t)i;
    return -1;
}

/* The tokens as they are written into `spelled`, their bytes in `text`. */
static void spell_all(const struct strata__convert_vocab *vocab, strata__convert_speller *spell,
                      struct strata__string *spelled, char *text)
{
    for (uint64_t i = 0; i < vocab->count; i++) {
        const struct strata__string *token = &vocab->tokens[i];
        size_t size = token->size;
        if (!token->text)
            size = (size_t)snprintf(text, PADDING_BYTES, "[PAD%" PRIu64 "]", i);
        else if (spell)
            size = spell(vocab, i, text);
        else
            memcpy(text, token->text, size);
        spelled[i] = (struct strata__string){text, size};
        text += size;
    }
}

static strata_status write_types(const struct strata__convert_vocab *vocab,
                                 struct strata__convert *convert)
{
    for (uint64_t i = 0; i < vocab->count; i++)
        if (!vocab->tokens[i].text)
            vocab->types[i] = STRATA__TOKEN_UNUSED;
    return strata__gguf_write_array(convert->writer, "tokenizer.ggml.token_type", STRATA__META_I32,
                                    vocab->types, vocab->count);
}

strata_status strata__convert_vocab_write(const struct strata__convert_vocab *vocab,
                                          struct strata__convert *convert,
                                          strata__convert_speller *spell)
{
    struct strata__string *spelled = NULL;
    char *text = NULL;
    size_t bytes = 0;
    strata_status status;
    for (uint64_t i = 0; i < vocab->count; i++) {
        if (vocab->tokens[i].size > STRATA__TOKEN_BYTES_MAX)
            return strata__fail(
                STRATA_E_FORMAT, "%s: token %" PRIu64 " has %zu bytes, at most %" PRIu64,
                convert->folder.shown, i, vocab->tokens[i].size, STRATA__TOKEN_BYTES_MAX);
        bytes += vocab->tokens[i].text ? vocab->tokens[i].size + SPELL_EXTRA : PADDING_BYTES;
    }
    STRATA_TRY_DONE(strata__calloc(&spelled, (size_t)vocab->count, sizeof *spelled, "vocabulary"));
    STRATA_TRY_DONE(strata__calloc(&text, bytes, 1, "vocabulary"));
    spell_all(vocab, spell, spelled, text);
    STRATA_TRY_DONE(strata__gguf_write_strings(convert->writer, "tokenizer.ggml.tokens", spelled,
                                               vocab->count));
    STRATA_TRY_DONE(write_types(vocab, convert));
done:
    strata__free(text);
    strata__free(spelled);
    return status;
}

/* A special token of tokenizer_config.json: a string, or an object with its content. */
static strata_status special_text(const struct strata__convert *convert, const char *name,
                                  struct strata__string *text, bool *found)
{
    struct strata__json_at root, token;
    *found = false;
    if (!convert->tokenizer_config.root)
        return STRATA_OK;
    STRATA_TRY(strata__json_root(&convert->tokenizer_config, &root));
    if (json_is_object(json_object_get(root.value, name))) {
        STRATA_TRY(strata__json_object(&root, name, &token, NULL));
        *found = true;
        return strata__json_string(&token, "content", text, NULL);
    }
    return strata__json_string(&root, name, text, found);
}

strata_status strata__convert_special(struct strata__convert *convert,
                                      const struct strata__convert_vocab *vocab, const char *name,
                                      const char *preset, const char *key, int64_t *id)
{
    struct strata__string text = {NULL, 0};
    char quote[64];
    bool found;
    *id = -1;
    STRATA_TRY(special_text(convert, name, &text, &found));
    if (!found && preset)
        text = (struct strata__string){preset, strlen(preset)};
    if (!text.text)
        return STRATA_OK;
    *id = strata__convert_vocab_find(vocab, text);
    if (*id < 0)
        return strata__fail(STRATA_E_FORMAT, "%s: %s: \"%s\" is not a token of the vocabulary",
                            found ? convert->tokenizer_config.shown : convert->folder.shown, name,
                            strata__escape(quote, sizeof quote, text.text, text.size));
    return strata__gguf_write_u32(convert->writer, key, (uint32_t)*id);
}

/* The one special token (or none) that "single" of a template has on a side of the text. */
static strata_status read_template(const struct strata__convert_vocab *vocab,
                                   const struct strata__json_at *processor, int64_t *before,
                                   int64_t *after)
{
    struct strata__json_at single, step, token;
    bool text_seen = false, found;
    STRATA_TRY(strata__json_array(processor, "single", &single, NULL));
    for (size_t i = 0; i < json_array_size(single.value); i++) {
        struct strata__string id;
        int64_t *side = text_seen ? after : before;
        STRATA_TRY(strata__json_element(&single, i, &step));
        STRATA_TRY(strata__json_object(&step, "SpecialToken", &token, &found));
        if (!found) {
            text_seen = true;
            continue;
        }
        STRATA_TRY(strata__json_string(&token, "id", &id, NULL));
        int64_t named = strata__convert_vocab_find(vocab, id);
        if (*side >= 0 || named < 0)
            return strata__json_refuse(&token, "id", json_object_get(token.value, "id"),
                                       named < 0 ? STRATA_E_FORMAT : STRATA_E_UNSUPPORTED,
                                       named < 0 ? "a token of the vocabulary"
                                                 : "one token on each side of the text");
        *side = named;
    }
    return STRATA_OK;
}

/* The older form: "cls" and "sep", each [text, id]. */
static strata_status read_bert_processor(const struct strata__convert_vocab *vocab,
                                         const struct strata__json_at *processor, int64_t *before,
                                         int64_t *after)
{
    static const char *const keys[] = {"cls", "sep"};
    for (size_t i = 0; i < 2; i++) {
        struct strata__json_at pair;
        struct strata__string text;
        STRATA_TRY(strata__json_array(processor, keys[i], &pair, NULL));
        STRATA_TRY(strata__json_element_string(&pair, 0, &text));
        int64_t id = strata__convert_vocab_find(vocab, text);
        if (id < 0)
            return strata__json_refuse(processor, keys[i], pair.value, STRATA_E_FORMAT,
                                       "a token of the vocabulary");
        *(i ? after : before) = id;
    }
    return STRATA_OK;
}

static strata_status read_processor(const struct strata__convert_vocab *vocab,
                                    const struct strata__json_at *processor, int64_t *before,
                                    int64_t *after)
{
    struct strata__string type;
    STRATA_TRY(strata__json_string(processor, "type", &type, NULL));
    if (strata__string_is(type, "ByteLevel"))
        return STRATA_OK;
    if (strata__string_is(type, "TemplateProcessing"))
        return read_template(vocab, processor, before, after);
    if (strata__string_is(type, "BertProcessing"))
        return read_bert_processor(vocab, processor, before, after);
    return strata__json_refuse(processor, "type", json_object_get(processor->value, "type"),
                               STRATA_E_UNSUPPORTED,
                               "TemplateProcessing, BertProcessing, ByteLevel or Sequence");
}

strata_status strata__convert_template(const struct strata__convert_vocab *vocab,
                                       const struct strata__json_at *root, int64_t *before,
                                       int64_t *after)
{
    struct strata__json_at processor, list, part;
    struct strata__string type;
    bool found;
    *before = *after = -1;
    STRATA_TRY(strata__json_object(root, "post_processor", &processor, &found));
    if (!found)
        return STRATA_OK;
    STRATA_TRY(strata__json_string(&processor, "type", &type, NULL));
    if (!strata__string_is(type, "Sequence"))
        return read_processor(vocab, &processor, before, after);
    STRATA_TRY(strata__json_array(&processor, "processors", &list, NULL));
    for (size_t i = 0; i < json_array_size(list.value); i++) {
        STRATA_TRY(strata__json_element(&list, i, &part));
        STRATA_TRY(read_processor(vocab, &part, before, after));
    }
    return STRATA_OK;
}

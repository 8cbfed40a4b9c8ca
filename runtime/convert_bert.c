/* WordPiece tokenizers: tokenizer.json, or vocab.txt with tokenizer_config.json, to the keys of
 * GGUF's "bert" tokenizer.
 *
 * What GGUF cannot say must be as BERT has it: words of at most 100 characters, "##" before pieces
 * inside a word, Chinese characters as words, [CLS] text [SEP] (Devlin et al. 2018). */
#include <string.h>

#include "convert.h"
#include "tokenizer.h"

#define KEY(name) "tokenizer.ggml." name
#define WORD_CHARACTERS 100u

struct normalizer {
    bool lowercase, strip_accents;
    int64_t before, after; /* ids around a text, -1: the usual ones */
};

/* The special tokens, by their names in tokenizer_config.json. */
static const struct {
    const char *name, *preset, *key, *second_key;
} specials[] = {
    {"cls_token", "[CLS]", KEY("bos_token_id"), KEY("cls_token_id")},
    {"sep_token", "[SEP]", KEY("eos_token_id"), KEY("seperator_token_id")}, /* sic */
    {"unk_token", "[UNK]", KEY("unknown_token_id"), NULL},
    {"pad_token", "[PAD]", KEY("padding_token_id"), NULL},
    {"mask_token", "[MASK]", KEY("mask_token_id"), NULL},
};
enum { CLS, SEP, SPECIALS = sizeof specials / sizeof *specials };

/* The other engines' spelling: U+2581 begins a word, a piece inside one has no mark. */
static size_t spell(const struct strata__convert_vocab *vocab, uint64_t i, char *out)
{
    struct strata__string token = vocab->tokens[i];
    if (vocab->types[i] == STRATA__TOKEN_CONTROL) {
        memcpy(out, token.text, token.size);
        return token.size;
    }
    if (token.size > 2 && memcmp(token.text, "##", 2) == 0) {
        memcpy(out, token.text + 2, token.size - 2);
        return token.size - 2;
    }
    memcpy(out, "\xe2\x96\x81", 3);
    memcpy(out + 3, token.text, token.size);
    return token.size + 3;
}

/* A bool that must have one value, if it is there. */
static strata_status must_be(const struct strata__json_at *at, const char *key, bool expected)
{
    bool value = expected, found;
    STRATA_TRY(strata__json_bool(at, key, &value, &found));
    if (value != expected)
        return strata__json_refuse(at, key, json_object_get(at->value, key), STRATA_E_UNSUPPORTED,
                                   expected ? "true" : "false");
    return STRATA_OK;
}

static strata_status must_have_type(const struct strata__json_at *root, const char *key,
                                    const char *type, struct strata__json_at *out)
{
    struct strata__string found;
    STRATA_TRY(strata__json_object(root, key, out, NULL));
    STRATA_TRY(strata__json_string(out, "type", &found, NULL));
    if (!strata__string_is(found, type))
        return strata__json_refuse(out, "type", json_object_get(out->value, "type"),
                                   STRATA_E_UNSUPPORTED, type);
    return STRATA_OK;
}

static strata_status read_model(const struct strata__json_at *model)
{
    struct strata__string prefix = {"##", 2};
    uint64_t characters = WORD_CHARACTERS;
    bool found;
    STRATA_TRY(strata__json_string(model, "continuing_subword_prefix", &prefix, &found));
    if (!strata__string_is(prefix, "##"))
        return strata__json_refuse(model, "continuing_subword_prefix",
                                   json_object_get(model->value, "continuing_subword_prefix"),
                                   STRATA_E_UNSUPPORTED, "\"##\"");
    return strata__json_u64(model, "max_input_chars_per_word", WORD_CHARACTERS, WORD_CHARACTERS,
                            &characters, &found);
}

static strata_status read_normalizer(const struct strata__json_at *root, struct normalizer *out)
{
    struct strata__json_at at;
    bool found;
    STRATA_TRY(must_have_type(root, "normalizer", "BertNormalizer", &at));
    STRATA_TRY(must_be(&at, "clean_text", true));
    STRATA_TRY(must_be(&at, "handle_chinese_chars", true));
    STRATA_TRY(strata__json_bool(&at, "lowercase", &out->lowercase, &found));
    out->strip_accents = out->lowercase;
    return strata__json_bool(&at, "strip_accents", &out->strip_accents, &found);
}

static strata_status read_json(struct strata__convert_vocab *vocab, const struct strata__json *json,
                               struct normalizer *normalizer)
{
    struct strata__json_at root, model, pre;
    STRATA_TRY(strata__json_root(json, &root));
    STRATA_TRY(must_have_type(&root, "model", "WordPiece", &model));
    STRATA_TRY(read_model(&model));
    STRATA_TRY(read_normalizer(&root, normalizer));
    STRATA_TRY(must_have_type(&root, "pre_tokenizer", "BertPreTokenizer", &pre));
    STRATA_TRY(strata__convert_vocab_read(vocab, &root, &model));
    STRATA_TRY(strata__convert_template(vocab, &root, &normalizer->before, &normalizer->after));
    if (normalizer->before < 0 || normalizer->after < 0)
        return strata__json_refuse(&root, "post_processor",
                                   json_object_get(root.value, "post_processor"),
                                   STRATA_E_UNSUPPORTED, "a token before and one after the text");
    return STRATA_OK;
}

/* A token a line. */
static strata_status read_lines(struct strata__convert_vocab *vocab,
                                const struct strata__file_map *map, const char *shown)
{
    const char *text = (const char *)map->data, *end = text + map->size;
    for (uint64_t id = 0; text < end; id++) {
        const char *line_end = memchr(text, '\n', (size_t)(end - text));
        size_t size = (size_t)((line_end ? line_end : end) - text);
        if (id >= vocab->count)
            return strata__fail(STRATA_E_FORMAT, "%s: more tokens than vocab_size, %llu", shown,
                                (unsigned long long)vocab->count);
        vocab->tokens[id] =
            (struct strata__string){text, size - (size > 0 && text[size - 1] == '\r')};
        vocab->types[id] = STRATA__TOKEN_NORMAL;
        text += size + (line_end != NULL);
    }
    return STRATA_OK;
}

/* How text is normalised when there is only vocab.txt. */
static strata_status read_flags(const struct strata__convert *convert, struct normalizer *out)
{
    struct strata__json_at root;
    bool found;
    if (!convert->tokenizer_config.root)
        return strata__fail(STRATA_E_IO,
                            "%s: neither tokenizer.json nor tokenizer_config.json is in the folder",
                            convert->folder.shown);
    STRATA_TRY(strata__json_root(&convert->tokenizer_config, &root));
    STRATA_TRY(must_be(&root, "tokenize_chinese_chars", true));
    STRATA_TRY(must_be(&root, "do_basic_tokenize", true));
    STRATA_TRY(strata__json_bool(&root, "do_lower_case", &out->lowercase, &found));
    out->strip_accents = out->lowercase;
    return strata__json_bool(&root, "strip_accents", &out->strip_accents, &found);
}

static strata_status write_specials(struct strata__convert *convert,
                                    struct strata__convert_vocab *vocab,
                                    const struct normalizer *normalizer)
{
    int64_t ids[SPECIALS];
    for (size_t i = 0; i < SPECIALS; i++) {
        STRATA_TRY(strata__convert_special(convert, vocab, specials[i].name, specials[i].preset,
                                           specials[i].key, &ids[i]));
        vocab->types[ids[i]] = STRATA__TOKEN_CONTROL;
        if (specials[i].second_key)
            STRATA_TRY(
                strata__gguf_write_u32(convert->writer, specials[i].second_key, (uint32_t)ids[i]));
    }
    if (normalizer->before >= 0 &&
        (normalizer->before != ids[CLS] || normalizer->after != ids[SEP]))
        return strata__fail(STRATA_E_UNSUPPORTED,
                            "%s/tokenizer.json: post_processor: tokens %lld and %lld around a "
                            "text, expected cls_token %lld and sep_token %lld",
                            convert->folder.shown, (long long)normalizer->before,
                            (long long)normalizer->after, (long long)ids[CLS], (long long)ids[SEP]);
    STRATA_TRY(strata__gguf_write_bool(convert->writer, KEY("add_bos_token"), true));
    return strata__gguf_write_bool(convert->writer, KEY("add_eos_token"), true);
}

static strata_status write_keys(struct strata__convert *convert,
                                struct strata__convert_vocab *vocab,
                                const struct normalizer *normalizer)
{
    struct strata__gguf_writer *w = convert->writer;
    STRATA_TRY(strata__gguf_write_string(w, KEY("model"), (struct strata__string){"bert", 4}));
    STRATA_TRY(strata__gguf_write_bool(w, KEY("normalizer.lowercase"), normalizer->lowercase));
    STRATA_TRY(
        strata__gguf_write_bool(w, KEY("normalizer.strip_accents"), normalizer->strip_accents));
    STRATA_TRY(write_specials(convert, vocab, normalizer));
    return strata__convert_vocab_write(vocab, convert, spell);
}

strata_status strata__convert_bert_tokenizer(struct strata__convert *convert)
{
    struct normalizer normalizer = {true, true, -1, -1};
    struct strata__convert_vocab vocab;
    struct strata__json json = {0};
    struct strata__file_map map = {0};
    char shown[STRATA__FOLDER_SHOWN];
    bool found;
    strata_status status;
    STRATA_TRY_DONE(strata__convert_vocab_create(&vocab, convert->dims[STRATA__DIM_VOCAB]));
    STRATA_TRY_DONE(strata__model_folder_json(&convert->folder, "tokenizer.json", &json, &found));
    if (found) {
        STRATA_TRY_DONE(read_json(&vocab, &json, &normalizer));
    } else {
        STRATA_TRY_DONE(read_flags(convert, &normalizer));
        STRATA_TRY_DONE(strata__model_folder_map(&convert->folder, "vocab.txt", &map, shown, NULL));
        STRATA_TRY_DONE(read_lines(&vocab, &map, shown));
    }
    STRATA_TRY_DONE(write_keys(convert, &vocab, &normalizer));
done:
    strata__convert_vocab_free(&vocab);
    strata__json_free(&json);
    strata__file_map_close(&map);
    return status;
}

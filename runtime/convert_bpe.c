/* BPE tokenizers: tokenizer.json to the keys of GGUF's "gpt2" tokenizer, where it is byte-level, or
 * of "llama", where bytes are only what is left (convert_pieces.c).
 *
 * The rule that cuts text is recognised, never guessed: GGUF gives it by name, and runtime/
 * pretokenize.c has the expression for each. */
#include <stdio.h>
#include <string.h>

#include "convert.h"
#include "memory.h"
#include "tokenizer.h"

#define KEY(name) "tokenizer.ggml." name

/* The pre_tokenizer of tokenizer.json, in one form. */
struct cutting {
    bool digits;                 /* each digit a piece of its own, before all else */
    struct strata__string split; /* an expression whose matches are pieces; size 0: none */
    bool regex;                  /* then GPT-2's expression */
    bool bytes;                  /* bytes become characters: it is byte-level */
};

#define GPT4(digits)                                                     \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* Rules that pretokenize.c knows. */
static const struct {
    const char *pre;
    bool digits;
    const char *split;
    bool regex, ignore_merges;
} rules[] = {
    {"gpt-2", false, "", true, false},
    {"smollm", true, "", true, false},
    {"llama-bpe", false, GPT4("\\p{N}{1,3}"), false, true},
    {"qwen2", false, GPT4("\\p{N}"), false, false},
};

static strata_status refuse_cutting(const struct strata__json_at *at, const char *key)
{
    return strata__json_refuse(at, key, json_object_get(at->value, key), STRATA_E_UNSUPPORTED,
                               "a rule that strata knows (gpt-2, smollm, llama-bpe, qwen2)");
}

static strata_status read_split(const struct strata__json_at *part, struct cutting *out)
{
    struct strata__json_at pattern;
    struct strata__string behavior;
    bool invert = false, found;
    STRATA_TRY(strata__json_object(part, "pattern", &pattern, NULL));
    STRATA_TRY(strata__json_string(&pattern, "Regex", &out->split, &found));
    STRATA_TRY(strata__json_string(part, "behavior", &behavior, NULL));
    STRATA_TRY(strata__json_bool(part, "invert", &invert, &(bool){false}));
    if (!found || invert || !strata__string_is(behavior, "Isolated"))
        return refuse_cutting(part, "pattern");
    return STRATA_OK;
}

/* One step; steps come in the order digits, split, bytes, each at most once. */
static strata_status read_step(const struct strata__json_at *part, struct cutting *out)
{
    struct strata__string type;
    bool found, flag = false;
    STRATA_TRY(strata__json_string(part, "type", &type, NULL));
    if (strata__string_is(type, "Digits") && !out->digits && !out->split.size && !out->bytes) {
        STRATA_TRY(strata__json_bool(part, "individual_digits", &flag, &found));
        out->digits = flag;
        return flag ? STRATA_OK : refuse_cutting(part, "individual_digits");
    }
    if (strata__string_is(type, "Split") && !out->split.size && !out->bytes)
        return read_split(part, out);
    if (!strata__string_is(type, "ByteLevel") || out->bytes)
        return refuse_cutting(part, "type");
    STRATA_TRY(strata__json_bool(part, "add_prefix_space", &flag, &found));
    if (flag)
        return refuse_cutting(part, "add_prefix_space");
    out->bytes = out->regex = true;
    return strata__json_bool(part, "use_regex", &out->regex, &found);
}

static strata_status read_cutting(const struct strata__json_at *root, struct cutting *out)
{
    struct strata__json_at pre, list, part;
    struct strata__string type;
    *out = (struct cutting){.split = {"", 0}};
    STRATA_TRY(strata__json_object(root, "pre_tokenizer", &pre, NULL));
    STRATA_TRY(strata__json_string(&pre, "type", &type, NULL));
    if (!strata__string_is(type, "Sequence"))
        return read_step(&pre, out);
    STRATA_TRY(strata__json_array(&pre, "pretokenizers", &list, NULL));
    for (size_t i = 0; i < json_array_size(list.value); i++) {
        STRATA_TRY(strata__json_element(&list, i, &part));
        STRATA_TRY(read_step(&part, out));
    }
    return STRATA_OK;
}

static strata_status write_pre(struct strata__convert *convert, const struct strata__json_at *root,
                               const struct strata__json_at *model)
{
    struct cutting cutting;
    bool ignore_merges = false, found;
    STRATA_TRY(read_cutting(root, &cutting));
    STRATA_TRY(strata__json_bool(model, "ignore_merges", &ignore_merges, &found));
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (cutting.bytes && cutting.digits == rules[i].digits && cutting.regex == rules[i].regex &&
            strata__string_is(cutting.split, rules[i].split)) {
            if (ignore_merges != rules[i].ignore_merges)
                return strata__json_refuse(
                    model, "ignore_merges", json_object_get(model->value, "ignore_merges"),
                    STRATA_E_UNSUPPORTED, rules[i].ignore_merges ? "true" : "false");
            struct strata__string pre = {rules[i].pre, strlen(rules[i].pre)};
            return strata__gguf_write_string(convert->writer, KEY("pre"), pre);
        }
    char quote[160];
    size_t shown = cutting.split.size < 100 ? cutting.split.size : 100;
    return strata__fail(
        STRATA_E_UNSUPPORTED,
        "%s: pre_tokenizer: it cuts text by%s%s, \"%s\"%s%s, expected a rule that "
        "strata knows (gpt-2, smollm, llama-bpe, qwen2)",
        root->json->shown, cutting.digits ? " digits," : "", cutting.bytes ? " bytes" : " no bytes",
        strata__escape(quote, sizeof quote, cutting.split.text, shown),
        shown < cutting.split.size ? "..." : "", cutting.regex ? " and the rule of gpt-2" : "");
}

/* What GGUF cannot say is not there. */
static strata_status check_model(const struct strata__json_at *model)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    struct strata__string text;
    bool found;
    STRATA_TRY(strata__json_string(model, "type", &text, NULL));
    if (!strata__string_is(text, "BPE"))
        return strata__json_refuse(model, "type", json_object_get(model->value, "type"),
                                   STRATA_E_UNSUPPORTED, "\"BPE\"");
    for (size_t i = 0; i < 2; i++) {
        text = (struct strata__string){"", 0};
        STRATA_TRY(strata__json_string(model, affixes[i], &text, &found));
        if (text.size)
            return strata__json_refuse(model, affixes[i], json_object_get(model->value, affixes[i]),
                                       STRATA_E_UNSUPPORTED, "none");
    }
    if (json_is_real(json_object_get(model->value, "dropout")))
        return strata__json_refuse(model, "dropout", json_object_get(model->value, "dropout"),
                                   STRATA_E_UNSUPPORTED, "none");
    return STRATA_OK;
}

static strata_status write_merges(struct strata__convert *convert,
                                  const struct strata__convert_vocab *vocab,
                                  const struct strata__json_at *model)
{
    struct strata__convert_merges merges;
    strata_status status = strata__convert_merges_read(&merges, vocab, model);
    if (status == STRATA_OK)
        status = strata__gguf_write_strings(convert->writer, KEY("merges"), merges.strings,
                                            merges.count);
    strata__convert_merges_free(&merges);
    return status;
}

/* ---- special tokens, chat template ---- */

/* A special token by its name, or by its id in config.json. */
static strata_status write_special(struct strata__convert *convert,
                                   const struct strata__convert_vocab *vocab, const char *name,
                                   const char *config_name, const char *key, int64_t *id)
{
    struct strata__json_at root;
    uint64_t number;
    bool found = false;
    STRATA_TRY(strata__convert_special(convert, vocab, name, NULL, key, id));
    if (*id >= 0)
        return STRATA_OK;
    STRATA_TRY(strata__json_root(&convert->config, &root));
    if (json_is_real(json_object_get(root.value, config_name)))
        STRATA_TRY(strata__json_u64(&root, config_name, 0, vocab->count - 1, &number, &found));
    if (!found)
        return STRATA_OK;
    *id = (int64_t)number;
    return strata__gguf_write_u32(convert->writer, key, (uint32_t)number);
}

static strata_status write_specials(struct strata__convert *convert,
                                    const struct strata__convert_vocab *vocab,
                                    const struct strata__json_at *root, const char *unknown)
{
    int64_t bos, eos, other, before, after;
    STRATA_TRY(
        write_special(convert, vocab, "bos_token", "bos_token_id", KEY("bos_token_id"), &bos));
    STRATA_TRY(
        write_special(convert, vocab, "eos_token", "eos_token_id", KEY("eos_token_id"), &eos));
    STRATA_TRY(strata__convert_special(convert, vocab, "unk_token", unknown,
                                       KEY("unknown_token_id"), &other));
    STRATA_TRY(write_special(convert, vocab, "pad_token", "pad_token_id", KEY("padding_token_id"),
                             &other));
    STRATA_TRY(strata__convert_template(vocab, root, &before, &after));
    if ((before >= 0 && before != bos) || (after >= 0 && after != eos))
        return strata__json_refuse(
            root, "post_processor", json_object_get(root->value, "post_processor"),
            STRATA_E_UNSUPPORTED, "the BOS token before the text, EOS after it, or nothing");
    STRATA_TRY(strata__gguf_write_bool(convert->writer, KEY("add_bos_token"), before >= 0));
    return strata__gguf_write_bool(convert->writer, KEY("add_eos_token"), after >= 0);
}

/* The chat template: a string, or the one named "default" of a list. */
static strata_status write_chat(struct strata__convert *convert)
{
    struct strata__json_at root, list, item;
    struct strata__string text = {NULL, 0}, name;
    bool found = false;
    if (!convert->tokenizer_config.root)
        return STRATA_OK;
    STRATA_TRY(strata__json_root(&convert->tokenizer_config, &root));
    if (json_is_array(json_object_get(root.value, "chat_template"))) {
        STRATA_TRY(strata__json_array(&root, "chat_template", &list, NULL));
        for (size_t i = 0; i < json_array_size(list.value) && !text.text; i++) {
            STRATA_TRY(strata__json_element(&list, i, &item));
            STRATA_TRY(strata__json_string(&item, "name", &name, NULL));
            if (strata__string_is(name, "default"))
                STRATA_TRY(strata__json_string(&item, "template", &text, NULL));
        }
    } else {
        STRATA_TRY(strata__json_string(&root, "chat_template", &text, &found));
    }
    return text.text ? strata__gguf_write_string(convert->writer, "tokenizer.chat_template", text)
                     : STRATA_OK;
}

/* Byte-level: the vocabulary, how text is cut, and the merges. */
static strata_status write_bytes_model(struct strata__convert *convert,
                                       const struct strata__convert_vocab *vocab,
                                       const struct strata__json_at *root,
                                       const struct strata__json_at *model)
{
    struct strata__gguf_writer *w = convert->writer;
    if (json_is_object(json_object_get(root->value, "normalizer")))
        return strata__json_refuse(root, "normalizer", json_object_get(root->value, "normalizer"),
                                   STRATA_E_UNSUPPORTED, "none");
    STRATA_TRY(strata__gguf_write_string(w, KEY("model"), (struct strata__string){"gpt2", 4}));
    STRATA_TRY(write_pre(convert, root, model));
    STRATA_TRY(strata__convert_vocab_write(vocab, convert, NULL));
    return write_merges(convert, vocab, model);
}

static strata_status write_keys(struct strata__convert *convert,
                                struct strata__convert_vocab *vocab,
                                const struct strata__json *json)
{
    struct strata__json_at root, model;
    bool pieces = false, found;
    STRATA_TRY(strata__json_root(json, &root));
    STRATA_TRY(strata__json_object(&root, "model", &model, NULL));
    STRATA_TRY(check_model(&model));
    STRATA_TRY(strata__json_bool(&model, "byte_fallback", &pieces, &found));
    STRATA_TRY(strata__convert_vocab_read(vocab, &root, &model));
    const char *unknown = json_string_value(json_object_get(model.value, "unk_token"));
    if (pieces)
        STRATA_TRY(strata__convert_pieces(convert, vocab, &root, &model));
    else
        STRATA_TRY(write_bytes_model(convert, vocab, &root, &model));
    STRATA_TRY(write_specials(convert, vocab, &root, unknown));
    return write_chat(convert);
}

strata_status strata__convert_bpe_tokenizer(struct strata__convert *convert)
{
    struct strata__convert_vocab vocab;
    struct strata__json json = {0};
    strata_status status;
    STRATA_TRY_DONE(strata__convert_vocab_create(&vocab, convert->dims[STRATA__DIM_VOCAB]));
    STRATA_TRY_DONE(strata__model_folder_json(&convert->folder, "tokenizer.json", &json, NULL));
    STRATA_TRY_DONE(write_keys(convert, &vocab, &json));
done:
    strata__convert_vocab_free(&vocab);
    strata__json_free(&json);
    return status;
}

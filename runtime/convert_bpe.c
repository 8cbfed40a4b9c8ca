/* Byte-level BPE tokenizers: tokenizer.json to the keys of GGUF's "gpt2" tokenizer.
 *
 * The rule that cuts text is recognised, never guessed: GGUF gives it by name, and runtime/
 * pretokenize.c has the expression for each.  Merges come as "a b" or as ["a", "b"]. */
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
    return refuse_cutting(root, "pre_tokenizer");
}

/* What GGUF cannot say is not there. */
static strata_status check_model(const struct strata__json_at *root,
                                 const struct strata__json_at *model)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    struct strata__string text;
    bool fallback = false, found;
    STRATA_TRY(strata__json_string(model, "type", &text, NULL));
    if (!strata__string_is(text, "BPE"))
        return strata__json_refuse(model, "type", json_object_get(model->value, "type"),
                                   STRATA_E_UNSUPPORTED, "\"BPE\"");
    STRATA_TRY(strata__json_bool(model, "byte_fallback", &fallback, &found));
    if (fallback)
        return strata__json_refuse(
            model, "byte_fallback", json_object_get(model->value, "byte_fallback"),
            STRATA_E_UNSUPPORTED, "false (byte-level BPE; SentencePiece models are not read)");
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
    if (json_is_object(json_object_get(root->value, "normalizer")))
        return strata__json_refuse(root, "normalizer", json_object_get(root->value, "normalizer"),
                                   STRATA_E_UNSUPPORTED, "none");
    return STRATA_OK;
}

/* ---- merges ---- */

static struct strata__string token_name(const void *items, uint32_t i)
{
    return ((const struct strata__string *)items)[i];
}

struct merges {
    struct strata__name_index index; /* of the vocabulary */
    struct strata__string *strings;  /* "a b" */
    char *text;                      /* of those that were pairs, and room for one result */
    size_t used;
    uint32_t count;
};

static strata_status index_vocab(struct merges *merges, const struct strata__convert_vocab *vocab,
                                 const struct strata__json_at *model)
{
    STRATA_TRY(strata__name_index_create(&merges->index, (uint32_t)vocab->count, vocab->tokens,
                                         token_name));
    for (uint32_t i = 0; i < vocab->count; i++)
        if (vocab->tokens[i].text && strata__name_index_add(&merges->index, i) != STRATA__NO_ITEM)
            return strata__json_refuse(model, "vocab", NULL, STRATA_E_FORMAT,
                                       "each text once; an added token repeats one");
    return STRATA_OK;
}

/* Bytes that the text of all merges may take, spaces between included, and the longest. */
static size_t merges_bytes(const struct strata__json_at *list)
{
    size_t total = 0, longest = 0, i;
    json_t *value;
    json_array_foreach(list->value, i, value)
    {
        size_t size = json_string_length(value);
        if (json_is_array(value))
            size = json_string_length(json_array_get(value, 0)) + 1 +
                   json_string_length(json_array_get(value, 1));
        total += json_is_array(value) ? size : 0;
        longest = size > longest ? size : longest;
    }
    return total + longest;
}

/* The merge as "a b" in *out, *left the bytes of a; false when it is none. */
static bool read_merge(struct merges *merges, const json_t *value, struct strata__string *out,
                       size_t *left)
{
    if (json_is_string(value)) {
        *out = (struct strata__string){json_string_value(value), json_string_length(value)};
        const char *space = memchr(out->text, ' ', out->size);
        *left = space ? (size_t)(space - out->text) : 0;
        return space != NULL;
    }
    const json_t *a = json_array_get(value, 0), *b = json_array_get(value, 1);
    if (json_array_size(value) != 2 || !json_is_string(a) || !json_is_string(b))
        return false;
    char *text = merges->text + merges->used;
    *left = json_string_length(a);
    memcpy(text, json_string_value(a), *left);
    text[*left] = ' ';
    memcpy(text + *left + 1, json_string_value(b), json_string_length(b));
    *out = (struct strata__string){text, *left + 1 + json_string_length(b)};
    merges->used += out->size;
    return true;
}

/* Both sides and what they become are tokens, and no side has a space. */
static bool merge_of_tokens(const struct merges *merges, struct strata__string merge, size_t left)
{
    const char *right = merge.text + left + 1;
    size_t right_size = merge.size - left - 1;
    char *result = merges->text + merges->used;
    memcpy(result, merge.text, left);
    memcpy(result + left, right, right_size);
    return !memchr(right, ' ', right_size) &&
           strata__name_index_find(&merges->index, merge.text, left) != STRATA__NO_ITEM &&
           strata__name_index_find(&merges->index, right, right_size) != STRATA__NO_ITEM &&
           strata__name_index_find(&merges->index, result, left + right_size) != STRATA__NO_ITEM;
}

static strata_status read_merges(struct merges *merges, const struct strata__json_at *list)
{
    size_t n = json_array_size(list->value), i;
    json_t *value;
    if (n > STRATA__MERGES_MAX)
        return strata__json_refuse(list, NULL, list->value, STRATA_E_FORMAT,
                                   "at most 16777216 merges");
    STRATA_TRY(strata__calloc(&merges->strings, n, sizeof *merges->strings, "merges"));
    STRATA_TRY(strata__calloc(&merges->text, merges_bytes(list), 1, "merges"));
    json_array_foreach(list->value, i, value)
    {
        struct strata__string *merge = &merges->strings[i];
        size_t left;
        if (!read_merge(merges, value, merge, &left) || !merge_of_tokens(merges, *merge, left)) {
            char rank[32], text[96] = "";
            snprintf(rank, sizeof rank, "%zu", i);
            if (merge->text)
                strata__escape(text, sizeof text, merge->text, merge->size);
            return strata__fail(STRATA_E_FORMAT,
                                "%s: merges.%s: \"%s\", expected two tokens that make a third",
                                list->json->shown, rank, text);
        }
        merges->count++;
    }
    return STRATA_OK;
}

static strata_status write_merges(struct strata__convert *convert,
                                  const struct strata__convert_vocab *vocab,
                                  const struct strata__json_at *model)
{
    struct merges merges = {0};
    struct strata__json_at list;
    strata_status status;
    STRATA_TRY_DONE(strata__json_array(model, "merges", &list, NULL));
    STRATA_TRY_DONE(index_vocab(&merges, vocab, model));
    STRATA_TRY_DONE(read_merges(&merges, &list));
    STRATA_TRY_DONE(
        strata__gguf_write_strings(convert->writer, KEY("merges"), merges.strings, merges.count));
done:
    strata__name_index_free(&merges.index);
    strata__free(merges.strings);
    strata__free(merges.text);
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
                                    const struct strata__json_at *root)
{
    int64_t bos, eos, other, before, after;
    STRATA_TRY(
        write_special(convert, vocab, "bos_token", "bos_token_id", KEY("bos_token_id"), &bos));
    STRATA_TRY(
        write_special(convert, vocab, "eos_token", "eos_token_id", KEY("eos_token_id"), &eos));
    STRATA_TRY(strata__convert_special(convert, vocab, "unk_token", NULL, KEY("unknown_token_id"),
                                       &other));
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

static strata_status write_keys(struct strata__convert *convert,
                                struct strata__convert_vocab *vocab,
                                const struct strata__json *json)
{
    struct strata__json_at root, model;
    const struct strata__string name = {convert->arch->tokenizer, strlen(convert->arch->tokenizer)};
    STRATA_TRY(strata__json_root(json, &root));
    STRATA_TRY(strata__json_object(&root, "model", &model, NULL));
    STRATA_TRY(check_model(&root, &model));
    STRATA_TRY(strata__gguf_write_string(convert->writer, KEY("model"), name));
    STRATA_TRY(write_pre(convert, &root, &model));
    STRATA_TRY(strata__convert_vocab_read(vocab, &root, &model));
    STRATA_TRY(strata__convert_vocab_write(vocab, convert, NULL));
    STRATA_TRY(write_merges(convert, vocab, &model));
    STRATA_TRY(write_specials(convert, vocab, &root));
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

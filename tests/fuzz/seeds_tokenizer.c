/* Writes the first corpus of fuzz_tokenizer into the folder argv[1]: small vocabularies, and the
 * same with one thing wrong. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_writer.h"

#define LOOP "{% for message in messages %}"
#define SYSTEM                                                \
    "{% if loop.first and messages[0]['role'] != 'system' %}" \
    "{{ '<|im_start|>system\\nA\\tB<|im_end|>\\n' }}{% endif %}"
#define MESSAGE                                                                                \
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}" \
    "{% endfor %}"
#define PROMPT "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

#define TEXT "hello ab <|im_end|><|im  a\n\n 11'll\xe2\x82\xff x \xc3\xa9 <|im_start|>"

static const char *const tokens[] = {
    "a",      "b",       "e",      "h",      "l",      "o",      "x",          "1",
    "'",      "!",       "<",      "|",      "i",      "m",      "\u0120",     "\u010a",
    "\u00e2", "\u0122",  "\u00c3", "\u00a9", "ab",     "he",     "ll",         "hell",
    "hello",  "\u0120a", "'ll",    "\u00ef", "\u00bf", "\u00bd", "<|im_end|>", "<|im_start|>",
    "<|im",
};
enum { TOKENS = sizeof tokens / sizeof *tokens, TOKENS_MAX = 400 };

static const char *const merges[] = {"a b", "h e", "l l", "he ll", "hell o", "\u0120 a", "' ll"};
enum { MERGES = sizeof merges / sizeof *merges };

struct seed {
    const char *model, *pre, *chat;
    const char *tokens[TOKENS_MAX];
    int32_t types[TOKENS_MAX];
    size_t n_tokens, n_types, n_scores;
    const char *merges[MERGES];
    float scores[TOKENS_MAX];
    const unsigned char *map; /* precompiled_charsmap; NULL: the key is left out */
    size_t map_size;
    int trim, lowercase;  /* -1: the key is left out */
    int add_bos, add_eos; /* -1: the key is left out */
    uint32_t bos, eos;
    const char *text; /* behind the file */
};

static const char *folder;
static unsigned count;

static void add(struct seed *seed, const char *token, int32_t type)
{
    seed->tokens[seed->n_tokens] = token;
    seed->types[seed->n_tokens++] = type;
    seed->n_types = seed->n_tokens;
}

static struct seed valid(const char *pre)
{
    struct seed seed = {.model = "gpt2",
                        .pre = pre,
                        .add_bos = -1,
                        .add_eos = -1,
                        .trim = -1,
                        .lowercase = -1,
                        .text = TEXT};
    for (size_t i = 0; i < TOKENS; i++)
        add(&seed, tokens[i], i < TOKENS - 3 ? 1 : i < TOKENS - 1 ? 3 : 4);
    memcpy(seed.merges, merges, sizeof merges);
    seed.eos = TOKENS - 3;
    seed.bos = TOKENS - 2;
    return seed;
}

static void save(const struct seed *seed)
{
    char path[4096];
    struct gguf_writer w;
    gguf_begin(&w, 3);
    gguf_key_string(&w, "tokenizer.ggml.model", seed->model);
    gguf_key_string(&w, "tokenizer.ggml.pre", seed->pre);
    gguf_key_strings(&w, "tokenizer.ggml.tokens", seed->n_tokens, seed->tokens);
    gguf_key_array(&w, "tokenizer.ggml.token_type", STRATA__META_I32, seed->n_types, seed->types,
                   4 * seed->n_types);
    if (seed->n_scores)
        gguf_key_array(&w, "tokenizer.ggml.scores", STRATA__META_F32, seed->n_scores, seed->scores,
                       4 * seed->n_scores);
    gguf_key_strings(&w, "tokenizer.ggml.merges", MERGES, seed->merges);
    gguf_key_u32(&w, "tokenizer.ggml.eos_token_id", seed->eos);
    if (seed->bos)
        gguf_key_u32(&w, "tokenizer.ggml.bos_token_id", seed->bos);
    if (seed->add_bos >= 0)
        gguf_key_bool(&w, "tokenizer.ggml.add_bos_token", seed->add_bos);
    if (seed->add_eos >= 0)
        gguf_key_bool(&w, "tokenizer.ggml.add_eos_token", seed->add_eos);
    if (seed->trim >= 0) {
        gguf_key_bool(&w, "tokenizer.ggml.remove_extra_whitespaces", seed->trim);
        gguf_key_bool(&w, "tokenizer.ggml.add_space_prefix", seed->trim);
    }
    if (seed->lowercase >= 0) {
        gguf_key_bool(&w, "tokenizer.ggml.normalizer.lowercase", seed->lowercase);
        gguf_key_bool(&w, "tokenizer.ggml.normalizer.strip_accents", !seed->lowercase);
    }
    if (seed->map)
        gguf_key_array(&w, "tokenizer.ggml.precompiled_charsmap", STRATA__META_U8, seed->map_size,
                       seed->map, seed->map_size);
    if (seed->chat)
        gguf_key_string(&w, "tokenizer.chat_template", seed->chat);
    gguf_finish(&w);
    size_t size = w.file.size;
    gguf_resize(&w, size + strlen(seed->text));
    memcpy(w.file.bytes + size, seed->text, strlen(seed->text));
    snprintf(path, sizeof path, "%s/%03u.gguf", folder, count++);
    gguf_save(&w, path);
    gguf_free(&w);
}

static void save_rules(void)
{
    static const char *const rules[] = {"gpt-2", "smollm", "llama-bpe", "qwen2", "none"};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        struct seed seed = valid(rules[i]);
        save(&seed);
        seed.add_bos = seed.add_eos = 1;
        save(&seed);
        seed.bos = 0;
        save(&seed);
    }
}

static void save_templates(void)
{
    static const char *const templates[] = {
        LOOP MESSAGE PROMPT,
        LOOP SYSTEM MESSAGE PROMPT,
        "{# c #}\n" LOOP "\n  {%- if a -%} {{- x[\"y\"] -}}\n{%- endif %}\n" MESSAGE PROMPT,
        "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}"
        "{% endif %}" LOOP MESSAGE PROMPT,
        "{{ 'x",
        "{# x",
        "{% x",
        LOOP "{{ ['a'] x['a b'] y['c'] }} x {#- z -#}  ",
        LOOP "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nx' }}",
    };
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) {
        struct seed seed = valid("smollm");
        seed.chat = templates[i];
        save(&seed);
    }
}

/* One thing wrong, or unusual, in the tables. */
static void save_tables(void)
{
    static const char *const odd[] = {"a", "", "<|im", "\u65e5", "\xff", " ", "\u0143\u0121\u00ad"};
    static const char *const bad_merges[] = {"ab", "a q", "q a", "b a", "hello hello", "a b"};
    static char long_token[(1 << 16) + 2];
    struct seed seed = valid("gpt-2");
    seed.model = "llama";
    save(&seed);
    seed = valid("gpt-2");
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        add(&seed, odd[i], i == 2 ? 3 : 1);
    save(&seed);
    for (size_t i = 0; i < sizeof bad_merges / sizeof *bad_merges; i++) {
        seed = valid("gpt-2");
        seed.merges[MERGES - 1] = bad_merges[i];
        save(&seed);
    }
    seed = valid("gpt-2");
    seed.types[3] = 7;
    save(&seed);
    seed = valid("gpt-2");
    seed.n_types--;
    save(&seed);
    seed = valid("gpt-2");
    seed.n_scores = 3;
    save(&seed);
    seed = valid("gpt-2");
    seed.bos = TOKENS;
    save(&seed);
    seed.n_tokens = 0;
    save(&seed);
    seed = valid("gpt-2");
    memset(long_token, 'a', sizeof long_token - 1);
    add(&seed, long_token, 1);
    save(&seed);
}

static struct seed empty(const char *model)
{
    struct seed seed = valid("default");
    seed.model = model;
    seed.n_tokens = 0;
    seed.bos = 1, seed.eos = 2;
    return seed;
}

static struct seed wordpiece(int lowercase)
{
    static const char *const words[] = {
        "\u2581hello", "\u2581a", "\u2581x", "\u25811", "\u2581<", "\u2581!",     "\u2581'",
        "\u2581e",     "b",       "1",       "ll",      "\u2581",  "\u2581\u00e9"};
    struct seed seed = empty("bert");
    add(&seed, "[UNK]", 3);
    add(&seed, "[CLS]", 3);
    add(&seed, "[SEP]", 3);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        add(&seed, words[i], 1);
    seed.lowercase = lowercase;
    seed.text = "Hello ab[SEP] \u4e2d\u00c9\u0301\u0130 \u302e\uac00\u0301\xff 11x<!\u2581a\t";
    return seed;
}

/* Byte tokens where `bytes` says so; scores fall. */
static struct seed sentencepiece(const char *model, bool bytes, int trim)
{
    static const char *const pieces[] = {"\u2581h", "el", "\u2581hel", "lo",    "\u2581hello",
                                         "\u2581",  "a",  "b",         "e",     "h",
                                         "l",       "o",  "ab",        "\u00e9"};
    static char texts[256][8];
    struct seed seed = empty(model);
    add(&seed, "<unk>", 2);
    add(&seed, "<s>", 3);
    add(&seed, "</s>", 3);
    for (unsigned byte = 0; bytes && byte < 256; byte++) {
        snprintf(texts[byte], sizeof texts[byte], "<0x%02X>", byte);
        add(&seed, texts[byte], 6);
    }
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        seed.scores[seed.n_tokens] = -(float)i;
        add(&seed, pieces[i], 1);
    }
    add(&seed, "<im", 4);
    add(&seed, "lo", 5);
    seed.n_scores = seed.n_tokens;
    seed.trim = trim;
    return seed;
}

/* The other models, and each with one thing wrong. */
static void save_models(void)
{
    static const unsigned char map[] = {8, 0, 0, 0, 0, 4, 0, 0, 'a', 1, 0, 0, 'x', 0};
    static const char *const models[] = {"llama", "t5"};
    for (int i = -1; i < 2; i++) {
        struct seed seed = wordpiece(i);
        save(&seed);
    }
    struct seed seed = wordpiece(1);
    seed.tokens[0] = "x";
    save(&seed);
    for (size_t m = 0; m < 2; m++) {
        for (int i = 0; i < 6; i++) {
            seed = sentencepiece(models[m], i % 2, i / 2 - 1);
            save(&seed);
        }
        seed.map = map, seed.map_size = sizeof map;
        save(&seed);
        seed.map_size--;
        save(&seed);
        seed = sentencepiece(models[m], true, 1);
        seed.tokens[7] = "<0xZZ>";
        save(&seed);
        seed = sentencepiece(models[m], true, 1);
        seed.types[7] = 1;
        save(&seed);
        seed = sentencepiece(models[m], false, 1);
        seed.n_scores = 0;
        save(&seed);
        seed.n_scores = seed.n_tokens;
        seed.types[0] = 3;
        save(&seed);
    }
}

/* The n-th allocation fails. */
static void save_faults(void)
{
    for (unsigned n = 0; n < 40; n++) {
        char text[] = "hello ab\xff ?";
        struct seed seed = valid("llama-bpe");
        seed.chat = n % 2 ? LOOP SYSTEM MESSAGE PROMPT : NULL;
        text[sizeof text - 2] = (char)(0x80 + n);
        seed.text = text;
        save(&seed);
        seed = n % 3 == 0 ? wordpiece(1) : sentencepiece(n % 3 == 1 ? "llama" : "t5", n % 2, 1);
        seed.text = text;
        save(&seed);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return EXIT_FAILURE;
    }
    folder = argv[1];
    save_rules();
    save_templates();
    save_tables();
    save_models();
    save_faults();
    return EXIT_SUCCESS;
}

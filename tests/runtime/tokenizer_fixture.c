#include "tokenizer_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "gguf_writer.h"
#include "tokenizer.h"
#include "utf8.h"

char spec_log[1024];

static const char *const default_merges[] = {
    "h e",
    "l l",
    "he ll",
    "hell o",
    "\u0120 w",
    "o r",
    "\u0120w or",
    "l d",
    "\u0120wor ld",
    "t h",
    "th e",
    "\u0120 the",
    "1 2",
    "12 3",
    "3 4",
    "0 0",
    "\u0120 \u0120",
    "\u0120\u0120 \u0120\u0120",
    "\u010a \u010a",
    "\u010d \u010a",
    "' s",
    "' S",
    "! !",
    "\u0120 1",
    "\u00c3 \u00a9",
    "\u0120 !",
    ". \u010a",
    "a a",
    "aa a",
    "aa aa",
    "' ll",
    "\u0120\u0120 \u010a",
    "s a",
    "\u00c5 \u00bf",
    "' \u00c5\u00bf",
};

/* The spellings of bytes 0 to 255, and the merged texts, live as long as the program. */
static char byte_texts[256][4];
static char merged_texts[sizeof default_merges / sizeof *default_merges][32];

int32_t spec_token(struct spec *spec, const char *text, int32_t type)
{
    assert_true(spec->n_tokens < SPEC_TOKENS_MAX);
    spec->tokens[spec->n_tokens] = (struct strata__string){text, strlen(text)};
    spec->types[spec->n_tokens] = type;
    spec->n_types = spec->n_tokens + 1;
    return (int32_t)spec->n_tokens++;
}

static void add_bytes(struct spec *spec)
{
    uint32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; byte++) {
        bool prints = (byte > ' ' && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
        size_t size = strata__utf8_put(byte_texts[byte], prints ? byte : next++);
        spec->tokens[byte] = (struct strata__string){byte_texts[byte], size};
        spec->types[byte] = STRATA__TOKEN_NORMAL;
    }
    spec->n_tokens = spec->n_types = 256;
}

void spec_default(struct spec *spec, const char *pre)
{
    memset(spec, 0, sizeof *spec);
    spec->model = "gpt2";
    spec->pre = pre;
    spec->types_type = STRATA__META_I32;
    spec->scores_type = STRATA__META_F32;
    add_bytes(spec);
    spec_token(spec, "<|endoftext|>", STRATA__TOKEN_CONTROL);
    spec_token(spec, "<|im_start|>", STRATA__TOKEN_CONTROL);
    spec_token(spec, "<|im_end|>", STRATA__TOKEN_CONTROL);
    spec_token(spec, "<|user|>", STRATA__TOKEN_USER_DEFINED);
    spec_token(spec, "<|user|>x", STRATA__TOKEN_USER_DEFINED);
    for (size_t i = 0; i < sizeof default_merges / sizeof *default_merges; i++) {
        const char *merge = default_merges[i], *space = strchr(merge, ' ');
        snprintf(merged_texts[i], sizeof merged_texts[i], "%.*s%s", (int)(space - merge), merge,
                 space + 1);
        spec_token(spec, merged_texts[i], STRATA__TOKEN_NORMAL);
        spec->merges[spec->n_merges++] = (struct strata__string){merge, strlen(merge)};
    }
    spec_token(spec, "zqzq", STRATA__TOKEN_NORMAL);
    spec_token(spec, "\u0120zqzq", STRATA__TOKEN_NORMAL);
    spec_token(spec, "999", STRATA__TOKEN_NORMAL);
    spec->numbers[0].key = "tokenizer.ggml.bos_token_id";
    spec->numbers[0].type = STRATA__META_U32, spec->numbers[0].value = SPEC_START;
    spec->numbers[1].key = "tokenizer.ggml.eos_token_id";
    spec->numbers[1].type = STRATA__META_U32, spec->numbers[1].value = SPEC_END;
}

void spec_number(struct spec *spec, size_t i, const char *key, enum strata__meta_type type,
                 int64_t value)
{
    spec->numbers[i].key = key;
    spec->numbers[i].type = type;
    spec->numbers[i].value = value;
    spec->numbers[i + 1].key = NULL;
}

static void set_common(struct spec *spec, const char *model, int64_t bos, int64_t eos,
                       int64_t unknown)
{
    memset(spec, 0, sizeof *spec);
    spec->model = model;
    spec->types_type = STRATA__META_I32;
    spec->scores_type = STRATA__META_F32;
    spec_number(spec, 0, "tokenizer.ggml.bos_token_id", STRATA__META_U32, bos);
    spec_number(spec, 1, "tokenizer.ggml.eos_token_id", STRATA__META_U32, eos);
    spec_number(spec, 2, "tokenizer.ggml.unknown_token_id", STRATA__META_U32, unknown);
}

void spec_wordpiece(struct spec *spec)
{
    static const char *const special[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    static const char *const words[] = {
        "\u2581the",
        "\u2581token",
        "\u2581a",
        "\u2581e",
        "\u2581x",
        "\u2581The",
        "\u2581!",
        "\u2581[",
        "\u2581]",
        "\u2581cls",
        "\u2581\u4e2d",
        "\u2581\u2581",
        "ing",
        "s",
        "x",
        "e",
        "a",
        "\u0301",
        "\u2581",
        "ized",
        "\u2581caf\u00e9",
        "\u2581cafe",
        "\u1161",
        "\u2581\u1100",
        "<s>",
    };
    set_common(spec, "bert", 2, 3, 1);
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        spec_token(spec, special[i], STRATA__TOKEN_CONTROL);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        spec_token(spec, words[i], STRATA__TOKEN_NORMAL);
}

void spec_sentencepiece(struct spec *spec, const char *model, bool bytes)
{
    static const char *const pieces[] = {
        "\u2581t",    "he",          "\u2581the", "ll", "\u2581he",
        "\u2581hell", "\u2581hello", "\u2581",    "a",  "b",
        "e",          "h",           "l",         "o",  "t",
        "ab",         "aa",          "\u00e9",    "!",  "\u2581\u2581",
    };
    static char texts[256][8];
    set_common(spec, model, 1, 2, 0);
    spec_token(spec, "<unk>", STRATA__TOKEN_UNKNOWN);
    spec_token(spec, "<s>", STRATA__TOKEN_CONTROL);
    spec_token(spec, "</s>", STRATA__TOKEN_CONTROL);
    for (unsigned byte = 0; bytes && byte < 256; byte++) {
        snprintf(texts[byte], sizeof texts[byte], "<0x%02X>", byte);
        spec_token(spec, texts[byte], STRATA__TOKEN_BYTE);
    }
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        int32_t id = spec_token(spec, pieces[i], STRATA__TOKEN_NORMAL);
        spec->scores[id] = -1.0f - 0.5f * (float)i;
    }
    spec_token(spec, "<tag>", STRATA__TOKEN_USER_DEFINED);
    spec_token(spec, "hell", STRATA__TOKEN_UNUSED);
    spec->n_scores = spec->n_tokens;
}

static void write_number(struct gguf_writer *w, const char *key, enum strata__meta_type type,
                         int64_t value)
{
    if (type == STRATA__META_BOOL)
        gguf_key_bool(w, key, value != 0);
    else if (type == STRATA__META_I32)
        gguf_key_i32(w, key, (int32_t)value);
    else
        gguf_key_u32(w, key, (uint32_t)value);
}

static void write_spec(struct gguf_writer *w, const struct spec *spec)
{
    gguf_begin(w, 3);
    gguf_key_string(w, "general.architecture", "llama");
    if (spec->model)
        gguf_key_string(w, "tokenizer.ggml.model", spec->model);
    if (spec->pre)
        gguf_key_string(w, "tokenizer.ggml.pre", spec->pre);
    gguf_key_byte_strings(w, "tokenizer.ggml.tokens", spec->n_tokens, spec->tokens);
    if (spec->n_types)
        gguf_key_array(w, "tokenizer.ggml.token_type", spec->types_type, spec->n_types, spec->types,
                       4 * spec->n_types);
    if (spec->n_scores)
        gguf_key_array(w, "tokenizer.ggml.scores", spec->scores_type, spec->n_scores, spec->scores,
                       4 * spec->n_scores);
    gguf_key_byte_strings(w, "tokenizer.ggml.merges", spec->n_merges, spec->merges);
    for (size_t i = 0; spec->numbers[i].key; i++)
        write_number(w, spec->numbers[i].key, spec->numbers[i].type, spec->numbers[i].value);
    if (spec->map)
        gguf_key_array(w, "tokenizer.ggml.precompiled_charsmap", STRATA__META_U8, spec->map_size,
                       spec->map, spec->map_size);
    if (spec->chat)
        gguf_key_string(w, "tokenizer.chat_template", spec->chat);
    gguf_finish(w);
}

static void keep_line(void *user, strata_log_level level, const char *line)
{
    (void)user;
    assert_true(level == STRATA_LOG_WARN || level == STRATA_LOG_INFO);
    size_t used = strlen(spec_log);
    snprintf(spec_log + used, sizeof spec_log - used, "%s\n", line);
}

strata_file *spec_file(const struct spec *spec)
{
    struct gguf_writer w;
    char path[] = "/tmp/strata-test-XXXXXX";
    strata_file *file;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    write_spec(&w, spec);
    gguf_save(&w, path);
    gguf_free(&w);
    assert_int_equal(strata_file_open(&file, path, NULL, NULL), STRATA_OK);
    unlink(path);
    return file;
}

strata_status spec_create(const struct spec *spec, strata_tokenizer **out)
{
    strata_file *file = spec_file(spec);
    spec_log[0] = 0;
    strata_status status = strata_tokenizer_create(out, file, keep_line, NULL);
    strata_file_close(&file);
    return status;
}

strata_tokenizer *spec_tokenizer(const struct spec *spec)
{
    strata_tokenizer *tokenizer;
    if (spec_create(spec, &tokenizer) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    return tokenizer;
}

void assert_refused(const struct spec *spec, strata_status status, ...)
{
    strata_tokenizer *tokenizer = (strata_tokenizer *)spec;
    assert_int_equal(spec_create(spec, &tokenizer), status);
    assert_null(tokenizer);
    va_list words;
    va_start(words, status);
    for (const char *word; (word = va_arg(words, const char *));)
        if (!strstr(strata_last_error(), word))
            fail_msg("\"%s\" is not in \"%s\"", word, strata_last_error());
    va_end(words);
}

int32_t *ids_of(const strata_tokenizer *tokenizer, const char *text, size_t size, unsigned flags,
                size_t *count)
{
    size_t n;
    assert_int_equal(strata_tokenize(tokenizer, text, size, flags, NULL, 0, &n), STRATA_OK);
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    assert_non_null(ids);
    ids[n] = -1;
    assert_int_equal(strata_tokenize(tokenizer, text, size, flags, ids, n, count), STRATA_OK);
    assert_int_equal(*count, n);
    return ids;
}

void assert_ids(const strata_tokenizer *tokenizer, const char *text, size_t size, unsigned flags,
                const int32_t *ids)
{
    size_t n, wanted = 0;
    int32_t *found = ids_of(tokenizer, text, size, flags, &n);
    while (ids[wanted] >= 0)
        wanted++;
    assert_int_equal(n, wanted);
    assert_memory_equal(found, ids, n * sizeof *ids);
    free(found);
}

void assert_text(const strata_tokenizer *tokenizer, const int32_t *ids, size_t count,
                 const char *text)
{
    char found[256];
    size_t size;
    assert_int_equal(strata_detokenize(tokenizer, ids, count, found, sizeof found - 1, &size),
                     STRATA_OK);
    assert_in_range(size, 0, sizeof found - 1);
    found[size] = 0;
    assert_string_equal(found, text);
}

char *repeated(const char *unit, size_t size, const char *end, size_t *full)
{
    size_t n = strlen(unit), tail = strlen(end);
    size = size / n * n;
    char *text = malloc(size + tail + 1);
    assert_non_null(text);
    for (size_t i = 0; i < size; i += n)
        memcpy(text + i, unit, n);
    memcpy(text + size, end, tail);
    *full = size + tail;
    return text;
}

double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void assert_round_trip(const strata_tokenizer *tokenizer, const char *text, size_t size)
{
    size_t n, back_size;
    int32_t *ids = malloc(size * sizeof *ids + 1);
    char *back = malloc(size + 1);
    assert_non_null(ids);
    assert_non_null(back);
    assert_int_equal(strata_tokenize(tokenizer, text, size, STRATA_TOKENIZE_SPECIAL, ids, size, &n),
                     STRATA_OK);
    assert_in_range(n, 0, size);
    assert_int_equal(strata_detokenize(tokenizer, ids, n, back, size, &back_size), STRATA_OK);
    assert_int_equal(back_size, size);
    assert_true(memcmp(back, text, size) == 0);
    free(ids);
    free(back);
}

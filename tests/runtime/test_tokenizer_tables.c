/* Tokenizer tables that a file should not have (rows 51 to 60 of the hostile-input list), each
 * beside a valid neighbour. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "gguf_writer.h"
#include "tokenizer.h"
#include "tokenizer_fixture.h"

static void assert_accepted(const struct spec *spec)
{
    strata_tokenizer *tokenizer = spec_tokenizer(spec);
    strata_tokenizer_free(&tokenizer);
    assert_null(tokenizer);
}

static void set_merge(struct spec *spec, size_t i, const char *merge)
{
    spec->merges[i] = (struct strata__string){merge, strlen(merge)};
}

static void test_names(void **state)
{
    static const char *const known[] = {
        "gpt-2",     "phi-2",     "mpt",     "olmo",      "jais",
        "smollm",    "starcoder", "refact",  "codeshell", "llama-bpe",
        "llama3",    "llama-v3",  "falcon3", "qwen2",     "deepseek-r1-qwen",
        "stablelm2",
    };
    struct spec spec;
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        spec_default(&spec, known[i]);
        assert_accepted(&spec);
    }
    spec.pre = "gpt-22";
    assert_refused(&spec, STRATA_E_UNSUPPORTED, "tokenizer.ggml.pre", "\"gpt-22\"", NULL);
    spec.pre = "\x01";
    assert_refused(&spec, STRATA_E_UNSUPPORTED, "\"\\x01\"", NULL);
    spec.pre = NULL;
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.pre", NULL);
    spec_default(&spec, "gpt-2");
    spec.model = "gpt3";
    assert_refused(&spec, STRATA_E_UNSUPPORTED, "tokenizer.ggml.model", "\"gpt3\"", NULL);
    spec.model = NULL;
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.model", NULL);
}

/* Row 51. */
static void test_repeated_token(void **state)
{
    struct spec spec;
    (void)state;
    spec_default(&spec, "gpt-2");
    assert_accepted(&spec);
    assert_string_equal(spec_log, "");
    int32_t first = spec_token(&spec, "qq", STRATA__TOKEN_CONTROL);
    int32_t second = spec_token(&spec, "qq", STRATA__TOKEN_CONTROL);
    spec_token(&spec, "qq", STRATA__TOKEN_NORMAL);
    strata_tokenizer *tokenizer = spec_tokenizer(&spec);
    assert_non_null(strstr(spec_log, "2 tokens repeat"));
    assert_ids(tokenizer, "qq", 2, STRATA_TOKENIZE_SPECIAL, (int32_t[]){first, -1});
    char text[2];
    size_t size;
    assert_int_equal(strata_detokenize(tokenizer, &second, 1, text, 2, &size), STRATA_OK);
    assert_int_equal(size, 2);
    assert_memory_equal(text, "qq", 2);
    strata_tokenizer_free(&tokenizer);
}

/* Rows 52 and 53. */
static void test_merges(void **state)
{
    struct spec spec;
    (void)state;
    spec_default(&spec, "gpt-2");
    size_t last = spec.n_merges++;
    spec_token(&spec, "hellohello", STRATA__TOKEN_NORMAL);
    set_merge(&spec, last, "hello hello");
    assert_accepted(&spec);
    set_merge(&spec, last, "h e"); /* a repetition: the first rank counts */
    assert_accepted(&spec);

    char rank[32];
    snprintf(rank, sizeof rank, "rank %zu,", last);
    set_merge(&spec, last, "hello hallo");
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.merges", rank, "\"hello hallo\"",
                   "a part is not", NULL);
    set_merge(&spec, last, "hallo hello");
    assert_refused(&spec, STRATA_E_FORMAT, rank, "a part is not", NULL);
    set_merge(&spec, last, "hello the");
    assert_refused(&spec, STRATA_E_FORMAT, rank, "merged token is not", NULL);
    set_merge(&spec, last, "<|endoftext|> <|im_start|>"); /* longer than any token */
    assert_refused(&spec, STRATA_E_FORMAT, rank, "merged token is not", NULL);
    static const char *const malformed[] = {"hellohello", "", " ", "hello ", " hello", "h e l"};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        set_merge(&spec, last, malformed[i]);
        assert_refused(&spec, STRATA_E_FORMAT, rank, NULL);
    }
    spec_default(&spec, "gpt-2");
    spec.n_merges = 0;
    assert_accepted(&spec);
}

/* Row 54. */
static void test_special_ids(void **state)
{
    static const char *const keys[] = {
        "tokenizer.ggml.bos_token_id",     "tokenizer.ggml.eos_token_id",
        "tokenizer.ggml.eot_token_id",     "tokenizer.ggml.eom_token_id",
        "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.seperator_token_id",
        "tokenizer.ggml.padding_token_id", "tokenizer.ggml.cls_token_id",
        "tokenizer.ggml.mask_token_id",
    };
    struct spec spec;
    char limit[64];
    (void)state;
    spec_default(&spec, "gpt-2");
    int64_t n = (int64_t)spec.n_tokens;
    snprintf(limit, sizeof limit, "%zu tokens", spec.n_tokens);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        spec_number(&spec, 0, keys[i], STRATA__META_U32, n - 1);
        assert_accepted(&spec);
        spec_number(&spec, 0, keys[i], STRATA__META_U32, n);
        assert_refused(&spec, STRATA_E_FORMAT, keys[i], limit, NULL);
        spec_number(&spec, 0, keys[i], STRATA__META_U32, UINT32_MAX);
        assert_refused(&spec, STRATA_E_FORMAT, keys[i], "4294967295", NULL);
        spec_number(&spec, 0, keys[i], STRATA__META_I32, -1);
        assert_refused(&spec, STRATA_E_FORMAT, keys[i], NULL);
    }
}

static void test_flags(void **state)
{
    struct spec spec;
    (void)state;
    spec_default(&spec, "llama-bpe"); /* adds bos by default */
    assert_accepted(&spec);
    spec_number(&spec, 0, "tokenizer.ggml.add_eos_token", STRATA__META_BOOL, 0);
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.bos_token_id", "missing", NULL);
    spec_number(&spec, 0, "tokenizer.ggml.add_bos_token", STRATA__META_BOOL, 0);
    assert_accepted(&spec);
    spec_number(&spec, 1, "tokenizer.ggml.add_eos_token", STRATA__META_BOOL, 1);
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.eos_token_id", "missing", NULL);
    spec_number(&spec, 2, "tokenizer.ggml.eos_token_id", STRATA__META_U32, SPEC_END);
    assert_accepted(&spec);
    spec_number(&spec, 1, "tokenizer.ggml.add_eos_token", STRATA__META_U32, 1);
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.add_eos_token", NULL);
}

/* Row 55. */
static void test_per_token_arrays(void **state)
{
    struct spec spec;
    (void)state;
    spec_default(&spec, "gpt-2");
    spec.n_scores = spec.n_tokens;
    assert_accepted(&spec);
    spec.n_scores--;
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.scores", "expected", NULL);
    spec.n_scores += 2;
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.scores", NULL);
    spec.n_scores--;
    spec.scores_type = STRATA__META_I32;
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.scores", NULL);

    spec_default(&spec, "gpt-2");
    spec.n_types = 0;
    assert_accepted(&spec);
    spec.n_types = spec.n_tokens - 1;
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.token_type", NULL);
    spec.n_types++;
    spec.types_type = STRATA__META_U32;
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.token_type", NULL);
    spec.types_type = STRATA__META_I32;
    for (int32_t type = STRATA__TOKEN_NORMAL; type <= STRATA__TOKEN_BYTE; type++) {
        spec.types[7] = type;
        assert_accepted(&spec);
    }
    spec.types[7] = 0;
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.token_type", "token 7 has type 0", NULL);
    spec.types[7] = STRATA__TOKEN_BYTE + 1;
    assert_refused(&spec, STRATA_E_FORMAT, "token 7 has type 7", NULL);
}

/* Row 57: length and emptiness of one token. */
static void test_token_sizes(void **state)
{
    struct spec spec;
    (void)state;
    char *text = malloc(STRATA__TOKEN_BYTES_MAX + 1);
    memset(text, 'q', STRATA__TOKEN_BYTES_MAX + 1);
    spec_default(&spec, "llama-bpe");
    int32_t id = spec_token(&spec, "", STRATA__TOKEN_CONTROL);
    spec.tokens[id] = (struct strata__string){text, STRATA__TOKEN_BYTES_MAX};
    strata_tokenizer *tokenizer = spec_tokenizer(&spec);
    assert_ids(tokenizer, text, STRATA__TOKEN_BYTES_MAX, STRATA_TOKENIZE_SPECIAL,
               (int32_t[]){id, -1});
    strata_tokenizer_free(&tokenizer);
    spec.tokens[id].size++;
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.tokens", "65537 bytes", "65536", NULL);
    free(text);

    spec.tokens[id].size = 0;
    tokenizer = spec_tokenizer(&spec);
    assert_non_null(strstr(spec_log, "1 empty tokens are skipped"));
    assert_ids(tokenizer, "q", 1, STRATA_TOKENIZE_SPECIAL, (int32_t[]){'q', -1});
    size_t size = 9;
    assert_int_equal(strata_detokenize(tokenizer, &id, 1, NULL, 0, &size), STRATA_OK);
    assert_int_equal(size, 0);
    strata_tokenizer_free(&tokenizer);
    spec.n_tokens = spec.n_types = 0;
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.tokens", "0 tokens", NULL);
}

/* A tokenizer of n empty tokens. */
static strata_status create_empty_tokens(uint64_t n, strata_tokenizer **out)
{
    struct gguf_writer w;
    char path[] = "/tmp/strata-test-XXXXXX";
    strata_file *file;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    unsigned char *array = calloc(12 + n, 8);
    const uint32_t type = STRATA__META_STRING;
    assert_non_null(array);
    memcpy(array, &type, 4);
    memcpy(array + 4, &n, 8);
    gguf_begin(&w, 3);
    gguf_key_string(&w, "tokenizer.ggml.model", "gpt2");
    gguf_key_string(&w, "tokenizer.ggml.pre", "gpt-2");
    gguf_key_raw(&w, "tokenizer.ggml.tokens", STRATA__META_ARRAY, array, 12 + 8 * n);
    gguf_key_strings(&w, "tokenizer.ggml.merges", 0, NULL);
    gguf_finish(&w);
    gguf_save(&w, path);
    gguf_free(&w);
    free(array);
    assert_int_equal(strata_file_open(&file, path, NULL, NULL), STRATA_OK);
    unlink(path);
    strata_status status = strata_tokenizer_create(out, file, NULL, NULL);
    strata_file_close(&file);
    return status;
}

/* Row 57: the number of tokens. */
static void test_token_count(void **state)
{
    strata_tokenizer *tokenizer;
    (void)state;
    assert_int_equal(create_empty_tokens(STRATA__TOKENS_MAX, &tokenizer), STRATA_OK);
    assert_int_equal(strata_vocab_size(tokenizer), STRATA__TOKENS_MAX);
    strata_tokenizer_free(&tokenizer);
    assert_int_equal(create_empty_tokens(10000000, &tokenizer), STRATA_E_FORMAT);
    assert_non_null(strstr(strata_last_error(), "10000000 tokens"));
    assert_int_equal(create_empty_tokens(STRATA__TOKENS_MAX + 1, &tokenizer), STRATA_E_FORMAT);
    assert_null(tokenizer);
}

/* A byte without a token is left out, and said. */
static void test_missing_byte(void **state)
{
    struct spec spec;
    (void)state;
    spec_default(&spec, "gpt-2");
    spec.tokens[0xff] = (struct strata__string){"xx", 2}; /* never in UTF-8 */
    assert_accepted(&spec);
    assert_string_equal(spec_log, "");
    spec.tokens['~'] = (struct strata__string){"yy", 2};
    strata_tokenizer *tokenizer = spec_tokenizer(&spec);
    assert_non_null(strstr(spec_log, "1 byte values"));
    assert_ids(tokenizer, "x~!y~", 5, 0, (int32_t[]){'x', '!', 'y', -1});
    assert_ids(tokenizer, "~", 1, 0, (int32_t[]){-1});
    strata_tokenizer_free(&tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),       cmocka_unit_test(test_repeated_token),
        cmocka_unit_test(test_merges),      cmocka_unit_test(test_special_ids),
        cmocka_unit_test(test_flags),       cmocka_unit_test(test_per_token_arrays),
        cmocka_unit_test(test_token_sizes), cmocka_unit_test(test_missing_byte),
        cmocka_unit_test(test_token_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Token ids that other implementations give: the vocabularies of SmolLM2, all-MiniLM-L6-v2 and
 * Gemma 3 (reference data and the models, where they are), and small ones of our own (always). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "golden_data.h"
#include "tokenizer_fixture.h"

static int nibble(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* Bytes of a hex string into a new array (the caller frees). */
static char *unhex(const json_t *value, size_t *size)
{
    const char *hex = json_string_value(value);
    *size = strlen(hex) / 2;
    char *bytes = malloc(*size + 1);
    for (size_t i = 0; i < *size; i++)
        bytes[i] = (char)(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
    return bytes;
}

/* Compares the ids of object's text `hex_key` with its `ids_key`. */
static void check_ids(const strata_tokenizer *tokenizer, const json_t *object, const char *hex_key,
                      const char *ids_key, unsigned flags)
{
    size_t size, n, wanted_n;
    char *text = unhex(json_object_get(object, hex_key), &size);
    int32_t *wanted = json_ids(json_object_get(object, ids_key), &wanted_n);
    int32_t *ids = ids_of(tokenizer, text, size, flags, &n);
    if (n != wanted_n || memcmp(ids, wanted, n * sizeof *ids) != 0)
        fail_msg("%s of %s differ", ids_key, json_string_value(json_object_get(object, hex_key)));
    free(ids);
    free(wanted);
    free(text);
}

/* `flags` besides those about special tokens. */
static void check_case(const strata_tokenizer *tokenizer, const json_t *object, unsigned flags)
{
    bool other = json_object_get(object, "ids_plain") != NULL;
    check_ids(tokenizer, object, "hex", "ids", flags | STRATA_TOKENIZE_SPECIAL);
    check_ids(tokenizer, object, "hex", other ? "ids_plain" : "ids", flags);
    if (json_object_get(object, "raw_hex"))
        check_ids(tokenizer, object, "raw_hex", "ids", flags | STRATA_TOKENIZE_SPECIAL);
}

/* tests/data/bpe_llama_cpp.jsonl: ids by llama.cpp (llama-cpp-python 0.3.36) with spec_default's
 * vocabulary. */
static void test_small_vocabulary(void **state)
{
    (void)state;
    json_t *cases = json_lines_read(STRATA_TEST_DATA, "bpe_llama_cpp.jsonl"), *object;
    size_t i, checked = 0;
    struct spec spec;
    strata_tokenizer *tokenizer = NULL;
    assert_non_null(cases);
    spec_default(&spec, NULL);
    json_array_foreach(cases, i, object)
    {
        const char *pre = json_string_value(json_object_get(object, "pre"));
        if (!spec.pre || strcmp(spec.pre, pre) != 0) {
            strata_tokenizer_free(&tokenizer);
            spec.pre = pre;
            tokenizer = spec_tokenizer(&spec);
        }
        check_case(tokenizer, object, 0);
        checked++;
    }
    assert_int_equal(checked, 200);
    strata_tokenizer_free(&tokenizer);
    json_decref(cases);
}

static strata_tokenizer *open_tokenizer(const char *path)
{
    strata_file *file;
    strata_tokenizer *tokenizer;
    assert_int_equal(strata_file_open(&file, path, NULL, NULL), STRATA_OK);
    if (strata_tokenizer_create(&tokenizer, file, NULL, NULL) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    strata_file_close(&file);
    return tokenizer;
}

/* tests/data/tokenizer: ids by Hugging Face tokenizers 0.23.3 (wordpiece*, a part of
 * all-MiniLM-L6-v2's vocabulary under four settings of the normaliser) and by sentencepiece 0.2.3
 * (models of 400 to 700 pieces: unigram with a character map, without and with byte tokens and
 * user-defined pieces; BPE the same, without a map). */
static void test_small_files(void **state)
{
    static const struct {
        const char *name;
        size_t cases;
        unsigned flags;
    } files[] = {
        {"wordpiece", 221, STRATA_TOKENIZE_ADD_BOS},
        {"wordpiece_cased", 54, STRATA_TOKENIZE_ADD_BOS},
        {"wordpiece_accents", 54, STRATA_TOKENIZE_ADD_BOS},
        {"wordpiece_stripped", 54, STRATA_TOKENIZE_ADD_BOS},
        {"sentencepiece", 202, 0},
        {"sentencepiece_bytes", 202, 0},
        {"unigram", 202, 0},
        {"unigram_bytes", 202, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char name[128];
        json_t *object;
        size_t line;
        snprintf(name, sizeof name, "tokenizer/%s.jsonl", files[i].name);
        json_t *cases = json_lines_read(STRATA_TEST_DATA, name);
        assert_int_equal(json_array_size(cases), files[i].cases);
        snprintf(name, sizeof name, STRATA_TEST_DATA "/tokenizer/%s.gguf", files[i].name);
        strata_tokenizer *tokenizer = open_tokenizer(name);
        json_array_foreach(cases, line, object) check_case(tokenizer, object, files[i].flags);
        strata_tokenizer_free(&tokenizer);
        json_decref(cases);
    }
}

/* The model's tokenizer, and the reference data; skips the test where either is absent. */
static strata_tokenizer *model_tokenizer(const char *name, const char *dir, const char *data,
                                         json_t **cases)
{
    const char *path = known_model(name);
    *cases = path ? json_lines_read(dir, data) : NULL;
    if (!*cases) {
        print_message("%s%s is absent: skipped\n", path ? "" : "model ", path ? dir : name);
        skip();
    }
    return open_tokenizer(path);
}

/* All reference ids of a model; returns its tokenizer. */
static strata_tokenizer *check_model(const char *model, const char *data, size_t vocab)
{
    json_t *cases, *object;
    strata_tokenizer *tokenizer =
        model_tokenizer(model, STRATA_SHARED "/golden/tokenizer", data, &cases);
    size_t i;
    assert_int_equal(json_array_size(cases), 640);
    assert_int_equal(strata_vocab_size(tokenizer), vocab);
    json_array_foreach(cases, i, object) check_case(tokenizer, object, STRATA_TOKENIZE_ADD_BOS);
    json_decref(cases);
    return tokenizer;
}

static void test_smollm2(void **state)
{
    (void)state;
    strata_tokenizer *tokenizer = check_model("smollm2-135m", "smollm2.jsonl", 49152);
    assert_true(strata_token_is_end(tokenizer, 0)); /* <|endoftext|>, by its text */
    assert_false(strata_token_is_end(tokenizer, 1));
    assert_true(strata_token_is_end(tokenizer, 2)); /* <|im_end|>, eos */
    strata_tokenizer_free(&tokenizer);
}

static void test_minilm(void **state)
{
    (void)state;
    strata_tokenizer *tokenizer = check_model("minilm", "minilm.jsonl", 30522);
    strata_tokenizer_free(&tokenizer);
}

static void test_gemma3(void **state)
{
    (void)state;
    strata_tokenizer *tokenizer = check_model("gemma3-270m", "gemma3.jsonl", 262144);
    assert_true(strata_token_is_end(tokenizer, 1)); /* <eos> */
    strata_tokenizer_free(&tokenizer);
}

static void check_chat(const strata_tokenizer *tokenizer, const json_t *object)
{
    const json_t *list = json_object_get(object, "messages"), *message;
    strata_message messages[16];
    size_t n = json_array_size(list), size, i;
    bool prompt = json_is_true(json_object_get(object, "add_generation_prompt"));
    char text[4096];
    assert_in_range(n, 1, 16);
    json_array_foreach(list, i, message)
    {
        messages[i].role = json_string_value(json_object_get(message, "role"));
        messages[i].content = json_string_value(json_object_get(message, "content"));
    }
    assert_int_equal(strata_chat_format(tokenizer, messages, n, prompt, text, sizeof text, &size),
                     STRATA_OK);
    assert_in_range(size, 1, sizeof text - 1);
    text[size] = 0;
    assert_string_equal(text, json_string_value(json_object_get(object, "text")));
    size_t wanted_n;
    int32_t *wanted = json_ids(json_object_get(object, "ids"), &wanted_n);
    wanted[wanted_n] = -1;
    assert_ids(tokenizer, text, size, STRATA_TOKENIZE_SPECIAL, wanted);
    free(wanted);
}

static void test_smollm2_chat(void **state)
{
    (void)state;
    json_t *cases, *object;
    strata_tokenizer *tokenizer =
        model_tokenizer("smollm2-135m", STRATA_SHARED "/golden/smollm2-135m", "chat.jsonl", &cases);
    size_t i;
    assert_int_equal(json_array_size(cases), 9);
    json_array_foreach(cases, i, object) check_chat(tokenizer, object);
    strata_tokenizer_free(&tokenizer);
    json_decref(cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_vocabulary), cmocka_unit_test(test_small_files),
        cmocka_unit_test(test_smollm2),          cmocka_unit_test(test_minilm),
        cmocka_unit_test(test_gemma3),           cmocka_unit_test(test_smollm2_chat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

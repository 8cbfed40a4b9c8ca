/* Texts through the tokenizer: pre-tokenisation, special tokens, hostile texts (rows 58 and 59),
 * buffers and detokenising. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pretokenize.h"
#include "tokenizer.h"
#include "tokenizer_fixture.h"

/* Asserts that the rule cuts the pieces, joined, as they are listed (up to NULL). */
static void assert_pieces(const char *pre, const char *const *pieces)
{
    struct strata__pretokenizer *rule;
    struct strata__pre_traits traits;
    struct strata__splitter *splitter;
    char text[256] = "";
    for (size_t i = 0; pieces[i]; i++)
        strcat(text, pieces[i]);
    assert_int_equal(strata__pretokenizer_create(&rule, pre, strlen(pre), &traits, "test"),
                     STRATA_OK);
    assert_int_equal(strata__splitter_open(&splitter, rule), STRATA_OK);
    size_t begin = 0, end, size = strlen(text);
    for (size_t i = 0; pieces[i]; i++, begin = end) {
        assert_int_equal(strata__split_next(splitter, text, size, begin, &end), STRATA_OK);
        if (end - begin != strlen(pieces[i]))
            fail_msg("%s: \"%.*s\" instead of \"%s\"", pre, (int)(end - begin), text + begin,
                     pieces[i]);
    }
    assert_int_equal(begin, size);
    strata__splitter_close(splitter);
    strata__pretokenizer_free(rule);
}
#define PIECES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_pieces(void **state)
{
    (void)state;
    assert_pieces("gpt-2", PIECES("It", "'s", " 2024", "!!", "  ", " the", " caf\u00e9", "\n\n"));
    assert_pieces("gpt-2", PIECES("WE", "'", "LL", "\t", "x", "\r\n", "\n", "y", "   "));
    assert_pieces("gpt-2", PIECES("\u00a0", "\u3000", "a", "\u180e", "b", "\u2028"));
    assert_pieces("gpt-2", PIECES("a", " \u200b", "b", " \u180e", "\u200a", "c", "\xc2\x85"));
    assert_pieces("smollm", PIECES("It", "'s", " ", "2", "0", "2", "4", "!!", "  ", " the"));
    assert_pieces("smollm", PIECES("a", "   ", "1", " ", "\u0663", "\u00bd", "  ", " b"));
    assert_pieces("llama-bpe", PIECES("It", "'S", " ", "202", "4", "!!\n\n", "  ", " the"));
    assert_pieces("llama-bpe", PIECES("_x", "\u00a0y", " \r\n", "z", " ?!\r\n", "  \n\n", " a"));
    assert_pieces("llama-bpe", PIECES("'\u017f", "a", "'", " s", "12", "a"));
    assert_pieces("qwen2", PIECES("It", "'s", " ", "2", "0", "2", "4", "!!\n\n", "  ", " the"));
}

static strata_tokenizer *open_default(const char *pre)
{
    struct spec spec;
    spec_default(&spec, pre);
    return spec_tokenizer(&spec);
}

/* Row 59; the longest special token wins, and cuts the text. */
static void test_special(void **state)
{
    (void)state;
    strata_tokenizer *tokenizer = open_default("gpt-2");
    const char *text = "<|im_start|><|user|>x<|user|><|im_start";
    assert_ids(tokenizer, text, strlen(text), STRATA_TOKENIZE_SPECIAL,
               (int32_t[]){SPEC_START, SPEC_USER_X, SPEC_USER, '<', '|', 'i', 'm', '_', 's', 't',
                           'a', 'r', 't', -1});
    assert_ids(tokenizer, text, 12, 0,
               (int32_t[]){'<', '|', 'i', 'm', '_', 's', 't', 'a', 'r', 't', '|', '>', -1});
    assert_ids(tokenizer, "\xff<|user|>\xff", 10, STRATA_TOKENIZE_SPECIAL,
               (int32_t[]){0xef, 0xbf, 0xbd, SPEC_USER, 0xef, 0xbf, 0xbd, -1});
    assert_true(strata_token_is_end(tokenizer, SPEC_EOT));
    assert_true(strata_token_is_end(tokenizer, SPEC_END));
    assert_false(strata_token_is_end(tokenizer, SPEC_START));
    assert_false(strata_token_is_end(tokenizer, SPEC_USER));
    assert_false(strata_token_is_end(tokenizer, -1));
    assert_false(strata_token_is_end(tokenizer, INT32_MAX));
    strata_tokenizer_free(&tokenizer);
}

static void test_added_ids(void **state)
{
    struct spec spec;
    (void)state;
    spec_default(&spec, "llama-bpe");
    strata_tokenizer *tokenizer = spec_tokenizer(&spec);
    assert_ids(tokenizer, "a", 1, STRATA_TOKENIZE_ADD_BOS, (int32_t[]){SPEC_START, 'a', -1});
    assert_ids(tokenizer, "a", 1, 0, (int32_t[]){'a', -1});
    assert_ids(tokenizer, NULL, 0, STRATA_TOKENIZE_ADD_BOS, (int32_t[]){SPEC_START, -1});
    assert_ids(tokenizer, NULL, 0, STRATA_TOKENIZE_SPECIAL, (int32_t[]){-1});
    strata_tokenizer_free(&tokenizer);
    size_t n = 0;
    while (spec.numbers[n].key)
        n++;
    spec.numbers[n].key = "tokenizer.ggml.add_bos_token", spec.numbers[n + 1].key = NULL;
    spec.numbers[n].type = STRATA__META_BOOL, spec.numbers[n].value = 0;
    n++;
    spec.numbers[n].key = "tokenizer.ggml.add_eos_token", spec.numbers[n + 1].key = NULL;
    spec.numbers[n].type = STRATA__META_BOOL, spec.numbers[n].value = 1;
    tokenizer = spec_tokenizer(&spec);
    assert_ids(tokenizer, "a", 1, STRATA_TOKENIZE_ADD_BOS, (int32_t[]){'a', SPEC_END, -1});
    strata_tokenizer_free(&tokenizer);
}

static void test_buffers(void **state)
{
    (void)state;
    strata_tokenizer *tokenizer = open_default("gpt-2");
    int32_t ids[4] = {-7, -7, -7, -7};
    size_t n = 99;
    assert_int_equal(strata_tokenize(tokenizer, "qqq", 3, 0, NULL, 0, &n), STRATA_OK);
    assert_int_equal(n, 3);
    assert_int_equal(strata_tokenize(tokenizer, "qqq", 3, 0, ids, 2, &n), STRATA_OK);
    assert_int_equal(n, 3);
    assert_int_equal(ids[1], 'q');
    assert_int_equal(ids[2], -7);
    char text[8] = "-------";
    const int32_t words[] = {SPEC_START, 'a', SPEC_EOT};
    assert_int_equal(strata_detokenize(tokenizer, words, 3, NULL, 0, &n), STRATA_OK);
    assert_int_equal(n, 12 + 1 + 13);
    assert_int_equal(strata_detokenize(tokenizer, words, 3, text, 5, &n), STRATA_OK);
    assert_int_equal(n, 26);
    assert_memory_equal(text, "<|im_--", 7);
    const int32_t outside[][2] = {{'a', -1}, {'a', (int32_t)strata_vocab_size(tokenizer)}};
    for (size_t i = 0; i < 2; i++) {
        char expected[32];
        assert_int_equal(strata_detokenize(tokenizer, outside[i], 2, text, 5, &n),
                         STRATA_E_INVALID);
        assert_int_equal(n, 0);
        snprintf(expected, sizeof expected, "token id %d at 1", (int)outside[i][1]);
        assert_non_null(strstr(strata_last_error(), expected));
    }
    assert_int_equal(strata_tokenize(tokenizer, "", (size_t)INT32_MAX + 1, 0, NULL, 0, &n),
                     STRATA_E_INVALID);
    assert_non_null(strstr(strata_last_error(), "2147483648"));
    strata_tokenizer_free(&tokenizer);
    strata_tokenizer_free(&tokenizer);
    strata_tokenizer_free(NULL);
}

/* A normal token that is not spelled in the byte alphabet stands for itself. */
static void test_literal_token(void **state)
{
    struct spec spec;
    (void)state;
    spec_default(&spec, "gpt-2");
    const char *const texts[] = {"\u65e5h", "a b", "\u01ff", "\xffz", "\u00ad"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int32_t id = spec_token(&spec, texts[i], STRATA__TOKEN_NORMAL);
        strata_tokenizer *tokenizer = spec_tokenizer(&spec);
        size_t size;
        const char *bytes = strata__token_bytes(tokenizer, id, &size);
        assert_int_equal(size, strlen(texts[i]));
        assert_memory_equal(bytes, texts[i], size);
        strata_tokenizer_free(&tokenizer);
    }
}

/* Seconds to tokenise about `size` bytes made by repeating `unit`; the bytes must come back. */
static double time_repeated(const strata_tokenizer *tokenizer, const char *unit, size_t size,
                            const char *end)
{
    char *text = repeated(unit, size, end, &size);
    double begin = cpu_seconds();
    assert_round_trip(tokenizer, text, size);
    double taken = cpu_seconds() - begin;
    free(text);
    return taken;
}

/* Row 58: four times the text takes well below the sixteen times of a quadratic algorithm. */
static void test_long_texts(void **state)
{
    static const struct {
        const char *unit, *end;
    } texts[] = {
        {"a", ""},
        {"helloworld", ""},
        {" ", "x"},
        {"\u3000", "x"},
        {"\u0301", ""},
        {"1", ""},
        {"\n ", "x"},
        {"<|im_star", ""},
        {"'l", ""},
        {"<|im_start|>a", ""},
        {"\r\n \t", "\u00e9"},
        {"!!!", "\n"},
    };
    static const char *const rules[] = {"gpt-2", "smollm", "llama-bpe"};
    (void)state;
    for (size_t rule = 0; rule < sizeof rules / sizeof *rules; rule++) {
        strata_tokenizer *tokenizer = open_default(rules[rule]);
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            double small = time_repeated(tokenizer, texts[i].unit, 1 << 17, texts[i].end);
            double large = time_repeated(tokenizer, texts[i].unit, 1 << 19, texts[i].end);
            if (large > 0.2 + 12 * small)
                fail_msg("%s: \"%s\" takes %.2f s, a quarter of it %.2f s", rules[rule],
                         texts[i].unit, large, small);
        }
        strata_tokenizer_free(&tokenizer);
    }
}

static void test_16_megabytes(void **state)
{
    (void)state;
    strata_tokenizer *tokenizer = open_default("smollm");
    double taken = time_repeated(tokenizer, "helloworldthe", 16 << 20, "");
    print_message("16 MiB without a space: %.1f s\n", taken);
    assert_true(taken < 120);
    strata_tokenizer_free(&tokenizer);
}

/* Bytes that are not UTF-8 become U+FFFD, one a maximal invalid subsequence; all else returns. */
static void test_any_bytes(void **state)
{
    (void)state;
    strata_tokenizer *tokenizer = open_default("qwen2");
    unsigned char bytes[512];
    char wanted[3 * sizeof bytes], text[sizeof wanted];
    uint32_t random = 1;
    for (int round = 0; round < 500; round++) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            random = random * 1664525 + 1013904223;
            bytes[i] = (unsigned char)(random >> 24);
            if (round % 2)
                bytes[i] |= 0x80;
        }
        size_t n, size;
        size_t valid = strata_utf8_repair((char *)bytes, sizeof bytes, wanted, sizeof wanted);
        int32_t *ids = ids_of(tokenizer, (char *)bytes, sizeof bytes, 0, &n);
        assert_int_equal(strata_detokenize(tokenizer, ids, n, text, sizeof text, &size), STRATA_OK);
        assert_int_equal(size, valid);
        assert_memory_equal(text, wanted, valid);
        free(ids);
    }
    assert_ids(tokenizer, "\0a\0", 3, 0, (int32_t[]){0, 'a', 0, -1});
    assert_ids(tokenizer, "\xe2\x82", 2, 0, (int32_t[]){0xef, 0xbf, 0xbd, -1});
    strata_tokenizer_free(&tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),     cmocka_unit_test(test_special),
        cmocka_unit_test(test_added_ids),  cmocka_unit_test(test_buffers),
        cmocka_unit_test(test_any_bytes),  cmocka_unit_test(test_literal_token),
        cmocka_unit_test(test_long_texts), cmocka_unit_test(test_16_megabytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

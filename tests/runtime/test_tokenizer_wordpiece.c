/* WordPiece: words and what is not part of them, tables that a file should not have, long texts.
 * Reference ids are compared in test_tokenizer_golden.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tokenizer.h"
#include "tokenizer_fixture.h"

enum {
    UNK = 1,
    CLS,
    SEP,
    THE = 5,
    TOKEN,
    A,
    E,
    X,
    CAPITAL_THE,
    EXCLAMATION,
    OPEN,
    CLOSE,
    WORD_CLS,
    MIDDLE,
    BLOCK,
    ING,
    S,
    REST_X,
    REST_E,
    REST_A,
    ACUTE,
    REST_BLOCK,
    IZED,
    ACCENTED,
    CAFE,
    REST_JAMO_A,
    JAMO_G,
};

#define IDS(...) ((const int32_t[]){__VA_ARGS__, -1})
#define TEXT(text) (text), sizeof(text) - 1

static strata_tokenizer *open_with(int lowercase, int strip_accents)
{
    struct spec spec;
    spec_wordpiece(&spec);
    if (lowercase >= 0)
        spec_number(&spec, 3, "tokenizer.ggml.normalizer.lowercase", STRATA__META_BOOL, lowercase);
    if (strip_accents >= 0)
        spec_number(&spec, 4, "tokenizer.ggml.normalizer.strip_accents", STRATA__META_BOOL,
                    strip_accents);
    return spec_tokenizer(&spec);
}

static void test_words(void **state)
{
    (void)state;
    strata_tokenizer *t = open_with(-1, -1);
    assert_ids(t, TEXT("The tokens"), 0, IDS(THE, TOKEN, S));
    assert_ids(t, TEXT("tokenizing! tokenizeds"), 0, IDS(UNK, EXCLAMATION, TOKEN, IZED, S));
    assert_ids(t, TEXT("tokening"), 0, IDS(TOKEN, ING));
    assert_ids(t, TEXT("a\tthe\nx\re"), 0, IDS(A, THE, X, E));
    assert_ids(t, TEXT("t\0h\1\177e\v\f"), 0, IDS(THE));
    assert_ids(t, TEXT("a\u3000the\u2028the\u00a0a"), 0, IDS(A, THE, THE, A));
    assert_ids(t, TEXT("th\u00ad\ufeff\ue000e"), 0, IDS(THE));
    assert_ids(t, TEXT("!!the!"), 0, IDS(EXCLAMATION, EXCLAMATION, THE, EXCLAMATION));
    assert_ids(t, TEXT("a\u4e2d\u4e2dthe"), 0, IDS(A, MIDDLE, MIDDLE, THE));
    assert_ids(t, TEXT("caf\u00e9 CAFE\u0301 the\u0301\u0302"), 0, IDS(CAFE, CAFE, THE));
    assert_ids(t, TEXT("\uac00"), 0, IDS(JAMO_G, REST_JAMO_A));
    assert_ids(t, TEXT("\xffthe\xe2\x82"), 0, IDS(THE));
    assert_ids(t, TEXT(""), 0, IDS(-1));
    assert_ids(t, TEXT(" \n\0"), 0, IDS(-1));
    strata_tokenizer_free(&t);
}

/* A U+2581 of the text begins no word of the vocabulary. */
static void test_block(void **state)
{
    (void)state;
    strata_tokenizer *t = open_with(-1, -1);
    assert_ids(t, TEXT("\u2581"), 0, IDS(BLOCK));
    assert_ids(t, TEXT("a\u2581"), 0, IDS(A, REST_BLOCK));
    assert_ids(t, TEXT("a\u2581the"), 0, IDS(UNK));
    assert_ids(t, TEXT("\u2581x"), 0, IDS(BLOCK, REST_X));
    assert_ids(t, TEXT("<s>"), 0, IDS(UNK, UNK, UNK));
    strata_tokenizer_free(&t);
}

static void test_settings(void **state)
{
    (void)state;
    strata_tokenizer *t = open_with(0, 0);
    assert_ids(t, TEXT("The the caf\u00e9"), 0, IDS(CAPITAL_THE, THE, ACCENTED));
    assert_ids(t, TEXT("e\u0301"), 0, IDS(E, ACUTE));
    strata_tokenizer_free(&t);
    t = open_with(0, 1);
    assert_ids(t, TEXT("The THE caf\u00e9"), 0, IDS(CAPITAL_THE, UNK, CAFE));
    strata_tokenizer_free(&t);
    t = open_with(1, 0);
    assert_ids(t, TEXT("The CAF\u00c9 E\u0301"), 0, IDS(THE, ACCENTED, E, ACUTE));
    strata_tokenizer_free(&t);
    t = open_with(0, -1); /* accents stay where letters do */
    assert_ids(t, TEXT("The caf\u00e9"), 0, IDS(CAPITAL_THE, ACCENTED));
    strata_tokenizer_free(&t);
}

static void test_special(void **state)
{
    (void)state;
    struct spec spec;
    strata_tokenizer *t = open_with(-1, -1);
    assert_ids(t, TEXT("the[SEP]a"), STRATA_TOKENIZE_SPECIAL, IDS(THE, SEP, A));
    assert_ids(t, TEXT("[CLS]a"), 0, IDS(OPEN, WORD_CLS, CLOSE, A));
    assert_ids(t, TEXT("the"), STRATA_TOKENIZE_ADD_BOS, IDS(CLS, THE, SEP));
    assert_ids(t, TEXT(""), STRATA_TOKENIZE_ADD_BOS, IDS(CLS, SEP));
    assert_text(t, IDS(CLS, THE, TOKEN, ING, EXCLAMATION, SEP), 6, "[CLS] the tokening ![SEP]");
    assert_text(t, IDS(THE, A), 2, "the a");
    assert_text(t, IDS(ING, A), 2, "ing a");
    strata_tokenizer_free(&t);

    spec_wordpiece(&spec);
    spec_number(&spec, 3, "tokenizer.ggml.cls_token_id", STRATA__META_U32, 4);
    spec_number(&spec, 4, "tokenizer.ggml.seperator_token_id", STRATA__META_U32, 0);
    t = spec_tokenizer(&spec);
    assert_ids(t, TEXT("the"), STRATA_TOKENIZE_ADD_BOS, IDS(4, THE, 0));
    strata_tokenizer_free(&t);
    spec_number(&spec, 5, "tokenizer.ggml.add_sep_token", STRATA__META_BOOL, 0);
    spec_number(&spec, 6, "tokenizer.ggml.add_bos_token", STRATA__META_BOOL, 0);
    t = spec_tokenizer(&spec);
    assert_ids(t, TEXT("the"), STRATA_TOKENIZE_ADD_BOS, IDS(THE));
    strata_tokenizer_free(&t);
}

/* 100 characters are a word, 101 are unknown, however many bytes they have. */
static void test_word_length(void **state)
{
    static const char *const units[] = {"x", "e\u0301", "X\u0307\u0323", "\u2581"};
    (void)state;
    strata_tokenizer *t = open_with(-1, -1);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t size, n, unit = strlen(units[i]);
        char *text = repeated(units[i], 101 * unit, " the", &size);
        int32_t *ids = ids_of(t, text + unit, size - unit, 0, &n);
        assert_int_equal(n, 101);
        assert_int_equal(ids[100], THE);
        assert_ids(t, text, size, 0, IDS(UNK, THE));
        free(ids);
        free(text);
    }
    strata_tokenizer_free(&t);
}

/* Rows 52 to 57, beside what spec_wordpiece is. */
static void test_tables(void **state)
{
    struct spec spec;
    (void)state;
    spec_wordpiece(&spec);
    spec_number(&spec, 2, "tokenizer.ggml.padding_token_id", STRATA__META_U32, 0);
    strata_tokenizer *t = spec_tokenizer(&spec); /* [UNK] is found by its text */
    assert_ids(t, TEXT("q"), 0, IDS(UNK));
    strata_tokenizer_free(&t);
    spec.tokens[UNK] = (struct strata__string){"[unk]", 5};
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.unknown_token_id", "missing", NULL);
    spec_wordpiece(&spec);
    spec_number(&spec, 0, "tokenizer.ggml.padding_token_id", STRATA__META_U32, 0);
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.bos_token_id", "missing", NULL);
    spec_wordpiece(&spec);
    spec_number(&spec, 3, "tokenizer.ggml.mask_token_id", STRATA__META_U32, 4000);
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.mask_token_id", "4000", NULL);
    spec_number(&spec, 3, "tokenizer.ggml.normalizer.lowercase", STRATA__META_U32, 1);
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.normalizer.lowercase", NULL);
    spec_wordpiece(&spec);
    spec.n_types--;
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.token_type", NULL);
    spec_wordpiece(&spec);
    spec_token(&spec, "", STRATA__TOKEN_NORMAL);
    spec_token(&spec, "\xff\xfe", STRATA__TOKEN_NORMAL);
    spec_token(&spec, "\u2581the", STRATA__TOKEN_NORMAL);
    t = spec_tokenizer(&spec);
    assert_non_null(strstr(spec_log, "1 empty"));
    assert_non_null(strstr(spec_log, "1 tokens repeat"));
    assert_ids(t, TEXT("the"), 0, IDS(THE));
    strata_tokenizer_free(&t);
}

/* Row 58: linear in the text, which is far below these bounds. */
static void test_long_texts(void **state)
{
    static const char *const units[] = {
        "a",    "the ", "!",     "\u0301", "e\u0301\u0302", "\0\1",   "\u302e", "\u4e2d",
        "\xff", "[SEP", "[CLS]", "\uac00", "\u0130",        "tokenx", " ",      "\u3000"};
    (void)state;
    strata_tokenizer *t = open_with(-1, -1);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t size, n;
        char *text = repeated(units[i][0] ? units[i] : "\1", 4 << 20, "", &size);
        double begin = cpu_seconds();
        assert_int_equal(strata_tokenize(t, text, size, STRATA_TOKENIZE_SPECIAL, NULL, 0, &n),
                         STRATA_OK);
        double taken = cpu_seconds() - begin;
        assert_in_range(n, 0, size);
        if (taken > 20)
            fail_msg("4 MiB of \"%s\" take %.2f s", units[i], taken);
        free(text);
    }
    strata_tokenizer_free(&t);
}

static void test_16_megabytes(void **state)
{
    size_t size;
    (void)state;
    strata_tokenizer *t = open_with(-1, -1);
    char *text = repeated("helloworldthe", 16 << 20, "", &size);
    double begin = cpu_seconds();
    assert_ids(t, text, size, 0, IDS(UNK));
    double taken = cpu_seconds() - begin;
    print_message("16 MiB without a space: %.1f s\n", taken);
    assert_true(taken < 60);
    free(text);
    strata_tokenizer_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),       cmocka_unit_test(test_block),
        cmocka_unit_test(test_settings),    cmocka_unit_test(test_special),
        cmocka_unit_test(test_word_length), cmocka_unit_test(test_tables),
        cmocka_unit_test(test_long_texts),  cmocka_unit_test(test_16_megabytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

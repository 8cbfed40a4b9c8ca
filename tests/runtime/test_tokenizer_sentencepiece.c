/* SentencePiece's two models: pieces, spaces, bytes, tables that a file should not have, long
 * texts. Reference ids are compared in test_tokenizer_golden.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tokenizer.h"
#include "tokenizer_fixture.h"

/* Pieces, relative to the first, which is behind the byte tokens where there are any. */
enum {
    SPACE_T,
    HE,
    THE,
    LL,
    SPACE_HE,
    SPACE_HELL,
    HELLO,
    SPACE,
    A,
    B,
    E,
    H,
    L,
    O,
    T,
    AB,
    AA,
    ACCENTED,
    EXCLAMATION,
    SPACES,
    TAG
};
#define PIECE(piece) (SPEC_BYTE + (piece))
#define PIECE_B(piece) (SPEC_BYTE + 256 + (piece))
#define BYTE(byte) (SPEC_BYTE + (byte))

#define IDS(...) ((const int32_t[]){__VA_ARGS__, -1})
#define TEXT(text) (text), sizeof(text) - 1

static strata_tokenizer *open_spec(const char *model, bool bytes, bool prefix, bool trim)
{
    struct spec spec;
    spec_sentencepiece(&spec, model, bytes);
    spec_number(&spec, 3, "tokenizer.ggml.add_space_prefix", STRATA__META_BOOL, prefix);
    spec_number(&spec, 4, "tokenizer.ggml.remove_extra_whitespaces", STRATA__META_BOOL, trim);
    return spec_tokenizer(&spec);
}

static void test_bpe(void **state)
{
    (void)state;
    strata_tokenizer *t = open_spec("llama", true, true, false);
    assert_ids(t, TEXT("the hello"), 0, IDS(PIECE_B(THE), PIECE_B(HELLO)));
    assert_ids(t, TEXT("hell"), 0, IDS(PIECE_B(SPACE_HELL)));
    assert_ids(t, TEXT("thell"), 0, IDS(PIECE_B(THE), PIECE_B(LL)));
    assert_ids(t, TEXT("aaab"), 0, IDS(PIECE_B(SPACE), PIECE_B(AA), PIECE_B(AB)));
    assert_ids(t, TEXT("  a"), 0, IDS(PIECE_B(SPACES), PIECE_B(SPACE), PIECE_B(A)));
    assert_ids(t, TEXT("\u2581a"), 0, IDS(PIECE_B(SPACES), PIECE_B(A)));
    assert_ids(t, TEXT("a<tag>b"), 0, IDS(PIECE_B(SPACE), PIECE_B(A), PIECE_B(TAG), PIECE_B(B)));
    assert_ids(t, TEXT("a\0\xff"), 0,
               IDS(PIECE_B(SPACE), PIECE_B(A), BYTE(0), BYTE(0xef), BYTE(0xbf), BYTE(0xbd)));
    assert_ids(t, TEXT("\u00e9\u00e8"), 0,
               IDS(PIECE_B(SPACE), PIECE_B(ACCENTED), BYTE(0xc3), BYTE(0xa8)));
    assert_ids(t, TEXT("a"), STRATA_TOKENIZE_ADD_BOS, IDS(1, PIECE_B(SPACE), PIECE_B(A)));
    assert_ids(t, TEXT("</s>a"), STRATA_TOKENIZE_SPECIAL, IDS(2, PIECE_B(SPACE), PIECE_B(A)));
    assert_ids(t, TEXT(""), STRATA_TOKENIZE_ADD_BOS, IDS(1));
    assert_text(t, IDS(PIECE_B(THE), PIECE_B(HELLO), BYTE(0xc3), BYTE(0xa8)), 4, "the hello\u00e8");
    assert_text(t, IDS(1, PIECE_B(THE), PIECE_B(TAG), 2), 4, "<s> the<tag></s>");
    strata_tokenizer_free(&t);
}

/* One unknown token for a run of unknown characters, also where it is cut into words. */
static void test_unknown(void **state)
{
    static const char *const models[] = {"llama", "t5"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        strata_tokenizer *t = open_spec(models[i], false, false, false);
        assert_ids(t, TEXT("qza\x01\x02"), 0, IDS(0, PIECE(A), 0));
        assert_ids(t, TEXT("q q"), 0, IDS(0, PIECE(SPACE), 0));
        assert_ids(t, TEXT("</s>a"), STRATA_TOKENIZE_SPECIAL, IDS(2, PIECE(A)));
        assert_ids(t, TEXT("<unk>"), STRATA_TOKENIZE_SPECIAL, IDS(0));
        strata_tokenizer_free(&t);
    }
}

static void test_unigram(void **state)
{
    (void)state;
    strata_tokenizer *t = open_spec("t5", true, true, true);
    assert_ids(t, TEXT("the hello"), 0, IDS(PIECE_B(THE), PIECE_B(HELLO)));
    assert_ids(t, TEXT("  the \u2581 a "), 0,
               IDS(PIECE_B(THE), PIECE_B(SPACE), PIECE_B(SPACE), PIECE_B(SPACE), PIECE_B(A)));
    assert_ids(t, TEXT("   "), 0, IDS(-1));
    assert_ids(t, TEXT("a<tag>"), 0, IDS(PIECE_B(SPACE), PIECE_B(A), PIECE_B(TAG)));
    assert_ids(t, TEXT("z"), STRATA_TOKENIZE_ADD_BOS, IDS(PIECE_B(SPACE), BYTE('z'), 2));
    assert_text(t, IDS(PIECE_B(THE), PIECE_B(HELLO), 2), 3, "the hello</s>");
    strata_tokenizer_free(&t);
}

/* "A" becomes "a", "bb" "b"; laid out by hand: the root at 0, its children at label ^ 256, the
 * values of both in the units behind their labels' node. */
static void make_map(unsigned char map[4 + 4 * 1024 + 4])
{
    static const uint32_t trie_size = 4 * 1024;
    uint32_t units[1024] = {0};
    units[0] = 256u << 10;
    units[256 ^ 'A'] = 'A' | 1u << 8 | (512u ^ 256 ^ 'A') << 10; /* a value at 512 */
    units[512] = 1u << 31 | 0;
    units[256 ^ 'b'] = 'b' | (768u ^ 256 ^ 'b') << 10; /* children at label ^ 768 */
    units[768 ^ 'b'] = 'b' | 1u << 8 | (520u ^ 768 ^ 'b') << 10;
    units[520] = 1u << 31 | 2;
    memcpy(map, &trie_size, 4);
    memcpy(map + 4, units, sizeof units);
    memcpy(map + 4 + sizeof units, "a\0b", 4);
}

static void test_map(void **state)
{
    static unsigned char map[4 + 4 * 1024 + 4];
    struct spec spec;
    (void)state;
    make_map(map);
    spec_sentencepiece(&spec, "t5", false);
    spec_number(&spec, 3, "tokenizer.ggml.add_space_prefix", STRATA__META_BOOL, 0);
    spec.map = map, spec.map_size = sizeof map;
    strata_tokenizer *t = spec_tokenizer(&spec);
    assert_ids(t, TEXT("Ab"), 0, IDS(PIECE(AB)));
    assert_ids(t, TEXT("abbbb"), 0, IDS(PIECE(AB), PIECE(B)));
    assert_ids(t, TEXT("abb"), 0, IDS(PIECE(AB)));
    strata_tokenizer_free(&t);

    /* Offsets that lead out of the trie or the texts match nothing. */
    for (size_t at = 4; at < 4 + 4 * 1024; at += 4) {
        memset(map + at, 0xff, 4);
        t = spec_tokenizer(&spec);
        size_t n;
        free(ids_of(t, TEXT("AbbAb\xff"), 0, &n));
        strata_tokenizer_free(&t);
        make_map(map);
    }
    static unsigned char long_map[sizeof map + 256];
    memcpy(long_map, map, sizeof map);
    memset(long_map + sizeof map - 2, 'b', 256);
    spec.map = long_map, spec.map_size = sizeof map + 255;
    t = spec_tokenizer(&spec);
    strata_tokenizer_free(&t);
    memset(long_map + sizeof map - 2, 'b', 257);
    spec.map_size++;
    assert_refused(&spec, STRATA_E_FORMAT, "a text of 257 bytes, limit 256", NULL);

    spec.map = map, spec.map_size = sizeof map - 1; /* the last text does not end */
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.precompiled_charsmap", NULL);
    spec.map_size = 4;
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.precompiled_charsmap", "4 bytes", NULL);
    spec.map_size = 1;
    assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.precompiled_charsmap", NULL);
    spec.map_size = sizeof map;
    for (uint32_t size = 4096 - 3; size < 4096 + 8; size++)
        if (size != 4096 && size != 4092) {
            memcpy(map, &size, 4);
            assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.precompiled_charsmap", NULL);
        }
    memset(map, 0xff, 4);
    assert_refused(&spec, STRATA_E_FORMAT, "4294967295", NULL);
    memset(map, 0, 4);
    assert_refused(&spec, STRATA_E_FORMAT, "trie of 0 bytes", NULL);
}

/* Row 56. */
static void test_byte_tokens(void **state)
{
    static const char *const malformed[] = {"<0x-1>", "<0xZZ>", "<0x1>",  "<0x111>",
                                            "0x41",   "<0x41",  "<0x4 >", "\xff"};
    static const char *const models[] = {"llama", "t5"};
    struct spec spec;
    (void)state;
    for (size_t m = 0; m < 2; m++) {
        spec_sentencepiece(&spec, models[m], true);
        spec.tokens[BYTE(0xab)] = (struct strata__string){"<0xab>", 6}; /* either case */
        strata_tokenizer *t = spec_tokenizer(&spec);
        strata_tokenizer_free(&t);
        for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
            spec_sentencepiece(&spec, models[m], true);
            spec.tokens[BYTE(9)] = (struct strata__string){malformed[i], strlen(malformed[i])};
            assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.tokens", "token 12", NULL);
        }
        spec_sentencepiece(&spec, models[m], true);
        spec.tokens[BYTE(9)] = (struct strata__string){"<0x08>", 6};
        assert_refused(&spec, STRATA_E_FORMAT, "token 12 is the byte \"<0x08>\"", "earlier", NULL);
        spec_sentencepiece(&spec, models[m], true);
        spec.types[BYTE(9)] = STRATA__TOKEN_NORMAL;
        assert_refused(&spec, STRATA_E_FORMAT, "255 byte tokens", "<0x09> is missing", NULL);
    }
}

/* Rows 52 to 55, 57. */
static void test_tables(void **state)
{
    static const char *const models[] = {"llama", "t5"};
    struct spec spec;
    (void)state;
    for (size_t m = 0; m < 2; m++) {
        spec_sentencepiece(&spec, models[m], false);
        spec_number(&spec, 2, "tokenizer.ggml.padding_token_id", STRATA__META_U32, 0);
        strata_tokenizer *t = spec_tokenizer(&spec); /* unknown by its type */
        assert_ids(t, TEXT("q"), 0, IDS(PIECE(SPACE), 0));
        strata_tokenizer_free(&t);
        spec.types[0] = STRATA__TOKEN_CONTROL;
        assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.unknown_token_id", NULL);
        spec_sentencepiece(&spec, models[m], false);
        spec.n_scores = 0;
        assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.scores", "missing", NULL);
        spec.n_scores = spec.n_tokens - 1;
        assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.scores", "expected", NULL);
        spec.n_scores = spec.n_tokens;
        for (int i = 0; i < 3; i++) {
            spec.scores[PIECE(A)] = i == 0 ? NAN : i == 1 ? INFINITY : -INFINITY;
            assert_refused(&spec, STRATA_E_FORMAT, "tokenizer.ggml.scores", "token 11", NULL);
        }
        spec.scores[PIECE(A)] = -3e38f; /* sums that overflow are no harm */
        spec.scores[PIECE(B)] = 3e38f;
        spec_token(&spec, "", STRATA__TOKEN_NORMAL);
        spec_token(&spec, "\xff\xfe", STRATA__TOKEN_NORMAL);
        spec_token(&spec, "ab", STRATA__TOKEN_NORMAL);
        spec_token(&spec, "<tag>", STRATA__TOKEN_USER_DEFINED);
        spec_token(&spec, " ab", STRATA__TOKEN_USER_DEFINED); /* as files spell it */
        spec.n_scores = spec.n_tokens;
        t = spec_tokenizer(&spec);
        size_t n;
        free(ids_of(t, TEXT("aaaabbbb<tag>\xff ab b"), 0, &n));
        strata_tokenizer_free(&t);
    }
}

static double time_text(const strata_tokenizer *t, const char *unit, size_t size, size_t *n)
{
    char *text = repeated(unit, size, "", &size);
    double begin = cpu_seconds();
    assert_int_equal(strata_tokenize(t, text, size, STRATA_TOKENIZE_SPECIAL, NULL, 0, n),
                     STRATA_OK);
    double taken = cpu_seconds() - begin;
    assert_in_range(*n, 0, 3 * size + 1);
    free(text);
    return taken;
}

/* Row 58: four times the text takes well below the sixteen times of a quadratic algorithm. */
static void test_long_texts(void **state)
{
    static const char *const units[] = {"a",     "hello ", " ",    "\u0301", "\u4e2d", "\xff",
                                        "<tag>", "<ta",    "</s>", "</",     "ab",     "\u2581"};
    static const char *const models[] = {"llama", "t5"};
    (void)state;
    for (size_t m = 0; m < 2; m++) {
        strata_tokenizer *t = open_spec(models[m], true, true, m == 1);
        for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
            size_t n;
            double small = time_text(t, units[i], 1 << 17, &n);
            double large = time_text(t, units[i], 1 << 19, &n);
            if (large > 0.2 + 12 * small)
                fail_msg("%s: \"%s\" takes %.2f s, a quarter of it %.2f s", models[m], units[i],
                         large, small);
        }
        strata_tokenizer_free(&t);
    }
}

static void test_16_megabytes(void **state)
{
    static const char *const models[] = {"llama", "t5"};
    (void)state;
    for (size_t m = 0; m < 2; m++) {
        size_t n;
        strata_tokenizer *t = open_spec(models[m], true, true, false);
        double taken = time_text(t, "helloworldthe", 16 << 20, &n);
        print_message("%s, 16 MiB without a space: %.1f s\n", models[m], taken);
        assert_true(taken < 120);
        strata_tokenizer_free(&t);
    }
}

/* All bytes come back, but that U+2581 is a space. */
static void test_any_bytes(void **state)
{
    static const char *const models[] = {"llama", "t5"};
    unsigned char bytes[512];
    (void)state;
    for (size_t m = 0; m < 2; m++) {
        strata_tokenizer *t = open_spec(models[m], true, true, false);
        uint32_t random = 1;
        for (int round = 0; round < 200; round++) {
            char valid[3 * sizeof bytes], text[sizeof valid + 1];
            for (size_t i = 0; i < sizeof bytes; i++) {
                random = random * 1664525 + 1013904223;
                bytes[i] = (unsigned char)(round % 2 ? 0x80 | random >> 24 : random >> 24);
            }
            size_t n, size,
                full = strata_utf8_repair((char *)bytes, sizeof bytes, valid, sizeof valid);
            int32_t *ids = ids_of(t, (char *)bytes, sizeof bytes, 0, &n);
            assert_int_equal(strata_detokenize(t, ids, n, text, sizeof text, &size), STRATA_OK);
            assert_int_equal(size, full);
            assert_memory_equal(text, valid, full);
            free(ids);
        }
        strata_tokenizer_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bpe),          cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_unigram),      cmocka_unit_test(test_map),
        cmocka_unit_test(test_byte_tokens),  cmocka_unit_test(test_tables),
        cmocka_unit_test(test_any_bytes),    cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_16_megabytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

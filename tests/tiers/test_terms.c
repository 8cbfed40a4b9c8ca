/* Terms as bytes and as N-Triples: there and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rdf_read.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define TEXT(text) text, sizeof text - 1

static const struct {
    struct strata__term term;
    const char *written;
} cases[] = {
    {{'I', TEXT("http://e/\xc3\xa9"), NULL, 0}, "<http://e/\xc3\xa9>"},
    {{'B', TEXT("b0.x"), NULL, 0}, "_:b0.x"},
    {{'S', TEXT(""), NULL, 0}, "\"\""},
    {{'S', TEXT("I"), NULL, 0}, "\"I\""},
    {{'S', TEXT("a\0b\0"), NULL, 0}, "\"a\\u0000b\\u0000\""},
    {{'S', TEXT("\b\t\n\f\r\"\\'"), NULL, 0}, "\"\\b\\t\\n\\f\\r\\\"\\\\'\""},
    {{'S', TEXT("\x01\x0b\x1f\x7f \xc2\x80"), NULL, 0},
     "\"\\u0001\\u000B\\u001F\\u007F \xc2\x80\""},
    {{'S', TEXT("\xef\xbf\xbf\xf4\x8f\xbf\xbf"), NULL, 0}, "\"\xef\xbf\xbf\xf4\x8f\xbf\xbf\""},
    {{'G', TEXT("a\0@en"), "de-AT", 5}, "\"a\\u0000@en\"@de-AT"},
    {{'G', TEXT(""), "en", 2}, "\"\"@en"},
    {{'T', TEXT("\0\0"), "u:t", 3}, "\"\\u0000\\u0000\"^^<u:t>"},
    {{'T', TEXT(""), "u:t", 3}, "\"\"^^<u:t>"},
};

static void assert_same(const struct strata__term *a, const struct strata__term *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->size, b->size);
    assert_memory_equal(a->text, b->text, a->size);
    assert_int_equal(a->tag_size, b->tag_size);
    if (a->tag_size)
        assert_memory_equal(a->tag, b->tag, a->tag_size);
    assert_true(!a->tag == !b->tag);
}

static void there_and_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct strata__term *term = &cases[i].term;
        struct strata__bytes bytes = {0}, written = {0}, read = {0};
        struct strata__term again;
        assert_int_equal(strata__term_encode(term, &bytes), STRATA_OK);
        assert_true(strata__term_decode(bytes.data, bytes.size, &again));
        assert_same(term, &again);
        assert_int_equal(strata__term_is_literal(&again), i >= 2);
        assert_int_equal(strata__bytes_append(&written, "x", 1), STRATA_OK); /* it appends */
        assert_int_equal(strata__term_write(term, &written), STRATA_OK);
        assert_int_equal(written.size, strlen(cases[i].written) + 1);
        assert_memory_equal(written.data + 1, cases[i].written, written.size - 1);
        assert_int_equal(strata__rdf_read_term(written.data + 1, written.size - 1, &read),
                         STRATA_OK);
        assert_int_equal(read.size, bytes.size);
        assert_memory_equal(read.data, bytes.data, read.size);
        strata__bytes_free(&bytes);
        strata__bytes_free(&written);
        strata__bytes_free(&read);
    }
}

/* All characters, alone. */
static void each_character(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 0x80; c++) {
        char text[1] = {(char)c};
        const struct strata__term term = {'S', text, 1, NULL, 0};
        struct strata__bytes written = {0}, read = {0};
        assert_int_equal(strata__term_write(&term, &written), STRATA_OK);
        assert_true(written.size == 3 || c < ' ' || c == '"' || c == '\\' || c == 0x7f);
        assert_int_equal(strata__rdf_read_term(written.data, written.size, &read), STRATA_OK);
        assert_int_equal(read.size, 2);
        assert_int_equal(read.data[1], text[0]);
        strata__bytes_free(&written);
        strata__bytes_free(&read);
    }
}

static void bytes_that_are_none(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        bool is;
    } bytes[] = {
        {TEXT(""), false},    {TEXT("X"), false},    {TEXT("\0"), false},   {TEXT("G"), false},
        {TEXT("Gen"), false}, {TEXT("Gen\0"), true}, {TEXT("Tu:t"), false}, {TEXT("T\0"), true},
        {TEXT("I"), true},    {TEXT("S"), true},     {TEXT("B"), true},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(bytes); i++) {
        struct strata__term term;
        assert_int_equal(strata__term_decode(bytes[i].bytes, bytes[i].size, &term), bytes[i].is);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(each_character),
        cmocka_unit_test(bytes_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

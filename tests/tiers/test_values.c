/* What literals mean: groups of equal ones, different from each other; names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "terms.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Literals "TYPE TEXT" (TYPE of XSD, or "s" for a string); all in a group mean the same, and none
 * means what one of another group does. */
static const char *const groups[][12] = {
    {"integer 1", "integer 01", "integer +1", "decimal 1.0", "decimal 1.", "double 1e0", "float 1",
     "double 0.1E1", "double 10e-1", "byte 1", "positiveInteger 001"},
    {"integer -1", "decimal -1.000", "double -1", "negativeInteger -01"},
    {"integer 0", "integer -0", "decimal .0", "double 0e9", "double -0.0", "float 1e-99",
     "nonNegativeInteger 000"},
    {"integer 10", "decimal 10.0", "double 1e1", "unsignedByte 10"},
    {"integer 100", "double 1E2"},
    {"decimal 0.1", "double 0.1",
     "double 0.10000000000000000000000000000000000000000000000000000000"
     "0000000000000000000000001",
     "float 0.1", "decimal .10", "double 1e-1"},
    {"decimal 0.1000000000000000055511151231257827"},
    {"double 0.10000000000000002"},
    {"float 0.10000001", "decimal 0.10000001"},
    {"float 16777216", "float 16777217", "integer 16777216", "double 16777216"},
    {"integer 16777217", "double 16777217"},
    {"integer 123456789012345678901234567890"},
    {"integer 123456789012345678901234567891"},
    {"double 1e23", "decimal 100000000000000000000000.0"},
    {"double INF", "float INF", "double +INF", "double 1e400", "float 1e39"},
    {"double -INF", "float -INF", "float -1e39"},
    {"double NaN", "float NaN"},
    {"double 1e39", "decimal 1000000000000000000000000000000000000000"},
    {"decimal INF"},
    {"integer INF"},
    {"double inf"},
    {"double nan"},
    {"double 0x1"},
    {"double 1e"},
    {"double e1"},
    {"double "},
    {"double ."},
    {"double  1"},
    {"double 1 "},
    {"double +-1"},
    {"double 1,5"},
    {"integer 1.0"},
    {"integer 1e0"},
    {"decimal 1e0"},
    {"integer "},
    {"boolean true", "boolean 1"},
    {"boolean false", "boolean 0"},
    {"boolean True"},
    {"boolean "},
    {"dateTime 2024-02-29T12:00:00Z", "dateTime 2024-02-29T12:00:00+00:00",
     "dateTime 2024-02-29T14:00:00.000+02:00", "dateTime 2024-02-29T00:30:00-11:30",
     "dateTimeStamp 2024-03-01T02:00:00+14:00", "dateTime 2024-02-29T12:00:00-00:00"},
    {"dateTime 2024-02-29T12:00:00"},
    {"dateTime 2024-02-29T12:00:00.5Z", "dateTime 2024-02-29T12:00:00.500Z"},
    {"dateTime 2024-02-29T12:00:00.05Z"},
    {"dateTime 2024-01-01T00:00:00Z", "dateTime 2023-12-31T24:00:00Z",
     "dateTime 2023-12-31T24:00:00.0Z", "dateTime 2023-12-31T23:00:00-01:00"},
    {"dateTime 2024-03-01T00:00:00", "dateTime 2024-02-29T24:00:00"},
    {"dateTime 2023-03-01T00:00:00", "dateTime 2023-02-28T24:00:00"},
    {"dateTime 2000-02-29T23:59:59Z", "dateTime 2000-03-01T00:00:59+00:01"},
    {"dateTime 1900-03-01T00:00:00Z", "dateTime 1900-02-28T24:00:00Z"},
    {"dateTime 1970-01-01T00:00:00Z"},
    {"dateTime 1969-12-31T23:59:59Z"},
    {"dateTime 0001-01-01T00:00:00Z", "dateTime 0001-01-01T01:00:00+01:00"},
    {"dateTime 9999-12-31T23:59:59Z"},
    {"date 2024-02-29"},
    {"date 2024-02-29Z", "date 2024-02-29+00:00"},
    {"date 2024-02-29+01:00"},
    {"date 2024-03-01"},
    /* As they are: no such date or time. */
    {"date 2023-02-29"},
    {"date 2023-03-01"},
    {"date 1900-02-29"},
    {"date 2024-02-30"},
    {"date 2024-04-31"},
    {"date 2024-05-01"},
    {"date 2024-13-01"},
    {"date 2024-00-01"},
    {"date 2024-01-00"},
    {"date 0000-01-01"},
    {"date -0044-03-15"},
    {"date 12024-01-01"},
    {"date 2024-1-1"},
    {"date 2024-02-29T12:00:00Z"},
    {"date 2024-02-29z"},
    {"date 2024-02-29+14:01"},
    {"date 2024-02-29+15:00"},
    {"date 2024-02-29 "},
    {"dateTime 2024-02-29"},
    {"dateTime 2024-02-29T25:00:00Z"},
    {"dateTime 2024-02-29T24:00:01Z"},
    {"dateTime 2024-02-29T24:01:00Z"},
    {"dateTime 2024-02-29T24:00:00.1Z"},
    {"dateTime 2024-02-29T12:60:00Z"},
    {"dateTime 2024-02-29T12:00:60Z"},
    {"dateTime 2024-02-29T12:00:00.Z"},
    {"dateTime 2024-02-29t12:00:00Z"},
    {"gYear 2024"},
    {"gYear 02024"},
    {"hexBinary 0a"},
    {"hexBinary 0A"},
    /* Names. */
    {"s 1"},
    {"s true"},
    {"s INF"},
    {"s paris", "s Paris", "s  PARIS ", "s \tpar\xc2\xadis\n", "s \xef\xbc\xb0\xef\xbd\x81ris"},
    {"s new york", "s New  York", "s new\xc2\xa0york", "s NEW\t\n YORK", "s new\xe3\x80\x80york"},
    {"s newyork"},
    {"s stra\xc3\x9f"
     "e",
     "s STRASSE",
     "s STRA\xe1\xba\x9e"
     "E",
     "s strasse"},
    {"s \xc3\xa9t\xc3\xa9", "s E\xcc\x81TE\xcc\x81", "s \xc3\x89t\xc3\xa9"},
    {"s ete"},
    {"s i\xcc\x87stanbul", "s \xc4\xb0stanbul"}, /* the dot of a Turkish capital stays */
    {"s istanbul", "s Istanbul"},
    {"s \xc4\xb1stanbul"}, /* without a dot: another letter */
    {"s o\xef\xac\x83"
     "ce",
     "s OFFICE"},
    {"s \xce\xa3\xce\xaf\xcf\x83\xcf\x85\xcf\x86\xce\xbf\xcf\x82",
     "s \xcf\x83\xce\xaf\xcf\x83\xcf\x85\xcf\x86\xce\xbf\xcf\x83"}, /* sigmas */
    {"s \xe2\x84\xab", "s \xc3\x85", "s a\xcc\x8a"},
    {"s x\xc2\xb2", "s X2"},
    {"s ", "s  \t\n"},
    {"s \xff"},
    {"s \xff\xff"},
};

static void value_of(const char *literal, struct strata__bytes *out)
{
    char type[128] = STRATA__XSD;
    const size_t n = strcspn(literal, " ");
    const char *text = literal + n + (literal[n] == ' ');
    strncat(type, literal, n);
    const bool string = !strncmp(literal, "s ", 2);
    const struct strata__term term = {string ? 'S' : 'T', text, strlen(text), string ? NULL : type,
                                      string ? 0 : strlen(type)};
    out->size = 0;
    assert_int_equal(strata__literal_value(&term, out), STRATA_OK);
}

static bool same(const struct strata__bytes *a, const struct strata__bytes *b)
{
    return a->size == b->size && !memcmp(a->data, b->data, a->size);
}

static void equal_and_different(void **state)
{
    static struct strata__bytes firsts[COUNT(groups)];
    struct strata__bytes value = {0};
    size_t failures = 0;
    (void)state;
    for (size_t i = 0; i < COUNT(groups); i++) {
        value_of(groups[i][0], &firsts[i]);
        for (size_t j = 1; j < COUNT(groups[i]) && groups[i][j]; j++) {
            value_of(groups[i][j], &value);
            if (same(&value, &firsts[i]))
                continue;
            print_error("'%s' is not '%s': %.*s, %.*s\n", groups[i][j], groups[i][0],
                        (int)value.size, value.data, (int)firsts[i].size, firsts[i].data);
            failures++;
        }
        for (size_t j = 0; j < i; j++)
            if (same(&firsts[i], &firsts[j])) {
                print_error("'%s' is '%s'\n", groups[i][0], groups[j][0]);
                failures++;
            }
    }
    for (size_t i = 0; i < COUNT(groups); i++)
        strata__bytes_free(&firsts[i]);
    strata__bytes_free(&value);
    assert_int_equal(failures, 0);
}

/* A language is no part of a name; an unknown type is, of what it types. */
static void languages_and_types(void **state)
{
    const struct strata__term plain = {'S', "Paris", 5, NULL, 0},
                              french = {'G', "paris", 5, "fr", 2},
                              typed = {'T', "Paris", 5, "u:t", 3},
                              other = {'T', "Paris", 5, "u:u", 3},
                              nul = {'S', "Paris\0", 6, NULL, 0};
    const struct strata__term *const terms[] = {&plain, &french, &typed, &other, &nul};
    struct strata__bytes values[COUNT(terms)] = {{0}};
    (void)state;
    for (size_t i = 0; i < COUNT(terms); i++)
        assert_int_equal(strata__literal_value(terms[i], &values[i]), STRATA_OK);
    assert_true(same(&values[0], &values[1]));
    for (size_t i = 1; i < COUNT(terms); i++)
        for (size_t j = 0; j < i; j++)
            assert_int_equal(same(&values[i], &values[j]), i == 1);
    for (size_t i = 0; i < COUNT(terms); i++)
        strata__bytes_free(&values[i]);
}

/* A name that is a number has the number's value. */
static void names_as_numbers(void **state)
{
    static const struct {
        const char *name, *literal; /* NULL: no number */
    } names[] = {
        {"5", "integer 5"},
        {"+05.0", "integer 5"},
        {"-.5", "decimal -0.5"},
        {"5e0", NULL},
        {"", NULL},
        {"-", NULL},
        {"5 ", NULL},
        {"NaN", NULL},
        {"INF", NULL},
        {"0x5", NULL},
        {"1.2.3", NULL},
    };
    struct strata__bytes value = {0}, wanted = {0};
    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        bool is;
        value.size = 0;
        assert_int_equal(strata__number_value(names[i].name, strlen(names[i].name), &value, &is),
                         STRATA_OK);
        assert_int_equal(is, names[i].literal != NULL);
        if (!is)
            continue;
        value_of(names[i].literal, &wanted);
        assert_true(same(&value, &wanted));
    }
    strata__bytes_free(&value);
    strata__bytes_free(&wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_and_different),
        cmocka_unit_test(languages_and_types),
        cmocka_unit_test(names_as_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

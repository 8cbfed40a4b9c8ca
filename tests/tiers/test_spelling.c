/* How names are spelled, how alike that is, and the pieces by which names are found. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "spelling.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct strata__spelling spelled(const char *text)
{
    struct strata__spelling out;
    memset(&out, 0xa5, sizeof out);
    strata__spelling_of(text, strlen(text), &out);
    return out;
}

static double alike(const char *a, const char *b)
{
    const struct strata__spelling x = spelled(a), y = spelled(b);
    return strata__spelling_alike(&x, &y);
}

static double words_alike(const char *a, const char *b)
{
    const struct strata__spelling x = spelled(a), y = spelled(b);
    return strata__spelling_words_alike(&x, &y);
}

/* ---- Spellings ---- */

static void check_spelling(const char *text, size_t size, const uint32_t *wanted, size_t n)
{
    struct strata__spelling out;
    strata__spelling_of(text, size, &out);
    if (out.n != n || memcmp(out.characters, wanted, n * sizeof *wanted) != 0)
        fail_msg("'%.*s': %zu characters, expected %zu", (int)size, text, out.n, n);
}

static void spellings(void **state)
{
    static const struct {
        const char *text, *wanted; /* ASCII */
    } cases[] = {
        {"", ""},
        {"Plain", "plain"},
        {"\u00c9lan-V\u00efTAL  (2)", "elan vital 2"},
        {"e\u0301lan", "elan"},
        {"STRA\u1e9eE \ufb01n", "strasse fin"},
        {"...abc!?", "abc"},
        {"a.b'c", "a b c"},
        {"\u2026\u201ca\u201d \u2014 b\u00a0\t\nc", "a b c"},
        {"\uff21\uff22\uff13", "ab3"},
        {"?!., \u2014", ""},
        {"a\xff\xfe"
         "b",
         "ab"},
        {"a\xe2\x82", "a"},
        {"\xc0\xaf\xed\xa0\x80x\xf5\x80\x80\x80", "x"},
        {"a\xf0\x9f\x98\x80z", "a z"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint32_t wanted[32];
        const size_t n = strlen(cases[i].wanted);
        for (size_t k = 0; k < n; k++)
            wanted[k] = (unsigned char)cases[i].wanted[k];
        check_spelling(cases[i].text, strlen(cases[i].text), wanted, n);
    }
    check_spelling("\u03a9\u03bc\u03ad\u03b3\u03b1", 10,
                   (const uint32_t[]){0x3c9, 0x3bc, 0x3b5, 0x3b3, 0x3b1}, 5);
    check_spelling("\u6771\u4eac", 6, (const uint32_t[]){0x6771, 0x4eac}, 2);
    check_spelling("a\0b", 3, (const uint32_t[]){'a', ' ', 'b'}, 3);
}

/* What is longer than is looked at is cut, wherever that is. */
static void long_names(void **state)
{
    char text[2000];
    (void)state;
    for (size_t before = 0; before <= STRATA__SPELLING_MOST + 1; before++) {
        struct strata__spelling name;
        size_t size = before;
        memset(text, 'X', before);
        size += (size_t)sprintf(text + size, " - \u00e9\ufdfa\ufb03 y");
        for (int i = 0; i < 100; i++)
            size += (size_t)sprintf(text + size, "\u00f6\u00fc.");
        strata__spelling_of(text, size, &name);
        assert_true(name.n <= STRATA__SPELLING_MOST && name.n + 1 >= STRATA__SPELLING_MOST);
        assert_int_not_equal(name.characters[name.n - 1], ' ');
        for (size_t i = 0; i < before && i < name.n; i++)
            assert_int_equal(name.characters[i], 'x');
        strata__spelling_of(text, size / 2, &name);
        assert_true(name.n <= STRATA__SPELLING_MOST);
    }
}

/* ---- Alike ---- */

static uint32_t seed = 7;

static size_t below(size_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

/* Few letters, so that names have some in common; also empty ones and the longest. */
static struct strata__spelling random_name(void)
{
    struct strata__spelling name = {.n = 0};
    const size_t length = below(4) ? below(12) : below(STRATA__SPELLING_MOST + 1);
    for (; name.n < length; name.n++)
        name.characters[name.n] =
            below(5) == 0 && name.n && name.n + 1 < length && name.characters[name.n - 1] != ' '
                ? ' '
                : (uint32_t) "aeckhsz\xf8"[below(8)];
    for (size_t i = 0; i < name.n; i++)
        name.characters[i] &= 0xff;
    return name;
}

static void bounds(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        const struct strata__spelling a = random_name(), b = random_name();
        const double whole = strata__spelling_alike(&a, &b),
                     words = strata__spelling_words_alike(&a, &b);
        assert_true(whole >= 0 && whole <= 1 && words >= 0 && words <= 1 + 1e-12);
        assert_true(fabs(whole - strata__spelling_alike(&b, &a)) < 1e-5);
        assert_true(fabs(words - strata__spelling_words_alike(&b, &a)) < 1e-5);
        assert_true(strata__spelling_alike(&a, &a) == (a.n ? 1 : 0));
        if (a.n == 0 || b.n == 0)
            assert_true(whole == 0 && words == 0);
        else if (a.n != b.n || memcmp(a.characters, b.characters, a.n * sizeof *a.characters))
            assert_true(whole < 1);
    }
    assert_true(alike("bdfg", "mnpq") < 0.3);
    assert_true(alike("Tr\u00e9lm-OK", "trelm ok") == 1);
}

/* What people write instead of a name is nearer to it than another name is. */
static void typos(void **state)
{
    static const struct {
        const char *name, *typo, *other;
    } cases[] = {
        {"Vorantel", "Voratnel", "Morandel"},
        {"Vorantel", "Vorantell", "Valentor"},
        {"Kwistbrook", "Quistbrook", "Twinbrook"},
        {"Zheltova", "Jeltova", "Meltona"},
        {"Marrowgate", "Marowgate", "Farrowgate"},
        {"Thessmer", "Tesmer", "Dressler"},
        {"Ulcarin", "Ulkarin", "Umbarin"},
        {"Pelissandra", "Pelisandra", "Melissantha"},
        {"Lower Dremmel", "Lower Dremel", "Upper Dremmel"},
        {"Oxhallow", "Oxhalow", "Foxhollow"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        if (alike(cases[i].name, cases[i].typo) <= alike(cases[i].name, cases[i].other))
            fail_msg("%s: %s %.3f, %s %.3f", cases[i].name, cases[i].typo,
                     alike(cases[i].name, cases[i].typo), cases[i].other,
                     alike(cases[i].name, cases[i].other));
    /* Two letters that change places are one edit, not two. */
    assert_true(alike("brdt", "rbdt") > alike("brdt", "xqdt"));
    assert_true(alike("brdt", "rbdt") >= alike("brdt", "bxdt"));
    /* What sounds alike costs less. */
    assert_true(alike("kalt", "calt") > alike("kalt", "palt"));
    assert_true(alike("holm", "hulm") > alike("holm", "hxlm"));
    assert_true(alike("abba", "aba") > alike("abta", "aba"));
}

static void words(void **state)
{
    (void)state;
    assert_true(words_alike("elan vital", "Vital, \u00c9lan") == 1);
    assert_true(words_alike("elan", "elan") == 0); /* no several words */
    assert_true(words_alike("elan", "zzz") == 0);
    assert_true(words_alike("", "elan vital") == 0);
    const double part = words_alike("elan", "elan vital");
    assert_true(part > 0.5 && part < 1);
    assert_true(words_alike("qqq www", "elan vital") == 0);
    assert_true(words_alike("vittal elan", "elan vital") > part);
    assert_true(words_alike("a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i "
                            "j k l m n o p q r s t u v w x y z",
                            "z y x") <= 1);
}

/* ---- Pieces ---- */

static void pieces(void **state)
{
    uint32_t grams[STRATA__GRAMS_MOST + 1], others[STRATA__GRAMS_MOST];
    struct strata__spelling name = spelled("ab");
    (void)state;
    assert_int_equal(strata__spelling_grams(&name, grams), 5); /* " a" " ab" "ab" "ab " "b " */
    name.n = 0;
    assert_int_equal(strata__spelling_grams(&name, grams), 0);
    for (int i = 0; i < 5000; i++) {
        name = random_name();
        for (size_t k = 0; i % 3 == 0 && k < name.n; k++)
            name.characters[k] = (uint32_t)below(0x11000);
        grams[STRATA__GRAMS_MOST] = 0xa5a5a5a5;
        const size_t n = strata__spelling_grams(&name, grams);
        assert_true(n <= STRATA__GRAMS_MOST && n <= 2 * name.n + 1);
        assert_int_equal(grams[STRATA__GRAMS_MOST], 0xa5a5a5a5);
        for (size_t k = 1; k < n; k++)
            assert_true(grams[k - 1] < grams[k]);
        assert_int_equal(strata__spelling_grams(&name, others), n);
        assert_memory_equal(grams, others, n * sizeof *grams);
    }
    /* One letter more changes few of them; another name shares none. */
    const struct strata__spelling a = spelled("Vorantel"), b = spelled("Vorrantel"),
                                  c = spelled("Jyshmuck");
    const size_t n = strata__spelling_grams(&a, grams);
    assert_int_equal(n, 2 * a.n + 1);
    for (int other = 0; other < 2; other++) {
        const size_t m = strata__spelling_grams(other ? &c : &b, others);
        size_t same = 0;
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < m; k++)
                same += grams[i] == others[k];
        assert_true(other ? same == 0 : same >= n - 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spellings), cmocka_unit_test(long_names), cmocka_unit_test(bounds),
        cmocka_unit_test(typos),     cmocka_unit_test(words),      cmocka_unit_test(pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

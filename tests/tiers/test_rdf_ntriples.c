/* N-Triples: what is accepted and what is refused, a valid neighbour beside each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rdf_fixture.h"
#include "rdf_line.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
/* A text that may hold NUL, with its size. */
#define TEXT(text) text, sizeof text - 1
#define S "<http://e/s>"
#define P "<http://e/p>"
#define O "<http://e/o>"
#define SPO S " " P " " O " .\n"

static void shapes(void **state)
{
    static const struct rdf_case cases[] = {
        {"", 0, "", NULL},
        {"\n", 0, "", NULL},
        {"# only a comment", 0, "", NULL},
        {"  \t\r\n#\n\n", 0, "", NULL},
        {SPO, 0, SPO, NULL},
        {S " " P " " O " .", 0, SPO, NULL},
        {S P O ".", 0, SPO, NULL},
        {"\t " S "\t" P "  " O "\t.  \t", 0, SPO, NULL},
        {S " " P " " O " .\r\n" S " " P " " O " .\r\n", 0, SPO SPO, NULL},
        {S " " P " " O " . # a comment\n", 0, SPO, NULL},
        {S " " P " " O " .#a . b <c>\n" SPO, 0, SPO SPO, NULL},
        {"# <a> <b> <c> .\n" SPO, 0, SPO, NULL},
        {"\xef\xbb\xbf" SPO, 0, SPO, NULL},
        {"\xef\xbb\xbf", 0, "", NULL},
        {"_:a " P " _:b.c .\n", 0, "_:a " P " _:b.c .\n", NULL},
        {"_:a" P "_:b.\n", 0, "_:a " P " _:b .\n", NULL},
        {"_:1a " P " _:\xc3\xa9 .\n", 0, "_:1a " P " _:\xc3\xa9 .\n", NULL},
        /* Several things in a line, or too few. */
        {SPO S " " P " " O " . " S " " P " " O " .\n" SPO, 0, SPO SPO, "2:1 one statement"},
        {S " " P " " O "\n" SPO, 0, SPO, "1:39 unexpected end of file"},
        {S " " P " " O " # .\n" SPO, 0, SPO, "1:43 unexpected end of file"},
        {S " " P "\n" O " .\n" SPO, 0, SPO, "1:26 expected: ':'\n2:15 unexpected end of statement"},
        {S " " P " .\n" SPO, 0, SPO, "1:27 expected"},
        {S " .\n" SPO, 0, SPO, "1:15 unexpected end of statement"},
        {".\n" SPO, 0, SPO, "1:2 unexpected end of statement"},
        {S " " P " " O " .x\n" SPO, 0, SPO, "1:42 bad verb"},
        {S " " P " " O " . .\n" SPO, 0, SPO, "1:43 unexpected end of statement"},
        {S " " P " " O " <http://e/g> .\n" SPO, 0, SPO, "1:40 missing ';' or '.'"},
        {S " " P " " O " " O "\n" SPO, 0, SPO, "1:40 missing ';' or '.'"},
        {"x\n" SPO, 0, SPO, "1:2 bad verb"},
    };
    (void)state;
    rdf_check("shapes.nt", cases, COUNT(cases));
}

static void turtle_is_refused(void **state)
{
    static const struct rdf_case cases[] = {
        {S " a " O " .\n" SPO, 0, SPO,
         "1:1 a statement as Turtle has it: N-Triples have three terms and a '.'"},
        {"@prefix e: <http://e/> .\n" SPO, 0, SPO, "1:1 syntax does not support directives"},
        {"@base <http://e/> .\n" SPO, 0, SPO, "1:1 syntax does not support directives"},
        {"PREFIX e: <http://e/>\n" SPO, 0, SPO, "1:1 a line of N-Triples holds one statement"},
        {"BASE <http://e/>\n" SPO, 0, SPO, "1:1 a line of N-Triples holds one statement"},
        {"e:s " P " " O " .\n" SPO, 0, SPO,
         "1:1 a name with a prefix: N-Triples have whole IRIs, in < >"},
        {S " e:p " O " .\n" SPO, 0, SPO,
         "1:1 a name with a prefix: N-Triples have whole IRIs, in < >"},
        {S " " P " e:o .\n" SPO, 0, SPO, "1:27 expected"},
        {S " " P " :o .\n" SPO, 0, SPO,
         "1:1 a name with a prefix: N-Triples have whole IRIs, in < >"},
        {S " " P " \"1\"^^xsd:integer .\n" SPO, 0, SPO,
         "1:1 a name with a prefix: N-Triples have whole IRIs, in < >"},
        {S " " P " 1 .\n" SPO, 0, SPO, "1:27 expected"},
        {S " " P " -1.5 .\n" SPO, 0, SPO, "1:27 expected"},
        {S " " P " 1e0 .\n" SPO, 0, SPO, "1:27 expected"},
        {S " " P " true .\n" SPO, 0, SPO, "1:27 expected"},
        {S " " P " 'a' .\n" SPO, 0, SPO, "1:27 expected"},
        {S " " P " '''a''' .\n" SPO, 0, SPO, "1:27 expected"},
        {S " " P " \"\"\"a\"\"\" .\n" SPO, 0, SPO, "1:29 syntax does not support long literals"},
        {S " " P " \"\"\"\"\"\" .\n" SPO, 0, SPO, "1:29 syntax does not support long literals"},
        {S " " P " " O " ; " P " " O " .\n" SPO, 0, SPO,
         "1:1 a line of N-Triples holds one statement"},
        {S " " P " " O " ; .\n" SPO, 0, SPO,
         "1:1 a statement as Turtle has it: N-Triples have three terms and a '.'"},
        {S " " P " " O " , " O " .\n" SPO, 0, SPO, "1:40 syntax does not support abbreviation"},
        {S " " P " [] .\n" SPO, 0, SPO, "1:27 expected"},
        {"[] " P " " O " .\n" SPO, 0, SPO,
         "1:1 a statement as Turtle has it: N-Triples have three terms and a '.'"},
        {"[ " P " " O " ] .\n" SPO, 0, SPO,
         "1:1 a statement as Turtle has it: N-Triples have three terms and a '.'"},
        {S " " P " () .\n" SPO, 0, SPO, "1:27 expected"},
        {S " " P " (" O ") .\n" SPO, 0, SPO, "1:27 expected"},
        {"() " P " " O " .\n" SPO, 0, SPO,
         "1:1 a statement as Turtle has it: N-Triples have three terms and a '.'"},
        {S " " P " " O " {}.\n" SPO, 0, SPO, "1:40 missing ';' or '.'"},
        /* Terms in the wrong place. */
        {"\"s\" " P " " O " .\n" SPO, 0, SPO, "1:1 bad verb"},
        {S " \"p\" " O " .\n" SPO, 0, SPO, "1:14 bad verb"},
        {S " _:p " O " .\n" SPO, 0, SPO, "1:14 bad verb"},
        {S " " P " <http://e/\n" SPO, 0, SPO, "1:37 invalid IRI character (escape %0A)"},
    };
    (void)state;
    rdf_check("turtle.nt", cases, COUNT(cases));
}

static void iris(void **state)
{
    static const struct rdf_case cases[] = {
        {"<http://e/\xc3\xa9\\u00e9\\U000000E9> " P " " O " .\n", 0,
         "<http://e/\xc3\xa9\xc3\xa9\xc3\xa9> " P " " O " .\n", NULL},
        {"<urn:x> <a+b-c.d:> <mailto:a@b> .\n", 0, "<urn:x> <a+b-c.d:> <mailto:a@b> .\n", NULL},
        {"<http://e/\\U0010FFFF> " P " " O " .\n", 0, "<http://e/\xf4\x8f\xbf\xbf> " P " " O " .\n",
         NULL},
        {"<s> " P " " O " .\n" SPO, 0, SPO, "1:3 missing IRI scheme"},
        {S " <p> " O " .\n" SPO, 0, SPO, "1:16 missing IRI scheme"},
        {S " " P " <o> .\n" SPO, 0, SPO, "1:29 missing IRI scheme"},
        {S " " P " \"1\"^^<t> .\n" SPO, 0, SPO, "1:34 missing IRI scheme"},
        {"<> " P " " O " .\n" SPO, 0, SPO, "1:2 bad IRI scheme start `>'"},
        {S " <> " O " .\n" SPO, 0, SPO, "1:15 bad IRI scheme start `>'"},
        {S " " P " <> .\n" SPO, 0, SPO, "1:28 bad IRI scheme start `>'"},
        {"<1:x> " P " " O " .\n" SPO, 0, SPO, "1:2 bad IRI scheme start `1'"},
        {"<:x> " P " " O " .\n" SPO, 0, SPO, "1:2 bad IRI scheme start `:'"},
        {"</a:x> " P " " O " .\n" SPO, 0, SPO, "1:2 bad IRI scheme start `/'"},
        {"<http://e/a b> " P " " O " .\n" SPO, 0, SPO, "1:13 invalid IRI character (escape %20)"},
        {"<http://e/a\tb> " P " " O " .\n" SPO, 0, SPO, "1:13 invalid IRI character (escape %09)"},
        {"<http://e/a<b> " P " " O " .\n" SPO, 0, SPO, "1:13 invalid IRI character `<'"},
        {"<http://e/a\"b> " P " " O " .\n" SPO, 0, SPO, "1:13 invalid IRI character `\"'"},
        {"<http://e/a{b}> " P " " O " .\n" SPO, 0, SPO, "1:13 invalid IRI character `{'"},
        {"<http://e/a|b> " P " " O " .\n" SPO, 0, SPO, "1:13 invalid IRI character `|'"},
        {"<http://e/a^b> " P " " O " .\n" SPO, 0, SPO, "1:13 invalid IRI character `^'"},
        {"<http://e/a`b> " P " " O " .\n" SPO, 0, SPO, "1:13 invalid IRI character ``'"},
        {"<http://e/a\\b> " P " " O " .\n" SPO, 0, SPO, "1:13 invalid IRI escape"},
        {"<http://e/\\n> " P " " O " .\n" SPO, 0, SPO, "1:12 invalid IRI escape"},
        {"<http://e/\\/> " P " " O " .\n" SPO, 0, SPO, "1:12 invalid IRI escape"},
        {"<http://e/\\u0020> " P " " O " .\n" SPO, 0, SPO,
         "1:17 invalid escaped IRI character U+0020"},
        {"<http://e/\\u003E> " P " " O " .\n" SPO, 0, SPO,
         "1:17 invalid escaped IRI character U+003E"},
        {"<http://e/\\u000A> " P " " O " .\n" SPO, 0, SPO,
         "1:1 an IRI with a control character, a space or one of < > \" { } | ^ ` \\"},
        {"<http://e/\\u0000> " P " " O " .\n" SPO, 0, SPO,
         "1:17 invalid escaped IRI character U+0000"},
        {"<http://e/\\u00ZZ> " P " " O " .\n" SPO, 0, SPO, "1:15 invalid hexadecimal digit `Z'"},
        {"<http://e/\\U00ZZ1111> " P " " O " .\n" SPO, 0, SPO,
         "1:15 invalid hexadecimal digit `Z'"},
        {"<http://e/\\u12> " P " " O " .\n" SPO, 0, SPO, "1:15 invalid hexadecimal digit `>'"},
        {"<http://e/\\U00110000> " P " " O " .\n" SPO, 0, SPO,
         "1:21 unicode character 0x110000 out of range"},
        {"<http://e/\\UFFFFFFFF> " P " " O " .\n" SPO, 0, SPO,
         "1:21 unicode character 0xFFFFFFFF out of range"},
        {"<http://e/\\uD800> " P " " O " .\n" SPO, 0, SPO,
         "1:1 an IRI with a character that is none (a surrogate)"},
        {"<http://e/\xff> " P " " O " .\n" SPO, 0, SPO, "1:12 invalid UTF-8 start 0xFF"},
        {"<http://e/\xed\xa0\x80> " P " " O " .\n" SPO, 0, SPO,
         "1:1 an IRI with a character that is none (a surrogate)"},
        {TEXT("<http://e/\0> " P " " O " .\n" SPO), SPO, "1:11 NUL"},
    };
    (void)state;
    rdf_check("iris.nt", cases, COUNT(cases));
}

static void literals(void **state)
{
    static const struct rdf_case cases[] = {
        {S " " P " \"\" .\n", 0, S " " P " \"\" .\n", NULL},
        {S P "\"a\".\n", 0, S " " P " \"a\" .\n", NULL},
        {S " " P " \"a . b # c <d> ' \" .\n", 0, S " " P " \"a . b # c <d> ' \" .\n", NULL},
        {S " " P " \"\\t\\b\\n\\r\\f\\\"\\'\\\\\" .\n", 0,
         S " " P " \"\\t\\b\\n\\r\\f\\\"'\\\\\" .\n", NULL},
        {S " " P " \"\\u0041\\U0001F600\" .\n", 0, S " " P " \"A\xf0\x9f\x98\x80\" .\n", NULL},
        {S " " P " \"\\u0000\\u0001\\u007f\" .\n", 0, S " " P " \"\\u0000\\u0001\\u007F\" .\n",
         NULL},
        {S " " P " \"\x01\x7f\t\" .\n", 0, S " " P " \"\\u0001\\u007F\\t\" .\n", NULL},
        {S " " P " \"\xc3\xa9\xf4\x8f\xbf\xbf\" .\n", 0,
         S " " P " \"\xc3\xa9\xf4\x8f\xbf\xbf\" .\n", NULL},
        {S " " P " \"a\"@en .\n", 0, S " " P " \"a\"@en .\n", NULL},
        {S P "\"a\"@en-Latn-GB-x1.\n", 0, S " " P " \"a\"@en-Latn-GB-x1 .\n", NULL},
        {S P "\"1\"^^<http://e/t>.\n", 0, S " " P " \"1\"^^<http://e/t> .\n", NULL},
        {S " " P " \"a\"^^<http://www.w3.org/2001/XMLSchema#string> .\n", 0, S " " P " \"a\" .\n",
         NULL},
        {S " " P " \"a\"^^<http://www.w3.org/2001/XMLSchema#strin> .\n", 0,
         S " " P " \"a\"^^<http://www.w3.org/2001/XMLSchema#strin> .\n", NULL},
    };
    (void)state;
    rdf_check("literals.nt", cases, COUNT(cases));
}

static void literals_refused(void **state)
{
    static const struct rdf_case cases[] = {
        {S " " P " \"a .\n" SPO, 0, SPO, "1:31 line end in short string"},
        {S " " P " a\" .\n" SPO, 0, SPO, "1:27 expected"},
        {S " " P " \"a\nb\" .\n" SPO, 0, SPO, "1:29 line end in short string\n2:2 bad verb"},
        {S " " P " \"a\rb\" .\n" SPO, 0, SPO, "1:29 line end in short string"},
        {S " " P " \"a\"b\" .\n" SPO, 0, SPO, "1:30 missing ';' or '.'"},
        {S " " P " \"\\x\" .\n" SPO, 0, SPO, "1:29 invalid escape `\\x'"},
        {S " " P " \"\\u12\" .\n" SPO, 0, SPO, "1:32 invalid hexadecimal digit `\"'"},
        {S " " P " \"\\u12G4\" .\n" SPO, 0, SPO, "1:32 invalid hexadecimal digit `G'"},
        {S " " P " \"\\U0001F60\" .\n" SPO, 0, SPO, "1:37 invalid hexadecimal digit `\"'"},
        {S " " P " \"\\U00110000\" .\n" SPO, 0, SPO,
         "1:38 unicode character 0x110000 out of range"},
        {S " " P " \"\\uD83D\\uDE00\" .\n" SPO, 0, SPO,
         "1:1 a literal with a character that is none (a surrogate)"},
        {S " " P " \"\\uDFFF\" .\n" SPO, 0, SPO,
         "1:1 a literal with a character that is none (a surrogate)"},
        {S " " P " \"a\\\" .\n" SPO, 0, SPO, "1:33 line end in short string"},
        {S " " P " \"\xff\" .\n" SPO, 0, SPO, "1:29 invalid UTF-8 start 0xFF"},
        {S " " P " \"\xc3\" .\n" SPO, 0, SPO, "1:29 invalid UTF-8 continuation 0x22"},
        {S " " P " \"\xc0\x80\" .\n" SPO, 0, SPO,
         "1:1 a literal with a character that is none (a surrogate)"},
        {S " " P " \"\x80\" .\n" SPO, 0, SPO, "1:29 invalid UTF-8 start 0x80"},
        {S " " P " \"\xed\xa0\x80\" .\n" SPO, 0, SPO,
         "1:1 a literal with a character that is none (a surrogate)"},
        {S " " P " \"\xf4\x90\x80\x80\" .\n" SPO, 0, SPO,
         "1:1 a literal with a character that is none (a surrogate)"},
        {TEXT(S " " P " \"a\0b\" .\n" SPO), SPO, "1:29 NUL"},
        {TEXT(SPO "\0\n" SPO), SPO SPO, "2:1 NUL"},
        {S " " P " \"a\"@ .\n" SPO, 0, SPO, "1:31 unexpected ` '"},
        {S " " P " \"a\"@1 .\n" SPO, 0, SPO, "1:31 unexpected `1'"},
        {S " " P " \"a\"@en- .\n" SPO, 0, SPO, "1:1 a language tag with an empty part"},
        {S " " P " \"a\"@en--x .\n" SPO, 0, SPO, "1:1 a language tag with an empty part"},
        {S " " P " \"a\"@en_US .\n" SPO, 0, SPO, "1:33 missing ';' or '.'"},
        {S " " P " \"a\"@\xc3\xa9 .\n" SPO, 0, SPO, "1:31 unexpected `\\xc3\'"},
        {S " " P " \"a\" @en .\n" SPO, 0, SPO, "1:31 missing ';' or '.'"},
        {S " " P " \"a\"@en^^<http://e/t> .\n" SPO, 0, SPO, "1:33 missing ';' or '.'"},
        {S " " P " \"a\"^^ .\n" SPO, 0, SPO, "1:32 bad literal"},
        {S " " P " \"a\"^<http://e/t> .\n" SPO, 0, SPO, "1:31 expected `^', not `<'"},
        {S " " P " \"a\"^^\"t\" .\n" SPO, 0, SPO, "1:32 bad literal"},
        {S " " P " \"a\"^^_:t .\n" SPO, 0, SPO, "1:32 bad literal"},
        {S " " P " \"a\"^^<http://e/t .\n" SPO, 0, SPO, "1:44 invalid IRI character (escape %20)"},
        {S " " P " \"a\"^^<http://www.w3.org/1999/02/22-rdf-syntax-ns#langString> .\n" SPO, 0,
         S " " P " \"a\"^^<http://www.w3.org/1999/02/22-rdf-syntax-ns#langString> .\n" SPO, NULL},
    };
    (void)state;
    rdf_check("literals.nt", cases, COUNT(cases));
}

static void blank_nodes(void **state)
{
    static const struct rdf_case cases[] = {
        {"_:b1 " P " _:B1 .\n", 0, "_:b1 " P " _:B1 .\n", NULL},
        {"_:genid1 " P " _:b0 .\n", 0, "_:genid1 " P " _:b0 .\n", NULL},
        {"_:a-b " P " _:a_b .\n", 0, "_:a-b " P " _:a_b .\n", NULL},
        {"_: " P " " O " .\n" SPO, 0, SPO, "1:3 invalid name start"},
        {"_ " P " " O " .\n" SPO, 0, SPO, "1:2 expected `:', not ` '"},
        {"_:-a " P " " O " .\n" SPO, 0, SPO, "1:1 a blank node whose name begins with '-'"},
        {"_:.a " P " " O " .\n" SPO, 0, SPO, "1:3 invalid name start"},
        {"_:a. " P " " O " .\n" SPO, 0, SPO, "1:5 subject ends with `.'"},
        {"_:a:b " P " " O " .\n" SPO, 0, SPO,
         "1:1 a name with a prefix: N-Triples have whole IRIs, in < >"},
        {"_:a\xff " P " " O " .\n" SPO, 0, SPO, "1:5 invalid UTF-8 start 0xFF"},
    };
    (void)state;
    rdf_check("blank.nt", cases, COUNT(cases));
}

/* Many wrong lines leave nothing behind in the reader. */
static void many_errors(void **state)
{
    static const char *const wrong[] = {"<http://e/s> <p\n", "_:a [ [ ( \"x\n",
                                        "<http://e/s> <http://e/p> \"x", "\"\\u12\" \n",
                                        "x:y x:y x:y .\n"};
    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        struct strata__bytes text = {0};
        for (size_t n = 0; n < 20000; n++) {
            assert_int_equal(strata__bytes_append(&text, wrong[i], strlen(wrong[i])), STRATA_OK);
            assert_int_equal(strata__bytes_append(&text, "\n", 1), STRATA_OK);
        }
        assert_int_equal(strata__bytes_append(&text, SPO, strlen(SPO)), STRATA_OK);
        struct rdf_outcome outcome = rdf_read(rdf_file("errors.nt", text.data, text.size), 0);
        assert_int_equal(outcome.status, STRATA_OK);
        assert_string_equal(outcome.accepted.data, SPO);
        assert_int_equal(outcome.n_refused, 20000);
        rdf_outcome_free(&outcome);
        strata__bytes_free(&text);
    }
}

/* ---- Lines that are read without serd ---- */

static uint32_t state = 1;

static uint32_t below(uint32_t n)
{
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % n;
}

/* A line with up to two places that are changed. */
static void random_line(struct strata__bytes *line)
{
    static const char *const lines[] = {
        SPO,
        S " " P " \"\" .\n",
        S " " P " \"a {b} <c> \xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x9f\"@de-CH-1996 .\n",
        S "\t" P "  \"1\"^^<http://www.w3.org/2001/XMLSchema#integer> .\r\n",
        S " " P " \"1\"^^<http://www.w3.org/2001/XMLSchema#string> .\n",
        "<u:\xc3\xa9> <a+-.1:> <u::/?#[]@!$&'()*+,;=%20> .\n",
        "_:a " P " _:b .\n",
    };
    static const char *const put[] = {
        "<",
        ">",
        "\"",
        "\\",
        "^",
        "@",
        "_",
        ":",
        "#",
        ".",
        " ",
        "\t",
        "\r",
        "-",
        "{",
        "|",
        "`",
        "a",
        "1",
        "'",
        ";",
        "\x01",
        "\x7f",
        "\xc3\xa9",
        "\xff",
        "\xed\xa0\x80",
        "\xef\xbf\xbf",
        "\\n",
        "\\u00e9",
        "",
        "",
        "",
    };
    const char *chosen = lines[below(COUNT(lines))];
    const size_t size = strlen(chosen) - 1;
    line->size = 0;
    size_t at = 0;
    for (uint32_t changes = below(3); changes; changes--) {
        const size_t to = at + below((uint32_t)(size - at + 1));
        const char *text = put[below(COUNT(put))];
        assert_int_equal(strata__bytes_append(line, chosen + at, to - at), STRATA_OK);
        assert_int_equal(strata__bytes_append(line, text, strlen(text)), STRATA_OK);
        at = to + (to < size && below(2)); /* instead of a byte, or before it */
    }
    assert_int_equal(strata__bytes_append(line, chosen + at, size - at), STRATA_OK);
}

/* They are what serd reads: it is asked where a comment follows. */
static void plain_lines(void **unused)
{
    struct strata__bytes line = {0}, plain = {0}, commented = {0};
    size_t n_plain = 0;
    (void)unused;
    for (size_t i = 0; i < 100000; i++) {
        struct strata__term terms[3];
        random_line(&line);
        n_plain += strata__rdf_line(line.data, line.size, terms);
        assert_int_equal(strata__bytes_append(&plain, line.data, line.size), STRATA_OK);
        assert_int_equal(strata__bytes_append(&plain, "\n", 1), STRATA_OK);
        assert_int_equal(strata__bytes_append(&commented, line.data, line.size), STRATA_OK);
        assert_int_equal(strata__bytes_append(&commented, " #\n", 3), STRATA_OK);
    }
    struct rdf_outcome a = rdf_read(rdf_file("plain.nt", plain.data, plain.size), 0);
    struct rdf_outcome b = rdf_read(rdf_file("commented.nt", commented.data, commented.size), 0);
    assert_true(n_plain > 30000 && n_plain < a.n_accepted && a.n_refused > 10000);
    assert_int_equal(a.n_refused, b.n_refused);
    assert_int_equal(a.accepted.size, b.accepted.size);
    assert_memory_equal(a.accepted.data, b.accepted.data, a.accepted.size);
    rdf_outcome_free(&a);
    rdf_outcome_free(&b);
    strata__bytes_free(&line);
    strata__bytes_free(&plain);
    strata__bytes_free(&commented);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(turtle_is_refused),
        cmocka_unit_test(iris),
        cmocka_unit_test(literals),
        cmocka_unit_test(literals_refused),
        cmocka_unit_test(blank_nodes),
        cmocka_unit_test(many_errors),
        cmocka_unit_test(plain_lines),
    };
    return cmocka_run_group_tests(tests, rdf_folder_make, rdf_folder_remove);
}

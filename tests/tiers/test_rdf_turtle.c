/* Turtle: what is accepted, and statements that are refused, after which the next one is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rdf_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define TEXT(text) text, sizeof text - 1
#define XSD "http://www.w3.org/2001/XMLSchema#"
#define RDF "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
/* A statement and what it means. */
#define GOOD "<u:s><u:p><u:o>.\n"
#define TRIPLE "<u:s> <u:p> <u:o> .\n"
#define WITH(object) "<u:s> <u:p> " object " .\n"
#define E "@prefix : <u:> .\n"

static void shapes(void **state)
{
    static const struct rdf_case cases[] = {
        {"", 0, "", NULL},
        {" \r\n# c\n#", 0, "", NULL},
        {GOOD, 0, TRIPLE, NULL},
        {"<u:s> <u:p> <u:o>.", 0, TRIPLE, NULL},
        {"<u:s>\n\t<u:p>\r\n<u:o>\n.\n", 0, TRIPLE, NULL},
        {GOOD "\n" GOOD GOOD, 0, TRIPLE TRIPLE TRIPLE, NULL},
        {"<u:s><u:p><u:o>.<u:s><u:p><u:o>.", 0, TRIPLE TRIPLE, NULL},
        {"<u:s> # a . b\n<u:p> # \"\n <u:o> # <\n . # '\n" GOOD, 0, TRIPLE TRIPLE, NULL},
        {"# c\r<u:s> <u:p> <u:o> .\r# d\r", 0, TRIPLE, NULL},
        {"<u:s> a <u:o>.", 0, "<u:s> <" RDF "type> <u:o> .\n", NULL},
        {"<u:s> <u:p> <u:o>, <u:o> ; <u:p> <u:o>;; .", 0, TRIPLE TRIPLE TRIPLE, NULL},
        {"\xef\xbb\xbf" GOOD, 0, TRIPLE, NULL},
        {"\xef\xbb\xbfPREFIX : <u:>\n:s :p :o .", 0, TRIPLE, NULL},
        {E ":s :p :o .", 0, TRIPLE, NULL},
        {"@prefix a.b: <u:>. a.b:s a.b:p a.b:o.", 0, TRIPLE, NULL},
        {"PREFIX a: <u:>\na:s a:p a:o.", 0, TRIPLE, NULL},
        {"prefix a: <u:> a:s a:p a:o.", 0, TRIPLE, NULL},
        {"@prefix prefix: <u:>. prefix:s prefix:p prefix:o.", 0, TRIPLE, NULL},
        {"@base <http://e/d/f> . <s> <#p> </o> .", 0,
         "<http://e/d/s> <http://e/d/f#p> <http://e/o> .\n", NULL},
        {"BASE <http://e/d/> <s> <../p> <> .", 0, "<http://e/d/s> <http://e/p> <http://e/d/> .\n",
         NULL},
        {"@base <http://e/> . @prefix : <d/> . :s :p <d/o> .", 0,
         "<http://e/d/s> <http://e/d/p> <http://e/d/o> .\n", NULL},
        {E ":s.t :p :o.o. :s :p :o.", 0, "<u:s.t> <u:p> <u:o.o> .\n" TRIPLE, NULL},
        {E ":s :p :a\\.b, :a\\#b, :%41, :a:b, :1, :\xc3\xa9.", 0,
         WITH("<u:a.b>") WITH("<u:a#b>") WITH("<u:%41>") WITH("<u:a:b>") WITH("<u:1>")
             WITH("<u:\xc3\xa9>"),
         NULL},
        {E ": : :.", 0, "<u:> <u:> <u:> .\n", NULL},
        {E ":s :p _:a.b, _:c.", 0, WITH("_:a.b") WITH("_:c"), NULL},
    };
    (void)state;
    rdf_check("shapes.ttl", cases, COUNT(cases));
}

static void literals(void **state)
{
    static const struct rdf_case cases[] = {
        {"<u:s><u:p>1,-2.5,3e4.", 0,
         WITH("\"1\"^^<" XSD "integer>") WITH("\"-2.5\"^^<" XSD "decimal>")
             WITH("\"3e4\"^^<" XSD "double>"),
         NULL},
        {"<u:s><u:p>1 . <u:s><u:p>+1.\n<u:s><u:p>.5.", 0,
         WITH("\"1\"^^<" XSD "integer>") WITH("\"+1\"^^<" XSD "integer>")
             WITH("\".5\"^^<" XSD "decimal>"),
         NULL},
        {"<u:s><u:p>1.<u:s><u:p>12.\n<u:s><u:p>-3. <u:s><u:p>(4).", 0,
         WITH("\"1\"^^<" XSD "integer>") WITH("\"12\"^^<" XSD "integer>")
             WITH("\"-3\"^^<" XSD "integer>") WITH("_:b1") "_:b1 <" RDF "first> \"4\"^^<" XSD
                                                           "integer> .\n_:b1 <" RDF "rest> <" RDF
                                                           "nil> .\n",
         NULL},
        {E "<u:s><u:p>1.:s :p 2.5.:s :p 3 ._:x :p :o1.", 0,
         WITH("\"1\"^^<" XSD "integer>") WITH("\"2.5\"^^<" XSD "decimal>")
             WITH("\"3\"^^<" XSD "integer>") "_:x <u:p> <u:o1> .\n",
         NULL},
        {"<u:s><u:p>1.e3.<u:s><u:p>1.5.<u:s><u:p>(.5.5).<u:s><u:p>\"1.\". # 1.", 0,
         WITH("\"1.e3\"^^<" XSD "double>") WITH("\"1.5\"^^<" XSD "decimal>") WITH(
             "_:b1") "_:b1 <" RDF "first> \".5\"^^<" XSD "decimal> .\n"
                     "_:b1 <" RDF "rest> _:b2 .\n_:b2 <" RDF "first> \".5\"^^<" XSD "decimal> .\n"
                     "_:b2 <" RDF "rest> <" RDF "nil> .\n" WITH("\"1.\""),
         NULL},
        {"<u:s><u:p>1.E3.", 0, WITH("\"1.E3\"^^<" XSD "double>"), NULL},
        {"<u:s><u:p>true,false.", 0,
         WITH("\"true\"^^<" XSD "boolean>") WITH("\"false\"^^<" XSD "boolean>"), NULL},
        {"<u:s><u:p>\"\",'',\"\"\"\"\"\",''''''.", 0,
         WITH("\"\"") WITH("\"\"") WITH("\"\"") WITH("\"\""), NULL},
        {"<u:s><u:p>\"a.'b\" . <u:s><u:p>'c.\"d'.", 0, WITH("\"a.'b\"") WITH("\"c.\\\"d\""), NULL},
        {"<u:s><u:p>\"\"\"a . \"b\" \"\"c'''\n<u:x>.\n\"\"\".", 0,
         WITH("\"a . \\\"b\\\" \\\"\\\"c'''\\n<u:x>.\\n\""), NULL},
        {"<u:s><u:p>'''a . ''b' \"\"\"\r\n'''.", 0, WITH("\"a . ''b' \\\"\\\"\\\"\\r\\n\""), NULL},
        {"<u:s><u:p>\"\"\"a\\\"\"\"\".", 0, WITH("\"a\\\"\""), NULL},
        {"<u:s><u:p>\"a\\\\\",\"\"\"\\\\\"\"\".", 0, WITH("\"a\\\\\"") WITH("\"\\\\\""), NULL},
        {"<u:s><u:p>\"a\"@en,'b'@de-AT.", 0, WITH("\"a\"@en") WITH("\"b\"@de-AT"), NULL},
        {E ":s :p \"1\"^^:t, '''2'''^^<u:t>.", 0, WITH("\"1\"^^<u:t>") WITH("\"2\"^^<u:t>"), NULL},
        {"@prefix x: <" XSD ">. <u:s><u:p>\"a\"^^x:string.", 0, WITH("\"a\""), NULL},
        {"<u:s><u:p>\"\\u00e9\\U0001F600\\n\".", 0, WITH("\"\xc3\xa9\xf0\x9f\x98\x80\\n\""), NULL},
        {"<u:s><u:p>\"# no comment\".", 0, WITH("\"# no comment\""), NULL},
    };
    (void)state;
    rdf_check("literals.ttl", cases, COUNT(cases));
}

static void nodes(void **state)
{
    static const struct rdf_case cases[] = {
        {"<u:s><u:p>[].", 0, WITH("_:b1"), NULL},
        {"[] <u:p> <u:o>.[] <u:p> <u:o>.", 0, "_:b1 <u:p> <u:o> .\n_:b2 <u:p> <u:o> .\n", NULL},
        {"[<u:p><u:o>] .", 0, "_:b1 <u:p> <u:o> .\n", NULL},
        {"[<u:p><u:o>] <u:p> <u:o>.", 0, "_:b1 <u:p> <u:o> .\n_:b1 <u:p> <u:o> .\n", NULL},
        {"<u:s><u:p>[<u:p>[<u:p><u:o>;<u:p><u:x>]].", 0,
         WITH("_:b1") "_:b1 <u:p> _:b2 .\n_:b2 <u:p> <u:o> .\n_:b2 <u:p> <u:x> .\n", NULL},
        {"<u:s><u:p>().", 0, WITH("<" RDF "nil>"), NULL},
        {"<u:s><u:p>(<u:o> \"a.\").", 0,
         WITH("_:b1") "_:b1 <" RDF "first> <u:o> .\n_:b1 <" RDF "rest> _:b2 .\n"
                      "_:b2 <" RDF "first> \"a.\" .\n_:b2 <" RDF "rest> <" RDF "nil> .\n",
         NULL},
        {"(1) <u:p> <u:o>.", 0,
         "_:b1 <" RDF "first> \"1\"^^<" XSD "integer> .\n_:b1 <" RDF "rest> <" RDF "nil> .\n"
         "_:b1 <u:p> <u:o> .\n",
         NULL},
        /* The reader's own names are none of the file's. */
        {"_:x <u:p> []. _:b1 <u:p> _:b2. _:b2 <u:p> [].", 0,
         "_:x <u:p> _:b1 .\n_:B1 <u:p> _:B2 .\n_:B2 <u:p> _:b2 .\n", NULL},
        {"_:B1 <u:p> <u:x_:b1>.\n_:b1 <u:p> <u:o>.\n" GOOD, 0, "_:B1 <u:p> <u:x_:b1> .\n" TRIPLE,
         "2:1 blank nodes _:b1 and _:B1"},
        {"_:b1 <u:p> <u:o>.\n_:B1 <u:p> <u:o>.\n" GOOD, 0, "_:B1 <u:p> <u:o> .\n" TRIPLE,
         "2:5 found both"},
        {"_:Bx <u:p> _:bx,_:b,_:B,\"_:B1\".\n_:b1 <u:p> <u:o>.\n", 0,
         "_:Bx <u:p> _:bx .\n_:Bx <u:p> _:b .\n_:Bx <u:p> _:B .\n_:Bx <u:p> \"_:B1\" .\n"
         "_:B1 <u:p> <u:o> .\n",
         NULL},
    };
    (void)state;
    rdf_check("nodes.ttl", cases, COUNT(cases));
}

static void errors(void **state)
{
    static const struct rdf_case cases[] = {
        {"<u:s> <u:p> .\n" GOOD, 0, TRIPLE, "1:14 expected digit"},
        {"<u:s> .\n" GOOD, 0, TRIPLE, "1:8 unexpected end of statement"},
        {".\n" GOOD, 0, TRIPLE, "1:2 unexpected end of statement"},
        {"<u:s> <u:p> <u:o> <u:x> .\n" GOOD, 0, TRIPLE, "1:19 missing ';' or '.'"},
        {"<u:s> <u:p> <u:o> ;; <u:p> .\n" GOOD, 0, TRIPLE, "1:29 expected digit"},
        {"<u:s> <u:p> , .\n" GOOD, 0, TRIPLE, "1:13 expected prefixed name"},
        {"\"s\" <u:p> <u:o> .\n" GOOD, 0, TRIPLE, "1:1 bad verb"},
        {"<u:s> \"p\" <u:o> .\n" GOOD, 0, TRIPLE, "1:7 bad verb"},
        {"<u:s> _:p <u:o> .\n" GOOD, 0, TRIPLE, "1:7 bad verb"},
        {"<u:s> [] <u:o> .\n" GOOD, 0, TRIPLE, "1:7 bad verb"},
        {"<u:s> <u:p> [<u:p> .\n" GOOD, 0, TRIPLE, "1:21 expected digit"},
        {"<u:s> <u:p> <u:o>] .\n" GOOD, 0, TRIPLE, "1:18 expected `.', not `]'"},
        {"<u:s> <u:p> (<u:o> .\n" GOOD, 0, TRIPLE, "1:21 expected digit"},
        {"<u:s> <u:p> [<u:p>) .\n" GOOD, 0, TRIPLE, "1:19 expected object"},
        {"<u:s> = <u:o> .\n" GOOD, 0, TRIPLE, "1:7 bad verb"},
        {"<u:s> <u:p> {<u:s> <u:p> <u:o>} .\n" GOOD, 0, TRIPLE, "1:13 expected prefixed name"},
        {"<s> <u:p> <u:o> .\n" GOOD, 0, TRIPLE,
         "1:1 an IRI without a scheme, and no base to complete it with"},
        {"<u:s> <u:p> <o> .\n" GOOD, 0, TRIPLE,
         "1:1 an IRI without a scheme, and no base to complete it with"},
        {"<> <u:p> <u:o> .\n" GOOD, 0, TRIPLE,
         "1:1 an IRI without a scheme, and no base to complete it with"},
        {"x:s <u:p> <u:o> .\n" GOOD, 0, TRIPLE, "1:1 a name whose prefix was not declared"},
        {":s <u:p> <u:o> .\n" GOOD, 0, TRIPLE, "1:1 a name whose prefix was not declared"},
        {"<u:s> <u:p> \"1\"^^x:t .\n" GOOD, 0, TRIPLE, "1:1 a name whose prefix was not declared"},
        {"<u:s> <u:p> o .\n" GOOD, 0, TRIPLE, "1:14 expected prefixed name"},
        {"<u:s> <u:p> True .\n" GOOD, 0, TRIPLE, "1:17 expected prefixed name"},
        {"<u:s> A <u:o> .\n" GOOD, 0, TRIPLE, "1:8 bad verb"},
        {"<u:s> <u:p> 1e .\n" GOOD, 0, TRIPLE, "1:15 expected digit"},
        {"<u:s> <u:p> +- .\n" GOOD, 0, TRIPLE, "1:14 expected digit"},
        {"<u:s> <u:p> \"a .\n" GOOD, 0, TRIPLE, "1:17 end of file in short string"},
        {"<u:s> <u:p> 'a .\n" GOOD, 0, TRIPLE, "1:17 end of file in short string"},
        {"<u:s> <u:p> \"a' .\n" GOOD, 0, TRIPLE, "1:18 end of file in short string"},
        {"<u:s> <u:p> \"a\\z\" .\n" GOOD, 0, TRIPLE, "1:16 invalid escape `\\z'"},
        {"<u:s> <u:p> \"\\uD800\" .\n" GOOD, 0, TRIPLE,
         "1:1 a literal with a character that is none (a surrogate)"},
        {"<u:s> <u:p> \"\xff\" .\n" GOOD, 0, TRIPLE, "1:15 invalid UTF-8 start 0xFF"},
        {"<u:s> <u:p> \"a\"@en- .\n" GOOD, 0, TRIPLE, "1:1 a language tag with an empty part"},
        {"<u:s> <u:p> <u:o .\n" GOOD, 0, TRIPLE, "1:18 invalid IRI character (escape %20)"},
        {"<u:s> <u:p> <u:a b> .\n" GOOD, 0, TRIPLE, "1:18 invalid IRI character (escape %20)"},
        {"<u:s> <u:p> <u:\\u000A> .\n" GOOD, 0, TRIPLE,
         "1:1 an IRI with a control character, a space or one of < > \" { } | ^ ` \\"},
    };
    (void)state;
    rdf_check("errors.ttl", cases, COUNT(cases));
}

static void more_errors(void **state)
{
    static const struct rdf_case cases[] = {
        {"@prefix : <u:x>\n" GOOD GOOD, 0, TRIPLE, "2:0 expected `.', not `<'"},
        {"@prefix x <u:> .\n" GOOD, 0, TRIPLE, "1:10 expected `:', not ` '"},
        {"@prefix x: .\n" GOOD, 0, TRIPLE, "1:12 expected `<', not `.'"},
        {"@base .\n" GOOD, 0, TRIPLE, "1:7 expected `<', not `.'"},
        {"@forSome <u:x> .\n" GOOD, 0, TRIPLE, "1:2 invalid directive"},
        {"@PREFIX : <u:> .\n" GOOD, 0, TRIPLE, "1:2 uppercase directive"},
        {"PREFIX x: <u:> .\n" GOOD, 0, TRIPLE, "1:2 unexpected end of statement"},
        {TEXT("<u:s> <u:p> \"a\0\" .\n" GOOD), TRIPLE, "1:15 NUL"},
        {TEXT("\0" GOOD GOOD), TRIPLE, "1:1 NUL"},
        /* One wrong object takes its whole statement. */
        {"<u:s> <u:p> <u:o>, x:o ; <u:p> <u:x> .\n" GOOD, 0, TRIPLE,
         "1:1 a name whose prefix was not declared"},
        {GOOD "\n\n  <u:s>\n  <u:p>\n  x .\n" GOOD, 0, TRIPLE TRIPLE, "6:3 expected prefixed name"},
        /* To the end. */
        {GOOD "<u:s> <u:p> \"\"\"a .\n" GOOD, 0, TRIPLE, "4:0 end of file in long string"},
        {GOOD "<u:s> <u:p> '''a''\n" GOOD, 0, TRIPLE, "4:0 end of file in long string"},
        {GOOD "<u:s> <u:p> \"a", 0, TRIPLE, "2:15 end of file in short string"},
        {GOOD "<u:s> <u:p> <u:o", 0, TRIPLE, "2:18 invalid IRI character (escape %FFFFFFFF)"},
        {GOOD "<u:s> <u:p> [", 0, TRIPLE, "2:14 bad verb"},
        {GOOD "<u:s> <u:p> (", 0, TRIPLE, "2:14 expected object"},
        {GOOD "<u:s> <u:p> <u:o>", 0, TRIPLE, "2:18 unexpected end of file"},
        {GOOD "<u:s> <u:p> \"a\\", 0, TRIPLE, "2:16 invalid escape `\\\\xff'"},
        {GOOD "<u:s> <u:p> <u:o> # .", 0, TRIPLE, "2:22 unexpected end of file"},
        {GOOD "PREFIX", 0, TRIPLE, "2:7 expected `:', not `\\xff'"},
        {GOOD "@prefix", 0, TRIPLE, "2:8 expected `:', not `\\xff'"},
        {GOOD "\\", 0, TRIPLE, "2:1 bad verb"},
    };
    (void)state;
    rdf_check("errors.ttl", cases, COUNT(cases));
}

/* Brackets in brackets: some are read, and no number of them takes the stack. */
static void nesting(void **state)
{
    static const size_t depths[] = {500, 501, 1000000};
    static const char *const brackets[][2] = {{"(", ")"}, {"[<u:p>", "]"}};
    (void)state;
    for (size_t i = 0; i < COUNT(depths) * COUNT(brackets) * 2; i++) {
        const size_t depth = depths[i / 2 % COUNT(depths)];
        const char *const *pair = brackets[i / 2 / COUNT(depths)];
        struct strata__bytes text = {0};
        const char *parts[] = {"<u:s><u:p>", pair[0], "<u:o>", i % 2 ? pair[1] : "", ".\n" GOOD};
        for (size_t p = 0; p < COUNT(parts); p++)
            for (size_t n = p == 1 || p == 3 ? depth : 1; n; n--)
                assert_int_equal(strata__bytes_append(&text, parts[p], strlen(parts[p])),
                                 STRATA_OK);
        struct rdf_outcome outcome = rdf_read(rdf_file("deep.ttl", text.data, text.size), 0);
        const bool whole = i % 2 && depth <= 500;
        assert_int_equal(outcome.status, STRATA_OK);
        assert_int_equal(outcome.n_refused, !whole);
        assert_true(outcome.n_accepted == 1 ? !whole : whole && outcome.n_accepted > depth);
        if (depth > 500)
            assert_non_null(strstr(outcome.refused.data, "1:1 brackets are nested"));
        rdf_outcome_free(&outcome);
        strata__bytes_free(&text);
    }
}

/* A statement that means far more than it takes is refused. */
static void expansion(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    assert_int_equal(strata__bytes_append(&text, "@prefix a: <u:", 14), STRATA_OK);
    for (size_t i = 0; i < 1 << 20; i++)
        assert_int_equal(strata__bytes_append(&text, "x", 1), STRATA_OK);
    assert_int_equal(strata__bytes_append(&text, ">.\n<u:s><u:p>a:", 15), STRATA_OK);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(strata__bytes_append(&text, ",a:", 3), STRATA_OK);
    assert_int_equal(strata__bytes_append(&text, ".\n" GOOD, 2 + strlen(GOOD)), STRATA_OK);
    struct rdf_outcome outcome = rdf_read(rdf_file("long.ttl", text.data, text.size), 0);
    assert_int_equal(outcome.status, STRATA_OK);
    assert_string_equal(outcome.accepted.data, TRIPLE);
    assert_non_null(strstr(outcome.refused.data, "2:1 a statement that means more than 256 MiB"));
    rdf_outcome_free(&outcome);
    strata__bytes_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),    cmocka_unit_test(literals),    cmocka_unit_test(nodes),
        cmocka_unit_test(errors),    cmocka_unit_test(more_errors), cmocka_unit_test(nesting),
        cmocka_unit_test(expansion),
    };
    return cmocka_run_group_tests(tests, rdf_folder_make, rdf_folder_remove);
}

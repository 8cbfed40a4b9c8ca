/* What a store finds: patterns against a model, names and values, limits; removal by pattern. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define XSD "http://www.w3.org/2001/XMLSchema#"
#define LABEL "<http://www.w3.org/2000/01/rdf-schema#label>"
#define PREF "<http://www.w3.org/2004/02/skos/core#prefLabel>"
#define ALT "<http://www.w3.org/2004/02/skos/core#altLabel>"

static strata_facts_query query_of(const char *subject, const char *predicate, const char *object)
{
    strata_facts_query query;
    strata_facts_query_default(&query);
    query.subject = subject;
    query.predicate = predicate;
    query.object = object;
    query.limit = 0;
    return query;
}

/* The lines that a pattern finds, in this order where it is given. */
static void finds(strata_facts *facts, const char *s, const char *p, const char *o,
                  const char *lines)
{
    const strata_facts_query query = query_of(s, p, o);
    strata_facts_answer answer;
    char *found = store_find(facts, &query, &answer);
    if (strcmp(found, lines) != 0)
        fail_msg("%s, %s, %s:\n%sinstead of\n%s", s ? s : "*", p ? p : "*", o ? o : "*", found,
                 lines);
    assert_true(answer.complete && !answer.timed_out);
    free(found);
}

/* ---- A random graph ---- */

enum { TERMS = 14, TRIPLES = 300 };
static const char *const terms[TERMS] = {
    "<u:a>",
    "<u:b>",
    "<u:c>",
    "<u:d>",
    "_:n",
    "_:m",
    "\"x\"",
    "\"x\"@en",
    "\"x\"@de",
    "\"5\"^^<" XSD "integer>",
    "\"6.0\"^^<" XSD "double>",
    "\"x\"^^<u:a>",
    "\"\"",
    "\"u:a\"",
};
static bool graph[TERMS][TERMS][TERMS];
static uint32_t seed = 1;

static size_t below(size_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

/* The triples of the model with these terms (TERMS: any), in order. */
static char *model_lines(size_t s, size_t p, size_t o)
{
    char *text = calloc(1, (size_t)TRIPLES * 200 + 1), *end = text;
    assert_non_null(text);
    for (size_t i = 0; i < TERMS; i++)
        for (size_t j = 0; j < TERMS; j++)
            for (size_t k = 0; k < TERMS; k++)
                if (graph[i][j][k] && (s == TERMS || s == i) && (p == TERMS || p == j) &&
                    (o == TERMS || o == k))
                    end += sprintf(end, "%s %s %s .\n", terms[i], terms[j], terms[k]);
    sort_lines(text);
    return text;
}

/* Blank nodes of the store as the model names them. */
static void name_blanks(char *text)
{
    static char names[2][40];
    char *to = text;
    for (char *from = text; *from;) {
        size_t n = strncmp(from, "_:b", 3) ? 0 : strcspn(from, " ");
        if (n) {
            int which = *names[0] && strncmp(from, names[0], n) ? 1 : 0;
            snprintf(names[which], sizeof names[which], "%.*s", (int)n, from);
            to += sprintf(to, "_:%c", which ? 'm' : 'n');
            from += n;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
}

static void check_patterns(strata_facts *facts, const char *blanks[2])
{
    for (size_t n = 0; n < 4000; n++) {
        const size_t places[] = {below(TERMS + 4), below(TERMS + 4), below(TERMS + 4)};
        const char *texts[3];
        size_t ids[3];
        for (int i = 0; i < 3; i++) {
            ids[i] = places[i] < TERMS ? places[i] : TERMS;
            texts[i] = ids[i] == TERMS ? NULL : terms[ids[i]];
            if (texts[i] && !strncmp(texts[i], "_:", 2))
                texts[i] = blanks[texts[i][2] == 'm'];
        }
        const strata_facts_query query = query_of(texts[0], texts[1], texts[2]);
        char *found = store_find(facts, &query, NULL),
             *wanted = model_lines(ids[0], ids[1], ids[2]);
        name_blanks(found);
        sort_lines(found);
        assert_string_equal(found, wanted);
        free(found);
        free(wanted);
    }
}

/* Imports the model, checks all patterns, removes by patterns until nothing is left. */
static void check_graph(uint64_t mask, size_t batch)
{
    static char blanks[2][40];
    const char *names[2] = {blanks[0], blanks[1]};
    memset(graph, 0, sizeof graph);
    for (size_t n = 0; n < TRIPLES; n++)
        graph[below(6)][below(4)][below(TERMS)] = true;
    graph[4][0][5] = graph[5][0][4] = true;
    graph[4][3][4] = true;
    graph[5][3][5] = graph[4][3][5] = graph[5][3][4] = false;
    store_hash_mask = mask;
    store_batch_triples = batch;
    strata_facts *facts = store_open("graph", true);
    char *text = model_lines(TERMS, TERMS, TERMS);
    store_import(facts, "graph.nt", text);
    free(text);
    assert_int_equal(strata_facts_check(facts, NULL, NULL), STRATA_OK);
    strata_facts_query query = query_of(NULL, "u:d", NULL);
    char *found = store_find(facts, &query, NULL); /* _:n <u:d> _:n gives the name away */
    for (char *line = found; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        const size_t n = strcspn(line, " ");
        if (!strncmp(line, "_:b", 3) && !strncmp(line, line + n + strlen(" <u:d> "), n))
            snprintf(blanks[0], sizeof blanks[0], "%.*s", (int)n, line);
    }
    free(found);
    query = query_of(blanks[0], "u:a", NULL);
    found = store_find(facts, &query, NULL);
    for (char *at = found; (at = strstr(at, "<u:a> _:b")); at++)
        if (strncmp(at + 6, blanks[0], strlen(blanks[0])) != 0)
            snprintf(blanks[1], sizeof blanks[1], "%.*s", (int)strcspn(at + 6, " "), at + 6);
    free(found);
    assert_true(*blanks[0] && *blanks[1]);
    text = strdup(blanks[0]); /* name_blanks meets _:n first */
    name_blanks(text);
    free(text);
    check_patterns(facts, names);
    for (size_t n = 0; n < 60; n++) {
        const size_t s = below(6), p = below(5), o = below(TERMS);
        uint64_t removed, wanted = 0;
        query = query_of(s < 4 ? terms[s] : NULL, p < 4 ? terms[p] : NULL,
                         o > 5 || s + p < 4 ? terms[o > 5 ? o : 0] : NULL);
        if (!query.subject && !query.predicate && !query.object)
            continue;
        for (size_t i = 0; i < TERMS; i++)
            for (size_t j = 0; j < TERMS; j++)
                for (size_t k = 0; k < TERMS; k++)
                    if (graph[i][j][k] && (!query.subject || query.subject == terms[i]) &&
                        (!query.predicate || query.predicate == terms[j]) &&
                        (!query.object || query.object == terms[k])) {
                        graph[i][j][k] = false;
                        wanted++;
                    }
        assert_int_equal(strata_facts_remove(facts, &query, &removed), STRATA_OK);
        assert_int_equal(removed, wanted);
        assert_int_equal(strata_facts_check(facts, NULL, NULL), STRATA_OK);
        if (n == 30)
            check_patterns(facts, names);
    }
    strata_facts_close(&facts);
    store_hash_mask = UINT64_MAX;
    store_batch_triples = 0;
}

static void patterns(void **state)
{
    (void)state;
    check_graph(UINT64_MAX, 0);
}

/* All hashes are among few: terms and values are found by what they are. */
static void colliding_hashes(void **state)
{
    (void)state;
    check_graph(3, 0);
    check_graph(3, 7);
    check_graph(0, 50);
}

/* ---- Names and values ---- */

static void names(void **state)
{
    static const char text[] =
        "<u:city> " LABEL " \"Congo\"@en .\n<u:river> " ALT " \"congo\" .\n"
        "<u:dr> " PREF " \"CONGO\"@fr .\n<u:dr> <u:x> <u:1> .\n<u:dr> <u:x> <u:2> .\n"
        "<u:big> " LABEL " \"Congo\" .\n<u:big> <u:x> <u:1> .\n<u:big> <u:x> <u:2> .\n"
        "<u:city> <u:x> <u:1> .\n<u:river> <u:x> <u:1> .\n<u:x> " LABEL " \"flows by\" .\n"
        "<u:other> <u:comment> \"Congo\" .\n<u:1> <u:in> <u:big> .\n"
        "<u:both> " LABEL " \"One\", \"Two\" .\n<u:both> " ALT
        " \"one\" .\n<u:both> <u:x> <u:9> .\n"
        "_:a " LABEL " \"Nameless\" .\n_:a <u:x> <u:7> .\n";
    (void)state;
    strata_facts *facts = store_open("names", true);
    store_import(facts, "names.ttl", text);
    /* rdfs:label before prefLabel before altLabel, then those of which there is more. */
    finds(facts, "  congo", "Flows  BY", NULL,
          "<u:big> <u:x> <u:1> .\n<u:big> <u:x> <u:2> .\n<u:city> <u:x> <u:1> .\n"
          "<u:dr> <u:x> <u:1> .\n<u:dr> <u:x> <u:2> .\n<u:river> <u:x> <u:1> .\n");
    finds(facts, "Congo", "u:x", "<u:2>", "<u:big> <u:x> <u:2> .\n<u:dr> <u:x> <u:2> .\n");
    /* An object is also a literal's text. */
    finds(facts, NULL, "u:comment", "congo", "<u:other> <u:comment> \"Congo\" .\n");
    finds(facts, NULL, "u:in", "CONGO", "<u:1> <u:in> <u:big> .\n");
    finds(facts, "two", "<u:x>", NULL, "<u:both> <u:x> <u:9> .\n");
    finds(facts, "one", "<u:x>", NULL, "<u:both> <u:x> <u:9> .\n");
    finds(facts, "u:both", "<u:x>", NULL, "<u:both> <u:x> <u:9> .\n");
    finds(facts, "Cong", NULL, NULL, "");
    finds(facts, "", NULL, NULL, "");
    finds(facts, "\xff", NULL, NULL, "");
    finds(facts, "\"Congo\"", NULL, NULL, "");
    finds(facts, NULL, NULL, "\"Congo\"@en", "<u:city> " LABEL " \"Congo\"@en .\n");
    finds(facts, NULL, NULL, "\"congo\"@en", "");
    finds(facts, "u:nothing", "u:x", NULL, "");
    strata_facts_query query = query_of("nameless", "u:x", NULL);
    char *found = store_find(facts, &query, NULL);
    assert_memory_equal(found, "_:b", 3);
    free(found);
    /* Labels of what is found. */
    strata_facts_result *result;
    query = query_of("u:big", "u:x", "u:1");
    assert_int_equal(strata_facts_find(facts, &query, &result), STRATA_OK);
    const strata_fact *fact = strata_facts_result_fact(result, 0);
    assert_string_equal(fact->subject.label, "Congo");
    assert_string_equal(fact->predicate.label, "flows by");
    assert_null(fact->object.label);
    strata_facts_result_free(&result);
    strata_facts_close(&facts);
}

/* The end of a predicate's IRI is a name where nothing has it as a label. */
static void local_names(void **state)
{
    static const char text[] =
        "<u:s> <http://e/p/partOf> <u:1> .\n<u:s> <http://f#partOf> <u:2> .\n"
        "<u:s> <http://e/p/x> <u:3> .\n<http://e/p/y> " LABEL
        " \"x\" .\n<u:s> <http://e/p/> <u:4> .\n"
        "<u:s> <http://e/p/y> <u:partOf> .\n";
    (void)state;
    strata_facts *facts = store_open("local", true);
    store_import(facts, "local.nt", text);
    finds(facts, NULL, " PARTof", NULL,
          "<u:s> <http://e/p/partOf> <u:1> .\n<u:s> <http://f#partOf> <u:2> .\n");
    finds(facts, NULL, "x", NULL, "<u:s> <http://e/p/y> <u:partOf> .\n");
    finds(facts, NULL, "Of", NULL, "");
    finds(facts, NULL, "", NULL, "");
    finds(facts, "s", NULL, NULL, "");
    finds(facts, NULL, NULL, "partOf", "");
    strata_facts_close(&facts);
}

static void values(void **state)
{
    static const char text[] =
        "<u:a> <u:n> \"5\"^^<" XSD "integer> .\n<u:b> <u:n> \"05.0\"^^<" XSD "decimal> .\n"
        "<u:c> <u:n> \"5e0\"^^<" XSD "double> .\n<u:d> <u:n> \"5\" .\n<u:e> <u:n> \"5\"@en .\n"
        "<u:f> <u:n> \"5\"^^<u:t> .\n<u:g> <u:n> \"50\"^^<" XSD "integer> .\n"
        "<u:h> <u:t> \"2024-01-01T00:00:00Z\"^^<" XSD "dateTime> .\n"
        "<u:i> <u:t> \"2023-12-31T23:00:00-01:00\"^^<" XSD "dateTime> .\n"
        "<u:j> <u:n> \"5x\"^^<" XSD "integer> .\n";
    (void)state;
    strata_facts *facts = store_open("values", true);
    store_import(facts, "values.nt", text);
    finds(facts, NULL, NULL, "\"5.00\"^^<" XSD "double>",
          "<u:a> <u:n> \"5\"^^<" XSD "integer> .\n<u:b> <u:n> \"05.0\"^^<" XSD "decimal> .\n"
          "<u:c> <u:n> \"5e0\"^^<" XSD "double> .\n");
    finds(facts, NULL, "u:n", "5",
          "<u:a> <u:n> \"5\"^^<" XSD "integer> .\n<u:b> <u:n> \"05.0\"^^<" XSD "decimal> .\n"
          "<u:c> <u:n> \"5e0\"^^<" XSD "double> .\n<u:d> <u:n> \"5\" .\n<u:e> <u:n> \"5\"@en .\n");
    finds(facts, NULL, NULL, "\"5\"", "<u:d> <u:n> \"5\" .\n");
    finds(facts, NULL, NULL, "\"5\"@en", "<u:e> <u:n> \"5\"@en .\n");
    finds(facts, NULL, NULL, "\"5\"^^<u:t>", "<u:f> <u:n> \"5\"^^<u:t> .\n");
    finds(facts, NULL, NULL, "\"5x\"^^<" XSD "integer>",
          "<u:j> <u:n> \"5x\"^^<" XSD "integer> .\n");
    finds(facts, NULL, NULL, "\"2024-01-01T02:00:00+02:00\"^^<" XSD "dateTime>",
          "<u:h> <u:t> \"2024-01-01T00:00:00Z\"^^<" XSD "dateTime> .\n"
          "<u:i> <u:t> \"2023-12-31T23:00:00-01:00\"^^<" XSD "dateTime> .\n");
    strata_facts_close(&facts);
}

static void wrong_terms(void **state)
{
    static const char *const wrong[] = {"<u:a", "<a>",         "\"x",        "\"x\"@",
                                        "_:",   "<u:a> <u:b>", "\"1\"^^x:y", "\"\xff\""};
    (void)state;
    strata_facts *facts = store_open("wrong", true);
    for (size_t i = 0; i < COUNT(wrong) * 3; i++) {
        static const char *const places[] = {"subject '", "predicate '", "object '"};
        const char *texts[3] = {NULL, NULL, NULL};
        strata_facts_result *result = (void *)&facts;
        texts[i % 3] = wrong[i / 3];
        const strata_facts_query query = query_of(texts[0], texts[1], texts[2]);
        assert_int_equal(strata_facts_find(facts, &query, &result), STRATA_E_INVALID);
        assert_null(result);
        assert_non_null(strstr(strata_last_error(), places[i % 3]));
        assert_int_equal(strata_facts_remove(facts, &query, NULL), STRATA_E_INVALID);
    }
    strata_facts_query query = query_of(NULL, NULL, NULL);
    assert_int_equal(strata_facts_remove(facts, &query, NULL), STRATA_E_INVALID);
    finds(facts, NULL, NULL, NULL, "");
    strata_facts_result *result;
    query.deadline_ms = -1;
    assert_int_equal(strata_facts_find(facts, &query, &result), STRATA_E_INVALID);
    query.deadline_ms = 0;
    query.size--;
    assert_int_equal(strata_facts_find(facts, &query, &result), STRATA_E_INVALID);
    strata_facts_close(&facts);
}

/* ---- Offset, limit, deadline ---- */

static void pages(void **state)
{
    enum { N = 1000 };
    struct strata__bytes text = {0};
    strata_facts_answer answer;
    (void)state;
    for (int i = 0; i < N; i++) {
        char line[64];
        int n = snprintf(line, sizeof line, "<u:s%d> <u:p> <u:o%d> .\n", i % 7, i);
        assert_int_equal(strata__bytes_append(&text, line, (size_t)n), STRATA_OK);
    }
    assert_int_equal(strata__bytes_append(&text, "", 1), STRATA_OK);
    strata_facts *facts = store_open("pages", true);
    store_import(facts, "pages.nt", text.data);
    strata_facts_query query = query_of(NULL, "u:p", NULL);
    char *all = store_find(facts, &query, &answer);
    assert_int_equal(answer.n_facts, N);
    for (size_t limit = 1; limit <= N + 1; limit += 1 + limit * 2) {
        struct strata__bytes joined = {0};
        query.limit = limit;
        for (query.offset = 0;; query.offset += limit) {
            char *page = store_find(facts, &query, &answer);
            const size_t left = query.offset > N ? 0 : N - query.offset;
            assert_int_equal(answer.n_facts, left < limit ? left : limit);
            assert_int_equal(answer.complete, left <= limit);
            assert_false(answer.timed_out);
            assert_int_equal(strata__bytes_append(&joined, page, strlen(page)), STRATA_OK);
            free(page);
            if (answer.complete)
                break;
        }
        assert_int_equal(joined.size, strlen(all));
        assert_memory_equal(joined.data, all, joined.size);
        strata__bytes_free(&joined);
    }
    query.offset = UINT64_MAX;
    free(store_find(facts, &query, &answer));
    assert_true(answer.n_facts == 0 && answer.complete);
    query.offset = 0;
    query.limit = 0;
    query.deadline_ms = 1e-9;
    free(store_find(facts, &query, &answer));
    assert_true(answer.timed_out && !answer.complete && answer.n_facts < N);
    query.deadline_ms = 60000;
    free(store_find(facts, &query, &answer));
    assert_true(!answer.timed_out && answer.complete && answer.n_facts == N);
    free(all);
    strata__bytes_free(&text);
    strata_facts_close(&facts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns), cmocka_unit_test(colliding_hashes),
        cmocka_unit_test(names),    cmocka_unit_test(local_names),
        cmocka_unit_test(values),   cmocka_unit_test(wrong_terms),
        cmocka_unit_test(pages),
    };
    return cmocka_run_group_tests(tests, rdf_folder_make, rdf_folder_remove);
}

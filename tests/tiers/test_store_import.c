/* Imports: what is added and removed, interruptions, several batches, readers meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "store_batch.h"
#include "store_fixture.h"

#define A "<u:a> <u:p> <u:o> .\n"
#define B "<u:b> <u:p> \"5\"^^<u:t> .\n"
#define C "<u:c> <u:p> \"x\"@en .\n"

static strata_facts_import_options options(void)
{
    strata_facts_import_options how;
    strata_facts_import_options_default(&how);
    return how;
}

static void twice_is_once(void **state)
{
    static const char text[] = A B A A C C "\n# c\nx\n" A;
    (void)state;
    strata_facts *facts = store_open("twice", true);
    strata_facts_import_info info = store_import(facts, "twice.nt", text);
    assert_int_equal(info.statements, 7);
    assert_int_equal(info.changed, 3);
    assert_int_equal(info.refused, 1);
    assert_int_equal(info.resumed, 0);
    store_is(facts, A B C);
    info = store_import(facts, "twice.nt", text);
    assert_int_equal(info.statements, 7);
    assert_int_equal(info.changed, 0);
    store_is(facts, A B C);
    strata_facts_close(&facts);
    facts = store_open("twice", false); /* and after it was opened again */
    store_is(facts, A B C);
    assert_int_equal(store_import(facts, "other.nt", B "<u:d> <u:p> <u:o> .\n").changed, 1);
    store_is(facts, A B C "<u:d> <u:p> <u:o> .\n");
    strata_facts_close(&facts);
}

static void empty_files(void **state)
{
    strata_facts_info info;
    (void)state;
    strata_facts *facts = store_open("empty", true);
    assert_int_equal(store_import(facts, "empty.nt", "").statements, 0);
    assert_int_equal(store_import(facts, "empty.ttl", "# c\n").statements, 0);
    store_is(facts, "");
    assert_int_equal(strata_facts_info_get(facts, &info), STRATA_OK);
    assert_true(info.triples + info.terms + info.subjects + info.predicates + info.objects == 0);
    store_import(facts, "some.nt", A A B C);
    assert_int_equal(strata_facts_info_get(facts, &info), STRATA_OK);
    assert_int_equal(info.triples, 3);
    assert_int_equal(info.terms, 7);
    assert_int_equal(info.subjects, 3);
    assert_int_equal(info.predicates, 1);
    assert_int_equal(info.objects, 3);
    strata_facts_close(&facts);
}

/* Blank nodes are those of their file, the same when it is read again. */
static void blank_nodes(void **state)
{
    static const char text[] = "_:a <u:p> _:b .\n_:a <u:p> _:a .\n";
    strata_facts_info info;
    (void)state;
    strata_facts *facts = store_open("blank", true);
    assert_int_equal(store_import(facts, "one.nt", text).changed, 2);
    assert_int_equal(store_import(facts, "one.nt", text).changed, 0);
    assert_int_equal(store_import(facts, "two.nt", text).changed, 2);
    assert_int_equal(store_import(facts, "t.ttl", "[] <u:p> []. [<u:q> ()] .").changed, 2);
    assert_int_equal(store_import(facts, "t.ttl", "[] <u:p> []. [<u:q> ()] .").changed, 0);
    assert_int_equal(strata_facts_info_get(facts, &info), STRATA_OK);
    assert_int_equal(info.triples, 6);
    assert_int_equal(info.subjects, 4);
    /* Removed by the names that the store exports, not by the file's. */
    char *all = store_export(facts);
    strata_facts_import_options how = options();
    how.remove = true;
    strata_facts_import_info removed;
    assert_int_equal(
        strata_facts_import(facts, rdf_file("one.nt", text, strlen(text)), &how, &removed),
        STRATA_OK);
    assert_int_equal(removed.changed, 0);
    assert_int_equal(
        strata_facts_import(facts, rdf_file("all.nt", all, strlen(all)), &how, &removed),
        STRATA_OK);
    assert_int_equal(removed.changed, 6);
    store_is(facts, "");
    free(all);
    strata_facts_close(&facts);
}

static void removal_by_file(void **state)
{
    static const char minus[] = B B "<u:b> <u:p> \"5\" .\n<u:z> <u:p> <u:z> .\n";
    strata_facts_import_options how = options();
    strata_facts_import_info info;
    (void)state;
    strata_facts *facts = store_open("remove", true);
    store_import(facts, "abc.nt", A B C);
    how.remove = true;
    const char *path = rdf_file("minus.nt", minus, strlen(minus));
    assert_int_equal(strata_facts_import(facts, path, &how, &info), STRATA_OK);
    assert_int_equal(info.statements, 4);
    assert_int_equal(info.changed, 1);
    store_is(facts, A C);
    assert_int_equal(strata_facts_import(facts, path, &how, &info), STRATA_OK);
    assert_int_equal(info.changed, 0);
    store_import(facts, "abc.nt", A B C);
    store_is(facts, A B C);
    strata_facts_close(&facts);
}

/* ---- Problems ---- */

struct seen {
    size_t problems, reports;
    uint64_t line;
    size_t stop_at; /* a report; 0: never */
};

static void on_problem(void *user, const char *file, uint64_t line, uint64_t column,
                       const char *reason)
{
    struct seen *seen = user;
    assert_non_null(strstr(file, ".nt"));
    assert_true(column > 0 && *reason);
    seen->problems++;
    seen->line = line;
}

static bool on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    struct seen *seen = user;
    assert_true(*what && done <= total);
    return ++seen->reports != seen->stop_at;
}

static void strictness(void **state)
{
    static const char text[] = A "x\n" B "y\n";
    struct seen seen = {0};
    strata_facts_import_options how = options();
    strata_facts_import_info info;
    (void)state;
    strata_facts *facts = store_open("strict", true);
    how.on_problem = on_problem;
    how.user = &seen;
    how.strict = true;
    const char *path = rdf_file("strict.nt", text, strlen(text));
    assert_int_equal(strata_facts_import(facts, path, &how, &info), STRATA_E_FORMAT);
    assert_non_null(strstr(strata_last_error(), "strict.nt:2:"));
    assert_int_equal(seen.problems, 1);
    assert_int_equal(info.refused, 1);
    store_is(facts, "");
    how.strict = false;
    assert_int_equal(strata_facts_import(facts, path, &how, &info), STRATA_OK);
    assert_int_equal(seen.problems, 3);
    assert_int_equal(seen.line, 4);
    assert_int_equal(info.refused, 2);
    store_is(facts, A B);
    how.size--;
    assert_int_equal(strata_facts_import(facts, path, &how, &info), STRATA_E_INVALID);
    how.size++;
    assert_int_equal(strata_facts_import(facts, "/nowhere/x.nt", &how, &info), STRATA_E_IO);
    assert_int_equal(strata_facts_import(facts, rdf_folder, &how, &info), STRATA_E_IO);
    strata_facts_close(&facts);
}

/* ---- Interruptions ---- */

enum { LINES = 50, BATCH = 9 };

/* Lines of a file; blank nodes, and terms that come again. */
static char *many_lines(const char *name)
{
    char *text = calloc(LINES + 1, 200), *end = text;
    const bool turtle = strstr(name, ".ttl") != NULL;
    assert_non_null(text);
    end += sprintf(end, turtle ? "@prefix : <u:> .\n" : "# c\n");
    for (int i = 0; i < LINES; i++)
        end += i % 9 == 8 ? sprintf(end, "x .\n")
               : turtle   ? sprintf(end, ":s%d :p _:n%d, [:q \"%d\"].\n", i % 5, i % 4, i % 11)
                          : sprintf(end, "<u:s%d> <u:p> _:n%d .\n", i % 50, i % 4);
    return text;
}

/* Imports from `path`, stopped at a report (0: not). */
static strata_facts_import_info run(strata_facts *facts, const char *path, size_t stop_at,
                                    bool restart, strata_status wanted)
{
    struct seen seen = {.stop_at = stop_at};
    strata_facts_import_options how = options();
    strata_facts_import_info info;
    how.on_progress = on_progress;
    how.user = &seen;
    how.restart = restart;
    assert_int_equal(strata_facts_import(facts, path, &how, &info), wanted);
    return info;
}

/* Stops an import at each report, goes on, and compares with one that was not stopped. */
static void check_interruptions(const char *name)
{
    char *text = many_lines(name);
    const char *path = rdf_file(name, text, strlen(text));
    size_t stops = 0;
    store_batch_triples = BATCH;
    strata_facts *facts = store_open("whole", true);
    const strata_facts_import_info all = run(facts, path, 0, false, STRATA_OK);
    char *whole = store_export(facts);
    strata_facts_close(&facts);
    for (size_t stop = 1, last = 0; !last; stop++) {
        facts = store_open("stopped", true);
        const strata_facts_import_info before = run(facts, path, stop, false, STRATA_E_CANCELLED);
        last = before.statements == all.statements;
        strata_facts_close(&facts);
        facts = store_open("stopped", false);
        assert_int_equal(strata_facts_check(facts, NULL, NULL), STRATA_OK);
        const strata_facts_import_info after = run(facts, path, 0, false, STRATA_OK);
        assert_int_equal(before.changed + after.changed, all.changed);
        if (!last) {
            assert_int_equal(before.statements + after.statements, all.statements);
            assert_int_equal(before.refused + after.refused, all.refused);
            assert_true(after.resumed > 0);
            stops++;
        }
        store_is(facts, whole);
        assert_int_equal(run(facts, path, 0, false, STRATA_OK).resumed, 0); /* the note is gone */
        strata_facts_close(&facts);
    }
    assert_true(stops > 3);
    store_batch_triples = 0;
    free(whole);
    free(text);
}

static void interruptions(void **state)
{
    (void)state;
    check_interruptions("many.nt");
    check_interruptions("many.ttl");
}

/* A part of a file is not gone on with where that is another one now, or by `restart`, or after
 * its statements were removed. */
static void starting_over(void **state)
{
    char *text = many_lines("over.nt");
    const char *path = rdf_file("over.nt", text, strlen(text));
    (void)state;
    store_batch_triples = BATCH;
    for (int way = 0; way < 4; way++) {
        strata_facts *facts = store_open("over", true);
        strata_facts_import_info info;
        run(facts, path, 3, false, STRATA_E_CANCELLED);
        if (way == 0) { /* another text of the same size */
            text[strlen("# c\n<u:s")] = '7';
            rdf_file("over.nt", text, strlen(text));
        }
        if (way == 1) {
            strata_facts_import_options how = options();
            how.remove = true;
            assert_int_equal(strata_facts_import(facts, path, &how, &info), STRATA_OK);
        }
        info = run(facts, path, 0, way == 2, STRATA_OK);
        if (way == 3)
            assert_true(info.resumed > 0);
        else
            assert_int_equal(info.resumed, 0);
        char *stopped = store_export(facts);
        strata_facts_close(&facts);
        facts = store_open("over", true);
        run(facts, path, 0, false, STRATA_OK);
        char *whole = store_export(facts);
        if (way == 0)
            assert_true(strstr(stopped, "<u:s7>") && strlen(stopped) >= strlen(whole));
        else
            assert_string_equal(stopped, whole);
        strata_facts_close(&facts);
        free(stopped);
        free(whole);
    }
    store_batch_triples = 0;
    free(text);
}

/* ---- Readers meanwhile ---- */

/* In the midst of an export: imports more. */
struct snapshot {
    strata_facts *facts;
    struct strata__bytes text;
    bool done;
};

static bool import_meanwhile(void *user, const char *bytes, size_t size)
{
    struct snapshot *snapshot = user;
    if (!snapshot->done) {
        snapshot->done = true;
        store_import(snapshot->facts, "more.nt", C);
        const strata_facts_query query = {.size = sizeof query, .subject = "u:c"};
        char *found = store_find(snapshot->facts, &query, NULL);
        assert_string_equal(found, C); /* others see it */
        free(found);
    }
    return strata__bytes_append(&snapshot->text, bytes, size) == STRATA_OK;
}

static void snapshots(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    for (int i = 10000; i < 20000; i++) {
        char line[64];
        int n = snprintf(line, sizeof line, "<u:s%d> <u:p> <u:o> .\n", i);
        assert_int_equal(strata__bytes_append(&text, line, (size_t)n), STRATA_OK);
    }
    assert_int_equal(strata__bytes_append(&text, "", 1), STRATA_OK);
    struct snapshot snapshot = {.facts = store_open("snapshot", true)};
    store_import(snapshot.facts, "first.nt", text.data);
    assert_int_equal(strata_facts_export(snapshot.facts, import_meanwhile, &snapshot), STRATA_OK);
    assert_int_equal(strata__bytes_append(&snapshot.text, "", 1), STRATA_OK);
    assert_true(snapshot.done);
    assert_string_equal(snapshot.text.data, text.data); /* each was as the export began */
    assert_int_equal(strata_facts_check(snapshot.facts, NULL, NULL), STRATA_OK);
    strata_facts_close(&snapshot.facts);
    strata__bytes_free(&snapshot.text);
    strata__bytes_free(&text);
}

/* ---- There and back ---- */

static bool refuse(void *user, const char *bytes, size_t size)
{
    (void)user;
    (void)bytes;
    return size == 0;
}

static void export_and_import(void **state)
{
    static const char text[] =
        "<u:\xc3\xa9> <u:p> \"\\u0000\\u0001\\u007f\\b\\t\\n\\f\\r\\\"\\\\'\" .\n"
        "_:a <u:p> \"\" .\n_:a <u:p> \"\"@en-GB .\n_:a <u:p> \"\"^^<u:t> .\n"
        "_:b <u:p> \"\xf0\x9f\x98\x80\"^^<http://www.w3.org/2001/XMLSchema#string> .\n" A B C;
    (void)state;
    strata_facts *facts = store_open("from", true), *to = store_open("to", true);
    store_import(facts, "from.nt", text);
    char *first = store_export(facts);
    assert_int_equal(store_import(to, "export.nt", first).refused, 0);
    char *second = store_export(to);
    assert_int_equal(strlen(first), strlen(second));
    /* Blank nodes have other names; removing by the new ones leaves nothing. */
    strata_facts_import_options how = options();
    strata_facts_import_info info;
    how.remove = true;
    const char *path = rdf_file("second.nt", second, strlen(second));
    assert_int_equal(strata_facts_import(to, path, &how, &info), STRATA_OK);
    assert_int_equal(info.changed, 8);
    store_is(to, "");
    assert_int_equal(strata_facts_export(facts, refuse, NULL), STRATA_E_CANCELLED);
    strata_facts_close(&facts);
    strata_facts_close(&to);
    free(first);
    free(second);
}

/* ---- Full batches ---- */

/* More than a batch of triples, and more than a batch of bytes. */
static void large_files(void **state)
{
    char path[128];
    strata_facts_import_info info;
    strata_facts_info about;
    const int n = (int)STRATA__BATCH_TRIPLES + 50000;
    (void)state;
    strata_facts *facts = store_open("large", true);
    snprintf(path, sizeof path, "%s/triples.nt", rdf_folder);
    FILE *stream = fopen(path, "w");
    assert_non_null(stream);
    for (int i = 0; i < n; i++)
        fprintf(stream, "<u:%d> <u:p> <u:%d> .\n", i % 1100, i / 1100);
    assert_int_equal(fclose(stream), 0);
    assert_int_equal(strata_facts_import(facts, path, NULL, &info), STRATA_OK);
    assert_int_equal(info.changed, n);
    snprintf(path, sizeof path, "%s/bytes.nt", rdf_folder);
    stream = fopen(path, "w");
    assert_non_null(stream);
    for (int i = 0; i < 10; i++)
        fprintf(stream, "<u:x> <u:p> \"%d%*s\" .\n", i, 15 << 20, "");
    assert_int_equal(fclose(stream), 0);
    assert_int_equal(strata_facts_import(facts, path, NULL, &info), STRATA_OK);
    assert_int_equal(info.changed, 10);
    assert_int_equal(strata_facts_info_get(facts, &about), STRATA_OK);
    assert_int_equal(about.triples, n + 10);
    assert_int_equal(about.terms, (n - 1) / 1100 + 1 + 2 + 10);
    strata_facts_query query;
    strata_facts_query_default(&query);
    query.subject = "u:7";
    query.object = "u:999";
    char *found = store_find(facts, &query, NULL);
    assert_string_equal(found, "<u:7> <u:p> <u:999> .\n");
    free(found);
    strata_facts_close(&facts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twice_is_once),     cmocka_unit_test(empty_files),
        cmocka_unit_test(blank_nodes),       cmocka_unit_test(removal_by_file),
        cmocka_unit_test(strictness),        cmocka_unit_test(interruptions),
        cmocka_unit_test(starting_over),     cmocka_unit_test(snapshots),
        cmocka_unit_test(export_and_import), cmocka_unit_test(large_files),
    };
    return cmocka_run_group_tests(tests, rdf_folder_make, rdf_folder_remove);
}

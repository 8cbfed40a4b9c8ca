#include "store_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store_batch.h"

uint64_t store_hash_mask = UINT64_MAX;
size_t store_batch_triples;

uint64_t __real_strata__store_hash(const strata_facts *facts, const char *bytes, size_t size);
uint64_t __wrap_strata__store_hash(const strata_facts *facts, const char *bytes, size_t size);
bool __real_strata__batch_full(const struct strata__batch *batch);
bool __wrap_strata__batch_full(const struct strata__batch *batch);

uint64_t __wrap_strata__store_hash(const strata_facts *facts, const char *bytes, size_t size)
{
    return __real_strata__store_hash(facts, bytes, size) & store_hash_mask;
}

bool __wrap_strata__batch_full(const struct strata__batch *batch)
{
    return store_batch_triples ? strata__batch_size(batch) >= store_batch_triples
                               : __real_strata__batch_full(batch);
}

strata_facts *store_open(const char *name, bool is_new)
{
    char path[128], command[160];
    strata_facts *facts;
    snprintf(path, sizeof path, "%s/%s", rdf_folder, name);
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    if (is_new)
        assert_int_equal(system(command), 0);
    assert_int_equal(strata_facts_open(NULL, path, NULL, &facts), STRATA_OK);
    return facts;
}

strata_facts_import_info store_import(strata_facts *facts, const char *file, const char *text)
{
    strata_facts_import_info info;
    const char *path = rdf_file(file, text, strlen(text));
    assert_int_equal(strata_facts_import(facts, path, NULL, &info), STRATA_OK);
    return info;
}

/* ---- Lines ---- */

static int compare_lines(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

void sort_lines(char *text)
{
    const size_t size = strlen(text);
    size_t n = 0;
    char *copy = strdup(text), **lines = calloc(size + 1, sizeof *lines);
    assert_non_null(copy);
    assert_non_null(lines);
    for (char *at = copy, *line; (line = strsep(&at, "\n")) && at;)
        lines[n++] = line;
    qsort(lines, n, sizeof *lines, compare_lines);
    for (size_t i = 0; i < n; i++)
        text += sprintf(text, "%s\n", lines[i]);
    free(lines);
    free(copy);
}

static bool take(void *user, const char *bytes, size_t size)
{
    return strata__bytes_append(user, bytes, size) == STRATA_OK;
}

/* A copy that free() takes. */
static char *text_of(struct strata__bytes *bytes)
{
    char *text = malloc(bytes->size + 1);
    assert_non_null(text);
    if (bytes->size)
        memcpy(text, bytes->data, bytes->size);
    text[bytes->size] = '\0';
    strata__bytes_free(bytes);
    return text;
}

char *store_export(strata_facts *facts)
{
    struct strata__bytes bytes = {0};
    assert_int_equal(strata_facts_export(facts, take, &bytes), STRATA_OK);
    char *text = text_of(&bytes);
    sort_lines(text);
    return text;
}

void store_is(strata_facts *facts, const char *lines)
{
    strata_facts_info info;
    size_t n = 0;
    char *text = store_export(facts), *wanted = strdup(lines);
    assert_non_null(wanted);
    sort_lines(wanted);
    assert_string_equal(text, wanted);
    for (const char *c = wanted; *c; c++)
        n += *c == '\n';
    assert_int_equal(strata_facts_info_get(facts, &info), STRATA_OK);
    assert_int_equal(info.triples, n);
    if (strata_facts_check(facts, NULL, NULL) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    free(text);
    free(wanted);
}

/* ---- Finding ---- */

static void put_term(const strata_term *term, struct strata__bytes *out, struct strata__bytes *text)
{
    const struct strata__term raw = {
        .kind = term->kind == STRATA_TERM_IRI     ? 'I'
                : term->kind == STRATA_TERM_BLANK ? 'B'
                : term->language                  ? 'G'
                : term->datatype                  ? 'T'
                                                  : 'S',
        .text = term->text,
        .size = term->size,
        .tag = term->language ? term->language : term->datatype,
        .tag_size = term->language   ? strlen(term->language)
                    : term->datatype ? strlen(term->datatype)
                                     : 0,
    };
    assert_int_equal(term->text[term->size], '\0');
    assert_int_equal(strata__term_write(&raw, out), STRATA_OK);
    assert_int_equal(strata__bytes_append(out, " ", 1), STRATA_OK);
    assert_int_equal(strata__term_write(&raw, text), STRATA_OK);
    assert_int_equal(strata__bytes_append(text, "\n", 1), STRATA_OK);
}

/* strata_facts_find_text stores this text, or so much of it as there is room for. */
static void text_is(strata_facts *facts, const strata_facts_query *query,
                    const struct strata__bytes *text, const strata_facts_answer *expected)
{
    const size_t rooms[] = {text->size + 1, text->size, text->size / 2, 1, 0};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        strata_facts_answer answer;
        size_t size, n = rooms[i] ? rooms[i] - 1 : 0;
        char *out = rooms[i] ? malloc(rooms[i]) : NULL; /* what is written behind it is seen */
        assert_true(out || !rooms[i]);
        assert_int_equal(strata_facts_find_text(facts, query, out, rooms[i], &size, &answer),
                         STRATA_OK);
        assert_int_equal(size, text->size);
        if (out)
            assert_true(out[n] == '\0' && (!n || !memcmp(out, text->data, n)));
        assert_int_equal(answer.n_facts, expected->n_facts);
        assert_int_equal(answer.tier, expected->tier);
        assert_int_equal(answer.complete, expected->complete);
        free(out);
    }
    assert_int_equal(strata_facts_find_text(facts, query, NULL, 0, &(size_t){0}, NULL), STRATA_OK);
}

char *store_find(strata_facts *facts, const strata_facts_query *query, strata_facts_answer *answer)
{
    struct strata__bytes bytes = {0}, text = {0};
    strata_facts_result *result;
    if (strata_facts_find(facts, query, &result) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    const strata_facts_answer got = strata_facts_result_answer(result);
    assert_int_equal(got.tier, got.n_facts ? 0 : -1);
    for (size_t i = 0; i < got.n_facts; i++) {
        const strata_fact *fact = strata_facts_result_fact(result, i);
        assert_true(fact->score == 1);
        put_term(&fact->subject, &bytes, &text);
        put_term(&fact->predicate, &bytes, &text);
        put_term(&fact->object, &bytes, &text);
        assert_int_equal(strata__bytes_append(&bytes, ".\n", 2), STRATA_OK);
    }
    strata_facts_result_free(&result);
    if (query->deadline_ms == 0) /* else how much is found may differ */
        text_is(facts, query, &text, &got);
    strata__bytes_free(&text);
    if (answer)
        *answer = got;
    return text_of(&bytes);
}

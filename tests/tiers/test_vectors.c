/* Vectors of labels and descriptions: which are made, kept and used. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "faults.h"
#include "vectors.h"
#include "vectors_fixture.h"

#define WIDTH 64

/* The index `name` of a closed or open store. */
static strata_index *index_of(const char *store, const char *name)
{
    strata_index *index;
    if (strata_index_open(vectors_engine.runtime, vectors_file(store, name), &index) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    return index;
}

/* ---- Which there are ---- */

/* The terms of the only fact of a pattern. */
static void ids_of_fact(strata_facts *facts, const char *s, const char *p, uint64_t *subject,
                        uint64_t *object)
{
    strata_facts_query query;
    strata_facts_result *result;
    strata_facts_query_default(&query);
    query.subject = s;
    query.predicate = p;
    query.max_tier = 0;
    assert_int_equal(strata_facts_find(facts, &query, &result), STRATA_OK);
    assert_int_equal(strata_facts_result_answer(result).n_facts, 1);
    *subject = strata_facts_result_fact(result, 0)->subject.id;
    *object = strata_facts_result_fact(result, 0)->object.id;
    strata_facts_result_free(&result);
}

static bool has_vector(strata_index *index, uint64_t id)
{
    float vector[WIDTH];
    return strata_index_vector(index, id, vector) == STRATA_OK;
}

/* The vector `id` is that of a text. */
static void is_of(strata_index *index, uint64_t id, const char *text)
{
    const strata_text texts = {text, strlen(text)};
    float vector[WIDTH], wanted[WIDTH];
    double dot = 0, aa = 0;
    assert_int_equal(strata_index_vector(index, id, vector), STRATA_OK);
    assert_int_equal(strata_embed(vectors_engine.model, &texts, 1, NULL, wanted, NULL), STRATA_OK);
    for (int i = 0; i < WIDTH; i++) {
        dot += (double)vector[i] * (double)wanted[i];
        aa += (double)vector[i] * (double)vector[i];
    }
    if (!(dot / sqrt(aa) > 0.999))
        fail_msg("cosine to '%s': %f", text, dot / sqrt(aa));
}

/* A subject's description is its longest literal of four words or more without a datatype that is
 * no label; 24 words of it are read. */
static void descriptions(void **state)
{
    static const char words[] = "the cat and the old dog playing in the river by the green tree "
                                "with a bird that sang all day and the night ";
    static char text[4000];
    uint64_t s, o;
    (void)state;
    snprintf(text, sizeof text,
             "<u:a> " LABEL " \"the old cat\" .\n<u:a> <u:p> \"the cat sat here\" .\n"
             "<u:a> <u:long> \"%sand came over the hills\"@en .\n"
             "<u:a> <u:typed> \"%sthe hills the hills the hills the hills the hills\"^^<u:t> .\n"
             "<u:b> " LABEL " \"a river that is named by a label of very many words\" .\n"
             "<u:b> <u:few> \"three_long_words_that_are_many_letters_in_all by_themselves "
             "the_river\" .\n<u:b> <u:enough> \"a b  c d\" .\n"
             "<u:none> <u:about> \"the cat that has no label\" .\n"
             "<u:c> " LABEL " \"dog\" .\n<u:c> <u:about> \"a  b  c\" .\n<u:c> <u:p> <u:a> .\n",
             words, words);
    strata_facts *facts = store_open("chosen", true);
    store_import(facts, "chosen.nt", text);
    assert_false(strata_facts_has_vectors(facts));
    vectors_makes(facts, 3 + 2 + 6);
    strata_index *labels = index_of("chosen", "labels"),
                 *about = index_of("chosen", "descriptions");
    assert_int_equal(strata_index_info_get(labels).count, 3 + 1); /* and the known text */
    assert_int_equal(strata_index_info_get(about).count, 2 + 1);
    ids_of_fact(facts, "u:a", LABEL, &s, &o);
    is_of(labels, o, "the old cat");
    ids_of_fact(facts, "u:a", "u:long", &s, &o);
    snprintf(text, sizeof text, "the old cat: %s", words);
    is_of(about, strata__description_id((strata__id)s, (strata__id)o), text);
    assert_false(has_vector(labels, o));
    ids_of_fact(facts, "u:b", "u:enough", &s, &o);
    is_of(about, strata__description_id((strata__id)s, (strata__id)o),
          "a river that is named by a label of very many words: a b c d");
    strata_index_close(&labels);
    strata_index_close(&about);
    strata_facts_close(&facts);
}

/* What came since is made, and no more. */
static void later_imports(void **state)
{
    uint64_t s, o;
    (void)state;
    strata_facts *facts = vectors_small_store("later");
    vectors_makes(facts, SMALL_STORE);
    vectors_makes(facts, 0);
    store_import(facts, "l1.nt", "<u:d> <u:p> \"the river\" .\n");
    vectors_makes(facts, 0);
    store_import(facts, "l2.ttl", "<u:d> " LABEL " \"the green tree\", \"a river\"@en .\n");
    vectors_makes(facts, 1);
    store_import(facts, "l3.nt",
                 "<u:a> <u:more> \"the cat sang by the river all day and night\" .\n");
    vectors_makes(facts, 1 + 1);
    ids_of_fact(facts, "u:a", "u:more", &s, &o);
    strata_index *about = index_of("later", "descriptions");
    is_of(about, strata__description_id((strata__id)s, (strata__id)o),
          "the old cat: the cat sang by the river all day and night");
    strata_index_close(&about);
    strata_facts_close(&facts);
}

static void empty_stores(void **state)
{
    (void)state;
    strata_facts *facts = store_open("nothing", true);
    vectors_makes(facts, 0);
    assert_int_equal(strata_facts_use_model(facts, vectors_engine.model), STRATA_OK);
    strata_facts_close(&facts);
    facts = store_open("empty label", true);
    store_import(facts, "e.nt", "<u:a> " LABEL " \"\" .\n<u:a> <u:p> \"1\" .\n");
    vectors_makes(facts, 1 + 1);
    vectors_makes(facts, 0);
    strata_facts_close(&facts);
}

/* Labels of megabytes are cut: what is made takes bounded memory. */
static void long_texts(void **state)
{
    enum { SIZE = 4 << 20 };
    struct strata__bytes text = {0};
    uint64_t s, o;
    char *words = malloc(SIZE);
    (void)state;
    assert_non_null(words);
    strata_facts *facts = vectors_small_store("short");
    fault_reset();
    vectors_makes(facts, SMALL_STORE);
    const size_t short_bytes = fault_bytes();
    strata_facts_close(&facts);
    for (size_t i = 0; i < SIZE; i++)
        words[i] = "\u00e9\u00e8 cat "[i % 9];
    for (int i = 0; i < 4; i++) {
        char begin[64];
        int n = snprintf(begin, sizeof begin, "<u:a> %s \"%d ", i & 1 ? "<u:p>" : LABEL, i);
        assert_int_equal(strata__bytes_append(&text, begin, (size_t)n), STRATA_OK);
        assert_int_equal(strata__bytes_append(&text, words, SIZE / 9 * 9), STRATA_OK);
        assert_int_equal(strata__bytes_append(&text, "\" .\n", 4), STRATA_OK);
    }
    assert_int_equal(strata__bytes_append(&text, "<u:b> " LABEL " \"cat\" .\n", strlen(LABEL) + 15),
                     STRATA_OK);
    assert_int_equal(strata__bytes_append(&text, "", 1), STRATA_OK);
    facts = store_open("long", true);
    assert_int_equal(store_import(facts, "long.nt", text.data).changed, 5);
    fault_reset();
    vectors_makes(facts, 3 + 1 + 1);
    assert_true(fault_bytes() < short_bytes + SIZE);
    ids_of_fact(facts, "u:b", LABEL, &s, &o);
    strata_index *labels = index_of("long", "labels");
    is_of(labels, o, "cat");
    strata_index_close(&labels);
    strata_facts_close(&facts);
    strata__bytes_free(&text);
    free(words);
}

/* ---- Interruptions ---- */

enum { MANY = 2500 };

static strata_facts *many_store(const char *name)
{
    struct strata__bytes text = {0};
    for (int i = 0; i < MANY; i++) {
        char line[300];
        int n = snprintf(line, sizeof line,
                         "<u:n%d> " LABEL " \"the cat %d\" .\n"
                         "<u:n%d> <u:about> \"the dog %d by the river\" .\n",
                         i, i, i, i);
        assert_int_equal(strata__bytes_append(&text, line, (size_t)n), STRATA_OK);
    }
    assert_int_equal(strata__bytes_append(&text, "", 1), STRATA_OK);
    strata_facts *facts = store_open(name, true);
    store_import(facts, "many.nt", text.data);
    strata__bytes_free(&text);
    return facts;
}

struct stop {
    int calls, at; /* at: the call that says so; 0: none */
    uint64_t done, total;
};

static bool on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    struct stop *stop = user;
    assert_non_null(what);
    assert_true(done >= stop->done && done <= total);
    stop->done = done;
    stop->total = total;
    return ++stop->calls != stop->at;
}

/* Both stores have the same vectors, but for how sums are rounded in other batches. */
static void same_vectors(const char *a, const char *b, const char *name)
{
    strata_index *x = index_of(a, name), *y = index_of(b, name);
    uint64_t ids[MANY + 2];
    float scores[MANY + 2], query[WIDTH] = {1}, v[WIDTH], w[WIDTH];
    size_t n;
    assert_int_equal(strata_index_info_get(x).count, MANY + 1);
    assert_int_equal(strata_index_info_get(y).count, MANY + 1);
    assert_int_equal(strata_index_search(x, query, 1, MANY + 2, ids, scores, &n), STRATA_OK);
    assert_int_equal(n, MANY + 1);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(strata_index_vector(x, ids[i], v), STRATA_OK);
        assert_int_equal(strata_index_vector(y, ids[i], w), STRATA_OK);
        for (int k = 0; k < WIDTH; k++)
            assert_true(fabsf(v[k] - w[k]) < 0.02F);
    }
    strata_index_close(&x);
    strata_index_close(&y);
}

/* Stopped again and again, what is made in the end is what is made at once. */
static void interruptions(void **state)
{
    uint64_t made, sum = 0;
    (void)state;
    struct stop whole = {0};
    strata_facts *facts = many_store("whole");
    assert_int_equal(strata_facts_index(facts, vectors_engine.model, on_progress, &whole, &made),
                     STRATA_OK);
    assert_true(made == 2 * MANY + 1 && whole.done == made && whole.total == made);
    assert_true(whole.calls >= 4);
    strata_facts_close(&facts);
    facts = many_store("parts");
    for (int i = 0; i < 20; i++) {
        struct stop stop = {.at = i ? 2 : 1};
        strata_status status =
            strata_facts_index(facts, vectors_engine.model, on_progress, &stop, &made);
        sum += made;
        assert_true(i > 0 || made == 0);
        if (i == 2) { /* in another process, so to say */
            strata_facts_close(&facts);
            facts = store_open("parts", false);
        }
        if (status == STRATA_OK)
            break;
        vectors_refused(status, STRATA_E_CANCELLED, "interrupted");
        assert_true(i < 19);
        if (i < 2)
            vectors_refused(strata_facts_use_model(facts, vectors_engine.model), STRATA_E_INVALID,
                            "no vectors");
    }
    assert_int_equal(sum, 2 * MANY + 1);
    strata_facts_close(&facts);
    same_vectors("whole", "parts", "labels");
    same_vectors("whole", "parts", "descriptions");
}

/* ---- Models and files ---- */

static void models(void **state)
{
    (void)state;
    struct engine other = engine_open(vectors_other_model, (struct engine_options){0});
    struct engine decoder = engine_open_tiny();
    strata_facts *facts = vectors_small_store("models");
    vectors_refused(strata_facts_index(facts, decoder.model, NULL, NULL, NULL), STRATA_E_INVALID,
                    "makes no sentence vectors");
    vectors_refused(strata_facts_use_model(facts, vectors_engine.model), STRATA_E_INVALID,
                    "strata facts index");
    assert_false(strata_facts_has_vectors(facts));
    vectors_makes(facts, SMALL_STORE);
    vectors_refused(strata_facts_use_model(facts, decoder.model), STRATA_E_INVALID, "64 elements");
    vectors_refused(strata_facts_use_model(facts, other.model), STRATA_E_INVALID, "another model");
    assert_int_equal(strata_facts_use_model(facts, vectors_engine.model), STRATA_OK);
    vectors_refused(strata_facts_use_model(facts, vectors_engine.model), STRATA_E_BUSY, "in use");
    strata_facts_close(&facts);
    facts = store_open("models", false);
    uint64_t made;
    assert_int_equal(strata_facts_index(facts, other.model, NULL, NULL, &made), STRATA_OK);
    assert_int_equal(made, SMALL_STORE);
    vectors_refused(strata_facts_use_model(facts, vectors_engine.model), STRATA_E_INVALID,
                    "another model");
    assert_int_equal(strata_facts_use_model(facts, other.model), STRATA_OK);
    vectors_makes(facts, SMALL_STORE); /* beside the one that is in use */
    strata_facts_close(&facts);
    engine_close(&decoder);
    engine_close(&other);
}

/* ---- Use ---- */

/* A tier-1 question, which must be answered whatever the mention is. */
static size_t ask(strata_facts *facts, const char *mention, double deadline_ms, bool *described)
{
    strata_facts_query query;
    strata_facts_result *result;
    strata_facts_query_default(&query);
    query.subject = mention;
    query.predicate = "u:p";
    query.explain = true;
    query.deadline_ms = deadline_ms;
    if (strata_facts_find(facts, &query, &result) != STRATA_OK)
        fail_msg("'%.40s': %s", mention, strata_last_error());
    const size_t n = strata_facts_result_candidates(result);
    for (size_t i = 0; i < n && described; i++) {
        const strata_facts_candidate *c = strata_facts_result_candidate(result, i);
        for (size_t k = 0; k < STRATA_FACTS_EVIDENCE; k++)
            *described |= !strcmp(strata_facts_evidence_name(k), "description") &&
                          c->evidence[k] > 0.9 && !strcmp(c->entity.text, "u:a");
    }
    strata_facts_result_free(&result);
    return n;
}

static void mentions(void **state)
{
    static char longest[16385], words[16385], invalid[16385];
    const char *const hostile[] = {longest, words,  invalid,  "",
                                   "\xff",  "?!.,", "\u00ad", "a\xe2\x82"};
    bool described = false;
    (void)state;
    memset(longest, 'a', sizeof longest - 1);
    for (size_t i = 0; i + 1 < sizeof words; i++) {
        words[i] = "cat "[i % 4];
        invalid[i] = (char)(i % 255 + 1);
    }
    strata_facts *facts = vectors_small_store("mentions");
    vectors_makes(facts, SMALL_STORE);
    assert_int_equal(strata_facts_use_model(facts, vectors_engine.model), STRATA_OK);
    assert_true(ask(facts, "the old cat: the cat sang by the river all night", 0, &described) > 0);
    assert_true(described);
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++)
        ask(facts, hostile[i], 0, NULL);
    for (double ms = 1e-9; ms < 20; ms *= 10)
        ask(facts, "the old dog", ms, NULL);
    strata_facts_close(&facts);
}

static void *ask_much(void *facts)
{
    for (int i = 0; i < 40; i++)
        ask(facts, i & 1 ? "the old dog" : "a cat by the river", 0, NULL);
    return NULL;
}

/* Questions while triples are imported and vectors made. */
static void together(void **state)
{
    pthread_t threads[3];
    (void)state;
    strata_facts *facts = vectors_small_store("together");
    vectors_makes(facts, SMALL_STORE);
    assert_int_equal(strata_facts_use_model(facts, vectors_engine.model), STRATA_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_much, facts), 0);
    for (int i = 0; i < 10; i++) {
        char line[128], file[32];
        snprintf(file, sizeof file, "t%d.nt", i);
        snprintf(line, sizeof line, "<u:t%d> " LABEL " \"dog %d\" .\n<u:t%d> <u:p> <u:x> .\n", i, i,
                 i);
        store_import(facts, file, line);
        vectors_makes(facts, 1);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    strata_facts_close(&facts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptions),  cmocka_unit_test(later_imports),
        cmocka_unit_test(empty_stores),  cmocka_unit_test(long_texts),
        cmocka_unit_test(interruptions), cmocka_unit_test(models),
        cmocka_unit_test(mentions),      cmocka_unit_test(together),
    };
    return cmocka_run_group_tests(tests, vectors_set_up, vectors_tear_down);
}

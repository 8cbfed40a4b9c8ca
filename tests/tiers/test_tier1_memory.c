/* What tier 1 has in memory: sketches, mapped vectors, what it keeps of mentions; the answers are
 * the same with all of it and without. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text.h"
#include "vectors.h"
#include "vectors_fixture.h"

enum { MANY = 4500 }; /* descriptions: enough for sketches, of a predicate with many facts */

static const char *const mentions[] = {
    "the cat of river 77",  "a dog",       "tree 4",           "the old green bird 1234",
    "river 4499 at night",  "cat 00",      "birds of the day", "the tree 4 river",
    "by the river, a bird", "  tree 444 ", "tree 444",
};
enum { N_MENTIONS = sizeof mentions / sizeof *mentions };

static strata_facts *open_with(const char *name, size_t cache_bytes)
{
    char path[256];
    strata_facts *facts;
    strata_facts_options options;
    strata_facts_options_default(&options);
    options.must_exist = true;
    options.cache_bytes = cache_bytes;
    snprintf(path, sizeof path, "%s/%s", rdf_folder, name);
    if (strata_facts_open(NULL, path, &options, &facts) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    return facts;
}

static size_t default_cache(void)
{
    strata_facts_options options;
    strata_facts_options_default(&options);
    return options.cache_bytes;
}

/* Gives descriptions other vectors than the model of random weights, to which all are alike, and
 * makes their sketches. */
static void spread_descriptions(const char *store)
{
    static uint64_t ids[MANY + 1];
    static float scores[MANY + 1];
    strata_index *index;
    float vector[64] = {1};
    size_t n;
    uint32_t random = 1;
    const char *path = vectors_file(store, "descriptions");
    assert_int_equal(strata_index_open(vectors_engine.runtime, path, &index), STRATA_OK);
    assert_int_equal(strata_index_search(index, vector, 1, MANY + 1, ids, scores, &n), STRATA_OK);
    assert_int_equal(n, MANY + 1);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < 64; k++) {
            random = random * 1664525 + 1013904223;
            vector[k] = (float)(int32_t)random;
        }
        if (ids[i] != STRATA__VECTORS_PROBE)
            assert_int_equal(strata_index_add(index, &ids[i], vector, 1), STRATA_OK);
    }
    assert_int_equal(strata_index_sketch(index), STRATA_OK);
    assert_true(strata_index_info_get(index).sketched);
    assert_int_equal(strata_index_save(index, path), STRATA_OK);
    strata_index_close(&index);
}

/* A closed store of MANY things with a label, a description and a fact of <u:many>, some also with
 * one of <u:few>; its vectors are made. */
static void many_store(const char *name)
{
    static const char *const words[] = {"cat", "dog", "river", "tree", "bird", "night", "day"};
    struct strata__bytes text = {0};
    for (unsigned i = 0; i < MANY; i++) {
        char line[512];
        int n = snprintf(line, sizeof line,
                         "<u:n%u> " LABEL " \"%s %u\" .\n<u:n%u> <u:many> <u:n0> .\n"
                         "<u:n%u> <u:about> \"%s %u %s the %s and a %s\" .\n",
                         i, words[i % 7], i, i, i, words[i / 7 % 7], i * 31 % 977,
                         words[i / 49 % 7], words[i / 343 % 7], words[i * 5 % 7]);
        assert_int_equal(strata__bytes_append(&text, line, (size_t)n), STRATA_OK);
        n = snprintf(line, sizeof line, "<u:n%u> <u:few> \"%u\" .\n", i, i);
        if (i % 50 == 0)
            assert_int_equal(strata__bytes_append(&text, line, (size_t)n), STRATA_OK);
    }
    assert_int_equal(strata__bytes_append(&text, "", 1), STRATA_OK);
    strata_facts *facts = store_open(name, true);
    store_import(facts, "many.nt", text.data);
    strata__bytes_free(&text);
    vectors_makes(facts, 2 * MANY + 3);
    strata_facts_close(&facts);
    spread_descriptions(name);
}

static strata_facts_result *find(strata_facts *facts, const char *mention, const char *predicate)
{
    strata_facts_query query;
    strata_facts_result *result;
    strata_facts_query_default(&query);
    query.subject = mention;
    query.predicate = predicate;
    query.explain = true;
    if (strata_facts_find(facts, &query, &result) != STRATA_OK)
        fail_msg("'%s': %s", mention, strata_last_error());
    return result;
}

/* Both results have the same facts and candidates, with the same scores. */
static void same_results(const strata_facts_result *a, const strata_facts_result *b)
{
    const strata_facts_answer x = strata_facts_result_answer(a), y = strata_facts_result_answer(b);
    assert_int_equal(x.n_facts, y.n_facts);
    assert_int_equal(x.tier, y.tier);
    for (size_t i = 0; i < x.n_facts; i++) {
        const strata_fact *f = strata_facts_result_fact(a, i), *g = strata_facts_result_fact(b, i);
        assert_true(f->subject.id == g->subject.id && f->object.id == g->object.id &&
                    f->score == g->score && f->why == g->why);
    }
    assert_int_equal(strata_facts_result_candidates(a), strata_facts_result_candidates(b));
    for (size_t i = 0; i < strata_facts_result_candidates(a); i++) {
        const strata_facts_candidate *c = strata_facts_result_candidate(a, i),
                                     *d = strata_facts_result_candidate(b, i);
        assert_int_equal(c->entity.id, d->entity.id);
        assert_memory_equal(c->evidence, d->evidence, sizeof c->evidence);
    }
}

static strata_facts_tier1_info info_of(strata_facts *facts)
{
    strata_facts_tier1_info info;
    strata_facts_tier1_info_get(facts, &info);
    return info;
}

static uint64_t used(const char *component)
{
    strata_memory *memory;
    uint64_t bytes = UINT64_MAX;
    assert_int_equal(strata_memory_read(vectors_engine.runtime, &memory), STRATA_OK);
    for (size_t i = 0; i < memory->n_components; i++)
        if (strcmp(memory->components[i].name, component) == 0)
            bytes = memory->components[i].used_bytes;
    strata_memory_free(&memory);
    assert_true(bytes != UINT64_MAX);
    return bytes;
}

/* ---- Vectors ---- */

/* Takes the sketches out of the file of descriptions. */
static void drop_sketches(const char *store)
{
    strata_index *index;
    const uint64_t id = 12345;
    float vector[64] = {1};
    assert_int_equal(
        strata_index_open(vectors_engine.runtime, vectors_file(store, "descriptions"), &index),
        STRATA_OK);
    assert_int_equal(strata_index_add(index, &id, vector, 1), STRATA_OK);
    assert_int_equal(strata_index_remove(index, &id, 1, NULL), STRATA_OK);
    assert_int_equal(strata_index_save(index, vectors_file(store, "descriptions")), STRATA_OK);
    strata_index_close(&index);
}

/* What is in memory and what is mapped is charged where it belongs, as long as the store is open.
 */
static void accounts(void **state)
{
    (void)state;
    many_store("accounts");
    const uint64_t before = used("base_indices");
    strata_facts *facts = open_with("accounts", default_cache());
    strata_facts_tier1_info info = info_of(facts);
    assert_true(info.vectors == 0 && info.mapped_bytes == 0 && info.sketch_bytes == 0);
    assert_int_equal(info.cache_limit_bytes, 20000000);
    assert_int_equal(strata_facts_use_model(facts, vectors_engine.model), STRATA_OK);
    info = info_of(facts);
    assert_int_equal(info.vectors, 2 * MANY);
    assert_int_equal(info.sketch_bytes, (MANY + 1) * (128 / 2 + 8));
    assert_true(info.mapped_bytes >= 2 * (MANY + 1) * (64 + 8 + 8));
    assert_true(info.mapped_bytes < 2 * (MANY + 1) * (64 + 8 + 8) + 512);
    assert_true(info.resident_bytes <= info.mapped_bytes);
    /* their scales are too few bytes to be counted */
    assert_int_equal(used("tier1_linker/embedding_cache(entities)"), (MANY + 1) * (128 / 2));
    assert_true(used("base_indices") >= before + info.mapped_bytes);
    assert_int_equal(used("tier1_linker/result_cache(entities)"), 0);
    strata_facts_result *result = find(facts, mentions[0], "u:many");
    strata_facts_result_free(&result);
    info = info_of(facts);
    assert_int_equal(info.cache_mentions, 1);
    assert_int_equal(used("tier1_linker/result_cache(entities)"), info.cache_bytes);
    assert_true(used("tier1_linker") >= info.cache_bytes + (MANY + 1) * (128 / 2));
    strata_facts_close(&facts);
    assert_int_equal(used("tier1_linker/result_cache(entities)"), 0);
    assert_int_equal(used("tier1_linker/embedding_cache(entities)"), 0);
    assert_int_equal(used("base_indices"), before);
}

/* Stores whose files have no sketches yet answer the same, and indexing makes those that are
 * missing. */
static void without_sketches(void **state)
{
    static strata_facts_result *with[N_MENTIONS][2];
    (void)state;
    many_store("sketches");
    for (int way = 0; way < 3; way++) {
        if (way == 1)
            drop_sketches("sketches");
        strata_facts *facts = open_with("sketches", 0);
        if (way == 2)
            vectors_makes(facts, 0);
        assert_int_equal(strata_facts_use_model(facts, vectors_engine.model), STRATA_OK);
        assert_int_equal(info_of(facts).sketch_bytes > 0, way != 1);
        for (size_t i = 0; i < 2 * N_MENTIONS; i++) {
            strata_facts_result *result = find(facts, mentions[i / 2], i & 1 ? "u:few" : "u:many");
            if (way == 0) {
                with[i / 2][i & 1] = result;
                continue;
            }
            same_results(with[i / 2][i & 1], result);
            strata_facts_result_free(&result);
        }
        strata_facts_close(&facts);
    }
    for (size_t i = 0; i < 2 * N_MENTIONS; i++)
        strata_facts_result_free(&with[i / 2][i & 1]);
}

/* ---- Mentions ---- */

/* Asked again, with the same predicate or another one, the answers are those without a cache. */
static void asked_again(void **state)
{
    static const char *const predicates[] = {"u:many", "u:few", "u:few", "u:many", "u:about"};
    enum { N_PREDICATES = sizeof predicates / sizeof *predicates };
    static strata_facts_result *wanted[N_MENTIONS][N_PREDICATES];
    uint64_t lookups = 0;
    (void)state;
    many_store("again");
    for (int way = 0; way < 4; way++) { /* without and with a cache; names, and vectors */
        strata_facts *facts = open_with("again", way & 1 ? default_cache() : 0);
        if (way / 2)
            assert_int_equal(strata_facts_use_model(facts, vectors_engine.model), STRATA_OK);
        for (size_t i = 0; i < N_MENTIONS; i++)
            for (size_t p = 0; p < N_PREDICATES; p++) {
                strata_facts_result *result = find(facts, mentions[i], predicates[p]);
                if (way & 1) {
                    same_results(wanted[i][p], result);
                    strata_facts_result_free(&wanted[i][p]);
                    strata_facts_result_free(&result);
                } else {
                    wanted[i][p] = result;
                }
            }
        const strata_facts_tier1_info info = info_of(facts);
        if (way & 1) {
            /* two are the same mention; names alone have nothing to keep for few facts */
            assert_int_equal(info.cache_mentions, way / 2 ? N_MENTIONS - 1 : N_MENTIONS - 2);
            assert_true(way == 1 || info.cache_misses == info.cache_mentions);
            assert_true(info.cache_hits > 2 * info.cache_mentions);
            assert_true(way == 1 || lookups == info.cache_hits + info.cache_misses);
            lookups = info.cache_hits + info.cache_misses;
        } else {
            assert_true(info.cache_mentions == 0 && info.cache_hits == 0 && info.cache_bytes == 0);
        }
        strata_facts_close(&facts);
    }
}

/* Whether the first fact of a mention's <u:many> is of <u:new>. */
static bool finds_new(strata_facts *facts, const char *mention)
{
    strata_facts_result *result = find(facts, mention, "u:many");
    const bool is = strata_facts_result_answer(result).n_facts > 0 &&
                    !strcmp(strata_facts_result_fact(result, 0)->subject.text, "u:new");
    strata_facts_result_free(&result);
    return is;
}

/* What changed since is seen at once. */
static void changed_since(void **state)
{
    (void)state;
    many_store("changed");
    for (int vectors = 0; vectors < 2; vectors++) {
        strata_facts *facts = open_with("changed", default_cache());
        strata_facts_query pattern;
        if (vectors)
            assert_int_equal(strata_facts_use_model(facts, vectors_engine.model), STRATA_OK);
        assert_false(finds_new(facts, "Zzyzxwort"));
        assert_false(finds_new(facts, "Zzyzxwort"));
        assert_int_equal(info_of(facts).cache_hits, 1);
        store_import(facts, "new.nt",
                     "<u:new> " LABEL " \"Zzyzxworts\" .\n<u:new> <u:many> <u:n0> .\n");
        assert_true(finds_new(facts, "Zzyzxwort"));
        assert_true(finds_new(facts, "Zzyzxwort"));
        assert_int_equal(info_of(facts).cache_hits, 2);
        assert_int_equal(info_of(facts).cache_misses, 2);
        assert_int_equal(info_of(facts).cache_mentions, 1);
        strata_facts_query_default(&pattern);
        pattern.subject = "u:new";
        assert_int_equal(strata_facts_remove(facts, &pattern, NULL), STRATA_OK);
        assert_false(finds_new(facts, "Zzyzxwort"));
        strata_facts_close(&facts);
    }
}

static void *ask_much(void *user)
{
    for (size_t i = 0; i < 60; i++) {
        strata_facts_result *result =
            find(user, mentions[i % N_MENTIONS], i % 3 ? "u:many" : "u:few");
        strata_facts_result_free(&result);
    }
    return NULL;
}

/* Many threads ask while the store changes. */
static void together(void **state)
{
    pthread_t threads[3];
    (void)state;
    many_store("together");
    strata_facts *facts = open_with("together", 50000);
    assert_int_equal(strata_facts_use_model(facts, vectors_engine.model), STRATA_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_much, facts), 0);
    for (int i = 0; i < 10; i++) {
        char line[128], file[32];
        snprintf(file, sizeof file, "t%d.nt", i);
        snprintf(line, sizeof line, "<u:t%d> " LABEL " \"dog t%d\" .\n", i, i);
        store_import(facts, file, line);
        assert_true(info_of(facts).cache_bytes <= 50000);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    strata_facts_close(&facts);
    assert_int_equal(used("tier1_linker/result_cache(entities)"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accounts),    cmocka_unit_test(without_sketches),
        cmocka_unit_test(asked_again), cmocka_unit_test(changed_since),
        cmocka_unit_test(together),
    };
    return cmocka_run_group_tests(tests, vectors_set_up, vectors_tear_down);
}

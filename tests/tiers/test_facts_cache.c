/* A cache of three levels: what it keeps where, over restarts, in memory and by several threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache_fixture.h"
#include "runtime.h"

#define COMPONENT "tier2_expander/result_cache(semantic)"
static const struct strata__cache_versions now = {.graph = 1, .models = {1, 1}};

/* ---- What is kept ---- */

static void nothing(void **state)
{
    struct strata__facts_cache *cache = NULL;
    const struct strata__facts_cache_options none = {.folder = cache_folder};
    strata_facts_cache_info info;
    strata_facts_optimised optimised;
    (void)state;
    assert_int_equal(strata__facts_cache_open(&none, &cache), STRATA_OK);
    assert_null(cache);
    cache_put(cache, 1, 5);
    assert_false(cache_get(cache, 1));
    strata__facts_cache_warm(cache, &now, NULL, NULL);
    strata__facts_cache_flush(cache);
    strata__facts_cache_info_get(cache, &info);
    assert_int_equal(info.misses, 0);
    assert_int_equal(strata__facts_cache_optimise(cache, &now, &optimised), STRATA_E_INVALID);
    strata__facts_cache_close(&cache);
}

/* Levels that have a budget are used, each alone and together; files after a restart, too. */
static void each_level(void **state)
{
    (void)state;
    for (unsigned levels = 1; levels < 8; levels++) {
        const size_t memory = levels & 1 ? 1 << 20 : 0;
        const uint64_t lmdb = levels & 2 ? 1 << 20 : 0, disk = levels & 4 ? 1 << 22 : 0;
        struct strata__facts_cache *cache = cache_open(memory, lmdb, disk);
        for (unsigned i = 0; i < 200; i++)
            cache_ask(cache, i);
        assert_int_equal(cache_count(cache, 200), 200);
        strata_facts_cache_info info = cache_info(cache);
        assert_int_equal(cache_count(cache, 200), 200); /* written, too */
        for (int i = 0; i < 3; i++)
            assert_true(info.levels[i].used == (levels >> i & 1));
        assert_int_equal(info.misses, 200);
        strata__facts_cache_close(&cache);
        cache = cache_open(memory, lmdb, disk);
        assert_int_equal(cache_count(cache, 200), levels > 1 ? 200 : 0);
        info = cache_info(cache);
        assert_int_equal(info.discarded, 0);
        assert_int_equal(info.all_misses, levels > 1 ? 200 : 200);
        strata__facts_cache_close(&cache);
        cache_tear_down(NULL);
        cache_set_up(NULL);
    }
}

/* Another graph, model, kind or text is never answered, from any level. */
static void other_versions(void **state)
{
    struct strata__bytes value = {0};
    (void)state;
    for (int again = 0; again < 2; again++) {
        struct strata__facts_cache *cache = cache_open(again ? 0 : 1 << 20, 1 << 20, 1 << 20);
        for (unsigned i = 0; i < 100 && !again; i++)
            cache_put(cache, i, 5);
        for (unsigned i = 0; i < 100; i++) {
            struct strata__cache_key keys[] = {cache_key(i, 2, 1), cache_key(i, 0, 1),
                                               cache_key(i, 1, 2), cache_key(i, 1, 1)};
            keys[3].kind = STRATA__CACHE_SCORE;
            for (int k = 0; k < 4; k++)
                assert_false(strata__facts_cache_get(cache, &keys[k], &value));
        }
        assert_int_equal(cache_count(cache, 100), 100);
        strata__facts_cache_close(&cache);
    }
    strata__bytes_free(&value);
}

/* What is quickly made is not kept; first ones, without room, only on disk; used ones go up. */
static void by_likelihood(void **state)
{
    (void)state;
    struct strata__facts_cache *cache = cache_open(50000, 100000, 1 << 22);
    cache_put(cache, 9000, 0.0001);
    assert_false(cache_get(cache, 9000));
    for (unsigned i = 0; i < 400; i++) {
        cache_ask(cache, i);
        if (i % 10 == 0)
            strata__facts_cache_flush(cache);
    }
    strata_facts_cache_info info = cache_info(cache);
    assert_int_equal(info.kept[STRATA_FACTS_LIKELIHOODS - 1], 0);
    assert_int_equal(info.kept[0], 1);
    assert_true(info.kept[1] > 100 && info.kept[2] > 10 && info.kept[3] > 50);
    assert_true(info.levels[0].bytes <= 50000 && info.levels[1].bytes <= 100000);
    assert_int_equal(info.levels[2].hits, 0);
    for (int k = 0; k < 2; k++)
        assert_true(cache_get(cache, 390)); /* of disk: to LMDB and memory */
    info = cache_info(cache);
    assert_int_equal(info.levels[2].hits, 1);
    assert_int_equal(info.levels[0].hits, 1);
    assert_int_equal(cache_count(cache, 400), 400); /* what left LMDB went to disk */
    struct strata__bytes value = {0};
    const struct strata__cache_key key = {.kind = STRATA__CACHE_CHAIN, .text = "x", .size = 1};
    static char large[60000];
    strata__facts_cache_put(cache, &key, large, sizeof large, 50); /* for disk alone */
    strata__facts_cache_flush(cache);
    assert_true(strata__facts_cache_get(cache, &key, &value) && value.size == sizeof large);
    assert_true(strata__facts_cache_has(cache, &key));
    strata__bytes_free(&value);
    strata__facts_cache_close(&cache);
}

static void first_job(void *user)
{
    ++*(int *)user;
}

/* After a restart, what was used often is in memory before it is asked for. */
static void warming(void **state)
{
    int called = 0;
    (void)state;
    struct strata__facts_cache *cache = cache_open(1 << 20, 1 << 20, 1 << 20);
    for (int round = 0; round < 3; round++)
        for (unsigned i = 0; i < 50; i++)
            cache_ask(cache, i);
    for (unsigned i = 50; i < 100; i++)
        cache_ask(cache, i); /* once */
    strata__facts_cache_close(&cache);
    const struct strata__cache_versions other = {.graph = 2, .models = {1, 1}};
    cache = cache_open(1 << 20, 1 << 20, 1 << 20);
    strata__facts_cache_warm(cache, &other, first_job, &called);
    strata__facts_cache_flush(cache);
    assert_int_equal(called, 1);
    assert_int_equal(cache_info(cache).levels[0].values, 0); /* all of it is stale for these */
    strata__facts_cache_warm(cache, &now, first_job, &called);
    strata__facts_cache_flush(cache);
    assert_int_equal(cache_info(cache).levels[0].values, 50);
    assert_int_equal(cache_count(cache, 50), 50);
    assert_int_equal(cache_info(cache).levels[0].hits, 50);
    strata__facts_cache_close(&cache);
}

/* ---- Order ---- */

static void optimising(void **state)
{
    strata_facts_optimised done;
    const struct strata__cache_versions next = {.graph = 2, .models = {1, 1}};
    (void)state;
    struct strata__facts_cache *cache = cache_open(40000, 200000, 1 << 22);
    for (unsigned i = 0; i < 1500; i++)
        cache_ask(cache, i);
    for (unsigned i = 1000; i < 1020; i++) /* often, but left on disk */
        for (int k = 0; k < 3; k++)
            assert_true(strata__facts_cache_has(
                cache,
                &(struct strata__cache_key){STRATA__CACHE_ANSWER, 1, 1, cache_key(i, 1, 1).text,
                                            cache_key(i, 1, 1).size}));
    strata_facts_cache_info before = cache_info(cache);
    assert_int_equal(strata__facts_cache_optimise(cache, &now, &done), STRATA_OK);
    strata_facts_cache_info after = cache_info(cache);
    assert_int_equal(done.stale, 0);
    assert_true(done.ms > 0);
    assert_true(done.freed_bytes > 0 || done.predicted_bytes == 0);
    assert_true(after.levels[2].bytes <= before.levels[2].bytes);
    assert_int_equal(cache_count(cache, 1500), 1500);

    /* The graph changes: all of it is stale, which frees about what was expected. */
    before = cache_info(cache);
    assert_int_equal(strata__facts_cache_optimise(cache, &next, &done), STRATA_OK);
    after = cache_info(cache);
    assert_true(done.stale >= 1500);
    assert_int_equal(after.levels[0].values + after.levels[1].values + after.levels[2].values, 0);
    assert_true(done.freed_bytes > before.levels[2].bytes / 2);
    assert_true(done.predicted_bytes > done.freed_bytes / 2 &&
                done.predicted_bytes < done.freed_bytes * 2);
    assert_int_equal(cache_count(cache, 1500), 0);
    strata__facts_cache_close(&cache);
}

/* What is used often and lies on disk goes up; what that gains is measured. */
static void promoting(void **state)
{
    strata_facts_optimised done;
    (void)state;
    struct strata__facts_cache *cache = cache_open(0, 0, 1 << 22);
    for (int k = 0; k < 4; k++)
        for (unsigned i = 0; i < 60; i++)
            cache_ask(cache, i);
    strata__facts_cache_close(&cache);
    cache = cache_open(1 << 20, 1 << 20, 1 << 22);
    assert_int_equal(cache_info(cache).levels[1].values, 0);
    assert_int_equal(strata__facts_cache_optimise(cache, &now, &done), STRATA_OK);
    const strata_facts_cache_info info = cache_info(cache);
    assert_int_equal(info.levels[1].values, 60);
    assert_int_equal(info.levels[0].values, 60);
    assert_int_equal(done.promoted, 120);
    assert_true(done.predicted_ms > 0 && done.measured_ms != 0);
    strata__facts_cache_close(&cache);
}

/* Another that has the folder leaves memory alone; nothing fails. */
static void one_at_a_time(void **state)
{
    (void)state;
    struct strata__facts_cache *first = cache_open(1 << 20, 1 << 20, 1 << 20);
    struct strata__facts_cache *second = cache_open(1 << 20, 1 << 20, 1 << 20);
    for (unsigned i = 0; i < 50; i++)
        cache_ask(second, i);
    assert_int_equal(cache_count(second, 50), 50);
    const strata_facts_cache_info info = cache_info(second);
    assert_true(info.levels[0].used && !info.levels[1].used && !info.levels[2].used);
    assert_int_equal(cache_count(first, 50), 0);
    strata__facts_cache_close(&second);
    for (unsigned i = 0; i < 50; i++)
        cache_ask(first, i);
    strata__facts_cache_close(&first);
    first = cache_open(1 << 20, 1 << 20, 1 << 20);
    assert_int_equal(cache_count(first, 50), 50);
    strata__facts_cache_close(&first);
}

/* ---- Memory and threads ---- */

static strata_runtime *runtime_of(uint64_t bytes)
{
    const strata_budget budget = {
        .component = COMPONENT, .host_bytes = bytes, .device_bytes = STRATA_NO_LIMIT};
    strata_config config;
    strata_runtime *runtime;
    strata_config_default(&config);
    config.threads = 1;
    config.device = "cpu";
    config.budgets = &budget;
    config.n_budgets = 1;
    assert_int_equal(strata_runtime_open(&runtime, &config), STRATA_OK);
    return runtime;
}

static uint64_t charged(strata_runtime *runtime)
{
    strata_memory *memory;
    uint64_t bytes = UINT64_MAX;
    assert_int_equal(strata_memory_read(runtime, &memory), STRATA_OK);
    for (size_t i = 0; i < memory->n_components; i++)
        if (strcmp(memory->components[i].name, COMPONENT) == 0)
            bytes = memory->components[i].used_bytes;
    strata_memory_free(&memory);
    return bytes;
}

/* Memory is charged, with what the files need, and keeps to the component's limit, too. */
static void in_the_ledger(void **state)
{
    enum { LIMIT = 6000000 };
    (void)state;
    strata_runtime *runtime = runtime_of(LIMIT);
    struct strata__facts_cache *cache = cache_open(4 << 20, 1 << 20, 1 << 22);
    for (unsigned i = 0; i < 500; i++)
        cache_ask(cache, i);
    assert_int_equal(strata__facts_cache_charge(cache, runtime), STRATA_OK);
    assert_int_equal(strata__facts_cache_charge(cache, runtime), STRATA_OK);
    for (unsigned i = 500; i < 3000; i++)
        cache_ask(cache, i);
    const strata_facts_cache_info info = cache_info(cache);
    assert_true(info.levels[0].limit_bytes < 1 << 20); /* the rest is for the files */
    assert_true(info.levels[0].bytes <= info.levels[0].limit_bytes);
    assert_true(charged(runtime) >= info.levels[0].bytes + (4 << 20) && charged(runtime) <= LIMIT);
    strata__facts_cache_close(&cache);
    assert_int_equal(charged(runtime), 0);
    strata_runtime_close(&runtime);
}

static struct strata__facts_cache *shared;

static void *use_much(void *user)
{
    uint32_t random = *(const uint32_t *)user;
    for (unsigned i = 0; i < 3000; i++) {
        random = random * 1664525 + 1013904223;
        const unsigned n = random >> 24, key = random % 4 ? n % 64 : 100 + random % 700;
        struct strata__bytes value = {0};
        const struct strata__cache_key name = cache_key(key, 1 + n % 2, 1);
        size_t size;
        const char *text = cache_value(key, &size);
        if (!strata__facts_cache_get(shared, &name, &value))
            strata__facts_cache_put(shared, &name, text, size, 5);
        else if (!cache_is_value(&value, key))
            abort();
        strata__bytes_free(&value);
    }
    return NULL;
}

static void together(void **state)
{
    uint32_t seeds[4] = {1, 2, 3, 4};
    pthread_t threads[4];
    strata_facts_optimised done;
    (void)state;
    strata_runtime *runtime = runtime_of(STRATA_NO_LIMIT);
    shared = cache_open(60000, 100000, 300000);
    strata__facts_cache_charge(shared, runtime);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_much, &seeds[i]), 0);
    for (int i = 0; i < 5; i++) {
        strata__facts_cache_warm(shared, &now, NULL, NULL);
        assert_int_equal(strata__facts_cache_optimise(shared, &now, &done), STRATA_OK);
        cache_info(shared);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    const strata_facts_cache_info info = cache_info(shared);
    uint64_t asked = info.misses;
    for (int i = 0; i < 3; i++)
        asked += info.levels[i].hits;
    assert_int_equal(asked, 4 * 3000);
    assert_int_equal(info.discarded, 0);
    strata__facts_cache_close(&shared);
    strata_runtime_close(&runtime);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, cache_set_up, cache_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(nothing),       IN_FOLDER(each_level),    IN_FOLDER(other_versions),
        IN_FOLDER(by_likelihood), IN_FOLDER(warming),       IN_FOLDER(optimising),
        IN_FOLDER(promoting),     IN_FOLDER(one_at_a_time), IN_FOLDER(in_the_ledger),
        IN_FOLDER(together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

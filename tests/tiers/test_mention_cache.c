/* The cache of mentions: what it keeps, how much, for how long; its bytes in the ledger. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mention_cache.h"

enum { WIDTH = 48 };
#define COMPONENT "tier1_linker/result_cache(entities)"

/* A mention of which everything is known, all of it numbers that follow from `seed`. */
static struct strata__mention *mention_of(unsigned seed, float vector[WIDTH])
{
    struct strata__mention *m = calloc(1, sizeof *m);
    assert_non_null(m);
    *m = (struct strata__mention){.embedded = true,
                                  .described = true,
                                  .spelled = true,
                                  .width = WIDTH,
                                  .vector = vector,
                                  .n_described = seed % (STRATA__DESCRIPTIONS_MOST + 1),
                                  .n_spelled = seed * 7 % (STRATA__SPELLINGS_MOST + 1)};
    for (unsigned i = 0; i < WIDTH; i++)
        vector[i] = (float)(seed + i);
    for (unsigned i = 0; i < m->n_described; i++) {
        m->described_ids[i] = (uint64_t)seed << 32 | i;
        m->described_scores[i] = (float)i / 2;
    }
    for (unsigned i = 0; i < m->n_spelled; i++)
        m->spelled_labels[i] = seed ^ i;
    return m;
}

static void put(struct strata__mention_cache *cache, const char *text, uint64_t version,
                unsigned seed)
{
    float vector[WIDTH];
    struct strata__mention *m = mention_of(seed, vector);
    strata__mention_cache_put(cache, text, strlen(text), version, m);
    free(m);
}

/* Whether it is known; it is what `seed` says then. */
static bool known(struct strata__mention_cache *cache, const char *text, uint64_t version,
                  unsigned seed)
{
    float vector[WIDTH], wanted_vector[WIDTH];
    struct strata__mention *m = mention_of(0, vector), *wanted = mention_of(seed, wanted_vector);
    bool is = strata__mention_cache_get(cache, text, strlen(text), version, true, m);
    assert_true(m->embedded == is && m->described == is && m->spelled == is);
    if (is) {
        assert_memory_equal(vector, wanted_vector, sizeof vector);
        assert_int_equal(m->n_described, wanted->n_described);
        assert_int_equal(m->n_spelled, wanted->n_spelled);
        assert_memory_equal(m->described_ids, wanted->described_ids, sizeof m->described_ids);
        assert_memory_equal(m->described_scores, wanted->described_scores,
                            sizeof m->described_scores);
        assert_memory_equal(m->spelled_labels, wanted->spelled_labels, sizeof m->spelled_labels);
    }
    free(m);
    free(wanted);
    return is;
}

static struct strata__mention_cache *cache_of(size_t limit)
{
    struct strata__mention_cache *cache;
    assert_int_equal(strata__mention_cache_open(limit, &cache), STRATA_OK);
    return cache;
}

/* ---- What is kept ---- */

static void kept_as_it_is(void **state)
{
    static const char *const texts[] = {"", "a", "b", "A", "ab", "a b", "\xff\xfe", "caf\u00e9"};
    enum { N = sizeof texts / sizeof *texts };
    (void)state;
    struct strata__mention_cache *cache = cache_of(1 << 20);
    for (unsigned i = 0; i < N; i++) {
        assert_false(known(cache, texts[i], 5, i));
        put(cache, texts[i], 5, 300 + i);
    }
    for (unsigned i = 0; i < N; i++)
        assert_true(known(cache, texts[i], 5, 300 + i));
    put(cache, "a", 5, 17); /* in place of the other */
    assert_true(known(cache, "a", 5, 17));
    struct strata__mention_cache_info info = strata__mention_cache_info_get(cache);
    assert_int_equal(info.mentions, N);
    assert_int_equal(info.hits, N + 1);
    assert_int_equal(info.misses, N);
    assert_true(info.bytes > 0 && info.bytes <= info.limit);
    strata__mention_cache_close(&cache);
    assert_null(cache);
    strata__mention_cache_close(&cache);
}

/* Of another version of the store, older or newer, nothing is known. */
static void versions(void **state)
{
    (void)state;
    struct strata__mention_cache *cache = cache_of(1 << 20);
    put(cache, "a", 5, 1);
    assert_false(known(cache, "a", 6, 1));
    assert_false(known(cache, "a", 4, 1));
    assert_true(known(cache, "a", 5, 1));
    put(cache, "a", 6, 2);
    assert_false(known(cache, "a", 5, 2));
    assert_true(known(cache, "a", 6, 2));
    assert_int_equal(strata__mention_cache_info_get(cache).mentions, 1);
    strata__mention_cache_close(&cache);
}

/* Parts that are not there stay away, and so does a vector of another width. */
static void parts(void **state)
{
    float vector[2 * WIDTH] = {0};
    (void)state;
    for (int part = 0; part < 8; part++) {
        struct strata__mention_cache *cache = cache_of(1 << 20);
        struct strata__mention *m = mention_of(100, vector), *out = mention_of(1, vector);
        m->embedded = part & 1;
        m->described = part & 2;
        m->spelled = part & 4;
        strata__mention_cache_put(cache, "x", 1, 1, m);
        assert_true(strata__mention_cache_get(cache, "x", 1, 1, false, out));
        assert_int_equal(out->embedded, m->embedded);
        assert_int_equal(out->described, m->described);
        assert_int_equal(out->spelled, m->spelled);
        out->width = 2 * WIDTH;
        assert_true(strata__mention_cache_get(cache, "x", 1, 1, false, out));
        assert_false(out->embedded);
        assert_int_equal(strata__mention_cache_info_get(cache).hits, 0); /* not to be counted */
        strata__mention_cache_close(&cache);
        free(m);
        free(out);
    }
}

/* ---- How much ---- */

static const char *name_of(unsigned i)
{
    static char text[4][16];
    snprintf(text[i % 4], sizeof text[0], "mention %u", i);
    return text[i % 4];
}

/* It never has more than its limit, and those go that were not used for the longest time. */
static void least_recently_used(void **state)
{
    enum { N = 500, SEED = 300 };
    unsigned n_known = 0;
    (void)state;
    struct strata__mention_cache *cache = cache_of(200000);
    for (unsigned i = 0; i < N; i++) {
        put(cache, name_of(i), 1, SEED);
        assert_true(known(cache, name_of(0), 1, SEED)); /* used all the time */
        assert_true(strata__mention_cache_info_get(cache).bytes <= 200000);
    }
    for (unsigned i = 1; i < N; i++) {
        bool is = known(cache, name_of(i), 1, SEED);
        assert_true(is || n_known == 0); /* those at the end, without a gap */
        n_known += is;
    }
    assert_int_equal(strata__mention_cache_info_get(cache).mentions, n_known + 1);
    assert_true(n_known > 20 && n_known < 100);
    assert_true(strata__mention_cache_info_get(cache).bytes > 190000);
    strata__mention_cache_close(&cache);
}

static void small_limits(void **state)
{
    (void)state;
    for (size_t limit = 0; limit < 4000; limit += 500) {
        struct strata__mention_cache *cache = cache_of(limit);
        put(cache, "a", 1, 10);
        put(cache, "b", 1, 300);
        assert_true(strata__mention_cache_info_get(cache).bytes <= limit);
        assert_false(limit < 500 && known(cache, "a", 1, 10));
        strata__mention_cache_close(&cache);
    }
}

/* ---- In the ledger ---- */

static strata_runtime *runtime_of(uint64_t component_bytes, uint64_t total)
{
    const strata_budget budget = {
        .component = COMPONENT, .host_bytes = component_bytes, .device_bytes = STRATA_NO_LIMIT};
    strata_config config;
    strata_runtime *runtime;
    strata_config_default(&config);
    config.threads = 1;
    config.device = "cpu";
    config.budgets = &budget;
    config.n_budgets = 1;
    config.memory_limit = total;
    assert_int_equal(strata_runtime_open(&runtime, &config), STRATA_OK);
    return runtime;
}

static uint64_t charged_to(strata_runtime *runtime, const char *component)
{
    strata_memory *memory;
    uint64_t bytes = UINT64_MAX;
    assert_int_equal(strata_memory_read(runtime, &memory), STRATA_OK);
    for (size_t i = 0; i < memory->n_components; i++)
        if (strcmp(memory->components[i].name, component) == 0)
            bytes = memory->components[i].used_bytes;
    strata_memory_free(&memory);
    return bytes;
}

static uint64_t charged(strata_runtime *runtime)
{
    return charged_to(runtime, COMPONENT);
}

/* What it has is charged, also what it had before; the component's limit is its own. */
static void is_charged(void **state)
{
    (void)state;
    strata_runtime *runtime = runtime_of(100000, 0);
    struct strata__mention_cache *cache = cache_of(200000);
    for (unsigned i = 0; i < 100; i++)
        put(cache, name_of(i), 1, 300);
    assert_true(strata__mention_cache_info_get(cache).bytes > 190000);
    assert_int_equal(strata__mention_cache_charge(cache, runtime), STRATA_OK);
    assert_int_equal(strata__mention_cache_charge(cache, runtime), STRATA_OK);
    for (unsigned i = 100; i < 200; i++) {
        struct strata__mention_cache_info info = strata__mention_cache_info_get(cache);
        assert_true(info.bytes > 90000 && info.bytes <= 100000 && info.limit == 100000);
        assert_int_equal(charged(runtime), info.bytes);
        put(cache, name_of(i), 1, 300);
        assert_true(known(cache, name_of(i), 1, 300));
    }
    strata__mention_cache_close(&cache);
    assert_int_equal(charged(runtime), 0);
    strata_runtime_close(&runtime);
}

/* Where others need the memory it is given back, the oldest first; and it keeps less where there is
 * no more. */
static void gives_back(void **state)
{
    enum { TOTAL = 20 * 1000 * 1000 };
    (void)state;
    strata_runtime *runtime = runtime_of(STRATA_NO_LIMIT, TOTAL);
    struct strata__mention_cache *cache = cache_of(400000);
    strata_holder *other;
    const strata_holder_options options = {
        .size = sizeof options, .component = "core", .purpose = "others"};
    assert_int_equal(strata__mention_cache_charge(cache, runtime), STRATA_OK);
    for (unsigned i = 0; i < 90; i++)
        put(cache, name_of(i), 1, 300);
    const uint64_t full = strata__mention_cache_info_get(cache).bytes;
    assert_true(full > 300000);
    assert_int_equal(strata_holder_open(runtime, &options, &other), STRATA_OK);
    const uint64_t free_bytes = TOTAL - charged_to(runtime, "total");
    assert_int_equal(strata_holder_set(other, free_bytes + 100000), STRATA_OK);
    const struct strata__mention_cache_info info = strata__mention_cache_info_get(cache);
    assert_true(info.bytes <= full - 100000 && info.bytes > full - 120000);
    assert_int_equal(info.limit, 400000);
    assert_false(known(cache, name_of(0), 1, 300));
    assert_true(known(cache, name_of(89), 1, 300));
    assert_int_equal(charged(runtime), info.bytes);
    for (unsigned i = 0; i < 90; i++)
        put(cache, name_of(i), 2, 300);
    assert_int_equal(charged(runtime), strata__mention_cache_info_get(cache).bytes);
    strata_holder_close(&other);
    put(cache, "after", 3, 300);
    assert_true(known(cache, "after", 3, 300));
    strata__mention_cache_close(&cache);
    strata_runtime_close(&runtime);
}

/* ---- Together ---- */

static void *use_much(void *user)
{
    struct strata__mention_cache *cache = user;
    for (unsigned i = 0; i < 4000; i++) {
        char text[16];
        const unsigned n = i * 2654435761u >> 26;
        snprintf(text, sizeof text, "m%u", n);
        if (!known(cache, text, n % 3, n))
            put(cache, text, n % 3, n);
    }
    return NULL;
}

static void together(void **state)
{
    pthread_t threads[4];
    (void)state;
    strata_runtime *runtime = runtime_of(60000, 0);
    struct strata__mention_cache *cache = cache_of(200000);
    assert_int_equal(strata__mention_cache_charge(cache, runtime), STRATA_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_much, cache), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    const struct strata__mention_cache_info info = strata__mention_cache_info_get(cache);
    assert_int_equal(info.hits + info.misses, 4 * 4000);
    assert_int_equal(charged(runtime), info.bytes);
    strata__mention_cache_close(&cache);
    strata_runtime_close(&runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_as_it_is), cmocka_unit_test(versions),
        cmocka_unit_test(parts),         cmocka_unit_test(least_recently_used),
        cmocka_unit_test(small_limits),  cmocka_unit_test(is_charged),
        cmocka_unit_test(gives_back),    cmocka_unit_test(together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A cache of three levels: what it keeps where, over restarts, damage, full disks, and threads. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache_fixture.h"
#include "disk_calls.h"
#include "faults.h"
#include "memory.h"
#include "runtime.h"

#define COMPONENT "tier2_expander/result_cache(semantic)"
static const struct strata__cache_versions now = {.graph = 1, .models = {1, 1}};

static struct strata__facts_cache *open_cache(size_t memory, uint64_t lmdb, uint64_t disk)
{
    struct strata__facts_cache *cache;
    const struct strata__facts_cache_options options = {.folder = cache_folder,
                                                        .memory_bytes = memory,
                                                        .lmdb_bytes = lmdb,
                                                        .disk_bytes = disk,
                                                        .origin = 5};
    if (strata__facts_cache_open(&options, &cache) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    strata__facts_cache_flush(cache);
    return cache;
}

static void put(struct strata__facts_cache *cache, unsigned i, double cost_ms)
{
    size_t size;
    const struct strata__cache_key key = cache_key(i, 1, 1);
    const char *value = cache_value(i, &size);
    strata__facts_cache_put(cache, &key, value, size, cost_ms);
}

static bool get(struct strata__facts_cache *cache, unsigned i)
{
    struct strata__bytes value = {0};
    const struct strata__cache_key key = cache_key(i, 1, 1);
    const bool found = strata__facts_cache_get(cache, &key, &value);
    if (found && !cache_is_value(&value, i))
        fail_msg("key %u: another value", i);
    strata__bytes_free(&value);
    return found;
}

static unsigned count(struct strata__facts_cache *cache, unsigned n)
{
    unsigned found = 0;
    for (unsigned i = 0; i < n; i++)
        found += get(cache, i);
    return found;
}

static strata_facts_cache_info info_of(struct strata__facts_cache *cache)
{
    strata_facts_cache_info info;
    strata__facts_cache_flush(cache);
    strata__facts_cache_info_get(cache, &info);
    return info;
}

/* Asks, and puts what is not there, as queries do. */
static void ask(struct strata__facts_cache *cache, unsigned i)
{
    if (!get(cache, i))
        put(cache, i, 5);
}

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
    put(cache, 1, 5);
    assert_false(get(cache, 1));
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
        struct strata__facts_cache *cache = open_cache(memory, lmdb, disk);
        for (unsigned i = 0; i < 200; i++)
            ask(cache, i);
        assert_int_equal(count(cache, 200), 200);
        strata_facts_cache_info info = info_of(cache);
        assert_int_equal(count(cache, 200), 200); /* written, too */
        for (int i = 0; i < 3; i++)
            assert_true(info.levels[i].used == (levels >> i & 1));
        assert_int_equal(info.misses, 200);
        strata__facts_cache_close(&cache);
        cache = open_cache(memory, lmdb, disk);
        assert_int_equal(count(cache, 200), levels > 1 ? 200 : 0);
        info = info_of(cache);
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
        struct strata__facts_cache *cache = open_cache(again ? 0 : 1 << 20, 1 << 20, 1 << 20);
        for (unsigned i = 0; i < 100 && !again; i++)
            put(cache, i, 5);
        for (unsigned i = 0; i < 100; i++) {
            struct strata__cache_key keys[] = {cache_key(i, 2, 1), cache_key(i, 0, 1),
                                               cache_key(i, 1, 2), cache_key(i, 1, 1)};
            keys[3].kind = STRATA__CACHE_SCORE;
            for (int k = 0; k < 4; k++)
                assert_false(strata__facts_cache_get(cache, &keys[k], &value));
        }
        assert_int_equal(count(cache, 100), 100);
        strata__facts_cache_close(&cache);
    }
    strata__bytes_free(&value);
}

/* What is quickly made is not kept; first ones, without room, only on disk; used ones go up. */
static void by_likelihood(void **state)
{
    (void)state;
    struct strata__facts_cache *cache = open_cache(50000, 100000, 1 << 22);
    put(cache, 9000, 0.0001);
    assert_false(get(cache, 9000));
    for (unsigned i = 0; i < 400; i++) {
        ask(cache, i);
        if (i % 10 == 0)
            strata__facts_cache_flush(cache);
    }
    strata_facts_cache_info info = info_of(cache);
    assert_int_equal(info.kept[STRATA_FACTS_LIKELIHOODS - 1], 0);
    assert_int_equal(info.kept[0], 1);
    assert_true(info.kept[1] > 100 && info.kept[2] > 10 && info.kept[3] > 50);
    assert_true(info.levels[0].bytes <= 50000 && info.levels[1].bytes <= 100000);
    assert_int_equal(info.levels[2].hits, 0);
    for (int k = 0; k < 2; k++)
        assert_true(get(cache, 390)); /* of disk: to LMDB and memory */
    info = info_of(cache);
    assert_int_equal(info.levels[2].hits, 1);
    assert_int_equal(info.levels[0].hits, 1);
    assert_int_equal(count(cache, 400), 400); /* what left LMDB went to disk */
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
    struct strata__facts_cache *cache = open_cache(1 << 20, 1 << 20, 1 << 20);
    for (int round = 0; round < 3; round++)
        for (unsigned i = 0; i < 50; i++)
            ask(cache, i);
    for (unsigned i = 50; i < 100; i++)
        ask(cache, i); /* once */
    strata__facts_cache_close(&cache);
    const struct strata__cache_versions other = {.graph = 2, .models = {1, 1}};
    cache = open_cache(1 << 20, 1 << 20, 1 << 20);
    strata__facts_cache_warm(cache, &other, first_job, &called);
    strata__facts_cache_flush(cache);
    assert_int_equal(called, 1);
    assert_int_equal(info_of(cache).levels[0].values, 0); /* all of it is stale for these */
    strata__facts_cache_warm(cache, &now, first_job, &called);
    strata__facts_cache_flush(cache);
    assert_int_equal(info_of(cache).levels[0].values, 50);
    assert_int_equal(count(cache, 50), 50);
    assert_int_equal(info_of(cache).levels[0].hits, 50);
    strata__facts_cache_close(&cache);
}

/* ---- Order ---- */

static void optimising(void **state)
{
    strata_facts_optimised done;
    const struct strata__cache_versions next = {.graph = 2, .models = {1, 1}};
    (void)state;
    struct strata__facts_cache *cache = open_cache(40000, 200000, 1 << 22);
    for (unsigned i = 0; i < 1500; i++)
        ask(cache, i);
    for (unsigned i = 1000; i < 1020; i++) /* often, but left on disk */
        for (int k = 0; k < 3; k++)
            assert_true(strata__facts_cache_has(
                cache,
                &(struct strata__cache_key){STRATA__CACHE_ANSWER, 1, 1, cache_key(i, 1, 1).text,
                                            cache_key(i, 1, 1).size}));
    strata_facts_cache_info before = info_of(cache);
    assert_int_equal(strata__facts_cache_optimise(cache, &now, &done), STRATA_OK);
    strata_facts_cache_info after = info_of(cache);
    assert_int_equal(done.stale, 0);
    assert_true(done.ms > 0);
    assert_true(done.freed_bytes > 0 || done.predicted_bytes == 0);
    assert_true(after.levels[2].bytes <= before.levels[2].bytes);
    assert_int_equal(count(cache, 1500), 1500);

    /* The graph changes: all of it is stale, which frees about what was expected. */
    before = info_of(cache);
    assert_int_equal(strata__facts_cache_optimise(cache, &next, &done), STRATA_OK);
    after = info_of(cache);
    assert_true(done.stale >= 1500);
    assert_int_equal(after.levels[0].values + after.levels[1].values + after.levels[2].values, 0);
    assert_true(done.freed_bytes > before.levels[2].bytes / 2);
    assert_true(done.predicted_bytes > done.freed_bytes / 2 &&
                done.predicted_bytes < done.freed_bytes * 2);
    assert_int_equal(count(cache, 1500), 0);
    strata__facts_cache_close(&cache);
}

/* What is used often and lies on disk goes up; what that gains is measured. */
static void promoting(void **state)
{
    strata_facts_optimised done;
    (void)state;
    struct strata__facts_cache *cache = open_cache(0, 0, 1 << 22);
    for (int k = 0; k < 4; k++)
        for (unsigned i = 0; i < 60; i++)
            ask(cache, i);
    strata__facts_cache_close(&cache);
    cache = open_cache(1 << 20, 1 << 20, 1 << 22);
    assert_int_equal(info_of(cache).levels[1].values, 0);
    assert_int_equal(strata__facts_cache_optimise(cache, &now, &done), STRATA_OK);
    const strata_facts_cache_info info = info_of(cache);
    assert_int_equal(info.levels[1].values, 60);
    assert_int_equal(info.levels[0].values, 60);
    assert_int_equal(done.promoted, 120);
    assert_true(done.predicted_ms > 0 && done.measured_ms != 0);
    strata__facts_cache_close(&cache);
}

/* ---- Trouble ---- */

/* Another that has the folder leaves memory alone; nothing fails. */
static void one_at_a_time(void **state)
{
    (void)state;
    struct strata__facts_cache *first = open_cache(1 << 20, 1 << 20, 1 << 20);
    struct strata__facts_cache *second = open_cache(1 << 20, 1 << 20, 1 << 20);
    for (unsigned i = 0; i < 50; i++)
        ask(second, i);
    assert_int_equal(count(second, 50), 50);
    const strata_facts_cache_info info = info_of(second);
    assert_true(info.levels[0].used && !info.levels[1].used && !info.levels[2].used);
    assert_int_equal(count(first, 50), 0);
    strata__facts_cache_close(&second);
    for (unsigned i = 0; i < 50; i++)
        ask(first, i);
    strata__facts_cache_close(&first);
    first = open_cache(1 << 20, 1 << 20, 1 << 20);
    assert_int_equal(count(first, 50), 50);
    strata__facts_cache_close(&first);
}

/* A call on files of the cache that fails. */
struct disk_fault {
    enum disk_call call;
    int verdict;
    unsigned n, seen;
    bool later;
};

static int fail_disk(void *user, const struct disk_event *event)
{
    struct disk_fault *fault = user;
    char name[400];
    if (event->call != fault->call)
        return 0;
    if (event->call == DISK_OPEN)
        snprintf(name, sizeof name, "%s", event->path);
    else if (!disk_name(event->descriptor, name, sizeof name))
        return 0;
    if (strncmp(name, cache_folder, strlen(cache_folder)) != 0)
        return 0;
    const unsigned n = __atomic_add_fetch(&fault->seen, 1, __ATOMIC_RELAXED);
    return n == fault->n || (fault->later && n > fault->n) ? fault->verdict : 0;
}

/* Opens, asks, closes, and asks again; all that is found is right. */
static void use_all(void)
{
    for (int round = 0; round < 2; round++) {
        strata_facts_optimised done;
        struct strata__facts_cache *cache = open_cache(30000, 60000, 200000);
        for (unsigned i = 0; i < 300; i++)
            ask(cache, i);
        strata__facts_cache_flush(cache);
        count(cache, 300);
        strata__facts_cache_optimise(cache, &now, &done); /* may fail, as it says */
        count(cache, 300);
        strata__facts_cache_close(&cache);
    }
}

static void disk_fails(void **state)
{
    static const struct {
        enum disk_call call;
        int verdict;
    } kinds[] = {{DISK_WRITE, ENOSPC}, {DISK_WRITE, EIO},  {DISK_WRITE, DISK_SHORT},
                 {DISK_OPEN, EMFILE},  {DISK_OPEN, EROFS}, {DISK_TRUNCATE, EIO},
                 {DISK_MMAP, ENOMEM}};
    (void)state;
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
        for (int later = 0; later < 2; later++)
            for (unsigned n = 1; n < 60; n += n < 12 ? 1 : 9) {
                struct disk_fault fault = {kinds[kind].call, kinds[kind].verdict, n, 0, later};
                disk_watch(fail_disk, &fault);
                use_all();
                disk_watch(NULL, NULL);
                const unsigned seen = fault.seen;
                struct strata__facts_cache *cache = open_cache(30000, 60000, 200000);
                for (unsigned i = 0; i < 300; i++)
                    ask(cache, i); /* it works again */
                assert_true(count(cache, 300) > 200);
                const strata_facts_cache_info info = info_of(cache);
                assert_true(info.levels[1].used && info.levels[2].used);
                strata__facts_cache_close(&cache);
                cache_tear_down(NULL);
                cache_set_up(NULL);
                if (seen < n)
                    break;
            }
}

/* Allocations fail, of the library and of the levels' files alike. */
static void memory_fails(void **state)
{
    (void)state;
    for (int later = 0; later < 2; later++)
        for (unsigned n = 1; n < 3000; n += n < 60 ? 1 : 97) {
            struct strata__facts_cache *cache = NULL;
            const struct strata__facts_cache_options options = {.folder = cache_folder,
                                                                .memory_bytes = 30000,
                                                                .lmdb_bytes = 60000,
                                                                .disk_bytes = 200000,
                                                                .origin = 5};
            fault_arm(FAULT_MEMORY, n, later, ENOMEM);
            if (strata__facts_cache_open(&options, &cache) != STRATA_OK)
                assert_null(cache);
            for (unsigned i = 0; i < 200; i++) {
                struct strata__bytes value = {0};
                const struct strata__cache_key key = cache_key(i % 150, 1, 1);
                const bool found = strata__facts_cache_get(cache, &key, &value);
                assert_true(!found || cache_is_value(&value, i % 150));
                if (!found)
                    put(cache, i % 150, 5);
                strata__bytes_free(&value);
            }
            strata__facts_cache_flush(cache);
            strata__facts_cache_close(&cache);
            fault_reset();
        }
}

/* A byte of any file is another one: what is found is right all the same. */
static void files_are_damaged(void **state)
{
    static const char *const names[] = {"data.mdb", "state", "00000000.segment", "uses", "counts"};
    uint64_t discarded = 0;
    uint32_t random = 7;
    (void)state;
    for (int round = 0; round < 120; round++) {
        struct strata__facts_cache *cache = open_cache(30000, 100000, 1 << 20);
        for (unsigned i = 0; i < 250; i++)
            ask(cache, i);
        count(cache, 250);
        discarded += info_of(cache).discarded;
        strata__facts_cache_close(&cache);
        const char *name = names[round % 5];
        random = random * 1664525 + 1013904223;
        const long size = cache_file_size(name);
        assert_true(size > 0);
        if (round % 3 == 2)
            cache_cut(name, (long)(random % (uint32_t)size));
        else
            cache_flip(name, (long)(random % (uint32_t)size));
    }
    assert_true(discarded > 30);
}

/* ---- Memory and threads ---- */

static unsigned warnings;

static void on_log(void *user, strata_log_level level, const char *line)
{
    (void)user;
    if (level == STRATA_LOG_WARN && strstr(line, "cache of facts"))
        warnings++;
}

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
    config.log = on_log;
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
    struct strata__facts_cache *cache = open_cache(4 << 20, 1 << 20, 1 << 22);
    for (unsigned i = 0; i < 500; i++)
        ask(cache, i);
    assert_int_equal(strata__facts_cache_charge(cache, runtime), STRATA_OK);
    assert_int_equal(strata__facts_cache_charge(cache, runtime), STRATA_OK);
    for (unsigned i = 500; i < 3000; i++)
        ask(cache, i);
    const strata_facts_cache_info info = info_of(cache);
    assert_true(info.levels[0].limit_bytes < 1 << 20); /* the rest is for the files */
    assert_true(info.levels[0].bytes <= info.levels[0].limit_bytes);
    assert_true(charged(runtime) >= info.levels[0].bytes + (4 << 20) && charged(runtime) <= LIMIT);
    strata__facts_cache_close(&cache);
    assert_int_equal(charged(runtime), 0);
    strata_runtime_close(&runtime);
}

/* A level that fails is said once, also when the runtime comes later. */
static void said_once(void **state)
{
    (void)state;
    for (int first = 0; first < 2; first++) {
        warnings = 0;
        strata_runtime *runtime = runtime_of(STRATA_NO_LIMIT);
        struct strata__facts_cache *cache = open_cache(1 << 20, 1 << 20, 1 << 20);
        if (first)
            strata__facts_cache_charge(cache, runtime);
        struct disk_fault fault = {DISK_WRITE, EIO, 1, 0, true};
        disk_watch(fail_disk, &fault);
        for (unsigned i = 0; i < 300; i++) {
            ask(cache, i + 1000);
            if (i % 50 == 0)
                strata__facts_cache_flush(cache);
        }
        strata__facts_cache_flush(cache);
        disk_watch(NULL, NULL);
        if (!first)
            strata__facts_cache_charge(cache, runtime);
        assert_true(warnings >= 1 && warnings <= 2); /* of each level */
        strata__facts_cache_close(&cache);
        strata_runtime_close(&runtime);
        cache_tear_down(NULL);
        cache_set_up(NULL);
    }
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
    shared = open_cache(60000, 100000, 300000);
    strata__facts_cache_charge(shared, runtime);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_much, &seeds[i]), 0);
    for (int i = 0; i < 5; i++) {
        strata__facts_cache_warm(shared, &now, NULL, NULL);
        assert_int_equal(strata__facts_cache_optimise(shared, &now, &done), STRATA_OK);
        info_of(shared);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    const strata_facts_cache_info info = info_of(shared);
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
        IN_FOLDER(nothing),       IN_FOLDER(each_level),        IN_FOLDER(other_versions),
        IN_FOLDER(by_likelihood), IN_FOLDER(warming),           IN_FOLDER(optimising),
        IN_FOLDER(promoting),     IN_FOLDER(one_at_a_time),     IN_FOLDER(disk_fails),
        IN_FOLDER(memory_fails),  IN_FOLDER(files_are_damaged), IN_FOLDER(in_the_ledger),
        IN_FOLDER(said_once),     IN_FOLDER(together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

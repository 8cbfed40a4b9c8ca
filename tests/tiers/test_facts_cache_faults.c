/* A cache of three levels when the disk is full or fails, memory is short, or files are damaged. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache_fixture.h"
#include "disk_calls.h"
#include "faults.h"

static const struct strata__cache_versions now = {.graph = 1, .models = {1, 1}};

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
        struct strata__facts_cache *cache = cache_open(30000, 60000, 200000);
        for (unsigned i = 0; i < 300; i++)
            cache_ask(cache, i);
        strata__facts_cache_flush(cache);
        cache_count(cache, 300);
        strata__facts_cache_optimise(cache, &now, &done); /* may fail, as it says */
        cache_count(cache, 300);
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
                struct strata__facts_cache *cache = cache_open(30000, 60000, 200000);
                for (unsigned i = 0; i < 300; i++)
                    cache_ask(cache, i); /* it works again */
                assert_true(cache_count(cache, 300) > 200);
                const strata_facts_cache_info info = cache_info(cache);
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
                    cache_put(cache, i % 150, 5);
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
        struct strata__facts_cache *cache = cache_open(30000, 100000, 1 << 20);
        for (unsigned i = 0; i < 250; i++)
            cache_ask(cache, i);
        cache_count(cache, 250);
        discarded += cache_info(cache).discarded;
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

/* A process is killed at any moment: what it left is right, and most of it is there. */
static void killed(void **state)
{
    enum { KILLS = 40, KEYS = 400 };
    unsigned found = 0;
    (void)state;
    for (int i = 0; i < KILLS; i++) {
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct strata__facts_cache *cache = cache_open(30000, 100000, 1 << 20);
            for (unsigned k = 0;; k++)
                cache_ask(cache, (k * 7 + (unsigned)i) % KEYS);
        }
        const struct timespec moment = {0, 3000000 + i * 2900000L};
        nanosleep(&moment, NULL);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        struct strata__facts_cache *cache = cache_open(30000, 100000, 1 << 20);
        found += cache_count(cache, KEYS);
        const strata_facts_cache_info info = cache_info(cache);
        assert_true(info.levels[1].used && info.levels[2].used);
        strata__facts_cache_close(&cache);
    }
    assert_true(found > KILLS * KEYS / 2);
}

static unsigned warnings;

static void on_log(void *user, strata_log_level level, const char *line)
{
    (void)user;
    if (level == STRATA_LOG_WARN && strstr(line, "cache of facts"))
        warnings++;
}

static strata_runtime *open_runtime(void)
{
    strata_config config;
    strata_runtime *runtime;
    strata_config_default(&config);
    config.threads = 1;
    config.device = "cpu";
    config.log = on_log;
    assert_int_equal(strata_runtime_open(&runtime, &config), STRATA_OK);
    return runtime;
}

/* A level that fails is said once, also when the runtime comes later. */
static void said_once(void **state)
{
    (void)state;
    for (int first = 0; first < 2; first++) {
        warnings = 0;
        strata_runtime *runtime = open_runtime();
        struct strata__facts_cache *cache = cache_open(1 << 20, 1 << 20, 1 << 20);
        if (first)
            strata__facts_cache_charge(cache, runtime);
        struct disk_fault fault = {DISK_WRITE, EIO, 1, 0, true};
        disk_watch(fail_disk, &fault);
        for (unsigned i = 0; i < 300; i++) {
            cache_ask(cache, i + 1000);
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

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, cache_set_up, cache_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(disk_fails), IN_FOLDER(memory_fails), IN_FOLDER(files_are_damaged),
        IN_FOLDER(killed),     IN_FOLDER(said_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Cached values in files on disk: kept, within the limit, damaged, written anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cache_disk.h"
#include "cache_fixture.h"
#include "memory.h"

enum { ORIGIN = 77 };

static struct strata__uses *uses;

static struct strata__cache_disk *open_disk(uint64_t limit, uint64_t origin, unsigned *discarded)
{
    struct strata__cache_disk *disk;
    if (strata__cache_disk_open(cache_folder, limit, origin, discarded, &disk) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    return disk;
}

static void put_disk(struct strata__cache_disk *disk, unsigned from, unsigned n, uint64_t graph)
{
    for (unsigned i = from; i < from + n; i++) {
        struct strata__record *record = cache_record(i, graph, 1);
        assert_int_equal(strata__cache_disk_put(disk, record, uses), STRATA_OK);
        strata__free(record);
        const struct strata__cache_disk_info info = strata__cache_disk_info_get(disk);
        assert_true(info.bytes <= info.limit);
    }
}

static unsigned count_disk(struct strata__cache_disk *disk, unsigned from, unsigned n,
                           unsigned *n_damaged)
{
    struct strata__bytes bytes = {0};
    unsigned count = 0;
    *n_damaged = 0;
    for (unsigned i = from; i < from + n; i++) {
        bool found, damaged;
        struct strata__cache_key key = cache_key(i, 1, 1);
        assert_int_equal(strata__cache_disk_get(disk, &key, &bytes, &found, &damaged), STRATA_OK);
        if (found)
            assert_true(cache_is_record(&bytes, i));
        count += found;
        *n_damaged += damaged;
        key.graph = 3;
        assert_int_equal(strata__cache_disk_get(disk, &key, &bytes, &found, &damaged), STRATA_OK);
        assert_false(found || damaged);
    }
    strata__bytes_free(&bytes);
    return count;
}

static void disk_keeps(void **state)
{
    unsigned discarded, damaged;
    (void)state;
    assert_int_equal(strata__uses_open(&uses), STRATA_OK);
    struct strata__cache_disk *disk = open_disk(1 << 24, ORIGIN, &discarded);
    put_disk(disk, 0, 500, 1);
    assert_int_equal(count_disk(disk, 0, 600, &damaged), 500);
    const struct strata__cache_disk_info plain = strata__cache_disk_info_get(disk);
    assert_false(plain.has_dictionary);
    assert_int_equal(strata__cache_disk_train(disk), STRATA_OK);
    put_disk(disk, 500, 500, 1);
    const struct strata__cache_disk_info trained = strata__cache_disk_info_get(disk);
    assert_true(trained.has_dictionary);
    assert_true(trained.live_bytes - plain.live_bytes < plain.live_bytes * 85 / 100);
    assert_int_equal(trained.files, 2);
    put_disk(disk, 0, 100, 1); /* in place of others */
    assert_int_equal(strata__cache_disk_info_get(disk).count, 1000);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(count_disk(disk, 0, 1100, &damaged), 1000 + round);
        assert_int_equal(damaged, 0);
        strata__cache_disk_close(&disk);
        disk = open_disk(1 << 24, ORIGIN, &discarded);
        assert_int_equal(discarded, 0);
        assert_true(strata__cache_disk_info_get(disk).has_dictionary);
        put_disk(disk, 1000 + (unsigned)round, 1, 1); /* to the file that was the last */
        assert_int_equal(strata__cache_disk_info_get(disk).files, 2);
    }
    strata__cache_disk_close(&disk);
    disk = open_disk(1 << 24, ORIGIN + 1, &discarded);
    assert_int_equal(discarded, 2);
    assert_int_equal(count_disk(disk, 0, 1100, &damaged), 0);
    strata__cache_disk_close(&disk);
    strata__uses_close(&uses);
}

/* Old files leave, but for what was used often. */
static void disk_holds_its_limit(void **state)
{
    enum { LIMIT = 300000, OFTEN = 40 };
    unsigned discarded, damaged;
    (void)state;
    assert_int_equal(strata__uses_open(&uses), STRATA_OK);
    struct strata__cache_disk *disk = open_disk(LIMIT, ORIGIN, &discarded);
    for (unsigned i = 0; i < OFTEN * 5; i++) {
        const struct strata__cache_key key = cache_key(i % OFTEN, 1, 1);
        strata__uses_add(uses, strata__cache_use_of(&key));
    }
    put_disk(disk, 0, 6000, 1);
    assert_int_equal(count_disk(disk, 0, OFTEN, &damaged), OFTEN);
    const unsigned others = count_disk(disk, OFTEN, 6000 - OFTEN, &damaged);
    assert_true(others > 300 && others < 3000);
    assert_int_equal(damaged, 0);
    assert_int_equal(count_disk(disk, 5990, 10, &damaged), 10);
    strata__cache_disk_close(&disk);
    disk = open_disk(1000, ORIGIN, &discarded); /* no room for any */
    struct strata__record *record = cache_record(9000, 1, 1);
    assert_int_equal(strata__cache_disk_put(disk, record, uses), STRATA_OK);
    assert_int_equal(count_disk(disk, 9000, 1, &damaged), 0);
    strata__free(record);
    strata__cache_disk_close(&disk);
    strata__uses_close(&uses);
}

/* A torn end is cut off, and a damaged part is not there; what is whole is. */
static void disk_is_damaged(void **state)
{
    unsigned discarded, damaged;
    char name[] = "00000000.segment";
    (void)state;
    assert_int_equal(strata__uses_open(&uses), STRATA_OK);
    struct strata__cache_disk *disk = open_disk(1 << 24, ORIGIN, &discarded);
    put_disk(disk, 0, 100, 1);
    strata__cache_disk_close(&disk);
    const long size = cache_file_size(name);
    for (long cut = 1; cut < 900; cut += 31) {
        cache_cut(name, size - cut);
        disk = open_disk(1 << 24, ORIGIN, &discarded);
        const unsigned left = count_disk(disk, 0, 100, &damaged);
        assert_true(left < 100 && left > 90);
        assert_int_equal(damaged, 0);
        put_disk(disk, left, 100 - left, 1);
        assert_int_equal(count_disk(disk, 0, 100, &damaged), 100);
        strata__cache_disk_close(&disk);
        assert_int_equal(cache_file_size(name), size);
    }
    disk = open_disk(1 << 24, ORIGIN, &discarded);
    for (long at = 60; at < size; at += 97) { /* while it is open */
        cache_flip(name, at);
        const unsigned left = count_disk(disk, 0, 100, &damaged);
        assert_int_equal(left, 99);
        assert_int_equal(damaged, 1);
        assert_int_equal(count_disk(disk, 0, 100, &damaged), 99); /* which is forgotten */
        assert_int_equal(damaged, 0);
        cache_flip(name, at);
        put_disk(disk, 0, 100, 1);
        strata__cache_disk_close(&disk);
        cache_cut(name, size);
        disk = open_disk(1 << 24, ORIGIN, &discarded);
    }
    strata__cache_disk_close(&disk);
    for (long at = 0; at < size; at += 53) { /* while it is closed */
        cache_copy(name, "copy");
        cache_flip(name, at);
        disk = open_disk(1 << 24, ORIGIN, &discarded);
        const unsigned left = count_disk(disk, 0, 100, &damaged);
        assert_true(left < 100 && (discarded == 1 || damaged == 1));
        strata__cache_disk_close(&disk);
        cache_copy("copy", name);
    }
    strata__uses_close(&uses);
}

/* What is stale goes, the rest is compressed anew, as was planned. */
static void disk_is_rewritten(void **state)
{
    const struct strata__cache_versions now = {.graph = 1, .models = {1, 1}};
    struct strata__cache_disk_plan plan;
    unsigned discarded, damaged;
    (void)state;
    assert_int_equal(strata__uses_open(&uses), STRATA_OK);
    struct strata__cache_disk *disk = open_disk(1 << 22, ORIGIN, &discarded);
    put_disk(disk, 0, 1000, 1);
    put_disk(disk, 2000, 500, 2);
    put_disk(disk, 0, 300, 1);
    const struct strata__cache_disk_info before = strata__cache_disk_info_get(disk);
    assert_int_equal(strata__cache_disk_plan(disk, &now, &plan), STRATA_OK);
    assert_int_equal(plan.stale_values, 500);
    assert_int_equal(plan.stale + plan.kept, before.live_bytes);
    assert_true(plan.trains && plan.after < plan.kept);
    assert_int_equal(strata__cache_disk_train(disk), STRATA_OK);
    assert_int_equal(strata__cache_disk_rewrite(disk, &now, uses), STRATA_OK);
    const struct strata__cache_disk_info after = strata__cache_disk_info_get(disk);
    assert_int_equal(after.count, 1000);
    assert_true(after.bytes < plan.after * 11 / 10 && after.bytes > plan.after * 9 / 10);
    assert_int_equal(count_disk(disk, 0, 1000, &damaged), 1000);
    strata__cache_disk_close(&disk);
    disk = open_disk(1 << 22, ORIGIN, &discarded);
    assert_int_equal(count_disk(disk, 0, 1000, &damaged), 1000);
    strata__cache_disk_close(&disk);
    strata__uses_close(&uses);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, cache_set_up, cache_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(disk_keeps),
        IN_FOLDER(disk_holds_its_limit),
        IN_FOLDER(disk_is_damaged),
        IN_FOLDER(disk_is_rewritten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

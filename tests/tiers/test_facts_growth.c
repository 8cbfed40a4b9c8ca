/* The limit of a store's map is raised when it is met: alone, beside readers and other processes,
 * and where there is no address space. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fault_fixture.h"
#include "store.h"

#define SMALL_MAP ((size_t)256 << 10)
#define BLOCK 400u /* triples of an import here */

static strata_facts *open_small(void)
{
    strata_facts *facts = NULL;
    if (strata__store_open(NULL, fault_store, NULL, SMALL_MAP, &facts) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    return facts;
}

static size_t map_of(strata_facts *facts)
{
    MDB_envinfo info;
    assert_int_equal(mdb_env_info(facts->env, &info), 0);
    return info.me_mapsize;
}

static uint64_t triples_of(strata_facts *facts)
{
    strata_facts_info info;
    assert_int_equal(strata_facts_info_get(facts, &info), STRATA_OK);
    return info.triples;
}

/* Imports BLOCK triples that only block i has. */
static strata_status import_block(strata_facts *facts, unsigned i)
{
    FILE *out = fopen(fault_script.scratch, "w");
    assert_non_null(out);
    for (unsigned k = 0; k < BLOCK; k++)
        fprintf(out, "<http://b/%u> <http://b/p%u> \"%0200u\" .\n", i, k, i * BLOCK + k);
    assert_int_equal(fclose(out), 0);
    return strata_facts_import(facts, fault_script.scratch, NULL, NULL);
}

static void a_batch_is_made_again(void **state)
{
    (void)state;
    fault_remove_store();
    strata_facts *facts = open_small();
    assert_int_equal(map_of(facts), SMALL_MAP);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(import_block(facts, i), STRATA_OK);
        assert_int_equal(triples_of(facts), (i + 1) * BLOCK);
    }
    assert_true(map_of(facts) >= 8 * SMALL_MAP);
    assert_int_equal(strata_facts_check(facts, NULL, NULL), STRATA_OK);
    /* Removing needs new pages too. */
    strata_facts_query query;
    uint64_t removed;
    strata_facts_query_default(&query);
    query.subject = "<http://b/3>";
    assert_int_equal(strata_facts_remove(facts, &query, &removed), STRATA_OK);
    assert_int_equal(removed, BLOCK);
    strata_facts_close(&facts);
    facts = open_small();
    assert_int_equal(triples_of(facts), 7 * BLOCK);
    strata_facts_close(&facts);
}

/* ---- Beside readers ---- */

struct reading {
    strata_facts *facts;
    atomic_bool stop;
    atomic_uint looks, wrong;
};

static bool count_lines(void *user, const char *bytes, size_t size)
{
    unsigned *lines = user;
    for (size_t i = 0; i < size; i++)
        *lines += bytes[i] == '\n';
    return true;
}

static void *read_on(void *user)
{
    struct reading *reading = user;
    unsigned before = 0;
    while (!atomic_load(&reading->stop)) {
        unsigned lines = 0;
        const bool done = strata_facts_export(reading->facts, count_lines, &lines) == STRATA_OK;
        reading->wrong += !done || lines % BLOCK || lines < before;
        before = lines;
        reading->looks++;
    }
    return NULL;
}

static void readers_see_whole_batches(void **state)
{
    pthread_t threads[2];
    (void)state;
    fault_remove_store();
    struct reading reading = {.facts = open_small()};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &reading), 0);
    for (unsigned i = 0; i < 24; i++)
        if (import_block(reading.facts, i) != STRATA_OK)
            reading.wrong++;
    while (reading.looks < 4) /* a quick writer may be done before they began */
        usleep(1000);
    reading.stop = true;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(reading.wrong, 0);
    assert_true(map_of(reading.facts) >= 16 * SMALL_MAP);
    assert_int_equal(triples_of(reading.facts), 24 * BLOCK);
    strata_facts_close(&reading.facts);
}

/* ---- Beside another process ---- */

static int import_there(void *user)
{
    strata_facts *facts = open_small();
    strata_status status = STRATA_OK;
    for (unsigned i = 0; i < 8 && status == STRATA_OK; i++)
        status = import_block(facts, *(const unsigned *)user + i);
    strata_facts_close(&facts);
    return status == STRATA_OK ? 0 : 1;
}

/* What another process raised is taken over by the next transaction, a reader's or a writer's. */
static void another_process_grows(void **state)
{
    (void)state;
    fault_remove_store();
    strata_facts *facts = open_small();
    unsigned first = 0;
    fault_in_child(import_there, &first);
    assert_int_equal(map_of(facts), SMALL_MAP);
    assert_int_equal(triples_of(facts), 8 * BLOCK);
    assert_true(map_of(facts) > SMALL_MAP);
    strata_facts_close(&facts);
    fault_remove_store();
    facts = open_small();
    fault_in_child(import_there, &first);
    assert_int_equal(import_block(facts, 100), STRATA_OK);
    assert_int_equal(triples_of(facts), 9 * BLOCK);
    assert_int_equal(strata_facts_check(facts, NULL, NULL), STRATA_OK);
    /* And back: this one grows, the other goes on. */
    for (first = 200; first < 216; first++)
        assert_int_equal(import_block(facts, first), STRATA_OK);
    fault_in_child(import_there, &first);
    assert_int_equal(triples_of(facts), (9 + 16 + 8) * BLOCK);
    assert_int_equal(strata_facts_check(facts, NULL, NULL), STRATA_OK);
    strata_facts_close(&facts);
}

/* ---- No address space ---- */

static void no_room_for_a_larger_map(void **state)
{
    struct fault_disk fault = {.call = DISK_MMAP, .n = 1, .verdict = ENOMEM, .later = true};
    unsigned held = 0;
    (void)state;
    fault_remove_store();
    strata_facts *facts = open_small();
    fault_disk_arm(&fault);
    strata_status status = STRATA_OK;
    while ((status = import_block(facts, held)) == STRATA_OK)
        held++;
    fault_disk_end();
    fault_refused(status, STRATA_E_NOMEM, "mapping more of the store");
    assert_int_equal(fault.count, 1);
    strata_facts_info info;
    fault_refused(strata_facts_info_get(facts, &info), STRATA_E_NOMEM, "until it is opened again");
    fault_refused(import_block(facts, held), STRATA_E_NOMEM, "until it is opened again");
    strata_facts_close(&facts);
    facts = open_small();
    assert_int_equal(triples_of(facts), held * BLOCK);
    assert_int_equal(import_block(facts, held), STRATA_OK);
    assert_int_equal(strata_facts_check(facts, NULL, NULL), STRATA_OK);
    strata_facts_close(&facts);
    assert_true(held > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_made_again),
        cmocka_unit_test(readers_see_whole_batches),
        cmocka_unit_test(another_process_grows),
        cmocka_unit_test(no_room_for_a_larger_map),
    };
    return cmocka_run_group_tests(tests, fault_set_up, fault_tear_down);
}

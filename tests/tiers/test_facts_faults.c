/* Stores of facts when memory, files or the disk fail. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fault_fixture.h"
#include "faults.h"
#include "library_memory.h"
#include "store.h"

/* ---- What is tried ---- */

/* An action on a store that holds the first `held` changes of the script. */
struct action {
    const char *name;
    unsigned held;
    bool opens;   /* opens the store itself */
    bool changes; /* makes change `held` */
    strata_status (*run)(strata_facts *facts, unsigned held);
};

static strata_status open_and_close(strata_facts *facts, unsigned held)
{
    (void)held;
    strata_status status = strata_facts_open(NULL, fault_store, NULL, &facts);
    assert_true((status == STRATA_OK) == (facts != NULL));
    strata_facts_close(&facts);
    return status;
}

static strata_status change(strata_facts *facts, unsigned held)
{
    return change_make(&fault_script, facts, held);
}

static strata_status find(strata_facts *facts, const char *subject, const char *object)
{
    strata_facts_query query;
    strata_facts_result *result;
    strata_facts_query_default(&query);
    query.subject = subject;
    query.object = object;
    strata_status status = strata_facts_find(facts, &query, &result);
    assert_true((status == STRATA_OK) == (result != NULL));
    strata_facts_result_free(&result);
    return status;
}

static bool drop(void *user, const char *bytes, size_t size)
{
    (void)user, (void)bytes, (void)size;
    return true;
}

static strata_status look(strata_facts *facts, unsigned held)
{
    strata_facts_info info;
    (void)held;
    strata_status status = find(facts, "<http://a/s0>", NULL);
    if (status == STRATA_OK)
        status = find(facts, NULL, "12");
    if (status == STRATA_OK)
        status = strata_facts_export(facts, drop, NULL);
    if (status == STRATA_OK)
        status = strata_facts_check(facts, NULL, NULL);
    return status == STRATA_OK ? strata_facts_info_get(facts, &info) : status;
}

/* Changes 10, 13 and 7 of the script are an import, a removal by a pattern and one by a file. */
static const struct action actions[] = {
    {"make", 0, true, false, open_and_close},  {"open", 10, true, false, open_and_close},
    {"import", 10, false, true, change},       {"remove", 13, false, true, change},
    {"remove a file", 7, false, true, change}, {"look", 10, false, false, look},
};
enum { ACTIONS = sizeof actions / sizeof *actions };

static void prepare(const struct action *action)
{
    fault_remove_store();
    if (action->held)
        fault_make_store(action->held);
}

/* Tries the action with the n-th call failing, for all n, until none does; so many did.  `arm`
 * makes it fail, `disarm` says how many such calls there were. */
static unsigned fail_each(const struct action *action, void (*arm)(void *user, unsigned n),
                          unsigned (*disarm)(void *user), void *user, bool is_memory)
{
    bool all = false;
    unsigned n = 0;
    prepare(action);
    while (!all) {
        n++;
        const unsigned descriptors = fault_descriptors();
        strata_facts *facts = action->opens ? NULL : fault_open();
        arm(user, n);
        strata_status status = action->run(facts, action->held);
        all = disarm(user) < n;
        if (status != STRATA_OK && status != (is_memory ? STRATA_E_NOMEM : STRATA_E_IO))
            fail_msg("%s, call %u: status %d: %s", action->name, n, status, strata_last_error());
        assert_true(!all || status == STRATA_OK);
        const unsigned there = action->held + (action->changes && status == STRATA_OK);
        /* A store is as good after failing allocations; after others it may have to be opened. */
        if (facts && is_memory)
            fault_expect_open(facts, there);
        strata_facts_close(&facts);
        assert_int_equal(fault_descriptors(), descriptors);
        fault_expect(there);
        if (there != action->held)
            prepare(action);
    }
    return n - 1;
}

/* ---- Memory ---- */

struct counted {
    enum fault_call call;
    bool later;
    int error;
};

static void arm_counted(void *user, unsigned n)
{
    const struct counted *counted = user;
    fault_arm(counted->call, n, counted->later, counted->error);
}

static unsigned disarm_counted(void *user)
{
    const struct counted *counted = user;
    unsigned n = (unsigned)fault_count(counted->call);
    fault_reset();
    return n;
}

static void allocations_fail(void **state)
{
    (void)state;
    for (int i = 0; i < ACTIONS; i++)
        for (int later = 0; later < 2; later++) {
            struct counted counted = {FAULT_MEMORY, later, ENOMEM};
            assert_in_range(fail_each(&actions[i], arm_counted, disarm_counted, &counted, true), 1,
                            1000);
        }
}

static void arm_lmdb(void *user, unsigned n)
{
    library_memory_arm((const void *)(uintptr_t)mdb_txn_begin, n, *(const bool *)user);
}

static unsigned disarm_lmdb(void *user)
{
    const unsigned n = library_memory_count();
    (void)user;
    library_memory_arm(NULL, 0, false);
    return n;
}

static void allocations_of_lmdb_fail(void **state)
{
    (void)state;
    if (!library_memory_works()) {
        print_message("a sanitizer allocates here\n");
        skip();
    }
    for (int i = 0; i < ACTIONS; i++)
        for (int later = 0; later < 2; later++) {
            bool all_later = later;
            assert_in_range(fail_each(&actions[i], arm_lmdb, disarm_lmdb, &all_later, true), 1,
                            1000);
        }
}

static void arm_disk(void *user, unsigned n)
{
    struct fault_disk *fault = user;
    fault->n = n;
    fault_disk_arm(fault);
}

static unsigned disarm_disk(void *user)
{
    const struct fault_disk *fault = user;
    fault_disk_end();
    return fault->count;
}

/* No address space: the store cannot be opened. */
static void mappings_fail(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct fault_disk fault = {.call = DISK_MMAP, .verdict = ENOMEM};
        assert_true(fail_each(&actions[i], arm_disk, disarm_disk, &fault, true) > 0);
    }
}

/* ---- Files ---- */

static void calls_of_ours_fail(void **state)
{
    static const struct counted calls[] = {
        {FAULT_OPEN, false, EMFILE}, {FAULT_OPEN, true, EACCES}, {FAULT_OPENAT, false, ENFILE},
        {FAULT_FSTAT, false, EIO},   {FAULT_FSYNC, false, EIO},  {FAULT_PWRITE, false, ENOSPC},
        {FAULT_RENAME, false, EIO},
    };
    (void)state;
    for (size_t j = 0; j < sizeof calls / sizeof *calls; j++) {
        unsigned failed = 0;
        for (int i = 0; i < ACTIONS; i++) {
            struct counted counted = calls[j];
            failed += fail_each(&actions[i], arm_counted, disarm_counted, &counted, false);
        }
        assert_true(failed > 0);
    }
}

static void calls_of_lmdb_fail(void **state)
{
    static const struct fault_disk faults[] = {
        {.call = DISK_OPEN, .verdict = EMFILE},
        {.call = DISK_OPEN, .verdict = EROFS, .later = true},
        {.call = DISK_WRITE, .verdict = EIO},
        {.call = DISK_WRITE, .verdict = ENOSPC},
        {.call = DISK_WRITE, .verdict = ENOSPC, .later = true},
        {.call = DISK_WRITE, .verdict = DISK_SHORT},
        {.call = DISK_WRITE, .verdict = DISK_LATE},
        {.call = DISK_SYNC, .verdict = EIO},
        {.call = DISK_SYNC, .verdict = ENOSPC, .later = true},
    };
    (void)state;
    for (size_t j = 0; j < sizeof faults / sizeof *faults; j++) {
        unsigned failed = 0;
        for (int i = 0; i < ACTIONS; i++) {
            struct fault_disk fault = faults[j];
            failed += fail_each(&actions[i], arm_disk, disarm_disk, &fault, false);
        }
        assert_true(failed > 3);
    }
}

/* An interrupted write is done again. */
static void interrupted_writes_are_repeated(void **state)
{
    struct fault_disk fault = {.call = DISK_WRITE, .verdict = EINTR};
    (void)state;
    fault_make_store(10);
    strata_facts *facts = fault_open();
    for (unsigned n = 1; n == 1 || fault.count >= n; n++) {
        fault.n = n;
        fault_disk_arm(&fault);
        assert_int_equal(change_make(&fault_script, facts, 9 + n), STRATA_OK);
        fault_disk_end();
        fault_expect_open(facts, 10 + n);
    }
    strata_facts_close(&facts);
}

/* What a failed sync lost is not written again: no change is, until the store is opened again. */
static void a_failed_sync_ends_writing(void **state)
{
    struct fault_disk fault = {.call = DISK_SYNC, .n = 1, .verdict = EIO};
    (void)state;
    fault_make_store(10);
    strata_facts *facts = fault_open();
    fault_disk_arm(&fault);
    fault_refused(change_make(&fault_script, facts, 10), STRATA_E_IO, "");
    assert_int_equal(fault.count, 1);
    fault_refused(change_make(&fault_script, facts, 10), STRATA_E_IO,
                  "until the store is opened again");
    assert_int_equal(fault.count, 1);
    fault_disk_end();
    fault_expect_open(facts, 10);
    strata_facts_close(&facts);
    fault_expect(10);
    facts = fault_open();
    assert_int_equal(change_make(&fault_script, facts, 10), STRATA_OK);
    fault_expect_open(facts, 11);
    strata_facts_close(&facts);
}

/* The same where the last write of a commit fails: LMDB gives nothing any more then. */
static void a_failed_commit_ends_use(void **state)
{
    struct fault_disk fault = {
        .call = DISK_WRITE, .synced_only = true, .n = 1, .verdict = DISK_LATE};
    (void)state;
    for (int later = 0; later < 2; later++) {
        fault_make_store(10);
        fault.later = later;
        strata_facts *facts = fault_open();
        fault_disk_arm(&fault);
        fault_refused(change_make(&fault_script, facts, 10), STRATA_E_IO, "");
        fault_disk_end();
        fault_refused(change_make(&fault_script, facts, 10), STRATA_E_IO,
                      "until the store is opened again");
        fault_refused(find(facts, "<http://a/s0>", NULL), STRATA_E_IO,
                      "until the store is opened again");
        strata_facts_close(&facts);
        fault_expect(10);
    }
}

/* ---- A full disk ---- */

static void a_full_disk_loses_nothing(void **state)
{
    struct fault_disk fault = {.call = DISK_WRITE, .n = 1, .verdict = ENOSPC, .later = true};
    (void)state;
    fault_make_store(10);
    strata_facts *facts = fault_open();
    fault_disk_arm(&fault);
    for (int i = 0; i < 2; i++)
        fault_refused(change_make(&fault_script, facts, 10), STRATA_E_IO, "the disk is full");
    fault_disk_end();
    fault_expect_open(facts, 10);
    assert_int_equal(change_make(&fault_script, facts, 10), STRATA_OK);
    fault_expect_open(facts, 11);
    strata_facts_close(&facts);
}

static void fill_disk(const char *name)
{
    static const char zeros[4096];
    FILE *out = fopen(name, "w");
    assert_non_null(out);
    setbuf(out, NULL);
    while (fwrite(zeros, 1, sizeof zeros, out) == sizeof zeros)
        ;
    fclose(out);
}

/* In a file system of 1 MB that only this process sees. */
static int use_small_disk(void *user)
{
    char filler[128], scratch[64];
    strata_facts *facts;
    unsigned n = 0;
    (void)user;
    if (!fault_mount("size=1m"))
        return FAULT_NO_DISK;
    snprintf(filler, sizeof filler, "%s/filler", fault_folder);
    fill_disk(filler);
    fault_refused(strata_facts_open(NULL, fault_store, NULL, &facts), STRATA_E_IO, "");
    assert_int_equal(unlink(filler), 0);
    facts = fault_open();
    /* The script's own file is kept from being the one that finds no room. */
    snprintf(scratch, sizeof scratch, "/tmp/strata-part-%d.nt", getpid());
    const struct change_script script = {fault_script.seed, scratch};
    strata_status status = STRATA_OK;
    while ((status = change_make(&script, facts, n)) == STRATA_OK)
        n++;
    fault_refused(status, STRATA_E_IO, "the disk is full");
    fault_expect_open(facts, n);
    assert_int_equal(mount("tmpfs", fault_folder, "tmpfs", MS_REMOUNT, "size=8m"), 0);
    assert_int_equal(change_make(&script, facts, n), STRATA_OK);
    fault_expect_open(facts, n + 1);
    strata_facts_close(&facts);
    fault_expect(n + 1);
    unlink(scratch);
    return 0;
}

static void a_small_disk_fills(void **state)
{
    (void)state;
    fault_in_child(use_small_disk, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_fail),
        cmocka_unit_test(allocations_of_lmdb_fail),
        cmocka_unit_test(mappings_fail),
        cmocka_unit_test(calls_of_ours_fail),
        cmocka_unit_test(calls_of_lmdb_fail),
        cmocka_unit_test(interrupted_writes_are_repeated),
        cmocka_unit_test(a_failed_sync_ends_writing),
        cmocka_unit_test(a_failed_commit_ends_use),
        cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(a_small_disk_fills),
    };
    return cmocka_run_group_tests(tests, fault_set_up, fault_tear_down);
}

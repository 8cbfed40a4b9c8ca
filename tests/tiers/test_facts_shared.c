/* Stores of facts that are shared, or are no stores: several processes, dead ones, damaged and
 * foreign files. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fault_fixture.h"
#include "store.h"

static void refuse_open(strata_status wanted, const char *text)
{
    strata_facts *facts;
    const unsigned descriptors = fault_descriptors();
    fault_refused(strata_facts_open(NULL, fault_store, NULL, &facts), wanted, text);
    assert_null(facts);
    assert_int_equal(fault_descriptors(), descriptors);
}

/* ---- Processes ---- */

static void one_process_opens_once(void **state)
{
    (void)state;
    fault_make_store(3);
    strata_facts *facts = fault_open();
    refuse_open(STRATA_E_BUSY, "this process has the store open already");
    fault_expect_open(facts, 3);
    assert_int_equal(change_make(&fault_script, facts, 3), STRATA_OK);
    refuse_open(STRATA_E_BUSY, "");
    strata_facts_close(&facts);
    fault_expect(4);
}

static pid_t start_writer(unsigned first, unsigned last)
{
    char numbers[2][16], seed[32];
    snprintf(numbers[0], sizeof numbers[0], "%u", first);
    snprintf(numbers[1], sizeof numbers[1], "%u", last);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)fault_script.seed);
    pid_t child = fork();
    if (child == 0) {
        int none = open("/dev/null", O_WRONLY);
        if (dup2(none, 3) == 3)
            execl(FACTS_WRITER, FACTS_WRITER, fault_store, seed, numbers[0], numbers[1],
                  (char *)NULL);
        _exit(127);
    }
    assert_true(child > 0);
    return child;
}

static void expect_done(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void remove_scratch_of_writers(void)
{
    char file[128];
    snprintf(file, sizeof file, "%s.nt", fault_store);
    unlink(file);
}

static void two_processes_take_turns(void **state)
{
    (void)state;
    fault_make_store(0);
    strata_facts *facts = fault_open();
    for (unsigned i = 0; i < 12; i += 4) {
        expect_done(start_writer(i, i + 2));
        fault_expect_open(facts, i + 3);
        assert_int_equal(change_make(&fault_script, facts, i + 3), STRATA_OK);
    }
    fault_expect_open(facts, 12);
    strata_facts_close(&facts);
    remove_scratch_of_writers();
}

static uint64_t triples_there(void)
{
    strata_facts_info info;
    strata_facts *facts = fault_open();
    if (strata_facts_check(facts, NULL, NULL) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    assert_int_equal(strata_facts_info_get(facts, &info), STRATA_OK);
    strata_facts_close(&facts);
    return info.triples;
}

/* Makes 100 changes from a multiple of 55 on, which are about subjects of these changes only. */
static int change_many(void *user)
{
    char scratch[128];
    const unsigned first = *(const unsigned *)user;
    snprintf(scratch, sizeof scratch, "%s/part-%u.nt", fault_folder, first);
    const struct change_script script = {fault_script.seed, scratch};
    strata_facts *facts = fault_open();
    strata_status status = STRATA_OK;
    for (unsigned i = first; i < first + 100 && status == STRATA_OK; i++)
        status = change_make(&script, facts, i);
    strata_facts_close(&facts);
    unlink(scratch);
    return status == STRATA_OK ? 0 : 1;
}

static void processes_write_at_once(void **state)
{
    static unsigned firsts[] = {0, 1100, 2200};
    pid_t children[3];
    (void)state;
    fault_remove_store();
    for (int i = 0; i < 3; i++)
        fault_in_child(change_many, &firsts[i]);
    const uint64_t expected = triples_there();
    fault_remove_store();
    fflush(NULL);
    for (int i = 0; i < 3; i++) {
        children[i] = fork();
        if (children[i] == 0)
            _exit(change_many(&firsts[i]));
    }
    for (int i = 0; i < 3; i++)
        expect_done(children[i]);
    assert_int_equal(triples_there(), expected);
}

/* ---- Dead processes ---- */

static bool die(void *user, const char *bytes, size_t size)
{
    (void)user, (void)bytes, (void)size;
    raise(SIGKILL);
    return false;
}

/* A line of LMDB's list of readers. */
static int count_reader(const char *line, void *user)
{
    *(int *)user += strchr("0123456789", *line + (*line == ' ') * ('0' - ' ')) != NULL;
    return 0;
}

static int readers_of(strata_facts *facts)
{
    int lines = 0;
    assert_true(mdb_reader_list(facts->env, count_reader, &lines) >= 0);
    return lines;
}

static void dead_readers_are_cleared(void **state)
{
    int status;
    (void)state;
    fault_make_store(5);
    strata_facts *facts = fault_open();
    const int before = readers_of(facts);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        strata_facts *own = NULL;
        if (strata_facts_open(NULL, fault_store, NULL, &own) == STRATA_OK)
            strata_facts_export(own, die, NULL);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(readers_of(facts) > before);
    /* A third process that opens the store clears it, also for this one. */
    expect_done(start_writer(5, 5));
    assert_int_equal(readers_of(facts), before);
    fault_expect_open(facts, 6);
    strata_facts_close(&facts);
    remove_scratch_of_writers();
}

static void put_file(const char *name, const void *bytes, size_t size)
{
    char file[128];
    snprintf(file, sizeof file, "%s/%s", fault_store, name);
    FILE *out = fopen(file, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
}

static void lock_files_left_behind(void **state)
{
    static unsigned char garbage[10000];
    static const size_t sizes[] = {0, 1, 100, 8191, 8192, sizeof garbage};
    (void)state;
    memset(garbage, 0xa5, sizeof garbage);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        fault_make_store(5);
        put_file("lock.mdb", garbage, sizes[i]);
        put_file("users.lock", garbage, sizes[i]);
        fault_expect(5);
        strata_facts *facts = fault_open();
        assert_int_equal(change_make(&fault_script, facts, 5), STRATA_OK);
        fault_expect_open(facts, 6);
        strata_facts_close(&facts);
    }
}

/* ---- Places ---- */

static int use_read_only_disk(void *user)
{
    (void)user;
    if (!fault_mount("size=8m"))
        return FAULT_NO_DISK;
    fault_make_store(3);
    assert_int_equal(mount("tmpfs", fault_folder, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
    refuse_open(STRATA_E_IO, "Read-only file system");
    assert_int_equal(mount("tmpfs", fault_folder, "tmpfs", MS_REMOUNT, NULL), 0);
    fault_expect(3);
    return 0;
}

static void a_read_only_disk_is_named(void **state)
{
    (void)state;
    fault_in_child(use_read_only_disk, NULL);
}

static void places_that_are_no_folder(void **state)
{
    strata_facts *facts;
    strata_facts_options options;
    char inside[128];
    (void)state;
    fault_remove_store();
    strata_facts_options_default(&options);
    options.must_exist = true;
    fault_refused(strata_facts_open(NULL, fault_store, &options, &facts), STRATA_E_IO,
                  "no store of facts");
    fault_refused(strata_facts_open(NULL, "", NULL, &facts), STRATA_E_INVALID, "empty");
    snprintf(inside, sizeof inside, "%s/no/such", fault_store);
    fault_refused(strata_facts_open(NULL, inside, NULL, &facts), STRATA_E_IO, "cannot be made");
    FILE *out = fopen(fault_store, "w");
    assert_non_null(out);
    fclose(out);
    refuse_open(STRATA_E_IO, "Not a directory");
    unlink(fault_store);
    snprintf(inside, sizeof inside, "%s/data.mdb", fault_store);
    assert_int_equal(mkdir(fault_store, 0777), 0);
    assert_int_equal(mkdir(inside, 0777), 0);
    refuse_open(STRATA_E_IO, "");
    rmdir(inside);
    fault_remove_store();
}

/* ---- Files that are no store ---- */

static void other_files_are_refused(void **state)
{
    static unsigned char bytes[65536];
    (void)state;
    fault_make_store(0);
    static const size_t sizes[] = {1, 100, 4096, 8192, sizeof bytes};
    for (int kind = 0; kind < 3; kind++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            for (size_t j = 0; j < sizeof bytes; j++)
                bytes[j] = kind == 0 ? 0 : kind == 1 ? 'x' : (unsigned char)change_random(j);
            put_file("data.mdb", bytes, sizes[i]);
            refuse_open(STRATA_E_FORMAT, "no store of facts");
        }
}

/* A file of LMDB that somebody else made: with numbers of `table` in it, or, NULL, without tables.
 */
static void make_foreign(const char *table)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val key = {3, "key"}, data = {5, "value"};
    fault_remove_store();
    assert_int_equal(mkdir(fault_store, 0777), 0);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 4), 0);
    assert_int_equal(mdb_env_open(env, fault_store, 0, 0644), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, table, table ? MDB_CREATE : 0, &dbi), 0);
    assert_int_equal(mdb_put(txn, dbi, &key, &data, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void stores_of_others_are_refused(void **state)
{
    static const char *const of_others[] = {NULL, "theirs", "meta"};
    char file[128];
    struct stat before, after;
    (void)state;
    snprintf(file, sizeof file, "%s/data.mdb", fault_store);
    for (int i = 0; i < 3; i++) {
        make_foreign(of_others[i]);
        assert_int_equal(stat(file, &before), 0);
        refuse_open(STRATA_E_FORMAT, "no store of facts");
        assert_int_equal(stat(file, &after), 0);
        assert_int_equal(before.st_size, after.st_size);
        assert_true(before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    }
}

static void another_layout_is_refused(void **state)
{
    struct strata__txn txn;
    (void)state;
    fault_make_store(2);
    strata_facts *facts = fault_open();
    assert_int_equal(strata__txn_begin(facts, true, &txn), STRATA_OK);
    assert_int_equal(strata__meta_put(&txn, "layout", 99), 0);
    for (int i = 0; i < STRATA__TABLES; i++) {
        mdb_cursor_close(txn.cursors[i]);
        txn.cursors[i] = NULL;
    }
    assert_int_equal(mdb_txn_commit(txn.txn), 0);
    pthread_rwlock_unlock(&facts->growing);
    strata_facts_close(&facts);
    refuse_open(STRATA_E_FORMAT, "layout 99");
}

/* ---- Files that were cut ---- */

static unsigned char whole[4 << 20];
static size_t whole_size;

/* Makes a store of so many changes; `passing`: among them came and went many triples, which leaves
 * free pages, also at the end. */
static void make_whole(unsigned held, bool passing)
{
    char file[128];
    strata_facts_query query;
    fault_make_store(held - 10);
    strata_facts *facts = fault_open();
    if (passing) {
        FILE *out = fopen(fault_script.scratch, "w");
        assert_non_null(out);
        for (unsigned i = 0; i < 4000; i++)
            fprintf(out, "<http://b> <http://b/p> <http://b/%u> .\n", i);
        assert_int_equal(fclose(out), 0);
        strata_facts_query_default(&query);
        query.subject = "http://b";
        assert_int_equal(strata_facts_import(facts, fault_script.scratch, NULL, NULL), STRATA_OK);
        assert_int_equal(strata_facts_remove(facts, &query, NULL), STRATA_OK);
    }
    for (unsigned i = held - 10; i < held; i++)
        assert_int_equal(change_make(&fault_script, facts, i), STRATA_OK);
    strata_facts_close(&facts);
    snprintf(file, sizeof file, "%s/data.mdb", fault_store);
    FILE *in = fopen(file, "rb");
    assert_non_null(in);
    whole_size = fread(whole, 1, sizeof whole, in);
    fclose(in);
    assert_true(whole_size > 100000 && whole_size < sizeof whole);
}

struct cut {
    unsigned held;
    size_t size;
};

static int open_cut(const struct cut *cut)
{
    char file[128];
    struct stat about;
    strata_facts *facts;
    snprintf(file, sizeof file, "%s/data.mdb", fault_store);
    strata_status status = strata_facts_open(NULL, fault_store, NULL, &facts);
    if (status == STRATA_OK) {
        fault_expect_open(facts, cut->held);
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(change_make(&fault_script, facts, cut->held + i), STRATA_OK);
        fault_expect_open(facts, cut->held + 3);
        strata_facts_close(&facts);
        return 0;
    }
    fault_refused(status, STRATA_E_FORMAT, cut->size < 8192 ? "" : "it was cut");
    assert_int_equal(stat(file, &about), 0);
    assert_int_equal(about.st_size, cut->size);
    return 1;
}

/* Opens the store with the first bytes of `whole`, in another process as it may end it.  True: it
 * has all changes; false: it was refused. */
static bool opens_cut(unsigned held, size_t size)
{
    int status;
    const struct cut cut = {held, size};
    put_file("data.mdb", whole, size);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(open_cut(&cut));
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
        fail_msg("%zu of %zu bytes: status %#x", size, whole_size, (unsigned)status);
    return WEXITSTATUS(status) == 0;
}

static void cut_files_are_refused(void **state)
{
    unsigned refused = 0;
    (void)state;
    make_whole(60, false);
    for (size_t size = whole_size - 1000; size > 1000; size -= size % 4096 ? size % 4096 : 1000)
        refused += !opens_cut(60, size);
    assert_true(refused > 50);
}

/* What is missing may have been free: nothing is lost then.  Whether a store's last pages are free
 * depends on its seed: mostly some are. */
static void free_pages_may_be_missing(void **state)
{
    unsigned opened = 0, refused = 0;
    (void)state;
    for (unsigned attempt = 0; attempt < 12 && opened == 0; attempt++) {
        make_whole(20, true);
        for (size_t pages = 1; pages < whole_size / 4096; pages++)
            if (opens_cut(20, whole_size - pages * 4096))
                opened++;
            else
                refused++;
    }
    print_message("%u opened, %u refused\n", opened, refused);
    assert_true(opened > 0);
    assert_true(refused > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_process_opens_once),       cmocka_unit_test(two_processes_take_turns),
        cmocka_unit_test(processes_write_at_once),      cmocka_unit_test(dead_readers_are_cleared),
        cmocka_unit_test(lock_files_left_behind),       cmocka_unit_test(a_read_only_disk_is_named),
        cmocka_unit_test(places_that_are_no_folder),    cmocka_unit_test(other_files_are_refused),
        cmocka_unit_test(stores_of_others_are_refused), cmocka_unit_test(another_layout_is_refused),
        cmocka_unit_test(cut_files_are_refused),        cmocka_unit_test(free_pages_may_be_missing),
    };
    return cmocka_run_group_tests(tests, fault_set_up, fault_tear_down);
}

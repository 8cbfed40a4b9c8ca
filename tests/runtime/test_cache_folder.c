/* The folder of packed weights: what its files are said to be, which are removed, and its limit. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "faults.h"
#include "pack_fixture.h"

/* ---- the folder, seen from outside ---- */

typedef strata_status call(strata_pack_cache **out);

/* The path of `name` in packed/; static, two at a time. */
static const char *place(const char *name)
{
    static char paths[2][200];
    static unsigned turn;
    char *path = paths[turn++ % 2];
    snprintf(path, sizeof paths[0], "%s/packed/%s", pack_home, name);
    return path;
}

static void put_file(const char *name, const char *text)
{
    FILE *out = fopen(place(name), "w");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static strata_pack_cache *succeeds(call *make)
{
    strata_pack_cache *cache;
    assert_int_equal(make(&cache), STRATA_OK);
    return cache;
}

static void refused(call *make, strata_status status, const char *message)
{
    strata_pack_cache *cache;
    assert_int_equal(make(&cache), status);
    assert_null(cache);
    assert_non_null(strstr(strata_last_error(), message));
}

/* The call removes `files` files; returns the bytes that it freed. */
static uint64_t removes(call *make, size_t files)
{
    strata_pack_cache *cache = succeeds(make);
    size_t n = 0;
    uint64_t bytes = 0, left = 0;
    for (size_t i = 0; i < cache->n_entries; i++) {
        const strata_pack_cache_entry *entry = &cache->entries[i];
        n += entry->removed;
        *(entry->removed ? &bytes : &left) += entry->bytes;
        assert_int_equal(access(entry->path, F_OK), entry->removed ? -1 : 0);
    }
    assert_int_equal(n, files);
    assert_int_equal(n, cache->n_removed);
    assert_int_equal(bytes, cache->removed_bytes);
    assert_int_equal(left, cache->bytes);
    strata_pack_cache_free(&cache);
    return bytes;
}

static uint64_t limit; /* of the next cap */

static strata_status cap(strata_pack_cache **out)
{
    return strata_pack_cache_cap(limit, out);
}

static uint64_t caps(uint64_t bytes, size_t files)
{
    limit = bytes;
    return removes(cap, files);
}

/* Sets when the file whose name begins so was last used. */
static void used_at(const char *name, long seconds, long ns)
{
    strata_pack_cache *cache = succeeds(strata_pack_cache_list);
    const struct timespec times[2] = {{1, 0}, {seconds, ns}};
    for (size_t i = 0; i < cache->n_entries; i++)
        if (!strncmp(strrchr(cache->entries[i].path, '/') + 1, name, strlen(name)))
            assert_int_equal(utimensat(AT_FDCWD, cache->entries[i].path, times, 0), 0);
    strata_pack_cache_free(&cache);
}

/* ---- states ---- */

static void absent_folder_is_empty(void **state)
{
    (void)state;
    assert_int_equal(removes(strata_pack_cache_list, 0), 0);
    assert_int_equal(removes(strata_pack_cache_prune, 0), 0);
    assert_int_equal(removes(strata_pack_cache_clear, 0), 0);
    assert_int_equal(caps(STRATA_PACK_CACHE_UNLIMITED, 0), 0);
    assert_int_equal(access(place(""), F_OK), -1);
    strata_pack_cache_free(NULL);
    assert_string_equal(strata_pack_cache_state_name((strata_pack_cache_state)99), "unknown");
}

static void list_says_what_is_there(void **state)
{
    char model[4096];
    (void)state;
    uint64_t bytes = pack_made("a.gguf");
    pack_made("b.gguf");
    used_at("a.gguf", 1700000000, 5);
    used_at("b.gguf", 1700000000, 4);
    strata_pack_cache *cache = succeeds(strata_pack_cache_list);
    assert_int_equal(cache->n_entries, 2);
    assert_int_equal(cache->bytes, 2 * bytes);
    assert_int_equal(cache->limit_bytes, STRATA_PACK_CACHE_UNLIMITED);
    assert_int_equal(cache->n_removed + cache->removed_bytes, 0);
    assert_memory_equal(cache->folder, pack_home, strlen(pack_home));
    assert_string_equal(cache->folder + strlen(pack_home), "/packed");
    assert_non_null(realpath(pack_home, model));
    snprintf(model + strlen(model), 20, "/a.gguf");
    assert_string_equal(cache->entries[0].model, model);
    assert_int_equal(cache->entries[0].bytes, bytes);
    assert_int_equal(cache->entries[0].used_ns, INT64_C(1700000000000000005));
    assert_int_equal(cache->entries[1].used_ns, INT64_C(1700000000000000004));
    strata_pack_cache_free(&cache);
    *strrchr(model, '/') = 0;
    snprintf(model + strlen(model), 20, "/b.gguf");
    assert_false(pack_packs(model)); /* a use: b goes first */
    cache = succeeds(strata_pack_cache_list);
    assert_string_equal(cache->entries[0].model, model);
    assert_true(cache->entries[0].used_ns > INT64_C(1700000000000000005));
    strata_pack_cache_free(&cache);
}

static void prune_removes_what_is_of_no_use(void **state)
{
    (void)state;
    uint64_t bytes = pack_made("kept.gguf");
    pack_made("m.packed.gguf"); /* its file's name is not that of a leftover */
    pack_made("gone.gguf");
    char gone[128];
    snprintf(gone, sizeof gone, "%s/gone.gguf", pack_home);
    assert_int_equal(unlink(gone), 0);
    put_file("left.gguf-12.packed.abcdef", "abc");
    put_file("busy.gguf-12.packed.abcdef", "abc");
    put_file("torn.packed", "strataPK");
    put_file("notes.txt", "not ours");
    int busy = open(place("busy.gguf-12.packed.abcdef"), O_RDONLY);
    assert_int_equal(flock(busy, LOCK_EX), 0);
    assert_string_equal(pack_state("kept"), "ready");
    assert_string_equal(pack_state("m.packed"), "ready");
    assert_string_equal(pack_state("gone"), "model-gone");
    assert_string_equal(pack_state("left"), "leftover");
    assert_string_equal(pack_state("busy"), "being-written");
    assert_string_equal(pack_state("torn"), "damaged");
    assert_string_equal(pack_state("notes"), "");
    assert_int_equal(removes(strata_pack_cache_prune, 3), bytes + 3 + 8);
    assert_int_equal(pack_files(NULL, 0), 4);
    assert_int_equal(removes(strata_pack_cache_clear, 2), 2 * bytes);
    close(busy);
    assert_int_equal(removes(strata_pack_cache_prune, 1), 3);
    assert_int_equal(access(place("notes.txt"), F_OK), 0);
}

/* What is no plain file is neither listed nor removed. */
static void strange_files_stay(void **state)
{
    (void)state;
    pack_made("a.gguf");
    assert_int_equal(mkdir(place("d.packed"), 0700), 0);
    assert_int_equal(mkfifo(place("f.packed"), 0600), 0);
    assert_int_equal(symlink("/etc/passwd", place("l.packed")), 0);
    removes(strata_pack_cache_clear, 1);
    assert_int_equal(pack_files(NULL, 0), 3);
}

/* From a file that was made, and from one that was found, by this process as by any other. */
static void files_in_use_stay(void **state)
{
    (void)state;
    const char *path = pack_model("a.gguf");
    for (int found = 0; found < 2; found++) {
        struct pack_loaded loaded;
        assert_int_equal(pack_load(&loaded, path, true), STRATA_OK);
        assert_int_equal(pack_packed(), !found);
        assert_string_equal(pack_state("a"), "in-use");
        removes(strata_pack_cache_clear, 0);
        caps(0, 0);
        assert_int_equal(unlink(path), 0);
        assert_string_equal(pack_state("a"), "in-use");
        removes(strata_pack_cache_prune, 0);
        pack_close(&loaded);
        assert_string_equal(pack_state("a"), "model-gone");
        pack_model("a.gguf");
    }
    assert_string_equal(pack_state("a"), "ready");
    removes(strata_pack_cache_clear, 1);
}

/* ---- the limit ---- */

static void cap_removes_the_least_recently_used(void **state)
{
    (void)state;
    uint64_t bytes = pack_made("a.gguf");
    pack_made("b.gguf");
    pack_made("c.gguf");
    used_at("a.gguf", 1000, 3);
    used_at("b.gguf", 1000, 1);
    used_at("c.gguf", 1000, 2);
    caps(3 * bytes, 0);
    assert_int_equal(caps(3 * bytes - 1, 1), bytes);
    assert_string_equal(pack_state("b"), "");
    assert_false(pack_packs(pack_model("c.gguf"))); /* now a is the oldest */
    assert_int_equal(caps(bytes, 1), bytes);
    assert_string_equal(pack_state("a"), "");
    put_file("torn.packed", "of no use, and new");
    caps(bytes, 1);
    assert_string_equal(pack_state("torn"), "");
    caps(0, 1);
    assert_int_equal(pack_files(NULL, 0), 1); /* the limit */
}

static void packing_keeps_the_limit(void **state)
{
    (void)state;
    uint64_t bytes = pack_made("a.gguf");
    pack_made("b.gguf");
    used_at("a.gguf", 2000, 0);
    used_at("b.gguf", 1000, 0);
    caps(2 * bytes + 1, 0);
    pack_made("c.gguf");
    assert_non_null(strstr(pack_said, "b.gguf"));
    assert_non_null(strstr(pack_said, "limit"));
    assert_string_equal(pack_state("a"), "ready");
    assert_string_equal(pack_state("b"), "");
    assert_string_equal(pack_state("c"), "ready");

    struct pack_loaded loaded;
    char path[128];
    snprintf(path, sizeof path, "%s/a.gguf", pack_home);
    assert_int_equal(pack_load(&loaded, path, true), STRATA_OK);
    caps(1, 1);
    pack_made("d.gguf"); /* too large, as is a: the one is new, the other in use */
    assert_string_equal(pack_state("a"), "in-use");
    assert_string_equal(pack_state("d"), "ready");
    pack_close(&loaded);
    pack_made("e.gguf");
    assert_int_equal(pack_files(NULL, 0), 2); /* e, and the limit */
    caps(STRATA_PACK_CACHE_UNLIMITED, 0);
    pack_made("f.gguf");
    assert_int_equal(pack_files(NULL, 0), 2); /* e and f */
}

static void bad_limit_is_refused(void **state)
{
    // clang-format off
    const char *const texts[] = {
        "", "\n", "12", "-5\n", "x\n", " 5\n", "1 \n", "1\n2\n", "5\n\n", "0x10\n", "1e3\n",
        "18446744073709551616\n", "00000000000000000000000000000000000000000001\n",
    };
    // clang-format on
    (void)state;
    pack_made("a.gguf");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        put_file("limit", texts[i]);
        refused(strata_pack_cache_list, STRATA_E_FORMAT, "packed/limit");
        refused(strata_pack_cache_clear, STRATA_E_FORMAT, "packed/limit");
    }
    assert_int_equal(pack_made("b.gguf") > 0, 1); /* packs, and says it */
    assert_non_null(strstr(pack_said, "packed/limit"));
    caps(100000000, 0);
    strata_pack_cache *cache = succeeds(strata_pack_cache_list);
    assert_int_equal(cache->limit_bytes, 100000000);
    strata_pack_cache_free(&cache);
    assert_int_equal(unlink(place("limit")), 0);
    assert_int_equal(mkdir(place("limit"), 0700), 0);
    refused(strata_pack_cache_list, STRATA_E_IO, "packed/limit");
    limit = 5;
    refused(cap, STRATA_E_IO, "packed/limit");
    limit = STRATA_PACK_CACHE_UNLIMITED;
    refused(cap, STRATA_E_IO, "packed/limit");
    assert_int_equal(pack_files(NULL, 0), 3);
}

/* ---- failing calls ---- */

static void failing_calls_are_told(void **state)
{
    (void)state;
    uint64_t bytes = pack_made("a.gguf");
    caps(2 * bytes, 0);
    put_file("one.packed", "x");
    put_file("two.packed", "x");
    fault_arm(FAULT_OPEN, 1, false, EMFILE); /* the limit's file */
    refused(strata_pack_cache_list, STRATA_E_IO, strerror(EMFILE));
    fault_arm(FAULT_OPEN, 2, true, EACCES);
    assert_string_equal(pack_state("a"), "unreadable");
    fault_arm(FAULT_OPEN, 2, true, EACCES);
    removes(strata_pack_cache_prune, 0);
    fault_arm(FAULT_OPEN, 2, true, EACCES);
    refused(strata_pack_cache_clear, STRATA_E_IO, strerror(EACCES));
    fault_arm(FAULT_OPEN, 2, false, EROFS); /* then it is opened for reading only */
    assert_string_equal(pack_state("a"), "ready");
    fault_arm(FAULT_FSTAT, 1, true, EIO);
    refused(strata_pack_cache_prune, STRATA_E_IO, strerror(EIO));
    fault_arm(FAULT_FLOCK, 1, true, ENOLCK); /* no locks: nothing is removed */
    assert_string_equal(pack_state("a"), "in-use");
    removes(strata_pack_cache_clear, 0);
    fault_reset();
    assert_int_equal(pack_files(NULL, 0), 4);
    fault_arm(FAULT_UNLINK, 1, false, EPERM); /* the other one goes */
    refused(strata_pack_cache_prune, STRATA_E_IO, strerror(EPERM));
    assert_int_equal(pack_files(NULL, 0), 3);
    fault_reset();
    removes(strata_pack_cache_prune, 1);
}

/* A limit that cannot be written leaves the old one, removes nothing and leaves nothing. */
static void failing_limit_stays(void **state)
{
    const struct {
        enum fault_call call;
        int error;
    } faults[] = {{FAULT_NEW_FILE, EROFS},
                  {FAULT_PWRITE, ENOSPC},
                  {FAULT_FSYNC, EIO},
                  {FAULT_RENAME, EACCES}};
    (void)state;
    pack_made("a.gguf");
    caps(100000000, 0);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        fault_arm(faults[i].call, 1, true, faults[i].error);
        limit = 1;
        refused(cap, STRATA_E_IO, strerror(faults[i].error));
        fault_reset();
        assert_int_equal(pack_files(NULL, 0), 2);
        strata_pack_cache *cache = succeeds(strata_pack_cache_list);
        assert_int_equal(cache->limit_bytes, 100000000);
        strata_pack_cache_free(&cache);
    }
    fault_arm(FAULT_UNLINK, 1, true, EACCES);
    limit = STRATA_PACK_CACHE_UNLIMITED;
    refused(cap, STRATA_E_IO, strerror(EACCES));
}

/* Packing goes on when its folder cannot be tidied, and says why. */
static void packing_goes_on(void **state)
{
    (void)state;
    pack_made("a.gguf");
    caps(1, 1);
    pack_made("b.gguf");
    put_file("left.gguf-12.packed.abcdef", "abc");
    fault_arm(FAULT_UNLINK, 1, true, EPERM);
    pack_made("c.gguf");
    assert_non_null(strstr(pack_said, strerror(EPERM)));
    fault_reset();
    assert_int_equal(pack_files(NULL, 0), 4); /* with the limit and the leftover */
    pack_made("d.gguf");
    assert_int_equal(pack_files(NULL, 0), 2);
}

/* Who looks at a file at that moment does not keep its user from the lock. */
static void lock_is_tried_again(void **state)
{
    (void)state;
    struct pack_loaded loaded;
    const char *path = pack_model("a.gguf");
    assert_true(pack_packs(path));
    fault_arm(FAULT_FLOCK, 1, false, EWOULDBLOCK);
    assert_int_equal(pack_load(&loaded, path, true), STRATA_OK);
    assert_true(fault_count(FAULT_FLOCK) > 1);
    assert_string_equal(pack_state("a"), "in-use");
    pack_close(&loaded);
}

static void failing_allocations_are_clean(void **state)
{
    call *const calls[] = {strata_pack_cache_list, strata_pack_cache_prune, cap,
                           strata_pack_cache_clear};
    (void)state;
    pack_made("a.gguf");
    pack_made("b.gguf");
    limit = 100000000;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (size_t n = 1;; n++) {
            strata_pack_cache *cache;
            fault_arm(FAULT_MEMORY, n, n % 2, ENOMEM);
            strata_status status = calls[i](&cache);
            bool reached = fault_count(FAULT_MEMORY) >= n;
            fault_reset();
            assert_int_equal(status, reached ? STRATA_E_NOMEM : STRATA_OK);
            assert_int_equal(cache == NULL, reached);
            strata_pack_cache_free(&cache);
            if (!reached)
                break;
        }
}

static void no_place_is_said(void **state)
{
    call *const calls[] = {strata_pack_cache_list, strata_pack_cache_prune, cap,
                           strata_pack_cache_clear};
    char far[5000];
    (void)state;
    memset(far, 'x', sizeof far - 1);
    far[0] = '/';
    far[sizeof far - 1] = 0;
    setenv("STRATA_HOME", far, 1);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        refused(calls[i], STRATA_E_IO, "limit 4095");
    pack_packs(pack_model("a.gguf"));
    assert_non_null(strstr(pack_said, "limit 4095"));
    setenv("STRATA_HOME", pack_home, 1);
    snprintf(far, sizeof far, "%s/packed", pack_home);
    FILE *in_the_way = fopen(far, "w");
    assert_non_null(in_the_way);
    fclose(in_the_way);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        refused(calls[i], STRATA_E_IO, "packed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(absent_folder_is_empty, pack_fresh),
        cmocka_unit_test_setup(list_says_what_is_there, pack_fresh),
        cmocka_unit_test_setup(prune_removes_what_is_of_no_use, pack_fresh),
        cmocka_unit_test_setup(strange_files_stay, pack_fresh),
        cmocka_unit_test_setup(files_in_use_stay, pack_fresh),
        cmocka_unit_test_setup(cap_removes_the_least_recently_used, pack_fresh),
        cmocka_unit_test_setup(packing_keeps_the_limit, pack_fresh),
        cmocka_unit_test_setup(bad_limit_is_refused, pack_fresh),
        cmocka_unit_test_setup(failing_calls_are_told, pack_fresh),
        cmocka_unit_test_setup(failing_limit_stays, pack_fresh),
        cmocka_unit_test_setup(packing_goes_on, pack_fresh),
        cmocka_unit_test_setup(lock_is_tried_again, pack_fresh),
        cmocka_unit_test_setup(failing_allocations_are_clean, pack_fresh),
        cmocka_unit_test_setup(no_place_is_said, pack_fresh),
    };
    return pack_begin() ? pack_end(cmocka_run_group_tests(tests, NULL, NULL)) : 1;
}

/* Packed weights on disk: when a file is used, when it is made again, and what happens when it
 * cannot be made.  Whatever happens, the logits are the same. */
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

#define PAGE 4096 /* of the header and table */

static const char *model_path;
static float expected[1024]; /* logits with weights packed in memory */

/* Loads the model and, when that succeeds, compares logits (or stores them, the first time). */
static strata_status load(bool cached, bool store)
{
    struct pack_loaded loaded;
    strata_session *session = NULL;
    strata_status status = pack_load(&loaded, model_path, cached);
    if (status == STRATA_OK) {
        const int32_t ids[] = {1, 5, 9};
        size_t bytes = strata_model_info_get(loaded.model).vocab * sizeof(float);
        fault_reset();
        assert_true(bytes <= sizeof expected);
        assert_int_equal(strata_session_open(loaded.model, NULL, &session), STRATA_OK);
        assert_int_equal(strata_session_eval(session, ids, 3, STRATA_LOGITS_LAST), STRATA_OK);
        const float *logits = strata_session_logits(session, 0);
        if (store)
            memcpy(expected, logits, bytes);
        assert_memory_equal(logits, expected, bytes);
    }
    strata_session_close(&session);
    pack_close(&loaded);
    return status;
}

/* A load that succeeds; true when it packed the weights. */
static bool packs(void)
{
    assert_int_equal(load(true, false), STRATA_OK);
    return pack_packed();
}

static int fresh_home(void **state)
{
    assert_int_equal(pack_fresh(state), 0);
    model_path = pack_model("tiny.gguf");
    assert_int_equal(load(false, true), STRATA_OK);
    assert_int_equal(pack_files(NULL, 0), 0); /* no_pack_cache leaves nothing */
    return 0;
}

/* ---- tests ---- */

static void second_load_uses_the_file(void **state)
{
    char path[400];
    struct stat made, later;
    (void)state;
    assert_true(packs());
    assert_int_equal(pack_files(path, sizeof path), 1);
    assert_int_equal(stat(path, &made), 0);
    assert_false(packs());
    assert_int_equal(stat(path, &later), 0);
    assert_int_equal(made.st_ino, later.st_ino);
}

/* True when the system was told to read nothing around what is read of a mapped file; *known is
 * false where it does not say. */
static bool reads_nothing_around(const char *path, bool *known)
{
    char line[1024];
    bool inside = false;
    FILE *maps = fopen("/proc/self/smaps", "r");
    *known = false;
    while (maps && !*known && fgets(line, sizeof line, maps)) {
        inside |= strstr(line, path) != NULL;
        *known = inside && strncmp(line, "VmFlags:", 8) == 0;
    }
    if (maps)
        fclose(maps);
    return *known && strstr(line, " rr");
}

/* Loads a model and says whether only a little of its file is needed from then on. */
static bool needs_little(const char *path, bool cached)
{
    struct pack_loaded loaded;
    bool known;
    assert_int_equal(pack_load(&loaded, path, cached), STRATA_OK);
    bool little = reads_nothing_around(path, &known);
    pack_close(&loaded);
    if (!known)
        skip();
    return little;
}

static void packed_weights_spare_reading_the_model(void **state)
{
    char other[120];
    (void)state;
    snprintf(other, sizeof other, "%s.other", model_path);
    assert_false(needs_little(model_path, false));
    assert_false(needs_little(model_path, true)); /* packs */
    assert_true(needs_little(model_path, true));
    pack_copy(model_path, other);
    assert_int_equal(rename(other, model_path), 0);
    assert_false(needs_little(model_path, true)); /* compares */
    assert_true(needs_little(model_path, true));
    pack_copy(STRATA_TEST_DATA "/tiny/bert.gguf", other);
    assert_false(needs_little(other, true)); /* float weights are not packed */
}

/* Any byte: of the header, the table, and the panels' beginning, middle and end. */
static void changed_file_is_made_again(void **state)
{
    char path[400];
    (void)state;
    assert_true(packs());
    assert_int_equal(pack_files(path, sizeof path), 1);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    const off_t places[] = {0,
                            8,
                            12,
                            16,
                            24,
                            32,
                            40,
                            48,
                            56,
                            64,
                            96,
                            112,
                            119,
                            200,
                            PAGE,
                            PAGE * 9,
                            info.st_size / 2,
                            info.st_size - 1};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        pack_change_byte(path, places[i]);
        assert_true(packs());
        assert_non_null(strstr(pack_said, path)); /* the message names the file */
        assert_false(packs());
    }
}

static void short_or_strange_file_is_made_again(void **state)
{
    char path[400];
    (void)state;
    assert_true(packs());
    assert_int_equal(pack_files(path, sizeof path), 1);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    const off_t sizes[] = {0, 10, 64, PAGE - 1, PAGE, info.st_size - 1, info.st_size + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(truncate(path, sizes[i]), 0);
        assert_true(packs());
        assert_false(packs());
    }
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_true(packs());
    assert_false(packs());
}

/* A source that was only touched, or replaced by the same bytes, keeps its file, which then knows
 * its new identity; one with other weights does not. */
static void source_decides_by_its_contents(void **state)
{
    (void)state;
    char copy[120];
    assert_true(packs());
    const struct timespec times[2] = {{1000, 0}, {1000, 0}};
    assert_int_equal(utimensat(AT_FDCWD, model_path, times, 0), 0);
    assert_false(packs());
    snprintf(copy, sizeof copy, "%s.copy", model_path);
    pack_copy(model_path, copy);
    assert_int_equal(rename(copy, model_path), 0);
    assert_false(packs());
    assert_int_equal(pack_files(NULL, 0), 1);
    struct stat info;
    assert_int_equal(stat(model_path, &info), 0);
    pack_change_byte(model_path, info.st_size - 1000); /* a weight */
    assert_int_equal(load(false, true), STRATA_OK);
    assert_true(packs());
    assert_false(packs());
    assert_int_equal(pack_files(NULL, 0), 1);
}

/* Each write, the name, the renaming and the mapping fail in turn: the model works, nothing is left
 * behind, and the next load makes the file. */
static void failing_disk_leaves_nothing(void **state)
{
    (void)state;
    const struct {
        enum fault_call call;
        size_t n;
        int error;
    } faults[] = {{FAULT_PWRITE, 1, ENOSPC},  {FAULT_PWRITE, 2, EIO},    {FAULT_PWRITE, 8, EDQUOT},
                  {FAULT_NEW_FILE, 1, EROFS}, {FAULT_RENAME, 1, EACCES}, {FAULT_MMAP, 2, ENOMEM}};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        fault_arm(faults[i].call, faults[i].n, true, faults[i].error);
        assert_true(packs());
        assert_non_null(strstr(pack_said, strerror(faults[i].error)));
        assert_non_null(strstr(pack_said, "in memory"));
        assert_int_equal(pack_files(NULL, 0), 0);
    }
    assert_true(packs());
    assert_int_equal(pack_files(NULL, 0), 1);
}

/* Each allocation of a load fails in turn, once alone and once with all later ones. */
static void failing_allocations_are_clean(void **state)
{
    (void)state;
    for (int cached = 0; cached < 2; cached++) {
        for (size_t n = 1;; n++) {
            fault_arm(FAULT_MEMORY, n, n % 2, ENOMEM);
            strata_status status = load(cached, false);
            fault_reset();
            assert_true(status == STRATA_OK || status == STRATA_E_NOMEM);
            assert_true(pack_files(NULL, 0) <= 1);
            if (status == STRATA_OK)
                break;
        }
        assert_int_equal(load(cached, false), STRATA_OK);
    }
}

/* A folder that cannot be made, and no place for it at all. */
static void no_folder_is_said(void **state)
{
    char path[96];
    (void)state;
    snprintf(path, sizeof path, "%s/packed", pack_home);
    FILE *in_the_way = fopen(path, "w");
    assert_non_null(in_the_way);
    fclose(in_the_way);
    assert_true(packs());
    assert_non_null(strstr(pack_said, path));
    unlink(path);
    unsetenv("STRATA_HOME");
    unsetenv("XDG_CACHE_HOME");
    char *user = strdup(getenv("HOME") ? getenv("HOME") : "");
    unsetenv("HOME");
    assert_int_equal(load(true, false), STRATA_OK);
    assert_non_null(strstr(pack_said, "STRATA_HOME"));
    setenv("HOME", user, 1);
    setenv("STRATA_HOME", pack_home, 1);
    free(user);
}

/* What an interrupted maker left is removed by the next one, unless it is still being written. */
static void leftovers_are_swept(void **state)
{
    char left[128], busy[128];
    (void)state;
    snprintf(left, sizeof left, "%s/packed", pack_home);
    assert_int_equal(mkdir(left, 0700), 0);
    snprintf(left, sizeof left, "%s/packed/old.gguf-12.packed.abcdef", pack_home);
    snprintf(busy, sizeof busy, "%s/packed/new.gguf-34.packed.abcdef", pack_home);
    close(open(left, O_CREAT | O_WRONLY, 0600));
    int descriptor = open(busy, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(flock(descriptor, LOCK_EX), 0);
    assert_true(packs());
    assert_int_equal(access(left, F_OK), -1);
    assert_int_equal(access(busy, F_OK), 0);
    close(descriptor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(second_load_uses_the_file, fresh_home),
        cmocka_unit_test_setup(packed_weights_spare_reading_the_model, fresh_home),
        cmocka_unit_test_setup(changed_file_is_made_again, fresh_home),
        cmocka_unit_test_setup(short_or_strange_file_is_made_again, fresh_home),
        cmocka_unit_test_setup(source_decides_by_its_contents, fresh_home),
        cmocka_unit_test_setup(failing_disk_leaves_nothing, fresh_home),
        cmocka_unit_test_setup(failing_allocations_are_clean, fresh_home),
        cmocka_unit_test_setup(no_folder_is_said, fresh_home),
        cmocka_unit_test_setup(leftovers_are_swept, fresh_home),
    };
    return pack_begin() ? pack_end(cmocka_run_group_tests(tests, NULL, NULL)) : 1;
}

/* Packed weights on disk: when a file is used, when it is made again, and what happens when it
 * cannot be made.  Whatever happens, the logits are the same. */
#include <dirent.h>
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
#include "strata.h"

#define TINY STRATA_TEST_DATA "/tiny/llama256-Q4_1.gguf"
#define PAGE 4096 /* of the header and table */

static char home[64], model_path[96]; /* a folder, and a copy of TINY in it */
static float expected[1024];          /* logits with weights packed in memory */

/* ---- a load, and what it said ---- */

static char said[8192];

static void listen(void *user, strata_log_level level, const char *line)
{
    (void)user;
    size_t used = strlen(said);
    if (level <= STRATA_LOG_INFO)
        snprintf(said + used, sizeof said - used, "%d %s\n", level, line);
}

/* Loads the model and, when that succeeds, compares logits (or stores them, the first time). */
static strata_status load(bool cached, bool store)
{
    strata_config config;
    strata_config_default(&config);
    config.threads = 2;
    config.blas = "off";
    config.log = listen;
    strata_model_options options;
    strata_model_options_default(&options);
    options.no_pack_cache = !cached;
    strata_runtime *runtime;
    strata_model *model;
    strata_session *session = NULL;
    said[0] = 0;
    strata_status status = strata_runtime_open(&runtime, &config);
    if (status != STRATA_OK)
        return status;
    status = strata_model_load(runtime, model_path, &options, &model);
    if (status == STRATA_OK) {
        const int32_t ids[] = {1, 5, 9};
        size_t bytes = strata_model_info_get(model).vocab * sizeof(float);
        fault_reset();
        assert_true(bytes <= sizeof expected);
        assert_int_equal(strata_session_open(model, NULL, &session), STRATA_OK);
        assert_int_equal(strata_session_eval(session, ids, 3, STRATA_LOGITS_LAST), STRATA_OK);
        const float *logits = strata_session_logits(session, 0);
        if (store)
            memcpy(expected, logits, bytes);
        assert_memory_equal(logits, expected, bytes);
    }
    strata_session_close(&session);
    strata_model_unref(&model);
    strata_runtime_close(&runtime);
    return status;
}

/* A load that succeeds; true when it packed the weights. */
static bool packs(void)
{
    assert_int_equal(load(true, false), STRATA_OK);
    return strstr(said, "packing") != NULL || strstr(said, "packed in memory") != NULL;
}

/* ---- the folder ---- */

/* Files in packed/; the path of one of them goes to `path`. */
static size_t files(char *path, size_t size)
{
    char folder[96];
    size_t n = 0;
    snprintf(folder, sizeof folder, "%s/packed", home);
    DIR *stream = opendir(folder);
    for (struct dirent *entry; stream && (entry = readdir(stream));)
        if (entry->d_name[0] != '.' && ++n && path)
            snprintf(path, size, "%s/%s", folder, entry->d_name);
    if (stream)
        closedir(stream);
    return n;
}

static void copy_file(const char *from, const char *to)
{
    static char data[1 << 20];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_true(in && out);
    size_t n = fread(data, 1, sizeof data, in);
    assert_true(n < sizeof data && fwrite(data, 1, n, out) == n);
    assert_int_equal(fclose(in) | fclose(out), 0);
}

static void change_byte(const char *path, off_t at)
{
    int descriptor = open(path, O_RDWR);
    unsigned char byte;
    assert_int_equal(pread(descriptor, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(descriptor, &byte, 1, at), 1);
    close(descriptor);
}

static int fresh_home(void **state)
{
    (void)state;
    char command[160];
    fault_reset();
    snprintf(command, sizeof command, "rm -rf %s/*", home);
    assert_int_equal(system(command), 0);
    copy_file(TINY, model_path);
    assert_int_equal(load(false, true), STRATA_OK);
    assert_int_equal(files(NULL, 0), 0); /* no_pack_cache leaves nothing */
    return 0;
}

/* ---- tests ---- */

static void second_load_uses_the_file(void **state)
{
    char path[400];
    struct stat made, later;
    (void)state;
    assert_true(packs());
    assert_int_equal(files(path, sizeof path), 1);
    assert_int_equal(stat(path, &made), 0);
    assert_false(packs());
    assert_int_equal(stat(path, &later), 0);
    assert_int_equal(made.st_ino, later.st_ino);
}

/* Any byte: of the header, the table, and the panels' beginning, middle and end. */
static void changed_file_is_made_again(void **state)
{
    char path[400];
    (void)state;
    assert_true(packs());
    assert_int_equal(files(path, sizeof path), 1);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    const off_t places[] = {0,
                            8,
                            12,
                            16,
                            24,
                            32,
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
        change_byte(path, places[i]);
        assert_true(packs());
        assert_non_null(strstr(said, path)); /* the message names the file */
        assert_false(packs());
    }
}

static void short_or_strange_file_is_made_again(void **state)
{
    char path[400];
    (void)state;
    assert_true(packs());
    assert_int_equal(files(path, sizeof path), 1);
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
    copy_file(model_path, copy);
    assert_int_equal(rename(copy, model_path), 0);
    assert_false(packs());
    assert_int_equal(files(NULL, 0), 1);
    struct stat info;
    assert_int_equal(stat(model_path, &info), 0);
    change_byte(model_path, info.st_size - 1000); /* a weight */
    assert_int_equal(load(false, true), STRATA_OK);
    assert_true(packs());
    assert_false(packs());
    assert_int_equal(files(NULL, 0), 1);
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
        assert_non_null(strstr(said, strerror(faults[i].error)));
        assert_non_null(strstr(said, "in memory"));
        assert_int_equal(files(NULL, 0), 0);
    }
    assert_true(packs());
    assert_int_equal(files(NULL, 0), 1);
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
            assert_true(files(NULL, 0) <= 1);
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
    snprintf(path, sizeof path, "%s/packed", home);
    FILE *in_the_way = fopen(path, "w");
    assert_non_null(in_the_way);
    fclose(in_the_way);
    assert_true(packs());
    assert_non_null(strstr(said, path));
    unlink(path);
    unsetenv("STRATA_HOME");
    unsetenv("XDG_CACHE_HOME");
    char *user = strdup(getenv("HOME") ? getenv("HOME") : "");
    unsetenv("HOME");
    assert_int_equal(load(true, false), STRATA_OK);
    assert_non_null(strstr(said, "STRATA_HOME"));
    setenv("HOME", user, 1);
    setenv("STRATA_HOME", home, 1);
    free(user);
}

/* What an interrupted maker left is removed by the next one, unless it is still being written. */
static void leftovers_are_swept(void **state)
{
    char left[128], busy[128];
    (void)state;
    snprintf(left, sizeof left, "%s/packed", home);
    assert_int_equal(mkdir(left, 0700), 0);
    snprintf(left, sizeof left, "%s/packed/old.gguf-12.packed.abcdef", home);
    snprintf(busy, sizeof busy, "%s/packed/new.gguf-34.packed.abcdef", home);
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
        cmocka_unit_test_setup(changed_file_is_made_again, fresh_home),
        cmocka_unit_test_setup(short_or_strange_file_is_made_again, fresh_home),
        cmocka_unit_test_setup(source_decides_by_its_contents, fresh_home),
        cmocka_unit_test_setup(failing_disk_leaves_nothing, fresh_home),
        cmocka_unit_test_setup(failing_allocations_are_clean, fresh_home),
        cmocka_unit_test_setup(no_folder_is_said, fresh_home),
        cmocka_unit_test_setup(leftovers_are_swept, fresh_home),
    };
    snprintf(home, sizeof home, "/tmp/strata-packed-XXXXXX");
    if (!mkdtemp(home))
        return 1;
    snprintf(model_path, sizeof model_path, "%s/tiny.gguf", home);
    setenv("STRATA_HOME", home, 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[160];
    snprintf(command, sizeof command, "rm -rf %s", home);
    return system(command) != 0 || failed;
}

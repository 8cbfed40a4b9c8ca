/* The GGUF writer: what it wrote is read back bit for bit, and nothing is left behind when the
 * system fails, the disk is full, or the caller gives up. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "faults.h"
#include "gguf_broken.h"
#include "gguf_fixture.h"
#include "gguf_write.h"
#include "memory.h"

/* Copies a whole file through the writer; the first status that is not OK. */
static strata_status copy_into(struct strata__gguf_writer *w, const strata_file *file)
{
    for (uint32_t i = 0; i < strata__meta_count(file); i++)
        STRATA_TRY(strata__gguf_write_copy(w, file, i));
    for (size_t i = 0; i < strata_file_tensor_count(file); i++) {
        const struct strata__tensor *tensor =
            strata__file_find(file, strata_file_tensor(file, i).name);
        STRATA_TRY(strata__gguf_write_tensor(w, tensor->name, tensor->type, tensor->n_dims,
                                             tensor->shape));
    }
    for (size_t i = 0; i < strata_file_tensor_count(file); i++) {
        const struct strata__tensor *tensor =
            strata__file_find(file, strata_file_tensor(file, i).name);
        size_t bytes = (size_t)tensor->bytes, half = bytes / 2;
        STRATA_TRY(strata__gguf_write_data(w, tensor->data, half));
        STRATA_TRY(strata__gguf_write_data(w, (const char *)tensor->data + half, bytes - half));
    }
    return STRATA_OK;
}

static strata_status copy_file(const strata_file *file, const char *path)
{
    struct strata__gguf_writer *w;
    STRATA_TRY(strata__gguf_write_open(&w, path));
    strata_status status = copy_into(w, file);
    if (status != STRATA_OK) {
        strata__gguf_write_abort(&w);
        return status;
    }
    status = strata__gguf_write_finish(&w);
    assert_null(w);
    return status;
}

static void fail_on_warning(void *user, strata_log_level level, const char *line)
{
    (void)user;
    (void)level;
    fail_msg("%s", line);
}

static bool layout_key(struct strata__string key)
{
    return (key.size == strlen("general.alignment") &&
            memcmp(key.text, "general.alignment", key.size) == 0) ||
           (key.size > strlen("split.") && memcmp(key.text, "split.", strlen("split.")) == 0);
}

static void same_keys(const strata_file *a, const strata_file *b)
{
    uint32_t n = strata__meta_count(a), j = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct strata__meta_value x = strata__meta_value(a, i);
        if (layout_key(x.key))
            continue;
        struct strata__meta_value y = strata__meta_value(b, j++);
        assert_int_equal(x.key.size, y.key.size);
        assert_memory_equal(x.key.text, y.key.text, x.key.size);
        assert_int_equal(x.type, y.type);
        assert_int_equal(x.bytes.size, y.bytes.size);
        if (x.bytes.size)
            assert_memory_equal(x.bytes.text, y.bytes.text, x.bytes.size);
    }
    assert_int_equal(strata__meta_count(b), j);
}

static void same_tensors(const strata_file *a, const strata_file *b)
{
    size_t n = strata_file_tensor_count(a);
    assert_int_equal(strata_file_tensor_count(b), n);
    for (size_t i = 0; i < n; i++) {
        const struct strata__tensor *x = strata__file_find(a, strata_file_tensor(a, i).name);
        const struct strata__tensor *y = strata__file_find(b, strata_file_tensor(b, i).name);
        assert_string_equal(x->name, y->name);
        assert_int_equal(x->type, y->type);
        assert_int_equal(x->n_dims, y->n_dims);
        assert_memory_equal(x->shape, y->shape, sizeof x->shape);
        assert_int_equal(x->bytes, y->bytes);
        assert_memory_equal(x->data, y->data, (size_t)x->bytes);
    }
}

static void round_trip(const char *path)
{
    const char *out = gguf_path("copy.gguf");
    strata_file *file = gguf_open(path, NULL, NULL);
    assert_int_equal(copy_file(file, out), STRATA_OK);
    strata_file *copy = gguf_open(out, fail_on_warning, NULL);
    same_keys(file, copy);
    same_tensors(file, copy);
    strata_file_close(&copy);
    strata_file_close(&file);
    unlink(out);
}

static const char *small_file(void)
{
    struct gguf_writer w;
    gguf_small(&w);
    return gguf_saved(&w, "small.gguf");
}

static void fixtures_come_back(void **state)
{
    (void)state;
    round_trip(small_file());
    for (size_t i = 0; i < gguf_broken_count; i++) {
        struct gguf_writer w;
        gguf_broken[i].valid(&w);
        if (w.file.size < 1 << 20)
            round_trip(gguf_saved(&w, "valid.gguf"));
        else
            gguf_free(&w);
    }
}

static void round_trip_folder(const char *folder)
{
    DIR *entries = opendir(folder);
    char path[4096];
    unsigned count = 0;
    if (!entries) {
        print_message("%s is absent: its files are not copied\n", folder);
        skip();
    }
    for (struct dirent *entry; (entry = readdir(entries));) {
        size_t size = strlen(entry->d_name);
        if (size < 5 || strcmp(entry->d_name + size - 5, ".gguf") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        round_trip(path);
        count++;
    }
    closedir(entries);
    assert_true(count > 0);
}

static void models_of_the_tree_come_back(void **state)
{
    (void)state;
    round_trip_folder(STRATA_TEST_DATA "/tiny");
}

static void golden_models_come_back(void **state)
{
    (void)state;
    round_trip_folder(STRATA_SHARED "/golden/tiny");
}

/* Each kind of value, a tensor of each rank, and a file without tensors. */
static void every_value_comes_back(void **state)
{
    (void)state;
    const char *out = gguf_path("values.gguf");
    const struct strata__string strings[] = {{"", 0}, {"a\0b", 3}, {"\xff", 1}};
    const float halves[] = {0.5f, -0.5f};
    const uint64_t shape[] = {3, 2, 1, 1};
    struct strata__gguf_writer *w;
    struct strata__string string;
    struct strata__meta_array array;
    uint64_t number;
    float real;
    bool truth = false;
    char data[24] = "twenty-four bytes of it";
    assert_int_equal(strata__gguf_write_open(&w, out), STRATA_OK);
    assert_int_equal(strata__gguf_write_u32(w, "a.u32", UINT32_MAX), STRATA_OK);
    assert_int_equal(strata__gguf_write_u64(w, "a.u64", UINT64_MAX), STRATA_OK);
    assert_int_equal(strata__gguf_write_f32(w, "a.f32", 1e-12f), STRATA_OK);
    assert_int_equal(strata__gguf_write_bool(w, "a.bool", true), STRATA_OK);
    assert_int_equal(strata__gguf_write_string(w, "a.string", strings[1]), STRATA_OK);
    assert_int_equal(strata__gguf_write_strings(w, "a.strings", strings, 3), STRATA_OK);
    assert_int_equal(strata__gguf_write_array(w, "a.reals", STRATA__META_F32, halves, 2),
                     STRATA_OK);
    for (unsigned n = 1; n <= 4; n++) {
        char name[] = {'t', (char)('0' + n), 0};
        assert_int_equal(strata__gguf_write_tensor(w, name, STRATA_TYPE_F32, n, shape), STRATA_OK);
    }
    for (unsigned n = 1; n <= 4; n++)
        assert_int_equal(strata__gguf_write_data(w, data, n == 1 ? 12 : 24), STRATA_OK);
    assert_int_equal(strata__gguf_write_finish(&w), STRATA_OK);

    strata_file *file = gguf_open(out, fail_on_warning, NULL);
    assert_int_equal(strata__meta_u64(file, "a.u32", &number, NULL), STRATA_OK);
    assert_int_equal(number, UINT32_MAX);
    assert_int_equal(strata__meta_u64(file, "a.u64", &number, NULL), STRATA_OK);
    assert_true(number == UINT64_MAX);
    assert_int_equal(strata__meta_f32(file, "a.f32", &real, NULL), STRATA_OK);
    assert_true(real == 1e-12f);
    assert_int_equal(strata__meta_bool(file, "a.bool", &truth, NULL), STRATA_OK);
    assert_true(truth);
    assert_int_equal(strata__meta_string(file, "a.string", &string, NULL), STRATA_OK);
    assert_int_equal(string.size, 3);
    assert_memory_equal(string.text, "a\0b", 3);
    assert_int_equal(strata__meta_array(file, "a.strings", STRATA__META_STRING, &array, NULL),
                     STRATA_OK);
    assert_int_equal(array.count, 3);
    assert_int_equal(strata__meta_array(file, "a.reals", STRATA__META_F32, &array, NULL),
                     STRATA_OK);
    assert_memory_equal(array.data, halves, sizeof halves);
    assert_int_equal(strata__file_find(file, "t4")->bytes, 24);
    assert_memory_equal(strata__file_find(file, "t4")->data, data, 24);
    strata_file_close(&file);

    assert_int_equal(strata__gguf_write_open(&w, out), STRATA_OK);
    assert_int_equal(strata__gguf_write_finish(&w), STRATA_OK);
    file = gguf_open(out, fail_on_warning, NULL);
    assert_int_equal(strata_file_tensor_count(file), 0);
    strata_file_close(&file);
    unlink(out);
}

static void misuse_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum strata_type type;
        unsigned n_dims;
        uint64_t shape[4];
    } bad[] = {
        {"", STRATA_TYPE_F32, 1, {1}},
        {"a", STRATA_TYPE_F32, 0, {1}},
        {"a", STRATA_TYPE_F32, 5, {1, 1, 1, 1}},
        {"a", STRATA_TYPE_F32, 2, {1, 0}},
        {"a", STRATA_TYPE_Q8_0, 1, {33}},
        {"a", STRATA_TYPE_F32, 2, {UINT64_C(1) << 40, UINT64_C(1) << 40}},
        {"a", STRATA_TYPE_F32, 1, {UINT64_MAX}},
        {"0123456789012345678901234567890123456789012345678901234567890123",
         STRATA_TYPE_F32,
         1,
         {1}},
    };
    const uint64_t eight = 8;
    const float values[9] = {0};
    struct strata__gguf_writer *w;
    const char *out = gguf_path("misuse.gguf");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(strata__gguf_write_open(&w, out), STRATA_OK);
        assert_int_equal(
            strata__gguf_write_tensor(w, bad[i].name, bad[i].type, bad[i].n_dims, bad[i].shape),
            STRATA_E_INVALID);
        strata__gguf_write_abort(&w);
    }
    assert_int_equal(strata__gguf_write_open(&w, out), STRATA_OK);
    assert_int_equal(strata__gguf_write_tensor(w, "a", STRATA_TYPE_F32, 1, &eight), STRATA_OK);
    assert_int_equal(strata__gguf_write_data(w, values, 36), STRATA_E_INTERNAL);
    assert_int_equal(strata__gguf_write_data(w, values, 16), STRATA_OK);
    assert_int_equal(strata__gguf_write_u32(w, "late", 1), STRATA_E_INTERNAL);
    assert_int_equal(strata__gguf_write_tensor(w, "b", STRATA_TYPE_F32, 1, &eight),
                     STRATA_E_INTERNAL);
    assert_int_equal(strata__gguf_write_finish(&w), STRATA_E_INTERNAL);
    assert_null(w);
    assert_int_equal(access(out, F_OK), -1);
    assert_int_equal(strata__gguf_write_open(&w, ""), STRATA_E_INVALID);
    assert_int_equal(strata__gguf_write_open(&w, "folder/"), STRATA_E_INVALID);
    strata__gguf_write_abort(&w);
    strata__gguf_write_abort(NULL);
}

/* ---- failing systems ---- */

static char folder[4096]; /* of the test */

static unsigned entries_of_folder(void)
{
    DIR *entries = opendir(folder);
    unsigned count = 0;
    assert_non_null(entries);
    while (readdir(entries))
        count++;
    closedir(entries);
    return count;
}

static void assert_old(const char *out)
{
    FILE *old = fopen(out, "r");
    char text[8] = "";
    assert_non_null(old);
    assert_non_null(fgets(text, sizeof text, old));
    assert_string_equal(text, "old");
    fclose(old);
}

/* The folder's entries and what is at `out` are as before. */
static void fails_cleanly(const strata_file *file, const char *out, strata_status status)
{
    unsigned before = entries_of_folder();
    assert_int_equal(copy_file(file, out), status);
    fault_reset();
    assert_int_equal(entries_of_folder(), before);
    assert_old(out);
}

static const char *old_file(void)
{
    const char *out = gguf_path("out.gguf");
    FILE *old = fopen(out, "w");
    assert_non_null(old);
    assert_true(fputs("old", old) >= 0 && fclose(old) == 0);
    return out;
}

static void every_fault_leaves_the_old_file(void **state)
{
    (void)state;
    static const struct {
        enum fault_call call;
        int error;
        strata_status status;
        const char *says;
    } faults[] = {
        {FAULT_MEMORY, ENOMEM, STRATA_E_NOMEM, "cannot allocate"},
        {FAULT_OPEN, EACCES, STRATA_E_IO, "cannot"},
        {FAULT_OPEN, ENOSPC, STRATA_E_IO, "cannot"},
        {FAULT_PWRITE, ENOSPC, STRATA_E_IO, "cannot write at byte"},
        {FAULT_PWRITE, EIO, STRATA_E_IO, "cannot write at byte"},
        {FAULT_RENAME, EROFS, STRATA_E_IO, "cannot rename to it"},
    };
    strata_file *file = gguf_open(small_file(), NULL, NULL);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        const char *out = gguf_path("out.gguf");
        fault_reset();
        assert_int_equal(copy_file(file, out), STRATA_OK);
        size_t n = fault_count(faults[i].call);
        assert_true(n >= 1);
        old_file();
        for (size_t k = 1; k <= n; k++) {
            fault_arm(faults[i].call, k, true, faults[i].error);
            fails_cleanly(file, out, faults[i].status);
            gguf_says(strata_last_error(), faults[i].says);
            if (faults[i].status == STRATA_E_IO) {
                gguf_says(strata_last_error(), "out.gguf");
                gguf_says(strata_last_error(), strerror(faults[i].error));
            }
        }
    }
    fault_arm(FAULT_FSYNC, 1, false, EIO);
    fails_cleanly(file, gguf_path("out.gguf"), STRATA_E_IO);
    strata_file_close(&file);
}

/* The folder is the last thing that is written through: the file is whole then. */
static void folder_that_cannot_be_synced(void **state)
{
    (void)state;
    strata_file *file = gguf_open(small_file(), NULL, NULL);
    const char *out = old_file();
    fault_arm(FAULT_FSYNC, 2, false, EIO);
    assert_int_equal(copy_file(file, out), STRATA_E_IO);
    gguf_says(strata_last_error(), "whole, but its folder");
    fault_arm(FAULT_FSYNC, 2, false, EINVAL);
    assert_int_equal(copy_file(file, out), STRATA_OK);
    fault_arm(FAULT_PWRITE, 1, false, EINTR);
    assert_int_equal(copy_file(file, out), STRATA_OK);
    fault_reset();
    strata_file *copy = gguf_open(out, fail_on_warning, NULL);
    same_tensors(file, copy);
    strata_file_close(&copy);
    strata_file_close(&file);
}

/* A limit of the file's size stands in for a full disk: writes get short, then fail. */
static void file_that_may_not_grow(void **state)
{
    (void)state;
    strata_file *file = gguf_open(small_file(), NULL, NULL);
    const char *out = old_file();
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t bytes = 0; bytes <= 120; bytes += 30) {
        limit = (struct rlimit){bytes, before.rlim_max};
        unsigned entries = entries_of_folder();
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        strata_status status = copy_file(file, out);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(status, STRATA_E_IO);
        assert_int_equal(entries_of_folder(), entries);
        assert_old(out);
        gguf_says(strata_last_error(), "cannot write at byte");
        gguf_says(strata_last_error(), strerror(EFBIG));
    }
    strata_file_close(&file);
}

static void only_plain_files_are_replaced(void **state)
{
    (void)state;
    struct strata__gguf_writer *w;
    const char *fifo = gguf_path("fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(strata__gguf_write_open(&w, fifo), STRATA_E_IO);
    gguf_says(strata_last_error(), "not a plain file");
    assert_int_equal(strata__gguf_write_open(&w, "/dev/null"), STRATA_E_IO);
    assert_int_equal(strata__gguf_write_open(&w, "."), STRATA_E_IO);
    assert_int_equal(strata__gguf_write_open(&w, gguf_path("none/x.gguf")), STRATA_E_IO);
    gguf_says(strata_last_error(), "cannot make a file beside it: No such file");
    unlink(fifo);
}

/* Permissions as of any new file, and no clash with another writer of the same path. */
static void two_writers_of_one_path(void **state)
{
    (void)state;
    struct strata__gguf_writer *a, *b;
    struct stat info;
    const char *out = gguf_path("two.gguf");
    mode_t mask = umask(027);
    unsigned before = entries_of_folder();
    assert_int_equal(strata__gguf_write_open(&a, out), STRATA_OK);
    assert_int_equal(strata__gguf_write_open(&b, out), STRATA_OK);
    assert_int_equal(strata__gguf_write_finish(&a), STRATA_OK);
    strata__gguf_write_abort(&b);
    umask(mask);
    assert_int_equal(entries_of_folder(), before + 1);
    assert_int_equal(stat(out, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixtures_come_back),
        cmocka_unit_test(models_of_the_tree_come_back),
        cmocka_unit_test(golden_models_come_back),
        cmocka_unit_test(every_value_comes_back),
        cmocka_unit_test(misuse_is_refused),
        cmocka_unit_test(every_fault_leaves_the_old_file),
        cmocka_unit_test(folder_that_cannot_be_synced),
        cmocka_unit_test(file_that_may_not_grow),
        cmocka_unit_test(only_plain_files_are_replaced),
        cmocka_unit_test(two_writers_of_one_path),
    };
    gguf_folder_create();
    snprintf(folder, sizeof folder, "%s", gguf_path(""));
    int failed = cmocka_run_group_tests_name("writing GGUF files", tests, NULL, NULL);
    gguf_folder_remove();
    return failed;
}
